//! Plugins, connections, operations and other pipelines.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{Diagnostic, near},
    Environment, PluginFacts, runs,
};
use crate::model::{
    contract::ContractOperation,
    manifest::{Effect, Kind},
    pipeline::{
        Definition, Origin, Place, PluginRef, Spot, TableRef,
        action::{Action, Confirm, Fallback, Outcomes, Over},
        step::Step,
    },
};

pub(super) fn check(definition: &Definition, environment: &Environment<'_>, found: &mut Vec<Diagnostic>) {
    let mut world = World { definition, environment, erp_writes: BTreeSet::new(), found };
    world.uses();
    for step in definition.all_steps() {
        world.step(step);
    }
    world.touchpoints();
    world.cycles();
}

struct World<'a> {
    definition: &'a Definition,
    environment: &'a Environment<'a>,
    erp_writes: BTreeSet<String>,
    found: &'a mut Vec<Diagnostic>,
}

impl<'a> World<'a> {
    fn report(&mut self, at: Place, code: &'static str, problem: impl Into<String>, instead: impl Into<String>) {
        self.found.push(Diagnostic::new(at, code, problem, instead));
    }

    fn uses(&mut self) {
        let known = self.environment.contracts;
        for contract in self.definition.uses.values() {
            if !known.contains_key(&contract.value) {
                let problem = format!("no operation contract is called `{}`", contract.value);
                let names = known.keys().map(crate::model::id::ContractId::as_str);
                let instead = near::advice(contract.value.as_str(), names, "add the contract to the hub first");
                self.report(contract.at, "language.unknown-contract", problem, instead);
            }
        }
        for trigger in &self.definition.triggers {
            if let Origin::Poll { connection, .. } = &trigger.origin {
                self.connection(&connection.value, connection.at);
            }
        }
    }

    fn step(&mut self, step: &Step) {
        let mut connection = None;
        match &step.action {
            Action::Transform { plugin, .. } => {
                self.plugin(plugin, Kind::Transform);
            }
            Action::Rule { plugin, outcomes, .. } => {
                if let Some(facts) = self.plugin(plugin, Kind::Rule) {
                    self.outcomes(plugin, facts, outcomes);
                }
            }
            Action::Score { plugin, .. } => {
                self.plugin(plugin, Kind::Scorer);
            }
            Action::Assess { connection, operation, .. } => {
                self.read(&connection.value, operation, "what recommends is");
            }
            Action::Call { connection: named, operation, confirm, .. } => {
                connection = Some(named.value.as_str());
                self.call(named, operation, confirm.as_ref());
            }
            Action::For { over, reduce, .. } => {
                if let Over::Pages { connection, operation, .. } = over {
                    self.read(&connection.value, operation, "pages come from");
                }
                if let Some(plugin) = reduce {
                    self.plugin(plugin, Kind::Transform);
                }
            }
            Action::Run { pipeline, range, .. } => self.pipeline(pipeline, range),
            _ => {}
        }
        step.tables.values().for_each(|table| self.table(table));
        match &step.fallback {
            Some(Fallback::Rule { plugin, .. }) => {
                self.plugin(plugin, Kind::Rule);
            }
            Some(Fallback::Transform { plugin, .. }) => {
                self.plugin(plugin, Kind::Transform);
            }
            Some(Fallback::Value(_)) | None => {}
        }
        if let Some(compensation) = &step.compensate
            && let Some(connection) = compensation.connection.as_deref().or(connection)
            && let Some(operation) = self.operation(connection, &compensation.operation, compensation.at)
        {
            self.touchpoint(connection, &compensation.operation, operation.effect, compensation.at);
        }
    }

    fn table(&mut self, table: &TableRef) {
        let Some(tables) = self.environment.tables else { return };
        let TableRef { name, range, at } = table;
        match tables.get(name) {
            None => {
                let instead = match near::nearest(name, tables.keys().map(String::as_str)) {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => format!("draft it first: `crossdock table draft {name} FILE`"),
                };
                self.report(*at, "language.unknown-table", format!("no table is called `{name}`"), instead);
            }
            Some(versions) if !versions.iter().any(|version| range.matches(version)) => {
                let there: Vec<String> = versions.iter().map(ToString::to_string).collect();
                let there = if there.is_empty() { "none is approved".to_owned() } else { there.join(", ") };
                let problem = format!("no version of table `{name}` is within `{range}`");
                self.report(*at, "language.no-version", problem, format!("there is: {there}"));
            }
            Some(_) => {}
        }
    }

    /// The newest version that will do.
    fn plugin(&mut self, plugin: &PluginRef, kind: Kind) -> Option<&'a PluginFacts> {
        let environment = self.environment;
        let Some(versions) = environment.plugins.get(&plugin.id) else {
            let problem = format!("no plugin is called `{}`", plugin.id);
            let names = environment.plugins.keys().map(crate::model::id::PluginId::as_str);
            let instead = match near::nearest(plugin.id.as_str(), names) {
                Some(name) => format!("did you mean `{name}`?"),
                None => "add the plugin to the hub first; `crossdock plugin list` shows what is there".to_owned(),
            };
            self.report(plugin.at, "language.unknown-plugin", problem, instead);
            return None;
        };
        let fitting = versions.iter().filter(|facts| plugin.range.matches(&facts.version));
        let Some(facts) = fitting.max_by(|a, b| a.version.cmp(&b.version)) else {
            let there: Vec<String> = versions.iter().map(|facts| facts.version.to_string()).collect();
            let problem = format!("no version of `{}` is within `{}`", plugin.id, plugin.range);
            let instead = format!(
                "widen the range, or add a version; there are {}",
                near::list(there.iter().map(String::as_str))
            );
            self.report(plugin.at, "language.no-version", problem, instead);
            return None;
        };
        if facts.kind != kind {
            let problem = format!("`{}` is a {}, here belongs a {}", plugin.id, word(facts.kind), word(kind));
            let instead = match facts.kind {
                Kind::Connector => "name a connection in `uses`, and `call` its operation".to_owned(),
                other => format!("`{}: {}@{}`", keyword(other), plugin.id, plugin.range),
            };
            self.report(plugin.at, "language.plugin-kind", problem, instead);
            return None;
        }
        Some(facts)
    }

    fn outcomes(&mut self, plugin: &PluginRef, facts: &PluginFacts, outcomes: &Outcomes) {
        let Some(rule) = &facts.rule else { return };
        let listed = |name: &str| rule.outcomes.iter().any(|outcome| outcome == name);
        let all = near::list(rule.outcomes.iter().map(String::as_str));
        for (name, consequence) in outcomes.consequences() {
            if !listed(name) {
                let problem = format!("`{}` never answers `{name}`", plugin.id);
                self.report(
                    consequence.at,
                    "language.outcome-not-listed",
                    problem,
                    format!("it answers {all}; leave this out"),
                );
            }
        }
        for branch in &outcomes.route {
            if !listed("route") || !rule.routes.contains(&branch.name) {
                let problem = format!("`{}` never takes the route `{}`", plugin.id, branch.name);
                let instead = near::advice(
                    &branch.name,
                    rule.routes.iter().map(String::as_str),
                    "it has no routes; leave this out",
                );
                self.report(branch.at, "language.outcome-not-listed", problem, instead);
            }
        }
        if listed("hold") && outcomes.hold.is_none() {
            let problem = format!("`{}` may answer `hold`, and nobody is asked then", plugin.id);
            let instead =
                "add `outcomes: { hold: { approve: { group: …, within: …, on_expiry: … } } }`, or `hold: dead_letter`";
            self.report(plugin.at, "language.outcome-unhandled", problem, instead);
        }
        if listed("route") {
            for route in rule.routes.iter().filter(|route| !outcomes.route.iter().any(|branch| branch.name == **route))
            {
                let problem = format!("`{}` may take the route `{route}`, and there is no such branch", plugin.id);
                let instead =
                    format!("add it under `outcomes: {{ route: … }}`, as `{route}: []` if nothing is to be done");
                self.report(plugin.at, "language.outcome-unhandled", problem, instead);
            }
        }
    }

    /// Whether `uses` names it.
    fn connection(&mut self, name: &str, at: Place) -> bool {
        let known = self.definition.uses.contains_key(name);
        if !known {
            let names = self.definition.uses.keys().map(String::as_str);
            let instead = near::advice(name, names, "name it in `uses`, with its operation contract");
            self.report(at, "language.unknown-connection", format!("`uses` has no `{name}`"), instead);
        }
        known
    }

    fn operation(&mut self, connection: &str, operation: &str, at: Place) -> Option<&'a ContractOperation> {
        if !self.connection(connection, at) {
            return None;
        }
        // An unknown contract has been reported where `uses` names it.
        let contract = self.environment.contracts.get(&self.definition.uses.get(connection)?.value)?;
        let known = contract.operations.get(operation);
        if known.is_none() {
            let problem = format!("`{}` has no operation `{operation}`", contract.id);
            let names = contract.operations.keys().map(String::as_str);
            self.report(at, "language.unknown-operation", problem, near::advice(operation, names, "it has none"));
        }
        known
    }

    fn read(&mut self, connection: &str, operation: &Spot<String>, whose: &str) {
        if self.operation(connection, &operation.value, operation.at).is_some_and(|known| known.effect == Effect::Write)
        {
            let problem = format!("`{}` writes, and {whose} a read", operation.value);
            self.report(operation.at, "language.operation-effect", problem, "name an operation that only reads");
        }
    }

    fn call(&mut self, connection: &Spot<String>, operation: &Spot<String>, confirm: Option<&Confirm>) {
        if !self.definition.uses.contains_key(&connection.value) {
            self.connection(&connection.value, connection.at);
            return;
        }
        let known = self.operation(&connection.value, &operation.value, operation.at);
        if let Some(confirm) = confirm {
            self.read(&connection.value, &confirm.operation, "a read-back is");
        }
        if let Some(known) = known {
            self.touchpoint(&connection.value, &operation.value, known.effect, operation.at);
        }
    }

    fn is_erp(&self, connection: &str) -> bool {
        is_erp(self.definition, connection)
    }

    fn touchpoint(&mut self, connection: &str, operation: &str, effect: Effect, at: Place) {
        if effect != Effect::Write || !self.is_erp(connection) {
            return;
        }
        self.erp_writes.insert(operation.to_owned());
        if !self.definition.erp.iter().any(|touchpoint| touchpoint.value == operation) {
            let problem = format!("`{operation}` writes to the ERP, and `erp` does not list it");
            let instead = format!("add `{operation}` to `erp` at the top, so that everybody sees what is touched");
            self.report(at, "language.undeclared-touchpoint", problem, instead);
        }
    }

    fn touchpoints(&mut self) {
        for touchpoint in &self.definition.erp {
            if !self.erp_writes.contains(&touchpoint.value) {
                let problem = format!("no step writes to the ERP by `{}`", touchpoint.value);
                let writes = self.erp_writes.clone();
                let instead = match near::nearest(&touchpoint.value, writes.iter().map(String::as_str)) {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => "leave it out: `erp` lists the writes that there are".to_owned(),
                };
                self.report(touchpoint.at, "language.unused-touchpoint", problem, instead);
            }
        }
    }

    fn pipeline(&mut self, pipeline: &Spot<String>, range: &semver::VersionReq) {
        if pipeline.value == self.definition.name.value {
            return;
        }
        let pipelines = self.environment.pipelines;
        let Some(facts) = pipelines.get(&pipeline.value) else {
            let problem = format!("no pipeline is called `{}`", pipeline.value);
            let instead = near::advice(
                &pipeline.value,
                pipelines.keys().map(String::as_str),
                "add that pipeline to the hub first",
            );
            self.report(pipeline.at, "language.unknown-pipeline", problem, instead);
            return;
        };
        if !facts.versions.iter().any(|version| range.matches(version)) {
            let there: Vec<String> = facts.versions.iter().map(ToString::to_string).collect();
            let problem = format!("no version of `{}` is within `{range}`", pipeline.value);
            let instead = format!("widen the range; there are {}", near::list(there.iter().map(String::as_str)));
            self.report(pipeline.at, "language.no-version", problem, instead);
        }
    }

    /// Pipelines that run each other would run for ever.
    fn cycles(&mut self) {
        let own = self.definition.name.value.as_str();
        let mut reported = BTreeMap::new();
        for (name, at) in runs(self.definition) {
            if let Some(way) = self.way(name, own) {
                reported.entry(at).or_insert(way);
            }
        }
        for (at, way) in reported {
            let problem = format!("this pipeline would run itself: `{own}` → {way}");
            self.report(
                at,
                "language.cycle",
                problem,
                "repeat with `loop`, or emit an event that a person or a condition lets through",
            );
        }
    }

    /// How one pipeline comes to run another, for people.
    fn way(&self, from: &str, to: &str) -> Option<String> {
        let mut open = vec![(from.to_owned(), format!("`{from}`"))];
        let mut seen = BTreeSet::new();
        while let Some((name, way)) = open.pop() {
            if name == to {
                return Some(way);
            }
            if seen.insert(name.clone()) {
                let next = self.environment.pipelines.get(&name).into_iter().flat_map(|facts| &facts.runs);
                open.extend(next.map(|next| (next.clone(), format!("{way} → `{next}`"))));
            }
        }
        None
    }
}

/// Writes to the ERP that nothing reads back.
pub(super) fn unconfirmed(definition: &Definition, environment: &Environment<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let effect = |connection: &str, operation: &str| {
        let contract = definition.uses.get(connection);
        contract
            .and_then(|contract| environment.contracts.get(&contract.value))
            .and_then(|contract| contract.operations.get(operation))
            .map(|known| known.effect)
    };
    let steps = definition.all_steps();
    for (number, step) in steps.iter().enumerate() {
        let Action::Call { connection, operation, confirm: None, .. } = &step.action else { continue };
        let read_later = steps.iter().skip(number + 1).any(|later| match &later.action {
            Action::Call { connection: other, operation, .. } => {
                other.value == connection.value && effect(&other.value, &operation.value) == Some(Effect::Read)
            }
            _ => false,
        });
        let writes = effect(&connection.value, &operation.value) == Some(Effect::Write);
        if writes && !read_later && is_erp(definition, &connection.value) {
            let problem = format!("nothing reads back what `{}` wrote to the ERP", operation.value);
            let instead = "read it back with a `call` after it, so that \"sent\" becomes \"posted\"";
            found.push(Diagnostic::new(operation.at, "language.write-without-read-back", problem, instead));
        }
    }
    found
}

/// Whether a name in `uses` is the system of record: by its own name, or its contract's.
fn is_erp(definition: &Definition, connection: &str) -> bool {
    let named = |name: &str| name == "erp" || name.starts_with("erp-") || name.starts_with("erp_");
    let contract = definition.uses.get(connection).and_then(|contract| contract.value.as_str().split_once('/'));
    named(connection) || contract.is_some_and(|(_, name)| named(name.split('@').next().unwrap_or_default()))
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Transform => "transform",
        Kind::Rule => "rule",
        Kind::Scorer => "scorer",
        Kind::Connector => "connector",
    }
}

fn keyword(kind: Kind) -> &'static str {
    if kind == Kind::Scorer { "score" } else { word(kind) }
}
