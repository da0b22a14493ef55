//! Answers, for an order: which versions decided it, who allowed each, and what could they touch?
//!
//! A run names the digest and grant revision of each step. The audit record that allowed them is found by subject and
//! time: the newest one before. For a grant that is exact rather than likely, because its revision is a place in the
//! journal, and the audit record of a change lies before the change. What a version could touch is read from the
//! document that its audit record names, so it is what was granted then, not what is granted now.

use std::sync::Arc;

use serde::{Deserialize, de::DeserializeOwned};

use super::{Audit, AuditError, RUNS};
use crate::{
    model::{
        audit::AuditLine,
        auth::Auth,
        connection::{Connection, SecretRef},
        entry::{Entry, PipelineUse, PluginUse},
        explanation::{
            ExplainedConnection, ExplainedDecision, ExplainedRun, ExplainedStep, ExplainedTable, Explanation,
            HttpTouch, Touches,
        },
        id::Digest,
        manifest::Manifest,
        run::{RunView, StepView},
        setting::{BindingRecord, ConnectionRecord},
        timestamp::Timestamp,
    },
    policy::chain,
    ports::{hub::AuditFilter, journal::Position},
};

/// What stands for a connection's base URL in a manifest.
const BASE_URL: &str = "${connection.base_url}";

/// The part of a plugin's record that says what it may touch.
#[derive(Deserialize)]
struct PluginDocument {
    manifest: String,
    digest: Digest,
}

/// A run, and everything that is recorded about it.
pub type Told = (RunView, Vec<Entry>);

/// Explains the runs about a key, which are given whole.
///
/// # Errors
/// If the audit log cannot be read.
pub async fn explain(audit: &Audit, key: String, runs: Vec<Told>) -> Result<Explanation, AuditError> {
    let newest_first = audit.list(&AuditFilter { limit: usize::MAX, ..AuditFilter::default() }).await?;
    let log = Log { audit, newest_first };
    let mut explained = Vec::with_capacity(runs.len());
    for (view, entries) in runs {
        let decisions = entries.iter().filter_map(decision).collect();
        // A run that was moved goes on under a version that may be later than itself.
        let moved = entries.iter().rev().find_map(|entry| match entry {
            Entry::Moved(moved) => Some(moved.time),
            _ => None,
        });
        let bound = moved.unwrap_or(view.summary.started);
        explained.push(ExplainedRun { decisions, ..log.run(view, bound).await? });
    }
    explained.sort_by_key(|run| run.started);
    Ok(Explanation { key, runs: explained, notes: Vec::new() })
}

struct Log<'a> {
    audit: &'a Audit,
    newest_first: Vec<AuditLine>,
}

impl Log<'_> {
    /// The newest record of a subject that suits. What was recorded and not made is no permission.
    fn newest(&self, subject: &str, suits: impl Fn(&AuditLine) -> bool) -> Option<AuditLine> {
        let about = self.newest_first.iter().filter(|line| line.record.subject == subject);
        let made = about.filter(|line| !line.record.action.ends_with(".abandoned"));
        made.into_iter().find(|line| suits(line)).cloned()
    }

    /// The newest record of a connection in a batch before: the one that a grant revision came from, since changes are
    /// made one after the other.
    fn granted_in(&self, batch: u64) -> Option<AuditLine> {
        let about = self.newest_first.iter().filter(|line| line.record.subject.starts_with("connection/"));
        let made = about.filter(|line| !line.record.action.ends_with(".abandoned"));
        made.into_iter().find(|line| line.batch < batch).cloned()
    }

    async fn document<T: DeserializeOwned>(&self, line: Option<&AuditLine>) -> Result<Option<T>, AuditError> {
        let Some(digest) = line.and_then(|line| line.record.after) else { return Ok(None) };
        let document = self.audit.document(digest).await?;
        Ok(document.and_then(|document| serde_json::from_slice(&document).ok()))
    }

    /// A run; `bound` is when it came under the version of its pipeline.
    async fn run(&self, view: RunView, bound: Timestamp) -> Result<ExplainedRun, AuditError> {
        let summary = view.summary;
        let (name, version) = (summary.pipeline, summary.pipeline_version);
        let by_then = |time: Timestamp| move |line: &AuditLine| line.record.time <= time;
        let accepted_by = self.newest(&format!("pipeline/{name}/{version}"), by_then(bound));
        let approved_by = self.newest(&format!("pipeline-state/{name}/{version}"), |line| {
            line.record.action == "pipeline.approve" && line.record.time <= bound
        });
        let activated_by = self.newest(&format!("active/{name}"), by_then(bound));
        let mut steps = Vec::new();
        for step in view.steps {
            if let Some(plugin) = step.plugin.clone() {
                steps.push(self.step(&name, step, plugin).await?);
            }
        }
        let pipeline = PipelineUse { name, version, digest: view.pipeline_digest };
        let (run, state, started) = (summary.id, summary.state, summary.started);
        let about = format!("{RUNS}{run}");
        let acts = self.newest_first.iter().rev().filter(|line| line.record.subject == about).cloned().collect();
        let decisions = Vec::new();
        Ok(ExplainedRun {
            run,
            state,
            started,
            pipeline,
            accepted_by,
            approved_by,
            activated_by,
            steps,
            decisions,
            acts,
        })
    }

    async fn step(&self, pipeline: &str, step: StepView, plugin: Arc<PluginUse>) -> Result<ExplainedStep, AuditError> {
        let subject = format!("plugin/{}/{}", plugin.id, plugin.version);
        let installed_by = self.newest(&subject, |line| line.record.time <= step.started);
        let of_line = |below: &str| {
            let subject = format!("line/{}{below}", plugin.id);
            self.newest(&subject, |line| line.record.time <= step.started)
        };
        let promoted_by = of_line(&format!("/{pipeline}")).or_else(|| of_line(""));
        let document: Option<PluginDocument> = self.document(installed_by.as_ref()).await?;
        let document = document.filter(|document| document.digest == plugin.digest);
        let manifest: Option<Manifest> = document.and_then(|document| toml::from_str(&document.manifest).ok());
        let (mut connection, mut settings) = (None, None);
        if plugin.grant > 0 {
            let alias = step.operation.as_deref().and_then(|operation| operation.split('#').next()).unwrap_or_default();
            let (found, granted) = self.connection(pipeline, alias, plugin.grant, step.started).await?;
            (connection, settings) = (Some(found), granted);
        }
        let tables = step.tables.iter().map(|table| {
            let below = format!("{}/{}", table.name, table.version);
            let by_then = |action: &'static str| {
                move |line: &AuditLine| line.record.time <= step.started && line.record.action.starts_with(action)
            };
            ExplainedTable {
                table: table.clone(),
                drafted_by: self.newest(&format!("table/{below}"), by_then("table.draft")),
                approved_by: self.newest(&format!("table-state/{below}"), by_then("table.approve")),
                promoted_by: self.newest(&format!("table-active/{}", table.name), by_then("table.")),
            }
        });
        let tables: Vec<ExplainedTable> = tables.collect();
        let touches = manifest.map(|manifest| touches(&manifest, settings.as_ref()));
        let StepView { path, kind, operation, decision, .. } = step;
        let plugin = PluginUse::clone(&plugin);
        Ok(ExplainedStep {
            path,
            tables,
            kind,
            operation,
            decision,
            plugin,
            installed_by,
            promoted_by,
            connection,
            touches,
        })
    }

    /// The connection that a pipeline's name stood for, as it was under a grant revision.
    async fn connection(
        &self,
        pipeline: &str,
        alias: &str,
        grant: u64,
        time: Timestamp,
    ) -> Result<(ExplainedConnection, Option<Connection>), AuditError> {
        let bound_by = self.newest(&format!("binding/{pipeline}"), |line| line.record.time <= time);
        let bound: Option<BindingRecord> = self.document(bound_by.as_ref()).await?;
        let (granted_in, _) = chain::place(Position(grant));
        let granted_by = self.granted_in(granted_in);
        // A run goes on with the connection that it began with, whatever its name is bound to meanwhile.
        let granted = granted_by.as_ref().and_then(|line| line.record.subject.strip_prefix("connection/"));
        let name = granted.map(str::to_owned).or_else(|| bound.and_then(|bound| bound.names.get(alias).cloned()));
        let name = name.unwrap_or_else(|| alias.to_owned());
        let record: Option<ConnectionRecord> = self.document(granted_by.as_ref()).await?;
        let settings = record.and_then(|record| record.connection);
        let base_url = settings.as_ref().map(|settings| settings.base_url.clone());
        let allow_addresses = settings.as_ref().map(|settings| settings.allow_addresses.clone()).unwrap_or_default();
        Ok((ExplainedConnection { name, granted_by, bound_by, base_url, allow_addresses }, settings))
    }
}

fn decision(entry: &Entry) -> Option<ExplainedDecision> {
    let Entry::ApprovalDecided(decided) = entry else { return None };
    Some(ExplainedDecision {
        step: decided.step.clone(),
        time: decided.time,
        actor: decided.actor.clone(),
        on_behalf_of: decided.on_behalf_of.clone(),
        approved: decided.approved,
        override_code: decided.override_code.clone(),
        reason: decided.reason.clone(),
        evidence: decided.digest,
    })
}

/// What a manifest asked for, as a connection granted it. Without a connection, a plugin touches nothing.
fn touches(manifest: &Manifest, settings: Option<&Connection>) -> Touches {
    let Some(settings) = settings else { return Touches::default() };
    let http = manifest.capabilities.http.iter().map(|capability| HttpTouch {
        origin: capability.origin.replace(BASE_URL, &settings.base_url),
        methods: capability.methods.clone(),
        reason: capability.reason.clone(),
        authenticated: capability.authenticate,
    });
    let shown = |(name, reference): (&String, &SecretRef)| format!("{name} ({reference})");
    let mut secrets: Vec<String> =
        settings.secrets.iter().filter(|(name, _)| manifest.secrets.contains_key(*name)).map(shown).collect();
    let shown = settings.client_certificate.iter().map(|shown| format!("client certificate ({})", shown.certificate));
    secrets.extend(shown);
    secrets.extend(match &settings.auth {
        Auth::None => None,
        Auth::Basic { user, password } => Some(format!("basic authentication of `{user}` ({password})")),
        Auth::Bearer { token } => Some(format!("bearer token ({token})")),
        Auth::OAuth2RefreshToken { client_id, refresh_token, .. } => {
            Some(format!("OAuth 2 client `{client_id}` with a refresh token ({refresh_token})"))
        }
        Auth::OAuth1 { consumer_key, consumer_secret, .. } => {
            Some(format!("OAuth 1 signatures of `{consumer_key}` ({consumer_secret})"))
        }
        Auth::AwsSigV4 { access_key_id, secret_access_key, .. } => {
            Some(format!("AWS signatures of `{access_key_id}` ({secret_access_key})"))
        }
        Auth::OAuth2ClientCredentials { client_id, client_secret, .. } => {
            Some(format!("OAuth 2 client `{client_id}` ({client_secret})"))
        }
    });
    Touches { http: http.collect(), state: manifest.capabilities.state.clone(), secrets }
}
