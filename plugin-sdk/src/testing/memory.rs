//! State in memory, with revisions.

use std::collections::BTreeMap;

use crate::state::{Entry, Keys};

/// Buckets of keys.
#[derive(Default)]
pub(crate) struct Memory {
    entries: BTreeMap<(String, String), Entry>,
    revision: u64,
}

impl Memory {
    pub(crate) fn get(&self, bucket: &str, key: &str) -> Option<Entry> {
        self.entries.get(&(bucket.to_owned(), key.to_owned())).cloned()
    }

    pub(crate) fn put(&mut self, bucket: &str, key: &str, value: &[u8]) -> String {
        self.revision += 1;
        let revision = self.revision.to_string();
        let entry = Entry { value: value.to_vec(), revision: revision.clone() };
        self.entries.insert((bucket.to_owned(), key.to_owned()), entry);
        revision
    }

    pub(crate) fn swap(&mut self, bucket: &str, key: &str, revision: Option<&str>, value: &[u8]) -> Option<String> {
        let current = self.get(bucket, key).map(|entry| entry.revision);
        (current.as_deref() == revision).then(|| self.put(bucket, key, value))
    }

    pub(crate) fn remove(&mut self, bucket: &str, key: &str, revision: Option<&str>) -> bool {
        let current = self.get(bucket, key).map(|entry| entry.revision);
        if revision.is_some() && current.as_deref() != revision {
            return false;
        }
        self.entries.remove(&(bucket.to_owned(), key.to_owned()));
        true
    }

    pub(crate) fn scan(&self, bucket: &str, prefix: &str, after: Option<&str>, limit: u32) -> Keys {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut names: Vec<String> = self
            .entries
            .keys()
            .filter(|(known, key)| known == bucket && key.starts_with(prefix))
            .map(|(_, key)| key.clone())
            .filter(|key| after.is_none_or(|after| key.as_str() > after))
            .take(limit.saturating_add(1))
            .collect();
        let more = names.len() > limit;
        names.truncate(limit);
        let next = names.last().filter(|_| more).cloned();
        Keys { names, next }
    }
}
