//! What pipelines and operators rely on, beside documents: kind, operations, outcomes, events, webhooks, the model.

use std::collections::BTreeSet;

use super::{Bump, Finding, Severity, subject::Subject};
use crate::model::manifest::{Doubt, Effect, Operation};

/// Every change of what a version promises.
pub(super) fn compare(previous: &Subject, candidate: &Subject) -> Vec<Finding> {
    let (old, new) = (&previous.manifest, &candidate.manifest);
    let mut found = Vec::new();
    if old.id != new.id {
        let text = format!("it was compared with `{}`, another plugin", old.id);
        found
            .push(Finding::new("plugin.other", Severity::Refuse, "id", text).change("compare it with its own version"));
    }
    if old.kind != new.kind {
        let text = format!("a {} has become a {}", old.kind.interface(), new.kind.interface());
        let change = "publish it under an id of its own: steps that name this one cannot use another kind";
        found.push(Finding::new("kind.changed", Severity::Refuse, "kind", text).change(change));
    }
    if old.contract != new.contract {
        let text = format!("it is built for contract {} instead of {}", new.contract, old.contract);
        found.push(Finding::new("contract.changed", Severity::Note, "contract", text).bump(Bump::Minor));
    }
    compare_operations(previous, candidate, &mut found);
    let ids = |ids: &[crate::model::id::ContractId]| ids.iter().map(ToString::to_string).collect();
    names("operation", "implements", &ids(&old.implements), &ids(&new.implements), Grown::Is(Bump::Minor), &mut found);
    let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
    names("event", "produces", &set(&old.produces), &set(&new.produces), Grown::Is(Bump::Minor), &mut found);
    if let (Some(old), Some(new)) = (&old.rule, &new.rule) {
        let outcomes = (&set(&old.outcomes), &set(&new.outcomes));
        names("outcome", "rule.outcomes", outcomes.0, outcomes.1, Grown::Breaks, &mut found);
        names("outcome", "rule.routes", &set(&old.routes), &set(&new.routes), Grown::Breaks, &mut found);
    }
    compare_models(previous, candidate, &mut found);
    compare_webhooks(previous, candidate, &mut found);
    found
}

/// What it means that there is one more of something.
enum Grown {
    /// Only that.
    Is(Bump),
    /// Pipelines have to deal with a case that they do not know.
    Breaks,
}

fn names(
    family: &'static str,
    place: &str,
    old: &BTreeSet<String>,
    new: &BTreeSet<String>,
    grown: Grown,
    found: &mut Vec<Finding>,
) {
    let (added_rule, removed_rule) = match family {
        "outcome" => ("outcome.added", "outcome.removed"),
        "event" => ("event.added", "event.removed"),
        "model" => ("model.recommendation-added", "model.recommendation-removed"),
        _ => ("operation.contract-added", "operation.contract-removed"),
    };
    for name in new.difference(old) {
        let finding = Finding::new(added_rule, Severity::Note, place, format!("`{name}` is new"));
        found.push(match grown {
            Grown::Is(bump) => finding.bump(bump),
            Grown::Breaks => finding
                .change("pipelines that use it have no branch for it: publish a new major version")
                .bump(Bump::Major),
        });
    }
    for name in old.difference(new) {
        let finding = Finding::new(removed_rule, Severity::Note, place, format!("`{name}` is gone"));
        found.push(match grown {
            // A case that never comes any more leaves a branch unused, no more.
            Grown::Breaks => finding.bump(Bump::Minor),
            Grown::Is(_) => finding.change("keep it, or publish a new major version").bump(Bump::Major),
        });
    }
}

fn compare_operations(previous: &Subject, candidate: &Subject, found: &mut Vec<Finding>) {
    let (old, new) = (&previous.manifest.operations, &candidate.manifest.operations);
    for (name, operation) in new {
        let place = format!("operations.{name}");
        match old.get(name) {
            None => {
                let finding = Finding::new("operation.added", Severity::Note, place, "it is new");
                found.push(finding.bump(Bump::Minor));
            }
            Some(before) => compare_operation(&place, before, operation, found),
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        let finding = Finding::new("operation.removed", Severity::Note, format!("operations.{name}"), "it is gone");
        found.push(finding.change("keep it, or publish a new major version").bump(Bump::Major));
    }
}

fn compare_operation(place: &str, old: &Operation, new: &Operation, found: &mut Vec<Finding>) {
    let mut breaks = |rule: &'static str, severity: Severity, text: String, change: &str| {
        found.push(Finding::new(rule, severity, place, text).change(change).bump(Bump::Major));
    };
    match (old.effect, new.effect) {
        (Effect::Read, Effect::Write) => breaks(
            "operation.read-became-write",
            Severity::Consent,
            "it was a read and changes the remote now".to_owned(),
            "give the write a name of its own; pipelines call this one without expecting an effect",
        ),
        (Effect::Write, Effect::Read) => breaks(
            "operation.write-became-read",
            Severity::Note,
            "it was a write and changes nothing now".to_owned(),
            "give the read a name of its own, or publish a new major version",
        ),
        _ => {}
    }
    if new.touchpoint && !old.touchpoint {
        let text = "it now writes to the system of record, which pipelines have to declare".to_owned();
        breaks("operation.touchpoint-added", Severity::Note, text, "publish a new major version");
    }
    if old.compensate.is_some() && new.compensate != old.compensate {
        let text = format!(
            "it was undone by `{}`, now by {}",
            old.compensate.as_deref().unwrap_or_default(),
            new.compensate.as_ref().map_or_else(|| "nothing".to_owned(), |name| format!("`{name}`"))
        );
        breaks("operation.compensation-changed", Severity::Note, text, "keep it, or publish a new major version");
    } else if new.compensate.is_some() && old.compensate.is_none() {
        let finding = Finding::new("operation.compensation-added", Severity::Note, place, "it can be undone now");
        found.push(finding.bump(Bump::Minor));
    }
    compare_doubt(place, &old.doubt, &new.doubt, found);
}

/// Doubt that was resolved by the hub and now parks the run is a promise taken back.
fn compare_doubt(place: &str, old: &Doubt, new: &Doubt, found: &mut Vec<Finding>) {
    let name = |doubt: &Doubt| match doubt {
        Doubt::NativeKey { .. } => "the remote's own keys",
        Doubt::NaturalKey { .. } => "asking for its natural key",
        Doubt::None => "people",
    };
    if name(old) == name(new) {
        return;
    }
    let text = format!("a lost answer was resolved by {}, and is now by {}", name(old), name(new));
    let finding = Finding::new("operation.doubt-changed", Severity::Note, place, text);
    found.push(if *new == Doubt::None {
        finding.change("runs that went on by themselves would be parked: publish a new major version").bump(Bump::Major)
    } else {
        finding.bump(Bump::Minor)
    });
}

fn compare_models(previous: &Subject, candidate: &Subject, found: &mut Vec<Finding>) {
    let (Some(old), Some(new)) = (&previous.manifest.model_card, &candidate.manifest.model_card) else { return };
    if (&old.model, &old.version) != (&new.model, &new.version) {
        let text = format!("the model is `{}` {} instead of `{}` {}", new.model, new.version, old.model, old.version);
        let finding = Finding::new("model.changed", Severity::Note, "model_card", text);
        found.push(finding.change("shadow it before it decides anything").bump(Bump::Minor));
    }
    // Without a list it may recommend whatever the input offers.
    let place = "model_card.recommendations";
    let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
    match (old.recommendations.is_empty(), new.recommendations.is_empty()) {
        (true, true) => {}
        (false, true) => {
            let text = "it may recommend anything now";
            let finding = Finding::new("model.recommendation-added", Severity::Note, place, text);
            found.push(finding.change("name what it recommends, or publish a new major version").bump(Bump::Major));
        }
        (true, false) => {
            let text = "it recommends only what it names now";
            found.push(Finding::new("model.recommendation-removed", Severity::Note, place, text).bump(Bump::Minor));
        }
        (false, false) => {
            names("model", place, &set(&old.recommendations), &set(&new.recommendations), Grown::Breaks, found);
        }
    }
}

fn compare_webhooks(previous: &Subject, candidate: &Subject, found: &mut Vec<Finding>) {
    let finding = |rule, text: &str| Finding::new(rule, Severity::Note, "webhook", text);
    match (&previous.manifest.webhook, &candidate.manifest.webhook) {
        (None, None) => {}
        (None, Some(_)) => {
            found.push(finding("webhook.added", "it reads webhooks now").bump(Bump::Minor));
        }
        (Some(_), None) => {
            let finding = finding("webhook.removed", "it reads no webhooks any more");
            found.push(finding.change("keep it, or publish a new major version").bump(Bump::Major));
        }
        (Some(old), Some(new)) if old != new => {
            let finding = finding("webhook.changed", "deliveries are verified or told apart in another way");
            let change = "senders that are set up for the old way are refused: publish a new major version";
            found.push(finding.change(change).bump(Bump::Major));
        }
        (Some(_), Some(_)) => {}
    }
    for interface in ["paging", "polling-source"] {
        let has = |subject: &Subject| {
            let prefix = format!("crossdock:plugin/{interface}@");
            subject.surface.exports.keys().any(|name| name.starts_with(&prefix))
        };
        match (has(previous), has(candidate)) {
            (true, false) => {
                let text = format!("`{interface}` is not exported any more");
                let finding = Finding::new("world.interface-removed", Severity::Note, "component.wasm", text);
                found.push(finding.change("keep it, or publish a new major version").bump(Bump::Major));
            }
            (false, true) => {
                let text = format!("`{interface}` is exported now");
                let finding = Finding::new("world.interface-added", Severity::Note, "component.wasm", text);
                found.push(finding.bump(Bump::Minor));
            }
            _ => {}
        }
    }
}
