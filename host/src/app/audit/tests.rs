//! The log over the store in memory: what is recorded, in which order, and what a crash in between leaves.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::{Audit, reconcile::reconcile};
use crate::{
    model::{
        audit::{AuditLine, Cause, Change},
        id::Digest,
        timestamp::Timestamp,
    },
    ports::{clock::Clock, hub::AuditFilter},
    store::memory::Store,
};

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_000)
    }

    fn sleep_until(&self, _: Timestamp) -> BoxFuture<'_, ()> {
        Box::pin(futures::future::pending())
    }
}

async fn open(store: &Store) -> Audit {
    Audit::open(store.journal(), store.blobs(), Arc::new(Still)).await.unwrap()
}

fn store() -> Store {
    Store::new(Arc::new(Still))
}

async fn put(store: &Store, audit: &Audit, key: &str, value: &'static str) {
    let cause = Cause { actor: "anna".into(), reason: "a test".into() };
    audit.put(&*store.records(), &cause, key, Bytes::from_static(value.as_bytes())).await.unwrap();
}

async fn said(audit: &Audit) -> Vec<String> {
    let lines = audit.list(&AuditFilter { limit: 100, ..AuditFilter::default() }).await.unwrap();
    lines.iter().rev().map(|line| format!("{} {} {}", line.sequence, line.record.action, line.record.subject)).collect()
}

#[tokio::test]
async fn each_change_is_recorded_once_with_what_was_there_and_what_is() {
    let store = store();
    let audit = open(&store).await;
    put(&store, &audit, "connection/erp", "one").await;
    put(&store, &audit, "connection/erp", "one").await;
    put(&store, &audit, "connection/erp", "two").await;
    put(&store, &audit, "plugin/acme/x/1.0.0", "x").await;
    assert_eq!(
        said(&audit).await,
        ["1 connection.set connection/erp", "2 connection.set connection/erp", "3 plugin.install plugin/acme/x/1.0.0"]
    );
    let latest: AuditLine = audit.latest().await.remove("connection/erp").unwrap();
    assert_eq!(latest.record.before, Some(Digest::of(b"one")));
    assert_eq!(latest.record.after, Some(Digest::of(b"two")));
    assert_eq!((latest.record.actor.as_str(), latest.record.reason.as_str()), ("anna", "a test"));
    let kept = audit.document(Digest::of(b"one")).await.unwrap();
    assert_eq!(kept.as_deref(), Some(&b"one"[..]), "what was there before can still be read");
}

#[tokio::test]
async fn nothing_is_changed_when_the_log_takes_no_record() {
    let (store, sound) = (store(), store());
    let audit = open(&store).await;
    store.close();
    let put = audit.put(&*sound.records(), &Cause::hub("x"), "connection/erp", Bytes::from_static(b"one")).await;
    assert!(put.is_err());
    assert_eq!(sound.records().get("connection/erp").await.unwrap(), None);
}

#[tokio::test]
async fn a_list_is_filtered_bounded_and_newest_first() {
    let store = store();
    let audit = open(&store).await;
    for number in 0..600_u32 {
        let change = Change {
            action: if number % 2 == 0 { "token.make" } else { "grant.set" }.into(),
            subject: format!("x/{number}"),
            before: None,
            after: None,
        };
        audit.record(&Cause::hub("many"), &change).await.unwrap();
    }
    let ask = async |filter: AuditFilter| -> Vec<u64> {
        audit.list(&filter).await.unwrap().iter().map(|line| line.sequence).collect()
    };
    assert_eq!(ask(AuditFilter { limit: 3, ..AuditFilter::default() }).await, [600, 599, 598]);
    assert_eq!(ask(AuditFilter { limit: 2, before: Some(4), ..AuditFilter::default() }).await, [3, 2]);
    let tokens = AuditFilter { action: Some("token".into()), limit: 1_000, ..AuditFilter::default() };
    assert_eq!(ask(tokens).await.len(), 300);
    assert_eq!(ask(AuditFilter { subject: Some("x/599".into()), limit: 9, ..AuditFilter::default() }).await, [600]);
    assert!(ask(AuditFilter { actor: Some("nobody".into()), limit: 9, ..AuditFilter::default() }).await.is_empty());
}

#[tokio::test]
async fn a_start_finds_what_was_not_made_and_what_nobody_recorded() {
    let store = store();
    let records = store.records();
    // Before anything was audited.
    records.put_if("connection/old", Bytes::from_static(b"old"), None).await.unwrap();
    let audit = open(&store).await;
    reconcile(&audit, &*records).await.unwrap();
    put(&store, &audit, "connection/erp", "one").await;
    reconcile(&audit, &*records).await.unwrap();
    assert_eq!(said(&audit).await, ["1 connection.found connection/old", "2 connection.set connection/erp"]);

    // A crash after the record and before the change.
    let change = Change {
        action: "connection.set".into(),
        subject: "connection/erp".into(),
        before: Some(Digest::of(b"one")),
        after: Some(Digest::of(b"two")),
    };
    audit.record(&Cause::hub("x"), &change).await.unwrap();
    // And somebody who knows how to write into the store without the hub.
    let current = records.get("connection/old").await.unwrap().unwrap();
    records.put_if("connection/old", Bytes::from_static(b"evil"), Some(current.revision)).await.unwrap();
    records.put_if("source/evil", Bytes::from_static(b"evil"), None).await.unwrap();

    let audit = open(&store).await;
    let found = reconcile(&audit, &*records).await.unwrap();
    assert_eq!(found, 2, "two were made behind the hub's back");
    assert_eq!(
        said(&audit).await[3..],
        [
            "4 connection.set.abandoned connection/erp",
            "5 connection.unrecorded connection/old",
            "6 source.unrecorded source/evil"
        ]
    );
    assert_eq!(reconcile(&audit, &*records).await.unwrap(), 0);
    assert_eq!(said(&audit).await.len(), 6, "said once");

    // And taken away without the hub.
    let current = records.get("source/evil").await.unwrap().unwrap();
    records.delete_if("source/evil", current.revision).await.unwrap();
    assert_eq!(reconcile(&audit, &*records).await.unwrap(), 1);
    assert_eq!(audit.latest().await["source/evil"].record.after, None);
}

#[tokio::test]
async fn taking_a_change_back_without_the_hub_is_not_taken_for_a_crash() {
    let store = store();
    let records = store.records();
    let audit = open(&store).await;
    for (key, value) in [("connection/erp", "one"), ("connection/erp", "two"), ("connection/wms", "x")] {
        put(&store, &audit, key, value).await;
    }
    let current = records.get("connection/erp").await.unwrap().unwrap();
    records.put_if("connection/erp", Bytes::from_static(b"one"), Some(current.revision)).await.unwrap();
    assert_eq!(reconcile(&audit, &*records).await.unwrap(), 1);
    assert_eq!(said(&audit).await.last().unwrap(), "4 connection.unrecorded connection/erp");
}
