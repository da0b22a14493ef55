//! What happens in the demo, and what must come of it.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::Value;

use crate::{
    app::hub::Hub,
    cli::{Failed, out::Out, story},
    model::{
        id::RunId,
        run::{RunState, RunView},
    },
    net::client,
    ports::hub::Hub as _,
    sandbox::{
        Retailer,
        shop::{DeliveryOptions, Receipt, Webhook},
    },
};

/// How long a run of the demo may take.
const RUN_LIMIT: Duration = Duration::from_secs(60);
/// How many writes find the ERP's document locked.
const LOCKED_ATTEMPTS: u32 = 2;

/// The demo while it plays.
pub(super) struct Scenario<'a> {
    pub(super) out: &'a Out,
    pub(super) retailer: &'a Retailer,
    pub(super) hub: &'a Hub,
    /// The hub's address.
    pub(super) url: &'a str,
    /// What did not come out as it should.
    pub(super) wrong: Vec<String>,
}

impl Scenario<'_> {
    pub(super) async fn play(&mut self) -> Result<(), Failed> {
        let ordinary = self.retailer.shop.ordinary();
        let run = self.order("An ordinary order", &ordinary, RunState::Completed).await?;
        self.expect(run.is_some_and(|run| run.steps.len() >= 8), "the ordinary order goes through every step");
        self.expect(self.sales_orders(&ordinary) == 1, "the ordinary order is in the ERP once");

        let large = self.retailer.shop.high_value();
        let run = self.order("A large order, which policy holds for people", &large, RunState::Parked).await?;
        let held = run.and_then(|run| run.summary.cause).is_some_and(|cause| cause.contains("fulfilment-leads"));
        self.expect(held, "the large order is held for `fulfilment-leads`");
        self.expect(self.sales_orders(&large) == 0, "the large order is not in the ERP");

        self.duplicate(&ordinary).await?;
        self.refused("A malformed order", &self.retailer.shop.malformed(), 400).await?;
        self.refused("A forged signature", &self.retailer.shop.wrongly_signed(), 401).await?;

        let locked = self.retailer.order_locked_at_first(LOCKED_ATTEMPTS, None);
        let run = self.order("An order whose ERP document is locked at first", &locked, RunState::Completed).await?;
        let attempts = run.and_then(|run| run.steps.into_iter().find(|step| step.path == "erp_order"));
        let attempts = attempts.map_or(0, |step| step.attempts);
        self.expect(attempts == LOCKED_ATTEMPTS + 1, "the locked document was tried again until it was free");
        self.expect(self.sales_orders(&locked) == 1, "the order that was locked is in the ERP once");
        self.show_erp();
        Ok(())
    }

    /// Sends an order and tells its run as it happens.
    async fn order(&mut self, title: &str, webhook: &Webhook, expected: RunState) -> Result<Option<RunView>, Failed> {
        self.title(title);
        let receipt = self.deliver(webhook).await?;
        let answer = body(&receipt);
        let Some(run) = run_of(&answer) else {
            self.wrong.push(format!("{title}: the hub answered {} {answer}", receipt.response.status()));
            return Ok(None);
        };
        let view = tokio::time::timeout(RUN_LIMIT, self.follow(run)).await;
        let Ok(Some(view)) = view else {
            self.wrong.push(format!("{title}: run {run} did not settle within {} s", RUN_LIMIT.as_secs()));
            return Ok(None);
        };
        if view.summary.state != expected {
            let ending = story::ending(self.out, &view);
            self.wrong.push(format!("{title}: expected {}, but it {ending}", expected.as_str()));
        }
        Ok(Some(view))
    }

    async fn follow(&self, run: RunId) -> Option<RunView> {
        let mut views = self.hub.watch(run);
        let mut telling = story::Telling::default();
        let mut last = None;
        while let Some(view) = views.next().await {
            telling.tell(self.out, &view);
            last = Some(view);
        }
        if let Some(view) = &last {
            self.out.say(format!("  {run}: {}", story::ending(self.out, view)));
        }
        last
    }

    async fn duplicate(&mut self, first: &Webhook) -> Result<(), Failed> {
        self.title("The same order again, in another delivery");
        let runs = self.hub.runs(&every()).len();
        let receipt = self.deliver(&self.retailer.shop.duplicate_of(first)).await?;
        let answer = body(&receipt);
        let duplicate = answer.pointer("/events/0/duplicate").and_then(Value::as_bool).unwrap_or(false);
        let run = run_of(&answer).map(|run| run.to_string()).unwrap_or_default();
        self.out
            .say(format!("  the hub knows it: {}, and answers with the first run, {run}", receipt.response.status()));
        self.expect(duplicate, "the duplicate is recognised");
        self.expect(self.hub.runs(&every()).len() == runs, "the duplicate starts no run");
        self.expect(self.sales_orders(first) == 1, "the duplicate makes no second sales order");
        Ok(())
    }

    async fn refused(&mut self, title: &str, webhook: &Webhook, status: u16) -> Result<(), Failed> {
        self.title(title);
        let runs = self.hub.runs(&every()).len();
        let receipt = self.deliver(webhook).await?;
        let answer = body(&receipt);
        let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        self.out.say(format!("  {} {}: {}", receipt.response.status(), self.out.dim(&text("code")), text("detail")));
        self.expect(receipt.response.status() == status, &format!("{title} is refused with {status}"));
        self.expect(self.hub.runs(&every()).len() == runs, &format!("{title} starts no run"));
        Ok(())
    }

    async fn deliver(&self, webhook: &Webhook) -> Result<Receipt, Failed> {
        let send =
            |request: http::Request<Bytes>| async { client::send(request).await.map_err(|error| error.to_string()) };
        let options = DeliveryOptions { pauses_ms: Vec::new(), ..DeliveryOptions::default() };
        Ok(self.retailer.shop.deliver(self.url, webhook, &options, send).await?)
    }

    fn show_erp(&self) {
        self.title("What is in the ERP now");
        for order in self.retailer.erp.orders() {
            self.out.say(format!(
                "  sales order {} for customer reference {}: {} {}",
                self.out.bold(&order.id),
                order.purchase_order,
                order.total_net_amount,
                order.currency
            ));
            for item in &order.items {
                let line =
                    format!("    {:>6}  {:<16} × {:<4} {}", item.number, item.material, item.quantity, item.net_amount);
                self.out.say(line);
            }
        }
    }

    fn sales_orders(&self, webhook: &Webhook) -> usize {
        let names = webhook.order.as_ref().map(|order| order.references()).unwrap_or_default();
        self.retailer.erp.orders().iter().filter(|order| names.contains(&order.purchase_order)).count()
    }

    fn title(&self, title: &str) {
        self.out.say(format!("\n{}", self.out.bold(title)));
    }

    fn expect(&mut self, holds: bool, what: &str) {
        if !holds {
            self.wrong.push(format!("not so: {what}"));
        }
    }
}

fn every() -> crate::ports::hub::RunFilter {
    crate::ports::hub::RunFilter { limit: usize::MAX, ..crate::ports::hub::RunFilter::default() }
}

fn body(receipt: &Receipt) -> Value {
    serde_json::from_slice(receipt.response.body()).unwrap_or_default()
}

fn run_of(answer: &Value) -> Option<RunId> {
    let run = answer.pointer("/events/0/runs/0")?;
    run.as_str().or_else(|| run.get("id").and_then(Value::as_str))?.parse().ok()
}
