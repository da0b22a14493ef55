//! Remotes that write down every call and what took effect, and that are as unreliable as a seed says: one honours
//! idempotency keys, one can only be asked what it has, one honours nothing. The time of each call is kept, so that a call
//! that came after its step was recorded can be told.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crossdock::{app::clock::SystemClock, model::timestamp::Timestamp, ports::clock::Clock as _};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::dice::Dice;

/// A write that came, whole.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When.
    pub at: Timestamp,
    /// Which remote: `native`, `natural` or `blind`.
    pub remote: String,
    /// What it is about.
    pub reference: String,
    /// The idempotency key that it brought.
    pub key: String,
    /// The attempt that it brought.
    pub attempt: u32,
}

/// What became of a write that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It takes effect and is answered.
    Good,
    /// 503, and nothing took effect.
    Busy,
    /// The connection is closed, and nothing took effect.
    CutBefore,
    /// The connection is closed, and then it takes effect.
    CutAfter,
}

/// Bad fates of one write, at most: what is tried often enough succeeds.
const BAD_MAX: usize = 3;

#[derive(Default)]
struct Log {
    arrivals: Vec<Arrival>,
    /// References that took effect, in order, with their remote.
    effects: Vec<(String, String)>,
    /// What a key was answered with.
    keys: HashMap<String, Value>,
    /// What a natural key names.
    natural: HashMap<String, Value>,
    /// Writes about a reference so far.
    seen: HashMap<String, usize>,
    finds: usize,
}

/// The remotes, at one address: `/native`, `/natural` and `/blind`. Their tasks end with the runtime of the test.
pub struct Remotes {
    /// The base URL, without a remote's name.
    pub url: String,
    log: Arc<Mutex<Log>>,
}

impl Remotes {
    /// Starts them.
    ///
    /// # Panics
    /// If no port can be bound.
    #[allow(clippy::panic, reason = "a test without its counterpart has failed, and must say why")]
    pub async fn start(seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap_or_else(|error| panic!("{error}"));
        let url = listener.local_addr().map_or_else(|error| panic!("{error}"), |address| format!("http://{address}"));
        let log = Arc::new(Mutex::new(Log::default()));
        let serving = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&serving), seed));
            }
        });
        Self { url, log }
    }

    /// Every write that came, in order.
    #[must_use]
    pub fn arrivals(&self) -> Vec<Arrival> {
        lock(&self.log).arrivals.clone()
    }

    /// What took effect, in order: remote and reference.
    #[must_use]
    pub fn effects(&self) -> Vec<(String, String)> {
        lock(&self.log).effects.clone()
    }

    /// How often somebody asked what is there.
    #[must_use]
    pub fn finds(&self) -> usize {
        lock(&self.log).finds
    }
}

/// A request, whole: its path, its headers in lower case, its body.
async fn read(stream: &mut TcpStream) -> Option<(String, HashMap<String, String>, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let mut body = Vec::new();
    if headers.get("transfer-encoding").is_some_and(|how| how == "chunked") {
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                line.push(stream.read_u8().await.ok()?);
            }
            let size = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).ok()?;
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk).await.ok()?;
            body.extend(chunk.get(..size)?);
            if size == 0 {
                break;
            }
        }
    } else {
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
    }
    Some((path, headers, body))
}

async fn serve(mut stream: TcpStream, log: Arc<Mutex<Log>>, seed: u64) {
    let Some((path, headers, body)) = read(&mut stream).await else { return };
    let remote = path.trim_start_matches('/').split('/').next().unwrap_or_default().to_owned();
    if let Some((_, reference)) = path.split_once("/find?ref=") {
        let found = found(&log, &reference.replace("%2F", "/"));
        return answer(stream, "200 OK", &found).await;
    }
    let document: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let reference = document.get("ref").map(text).unwrap_or_default();
    let header = |name: &str| headers.get(name).cloned().unwrap_or_default();
    let (key, attempt) = (header("idempotency-key"), header("x-attempt").parse().unwrap_or(0));
    let fate = {
        let mut log = lock(&log);
        let at = SystemClock::default().now();
        log.arrivals.push(Arrival {
            at,
            remote: remote.clone(),
            reference: reference.clone(),
            key: key.clone(),
            attempt,
        });
        let seen = log.seen.entry(reference.clone()).or_default();
        *seen += 1;
        fate(seed, &remote, &reference, *seen)
    };
    if document.get("refuse").and_then(Value::as_bool) == Some(true) {
        return answer(stream, "422 Unprocessable Content", &json!({ "refused": reference })).await;
    }
    match fate {
        Fate::Busy => answer(stream, "503 Service Unavailable", &json!({})).await,
        Fate::CutBefore => drop(stream),
        Fate::CutAfter => {
            drop(stream);
            let _ = commit(&log, &remote, &reference, &key);
        }
        Fate::Good => {
            let given = commit(&log, &remote, &reference, &key);
            answer(stream, "200 OK", &given).await;
        }
    }
}

/// What is there under a natural key.
fn found(log: &Mutex<Log>, reference: &str) -> Value {
    let mut log = lock(log);
    log.finds += 1;
    log.natural.get(reference).cloned().unwrap_or(Value::Null)
}

/// What becomes of the n-th write about a reference.
fn fate(seed: u64, remote: &str, reference: &str, seen: usize) -> Fate {
    if seen > BAD_MAX {
        return Fate::Good;
    }
    let salt = reference.bytes().fold(seed, |salt, byte| salt.wrapping_mul(31).wrapping_add(u64::from(byte)));
    // Where nothing is honoured, each answer that is lost needs a person: that is to happen often.
    let sides = if remote == "blind" { 6 } else { 12 };
    match Dice::new(salt.wrapping_add(seen as u64)).below(sides) {
        0 | 1 => Fate::Busy,
        2 => Fate::CutBefore,
        3 => Fate::CutAfter,
        _ => Fate::Good,
    }
}

/// It takes effect, unless the remote knows better; what it answers.
fn commit(log: &Mutex<Log>, remote: &str, reference: &str, key: &str) -> Value {
    let mut log = lock(log);
    if remote == "native"
        && let Some(given) = log.keys.get(key)
    {
        return given.clone();
    }
    let given = json!({ "status": "done", "id": format!("{reference}#{}", log.effects.len()) });
    log.effects.push((remote.to_owned(), reference.to_owned()));
    match remote {
        "native" => drop(log.keys.insert(key.to_owned(), given.clone())),
        "natural" => drop(log.natural.insert(reference.to_owned(), given.clone())),
        _ => {}
    }
    given
}

async fn answer(mut stream: TcpStream, status: &str, body: &Value) {
    let body = body.to_string();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    // A caller that has gone away is no failure of the remote.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn lock(mutex: &Mutex<Log>) -> MutexGuard<'_, Log> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
