//! What a step does.

use serde::Serialize;

use super::{
    Place, PluginRef, Spot,
    step::{Consequence, Step},
    template::{Expression, Template},
};

/// What a step does.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Action {
    /// A plugin turns one document into another.
    Transform {
        /// Which.
        plugin: PluginRef,
        /// What it is given.
        with: Template,
    },
    /// A plugin decides.
    Rule {
        /// Which.
        plugin: PluginRef,
        /// What it is given.
        with: Template,
        /// How the run goes on after each outcome.
        outcomes: Outcomes,
    },
    /// A plugin recommends.
    Score {
        /// Which.
        plugin: PluginRef,
        /// What it is given.
        with: Template,
        /// The most that the recommendation may do; the binding may lower it.
        mode: Mode,
    },
    /// An operation of a connection recommends, such as one that asks a large language model: only a read may.
    Assess {
        /// The connection's name in `uses`.
        connection: Spot<String>,
        /// The operation.
        operation: Spot<String>,
        /// What it is given.
        with: Template,
        /// The most that the recommendation may do.
        mode: Mode,
    },
    /// An operation of a connection.
    Call {
        /// The connection's name in `uses`.
        connection: Spot<String>,
        /// The operation.
        operation: Spot<String>,
        /// What it is given.
        with: Template,
        /// The read-back that turns "sent" into "posted".
        #[serde(skip_serializing_if = "Option::is_none")]
        confirm: Option<Confirm>,
    },
    /// The first case that holds. Its output is `output`, else null.
    Switch {
        /// In the order in which they are tried.
        cases: Vec<Case>,
        /// If none holds; absent: nothing.
        #[serde(skip_serializing_if = "Option::is_none")]
        otherwise: Option<Vec<Step>>,
        /// What leaves the branches; may name the steps of all, those of branches not taken being null.
        #[serde(skip_serializing_if = "Option::is_none")]
        output: Option<Template>,
    },
    /// Branches side by side. Its output has each branch's last output by the branch's name.
    Parallel {
        /// How many have to succeed.
        join: Join,
        /// The bound of the whole, milliseconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        within_ms: Option<u64>,
        /// In the order of the text.
        branches: Vec<Branch>,
    },
    /// The same steps for each of many things. Its output lists the `output` of each, or what `reduce` made of them.
    For {
        /// Of what; `item` in expressions.
        over: Over,
        /// How many at a time.
        at_once: u32,
        /// What happens with each.
        steps: Vec<Step>,
        /// What leaves each.
        #[serde(skip_serializing_if = "Option::is_none")]
        output: Option<Template>,
        /// A transform that is folded over the outputs.
        #[serde(skip_serializing_if = "Option::is_none")]
        reduce: Option<PluginRef>,
    },
    /// The same steps again until a condition holds.
    Loop {
        /// How often at most; evaluates to a number.
        max: Template,
        /// Checked after each time; sees the steps inside.
        until: Expression,
        /// What happens each time.
        steps: Vec<Step>,
        /// What leaves the last time.
        #[serde(skip_serializing_if = "Option::is_none")]
        output: Option<Template>,
        /// What happens if it never held; absent: the step fails.
        #[serde(skip_serializing_if = "Option::is_none")]
        on_exhausted: Option<Consequence>,
    },
    /// A signal or a time. Its output has `kind` (the signal's name) and `signal` (the event).
    Wait {
        /// What for.
        until: Until,
        /// The bound, milliseconds; always there unless a time is waited for.
        #[serde(skip_serializing_if = "Option::is_none")]
        within_ms: Option<u64>,
        /// What happens if nothing came; absent: the step fails.
        #[serde(skip_serializing_if = "Option::is_none")]
        on_expiry: Option<Consequence>,
    },
    /// People.
    Approve(Box<Approval>),
    /// Accepts an event, as if it came from outside.
    Emit {
        /// Its type.
        event_type: String,
        /// What it is about; evaluates to text.
        #[serde(skip_serializing_if = "Option::is_none")]
        subject: Option<Template>,
        /// Its data.
        data: Template,
    },
    /// Another pipeline.
    Run {
        /// Its name.
        pipeline: Spot<String>,
        /// Which versions.
        range: semver::VersionReq,
        /// Whether it is a run of its own, with a link, that is not waited for.
        detach: bool,
        /// The data of the event that it is given.
        with: Template,
    },
    /// Undoes these steps, and then sets variables.
    Undo {
        /// Which, in this order.
        steps: Vec<Spot<String>>,
        /// Variables and their new values.
        set: Vec<(Spot<String>, Template)>,
    },
    /// Sets variables.
    Set {
        /// Variables and their new values.
        values: Vec<(Spot<String>, Template)>,
    },
    /// Ends the run as completed.
    End {
        /// Why, for people.
        reason: String,
    },
}

impl Action {
    /// The word that introduces it.
    #[must_use]
    pub fn keyword(&self) -> &'static str {
        match self {
            Self::Transform { .. } => "transform",
            Self::Rule { .. } => "rule",
            Self::Score { .. } | Self::Assess { .. } => "score",
            Self::Call { .. } => "call",
            Self::Switch { .. } => "switch",
            Self::Parallel { .. } => "parallel",
            Self::For { .. } => "for",
            Self::Loop { .. } => "loop",
            Self::Wait { .. } => "wait",
            Self::Approve(_) => "approve",
            Self::Emit { .. } => "emit",
            Self::Run { .. } => "run",
            Self::Undo { .. } => "undo",
            Self::Set { .. } => "set",
            Self::End { .. } => "end",
        }
    }
}

/// How a run goes on after each outcome of a rule. Absent ones have their default: `proceed` goes on, `reject` undoes
/// and ends the run as rejected; `hold` and `route` have none.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Outcomes {
    /// After `proceed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proceed: Option<Consequence>,
    /// After `hold`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Consequence>,
    /// After `reject`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reject: Option<Consequence>,
    /// The branches of `route`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub route: Vec<Branch>,
    /// What leaves the branches: fields that are added to the rule's output. May name the steps of all branches, those
    /// of branches not taken being null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Template>,
    /// Where they are written.
    #[serde(skip)]
    pub at: Place,
}

impl Outcomes {
    /// The handled ones of `proceed`, `hold` and `reject`.
    pub fn consequences(&self) -> impl Iterator<Item = (&'static str, &Consequence)> {
        [("proceed", &self.proceed), ("hold", &self.hold), ("reject", &self.reject)]
            .into_iter()
            .filter_map(|(name, consequence)| consequence.as_ref().map(|consequence| (name, consequence)))
    }
}

/// How much a recommendation may do, from least to most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Not asked at all.
    Off,
    /// Asked and recorded; the fallback's output counts.
    Shadow,
    /// Its output counts; people or rules decide.
    #[default]
    Advise,
    /// Its output may decide alone.
    Auto,
}

/// A branch by name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Branch {
    /// Its name.
    pub name: String,
    /// What happens in it.
    pub steps: Vec<Step>,
    /// Where its name is written.
    #[serde(skip)]
    pub at: Place,
}

/// One case of a switch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Case {
    /// Its number, from 1: what the journal calls the branch.
    pub name: String,
    /// When it is taken.
    pub when: Expression,
    /// What happens then.
    pub steps: Vec<Step>,
    /// Where it is written.
    #[serde(skip)]
    pub at: Place,
}

/// How many branches have to succeed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// Every one.
    #[default]
    All,
    /// One; the others are stopped.
    Any,
}

/// What a `for` goes over.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// A list.
    Each(Expression),
    /// The pages of a read operation, one by one.
    Pages {
        /// The connection's name in `uses`.
        connection: Spot<String>,
        /// The operation.
        operation: Spot<String>,
        /// What it is given.
        with: Template,
    },
}

/// What a `wait` waits for.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// The first of these events.
    Signals(Vec<Signal>),
    /// A moment; evaluates to a timestamp.
    Time(Expression),
    /// Some time, milliseconds.
    Elapsed(u64),
}

/// An event that a `wait` waits for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Signal {
    /// Its name under `first_of`; for a single one, `signal`.
    pub name: String,
    /// The event's type.
    pub event: String,
    /// Whether the event (`signal` in the expression) is about this run: contains an equality of the two.
    #[serde(rename = "match")]
    pub matches: Expression,
    /// Where it is written.
    #[serde(skip)]
    pub at: Place,
}

/// A question to people.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Approval {
    /// Who is asked.
    pub group: String,
    /// How many have to agree; evaluates to a number. Absent: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quorum: Option<Template>,
    /// Who may not decide, such as `subject`: the person whom the run is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not: Vec<String>,
    /// The parts of the step's output that are shown first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub show: Vec<String>,
    /// When people are reminded, milliseconds from the question.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remind_ms: Vec<u64>,
    /// Who else is asked, and when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escalate: Option<Escalation>,
    /// The bound, milliseconds.
    pub within_ms: u64,
    /// What happens if nobody decided.
    pub on_expiry: Consequence,
    /// Where it is written.
    #[serde(skip)]
    pub at: Place,
}

/// Who is asked next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Escalation {
    /// The group.
    pub to: String,
    /// When, milliseconds from the question.
    pub after_ms: u64,
}

/// What gives a step's output when the step itself cannot.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// This.
    Value(Template),
    /// A rule's output, or of its decision.
    Rule {
        /// Which.
        plugin: PluginRef,
        /// What it is given.
        with: Template,
    },
    /// A transform's output.
    Transform {
        /// Which.
        plugin: PluginRef,
        /// What it is given.
        with: Template,
    },
}

/// The read-back after a write.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Confirm {
    /// A read operation of the same connection.
    pub operation: Spot<String>,
    /// What it is given; may use the step's own output.
    pub with: Template,
    /// What must be equal: the path in what was read, and the expected value.
    pub equals: Vec<(String, Template)>,
    /// Where it is written.
    #[serde(skip)]
    pub at: Place,
}
