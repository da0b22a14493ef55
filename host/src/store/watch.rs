//! Changes of records on their way to watchers. Bounded: a watcher too far behind sees its stream end.

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::sync::broadcast;

use crate::ports::records::Change;

/// How many changes a watcher may be behind; more than a hub's bindings, few enough to hold in memory.
pub(super) const WATCH_CHANGES_LIMIT: usize = 1024;

/// The changes under a prefix from now on; ended at once if there is nothing to watch.
pub(super) fn stream(changes: Option<broadcast::Receiver<Change>>, prefix: &str) -> BoxStream<'static, Change> {
    let prefix = prefix.to_owned();
    stream::unfold((changes, prefix), |(changes, prefix)| async move {
        let mut changes = changes?;
        loop {
            // Closed and lagged both end the stream: the watcher lists anew.
            let change = changes.recv().await.ok()?;
            if change.key.starts_with(&prefix) {
                return Some((change, (Some(changes), prefix)));
            }
        }
    })
    .boxed()
}
