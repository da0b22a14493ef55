//! Runs while versions change: what is recorded is what is called, what was begun is ended by the same version, what is on
//! trial costs a run nothing, and what is revoked is called by nobody.

use std::{cell::RefCell, collections::BTreeSet, sync::Arc};

use serde_json::json;

use super::{
    super::{
        Run,
        effect::{Answer, Bindings, Effect, Input, OperationUse, Pick, Unserved},
    },
    given::{begun, id, plan},
};
use crate::{
    flow::{
        plan::{Plan, PluginRange},
        view,
    },
    model::{
        entry::{Control, Controlled, Entry, Output, PluginUse},
        failure::{Failure, FailureKind},
        id::Digest,
        limits::Usage,
        manifest::Doubt,
        run::{RunState, RunView},
        timestamp::Timestamp,
    },
};

/// The versions of the one plugin that does everything.
struct Versions {
    active: &'static str,
    canary: Option<&'static str>,
    revoked: BTreeSet<&'static str>,
}

fn used(version: &str, canary: bool) -> Arc<PluginUse> {
    Arc::new(PluginUse {
        id: "test/x".parse().expect("id"),
        version: version.into(),
        digest: Digest::of(version.as_bytes()),
        contract: "1.0.0".into(),
        grant: 1,
        canary,
    })
}

impl Versions {
    fn pick(&self, pick: Pick<'_>) -> Result<Arc<PluginUse>, Unserved> {
        if let Pick::Same(made) = pick
            && !self.revoked.contains(made.version.as_str())
        {
            return Ok(Arc::new(made.clone()));
        }
        match self.canary {
            Some(canary) if matches!(pick, Pick::Bound | Pick::Begun { active_only: false, .. }) => {
                Ok(used(canary, true))
            }
            _ if self.revoked.contains(self.active) => {
                Err(Unserved { code: "plugin.revoked", problem: format!("{} is revoked", self.active) })
            }
            _ => Ok(used(self.active, false)),
        }
    }
}

impl Bindings for Versions {
    fn plugin(&self, _: &PluginRange, pick: Pick<'_>) -> Result<Arc<PluginUse>, Unserved> {
        self.pick(pick)
    }

    fn operation(&self, _: &str, _: &str, pick: Pick<'_>) -> Result<OperationUse, Unserved> {
        let doubt = Doubt::NaturalKey { find: "find".into(), settle_ms: 100 };
        Ok(OperationUse { plugin: self.pick(pick)?, doubt, elsewhere: false })
    }
}

/// A hub whose calls are answered by a script: what is called by which version, in order.
struct Hub {
    plan: Arc<Plan>,
    versions: Versions,
    journal: Vec<Entry>,
    buffer: Vec<Entry>,
    run: Run,
    now: Timestamp,
    out: Vec<Effect>,
    called: RefCell<Vec<String>>,
}

impl Hub {
    fn new(steps: &str) -> Self {
        let plan = plan(steps);
        let (run, entry) = Run::start(id(), Arc::clone(&plan), "hub".into(), begun(json!({ "total": 5 })));
        let versions = Versions { active: "1.0.0", canary: None, revoked: BTreeSet::new() };
        let (journal, out, called) = (Vec::new(), Vec::new(), RefCell::default());
        let mut hub =
            Self { plan, versions, journal, buffer: vec![entry], run, now: Timestamp::from_millis(2_000), out, called };
        hub.tell(Input::Resume);
        hub
    }

    fn tell(&mut self, input: Input) {
        let mut input = Some(input);
        while let Some(happened) = input.take() {
            for effect in self.run.decide(happened, self.now, &self.versions) {
                match effect {
                    Effect::Record(entry) => self.buffer.push(entry),
                    Effect::Commit => self.journal.append(&mut self.buffer),
                    Effect::Sleep(due) => {
                        self.now = self.now.max(due);
                        input = Some(Input::Wake);
                    }
                    out => {
                        let (what, plugin) = match &out {
                            Effect::Invoke(invoke) => (invoke.step.clone(), &invoke.plugin),
                            Effect::Call(call) => (call.operation.clone(), &call.plugin),
                            other => panic!("{other:?}"),
                        };
                        let trial = if plugin.canary { " on trial" } else { "" };
                        self.called.borrow_mut().push(format!("{what} {}{trial}", plugin.version));
                        self.out.push(out);
                    }
                }
            }
        }
    }

    /// Answers the oldest call that is out.
    fn answer(&mut self, result: Result<Output, Failure>) {
        let instance = match self.out.remove(0) {
            Effect::Invoke(invoke) => invoke.instance,
            Effect::Call(call) => call.instance,
            other => panic!("{other:?}"),
        };
        let (usage, log, annotations) = (Usage::default(), Vec::new(), Vec::new());
        self.tell(Input::Answer(Box::new(Answer { instance, result, usage, log, annotations })));
    }

    fn good(&mut self) {
        self.answer(Ok(Output::Json(json!({ "id": "1" }).into())));
    }

    fn bad(&mut self, kind: FailureKind, code: &str) {
        self.answer(Err(Failure::new(kind, code, "it did not work")));
    }

    /// Everything recorded becomes durable, and the hub starts anew.
    fn restart(&mut self) {
        self.journal.append(&mut self.buffer);
        self.out.clear();
        let replayed = Run::replay(id(), Arc::clone(&self.plan), "hub".into(), &self.journal);
        self.run = replayed.expect("replays");
        self.tell(Input::Resume);
    }

    fn resume(&mut self) {
        let (actor, reason) = ("ada".to_owned(), String::new());
        assert!(self.run.check_control(&Control::Resume).is_ok());
        let controlled = Controlled { time: self.now, actor, action: Control::Resume, reason };
        self.tell(Input::Control(Box::new(controlled)));
    }

    fn story(&self) -> RunView {
        let all: Vec<Entry> = self.journal.iter().chain(&self.buffer).cloned().collect();
        view::story(id(), &all).expect("a story")
    }

    #[track_caller]
    fn ended(&self, state: RunState, called: &[&str]) {
        assert_eq!(*self.called.borrow(), called);
        assert_eq!(self.story().summary.state, state, "{:?}", self.story().summary.cause);
    }
}

const TWO: &str = r#"
  - { id: one, rule: test/x@^1, with: {} }
  - { id: two, rule: test/x@^1, with: {} }
"#;

#[test]
fn each_call_takes_the_version_of_its_moment_and_what_was_begun_is_recomputed_with_its_own() {
    let mut hub = Hub::new(TWO);
    hub.versions.active = "2.0.0";
    hub.restart();
    hub.good();
    hub.versions.active = "3.0.0";
    hub.restart();
    hub.good();
    hub.ended(RunState::Completed, &["one 1.0.0", "one 1.0.0", "two 2.0.0", "two 2.0.0"]);
    let versions: Vec<_> = hub.story().steps.iter().map(|step| step.plugin.clone().expect("a plugin")).collect();
    assert_eq!(versions, [used("1.0.0", false), used("2.0.0", false)], "the run names what decided");
}

#[test]
fn a_version_on_trial_that_traps_costs_the_run_nothing() {
    for code in ["plugin.trap", "limit.deadline", "plugin.contract", "plugin.revoked"] {
        let mut hub = Hub::new(TWO);
        hub.good();
        hub.versions.canary = Some("2.0.0");
        let mut hub = Hub { called: RefCell::default(), ..hub };
        hub.bad(FailureKind::Permanent, "busy");
        assert_eq!(hub.story().summary.state, RunState::Parked, "the active version's failure is one");

        let mut hub = Hub::new(TWO);
        hub.versions.canary = Some("2.0.0");
        hub.good();
        hub.bad(FailureKind::Permanent, code);
        hub.restart();
        hub.good();
        hub.ended(RunState::Completed, &["one 1.0.0", "two 2.0.0 on trial", "two 1.0.0", "two 1.0.0"]);
        let step = &hub.story().steps[1];
        assert_eq!((step.failures.len(), step.plugin.clone()), (1, Some(used("1.0.0", false))), "both are told");
    }
}

#[test]
fn what_a_version_on_trial_answers_is_its_answer() {
    let mut hub = Hub::new(TWO);
    hub.versions.canary = Some("2.0.0");
    hub.good();
    hub.bad(FailureKind::InvalidInput, "order.empty");
    hub.ended(RunState::Parked, &["one 1.0.0", "two 2.0.0 on trial"]);
}

const UNDONE: &str = r#"
  - { id: made, call: erp#create, with: {}, compensate: { call: cancel, with: {} } }
  - { id: judged, rule: test/x@^1, with: {} }
"#;

#[test]
fn an_effect_is_undone_by_the_version_that_made_it_as_long_as_that_may_be_called() {
    for (revoked, cancels) in [(false, "cancel 1.0.0"), (true, "cancel 2.0.0")] {
        let mut hub = Hub::new(UNDONE);
        hub.good();
        hub.versions.active = "2.0.0";
        if revoked {
            hub.versions.revoked.insert("1.0.0");
        }
        hub.restart();
        let verdict = super::given::verdict(crate::model::decision::Outcome::Reject, None);
        hub.answer(Ok(Output::Verdict(verdict)));
        hub.good();
        assert_eq!(hub.called.borrow().last().map(String::as_str), Some(cancels));
        assert_eq!(hub.story().summary.state, RunState::Rejected);
    }
}

#[test]
fn a_write_in_doubt_is_found_out_about_and_repeated_by_the_version_that_began_it() {
    let mut hub = Hub::new("\n  - { id: made, call: erp#create, with: {}, compensate: { call: cancel, with: {} } }\n");
    hub.versions.active = "2.0.0";
    hub.versions.canary = Some("3.0.0");
    hub.bad(FailureKind::Uncertain, "erp.lost");
    // It is not there: nothing is in doubt any more, and what is bound by now makes it.
    hub.answer(Ok(Output::Json(json!(null).into())));
    hub.bad(FailureKind::Uncertain, "plugin.trap");
    hub.answer(Ok(Output::Json(json!(null).into())));
    hub.good();
    hub.ended(
        RunState::Completed,
        &["create 1.0.0", "find 1.0.0", "create 3.0.0 on trial", "find 3.0.0 on trial", "create 2.0.0"],
    );
}

#[test]
fn what_is_revoked_parks_the_run_whatever_is_declared_and_it_goes_on_with_what_serves_then() {
    let steps = r#"
  - { id: one, rule: test/x@^1, with: {} }
  - { id: two, rule: test/x@^1, with: {}, fallback: { value: { x: 1 } }, on_error: continue }
"#;
    for begun in [false, true] {
        let mut hub = Hub::new(steps);
        if begun {
            hub.good();
            hub.versions.revoked.insert("1.0.0");
            hub.bad(FailureKind::Permanent, "plugin.revoked");
        } else {
            hub.versions.revoked.insert("1.0.0");
            hub.good();
        }
        let story = hub.story();
        assert_eq!((story.summary.state, story.summary.code()), (RunState::Parked, Some("plugin.revoked")));
        hub.resume();
        assert_eq!(hub.story().summary.state, RunState::Parked, "nothing else serves yet");
        hub.versions.active = "2.0.0";
        hub.restart();
        hub.resume();
        hub.good();
        assert_eq!(hub.called.borrow().last().map(String::as_str), Some("two 2.0.0"));
        assert_eq!(hub.story().summary.state, RunState::Completed);
    }
}
