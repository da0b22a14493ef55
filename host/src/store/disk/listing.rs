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
