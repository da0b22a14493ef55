//! Which signatures hold under the keys that an operator trusts, at a time.
//!
//! A key counts for its namespace and for packages that are taken while it is valid. When it runs out, what was taken in
//! time goes on; when it is *revoked*, nothing holds any more that it ever signed, since a stolen key can date back.

use std::fmt;

use serde::Serialize;

use super::{descriptor::Descriptor, envelope::Envelope};
use crate::{
    model::{
        id::KeyId,
        timestamp::Timestamp,
        trust::{Trust, TrustedKey, Unsigned},
    },
    policy::{
        gate::{Finding, Severity},
        seal::PublicKey,
    },
};

/// What became of one trusted key's signature of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Standing {
    /// It holds.
    Holds,
    /// The key signed it, and was revoked.
    Revoked {
        /// When.
        at: Timestamp,
    },
    /// The key signed it, and counts only later.
    NotYet {
        /// From when on.
        from: Timestamp,
    },
    /// The key signed it, and counted only earlier.
    Expired {
        /// Until when.
        until: Timestamp,
    },
    /// The key signed it, and is trusted for another namespace.
    OtherNamespace {
        /// Which.
        namespace: String,
    },
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holds => f.write_str("holds"),
            Self::Revoked { at } => write!(f, "the key was revoked at {at}"),
            Self::NotYet { from } => write!(f, "the key counts from {from} on"),
            Self::Expired { until } => write!(f, "the key counted until {until}"),
            Self::OtherNamespace { namespace } => write!(f, "the key is trusted for `{namespace}` only"),
        }
    }
}

/// A signature that some trusted key made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signed {
    /// The key.
    pub key: KeyId,
    /// Whether it counts.
    pub standing: Standing,
}

/// When a package was, or is to be, taken, and what time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moments {
    /// When it was taken: validity is asked about this moment.
    pub taken: Timestamp,
    /// Now: revocation is asked about this one.
    pub now: Timestamp,
}

impl Moments {
    /// Of a package that is to be taken now.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self { taken: now, now }
    }
}

/// Every trusted key that signed an envelope, and whether its signature counts for this namespace. A key that is not
/// trusted for anything does not occur, whatever the envelope says about it.
#[must_use]
pub fn standings(envelope: &Envelope, namespace: &str, keys: &[TrustedKey], moments: Moments) -> Vec<Signed> {
    let mut found: Vec<Signed> = Vec::new();
    for trusted in keys {
        let Ok(key) = PublicKey::from_line(&trusted.key) else { continue };
        if envelope.verify(&key).is_err() {
            continue;
        }
        found.push(Signed { key: key.id(), standing: standing(trusted, namespace, moments) });
    }
    // A key is revoked as a key: an entry of it that is not cannot save what another says.
    let revoked: Vec<Signed> =
        found.iter().filter(|signed| matches!(signed.standing, Standing::Revoked { .. })).cloned().collect();
    for signed in &mut found {
        if let Some(revoked) = revoked.iter().find(|revoked| revoked.key == signed.key) {
            signed.standing = revoked.standing.clone();
        }
    }
    found
}

fn standing(trusted: &TrustedKey, namespace: &str, moments: Moments) -> Standing {
    if let Some(at) = trusted.revoked.filter(|at| *at <= moments.now) {
        return Standing::Revoked { at };
    }
    if trusted.namespace != namespace {
        return Standing::OtherNamespace { namespace: trusted.namespace.clone() };
    }
    if let Some(from) = trusted.not_before.filter(|from| moments.taken < *from) {
        return Standing::NotYet { from };
    }
    if let Some(until) = trusted.not_after.filter(|until| *until <= moments.taken) {
        return Standing::Expired { until };
    }
    Standing::Holds
}

/// Whether a package that was taken may go on being used: some signature of it still holds. What was taken without a
/// signature is not this function's to judge.
#[must_use]
pub fn still_holds(envelope: &Envelope, namespace: &str, keys: &[TrustedKey], moments: Moments) -> bool {
    standings(envelope, namespace, keys, moments).iter().any(|signed| signed.standing == Standing::Holds)
}

/// Why a package that was taken may not be used any more: trusted keys signed it, and no signature of theirs holds.
/// `None`: one holds; or no key that is trusted now ever signed it, which says nothing against what was taken: whoever wants
/// to stop it revokes the key.
#[must_use]
pub fn lost(envelope: &Envelope, namespace: &str, keys: &[TrustedKey], moments: Moments) -> Option<String> {
    if still_holds(envelope, namespace, keys, moments) {
        return None;
    }
    let told: Vec<String> = standings(envelope, namespace, keys, moments)
        .iter()
        .map(|signed| format!("{} signed it, and {}", signed.key, signed.standing))
        .collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// Holds a package against its signature: `actual` is computed from the package itself.
#[must_use]
pub fn check(actual: &Descriptor, envelope: Option<&Envelope>, trust: &Trust, moments: Moments) -> Vec<Finding> {
    let place = super::envelope::SIGNATURE_FILE;
    let namespace = actual.namespace();
    let unproven = match trust.unsigned() {
        Unsigned::Note => Severity::Note,
        Unsigned::Refuse => Severity::Refuse,
    };
    let mut found: Vec<Finding> = trust
        .keys
        .iter()
        .filter(|key| PublicKey::from_line(&key.key).is_err())
        .map(|key| {
            let text = format!("the key that is trusted for `{}` is none", key.namespace);
            let change = "give the one line of the publisher's `.pub` file";
            Finding::new("signature.trusted-key-unreadable", Severity::Note, "trust.keys", text).change(change)
        })
        .collect();
    let Some(envelope) = envelope else {
        let finding = Finding::new("signature.absent", unproven, place, "nobody has signed it");
        let change = "sign it: `crossdock plugin sign FOLDER --key FILE`; a hub for development takes it with `unsigned = \
                      \"note\"` under `[trust]`";
        found.push(finding.change(change));
        return found;
    };
    let signed = match envelope.descriptor() {
        Ok(signed) => signed,
        Err(error) => {
            let finding = Finding::new("signature.unreadable", Severity::Refuse, place, error.to_string());
            found.push(finding.change("sign it again"));
            return found;
        }
    };
    // Whoever signed it, it is not this that was signed: refused even where no signature is asked for.
    let differences = actual.differences(&signed);
    if !differences.is_empty() {
        let rule = if (&actual.id, &actual.version) == (&signed.id, &signed.version) {
            "signature.content-differs"
        } else {
            "signature.of-another-package"
        };
        let change = "sign it anew if the change is meant; otherwise fetch the package again, and do not use this one";
        found.push(Finding::new(rule, Severity::Refuse, place, differences.join("; ")).change(change));
        return found;
    }
    let standings = standings(envelope, namespace, &trust.keys, moments);
    if standings.iter().any(|signed| signed.standing == Standing::Holds) {
        return found;
    }
    for signed in &standings {
        let (rule, severity) = match signed.standing {
            Standing::Revoked { .. } => ("signature.key-revoked", Severity::Refuse),
            Standing::Expired { .. } | Standing::NotYet { .. } => ("signature.key-not-valid", unproven),
            Standing::OtherNamespace { .. } | Standing::Holds => ("signature.other-namespace", unproven),
        };
        let text = format!("{} signed it, but {}", signed.key, signed.standing);
        let change = format!("have it signed with a key that is trusted for `{namespace}` now");
        found.push(Finding::new(rule, severity, place, text).change(change));
    }
    if standings.is_empty() {
        let named: Vec<String> = envelope.named().iter().map(ToString::to_string).collect();
        let by = if named.is_empty() { "nobody".to_owned() } else { named.join(", ") };
        let text = format!("it is signed by {by}, and no trusted key for `{namespace}` made that signature");
        let change = format!("let an operator trust the publisher's key for `{namespace}`, under `[[trust.keys]]`");
        found.push(Finding::new("signature.untrusted", unproven, place, text).change(change));
    }
    found
}

#[cfg(test)]
mod tests;
