//! What is stored under which key: the database, and in front of it what it has not taken in yet.
//!
//! The database is given the changes of many groups in one turn (`settler.rs`), so that what a power cut may find half written
//! is no more than that. Until then they lie here, as they lie in the log, and every reader sees both as one.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use sled::{IVec, Tree};

/// Changes in the order in which they were made: a key, and its value if it has one from then on.
pub(super) type Changes = Vec<(IVec, Option<IVec>)>;

/// The last change of each key.
type Latest = BTreeMap<IVec, Option<IVec>>;

/// A key and its value.
type Pair = Result<(IVec, IVec), sled::Error>;

/// Changes that the database has not taken in durably.
#[derive(Debug, Default)]
struct Recent {
    /// Since the database was given the others.
    young: Latest,
    /// What it is being given.
    old: Arc<Latest>,
}

/// The keys and values of a store that is open. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Table {
    tree: Tree,
    recent: Arc<RwLock<Recent>>,
}

impl Table {
    /// That of a database which has everything.
    pub(super) fn of(tree: &Tree) -> Self {
        Self { tree: tree.clone(), recent: Arc::default() }
    }

    /// Takes in the changes of a group, all at once.
    pub(super) fn take_in(&self, changes: Changes) {
        let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
        recent.young.extend(changes);
    }

    /// Gives the database what it has not got. Nobody else does at the same time.
    ///
    /// Headers come last: a database that a crash leaves with a header has all that belongs to it, and one without gets the
    /// whole group from the log again. So nothing has to reach it as one, and a batch of sled's, which hashes its keys and
    /// so goes through the tree in no order, would only cost more.
    ///
    /// # Errors
    /// Then it has some of it, and nothing may be written to it any more.
    pub(super) fn hand_over(&self) -> Result<(), sled::Error> {
        let old = {
            let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
            recent.old = Arc::new(std::mem::take(&mut recent.young));
            recent.old.clone()
        };
        let is_header = |key: &IVec| key.first() == Some(&b'h');
        let body = old.iter().filter(|(key, _)| !is_header(key));
        for (key, value) in body.chain(old.iter().filter(|(key, _)| is_header(key))) {
            match value {
                Some(value) => self.tree.insert(key, value)?,
                None => self.tree.remove(key)?,
            };
        }
        self.recent.write().unwrap_or_else(PoisonError::into_inner).old = Arc::default();
        Ok(())
    }

    /// A look during which nothing changes: who writes waits for its end, so it must be short.
    pub(super) fn look(&self) -> Look<'_> {
        Look { tree: &self.tree, recent: self.recent.read().unwrap_or_else(PoisonError::into_inner) }
    }

    /// The keys between two, in order, with their values.
    pub(super) fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> impl Iterator<Item = Pair> + use<> {
        self.look().range(from, to)
    }

    /// The keys that begin with something, in order, with their values.
    pub(super) fn scan_prefix(&self, prefix: Vec<u8>) -> impl Iterator<Item = Pair> + use<> {
        self.range(Bound::Included(&prefix), Bound::Unbounded)
            .take_while(move |pair| pair.as_ref().map_or(true, |(key, _)| key.starts_with(&prefix)))
    }

    /// The last key between two, with its value. None of the keys between them may ever be removed.
    ///
    /// # Errors
    /// What the database says.
    pub(super) fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<(IVec, IVec)>, sled::Error> {
        let between = (Bound::Included(from), Bound::Included(to));
        let recent = {
            let Look { recent, .. } = self.look();
            let last = |latest: &Latest| {
                let (key, value) = latest.range::<[u8], _>(between).next_back()?;
                Some((key.clone(), value.clone()?))
            };
            last(&recent.young).or_else(|| last(&recent.old))
        };
        // What is recent comes after all that is not.
        match recent {
            Some(pair) => Ok(Some(pair)),
            None => self.tree.range::<&[u8], _>(between).next_back().transpose(),
        }
    }
}

/// Whoever can be asked for a key.
pub(super) trait Keys {
    /// The value of a key.
    ///
    /// # Errors
    /// What the database says.
    fn get(&self, key: &[u8]) -> Result<Option<IVec>, sled::Error>;
}

impl Keys for Table {
    fn get(&self, key: &[u8]) -> Result<Option<IVec>, sled::Error> {
        let recent = self.look().recent.latest(key);
        recent.map_or_else(|| self.tree.get(key), Ok)
    }
}

/// A look at a table during which nothing changes.
pub(super) struct Look<'a> {
    tree: &'a Tree,
    recent: RwLockReadGuard<'a, Recent>,
}

impl Keys for Look<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<IVec>, sled::Error> {
        self.recent.latest(key).map_or_else(|| self.tree.get(key), Ok)
    }
}

impl Look<'_> {
    /// The keys between two, in order, with their values.
    pub(super) fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> impl Iterator<Item = Pair> + use<> {
        // Before the database is looked at: what it takes in meanwhile is in both then, rather than in neither.
        let recent = self.recent.between(from, to);
        let database = self.tree.range::<&[u8], _>((from, to));
        Merged { recent: recent.into_iter().peekable(), database: database.peekable() }
    }
}

impl Recent {
    fn latest(&self, key: &[u8]) -> Option<Option<IVec>> {
        self.young.get(key).or_else(|| self.old.get(key)).cloned()
    }

    fn between(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Latest {
        let mut between = Latest::new();
        for latest in [&*self.old, &self.young] {
            between.extend(latest.range::<[u8], _>((from, to)).map(|(key, value)| (key.clone(), value.clone())));
        }
        between
    }
}

/// What is recent and what the database has, as one.
struct Merged<R, D>
where
    R: Iterator<Item = (IVec, Option<IVec>)>,
    D: Iterator<Item = Pair>,
{
    recent: std::iter::Peekable<R>,
    database: std::iter::Peekable<D>,
}

impl<R, D> Iterator for Merged<R, D>
where
    R: Iterator<Item = (IVec, Option<IVec>)>,
    D: Iterator<Item = Pair>,
{
    type Item = Pair;

    fn next(&mut self) -> Option<Pair> {
        loop {
            let order = match (self.recent.peek(), self.database.peek()) {
                (None, _) | (_, Some(Err(_))) => return self.database.next(),
                (Some(_), None) => Ordering::Less,
                (Some((recent, _)), Some(Ok((stored, _)))) => recent.cmp(stored),
            };
            match order {
                Ordering::Greater => return self.database.next(),
                Ordering::Equal => drop(self.database.next()),
                Ordering::Less => {}
            }
            if let Some((key, Some(value))) = self.recent.next() {
                return Some(Ok((key, value)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn made() -> (tempfile::TempDir, sled::Db, Table) {
        let dir = tempfile::tempdir().unwrap();
        let db = sled::Config::new().path(dir.path()).open().unwrap();
        let table = Table::of(&db);
        (dir, db, table)
    }

    fn text(pairs: impl Iterator<Item = Pair>) -> String {
        let one = |pair: Pair| {
            let (key, value) = pair.unwrap();
            format!("{}={}", String::from_utf8_lossy(&key), String::from_utf8_lossy(&value))
        };
        pairs.map(one).collect::<Vec<_>>().join(" ")
    }

    fn change(key: &str, value: Option<&str>) -> (IVec, Option<IVec>) {
        (IVec::from(key.as_bytes()), value.map(|value| IVec::from(value.as_bytes())))
    }

    #[test]
    fn headers_reach_the_database_after_all_that_belongs_to_them() {
        let (_dir, db, table) = made();
        let changes = ["h1", "j1", "s1", "v1", "h2", "j2"].map(|key| change(key, Some("x")));
        let mut watched = db.watch_prefix([]);
        table.take_in(changes.into());
        table.hand_over().unwrap();
        let mut order = String::new();
        for _ in 0..6 {
            order += &String::from_utf8_lossy(watched.next().unwrap().key());
        }
        let headers = order.find('h').unwrap();
        assert!(order[..headers].contains("j1") && order[..headers].contains("v1"), "{order}");
        assert!(order.ends_with("h1h2"), "{order}");
    }

    #[test]
    fn readers_see_the_database_and_what_is_recent_as_one() {
        let (_dir, db, table) = made();
        for key in ["a", "b", "c", "va", "vb"] {
            db.insert(key, "old").unwrap();
        }
        table.take_in(vec![change("b", Some("new")), change("bb", Some("new")), change("c", None), change("va", None)]);
        let all = (Bound::Unbounded, Bound::Unbounded);
        assert_eq!(text(table.range(all.0, all.1)), "a=old b=new bb=new vb=old");
        assert_eq!(text(table.scan_prefix(b"v".to_vec())), "vb=old");
        assert_eq!(table.get(b"c").unwrap(), None);
        assert_eq!(table.get(b"a").unwrap().unwrap(), "old");
        assert_eq!(table.last(b"a", b"b").unwrap().unwrap().1, "new");
        table.hand_over().unwrap();
        assert_eq!(text(table.range(all.0, all.1)), "a=old b=new bb=new vb=old");
        assert_eq!(text(db.iter()), "a=old b=new bb=new vb=old");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn a_table_agrees_with_a_map_however_often_the_database_is_given_what_is_recent(
            turns in prop::collection::vec((prop::collection::vec((0..40_u8, any::<Option<u8>>()), 0..12), any::<bool>()), 1..20),
            from in 0..40_u8, to in 0..40_u8,
        ) {
            let (_dir, _db, table) = made();
            let mut map = BTreeMap::new();
            for (changes, hand_over) in turns {
                let mut taken = Changes::new();
                for (key, value) in changes {
                    taken.push((IVec::from(&[key]), value.map(|value| IVec::from(&[value]))));
                    match value {
                        Some(value) => { map.insert(key, value); }
                        None => { map.remove(&key); }
                    }
                }
                table.take_in(taken);
                if hand_over {
                    table.hand_over().unwrap();
                }
                let (from, to) = (from.min(to), from.max(to));
                let found: Vec<_> = table.range(Bound::Excluded(&[from]), Bound::Included(&[to]))
                    .map(|pair| pair.map(|(key, value)| (key[0], value[0])).unwrap()).collect();
                let expected: Vec<_> = map.range((Bound::Included(from + 1), Bound::Included(to.max(from + 1))))
                    .filter(|(key, _)| **key <= to).map(|(key, value)| (*key, *value)).collect();
                prop_assert_eq!(found, expected);
                for key in 0..40 {
                    let found = table.get(&[key]).unwrap().map(|value| value[0]);
                    prop_assert_eq!(found, map.get(&key).copied());
                }
            }
        }
    }
}
