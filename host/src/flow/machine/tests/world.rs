//! A hub, its journal and the remotes of a run, under the hand of a test: which call is answered next and how, what is
//! lost, when the hub crashes, what people do, and what time it is.

mod remotes;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use serde_json::{Value, json};

use super::{
    super::{
        Run,
        effect::{Answer, Arrived, Effect, Input, Invoke},
        instance::{Asked, Facet, InstanceId},
        wait::key_of,
    },
    given::{Installed, begun, event, id},
    render::render,
};
pub(super) use super::{
    given::{plan, verdict},
    ways::{Done, Way},
};
use crate::{
    flow::{plan::Plan, view},
    model::{
        decision::Verdict,
        entry::{ApprovalAsked, ApprovalDecided, Await, Control, Controlled, Entry, Moved},
        event::Event,
        id::{AcceptanceId, IdempotencyKey, RunId},
        limits::Usage,
        manifest::Doubt,
        run::{RunState, RunView},
        timestamp::Timestamp,
    },
};

/// Turns of one history, above which it is taken for endless.
const TURNS_MAX: usize = 200_000;

/// The hub and its surroundings.
pub(super) struct World {
    pub(super) plan: Arc<Plan>,
    data: Value,
    bindings: Installed,
    pub(super) journal: Vec<Entry>,
    buffer: Vec<Entry>,
    run: Option<Run>,
    pub(super) now: Timestamp,
    /// Calls that are out, oldest first.
    pub(super) out: Vec<Effect>,
    pub(super) due: Option<Timestamp>,
    /// How calls of a step end, in order; then well.
    script: HashMap<String, VecDeque<Way>>,
    verdicts: HashMap<String, VecDeque<Verdict>>,
    /// Whether a remote that knows a key does nothing when it comes again.
    pub(super) honours_keys: bool,
    pub(super) done: Vec<Done>,
    /// Where in `done` a key is.
    places: HashMap<IdempotencyKey, usize>,
    /// What was asked of the outside, in order: `create a`, `invoke b`, `emit c`, `start d`.
    pub(super) asked: Vec<String>,
    pub(super) emitted: BTreeSet<String>,
    pub(super) children: BTreeSet<RunId>,
    /// Of those: what was told that it is needed no more, and what undid what it did.
    pub(super) withdrawn: BTreeSet<RunId>,
    pub(super) undone_children: BTreeSet<RunId>,
    /// Accepted signals, kept for the run as the mailbox keeps them.
    mailbox: Vec<(Timestamp, Event)>,
    /// Effects after which the hub crashes.
    pub(super) crash_in: Option<usize>,
    pub(super) crashes: usize,
    pub(super) turns: usize,
    /// How long waits that fell due are put off after a start, milliseconds.
    pub(super) grace_ms: u64,
    /// The most calls that were out at once.
    pub(super) out_max: usize,
    /// Every call of a pure plugin, and every version that the run executed.
    pub(super) invoked: Vec<Invoke>,
    pub(super) plans: Vec<Arc<Plan>>,
}

impl World {
    pub(super) fn new(steps: &str) -> Self {
        Self::with(plan(steps), json!({"total": 5, "big": false, "order": "o1", "lines": [1, 2, 3]}))
    }

    pub(super) fn with(plan: Arc<Plan>, data: Value) -> Self {
        Self {
            plans: vec![Arc::clone(&plan)],
            invoked: Vec::new(),
            plan,
            data,
            bindings: Installed { doubt: Doubt::NaturalKey { find: "find".into(), settle_ms: 100 }, grant: 1 },
            journal: Vec::new(),
            buffer: Vec::new(),
            run: None,
            now: Timestamp::from_millis(2_000),
            out: Vec::new(),
            due: None,
            script: HashMap::new(),
            verdicts: HashMap::new(),
            honours_keys: false,
            done: Vec::new(),
            places: HashMap::new(),
            asked: Vec::new(),
            emitted: BTreeSet::new(),
            children: BTreeSet::new(),
            withdrawn: BTreeSet::new(),
            undone_children: BTreeSet::new(),
            mailbox: Vec::new(),
            crash_in: None,
            crashes: 0,
            turns: 0,
            grace_ms: 0,
            out_max: 0,
        }
    }

    pub(super) fn doubt(mut self, doubt: Doubt) -> Self {
        self.honours_keys = matches!(doubt, Doubt::NativeKey { .. });
        self.bindings = Installed { doubt, grant: 1 };
        self
    }

    /// How the calls of a step end; a path names one item or iteration, a plain id all.
    pub(super) fn script(mut self, step: &str, ways: &[Way]) -> Self {
        self.say(step, ways);
        self
    }

    pub(super) fn say(&mut self, step: &str, ways: &[Way]) {
        self.script.entry(step.to_owned()).or_default().extend(ways);
    }

    pub(super) fn rules(mut self, step: &str, verdicts: &[Verdict]) -> Self {
        self.verdicts.entry(step.to_owned()).or_default().extend(verdicts.iter().cloned());
        self
    }

    pub(super) fn run(&self) -> &Run {
        self.run.as_ref().expect("the hub is up")
    }

    pub(super) fn offered(&mut self, until: Timestamp) {
        self.run.as_mut().expect("the hub is up").offered(until);
    }

    /// The pipeline is paused, or goes on.
    pub(super) fn held(&mut self, held: bool) {
        self.run.as_mut().expect("the hub is up").hold(held);
    }

    pub(super) fn is_down(&self) -> bool {
        self.run.is_none()
    }

    /// Whether another call of what an answer is about is out.
    pub(super) fn is_asked(&self, answer: &Answer) -> bool {
        let step = self.run().path(answer.instance);
        self.out_of(&step).is_some()
    }

    /// The step that the run is parked at.
    pub(super) fn parked(&self) -> Option<String> {
        self.run().parked.as_ref().map(|(step, _)| step.clone())
    }

    /// Whether the latest write of a step took effect.
    pub(super) fn took_effect(&self, step: &str) -> bool {
        let key = self.facts().iter().rev().find_map(|fact| match fact {
            Entry::Intent(intent) if intent.step == step => Some(intent.key),
            _ => None,
        });
        key.is_some_and(|key| self.done.iter().any(|done| done.key == key))
    }

    /// The steps with an open question.
    pub(super) fn questions(&self) -> Vec<String> {
        let run = self.run();
        let asks = |id: &InstanceId| run.instance(*id).approval().is_some_and(|asked| asked.outcome == Asked::Open);
        (0..run.instances.len())
            .map(InstanceId)
            .filter(asks)
            .map(|id| run.path(id))
            .filter(|path| run.find(path).as_ref().is_some_and(asks))
            .collect()
    }

    pub(super) fn is_settled(&self) -> bool {
        self.run().is_settled()
    }

    /// Starts the hub: the run begins, or is read back.
    pub(super) fn boot(&mut self) {
        if self.journal.is_empty() {
            let (run, entry) = Run::start(id(), Arc::clone(&self.plan), "hub".into(), begun(self.data.clone()));
            self.buffer.push(entry);
            self.run = Some(run);
        } else {
            let mut run = self.replayed(&self.journal);
            if self.grace_ms > 0 {
                run.put_off(self.now.plus_millis(self.grace_ms));
            }
            self.run = Some(run);
        }
        self.tell(Input::Resume);
        if self.run.is_some() {
            self.offer();
        }
    }

    fn replayed(&self, facts: &[Entry]) -> Run {
        Run::replay(id(), Arc::clone(&self.plan), "hub".into(), facts).expect("replays")
    }

    /// The power goes: what is not durable is lost, and so are the answers that were on their way.
    pub(super) fn crash(&mut self) {
        self.buffer.clear();
        self.run = None;
        self.due = None;
        self.crash_in = None;
        self.crashes += 1;
        // Whatever was out may have arrived or not.
        for effect in std::mem::take(&mut self.out) {
            if let Effect::Call(_) = &effect
                && self.crashes.is_multiple_of(2)
            {
                let _ = self.ask(&effect);
            }
        }
    }

    pub(super) fn tell(&mut self, input: Input) {
        let Some(run) = self.run.as_mut() else { return };
        self.turns += 1;
        assert!(
            self.turns < TURNS_MAX,
            "the run goes on without end: {:?}",
            self.asked.iter().rev().take(9).collect::<Vec<_>>()
        );
        let effects = run.decide(input, self.now, &self.bindings);
        self.due = None;
        let mut waits = false;
        for effect in effects {
            if let Some(left) = &mut self.crash_in {
                if *left == 0 {
                    return self.crash();
                }
                *left -= 1;
            }
            match effect {
                Effect::Record(entry) => {
                    waits |= matches!(entry, Entry::WaitStarted(_) | Entry::WaitsUndone(_));
                    self.buffer.push(entry);
                }
                Effect::Commit => self.journal.append(&mut self.buffer),
                Effect::Sleep(due) => self.due = Some(due),
                Effect::Withdraw(withdraw) => {
                    // It is cancelled, and whoever waits for it is told so.
                    self.note(&Effect::Withdraw(withdraw.clone()));
                    self.withdrawn.insert(withdraw.run);
                }
                outgoing => {
                    self.note(&outgoing);
                    self.out.push(outgoing);
                }
            }
        }
        self.out_max = self.out_max.max(self.out.len());
        if waits {
            self.offer();
        }
    }

    fn note(&mut self, effect: &Effect) {
        let asked = match effect {
            Effect::Invoke(invoke) => {
                self.invoked.push(invoke.clone());
                format!("invoke {}", invoke.step)
            }
            Effect::Call(call) => format!("{} {}", call.operation, call.step),
            Effect::Emit(emit) => format!("emit {}", emit.event.event_type),
            Effect::Start(start) => format!("start {}", start.step),
            Effect::Withdraw(withdraw) => format!("withdraw {}", self.run().path(withdraw.instance)),
            Effect::Undo(undo) => format!("undo {}", self.run().path(undo.instance)),
            Effect::Record(_) | Effect::Commit | Effect::Sleep(_) => return,
        };
        self.asked.push(asked);
    }

    /// The call of a step that is out.
    pub(super) fn out_of(&self, step: &str) -> Option<usize> {
        self.out.iter().position(|effect| step_of(self.run(), effect) == step)
    }

    /// The steps whose calls are out.
    pub(super) fn outstanding(&self) -> Vec<String> {
        self.out.iter().map(|effect| step_of(self.run(), effect)).collect()
    }

    /// Lets the call of a step be answered; returns the answer, so that it can come again.
    #[track_caller]
    pub(super) fn answer(&mut self, step: &str) -> Answer {
        let place = self.out_of(step).unwrap_or_else(|| panic!("`{step}` is not out; out: {:?}", self.outstanding()));
        self.answer_at(place)
    }

    pub(super) fn answer_at(&mut self, place: usize) -> Answer {
        let effect = self.out.remove(place);
        let (instance, result) = self.ask(&effect);
        let answer = Answer { instance, result, usage: Usage::default(), log: Vec::new(), annotations: Vec::new() };
        self.tell(Input::Answer(Box::new(answer.clone())));
        answer
    }

    /// Time goes on to when the run asked to be woken.
    pub(super) fn wake(&mut self) {
        if let Some(due) = self.due {
            self.now = self.now.max(due);
        }
        self.tell(Input::Wake);
    }

    pub(super) fn answer_all(&mut self) {
        while self.run.is_some() && !self.out.is_empty() {
            self.answer_at(0);
        }
    }

    /// Goes on until the run is settled or only people and events could move it: oldest call first.
    pub(super) fn go(&mut self) {
        if self.run.is_none() {
            self.boot();
        }
        loop {
            if self.run.is_none() {
                self.boot();
            } else if !self.out.is_empty() {
                self.answer_at(0);
            } else if let Some(due) = self.due
                && !self.is_settled()
            {
                // A wait of days is the test's business.
                if due.since(self.now) > 3_600_000 {
                    return;
                }
                self.wake();
            } else {
                return;
            }
        }
    }

    #[track_caller]
    pub(super) fn ends(&mut self, state: RunState) {
        self.go();
        assert_eq!(self.state(), state, "{:?}", self.story().summary.cause);
        self.check_replay();
    }

    pub(super) fn signal(&mut self, event_type: &str, data: Value) {
        let number = self.mailbox.len() + 2;
        self.mailbox.push((self.now, event(&number.to_string(), event_type, data)));
        self.offer();
    }

    /// The mailbox offers every signal to every wait that waits for its key.
    fn offer(&mut self) {
        let plan = Arc::clone(&self.plan);
        for (accepted, event) in self.mailbox.clone() {
            let keys: BTreeSet<_> =
                plan.signals().filter(|s| s.event_type == event.event_type).filter_map(|s| key_of(s, &event)).collect();
            for key in keys {
                let waiting = self.run.as_ref().is_some_and(|run| {
                    let ended = run.is_settled() && run.parked.is_none();
                    let awaits = |awaited: &Await| awaited.key == key;
                    let mut waits = run.instances.iter().filter_map(|instance| instance.wait());
                    if ended { run.late.awaits(key) } else { waits.any(|wait| wait.awaits.iter().any(awaits)) }
                });
                if waiting {
                    let acceptance = AcceptanceId::of(&event.source, &event.id);
                    self.tell(Input::Signal(Box::new(Arrived {
                        key,
                        acceptance,
                        accepted,
                        event: event.clone(),
                        personal: None,
                    })));
                }
            }
        }
    }

    /// Moves the run to another version; what stands in the way, or nothing.
    pub(super) fn move_to(&mut self, plan: Arc<Plan>, moved: Moved) -> Vec<String> {
        assert!(self.out.is_empty() && self.buffer.is_empty());
        match self.run().check_move(id(), &self.journal, Arc::clone(&plan), moved) {
            Err(refusal) => refusal.problems,
            Ok((run, entry)) => {
                self.plans.push(Arc::clone(&plan));
                self.plan = plan;
                self.journal.push(entry);
                self.run = Some(run);
                self.tell(Input::Resume);
                Vec::new()
            }
        }
    }

    #[track_caller]
    pub(super) fn control(&mut self, action: Control) {
        self.run().check_control(&action).unwrap_or_else(|refused| panic!("{action:?}: {refused}"));
        self.tell_control(action);
    }

    pub(super) fn tell_control(&mut self, action: Control) {
        let (time, actor, reason) = (self.now, "ada".to_owned(), String::new());
        self.tell(Input::Control(Box::new(Controlled { time, actor, action, reason })));
    }

    /// The open question of a step.
    pub(super) fn question(&self, step: &str) -> Option<&ApprovalAsked> {
        let id = self.run().find(step)?;
        self.run().instance(id).approval().map(|approval| &approval.asked)
    }

    /// A decision about the question as it is.
    #[track_caller]
    pub(super) fn decision(&self, step: &str, actor: &str, approved: bool) -> ApprovalDecided {
        let asked = self.question(step).expect("a question");
        ApprovalDecided {
            step: step.to_owned(),
            time: self.now,
            revision: asked.revision,
            digest: asked.digest,
            actor: actor.to_owned(),
            on_behalf_of: None,
            approved,
            override_code: None,
            reason: String::new(),
        }
    }

    #[track_caller]
    pub(super) fn decide(&mut self, step: &str, actor: &str, approved: bool) {
        let decision = self.decision(step, actor, approved);
        self.take(decision);
    }

    #[track_caller]
    pub(super) fn take(&mut self, decision: ApprovalDecided) {
        self.run().check_decision(&decision).unwrap_or_else(|refused| panic!("{refused}"));
        self.tell(Input::Decision(Box::new(decision)));
    }

    pub(super) fn facts(&self) -> Vec<Entry> {
        self.journal.iter().chain(&self.buffer).cloned().collect()
    }

    pub(super) fn story(&self) -> RunView {
        view::story(id(), &self.facts()).expect("a story")
    }

    pub(super) fn state(&self) -> RunState {
        self.story().summary.state
    }

    pub(super) fn cause(&self) -> String {
        self.story().summary.cause.unwrap_or_default()
    }

    pub(super) fn count(&self, wanted: impl Fn(&Entry) -> bool) -> usize {
        self.facts().iter().filter(|entry| wanted(entry)).count()
    }

    pub(super) fn output(&self, step: &str) -> Value {
        let id = self.run().find(step).unwrap_or_else(|| panic!("no `{step}`"));
        self.run().instance(id).output.as_ref().map_or(Value::Null, |output| output.value().clone())
    }

    pub(super) fn asked_of(&self, step: &str) -> usize {
        self.asked.iter().filter(|asked| asked.split(' ').nth(1) == Some(step)).count()
    }

    /// The effects of writes, in order: `create a`, `cancel a~compensate`.
    pub(super) fn effects(&self) -> Vec<String> {
        self.done.iter().map(|done| format!("{} {}", done.operation, done.step)).collect()
    }

    /// What was undone, in order.
    pub(super) fn undone(&self) -> Vec<String> {
        let undone = self.done.iter().filter_map(|done| done.step.strip_suffix("~compensate"));
        undone.map(str::to_owned).collect()
    }

    /// What is read back is what there is.
    #[track_caller]
    pub(super) fn check_replay(&self) {
        let replayed = self.replayed(&self.facts());
        let (live, back) = (render(self.run()), render(&replayed));
        assert!(live == back, "live:\n{}\nread back:\n{}", live.join("\n"), back.join("\n"));
        self.check_given();
    }
}

pub(super) fn step_of(run: &Run, effect: &Effect) -> String {
    match effect {
        Effect::Invoke(invoke) => invoke.step.clone(),
        Effect::Call(call) => call.step.clone(),
        Effect::Emit(emit) => run.path(emit.instance),
        Effect::Start(start) => start.step.clone(),
        Effect::Undo(undo) => run.path(undo.instance),
        Effect::Withdraw(_) | Effect::Record(_) | Effect::Commit | Effect::Sleep(_) => String::new(),
    }
}

#[test]
fn the_world_answers_in_any_order() {
    let mut world = World::new("
  - { id: both, parallel: { branches: { a: { id: a, call: 'erp#create', with: {} }, b: { id: b, call: 'erp#create', with: {} } } } }
");
    world.boot();
    assert_eq!(world.outstanding(), ["a", "b"]);
    world.answer("b");
    world.answer("a");
    world.ends(RunState::Completed);
    assert_eq!(world.effects(), ["create b", "create a"]);
    assert_eq!(world.run().instance(world.run().find("a").expect("a")).facet, Facet::Main);
}
