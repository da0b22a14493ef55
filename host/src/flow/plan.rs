//! A pipeline in the form that runs: steps as numbered nodes in numbered blocks, expressions compiled, names resolved.

pub mod compile;

use std::collections::{BTreeMap, HashMap};

use super::{document::Document, expression::Expression, retry, template::Template};
use crate::model::{entry::PipelineUse, id::PluginId, manifest::Effect};

/// A step's number within its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(super) usize);

/// A block's number within its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub(super) usize);

/// A pipeline that can run.
#[derive(Debug)]
pub struct Plan {
    /// Name, version and digest.
    pub pipeline: PipelineUse,
    /// What starts it.
    pub triggers: Vec<Trigger>,
    /// What a run is about.
    pub key: Expression,
    /// Its priority; absent: standard.
    pub lane: Option<Template>,
    /// Its constants.
    pub config: Document,
    pub(super) nodes: Vec<Node>,
    pub(super) ids: HashMap<String, NodeId>,
    pub(super) blocks: Vec<Block>,
}

/// What starts a pipeline.
#[derive(Debug)]
pub struct Trigger {
    /// The event type.
    pub event_type: String,
    /// A condition over `event`.
    pub filter: Option<Expression>,
}

/// Steps in order, with the names that they see.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) parent: Option<BlockId>,
    pub(super) nodes: Vec<NodeId>,
    pub(super) names: HashMap<String, NodeId>,
}

/// One step.
#[derive(Debug)]
pub struct Node {
    /// Its id, unique in the pipeline.
    pub id: String,
    /// The block that it stands in.
    pub block: BlockId,
    /// Its condition.
    pub when: Option<Expression>,
    /// Longest attempt, milliseconds.
    pub timeout_ms: Option<u64>,
    /// What happens after a failure that may pass.
    pub retry: retry::Policy,
    /// What it does.
    pub action: Action,
}

/// What a step does.
#[derive(Debug)]
pub enum Action {
    /// Calls a pure plugin.
    Pure {
        /// Which kind.
        kind: PureKind,
        /// Which plugin, at which versions.
        plugin: PluginRange,
        /// Its input.
        with: Template,
        /// For a rule: how the run goes on after each outcome.
        outcomes: Outcomes,
    },
    /// Calls a connector's operation.
    Call {
        /// The name in `uses`.
        connection: String,
        /// The operation.
        operation: String,
        /// Whether it changes the remote.
        effect: Effect,
        /// Its input.
        with: Template,
    },
    /// Takes the first branch whose condition holds.
    Switch {
        /// Conditions and branches, in order.
        cases: Vec<(Expression, BlockId)>,
        /// The branch if none holds.
        otherwise: Option<BlockId>,
        /// What leaves the branches; absent: null.
        output: Option<Template>,
        /// The names of all branches together, which `output` sees.
        inner: BlockId,
    },
    /// Sends an event.
    Emit {
        /// Its type.
        event_type: String,
        /// What it is about.
        subject: Option<Template>,
        /// Its payload.
        data: Template,
    },
    /// Ends the run.
    End {
        /// Why, for people.
        reason: String,
    },
}

/// How a run goes on after each outcome of a rule.
#[derive(Debug)]
pub struct Outcomes {
    /// After `proceed`.
    pub proceed: Then,
    /// After `hold`.
    pub hold: Then,
    /// After `reject`.
    pub reject: Then,
    /// The branches of `route`.
    pub routes: BTreeMap<String, BlockId>,
    /// Fields that are added to the rule's output when its branch is done.
    pub output: Option<Template>,
    /// The names of all branches together, which `output` sees.
    pub inner: BlockId,
}

/// How a run goes on.
#[derive(Debug)]
pub enum Then {
    /// To the next step.
    Continue,
    /// Through these steps, then to the next.
    Steps(BlockId),
    /// It ends as completed.
    End,
    /// It ends as rejected.
    Reject,
    /// It is parked for people.
    Park {
        /// Why.
        reason: Option<String>,
    },
}

impl Action {
    /// The word of the language for it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Pure { kind: PureKind::Transform, .. } => "transform",
            Self::Pure { kind: PureKind::Rule, .. } => "rule",
            Self::Pure { kind: PureKind::Score, .. } => "score",
            Self::Call { .. } => "call",
            Self::Switch { .. } => "switch",
            Self::Emit { .. } => "emit",
            Self::End { .. } => "end",
        }
    }
}

/// The kinds of pure steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PureKind {
    /// `transform.apply`.
    Transform,
    /// `rule.evaluate`.
    Rule,
    /// `scorer.score`.
    Score,
}

/// A plugin line and the versions that suit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginRange {
    /// The line.
    pub id: PluginId,
    /// The versions.
    pub range: semver::VersionReq,
}

impl Plan {
    /// A step.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "a node id is only ever made by the plan that holds the node")]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    #[expect(clippy::indexing_slicing, reason = "a block id is only ever made by the plan that holds the block")]
    pub(super) fn block(&self, id: BlockId) -> &Block {
        &self.blocks[id.0]
    }

    /// The outermost block.
    pub(super) const ROOT: BlockId = BlockId(0);

    /// The step with this id.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<NodeId> {
        self.ids.get(id).copied()
    }

    pub(super) fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// Every step, in the order of the text.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    /// The step that a name means to a step of this block: its own block first, then those around it.
    pub(super) fn resolve(&self, block: BlockId, name: &str) -> Option<NodeId> {
        let mut at = Some(block);
        while let Some(id) = at {
            let block = self.block(id);
            if let Some(node) = block.names.get(name) {
                return Some(*node);
            }
            at = block.parent;
        }
        None
    }
}
