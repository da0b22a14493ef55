//! Webhook sources: held against their plugin, set and removed.

use super::{InstallError, Installer, checks::fits_config, copy, read};
use crate::{
    app::installation::{Installation, Plugin},
    model::{
        audit::Cause,
        connection::WebhookSource,
        event::{SOURCE_BYTES_MAX, TYPE_BYTES_MAX},
        setting::Origin,
        source::SourceRecord,
    },
};

/// The interface that a plugin exports which reads deliveries.
const RECEIVING: &str = "webhook-source";
/// What `source` of the events begins with that the hub makes by itself: they are believed to come from nobody else.
const OWN_SOURCES: [&str; 3] = ["/pipelines/", "/schedules/", "/connections/"];

impl Installer {
    /// Sets a webhook source as hub.toml declares it. One that was changed over the API stays as it is.
    ///
    /// # Errors
    /// If its plugin is not installed or reads no webhooks, or its settings do not fit; nothing has changed then.
    pub async fn source(
        &self,
        now: &Installation,
        cause: &Cause,
        name: &str,
        source: WebhookSource,
    ) -> Result<Option<Installation>, InstallError> {
        if let Some(held) = now.settings.sources.get(name).filter(|held| held.origin == Origin::Api) {
            if held.source.as_ref() != Some(&source) {
                tracing::warn!(
                    source = name,
                    "hub.toml declares this webhook source in another way than it was set over the API, which holds; \
                     `crossdock source change {name} --declared` takes what hub.toml says"
                );
            }
            return Ok(None);
        }
        if now.sources.get(name) == Some(&source) {
            return Ok(None);
        }
        self.check_source(now, name, &source)?;
        let record = SourceRecord { source: Some(source), ..SourceRecord::default() };
        self.set_source(now, cause, "source.set", name, record).await.map(Some)
    }

    /// Whether a webhook source can be what it is to be.
    ///
    /// # Errors
    /// What does not hold, and what to change.
    pub fn check_source(&self, now: &Installation, name: &str, source: &WebhookSource) -> Result<(), InstallError> {
        let wrong = |problem: String| InstallError::Setting { what: format!("webhook source `{name}`"), problem };
        check_events(source).map_err(wrong)?;
        let plugin = now.serving(&source.plugin).map_err(|unserved| wrong(unserved.problem))?;
        reads(plugin, source).map_err(wrong)?;
        let produced = &plugin.manifest.produces;
        match source.types.iter().find(|wanted| !produced.is_empty() && !produced.contains(wanted)) {
            None => Ok(()),
            Some(never) => Err(wrong(format!(
                "`types`: plugin `{}` brings no events of type `{never}`; it brings {}",
                source.plugin,
                produced.join(", ")
            ))),
        }
    }

    /// Sets a webhook source, in effect from the next delivery on. Whoever calls has checked it, if it is another than before.
    ///
    /// # Errors
    /// If it cannot be recorded; nothing has changed then.
    pub async fn set_source(
        &self,
        now: &Installation,
        cause: &Cause,
        action: &str,
        name: &str,
        record: SourceRecord,
    ) -> Result<Installation, InstallError> {
        self.put_as(cause, action, &format!("source/{name}"), &record).await?;
        let mut next = copy(now);
        keep(&mut next, name, record);
        Ok(next)
    }

    /// Removes a webhook source: its deliveries are answered as those of one that never was. One that hub.toml declares is
    /// remembered as removed, so that the next start does not bring it back.
    ///
    /// # Errors
    /// If it cannot be recorded; nothing has changed then.
    pub async fn remove_source(
        &self,
        now: &Installation,
        cause: &Cause,
        name: &str,
        is_declared: bool,
    ) -> Result<Installation, InstallError> {
        let action = "source.remove";
        if is_declared {
            let record = SourceRecord { source: None, origin: Origin::Api, replaced: None };
            return self.set_source(now, cause, action, name, record).await;
        }
        self.audit.delete_as(&*self.records, cause, action, &format!("source/{name}")).await?;
        let mut next = copy(now);
        next.sources.remove(name);
        next.settings.sources.remove(name);
        Ok(next)
    }

    /// Reads the webhook sources that are recorded.
    pub(super) async fn load_sources(&self, next: &mut Installation) -> Result<(), InstallError> {
        for (key, stored) in self.all("source/").await? {
            let record = read(&key, &stored)?;
            keep(next, key.trim_start_matches("source/"), record);
        }
        Ok(())
    }
}

fn keep(next: &mut Installation, name: &str, record: SourceRecord) {
    match record.source.clone() {
        Some(source) => drop(next.sources.insert(name.to_owned(), source)),
        None => drop(next.sources.remove(name)),
    }
    next.settings.sources.insert(name.to_owned(), record);
}

/// Whether a version of a plugin can read a source's deliveries.
///
/// # Errors
/// What is missing.
pub(in crate::app) fn reads(plugin: &Plugin, source: &WebhookSource) -> Result<(), String> {
    if plugin.manifest.webhook.is_none() || !plugin.exports(RECEIVING) {
        return Err(format!(
            "plugin `{}` reads no webhooks: it declares no `[webhook]`, or exports no `{RECEIVING}`",
            source.plugin
        ));
    }
    fits_config(&plugin.schemas, &source.config.to_value())
}

/// Whether what a source says of its events can stand in an event.
fn check_events(source: &WebhookSource) -> Result<(), String> {
    let WebhookSource { source: uri, types, .. } = source;
    let odd = |text: &str| text.chars().any(|one| one.is_whitespace() || one.is_control());
    if uri.is_empty() || uri.len() > SOURCE_BYTES_MAX || odd(uri) {
        return Err(format!("`source` is a URI reference such as `/shops/eu-1`, at most {SOURCE_BYTES_MAX} bytes"));
    }
    if let Some(own) = OWN_SOURCES.iter().find(|own| uri.starts_with(**own)) {
        return Err(format!("`source`: `{own}…` is said of events that the hub makes by itself; choose another"));
    }
    if types.is_empty() {
        return Err("`types` names no event type, so that nothing could come in".to_owned());
    }
    let fits = |name: &&String| (1..=TYPE_BYTES_MAX).contains(&name.len()) && !odd(name) && !name.contains('*');
    match types.iter().find(|name| !fits(name)) {
        None => Ok(()),
        Some(wrong) => Err(format!(
            "`types`: `{wrong}` is no event type; each is named in full, such as `retail.order.placed.v1`, at most \
             {TYPE_BYTES_MAX} bytes"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use super::*;
    use crate::{
        app::{installation::lines::Live, package::Schemas},
        model::{id::Digest, limits::Limits, manifest::Manifest},
        ports::invoker::Inspection,
    };

    fn plugin(more: &str, exports: &[&str]) -> Plugin {
        let manifest: Manifest = toml::from_str(&format!(
            "id = \"acme/shop\"\nversion = \"1.0.0\"\nkind = \"transform\"\ncontract = \"1.0.0\"\nlicense = \"MIT\"\n\
             summary = \"x\"\n{more}"
        ))
        .unwrap();
        let digest = Digest::of(b"shop");
        Plugin {
            pure: Plugin::used(&manifest, digest, 0),
            inspection: Inspection {
                digest,
                bytes: 0,
                imports: Vec::new(),
                exports: exports.iter().map(|name| format!("crossdock:plugin/{name}@1.0.0")).collect(),
            },
            manifest,
            schemas: Schemas::default(),
            limits: Limits::DEFAULT,
            input: None,
            output: None,
            operations: BTreeMap::new(),
            produces: BTreeMap::new(),
            signed: None,
            golden: None,
            live: Live::default(),
        }
    }

    fn source(more: &str) -> WebhookSource {
        let text = format!("plugin = \"acme/shop\"\nsource = \"/eu\"\nsecret = \"env:A\"\n{more}");
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn a_version_that_reads_no_webhooks_is_found_wherever_it_would_come_to_serve() {
        let webhook = "[webhook]\nalgorithm = \"hmac-sha256\"\nheader = \"x\"\nencoding = \"hex\"\n";
        let own = source("types = [\"a\"]");
        assert_eq!(reads(&plugin(webhook, &["transform", "webhook-source"]), &own), Ok(()));
        for blind in [plugin("", &["webhook-source"]), plugin(webhook, &["transform"])] {
            assert!(reads(&blind, &own).unwrap_err().contains("reads no webhooks"));
            let mut now = Installation::default();
            now.sources.insert("shop".into(), own.clone());
            let blind = Arc::new(blind);
            let against: Vec<String> = crate::app::registry::checks::unread(&now, &blind).collect();
            assert!(against.len() == 1 && against[0].starts_with("webhook source `shop`: "), "{against:?}");
        }
    }

    #[test]
    fn what_a_source_says_of_its_events_can_stand_in_an_event() {
        let check = |text: &str| check_events(&source(text));
        assert_eq!(check("types = [\"a.b.v1\"]"), Ok(()));
        for wrong in ["types = []", "types = [\"\"]", "types = [\"a*\"]", "types = [\"a b\"]"] {
            assert!(check(wrong).unwrap_err().starts_with("`types`"), "{wrong}");
        }
        for uri in ["", "/a b", "/pipelines/x", "/schedules/x", "/connections/x"] {
            let own = WebhookSource { source: uri.into(), ..source("types = [\"a\"]") };
            assert!(check_events(&own).unwrap_err().starts_with("`source`"), "{uri}");
        }
    }
}
