//! One page of a listing of records.

use std::ops::Bound;

use super::{fault::Fault, layout, reading, table::Table};
use crate::ports::records::Stored;

/// A page, and the key after which the next one begins.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) records: Vec<(String, Stored)>,
    pub(super) next: Option<String>,
}

/// Looks at no more than `limit` keys. No group appears or disappears under the look, so that it must be short.
pub(super) fn page(table: &Table, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, Fault> {
    let start = match after {
        Some(after) if after >= prefix => Bound::Excluded(layout::record_key(after)),
        _ => Bound::Included(layout::record_key(prefix)),
    };
    // Keys begin with 'v', so this is behind them all.
    let end = [b'v' + 1];
    let mut page = Page { records: Vec::new(), next: None };
    let look = table.look();
    for pair in look.range(start.as_ref().map(Vec::as_slice), Bound::Excluded(&end)).take(limit) {
        let (bytes, first) = pair?;
        let key = bytes.get(1..).and_then(|key| std::str::from_utf8(key).ok());
        let key = key.ok_or_else(|| Fault::damaged(format!("key {bytes:02x?}"), "it is not text"))?;
        if !key.starts_with(prefix) {
            page.next = None;
            break;
        }
        page.next = Some(key.to_owned());
        page.records.push((key.to_owned(), reading::unframe_record(&look, key, &first)?.stored));
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::timestamp::Timestamp;

    #[test]
    fn a_listing_shows_what_the_database_has_not_got_and_not_what_was_deleted_since() {
        let dir = tempfile::tempdir().unwrap();
        let db = sled::Config::new().path(dir.path()).open().unwrap();
        let table = Table::of(&db);
        let record = |key: &str, value: &[u8]| {
            let mut frame = Vec::new();
            layout::frame_record(&mut frame, key, value, 2, Timestamp::default());
            (layout::record_key(key).into(), Some(frame.into()))
        };
        table.take_in(["a/2", "a/3", "a/4", "b/1"].map(|key| record(key, b"old")).into());
        table.hand_over().unwrap();
        let deleted = (layout::record_key("a/3").into(), None);
        table.take_in(vec![record("a/1", b"new"), record("a/2", b"new"), deleted, record("a/5", b"new")]);
        for limit in 1..6 {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let page = page(&table, "a/", after.as_deref(), limit).unwrap();
                assert!(page.records.len() <= limit);
                seen.extend(page.records.into_iter().map(|(key, stored)| format!("{key}={:?}", stored.value)));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(seen, [r#"a/1=b"new""#, r#"a/2=b"new""#, r#"a/4=b"old""#, r#"a/5=b"new""#], "limit {limit}");
        }
    }
}
