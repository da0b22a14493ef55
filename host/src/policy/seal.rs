//! Signatures under checkpoints and exports: Ed25519 (RFC 8032), keys in their standard forms. Pure: whoever makes a
//! key brings the randomness, and whoever keeps it sees to the file.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{
    Signature, Signer as _, SigningKey, VerifyingKey,
    pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _, spki},
};

use crate::model::{
    audit::{Checkpoint, SignedCheckpoint},
    id::{Digest, KeyId},
};

/// A hub's private key. Prints as nothing but its public half's id.
pub struct PrivateKey(SigningKey);

/// A hub's public key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// Why a key or a signature is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The text is not a public key.
    #[error(
        "this is not a public key: one line of base 64, the DER form (RFC 8410) of an Ed25519 key, as `hub.pub` has it"
    )]
    PublicKey,
    /// The text is not a private key.
    #[error("this is not a private key: a PKCS #8 PEM document with an Ed25519 key, as the hub made it")]
    PrivateKey,
    /// The signature is not written as one.
    #[error("the signature is not one: 64 bytes in base 64 are expected")]
    Form,
    /// The signature is another key's, or of other bytes.
    #[error("the signature does not hold under key {key}")]
    Wrong {
        /// The key that it was checked under.
        key: KeyId,
    },
    /// The checkpoint names another key.
    #[error("it was signed by key {signed_by}, not by key {key}")]
    OtherKey {
        /// The key that it names.
        signed_by: KeyId,
        /// The key that it was checked under.
        key: KeyId,
    },
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.public().id())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

impl PrivateKey {
    /// The key of a seed, which must come from the system's randomness.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Reads a PKCS #8 PEM document.
    ///
    /// # Errors
    /// If it is not one.
    pub fn from_pem(text: &str) -> Result<Self, SealError> {
        SigningKey::from_pkcs8_pem(text).map(Self).map_err(|_| SealError::PrivateKey)
    }

    /// As a PKCS #8 PEM document: secret.
    ///
    /// # Errors
    /// Never for a key that was made by this module.
    pub fn to_pem(&self) -> Result<String, SealError> {
        let pem = self.0.to_pkcs8_pem(spki::der::pem::LineEnding::LF).map_err(|_| SealError::PrivateKey)?;
        Ok(pem.as_str().to_owned())
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// The signature over a message, in base 64.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> String {
        STANDARD.encode(self.0.sign(message).to_bytes())
    }

    /// Signs a checkpoint, under its own id.
    #[must_use]
    pub fn sign_checkpoint(&self, checkpoint: Checkpoint) -> SignedCheckpoint {
        let checkpoint = Checkpoint { key: self.public().id(), ..checkpoint };
        let signature = self.sign(&checkpoint.message());
        SignedCheckpoint { checkpoint, signature }
    }
}

impl PublicKey {
    /// Reads the one line of a public key's file; white space around it is let through.
    ///
    /// # Errors
    /// If it is not one.
    pub fn from_line(line: &str) -> Result<Self, SealError> {
        let der = STANDARD.decode(line.trim()).map_err(|_| SealError::PublicKey)?;
        VerifyingKey::from_public_key_der(&der).map(Self).map_err(|_| SealError::PublicKey)
    }

    /// The line, without a line feed: what lies between the two marks of a PEM document.
    #[must_use]
    pub fn to_line(&self) -> String {
        STANDARD.encode(self.der())
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let mut id = [0; 16];
        id.iter_mut().zip(Digest::of(&self.der()).as_bytes()).for_each(|(to, from)| *to = *from);
        KeyId::from_bytes(id)
    }

    fn der(&self) -> Vec<u8> {
        // INVARIANT: every key has a DER form.
        self.0.to_public_key_der().map(spki::Document::into_vec).unwrap_or_default()
    }

    /// Whether a signature is this key's, over these bytes. There is only one text that is.
    ///
    /// # Errors
    /// If it is not.
    pub fn verify(&self, message: &[u8], signature: &str) -> Result<(), SealError> {
        let bytes = STANDARD.decode(signature).map_err(|_| SealError::Form)?;
        if STANDARD.encode(&bytes) != signature {
            return Err(SealError::Form);
        }
        let signature = Signature::from_slice(&bytes).map_err(|_| SealError::Form)?;
        self.0.verify_strict(message, &signature).map_err(|_| SealError::Wrong { key: self.id() })
    }

    /// Whether a checkpoint was signed by this key.
    ///
    /// # Errors
    /// If it was not.
    pub fn verify_checkpoint(&self, signed: &SignedCheckpoint) -> Result<(), SealError> {
        let signed_by = signed.checkpoint.key;
        if signed_by != self.id() {
            return Err(SealError::OtherKey { signed_by, key: self.id() });
        }
        self.verify(&signed.checkpoint.message(), &signed.signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{id::ChainHash, timestamp::Timestamp};

    fn key() -> PrivateKey {
        PrivateKey::from_seed(&[7; 32])
    }

    fn signed() -> SignedCheckpoint {
        key().sign_checkpoint(Checkpoint {
            hub: "00ff".into(),
            batch: 3,
            chain: ChainHash::from_bytes([1; 32]),
            appends: 7,
            time: Timestamp::from_millis(0),
            key: KeyId::from_bytes([0; 16]),
        })
    }

    #[test]
    fn keys_survive_their_files() {
        let public = key().public();
        assert_eq!(PublicKey::from_line(&format!("{}\n", public.to_line())), Ok(public.clone()));
        assert_eq!(PrivateKey::from_pem(&key().to_pem().unwrap()).unwrap().public(), public);
        assert!(key().to_pem().unwrap().starts_with("-----BEGIN PRIVATE KEY-----\n"));
        assert!(public.to_line().starts_with("MCowBQYDK2VwAyEA"), "the DER form of RFC 8410");
        for wrong in ["", "x", "MCowBQYDK2VwAyEA", "ssh-ed25519 AAAA"] {
            assert_eq!(PublicKey::from_line(wrong), Err(SealError::PublicKey), "{wrong}");
        }
    }

    #[test]
    fn a_private_key_does_not_print_itself() {
        let key = key();
        assert_eq!(format!("{key:?}"), format!("PrivateKey({})", key.public().id()));
    }

    #[test]
    fn a_checkpoint_holds_under_its_key_and_no_other_and_only_as_it_was() {
        let signed = signed();
        assert_eq!(key().public().verify_checkpoint(&signed), Ok(()));
        let other = PrivateKey::from_seed(&[8; 32]);
        assert!(matches!(other.public().verify_checkpoint(&signed), Err(SealError::OtherKey { .. })));
        let forged = other.sign_checkpoint(signed.checkpoint.clone());
        let renamed = SignedCheckpoint {
            checkpoint: Checkpoint { key: key().public().id(), ..forged.checkpoint },
            signature: forged.signature,
        };
        assert!(matches!(key().public().verify_checkpoint(&renamed), Err(SealError::Wrong { .. })));
        let changes: [fn(&mut Checkpoint); 5] = [
            |it| it.hub.push('0'),
            |it| it.batch += 1,
            |it| it.chain = ChainHash::from_bytes([2; 32]),
            |it| it.appends -= 1,
            |it| it.time = Timestamp::from_millis(1),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut changed = signed.clone();
            change(&mut changed.checkpoint);
            assert!(key().public().verify_checkpoint(&changed).is_err(), "field {index}");
        }
    }

    #[test]
    fn every_changed_character_of_a_signature_is_refused() {
        let signed = signed();
        for index in 0..signed.signature.len() {
            for replacement in *b"AZ=+" {
                let mut text = signed.signature.clone().into_bytes();
                if text[index] == replacement {
                    continue;
                }
                text[index] = replacement;
                let changed = SignedCheckpoint { signature: String::from_utf8(text).unwrap(), ..signed.clone() };
                assert!(key().public().verify_checkpoint(&changed).is_err(), "character {index}");
            }
        }
    }
}
