//! TLS for the hub's own surface: a certificate and its key from two files, read again when they change, so that a
//! rotation needs no restart. A pair that cannot be used is said in the log, and the one before stays in use.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Largest file, bytes.
const FILE_BYTES_LIMIT: u64 = 1 << 20;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("`{path}` {problem}")]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what it should hold.
        problem: String,
    },
    /// The two do not belong together, or cannot be used.
    #[error("the certificate in `{certificate}` and the key in `{key}` cannot be used together: {problem}")]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        problem: String,
    },
}

/// A certificate with its key, as two PEM files.
#[derive(Clone)]
pub struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    current: Arc<Current>,
    config: Arc<ServerConfig>,
}

/// The pair in use.
#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Certificate {
    /// Reads the files: a chain of certificates, the hub's own first, and its private key.
    ///
    /// # Errors
    /// As [`TlsError`] says.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let current = Arc::new(Current(ArcSwap::from_pointee(pair(certificate, key, &provider)?)));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Pair {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
                problem: error.to_string(),
            })?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), current, config: Arc::new(config) })
    }

    /// Takes a connection.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(Arc::clone(&self.config)).accept(stream).await
    }

    /// Reads the files again whenever they change, until told to stop.
    pub(super) async fn follow(self, stopping: CancellationToken) {
        let mut seen = self.stamp();
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                _ = look.tick() => {}
            }
            let now = self.stamp();
            if now == seen {
                continue;
            }
            // Of two files that are written one after the other, the first look may find only one: then the pair does
            // not fit, and the next change is looked at again.
            seen = now;
            match pair(&self.certificate, &self.key, &Arc::new(ring::default_provider())) {
                Ok(next) => {
                    self.current.0.store(Arc::new(next));
                    tracing::info!(certificate = %self.certificate.display(), "another certificate is in use");
                }
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the certificate has changed and cannot be used: the one before stays in use"
                ),
            }
        }
    }

    /// Changes when a file does.
    fn stamp(&self) -> [Option<(SystemTime, u64)>; 2] {
        [&self.certificate, &self.key].map(|path| {
            let found = fs::metadata(path).ok()?;
            Some((found.modified().ok()?, found.len()))
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let wrong = |source| TlsError::Read { path: path.to_owned(), source };
    let bytes = fs::metadata(path).map_err(wrong)?.len();
    if bytes > FILE_BYTES_LIMIT {
        let problem = format!("is {bytes} bytes, the limit is {FILE_BYTES_LIMIT}");
        return Err(TlsError::Form { path: path.to_owned(), problem });
    }
    fs::read(path).map_err(wrong)
}

fn pair(certificate: &Path, key: &Path, provider: &Arc<CryptoProvider>) -> Result<CertifiedKey, TlsError> {
    let form = |path: &Path, problem: String| TlsError::Form { path: path.to_owned(), problem };
    let chain = authorities(certificate)?;
    // What the parser says of a key could repeat parts of it.
    let private = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|_| form(key, "holds no private key in PEM (PKCS #8, SEC 1 or PKCS #1)".to_owned()))?;
    CertifiedKey::from_der(chain, private, provider).map_err(|error| TlsError::Pair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        problem: error.to_string(),
    })
}

/// The certificates of a PEM file; at least one.
///
/// # Errors
/// If there is none.
pub(super) fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let form = |problem: String| TlsError::Form { path: path.to_owned(), problem };
    let found: Vec<_> = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| form(format!("holds no certificates in PEM: {error}")))?;
    if found.is_empty() { Err(form("holds no certificate in PEM".to_owned())) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Certificate;

    #[test]
    fn files_that_do_not_hold_a_pair_are_refused_and_no_key_is_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let own = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/net/egress/tests"));
        let (certificate, key) = (own.join("server.pem"), own.join("server.key.pem"));
        assert!(Certificate::read(&certificate, &key).is_ok());
        let said = |certificate: &Path, key: &Path| Certificate::read(certificate, key).err().unwrap().to_string();
        assert!(said(&folder.path().join("none"), &key).starts_with("cannot read"));
        assert!(said(&key, &key).contains("holds no certificate"));
        assert!(said(&certificate, &certificate).contains("holds no private key"));
        let broken = folder.path().join("broken.pem");
        std::fs::write(&broken, "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n").unwrap();
        let said = said(&certificate, &broken);
        assert!(said.contains("cannot be used together") && !said.contains("c2VjcmV0"), "{said}");
    }
}
