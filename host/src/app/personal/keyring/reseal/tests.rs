//! Keys under another key of secrets, and what a crash leaves between two files.

use std::path::PathBuf;

use super::super::{Keyring, path_of, tests::keyring};
use super::*;
use crate::{
    app::{personal::FOLDER, secrets::key, test_hub::HandClock},
    store::memory::Store,
};

/// The keys of a data folder, with nothing recorded of its key of secrets: it is whatever lies there.
async fn ring(data: &Path) -> Keyring {
    keyring(data, &Store::new(HandClock::at("2026-06-01T12:00:00Z"))).await
}

#[tokio::test]
async fn keys_open_with_the_new_key_alone_and_stand_for_the_same_persons_whatever_came_between() {
    let data = tempfile::tempdir().unwrap();
    let (dir, place) = (data.path().join(FOLDER), key::path_in(data.path()));
    let before = ring(data.path()).await;
    let mut ids = Vec::new();
    for name in ["ann", "bob", "eve"] {
        let id = before.key_of(name).await.unwrap();
        before.key(id).await.unwrap().expect("there");
        ids.push((name, id));
    }
    drop(before);
    let path = |index: usize| -> PathBuf { path_of(&dir, ids[index].1.subject()) };
    let old = MasterKey::read(&place).unwrap().unwrap();
    let lost = MasterKey::make(&data.path().join("lost")).unwrap();
    let (kept, gone) = (data.path().join("kept"), fs::File::open(path(0)).unwrap());
    fs::hard_link(path(2), &kept).unwrap();
    // Bob's cannot be written, as if the process had ended there.
    let obstacle = path(1).with_extension("new");
    fs::create_dir_all(obstacle.join("x")).unwrap();
    let new = MasterKey::make(&data.path().join("new")).unwrap();
    assert!(matches!(reseal(&dir, &old, &new), Err(KeyringError::File { .. })));
    fs::remove_dir_all(&obstacle).unwrap();
    // What a crash leaves of a file that was being written.
    fs::write(path(2).with_extension("new"), "half").unwrap();
    assert_eq!(reseal(&dir, &old, &new).unwrap(), Resealed { keys: 3, lost: 0 });
    assert_eq!(reseal(&dir, &old, &new).unwrap(), Resealed { keys: 3, lost: 0 }, "again changes nothing");
    for (index, (_, id)) in ids.iter().enumerate() {
        let sealed = STANDARD.decode(read(&path(index)).unwrap().unwrap().sealed).unwrap();
        assert!(new.open(&name_of(*id), 1, &sealed).is_ok() && old.open(&name_of(*id), 1, &sealed).is_err());
    }

    // Nobody finds on the disk what the key of before opened, but in a copy that is somebody's own.
    let mut left = Vec::new();
    io::Read::read_to_end(&mut &gone, &mut left).unwrap();
    assert!(!left.is_empty() && left.iter().all(|byte| *byte == 0));
    assert!(fs::read_to_string(&kept).unwrap().contains("sealed"));

    fs::copy(data.path().join("new"), &place).unwrap();
    let after = ring(data.path()).await;
    for (name, id) in &ids {
        assert_eq!(after.key_of(name).await.unwrap(), *id, "`{name}` is who they were");
        assert!(after.key(*id).await.unwrap().is_some());
    }
    after.destroy(ids[0].1).await.unwrap();
    drop(after);
    // A second time, by when the ids come from the first key still; a key that was lost before stays lost.
    let third = MasterKey::make(&data.path().join("third")).unwrap();
    let file = KeyFile {
        sealed: STANDARD.encode(lost.seal(&name_of(ids[2].1), 1, &Secret::new([0; 32])).unwrap()),
        ..read(&path(2)).unwrap().unwrap()
    };
    fs::write(path(2), serde_json::to_string(&file).unwrap()).unwrap();
    assert_eq!(reseal(&dir, &new, &third).unwrap(), Resealed { keys: 1, lost: 1 });
    fs::copy(data.path().join("third"), &place).unwrap();
    assert_eq!(ring(data.path()).await.key_of("bob").await.unwrap(), ids[1].1);
}

#[test]
fn where_no_persons_data_is_nothing_is_made() {
    let data = tempfile::tempdir().unwrap();
    let (old, new) = ["old", "new"].map(|name| MasterKey::make(&data.path().join(name)).unwrap()).into();
    let dir = data.path().join(FOLDER);
    assert_eq!(reseal(&dir, &old, &new).unwrap(), Resealed::default());
    assert!(!dir.exists());
}
