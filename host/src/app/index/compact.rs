//! A run's summary in little memory: what runs have in common, such as pipelines, steps and causes, is held once.

use std::{collections::HashSet, sync::Arc};

use super::Unfinished;
use crate::model::{
    id::{AcceptanceId, RunId},
    run::{Aside, RunState, RunSummary},
    timestamp::Timestamp,
};

/// Texts above which those that nobody holds any more are let go.
const WORDS_LIMIT: usize = 65_536;

/// Texts that many runs share.
#[derive(Default)]
pub(super) struct Words {
    texts: HashSet<Arc<str>>,
    limit: usize,
}

impl Words {
    fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        if self.texts.len() >= self.limit.max(WORDS_LIMIT) {
            self.texts.retain(|text| Arc::strong_count(text) > 1);
            // If most are in use, looking through them all again soon would be for nothing.
            self.limit = self.texts.len() * 2;
        }
        let text: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&text));
        text
    }
}

/// A summary, without its id.
#[derive(Clone)]
pub(super) struct Compact {
    pub(super) pipeline: Arc<str>,
    pipeline_version: Arc<str>,
    pub(super) key: Box<str>,
    step: Option<Arc<str>>,
    cause: Option<Arc<str>>,
    pub(super) due: Option<Timestamp>,
    pub(super) started: Timestamp,
    pub(super) updated: Timestamp,
    pub(super) acceptance: AcceptanceId,
    parent: Option<Box<RunId>>,
    out: u32,
    pub(super) state: RunState,
    wide: bool,
    halted: bool,
    aside: Option<Box<Aside>>,
}

impl Compact {
    pub(super) fn of(summary: RunSummary, words: &mut Words) -> Self {
        let RunSummary {
            id: _,
            pipeline,
            pipeline_version,
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
        Self {
            pipeline: words.share(&pipeline),
            pipeline_version: words.share(&pipeline_version),
            key: key.into(),
            step: step.map(|step| words.share(&step)),
            cause: cause.map(|cause| words.share(&cause)),
            due,
            started,
            updated,
            acceptance,
            parent: parent.map(Box::new),
            out,
            state,
            wide,
            halted,
            aside,
        }
    }

    pub(super) fn unfinished(&self, id: RunId) -> Unfinished<'_> {
        Unfinished {
            id,
            pipeline: &self.pipeline,
            version: &self.pipeline_version,
            key: &self.key,
            state: self.state,
            step: self.step.as_deref(),
            started: self.started,
        }
    }

    pub(super) fn expand(&self, id: RunId) -> RunSummary {
        let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
        RunSummary {
            id,
            pipeline: self.pipeline.as_ref().to_owned(),
            pipeline_version: self.pipeline_version.as_ref().to_owned(),
            key: self.key.as_ref().to_owned(),
            state: self.state,
            step: text(&self.step),
            cause: text(&self.cause),
            due: self.due,
            started: self.started,
            updated: self.updated,
            acceptance: self.acceptance,
            parent: self.parent.as_deref().copied(),
            out: self.out,
            wide: self.wide,
            halted: self.halted,
            aside: self.aside.clone(),
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
        assert!(std::sync::Arc::ptr_eq(&kept.pipeline, &again.pipeline));
    }

    #[test]
    fn a_summary_takes_little_memory() {
        assert!(size_of::<Compact>() <= 176, "{}", size_of::<Compact>());
    }
}
