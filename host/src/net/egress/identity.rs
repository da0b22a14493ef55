//! The certificate that the host shows in TLS (mutual TLS): read from secrets by reference, and refused with what to do
//! when it cannot be shown.
//!
//! No message repeats any of what was read: a parser's own words might.

mod x509;

use std::sync::Arc;

use rustls::{
    ClientConfig,
    client::Resumption,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::{CertifiedKey, SingleCertAndKey},
};

use self::x509::Facts;
use crate::{
    model::{
        auth::{CERTIFICATE, ClientCertificate, PRIVATE_KEY},
        timestamp::Timestamp,
    },
    ports::secrets::{Secret, SecretError, Secrets},
};

/// Most certificates of a chain.
const CHAIN_MAX: usize = 10;

/// TLS sessions that may be taken up again, for each certificate.
const SESSIONS_MAX: usize = 32;

/// How long before its end a certificate is spoken of in the log, milliseconds: two weeks.
const SOON_MS: u64 = 14 * 24 * 60 * 60 * 1_000;

/// Why a certificate cannot be shown; what to do, and nothing of what was read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// One of its secrets cannot be read.
    #[error("`{place}`: {source}")]
    Secret {
        /// Where it is configured.
        place: &'static str,
        /// Which, and what to do.
        source: SecretError,
    },
    /// What was read is not what belongs there.
    #[error("`{place}`: {problem}")]
    Form {
        /// Where it is configured.
        place: &'static str,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// Key and certificate are not of one pair.
    #[error(
        "the private key does not belong to the certificate of {subject}: give the key that it was requested with, or the \
         certificate that was issued for the key; kept in one PEM (without `private_key`) they are exchanged together"
    )]
    Mismatch {
        /// Whose certificate it is.
        subject: String,
    },
    /// It is not valid now.
    #[error("the certificate of {subject} {problem}")]
    Invalid {
        /// Whose certificate it is.
        subject: String,
        /// Since or until when, and what to do.
        problem: String,
    },
}

/// What was read, to be looked into.
pub(super) struct Material {
    certificate: Secret,
    /// Absent: it stands in the same PEM.
    key: Option<Secret>,
}

/// A certificate with its key, ready to be shown.
#[derive(Clone, Debug)]
pub struct ClientIdentity {
    pair: Arc<CertifiedKey>,
    subject: String,
    not_after: Timestamp,
}

impl Material {
    /// Reads the secrets.
    pub(super) fn read(named: &ClientCertificate, secrets: &dyn Secrets) -> Result<Self, IdentityError> {
        let read =
            |place, reference| secrets.resolve(reference).map_err(|source| IdentityError::Secret { place, source });
        let certificate = read(CERTIFICATE, &named.certificate)?;
        let key = named.private_key.as_ref().map(|reference| read(PRIVATE_KEY, reference)).transpose()?;
        Ok(Self { certificate, key })
    }

    /// Another value for whatever differs.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let key = self.key.as_ref().map_or(&[][..], Secret::expose);
        let mut hasher = blake3::Hasher::new();
        for part in [self.certificate.expose(), key] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        *hasher.finalize().as_bytes()
    }

    /// The pair, if it can be shown now.
    pub(super) fn identity(&self, now: Timestamp) -> Result<ClientIdentity, IdentityError> {
        let form = |place, problem: &str| IdentityError::Form { place, problem: problem.to_owned() };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(self.certificate.expose())
            .take(CHAIN_MAX + 1)
            .collect::<Result<_, _>>()
            .map_err(|_| form(CERTIFICATE, "it is no PEM that can be read: give the file as it was issued"))?;
        if chain.len() > CHAIN_MAX {
            return Err(form(CERTIFICATE, &format!("it holds more than {CHAIN_MAX} certificates")));
        }
        let parsed: Vec<Facts> =
            chain.iter().map(|certificate| Facts::read(certificate)).collect::<Option<_>>().ok_or_else(|| {
                form(CERTIFICATE, "a block of its PEM holds no X.509 certificate: give it as it was issued")
            })?;
        let own = parsed.first().ok_or_else(|| {
            form(CERTIFICATE, "it holds no certificate: give one in PEM form (`-----BEGIN CERTIFICATE-----`)")
        })?;
        let subject = subject(own);
        let pair = CertifiedKey::from_der(chain, self.private_key()?, &provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => IdentityError::Mismatch { subject: subject.clone() },
            _ => form(self.key_place(), "no such key can be used: give one of RSA, ECDSA (P-256, P-384) or Ed25519"),
        })?;
        for certificate in &parsed {
            check_time(certificate, now)?;
        }
        let not_after = parsed.iter().map(|certificate| certificate.not_after).min().unwrap_or(now);
        Ok(ClientIdentity { pair: Arc::new(pair), subject, not_after })
    }

    fn key_place(&self) -> &'static str {
        if self.key.is_some() { PRIVATE_KEY } else { CERTIFICATE }
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, IdentityError> {
        let pem = self.key.as_ref().unwrap_or(&self.certificate).expose();
        PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
            let is_encrypted = pem.windows(9).any(|window| window == b"ENCRYPTED");
            let problem = match (is_encrypted, &self.key) {
                (true, _) => "the private key is encrypted: give it without a passphrase (`openssl pkey -in FILE`)",
                (false, Some(_)) => "it holds no private key in PEM form (PKCS #8, SEC 1 or PKCS #1)",
                (false, None) => {
                    "it holds no private key beside the certificate: put both into one PEM, or name the key's secret as \
                     `private_key`"
                }
            };
            IdentityError::Form { place: self.key_place(), problem: problem.to_owned() }
        })
    }
}

impl ClientIdentity {
    /// Reads a certificate and its key, and looks whether they can be shown now.
    ///
    /// # Errors
    /// What is wrong with them, and what to do.
    pub fn read(named: &ClientCertificate, secrets: &dyn Secrets, now: Timestamp) -> Result<Self, IdentityError> {
        Material::read(named, secrets)?.identity(now)
    }

    /// Whose it is, as the certificate says.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The last moment at which it, and everything that it rests on, is valid.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether it ends within two weeks.
    pub(super) fn ends_soon(&self, now: Timestamp) -> bool {
        self.not_after.since(now) < SOON_MS
    }

    /// A configuration that shows it.
    pub(super) fn shown_by(&self, tls: &ClientConfig) -> ClientConfig {
        let mut tls = tls.clone();
        tls.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(Arc::clone(&self.pair)));
        // INVARIANT: a session that was begun with this certificate is never taken up by a request without it, nor the
        // other way round: both would speak as somebody else.
        tls.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        tls
    }
}

fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

fn subject(certificate: &Facts) -> String {
    if certificate.subject.is_empty() { "an unnamed subject".to_owned() } else { format!("`{}`", certificate.subject) }
}

fn check_time(certificate: &Facts, now: Timestamp) -> Result<(), IdentityError> {
    let (from, until) = (certificate.not_before, certificate.not_after);
    let problem = if now > until {
        format!("has expired at {until}: have another one issued, and put it in its place")
    } else if now < from {
        format!("is not valid before {from}: look at the clock of this machine, or wait")
    } else {
        return Ok(());
    };
    Err(IdentityError::Invalid { subject: subject(certificate), problem })
}
