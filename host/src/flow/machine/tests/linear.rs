//! Histories of runs against a scripted world: every answer, every lost reply, a crash after every effect.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{
    Run,
    effect::{Answer, Bindings, Effect, Input, OperationUse, Pick, Unserved},
};
use crate::{
    flow::{
        language,
        plan::{Plan, PluginRange, compile},
        view,
    },
    model::{
        contract::OperationContract,
        decision::{Outcome, Reason, Verdict},
        entry::{Entry, Output, PluginUse, RunStarted},
        event::Event,
        failure::{Failure, FailureKind},
        id::{AcceptanceId, ContractId, Digest, IdempotencyKey, RunId},
        json::Json,
        limits::Usage,
        manifest::Doubt,
        run::RunState,
        timestamp::Timestamp,
    },
};

const HEAD: &str = r#"
pipeline: test/orders
version: 1.0.0
owner: tests
summary: For tests.
uses: { erp: test/erp@1 }
trigger:
  - event: order.placed
key: event.subject
erp: [create]
config: { limit: 10 }
steps:
"#;

fn contracts() -> BTreeMap<ContractId, OperationContract> {
    let operation = |effect: &str| json!({"effect": effect, "summary": "", "input": true, "output": true});
    let contract = json!({"id": "test/erp@1", "summary": "", "operations": {
        "read": operation("read"), "create": operation("write"), "find": operation("read"),
    }});
    let contract: OperationContract = serde_json::from_value(contract).expect("contract");
    BTreeMap::from([(contract.id.clone(), contract)])
}

fn plan(steps: &str) -> Arc<Plan> {
    let text = format!("{HEAD}{steps}");
    let definition = language::parse(&text).unwrap_or_else(|found| panic!("{found:#?}"));
    Arc::new(compile::compile(&definition, &text, &contracts()).expect("compiles"))
}

fn used() -> Arc<PluginUse> {
    Arc::new(PluginUse {
        id: "test/x".parse().expect("id"),
        version: "1.0.0".into(),
        digest: Digest::of(b"x"),
        contract: "1.0.0".into(),
        grant: 1,
        canary: false,
    })
}

/// How doubt is resolved, and the revision of the connection.
struct Installed(Doubt, u64);

impl Bindings for Installed {
    fn plugin(&self, _: &PluginRange, _: Pick<'_>) -> Result<Arc<PluginUse>, Unserved> {
        Ok(used())
    }

    fn operation(&self, _: &str, _: &str, pick: Pick<'_>) -> Result<OperationUse, Unserved> {
        let plugin = Arc::new(PluginUse { grant: self.1, ..(*used()).clone() });
        let elsewhere = matches!(pick, Pick::Same(made) if made.grant != self.1);
        Ok(OperationUse { plugin, doubt: self.0.clone(), elsewhere })
    }
}

/// A remote that remembers what took effect.
#[derive(Default)]
struct World {
    /// Answers of pure steps by plugin input's `step` or in order of calls.
    verdicts: RefCell<Vec<Verdict>>,
    /// How many pure calls and emits fail, and may pass.
    passing: RefCell<u32>,
    /// How each call of a write ends, in order; then well.
    script: RefCell<Vec<Ending>>,
    honours_keys: bool,
    effects: RefCell<Vec<IdempotencyKey>>,
    calls: RefCell<Vec<String>>,
    emitted: RefCell<Vec<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    Good,
    Refused,
    Locked,
    LostBefore,
    LostAfter,
}

impl World {
    fn carry_out(&self, effect: &Effect) -> Option<Input> {
        let (instance, result) = match effect {
            Effect::Record(_) | Effect::Commit | Effect::Sleep(_) | Effect::Start(_) => return None,
            Effect::Invoke(invoke) => {
                self.calls.borrow_mut().push(format!("invoke {}", invoke.input.value()));
                let verdict = self.verdicts.borrow_mut().pop();
                (
                    invoke.instance,
                    self.fails()
                        .map_or(Ok(()), Err)
                        .and(Ok(verdict.map_or_else(|| Output::Json(invoke.input.json().clone()), Output::Verdict))),
                )
            }
            Effect::Emit(emit) => {
                self.emitted.borrow_mut().push(emit.event.id.clone());
                (emit.instance, self.fails().map_or(Ok(Output::Json(Json::null())), Err))
            }
            Effect::Call(call) => {
                self.calls.borrow_mut().push(format!("{} #{}", call.operation, call.attempt));
                (call.instance, self.call(&call.operation, call.key))
            }
        };
        let answer = Answer { instance, result, usage: Usage::default(), log: Vec::new(), annotations: Vec::new() };
        Some(Input::Answer(Box::new(answer)))
    }

    fn fails(&self) -> Option<Failure> {
        let mut left = self.passing.borrow_mut();
        *left = left.checked_sub(1)?;
        Some(Failure::new(FailureKind::Retryable, "busy", "busy"))
    }

    fn call(&self, operation: &str, key: IdempotencyKey) -> Result<Output, Failure> {
        let there = self.effects.borrow().contains(&key);
        if operation != "create" {
            let found = if operation == "find" && !there { Value::Null } else { json!({"id": "1"}) };
            return Ok(Output::Json(found.into()));
        }
        let ending = if self.script.borrow().is_empty() { Ending::Good } else { self.script.borrow_mut().remove(0) };
        let acts = matches!(ending, Ending::Good | Ending::LostAfter);
        if acts && !(there && self.honours_keys) {
            self.effects.borrow_mut().push(key);
        }
        match ending {
            Ending::Good => Ok(Output::Json(json!({"id": "1"}).into())),
            Ending::Refused => Err(Failure::new(FailureKind::Permanent, "erp.no", "no")),
            Ending::Locked => Err(Failure::new(FailureKind::Retryable, "erp.locked", "locked")),
            Ending::LostBefore | Ending::LostAfter => Err(Failure::new(FailureKind::Uncertain, "erp.lost", "lost")),
        }
    }
}

/// A journal and a hub that crashes after a number of effects, again and again, until the run is settled.
struct Simulation {
    plan: Arc<Plan>,
    bindings: Installed,
    journal: Vec<Entry>,
    now: Timestamp,
}

fn id() -> RunId {
    RunId::of(AcceptanceId::of("/s", "1"), "test/orders")
}

fn begun() -> RunStarted {
    RunStarted {
        time: Timestamp::from_millis(1_000),
        acceptance: AcceptanceId::of("/s", "1"),
        pipeline: crate::model::entry::PipelineUse {
            name: "test/orders".into(),
            version: "1.0.0".into(),
            digest: Digest::of(b""),
        },
        lane: crate::model::lane::Lane::default(),
        key: "k".into(),
        event: Event {
            id: "1".into(),
            source: "/s".into(),
            event_type: "order.placed".into(),
            subject: Some("k".into()),
            time: None,
            data_schema: None,
            data: json!({"total": 5, "big": false}).into(),
            extensions: BTreeMap::new(),
        },
        parent: None,
    }
}

impl Simulation {
    fn new(steps: &str, doubt: Doubt) -> Self {
        Self {
            plan: plan(steps),
            bindings: Installed(doubt, 1),
            journal: Vec::new(),
            now: Timestamp::from_millis(2_000),
        }
    }

    /// One life of the hub: until the run is settled (true), or until the crash.
    fn live(&mut self, world: &World, effects: usize) -> bool {
        let hub: Arc<str> = "hub".into();
        let mut buffer = Vec::new();
        let mut run = if self.journal.is_empty() {
            let (run, entry) = Run::start(id(), Arc::clone(&self.plan), hub, begun());
            buffer.push(entry);
            run
        } else {
            Run::replay(id(), Arc::clone(&self.plan), hub, &self.journal).expect("replays")
        };
        let mut left = effects;
        let mut input = Some(Input::Resume);
        while let Some(happened) = input.take() {
            for effect in run.decide(happened, self.now, &self.bindings) {
                if left == 0 {
                    return false;
                }
                left -= 1;
                match &effect {
                    Effect::Record(entry) => buffer.push(entry.clone()),
                    Effect::Commit => self.journal.append(&mut buffer),
                    Effect::Sleep(due) => {
                        self.now = self.now.max(*due);
                        input = Some(Input::Wake);
                    }
                    _ => input = world.carry_out(&effect),
                }
                // The reply was on its way when the hub crashed: the world acted, the hub never heard of it.
                if left == 0 && input.is_some() {
                    return false;
                }
            }
        }
        self.journal.append(&mut buffer);
        run.is_settled()
    }

    fn run(&mut self, world: &World) -> RunState {
        assert!(self.live(world, usize::MAX), "the run hangs without a word");
        self.state()
    }

    fn state(&self) -> RunState {
        view::story(id(), &self.journal).expect("a story").summary.state
    }

    fn count(&self, wanted: impl Fn(&Entry) -> bool) -> usize {
        self.journal.iter().filter(|entry| wanted(entry)).count()
    }
}

fn natural() -> Doubt {
    Doubt::NaturalKey { find: "find".into(), settle_ms: 100 }
}

const ORDER: &str = r#"
  - { id: order, transform: test/x@^1, with: "${ event.data }" }
  - { id: made, call: erp#create, with: { total: "${ steps.order.total }" }, retry: { on: retryable, attempts: 3, first: 1s, factor: 2, max: 10s } }
  - { id: told, emit: order.made, data: { id: "${ steps.made.id }" } }
"#;

#[test]
fn a_run_goes_through_its_steps_and_completes() {
    let world = World::default();
    let mut simulation = Simulation::new(ORDER, natural());
    assert_eq!(simulation.run(&world), RunState::Completed);
    assert_eq!(*world.calls.borrow(), [r#"invoke {"big":false,"total":5}"#, "create #1"]);
    assert_eq!(world.emitted.borrow().len(), 1);
}

#[test]
fn a_retryable_failure_is_tried_again_and_counted() {
    let world = World { script: vec![Ending::Locked, Ending::Locked].into(), ..World::default() };
    let mut simulation = Simulation::new(ORDER, natural());
    assert_eq!(simulation.run(&world), RunState::Completed);
    assert_eq!(world.calls.borrow()[1..], ["create #1", "create #2", "create #3"]);
}

#[test]
fn attempts_end_in_a_parked_run_with_its_cause() {
    let world = World { script: vec![Ending::Locked; 9].into(), ..World::default() };
    let mut simulation = Simulation::new(ORDER, natural());
    assert_eq!(simulation.run(&world), RunState::Parked);
    assert_eq!(world.calls.borrow().len(), 1 + 3);
    let cause = view::story(id(), &simulation.journal).expect("story").summary.cause.expect("cause");
    assert!(cause.contains("erp.locked"), "{cause}");
}

#[test]
fn a_pure_step_that_keeps_failing_is_given_up() {
    let steps = r#"
  - { id: it, transform: test/x@^1, with: {}, retry: { on: retryable, attempts: 3, first: 1s, factor: 2, max: 10s } }
"#;
    let failing = |times| World { passing: RefCell::new(times), ..World::default() };
    assert_eq!(Simulation::new(steps, natural()).run(&failing(2)), RunState::Completed);
    let mut simulation = Simulation::new(steps, natural());
    assert_eq!(simulation.run(&failing(99)), RunState::Parked);
    assert_eq!(simulation.count(|entry| matches!(entry, Entry::AttemptFailed(_))), 3);
}

#[test]
fn what_is_read_back_has_the_outputs_that_were_there() {
    let steps = r#"
  - id: chosen
    switch:
      - { when: event.data.total > 1, steps: [{ id: few, call: erp#read, with: {} }] }
    output: { few: "${ steps.few }" }
  - id: ruled
    rule: test/x@^1
    with: { given: "${ steps.chosen }" }
    outcomes:
      route: { short: [{ id: wrote, call: erp#create, with: {} }], output: { made: "${ steps.wrote }" } }
  - { id: plain, rule: test/x@^1, with: "${ steps.ruled }" }
  - { id: last, transform: test/x@^1, with: "${ steps.plain }" }
"#;
    let verdicts = vec![verdict(Outcome::Proceed, None), verdict(Outcome::Route, Some("short"))];
    let world = World { verdicts: verdicts.into(), ..World::default() };
    let mut simulation = Simulation::new(steps, natural());
    assert_eq!(simulation.run(&world), RunState::Completed);
    let calls = world.calls.borrow();
    let given = r#"{"given":{"few":{"id":"1"}},"made":{"id":"1"}}"#;
    assert_eq!(calls.last().map(String::as_str), Some(format!("invoke {given}").as_str()));
    let replayed = Run::replay(id(), Arc::clone(&simulation.plan), "hub".into(), &simulation.journal).expect("replays");
    let plain = replayed.find("plain").expect("a step");
    let output = replayed.instance(plain).output.as_ref().expect("an output").value().to_string();
    assert_eq!(output, given);
}

#[test]
fn a_write_in_doubt_is_not_repeated_at_another_remote() {
    let world = World { script: vec![Ending::LostAfter].into(), ..World::default() };
    let mut simulation = Simulation::new(ORDER, natural());
    // The first life ends while the remote is given time to settle; then the connection is changed.
    assert!(!simulation.live(&world, 9));
    simulation.bindings.1 = 2;
    assert_eq!(simulation.run(&world), RunState::Parked);
    assert_eq!(world.effects.borrow().len(), 1);
    let cause = view::story(id(), &simulation.journal).expect("story").summary.cause.expect("cause");
    assert!(cause.contains("was changed"), "{cause}");
}

#[test]
fn a_permanent_failure_is_not_tried_again() {
    let world = World { script: vec![Ending::Refused].into(), ..World::default() };
    assert_eq!(Simulation::new(ORDER, natural()).run(&world), RunState::Parked);
    assert_eq!(world.calls.borrow().len(), 2);
}

#[test]
fn after_a_lost_reply_the_remote_is_asked_before_the_write_is_repeated() {
    let world = World { script: vec![Ending::LostAfter].into(), ..World::default() };
    assert_eq!(Simulation::new(ORDER, natural()).run(&world), RunState::Completed);
    assert_eq!(world.calls.borrow()[1..], ["create #1", "find #1"]);
    assert_eq!(world.effects.borrow().len(), 1);

    let world = World { script: vec![Ending::LostBefore].into(), ..World::default() };
    assert_eq!(Simulation::new(ORDER, natural()).run(&world), RunState::Completed);
    assert_eq!(world.calls.borrow()[1..], ["create #1", "find #1", "create #2"]);
    assert_eq!(world.effects.borrow().len(), 1);
}

#[test]
fn a_native_key_is_simply_repeated_and_no_way_to_find_out_parks() {
    let world = World { script: vec![Ending::LostAfter].into(), honours_keys: true, ..World::default() };
    assert_eq!(Simulation::new(ORDER, Doubt::NativeKey { settle_ms: 0 }).run(&world), RunState::Completed);
    assert_eq!(world.effects.borrow().len(), 1);

    let world = World { script: vec![Ending::LostAfter].into(), ..World::default() };
    let mut simulation = Simulation::new(ORDER, Doubt::None);
    assert_eq!(simulation.run(&world), RunState::Parked);
    let cause = view::story(id(), &simulation.journal).expect("story").summary.cause.expect("cause");
    assert!(cause.contains("effect.in-doubt") && cause.contains("xd_"), "{cause}");
}

#[test]
fn a_condition_skips_and_a_switch_chooses() {
    let steps = r#"
  - { id: never, when: event.data.big, call: erp#create, with: {} }
  - id: chosen
    switch:
      - { when: event.data.total > 100, steps: [{ id: many, call: erp#create, with: {} }] }
      - { when: event.data.total > 1, steps: [{ id: few, call: erp#read, with: {} }] }
    otherwise: [{ id: none, call: erp#create, with: {} }]
    output: { few: "${ steps.few }", many: "${ steps.many }" }
  - { id: after, transform: test/x@^1, with: "${ steps.chosen }" }
"#;
    let world = World::default();
    let mut simulation = Simulation::new(steps, natural());
    assert_eq!(simulation.run(&world), RunState::Completed);
    assert_eq!(*world.calls.borrow(), ["read #1", r#"invoke {"few":{"id":"1"},"many":null}"#]);
    assert_eq!(simulation.count(|entry| matches!(entry, Entry::StepSkipped { .. })), 1);
}

fn verdict(outcome: Outcome, target: Option<&str>) -> Verdict {
    let reason = Reason { code: "why".into(), message: "because".into(), path: None };
    Verdict { outcome, target: target.map(str::to_owned), reasons: vec![reason], output: None }
}

const RULED: &str = r#"
  - id: ruled
    rule: test/x@^1
    with: ${ event.data }
    outcomes:
      route: { short: [{ id: wrote, call: erp#create, with: {} }], long: [], output: { made: "${ steps.wrote }" } }
  - { id: after, transform: test/x@^1, with: "${ steps.ruled }" }
"#;

#[test]
fn a_rule_proceeds_rejects_holds_or_routes() {
    let run = |verdict: Verdict| {
        let world = World { verdicts: vec![verdict].into(), ..World::default() };
        let mut simulation = Simulation::new(RULED, natural());
        let state = simulation.run(&world);
        let calls = world.calls.borrow().clone();
        let cause = view::story(id(), &simulation.journal).expect("story").summary.cause.unwrap_or_default();
        (state, calls, cause)
    };
    let (state, calls, _) = run(verdict(Outcome::Proceed, None));
    assert_eq!(
        (state, calls.last().map(String::as_str)),
        (RunState::Completed, Some(r#"invoke {"big":false,"total":5}"#))
    );
    assert_eq!(run(verdict(Outcome::Reject, None)).0, RunState::Rejected);
    let (state, _, cause) = run(verdict(Outcome::Hold, Some("leads")));
    assert_eq!(state, RunState::Parked);
    assert!(cause.contains("waits for a decision of group `leads`: because"), "{cause}");
    let (state, calls, _) = run(verdict(Outcome::Route, Some("short")));
    assert_eq!(state, RunState::Completed);
    assert_eq!(calls.last().map(String::as_str), Some(r#"invoke {"big":false,"made":{"id":"1"},"total":5}"#));
    let (state, _, cause) = run(verdict(Outcome::Route, Some("sideways")));
    assert_eq!(state, RunState::Parked);
    assert!(cause.contains("names branch `sideways`; the pipeline has long, short"), "{cause}");
}

#[test]
fn an_expression_that_fails_parks_the_run_and_says_where() {
    let steps = "\n  - { id: bad, transform: test/x@^1, with: \"${ event.data.nope }\" }\n";
    let mut simulation = Simulation::new(steps, natural());
    assert_eq!(simulation.run(&World::default()), RunState::Parked);
    let summary = view::story(id(), &simulation.journal).expect("story").summary;
    assert_eq!(summary.step.as_deref(), Some("bad"));
    assert!(summary.cause.expect("cause").contains("finds no `nope`"));
}

#[test]
fn a_lone_run_waits_for_its_effects_plus_one_commits_after_acceptance() {
    let mut simulation = Simulation::new(ORDER, natural());
    let (mut run, _) = Run::start(id(), Arc::clone(&simulation.plan), "hub".into(), begun());
    let world = World::default();
    let (mut commits, mut effects) = (0, 0);
    let mut input = Some(Input::Resume);
    while let Some(happened) = input.take() {
        for effect in run.decide(happened, simulation.now, &simulation.bindings) {
            commits += usize::from(effect == Effect::Commit);
            effects += usize::from(matches!(effect, Effect::Call(_) | Effect::Emit(_)));
            input = world.carry_out(&effect);
        }
    }
    simulation.now = simulation.now.plus_millis(1);
    assert_eq!((commits, effects), (3, 2));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Whatever is lost and whenever the hub crashes: the run settles, and the effect happened once.
    #[test]
    fn crashes_and_lost_replies_neither_lose_nor_double_an_effect(
        endings in proptest::collection::vec(
            prop_oneof![Just(Ending::Good), Just(Ending::Locked), Just(Ending::LostBefore), Just(Ending::LostAfter)], 0..4),
        crashes in proptest::collection::vec(0_usize..12, 0..6),
        native in any::<bool>(),
    ) {
        let doubt = if native { Doubt::NativeKey { settle_ms: 10 } } else { natural() };
        let world = World { script: endings.into(), honours_keys: native, ..World::default() };
        let mut simulation = Simulation::new(ORDER, doubt);
        let mut settled = false;
        for crash in crashes {
            settled = settled || simulation.live(&world, crash);
        }
        settled = settled || simulation.live(&world, usize::MAX);
        prop_assert!(settled, "the run hangs");
        let state = simulation.state();
        let effects = world.effects.borrow().len();
        prop_assert!(effects <= 1, "{effects} effects: {:?}", world.calls.borrow());
        if state == RunState::Completed {
            prop_assert_eq!(effects, 1);
            prop_assert_eq!(simulation.count(|entry| matches!(entry, Entry::RunEnded { .. })), 1);
            // The same event, however often it was sent.
            let emitted = world.emitted.borrow();
            prop_assert!(emitted.iter().all(|id| Some(id) == emitted.first()));
        } else {
            prop_assert_eq!(state, RunState::Parked);
        }
        // What is read back is what was there.
        let replayed = Run::replay(id(), Arc::clone(&simulation.plan), "hub".into(), &simulation.journal).expect("replays");
        prop_assert!(replayed.is_settled());
    }
}
