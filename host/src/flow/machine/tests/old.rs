//! Journals of format 1, as the first release wrote them: format 2 without waiting, people, undoing and control.

use serde_json::{Value, json};

use super::world::{Way, World};
use crate::model::{
    entry::{Entry, FORMAT},
    run::RunState,
};

/// An entry under the byte of format 1.
fn old(entry: &Entry) -> Entry {
    let mut bytes = entry.encode().to_vec();
    assert_eq!(bytes[0], FORMAT);
    bytes[0] = 1;
    Entry::decode(&bytes).unwrap_or_else(|error| panic!("{entry:?}: {error:?}"))
}

/// The same from its fields, for entries without ids.
fn written(entry: &Value) -> Entry {
    let mut bytes = vec![1];
    bytes.extend(rmp_serde::to_vec_named(entry).expect("MessagePack"));
    Entry::decode(&bytes).unwrap_or_else(|error| panic!("{entry}: {error:?}"))
}

const STEPS: &str = "
  - { id: skipped, when: event.data.big, call: 'erp#read', with: {} }
  - id: chosen
    switch: [{ when: event.data.total > 1, steps: [{ id: a, call: 'erp#read', with: {} }] }]
    output: { a: '${ steps.a }' }
  - { id: b, call: 'erp#create', with: {}, retry: { on: retryable, attempts: 3, first: 1s, factor: 2, max: 10s } }
  - { id: c, transform: test/x@^1, with: '${ steps.chosen }' }
";

#[test]
fn a_run_of_format_1_is_read_back_and_goes_on() {
    let mut world = World::new(STEPS);
    world.boot();
    let ids: Vec<Entry> = world.facts().iter().map(old).filter(|fact| matches!(fact, Entry::RunStarted(_))).collect();
    assert_eq!(ids.len(), 1);
    let usage = json!({"fuel": 0, "memory_bytes": 0, "elapsed_us": 0, "log_lines_dropped": 0});
    let rest = [
        json!({"step_skipped": {"step": "skipped"}}),
        json!({"branch_taken": {"step": "chosen", "branch": "1"}}),
        json!({"step_started": {"step": "a", "time": 2000, "attempt": 1, "plugin": null, "operation": "erp#read"}}),
        json!({"attempt_failed": {
            "step": "b", "time": 2002, "attempt": 1, "next": 2900, "usage": usage, "log": [],
            "failure": {"kind": "retryable", "code": "erp.locked", "message": "locked"},
        }}),
        json!({"branch_closed": {"step": "chosen", "output": null}}),
    ];
    let mut journal = ids;
    journal.extend(rest[..3].iter().map(written));
    let mut later = World::new(STEPS).script("b", &[Way::Locked]);
    later.journal = journal;
    later.ends(RunState::Completed);
    assert_eq!(later.output("c"), json!({"a": {"id": "a", "total": 7}}));
    assert_eq!(later.asked, ["read a", "create b", "create b", "invoke c"]);
    // All that this run recorded has the form of format 1, and is read back from it.
    for fact in later.facts() {
        assert_eq!(old(&fact), fact);
    }
    rest[3..].iter().for_each(|fact| drop(written(fact)));
}
