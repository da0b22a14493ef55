//! Writes a hub's whole history into a folder that proves itself: see [`super::verify`] for what is in it.
//!
//! Works on a copy of the store, so that the evidence is not altered, and therefore only while no hub has it open. The
//! folder appears under its name only when it is whole and has been verified.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest as _, Sha256};

use super::{
    checkpoints::{self, CheckpointError},
    key::{self, CHECKPOINTS_FILE, FOLDER, KeyError, PUBLIC_KEY_FILE},
    verify::{
        self, AUDIT_FILE, BATCHES_FILE, BLOBS_FOLDER, ENTRIES_FILE, FORMAT, Listed, MANIFEST_FILE, Manifest,
        README_FILE, Refused, SIGNATURE_FILE,
    },
};
use crate::{
    app::{facts, identity},
    model::{audit::SignedCheckpoint, id::Digest, timestamp::Timestamp},
    policy::replay::{Broken, Replay},
    ports::{
        blobs::{BlobError, Blobs},
        clock::Clock,
        journal::{ReadError, StreamId},
        records::RecordError,
    },
    store::disk::{OpenError, Store},
};

/// The store's folder in a data folder.
const STORE_FOLDER: &str = "store";
const README: &str = include_str!("export.txt");

/// Why there is no export, or no checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The data folder is not one.
    #[error("`{path}` is not the data folder of a hub: there is no `store` in it")]
    NoData {
        /// As given.
        path: PathBuf,
    },
    /// The folder is taken.
    #[error("`{path}` exists and is not empty: name a folder that does not exist yet")]
    Taken {
        /// As given.
        path: PathBuf,
    },
    /// A hub is running on the data.
    #[error(
        "a hub is running on `{path}`: stop it first. The export is made from a copy, so the hub can be started again as \
         soon as it is done"
    )]
    Running {
        /// The data folder.
        path: PathBuf,
    },
    /// The store does not open.
    #[error("the copy of the store does not open")]
    Store {
        /// Why.
        source: OpenError,
    },
    /// A file cannot be written.
    #[error("cannot write `{path}`; see to its permissions and to the room on the disk")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no key to sign with.
    #[error("there is nothing to sign with")]
    Key {
        /// Why.
        #[from]
        source: KeyError,
    },
    /// What the hub signed while it ran cannot be read.
    #[error("what the hub signed cannot be read")]
    Checkpoint {
        /// Why.
        #[from]
        source: CheckpointError,
    },
    /// The journal cannot be read.
    #[error("the journal cannot be read; keep the data folder for inquiry")]
    Read {
        /// Why.
        #[from]
        source: ReadError,
    },
    /// The hub's records cannot be read.
    #[error("the hub's records cannot be read")]
    Record {
        /// Why.
        #[from]
        source: RecordError,
    },
    /// The journal is not whole.
    #[error("the journal is not as the hub wrote it; keep the data folder for inquiry")]
    Broken {
        /// Where.
        #[from]
        source: Broken,
    },
    /// A large fact is missing or damaged.
    #[error("content {digest}, which the journal names, cannot be read; keep the data folder for inquiry")]
    Blob {
        /// Its digest.
        digest: Digest,
        /// Why; absent: it is missing.
        source: Option<BlobError>,
    },
    /// What was written does not hold.
    #[error("the data folder's history does not hold; keep the data folder for inquiry")]
    Refused {
        /// Where.
        #[from]
        source: Refused,
    },
}

/// What was written.
#[derive(Debug)]
pub struct Exported {
    /// What the export was proven to hold.
    pub proof: verify::Proof,
    /// Its head: a copy kept elsewhere is an anchor.
    pub head: SignedCheckpoint,
}

/// Writes an export of a data folder.
///
/// # Errors
/// As [`ExportError`] says; nothing is left behind then.
pub async fn export(data: &Path, dir: &Path, clock: Arc<dyn Clock>) -> Result<Exported, ExportError> {
    let taken = dir.exists() && fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_some());
    if taken {
        return Err(ExportError::Taken { path: dir.to_owned() });
    }
    let key = key::open(data)?;
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(write_error(parent))?;
    let work = tempfile::Builder::new().prefix(".crossdock-export-").tempdir_in(parent).map_err(write_error(parent))?;
    let store = copied(data, &work.path().join("copy"), &clock)?;
    let whole = work.path().join("export");
    let written = Writing::begin(&whole)?.all(data, &store, &key, clock.now()).await;
    // The copy has served; that it does not close cleanly takes nothing from what was read.
    let _ = store.close().await;
    let head = written?;
    let proof = verify::verify(&whole, &key.public(), None)?;
    fs::rename(&whole, dir).map_err(write_error(dir))?;
    Ok(Exported { proof, head })
}

/// Signs how far a data folder's journal has got, changing nothing in it.
///
/// # Errors
/// As [`ExportError`] says.
pub async fn checkpoint(data: &Path, clock: Arc<dyn Clock>) -> Result<SignedCheckpoint, ExportError> {
    let key = key::open(data)?;
    let work = tempfile::tempdir().map_err(write_error(&std::env::temp_dir()))?;
    let store = copied(data, &work.path().join("copy"), &clock)?;
    let signed = async {
        let hub = identity::hub_id(&*store.records()).await?;
        let head = checkpoints::extend(&store, checkpoints::nothing(&hub), clock.now()).await?;
        Ok(key.sign_checkpoint(head))
    };
    let signed = signed.await;
    let _ = store.close().await; // a copy
    signed
}

fn copied(data: &Path, copy: &Path, clock: &Arc<dyn Clock>) -> Result<Store, ExportError> {
    let original = data.join(STORE_FOLDER);
    if !original.join("head").is_file() {
        return Err(ExportError::NoData { path: data.to_owned() });
    }
    fs::create_dir_all(copy).map_err(write_error(copy))?;
    Store::open_copy(&original, copy, Arc::clone(clock)).map_err(|source| match source {
        OpenError::InUse { .. } => ExportError::Running { path: data.to_owned() },
        source => ExportError::Store { source },
    })
}

fn write_error(path: &Path) -> impl FnOnce(io::Error) -> ExportError {
    let path = path.to_owned();
    move |source| ExportError::Write { path, source }
}

/// A folder being written.
struct Writing {
    dir: PathBuf,
    files: Vec<Listed>,
}

impl Writing {
    fn begin(dir: &Path) -> Result<Self, ExportError> {
        let blobs = dir.join(BLOBS_FOLDER);
        fs::create_dir_all(&blobs).map_err(write_error(&blobs))?;
        Ok(Self { dir: dir.to_owned(), files: Vec::new() })
    }

    /// Writes everything; the signed head.
    async fn all(
        mut self,
        data: &Path,
        store: &Store,
        key: &crate::policy::seal::PrivateKey,
        now: Timestamp,
    ) -> Result<SignedCheckpoint, ExportError> {
        let hub = identity::hub_id(&*store.records()).await?;
        let (replay, needed, named) = self.journal(store).await?;
        self.blobs(&*store.blobs(), needed, named).await?;
        let checkpoints = checkpoints::read(&data.join(FOLDER).join(CHECKPOINTS_FILE))?;
        let mut lines = Vec::new();
        for signed in checkpoints {
            // INVARIANT: text and numbers have a JSON form.
            lines.extend(serde_json::to_vec(&signed).unwrap_or_default());
            lines.push(b'\n');
        }
        self.file(CHECKPOINTS_FILE, &lines)?;
        self.file(PUBLIC_KEY_FILE, format!("{}\n", key.public().to_line()).as_bytes())?;
        self.file(README_FILE, README.as_bytes())?;
        let (batch, chain, appends) = replay.head();
        let head = checkpoints::nothing(&hub);
        let head = key.sign_checkpoint(crate::model::audit::Checkpoint { batch, chain, appends, time: now, ..head });
        self.files.sort_by(|left, right| left.name.cmp(&right.name));
        let manifest = Manifest {
            format: FORMAT.to_owned(),
            head: head.clone(),
            audit_records: replay.audit_records(),
            files: std::mem::take(&mut self.files),
        };
        let mut text = serde_json::to_string_pretty(&manifest).unwrap_or_default();
        text.push('\n');
        self.file(MANIFEST_FILE, text.as_bytes())?;
        self.file(SIGNATURE_FILE, format!("{}\n", key.sign(text.as_bytes())).as_bytes())?;
        Ok(head)
    }

    /// Writes headers, frames and readable lines. The blobs that facts need, and those that audit records name.
    async fn journal(&mut self, store: &Store) -> Result<(Replay, BTreeSet<Digest>, BTreeSet<Digest>), ExportError> {
        let mut replay = Replay::default();
        let (mut needed, mut named) = (BTreeSet::new(), BTreeSet::new());
        let mut batches = Output::create(&self.dir, BATCHES_FILE)?;
        let mut entries = Output::create(&self.dir, ENTRIES_FILE)?;
        let mut audit = Output::create(&self.dir, AUDIT_FILE)?;
        while let Some((header, frames)) = store.batch(replay.head().0 + 1).await? {
            let header = header.encode();
            replay.begin(&header)?;
            batches.write(&header)?;
            for frame in frames {
                let held = replay.append(&frame)?;
                entries.write(&frame)?;
                for line in held.audit {
                    audit.write(line.to_json().as_bytes())?;
                    audit.write(b"\n")?;
                    named.extend([line.record.before, line.record.after].into_iter().flatten());
                }
                if held.record.stream != StreamId::Audit {
                    needed.extend(held.record.entries.iter().filter_map(|entry| facts::kept_apart(entry)));
                }
            }
            replay.end()?;
        }
        for output in [batches, entries, audit] {
            self.files.push(output.finish()?);
        }
        Ok((replay, needed, named))
    }

    async fn blobs(
        &mut self,
        blobs: &dyn Blobs,
        needed: BTreeSet<Digest>,
        named: BTreeSet<Digest>,
    ) -> Result<(), ExportError> {
        for digest in needed.union(&named) {
            let content = blobs
                .get(*digest)
                .await
                .map_err(|source| ExportError::Blob { digest: *digest, source: Some(source) })?;
            match content {
                Some(content) => self.file(&verify::blob_name(*digest), &content)?,
                // An audit record may name what was never kept, such as a token.
                None if !needed.contains(digest) => {}
                None => return Err(ExportError::Blob { digest: *digest, source: None }),
            }
        }
        Ok(())
    }

    fn file(&mut self, name: &str, content: &[u8]) -> Result<(), ExportError> {
        let mut output = Output::create(&self.dir, name)?;
        output.write(content)?;
        self.files.push(output.finish()?);
        Ok(())
    }
}

/// A file that is hashed while it is written.
struct Output {
    name: String,
    path: PathBuf,
    writer: BufWriter<File>,
    hasher: Sha256,
    bytes: u64,
}

impl Output {
    fn create(dir: &Path, name: &str) -> Result<Self, ExportError> {
        let path = dir.join(name);
        let file = File::create_new(&path).map_err(write_error(&path))?;
        Ok(Self { name: name.to_owned(), path, writer: BufWriter::new(file), hasher: Sha256::new(), bytes: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.writer.write_all(bytes).map_err(write_error(&self.path))
    }

    fn finish(self) -> Result<Listed, ExportError> {
        let Self { name, path, writer, hasher, bytes } = self;
        let file = writer.into_inner().map_err(|error| write_error(&path)(error.into_error()))?;
        file.sync_all().map_err(write_error(&path))?;
        Ok(Listed { name, bytes, digest: Digest::from_bytes(hasher.finalize().into()) })
    }
}
