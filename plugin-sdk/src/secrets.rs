//! Secrets, used without being seen: for signatures. To send one to a remote, do nothing: the hub puts it in place.

use crate::{Failure, hub};

/// Signs data with a secret of the manifest. The algorithm is `hmac-sha1`, `hmac-sha256` or `hmac-sha512`.
///
/// # Errors
/// `denied` with `secret.not-granted`; `invalid-input` with `secret.algorithm-unknown`.
pub fn sign(secret: &str, algorithm: &str, data: &[u8]) -> Result<Vec<u8>, Failure> {
    hub::sign(secret, algorithm, data)
}

/// Whether this is the signature of the data, compared in constant time.
///
/// # Errors
/// As [`sign`]; a wrong signature is no failure.
pub fn verify(secret: &str, algorithm: &str, data: &[u8], signature: &[u8]) -> Result<bool, Failure> {
    hub::verify(secret, algorithm, data, signature)
}
