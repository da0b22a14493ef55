//! One expression: its references and functions, each with its place.

use std::collections::BTreeSet;

use super::{
    super::super::{
        cel::{self, Reference},
        near,
    },
    super::fields,
    Checker, Scope,
};
use crate::{
    flow::expression,
    model::pipeline::{Place, action::Action, step::Step, template::Expression},
};

/// Functions that run. The macros (`has`, `all`, `exists`, `map`, `filter`) are no calls any more when this is asked.
const FUNCTIONS: [&str; 26] = [
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
const TYPES: [&str; 11] =
    ["int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type", "decimal"];

impl<'d> Checker<'d, '_> {
    pub(super) fn expression(&mut self, expression: &Expression, scope: &Scope<'d>) {
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
        for offset in &reading.texts_as_amounts {
            let problem = "this takes amounts as texts, in which `9.00` comes after `10.00`";
            let instead = "put `decimal()` around both sides";
            self.report(place(expression, *offset), "language.amount-as-text", problem, instead);
        }
        for (name, offset) in &reading.functions {
            self.function(name, place(expression, *offset));
        }
        for reference in &reading.references {
            self.reference(reference, place(expression, reference.offset), &reading.guards, scope);
        }
    }

    fn function(&mut self, name: &str, at: Place) {
        if !FUNCTIONS.contains(&name) {
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
            ("tables", field) => self.table(field, at, scope),
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

    fn table(&mut self, name: Option<&str>, at: Place, scope: &Scope<'d>) {
        let Some(step) = scope.given else {
            let instead = "only the `with` of a step that names them in its `tables` has tables";
            return self.absent(at, "tables", instead);
        };
        let names = step.tables.keys().map(String::as_str);
        match name {
            Some(name) if step.tables.contains_key(name) => {}
            Some(name) => {
                let instead = near::advice(name, names, "name it in the step's `tables`: `NAME: retail/prices@^1`");
                self.report(at, "language.unknown-table", format!("this step has no table `{name}`"), instead);
            }
            None => {
                let problem = "`tables` alone is every table of the step";
                self.report(at, "language.unknown-table", problem, "name one, such as `tables.prices`");
            }
        }
    }

    fn absent(&mut self, at: Place, root: &str, instead: &str) {
        self.report(at, "language.unknown-variable", format!("there is no `{root}` here"), instead);
    }

    fn unknown_root(&mut self, root: &str, at: Place, scope: &Scope<'d>) {
        let roots = ["event", "steps", "verdict", "vars", "config", "run", "item", "signal", "error", "tables"];
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
        if root == "steps"
            && let Some(schema) = self.outputs.get(id)
            && let Some((name, names)) = fields::unknown(schema, reference.path.get(2..).unwrap_or_default())
        {
            let instead = near::advice(name, names.iter().map(String::as_str), "name nothing of it");
            let problem = format!("the output of `{id}` has no `{name}`");
            self.report(at, "language.unknown-field", problem, instead);
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

    pub(super) fn unknown_step(&mut self, id: &str, at: Place, scope: &Scope<'d>) {
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
    pub(super) fn cycles(&mut self) {
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
        | Action::Assess { with, .. }
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
    use crate::flow::{
        document::Document,
        expression::{Expression, Scope},
    };

    struct Nothing;

    impl Scope for Nothing {
        fn lookup<'p>(&self, _: &'p [String]) -> Option<(Document, &'p [String])> {
            None
        }
    }

    #[test]
    fn every_function_that_is_known_runs() {
        let time = "timestamp('2026-01-01T00:00:00Z')";
        for name in super::FUNCTIONS {
            let source = match name {
                "contains" | "startsWith" | "endsWith" | "matches" => format!("'a'.{name}('a')"),
                _ if name.starts_with("get") => format!("{time}.{name}()"),
                "timestamp" => time.to_owned(),
                "duration" => "duration('1s')".to_owned(),
                "bool" => "bool('true')".to_owned(),
                "type" => "type(1) == int".to_owned(),
                _ => format!("{name}('1')"),
            };
            let expression = Expression::compile(&source).unwrap();
            assert!(
                expression.evaluate(&Nothing).is_ok(),
                "{source} does not run: {:?}",
                expression.evaluate(&Nothing)
            );
        }
    }
}
