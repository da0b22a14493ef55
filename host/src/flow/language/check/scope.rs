//! What expressions refer to: only what is there, and certainly there, when they are evaluated.

mod reference;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::{Diagnostic, cel, near};
use crate::model::pipeline::{
    Definition, Place,
    action::{Action, Approval, Fallback, Over, Until},
    step::{Consequence, Step, Then},
    template::{Expression, Template},
};

/// `outputs` are the schemas of what steps give, of those of which it is known.
pub(super) fn check(definition: &Definition, outputs: BTreeMap<&str, Value>, found: &mut Vec<Diagnostic>) {
    let mut index = BTreeMap::new();
    chains(&definition.steps, "", &mut index);
    let handler = definition.on_error.iter().flat_map(|handler| &handler.steps);
    for step in handler.clone() {
        chains(std::slice::from_ref(step), "on_error/", &mut index);
    }
    let config = definition.config.to_value();
    let config = config.as_object().map(|object| object.keys().cloned().collect()).unwrap_or_default();
    let mut checker =
        Checker { definition, config, outputs, index, found, chain: String::new(), current: None, early: Vec::new() };
    let only_event = Scope { bare: true, ..Scope::default() };
    let conditions = definition.triggers.iter().filter_map(|trigger| trigger.filter.as_ref());
    for expression in conditions.chain(&definition.key) {
        checker.expression(expression, &only_event);
    }
    definition.lane.iter().for_each(|lane| checker.template(lane, &only_event));
    let mut scope = Scope::default();
    checker.list(&definition.steps, &mut scope, "");
    if let Some(handler) = &definition.on_error {
        // Which steps had run when one failed is not known.
        scope.steps.values_mut().for_each(|seen| seen.skippable = true);
        scope.error = true;
        checker.list(&handler.steps, &mut scope, "on_error/");
    }
    checker.cycles();
}

/// Where each step stands: the chain of branches around it.
fn chains<'d>(steps: &'d [Step], chain: &str, index: &mut BTreeMap<&'d str, Stand<'d>>) {
    for step in steps {
        index.entry(&step.id).or_insert_with(|| Stand { step, chain: chain.to_owned() });
        for (branch, steps) in step.children() {
            chains(steps, &format!("{chain}{}/{branch}/", step.id), index);
        }
    }
}

struct Stand<'d> {
    step: &'d Step,
    chain: String,
}

/// What can be named at some point.
#[derive(Clone, Default)]
struct Scope<'d> {
    steps: BTreeMap<&'d str, Seen>,
    /// Paths known not to be null here.
    guards: BTreeSet<String>,
    item: bool,
    signal: bool,
    error: bool,
    /// The step whose tables can be named, in its own input.
    given: Option<&'d Step>,
    /// Before a run begins: only the event and constants.
    bare: bool,
}

#[derive(Clone, Copy)]
struct Seen {
    /// It may have been skipped, and its output be null.
    skippable: bool,
    rule: bool,
}

impl<'d> Scope<'d> {
    fn add(&mut self, step: &'d Step) {
        let goes_on = |consequence: &Option<Consequence>| {
            consequence.as_ref().is_some_and(|consequence| consequence.then == Then::Continue)
        };
        let expires = matches!(&step.action, Action::Wait { on_expiry, .. } if goes_on(on_expiry));
        let skippable = step.when.is_some() || expires || goes_on(&step.on_error);
        self.steps.insert(&step.id, Seen { skippable, rule: matches!(step.action, Action::Rule { .. }) });
        self.signal |= matches!(step.action, Action::Wait { .. });
    }

    /// With steps of branches of which perhaps none was taken.
    fn with_maybe(&self, steps: impl IntoIterator<Item = &'d Step>) -> Self {
        let mut scope = self.clone();
        for step in steps {
            scope.add(step);
            scope.steps.entry(&step.id).and_modify(|seen| seen.skippable = true);
        }
        scope
    }
}

struct Checker<'d, 'f> {
    definition: &'d Definition,
    config: BTreeSet<String>,
    outputs: BTreeMap<&'d str, Value>,
    index: BTreeMap<&'d str, Stand<'d>>,
    found: &'f mut Vec<Diagnostic>,
    chain: String,
    current: Option<&'d Step>,
    /// Uses of steps that come later: user, used, where.
    early: Vec<(&'d str, &'d str, Place)>,
}

impl<'d> Checker<'d, '_> {
    fn report(&mut self, at: Place, code: &'static str, problem: impl Into<String>, instead: impl Into<String>) {
        self.found.push(Diagnostic::new(at, code, problem, instead));
    }

    fn list(&mut self, steps: &'d [Step], scope: &mut Scope<'d>, chain: &str) {
        for step in steps {
            chain.clone_into(&mut self.chain);
            self.current = Some(step);
            self.step(step, scope, chain);
            scope.add(step);
        }
        chain.clone_into(&mut self.chain);
    }

    /// The steps of a branch, which see what is outside; nothing of theirs is seen there.
    fn inner(&mut self, step: &'d Step, branch: &str, steps: &'d [Step], scope: &Scope<'d>, chain: &str) -> Scope<'d> {
        let mut inner = scope.clone();
        self.list(steps, &mut inner, &format!("{chain}{}/{branch}/", step.id));
        chain.clone_into(&mut self.chain);
        self.current = Some(step);
        inner
    }

    fn step(&mut self, step: &'d Step, outer: &Scope<'d>, chain: &str) {
        let mut scope = outer.clone();
        if let Some(when) = &step.when {
            self.expression(when, outer);
            scope.guards.extend(cel::read(&when.source).map(|reading| reading.guards).unwrap_or_default());
            // A step under the same condition was skipped only if this one is.
            let same = |id: &&&str| {
                self.index
                    .get(**id)
                    .is_some_and(|stand| stand.step.when.as_ref().is_some_and(|one| one.source == when.source))
            };
            let same: Vec<String> = outer.steps.keys().filter(same).map(|id| format!("steps.{id}")).collect();
            scope.guards.extend(same);
        }
        let mut own = scope.clone();
        own.add(step);
        own.guards.insert(format!("steps.{}", step.id));
        self.action(step, &scope, &own, chain);
        if let Some(compensation) = &step.compensate {
            self.template(&compensation.with, &own);
        }
        match &step.fallback {
            Some(Fallback::Value(value)) => self.template(value, &scope),
            Some(Fallback::Rule { with, .. } | Fallback::Transform { with, .. }) => self.template(with, &scope),
            None => {}
        }
        if let Some(consequence) = &step.on_error {
            let failed = Scope { error: true, ..scope.clone() };
            self.consequence(step, "on_error", consequence, &failed, chain);
        }
    }

    fn action(&mut self, step: &'d Step, scope: &Scope<'d>, own: &Scope<'d>, chain: &str) {
        match &step.action {
            Action::Run { with, .. } | Action::Assess { with, .. } => self.template(with, scope),
            Action::Transform { with, .. } | Action::Score { with, .. } => self.input(step, with, scope),
            Action::Rule { with, outcomes, .. } => {
                self.input(step, with, scope);
                for (name, consequence) in outcomes.consequences() {
                    self.consequence(step, name, consequence, own, chain);
                }
                for branch in &outcomes.route {
                    self.inner(step, &branch.name, &branch.steps, own, chain);
                }
                let inside = own.with_maybe(outcomes.route.iter().flat_map(|branch| &branch.steps));
                outcomes.output.iter().for_each(|output| self.template(output, &inside));
            }
            Action::Call { with, confirm, .. } => {
                self.input(step, with, scope);
                if let Some(confirm) = confirm {
                    self.template(&confirm.with, own);
                    confirm.equals.iter().for_each(|(_, value)| self.template(value, own));
                }
            }
            Action::Switch { cases, otherwise, output } => {
                for case in cases {
                    self.expression(&case.when, scope);
                    let mut taken = scope.clone();
                    taken.guards.extend(cel::read(&case.when.source).map(|one| one.guards).unwrap_or_default());
                    self.inner(step, &case.name, &case.steps, &taken, chain);
                }
                otherwise.iter().for_each(|steps| drop(self.inner(step, "otherwise", steps, scope, chain)));
                let steps = cases.iter().flat_map(|case| &case.steps).chain(otherwise.iter().flatten());
                let inside = scope.with_maybe(steps);
                output.iter().for_each(|output| self.template(output, &inside));
            }
            Action::Parallel { branches, .. } => {
                for branch in branches {
                    self.inner(step, &branch.name, &branch.steps, scope, chain);
                }
            }
            Action::For { .. } | Action::Loop { .. } | Action::Wait { .. } => self.repetition(step, scope, chain),
            Action::Approve(approval) => self.approval(step, approval, scope, chain),
            Action::Emit { subject, data, .. } => {
                subject.iter().chain([data]).for_each(|template| self.template(template, scope));
            }
            Action::Undo { steps, set } => {
                for named in steps {
                    self.undo(&named.value, named.at, scope);
                }
                self.assignments(set, scope);
            }
            Action::Set { values } => self.assignments(values, scope),
            Action::End { .. } => {}
        }
    }

    /// What a step's own call is given.
    fn input(&mut self, step: &'d Step, with: &Template, scope: &Scope<'d>) {
        self.template(with, &Scope { given: Some(step), ..scope.clone() });
    }

    /// What takes its time: `for`, `loop`, `wait`.
    fn repetition(&mut self, step: &'d Step, scope: &Scope<'d>, chain: &str) {
        match &step.action {
            Action::For { over, steps, output, .. } => {
                match over {
                    Over::Each(list) => self.expression(list, scope),
                    Over::Pages { with, .. } => self.template(with, scope),
                }
                let item = Scope { item: true, ..scope.clone() };
                let inside = self.inner(step, "", steps, &item, chain);
                output.iter().for_each(|output| self.template(output, &inside));
            }
            Action::Loop { max, until, steps, output, on_exhausted } => {
                self.template(max, scope);
                let inside = self.inner(step, "", steps, scope, chain);
                self.expression(until, &inside);
                output.iter().for_each(|output| self.template(output, &inside));
                if let Some(consequence) = on_exhausted {
                    self.consequence(step, "on_exhausted", consequence, scope, chain);
                }
            }
            Action::Wait { until, on_expiry, .. } => {
                match until {
                    Until::Signals(signals) => {
                        let arrived = Scope { signal: true, ..scope.clone() };
                        for signal in signals {
                            self.expression(&signal.matches, &arrived);
                            self.correlated(&signal.matches);
                        }
                    }
                    Until::Time(time) => self.expression(time, scope),
                    Until::Elapsed(_) => {}
                }
                if let Some(consequence) = on_expiry {
                    self.consequence(step, "on_expiry", consequence, scope, chain);
                }
            }
            _ => {}
        }
    }

    fn approval(&mut self, step: &'d Step, approval: &'d Approval, scope: &Scope<'d>, chain: &str) {
        approval.quorum.iter().for_each(|quorum| self.template(quorum, scope));
        self.consequence(step, "on_expiry", &approval.on_expiry, scope, chain);
    }

    fn consequence(
        &mut self,
        step: &'d Step,
        branch: &str,
        consequence: &'d Consequence,
        scope: &Scope<'d>,
        chain: &str,
    ) {
        match &consequence.then {
            Then::Use { output } => self.template(output, scope),
            Then::Approve(approval) => self.approval(step, approval, scope, chain),
            Then::Steps { steps } => drop(self.inner(step, branch, steps, scope, chain)),
            Then::Continue | Then::Reject | Then::DeadLetter { .. } | Then::End { .. } | Then::As { .. } => {}
        }
    }

    fn undo(&mut self, id: &str, at: Place, scope: &Scope<'d>) {
        if !scope.steps.contains_key(id) {
            self.unknown_step(id, at, scope);
        } else if self.index.get(id).is_some_and(|stand| stand.step.compensate.is_none()) {
            let problem = format!("`{id}` does not say how it is undone");
            self.report(
                at,
                "language.nothing-to-undo",
                problem,
                format!("give `{id}` a `compensate`, or leave it out here"),
            );
        }
    }

    fn assignments(&mut self, set: &'d [(crate::model::pipeline::Spot<String>, Template)], scope: &Scope<'d>) {
        for (name, value) in set {
            if !self.definition.vars.contains_key(&name.value) {
                let names = self.definition.vars.keys().map(String::as_str);
                let instead = near::advice(&name.value, names, "declare it in `vars`, with its initial value");
                self.report(name.at, "language.unknown-variable", format!("`vars` has no `{}`", name.value), instead);
            }
            self.template(value, scope);
        }
    }

    /// A wait is found by an equality of something of the signal and something of the run.
    fn correlated(&mut self, matches: &Expression) {
        let Ok(reading) = cel::read(&matches.source) else { return };
        let roots: BTreeSet<&str> =
            reading.references.iter().filter_map(|one| one.path.first()).map(String::as_str).collect();
        if !roots.contains("signal") || roots.len() < 2 || !matches.source.contains("==") {
            let problem = "this does not tie the signal to this run";
            let instead = "compare something of both, such as `signal.data.order == event.subject`";
            self.report(matches.at, "language.match", problem, instead);
        }
    }

    fn template(&mut self, template: &Template, scope: &Scope<'d>) {
        for expression in template.expressions() {
            self.expression(expression, scope);
        }
    }
}
