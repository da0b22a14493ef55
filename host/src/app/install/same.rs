//! Whether a package is exactly what is installed under its version; and where the files of a version are.

use std::path::{Path, PathBuf};

use super::{InstallError, Installer, PluginRecord, read, title};
use crate::{
    app::{
        golden,
        installation::Installation,
        package::Package,
        parcel::{Files, ParcelError},
    },
    model::{id::Digest, manifest::Manifest, registry::VersionState},
};

impl Installer {
    /// Whether a version is there for good, with this component and manifest.
    ///
    /// # Errors
    /// If it is there with others.
    pub(in crate::app) fn is_there(&self, now: &Installation, package: &Package) -> Result<bool, InstallError> {
        let Package { manifest, digest, .. } = package;
        let Some(installed) = now.version(&manifest.id, &manifest.version) else { return Ok(false) };
        if now.state(&manifest.id, &manifest.version) == VersionState::Draft {
            return Ok(false);
        }
        if installed.inspection.digest == *digest && installed.manifest == *manifest {
            return Ok(true);
        }
        Err(InstallError::VersionTaken { plugin: title(manifest), installed: installed.inspection.digest })
    }

    /// Where the files are kept that a version may read, if it has any.
    pub(in crate::app) fn assets_of(&self, manifest: &Manifest) -> Option<PathBuf> {
        manifest.assets.as_ref().map(|_| self.assets.join(title(manifest).replace('/', "-")))
    }

    /// What of a package differs from the version that is installed under its number, whose component and manifest are the
    /// same. Earlier releases kept too little to tell: nothing is said about what they took in.
    ///
    /// # Errors
    /// If what is installed cannot be read.
    pub(in crate::app) async fn differs(&self, package: &Package) -> Result<Option<&'static str>, InstallError> {
        let key = format!("plugin/{}/{}", package.manifest.id, package.manifest.version);
        let Some(stored) = self.records.get(&key).await? else { return Ok(None) };
        let record: PluginRecord = read(&key, &stored)?;
        if record.taken.is_none() {
            return Ok(None);
        }
        if record.schemas != package.schemas {
            return Ok(Some("schemas"));
        }
        if record.golden != golden::kept(&package.folder).map(|tests| Digest::of(&tests)) {
            return Ok(Some("golden tests"));
        }
        let files = |folder: Option<&Path>| folder.map(Files::of_folder).transpose();
        let same = files(record.assets.as_deref()).and_then(|kept| {
            let given = files(package.assets.as_deref())?;
            Ok::<_, ParcelError>(kept.map(|kept| kept.digests()) == given.map(|given| given.digests()))
        });
        // What cannot be read any more is not the same.
        Ok((!same.unwrap_or(false)).then_some("assets"))
    }
}
