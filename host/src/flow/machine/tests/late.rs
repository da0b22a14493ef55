//! Events for something that was undone (SEMANTICS 20): none disappears, each is for people once.

use serde_json::json;

use super::world::{Way, World};
use crate::model::{
    entry::{Control, Entry},
    event::Event,
    id::AcceptanceId,
    run::RunState,
};

const PICK: &str = "
  - { id: pick, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }
  - { id: pack, call: 'erp#create', with: {}, on_error: reject }
  - id: sent
    wait: { event: goods.sent, match: signal.data.order == event.data.order, within: 1m, on_expiry: reject }
";

fn opened(world: &World) -> Vec<(String, AcceptanceId)> {
    let opened = world.facts().into_iter().filter_map(|fact| match fact {
        Entry::ExceptionOpened(opened) => Some((opened.step, opened.acceptance)),
        _ => None,
    });
    opened.collect()
}

fn ours() -> serde_json::Value {
    json!({"order": "o1"})
}

#[test]
fn an_event_for_what_was_undone_opens_one_exception_whether_its_wait_had_begun_or_not() {
    // The wait had begun, and was over.
    let mut begun = World::new(PICK);
    begun.ends(RunState::Rejected);
    // It had not.
    let mut not_begun = World::new(PICK).script("pack", &[Way::Refused]);
    not_begun.ends(RunState::Rejected);
    for world in [&mut begun, &mut not_begun] {
        assert_eq!(world.undone().last().map(String::as_str), Some("pick"));
        world.signal("goods.sent", json!({"order": "another"}));
        world.signal("goods.other", ours());
        assert!(opened(world).is_empty());
        world.signal("goods.sent", ours());
        world.signal("goods.sent", ours());
        let found = opened(world);
        assert_eq!(found.iter().map(|(step, _)| step.as_str()).collect::<Vec<_>>(), ["sent", "sent"], "one for each");
        // It is offered again after each start, and is known.
        world.crash();
        world.boot();
        assert_eq!((opened(world), world.state()), (found.clone(), RunState::Rejected));
        world.check_replay();
        let close = |place: usize| Control::CloseException { event: found[place].1 };
        world.control(close(0));
        assert!(world.run().check_control(&close(0)).is_err(), "it is closed");
        world.control(close(1));
        world.crash();
        world.boot();
        assert!(world.run().check_control(&close(1)).is_err());
        assert_eq!((opened(world).len(), world.state()), (2, RunState::Rejected));
        world.check_replay();
    }
}

#[test]
fn what_came_while_the_run_was_being_undone_is_found_at_its_end() {
    let mut world = World::new(PICK).script("pack", &[Way::Refused]);
    world.boot();
    world.answer("pick");
    world.signal("goods.sent", ours());
    world.answer("pack");
    assert_eq!(world.outstanding(), ["pick~compensate"]);
    assert!(opened(&world).is_empty());
    world.ends(RunState::Rejected);
    assert_eq!(opened(&world).len(), 1);
}

#[test]
fn an_event_that_a_wait_took_is_no_exception_and_neither_is_one_of_a_run_that_was_not_undone() {
    let taken = format!("{PICK}\n  - {{ id: last, call: 'erp#create', with: {{}}, on_error: reject }}\n");
    let mut world = World::new(&taken).script("last", &[Way::Refused]);
    world.boot();
    world.answer_all();
    // Only the first is taken; of the second, the run needed nothing.
    world.signal("goods.sent", ours());
    world.signal("goods.sent", ours());
    world.ends(RunState::Rejected);
    assert!(opened(&world).is_empty());
    world.now = world.now.plus_millis(1);
    world.signal("goods.sent", ours());
    assert_eq!(opened(&world).len(), 1, "it comes after the undoing");

    let mut world = World::new(PICK);
    world.boot();
    world.answer_all();
    world.control(Control::Cancel { compensate: false });
    world.ends(RunState::Cancelled);
    world.signal("goods.sent", ours());
    assert!(opened(&world).is_empty());
}

const AGAIN: &str = "
  - id: tries
    loop:
      max: 2
      until: steps.sent != null && steps.sent.kind == 'signal'
      steps:
        - { id: pick, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }
        - { id: sent, wait: { event: goods.sent, match: signal.data.order == event.data.order, within: 1m, on_expiry: continue } }
        - { id: back, undo: [pick], when: steps.sent == null }
        - { id: pause, wait: { for: 2m }, when: steps.sent == null }
";

#[test]
fn an_iteration_that_was_undone_tells_people_until_a_later_one_takes_the_event() {
    let mut world = World::new(AGAIN);
    world.boot();
    world.answer("pick[1]");
    world.wake();
    world.answer("pick[1]~compensate");
    // Between the iterations nothing waits for it.
    world.signal("goods.sent", ours());
    let found = opened(&world);
    assert_eq!(found.iter().map(|(step, _)| step.as_str()).collect::<Vec<_>>(), ["sent[1]"]);
    let close = Control::CloseException { event: found[0].1 };
    assert!(world.run().check_control(&close).is_ok());
    world.ends(RunState::Completed);
    assert_eq!(world.count(|fact| matches!(fact, Entry::Signalled(_))), 1, "the second one took it");
    assert!(world.run().check_control(&close).is_err(), "so nobody has to look at it");
    assert_eq!(opened(&world).len(), 1);
}

#[test]
fn the_branch_that_lost_tells_people_after_the_run_has_completed_too() {
    let mut world = World::new("
  - id: race
    parallel:
      join: any
      branches:
        slow:
          - { id: pick, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }
          - { id: sent, wait: { event: goods.sent, match: signal.data.order == event.data.order, within: 1h, on_expiry: reject } }
        fast: { id: quick, call: 'erp#read', with: {} }
");
    world.boot();
    world.answer("pick");
    world.answer("quick");
    world.ends(RunState::Completed);
    assert_eq!(world.undone(), ["pick"]);
    world.signal("goods.sent", ours());
    assert_eq!(opened(&world).len(), 1);
    let event: Option<Event> = world.facts().into_iter().find_map(|fact| match fact {
        Entry::ExceptionOpened(opened) => Some(opened.event),
        _ => None,
    });
    assert_eq!(event.map(|event| event.data.to_value()), Some(ours()), "with its data");
}

#[test]
fn a_run_that_begins_again_takes_the_event_itself() {
    let mut world = World::new(PICK).script("pack", &[Way::Refused]);
    world.ends(RunState::Rejected);
    world.control(Control::Restart { step: "pick".into(), undo: true });
    world.answer_all();
    world.signal("goods.sent", ours());
    world.ends(RunState::Completed);
    assert!(opened(&world).is_empty());
}
