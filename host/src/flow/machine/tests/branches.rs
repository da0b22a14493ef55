//! `parallel`, `for` and `loop`: what runs side by side, what is bounded, and what a failure stops.

use serde_json::{Value, json};

use super::world::{Way, World};
use crate::model::{
    entry::{Control, Entry},
    run::RunState,
};

const BOTH: &str = "
  - id: both
    parallel:
      branches:
        left: [{ id: a, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }, { id: b, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }]
        right: [{ id: c, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }, { id: d, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }]
    on_error: { use: { failed: '${ error.code }' } }
  - { id: after, transform: test/x@^1, with: '${ steps.both }' }
";

#[test]
fn the_output_of_a_parallel_is_the_last_output_of_each_branch() {
    let mut world = World::new(BOTH);
    world.ends(RunState::Completed);
    assert_eq!(world.output("after")["left"]["id"], "b");
    assert_eq!(world.output("after")["right"]["id"], "d");
    assert_eq!(world.out_max, 2);
}

// SEMANTICS 19
#[test]
fn after_a_first_failure_nothing_begins_what_is_out_is_resolved_and_all_is_undone_in_reverse() {
    // The failure is in either branch, and the other one's answer comes after it.
    for (failing, other, next) in [("c", "a", "b"), ("a", "c", "d")] {
        let mut world = World::new(BOTH).script(failing, &[Way::Refused]);
        world.boot();
        world.answer(failing);
        assert_eq!(world.outstanding(), [other], "what is out is not forgotten");
        world.answer(other);
        assert_eq!(world.asked_of(next), 0, "`{next}` began after `{failing}` had failed");
        assert_eq!(world.outstanding(), [format!("{other}~compensate")]);
        world.ends(RunState::Completed);
        assert_eq!(world.undone(), [other]);
        assert_eq!(world.output("after"), json!({"failed": "erp.no"}));
    }
    let mut world = World::new(BOTH).script("d", &[Way::Refused]);
    world.boot();
    for step in ["c", "a", "d", "b"] {
        world.answer(step);
    }
    world.ends(RunState::Completed);
    assert_eq!(world.undone(), ["b", "a", "c"], "in reverse of the order in which they took effect");
}

// SEMANTICS 19
#[test]
fn a_failure_deep_inside_a_branch_stops_the_other_branches_too() {
    let mut world = World::new(
        "
  - id: outer
    parallel:
      branches:
        deep: [{ id: inner, parallel: { branches: { x: { id: x, call: 'erp#create', with: {} }, y: { id: y, call: 'erp#create', with: {} } } } }]
        flat: [{ id: f, call: 'erp#create', with: {} }, { id: g, call: 'erp#create', with: {} }]
    on_error: continue
",
    )
    .script("x", &[Way::Refused]);
    world.boot();
    world.answer("x");
    world.answer("f");
    assert_eq!(world.asked_of("g"), 0);
    world.crash();
    world.boot();
    world.ends(RunState::Completed);
    assert_eq!(world.asked_of("g"), 0, "nor after a crash");
}

// SEMANTICS 19
#[test]
fn effects_of_a_nested_step_are_undone_only_after_what_is_out_beside_it() {
    let mut world = World::new(
        "
  - id: outer
    parallel:
      branches:
        left: [{ id: chosen, switch: [{ when: 'true', steps: [{ id: w, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }, { id: no, call: 'erp#create', with: {} }] }] }]
        right: [{ id: late, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }]
    on_error: continue
",
    )
    .script("no", &[Way::Refused]);
    world.boot();
    for step in ["w", "no", "late"] {
        world.answer(step);
    }
    world.ends(RunState::Completed);
    assert_eq!(world.undone(), ["late", "w"]);
}

const RACE: &str = "
  - id: race
    parallel:
      join: any
      branches:
        a: [{ id: a, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }]
        b: [{ id: b1, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }, { id: b2, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }]
        c: [{ id: c1, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }, { id: c2, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }]
    on_error: { use: { failed: '${ error.code }' } }
  - { id: after, transform: test/x@^1, with: '${ steps.race }' }
";

// SEMANTICS 19
#[test]
fn when_any_is_won_nothing_begins_and_the_losers_are_undone() {
    let mut world = World::new(RACE);
    world.boot();
    world.answer("b1");
    world.answer("a");
    assert_eq!(world.outstanding(), ["c1", "b2"]);
    world.answer("c1");
    assert_eq!(world.asked_of("c2"), 0, "a loser went on");
    world.answer("b2");
    world.ends(RunState::Completed);
    assert_eq!(world.undone(), ["b2", "c1", "b1"]);
    let output = world.output("after");
    assert_eq!(output["a"]["id"], "a");
}

#[test]
fn any_is_won_by_the_last_branch_when_all_others_failed() {
    let mut world = World::new(RACE).script("a", &[Way::Refused]).script("b1", &[Way::Refused]);
    world.boot();
    world.answer("a");
    world.answer("b1");
    world.answer("c1");
    assert_eq!(world.outstanding(), ["c2"], "the last branch hangs");
    world.ends(RunState::Completed);
    assert_eq!(world.output("after")["c"]["id"], "c2");
}

#[test]
fn any_fails_when_every_branch_failed() {
    let mut world =
        World::new(RACE).script("a", &[Way::Refused]).script("b2", &[Way::Refused]).script("c1", &[Way::Refused]);
    world.ends(RunState::Completed);
    assert_eq!(world.output("after"), json!({"failed": "erp.no"}));
    assert_eq!(world.undone(), ["b1"]);
}

#[test]
fn any_fails_when_every_branch_failed_inside_a_step() {
    let mut world = World::new(
        "
  - id: race
    parallel:
      join: any
      branches:
        a: [{ id: one, switch: [{ when: 'true', steps: [{ id: a, call: 'erp#create', with: {} }] }] }]
        b: [{ id: two, switch: [{ when: 'true', steps: [{ id: b, call: 'erp#create', with: {} }] }] }]
    on_error: continue
",
    )
    .script("a", &[Way::Refused])
    .script("b", &[Way::Refused]);
    world.ends(RunState::Completed);
}

// SEMANTICS 8
#[test]
fn a_loser_in_doubt_is_resolved_before_anything_is_undone() {
    let mut world = World::new(RACE).script("b1", &[Way::LostAfter]);
    world.boot();
    world.answer("c1");
    world.answer("b1");
    world.answer("a");
    assert_eq!(world.undone(), [""; 0]);
    world.ends(RunState::Completed);
    assert_eq!(world.asked_of("b1"), 2, "asked whether it took effect");
    let mut undone = world.undone();
    undone.sort();
    assert_eq!(undone, ["b1", "c1", "c2"]);
}

// SEMANTICS 8
#[test]
fn a_loser_whose_doubt_cannot_be_resolved_parks_the_run_and_is_undone_once_a_person_knows() {
    let mut world = World::new(RACE).doubt(crate::model::manifest::Doubt::None).script("b1", &[Way::LostAfter]);
    world.boot();
    world.answer("b1");
    world.answer("a");
    world.answer("c1");
    world.go();
    assert_eq!(world.state(), RunState::Parked);
    assert!(world.cause().contains("effect.in-doubt"), "{}", world.cause());
    assert_eq!(world.undone(), [""; 0]);
    world.control(Control::Resolve { step: "b1".into(), output: Some(json!({"id": "b1"}).into()) });
    world.ends(RunState::Completed);
    assert_eq!(world.undone(), ["b1", "c1"]);
}

// SEMANTICS 12
#[test]
fn the_time_of_a_parallel_bounds_it_and_what_it_did_is_undone() {
    let mut world = World::new(
        "
  - id: both
    parallel:
      within: 20s
      branches:
        left: [{ id: a, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }]
        right: [{ id: never, wait: { event: goods.in, match: 'signal.subject == event.subject', within: 2d, on_expiry: reject } }]
    on_error: { use: { failed: '${ error.code }' } }
  - { id: after, transform: test/x@^1, with: '${ steps.both }' }
",
    );
    world.boot();
    world.answer("a");
    assert_eq!(world.due, Some(world.now.plus_millis(20_000)));
    world.ends(RunState::Completed);
    assert_eq!(world.output("after"), json!({"failed": "step.out-of-time"}));
    assert_eq!(world.undone(), ["a"]);
    world.signal("goods.in", json!({}));
    assert_eq!(world.count(|entry| matches!(entry, Entry::Signalled(_))), 0, "what was given up takes no signal");
}

const EACH: &str = "
  - id: all
    for:
      each: event.data.lines
      at_once: 2
      steps: [{ id: one, call: 'erp#create', with: { n: '${ item }' }, compensate: { call: cancel, with: {} } }]
      output: { n: '${ item }', id: '${ steps.one.id }' }
    on_error: { use: failed }
  - { id: after, transform: test/x@^1, with: '${ steps.all }' }
";

#[test]
fn outputs_of_a_for_stand_in_the_order_of_the_list_and_no_more_run_at_once_than_may() {
    let mut world = World::new(EACH);
    world.boot();
    assert_eq!(world.outstanding(), ["one[1]", "one[2]"]);
    world.answer("one[2]");
    assert_eq!(world.outstanding(), ["one[1]", "one[3]"]);
    world.answer("one[3]");
    world.crash();
    world.ends(RunState::Completed);
    assert_eq!(world.out_max, 2);
    let expected: Vec<Value> = (1..=3).map(|n| json!({"n": n, "id": format!("one[{n}]")})).collect();
    assert_eq!(world.output("after"), Value::Array(expected));
    assert_eq!(world.done.len(), 3);
}

#[test]
fn a_for_over_nothing_gives_an_empty_list() {
    let mut world = World::with(super::world::plan(EACH), json!({"lines": []}));
    world.ends(RunState::Completed);
    assert_eq!(world.output("after"), json!([]));
}

// SEMANTICS 19
#[test]
fn after_an_item_failed_no_other_begins_and_all_are_undone() {
    let mut world = World::new(EACH).script("one[1]", &[Way::Refused]);
    world.boot();
    world.answer("one[1]");
    world.answer("one[2]");
    assert_eq!(world.asked_of("one[3]"), 0);
    world.ends(RunState::Completed);
    assert_eq!(world.undone(), ["one[2]"]);
    assert_eq!(world.output("after"), json!("failed"));
}

#[test]
fn a_for_over_something_else_than_a_list_fails() {
    let mut world = World::with(super::world::plan(EACH), json!({"lines": 3}));
    world.ends(RunState::Completed);
    assert_eq!(world.output("after"), json!("failed"));
}

#[test]
fn a_reduce_folds_the_outputs_one_after_the_other() {
    let steps = "
  - id: sum
    for: { each: event.data.lines, at_once: 3, steps: [{ id: one, transform: test/x@^1, with: '${ item }' }], output: '${ steps.one }', reduce: test/sum@^1 }
";
    let mut world = World::new(steps);
    world.boot();
    for item in [3, 1, 2] {
        world.answer(&format!("one[{item}]"));
    }
    assert_eq!(world.outstanding(), ["sum~reduce.1"]);
    world.answer("sum~reduce.1");
    world.crash();
    world.ends(RunState::Completed);
    assert_eq!(world.output("sum"), json!(6));
    let mut empty = World::with(super::world::plan(steps), json!({"lines": []}));
    empty.ends(RunState::Completed);
    assert_eq!(empty.output("sum"), json!([]));
}

const AGAIN: &str = "
  - id: tries
    loop:
      max: '${ config.tries }'
      until: vars.n >= event.data.total
      steps: [{ id: made, call: 'erp#create', with: { n: '${ vars.n }' }, compensate: { call: cancel, with: {} } }, { id: count, set: { n: '${ vars.n + 1 }' } }]
      output: { n: '${ vars.n }', made: '${ steps.made.id }' }
      on_exhausted: CONSEQUENCE
  - { id: after, transform: test/x@^1, with: '${ steps.tries }' }
";

fn tries(total: u32, consequence: &str) -> World {
    World::with(super::world::plan(&AGAIN.replace("CONSEQUENCE", consequence)), json!({ "total": total }))
}

#[test]
fn a_loop_goes_on_until_its_condition_holds_and_sees_the_variables_it_set() {
    let mut world = tries(2, "reject");
    world.boot();
    world.answer("made[1]");
    world.crash();
    world.ends(RunState::Completed);
    assert_eq!(world.output("after"), json!({"n": 2, "made": "made[2]"}));
    assert_eq!(world.effects(), ["create made[1]", "create made[2]"]);
}

#[test]
fn an_exhausted_loop_goes_on_as_is_declared() {
    let ended = |consequence: &str| {
        let mut world = tries(9, consequence);
        world.go();
        (world.state(), world)
    };
    let (state, world) = ended("continue");
    assert_eq!((state, world.output("after"), world.done.len()), (RunState::Completed, Value::Null, 2));
    let (state, world) = ended("{ use: none }");
    assert_eq!((state, world.output("after")), (RunState::Completed, json!("none")));
    let (state, world) = ended("{ end: enough }");
    assert_eq!((state, world.asked_of("after"), world.undone().len()), (RunState::Completed, 0, 0));
    let (state, world) = ended("reject");
    assert_eq!((state, world.undone()), (RunState::Rejected, vec!["made[2]".to_owned(), "made[1]".to_owned()]));
    let (state, world) = ended("{ steps: [{ id: then, call: 'erp#create', with: {} }] }");
    assert_eq!((state, world.effects().last().map(String::as_str)), (RunState::Completed, Some("create then")));
    let (state, world) = ended("{ dead_letter: nobody could }");
    assert_eq!(state, RunState::Parked);
    assert!(world.cause().contains("nobody could"), "{}", world.cause());
    assert_eq!(world.undone().len(), 0, "parked with its stack intact");
}

// SEMANTICS 23
#[test]
fn an_exhausted_loop_that_a_person_resumes_has_all_its_tries_again() {
    let mut world = tries(4, "{ dead_letter: nobody could }");
    world.ends(RunState::Parked);
    world.control(Control::Resume);
    world.ends(RunState::Completed);
    assert_eq!(world.output("after"), json!({"n": 4, "made": "made[4]"}));
}

#[test]
fn a_loop_whose_bound_is_no_number_fails() {
    let steps = "
  - { id: tries, loop: { max: '${ event.data.total }', until: 'true', steps: [{ id: x, call: 'erp#read', with: {} }] }, on_error: { use: '${ error.code }' } }
";
    for total in [json!(0), json!("x"), json!(10_001)] {
        let mut world = World::with(super::world::plan(steps), json!({ "total": total }));
        world.ends(RunState::Completed);
        assert!(world.count(|entry| matches!(entry, Entry::Handled { .. })) == 1, "{total}");
    }
}

// SEMANTICS 20
#[test]
fn undo_names_the_effects_of_its_own_iteration_and_each_leaves_the_stack_once() {
    let mut world = World::new(
        "
  - { id: first, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }
  - id: tries
    loop:
      max: 3
      until: vars.n >= 2
      steps:
        - { id: r, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }
        - { id: p, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }
        - { id: back, when: 'vars.n < 1', undo: [p, r], set: { n: '${ vars.n + 1 }' } }
        - { id: count, when: 'steps.back == null || vars.n < 2', set: { n: '${ vars.n + 1 }' } }
  - { id: no, call: 'erp#create', with: {} }
on_error:
  compensate: all
  steps: []
",
    )
    .script("no", &[Way::Refused]);
    world.ends(RunState::Failed);
    let undone = world.undone();
    assert!(undone.starts_with(&["p[1]".into(), "r[1]".into()]), "{undone:?}");
    assert_eq!(undone.last().map(String::as_str), Some("first"));
    let mut once = undone.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), undone.len());
    assert_eq!(world.done.iter().filter(|done| done.operation == "create").count(), undone.len());
}

#[test]
fn an_answer_that_comes_again_changes_nothing() {
    let mut world = World::new(BOTH);
    world.boot();
    let first = world.answer("a");
    let facts = world.facts();
    world.tell(super::super::effect::Input::Answer(Box::new(first.clone())));
    assert_eq!(world.facts(), facts);
    world.answer("b");
    world.tell(super::super::effect::Input::Answer(Box::new(first)));
    world.ends(RunState::Completed);
    assert_eq!(world.count(|entry| matches!(entry, Entry::StepDone(done) if done.step == "a")), 1);
}

// SEMANTICS 12
#[test]
fn attempts_survive_a_crash_and_the_time_of_a_step_bounds_them() {
    let steps = "
  - { id: a, call: 'erp#create', with: {}, retry: { on: retryable, attempts: 3, first: 1s, factor: 2, max: 10s } }
";
    let mut world = World::new(steps).script("a", &[Way::Locked; 9]);
    world.boot();
    for _ in 0..2 {
        world.answer("a");
        world.crash();
        world.boot();
        world.wake();
    }
    world.ends(RunState::Parked);
    assert_eq!(world.asked_of("a"), 3);
    let steps = steps.replace("attempts: 3", "attempts: 9").replace("with: {}", "with: {}, within: 5s");
    let mut world = World::new(&steps).script("a", &[Way::Locked; 9]);
    world.ends(RunState::Parked);
    assert_eq!(world.asked_of("a"), 3, "the third wait would end after the step's time");
}

#[test]
fn a_step_of_on_error_that_fails_is_not_dealt_with_by_the_same_on_error() {
    let steps = "
  - { id: a, call: 'erp#create', with: {}, on_error: { steps: [{ id: b, call: 'erp#create', with: {} }] } }
";
    let mut world = World::new(steps).script("a", &[Way::Refused]).script("b", &[Way::Refused]);
    world.ends(RunState::Parked);
    assert_eq!(world.story().summary.step.as_deref(), Some("b"));
    world.control(Control::Resume);
    world.ends(RunState::Completed);
}
