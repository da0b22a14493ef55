//! A `score` that calls a connector's read operation (SEMANTICS 11): its answer is recorded, and never computed again.

use serde_json::json;

use super::world::{Way, World};
use crate::model::{
    entry::{Entry, Output},
    run::RunState,
};

const ASK: &str = "
  - { id: triage, score: { call: 'erp#assess' }, with: { total: '${ event.data.total }' }, timeout: 5s, MORE }
  - { id: after, call: 'erp#create', with: { what: '${ steps.triage }' } }
  - { id: end, transform: test/x@^1, with: '${ steps.triage }' }
";

fn ask(more: &str) -> World {
    World::new(&ASK.replace("MORE", more))
}

#[test]
fn an_answer_that_is_recorded_is_never_asked_for_again_and_one_that_was_lost_is() {
    // How many effects are there without a crash?
    let mut whole = ask("mode: advise");
    whole.ends(RunState::Completed);
    assert_eq!((whole.asked_of("triage"), whole.output("end")["recommendation"].clone()), (1, json!("look")));
    let mut again = 0;
    for place in 0..20 {
        let mut world = ask("mode: advise");
        world.crash_in = Some(place);
        world.ends(RunState::Completed);
        let recorded =
            world.facts().iter().position(|fact| matches!(fact, Entry::StepDone(done) if done.step == "triage"));
        assert!(recorded.is_some());
        assert_eq!(world.count(|fact| matches!(fact, Entry::StepDone(done) if done.step == "triage")), 1);
        // What was decided on is what is recorded, whatever the model would say by now.
        let said = world.output("triage");
        assert_eq!(world.output("end"), said);
        assert!(world.asked_of("triage") <= 2, "{:?}", world.asked);
        again += world.asked_of("triage") - 1;
    }
    assert!(again > 0, "no crash took an answer");

    // Durable as soon as it is there, though no write follows: the crash comes before anything else does.
    let mut world = World::new(
        "\n  - { id: triage, score: { call: 'erp#assess' }, with: {} }\n  - { id: end, transform: test/x@^1, with: 1 }\n",
    );
    world.boot();
    world.answer("triage");
    world.crash();
    world.boot();
    assert_eq!(world.asked, ["assess triage", "invoke end", "invoke end"]);
    world.ends(RunState::Completed);
}

#[test]
fn its_decision_record_is_that_of_any_scorer_and_it_needs_no_intent() {
    let mut world = ask("mode: advise");
    world.boot();
    assert_eq!(world.count(|fact| matches!(fact, Entry::Intent(_))), 0);
    world.ends(RunState::Completed);
    let assessed = |fact: &Entry| matches!(fact, Entry::StepDone(done) if matches!(done.output, Output::Assessment(_)));
    assert_eq!(world.count(assessed), 1);
    let started = |fact: &Entry| {
        matches!(fact, Entry::StepStarted(started) if started.operation.as_deref() == Some("erp#assess")
            && started.plugin.is_some())
    };
    assert_eq!(world.count(started), 1, "which version, with which authority");
    let story = world.story();
    let step = story.steps.iter().find(|step| step.path == "triage").expect("told");
    assert_eq!(step.kind, "score");
    assert_eq!(step.decision.as_deref(), Some("look (score 0.50, confidence 0.90, model triage 3)"));
    assert_eq!(step.operation.as_deref(), Some("erp#assess"));
}

#[test]
fn what_is_no_assessment_or_does_not_come_is_stood_in_for_and_modes_hold() {
    let fallback = "fallback: { value: { recommendation: none } }";
    for (mode, way, asked, recommended) in [
        ("advise", Way::Good, 1, "look"),
        ("advise", Way::Differs, 1, "none"),
        ("advise", Way::Refused, 1, "none"),
        ("shadow", Way::Good, 1, "none"),
        ("off", Way::Good, 0, "none"),
    ] {
        let mut world = ask(&format!("mode: {mode}, {fallback}")).script("triage", &[way]);
        world.ends(RunState::Completed);
        assert_eq!(world.output("end")["recommendation"], recommended, "{mode} {way:?}");
        assert_eq!(world.asked_of("triage"), asked, "{mode} {way:?}");
    }
    let mut world = ask("mode: advise").script("triage", &[Way::Differs]);
    world.ends(RunState::Parked);
    assert!(world.cause().contains("`score` and `confidence` are from 0 to 1"), "{}", world.cause());
}
