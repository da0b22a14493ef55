//! `secrets`: signatures with keys that the guest never sees.

use hmac::{Hmac, Mac, digest::KeyInit};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::failure;
use crate::{
    model::failure::FailureKind,
    ports::secrets::Secret,
    wasm::{
        bindings::{envelope::Failure, secrets::Host},
        call_state::CallState,
    },
};

/// Data of one signature, bytes.
const DATA_BYTES_LIMIT: usize = 1 << 20;

/// The algorithms of contract 1.0.
#[derive(Clone, Copy, Debug)]
enum Algorithm {
    HmacSha1,
    HmacSha256,
    HmacSha512,
}

impl Algorithm {
    fn named(name: &str) -> Result<Self, Failure> {
        match name {
            "hmac-sha1" => Ok(Self::HmacSha1),
            "hmac-sha256" => Ok(Self::HmacSha256),
            "hmac-sha512" => Ok(Self::HmacSha512),
            _ => Err(failure(
                FailureKind::InvalidInput,
                "secret.algorithm-unknown",
                format!(
                    "`{}` is not known; use `hmac-sha256`, `hmac-sha512` or `hmac-sha1`",
                    name.chars().take(64).collect::<String>()
                ),
            )),
        }
    }

    fn sign(self, key: &[u8], data: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::HmacSha1 => tag::<Hmac<Sha1>>(key, data),
            Self::HmacSha256 => tag::<Hmac<Sha256>>(key, data),
            Self::HmacSha512 => tag::<Hmac<Sha512>>(key, data),
        }
    }

    fn verify(self, key: &[u8], data: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::HmacSha1 => is_tag::<Hmac<Sha1>>(key, data, signature),
            Self::HmacSha256 => is_tag::<Hmac<Sha256>>(key, data, signature),
            Self::HmacSha512 => is_tag::<Hmac<Sha512>>(key, data, signature),
        }
    }
}

fn tag<M: Mac + KeyInit>(key: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    // A key of any length is taken; the error has no case.
    let mac = <M as KeyInit>::new_from_slice(key).ok()?.chain_update(data);
    Some(mac.finalize().into_bytes().to_vec())
}

/// Compares in constant time.
fn is_tag<M: Mac + KeyInit>(key: &[u8], data: &[u8], signature: &[u8]) -> bool {
    <M as KeyInit>::new_from_slice(key).is_ok_and(|mac| mac.chain_update(data).verify_slice(signature).is_ok())
}

/// The values of a granted secret: the newest first, and an older one while it is being rotated.
fn granted<'a>(secrets: &'a [(String, Secret)], name: &str) -> Result<Vec<&'a Secret>, Failure> {
    let values: Vec<_> = secrets.iter().filter(|(known, _)| known == name).map(|(_, value)| value).collect();
    if values.is_empty() {
        return Err(failure(
            FailureKind::Denied,
            "secret.not-granted",
            format!(
                "secret `{}` is not granted to this call; declare it in the manifest and name its value in the \
                 connection",
                name.chars().take(64).collect::<String>()
            ),
        ));
    }
    Ok(values)
}

fn check_size(data: &[u8]) -> Result<(), Failure> {
    if data.len() <= DATA_BYTES_LIMIT {
        return Ok(());
    }
    let message = format!("{} bytes are too many to sign; at most {DATA_BYTES_LIMIT}", data.len());
    Err(failure(FailureKind::InvalidInput, "secret.data-too-large", message))
}

fn sign(state: &CallState, secret: &str, algorithm: &str, data: &[u8]) -> Result<Vec<u8>, Failure> {
    let algorithm = Algorithm::named(algorithm)?;
    let values = granted(&state.secrets, secret)?;
    check_size(data)?;
    let signature = values.first().and_then(|key| algorithm.sign(key.expose(), data));
    signature.ok_or_else(|| failure(FailureKind::Permanent, "secret.unusable", "the secret's value cannot be a key"))
}

fn verify(state: &CallState, secret: &str, algorithm: &str, data: &[u8], signature: &[u8]) -> Result<bool, Failure> {
    let algorithm = Algorithm::named(algorithm)?;
    let values = granted(&state.secrets, secret)?;
    check_size(data)?;
    // Every value is tried, so that the time does not tell which one it was.
    Ok(values.iter().fold(false, |found, key| algorithm.verify(key.expose(), data, signature) | found))
}

impl Host for CallState {
    async fn sign(
        &mut self,
        secret: String,
        algorithm: String,
        data: Vec<u8>,
    ) -> wasmtime::Result<Result<Vec<u8>, Failure>> {
        // Signing costs the host, and no fuel: let others go first, and the deadline be seen.
        tokio::task::yield_now().await;
        Ok(sign(self, &secret, &algorithm, &data))
    }

    async fn verify(
        &mut self,
        secret: String,
        algorithm: String,
        data: Vec<u8>,
        signature: Vec<u8>,
    ) -> wasmtime::Result<Result<bool, Failure>> {
        tokio::task::yield_now().await;
        Ok(verify(self, &secret, &algorithm, &data, &signature))
    }
}

#[cfg(test)]
mod tests {
    use super::Algorithm;
    use crate::model::hex::hex;

    #[test]
    fn signatures_are_those_of_rfc_2202_and_rfc_4231() {
        let (key, data) = (b"Jefe".as_slice(), b"what do ya want for nothing?".as_slice());
        let of = |name: &str| hex(&Algorithm::named(name).unwrap().sign(key, data).unwrap());
        assert_eq!(of("hmac-sha1"), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        assert_eq!(of("hmac-sha256"), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert!(of("hmac-sha512").starts_with("164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"));
    }

    #[test]
    fn a_signature_is_verified_and_a_changed_or_shortened_one_is_not() {
        let sha256 = Algorithm::named("hmac-sha256").unwrap();
        let mut signature = sha256.sign(b"key", b"data").unwrap();
        assert!(sha256.verify(b"key", b"data", &signature));
        assert!(!sha256.verify(b"other", b"data", &signature));
        assert!(!sha256.verify(b"key", b"data", &signature[..16]));
        signature[0] ^= 1;
        assert!(!sha256.verify(b"key", b"data", &signature));
        assert!(Algorithm::named("md5").is_err());
    }
}
