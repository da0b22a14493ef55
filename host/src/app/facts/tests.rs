//! Facts through the journal and back: sealed with their keys, and read as outlines once a key is gone.

use std::sync::Arc;

use serde_json::json;

use super::{Facts, FactsError, Stored, keys_of};
use crate::{
    app::{
        personal::keyring::{Keyring, tests::keyring},
        test_hub::HandClock,
    },
    model::{
        entry::{Accepted, Entry, ExceptionOpened, Output, Signalled, StepDone},
        event::Event,
        id::{AcceptanceId, RunId, SubjectKeyId},
        json::Json,
        limits::Usage,
        personal::{ERASED, Personal, SEALED},
        timestamp::Timestamp,
    },
    ports::journal::{Position, StreamId, Version},
    store::memory::Store,
};

struct Bench {
    _data: tempfile::TempDir,
    store: Store,
    keyring: Arc<Keyring>,
    facts: Facts,
}

async fn bench() -> Bench {
    let (data, store) = (tempfile::tempdir().unwrap(), Store::new(HandClock::at("2026-06-01T12:00:00Z")));
    let keyring = Arc::new(keyring(data.path(), &store).await);
    let facts = Facts::new(store.journal(), store.blobs()).with_keys(Arc::clone(&keyring));
    Bench { _data: data, store, keyring, facts }
}

fn event(name: &str) -> Event {
    Event {
        id: "1".into(),
        source: "/s".into(),
        event_type: "t".into(),
        subject: None,
        time: None,
        data_schema: None,
        data: Json::from(json!({ "name": name, "clear": "yes" })),
        extensions: std::collections::BTreeMap::new(),
    }
}

fn personal(key: SubjectKeyId) -> Option<Personal> {
    Some(Personal { keys: vec![key], fields: vec!["/name".into()] })
}

fn accepted(key: SubjectKeyId, name: &str) -> Entry {
    let event = event(name);
    let digest = event.digest();
    let time = Timestamp::from_millis(1);
    Entry::Accepted(Box::new(Accepted { time, event, digest, starts: Vec::new(), personal: personal(key) }))
}

fn done(text: &str) -> Entry {
    Entry::StepDone(Box::new(StepDone {
        step: "s".into(),
        time: Timestamp::from_millis(2),
        output: Output::Json(Json::from(json!(text))),
        usage: Usage::default(),
        log: Vec::new(),
        annotations: Vec::new(),
    }))
}

const STREAM: StreamId = StreamId::Acceptance(AcceptanceId::from_bytes([1; 16]));
const RUN: StreamId = StreamId::Run(RunId::from_bytes([2; 16]));

/// Everything that is stored, as bytes.
async fn bytes(store: &Store) -> Vec<u8> {
    let mut all = Vec::new();
    for record in store.journal().tail(Position::default(), 100).await.unwrap() {
        for entry in record.entries {
            all.extend_from_slice(&entry);
            if let Some(digest) = super::kept_apart(&entry) {
                all.extend_from_slice(&store.blobs().get(digest).await.unwrap().unwrap());
            }
        }
    }
    all
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The first that is no audit record: making the key of secrets is one.
async fn first(facts: &Facts) -> Stored {
    let stored = facts.tail(Position::default(), 10).await.unwrap();
    stored.into_iter().find(|stored| stored.stream != StreamId::Audit).unwrap()
}

#[tokio::test]
async fn a_fact_is_read_as_it_was_told_and_after_its_key_is_gone_as_its_outline() {
    let Bench { _data, store, keyring, facts } = bench().await;
    let key = keyring.key_of("ann").await.unwrap();
    // A small one, and one that is kept as a blob.
    for (number, length) in [(0, 1), (1, 20_000)] {
        let stream = StreamId::Acceptance(AcceptanceId::from_bytes([number; 16]));
        let told = accepted(key, &"canary".repeat(length));
        facts.append(stream, Version::default(), std::slice::from_ref(&told)).await.unwrap();
        assert_eq!(facts.read_whole(stream).await.unwrap().0, [told]);
        assert_eq!(facts.sealed_with(stream).await.unwrap(), [key]);
    }
    let stored = bytes(&store).await;
    assert!(!holds(&stored, "canary") && holds(&stored, "yes"));
    let before = first(&facts).await;
    assert!(before.sealed && !before.erased);
    let shown = before.shown();
    let [Entry::Accepted(outline)] = &*shown else { panic!("{shown:?}") };
    assert_eq!(outline.event.data.to_value(), json!({ "name": SEALED, "clear": "yes" }));
    assert_eq!(facts.acceptances(Position::default(), 10).await.unwrap().0.len(), 2);

    keyring.destroy(key).await.unwrap();
    let after = first(&facts).await;
    assert!(after.erased);
    let [Entry::Accepted(left)] = &after.entries[..] else { panic!("{:?}", after.entries) };
    assert_eq!(left.event.data.to_value(), json!({ "name": ERASED, "clear": "yes" }));
    assert!(left.is_erased() && left.is_same(event("anything").digest()), "nobody can tell them apart");
    let stream = StreamId::Acceptance(AcceptanceId::from_bytes([0; 16]));
    assert!(matches!(facts.read_whole(stream).await, Err(FactsError::Erased)));
    assert!(facts.acceptances(Position::default(), 10).await.unwrap().0.is_empty(), "nobody delivers it");
    // Without any keys, as offline, nobody knows what was erased.
    let offline = Facts::new(store.journal(), store.blobs());
    let [Entry::Accepted(left)] = &first(&offline).await.entries[..] else { panic!("no acceptance") };
    assert_eq!(left.event.data.to_value()["name"], SEALED);
}

#[tokio::test]
async fn an_append_that_is_repeated_is_the_same_and_one_without_its_key_is_not_taken() {
    let Bench { _data, store, keyring, facts } = bench().await;
    let key = keyring.key_of("ann").await.unwrap();
    let told = accepted(key, "canary");
    let version = facts.append(STREAM, Version::default(), std::slice::from_ref(&told)).await.unwrap();
    let again = facts.append(STREAM, Version::default(), std::slice::from_ref(&told)).await;
    assert_eq!(again, Ok(version), "it finds itself");
    let without = Facts::new(store.journal(), store.blobs());
    assert!(without.append(RUN, Version::default(), std::slice::from_ref(&told)).await.is_err());
    keyring.destroy(key).await.unwrap();
    assert!(facts.append(RUN, Version::default(), &[told]).await.is_err());
    assert!(facts.read(RUN).await.unwrap().0.is_empty(), "nothing is kept in clear instead");
}

#[tokio::test]
async fn what_comes_after_is_sealed_with_the_keys_of_all_that_came_before() {
    let Bench { _data, store, keyring, facts } = bench().await;
    let (ann, bob) = (keyring.key_of("ann").await.unwrap(), keyring.key_of("bob").await.unwrap());
    let signalled = Entry::Signalled(Box::new(Signalled {
        step: "w".into(),
        time: Timestamp::from_millis(1),
        name: "signal".into(),
        acceptance: AcceptanceId::from_bytes([1; 16]),
        event: event("canary"),
        personal: personal(bob),
    }));
    let told = [done("before"), signalled, done("canary of both")];
    let mut keys = vec![ann];
    let version = facts.append_sealed(RUN, Version::default(), &told, &keys).await.unwrap();
    keys_of(&told, &mut keys);
    let mut both = vec![ann, bob];
    both.sort_unstable();
    assert_eq!(keys, both);
    facts.append_sealed(RUN, version, &[done("canary later")], &keys).await.unwrap();
    assert!(!holds(&bytes(&store).await, "canary") && !holds(&bytes(&store).await, "before"));
    assert_eq!(facts.read_whole(RUN).await.unwrap().0.len(), 4);
    keyring.destroy(bob).await.unwrap();
    let (left, _) = facts.read(RUN).await.unwrap();
    assert_eq!(left[0], told[0], "what was before is the first person's alone");
    for entry in &left[1..] {
        assert!(!holds(&entry.encode(), "canary"), "{entry:?}");
    }
    assert!(facts.lacks_keys(&[], &keys).await && !facts.lacks_keys(&[], &[ann]).await);
}

#[tokio::test]
async fn an_exception_is_sealed_with_the_keys_of_its_event_and_shown_without_what_is_personal() {
    let Bench { _data, store, keyring, facts } = bench().await;
    let key = keyring.key_of("ann").await.unwrap();
    let opened = Entry::ExceptionOpened(Box::new(ExceptionOpened {
        step: "w".into(),
        time: Timestamp::from_millis(1),
        name: "signal".into(),
        acceptance: AcceptanceId::from_bytes([1; 16]),
        event: event("canary"),
        personal: personal(key),
    }));
    facts.append(RUN, Version::default(), std::slice::from_ref(&opened)).await.unwrap();
    let stored = bytes(&store).await;
    assert!(!holds(&stored, "canary") && holds(&stored, "yes"));
    assert_eq!(facts.read_whole(RUN).await.unwrap().0, std::slice::from_ref(&opened));
    // What lists and the list of runs on disk have of it.
    let shown = super::shown(std::slice::from_ref(&opened), false);
    assert!(!holds(&shown[0].encode(), "canary") && holds(&shown[0].encode(), SEALED));
    keyring.destroy(key).await.unwrap();
    let (left, _) = facts.read(RUN).await.unwrap();
    assert!(!holds(&left[0].encode(), "canary") && holds(&left[0].encode(), ERASED), "{left:?}");
}

#[tokio::test]
async fn facts_without_personal_data_are_stored_as_they_always_were() {
    let Bench { _data, store, facts, .. } = bench().await;
    let plain = done("plain");
    facts.append(RUN, Version::default(), std::slice::from_ref(&plain)).await.unwrap();
    assert_eq!(bytes(&store).await, plain.encode());
    let stored = first(&facts).await;
    assert!(!stored.sealed && matches!(stored.shown(), std::borrow::Cow::Borrowed(_)));
}
