//! The state machine of a run. Pure: [`Run::decide`] is told what happened and says what to do next; every fact it
//! records is also how it is rebuilt ([`Run::replay`]), so what runs and what is read back cannot differ.

mod again;
mod apply;
mod calls;
mod control;
pub mod effect;
mod given;
mod inside;
mod instance;
mod late;
mod leaving;
mod moving;
mod people;
mod scope;
mod started;
mod turn;
mod wait;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, OnceLock},
};

use serde_json::{Value, json};

pub use self::{
    calls::is_defect,
    control::ControlRefusal,
    given::{Found, Given, GivenError, Recorded, Wanted, given},
    instance::InstanceId,
    moving::{MoveRefusal, executes},
    people::DecisionRefusal,
    wait::key_of,
};
use self::{
    effect::{Bindings, Effect, Input},
    instance::{Facet, Frame, FrameId, Instance, Phase, Undoing},
    late::Late,
    scope::RunScope,
    turn::Turn,
};
use super::{
    document::Document,
    expression::EvaluateError,
    plan::{BlockId, NodeId, Outcomes, Plan, Then},
    template::Template,
};
use crate::model::{
    decision::Outcome,
    entry::{Ending, Entry, RunStarted},
    failure::Failure,
    id::{Digest, RunId},
    json::Json,
    table::TableUse,
    timestamp::Timestamp,
};

/// How often a remote is asked whether a lost write took effect, and how often a write is repeated in doubt where the
/// pipeline allows fewer, before people are asked.
const DOUBT_ATTEMPTS_MIN: u32 = 5;

/// A run.
#[derive(Debug)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// What it executes.
    pub plan: Arc<Plan>,
    hub: Arc<str>,
    started: RunStarted,
    data: Document,
    event: OnceLock<Document>,
    frames: Vec<Frame>,
    instances: Vec<Instance>,
    /// Those whose calls may be out or in doubt: never too few.
    busy: BTreeSet<InstanceId>,
    /// How many facts changed an instance.
    changes: u64,
    /// Frames of blocks that are entered once, by block; and of those that are repeated.
    once: Vec<Option<FrameId>>,
    repeated: HashMap<(BlockId, Vec<u32>), FrameId>,
    vars: BTreeMap<String, Document>,
    /// Rows of the reference tables that its steps were given, by digest.
    tables: HashMap<Digest, Document>,
    /// Steps whose effects can be undone, in the order in which they took place.
    effects: Vec<InstanceId>,
    /// The steps after which nothing before is undone any more, and how many of `effects` each protects.
    protected: Vec<(InstanceId, usize)>,
    /// Effects of the run that are being undone, latest first.
    undoing: Option<Undoing>,
    halt: Option<Halt>,
    paused: bool,
    /// Whether its pipeline is paused: no fact of the run says so.
    held: bool,
    parked: Option<(String, Failure)>,
    /// Goes up when a person begins the run again at a step, so that its effects get other keys.
    generation: u32,
    restarting: Option<(InstanceId, bool)>,
    settled: bool,
    /// Whether it ended well.
    completed: bool,
    /// What people did to it, and decided, so far.
    acts: u32,
    /// Events that come for what was undone.
    late: Late,
    /// The time of the latest fact, and of the latest durable one. Hub time never goes back.
    recorded: Timestamp,
    durable: Timestamp,
    /// Times for waits and questions that were due while nobody looked are put off to this.
    grace: Timestamp,
    /// Up to when every accepted event was offered to it; absent: nobody says.
    offered: Option<Timestamp>,
}

/// How a run will end.
#[derive(Clone, Debug)]
struct Halt {
    ending: Ending,
    undo: bool,
    /// Whether `on_error` was tried before, and the run ends without it.
    handled: bool,
}

/// Facts that do not make a run of this plan.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The first fact is not the run's beginning.
    #[error("run {run} does not begin with its start")]
    NoStart {
        /// The run.
        run: RunId,
    },
    /// A fact is about a step that the plan does not have.
    #[error("run {run} has a fact about step `{step}`, which pipeline {pipeline} does not have")]
    UnknownStep {
        /// The run.
        run: RunId,
        /// The step.
        step: String,
        /// Name and version.
        pipeline: String,
    },
}

impl Run {
    /// A new run and the fact that begins it.
    #[must_use]
    pub fn start(id: RunId, plan: Arc<Plan>, hub: Arc<str>, started: RunStarted) -> (Self, Entry) {
        let entry = Entry::RunStarted(Box::new(started.clone()));
        let time = started.time;
        let data = Document::new(started.event.data.clone());
        let once = vec![None; plan.block_count()];
        let vars = plan.vars.clone();
        let mut run = Self {
            id,
            plan,
            hub,
            started,
            data,
            event: OnceLock::new(),
            frames: Vec::new(),
            instances: Vec::new(),
            busy: BTreeSet::new(),
            changes: 0,
            once,
            repeated: HashMap::new(),
            vars,
            tables: HashMap::new(),
            effects: Vec::new(),
            protected: Vec::new(),
            undoing: None,
            halt: None,
            paused: false,
            held: false,
            parked: None,
            generation: 0,
            restarting: None,
            settled: false,
            completed: false,
            acts: 0,
            late: Late::default(),
            recorded: time,
            durable: time,
            grace: Timestamp::default(),
            offered: None,
        };
        run.open(Plan::ROOT, None, None, Vec::new(), None);
        (run, entry)
    }

    /// A run from its facts, all of them durable.
    ///
    /// # Errors
    /// If they are not facts of this plan.
    pub fn replay(id: RunId, plan: Arc<Plan>, hub: Arc<str>, entries: &[Entry]) -> Result<Self, ReplayError> {
        Self::replay_with(id, plan, hub, entries, HashMap::new())
    }

    /// The same for a run whose steps were given reference tables: those that [`tables_of`] names, by digest.
    ///
    /// # Errors
    /// As [`Run::replay`].
    pub fn replay_with(
        id: RunId,
        plan: Arc<Plan>,
        hub: Arc<str>,
        entries: &[Entry],
        tables: HashMap<Digest, Document>,
    ) -> Result<Self, ReplayError> {
        let entries = moving::renamed(entries);
        let Some((Entry::RunStarted(started), rest)) = entries.split_first() else {
            return Err(ReplayError::NoStart { run: id });
        };
        let (mut run, _) = Self::start(id, plan, hub, (**started).clone());
        run.tables = tables;
        for entry in rest {
            run.apply(entry)?;
        }
        run.durable = run.recorded;
        Ok(run)
    }

    /// Waits and questions whose time came before this are over only at this: what came in while the hub was down is
    /// looked at first.
    pub fn put_off(&mut self, grace: Timestamp) {
        self.grace = grace;
    }

    /// Every event that was accepted by this time was offered to it. Once this is said, a wait for events is over only
    /// when it is said of the wait's deadline.
    pub fn offered(&mut self, until: Timestamp) {
        self.offered = Some(until);
    }

    /// Whether nothing more happens by itself: ended or parked.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// Whether it is being wound up: no forward step begins any more.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.halt.is_some()
    }

    /// While it is being wound up: whether its effects are undone.
    #[must_use]
    pub fn undoes(&self) -> Option<bool> {
        self.halt.as_ref().map(|halt| halt.undo)
    }

    /// How often people took hold of it, or decided, so far.
    #[must_use]
    pub fn acts(&self) -> u32 {
        self.acts
    }

    /// How it began.
    #[must_use]
    pub fn beginning(&self) -> &RunStarted {
        &self.started
    }

    /// Decides what to do. Facts come first, then at most one commit, then what calls out, then at most one sleep.
    pub fn decide(&mut self, input: Input, now: Timestamp, bindings: &dyn Bindings) -> Vec<Effect> {
        let now = now.max(self.recorded);
        let mut turn = Turn::new(self, now, bindings);
        match input {
            Input::Resume => turn.recover(),
            Input::Wake => {}
            Input::Answer(answer) => turn.answer(*answer),
            Input::Last(answer) => {
                turn.take(*answer);
                return turn.finish();
            }
            Input::Signal(signal) => turn.signal(*signal),
            Input::Decision(decision) => turn.decision(*decision),
            Input::Control(controlled) => turn.control(*controlled),
        }
        turn.go_on();
        turn.finish()
    }

    /// Says whether the pipeline is paused as a whole: then answers and decisions are taken, and nothing begins.
    pub fn hold(&mut self, held: bool) {
        self.held = held;
    }

    fn instance(&self, id: InstanceId) -> &Instance {
        static NONE: OnceLock<Instance> = OnceLock::new();
        // INVARIANT: an id is only ever made by the run that holds the instance.
        self.instances
            .get(id.0)
            .unwrap_or_else(|| NONE.get_or_init(|| Instance::new(NodeId::NONE, FrameId(0), Facet::Main, None)))
    }

    fn frame(&self, id: FrameId) -> &Frame {
        static NONE: OnceLock<Frame> = OnceLock::new();
        // INVARIANT: as for instances.
        self.frames.get(id.0).unwrap_or_else(|| {
            NONE.get_or_init(|| Frame {
                block: Plan::ROOT,
                parent: None,
                owner: None,
                indices: Vec::new(),
                item: None,
                first: 0,
                behind: 0,
            })
        })
    }

    /// The path that facts name an instance by.
    #[must_use]
    pub fn path(&self, id: InstanceId) -> String {
        let instance = self.instance(id);
        instance::path(&self.plan.node(instance.node).id, &self.frame(instance.frame).indices, instance.facet)
    }

    fn open(
        &mut self,
        block: BlockId,
        parent: Option<FrameId>,
        owner: Option<InstanceId>,
        indices: Vec<u32>,
        item: Option<Document>,
    ) -> FrameId {
        let id = FrameId(self.frames.len());
        let first = self.instances.len();
        let plan = Arc::clone(&self.plan);
        self.instances.extend(plan.block(block).nodes.iter().map(|node| Instance::new(*node, id, Facet::Main, None)));
        if plan.block(block).repeated {
            self.repeated.insert((block, indices.clone()), id);
        } else if indices.is_empty() {
            if let Some(place) = self.once.get_mut(block.0) {
                *place = Some(id);
            }
        } else {
            self.repeated.insert((block, indices.clone()), id);
        }
        self.frames.push(Frame { block, parent, owner, indices, item, first, behind: 0 });
        id
    }

    fn find_frame(&self, block: BlockId, indices: &[u32]) -> Option<FrameId> {
        if indices.is_empty() {
            return self.once.get(block.0).copied().flatten();
        }
        self.repeated.get(&(block, indices.to_vec())).copied()
    }

    /// The frame of a block that belongs to a step; entered if it is not yet. `index` is the item or the iteration.
    fn enter(&mut self, owner: InstanceId, block: BlockId, index: Option<u32>) -> FrameId {
        let around = self.instance(owner).frame;
        let mut indices = self.frame(around).indices.clone();
        indices.extend(index);
        if let Some(known) = self.find_frame(block, &indices) {
            return known;
        }
        let item = index.and_then(|index| {
            let more = self.instance(owner).more.as_ref()?;
            more.items.get(usize::try_from(index).ok()?.checked_sub(1)?).cloned()
        });
        let id = self.open(block, Some(around), Some(owner), indices, item);
        if let Some(instance) = self.instances.get_mut(owner.0) {
            let more = instance.more();
            more.frames.push(id);
            more.open.push(id);
        }
        id
    }

    /// The instance of a call around a step; made if it is not there yet.
    fn facet(&mut self, main: InstanceId, facet: Facet) -> InstanceId {
        if let Some(known) = self.instance(main).facet(facet) {
            return known;
        }
        let id = InstanceId(self.instances.len());
        let Instance { node, frame, .. } = *self.instance(main);
        self.instances.push(Instance::new(node, frame, facet, Some(main)));
        if let Some(instance) = self.instances.get_mut(main.0) {
            match facet {
                // INVARIANT: folds and pages are made in order.
                Facet::Reduce(_) => instance.more().folds.push(id),
                Facet::Page(_) => instance.more().pages.push(id),
                _ => instance.more().facets.push((facet, id)),
            }
        }
        id
    }

    /// The instance that a path names; entered if it is not yet.
    fn locate(&mut self, path: &str) -> Option<InstanceId> {
        let (step, indices, facet) = instance::parse(path)?;
        let node = self.plan.find(step)?;
        let main = self.locate_main(node, &indices)?;
        Some(if facet == Facet::Main { main } else { self.facet(main, facet) })
    }

    fn locate_main(&mut self, node: NodeId, indices: &[u32]) -> Option<InstanceId> {
        let plan = Arc::clone(&self.plan);
        let (block, position) = (plan.node(node).block, plan.node(node).position);
        let frame = match self.find_frame(block, indices) {
            Some(frame) => frame,
            None => match plan.block(block).owner {
                None => self.open(block, Some(FrameId(0)), None, Vec::new(), None),
                Some(owner) if plan.block(block).repeated => {
                    let (index, around) = indices.split_last()?;
                    let owner = self.locate_main(owner, around)?;
                    self.enter(owner, block, Some(*index))
                }
                Some(owner) => {
                    let owner = self.locate_main(owner, indices)?;
                    self.enter(owner, block, None)
                }
            },
        };
        Some(InstanceId(self.frame(frame).first + position))
    }

    /// The instance that a plain path names, as far as the run has come.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<InstanceId> {
        let (step, indices, facet) = instance::parse(path)?;
        let node = self.plan.node(self.plan.find(step)?);
        let frame = self.find_frame(node.block, &indices)?;
        let main = InstanceId(self.frame(frame).first + node.position);
        if facet == Facet::Main { Some(main) } else { self.instance(main).facet(facet) }
    }

    fn event_document(&self) -> Document {
        self.event
            .get_or_init(|| Document::from(serde_json::to_value(&self.started.event).unwrap_or(Value::Null)))
            .clone()
    }

    fn facts(&self) -> Document {
        Document::from(json!({
            "id": self.id,
            "key": self.started.key,
            "pipeline": self.plan.pipeline.name,
            "version": self.plan.pipeline.version,
            "started": self.started.time,
        }))
    }

    fn render(&self, frame: FrameId, template: &Template) -> Result<Document, EvaluateError> {
        template.render(&RunScope::new(self, frame))
    }

    /// A step's own input, which may name its reference tables.
    fn render_given(
        &self,
        frame: FrameId,
        template: &Template,
        tables: &[TableUse],
    ) -> Result<Document, EvaluateError> {
        template.render(&RunScope::with_tables(self, frame, tables))
    }

    /// What a rule was given: what goes on if it returns no document of its own. The same as when it was called, since
    /// everything that it names was recorded before.
    fn input_of(&self, id: InstanceId) -> Document {
        let instance = self.instance(id);
        let plan = Arc::clone(&self.plan);
        calls::with_of(&plan, instance)
            .and_then(|with| self.render_given(instance.frame, with, &instance.tables).ok())
            .unwrap_or_else(|| Document::new(Json::null()))
    }

    /// Whether a frame belongs to what is done while the run is winding down.
    fn is_winding(&self, frame: FrameId) -> bool {
        let Some(handler) = &self.plan.on_error else { return false };
        let mut at = Some(frame);
        while let Some(id) = at {
            if self.frame(id).block == handler.steps {
                return true;
            }
            at = self.frame(id).parent;
        }
        false
    }

    /// Whether a step can still matter to the run: nothing around it was closed, failed, skipped or begun again.
    fn is_live(&self, id: InstanceId) -> bool {
        let mut at = self.instance(id).frame;
        if self.halt.is_some() && !self.is_winding(at) {
            return false;
        }
        loop {
            let here = self.frame(at);
            if at != FrameId(0) && self.find_frame(here.block, &here.indices) != Some(at) {
                return false;
            }
            if let Some(owner) = here.owner.map(|owner| self.instance(owner)) {
                let inside = match owner.phase {
                    Phase::Running => true,
                    Phase::Done => owner.branch == Some(here.block),
                    _ => false,
                };
                if !inside {
                    return false;
                }
            }
            match here.parent {
                Some(parent) => at = parent,
                None => return true,
            }
        }
    }

    /// Whether an instance stands in a frame or in one inside it.
    fn is_within(&self, id: InstanceId, frame: FrameId) -> bool {
        let mut at = Some(self.instance(id).frame);
        while let Some(here) = at {
            if here == frame {
                return true;
            }
            at = self.frame(here).parent;
        }
        false
    }

    /// Whether an instance stands somewhere inside a step.
    fn is_inside(&self, id: InstanceId, step: InstanceId) -> bool {
        let mut at = Some(self.instance(id).frame);
        while let Some(frame) = at {
            let frame = self.frame(frame);
            if frame.owner == Some(step) {
                return true;
            }
            at = frame.parent;
        }
        false
    }
}

fn then_after(outcomes: &Outcomes, outcome: Outcome) -> Option<&Then> {
    match outcome {
        Outcome::Proceed => Some(&outcomes.proceed),
        Outcome::Hold => Some(&outcomes.hold),
        Outcome::Reject => Some(&outcomes.reject),
        Outcome::Route => None,
    }
}

/// The reference tables that steps of a run were given, by the digest of their rows.
#[must_use]
pub fn tables_of(entries: &[Entry]) -> BTreeSet<Digest> {
    let given = entries.iter().flat_map(|entry| match entry {
        Entry::StepStarted(started) => started.tables.as_slice(),
        Entry::Intent(intent) => intent.tables.as_slice(),
        _ => &[],
    });
    given.map(|used| used.digest).collect()
}
