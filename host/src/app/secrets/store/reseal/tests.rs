//! A reseal that is cut short at each of its writes.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{FutureExt as _, future::BoxFuture, stream::BoxStream};

use super::super::tests::{ann, audit, ground, open, value};
use super::*;
use crate::{
    app::{secrets::store::KeyPlace, test_hub::Ground},
    ports::{
        records::{Change, RecordError, Records, Revision, Stored},
        secrets::Secret,
    },
};

/// Records that take so many writes and no more, as before a crash.
struct Cut {
    records: Arc<dyn Records>,
    left: AtomicUsize,
}

impl Cut {
    fn writes(&self) -> Result<(), RecordError> {
        let taken = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        taken.map(drop).map_err(|_| RecordError::Unavailable { reason: "cut".into() })
    }
}

impl Records for Cut {
    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<Stored>, RecordError>> {
        self.records.get(key)
    }

    fn put_if(
        &self,
        key: &str,
        value: Bytes,
        expected: Option<Revision>,
    ) -> BoxFuture<'_, Result<Revision, RecordError>> {
        match self.writes() {
            Ok(()) => self.records.put_if(key, value, expected),
            Err(error) => async { Err(error) }.boxed(),
        }
    }

    fn delete_if(&self, key: &str, expected: Revision) -> BoxFuture<'_, Result<(), RecordError>> {
        match self.writes() {
            Ok(()) => self.records.delete_if(key, expected),
            Err(error) => async { Err(error) }.boxed(),
        }
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(String, Stored)>, RecordError>> {
        self.records.list(prefix, after, limit)
    }

    fn watch(&self, prefix: &str) -> BoxStream<'static, Change> {
        self.records.watch(prefix)
    }
}

async fn open_at(
    ground: &Ground,
    records: Arc<dyn Records>,
    path: &std::path::Path,
) -> Result<SecretStore, StoreError> {
    let place = KeyPlace { path: path.to_owned(), forget: false };
    SecretStore::open(records, audit(ground).await, Arc::clone(&ground.clock) as _, place).await
}

#[tokio::test]
async fn wherever_it_is_cut_short_exactly_one_key_opens_everything_that_there_was() {
    let (mut with_old, mut with_new) = (0, 0);
    for writes in 0.. {
        let (ground, data) = (ground(), tempfile::tempdir().unwrap());
        let (old_key, new_key) = (KeyPlace::in_data(data.path()).path, data.path().join("new.key"));
        let store = open(&ground, data.path(), false).await.unwrap();
        for (name, text) in [("erp", "one"), ("erp", "two"), ("shop", "three")] {
            store.set(&ann(), name, &Secret::new(text), None).await.unwrap();
        }
        drop(store);
        let cut = Cut { records: ground.store.records(), left: AtomicUsize::new(writes) };
        let store = open_at(&ground, Arc::new(cut), &old_key).await.unwrap();
        let done = store.reseal(&ann(), MasterKey::make(&new_key).unwrap()).await;
        drop(store);

        let (old, new) = (
            open_at(&ground, ground.store.records(), &old_key).await,
            open_at(&ground, ground.store.records(), &new_key).await,
        );
        let store = match (old, new) {
            (Ok(store), Err(StoreError::Key { .. })) => {
                with_old += 1;
                assert!(done.is_err() && store.keys_of_reseal().is_none());
                store
            }
            (Err(StoreError::Key { .. }), Ok(store)) => {
                with_new += 1;
                assert!(store.keys_of_reseal().is_some(), "what is sealed elsewhere is still to come");
                store
            }
            _ => panic!("after {writes} writes, not exactly one key opens it"),
        };
        if store.keys_of_reseal().is_some() {
            let third = MasterKey::make(&data.path().join("third.key")).unwrap();
            let early = store.reseal(&ann(), third).await.unwrap_err();
            assert!(early.to_string().contains("another key is being put in place"), "{early}");
        }
        assert_eq!((value(&store, "erp").as_str(), value(&store, "shop").as_str()), ("two", "three"));
        assert_eq!(store.earlier("erp").unwrap().expose(), b"one");
        store.end_reseal().await.unwrap();
        let key = MasterKey::read(store.key_path()).unwrap().unwrap();
        for (at, stored) in ground.store.records().list("sealed/", None, 100).await.unwrap() {
            let mut parts = at.split('/').skip(1);
            let (name, version) = (parts.next().unwrap(), parts.next().unwrap().parse().unwrap());
            assert!(key.open(name, version, &stored.value).is_ok(), "{at} is sealed with the key of before");
        }
        store.take_back(&ann(), "erp").await.unwrap();
        assert_eq!(value(&store, "erp"), "one");
        drop(store);
        assert!(ground.store.records().get(RESEALING).await.unwrap().is_none());
        if done.is_ok() {
            break;
        }
    }
    // `resealing` and the key; then three values and two records, and `resealing` stays.
    assert_eq!((with_old, with_new), (2, 6));
}

#[tokio::test]
async fn nothing_is_resealed_where_nothing_is_sealed_or_the_key_is_the_same() {
    let (ground, data) = (ground(), tempfile::tempdir().unwrap());
    let store = open(&ground, data.path(), false).await.unwrap();
    let none = store.reseal(&ann(), MasterKey::make(&data.path().join("new.key")).unwrap()).await.unwrap_err();
    assert!(none.to_string().contains("nothing is sealed here yet"), "{none}");
    store.set(&ann(), "erp", &Secret::new("one"), None).await.unwrap();
    let same = MasterKey::read(&KeyPlace::in_data(data.path()).path).unwrap().unwrap();
    let same = store.reseal(&ann(), same).await.unwrap_err();
    assert!(same.to_string().contains("with that key already"), "{same}");
    assert_eq!(value(&store, "erp"), "one");
}
