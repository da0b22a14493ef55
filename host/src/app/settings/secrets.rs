//! The secrets that the hub keeps, as people set them.

use std::sync::Arc;

use super::{HubSettings, cause, connections::Instead};
use crate::{
    app::install::copy,
    model::{connection::SecretRef, setting::SecretRecord},
    net::egress::identity::ClientIdentity,
    ports::{
        registry::Who,
        secrets::Secret,
        settings::{PreviousView, SecretAct, SecretView, SettingError},
    },
};

impl HubSettings {
    pub(super) fn secret_views(&self) -> Vec<SecretView> {
        let kept = self.store.list();
        kept.into_iter().map(|(name, record)| self.secret_view(name, record)).collect()
    }

    fn secret_view(&self, name: String, record: SecretRecord) -> SecretView {
        let previous =
            record.previous.map(|previous| PreviousView { version: previous.version.version, until: previous.until });
        let used_by = self.users_of(&name);
        let current = record.current;
        SecretView { name, version: current.version, set: current.set, by: current.by, previous, used_by }
    }

    /// What refers to a secret that the hub keeps.
    pub(super) fn users_of(&self, name: &str) -> Vec<String> {
        let now = self.shared.installation.load();
        let uses = |reference: &SecretRef| matches!(reference, SecretRef::Store(used) if used == name);
        let mut users: Vec<String> =
            now.secrets().filter(|(_, reference)| uses(reference)).map(|(whose, _)| whose).collect();
        let time = self.shared.clock.now();
        let replaced = now.settings.sources.iter().filter(|(_, record)| {
            let replaced = record.replaced_at(time).map(|replaced| &replaced.secret);
            record.source.is_some() && replaced.is_some_and(uses)
        });
        users.extend(replaced.map(|(name, _)| format!("webhook source `{name}`")));
        let signing = self.subscriptions.secrets().into_iter();
        users.extend(signing.filter(|(_, reference)| uses(reference)).map(|(whose, _)| whose));
        users.dedup();
        users
    }

    pub(super) async fn change_secret(
        &self,
        name: &str,
        act: SecretAct,
        who: Who,
    ) -> Result<Option<SecretView>, SettingError> {
        let cause = cause(&who)?;
        let _changing = self.registry.changing().await;
        let is_set = self.store.version(name) > 0;
        let record = match act {
            SecretAct::Set { .. } if is_set => {
                let problem =
                    format!("secret `{name}` is set: `crossdock secret rotate {name}` gives it another value");
                return Err(SettingError::Conflict { problem });
            }
            SecretAct::Set { value } => self.store.set(&cause, name, &value, None).await?,
            SecretAct::Rotate { .. } if !is_set => {
                return Err(SettingError::UnknownSecret { name: name.to_owned() });
            }
            SecretAct::Rotate { value, keep_ms } => {
                self.may_be_shown(name, &value)?;
                self.store.set(&cause, name, &value, keep_ms).await?
            }
            SecretAct::TakeBack => self.store.take_back(&cause, name).await?,
            SecretAct::Confirm => self.store.confirm(&cause, name).await?,
            SecretAct::Remove => {
                self.may_be_forgotten(name).await?;
                self.store.remove(&cause, name).await?;
                tracing::info!(secret = name, actor = cause.actor, "a secret was removed");
                return Ok(None);
            }
        };
        self.renew(name);
        tracing::info!(secret = name, version = record.current.version, actor = cause.actor, "a secret has changed");
        Ok(Some(self.secret_view(name.to_owned(), record)))
    }

    /// Whether connections that show a secret alone, certificate and key in one, can show another value of it. Where the key
    /// is a secret of its own, one of the two has to be exchanged first.
    fn may_be_shown(&self, name: &str, value: &Secret) -> Result<(), SettingError> {
        let now = self.shared.installation.load();
        let reference = SecretRef::Store(name.to_owned());
        let shown = now.connections.values().filter_map(|open| {
            let shown = open.connection.client_certificate.as_ref()?;
            (shown.private_key.is_none() && shown.certificate == reference).then_some((&open.name, shown))
        });
        let secrets = Arc::clone(&self.installer.secrets);
        let instead = Instead { secrets, reference: reference.clone(), value: value.clone() };
        for (connection, shown) in shown {
            ClientIdentity::read(shown, &instead, self.shared.clock.now()).map_err(|error| SettingError::Refused {
                problem: format!("connection `{connection}` cannot show it, so nothing was rotated: {error}"),
                tested: None,
            })?;
        }
        Ok(())
    }

    /// What was made with the value of before, pools and tokens, is not used any more. The registry's lock is held.
    pub(super) fn renew(&self, secret: &str) {
        let mut next = copy(&self.shared.installation.load());
        self.installer.renew(&mut next, secret);
        self.shared.installation.store(Arc::new(next));
    }
}
