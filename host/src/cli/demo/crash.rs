//! The demo's last scene: the hub as a process of its own, killed in the middle of its work and started again, while the
//! ERP holds an order's document locked. Nobody notices.

use std::{path::Path, process::Stdio, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use super::scenario::{body, run_of, sales_orders};
use crate::{
    app::access::enrolment::token_path,
    cli::{Failed, credentials, out::Out, story},
    model::{
        id::RunId,
        run::{RunState, RunView, StepView},
    },
    net::client::{self, Client, Credentials},
    sandbox::{
        Retailer,
        shop::{DeliveryOptions, Receipt, Webhook},
    },
};

/// How long a hub may take to start, and a run to come where it should.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a run is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Writes that find the document locked: more than the pipeline tries.
const LOCKED_ATTEMPTS: u32 = 100;
/// The attempt after which the hub is killed.
const KILLED_AFTER: u32 = 2;
/// The step that is being tried.
const STEP: &str = "erp_order";

/// `crossdock serve` in a process of its own. Killed when dropped.
struct Served {
    child: Child,
    url: String,
    /// The demo's own token.
    credentials: Credentials,
}

impl Served {
    /// Starts this very binary over a data folder, and waits until it listens.
    async fn start(data: &Path) -> Result<Self, Failed> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--json", "serve", "--listen", "127.0.0.1:0", "--data"]).arg(data);
        // What it logs belongs to it, not to the story.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let said = child.stdout.take().ok_or("the hub's process has no output")?;
        let mut lines = BufReader::new(said).lines();
        let listening = async {
            while let Some(line) = lines.next_line().await? {
                if let Some(url) = line.split('"').find(|part| part.starts_with("http://")) {
                    return Ok::<_, Failed>(url.to_owned());
                }
            }
            Err(format!("the hub's process ended at its start; `crossdock serve --data {}` says why", data.display())
                .into())
        };
        let url = tokio::time::timeout(PATIENCE, listening).await.map_err(|_| "the hub's process does not start")??;
        // What it says later must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let credentials = Credentials { token: Some(credentials::read(&token_path(data))?), authorities: None };
        Ok(Self { child, url, credentials })
    }

    /// Kills it without a word, as a crash would (SIGKILL).
    async fn kill(mut self) -> Result<(), Failed> {
        Ok(self.child.kill().await?)
    }

    // What the scene asks of the hub over HTTP, all of it.

    async fn deliver(&self, retailer: &Retailer, webhook: &Webhook) -> Result<Receipt, Failed> {
        let send =
            |request: http::Request<Bytes>| async { client::send(request).await.map_err(|error| error.to_string()) };
        let options = DeliveryOptions { pauses_ms: Vec::new(), ..DeliveryOptions::default() };
        Ok(retailer.shop.deliver(&self.url, webhook, &options, send).await?)
    }

    /// Follows a run, telling what is new, until it is as wanted; none: it settled otherwise.
    async fn until(
        &self,
        run: RunId,
        out: &Out,
        telling: &mut story::Telling,
        wanted: impl Fn(&RunView) -> bool,
    ) -> Result<Option<RunView>, Failed> {
        let client = Client::with(&self.url, &self.credentials)?;
        let following = async {
            loop {
                let view: RunView = client.get(&format!("/v1/runs/{run}")).await?;
                telling.tell(out, &view);
                if wanted(&view) {
                    return Ok(Some(view));
                }
                if view.summary.state.is_settled() {
                    return Ok::<_, Failed>(None);
                }
                // A stream would do, but comes later than the kill should.
                let _ = tokio::time::timeout(LOOK_INTERVAL, std::future::pending::<()>()).await;
            }
        };
        tokio::time::timeout(PATIENCE, following).await.map_err(|_| format!("run {run} does not come on"))?
    }
}

/// Plays the scene on the demo's data; no other process may have it open. What did not come out as it should.
pub(super) async fn play(out: &Out, retailer: &Retailer, data: &Path) -> Result<Vec<String>, Failed> {
    let mut wrong = Vec::new();
    let mut expect = |holds: bool, what: &str| {
        if !holds {
            wrong.push(format!("not so: {what}"));
        }
    };
    out.say(format!("\n{}", out.bold("A crash in mid-run, which nobody notices")));
    let webhook = retailer.order_locked_at_first(LOCKED_ATTEMPTS, None);
    let hub = Served::start(data).await?;
    out.say(format!("  `crossdock serve` over the same data, process {}, {}", pid(&hub.child), hub.url));
    let answer = body(&hub.deliver(retailer, &webhook).await?);
    let run = run_of(&answer).ok_or_else(|| format!("the order before the crash: the hub answered {answer}"))?;
    let mut telling = story::Telling::default();
    let retrying = |view: &RunView| tried(view) >= KILLED_AFTER && view.summary.state == RunState::Waiting;
    let before = hub.until(run, out, &mut telling, retrying).await?;
    let attempts = before.as_ref().map_or(0, tried);
    expect(attempts >= KILLED_AFTER, "the run waits for its next attempt when the hub is killed");
    hub.kill().await?;
    out.say(format!("  {} after {attempts} attempts; the ERP still holds the document locked", out.red("kill -9")));
    expect(sales_orders(retailer, &webhook) == 0, "nothing is in the ERP when the hub is killed");

    let hub = Served::start(data).await?;
    out.say(format!("  started again, process {}; now the ERP lets go", pid(&hub.child)));
    retailer.erp.mend();
    let settled = |view: &RunView| view.summary.state.is_settled();
    let after = hub.until(run, out, &mut telling, settled).await?;
    if let Some(view) = &after {
        out.say(format!("  {run}: {}", story::ending(out, view)));
    }
    hub.kill().await?;
    let completed = after.as_ref().is_some_and(|view| view.summary.state == RunState::Completed);
    expect(completed, "the run that the crash interrupted goes through every step");
    let counted = after.as_ref().map_or(0, tried);
    expect(counted > attempts, "the attempts are counted on after the crash");
    let failed = after.as_ref().and_then(step).map_or(0, |step| step.failures.len());
    expect(failed + 1 == usize::try_from(counted).unwrap_or(0), "every attempt before the last has its failure");
    let orders = sales_orders(retailer, &webhook);
    expect(orders == 1, "the order is in the ERP once, in spite of the crash");
    out.say(format!("  attempts before the crash {attempts}, in all {counted}; sales orders in the ERP: {orders}"));
    Ok(wrong)
}

fn pid(child: &Child) -> String {
    child.id().map_or_else(|| "?".to_owned(), |id| id.to_string())
}

fn step(view: &RunView) -> Option<&StepView> {
    view.steps.iter().find(|step| step.path == STEP)
}

/// Attempts of the step so far.
fn tried(view: &RunView) -> u32 {
    step(view).map_or(0, |step| step.attempts)
}
