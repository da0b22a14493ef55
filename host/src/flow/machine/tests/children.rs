//! Runs that a run started: undone with it by their own compensations, in its order; cancelled when nobody needs their
//! end (SEMANTICS 25).

use super::world::{Way, World};
use crate::model::{
    entry::{Control, Entry},
    run::RunState,
};

const STEPS: &str = "
  - { id: first, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }
  - { id: child, run: test/other@^1, with: {} }
  - { id: other, run: test/other@^1, with: {}, detach: true }
  - { id: second, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }
  - { id: last, call: 'erp#create', with: {}, on_error: reject }
";

fn undoings(world: &World) -> Vec<String> {
    let undoing = |fact: &Entry| match fact {
        Entry::StepDone(done) => done.step.strip_suffix("~compensate").map(str::to_owned),
        _ => None,
    };
    world.facts().iter().filter_map(undoing).collect()
}

#[test]
fn a_run_that_has_completed_is_undone_in_its_turn_once_whenever_the_hub_crashes() {
    let mut crashes = 0;
    for place in 0..40 {
        // However often a crash loses the refusal.
        let mut world = World::new(STEPS).script("last", &[Way::Refused; 4]);
        world.crash_in = Some(place);
        world.ends(RunState::Rejected);
        assert_eq!(undoings(&world), ["second", "child", "first"], "{place}");
        assert_eq!(world.undone_children.len(), 1, "the detached one is on its own");
        assert!(world.undone_children.is_subset(&world.children));
        crashes += world.crashes;
    }
    assert!(crashes > 10, "{crashes}");
}

#[test]
fn a_run_that_cannot_undo_what_it_did_blocks_the_undoing_for_people() {
    let mut world = World::new(STEPS).script("last", &[Way::Refused]).script("child~compensate", &[Way::Refused]);
    world.ends(RunState::Parked);
    assert!(world.cause().contains("compensation.blocked"), "{}", world.cause());
    assert_eq!(undoings(&world), ["second"]);
    world.control(Control::Resume);
    world.ends(RunState::Rejected);
    assert_eq!(undoings(&world), ["second", "child", "first"]);
}

#[test]
fn a_run_that_was_started_undoes_what_it_did_once_when_it_is_told() {
    let steps = "
  - { id: a, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }
  - { id: b, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }
";
    for place in 0..12 {
        let mut world = World::new(steps);
        world.ends(RunState::Completed);
        world.crash_in = Some(place);
        world.control(Control::Undo);
        world.go();
        // Told again, as after a crash of who tells it: it was taken once, or was lost before it was durable.
        if world.run().check_control(&Control::Undo).is_ok() {
            world.control(Control::Undo);
        }
        world.ends(RunState::Cancelled);
        assert_eq!(world.undone(), ["b", "a"], "{place}");
        assert!(world.run().check_control(&Control::Undo).is_err(), "it is undone");
    }
    let mut world = World::new(steps).script("b", &[Way::Refused]);
    world.ends(RunState::Parked);
    assert!(world.run().check_control(&Control::Undo).is_err(), "it has not completed");
}

const RACE: &str = "
  - id: race
    parallel:
      join: any
      branches:
        slow: { id: child, run: test/other@^1, with: {} }
        fast: { id: quick, call: 'erp#read', with: {} }
  - { id: after, call: 'erp#create', with: {} }
";

#[test]
fn a_branch_that_lost_does_not_wait_for_the_run_that_it_started() {
    let mut world = World::new(RACE);
    world.boot();
    world.answer("quick");
    assert_eq!(world.asked, ["start child", "read quick", "withdraw child"]);
    // Nothing goes on before it is known what became of it, and it is told once.
    assert_eq!(world.outstanding(), ["child"]);
    world.wake();
    assert_eq!(world.asked_of("child"), 2);
    world.ends(RunState::Completed);
    assert!(world.undone_children.is_empty(), "it was cancelled, so it undid what it had done itself");

    // After a crash it is waited for, and told, again.
    let mut world = World::new(RACE);
    world.boot();
    world.answer("quick");
    world.crash();
    world.boot();
    assert_eq!(world.asked.iter().filter(|asked| *asked == "withdraw child").count(), 2);
    world.ends(RunState::Completed);
}

#[test]
fn a_failure_beside_it_that_is_dealt_with_does_not_wait_for_it_either() {
    let mut world = World::new(
        "
  - id: both
    parallel:
      branches:
        slow: { id: child, run: test/other@^1, with: {} }
        bad: { id: bad, call: 'erp#read', with: {} }
    on_error: continue
",
    )
    .script("bad", &[Way::Refused]);
    world.boot();
    world.answer("bad");
    assert!(world.asked.contains(&"withdraw child".to_owned()), "{:?}", world.asked);
    world.ends(RunState::Completed);
}
