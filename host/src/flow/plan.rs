//! A pipeline in the form that runs: steps as numbered nodes in numbered blocks, expressions compiled, names resolved.

pub mod compile;

use std::collections::{BTreeMap, HashMap};

use super::{document::Document, expression::Expression, retry, template::Template};
use crate::model::{
    entry::PipelineUse,
    id::{ContractId, PluginId},
    manifest::Effect,
    pipeline::{
        Order, Sla,
        action::{Join, Mode},
    },
};

/// A step's number within its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(super) usize);

impl NodeId {
    /// No step of any plan.
    pub(super) const NONE: Self = Self(usize::MAX);
}

/// A block's number within its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub(super) usize);

/// A pipeline that can run.
#[derive(Debug)]
pub struct Plan {
    /// Name, version and digest.
    pub pipeline: PipelineUse,
    /// The contracts behind the names of what it talks to.
    pub uses: BTreeMap<String, ContractId>,
    /// What starts it.
    pub triggers: Vec<Trigger>,
    /// What a run is about.
    pub key: Expression,
    /// What was promised about a run's duration.
    pub sla: Option<Sla>,
    /// Its priority; absent: standard.
    pub lane: Option<Template>,
    /// Its constants.
    pub config: Document,
    /// Variables with their initial values.
    pub vars: BTreeMap<String, Document>,
    /// How runs of one key relate.
    pub order: Order,
    /// What happens when a step fails for good, if anything is declared.
    pub(super) on_error: Option<OnError>,
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

/// What happens when a step fails for good.
#[derive(Debug)]
pub(super) struct OnError {
    pub(super) compensate_all: bool,
    pub(super) steps: BlockId,
}

/// Steps in order, with the names that they see.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) parent: Option<BlockId>,
    /// The step that it belongs to; absent: the outermost, and `on_error` of the pipeline.
    pub(super) owner: Option<NodeId>,
    /// Whether it is the body of a `for` or a `loop`, of which there are many at run time.
    pub(super) repeated: bool,
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
    /// Its place in the block, from 0.
    pub position: usize,
    /// Its condition.
    pub when: Option<Expression>,
    /// Longest attempt, milliseconds.
    pub timeout_ms: Option<u64>,
    /// Longest time for the whole step with all its attempts, milliseconds.
    pub within_ms: Option<u64>,
    /// What happens after a failure that may pass.
    pub retry: retry::Policy,
    /// Whether the pipeline says so itself.
    pub retry_declared: bool,
    /// How its effect is undone.
    pub compensate: Option<Operation>,
    /// The reference tables that its own call is given.
    pub tables: Vec<TableRange>,
    /// What gives its output when it cannot.
    pub fallback: Option<Fallback>,
    /// What happens when it fails for good.
    pub on_error: Option<Then>,
    /// Whether nothing before it is undone any more once its intent is durable.
    pub point_of_no_return: bool,
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
        /// For a scorer: the most that its recommendation may do.
        mode: Mode,
    },
    /// Asks a connector's read operation for a recommendation. Its answer is recorded: nothing can compute it again.
    Assess {
        /// Which, with what.
        operation: Operation,
        /// The most that its recommendation may do.
        mode: Mode,
    },
    /// Calls a connector's operation.
    Call {
        /// Which, with what.
        operation: Operation,
        /// The read-back.
        confirm: Option<Confirm>,
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
    /// Branches side by side.
    Parallel {
        /// How many have to succeed.
        join: Join,
        /// Name and block, in the order of the text.
        branches: Vec<(String, BlockId)>,
    },
    /// The same steps for each of a list.
    For {
        /// What it goes over.
        over: Over,
        /// How many at a time.
        at_once: usize,
        /// The steps.
        body: BlockId,
        /// What leaves each; absent: null.
        output: Option<Template>,
        /// The transform that is folded over the outputs.
        reduce: Option<PluginRange>,
    },
    /// The same steps again.
    Loop {
        /// How often at most.
        max: Template,
        /// Until this holds.
        until: Expression,
        /// The steps.
        body: BlockId,
        /// What leaves the last time; absent: null.
        output: Option<Template>,
        /// What happens if it never held.
        on_exhausted: Option<Then>,
    },
    /// Waits.
    Wait {
        /// What for.
        until: Until,
        /// The bound, milliseconds; for a time, there is none.
        within_ms: Option<u64>,
        /// What happens when it is over; absent: the step fails.
        on_expiry: Option<Then>,
    },
    /// Asks people.
    Approve(Box<Approval>),
    /// Starts another pipeline.
    Start {
        /// Its name.
        pipeline: String,
        /// Which versions.
        range: semver::VersionReq,
        /// Whether it is not waited for.
        detach: bool,
        /// Its event's data.
        with: Template,
    },
    /// Undoes steps, then sets variables.
    Undo {
        /// Which, in this order.
        steps: Vec<NodeId>,
        /// Variables and their new values.
        set: Vec<(String, Template)>,
    },
}

/// What a `for` goes over.
#[derive(Debug)]
pub enum Over {
    /// A list.
    Each(Expression),
    /// The pages of a read.
    Pages(Operation),
}

/// A connector's operation and its input.
#[derive(Debug)]
pub struct Operation {
    /// The name in `uses`.
    pub connection: String,
    /// The operation.
    pub operation: String,
    /// Whether it changes the remote.
    pub effect: Effect,
    /// Its input.
    pub with: Template,
}

/// The read-back after a write.
#[derive(Debug)]
pub struct Confirm {
    /// The read.
    pub read: Operation,
    /// The paths in what was read, and what they must be equal to.
    pub equals: Vec<(String, Template)>,
}

/// What gives a step's output when the step itself cannot.
#[derive(Debug)]
pub enum Fallback {
    /// This.
    Value(Template),
    /// The output of a pure plugin.
    Plugin {
        /// Rule or transform.
        kind: PureKind,
        /// Which.
        plugin: PluginRange,
        /// Its input.
        with: Template,
    },
}

/// What a wait waits for.
#[derive(Debug)]
pub enum Until {
    /// The first of these events.
    Signals(Vec<Signal>),
    /// A moment.
    Time(Expression),
    /// Some time, milliseconds.
    Elapsed(u64),
}

/// An event that a wait waits for.
#[derive(Debug)]
pub struct Signal {
    /// Its name in the wait.
    pub name: String,
    /// Its type.
    pub event_type: String,
    /// The compared part of the event, over `signal`.
    pub part: Expression,
    /// What that part must be equal to, over the run.
    pub value: Expression,
    /// The whole condition, over both.
    pub matches: Expression,
}

/// A question to people.
#[derive(Debug)]
pub struct Approval {
    /// Who is asked.
    pub group: String,
    /// How many have to agree; absent: 1.
    pub quorum: Option<Template>,
    /// Who may not decide.
    pub not: Vec<String>,
    /// The parts that are shown first.
    pub show: Vec<String>,
    /// When people are reminded, milliseconds from the question.
    pub remind_ms: Vec<u64>,
    /// Who else is asked, and after how many milliseconds.
    pub escalate: Option<(String, u64)>,
    /// The bound, milliseconds.
    pub within_ms: u64,
    /// What happens then.
    pub on_expiry: Then,
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
    /// With this as the step's output.
    Use(Template),
    /// As if this signal had come, without data.
    As(String),
    /// As people decide.
    Approve(Box<Approval>),
    /// It ends as rejected.
    Reject,
    /// It is parked for people.
    Park {
        /// Why.
        reason: Option<String>,
    },
}

impl Then {
    fn blocks(&self, found: &mut Vec<BlockId>) {
        match self {
            Self::Steps(block) => found.push(*block),
            Self::Approve(approval) => approval.on_expiry.blocks(found),
            _ => {}
        }
    }
}

impl Node {
    /// The events that it waits for.
    #[must_use]
    pub fn signals(&self) -> &[Signal] {
        match &self.action {
            Action::Wait { until: Until::Signals(signals), .. } => signals.as_slice(),
            _ => &[],
        }
    }

    /// Whether what it does can be undone: as it declares, or by the run that it started and waited for.
    pub(super) fn is_undoable(&self) -> bool {
        self.compensate.is_some() || matches!(self.action, Action::Start { detach: false, .. })
    }

    /// The blocks that belong to it.
    pub(super) fn blocks(&self) -> Vec<BlockId> {
        let mut found = Vec::new();
        match &self.action {
            Action::Pure { outcomes, .. } => {
                [&outcomes.proceed, &outcomes.hold, &outcomes.reject]
                    .into_iter()
                    .for_each(|then| then.blocks(&mut found));
                found.extend(outcomes.routes.values());
            }
            Action::Switch { cases, otherwise, .. } => {
                found.extend(cases.iter().map(|(_, block)| *block));
                found.extend(otherwise);
            }
            Action::Parallel { branches, .. } => found.extend(branches.iter().map(|(_, block)| *block)),
            Action::For { body, .. } => found.push(*body),
            Action::Loop { body, on_exhausted, .. } => {
                found.push(*body);
                on_exhausted.iter().for_each(|then| then.blocks(&mut found));
            }
            Action::Wait { on_expiry, .. } => on_expiry.iter().for_each(|then| then.blocks(&mut found)),
            Action::Approve(approval) => approval.on_expiry.blocks(&mut found),
            Action::Call { .. }
            | Action::Assess { .. }
            | Action::Emit { .. }
            | Action::End { .. }
            | Action::Start { .. }
            | Action::Undo { .. } => {}
        }
        self.on_error.iter().for_each(|then| then.blocks(&mut found));
        found
    }
}

impl Action {
    /// The word of the language for it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Pure { kind: PureKind::Transform, .. } => "transform",
            Self::Pure { kind: PureKind::Rule, .. } => "rule",
            Self::Pure { kind: PureKind::Score, .. } | Self::Assess { .. } => "score",
            Self::Call { .. } => "call",
            Self::Switch { .. } => "switch",
            Self::Emit { .. } => "emit",
            Self::End { .. } => "end",
            Self::Parallel { .. } => "parallel",
            Self::For { .. } => "for",
            Self::Loop { .. } => "loop",
            Self::Wait { .. } => "wait",
            Self::Approve(_) => "approve",
            Self::Start { .. } => "run",
            Self::Undo { steps, .. } if steps.is_empty() => "set",
            Self::Undo { .. } => "undo",
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

/// A reference table, what a step calls it, and the versions that suit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRange {
    /// What the step calls it.
    pub alias: String,
    /// `namespace/name`.
    pub name: String,
    /// The versions.
    pub range: semver::VersionReq,
}

impl Plan {
    /// The reference tables that its steps are given, each with the step.
    pub fn tables(&self) -> impl Iterator<Item = (&str, &TableRange)> {
        self.nodes.iter().flat_map(|node| node.tables.iter().map(|table| (node.id.as_str(), table)))
    }

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

    /// The blocks that are entered once at most, but for `without` and what stands in it.
    pub(super) fn once_blocks(&self, without: Option<BlockId>) -> impl Iterator<Item = BlockId> {
        (0..self.blocks.len()).map(BlockId).filter(move |block| {
            let mut around = std::iter::successors(Some(*block), |block| self.block(*block).parent);
            around.all(|block| !self.block(block).repeated && Some(block) != without)
        })
    }

    pub(super) fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// The events that its waits wait for.
    pub fn signals(&self) -> impl Iterator<Item = &Signal> {
        self.nodes.iter().flat_map(Node::signals)
    }

    /// The pure plugins that its steps call, each with the step.
    pub fn plugins(&self) -> impl Iterator<Item = (&str, &PluginRange)> {
        self.nodes.iter().flat_map(|node| {
            let own = match &node.action {
                Action::Pure { plugin, .. } | Action::For { reduce: Some(plugin), .. } => Some(plugin),
                _ => None,
            };
            let fallback = match &node.fallback {
                Some(Fallback::Plugin { plugin, .. }) => Some(plugin),
                _ => None,
            };
            own.into_iter().chain(fallback).map(|plugin| (node.id.as_str(), plugin))
        })
    }

    /// The names in `uses` that its steps call through, each with the step.
    pub fn connections(&self) -> impl Iterator<Item = (&str, &str)> {
        self.nodes.iter().flat_map(|node| {
            let called = match &node.action {
                Action::Call { operation, .. }
                | Action::Assess { operation, .. }
                | Action::For { over: Over::Pages(operation), .. } => Some(operation),
                _ => None,
            };
            let called = called.into_iter().chain(&node.compensate);
            called.map(|operation| (node.id.as_str(), operation.connection.as_str()))
        })
    }

    /// Every step, in the order of the text.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }
}
