//! What the audit log holds: one record for every change to what runs, and the checkpoints that the hub signs over it.
//!
//! A record is stored as one format byte, then MessagePack with field names, as facts of runs are. It never holds what
//! was changed, only digests of it: the documents themselves are blobs under those digests.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    id::{ChainHash, Digest, KeyId},
    timestamp::Timestamp,
};

/// The format that is written today.
pub const FORMAT: u8 = 1;
/// Longest actor, action and subject, characters.
pub const NAME_CHARACTERS_MAX: usize = 300;
/// Longest reason, characters.
pub const REASON_CHARACTERS_MAX: usize = 2_000;
/// The first line of what is signed for a checkpoint.
const CHECKPOINT_FORMAT: &str = "crossdock checkpoint 1";

/// Who changes something, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// `operator:config` for the configuration file, `hub` for the hub itself, otherwise who was authenticated.
    pub actor: String,
    /// Why, in the actor's words.
    pub reason: String,
}

impl Cause {
    /// What an operator's configuration file declares.
    #[must_use]
    pub fn config(reason: impl Into<String>) -> Self {
        Self { actor: "operator:config".to_owned(), reason: reason.into() }
    }

    /// What the hub does or finds by itself.
    #[must_use]
    pub fn hub(reason: impl Into<String>) -> Self {
        Self { actor: "hub".to_owned(), reason: reason.into() }
    }
}

/// A change that is to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What is done, as `thing.verb`: `plugin.install`, `connection.set`.
    pub action: String,
    /// To what: the key of its record, such as `connection/erp`.
    pub subject: String,
    /// Digest of what was there; absent: nothing.
    pub before: Option<Digest>,
    /// Digest of what is there from now on; absent: nothing.
    pub after: Option<Digest>,
}

/// A change to what runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// When.
    pub time: Timestamp,
    /// Who.
    pub actor: String,
    /// What was done, as `thing.verb`.
    pub action: String,
    /// To what: the key of its record.
    pub subject: String,
    /// Digest of what was there; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Digest>,
    /// Digest of what is there from now on; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Digest>,
    /// Why.
    pub reason: String,
}

/// An audit record with its place in the journal, as lists and exports show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    /// Its number among the audit records, from 1.
    pub sequence: u64,
    /// The record.
    #[serde(flatten)]
    pub record: AuditRecord,
    /// The batch of the journal that it lies in.
    pub batch: u64,
    /// Which append of that batch, from 0.
    pub append: u64,
}

/// Stored bytes are not an audit record.
#[derive(Debug, thiserror::Error)]
pub enum AuditRecordError {
    /// Written by a later release.
    #[error("it has format {found}; this release reads up to {FORMAT}: use the release that wrote it, or a later one")]
    Format {
        /// The format byte.
        found: u8,
    },
    /// Not what was written.
    #[error("it cannot be decoded")]
    Decode {
        /// Why.
        #[from]
        source: rmp_serde::decode::Error,
    },
    /// Nothing was stored.
    #[error("it is empty")]
    Empty,
}

impl AuditRecord {
    /// A record of a change. Texts beyond their bounds are cut.
    #[must_use]
    pub fn new(time: Timestamp, cause: &Cause, change: &Change) -> Self {
        Self {
            time,
            actor: bounded(&cause.actor, NAME_CHARACTERS_MAX),
            action: bounded(&change.action, NAME_CHARACTERS_MAX),
            subject: bounded(&change.subject, NAME_CHARACTERS_MAX),
            before: change.before,
            after: change.after,
            reason: bounded(&cause.reason, REASON_CHARACTERS_MAX),
        }
    }

    /// Its stored form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(256);
        bytes.push(FORMAT);
        // INVARIANT: writing to memory does not fail, and every record has a MessagePack form (the round trip test).
        let written = rmp_serde::encode::write_named(&mut bytes, self);
        debug_assert!(written.is_ok());
        bytes.into()
    }

    /// The record of a stored form.
    ///
    /// # Errors
    /// If the bytes are of a later format or damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, AuditRecordError> {
        match bytes.split_first() {
            None => Err(AuditRecordError::Empty),
            Some((&FORMAT, body)) => Ok(rmp_serde::from_slice(body)?),
            Some((&found, _)) => Err(AuditRecordError::Format { found }),
        }
    }
}

fn bounded(text: &str, characters_max: usize) -> String {
    text.chars().take(characters_max).collect()
}

impl AuditLine {
    /// The line of an export, without its line feed. The same for the same record in every release.
    #[must_use]
    pub fn to_json(&self) -> String {
        // INVARIANT: text, numbers and digests have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What a hub vouches for: the journal up to a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The hub's id.
    pub hub: String,
    /// The last batch; 0: the journal is empty.
    pub batch: u64,
    /// The hash of that batch's header, which covers everything before it.
    pub chain: ChainHash,
    /// How many appends there are in all batches up to it.
    pub appends: u64,
    /// When it was signed.
    pub time: Timestamp,
    /// Which key signed it.
    pub key: KeyId,
}

/// A checkpoint and its signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedCheckpoint {
    /// What is vouched for.
    #[serde(flatten)]
    pub checkpoint: Checkpoint,
    /// The Ed25519 signature (RFC 8032) over [`Checkpoint::message`], standard base 64 with padding.
    pub signature: String,
}

impl Checkpoint {
    /// What is signed: a line for each field, so that it can be put together by hand. Control characters, which no
    /// field has, are left out.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        let hub: String = self.hub.chars().filter(|character| !character.is_control()).collect();
        format!(
            "{CHECKPOINT_FORMAT}\nhub {hub}\nbatch {}\nchain {}\nappends {}\ntime {}\nkey {}\n",
            self.batch, self.chain, self.appends, self.time, self.key
        )
        .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> AuditRecord {
        let change = Change {
            action: "connection.set".into(),
            subject: "connection/erp".into(),
            before: None,
            after: Some(Digest::of(b"after")),
        };
        AuditRecord::new(Timestamp::from_millis(1_000), &Cause::config("hub.toml"), &change)
    }

    #[test]
    fn a_record_survives_its_stored_form_and_damage_is_noticed() {
        assert_eq!(AuditRecord::decode(&record().encode()).unwrap(), record());
        assert!(matches!(AuditRecord::decode(&[]), Err(AuditRecordError::Empty)));
        assert!(matches!(AuditRecord::decode(&[2, 0]), Err(AuditRecordError::Format { found: 2 })));
        assert!(matches!(AuditRecord::decode(&[1, 0]), Err(AuditRecordError::Decode { .. })));
    }

    #[test]
    fn the_bytes_of_format_1_and_the_line_of_an_export_are_these() {
        // If one of these changes, exports made before no longer verify: the format must get a new number.
        let bytes = blake3::hash(&record().encode()).to_hex();
        insta::assert_snapshot!(format!("{} bytes, {}", record().encode().len(), &bytes[..16]), @"133 bytes, 3aef49cf23ee9dcb");
        let line = AuditLine { sequence: 1, record: record(), batch: 2, append: 0 };
        insta::assert_snapshot!(line.to_json(), @r#"{"sequence":1,"time":"1970-01-01T00:00:01.000Z","actor":"operator:config","action":"connection.set","subject":"connection/erp","after":"sha256:f39592393ef0859cb196a52693d2cea00fb2df784b3c04ae54aa7cadb8e562f8","reason":"hub.toml","batch":2,"append":0}"#);
        assert_eq!(serde_json::from_str::<AuditLine>(&line.to_json()).unwrap(), line);
    }

    #[test]
    fn texts_are_cut_at_their_bounds() {
        let cause = Cause { actor: "ä".repeat(1_000), reason: "r".repeat(5_000) };
        let change = Change { action: String::new(), subject: "s".repeat(1_000), before: None, after: None };
        let record = AuditRecord::new(Timestamp::default(), &cause, &change);
        assert_eq!(record.actor.chars().count(), NAME_CHARACTERS_MAX);
        assert_eq!((record.subject.len(), record.reason.len()), (NAME_CHARACTERS_MAX, REASON_CHARACTERS_MAX));
    }

    #[test]
    fn what_is_signed_covers_every_field_and_cannot_be_shifted() {
        let checkpoint = Checkpoint {
            hub: "ab".into(),
            batch: 3,
            chain: ChainHash::from_bytes([1; 32]),
            appends: 7,
            time: Timestamp::from_millis(0),
            key: KeyId::from_bytes([2; 16]),
        };
        insta::assert_snapshot!(String::from_utf8(checkpoint.message()).unwrap(), @r"
        crossdock checkpoint 1
        hub ab
        batch 3
        chain blake3:0101010101010101010101010101010101010101010101010101010101010101
        appends 7
        time 1970-01-01T00:00:00.000Z
        key key_02020202020202020202020202020202
        ");
        let shifted = Checkpoint { hub: "ab\nbatch 9".into(), ..checkpoint.clone() };
        assert_eq!(String::from_utf8(shifted.message()).unwrap().lines().count(), 7);
    }
}
