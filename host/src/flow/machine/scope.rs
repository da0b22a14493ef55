//! What expressions of a run can name: `event`, `steps.<id>`, `verdict.<id>`, `config`, `run`.

use serde_json::json;

use super::{Phase, Run};
use crate::flow::{
    document::Document,
    expression::Scope,
    plan::{BlockId, NodeId},
};

/// The documents that a step of a block sees.
pub(super) struct RunScope<'a> {
    pub(super) run: &'a Run,
    pub(super) block: BlockId,
}

impl Scope for RunScope<'_> {
    fn lookup<'p>(&self, path: &'p [String]) -> Option<(Document, &'p [String])> {
        let (root, rest) = path.split_first()?;
        match (root.as_str(), rest) {
            ("event", [field, rest @ ..]) if field == "data" => Some((self.run.data.clone(), rest)),
            ("event", rest) => Some((self.run.event_document(), rest)),
            ("config", rest) => Some((self.run.plan.config.clone(), rest)),
            ("run", rest) => Some((self.run.facts(), rest)),
            ("steps", [id, rest @ ..]) => Some((self.output(self.run.plan.resolve(self.block, id)?)?, rest)),
            ("verdict", [id, rest @ ..]) => Some((self.verdict(self.run.plan.resolve(self.block, id)?)?, rest)),
            _ => None,
        }
    }
}

impl RunScope<'_> {
    /// A step's output; null if it was skipped or stands in a branch that was not taken.
    fn output(&self, node: NodeId) -> Option<Document> {
        let state = self.run.state(node);
        match state.phase {
            Phase::Done => state.output.clone(),
            Phase::Fresh | Phase::Skipped => Some(Document::new(crate::model::json::Json::null())),
            Phase::Running | Phase::Waiting(_) | Phase::Failed => None,
        }
    }

    fn verdict(&self, node: NodeId) -> Option<Document> {
        let verdict = self.run.state(node).verdict.as_ref()?;
        Some(Document::from(json!({
            "outcome": verdict.outcome,
            "target": verdict.target,
            "reasons": verdict.reasons,
        })))
    }
}
