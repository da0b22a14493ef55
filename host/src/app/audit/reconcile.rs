//! Compares the records that affect what runs with what the audit log says of them, at each start. Whatever differs is
//! recorded: a change that a crash prevented, or one that was made without the hub.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{ACTIONS, Audit, AuditError};
use crate::{
    model::{
        audit::{AuditLine, Cause, Change},
        id::Digest,
    },
    ports::records::Records,
};

/// How many records one look reads.
const PAGE: usize = 256;

/// Compares, and records what differs; how many changes were made without the hub.
///
/// # Errors
/// If the store or the log cannot be used.
pub async fn reconcile(audit: &Audit, records: &dyn Records) -> Result<usize, AuditError> {
    let latest = audit.latest().await;
    let mut current: BTreeMap<String, Bytes> = BTreeMap::new();
    for (prefix, _) in ACTIONS {
        let mut after: Option<String> = None;
        loop {
            let page = records.list(prefix, after.as_deref(), PAGE).await?;
            let full = page.len() == PAGE;
            after = page.last().map(|(key, _)| key.clone());
            current.extend(page.into_iter().map(|(key, stored)| (key, stored.value)));
            if !full {
                break;
            }
        }
    }
    // Before the first record, whatever is there was there before this release began to audit.
    let begins = !latest.keys().any(|subject| thing(subject).is_some());
    // Changes are made one after the other, so a crash leaves only the last one unmade.
    let newest = latest.values().filter(|line| thing(&line.record.subject).is_some()).map(|line| line.sequence).max();
    let mut subjects: Vec<&String> = current.keys().collect();
    subjects.extend(latest.keys().filter(|subject| thing(subject).is_some() && !current.contains_key(*subject)));
    let mut unrecorded = 0;
    for subject in subjects {
        let there = current.get(subject);
        let actual = there.map(|value| Digest::of(value));
        let last = latest.get(subject);
        let recorded = last.and_then(|last| last.record.after);
        if recorded == actual {
            continue;
        }
        let thing = thing(subject).unwrap_or("record");
        let (action, reason) = if begins {
            (format!("{thing}.found"), "it was there before the audit log began")
        } else if let Some(last) = last.filter(|last| Some(last.sequence) == newest && may_be_unmade(last, actual)) {
            (
                format!("{}.abandoned", last.record.action),
                "the hub stopped after recording the change and before making it",
            )
        } else {
            unrecorded += 1;
            tracing::error!(subject, "it was changed without the hub: the audit log says so from now on");
            (format!("{thing}.unrecorded"), "it was changed without the hub: nobody knows by whom")
        };
        if let Some(value) = there {
            audit.keep(value.clone()).await?;
        }
        let change = Change { action, subject: subject.clone(), before: recorded, after: actual };
        audit.record(&Cause::hub(reason), &change).await?;
    }
    Ok(unrecorded)
}

/// Whether a crash may have prevented the change of a record; what the hub only found was not its own change.
fn may_be_unmade(last: &AuditLine, actual: Option<Digest>) -> bool {
    let found = [".found", ".unrecorded", ".abandoned"].iter().any(|found| last.record.action.ends_with(found));
    !found && last.record.before == actual
}

/// The kind of thing that a subject is, if it is one that affects what runs.
fn thing(subject: &str) -> Option<&'static str> {
    let (_, action) = ACTIONS.iter().find(|(prefix, _)| subject.starts_with(prefix))?;
    action.split('.').next()
}
