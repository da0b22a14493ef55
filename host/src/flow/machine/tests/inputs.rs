//! What pure steps were given is made again from facts: the same input, time and seed with which the machine called.

use std::sync::Arc;

use serde_json::json;

use super::{
    super::{Given, GivenError, Wanted, given},
    given::{id, plan_of, used},
    world::{Way, World},
};
use crate::{
    flow::plan::Plan,
    model::{
        entry::{Control, Entry, Moved},
        id::Digest,
        run::RunState,
        timestamp::Timestamp,
    },
};

impl World {
    fn all_given(&self, facts: &[Entry]) -> Result<Vec<Given>, GivenError> {
        // A history begins under a digest that is nobody's.
        let is = |plan: &Plan, digest| plan.pipeline.digest == digest || digest == Digest::of(b"");
        let plans = |digest: Digest| self.plans.iter().find(|plan| is(plan, digest)).map(Arc::clone);
        let tables = std::collections::HashMap::new();
        let wanted = Wanted { plugin: &used().id, since: Timestamp::default(), bytes_max: usize::MAX, tables: &tables };
        given(id(), &"hub".into(), facts, &plans, wanted).map(|found| found.given)
    }

    /// Everything that facts say was called was called so.
    #[track_caller]
    pub(super) fn check_given(&self) {
        let facts = self.facts();
        let all = self.all_given(&facts).expect("made again");
        let begun = |entry: &&Entry| matches!(entry, Entry::StepStarted(started) if started.input.is_some());
        assert_eq!(all.len(), facts.iter().filter(begun).count());
        for given in all {
            assert_ne!(given.proven, Some(false), "{given:#?}");
            let called = self.invoked.iter().any(|invoke| {
                (&invoke.step, invoke.kind, &invoke.plugin, &invoke.input, invoke.time, invoke.seed)
                    == (&given.step, given.kind, &given.plugin, &given.input, given.time, given.seed)
            });
            assert!(called, "nothing was called so: {given:#?}\n{:#?}", self.invoked);
        }
    }
}

#[test]
fn what_a_fold_was_given_is_made_again_although_no_fact_says_it() {
    let mut world = World::new(
        "
  - id: all
    for: { each: event.data.lines, at_once: 3, steps: [{ id: one, transform: test/x@^1, with: '${ item }' }], output: '${ steps.one }', reduce: test/sum@^1 }
",
    );
    world.boot();
    world.go();
    world.ends(RunState::Completed);
    let all = world.all_given(&world.facts()).expect("made again");
    let last = all.last().expect("some");
    assert_eq!((last.step.as_str(), last.input.value()), ("all~reduce.3", &json!({"so_far": 3, "next": 3})));
    assert_eq!(last.proven, Some(true));
    world.check_given();
}

#[test]
fn a_run_that_was_moved_is_read_as_what_it_executed_then() {
    const BEFORE: &str = "
- { id: a, transform: test/x@^1, with: { n: 1 } }
- { id: b, call: 'erp#create', with: { n: 2 } }
- { id: c, transform: test/x@^1, with: '${ steps.a }' }
";
    let mut world = World::new(BEFORE).script("b", &[Way::Refused]);
    world.boot();
    world.go();
    let plan =
        plan_of("2.0.0", &BEFORE.replace("n: 1", "n: 5").replace("id: a", "id: z").replace("steps.a", "steps.z"));
    let moved = Moved {
        time: Timestamp::from_millis(3_000),
        actor: "ops".into(),
        reason: String::new(),
        pipeline: plan.pipeline.clone(),
        steps: [("a".to_owned(), "z".to_owned())].into(),
    };
    assert_eq!(world.move_to(plan, moved), Vec::<String>::new());
    world.control(Control::Resume);
    world.ends(RunState::Completed);
    let all = world.all_given(&world.facts()).expect("made again");
    let told: Vec<_> =
        all.iter().map(|given| (given.step.as_str(), given.pipeline.version.as_str(), given.input.value())).collect();
    let n = json!({"n": 1});
    assert_eq!(told, [("a", "1.0.0", &n), ("c", "2.0.0", &n)]);
    world.plans.truncate(1);
    assert!(matches!(world.all_given(&world.facts()), Err(GivenError::NoPlan { .. })));
}

#[test]
fn another_input_than_the_recorded_one_is_noticed() {
    let mut world = World::new("\n  - { id: a, transform: test/x@^1, with: { n: 1 } }\n");
    world.boot();
    world.go();
    let mut facts = world.facts();
    for entry in &mut facts {
        if let Entry::StepStarted(started) = entry {
            started.input = Some(Digest::of(b"another"));
        }
    }
    assert_eq!(world.all_given(&facts).expect("made again")[0].proven, Some(false));
    for entry in &mut facts {
        if let Entry::StepStarted(started) = entry {
            started.input = None;
        }
    }
    assert_eq!(world.all_given(&facts).expect("made again")[0].proven, None);
}

#[test]
fn what_there_is_no_room_for_is_counted_and_what_is_older_is_not() {
    let mut world = World::new(
        "\n  - { id: all, for: { each: event.data.lines, steps: [{ id: one, transform: test/x@^1, with: { n: '${ item }' } }] } }\n",
    );
    world.boot();
    world.go();
    let (facts, plan) = (world.facts(), Arc::clone(&world.plan));
    let look = |since: i64, bytes_max: usize| {
        let tables = std::collections::HashMap::new();
        let wanted = Wanted { plugin: &used().id, since: Timestamp::from_millis(since), bytes_max, tables: &tables };
        let found = given(id(), &"hub".into(), &facts, &|_| Some(Arc::clone(&plan)), wanted).expect("made again");
        (found.given.len(), found.beyond)
    };
    assert_eq!((look(0, 1_000), look(0, 14), look(i64::MAX, 14)), ((3, 0), (2, 1), (0, 0)));
}
