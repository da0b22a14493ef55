//! What expressions refer to: only what is there, and certainly there, when they are evaluated.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{
    Diagnostic,
    cel::{self, Reference},
    near,
};
use crate::flow::expression;
use crate::model::pipeline::{
    Definition, Place,
    action::{Action, Approval, Fallback, Over, Until},
    step::{Consequence, Step, Then},
    template::{Expression, Template},
};

/// Functions that run. The macros (`has`, `all`, `exists`, `map`, `filter`) are no calls any more when this is asked.
const FUNCTIONS: [&str; 13] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "string",
    "int",
    "uint",
    "double",
    "bool",
    "bytes",
    "type",
    "dyn",
];
/// Functions of the language that this release does not run yet.
const FUNCTIONS_LATER: [&str; 13] = [
    "decimal",
    "timestamp",
    "duration",
    "getFullYear",
    "getMonth",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
];
/// Names of types, which are values in CEL.
const TYPES: [&str; 10] = ["int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type"];

pub(super) fn check(definition: &Definition, found: &mut Vec<Diagnostic>) {
    let mut index = BTreeMap::new();
    chains(&definition.steps, "", &mut index);
    let handler = definition.on_error.iter().flat_map(|handler| &handler.steps);
    for step in handler.clone() {
        chains(std::slice::from_ref(step), "on_error/", &mut index);
    }
    let config = definition.config.to_value();
    let config = config.as_object().map(|object| object.keys().cloned().collect()).unwrap_or_default();
    let mut checker =
        Checker { definition, config, index, found, chain: String::new(), current: None, early: Vec::new() };
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
            Action::Transform { with, .. } | Action::Score { with, .. } | Action::Run { with, .. } => {
                self.template(with, scope);
            }
            Action::Rule { with, outcomes, .. } => {
                self.template(with, scope);
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
                self.template(with, scope);
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

    fn expression(&mut self, expression: &Expression, scope: &Scope<'d>) {
        let reading = match cel::read(&expression.source) {
            Ok(reading) => reading,
            Err(error) => {
                let at = place(expression, error.offset);
                let problem = format!("this expression cannot be read: {}", error.problem);
                let instead = "mend it here; texts are quoted, `==` compares, `&&` and `||` join";
                self.report(at, "language.expression-syntax", problem, instead);
                return;
            }
        };
        if let Err(error) = expression::Expression::compile(&expression.source) {
            let problem = format!("this expression {}", error.problem);
            self.report(expression.at, "language.expression-limit", problem, "do this in a `transform` or a `rule`");
        }
        for (name, offset) in &reading.functions {
            self.function(name, place(expression, *offset));
        }
        for reference in &reading.references {
            self.reference(reference, place(expression, reference.offset), &reading.guards, scope);
        }
    }

    fn function(&mut self, name: &str, at: Place) {
        if FUNCTIONS_LATER.contains(&name) {
            let problem = format!("this release does not run the function `{name}` yet");
            self.report(at, "language.not-yet-run", problem, "compute it in a `transform`, or decide in a `rule`");
        } else if !FUNCTIONS.contains(&name) {
            let instead = near::advice(name, FUNCTIONS, "use another");
            self.report(at, "language.unknown-function", format!("there is no function `{name}`"), instead);
        }
    }

    fn reference(&mut self, reference: &Reference, at: Place, guards: &BTreeSet<String>, scope: &Scope<'d>) {
        let mut path = reference.path.iter().map(String::as_str);
        let root = path.next().unwrap_or_default();
        let field = path.next();
        match (root, field) {
            ("event", _) => {}
            ("config", Some(name)) if !self.config.contains(name) => {
                let names: Vec<String> = self.config.iter().cloned().collect();
                let instead = near::advice(name, names.iter().map(String::as_str), "add it to `config`");
                self.report(at, "language.unknown-variable", format!("`config` has no `{name}`"), instead);
            }
            ("config", _) => {}
            _ if scope.bare => {
                let instead = "before a run begins there are only `event` and `config`";
                self.report(at, "language.unknown-variable", format!("there is no `{root}` here"), instead);
            }
            ("vars", Some(name)) if !self.definition.vars.contains_key(name) => {
                let names = self.definition.vars.keys().map(String::as_str);
                let instead = near::advice(name, names, "declare it in `vars`, with its initial value");
                self.report(at, "language.unknown-variable", format!("`vars` has no `{name}`"), instead);
            }
            ("steps" | "verdict", Some(id)) => self.step_reference(root, id, reference, at, guards, scope),
            ("steps" | "verdict", None) => {
                let problem = format!("`{root}` alone is everything that ever happened");
                self.report(at, "language.unknown-step", problem, format!("name the step, as `{root}.order`"));
            }
            ("item", _) if !scope.item => self.absent(at, root, "only steps inside a `for` have an `item`"),
            ("signal", _) if !scope.signal => {
                self.absent(at, root, "only a `match`, and steps after a `wait`, have a `signal`")
            }
            ("error", _) if !scope.error => self.absent(at, root, "only steps in `on_error` have an `error`"),
            ("vars" | "run" | "item" | "signal" | "error", _) => {}
            (name, None) if TYPES.contains(&name) => {}
            _ => self.unknown_root(root, at, scope),
        }
    }

    fn absent(&mut self, at: Place, root: &str, instead: &str) {
        self.report(at, "language.unknown-variable", format!("there is no `{root}` here"), instead);
    }

    fn unknown_root(&mut self, root: &str, at: Place, scope: &Scope<'d>) {
        let roots = ["event", "steps", "verdict", "vars", "config", "run", "item", "signal", "error"];
        let instead = if scope.steps.contains_key(root) {
            format!("did you mean `steps.{root}`?")
        } else {
            near::advice(root, roots, "")
        };
        self.report(at, "language.unknown-variable", format!("there is no `{root}`"), instead);
    }

    fn step_reference(
        &mut self,
        root: &str,
        id: &str,
        reference: &Reference,
        at: Place,
        guards: &BTreeSet<String>,
        scope: &Scope<'d>,
    ) {
        let Some(seen) = scope.steps.get(id).copied() else {
            self.unknown_step(id, at, scope);
            return;
        };
        if root == "verdict" && !seen.rule {
            let problem = format!("`{id}` is not a rule, and has no verdict");
            self.report(at, "language.unknown-step", problem, format!("`steps.{id}` is its output"));
        }
        let path = format!("{root}.{id}");
        let known = |guards: &BTreeSet<String>| {
            let deeper = format!("{path}.");
            guards.contains(&path) || guards.iter().any(|guard| guard.starts_with(&deeper))
        };
        if seen.skippable && reference.path.len() > 2 && !known(guards) && !known(&scope.guards) {
            let problem = format!("`{id}` may have been skipped, and is null then");
            let instead = format!(
                "guard it: `{path} == null ? null : {}`, or a `when` with `{path} != null`",
                reference.path.join(".")
            );
            self.report(at, "language.unguarded", problem, instead);
        }
    }

    fn unknown_step(&mut self, id: &str, at: Place, scope: &Scope<'d>) {
        let current = self.current;
        if let Some((&id, stand)) = self.index.get_key_value(id) {
            let line = stand.step.at.line;
            if current.is_some_and(|current| current.id == id) {
                let instead = "only `confirm`, `compensate` and `outcomes` know the step's own output";
                self.report(at, "language.later-step", format!("`{id}` has no output yet here"), instead);
            } else if self.chain.starts_with(&stand.chain) {
                self.early.extend(current.map(|current| (current.id.as_str(), id, at)));
            } else {
                let within = stand.chain.trim_end_matches('/').split('/').rev().nth(1).unwrap_or_default().to_owned();
                let problem = format!("`{id}` (line {line}) is inside `{within}`, and seen only there");
                self.report(
                    at,
                    "language.hidden-step",
                    problem,
                    format!("name what leaves in the `output` of `{within}`"),
                );
            }
            return;
        }
        let instead = near::advice(
            id,
            scope.steps.keys().copied().filter(|id| !id.contains('-')),
            "no step with an id comes before this one",
        );
        self.report(at, "language.unknown-step", format!("there is no step `{id}`"), instead);
    }

    /// Uses of later steps: a cycle if those in turn need the user, else only the wrong order.
    fn cycles(&mut self) {
        for (user, used, at) in std::mem::take(&mut self.early) {
            let line = self.index.get(used).map_or(0, |stand| stand.step.at.line);
            if self.needs(used, user) {
                let problem = format!("`{user}` and `{used}` (line {line}) wait for each other's output: a cycle");
                self.report(
                    at,
                    "language.cycle",
                    problem,
                    "let one of them do without the other, or repeat with `loop`",
                );
            } else {
                let problem = format!("`{used}` comes later, in line {line}");
                self.report(at, "language.later-step", problem, format!("move `{used}` before `{user}`"));
            }
        }
    }

    /// Whether a step needs another's output, directly or through others.
    fn needs(&self, from: &str, to: &str) -> bool {
        let mut open = vec![from.to_owned()];
        let mut seen = BTreeSet::new();
        while let Some(id) = open.pop() {
            if id == to {
                return true;
            }
            let Some(stand) = self.index.get(id.as_str()).filter(|_| seen.insert(id.clone())) else { continue };
            let inputs: Vec<&Expression> = stand.step.when.iter().chain(inputs(stand.step)).collect();
            for expression in inputs {
                let reading = cel::read(&expression.source).unwrap_or_default();
                open.extend(
                    reading
                        .references
                        .into_iter()
                        .filter(|one| one.path.first().is_some_and(|root| root == "steps"))
                        .filter_map(|one| one.path.into_iter().nth(1)),
                );
            }
        }
        false
    }
}

/// The expressions that a step needs before it runs.
fn inputs(step: &Step) -> Vec<&Expression> {
    match &step.action {
        Action::Transform { with, .. }
        | Action::Rule { with, .. }
        | Action::Score { with, .. }
        | Action::Call { with, .. }
        | Action::Run { with, .. } => with.expressions(),
        Action::Emit { data, .. } => data.expressions(),
        _ => Vec::new(),
    }
}

/// The place of a character of an expression.
fn place(expression: &Expression, offset: usize) -> Place {
    let before: Vec<char> = expression.source.chars().take(offset).collect();
    let lines = before.iter().filter(|&&char| char == '\n').count();
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    if lines == 0 {
        Place { column: expression.at.column.saturating_add(number(offset)), ..expression.at }
    } else {
        let column = before.iter().rev().take_while(|&&char| char != '\n').count();
        Place { line: expression.at.line.saturating_add(number(lines)), column: number(column + 1) }
    }
}

#[cfg(test)]
mod tests {
    use cel::{Context, ExecutionError, Program};

    /// Whether the standard environment has a function, called with these arguments.
    fn runs(source: &str) -> bool {
        let program = Program::compile(source).unwrap();
        let result = program.execute(&Context::default());
        !matches!(&result, Err(ExecutionError::UndeclaredReference(_))) && result.is_ok()
    }

    #[test]
    fn functions_are_sorted_by_whether_they_run() {
        for source in [
            "size('a')",
            "'a'.contains('a')",
            "'a'.startsWith('a')",
            "'a'.endsWith('a')",
            "'a'.matches('a')",
            "string(1)",
            "int('1')",
            "uint('1')",
            "double('1')",
            "bool('true')",
            "bytes('a')",
            "type(1)",
            "dyn(1)",
        ] {
            assert!(runs(source), "{source} does not run");
        }
        for source in ["timestamp('2026-01-01T00:00:00Z')", "duration('1s')", "decimal('1.00')"] {
            assert!(!runs(source), "{source} runs now");
        }
    }
}
