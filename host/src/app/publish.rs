//! A version on its way into the hub: an upload is unpacked strictly, checked, recorded, and serves nobody yet.
//!
//! An upload is a tar file of a package's regular files. What the checks refuse, and who may publish what, is decided in
//! one place, [`Installer::prepare`](super::install::Installer).

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read as _},
    path::{Component, Path, PathBuf},
};

use super::package::{Package, PackageError};

/// Largest upload, bytes: the largest component, and room for schemas, tests and assets.
pub const UPLOAD_BYTES_LIMIT: u64 = 96 << 20;
/// Most files of an upload.
const FILES_MAX: usize = 1_024;
/// Longest path of a file, bytes.
const PATH_BYTES_MAX: usize = 255;

/// Why an upload is not a package.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// It cannot be unpacked.
    #[error("the upload is not a tar file of a package")]
    Unpack {
        /// Why.
        source: io::Error,
    },
    /// Something in it is not allowed.
    #[error("the upload holds `{path}`, {problem}; pack the package with `crossdock plugin publish`")]
    Entry {
        /// Its path.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// More than is taken.
    #[error("the upload holds more than {FILES_MAX} files")]
    TooMany,
    /// The package does not hold.
    #[error("the package cannot be read")]
    Package {
        /// Why.
        #[from]
        source: PackageError,
    },
    /// A file cannot be written or read.
    #[error("cannot use `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A package that was uploaded. Its files are there as long as this is.
pub struct Upload {
    /// The package.
    pub package: Package,
    _folder: tempfile::TempDir,
}

/// Unpacks an upload: regular files below the package alone, each once. Reads and writes files; call it where that may
/// take its time.
///
/// # Errors
/// As [`UploadError`] says.
pub fn read_upload(bytes: &[u8]) -> Result<Upload, UploadError> {
    let unpack = |source| UploadError::Unpack { source };
    let folder = tempfile::tempdir().map_err(unpack)?;
    let mut seen = BTreeSet::new();
    let mut archive = tar::Archive::new(bytes);
    for entry in archive.entries().map_err(unpack)? {
        let mut entry = entry.map_err(unpack)?;
        let path = entry.path().map_err(unpack)?.into_owned();
        let refuse = |problem| Err(UploadError::Entry { path: path.display().to_string(), problem });
        if entry.header().entry_type() != tar::EntryType::Regular {
            return refuse("which is no regular file");
        }
        let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain || path.as_os_str().is_empty() || path.to_str().is_none_or(|text| text.len() > PATH_BYTES_MAX) {
            return refuse("whose path leads out of the package or is too long");
        }
        if !seen.insert(path.clone()) {
            return refuse("twice");
        }
        if seen.len() > FILES_MAX {
            return Err(UploadError::TooMany);
        }
        let target = folder.path().join(&path);
        let written = |source| UploadError::File { path: path.clone(), source };
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(written)?;
        }
        let mut content = Vec::new();
        // What is announced may be more than what is there.
        entry.read_to_end(&mut content).map_err(unpack)?;
        fs::write(&target, content).map_err(written)?;
    }
    let package = Package::read(folder.path())?;
    Ok(Upload { package, _folder: folder })
}

/// Packs a package's folder as [`read_upload`] takes it.
///
/// # Errors
/// If the folder is no package, or a file cannot be read.
pub fn write_upload(folder: &Path) -> Result<Vec<u8>, UploadError> {
    Package::read(folder)?;
    let mut files = Vec::new();
    list(folder, &mut files)?;
    files.sort();
    let mut archive = tar::Builder::new(Vec::new());
    for path in files {
        let wrong = |source| UploadError::File { path: path.clone(), source };
        let content = fs::read(&path).map_err(wrong)?;
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        let name = path.strip_prefix(folder).unwrap_or(&path);
        archive.append_data(&mut header, name, content.as_slice()).map_err(wrong)?;
    }
    archive.into_inner().map_err(|source| UploadError::Unpack { source })
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), UploadError> {
    let wrong = |source| UploadError::File { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        let kind = entry.file_type().map_err(wrong)?;
        if kind.is_dir() {
            list(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "id = \"a/b\"\nversion = \"1.0.0\"\nkind = \"transform\"\ncontract = \"1.0.0\"\n\
                            license = \"MIT\"\nsummary = \"x\"\n";

    fn upload(entries: &[(&str, tar::EntryType)]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        let all = [("plugin.toml", tar::EntryType::Regular), ("component.wasm", tar::EntryType::Regular)];
        for (path, kind) in all.iter().chain(entries) {
            let content = if *path == "plugin.toml" { MANIFEST.as_bytes() } else { b"x" };
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(*kind);
            header.set_size(if *kind == tar::EntryType::Regular { content.len() as u64 } else { 0 });
            // Written as it is: the library itself refuses paths that lead out.
            for (to, from) in header.as_ustar_mut().expect("ustar").name.iter_mut().zip(path.bytes()) {
                *to = from;
            }
            if *kind == tar::EntryType::Symlink {
                header.set_link_name("/etc/passwd").expect("a link");
            }
            header.set_cksum();
            archive.append(&header, if *kind == tar::EntryType::Regular { content } else { &[] }).expect("packed");
        }
        archive.into_inner().expect("packed")
    }

    #[test]
    fn what_is_packed_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("golden")).expect("a folder");
        for (name, text) in [("plugin.toml", MANIFEST), ("component.wasm", "x"), ("golden/one.json", "{}")] {
            fs::write(folder.path().join(name), text).expect("written");
        }
        let packed = write_upload(folder.path()).expect("packed");
        let upload = read_upload(&packed).expect("read");
        assert_eq!(upload.package.manifest.id.as_str(), "a/b");
        assert!(upload.package.folder.join("golden/one.json").exists());
        assert_eq!(write_upload(folder.path()).expect("packed"), packed, "the same every time");
    }

    #[test]
    fn only_regular_files_below_the_package_are_taken() {
        assert!(read_upload(&upload(&[])).is_ok());
        for (path, kind) in [
            ("../evil", tar::EntryType::Regular),
            ("/etc/evil", tar::EntryType::Regular),
            ("golden/../../evil", tar::EntryType::Regular),
            ("link", tar::EntryType::Symlink),
            ("folder", tar::EntryType::Directory),
            ("device", tar::EntryType::Char),
            ("component.wasm", tar::EntryType::Regular),
        ] {
            let refused = read_upload(&upload(&[(path, kind)]));
            assert!(matches!(refused, Err(UploadError::Entry { .. })), "{path}");
        }
    }

    #[test]
    fn what_is_no_package_is_refused() {
        assert!(matches!(read_upload(b""), Err(UploadError::Package { .. })));
        assert!(read_upload(&[7; 2_000]).is_err());
        let whole = upload(&[]);
        assert!(read_upload(&whole[..700]).is_err());
    }
}
