//! Identities. Each is a newtype, so that a run's id is never taken for an event's.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

use super::hex::{self, hex};

/// The text is not an id of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct IdError {
    text: String,
    expected: &'static str,
}

macro_rules! hash_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $prefix:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// From its bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0_u8; $prefix.len() + 2 * $len];
                text.iter_mut().zip($prefix.bytes()).for_each(|(to, from)| *to = from);
                let digits = self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]);
                text.iter_mut().skip($prefix.len()).zip(digits).for_each(|(to, digit)| *to = hex::digit(digit));
                f.write_str(std::str::from_utf8(&text).unwrap_or_default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let wrong = || IdError { text: text.to_owned(), expected: $expected };
                let hex = text.strip_prefix($prefix).ok_or_else(wrong)?;
                let mut bytes = [0; $len];
                unhex(hex, &mut bytes).ok_or_else(wrong)?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_bytes(&self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
                } else {
                    let bytes = bytes::Bytes::deserialize(deserializer)?;
                    bytes.as_ref().try_into().map(Self).map_err(|_| de::Error::custom($expected))
                }
            }
        }
    };
}

hash_id!(
    /// SHA-256 of some content, such as a component: what `sha256sum` prints, after `sha256:`.
    Digest, 32, "sha256:", "a digest: `sha256:` and 64 hexadecimal digits"
);
hash_id!(
    /// The identity of an accepted event: a hash of (source, event id).
    AcceptanceId, 16, "acc_", "an acceptance id: `acc_` and 32 hexadecimal digits"
);
hash_id!(
    /// The identity of a run: a hash of (acceptance, pipeline).
    RunId, 16, "run_", "a run id: `run_` and 32 hexadecimal digits"
);
hash_id!(
    /// The identity of one append, the same for every repetition of it.
    AppendId, 16, "app_", "an append id: `app_` and 32 hexadecimal digits"
);
hash_id!(
    /// What ties an event to a wait: a hash of (event type, the compared part of the event, its value).
    SignalKey, 16, "sig_", "a signal key: `sig_` and 32 hexadecimal digits"
);
hash_id!(
    /// Identifies the intended effect of a step: the same for every attempt, in every process, for ever.
    IdempotencyKey, 16, "xd_", "an idempotency key: `xd_` and 32 hexadecimal digits"
);

hash_id!(
    /// The hash of a batch's header, which covers the journal up to there.
    ChainHash, 32, "blake3:", "a chain hash: `blake3:` and 64 hexadecimal digits"
);
hash_id!(
    /// Whom personal data is about: a keyed hash, from which nobody without the key of secrets finds the person.
    SubjectId, 16, "sub_", "a subject id: `sub_` and 32 hexadecimal digits"
);
hash_id!(
    /// A key that seals a person's data: whose it is, and which of theirs, since a new one is made after an erasure.
    SubjectKeyId, 24, "sky_", "a subject key id: `sky_` and 48 hexadecimal digits"
);
hash_id!(
    /// Which key signed: the start of the SHA-256 of the public key's DER form.
    KeyId, 16, "key_", "a key id: `key_` and 32 hexadecimal digits"
);

impl Digest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        Self(Sha256::digest(content).into())
    }

    /// The first 12 hexadecimal digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        hex(self.0.iter().take(6))
    }
}

impl SubjectKeyId {
    /// A key of a person; the last part is drawn at random.
    #[must_use]
    pub fn new(subject: SubjectId, random: [u8; 8]) -> Self {
        let mut bytes = [0; 24];
        bytes.iter_mut().zip(subject.0.into_iter().chain(random)).for_each(|(to, from)| *to = from);
        Self(bytes)
    }

    /// Whose it is.
    #[must_use]
    pub fn subject(&self) -> SubjectId {
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(self.0).for_each(|(to, from)| *to = from);
        SubjectId(bytes)
    }
}

impl AcceptanceId {
    /// The id under which an event of this source and id is accepted.
    #[must_use]
    pub fn of(source: &str, event_id: &str) -> Self {
        Self(hash16("crossdock acceptance 1", &[source.as_bytes(), event_id.as_bytes()]))
    }
}

impl RunId {
    /// The run of a pipeline that an acceptance starts.
    #[must_use]
    pub fn of(acceptance: AcceptanceId, pipeline: &str) -> Self {
        Self(hash16("crossdock run 1", &[&acceptance.0, pipeline.as_bytes()]))
    }
}

impl RunId {
    /// The run that a step of another run starts.
    #[must_use]
    pub fn child(parent: Self, step: &str, generation: u32) -> Self {
        Self(hash16("crossdock child 1", &[&parent.0, step.as_bytes(), &generation.to_be_bytes()]))
    }
}

impl SignalKey {
    /// The key of an event of this type whose part (such as `signal.data.pick`) has this value, as JSON text.
    #[must_use]
    pub fn of(event_type: &str, part: &str, value: &[u8]) -> Self {
        Self(hash16("crossdock signal 1", &[event_type.as_bytes(), part.as_bytes(), value]))
    }
}

impl AppendId {
    /// The id of the append that continues a stream at a version.
    #[must_use]
    pub fn of(stream: &[u8], expected: u64, content: &[u8]) -> Self {
        Self(hash16("crossdock append 1", &[stream, &expected.to_be_bytes(), content]))
    }
}

impl IdempotencyKey {
    /// The key of an effect: hub, run, step path with iteration or item, generation. Never the attempt.
    #[must_use]
    pub fn of(hub: &str, run: RunId, step: &str, generation: u32) -> Self {
        let parts: [&[u8]; 4] = [hub.as_bytes(), &run.0, step.as_bytes(), &generation.to_be_bytes()];
        Self(hash16("crossdock effect 1", &parts))
    }
}

/// A seed for a pure step: a hash of (run, step instance).
#[must_use]
pub fn seed(run: RunId, step: &str) -> [u8; 32] {
    hash32("crossdock seed 1", &[&run.0, step.as_bytes()])
}

/// BLAKE3 in a domain of its own over length-framed parts, so that no two lists of parts collide by shifting.
#[must_use]
pub fn hash32(domain: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(domain);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

fn hash16(domain: &str, parts: &[&[u8]]) -> [u8; 16] {
    let mut short = [0; 16];
    short.iter_mut().zip(hash32(domain, parts)).for_each(|(to, from)| *to = from);
    short
}

fn unhex(text: &str, into: &mut [u8]) -> Option<()> {
    if text.len() != into.len() * 2 || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in into.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        if pair.contains('+') {
            return None;
        }
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(())
}

/// A plugin's name: `namespace/name`, each part a *name* of the contract (1 to 64 of `a-z`, `0-9`, `-`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PluginId(String);

impl PluginId {
    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What goes before the slash.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.0.split_once('/').map_or("", |(namespace, _)| namespace)
    }
}

impl fmt::Display for PluginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PluginId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError { text: text.to_owned(), expected: "a plugin id such as `acme/price-check`" };
        let (namespace, name) = text.split_once('/').ok_or_else(wrong)?;
        if is_name(namespace) && is_name(name) { Ok(Self(text.to_owned())) } else { Err(wrong()) }
    }
}

impl<'de> Deserialize<'de> for PluginId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Whether the text is a *name* of the contract: 1 to 64 characters of `a-z`, `0-9` and `-`, a letter first.
#[must_use]
pub fn is_name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// An operation contract and its major version: `retail/erp-orders@1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ContractId(String);

impl ContractId {
    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContractId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ContractId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong =
            || IdError { text: text.to_owned(), expected: "an operation contract such as `retail/erp-orders@1`" };
        let (path, major) = text.split_once('@').ok_or_else(wrong)?;
        let (namespace, name) = path.split_once('/').ok_or_else(wrong)?;
        let numeric = major.parse::<u32>().is_ok_and(|number| number > 0 && number.to_string() == major);
        if is_name(namespace) && is_name(name) && numeric { Ok(Self(text.to_owned())) } else { Err(wrong()) }
    }
}

impl<'de> Deserialize<'de> for ContractId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::{AcceptanceId, ContractId, Digest, PluginId, RunId};

    #[test]
    fn a_digest_is_what_sha256sum_prints() {
        assert_eq!(
            Digest::of(b"").to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn ids_survive_text_and_binary() {
        let run = RunId::of(AcceptanceId::of("/shop", "1"), "retail/orders");
        assert_eq!(run.to_string().parse(), Ok(run));
        let bytes = rmp_serde::to_vec(&run).unwrap_or_default();
        assert_eq!(rmp_serde::from_slice::<RunId>(&bytes).ok(), Some(run));
    }

    #[test]
    fn parts_do_not_collide_by_shifting() {
        assert_ne!(AcceptanceId::of("/shop", "1/x"), AcceptanceId::of("/shop1", "/x"));
    }

    #[test]
    fn names_are_held_to_the_contract() {
        assert!("acme/price-check".parse::<PluginId>().is_ok());
        for wrong in ["acme", "Acme/x", "a/b/c", "1a/x", "a/", "a/x_y"] {
            assert!(wrong.parse::<PluginId>().is_err(), "{wrong}");
        }
        assert!("retail/erp-orders@1".parse::<ContractId>().is_ok());
        for wrong in ["retail/erp-orders", "retail/erp-orders@0", "retail/erp-orders@1.2", "erp@1"] {
            assert!(wrong.parse::<ContractId>().is_err(), "{wrong}");
        }
    }
}
