//! Tokens of an OpenID provider (JWT, RFC 7519): whether one is signed by the provider, for this hub, and valid now; and
//! whom it stands for. Pure: the provider's keys and the time go in.
//!
//! Held to what RFC 8725 asks for: the algorithms are an operator's list of three, never what the token names alone; a
//! key serves its own algorithm only; issuer and audience are exact.

use std::collections::{BTreeMap, BTreeSet};

use jsonwebtoken::{
    Algorithm as Jose, DecodingKey, Validation,
    jwk::{JwkSet, KeyAlgorithm},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{
    principal::{Kind, NAME_BYTES_MAX, Principal, Role, Scope},
    timestamp::Timestamp,
};

/// Longest token, bytes.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;
/// By how much clocks may differ unless an operator says otherwise, seconds.
pub const SKEW_S_DEFAULT: u64 = 60;
/// The most that an operator may allow, seconds.
pub const SKEW_S_MAX: u64 = 300;

/// An OpenID provider whose tokens are taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// What `iss` must be, exactly.
    pub issuer: String,
    /// What `aud` must be or contain: the name that the provider knows the hub by.
    pub audience: String,
    /// Where its keys are, a JWK set: `https://…`, or a path of this machine.
    pub jwks: String,
    /// Addresses that the keys may be fetched from though they are private, as for connections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_addresses: Vec<String>,
    /// Algorithms that are taken.
    #[serde(default = "every_algorithm")]
    pub algorithms: BTreeSet<Algorithm>,
    /// By how much clocks may differ, seconds.
    #[serde(default = "default_skew")]
    pub skew_s: u64,
    /// The claim that names the person; it must be one that the provider never gives to somebody else.
    #[serde(default = "default_name_claim")]
    pub name_claim: String,
    /// The claim that lists groups, as text or a list of texts; dots go into objects.
    #[serde(default = "default_roles_claim")]
    pub roles_claim: String,
    /// Which roles each group has here. Others have none.
    pub roles: BTreeMap<String, BTreeSet<Role>>,
    /// What its tokens are held to, as tokens of the hub are.
    #[serde(default)]
    pub scope: Scope,
}

/// A signature algorithm that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Algorithm {
    /// RSA with PKCS #1 1.5 and SHA-256.
    RS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// Ed25519.
    EdDSA,
}

impl Algorithm {
    fn jose(self) -> Jose {
        match self {
            Self::RS256 => Jose::RS256,
            Self::ES256 => Jose::ES256,
            Self::EdDSA => Jose::EdDSA,
        }
    }
}

fn every_algorithm() -> BTreeSet<Algorithm> {
    [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA].into()
}

fn default_skew() -> u64 {
    SKEW_S_DEFAULT
}

fn default_name_claim() -> String {
    "sub".to_owned()
}

fn default_roles_claim() -> String {
    "roles".to_owned()
}

impl Provider {
    /// Whether it can be used.
    ///
    /// # Errors
    /// Which field is wrong, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        if self.issuer.is_empty() || self.audience.is_empty() {
            return Err("`issuer` and `audience` must be given: without them, any token of anybody would do".to_owned());
        }
        if self.algorithms.is_empty() {
            return Err("`algorithms` is empty; there are: RS256, ES256, EdDSA".to_owned());
        }
        if self.jwks.starts_with("http://") {
            return Err("`jwks` is fetched in the clear: use `https://`, or a file".to_owned());
        }
        if self.skew_s > SKEW_S_MAX {
            return Err(format!("`skew_s` is {}; at most {SKEW_S_MAX} are allowed", self.skew_s));
        }
        Ok(())
    }
}

/// A provider's keys.
pub struct Keys(JwkSet);

impl Keys {
    /// Reads a JWK set (RFC 7517).
    ///
    /// # Errors
    /// If it is none, or holds no key.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let set: JwkSet = serde_json::from_slice(text).map_err(|error| format!("it is not a JWK set: {error}"))?;
        if set.keys.is_empty() { Err("it holds no key".to_owned()) } else { Ok(Self(set)) }
    }

    /// Whether there is the key that a token names; a token that names none is taken to name the only one.
    #[must_use]
    pub fn has(&self, key: Option<&str>) -> bool {
        match key {
            Some(key) => self.0.find(key).is_some(),
            None => self.0.keys.len() == 1,
        }
    }
}

/// The key that a token names, without believing anything of it.
///
/// # Errors
/// If it is no JWT.
pub fn key_of(shown: &str) -> Result<Option<String>, String> {
    if shown.len() > TOKEN_BYTES_MAX {
        return Err(format!("the token is {} bytes; at most {TOKEN_BYTES_MAX} are taken", shown.len()));
    }
    let header =
        jsonwebtoken::decode_header(shown).map_err(|_| "the token is not one of this hub, and no JWT".to_owned())?;
    Ok(header.kid)
}

/// Whom a token stands for.
///
/// # Errors
/// Why it proves nothing; never what it holds.
pub fn verify(shown: &str, provider: &Provider, keys: &Keys, now: Timestamp) -> Result<Principal, String> {
    let named = key_of(shown)?;
    let key = match &named {
        Some(named) => keys.0.find(named),
        None => keys.0.keys.first().filter(|_| keys.0.keys.len() == 1),
    };
    let key = key.ok_or("the token is signed with a key that its provider does not list")?;
    let header = jsonwebtoken::decode_header(shown).map_err(|_| "the token is no JWT".to_owned())?;
    let algorithm = provider.algorithms.iter().find(|algorithm| algorithm.jose() == header.alg);
    let algorithm = algorithm.ok_or("the token's algorithm is not one that is taken")?;
    let fits = match key.common.key_algorithm {
        None => true,
        Some(KeyAlgorithm::RS256) => *algorithm == Algorithm::RS256,
        Some(KeyAlgorithm::ES256) => *algorithm == Algorithm::ES256,
        Some(KeyAlgorithm::EdDSA) => *algorithm == Algorithm::EdDSA,
        Some(_) => false,
    };
    if !fits {
        return Err("the token's key is for another algorithm".to_owned());
    }
    let key = DecodingKey::from_jwk(key).map_err(|_| "the token's key cannot be used".to_owned())?;
    let mut validation = Validation::new(algorithm.jose());
    validation.set_issuer(&[&provider.issuer]);
    validation.set_audience(&[&provider.audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    // Below, by the hub's own clock.
    (validation.validate_exp, validation.validate_nbf) = (false, false);
    let claims = jsonwebtoken::decode::<Value>(shown, &key, &validation)
        .map_err(|error| format!("the token does not hold: {}", plainly(&error)))?
        .claims;
    in_time(&claims, provider.skew_s, now)?;
    stands_for(&claims, provider)
}

fn plainly(error: &jsonwebtoken::errors::Error) -> &'static str {
    use jsonwebtoken::errors::ErrorKind as E;
    match error.kind() {
        E::InvalidSignature => "its signature is not its provider's",
        E::InvalidIssuer => "it is of another issuer",
        E::InvalidAudience => "it is for another audience",
        E::MissingRequiredClaim(_) => "`exp`, `iss` and `aud` are required",
        _ => "it cannot be read",
    }
}

fn in_time(claims: &Value, skew_s: u64, now: Timestamp) -> Result<(), String> {
    let seconds = |name: &str| claims.get(name).and_then(Value::as_f64);
    #[expect(clippy::cast_precision_loss, reason = "seconds since the epoch fit")]
    let (now, skew) = (now.millis() as f64 / 1_000.0, skew_s as f64);
    let expires = seconds("exp").ok_or("the token does not say until when it is valid")?;
    if now >= expires + skew {
        return Err("the token has expired".to_owned());
    }
    if seconds("nbf").is_some_and(|begins| now + skew < begins) {
        return Err("the token is not valid yet".to_owned());
    }
    Ok(())
}

fn stands_for(claims: &Value, provider: &Provider) -> Result<Principal, String> {
    let named = find(claims, &provider.name_claim).and_then(Value::as_str).unwrap_or_default();
    if named.trim().is_empty() || named.len() > NAME_BYTES_MAX || named.chars().any(char::is_control) {
        return Err(format!("the token's `{}` is no name of 1 to {NAME_BYTES_MAX} bytes", provider.name_claim));
    }
    // What the hub calls itself in its records is nobody's name.
    if matches!(named, "hub" | "enrolment") || named.starts_with("operator:") {
        return Err(format!("the token's `{}` is a name that the hub keeps for itself", provider.name_claim));
    }
    let groups: Vec<&str> = match find(claims, &provider.roles_claim) {
        Some(Value::String(group)) => vec![group],
        Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let roles = groups.iter().filter_map(|group| provider.roles.get(*group)).flatten().copied().collect();
    Ok(Principal {
        name: named.to_owned(),
        kind: Kind::Person,
        roles,
        scope: provider.scope.clone(),
        token: None,
        development: false,
    })
}

/// A claim by its name, or by a path of names. A name with dots in it, such as a URL, wins.
fn find<'a>(claims: &'a Value, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| name.split('.').try_fold(claims, |within, part| within.get(part)))
}

#[cfg(test)]
mod tests;
