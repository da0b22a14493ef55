//! What the hub signs of its own journal: `<data>/audit/checkpoints.jsonl`, a line for each. One is made every few
//! minutes while anything happens, and one as the hub stops. Copies that are kept elsewhere are anchors: a journal that
//! was shortened or rewritten later cannot agree with them.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::Mutex;

use super::key::{CHECKPOINTS_FILE, FOLDER};
use crate::{
    model::{
        audit::{Checkpoint, SignedCheckpoint},
        id::{ChainHash, KeyId},
        timestamp::Timestamp,
    },
    policy::seal::{PrivateKey, SealError},
    ports::{clock::Clock, journal::ReadError},
    store::disk::Store,
};

/// How often one is made, milliseconds.
pub const PERIOD_MS: u64 = 10 * 60 * 1_000;
/// How many headers one look reads.
const PAGE: u64 = 1_024;

/// Why there is no checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be read or written.
    #[error("cannot use `{path}`; see to its permissions and to the disk")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line of the file is no checkpoint.
    #[error("line {line} of `{path}` is not a checkpoint: restore the file from a backup")]
    Form {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// The last checkpoint is not by this hub's key.
    #[error("the last checkpoint in `{path}` does not hold: restore the folder `audit` from a backup")]
    Seal {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SealError,
    },
    /// The journal is not the one that was signed.
    #[error(
        "the journal is not the one that the hub signed at {time}: batch {batch} is {problem}. If an older backup was \
         restored on purpose, move `{path}` aside and keep it: it shows what was lost; otherwise keep the data folder for \
         inquiry and restore `store` and `audit` from the same backup"
    )]
    Diverged {
        /// The batch that was signed last.
        batch: u64,
        /// When.
        time: Timestamp,
        /// `missing`, or `another one`.
        problem: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The journal cannot be read.
    #[error("the journal cannot be read")]
    Read {
        /// Why.
        #[from]
        source: ReadError,
    },
}

/// Makes checkpoints of a running hub.
pub struct Checkpoints {
    path: PathBuf,
    key: PrivateKey,
    hub: String,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    last: Mutex<Checkpoint>,
}

impl Checkpoints {
    /// Goes on from what was signed last, which the journal must still hold.
    ///
    /// # Errors
    /// As [`CheckpointError`] says.
    pub async fn open(
        data: &Path,
        key: PrivateKey,
        hub: &str,
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CheckpointError> {
        let path = data.join(FOLDER).join(CHECKPOINTS_FILE);
        let last = match read(&path)?.pop() {
            None => nothing(hub),
            Some(signed) => {
                let seal = |source| CheckpointError::Seal { path: path.clone(), source };
                key.public().verify_checkpoint(&signed).map_err(seal)?;
                signed.checkpoint
            }
        };
        if last.batch > 0 {
            let problem = match store.headers(last.batch - 1, 1).await?.first() {
                None => Some("missing"),
                Some(header) if ChainHash::from_bytes(header.hash()) != last.chain => Some("another one"),
                Some(_) => None,
            };
            if let Some(problem) = problem {
                return Err(CheckpointError::Diverged { batch: last.batch, time: last.time, problem, path });
            }
        }
        Ok(Self { path, key, hub: hub.to_owned(), store, clock, last: Mutex::new(last) })
    }

    /// Signs how far the journal has got, unless it has got no further than the last time.
    ///
    /// # Errors
    /// If the journal cannot be read or the file cannot be written.
    pub async fn make(&self) -> Result<Option<SignedCheckpoint>, CheckpointError> {
        let mut last = self.last.lock().await;
        let now = extend(&self.store, last.clone(), self.clock.now()).await?;
        if now.batch == last.batch {
            return Ok(None);
        }
        let signed = self.key.sign_checkpoint(Checkpoint { hub: self.hub.clone(), ..now });
        append(&self.path, &signed).map_err(|source| CheckpointError::File { path: self.path.clone(), source })?;
        *last = signed.checkpoint.clone();
        Ok(Some(signed))
    }
}

/// The checkpoint of an empty journal, unsigned.
#[must_use]
pub fn nothing(hub: &str) -> Checkpoint {
    Checkpoint {
        hub: hub.to_owned(),
        batch: 0,
        chain: ChainHash::from_bytes([0; 32]),
        appends: 0,
        time: Timestamp::default(),
        key: KeyId::from_bytes([0; 16]),
    }
}

/// Carries a checkpoint on to the end of a store's journal; unsigned.
///
/// # Errors
/// If the journal cannot be read.
pub async fn extend(store: &Store, mut checkpoint: Checkpoint, now: Timestamp) -> Result<Checkpoint, CheckpointError> {
    loop {
        let page = store.headers(checkpoint.batch, PAGE).await?;
        let Some(last) = page.last() else { break };
        checkpoint.batch = last.group;
        checkpoint.chain = ChainHash::from_bytes(last.hash());
        checkpoint.appends += page.iter().map(|header| u64::from(header.appends)).sum::<u64>();
    }
    checkpoint.time = now;
    Ok(checkpoint)
}

/// The checkpoints of a file, oldest first; none if there is no file. A last line that a crash cut off is left out.
///
/// # Errors
/// If the file cannot be read, or another line of it is none.
pub fn read(path: &Path) -> Result<Vec<SignedCheckpoint>, CheckpointError> {
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(CheckpointError::File { path: path.to_owned(), source }),
    };
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let mut read = Vec::new();
    for (index, line) in whole.lines().enumerate() {
        let form = |source| CheckpointError::Form { path: path.to_owned(), line: index + 1, source };
        read.push(serde_json::from_str(line).map_err(form)?);
    }
    Ok(read)
}

/// Adds a line, in the place of one that a crash cut off.
fn append(path: &Path, signed: &SignedCheckpoint) -> io::Result<()> {
    let mut line = serde_json::to_vec(signed)?;
    line.push(b'\n');
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
    let there = fs::read(path)?;
    let whole = there.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    file.set_len(whole as u64)?;
    let mut file = OpenOptions::new().append(true).open(path)?;
    file.write_all(&line)?;
    file.sync_all()
}
