//! The little that is asked of an X.509 certificate (RFC 5280 §4.1): whose it is, and when it is valid. Signatures, names and
//! usages are for the remote to judge.

use der::{
    Decode as _, Reader as _, SliceReader, Tag, Tagged as _,
    asn1::{AnyRef, GeneralizedTime, UtcTime},
};

use crate::model::timestamp::Timestamp;

/// The object identifiers of the common name and the organization (2.5.4.3 and 2.5.4.10), as they are encoded.
const NAMES: [&[u8]; 2] = [&[0x55, 0x04, 0x03], &[0x55, 0x04, 0x0a]];

/// Longest part of a name that is shown, characters.
const NAME_CHARS_MAX: usize = 100;

/// What is asked of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// The common name, else the organization; empty if it has neither.
    pub(super) subject: String,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

impl Facts {
    /// Reads a certificate; nothing if it is none.
    pub(super) fn read(certificate: &[u8]) -> Option<Self> {
        let fields = children(*children(AnyRef::from_der(certificate).ok()?)?.first()?)?;
        // Serial number, algorithm, issuer, validity, subject; before them, perhaps, the version.
        let has_version = fields.first()?.tag().is_context_specific();
        let mut fields = fields.into_iter().skip(usize::from(has_version) + 3);
        let validity = children(fields.next()?)?;
        let (not_before, not_after) = (instant(*validity.first()?)?, instant(*validity.get(1)?)?);
        let subject = subject(fields.next()?)?;
        Some(Self { subject, not_before, not_after })
    }
}

/// What a constructed value holds.
fn children(of: AnyRef<'_>) -> Option<Vec<AnyRef<'_>>> {
    let mut reader = SliceReader::new(of.value()).ok()?;
    let mut found = Vec::new();
    while !reader.is_finished() {
        found.push(AnyRef::decode(&mut reader).ok()?);
    }
    Some(found)
}

fn instant(time: AnyRef<'_>) -> Option<Timestamp> {
    let since = match time.tag() {
        Tag::UtcTime => time.decode_as::<UtcTime>().ok()?.to_unix_duration(),
        _ => time.decode_as::<GeneralizedTime>().ok()?.to_unix_duration(),
    };
    Some(Timestamp::from_millis(i64::try_from(since.as_millis()).ok()?))
}

fn subject(name: AnyRef<'_>) -> Option<String> {
    let mut parts = Vec::new();
    for set in children(name)? {
        for part in children(set)? {
            let part = children(part)?;
            parts.push((part.first()?.value(), part.get(1)?.value()));
        }
    }
    let of = |wanted: &&[u8]| parts.iter().find(|(kind, _)| kind == wanted).map(|(_, value)| *value);
    let shown = String::from_utf8_lossy(NAMES.iter().find_map(of).unwrap_or_default());
    Some(shown.chars().filter(|c| !c.is_control() && *c != '`').take(NAME_CHARS_MAX).collect())
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};

    use super::Facts;

    const SERVER: &[u8] = include_bytes!("../tests/server.pem");

    #[test]
    fn a_certificate_says_whose_it_is_and_when_it_is_valid() {
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Acme `Retail`");
        // From 2050 on, times are written in another form.
        let year = |year| time::OffsetDateTime::UNIX_EPOCH.replace_year(year).unwrap();
        (params.not_before, params.not_after) = (year(2049), year(2050));
        let own = params.clone().self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let facts = Facts::read(own.der()).unwrap();
        assert_eq!(facts.subject, "Acme Retail");
        assert_eq!(
            (facts.not_before.to_string(), facts.not_after.to_string()),
            ("2049-01-01T00:00:00.000Z".to_owned(), "2050-01-01T00:00:00.000Z".to_owned())
        );
        params.distinguished_name.push(rcgen::DnType::CommonName, "hub");
        let own = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        assert_eq!(Facts::read(own.der()).unwrap().subject, "hub");
    }

    #[test]
    fn whatever_is_cut_off_or_changed_is_read_or_refused_and_nothing_worse() {
        let whole = CertificateDer::from_pem_slice(SERVER).unwrap();
        assert!(Facts::read(&whole).is_some());
        for end in 0..whole.len() {
            assert_eq!(Facts::read(&whole[..end]), None, "{end}");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut changed = whole.to_vec();
                changed[at] ^= 1 << bit;
                drop(Facts::read(&changed));
            }
        }
    }
}
