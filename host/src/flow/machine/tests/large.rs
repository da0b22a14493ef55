//! What a `for` over as many items as may be costs: no turn looks at all of them.

use serde_json::{Value, json};

use super::world::{Way, World, plan};
use crate::model::run::RunState;

const ITEMS: u64 = 10_000;

fn items(steps: &str) -> World {
    World::with(plan(steps), json!({"lines": (0..ITEMS).collect::<Vec<_>>()}))
}

/// Bounds the time loosely, so that it fails for a quadratic cost and not for a busy machine; prints it.
fn timed(what: &str, history: impl FnOnce()) {
    #[expect(clippy::disallowed_methods, reason = "a test measures how long it takes")]
    let begun = std::time::SystemTime::now();
    history();
    let took_ms = begun.elapsed().map_or(0, |took| took.as_millis());
    println!("{what}: {took_ms} ms");
    assert!(took_ms < 30_000, "{what}: {took_ms} ms");
}

#[test]
fn ten_thousand_items_cost_ten_thousand_times_one() {
    let mut world = items(
        "\n  - { id: all, for: { each: event.data.lines, at_once: 8, steps: [{ id: one, call: 'erp#read', with: {} }], output: '${ item }' } }\n",
    );
    timed("10 000 reads, 8 at once", || world.go());
    assert_eq!((world.state(), world.out_max), (RunState::Completed, 8));
    assert_eq!(world.output("all").as_array().map(Vec::len), Some(10_000));
    timed("read back", || world.check_replay());
}

#[test]
fn ten_thousand_outputs_are_folded_one_after_the_other() {
    let mut world = items(
        "\n  - { id: all, for: { each: event.data.lines, at_once: 8, steps: [{ id: one, transform: test/x@^1, with: '${ item }' }], output: '${ steps.one }', reduce: test/sum@^1 } }\n",
    );
    timed("10 000 folded", || world.go());
    assert_eq!(world.output("all"), Value::from(ITEMS * (ITEMS - 1) / 2));
}

#[test]
fn ten_thousand_effects_are_undone_in_reverse() {
    let mut world = items(
        "
  - { id: all, for: { each: event.data.lines, at_once: 8, steps: [{ id: one, call: 'erp#create', with: {}, compensate: { call: cancel, with: {} } }] } }
  - { id: no, call: 'erp#create', with: {} }
on_error:
  compensate: all
  steps: []
",
    )
    .doubt(crate::model::manifest::Doubt::None)
    .script("no", &[Way::Refused]);
    timed("10 000 undone", || world.go());
    assert_eq!(world.state(), RunState::Failed);
    assert_eq!(world.undone().len(), 10_000);
    assert_eq!(world.undone().first().map(String::as_str), Some("one[10000]"));
}
