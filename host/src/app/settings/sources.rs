//! Webhook sources, as people change them: who signs, what comes in, as what. As with connections, one that was changed here
//! is no longer what hub.toml says, until somebody takes that back (`declared`).

use super::{HubSettings, Ready, cause, references::check_name, refused};
use crate::{
    app::installation::Installation,
    model::{
        connection::{SecretRef, WebhookSource},
        setting::{Origin, SettingChange},
        source::{Replaced, SourceRecord},
    },
    net::server::WEBHOOK_BODY_BYTES_LIMIT_MAX,
    policy::admission,
    ports::{
        registry::Who,
        settings::{SettingChanged, SettingError, SourceAct, SourceView},
    },
};

/// Most webhook sources.
const SOURCES_MAX: usize = 1_000;
/// For how long the secret of before still proves its sender unless told, milliseconds: a day, as with `secret rotate`.
const KEEP_MS_DEFAULT: u64 = crate::app::secrets::store::KEEP_MS_DEFAULT;
/// For how long at most.
const KEEP_MS_MAX: u64 = crate::app::secrets::store::KEEP_MS_MAX;

impl HubSettings {
    pub(super) fn source_views(&self) -> Vec<SourceView> {
        let (now, declared, time) = (self.shared.installation.load(), self.declared.load(), self.shared.clock.now());
        let view = |(name, source): (&String, &WebhookSource)| {
            let record = now.settings.sources.get(name);
            let serving = now.serving(&source.plugin).ok();
            SourceView {
                name: name.clone(),
                path: format!("/v1/webhooks/{name}"),
                plugin: source.plugin.clone(),
                version: serving.map(|plugin| plugin.manifest.version.to_string()),
                signed: serving.and_then(|plugin| plugin.manifest.webhook.clone()),
                source: source.source.clone(),
                types: source.types.clone(),
                secret: source.secret.clone(),
                replaced: record.and_then(|record| record.replaced_at(time)).cloned(),
                config: source.config.clone(),
                body_bytes_limit: source.body_bytes_limit,
                origin: record.map_or(Origin::File, |record| record.origin).as_str(),
                declared: declared.sources.get(name).map(|told| if told == source { "same" } else { "differs" }),
            }
        };
        now.sources.iter().map(view).collect()
    }

    pub(super) async fn change_source(
        &self,
        name: &str,
        act: SourceAct,
        who: Who,
    ) -> Result<SettingChanged, SettingError> {
        let cause = cause(&who)?;
        let _changing = self.registry.changing().await;
        let now = self.shared.installation.load_full();
        let held = now.settings.sources.get(name);
        let set = held.and_then(|held| held.source.clone());
        let origin = held.map_or(Origin::File, |held| held.origin);
        let unknown = || SettingError::UnknownSource { name: name.to_owned() };
        let ready = match act {
            SourceAct::Add(_) if set.is_some() => {
                let problem =
                    format!("there is a webhook source `{name}`: `crossdock source change {name}` changes it");
                return Err(SettingError::Conflict { problem });
            }
            SourceAct::Add(source) => {
                check_name("webhook source", name)?;
                if now.settings.sources.len() >= SOURCES_MAX {
                    let problem = format!("there are {SOURCES_MAX} webhook sources already: remove one");
                    return Err(SettingError::Conflict { problem });
                }
                self.plan_source(&now, name, *source, Origin::Api, None)?
            }
            SourceAct::Change(source) => {
                if set.ok_or_else(unknown)? == *source && origin == Origin::Api {
                    return Ok(unchanged(name));
                }
                self.plan_source(&now, name, *source, Origin::Api, None)?
            }
            SourceAct::Declared => {
                let declared = self.declared.load().sources.get(name).cloned();
                let none =
                    || SettingError::Conflict { problem: format!("hub.toml declares no webhook source `{name}`") };
                let declared = declared.ok_or_else(none)?;
                if set.as_ref() == Some(&declared) && origin == Origin::File {
                    return Ok(unchanged(name));
                }
                self.plan_source(&now, name, declared, Origin::File, None)?
            }
            SourceAct::Rotate { to, keep_ms } => {
                let source = set.ok_or_else(unknown)?;
                if source.secret == to {
                    let problem = format!(
                        "deliveries of webhook source `{name}` are signed with `{to}` already; `crossdock secret rotate` \
                         gives a `store:` secret another value, and keeps the one of before for a while as well"
                    );
                    return Err(SettingError::Conflict { problem });
                }
                let keep_ms = keep_ms.unwrap_or(KEEP_MS_DEFAULT);
                if keep_ms > KEEP_MS_MAX {
                    let problem = format!("a secret of before is taken for at most {KEEP_MS_MAX} ms");
                    return Err(SettingError::Invalid { problem });
                }
                self.plan_source(&now, name, WebhookSource { secret: to, ..source }, Origin::Api, Some(keep_ms))?
            }
            SourceAct::Confirm => {
                let source = set.ok_or_else(unknown)?;
                let record = SourceRecord { source: Some(source), origin, replaced: None };
                if held == Some(&record) {
                    return Ok(unchanged(name));
                }
                let next = self.installer.set_source(&now, &cause, "source.confirm", name, record).await;
                let summary =
                    format!("webhook source `{name}` takes nothing any more that is signed with the secret of before");
                return self.done(next.map_err(refused)?, summary, Vec::new(), &cause);
            }
            SourceAct::Remove => {
                set.ok_or_else(unknown)?;
                let is_declared = self.declared.load().sources.contains_key(name);
                let next = self.installer.remove_source(&now, &cause, name, is_declared).await.map_err(refused)?;
                let mut notes = vec!["its deliveries are answered 404 from now on".to_owned()];
                if is_declared {
                    notes.push(format!(
                        "hub.toml still declares it, and is not followed; `crossdock source change {name} --declared` brings \
                         it back"
                    ));
                }
                return self.done(next, format!("webhook source `{name}` is removed"), notes, &cause);
            }
        };
        self.settle(&now, &who, &cause, ready).await
    }

    fn done(
        &self,
        next: Installation,
        summary: String,
        notes: Vec<String>,
        cause: &crate::model::audit::Cause,
    ) -> Result<SettingChanged, SettingError> {
        self.shared.installation.store(std::sync::Arc::new(next));
        tracing::info!(summary, actor = cause.actor, "a setting has changed");
        Ok(SettingChanged::Done { summary, notes, tested: None })
    }

    /// What setting a webhook source comes to; `keep_ms`: for how long the secret of before goes on proving its sender.
    pub(super) fn plan_source(
        &self,
        now: &Installation,
        name: &str,
        source: WebhookSource,
        origin: Origin,
        keep_ms: Option<u64>,
    ) -> Result<Ready, SettingError> {
        if !(1..=WEBHOOK_BODY_BYTES_LIMIT_MAX).contains(&source.body_bytes_limit) {
            let problem = format!("`body_bytes_limit` is at least 1 and at most {WEBHOOK_BODY_BYTES_LIMIT_MAX}");
            return Err(SettingError::Refused { problem, tested: None });
        }
        self.installer.check_source(now, name, &source).map_err(refused)?;
        self.may_refer("secret", &source.secret)?;
        let before = now.sources.get(name);
        let replaced = self.replaced(now, name);
        let known: Vec<&SecretRef> = before
            .iter()
            .map(|before| &before.secret)
            .chain(replaced.iter().map(|replaced| &replaced.secret))
            .collect();
        let mut because = admission::let_in_beyond(before, &known, &source);
        if let SecretRef::Store(secret) = &source.secret
            && !known.contains(&&source.secret)
        {
            let others = self.others_using(&own(name), secret);
            let shared = format!("`{}` is what {} uses", source.secret, others.join(", "));
            because.extend((!others.is_empty()).then_some(shared));
        }
        let mut notes = Vec::new();
        let is_new = |secret: &&SecretRef| **secret != source.secret;
        if let Some(old) = before.map(|before| &before.secret).filter(is_new) {
            notes.push(match keep_ms {
                Some(keep_ms @ 1..) => format!(
                    "deliveries that are signed with `{old}` are taken for {} s more; `crossdock source confirm {name}` \
                     ends that",
                    keep_ms / 1_000
                ),
                _ => format!("deliveries that are signed with `{old}` are refused from now on"),
            });
        }
        let untaken: Vec<&str> =
            source.types.iter().map(String::as_str).filter(|event_type| !now.knows(event_type)).collect();
        if !untaken.is_empty() {
            notes.push(format!(
                "no pipeline and no schema knows `{}` yet: deliveries that bring it are refused until one does",
                untaken.join("`, `")
            ));
        }
        if self.declared.load().sources.get(name).is_some_and(|declared| *declared != source) {
            notes.push(format!(
                "hub.toml declares it in another way and is not followed any more; `crossdock source change {name} \
                 --declared` takes that back"
            ));
        }
        let action = match (before, keep_ms) {
            (None, _) => "source.add",
            (Some(_), Some(_)) => "source.rotate",
            (Some(_), None) => "source.change",
        };
        Ok(Ready {
            summary: format!("webhook source `{name}` is set: `{}` reads it as `{}`", source.plugin, source.source),
            change: SettingChange::Source { name: name.to_owned(), source: Box::new(source), origin, keep_ms },
            because,
            action,
            notes,
            tested: None,
        })
    }

    /// A webhook source as it is to be recorded: a secret that is rotated away, or was, goes on for its time.
    pub(super) fn source_record(
        &self,
        now: &Installation,
        name: &str,
        source: WebhookSource,
        origin: Origin,
        keep_ms: Option<u64>,
    ) -> SourceRecord {
        let before = now.sources.get(name).map(|before| before.secret.clone());
        let replaced = match keep_ms {
            Some(keep_ms) => {
                let until = self.shared.clock.now().plus_millis(keep_ms);
                before.filter(|_| keep_ms > 0).map(|secret| Replaced { secret, until })
            }
            None if before.as_ref() == Some(&source.secret) => self.replaced(now, name),
            None => None,
        };
        SourceRecord { source: Some(source), origin, replaced }
    }

    fn replaced(&self, now: &Installation, name: &str) -> Option<Replaced> {
        let held = now.settings.sources.get(name)?;
        held.replaced_at(self.shared.clock.now()).cloned()
    }
}

/// How what uses a secret is called.
fn own(name: &str) -> String {
    format!("webhook source `{name}`")
}

fn unchanged(name: &str) -> SettingChanged {
    let summary = format!("webhook source `{name}` is like that already; nothing has changed");
    SettingChanged::Done { summary, notes: Vec::new(), tested: None }
}
