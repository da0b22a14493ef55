//! A mock hub for `cargo test`: scripted remotes, state in memory, everything that was asked of it kept.
//!
//! ```
//! use crossdock_plugin::{http, testing::{MockHost, Reply}};
//!
//! let host = MockHost::new().reply("GET", "/stock", Reply::json(200, &serde_json::json!({ "nodes": [] }))).install();
//! assert_eq!(http::get("http://wms.example/stock?sku=a").send().map(|answer| answer.status()), Ok(200));
//! assert_eq!(host.requests()[0].method, "GET");
//! ```
//!
//! A host belongs to its thread, as each test does, and is gone when its [`Installed`] handle is dropped.

mod memory;

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    marker::PhantomData,
};

use hmac::{Hmac, Mac as _};
use serde::Serialize;
use sha2::{Sha256, Sha512};

pub(crate) use self::memory::Memory;
use crate::{
    Call, Failure, Feed, Step,
    http::{Lost, Request, Response},
    log::Level,
};

/// The time that calls are recorded at.
pub const NOW: &str = "2026-03-01T08:15:00.000Z";

thread_local! {
    static HOST: RefCell<Option<MockHost>> = const { RefCell::new(None) };
}

/// What a remote answers.
#[derive(Clone, Debug)]
pub struct Reply(Result<Response, Lost>);

impl Reply {
    /// An answer with a JSON body.
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).unwrap_or_default();
        Self(Ok(Response::new(status, vec![("content-type".to_owned(), "application/json".to_owned())], body)))
    }

    /// An answer without a body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self(Ok(Response::new(status, Vec::new(), Vec::new())))
    }

    /// The request arrived, and its answer did not.
    #[must_use]
    pub fn lost() -> Self {
        Self(Err(Lost::broken("the connection broke")))
    }

    /// No connection came about.
    #[must_use]
    pub fn unreachable() -> Self {
        Self(Err(Lost::connect("connection refused")))
    }

    /// The hub refused the request.
    #[must_use]
    pub fn denied() -> Self {
        Self(Err(Lost::denied("the request is not granted")))
    }

    /// Adds a header.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        Self(self.0.map(|response| response.with_header(name, value)))
    }
}

/// A request as the mock host saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// In upper case.
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// In order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The exact bytes.
    pub body: Vec<u8>,
}

impl Seen {
    /// The first value of a header; `name` in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body's JSON; `null` if it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// How much it matters.
    pub level: Level,
    /// The text.
    pub message: String,
    /// What varies.
    pub fields: Vec<(String, String)>,
}

type Answering = Box<dyn FnMut(&Seen) -> Reply>;

/// A mock host, before it is installed.
#[derive(Default)]
pub struct MockHost {
    replies: Vec<(String, String, VecDeque<Reply>)>,
    answering: Option<Answering>,
    secrets: BTreeMap<String, Vec<u8>>,
    config: String,
    requests: Vec<Seen>,
    logged: Vec<Logged>,
    pub(crate) state: Memory,
    pub(crate) annotations: Vec<(String, String)>,
    pub(crate) remaining_ms: u32,
}

impl MockHost {
    /// A host whose remotes answer nothing.
    #[must_use]
    pub fn new() -> Self {
        Self { remaining_ms: 5_000, config: "{}".to_owned(), ..Self::default() }
    }

    /// The next request with this method and this part in its URL is answered so. Several for the same are used up in
    /// order.
    #[must_use]
    pub fn reply(mut self, method: &str, url_part: &str, reply: Reply) -> Self {
        match self.replies.iter_mut().find(|(known, part, _)| known == method && part == url_part) {
            Some((_, _, queue)) => queue.push_back(reply),
            None => self.replies.push((method.to_owned(), url_part.to_owned(), VecDeque::from([reply]))),
        }
        self
    }

    /// Requests that no [`MockHost::reply`] is for are answered by a function: a remote of one's own.
    #[must_use]
    pub fn answer(mut self, remote: impl FnMut(&Seen) -> Reply + 'static) -> Self {
        self.answering = Some(Box::new(remote));
        self
    }

    /// The settings of the calls that [`Installed::call`] makes.
    #[must_use]
    pub fn config(mut self, config: &serde_json::Value) -> Self {
        self.config = config.to_string();
        self
    }

    /// A secret for [`crate::secrets`].
    #[must_use]
    pub fn secret(mut self, name: &str, value: &[u8]) -> Self {
        self.secrets.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Makes it the host of this thread, until the handle is dropped.
    #[must_use]
    pub fn install(self) -> Installed {
        HOST.set(Some(self));
        Installed { thread: PhantomData }
    }

    pub(crate) fn log(&mut self, level: Level, message: &str, fields: &[(String, String)]) {
        self.logged.push(Logged { level, message: message.to_owned(), fields: fields.to_vec() });
    }

    pub(crate) fn send(&mut self, request: &Request) -> Result<Response, Lost> {
        let seen = Seen {
            method: request.method.as_str().to_owned(),
            url: request.url(),
            headers: request.headers.clone(),
            body: request.body.clone(),
        };
        self.requests.push(seen.clone());
        let scripted = self
            .replies
            .iter_mut()
            .filter(|(method, part, queue)| {
                *method == seen.method && seen.url.contains(part.as_str()) && !queue.is_empty()
            })
            // The most telling part wins, so that `/orders/1` is not taken for `/orders`.
            .max_by_key(|(_, part, _)| part.len())
            .and_then(|(_, _, queue)| queue.pop_front());
        let reply = scripted.or_else(|| self.answering.as_mut().map(|remote| remote(&seen)));
        match reply {
            Some(Reply(reply)) => reply,
            None => Err(Lost::denied(format!("no reply is scripted for {} {}", seen.method, seen.url))),
        }
    }

    pub(crate) fn sign(&self, secret: &str, algorithm: &str, data: &[u8]) -> Result<Vec<u8>, Failure> {
        let Some(key) = self.secrets.get(secret) else {
            return Err(Failure::denied("secret.not-granted", format!("secret `{secret}` is not granted")));
        };
        match algorithm {
            "hmac-sha256" => Ok(Hmac::<Sha256>::new_from_slice(key)
                .map(|mac| mac.chain_update(data).finalize().into_bytes().to_vec())
                .unwrap_or_default()),
            "hmac-sha512" => Ok(Hmac::<Sha512>::new_from_slice(key)
                .map(|mac| mac.chain_update(data).finalize().into_bytes().to_vec())
                .unwrap_or_default()),
            _ => Err(Failure::invalid("secret.algorithm-unknown", format!("the mock host has no `{algorithm}`"))),
        }
    }
}

/// A mock host at work in this thread.
pub struct Installed {
    /// The host is the thread's, so its handle stays there.
    thread: PhantomData<*const ()>,
}

impl Installed {
    /// Every request so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        with_host(|host| host.requests.clone())
    }

    /// Every line of the log so far.
    #[must_use]
    pub fn logged(&self) -> Vec<Logged> {
        with_host(|host| host.logged.clone())
    }

    /// Every annotation so far.
    #[must_use]
    pub fn annotations(&self) -> Vec<(String, String)> {
        with_host(|host| host.annotations.clone())
    }

    /// A call of an operation with the host's settings, for the `invoke` that [`crate::connector!`] makes.
    #[must_use]
    pub fn call(&self, operation: &str, attempt: u32) -> Call {
        let config = with_host(|host| host.config.clone());
        Call {
            operation: operation.to_owned(),
            idempotency_key: "xd_00000000000000000000000000000001".to_owned(),
            attempt,
            step: step(&config),
        }
    }

    /// A feed with the host's settings, for the function of a [`crate::polling!`] or [`crate::webhook!`] source. The hub
    /// names the type of event that the trigger expects as attribute `event`.
    #[must_use]
    pub fn feed(&self, event_type: &str) -> Feed {
        Feed {
            name: "feed".to_owned(),
            now: NOW.to_owned(),
            config: with_host(|host| host.config.clone()).into_bytes(),
            attributes: vec![("event".to_owned(), event_type.to_owned())],
        }
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        HOST.set(None);
    }
}

/// A step with these settings, for calling a plugin's function directly.
#[must_use]
pub fn step(config: &str) -> Step {
    Step {
        run: "run_00000000000000000000000000000001".to_owned(),
        pipeline: "test/pipeline".to_owned(),
        pipeline_version: "1.0.0".to_owned(),
        name: "step".to_owned(),
        now: NOW.to_owned(),
        config: config.as_bytes().to_vec(),
        attributes: Vec::new(),
    }
}

/// The thread's host; one that answers nothing if none is installed.
pub(crate) fn with_host<T>(act: impl FnOnce(&mut MockHost) -> T) -> T {
    HOST.with_borrow_mut(|host| act(host.get_or_insert_with(MockHost::new)))
}
