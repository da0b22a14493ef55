//! Personal data of a hub: sealed on its way into the journal with a key of the person's own, opened on its way out, gone
//! for good once that key is destroyed. [`README.md`](personal/README.md) says what is covered and what is not.
//!
//! | module | does |
//! | --- | --- |
//! | [`keyring`] | the keys, one a person: made, opened, destroyed |
//! | [`erasures`] | the list of keys that were destroyed, which outlives every backup |
//! | [`erase`] | an erasure: refused while runs need the data, recorded, then done |
//!
//! The one place where facts are sealed and opened is [`super::facts`]; what is tagged, [`crate::policy::personal`] says.

pub mod erase;
pub mod erasures;
pub mod keyring;

use std::sync::Arc;

use self::keyring::KeyringError;
use super::{installation::Installation, runner::Shared};
use crate::{
    model::{event::Event, id::SubjectKeyId, personal::Personal},
    policy::personal::tags::Tags,
    ports::hub::AcceptError,
};

/// The folder of the keys in the data folder.
pub const FOLDER: &str = "personal";

/// What a schema says of personal data in an event.
pub(super) fn tags(installation: &Installation, event: &Event) -> Option<Arc<Tags>> {
    installation.events.tags(event)
}

/// What of an event is personal data, with a key that is durable. An event whose schema says nothing is as personal as
/// what it was made from.
///
/// # Errors
/// If the key cannot be made or read; nothing may be accepted then.
pub(super) async fn of(
    shared: &Shared,
    tags: Option<&Tags>,
    event: &Event,
    made_from: &[SubjectKeyId],
) -> Result<Option<Personal>, AcceptError> {
    let Some(tags) = tags else {
        return Ok((!made_from.is_empty()).then(|| Personal::whole(made_from.to_vec())));
    };
    let Some(subject) = tags.subject_of(&event.data.to_value()).filter(|subject| !subject.is_empty()) else {
        let problem =
            format!("`data{}` says who its personal data is about; it is empty: name the person", tags.subject);
        return Err(AcceptError::Data { id: event.id.clone(), problem });
    };
    let unavailable = |error: &dyn std::error::Error| AcceptError::Unavailable {
        reason: format!("personal data cannot be sealed: {error}"),
    };
    let Some(keyring) = shared.facts.keyring() else { return Err(unavailable(&KeyringError::NoKeyring)) };
    let key = keyring.key_of(&subject).await.map_err(|error| unavailable(&error))?;
    Ok(Some(Personal { keys: vec![key], fields: tags.fields.clone() }))
}
