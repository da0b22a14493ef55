//! A version on its way into the hub: an upload is a package file, unpacked where it can be judged and read. What is let
//! in is decided elsewhere: by the gate, and by [`Installer::prepare`](super::install::Installer).

use super::{
    package::{Package, PackageError},
    parcel::{Files, ParcelError},
};

/// Why an upload is not a package.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// It is no package file, or holds what none may hold.
    #[error("the upload cannot be unpacked; pack it with `crossdock plugin publish` or `plugin pack`")]
    Unpack {
        /// Why.
        #[from]
        source: ParcelError,
    },
    /// The package does not hold.
    #[error("the package cannot be read")]
    Package {
        /// Why.
        #[from]
        source: PackageError,
    },
    /// There is no room for its files.
    #[error("there is no folder to unpack the upload to")]
    Folder {
        /// Why.
        source: std::io::Error,
    },
}

/// A package that was uploaded. Its files are there as long as this is.
pub struct Upload {
    /// The package.
    pub package: Package,
    _folder: tempfile::TempDir,
}

/// Unpacks an upload. Reads and writes files; call it where that may take its time.
///
/// # Errors
/// As [`UploadError`] says.
pub fn read_upload(bytes: &[u8]) -> Result<Upload, UploadError> {
    let folder = tempfile::tempdir().map_err(|source| UploadError::Folder { source })?;
    Files::unpack(bytes)?.write(folder.path())?;
    let package = Package::read(folder.path())?;
    Ok(Upload { package, _folder: folder })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{UploadError, read_upload};
    use crate::app::parcel::Files;

    const MANIFEST: &str = "id = \"a/b\"\nversion = \"1.0.0\"\nkind = \"transform\"\ncontract = \"1.0.0\"\n\
                            license = \"MIT\"\nsummary = \"x\"\n";

    #[test]
    fn what_is_packed_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("golden")).expect("a folder");
        for (name, text) in [("plugin.toml", MANIFEST), ("component.wasm", "x"), ("golden/one.json", "{}")] {
            fs::write(folder.path().join(name), text).expect("written");
        }
        let packed = Files::of_folder(folder.path()).expect("files").pack().expect("packed");
        let upload = read_upload(&packed).expect("read");
        assert_eq!(upload.package.manifest.id.as_str(), "a/b");
        assert!(upload.package.folder.join("golden/one.json").exists());
        assert!(matches!(read_upload(&packed[..packed.len() / 2]), Err(UploadError::Unpack { .. })));
    }

    #[test]
    fn what_is_no_package_is_refused() {
        assert!(matches!(read_upload(b""), Err(UploadError::Unpack { .. })));
        assert!(matches!(read_upload(&[7; 2_000]), Err(UploadError::Unpack { .. })));
        let mut files = Files::default();
        files.set("plugin.toml", MANIFEST);
        let packed = files.pack().expect("packed");
        assert!(matches!(read_upload(&packed), Err(UploadError::Package { .. })));
    }
}
