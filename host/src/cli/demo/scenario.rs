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
    ports::hub::{Decision, Hub as _, Question, QuestionFilter},
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

        self.approved().await?;
        self.undone().await?;

        self.duplicate(&ordinary).await?;
        self.refused("A malformed order", &self.retailer.shop.malformed(), 400).await?;
        self.refused("A forged signature", &self.retailer.shop.wrongly_signed(), 401).await?;

        let locked = self.retailer.order_locked_at_first(LOCKED_ATTEMPTS, None);
        let run = self.order("An order whose ERP document is locked at first", &locked, RunState::Completed).await?;
        let attempts = run.and_then(|run| run.steps.into_iter().find(|step| step.path == "erp_order"));
        let attempts = attempts.map_or(0, |step| step.attempts);
        self.expect(attempts == LOCKED_ATTEMPTS + 1, "the locked document was tried again until it was free");
        self.expect(self.sales_orders(&locked) == 1, "the order that was locked is in the ERP once");
        Ok(())
    }

    /// An order that policy holds, and that a person then lets go on.
    async fn approved(&mut self) -> Result<(), Failed> {
        let large = self.retailer.shop.high_value();
        self.title("A large order, which policy holds until a person decides");
        let answer = body(&self.deliver(&large).await?);
        let Some(run) = run_of(&answer) else {
            self.wrong.push(format!("the large order: the hub answered {answer}"));
            return Ok(());
        };
        let asked = tokio::time::timeout(RUN_LIMIT, self.question(run)).await;
        let Ok(Some(question)) = asked else {
            self.wrong.push("nobody was asked about the large order".to_owned());
            return Ok(());
        };
        self.out
            .say(format!("  group `{}` is asked at step `{}`, until {}", question.group, question.step, question.due));
        self.expect(self.sales_orders(&large) == 0, "the large order is not in the ERP before it is approved");
        let decision = Decision {
            actor: "lea".to_owned(),
            on_behalf_of: None,
            approved: true,
            revision: question.revision,
            digest: question.digest,
            override_code: None,
            reason: "the customer is known".to_owned(),
        };
        self.hub.decide(run, &question.step, decision).await?;
        self.out.say("  lea approves: the customer is known");
        let view = tokio::time::timeout(RUN_LIMIT, self.follow(run)).await.ok().flatten();
        self.expect(
            view.is_some_and(|view| view.summary.state == RunState::Completed),
            "the approved order goes through every step",
        );
        self.expect(self.sales_orders(&large) == 1, "the approved order is in the ERP once");
        Ok(())
    }

    /// What the run asks people, once it does.
    async fn question(&self, run: RunId) -> Option<Question> {
        let mut views = self.hub.watch(run);
        while views.next().await.is_some() {
            let filter = QuestionFilter { group: None, run: Some(run), limit: 1 };
            if let Some(question) = self.hub.questions(&filter).pop() {
                return Some(question);
            }
        }
        None
    }

    /// An order that the warehouse refuses when it is in the ERP already: the ERP's document is cancelled again.
    async fn undone(&mut self) -> Result<(), Failed> {
        self.retailer.warehouse.refuse_picks(1);
        let webhook = self.retailer.shop.ordinary();
        let title = "An order that the warehouse refuses at the last moment";
        let run = self.order(title, &webhook, RunState::Rejected).await?;
        let undone = run.is_some_and(|run| run.steps.iter().any(|step| step.path == "erp_order~compensate"));
        self.expect(undone, "the sales order of the refused order is undone");
        self.expect(self.live_sales_orders(&webhook) == 0, "no sales order of the refused order is left");
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

    /// What is in the ERP at the end.
    pub(super) fn show_erp(&self) {
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
        sales_orders(self.retailer, webhook)
    }

    fn live_sales_orders(&self, webhook: &Webhook) -> usize {
        let names = webhook.order.as_ref().map(|order| order.references()).unwrap_or_default();
        let live = |order: &&crate::sandbox::erp::SalesOrder| {
            names.contains(&order.purchase_order) && !order.rejected && !order.deleted
        };
        self.retailer.erp.orders().iter().filter(live).count()
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

/// How many sales orders the ERP has for a webhook's order.
pub(super) fn sales_orders(retailer: &Retailer, webhook: &Webhook) -> usize {
    let names = webhook.order.as_ref().map(|order| order.references()).unwrap_or_default();
    retailer.erp.orders().iter().filter(|order| names.contains(&order.purchase_order)).count()
}

/// What the hub answered a delivery.
pub(super) fn body(receipt: &Receipt) -> Value {
    serde_json::from_slice(receipt.response.body()).unwrap_or_default()
}

/// The run that a delivery started.
pub(super) fn run_of(answer: &Value) -> Option<RunId> {
    let run = answer.pointer("/events/0/runs/0")?;
    run.as_str().or_else(|| run.get("id").and_then(Value::as_str))?.parse().ok()
}
