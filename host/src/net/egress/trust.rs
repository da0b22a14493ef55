//! Whose certificates remotes may show: the authorities that Mozilla trusts, or those of a connection alone.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

/// Most authorities of a connection.
const AUTHORITIES_MAX: usize = 32;

/// A configuration that trusts these authorities.
///
/// # Errors
/// What the library says.
pub(super) fn trusting(roots: RootCertStore) -> Result<ClientConfig, String> {
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(tls.with_root_certificates(roots).with_no_client_auth())
}

/// Reads the authorities of a connection.
///
/// # Errors
/// What is wrong with them, and what to do.
pub fn authorities(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        // It may be a key that was put here by mistake: nothing of it is repeated.
        let certificate = certificate.map_err(|_| "`authorities`: it is no PEM that can be read".to_owned())?;
        roots
            .add(certificate)
            .map_err(|error| format!("`authorities`: a certificate of it cannot be used: {error}"))?;
        if roots.len() > AUTHORITIES_MAX {
            return Err(format!("`authorities`: there are more than {AUTHORITIES_MAX}"));
        }
    }
    if roots.is_empty() {
        return Err("`authorities`: it holds no certificate in PEM form (`-----BEGIN CERTIFICATE-----`)".to_owned());
    }
    Ok(roots)
}
