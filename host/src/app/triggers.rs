//! What the triggers have in common that the hub itself works at, schedules and polls: how they are kept, how often a
//! failing one is tried again, and what people are told of them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    model::{id::Digest, pipeline::Trigger, timestamp::Timestamp},
    ports::records::{RecordError, Records, Revision},
};

/// The wait after a first failure, and the longest wait after many, milliseconds.
const RETRY_MS: (u64, u64) = (1_000, 300_000);
/// How often it is looked whether something was installed, milliseconds.
pub(super) const LOOK_MS: u64 = 5_000;

/// Which triggers fail now, and why.
#[derive(Debug, Default)]
pub struct Board {
    failing: Mutex<BTreeMap<String, String>>,
}

impl Board {
    /// What is wrong, one sentence for each failing trigger.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        self.lock().iter().map(|(trigger, problem)| format!("{trigger}: {problem}")).collect()
    }

    /// Takes note of how a trigger's latest try ended.
    pub(super) fn set(&self, trigger: &str, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => {
                self.lock().remove(trigger);
            }
            Err(problem) => {
                self.lock().insert(trigger.to_owned(), problem);
            }
        }
    }

    /// Forgets triggers of a kind, such as `poll`, that are no longer there.
    pub(super) fn keep(&self, kind: &str, known: &[String]) {
        self.lock().retain(|trigger, _| !trigger.starts_with(kind) || known.contains(trigger));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        // A map has no state in between.
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When to try again after so many failures in a row.
pub(super) fn retry_at(now: Timestamp, failures: u32) -> Timestamp {
    let (first, longest) = RETRY_MS;
    now.plus_millis(first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(longest))
}

/// Names a trigger within its pipeline by what it is, so that its place in the text does not matter.
pub(super) fn identity(trigger: &Trigger) -> String {
    // The condition is left out: to sharpen it must not begin anew.
    Digest::of(&serde_json::to_vec(&(&trigger.origin, &trigger.event)).unwrap_or_default()).short()
}

/// A trigger's record, with the revision under which it was read.
pub(super) struct Kept<T> {
    pub(super) value: T,
    pub(super) revision: Option<Revision>,
}

/// Reads a trigger's record; absent: there is none yet.
///
/// # Errors
/// If the store cannot be used, or holds something else.
pub(super) async fn read<T: DeserializeOwned>(records: &dyn Records, key: &str) -> Result<Option<Kept<T>>, String> {
    let Some(stored) = records.get(key).await.map_err(|error| error.to_string())? else { return Ok(None) };
    let value = serde_json::from_slice(&stored.value).map_err(|error| format!("record `{key}` is damaged: {error}"))?;
    Ok(Some(Kept { value, revision: Some(stored.revision) }))
}

/// Writes a trigger's record over the one that was read.
///
/// # Errors
/// If somebody else wrote it, or the store cannot be used.
pub(super) async fn write<T: Serialize>(
    records: &dyn Records,
    key: &str,
    kept: &mut Kept<T>,
) -> Result<(), RecordError> {
    let bytes =
        serde_json::to_vec(&kept.value).map_err(|error| RecordError::Unavailable { reason: error.to_string() })?;
    kept.revision = Some(records.put_if(key, Bytes::from(bytes), kept.revision).await?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Board, retry_at};
    use crate::model::timestamp::Timestamp;

    #[test]
    fn waits_double_up_to_a_bound() {
        let waits: Vec<u64> = [1, 2, 3, 9, 10, 1_000]
            .map(|failures| retry_at(Timestamp::default(), failures).since(Timestamp::default()))
            .into();
        assert_eq!(waits, [1_000, 2_000, 4_000, 256_000, 300_000, 300_000]);
    }

    #[test]
    fn what_works_again_is_no_longer_named() {
        let board = Board::default();
        board.set("schedule a", Err("it fails".to_owned()));
        assert_eq!(board.problems(), ["schedule a: it fails"]);
        board.set("schedule a", Ok(()));
        assert!(board.problems().is_empty());
        board.set("schedule a", Err("it fails".to_owned()));
        board.set("poll a", Err("it fails".to_owned()));
        board.keep("poll", &[]);
        assert_eq!(board.problems(), ["schedule a: it fails"]);
    }
}
