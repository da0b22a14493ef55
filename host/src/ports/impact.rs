//! What depends on a plugin, a host or an event type, as the surfaces ask.

use semver::Version;
use serde::Serialize;

use crate::model::id::{PluginId, RunId};

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A plugin.
    Plugin {
        /// The line.
        id: PluginId,
        /// One version of it; absent: any.
        version: Option<Version>,
    },
    /// A host that connections and deliveries reach: `erp.example`, `erp.example:8443` or `https://erp.example`.
    Host(String),
    /// An event type.
    EventType(String),
}

/// What depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Impact {
    /// The plugin's version, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// Pipelines that have to do with it. An earlier version is among them as long as runs of it do.
    pub pipelines: Vec<ImpactedPipeline>,
    /// Connections that a plugin serves, or that reach a host.
    pub connections: Vec<String>,
    /// Webhook sources that a plugin reads, or that bring events of a type.
    pub sources: Vec<String>,
    /// Versions of plugins whose manifests name a host, or that bring events of a type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<String>,
    /// Contracts whose reads are published through those connections.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub apis: Vec<String>,
    /// Deliveries to a host, or of events of a type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscriptions: Vec<ImpactedSubscription>,
    /// Runs that have not ended, or that completed and may still be undone with the run that started them, and may have to do
    /// with it, whichever version of their pipeline they are of.
    pub runs_open: usize,
    /// Of them, how many have called it, as far as was looked; for an event type, all of them.
    pub runs_holding: usize,
    /// Some of those.
    pub runs: Vec<RunId>,
    /// How many runs were looked into; if less than `runs_open`, more may hold it.
    pub runs_examined: usize,
}

/// A pipeline that has to do with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImpactedPipeline {
    /// Its name.
    pub pipeline: String,
    /// Its version.
    pub version: String,
    /// Who answers for it.
    pub owner: String,
    /// The steps that do.
    pub steps: Vec<String>,
    /// What an event type is to it: `starts` it, it `waits` for such events, it `sends` them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub relations: Vec<&'static str>,
    /// Whether that holds for runs that start now; for a plugin's version, whether it serves there, alone or as a canary.
    pub serves: bool,
    /// Runs of this version that have not ended.
    pub runs_open: usize,
}

/// A subscription that has to do with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImpactedSubscription {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub owner: String,
}

impl Impact {
    /// Whether anything depends on it now, or may: runs that were not looked into count.
    #[must_use]
    pub fn depends(&self) -> bool {
        let Self { pipelines, connections, sources, plugins, apis, subscriptions, .. } = self;
        pipelines.iter().any(|pipeline| pipeline.serves)
            || [connections, sources, plugins, apis].iter().any(|names| !names.is_empty())
            || !subscriptions.is_empty()
            || self.runs_holding > 0
            || self.runs_examined < self.runs_open
    }
}

/// Something, and what depends on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dependants {
    /// What it is, such as `acme/rules@1.0.0`.
    pub of: String,
    /// What depends on it.
    pub impact: Impact,
}

/// That something is in use, and whoever takes it away, or changes it so that it breaks its users, has not said that they know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is in use; next: {next}")]
pub struct InUse {
    /// What is in use, in words.
    pub what: String,
    /// What can be done first instead.
    pub next: &'static str,
    /// What depends on it, and on what exactly.
    pub dependants: Vec<Dependants>,
}

impl InUse {
    /// That something is in use, if it is.
    ///
    /// # Errors
    /// That it is.
    pub fn unless_free(what: String, next: &'static str, of: String, impact: Impact) -> Result<(), Box<Self>> {
        if impact.depends() {
            return Err(Box::new(Self { what, next, dependants: vec![Dependants { of, impact }] }));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Impact, ImpactedPipeline};

    #[test]
    fn something_depends_if_it_serves_is_named_or_was_called_and_perhaps_if_nobody_looked() {
        let pipeline = |serves| ImpactedPipeline {
            pipeline: "a/b".to_owned(),
            version: "1.0.0".to_owned(),
            owner: "x".to_owned(),
            steps: Vec::new(),
            relations: Vec::new(),
            serves,
            runs_open: 3,
        };
        let check = |impact: Impact, expected: bool| assert_eq!(impact.depends(), expected, "{impact:?}");
        check(Impact::default(), false);
        check(Impact { pipelines: vec![pipeline(false)], ..Impact::default() }, false);
        check(Impact { pipelines: vec![pipeline(true)], ..Impact::default() }, true);
        check(Impact { sources: vec!["shop".to_owned()], ..Impact::default() }, true);
        check(Impact { runs_open: 5, runs_examined: 5, ..Impact::default() }, false);
        check(Impact { runs_open: 5, runs_examined: 5, runs_holding: 1, ..Impact::default() }, true);
        check(Impact { runs_open: 5, runs_examined: 4, ..Impact::default() }, true);
    }
}
