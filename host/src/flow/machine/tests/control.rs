//! What people do with a run, and how it is undone: cancel, pause, resume, resolve, close, restart, compensation.

use serde_json::json;

use super::world::{Way, World, verdict};
use crate::model::{
    decision::Outcome,
    entry::{Control, Entry},
    manifest::Doubt,
    run::RunState,
};

const THREE: &str = "
  - { id: a, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }
  - { id: b, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }
  - { id: c, call: 'erp#create', with: {} }
";

// SEMANTICS 18
#[test]
fn what_took_effect_is_undone_in_reverse_once_and_undoing_is_itself_tried_again() {
    let steps = format!(
        "{THREE}on_error:\n  compensate: all\n  steps: [{{ id: tell, emit: order.failed, data: {{ cause: '${{ error.code }}' }} }}]\n"
    );
    let mut world = World::new(&steps)
        .script("c", &[Way::Refused])
        .script("b~compensate", &[Way::Locked, Way::LostAfter])
        .script("a~compensate", &[Way::LostBefore]);
    world.ends(RunState::Failed);
    assert_eq!(world.undone(), ["b", "a"]);
    assert!(world.done.iter().all(|done| done.repeats == 0));
    assert_eq!(world.emitted.len(), 1);
}

// SEMANTICS 18, 23
#[test]
fn a_compensation_that_cannot_complete_parks_the_run_and_goes_on_when_it_is_resumed() {
    let mut world = World::new(THREE).script("b~compensate", &[Way::Refused]);
    world.boot();
    world.answer("a");
    world.answer("b");
    world.control(Control::Cancel { compensate: true });
    world.ends(RunState::Parked);
    assert!(world.cause().contains("compensation.blocked"), "{}", world.cause());
    assert_eq!(world.undone(), [""; 0], "nothing is undone out of turn");
    world.control(Control::Resume);
    world.ends(RunState::Cancelled);
    assert_eq!(world.undone(), ["b", "a"]);
}

// SEMANTICS 22
#[test]
fn a_cancel_at_any_point_starts_no_forward_step_and_undoes_only_if_asked_to() {
    for point in 0..14 {
        for compensate in [true, false] {
            let mut world = World::new(THREE).script("b", &[Way::LostAfter]);
            world.boot();
            let mut left = point;
            while left > 0 && !world.is_settled() {
                left -= 1;
                if world.out.is_empty() { world.wake() } else { drop(world.answer_at(0)) }
            }
            if world.is_settled() {
                continue;
            }
            let begun = world.count(
                |fact| matches!(fact, Entry::Intent(intent) if !intent.step.contains('~') && intent.attempt == 1),
            );
            let effects = world.done.len();
            world.control(Control::Cancel { compensate });
            world.ends(RunState::Cancelled);
            let after = world.count(|fact| matches!(fact, Entry::Intent(intent) if !intent.step.contains('~') && intent.attempt == 1 && !intent.resolving));
            assert!(after <= begun, "a forward step began after the cancel at {point}");
            let undoable = world.done.iter().filter(|done| done.operation == "create" && done.step != "c").count();
            assert_eq!(world.undone().len(), if compensate { undoable } else { 0 }, "at {point}, {effects} effects");
        }
    }
}

// SEMANTICS 22
#[test]
fn a_cancel_during_a_restart_ends_the_run_and_undoes_everything() {
    let mut world = World::new(THREE).script("c", &[Way::Refused]).script("b~compensate", &[Way::Refused]);
    world.ends(RunState::Parked);
    world.control(Control::Restart { step: "b".into(), undo: true });
    world.go();
    assert_eq!(world.state(), RunState::Parked);
    world.control(Control::Cancel { compensate: true });
    world.ends(RunState::Cancelled);
    assert_eq!(world.undone(), ["b", "a"]);
    assert_eq!(world.asked_of("c"), 1, "the restart went on after the cancel");
}

#[test]
fn a_paused_run_records_what_is_in_flight_and_begins_nothing_until_it_is_continued() {
    let mut world = World::new(THREE);
    world.boot();
    world.control(Control::Pause);
    world.answer("a");
    assert_eq!(world.outstanding(), [""; 0]);
    world.crash();
    world.boot();
    world.answer_all();
    assert_eq!(world.asked_of("b"), 0);
    assert!(world.run().check_control(&Control::Pause).is_err());
    world.control(Control::Continue);
    world.ends(RunState::Completed);
    assert_eq!(world.effects(), ["create a", "create b", "create c"]);
}

#[test]
fn a_run_whose_pipeline_is_paused_records_what_is_in_flight_and_begins_and_undoes_nothing() {
    let mut world = World::new(THREE);
    world.boot();
    world.held(true);
    world.answer("a");
    assert_eq!((world.outstanding(), world.due), (vec![], None));
    let facts = world.facts().len();
    world.wake();
    assert_eq!(world.facts().len(), facts, "no fact says that it is held back");
    world.control(Control::Cancel { compensate: true });
    assert_eq!(world.undone(), [""; 0]);
    world.held(false);
    world.wake();
    world.ends(RunState::Cancelled);
    assert_eq!((world.undone(), world.asked_of("b")), (vec!["a".to_owned()], 0));
}

// SEMANTICS 8
#[test]
fn a_write_in_doubt_is_resolved_by_a_person_either_way() {
    for took_effect in [true, false] {
        let way = if took_effect { Way::LostAfter } else { Way::LostBefore };
        let mut world = World::new(THREE).doubt(Doubt::None).script("b", &[way]);
        world.ends(RunState::Parked);
        assert!(world.run().check_control(&Control::Resume).is_err());
        assert!(world.run().check_control(&Control::Restart { step: "a".into(), undo: true }).is_err(), "doubt first");
        world.control(Control::Resolve { step: "b".into(), output: took_effect.then(|| json!({"id": "b"}).into()) });
        world.ends(RunState::Completed);
        assert_eq!(world.effects(), ["create a", "create b", "create c"]);
    }
}

// SEMANTICS 5, 24
#[test]
fn a_restart_uses_what_is_in_effect_or_undoes_it_and_gives_new_keys() {
    let mut world = World::new(THREE).script("c", &[Way::Refused, Way::Refused]);
    world.ends(RunState::Parked);
    world.control(Control::Restart { step: "b".into(), undo: false });
    world.ends(RunState::Parked);
    assert_eq!(world.effects(), ["create a", "create b"], "used again");
    world.control(Control::Restart { step: "b".into(), undo: true });
    world.ends(RunState::Completed);
    assert_eq!(world.effects(), ["create a", "create b", "cancel b~compensate", "create b", "create c"]);
    assert_ne!(world.done[1].key, world.done[3].key);
}

// SEMANTICS 23
#[test]
fn a_restarted_run_that_fails_again_is_undone_and_handled_again() {
    let steps =
        format!("{THREE}on_error:\n  compensate: all\n  steps: [{{ id: tell, emit: order.failed, data: {{}} }}]\n");
    let mut world = World::new(&steps).script("c", &[Way::Refused, Way::Refused]);
    world.ends(RunState::Failed);
    world.control(Control::Restart { step: "a".into(), undo: false });
    world.ends(RunState::Failed);
    assert_eq!(world.undone(), ["b", "a", "b", "a"]);
    assert_eq!(world.emitted.len(), 2);
}

// SEMANTICS 23
#[test]
fn on_error_may_hold_every_construct_and_close_ends_a_run_that_stopped_in_it() {
    let steps = "
  - { id: a, call: 'erp#create', with: {} }
on_error:
  steps:
    - { id: two, parallel: { branches: { x: { id: x, call: 'erp#create', with: {} }, y: { id: y, call: 'erp#create', with: {} } } } }
    - { id: each, for: { each: event.data.lines, at_once: 2, steps: [{ id: z, call: 'erp#create', with: {} }] } }
    - { id: last, call: 'erp#create', with: {} }
";
    let mut world = World::new(steps).script("a", &[Way::Refused]);
    world.ends(RunState::Failed);
    assert_eq!(world.done.len(), 6);
    let mut world = World::new(steps).script("a", &[Way::Refused]).script("last", &[Way::Refused; 3]);
    world.ends(RunState::Parked);
    world.control(Control::Close { compensate: true });
    world.ends(RunState::Failed);
}

#[test]
fn an_end_or_a_reject_in_on_error_ends_the_run() {
    for last in
        ["{ id: stop, end: enough }", "{ id: stop, rule: test/x@^1, with: {}, outcomes: { hold: dead_letter } }"]
    {
        let steps = format!(
            "\n  - {{ id: a, call: 'erp#create', with: {{}} }}\non_error:\n  steps: [{last}, {{ id: never, call: 'erp#create', with: {{}} }}]\n"
        );
        let mut world =
            World::new(&steps).script("a", &[Way::Refused]).rules("stop", &[verdict(Outcome::Reject, None)]);
        world.ends(RunState::Failed);
        assert_eq!(world.asked_of("never"), 0);
    }
}

// SEMANTICS 21
#[test]
fn a_point_of_no_return_protects_from_its_intent_until_it_is_proved_that_nothing_took_effect() {
    let steps = "
  - { id: a, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }
  - { id: b, call: 'erp#create', with: {}, point_of_no_return: true }
  - { id: c, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }
  - { id: d, call: 'erp#create', with: {}, point_of_no_return: true }
on_error:
  compensate: all
  steps: []
";
    // The later point failed and protects nothing; the earlier one still does.
    let mut world = World::new(steps).script("d", &[Way::Refused]);
    world.ends(RunState::Failed);
    assert_eq!(world.undone(), ["c"]);
    let mut world = World::new(steps).script("b", &[Way::Refused]);
    world.ends(RunState::Failed);
    assert_eq!(world.undone(), ["a"]);
    // Found out after a cancel.
    for (way, undone) in [(Way::LostBefore, vec!["a"]), (Way::LostAfter, vec![""; 0])] {
        let mut world = World::new(steps).script("b", &[way]);
        world.boot();
        world.answer("a");
        world.control(Control::Cancel { compensate: true });
        assert_eq!(world.outstanding(), ["b"]);
        world.ends(RunState::Cancelled);
        assert_eq!(world.undone(), undone);
    }
    let mut world = World::new(steps);
    world.boot();
    world.answer("a");
    world.control(Control::Cancel { compensate: true });
    world.ends(RunState::Cancelled);
    assert_eq!(world.undone(), [""; 0], "`b` took effect");
}

// SEMANTICS 21
#[test]
fn a_point_of_no_return_that_took_effect_protects_even_if_it_could_not_be_confirmed() {
    let steps = "
  - { id: a, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }
  - { id: b, call: 'erp#create', with: {}, point_of_no_return: true, confirm: { call: read, with: {}, equals: { total: 7 } } }
on_error:
  compensate: all
  steps: []
";
    let mut world = World::new(steps).script("b~confirm", &[Way::Differs; 9]);
    world.ends(RunState::Failed);
    assert_eq!(world.undone(), [""; 0]);
    let mut world = World::new(steps).script("b~confirm", &[Way::Locked, Way::Differs]);
    world.ends(RunState::Completed);
    assert_eq!(world.asked_of("b~confirm"), 3, "read again until it shows");
}

// SEMANTICS 21
#[test]
fn reject_undoes_like_a_failure() {
    let steps = "
  - { id: a, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }
  - { id: ruled, rule: test/x@^1, with: {}, outcomes: { hold: dead_letter } }
";
    let mut world = World::new(steps).rules("ruled", &[verdict(Outcome::Reject, None)]);
    world.ends(RunState::Rejected);
    assert_eq!(world.undone(), ["a"]);
}

#[test]
fn a_rolled_back_step_that_a_person_resumes_begins_again_with_other_keys() {
    let steps = "
  - id: both
    parallel: { branches: { l: [{ id: a, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }], r: [{ id: b, call: 'erp#create', with: {} }] } }
    on_error: dead_letter
";
    let mut world = World::new(steps).script("b", &[Way::Refused]);
    world.ends(RunState::Parked);
    assert_eq!(world.undone(), ["a"]);
    world.control(Control::Resume);
    world.ends(RunState::Completed);
    assert_eq!(world.effects(), ["create a", "cancel a~compensate", "create a", "create b"]);
    assert_ne!(world.done[0].key, world.done[2].key);
}

// SEMANTICS 6
#[test]
fn a_read_whose_answer_is_lost_for_good_is_in_no_doubt() {
    let steps = "
  - { id: a, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }
  - { id: b, call: 'erp#read', with: {} }
on_error:
  compensate: all
  steps: []
";
    let mut world = World::new(steps).script("b", &[Way::LostBefore]);
    world.ends(RunState::Failed);
    assert_eq!(world.undone(), ["a"]);
}
