//! The envelope that a descriptor travels in: DSSE (Dead Simple Signing Envelope, v1), with ed25519. What is signed is
//! the pre-authentication encoding, so that a signature of one type of document never counts for another.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::descriptor::Descriptor;
use crate::{
    model::id::KeyId,
    policy::seal::{PrivateKey, PublicKey, SealError},
};

/// The type of what is signed.
pub const PAYLOAD_TYPE: &str = "application/vnd.crossdock.plugin+json";
/// Where a package keeps its envelope.
pub const SIGNATURE_FILE: &str = "signature.dsse.json";
/// Signatures of one envelope, at most.
const SIGNATURES_LIMIT: usize = 16;

/// A signed document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// The document, base 64.
    pub payload: String,
    /// What it is.
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    /// Who signed it.
    pub signatures: Vec<Signature>,
}

/// One signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Which key says that it signed; a hint, nothing is believed because of it.
    pub keyid: String,
    /// The signature, base 64.
    pub sig: String,
}

/// Why an envelope is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not of the form.
    #[error("the signature is not a DSSE envelope: {problem}")]
    Form {
        /// Why.
        problem: String,
    },
    /// It signs something else.
    #[error("the envelope holds `{found}`, expected is `{PAYLOAD_TYPE}`")]
    Type {
        /// What it says it holds.
        found: String,
    },
}

/// The pre-authentication encoding: `DSSEv1 SP LEN(type) SP type SP LEN(body) SP body`.
#[must_use]
pub fn pre_authentication(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut text = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    text.extend_from_slice(payload);
    text
}

impl Envelope {
    /// An envelope with a descriptor that nobody has signed yet.
    #[must_use]
    pub fn of(descriptor: &Descriptor) -> Self {
        let payload = STANDARD.encode(descriptor.to_bytes());
        Self { payload, payload_type: PAYLOAD_TYPE.to_owned(), signatures: Vec::new() }
    }

    /// Adds a key's signature; one of the same key is replaced.
    ///
    /// # Errors
    /// If the payload cannot be read.
    pub fn sign(&mut self, key: &PrivateKey) -> Result<(), EnvelopeError> {
        let message = pre_authentication(&self.payload_type, &self.payload()?);
        let keyid = key.public().id().to_string();
        self.signatures.retain(|signature| signature.keyid != keyid);
        if self.signatures.len() >= SIGNATURES_LIMIT {
            return Err(EnvelopeError::Form { problem: format!("it has {SIGNATURES_LIMIT} signatures already") });
        }
        self.signatures.push(Signature { keyid, sig: key.sign(&message) });
        Ok(())
    }

    /// Reads an envelope.
    ///
    /// # Errors
    /// If it is not one, or of something else than a plugin.
    pub fn read(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let form = |problem: String| EnvelopeError::Form { problem };
        let envelope: Self = serde_json::from_slice(bytes).map_err(|error| form(error.to_string()))?;
        if envelope.payload_type != PAYLOAD_TYPE {
            return Err(EnvelopeError::Type { found: envelope.payload_type });
        }
        if envelope.signatures.len() > SIGNATURES_LIMIT {
            return Err(form(format!("it has more than {SIGNATURES_LIMIT} signatures")));
        }
        Ok(envelope)
    }

    /// As a file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // INVARIANT: texts always have a JSON form.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// The bytes that are signed.
    ///
    /// # Errors
    /// If they are not base 64 in its one canonical form.
    pub fn payload(&self) -> Result<Vec<u8>, EnvelopeError> {
        let wrong = || EnvelopeError::Form { problem: "the payload is not base 64".to_owned() };
        let bytes = STANDARD.decode(&self.payload).map_err(|_| wrong())?;
        if STANDARD.encode(&bytes) == self.payload { Ok(bytes) } else { Err(wrong()) }
    }

    /// What the envelope speaks of. Nothing about it is verified.
    ///
    /// # Errors
    /// If it is no descriptor.
    pub fn descriptor(&self) -> Result<Descriptor, EnvelopeError> {
        serde_json::from_slice(&self.payload()?).map_err(|error| EnvelopeError::Form { problem: error.to_string() })
    }

    /// Whether a key signed this envelope's payload, whatever the envelope says about who did.
    ///
    /// # Errors
    /// If none of its signatures is that key's.
    pub fn verify(&self, key: &PublicKey) -> Result<(), SealError> {
        let payload = self.payload().map_err(|_| SealError::Form)?;
        let message = pre_authentication(&self.payload_type, &payload);
        let held = self.signatures.iter().any(|signature| key.verify(&message, &signature.sig).is_ok());
        if held { Ok(()) } else { Err(SealError::Wrong { key: key.id() }) }
    }

    /// Which keys it says it is signed by.
    #[must_use]
    pub fn named(&self) -> Vec<KeyId> {
        self.signatures.iter().filter_map(|signature| signature.keyid.parse().ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_that_of_the_specification() {
        let encoded = pre_authentication("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }
}
