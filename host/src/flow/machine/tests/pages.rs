//! `for` over the pages of a read: fetched one after the other, as there is room, each recorded and then let go.

use serde_json::{Value, json};

use super::world::{Way, World, plan};
use crate::model::{entry::Entry, run::RunState};

const SUMS: &str = "
- id: all
  for:
    pages: erp#read
    with: { size: 2 }
    at_once: 2
    steps: [{ id: one, transform: test/x@^1, with: '${ item.rows }' }]
    output: ${ size(steps.one) }
    reduce: test/sum@^1
- { id: after, transform: test/x@^1, with: '${ steps.all }' }
";

fn world(steps: &str, pages: Value) -> World {
    World::with(plan(steps), json!({ "pages": pages }))
}

#[test]
fn each_page_is_handed_on_and_their_outputs_are_folded() {
    let mut world = world(SUMS, json!([[1, 2], [3, 4], [5]]));
    world.boot();
    world.ends(RunState::Completed);
    assert_eq!(world.output("all"), json!(5));
    assert_eq!(world.asked.iter().filter(|asked| asked.starts_with("read all~page.")).count(), 3);
    world.check_replay();
}

#[test]
fn a_page_is_fetched_only_when_there_is_room_to_work_on_it() {
    let mut world = world(SUMS, json!([[1], [2], [3], [4]]));
    world.boot();
    assert_eq!(world.outstanding(), ["all~page.1"]);
    world.answer("all~page.1");
    assert_eq!(world.outstanding(), ["one[1]", "all~page.2"]);
    world.answer("all~page.2");
    assert_eq!(world.outstanding(), ["one[1]", "one[2]"], "two are worked on: the third waits");
    world.answer("one[2]");
    assert_eq!(world.outstanding(), ["one[1]", "all~page.3"]);
    world.ends(RunState::Completed);
    assert!(world.out_max <= 2);
}

#[test]
fn a_page_that_is_recorded_is_never_fetched_again() {
    for crash_in in 0..40 {
        let mut world = world(SUMS, json!([[1, 2], [3], [4]]));
        world.crash_in = Some(crash_in);
        world.boot();
        world.ends(RunState::Completed);
        assert_eq!(world.output("all"), json!(4));
        for page in 1..=3 {
            let step = format!("all~page.{page}");
            let recorded = world.count(|entry| matches!(entry, Entry::StepDone(done) if done.step == step));
            assert_eq!(recorded, 1, "{step}, crash after {crash_in}");
        }
        world.check_replay();
    }
}

#[test]
fn an_empty_result_is_one_empty_page() {
    let mut world = world(SUMS, json!([[]]));
    world.boot();
    world.ends(RunState::Completed);
    assert_eq!(world.output("all"), json!(0));
}

#[test]
fn a_page_that_begins_where_it_ends_is_refused() {
    let mut world = world(SUMS, json!([[1], "stuck"]));
    world.boot();
    world.go();
    assert_eq!(world.state(), RunState::Parked);
    assert!(world.cause().contains("for.no-end"), "{}", world.cause());
}

#[test]
fn a_page_that_fails_is_tried_again_as_the_step_says_and_then_stands_for_the_step() {
    let steps = SUMS.replace(
        "- id: all\n",
        "- id: all\n  retry: { on: retryable, attempts: 2, first: 1s, factor: 2, max: 5s }\n  on_error: { use: 0 }\n",
    );
    let mut passing = world(&steps, json!([[1], [2]])).script("all~page.2", &[Way::Locked]);
    passing.boot();
    passing.ends(RunState::Completed);
    assert_eq!(passing.output("all"), json!(2));
    let mut lasting = world(&steps, json!([[1], [2]])).script("all~page.2", &[Way::Locked, Way::Locked]);
    lasting.boot();
    lasting.ends(RunState::Completed);
    assert_eq!(lasting.output("all"), json!(0));
    lasting.check_replay();
}

#[test]
fn what_a_page_did_can_be_undone_with_what_it_held_after_it_is_done() {
    let steps = "
- id: all
  for:
    pages: erp#read
    with: {}
    steps: [{ id: one, call: 'erp#create', with: { n: '${ item.rows }' }, compensate: { call: cancel, with: { n: '${ item.rows[0] }' } } }]
- { id: fails, call: 'erp#create', with: {} }
on_error: { compensate: all }
";
    let mut world = world(steps, json!([[1], [2]])).script("fails", &[Way::Refused]);
    world.boot();
    world.go();
    assert_eq!(world.undone(), ["one[2]", "one[1]"]);
    world.check_replay();
}

#[test]
fn a_run_parked_at_a_page_goes_on_with_that_page() {
    let mut world = world(SUMS, json!([[1], [2]])).script("all~page.2", &[Way::Refused]);
    world.boot();
    world.go();
    assert_eq!(world.state(), RunState::Parked);
    world.control(crate::model::entry::Control::Resume);
    world.ends(RunState::Completed);
    assert_eq!(world.output("all"), json!(2));
    assert_eq!(world.asked.iter().filter(|asked| *asked == "read all~page.1").count(), 1);
}
