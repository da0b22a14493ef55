//! Waiting for a run.

use crate::{app::runner::Shared, model::id::RunId};

/// Waits until a run is settled.
pub(super) async fn settled(shared: &Shared, run: RunId) {
    loop {
        let watcher = shared.index.watcher(run);
        let changed = watcher.notified();
        // A run that is not listed was settled long ago.
        if shared.index.get(run).is_none_or(|summary| summary.state.is_settled()) {
            return;
        }
        changed.await;
    }
}
