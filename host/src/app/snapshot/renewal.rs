//! A new snapshot from the one before and the journal's tail, beside a busy hub. Only what the tail is about is in memory
//! for it; everything else goes from file to file as it is. There may be a million runs that nothing has happened to.

use std::{collections::HashSet, fs, io, path::Path};

use super::{
    Claim, Loaded, Progress, TAIL_PAGE, Writer, each, fold, fold_to, head, item::Item, open, path, save, take, write,
};
use crate::{
    app::{
        facts::{Facts, FactsError},
        installation::Installation,
        mailbox::{KEPT_LIMIT, KEPT_MS},
    },
    model::{id::RunId, timestamp::Timestamp},
    ports::journal::{Position, StreamId},
    store::disk::Store,
};

/// Makes a new snapshot from the one before and the journal's tail.
///
/// # Errors
/// Why there is none.
pub async fn renew(data: &Path, store: &Store, facts: &Facts, installation: &Installation) -> Result<(), String> {
    let file = path(data);
    let claim = match aside(move || open(&file)).await? {
        Ok((claim, _)) if claim.holds(store, installation).await => claim,
        Ok(_) => return anew(data, store, facts, installation).await,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(%error, "the snapshot of the list of runs cannot be used; it is derived anew");
                let _ = fs::remove_file(path(data));
            }
            return anew(data, store, facts, installation).await;
        }
    };
    let (touched, end) = touched(facts, claim.progress.position).await.map_err(|error| error.to_string())?;
    let file = path(data);
    let taken = aside(move || Part::read(&file, claim, touched)).await?;
    let mut part = taken.map_err(|error| error.to_string())?;
    let folded = fold_to(facts, installation, part.loaded.derived(), &mut part.claim.progress, end).await;
    folded.map_err(|error| error.to_string())?;
    let Some(head) = head(store, installation, &part.claim.progress).await else { return Ok(()) };
    let data = data.to_owned();
    let written = aside(move || {
        write(&data, &head, part.loaded.derived(), &part.claim.progress, |writer| part.copy_rest(&data, writer))
    });
    written.await?.map_err(|error| error.to_string())
}

/// Does what takes a while and waits for a disk where runs need not wait for it.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())
}

/// Derives everything anew.
async fn anew(data: &Path, store: &Store, facts: &Facts, installation: &Installation) -> Result<(), String> {
    let loaded = Loaded::default();
    let mut progress = Progress::default();
    fold(facts, installation, loaded.derived(), &mut progress).await.map_err(|error| error.to_string())?;
    save(data, store, installation, loaded.derived(), &progress).await.map_err(|error| error.to_string())
}

/// The runs that the journal after a position is about, and the last position that was looked at.
async fn touched(facts: &Facts, mut after: Position) -> Result<(HashSet<RunId>, Position), FactsError> {
    let mut runs = HashSet::new();
    loop {
        let (streams, last) = facts.streams(after, TAIL_PAGE).await?;
        if last == after {
            return Ok((runs, after));
        }
        after = last;
        runs.extend(streams.into_iter().filter_map(|stream| match stream {
            StreamId::Run(run) => Some(run),
            _ => None,
        }));
    }
}

/// What of a snapshot the tail is about.
struct Part {
    loaded: Loaded,
    claim: Claim,
    touched: HashSet<RunId>,
    /// The runs that were settled, in their order.
    settled: Vec<RunId>,
    /// Events that lie there.
    kept: usize,
}

impl Part {
    fn read(file: &Path, claim: Claim, touched: HashSet<RunId>) -> io::Result<Self> {
        let mut part = Self { loaded: Loaded::default(), claim, touched, settled: Vec::new(), kept: 0 };
        let (claim, mut body) = open(file)?;
        if claim.chain != part.claim.chain {
            return Err(io::Error::other("another snapshot has taken its place"));
        }
        each(&mut body, |item, _| {
            match &item {
                Item::Settled(run) => part.settled.push(*run),
                Item::Kept(..) => part.kept += 1,
                _ => {}
            }
            if part.is_mine(&item) {
                take(item, part.loaded.derived(), &mut part.claim.progress);
            }
            Ok(())
        })?;
        Ok(part)
    }

    /// Whether an item is taken in, rather than copied. The order in which runs were settled is of all of them.
    fn is_mine(&self, item: &Item) -> bool {
        match item {
            Item::Run(run) => self.touched.contains(&run.0.id),
            Item::Waits(run, _) | Item::Undone(run, ..) | Item::Exception(run, _) => self.touched.contains(run),
            Item::Question(question) => self.touched.contains(&question.0.run),
            Item::Settled(_) | Item::Pending(_) => true,
            Item::Kept(..) | Item::Head { .. } | Item::End { .. } => false,
        }
    }

    /// Copies what the tail is not about, and leaves out what is forgotten by now.
    fn copy_rest(&self, data: &Path, writer: &mut Writer) -> io::Result<()> {
        let mut listed = HashSet::new();
        self.loaded.index.each(drop, |run| listed.extend([run]));
        let forgotten: HashSet<RunId> = self.settled.iter().copied().filter(|run| !listed.contains(run)).collect();
        let (mut new, mut newest) = (0, Timestamp::default());
        self.loaded.mailbox.each(
            |_, _| {},
            |_, _, _| {},
            |_, time, _| {
                new += 1;
                newest = newest.max(time);
            },
        );
        let lies_still = |time: Timestamp| time.plus_millis(KEPT_MS) >= newest;
        let mut too_many = (self.kept + new).saturating_sub(KEPT_LIMIT);
        let (_, mut body) = open(&path(data))?;
        each(&mut body, |item, bytes| {
            let stays = !self.is_mine(&item)
                && match &item {
                    Item::Run(run) => !forgotten.contains(&run.0.id),
                    Item::Undone(_, time, _) => lies_still(*time),
                    // The oldest come first.
                    Item::Kept(_, time, _) => {
                        let goes = too_many > 0;
                        too_many = too_many.saturating_sub(1);
                        !goes && lies_still(*time)
                    }
                    _ => true,
                };
            if stays { writer.put_bytes(bytes) } else { Ok(()) }
        })
    }
}
