//! A run goes on under another version of its pipeline only if it then stands exactly where it stood.

use std::collections::BTreeMap;

use serde_json::json;

use super::{
    given::plan_of,
    world::{Way, World},
};
use crate::model::{
    entry::{Control, Moved},
    run::RunState,
    timestamp::Timestamp,
};

const BEFORE: &str = "
- { id: a, call: 'erp#create', with: { n: 1 }, compensate: { call: cancel, with: {} } }
- { id: b, call: 'erp#create', with: { n: 2 } }
- { id: c, transform: test/x@^1, with: '${ steps.a.id }' }
";

/// Moves a run; what stands in the way, or nothing.
fn moved(world: &mut World, steps: &str, names: &[(&str, &str)]) -> Vec<String> {
    let plan = plan_of("2.0.0", steps);
    let names: BTreeMap<String, String> = names.iter().map(|(old, new)| ((*old).into(), (*new).into())).collect();
    let moved = Moved {
        time: Timestamp::from_millis(3_000),
        actor: "ops".into(),
        reason: String::new(),
        pipeline: plan.pipeline.clone(),
        steps: names,
    };
    world.move_to(plan, moved)
}

/// A run that is parked at `b`.
fn parked() -> World {
    let mut world = World::new(BEFORE).script("b", &[Way::Refused]);
    world.boot();
    world.go();
    assert_eq!(world.state(), RunState::Parked);
    world
}

#[test]
fn a_parked_run_goes_on_under_a_version_that_mends_what_is_still_to_come() {
    let mut world = parked();
    let mended = BEFORE.replace("n: 2", "n: 3").replace("steps.a.id", "steps.a");
    assert_eq!(moved(&mut world, &mended, &[]), Vec::<String>::new());
    world.crash();
    world.boot();
    world.control(Control::Resume);
    world.ends(RunState::Completed);
    assert_eq!(world.effects(), ["create a", "create b"]);
    assert_eq!(world.story().summary.pipeline_version, "2.0.0");
    assert_eq!(world.output("c"), json!({"id": "a", "total": 7}));
    world.check_replay();
}

#[test]
fn steps_behind_the_run_may_have_other_names() {
    let mut world = parked();
    let renamed = BEFORE.replace("id: a,", "id: order,").replace("steps.a", "steps.order");
    let refused = moved(&mut world, &renamed, &[]);
    assert!(refused[0].contains("`a`"), "{refused:?}");
    assert_eq!(moved(&mut world, &renamed, &[("a", "order")]), Vec::<String>::new());
    world.crash();
    world.boot();
    world.control(Control::Cancel { compensate: true });
    world.ends(RunState::Cancelled);
    assert_eq!(world.undone(), ["order"]);
    assert!(world.story().steps.iter().any(|step| step.path == "order"));
}

#[test]
fn what_has_begun_keeps_its_name_because_its_key_is_made_of_it() {
    let mut world = parked();
    let renamed = BEFORE.replace("id: b,", "id: other,");
    let refused = moved(&mut world, &renamed, &[("b", "other")]);
    assert!(refused.iter().any(|problem| problem.contains("keeps its name")), "{refused:?}");
}

#[test]
fn a_version_in_which_the_run_would_stand_elsewhere_is_refused() {
    let cases: [(&str, String, &str); 6] = [
        ("a new step before one that began", format!("- {{ id: new, transform: test/x@^1, with: 1 }}{BEFORE}"), "`new` would come before `a`"),
        ("a step that is gone", BEFORE.replacen("- { id: a, call: 'erp#create', with: { n: 1 }, compensate: { call: cancel, with: {} } }\n", "", 1).replace("steps.a.id", "event.id"), "`a`"),
        ("a step of another kind", BEFORE.replacen("id: b, call: 'erp#create', with: { n: 2 }", "id: b, transform: test/x@^1, with: 2", 1), "`b`"),
        ("another operation under way", BEFORE.replacen("id: b, call: 'erp#create'", "id: b, call: 'erp#read'", 1), "must call the same"),
        ("what can be undone", BEFORE.replacen(", compensate: { call: cancel, with: {} }", "", 1), "compensate"),
        ("into a branch", BEFORE.replacen("- { id: a,", "- id: s\n  switch: [{ when: 'true', steps: [{ id: inner, transform: test/x@^1, with: 1 }] }]\n- { id: a,", 1), "`s` would come before `a`"),
    ];
    for (what, steps, problem) in cases {
        let mut world = parked();
        let refused = moved(&mut world, &steps, &[]);
        assert!(refused.iter().any(|one| one.contains(problem)), "{what}: {refused:?}");
        // Nothing was changed by it.
        world.control(Control::Resume);
        world.ends(RunState::Completed);
        assert_eq!(world.story().summary.pipeline_version, "1.0.0");
    }
}

#[test]
fn a_run_may_be_moved_twice() {
    let mut world = parked();
    let first = BEFORE.replace("id: a,", "id: order,").replace("steps.a", "steps.order");
    assert_eq!(moved(&mut world, &first, &[("a", "order")]), Vec::<String>::new());
    let plan = plan_of("3.0.0", &BEFORE.replace("id: a,", "id: sale,").replace("steps.a", "steps.sale"));
    let again = Moved {
        time: Timestamp::from_millis(4_000),
        actor: "ops".into(),
        reason: "again".into(),
        pipeline: plan.pipeline.clone(),
        steps: BTreeMap::from([("order".to_owned(), "sale".to_owned())]),
    };
    assert_eq!(world.move_to(plan, again), Vec::<String>::new());
    world.crash();
    world.boot();
    world.control(Control::Resume);
    world.ends(RunState::Completed);
    assert_eq!(world.output("sale"), json!({"id": "a", "total": 7}));
    world.check_replay();
}
