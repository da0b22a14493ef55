//! A run's summary in little memory: what runs have in common, such as where they stand and why, is held once.

use std::{borrow::Borrow, collections::HashSet, hash::Hash, sync::Arc};

use super::Unfinished;
use crate::model::{
    id::{AcceptanceId, RunId},
    run::{Aside, RunState, RunSummary},
    timestamp::Timestamp,
};

/// Texts, or places, above which those that nobody holds any more are let go.
const KNOWN_LIMIT: usize = 65_536;

/// What many runs share.
#[derive(Default)]
pub(super) struct Words {
    causes: Known<str>,
    places: Known<Place>,
}

impl Words {
    /// A text that is held once.
    pub(super) fn share(&mut self, text: &str) -> Arc<str> {
        self.causes.share(text)
    }
}

/// Where a run stands.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) pipeline: String,
    version: String,
    step: Option<String>,
}

/// Values of which each is held once.
struct Known<T: ?Sized> {
    values: HashSet<Arc<T>>,
    limit: usize,
}

impl<T: ?Sized> Default for Known<T> {
    fn default() -> Self {
        Self { values: HashSet::new(), limit: KNOWN_LIMIT }
    }
}

impl<T: ?Sized + Hash + Eq> Known<T> {
    fn share<V: Borrow<T> + Into<Arc<T>>>(&mut self, value: V) -> Arc<T> {
        if let Some(known) = self.values.get(value.borrow()) {
            return Arc::clone(known);
        }
        if self.values.len() >= self.limit {
            self.values.retain(|value| Arc::strong_count(value) > 1);
            // If most are in use, looking through them all again soon would be for nothing.
            self.limit = KNOWN_LIMIT.max(self.values.len() * 2);
        }
        let value: Arc<T> = value.into();
        self.values.insert(Arc::clone(&value));
        value
    }
}

/// A summary, without its id.
#[derive(Clone)]
pub(super) struct Compact {
    pub(super) place: Arc<Place>,
    pub(super) key: Box<str>,
    cause: Option<Arc<str>>,
    pub(super) due: Option<Timestamp>,
    pub(super) started: Timestamp,
    pub(super) updated: Timestamp,
    pub(super) acceptance: AcceptanceId,
    rare: Option<Box<Rare>>,
    out: u32,
    pub(super) state: RunState,
    wide: bool,
    halted: bool,
}

/// What few runs have.
#[derive(Clone)]
struct Rare {
    parent: Option<RunId>,
    aside: Option<Box<Aside>>,
}

impl Compact {
    /// The run that started it.
    pub(super) fn parent(&self) -> Option<RunId> {
        self.rare.as_ref()?.parent
    }

    pub(super) fn of(summary: RunSummary, words: &mut Words) -> Self {
        let RunSummary {
            id: _,
            pipeline,
            pipeline_version: version,
            key,
            state,
            step,
            cause,
            due,
            started,
            updated,
            acceptance,
            parent,
            out,
            wide,
            halted,
            aside,
        } = summary;
        let rare = (parent.is_some() || aside.is_some()).then(|| Box::new(Rare { parent, aside }));
        Self {
            place: words.places.share(Place { pipeline, version, step }),
            key: key.into(),
            cause: cause.map(|cause| words.causes.share(cause)),
            due,
            started,
            updated,
            acceptance,
            rare,
            out,
            state,
            wide,
            halted,
        }
    }

    pub(super) fn unfinished(&self, id: RunId) -> Unfinished<'_> {
        Unfinished {
            id,
            pipeline: &self.place.pipeline,
            version: &self.place.version,
            key: &self.key,
            state: self.state,
            step: self.place.step.as_deref(),
            started: self.started,
        }
    }

    pub(super) fn expand(&self, id: RunId) -> RunSummary {
        let rare = self.rare.as_deref();
        RunSummary {
            id,
            pipeline: self.place.pipeline.clone(),
            pipeline_version: self.place.version.clone(),
            key: self.key.as_ref().to_owned(),
            state: self.state,
            step: self.place.step.clone(),
            cause: self.cause.as_deref().map(str::to_owned),
            due: self.due,
            started: self.started,
            updated: self.updated,
            acceptance: self.acceptance,
            parent: rare.and_then(|rare| rare.parent),
            out: self.out,
            wide: self.wide,
            halted: self.halted,
            aside: rare.and_then(|rare| rare.aside.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Compact, Words};
    use crate::model::{
        id::{AcceptanceId, RunId},
        run::{Aside, RunState, RunSummary},
        timestamp::Timestamp,
    };

    #[test]
    fn nothing_of_a_summary_is_lost() {
        let acceptance = AcceptanceId::of("/s", "1");
        let id = RunId::of(acceptance, "p");
        let summary = RunSummary {
            id,
            pipeline: "p".into(),
            pipeline_version: "1.0.0".into(),
            key: "k".into(),
            state: RunState::Waiting,
            step: Some("a/b".into()),
            cause: Some("because".into()),
            due: Some(Timestamp::from_millis(7)),
            started: Timestamp::from_millis(1),
            updated: Timestamp::from_millis(2),
            acceptance,
            parent: Some(RunId::of(acceptance, "q")),
            out: 3,
            wide: true,
            halted: true,
            aside: Some(Box::new(Aside { state: RunState::Waiting, due: None, cause: Some("held".into()) })),
        };
        let mut words = Words::default();
        let kept = Compact::of(summary.clone(), &mut words);
        assert_eq!(kept.expand(id), summary);
        let again = Compact::of(summary, &mut words);
        assert!(std::sync::Arc::ptr_eq(&kept.place, &again.place));
    }

    #[test]
    fn a_summary_takes_little_memory() {
        assert!(size_of::<Compact>() <= 120, "{}", size_of::<Compact>());
    }
}
