//! Keys: one a person, durable, and gone for good once destroyed.

use std::{path::Path, sync::Arc};

use super::{Keyring, KeyringError, destroy_listed, holds_any};
use crate::{
    app::{
        audit::Audit,
        personal::erasures,
        secrets::store::{KeyPlace, SecretStore},
        test_hub::HandClock,
    },
    policy::personal::seal::{Place, Sealed, seal},
    store::memory::Store,
};

/// The keys of a data folder.
pub(in crate::app) async fn keyring(data: &Path, store: &Store) -> Keyring {
    let clock: Arc<dyn crate::ports::clock::Clock> = HandClock::at("2026-06-01T12:00:00Z");
    let audit = Audit::open(store.journal(), store.blobs(), Arc::clone(&clock)).await.unwrap();
    let secrets =
        SecretStore::open(store.records(), Arc::new(audit), Arc::clone(&clock), KeyPlace::in_data(data)).await.unwrap();
    Keyring::open(data, [], Arc::new(secrets), clock).unwrap()
}

fn store() -> Store {
    Store::new(HandClock::at("2026-06-01T12:00:00Z"))
}

const HERE: Place = Place { stream: [1; 17], index: 0 };

#[tokio::test]
async fn a_person_has_one_key_that_survives_the_process_and_names_nobody() {
    let (data, store) = (tempfile::tempdir().unwrap(), store());
    let ring = keyring(data.path(), &store).await;
    assert!(!holds_any(&data.path().join("personal")).unwrap());
    let (one, two) = tokio::join!(ring.key_of("ann@example.org"), ring.key_of("ann@example.org"));
    let id = one.unwrap();
    assert_eq!(id, two.unwrap(), "who comes at once gets the same");
    assert_ne!(id, ring.key_of("bob@example.org").await.unwrap());
    let sealed = seal(&[(id, ring.key(id).await.unwrap().unwrap())], HERE, b"o", b"whole").unwrap();
    drop(ring);
    let ring = keyring(data.path(), &store).await;
    assert_eq!(ring.key_of("ann@example.org").await.unwrap(), id);
    let key = ring.key(id).await.unwrap().unwrap();
    assert_eq!(Sealed::parse(&sealed).unwrap().open(&[key], HERE).unwrap(), b"whole");
    for shard in std::fs::read_dir(data.path().join("personal")).unwrap() {
        for file in std::fs::read_dir(shard.unwrap().path()).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            assert!(!text.contains("ann") && !text.contains("bob"), "{text}");
        }
    }
    assert!(holds_any(&data.path().join("personal")).unwrap());
}

#[tokio::test]
async fn a_key_that_is_destroyed_stays_so_and_new_data_of_the_person_gets_another() {
    let (data, store) = (tempfile::tempdir().unwrap(), store());
    let ring = keyring(data.path(), &store).await;
    let (ann, bob) = (ring.key_of("ann").await.unwrap(), ring.key_of("bob").await.unwrap());
    let copy = tempfile::tempdir().unwrap();
    let file = super::path_of(&data.path().join("personal"), ann.subject());
    let kept = std::fs::read(&file).unwrap();
    ring.key(ann).await.unwrap().expect("it is there, and held open");
    ring.destroy(ann).await.unwrap();
    ring.destroy(ann).await.unwrap();
    assert!(ring.key(ann).await.unwrap().is_none() && ring.current(ann.subject()).unwrap().is_none());
    assert!(ring.key(bob).await.unwrap().is_some(), "another's is untouched");
    assert!(matches!(ring.accept(&[ann]).await, Err(KeyringError::Erasing)));
    assert!(ring.accept(&[bob]).await.is_ok());
    // What a backup brings back goes again at the next start, and what came later does not.
    std::fs::write(&file, &kept).unwrap();
    drop(ring);
    let ring = keyring(data.path(), &store).await;
    assert!(!file.exists() && ring.key(ann).await.unwrap().is_none());
    let later = ring.key_of("ann").await.unwrap();
    assert_ne!(later, ann);
    assert_eq!(later.subject(), ann.subject());
    ring.destroy(ann).await.unwrap();
    assert!(ring.key(later).await.unwrap().is_some());
    // In another folder, by the list alone.
    let elsewhere = super::path_of(copy.path(), ann.subject());
    std::fs::create_dir_all(elsewhere.parent().unwrap()).unwrap();
    std::fs::write(&elsewhere, &kept).unwrap();
    assert_eq!(destroy_listed(copy.path(), &erasures::path_in(data.path())).unwrap(), 1);
    assert!(!elsewhere.exists());
}

#[tokio::test]
async fn nothing_is_accepted_of_a_person_whose_data_is_being_erased() {
    let (data, store) = (tempfile::tempdir().unwrap(), store());
    let ring = keyring(data.path(), &store).await;
    let (ann, bob) = (ring.key_of("ann").await.unwrap(), ring.key_of("bob").await.unwrap());
    let held = ring.hold_off(ann.subject()).await.unwrap();
    assert!(matches!(ring.accept(&[ann]).await, Err(KeyringError::Erasing)));
    assert!(matches!(ring.accept(&[bob, ann]).await, Err(KeyringError::Erasing)));
    assert!(ring.accept(&[bob]).await.is_ok());
    assert!(ring.hold_off(ann.subject()).await.is_err(), "one at a time");
    drop(held);
    assert!(ring.accept(&[ann]).await.is_ok(), "it was refused: all goes on");
}

#[tokio::test]
async fn a_file_that_holds_no_key_is_told_and_one_that_was_overwritten_is_none() {
    let (data, store) = (tempfile::tempdir().unwrap(), store());
    let ring = keyring(data.path(), &store).await;
    let ann = ring.key_of("ann").await.unwrap();
    let file = super::path_of(&data.path().join("personal"), ann.subject());
    let length = std::fs::metadata(&file).unwrap().len();
    std::fs::write(&file, "something else").unwrap();
    assert!(matches!(ring.key(ann).await, Err(KeyringError::Form { .. })));
    std::fs::write(&file, vec![0; usize::try_from(length).unwrap()]).unwrap();
    assert!(ring.key(ann).await.unwrap().is_none());
    assert_ne!(ring.key_of("ann").await.unwrap(), ann, "the person may have a new one");
}
