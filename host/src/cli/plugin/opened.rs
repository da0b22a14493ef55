//! A package that a person names: a folder, or a file made by `plugin pack`.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{
    app::{
        gate::{Candidate, with_source},
        package::COMPONENT_FILE,
        parcel::Files,
    },
    cli::Failed,
    policy::gate::{Finding, Report, Severity},
};

/// A package in a folder, which goes away with this if it was unpacked for it.
pub(super) struct Opened {
    /// Where it lies.
    pub(super) folder: PathBuf,
    /// Whether it is a file.
    pub(super) is_file: bool,
    _unpacked: Option<TempDir>,
}

impl Opened {
    /// Opens a package.
    ///
    /// # Errors
    /// If a file is no package file, or cannot be unpacked.
    pub(super) fn new(path: &Path) -> Result<Self, Failed> {
        if path.is_dir() {
            return Ok(Self { folder: path.to_owned(), is_file: false, _unpacked: None });
        }
        let files = Files::open(path)?;
        let folder = tempfile::tempdir()?;
        files.write(folder.path())?;
        Ok(Self { folder: folder.path().to_owned(), is_file: true, _unpacked: Some(folder) })
    }
}

/// Reads a package from a folder or a file.
///
/// # Errors
/// A report that says what is wrong with it, if it cannot be judged at all.
pub(super) fn candidate(path: &Path) -> Result<(Candidate, Opened), Box<Report>> {
    let refuse = |found: String, change: &str| {
        let mut report = Report::new(path.display().to_string());
        let finding = Finding::new("package.complete", Severity::Refuse, path.display().to_string(), found);
        report.add(finding.change(change));
        Box::new(report)
    };
    let opened = Opened::new(path).map_err(|error| refuse(with_source(error.as_ref()), ""))?;
    // Whoever names the source folder is told what else there is.
    if !opened.is_file && path.join("Cargo.toml").is_file() && !path.join(COMPONENT_FILE).is_file() {
        let change = "run `crossdock plugin build` on it, and name the package that it makes";
        return Err(refuse("this is a plugin's source, not a package".to_owned(), change));
    }
    let candidate = Candidate::read(&opened.folder)?;
    Ok((candidate, opened))
}

/// As [`candidate`], for commands that cannot go on without one.
///
/// # Errors
/// What is wrong with it, in one line.
pub(super) fn readable(path: &Path) -> Result<(Candidate, Opened), Failed> {
    candidate(path).map_err(|report| {
        let found = report.findings.first().map(|finding| format!("{}: {}", finding.place, finding.found));
        format!("`{}` cannot be read as a package: {}", path.display(), found.unwrap_or_default()).into()
    })
}
