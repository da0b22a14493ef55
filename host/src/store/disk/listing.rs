//! One page of a listing of records, as if the group that is being committed did not exist.

use std::ops::Bound;

use sled::Tree;

use super::{fault::Fault, layout, reading, shared::Shadow};
use crate::ports::records::Stored;

/// A page, and the key after which the next one begins.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) records: Vec<(String, Stored)>,
    pub(super) next: Option<String>,
}

/// Looks at no more than `limit` keys of the tree.
pub(super) fn page(
    tree: &Tree,
    shadow: &Shadow,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Page, Fault> {
    let (from, start) = match after {
        Some(after) if after >= prefix => (Bound::Excluded(after), Bound::Excluded(layout::record_key(after))),
        _ => (Bound::Included(prefix), Bound::Included(layout::record_key(prefix))),
    };
    // Keys begin with 'v', so this is behind them all.
    let end = Bound::Excluded(vec![b'v' + 1]);
    let mut page = Page { records: Vec::new(), next: None };
    for pair in tree.range::<Vec<u8>, _>((start, end)).take(limit) {
        let (bytes, first) = pair?;
        let key = bytes.get(1..).and_then(|key| std::str::from_utf8(key).ok());
        let key = key.ok_or_else(|| Fault::damaged(format!("key {bytes:02x?}"), "it is not text"))?;
        if !key.starts_with(prefix) {
            page.next = None;
            break;
        }
        page.next = Some(key.to_owned());
        if !shadow.contains_key(key) {
            page.records.push((key.to_owned(), reading::unframe_record(tree, key, &first)?.stored));
        }
    }
    add_hidden(&mut page, shadow, prefix, from);
    Ok(page)
}

/// Adds what the group overwrites or deletes.
fn add_hidden(page: &mut Page, shadow: &Shadow, prefix: &str, from: Bound<&str>) {
    let until = page.next.as_deref().map_or(Bound::Unbounded, Bound::Included);
    let hidden = shadow.range::<str, _>((from, until)).take_while(|(key, _)| key.starts_with(prefix));
    let hidden = hidden.filter_map(|(key, before)| before.as_ref().map(|stored| (key.clone(), stored.clone())));
    page.records.extend(hidden);
    page.records.sort_by(|left, right| left.0.cmp(&right.0));
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{model::timestamp::Timestamp, ports::records::Revision};

    #[test]
    fn a_listing_shows_what_was_before_the_group_being_committed() {
        let dir = tempfile::tempdir().unwrap();
        let tree = sled::Config::new().path(dir.path()).open().unwrap();
        for key in ["a/2", "a/3", "a/4", "b/1"] {
            let mut frame = Vec::new();
            layout::frame_record(&mut frame, key, b"new", 2, Timestamp::default());
            tree.insert(layout::record_key(key), frame).unwrap();
        }
        let old = Stored { value: Bytes::from_static(b"old"), revision: Revision(1) };
        let deleted = ["a/1", "a/5"].map(|key| (key.to_owned(), Some(old.clone())));
        let mut shadow = Shadow::from(deleted);
        shadow.insert("a/2".to_owned(), Some(old.clone())); // overwritten
        shadow.insert("a/3".to_owned(), None); // created
        for limit in 1..6 {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let page = page(&tree, &shadow, "a/", after.as_deref(), limit).unwrap();
                seen.extend(page.records.into_iter().map(|(key, stored)| format!("{key}={:?}", stored.value)));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(seen, [r#"a/1=b"old""#, r#"a/2=b"old""#, r#"a/4=b"new""#, r#"a/5=b"old""#], "limit {limit}");
        }
    }
}
