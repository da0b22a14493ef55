//! A hub that is killed all the time, the remotes around it, and senders that do not give up: what the crash suite is made
//! of. What must hold in the end is in [`checks`].

#![allow(clippy::indexing_slicing, reason = "what a document does not have is null")]

pub mod checks;
mod pipelines;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    dice::Dice,
    effects::Remotes,
    guests,
    hub::{self, Hub, PATIENCE},
};

/// A moment between two looks at something.
const MOMENT: Duration = Duration::from_millis(5);
/// How long a hub is given before the next orders are sent to it, so that what happens seldom happens at last.
const NEXT_ORDERS: Duration = Duration::from_secs(1);

/// What an order goes through; each is a pipeline `crash/KIND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A rule, two writes, a choice, a write that is refused and passed over, an event that starts another pipeline.
    Straight,
    /// Two writes, then a refusal: both are undone.
    Undo,
    /// Branches side by side; refused or not.
    Parallel,
    /// A write for each of three items, two at a time; refused or not.
    Lines,
    /// A write, a signal, a nap, a write.
    Waits,
    /// A pipeline within a pipeline, then a write.
    Parent,
    /// A write to the remote that honours nothing.
    Blind,
}

/// All of them.
pub const KINDS: [Kind; 7] =
    [Kind::Straight, Kind::Undo, Kind::Parallel, Kind::Lines, Kind::Waits, Kind::Parent, Kind::Blind];

impl Kind {
    /// The word in the pipeline's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Straight => "straight",
            Self::Undo => "undo",
            Self::Parallel => "parallel",
            Self::Lines => "lines",
            Self::Waits => "waits",
            Self::Parent => "parent",
            Self::Blind => "blind",
        }
    }
}

/// An order that was sent, or will be.
#[derive(Clone, Debug)]
pub struct Order {
    /// What it goes through.
    pub kind: Kind,
    /// What it is about; unique.
    pub key: String,
    /// Whether its last write is refused.
    pub refuse: bool,
}

/// What the senders know.
#[derive(Default)]
struct Sent {
    /// Events that were acknowledged, by id: the runs that the hub named.
    acknowledged: BTreeMap<String, Value>,
    /// What must not have happened.
    problems: Vec<String>,
    under_way: usize,
    duplicates: usize,
}

/// The hub that is killed, and everything around it.
pub struct Setting {
    /// The remotes.
    pub remotes: Remotes,
    /// Orders so far.
    pub orders: Vec<Order>,
    /// Kills so far.
    pub kills: usize,
    /// Kills that the hub did itself, at the place that it was told.
    pub aborts: usize,
    binary: String,
    data: PathBuf,
    config: PathBuf,
    token: Arc<str>,
    urls: watch::Sender<String>,
    sent: Arc<Mutex<Sent>>,
    /// Orders that wait for a signal that was not sent yet.
    waiting: Vec<String>,
}

impl Setting {
    /// Writes down what an operator would, with the data at a place of its own.
    ///
    /// # Panics
    /// If something of it cannot be had.
    #[allow(clippy::panic, reason = "a test without its setting has failed, and must say why")]
    pub async fn new(binary: &str, folder: &Path, data: PathBuf, seed: u64) -> Self {
        let remotes = Remotes::start(seed).await;
        let config = configure(folder, &remotes.url).unwrap_or_else(|error| panic!("{error}"));
        // A copy, so that every life of the hub is of the same build, whatever is compiled meanwhile.
        let program = folder.join("crossdock");
        // By a process of its own: whoever is forked while this one writes the file keeps it busy.
        let copied = std::process::Command::new("cp").arg(binary).arg(&program).status();
        assert!(copied.is_ok_and(|status| status.success()), "cannot copy {binary}");
        // Somebody is enrolled before anything is killed.
        let hub = Hub::start(&program.display().to_string(), &data, Some(&config));
        let token = fs::read_to_string(&hub.token_file).unwrap_or_else(|error| panic!("no token: {error}"));
        assert!(hub.stop());
        Self {
            remotes,
            orders: Vec::new(),
            kills: 0,
            aborts: 0,
            binary: program.display().to_string(),
            data,
            config,
            token: token.trim().into(),
            urls: watch::Sender::new(String::new()),
            sent: Arc::default(),
            waiting: Vec::new(),
        }
    }

    /// The command that starts the hub; it ends itself at a place, if one is named.
    #[must_use]
    pub fn command(&self, crash_at: Option<&str>) -> Command {
        let mut command = hub::command(&self.binary, &self.data, Some(&self.config));
        if let Some(place) = crash_at {
            command.env("CROSSDOCK_CRASH_AT", place);
        }
        command
    }

    /// Starts the hub; none: it ended itself before it listened, where it was told to.
    ///
    /// # Panics
    /// If it ends and nobody told it to.
    #[allow(clippy::panic, reason = "a hub that does not start after a crash has failed the test")]
    pub fn start(&mut self, crash_at: Option<&str>) -> Option<Hub> {
        match Hub::try_start(self.command(crash_at), &self.binary, &self.data) {
            Ok(hub) => {
                self.urls.send_replace(hub.url.clone());
                Some(hub)
            }
            Err(said) if crash_at.is_some() && !said.contains("error:") => {
                self.kills += 1;
                self.aborts += 1;
                None
            }
            Err(said) => panic!("after {} kills the hub does not start: {said}", self.kills),
        }
    }

    /// Lets the hub live for so long, or until it ends itself; then it is dead. Whether it ended itself.
    pub async fn live(&mut self, mut hub: Hub, limit: Duration) -> bool {
        let ended = ends_within(&mut hub, limit).await;
        self.end(hub, ended)
    }

    /// The same, with new orders of all kinds every second, since some of what happens is left to chance.
    pub async fn live_until_it_ends(&mut self, mut hub: Hub, limit: Duration, dice: &mut Dice) -> bool {
        let begun = Instant::now();
        let mut ended = ends_within(&mut hub, NEXT_ORDERS).await;
        while !ended && begun.elapsed() < limit {
            self.send(&KINDS, dice);
            ended = ends_within(&mut hub, NEXT_ORDERS).await;
        }
        self.end(hub, ended)
    }

    fn end(&mut self, hub: Hub, by_itself: bool) -> bool {
        hub.kill();
        self.died(by_itself);
        by_itself
    }

    /// Counts a kill.
    pub fn died(&mut self, by_itself: bool) {
        self.urls.send_replace(String::new());
        self.kills += 1;
        self.aborts += usize::from(by_itself);
        let said = fs::read_to_string(self.data.with_extension("log")).unwrap_or_default();
        if said.contains("a defect of the hub") || said.contains("cannot be taken up") || said.contains("panicked") {
            self.lock().problems.push(format!("after kill {}: {said}", self.kills));
        }
    }

    /// Sends orders of these kinds, and the signals that earlier ones wait for; senders go on until they are answered.
    pub fn send(&mut self, kinds: &[Kind], dice: &mut Dice) {
        for key in std::mem::take(&mut self.waiting) {
            self.post(format!("go-{key}"), "crash.go.v1", key, json!({}), false);
        }
        for kind in kinds {
            let key = format!("{}-{}", kind.name(), self.orders.len());
            let refuse = *kind == Kind::Undo || dice.below(2) == 0;
            let data = json!({ "refuse": refuse, "lines": ["1", "2", "3"] });
            let again = dice.below(5) == 0;
            self.post(key.clone(), &format!("crash.{}.v1", kind.name()), key.clone(), data, again);
            if *kind == Kind::Waits {
                self.waiting.push(key.clone());
            }
            self.orders.push(Order { kind: *kind, key, refuse });
        }
    }

    fn post(&self, id: String, event_type: &str, subject: String, data: Value, again: bool) {
        let event = json!({
            "specversion": "1.0", "id": id, "source": "/tests", "type": event_type, "subject": subject, "data": data,
        });
        let (sent, urls, token) = (Arc::clone(&self.sent), self.urls.subscribe(), Arc::clone(&self.token));
        self.lock().under_way += 1;
        tokio::spawn(async move {
            let first = deliver(&event, &token, urls.clone(), &sent).await;
            if again {
                let second = deliver(&event, &token, urls, &sent).await;
                if first["runs"] != second["runs"] && ids(&first) != ids(&second) || second["duplicate"] != true {
                    lock(&sent).problems.push(format!("sent again: {first} became {second}"));
                }
            }
            let mut sent = lock(&sent);
            sent.duplicates += usize::from(first["duplicate"] == true);
            sent.acknowledged.insert(id, first);
            sent.under_way -= 1;
        });
    }

    /// Events that were acknowledged only as known already: the first acknowledgement was lost in a crash.
    #[must_use]
    pub fn duplicates(&self) -> usize {
        self.lock().duplicates
    }

    /// How many events were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.lock().acknowledged.len()
    }

    /// Waits until every sender was answered.
    ///
    /// # Panics
    /// If that does not come to pass.
    #[allow(clippy::panic, reason = "what was waited for did not come")]
    pub async fn all_acknowledged(&self) {
        let begun = Instant::now();
        while self.lock().under_way > 0 {
            moment().await;
            if begun.elapsed() > PATIENCE {
                panic!("{} senders were not answered", self.lock().under_way);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sent> {
        lock(&self.sent)
    }
}

/// Whether the hub ends itself within so long.
async fn ends_within(hub: &mut Hub, limit: Duration) -> bool {
    let begun = Instant::now();
    loop {
        if hub.has_ended() {
            return true;
        }
        if begun.elapsed() >= limit {
            return false;
        }
        moment().await;
    }
}

/// Lets a moment pass.
pub async fn moment() {
    let _ = tokio::time::timeout(MOMENT, std::future::pending::<()>()).await;
}

fn ids(answer: &Value) -> Vec<String> {
    let runs = answer["runs"].as_array().cloned().unwrap_or_default();
    runs.iter().map(|run| run["id"].as_str().or(run.as_str()).unwrap_or_default().to_owned()).collect()
}

/// Posts an event to whichever hub there is, until one has accepted it; what it says of it.
async fn deliver(event: &Value, token: &str, mut urls: watch::Receiver<String>, sent: &Mutex<Sent>) -> Value {
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    loop {
        let url = urls.borrow_and_update().clone();
        if !url.is_empty() {
            let request = Request::post(format!("{url}/v1/events"))
                .header("content-type", "application/cloudevents+json")
                .header("authorization", format!("Bearer {token}"))
                .body(Bytes::from(event.to_string()))
                .unwrap_or_default();
            if let Ok(response) = hub::send(&client, request).await {
                let answer: Value = serde_json::from_slice(response.body()).unwrap_or_default();
                match response.status().as_u16() {
                    200 | 202 => return answer["events"][0].clone(),
                    429 | 503 => {}
                    status => lock(sent).problems.push(format!("{event} is answered {status}: {answer}")),
                }
            }
        }
        // Another hub, or this one a moment later.
        let _ = tokio::time::timeout(MOMENT * 4, urls.changed()).await;
    }
}

fn lock(sent: &Mutex<Sent>) -> MutexGuard<'_, Sent> {
    sent.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The packages: one component under three manifests, and a rule.
fn packages(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for (name, kind, component, more) in pipelines::PLUGINS {
        let package = folder.join(name);
        fs::create_dir_all(&package)?;
        let mut manifest = format!(
            "id = \"test/{name}\"\nversion = \"1.0.0\"\nkind = \"{kind}\"\ncontract = \"1.0.0\"\n\
             license = \"Apache-2.0\"\nsummary = \"For the crash suite\"\n"
        );
        manifest.push_str(more);
        fs::write(package.join("plugin.toml"), manifest)?;
        fs::write(package.join("component.wasm"), guests::hostile(component))?;
        folders.push(package);
    }
    Ok(folders)
}

fn configure(folder: &Path, url: &str) -> std::io::Result<PathBuf> {
    let mut text = format!("plugins = {:?}\npipelines = [", packages(folder)?);
    for (name, _, steps) in pipelines::PIPELINES {
        let path = folder.join(format!("{name}.yaml"));
        fs::write(&path, pipelines::text(name, steps))?;
        let _ = write!(text, "{path:?}, ");
    }
    text.push_str("]\n");
    for remote in ["native", "natural", "blind"] {
        let _ = write!(
            text,
            "[connections.{remote}]\nplugin = \"test/{remote}\"\nbase_url = \"{url}/{remote}\"\n\
             allow_addresses = [\"127.0.0.1/32\"]\nlimits = {{ breaker = {{ failures = 1000 }} }}\n"
        );
    }
    for (name, remotes, _) in pipelines::PIPELINES {
        let _ = writeln!(text, "[bindings.\"crash/{name}\"]");
        for remote in *remotes {
            let _ = writeln!(text, "{remote} = \"{remote}\"");
        }
    }
    let config = folder.join("hub.toml");
    fs::write(&config, text)?;
    Ok(config)
}
