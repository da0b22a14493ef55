//! `crossdock plugin sign`, `pack` and `verify`: from a package's folder to a file that proves whose it is.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use super::{
    check::{shown, tell_finding, trust},
    key::read_private,
    opened::{self, Opened},
};
use crate::{
    app::{
        clock::SystemClock,
        gate::Candidate,
        parcel::{ENDING, Files},
    },
    cli::{Failed, out::Out},
    policy::{
        gate::Severity,
        signing::{
            envelope::{Envelope, SIGNATURE_FILE},
            trust::{self as signatures, Moments, Standing},
        },
    },
    ports::clock::Clock as _,
};

/// What to sign, with what.
#[derive(Args, Debug)]
pub(in crate::cli) struct Sign {
    /// The package: its folder, or a file made by `plugin pack`.
    package: PathBuf,
    /// The private key's file, as `plugin key new` made it.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// What to pack.
#[derive(Args, Debug)]
pub(in crate::cli) struct Pack {
    /// The package's folder.
    folder: PathBuf,
    /// The file to write. Without it: `NAMESPACE-NAME-VERSION.crossdock` beside the folder.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What to verify, under which keys.
#[derive(Args, Debug)]
pub(in crate::cli) struct Verify {
    /// The package: its folder, or a file made by `plugin pack`.
    package: PathBuf,
    /// Public keys that you trust.
    #[arg(long, value_name = "FILE", required = true)]
    key: Vec<PathBuf>,
}

impl Sign {
    pub(super) fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let key = read_private(&self.key)?;
        let (candidate, opened) = opened::readable(&self.package)?;
        let mut envelope = match candidate.envelope {
            // Others have signed the same before: theirs stay.
            Some(Ok(envelope)) if envelope.descriptor().is_ok_and(|signed| signed == candidate.descriptor) => envelope,
            _ => Envelope::of(&candidate.descriptor),
        };
        envelope.sign(&key)?;
        if opened.is_file {
            let mut files = Files::open(&self.package)?;
            files.set(SIGNATURE_FILE, envelope.to_bytes());
            replace(&self.package, &files.pack()?)?;
        } else {
            replace(&self.package.join(SIGNATURE_FILE), &envelope.to_bytes())?;
        }
        let content = candidate.descriptor.digest();
        if out.is_json() {
            out.value(&serde_json::json!({
                "plugin": candidate.descriptor.id,
                "version": candidate.descriptor.version,
                "content": content,
                "key": key.public().id(),
                "signatures": envelope.signatures.len(),
            }));
        }
        let title = format!("{}@{}", candidate.descriptor.id, candidate.descriptor.version);
        out.say(format!("{} {} with {}", out.green("signed"), out.bold(&title), key.public().id()));
        if !opened.is_file {
            out.say(format!("next: crossdock plugin pack {}", shown(&self.package)));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Pack {
    pub(super) fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let (candidate, opened) = opened::readable(&self.folder)?;
        if opened.is_file {
            return Err(format!("`{}` is packed already", shown(&self.folder)).into());
        }
        let file = match self.out {
            Some(file) => file,
            None => {
                let name = candidate.descriptor.id.as_str().replace('/', "-");
                let whole = std::path::absolute(&self.folder)?;
                let beside = whole.parent().unwrap_or(Path::new("."));
                beside.join(format!("{name}-{}.{ENDING}", candidate.descriptor.version))
            }
        };
        let files = Files::of_folder(&self.folder)?;
        let packed = files.pack()?;
        // What cannot be read back is not handed out.
        if Files::unpack(&packed[..])? != files {
            return Err("the package file does not read back as it was written".into());
        }
        replace(&file, &packed)?;
        let signed = candidate.envelope.is_some();
        if out.is_json() {
            out.value(&serde_json::json!({
                "file": file,
                "bytes": packed.len(),
                "content": candidate.descriptor.digest(),
                "signed": signed,
            }));
        }
        out.say(format!("{} {} ({} bytes)", out.green("packed"), file.display(), packed.len()));
        if !signed {
            out.say("  nobody has signed it: crossdock plugin sign FILE --key KEY");
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Verify {
    pub(super) fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let (candidate, _opened): (Candidate, Opened) = opened::readable(&self.package)?;
        let trust = trust(&candidate, &self.key, true)?;
        let moments = Moments::at(SystemClock::default().now());
        let envelope = match &candidate.envelope {
            None => None,
            Some(Ok(envelope)) => Some(envelope),
            Some(Err(error)) => return Err(error.clone().into()),
        };
        let findings = signatures::check(&candidate.descriptor, envelope, &trust, moments);
        let namespace = candidate.descriptor.namespace();
        let standings =
            envelope.map(|it| signatures::standings(it, namespace, &trust.keys, moments)).unwrap_or_default();
        let holds = !findings.iter().any(|finding| finding.severity == Severity::Refuse);
        if out.is_json() {
            out.value(&serde_json::json!({
                "plugin": candidate.descriptor.id,
                "version": candidate.descriptor.version,
                "content": candidate.descriptor.digest(),
                "component": candidate.descriptor.component,
                "sbom": candidate.descriptor.sbom,
                "holds": holds,
                "signatures": standings,
                "findings": findings,
            }));
        }
        let title = format!("{}@{}", candidate.descriptor.id, candidate.descriptor.version);
        let verdict = if holds { out.green("is what was signed") } else { out.red("is not to be trusted") };
        out.say(format!("{} {verdict}", out.bold(&title)));
        if holds {
            for signed in standings.iter().filter(|signed| signed.standing == Standing::Holds) {
                out.say(format!("  {} signed by {}", out.green("✓"), signed.key));
            }
        }
        findings.iter().for_each(|finding| tell_finding(out, finding));
        out.say(format!("  content   {}", candidate.descriptor.digest()));
        out.say(format!("  component {}", candidate.descriptor.component));
        match candidate.descriptor.sbom {
            Some(sbom) => out.say(format!("  sbom      {sbom}")),
            None => out.say(out.dim("  no bill of materials: add `sbom.json`, or build with `cargo auditable`")),
        }
        Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Writes a file so that it is there whole or as it was.
fn replace(path: &Path, content: &[u8]) -> Result<(), Failed> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let wrong = |error: std::io::Error| format!("cannot write `{}`: {error}", path.display());
    let file = tempfile::Builder::new().permissions(permissions()).tempfile_in(folder).map_err(wrong)?;
    fs::write(file.path(), content).map_err(wrong)?;
    file.as_file().sync_all().map_err(wrong)?;
    file.persist(path).map_err(|error| wrong(error.error))?;
    Ok(())
}

#[cfg(unix)]
fn permissions() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o644)
}
