//! A package as one file, `NAME-VERSION.crossdock`: a tar archive of regular files in the order of their paths, without
//! times and owners, compressed with zstd. The same content gives the same file.
//!
//! It is read as if it came from an enemy: paths that lead elsewhere, links, devices, names that occur twice, and archives
//! that unpack to more than their limits are refused while they are being read, before anything is written.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use bytes::Bytes;

use crate::{
    model::id::Digest,
    policy::{
        gate::subject::{COMPONENT_BYTES_LIMIT, FILES_LIMIT, PACKAGE_BYTES_LIMIT},
        signing::envelope::SIGNATURE_FILE,
    },
};

/// The ending of a package file.
pub const ENDING: &str = "crossdock";
/// Largest package file, compressed, bytes.
const PARCEL_BYTES_LIMIT: u64 = PACKAGE_BYTES_LIMIT;
/// A tar header, and the multiple of which every file's room is one, bytes.
const BLOCK: u64 = 512;
/// Largest archive, unpacked: the files, a header and padding for each, and the end.
const ARCHIVE_BYTES_LIMIT: u64 = PACKAGE_BYTES_LIMIT + (FILES_LIMIT as u64 + 2) * 2 * BLOCK;
/// Longest path in a package, bytes; what a plain tar header can hold.
const PATH_BYTES_LIMIT: usize = 200;
/// How far back the compressor may refer, as a power of two: bounds the memory that reading takes.
const WINDOW_LOG_MAX: u32 = 23;
/// Compression level: the default.
const LEVEL: i32 = 3;

/// Why a package's files cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ParcelError {
    /// A file or folder cannot be read or written.
    #[error("cannot use `{path}`")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no such archive, or a damaged one.
    #[error("this is not a package file, or it is damaged")]
    Form {
        /// Why.
        source: io::Error,
    },
    /// A path leads elsewhere, or is not one that every system can have.
    #[error("`{path}` is not a path that a package may have: {problem}")]
    Path {
        /// The path.
        path: String,
        /// Why.
        problem: &'static str,
    },
    /// Something that is no regular file.
    #[error("`{path}` is {what}; a package holds regular files only")]
    NotAFile {
        /// The path.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// Two files would be one.
    #[error("`{path}` occurs twice, perhaps in other letters, or as file and folder")]
    Twice {
        /// The path.
        path: String,
    },
    /// More than allowed.
    #[error("{what} is more than {limit}; nothing was unpacked")]
    TooLarge {
        /// What.
        what: String,
        /// The limit.
        limit: u64,
    },
}

/// A package's files by path, with `/` between folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<String, Bytes>);

impl Files {
    /// The files below a folder.
    ///
    /// # Errors
    /// If there is a link or anything else that is no file, or too much of it.
    pub fn of_folder(folder: &Path) -> Result<Self, ParcelError> {
        let mut files = Self::default();
        let mut room = PACKAGE_BYTES_LIMIT;
        files.add_folder(folder, "", &mut room)?;
        Ok(files)
    }

    fn add_folder(&mut self, folder: &Path, below: &str, room: &mut u64) -> Result<(), ParcelError> {
        let wrong = |path: &Path| {
            let path = path.to_owned();
            move |source| ParcelError::File { path, source }
        };
        for entry in fs::read_dir(folder).map_err(wrong(folder))? {
            let entry = entry.map_err(wrong(folder))?;
            let path = format!("{below}{}", entry.file_name().to_string_lossy());
            let kind = entry.file_type().map_err(wrong(&entry.path()))?;
            if kind.is_dir() {
                self.add_folder(&entry.path(), &format!("{path}/"), room)?;
            } else if kind.is_file() {
                let bytes = entry.metadata().map_err(wrong(&entry.path()))?.len();
                *room = room.checked_sub(bytes).ok_or_else(|| too_large("the package", PACKAGE_BYTES_LIMIT))?;
                let content = fs::read(entry.path()).map_err(wrong(&entry.path()))?;
                self.add(path, content.into())?;
            } else {
                let what = if kind.is_symlink() { "a link" } else { "no file" };
                return Err(ParcelError::NotAFile { path, what });
            }
        }
        Ok(())
    }

    fn add(&mut self, path: String, content: Bytes) -> Result<(), ParcelError> {
        check_path(&path)?;
        if self.0.len() >= FILES_LIMIT {
            return Err(too_large("the number of files", FILES_LIMIT as u64));
        }
        // Some systems take `A` and `a` for the same file: one of them would win after the other was checked.
        let folded = path.to_lowercase();
        let clashes = |other: &String| {
            let other = other.to_lowercase();
            let below = |one: &str, other: &str| one.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'));
            other == folded || below(&other, &folded) || below(&folded, &other)
        };
        if self.0.keys().any(clashes) {
            return Err(ParcelError::Twice { path });
        }
        self.0.insert(path, content);
        Ok(())
    }

    /// One file.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Bytes> {
        self.0.get(path)
    }

    /// Sets one file.
    pub fn set(&mut self, path: &str, content: impl Into<Bytes>) {
        self.0.insert(path.to_owned(), content.into());
    }

    /// The digest of every file but the signature, which cannot sign itself.
    #[must_use]
    pub fn digests(&self) -> BTreeMap<String, Digest> {
        let signed = self.0.iter().filter(|(path, _)| path.as_str() != SIGNATURE_FILE);
        signed.map(|(path, content)| (path.clone(), Digest::of(content))).collect()
    }

    /// The size of every file, bytes.
    #[must_use]
    pub fn sizes(&self) -> BTreeMap<String, u64> {
        self.0.iter().map(|(path, content)| (path.clone(), content.len() as u64)).collect()
    }

    /// As a package file.
    ///
    /// # Errors
    /// If a path is too long for the archive.
    pub fn pack(&self) -> Result<Vec<u8>, ParcelError> {
        let form = |source| ParcelError::Form { source };
        let compressed = zstd::Encoder::new(Vec::new(), LEVEL).map_err(form)?;
        let mut archive = tar::Builder::new(compressed);
        for (path, content) in &self.0 {
            check_path(path)?;
            let mut header = tar::Header::new_ustar();
            let unfit = |_| ParcelError::Path { path: path.clone(), problem: "it is too long for the archive" };
            header.set_path(path).map_err(unfit)?;
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(0);
            header.set_cksum();
            archive.append(&header, content.as_ref()).map_err(form)?;
        }
        archive.into_inner().and_then(zstd::Encoder::finish).map_err(form)
    }

    /// Reads a package file. Bounded in memory and time, whatever the file says of itself.
    ///
    /// # Errors
    /// As [`ParcelError`] says.
    pub fn unpack(packed: impl Read) -> Result<Self, ParcelError> {
        let form = |source| ParcelError::Form { source };
        let mut decoder = zstd::Decoder::new(packed).map_err(form)?;
        decoder.window_log_max(WINDOW_LOG_MAX).map_err(form)?;
        let mut archive = tar::Archive::new(Bounded { inner: decoder, room: ARCHIVE_BYTES_LIMIT });
        let mut files = Self::default();
        let mut room = PACKAGE_BYTES_LIMIT;
        // Raw: extensions of the format, which could give a file another name or size than its header, are entries of
        // their own here and refused like everything that is no regular file.
        for entry in archive.entries().map_err(form)?.raw(true) {
            let mut entry = entry.map_err(classify)?;
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if let Some(what) = not_a_file(entry.header().entry_type()) {
                return Err(ParcelError::NotAFile { path, what });
            }
            check_path(&path)?;
            let bytes = entry.header().entry_size().map_err(form)?;
            if bytes > COMPONENT_BYTES_LIMIT {
                return Err(too_large(&format!("`{path}`"), COMPONENT_BYTES_LIMIT));
            }
            room = room.checked_sub(bytes).ok_or_else(|| too_large("the package", PACKAGE_BYTES_LIMIT))?;
            if files.0.len() >= FILES_LIMIT {
                return Err(too_large("the number of files", FILES_LIMIT as u64));
            }
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(classify)?;
            if content.len() as u64 != bytes {
                return Err(form(io::Error::other(format!("`{path}` ends early"))));
            }
            files.add(path, content.into())?;
        }
        // Nothing may hide behind the end.
        let mut rest = archive.into_inner();
        let mut block = [0; 8_192];
        loop {
            match rest.read(&mut block).map_err(classify)? {
                0 => return Ok(files),
                count if block.iter().take(count).any(|byte| *byte != 0) => {
                    return Err(form(io::Error::other("there is something behind its end")));
                }
                _ => {}
            }
        }
    }

    /// Reads a package file from disk.
    ///
    /// # Errors
    /// As [`Self::unpack`], and if the file is too large or cannot be read.
    pub fn open(path: &Path) -> Result<Self, ParcelError> {
        let wrong = |source| ParcelError::File { path: path.to_owned(), source };
        let file = fs::File::open(path).map_err(wrong)?;
        if file.metadata().map_err(wrong)?.len() > PARCEL_BYTES_LIMIT {
            return Err(too_large(&format!("`{}`", path.display()), PARCEL_BYTES_LIMIT));
        }
        Self::unpack(file)
    }

    /// Writes the files below a new or empty folder.
    ///
    /// # Errors
    /// If one cannot be written, or is there already.
    pub fn write(&self, folder: &Path) -> Result<(), ParcelError> {
        for (path, content) in &self.0 {
            check_path(path)?;
            let to = folder.join(path);
            let wrong = |source| ParcelError::File { path: to.clone(), source };
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent).map_err(wrong)?;
            }
            // Never through what is there already, such as a link that somebody put there meanwhile.
            let mut file = fs::File::create_new(&to).map_err(wrong)?;
            io::Write::write_all(&mut file, content).map_err(wrong)?;
        }
        Ok(())
    }
}

fn too_large(what: &str, limit: u64) -> ParcelError {
    ParcelError::TooLarge { what: what.to_owned(), limit }
}

/// A path of names with `/` between them, that means the same file on every system.
fn check_path(path: &str) -> Result<(), ParcelError> {
    let wrong = |problem| Err(ParcelError::Path { path: path.chars().take(80).collect(), problem });
    if path.is_empty() || path.len() > PATH_BYTES_LIMIT {
        return wrong("it is empty or too long");
    }
    if path.starts_with('/') {
        return wrong("it is absolute");
    }
    if path.split('/').any(|name| matches!(name, "" | "." | "..")) {
        return wrong("it leads elsewhere");
    }
    // A colon or a backslash leads elsewhere on some systems; control characters fool whoever reads a listing.
    if path.chars().any(|c| c.is_control() || matches!(c, '\\' | ':' | '\u{fffd}')) {
        return wrong("it has a character that means something else on some systems");
    }
    Ok(())
}

fn not_a_file(of: tar::EntryType) -> Option<&'static str> {
    match of {
        tar::EntryType::Regular => None,
        tar::EntryType::Link | tar::EntryType::Symlink => Some("a link"),
        tar::EntryType::Char | tar::EntryType::Block | tar::EntryType::Fifo => Some("a device"),
        tar::EntryType::Directory => Some("a folder of its own"),
        _ => Some("an extension of the archive format"),
    }
}

/// Says of an archive that is too large that it is, rather than that it is damaged.
fn classify(error: io::Error) -> ParcelError {
    let too_large_inside =
        std::iter::successors(error.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static)), |error| {
            error.source()
        })
        .any(|error| error.downcast_ref::<Full>().is_some() || error.to_string() == Full.to_string());
    if too_large_inside {
        too_large("what it unpacks to", ARCHIVE_BYTES_LIMIT)
    } else {
        ParcelError::Form { source: error }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("it unpacks to more than it may")]
struct Full;

/// Ends a bomb while it unpacks.
struct Bounded<R> {
    inner: R,
    room: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.room = self.room.checked_sub(count as u64).ok_or_else(|| io::Error::other(Full))?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
