//! Stores that earlier releases wrote, byte by byte: `golden/format-N.json`, one file for each format of entries that
//! was ever written. Today's code must open each and read the same facts out of it.
//!
//! When `model::entry::FORMAT` is raised, today's code no longer writes what the newest file holds: extend [`samples`]
//! by the new facts, run `CROSSDOCK_GOLDEN=write cargo test -p crossdock golden`, and commit the file that appears
//! beside the others. A file that is there is never changed.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Store, head::HeadFile};
use crate::{
    model::{
        entry::{Entry, FORMAT},
        id::AppendId,
    },
    ports::journal::{Append, StreamId, Version},
    store::conformance::StillClock,
};

/// One store: what was told to it, and the bytes that it made of that. Bytes are hexadecimal.
#[derive(Serialize, Deserialize)]
struct Golden {
    /// What this is, for people.
    about: String,
    /// The format byte of its entries.
    format: u8,
    /// Appends in their order: the key of the stream, and the facts as JSON.
    appends: Vec<(String, Vec<Value>)>,
    /// Records, as text.
    records: BTreeMap<String, String>,
    /// `head`, without the zeros at its end.
    head: String,
    /// Everything in the database.
    tree: BTreeMap<String, String>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/disk/golden")
}

fn stored() -> Vec<(String, Golden)> {
    let mut found = Vec::new();
    for file in fs::read_dir(folder()).unwrap() {
        let path = file.unwrap().path();
        let golden: Golden = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        found.push((path.file_name().unwrap().to_string_lossy().into_owned(), golden));
    }
    found.sort_by_key(|(_, golden)| golden.format);
    found
}

/// Every kind of fact that the current format knows, in an order that makes a run of sorts.
fn samples() -> Vec<(String, Vec<Value>)> {
    let digest = format!("sha256:{}", "ab".repeat(32));
    let event = json!({
        "id": "o-1", "source": "shop", "type": "retail.order.placed.v1", "subject": "4711", "time": "2026-01-02T03:04:05.678Z",
        "dataschema": "retail/order@1", "data": { "total": 12.5, "lines": [1, 2] }, "extensions": { "channel": "web" }
    });
    let pipeline = json!({ "name": "order-to-erp", "version": "1.2.0", "digest": digest });
    let plugin = json!({ "id": "retail/rules", "version": "1.0.0", "digest": digest, "contract": "crossdock:plugin@1.0.0", "grant": 3 });
    let usage = json!({ "fuel": 12_345, "memory_bytes": 65_536, "elapsed_us": 78, "log_lines_dropped": 1 });
    let log = json!([{ "level": "info", "message": "weighed", "fields": [["grams", "700"]] }]);
    let failure = json!({
        "kind": "uncertain", "code": "http.lost", "message": "no reply", "retry_after_ms": 500, "detail": { "status": 502 }
    });
    let time = "2026-01-02T03:04:06.000Z";
    let run = format!("run_{}", "22".repeat(16));
    let acceptance = format!("acc_{}", "11".repeat(16));
    let done = |step: &str, output: Value| {
        json!({ "step_done": { "step": step, "time": time, "output": output, "usage": usage, "log": log,
            "annotations": [["trace", "t-1"]] } })
    };
    let accepted = json!({ "accepted": { "time": time, "event": event, "digest": digest,
        "starts": [{ "run": run, "pipeline": pipeline }] } });
    let started = json!({ "run_started": { "time": time, "acceptance": acceptance, "pipeline": pipeline, "key": "4711", "event": event } });
    let pure =
        json!({ "step_started": { "step": "check", "time": time, "attempt": 1, "plugin": plugin, "operation": null } });
    let verdict = done(
        "check",
        json!({ "verdict": { "outcome": "route", "target": "express", "output": { "ok": true },
            "reasons": [{ "code": "stock.low", "message": "3 left", "path": "/lines/0" }] } }),
    );
    let score = done(
        "fraud",
        json!({ "assessment": { "model": "fraud", "model_version": "7", "score": 0.25, "confidence": 0.75,
            "recommendation": "pass", "alternatives": [{ "recommendation": "hold", "score": 0.125 }],
            "reasons": [], "features": { "age_days": 12 } } }),
    );
    let intent = json!({ "intent": { "step": "order", "time": time, "attempt": 2, "plugin": plugin,
        "operation": "erp#create-order", "key": format!("xd_{}", "33".repeat(16)), "input": digest, "resolving": true } });
    let failed = json!({ "attempt_failed": { "step": "order", "time": time, "attempt": 2, "failure": failure,
        "next": "2026-01-02T03:05:00.000Z", "usage": usage, "log": log } });
    let signal = format!("sig_{}", "44".repeat(16));
    let later = vec![
        json!({ "entered": { "step": "each", "time": time, "items": [1, 2], "max": 3 } }),
        json!({ "vars_set": { "step": "set", "time": time, "values": { "tries": 2 } } }),
        json!({ "wait_started": { "step": "pick", "time": time, "due": time, "awaits": [{ "name": "signal", "key": signal }] } }),
        json!({ "signalled": { "step": "pick", "time": time, "name": "signal", "acceptance": acceptance, "event": event } }),
        json!({ "wait_over": { "step": "pick", "time": time } }),
        json!({ "approval_asked": { "step": "ask", "time": time, "revision": 1, "group": "finance", "quorum": 2,
            "not": ["ada"], "evidence": { "total": 9 }, "digest": digest, "remind": [time],
            "escalate": ["board", time], "due": time } }),
        json!({ "approval_nudged": { "step": "ask", "time": time, "to": "board" } }),
        json!({ "approval_decided": { "step": "ask", "time": time, "revision": 1, "digest": digest, "actor": "bob",
            "on_behalf_of": "ada", "approved": true, "override_code": "peak", "reason": "known customer" } }),
        json!({ "approval_expired": { "step": "ask", "time": time } }),
        json!({ "step_failed": { "step": "each", "time": time, "failure": failure } }),
        json!({ "handled": { "step": "each", "time": time, "by": "on_exhausted", "output": { "x": 1 } } }),
        json!({ "undo_began": { "step": null, "time": time, "effects": ["order"] } }),
        json!({ "controlled": { "time": time, "actor": "bob", "action": { "do": "resolve", "step": "order", "output": 1 },
            "reason": "seen at the remote" } }),
        json!({ "restarted": { "step": "order", "time": time } }),
        json!({ "halted": { "time": time, "undo": true, "ending": { "failed": { "step": "order", "failure": failure } } } }),
        json!({ "run_ended": { "time": time, "ending": "cancelled" } }),
    ];
    // The pages of a `for`, a move to another version, and what comes for a run that was undone.
    let read = json!({ "step_started": { "step": "all~page.1", "time": time, "attempt": 1, "plugin": plugin,
        "operation": "source#rows" } });
    let paged = vec![
        json!({ "entered": { "step": "all", "time": time } }),
        read,
        done("all~page.1", json!({ "json": { "rows": [{ "id": 1 }, { "id": 2 }], "next": "2" } })),
        done("all~page.2", json!({ "json": { "rows": [{ "id": 3 }] } })),
        json!({ "moved": { "time": time, "actor": "bob", "reason": "a mistake in it",
            "pipeline": { "name": "order-to-erp", "version": "1.3.0", "digest": digest }, "steps": { "all": "every" } } }),
        done("every~page.3", json!({ "json": { "rows": [] } })),
        json!({ "waits_undone": { "time": time, "waits": [{ "step": "pick", "awaits": { "name": "signal", "key": signal } }] } }),
        json!({ "run_ended": { "time": time, "ending": "cancelled" } }),
        json!({ "exception_opened": { "step": "pick", "time": time, "name": "signal", "acceptance": acceptance, "event": event } }),
        json!({ "controlled": { "time": time, "actor": "bob", "action": { "do": "close_exception", "event": acceptance },
            "reason": "sent back" } }),
    ];
    let child = json!({ "run_started": { "time": time, "acceptance": acceptance, "pipeline": pipeline, "key": "4711",
        "event": event, "parent": { "run": run, "step": "order", "detached": false } } });
    let also = child.clone();
    let stream = |kind: &str, id: &str| format!("{}{}", hex(kind.as_bytes()), id.repeat(16));
    vec![
        (stream("a", "11"), vec![accepted]),
        (stream("r", "22"), vec![started, pure, verdict]),
        (
            stream("r", "22"),
            vec![
                json!({ "branch_taken": { "step": "check", "branch": "express" } }),
                json!({ "step_skipped": { "step": "check/gift" } }),
                score,
                json!({ "branch_closed": { "step": "check", "output": { "rate": 4 } } }),
                intent,
            ],
        ),
        (stream("r", "22"), vec![failed, done("order", json!({ "json": { "number": "SO-1" } }))]),
        (stream("r", "22"), vec![json!({ "run_parked": { "time": time, "step": "order", "failure": failure } })]),
        (
            stream("r", "22"),
            vec![
                json!({ "run_ended": { "time": time, "ending": { "rejected": { "step": "check" } } } }),
                json!({ "run_ended": { "time": time, "ending": "completed" } }),
            ],
        ),
        (stream("r", "55"), [vec![child], later].concat()),
        (stream("r", "66"), [vec![also], paged].concat()),
    ]
}

/// What today's code makes of the samples.
async fn written() -> Golden {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), StillClock::shared()).unwrap();
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    let appends = samples();
    for (stream, facts) in &appends {
        let entries: Vec<Bytes> =
            facts.iter().map(|fact| serde_json::from_value::<Entry>(fact.clone()).unwrap().encode()).collect();
        let end = ends.entry(stream.clone()).or_default();
        let key = unhex(stream);
        let id = AppendId::of(&key, *end, &entries.concat());
        let append = Append { stream: StreamId::from_key(&key).unwrap(), expected: Version(*end), id, entries };
        *end = store.journal().append(append).await.unwrap().0;
    }
    let records = BTreeMap::from([("hub/id".to_owned(), "0123".to_owned()), ("plugin/a".to_owned(), "{}".to_owned())]);
    for (key, value) in &records {
        store.records().put_if(key, Bytes::from(value.clone()), None).await.unwrap();
    }
    store.close().await.unwrap();
    // The length of sled's file is sled's own affair.
    let path = dir.path().join("head");
    let last = HeadFile::open(&path).unwrap().unwrap().head();
    // So is how often the head was written an affair of timing: 14 times when the golden file was made.
    fs::remove_file(&path).unwrap();
    let mut head = HeadFile::create(&path).unwrap();
    for _ in 1..14 {
        head.write(super::head::Head { length: 0, ..last }).unwrap();
    }
    let mut head = fs::read(path).unwrap();
    head.truncate(head.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
    // The newest slot lies at the start or at 4096, after zeros.
    let db = super::opening::bare(&dir.path().join("journal"));
    let tree = db.iter().map(|pair| pair.map(|(key, value)| (hex(&key), hex(&value))).unwrap()).collect();
    let about = "A store of few facts, made by the code that wrote this format. Never to be changed.".to_owned();
    Golden { about, format: FORMAT, appends, records, head: shorten(&hex(&head)), tree }
}

/// Long rows of zeros written as their number of bytes.
fn shorten(head: &str) -> String {
    let zeros = head.find(&"00".repeat(512)).map(|at| at + at % 2);
    zeros.map_or_else(
        || head.to_owned(),
        |at| {
            let row = head[at..].bytes().take_while(|byte| *byte == b'0').count() / 2;
            format!("{}({row} zeros){}", &head[..at], &head[at + 2 * row..])
        },
    )
}

fn lengthen(head: &str) -> Vec<u8> {
    let Some((before, rest)) = head.split_once('(') else { return unhex(head) };
    let (zeros, after) = rest.split_once(" zeros)").unwrap();
    let mut bytes = unhex(before);
    bytes.resize(bytes.len() + zeros.parse::<usize>().unwrap(), 0);
    bytes.extend(unhex(after));
    bytes
}

/// Whether everything that was known then is still known, and the same; later releases may say more.
fn holds(now: &Value, then: &Value) -> bool {
    match (now, then) {
        (Value::Object(now), Value::Object(then)) => {
            then.iter().all(|(name, value)| now.get(name).map_or(value.is_null(), |found| holds(found, value)))
        }
        (Value::Array(now), Value::Array(then)) => {
            now.len() == then.len() && now.iter().zip(then).all(|(now, then)| holds(now, then))
        }
        _ => now == then,
    }
}

#[tokio::test]
async fn golden_stores_of_every_format_are_opened_and_read() {
    for (name, golden) in stored() {
        let dir = tempfile::tempdir().unwrap();
        let db = sled::Config::new().path(dir.path().join("journal")).open().unwrap();
        for (key, value) in &golden.tree {
            db.insert(unhex(key), unhex(value)).unwrap();
        }
        drop(db);
        fs::create_dir_all(dir.path().join("blobs")).unwrap();
        let mut head = lengthen(&golden.head);
        head.resize(8192, 0);
        fs::write(dir.path().join("head"), head).unwrap();
        let store = Store::open(dir.path(), StillClock::shared()).unwrap();
        let verified = store.verify().await.unwrap();
        assert_eq!(verified.appends, golden.appends.len() as u64, "{name}");
        assert_eq!(verified.records, golden.records.len() as u64, "{name}");
        let mut read: BTreeMap<&String, Version> = BTreeMap::new();
        for (stream, facts) in &golden.appends {
            let after = read.entry(stream).or_default();
            let found = store.journal().read(StreamId::from_key(&unhex(stream)).unwrap(), *after).await.unwrap();
            let record = &found[0];
            *after = record.version;
            assert_eq!(record.entries.len(), facts.len(), "{name}");
            for (bytes, fact) in record.entries.iter().zip(facts) {
                assert_eq!(bytes[0], golden.format, "{name}");
                let now = serde_json::to_value(Entry::decode(bytes).unwrap()).unwrap();
                assert!(holds(&now, fact), "{name}: {now} instead of {fact}");
            }
        }
        for (key, value) in &golden.records {
            assert_eq!(store.records().get(key).await.unwrap().unwrap().value, value.as_bytes(), "{name}: {key}");
        }
        // And it is a store to go on with.
        let next =
            crate::store::conformance::append(StreamId::Run(crate::model::id::RunId::from_bytes([9; 16])), 0, b"x");
        assert_eq!(store.journal().append(next).await, Ok(Version(1)));
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn golden_store_of_the_current_format_is_what_is_written_today() {
    let today = written().await;
    let path = folder().join(format!("format-{FORMAT}.json"));
    if std::env::var("CROSSDOCK_GOLDEN").is_ok_and(|value| value == "write") && !path.exists() {
        fs::write(&path, serde_json::to_string_pretty(&today).unwrap() + "\n").unwrap();
    }
    let (_, golden) = stored().pop().unwrap();
    let advice = "the stored form has changed: raise `entry::FORMAT` (or `layout::FORMAT`), keep reading what is there, \
                  and let `CROSSDOCK_GOLDEN=write` make the next file";
    assert_eq!(golden.format, FORMAT, "{advice}");
    assert_eq!(golden.tree, today.tree, "{advice}");
    assert_eq!(golden.head, today.head, "{advice}");
}
