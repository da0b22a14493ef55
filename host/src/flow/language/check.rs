//! A pipeline against what the hub knows: plugins, contracts, other pipelines; and every reference inside it.

mod fields;
mod names;
mod scope;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;

use super::{Diagnostic, diagnostic::sorted};
use crate::model::{
    contract::OperationContract,
    id::{ContractId, PluginId},
    manifest::{Kind, Manifest, RuleFacts},
    pipeline::{Definition, action::Action},
};

/// What the hub knows.
#[derive(Clone, Copy, Debug)]
pub struct Environment<'a> {
    /// Operation contracts.
    pub contracts: &'a BTreeMap<ContractId, OperationContract>,
    /// Plugins, by line, every usable version.
    pub plugins: &'a BTreeMap<PluginId, Vec<PluginFacts>>,
    /// Other accepted pipelines, by name. One of the checked pipeline's own name is an older version, and is ignored.
    pub pipelines: &'a BTreeMap<String, PipelineFacts>,
    /// Versions of reference tables that may serve, by name; absent: not known here, so none is refused.
    pub tables: Option<&'a BTreeMap<String, Vec<Version>>>,
}

/// What matters of a plugin's version.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginFacts {
    /// Its version.
    pub version: Version,
    /// What it does.
    pub kind: Kind,
    /// For a rule: what it may answer.
    pub rule: Option<RuleFacts>,
}

impl PluginFacts {
    /// Of a manifest.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        Self { version: manifest.version.clone(), kind: manifest.kind, rule: manifest.rule.clone() }
    }
}

/// What matters of another pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PipelineFacts {
    /// Its accepted versions.
    pub versions: Vec<Version>,
    /// Names of the pipelines that any of them runs.
    pub runs: BTreeSet<String>,
}

impl PipelineFacts {
    /// Adds a version.
    pub fn add(&mut self, definition: &Definition) {
        self.versions.push(definition.version.clone());
        self.runs.extend(runs(definition).map(|(name, _)| name.to_owned()));
    }
}

/// Finds everything that is wrong with a pipeline, in the order of its text.
#[must_use]
pub fn check(definition: &Definition, environment: &Environment<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    names::check(definition, &mut found);
    world::check(definition, environment, &mut found);
    fields::inputs(definition, environment, &mut found);
    scope::check(definition, fields::outputs(definition, environment), &mut found);
    sorted(found)
}

/// What is not wrong with a pipeline, but would be better otherwise: writes to the ERP that nothing reads back. Not a
/// reason to refuse it, since this release does not run `confirm` yet; a connector may read back by itself.
#[must_use]
pub fn advise(definition: &Definition, environment: &Environment<'_>) -> Vec<Diagnostic> {
    sorted(world::unconfirmed(definition, environment))
}

/// The pipelines that one runs, with the place of each.
fn runs(definition: &Definition) -> impl Iterator<Item = (&str, crate::model::pipeline::Place)> {
    definition.all_steps().into_iter().filter_map(|step| match &step.action {
        Action::Run { pipeline, .. } => Some((pipeline.value.as_str(), pipeline.at)),
        _ => None,
    })
}
