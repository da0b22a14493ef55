//! Waits and questions: what ends them, and what never does.

use serde_json::{Value, json};

use super::{
    super::{DecisionRefusal, effect::Input},
    world::{Way, World, verdict},
};
use crate::model::{
    decision::Outcome,
    entry::{Control, Entry},
    run::RunState,
};

const WAIT: &str = "
  - id: result
    wait:
      first_of:
        came: { event: goods.in, match: signal.data.order == event.data.order }
        lost: { event: goods.lost, match: signal.data.order == event.data.order }
      within: 1m
      on_expiry: EXPIRY
  - { id: after, transform: test/x@^1, with: '${ steps.result }' }
";

fn wait(expiry: &str) -> World {
    World::new(&WAIT.replace("EXPIRY", expiry))
}

// SEMANTICS 14
#[test]
fn a_wait_takes_the_first_event_that_matches_once_and_early_ones_too() {
    let mut world = wait("reject");
    world.boot();
    world.signal("goods.in", json!({"order": "other"}));
    assert_eq!(world.count(|fact| matches!(fact, Entry::Signalled(_))), 0);
    world.signal("goods.lost", json!({"order": "o1"}));
    world.signal("goods.in", json!({"order": "o1"}));
    world.ends(RunState::Completed);
    assert_eq!(world.output("after")["kind"], "lost");
    assert_eq!(world.count(|fact| matches!(fact, Entry::Signalled(_))), 1);

    let early = format!("\n  - {{ id: first, call: 'erp#read', with: {{}} }}{}", WAIT.replace("EXPIRY", "reject"));
    let mut world = World::new(&early);
    world.boot();
    world.signal("goods.in", json!({"order": "o1"}));
    world.ends(RunState::Completed);
    assert_eq!(world.output("after")["signal"]["data"]["order"], "o1");
}

#[test]
fn a_wait_that_expires_goes_on_as_is_declared() {
    let ended = |expiry: &str| {
        let mut world = wait(expiry);
        world.go();
        world.check_replay();
        let after = if world.state() == RunState::Completed && world.asked_of("after") > 0 {
            world.output("after")
        } else {
            Value::Null
        };
        (world.state(), after)
    };
    assert_eq!(ended("continue"), (RunState::Completed, Value::Null));
    assert_eq!(ended("reject").0, RunState::Rejected);
    assert_eq!(ended("dead_letter").0, RunState::Parked);
    assert_eq!(ended("{ end: over }").0, RunState::Completed);
    assert_eq!(ended("{ use: 3 }"), (RunState::Completed, json!(3)));
    assert_eq!(ended("{ as: lost }").1["kind"], "lost");
    assert_eq!(ended("{ steps: [{ id: more, call: 'erp#read', with: {} }] }").0, RunState::Completed);
    assert_eq!(ended("{ approve: { group: g, within: 1m, on_expiry: reject } }").0, RunState::Rejected);
}

// SEMANTICS 23
#[test]
fn a_wait_that_parked_the_run_waits_again_when_it_is_resumed() {
    let mut world = wait("dead_letter");
    world.ends(RunState::Parked);
    world.control(Control::Resume);
    world.signal("goods.in", json!({"order": "o1"}));
    world.ends(RunState::Completed);
}

// SEMANTICS 15
#[test]
fn a_wait_that_fell_due_while_the_hub_was_down_has_its_grace() {
    let mut world = wait("reject");
    world.boot();
    world.crash();
    world.now = world.now.plus_millis(120_000);
    world.grace_ms = 30_000;
    world.boot();
    assert_eq!(world.due, Some(world.now.plus_millis(30_000)));
    world.signal("goods.in", json!({"order": "o1"}));
    world.ends(RunState::Completed);
}

// SEMANTICS 15
#[test]
fn a_wait_is_over_only_when_what_was_accepted_by_its_deadline_was_offered() {
    let mut world = wait("reject");
    world.boot();
    let due = world.due.expect("it waits");
    world.offered(world.now);
    world.now = due.plus_millis(5);
    world.wake();
    assert_eq!((world.state(), world.due), (RunState::Waiting, Some(due)));
    world.signal("goods.in", json!({"order": "o1"}));
    world.ends(RunState::Completed);

    let mut world = wait("reject");
    world.boot();
    world.offered(world.now);
    world.now = due.plus_millis(5);
    world.wake();
    world.offered(world.now);
    world.wake();
    assert_eq!(world.state(), RunState::Rejected);
}

#[test]
fn a_time_is_waited_for() {
    let mut world = World::new("\n  - { id: sleep, wait: { for: 90s } }\n");
    let begun = world.now;
    world.ends(RunState::Completed);
    assert_eq!(world.now, begun.plus_millis(90_000));
}

const ASK: &str = "
  - { id: it, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }
  - id: asked
    approve: { group: g, quorum: '${ config.people }', not: [subject], remind: [1m, 2m], escalate: { to: duty, after: 3m }, within: 5m, on_expiry: EXPIRY }
  - { id: after, transform: test/x@^1, with: '${ steps.asked }' }
";

fn ask(expiry: &str) -> World {
    let mut world = World::new(&ASK.replace("EXPIRY", expiry));
    world.boot();
    world.answer("it");
    world
}

// SEMANTICS 17
#[test]
fn a_quorum_is_of_different_people_and_whoever_stands_in_counts_as_both() {
    let mut world = ask("reject");
    world.decide("asked", "ada", true);
    let again = world.decision("asked", "ada", true);
    assert!(matches!(world.run().check_decision(&again), Err(DecisionRefusal::Barred { .. })));
    let mut stands_in = world.decision("asked", "bob", true);
    stands_in.on_behalf_of = Some("ada".into());
    assert!(matches!(world.run().check_decision(&stands_in), Err(DecisionRefusal::Barred { .. })));
    // `k` is whom the event is about.
    let subject = world.decision("asked", "k", true);
    assert!(matches!(world.run().check_decision(&subject), Err(DecisionRefusal::Barred { .. })));
    let mut stale = world.decision("asked", "bob", true);
    stale.revision += 1;
    assert!(matches!(world.run().check_decision(&stale), Err(DecisionRefusal::Stale { .. })));
    world.crash();
    world.boot();
    let decision = world.decision("asked", "bob", true);
    world.decide("asked", "bob", true);
    assert!(world.run().check_decision(&decision).is_err());
    world.ends(RunState::Completed);
    assert_eq!(world.output("after")["by"], json!(["ada", "bob"]));
}

// SEMANTICS 17, 21
#[test]
fn one_no_rejects_and_an_override_decides_alone() {
    let mut world = ask("reject");
    world.decide("asked", "ada", false);
    world.ends(RunState::Rejected);
    assert_eq!(world.undone(), ["it"]);
    let mut world = ask("reject");
    let mut decision = world.decision("asked", "ada", true);
    decision.override_code = Some("urgent".into());
    world.take(decision);
    world.ends(RunState::Completed);
}

#[test]
fn people_are_reminded_then_others_asked_then_it_is_too_late() {
    let mut world = ask("dead_letter");
    let begun = world.now;
    world.ends(RunState::Parked);
    let nudges: Vec<(u64, Option<String>)> = world
        .facts()
        .iter()
        .filter_map(|fact| match fact {
            Entry::ApprovalNudged { time, to, .. } => Some((time.since(begun) / 60_000, to.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(nudges, [(1, None), (2, None), (3, Some("duty".into()))]);
    assert_eq!(world.now.since(begun), 300_000);
    // Resumed, it is asked anew; what was seen before is stale.
    let old = world.decision("asked", "ada", true);
    world.control(Control::Resume);
    assert!(matches!(world.run().check_decision(&old), Err(DecisionRefusal::Stale { .. })));
    world.decide("asked", "ada", true);
    world.decide("asked", "bob", true);
    world.ends(RunState::Completed);
}

#[test]
fn an_expired_question_can_ask_others() {
    let steps = "
  - { id: ruled, rule: test/x@^1, with: { n: 1 }, outcomes: { hold: { approve: { group: g, within: 1m, on_expiry: EXPIRY } } } }
  - { id: after, transform: test/x@^1, with: '${ steps.ruled }' }
";
    for (expiry, state) in
        [("reject", RunState::Rejected), ("dead_letter", RunState::Parked), ("{ use: 9 }", RunState::Completed)]
    {
        let mut world = World::new(&steps.replace("EXPIRY", expiry)).rules("ruled", &[verdict(Outcome::Hold, None)]);
        world.ends(state);
        if state == RunState::Parked {
            world.control(Control::Resume);
            world.ends(RunState::Completed);
        }
    }
    let mut world = World::new(&steps.replace("EXPIRY", "reject")).rules("ruled", &[verdict(Outcome::Hold, None)]);
    world.boot();
    world.answer("ruled");
    world.decide("ruled", "ada", true);
    world.ends(RunState::Completed);
    assert_eq!(world.output("after"), json!({"n": 1}), "what was held goes on as it is");
}

#[test]
fn nobody_decides_for_a_run_that_is_cancelled() {
    let mut world = ask("reject");
    let decision = world.decision("asked", "ada", true);
    world.control(Control::Cancel { compensate: true });
    assert!(matches!(world.run().check_decision(&decision), Err(DecisionRefusal::NotAsked { .. })));
    world.ends(RunState::Cancelled);
    world.tell(Input::Wake);
    assert_eq!(world.undone(), ["it"]);
}

#[test]
fn a_failure_goes_on_as_on_error_says() {
    let ended = |consequence: &str| {
        let steps = format!(
            "
  - {{ id: first, call: 'erp#create', with: {{}}, compensate: {{ call: cancel, with: {{}} }} }}
  - {{ id: bad, call: 'erp#create', with: {{}}, on_error: {consequence} }}
  - {{ id: after, transform: test/x@^1, with: '${{ steps.bad }}' }}
"
        );
        let mut world = World::new(&steps).script("bad", &[Way::Refused]);
        world.go();
        world.check_replay();
        let state = world.state();
        (state, if world.asked_of("after") > 0 { world.output("after") } else { Value::Null }, world)
    };
    assert_eq!(ended("continue").0, RunState::Completed);
    assert_eq!(ended("{ use: '${ error.code }' }").1, json!("erp.no"));
    assert_eq!(ended("{ end: enough }").0, RunState::Completed);
    assert_eq!(
        ended("{ steps: [{ id: more, call: 'erp#create', with: { code: '${ error.code }' } }] }").0,
        RunState::Completed
    );
    let (state, _, world) = ended("reject");
    assert_eq!((state, world.undone()), (RunState::Rejected, vec!["first".to_owned()]));
    let (state, _, mut world) = ended("dead_letter");
    assert_eq!((state, world.undone().len()), (RunState::Parked, 0));
    world.control(Control::Resume);
    world.ends(RunState::Completed);
    let (_, _, mut world) = ended("{ approve: { group: g, within: 5d, on_expiry: reject } }");
    world.decide("bad", "ada", true);
    world.ends(RunState::Completed);
}

// SEMANTICS 32
#[test]
fn a_scorer_that_is_off_or_in_shadow_leaves_its_fallback_as_output() {
    for (mode, asked) in [("off", 0), ("shadow", 1)] {
        for fallback in ["{ value: { score: 9 } }", "{ transform: test/x@^1, with: { score: 9 } }"] {
            let steps =
                format!("\n  - {{ id: scored, score: test/x@^1, with: {{}}, mode: {mode}, fallback: {fallback} }}\n");
            let mut world = World::new(&steps);
            world.ends(RunState::Completed);
            assert_eq!(world.output("scored"), json!({"score": 9}));
            assert_eq!(world.asked_of("scored"), asked);
        }
    }
}

// SEMANTICS 25
#[test]
fn the_run_that_a_step_starts_is_the_same_after_a_crash() {
    let mut world = World::new("\n  - { id: child, run: test/other@^1, with: {} }\n");
    world.boot();
    for _ in 0..3 {
        world.crash();
        world.boot();
    }
    world.ends(RunState::Completed);
    assert_eq!(world.children.len(), 1);
}
