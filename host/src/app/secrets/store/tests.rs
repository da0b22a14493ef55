//! The secrets that the hub keeps, over a store in memory whose time a test moves.

use std::{fs, path::Path, sync::Arc};

use futures::future::BoxFuture;

use super::{KEEP_MS_DEFAULT, KeyPlace, SecretStore, StoreError};
use crate::{
    app::{
        audit::Audit,
        test_hub::{Ground, HandClock},
    },
    model::audit::Cause,
    ports::{
        clock::Clock,
        hub::AuditFilter,
        invoker::{Completed, Component, Inspection, Invocation, Invoker, LoadError},
        secrets::Secret,
    },
};

/// Nothing is called here.
struct Nothing;

impl Invoker for Nothing {
    fn inspect(&self, _: &[u8]) -> Result<Inspection, LoadError> {
        unreachable!("nothing is inspected")
    }

    fn load(&self, _: Component) -> BoxFuture<'_, Result<Inspection, LoadError>> {
        unreachable!("nothing is loaded")
    }

    fn invoke(&self, _: Invocation) -> BoxFuture<'_, Completed> {
        unreachable!("nothing is called")
    }
}

const START: &str = "2026-03-01T00:00:00Z";

pub(super) fn ground() -> Ground {
    Ground::new(HandClock::at(START), Arc::new(Nothing))
}

pub(super) async fn audit(ground: &Ground) -> Arc<Audit> {
    let clock = Arc::clone(&ground.clock) as Arc<dyn Clock>;
    Arc::new(Audit::open(ground.store.journal(), ground.store.blobs(), clock).await.expect("an audit log"))
}

pub(super) async fn open(ground: &Ground, data: &Path, forget: bool) -> Result<SecretStore, StoreError> {
    let clock = Arc::clone(&ground.clock) as Arc<dyn Clock>;
    let place = KeyPlace { forget, ..KeyPlace::in_data(data) };
    SecretStore::open(ground.store.records(), audit(ground).await, clock, place).await
}

pub(super) fn ann() -> Cause {
    Cause { actor: "ann".into(), reason: "test".into() }
}

pub(super) fn value(store: &SecretStore, name: &str) -> String {
    match store.value(name) {
        Ok(value) => String::from_utf8(value.expose().to_vec()).expect("text"),
        Err(error) => error.to_string(),
    }
}

/// How many sealed values of a name there are.
async fn sealed(ground: &Ground, name: &str) -> usize {
    let all = ground.store.records().list(&format!("sealed/{name}/"), None, 100).await.expect("records");
    all.iter().filter(|(_, stored)| !stored.value.is_empty()).count()
}

#[tokio::test]
async fn a_rotation_can_be_taken_back_until_its_time_is_over_or_it_is_confirmed() {
    let (ground, data) = (ground(), tempfile::tempdir().expect("folder"));
    let store = open(&ground, data.path(), false).await.expect("opens");
    store.set(&ann(), "erp", &Secret::new("one"), None).await.expect("set");
    let rotated = store.set(&ann(), "erp", &Secret::new("two"), None).await.expect("rotated");
    assert_eq!((rotated.current.version, value(&store, "erp").as_str()), (2, "two"));
    let back = store.take_back(&ann(), "erp").await.expect("taken back");
    assert_eq!((back.current.version, value(&store, "erp").as_str()), (1, "one"));
    assert!(store.take_back(&ann(), "erp").await.is_err(), "nothing is kept of what was taken back");
    assert_eq!(sealed(&ground, "erp").await, 1);

    let third = store.set(&ann(), "erp", &Secret::new("three"), None).await.expect("rotated");
    assert_eq!(third.current.version, 3, "a version is not used again");
    store.confirm(&ann(), "erp").await.expect("confirmed");
    assert!(store.take_back(&ann(), "erp").await.is_err());
    assert_eq!(sealed(&ground, "erp").await, 1, "the value of before is destroyed");

    store.set(&ann(), "erp", &Secret::new("four"), Some(KEEP_MS_DEFAULT)).await.expect("rotated");
    ground.clock.set("2026-03-02T00:00:00Z");
    assert!(store.take_back(&ann(), "erp").await.is_err(), "the day is over");
    let store = open(&ground, data.path(), false).await.expect("opens");
    assert_eq!((sealed(&ground, "erp").await, value(&store, "erp").as_str()), (1, "four"));
}

#[tokio::test]
async fn the_value_of_before_is_known_as_long_as_it_can_be_used_again_and_no_longer() {
    let (ground, data) = (ground(), tempfile::tempdir().expect("folder"));
    let store = open(&ground, data.path(), false).await.expect("opens");
    let earlier = |store: &SecretStore| store.earlier("shop").map(|value| value.expose().to_vec());
    store.set(&ann(), "shop", &Secret::new("one"), None).await.expect("set");
    assert_eq!(earlier(&store), None);
    store.set(&ann(), "shop", &Secret::new("two"), None).await.expect("rotated");
    assert_eq!(earlier(&store), Some(b"one".to_vec()));
    let store = open(&ground, data.path(), false).await.expect("opens");
    assert_eq!(earlier(&store), Some(b"one".to_vec()), "a start forgets nothing of it");
    store.confirm(&ann(), "shop").await.expect("confirmed");
    assert_eq!(earlier(&store), None);

    store.set(&ann(), "shop", &Secret::new("three"), None).await.expect("rotated");
    store.take_back(&ann(), "shop").await.expect("taken back");
    assert_eq!(earlier(&store), None, "what was taken back proves nothing");
    store.set(&ann(), "shop", &Secret::new("four"), Some(0)).await.expect("rotated");
    assert_eq!(earlier(&store), None);
    store.set(&ann(), "shop", &Secret::new("five"), None).await.expect("rotated");
    ground.clock.set("2026-03-02T00:00:00Z");
    assert_eq!(earlier(&store), None, "the day is over, though nothing was destroyed yet");
}

#[tokio::test]
async fn a_removed_secret_is_gone_and_its_versions_are_not_used_again() {
    let (ground, data) = (ground(), tempfile::tempdir().expect("folder"));
    let store = open(&ground, data.path(), false).await.expect("opens");
    store.set(&ann(), "erp", &Secret::new("one"), None).await.expect("set");
    store.remove(&ann(), "erp").await.expect("removed");
    assert!(value(&store, "erp").contains("crossdock secret set erp"));
    assert_eq!(sealed(&ground, "erp").await, 0);
    let again = store.set(&ann(), "erp", &Secret::new("two"), None).await.expect("set");
    assert_eq!(again.current.version, 2);
}

#[tokio::test]
async fn without_its_key_the_store_does_not_open_and_is_forgotten_only_on_demand() {
    let (ground, data) = (ground(), tempfile::tempdir().expect("folder"));
    let store = open(&ground, data.path(), false).await.expect("opens");
    let key = KeyPlace::in_data(data.path()).path;
    assert!(!key.exists(), "the key is made when it is first needed");
    store.set(&ann(), "erp", &Secret::new("one"), None).await.expect("set");
    let kept = fs::read(&key).expect("a key");

    fs::remove_file(&key).expect("removed");
    let says = open(&ground, data.path(), false).await.err().expect("refused").to_string();
    assert!(says.contains("--secrets-key") && says.contains("there is no key in"), "{says}");
    crate::app::secrets::key::MasterKey::make(&key).expect("another key");
    let says = open(&ground, data.path(), false).await.err().expect("refused").to_string();
    assert!(says.contains("holds key") && says.contains("--forget-secrets"), "{says}");

    fs::write(&key, &kept).expect("written");
    assert_eq!(value(&open(&ground, data.path(), false).await.expect("opens"), "erp"), "one");

    fs::remove_file(&key).expect("removed");
    let store = open(&ground, data.path(), true).await.expect("opens");
    assert!(store.list().is_empty());
    assert_eq!(sealed(&ground, "erp").await, 0);
    store.set(&ann(), "erp", &Secret::new("two"), None).await.expect("set");
    assert_eq!(value(&open(&ground, data.path(), false).await.expect("opens"), "erp"), "two");
}

#[tokio::test]
async fn a_sealed_value_that_was_changed_or_swapped_is_refused() {
    let (ground, data) = (ground(), tempfile::tempdir().expect("folder"));
    let store = open(&ground, data.path(), false).await.expect("opens");
    store.set(&ann(), "erp", &Secret::new("one"), None).await.expect("set");
    store.set(&ann(), "wms", &Secret::new("two"), None).await.expect("set");
    let records = ground.store.records();
    let wms = records.get("sealed/wms/1").await.expect("records").expect("sealed");
    let erp = records.get("sealed/erp/1").await.expect("records").expect("sealed");
    records.put_if("sealed/erp/1", wms.value, Some(erp.revision)).await.expect("written");
    let says = open(&ground, data.path(), false).await.err().expect("refused").to_string();
    assert!(says.contains("sealed/erp/1") && says.contains("rotate"), "{says}");
}

#[tokio::test]
async fn each_change_is_an_audit_record_without_the_value() {
    let (ground, data) = (ground(), tempfile::tempdir().expect("folder"));
    let store = open(&ground, data.path(), false).await.expect("opens");
    store.set(&ann(), "erp", &Secret::new("c4n4ry-one"), None).await.expect("set");
    store.set(&ann(), "erp", &Secret::new("c4n4ry-two"), None).await.expect("rotated");
    store.remove(&ann(), "erp").await.expect("removed");
    let audit = audit(&ground).await;
    let lines = audit.list(&AuditFilter { limit: 10, ..AuditFilter::default() }).await.expect("a log");
    let actions: Vec<&str> = lines.iter().rev().map(|line| line.record.action.as_str()).collect();
    assert_eq!(actions, ["secrets-key.set", "secret.set", "secret.rotate", "secret.remove"]);
    for line in &lines {
        assert_eq!((line.record.actor.as_str(), line.record.reason.as_str()), ("ann", "test"));
        for digest in line.record.before.into_iter().chain(line.record.after) {
            let document = audit.document(digest).await.expect("blobs").unwrap_or_default();
            assert!(!String::from_utf8_lossy(&document).contains("c4n4ry"));
        }
    }
}

#[tokio::test]
async fn what_cannot_be_a_secret_is_refused_and_changes_nothing() {
    let (ground, data) = (ground(), tempfile::tempdir().expect("folder"));
    let store = open(&ground, data.path(), false).await.expect("opens");
    let long = "x".repeat(super::SECRET_BYTES_LIMIT + 1);
    for (name, value) in [("ERP", "x"), ("", "x"), ("a/b", "x"), ("erp", ""), ("erp", long.as_str())] {
        let error = store.set(&ann(), name, &Secret::new(value), None).await.expect_err("refused");
        assert!(matches!(error, StoreError::Refused { invalid: true, .. }), "{error}");
    }
    let long = super::KEEP_MS_MAX + 1;
    assert!(store.set(&ann(), "erp", &Secret::new("x"), Some(long)).await.is_err());
    assert!(store.list().is_empty() && !KeyPlace::in_data(data.path()).path.exists());
}
