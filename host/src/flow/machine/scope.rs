//! What expressions of a run can name: `event`, `steps.<id>`, `verdict.<id>`, `vars`, `config`, `run`, `item`, `signal`,
//! `error`, and in a step's own input `tables`.

use serde_json::json;

use super::{
    Run,
    instance::{FrameId, InstanceId, Phase},
};
use crate::{
    flow::{
        document::Document,
        expression::Scope,
        plan::{Action, BlockId},
    },
    model::{entry::Ending, json::Json, table::TableUse},
};

/// The documents that a step of a frame sees.
pub(super) struct RunScope<'a> {
    run: &'a Run,
    frame: FrameId,
    /// The names of all branches of a step together, for what leaves them.
    inner: Option<BlockId>,
    /// The event that a `match` is about.
    signal: Option<Document>,
    /// The step whose failure is dealt with.
    failed: Option<InstanceId>,
    /// The reference tables of the step whose input this is.
    tables: &'a [TableUse],
}

impl<'a> RunScope<'a> {
    pub(super) fn new(run: &'a Run, frame: FrameId) -> Self {
        Self { run, frame, inner: None, signal: None, failed: None, tables: &[] }
    }

    pub(super) fn with_tables(run: &'a Run, frame: FrameId, tables: &'a [TableUse]) -> Self {
        Self { tables, ..Self::new(run, frame) }
    }

    pub(super) fn with_inner(run: &'a Run, frame: FrameId, inner: BlockId) -> Self {
        Self { inner: Some(inner), ..Self::new(run, frame) }
    }

    pub(super) fn with_failed(run: &'a Run, failed: InstanceId) -> Self {
        Self { failed: Some(failed), ..Self::new(run, run.instance(failed).frame) }
    }

    pub(super) fn with_signal(run: &'a Run, frame: FrameId, signal: Document) -> Self {
        Self { signal: Some(signal), ..Self::new(run, frame) }
    }
}

impl Scope for RunScope<'_> {
    fn lookup<'p>(&self, path: &'p [String]) -> Option<(Document, &'p [String])> {
        let run = self.run;
        let (root, rest) = path.split_first()?;
        match (root.as_str(), rest) {
            ("event", [field, rest @ ..]) if field == "data" => Some((run.data.clone(), rest)),
            ("event", rest) => Some((run.event_document(), rest)),
            ("config", rest) => Some((run.plan.config.clone(), rest)),
            ("run", rest) => Some((run.facts(), rest)),
            ("steps", [id, rest @ ..]) => Some((self.output(id)?, rest)),
            ("verdict", [id, rest @ ..]) => Some((self.verdict(id)?, rest)),
            ("vars", [name, rest @ ..]) => Some((run.vars.get(name)?.clone(), rest)),
            ("vars", []) => {
                let all = run.vars.iter().map(|(name, value)| (name.clone(), value.value().clone())).collect();
                Some((Document::from(serde_json::Value::Object(all)), rest))
            }
            ("item", rest) => Some((self.frames().find_map(|frame| run.frame(frame).item.clone())?, rest)),
            ("signal", rest) => Some((self.signal.clone().or_else(|| self.last_signal())?, rest)),
            ("error", rest) => Some((self.error()?, rest)),
            ("tables", [alias, rest @ ..]) => {
                let used = self.tables.iter().find(|used| used.alias == *alias)?;
                Some((run.tables.get(&used.digest)?.clone(), rest))
            }
            _ => None,
        }
    }
}

impl RunScope<'_> {
    /// The frame and those around it, innermost first.
    fn frames(&self) -> impl Iterator<Item = FrameId> {
        std::iter::successors(Some(self.frame), |frame| self.run.frame(*frame).parent)
    }

    /// The instance that a name means here: absent if there is no such name; `None` inside if the step stands in a
    /// branch that was not taken.
    fn resolve(&self, name: &str) -> Option<Option<InstanceId>> {
        let plan = &self.run.plan;
        if let Some(node) = self.inner.and_then(|inner| plan.block(inner).names.get(name)) {
            let node = plan.node(*node);
            let frame = self.run.find_frame(node.block, &self.run.frame(self.frame).indices);
            return Some(frame.map(|frame| InstanceId(self.run.frame(frame).first + node.position)));
        }
        self.frames().find_map(|frame| {
            let frame = self.run.frame(frame);
            let node = plan.block(frame.block).names.get(name)?;
            Some(Some(InstanceId(frame.first + plan.node(*node).position)))
        })
    }

    /// A step's output; null if it was skipped or stands in a branch that was not taken.
    fn output(&self, name: &str) -> Option<Document> {
        let null = || Some(Document::new(Json::null()));
        let Some(id) = self.resolve(name)? else { return null() };
        let instance = self.run.instance(id);
        match instance.phase {
            Phase::Fresh | Phase::Skipped => null(),
            Phase::Done | Phase::Running | Phase::Waiting(_) | Phase::Failed => instance.output.clone(),
        }
    }

    fn verdict(&self, name: &str) -> Option<Document> {
        let verdict = self.run.instance(self.resolve(name)??).verdict.as_ref()?;
        Some(Document::from(json!({
            "outcome": verdict.outcome,
            "target": verdict.target,
            "reasons": verdict.reasons,
        })))
    }

    /// The event of the latest wait before this place.
    fn last_signal(&self) -> Option<Document> {
        self.frames().find_map(|frame| {
            let frame = self.run.frame(frame);
            let nodes = &self.run.plan.block(frame.block).nodes;
            nodes.iter().enumerate().rev().find_map(|(position, node)| {
                let waits = matches!(self.run.plan.node(*node).action, Action::Wait { .. });
                let id = InstanceId(frame.first + position);
                if waits { self.run.instance(id).wait()?.signal.clone() } else { None }
            })
        })
    }

    /// Why the step failed whose `on_error` this is, or the run.
    fn error(&self) -> Option<Document> {
        let owners = self.frames().filter_map(|frame| self.run.frame(frame).owner);
        let of_step = self
            .failed
            .into_iter()
            .chain(owners)
            .find_map(|failed| Some((self.run.path(failed), self.run.instance(failed).failure()?.clone())));
        let (step, failure) = match (of_step, &self.run.halt) {
            (Some(found), _) => found,
            (None, Some(halt)) => match &halt.ending {
                Ending::Failed { step, failure } => (step.clone(), failure.clone()),
                _ => return None,
            },
            (None, None) => return None,
        };
        Some(Document::from(json!({
            "step": step,
            "kind": failure.kind,
            "code": failure.code,
            "message": failure.message,
        })))
    }
}
