//! A sealed fact: its outline in clear, and beside it the whole fact, encrypted.
//!
//! ```text
//! 1  0xB2
//! 1  version, 1
//! 1  number of keys, at least 1
//! 24 each key's id, in ascending order
//! 4  length of the outline, little-endian
//! …  the outline, an encoded fact
//! 24 nonce
//! …  the whole fact, an encoded fact, XChaCha20-Poly1305; 16 bytes of tag at its end
//! ```
//!
//! Everything before the nonce is authenticated, and with it the stream and the fact's number in its append, so that no
//! sealed fact passes for another. With several keys, one is made of all of them: whichever is destroyed, nothing opens.
//!
//! The nonce is a keyed hash of all that is sealed and authenticated, not a random number. So the same fact at the same
//! place always has the same bytes, as an append that is repeated after an unknown outcome must have; and two facts
//! never share a nonce unless they are the same. The digest of the journal is over these bytes: it stays valid when
//! keys are gone.

use bytes::Bytes;
use chacha20poly1305::{
    AeadInPlace as _, KeyInit as _, XChaCha20Poly1305, XNonce, aead::AeadCore,
    aead::generic_array::typenum::Unsigned as _,
};

use crate::{model::id::SubjectKeyId, ports::secrets::Secret};

/// The first byte; format bytes of facts stay below it.
pub const MARK: u8 = 0xB2;
const VERSION: u8 = 1;
/// Most keys of one fact. A run that takes in events about more people than this keeps to the first of them.
pub const KEYS_MAX: usize = 32;
/// Length of a key, bytes.
pub const KEY_BYTES: usize = 32;
const ID_BYTES: usize = 24;
const NONCE_BYTES: usize = 24;

/// A person's key. It never prints, and is wiped when dropped.
#[derive(Clone)]
pub struct SubjectKey(Secret);

impl SubjectKey {
    /// A key of its bytes; absent: they are not as many as a key has.
    #[must_use]
    pub fn new(bytes: Secret) -> Option<Self> {
        (bytes.expose().len() == KEY_BYTES).then_some(Self(bytes))
    }
}

/// Where a fact stands.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The key of its stream.
    pub stream: [u8; 17],
    /// Its number in its append, from 0.
    pub index: u32,
}

/// A fact that is sealed, taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    head: &'a [u8],
    ids: &'a [u8],
    outline: &'a [u8],
    nonce: &'a [u8],
    body: &'a [u8],
}

/// Bytes are not a sealed fact, or do not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    /// Written by a later release, or damaged.
    #[error("a sealed fact has no form that this release knows")]
    Form,
    /// It was sealed with other keys, elsewhere, or was changed.
    #[error("a sealed fact does not open with the keys that it names: it or they were changed")]
    Closed,
    /// There is no key, or there are too many.
    #[error("a fact is sealed with 1 to {KEYS_MAX} keys")]
    Keys,
}

/// Seals a fact with every one of these keys, which are in ascending order of their ids.
///
/// # Errors
/// If there is no key, or too many.
pub fn seal(
    keys: &[(SubjectKeyId, SubjectKey)],
    place: Place,
    outline: &[u8],
    whole: &[u8],
) -> Result<Bytes, SealedError> {
    let count = u8::try_from(keys.len()).map_err(|_| SealedError::Keys)?;
    if keys.is_empty() || keys.len() > KEYS_MAX {
        return Err(SealedError::Keys);
    }
    let length = u32::try_from(outline.len()).map_err(|_| SealedError::Form)?;
    let mut bytes = Vec::with_capacity(64 + keys.len() * ID_BYTES + outline.len() + whole.len());
    bytes.extend_from_slice(&[MARK, VERSION, count]);
    keys.iter().for_each(|(id, _)| bytes.extend_from_slice(id.as_bytes()));
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(outline);
    let about = about(place, &bytes);
    let secret = Combined::of(keys.iter().map(|(_, key)| key));
    let nonce = secret.nonce(&about, whole);
    let mut body = whole.to_vec();
    let tag = secret.cipher().encrypt_in_place_detached(&nonce, &about, &mut body).map_err(|_| SealedError::Form)?;
    bytes.extend_from_slice(&nonce);
    bytes.extend_from_slice(&body);
    bytes.extend_from_slice(&tag);
    Ok(bytes.into())
}

impl<'a> Sealed<'a> {
    /// Takes bytes apart that begin with [`MARK`].
    ///
    /// # Errors
    /// If they have no form that is known.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, SealedError> {
        let form = || SealedError::Form;
        let (start, rest) = bytes.split_at_checked(3).ok_or_else(form)?;
        let &[MARK, VERSION, count] = start else { return Err(form()) };
        let (ids, rest) = rest.split_at_checked(usize::from(count) * ID_BYTES).ok_or_else(form)?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(form)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| form())?;
        let (outline, rest) = rest.split_at_checked(length).ok_or_else(form)?;
        let (nonce, body) = rest.split_at_checked(NONCE_BYTES).ok_or_else(form)?;
        if count == 0 || usize::from(count) > KEYS_MAX {
            return Err(form());
        }
        let head = bytes.get(..bytes.len() - rest.len()).unwrap_or_default();
        Ok(Self { head, ids, outline, nonce, body })
    }

    /// The keys that it is sealed with.
    pub fn keys(&self) -> impl Iterator<Item = SubjectKeyId> + use<'a> {
        self.ids.as_chunks::<ID_BYTES>().0.iter().map(|id| SubjectKeyId::from_bytes(*id))
    }

    /// Its outline, an encoded fact.
    #[must_use]
    pub fn outline(&self) -> &'a [u8] {
        self.outline
    }

    /// The whole fact. The keys are those that it names, in that order.
    ///
    /// # Errors
    /// If it does not open.
    pub fn open(&self, keys: &[SubjectKey], place: Place) -> Result<Vec<u8>, SealedError> {
        let about = about(place, self.head);
        let secret = Combined::of(keys.iter());
        let at = self.body.len().checked_sub(<XChaCha20Poly1305 as AeadCore>::TagSize::USIZE);
        let (body, tag) = at.and_then(|at| self.body.split_at_checked(at)).ok_or(SealedError::Form)?;
        let nonce: [u8; NONCE_BYTES] = self.nonce.try_into().map_err(|_| SealedError::Form)?;
        let mut whole = body.to_vec();
        let opened = secret.cipher().decrypt_in_place_detached(&XNonce::from(nonce), &about, &mut whole, tag.into());
        opened.map_err(|_| SealedError::Closed)?;
        Ok(whole)
    }
}

/// What is authenticated with a fact.
fn about(place: Place, head: &[u8]) -> Vec<u8> {
    [b"crossdock personal 1\n", place.stream.as_slice(), &place.index.to_le_bytes(), head].concat()
}

/// What is made of all keys of a fact.
struct Combined(Secret);

impl Combined {
    fn of<'a>(keys: impl Iterator<Item = &'a SubjectKey>) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("crossdock 2026 keys that seal personal data together");
        keys.for_each(|key| {
            hasher.update(key.0.expose());
        });
        Self(Secret::new(hasher.finalize().as_bytes().to_vec()))
    }

    fn derived(&self, context: &str) -> [u8; KEY_BYTES] {
        blake3::derive_key(context, self.0.expose())
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.derived("crossdock 2026 cipher of personal data").into())
    }

    fn nonce(&self, about: &[u8], whole: &[u8]) -> XNonce {
        let key = self.derived("crossdock 2026 nonce of personal data");
        let mut hasher = blake3::Hasher::new_keyed(&key);
        hasher.update(&(about.len() as u64).to_le_bytes()).update(about).update(whole);
        let mut nonce = [0; NONCE_BYTES];
        nonce.iter_mut().zip(hasher.finalize().as_bytes()).for_each(|(to, from)| *to = *from);
        nonce.into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::id::SubjectId;

    fn key(number: u8) -> (SubjectKeyId, SubjectKey) {
        let id = SubjectKeyId::new(SubjectId::from_bytes([number; 16]), [number; 8]);
        (id, SubjectKey::new(Secret::new(vec![number; KEY_BYTES])).unwrap())
    }

    const HERE: Place = Place { stream: [7; 17], index: 1 };

    fn opened(sealed: &[u8], keys: &[SubjectKey], place: Place) -> Result<Vec<u8>, SealedError> {
        Sealed::parse(sealed)?.open(keys, place)
    }

    proptest! {
        #[test]
        fn a_fact_opens_with_all_its_keys_at_its_own_place_and_as_it_was(
            outline in proptest::collection::vec(any::<u8>(), 0..64),
            whole in proptest::collection::vec(any::<u8>(), 0..256),
            count in 1_u8..5,
            at in any::<prop::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let keys: Vec<_> = (1..=count).map(key).collect();
            let sealed = seal(&keys, HERE, &outline, &whole).unwrap();
            let only: Vec<SubjectKey> = keys.iter().map(|(_, key)| key.clone()).collect();
            let parsed = Sealed::parse(&sealed).unwrap();
            prop_assert_eq!(parsed.outline(), outline.as_slice());
            prop_assert_eq!(parsed.keys().collect::<Vec<_>>(), keys.iter().map(|(id, _)| *id).collect::<Vec<_>>());
            prop_assert_eq!(opened(&sealed, &only, HERE), Ok(whole.clone()));
            // Elsewhere, with one key less, with another.
            for elsewhere in [Place { index: 2, ..HERE }, Place { stream: [8; 17], ..HERE }] {
                prop_assert!(opened(&sealed, &only, elsewhere).is_err());
            }
            prop_assert!(opened(&sealed, &only[1..], HERE).is_err());
            let mut other = only.clone();
            other[0] = key(99).1;
            prop_assert!(opened(&sealed, &other, HERE).is_err());
            // Changed in any bit.
            let mut changed = sealed.to_vec();
            let at = at.index(changed.len());
            changed[at] ^= 1 << bit;
            prop_assert!(opened(&changed, &only, HERE).is_err());
        }
    }

    #[test]
    fn the_same_fact_has_the_same_bytes_and_another_shares_nothing_with_it() {
        let keys = [key(1)];
        let one = seal(&keys, HERE, b"o", b"a person's address").unwrap();
        assert_eq!(one, seal(&keys, HERE, b"o", b"a person's address").unwrap());
        let elsewhere = seal(&keys, Place { index: 2, ..HERE }, b"o", b"a person's address").unwrap();
        let tail = |bytes: &Bytes| bytes[bytes.len() - 34..].to_vec();
        assert_ne!(tail(&one), tail(&elsewhere));
        assert!(!one.windows(7).any(|window| window == b"address"));
    }

    #[test]
    fn nothing_is_sealed_without_a_key_and_no_piece_of_a_fact_is_taken_for_one() {
        assert_eq!(seal(&[], HERE, b"o", b"w").unwrap_err(), SealedError::Keys);
        let sealed = seal(&[key(1), key(2)], HERE, b"outline", b"whole").unwrap();
        let keys = [key(1).1, key(2).1];
        for length in 0..sealed.len() {
            assert!(opened(&sealed[..length], &keys, HERE).is_err(), "{length} bytes");
        }
        assert!(SubjectKey::new(Secret::new(vec![0; 31])).is_none());
    }
}
