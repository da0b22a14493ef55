//! Where a run is: frames (a block of the plan that has been entered, once for each item or iteration) and instances
//! (a step in a frame, or one of the calls around it). An instance's path is what facts name it by:
//! `pick` · `pick[2]` in the second iteration · `pick[2]~compensate` for the call that undoes it.

use std::{fmt, sync::Arc};

use crate::{
    flow::{
        document::Document,
        plan::{BlockId, NodeId},
    },
    model::{
        decision::Verdict,
        entry::{ApprovalAsked, ApprovalDecided, Await, Handler, PluginUse},
        failure::Failure,
        table::TableUse,
        timestamp::Timestamp,
    },
};

/// A frame's number within its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FrameId(pub(super) usize);

/// An instance's number within its run, as long as the run is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId(pub(super) usize);

/// A block that has been entered.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) block: BlockId,
    /// The frame around it.
    pub(super) parent: Option<FrameId>,
    /// The step that entered it.
    pub(super) owner: Option<InstanceId>,
    /// Which item or iteration of each `for` and `loop` around it, from 1, outermost first.
    pub(super) indices: Vec<u32>,
    pub(super) item: Option<Document>,
    /// The instance of its first step; the others follow.
    pub(super) first: usize,
    /// How many of its steps are behind the run: a walk begins there and not at the start.
    pub(super) behind: usize,
}

/// Which of the calls of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Facet {
    Main,
    Confirm,
    Compensate,
    Fallback,
    /// Folding the output of this item, from 1.
    Reduce(u32),
    /// Fetching this page, from 1.
    Page(u32),
}

/// A step in a frame, or one of the calls around it.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) node: NodeId,
    pub(super) frame: FrameId,
    pub(super) facet: Facet,
    /// For a call around a step: the step's own instance.
    pub(super) main: Option<InstanceId>,
    pub(super) phase: Phase,
    /// Attempts of the operation itself begun, and of asking whether one took effect.
    pub(super) attempts: u32,
    pub(super) finds: u32,
    /// Attempts that failed.
    pub(super) failures: u32,
    /// What had been spent of each when a person gave it all its attempts again.
    pub(super) spent: (u32, u32, u32),
    /// Whether an attempt may have taken effect, and whether the one in flight only asks.
    pub(super) in_doubt: bool,
    pub(super) resolving: bool,
    /// When it first began, and when its latest attempt did.
    pub(super) begun: Option<Timestamp>,
    pub(super) started: Timestamp,
    pub(super) plugin: Option<Arc<PluginUse>>,
    /// Whether the run that it started and waits for was told that it is needed no more; no fact tells.
    pub(super) withdrawn: bool,
    /// The reference tables that it is given, from its first attempt on.
    pub(super) tables: Arc<[TableUse]>,
    /// Whether a version on trial failed it, so that only the active one is called from then on.
    pub(super) active_only: bool,
    pub(super) output: Option<Document>,
    pub(super) verdict: Option<Verdict>,
    /// The branch that was taken, until it is done; then the step is closed.
    pub(super) branch: Option<BlockId>,
    pub(super) closed: bool,
    /// The number of the latest fact about it.
    pub(super) changed: u64,
    pub(super) more: Option<Box<More>>,
}

/// What only some instances have.
#[derive(Debug, Default)]
pub(super) struct More {
    pub(super) failure: Option<Failure>,
    pub(super) handled: Option<Handler>,
    pub(super) facets: Vec<(Facet, InstanceId)>,
    /// The folds of a `for`, by item, and how many are behind the run.
    pub(super) folds: Vec<InstanceId>,
    pub(super) folded: usize,
    /// The pages of a `for`, in order, and where the next one begins; absent: there is none.
    pub(super) pages: Vec<InstanceId>,
    pub(super) cursor: Option<String>,
    /// Frames of a `for`, a `loop` or a `parallel`, in order, and which of them are not done.
    pub(super) frames: Vec<FrameId>,
    pub(super) open: Vec<FrameId>,
    pub(super) items: Vec<Document>,
    /// For a `loop`: how often at most, and how often more when a person has it tried again.
    pub(super) max: u32,
    pub(super) tries: u32,
    /// How many questions were asked.
    pub(super) asked: u32,
    /// What left each frame of a `for`.
    pub(super) results: Vec<Option<Document>>,
    pub(super) wait: Option<Waiting>,
    pub(super) approval: Option<Approving>,
    /// For `undo`: what is still to be undone, in order.
    pub(super) undoing: Option<Undoing>,
}

/// Effects that are being undone.
#[derive(Clone, Debug, Default)]
pub(super) struct Undoing {
    /// In this order.
    pub(super) effects: Arc<[InstanceId]>,
    /// How many of them are behind the run.
    pub(super) behind: usize,
}

/// A wait under way.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) due: Timestamp,
    pub(super) awaits: Vec<Await>,
    pub(super) over: bool,
    /// The event that came.
    pub(super) signal: Option<Document>,
}

/// A question to people.
#[derive(Debug)]
pub(super) struct Approving {
    pub(super) asked: ApprovalAsked,
    /// How many questions of expired questions lie before it.
    pub(super) depth: usize,
    pub(super) group: String,
    pub(super) reminded: usize,
    pub(super) escalated: bool,
    pub(super) decisions: Vec<ApprovalDecided>,
    pub(super) outcome: Asked,
}

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Open,
    Approved,
    Rejected,
    Expired,
}

/// How far an instance is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Phase {
    #[default]
    Fresh,
    Skipped,
    Running,
    Waiting(Timestamp),
    Failed,
    Done,
}

impl Instance {
    pub(super) fn new(node: NodeId, frame: FrameId, facet: Facet, main: Option<InstanceId>) -> Self {
        Self {
            node,
            frame,
            facet,
            main,
            phase: Phase::Fresh,
            attempts: 0,
            finds: 0,
            failures: 0,
            spent: (0, 0, 0),
            in_doubt: false,
            resolving: false,
            begun: None,
            started: Timestamp::default(),
            plugin: None,
            withdrawn: false,
            tables: Arc::default(),
            active_only: false,
            output: None,
            verdict: None,
            branch: None,
            closed: false,
            changed: 0,
            more: None,
        }
    }

    pub(super) fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    pub(super) fn failure(&self) -> Option<&Failure> {
        self.more.as_ref().and_then(|more| more.failure.as_ref())
    }

    pub(super) fn approval(&self) -> Option<&Approving> {
        self.more.as_ref().and_then(|more| more.approval.as_ref())
    }

    pub(super) fn wait(&self) -> Option<&Waiting> {
        self.more.as_ref().and_then(|more| more.wait.as_ref())
    }

    pub(super) fn facet(&self, facet: Facet) -> Option<InstanceId> {
        let more = self.more.as_ref()?;
        if let Facet::Reduce(item) = facet {
            return more.folds.get(usize::try_from(item).ok()?.checked_sub(1)?).copied();
        }
        if let Facet::Page(page) = facet {
            return more.pages.get(usize::try_from(page).ok()?.checked_sub(1)?).copied();
        }
        more.facets.iter().find(|(known, _)| *known == facet).map(|(_, id)| *id)
    }

    pub(super) fn begin(&mut self, time: Timestamp) {
        self.phase = Phase::Running;
        self.started = time;
        self.begun.get_or_insert(time);
    }
}

impl fmt::Display for Facet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Main => Ok(()),
            Self::Confirm => f.write_str("~confirm"),
            Self::Compensate => f.write_str("~compensate"),
            Self::Fallback => f.write_str("~fallback"),
            Self::Reduce(item) => write!(f, "~reduce.{item}"),
            Self::Page(page) => write!(f, "~page.{page}"),
        }
    }
}

/// Writes a path.
pub(super) fn path(id: &str, indices: &[u32], facet: Facet) -> String {
    if indices.is_empty() && facet == Facet::Main {
        return id.to_owned();
    }
    let mut path = id.to_owned();
    for (place, index) in indices.iter().enumerate() {
        path.push(if place == 0 { '[' } else { ',' });
        path.push_str(&index.to_string());
    }
    if !indices.is_empty() {
        path.push(']');
    }
    path + &facet.to_string()
}

/// Reads a path: step, indices, facet.
pub(super) fn parse(path: &str) -> Option<(&str, Vec<u32>, Facet)> {
    let (step, facet) = match path.split_once('~') {
        None => (path, Facet::Main),
        Some((step, "confirm")) => (step, Facet::Confirm),
        Some((step, "compensate")) => (step, Facet::Compensate),
        Some((step, "fallback")) => (step, Facet::Fallback),
        Some((step, other)) => match other.split_once('.')? {
            ("reduce", item) => (step, Facet::Reduce(item.parse().ok()?)),
            ("page", page) => (step, Facet::Page(page.parse().ok()?)),
            _ => return None,
        },
    };
    let Some((id, indices)) = step.split_once('[') else { return Some((step, Vec::new(), facet)) };
    let indices = indices.strip_suffix(']')?.split(',');
    let indices: Option<Vec<u32>> = indices.map(|index| index.parse().ok().filter(|index: &u32| *index > 0)).collect();
    Some((id, indices?, facet))
}

#[cfg(test)]
mod tests {
    use super::{Facet, parse, path};

    #[test]
    fn a_path_is_read_as_it_was_written() {
        let cases: [(&str, &[u32], Facet, &str); 5] = [
            ("pick", &[], Facet::Main, "pick"),
            ("pick", &[2], Facet::Main, "pick[2]"),
            ("pick", &[2, 10], Facet::Compensate, "pick[2,10]~compensate"),
            ("sum", &[], Facet::Reduce(3), "sum~reduce.3"),
            ("rows", &[], Facet::Page(12), "rows~page.12"),
        ];
        for (id, indices, facet, text) in cases {
            assert_eq!(path(id, indices, facet), text);
            assert_eq!(parse(text), Some((id, indices.to_vec(), facet)));
        }
        for wrong in ["pick[", "pick[0]", "pick[x]", "pick~else", "pick~reduce.x", "pick~page.", "pick~fold.1"] {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
    }
}
