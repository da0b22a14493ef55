//! Open exceptions, derived from durable facts: events that came for something that was undone. They stay until a person
//! closes them, however long ago their run ended.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    model::{
        entry::{Control, Entry, ExceptionOpened},
        id::{AcceptanceId, RunId},
    },
    ports::exceptions::{Exception, ExceptionFilter},
};

/// Open exceptions by run.
#[derive(Default)]
pub struct Exceptions {
    open: Mutex<HashMap<RunId, Vec<ExceptionOpened>>>,
}

impl Exceptions {
    /// Takes in durable facts of a run.
    pub fn observe(&self, run: RunId, entries: &[Entry]) {
        for entry in entries {
            match entry {
                Entry::ExceptionOpened(opened) => self.restore(run, (**opened).clone()),
                Entry::Signalled(signalled) => self.close(run, signalled.acceptance),
                Entry::Controlled(controlled) => {
                    if let Control::CloseException { event } = controlled.action {
                        self.close(run, event);
                    }
                }
                _ => {}
            }
        }
    }

    /// Takes in an exception of a snapshot.
    pub(super) fn restore(&self, run: RunId, opened: ExceptionOpened) {
        let mut open = self.lock();
        let of_run = open.entry(run).or_default();
        of_run.retain(|known| known.acceptance != opened.acceptance);
        of_run.push(opened);
    }

    fn close(&self, run: RunId, event: AcceptanceId) {
        let mut open = self.lock();
        if let Some(of_run) = open.get_mut(&run) {
            of_run.retain(|known| known.acceptance != event);
            if of_run.is_empty() {
                open.remove(&run);
            }
        }
    }

    /// Whether a run has an open one.
    pub(super) fn has_any(&self, run: RunId) -> bool {
        self.lock().contains_key(&run)
    }

    /// Open exceptions, latest first; `about` tells pipeline and key of a run.
    pub fn list(&self, filter: &ExceptionFilter, about: impl Fn(RunId) -> Option<(String, String)>) -> Vec<Exception> {
        let mut found: Vec<Exception> = Vec::new();
        for (run, of_run) in &*self.lock() {
            let (pipeline, key) = about(*run).unzip();
            let wanted = filter.run.is_none_or(|wanted| wanted == *run)
                && filter.pipeline.as_ref().is_none_or(|wanted| pipeline.as_ref() == Some(wanted));
            for opened in of_run.iter().filter(|_| wanted) {
                found.push(Exception {
                    run: *run,
                    pipeline: pipeline.clone(),
                    key: key.clone(),
                    step: opened.step.clone(),
                    name: opened.name.clone(),
                    acceptance: opened.acceptance,
                    opened: opened.time,
                    event: opened.event.clone(),
                });
            }
        }
        found.sort_by(|a, b| b.opened.cmp(&a.opened).then_with(|| a.acceptance.cmp(&b.acceptance)));
        found.truncate(filter.limit);
        found
    }

    /// What a snapshot holds of this.
    pub(super) fn each(&self, mut each: impl FnMut(RunId, &ExceptionOpened)) {
        for (run, of_run) in &*self.lock() {
            of_run.iter().for_each(|opened| each(*run, opened));
        }
    }

    /// Forgets everything.
    pub(super) fn forget_all(&self) {
        self.lock().clear();
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.lock().values().map(Vec::len).sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, Vec<ExceptionOpened>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
