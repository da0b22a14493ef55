//! The publish gate with everything that it needs read, inspected and run: what `crossdock plugin check` says and what
//! the hub does are the same [`judge`](Gate::judge).

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;

use super::{
    contracts::Library,
    golden,
    install::checks,
    package::{Package, PackageError},
    parcel::{Files, ParcelError},
};
use crate::{
    model::{id::Digest, manifest::Manifest, schemas::Schemas, surface::Surface, trust::Trust},
    policy::{
        gate::{self, Facts, Finding, Report, Severity, subject::Subject, version::Published},
        signing::{
            descriptor::Descriptor,
            envelope::{Envelope, EnvelopeError, SIGNATURE_FILE},
            trust::{self, Moments, Standing},
        },
    },
    ports::invoker::{Component, Invoker, LoadError},
    wasm::surface,
};

/// A package that somebody wants to publish, read and inspected; nothing of it has run.
pub struct Candidate {
    /// As it was read.
    pub package: Package,
    /// What the gate judges.
    pub subject: Subject,
    /// What a signature of it has to say, computed from the package.
    pub descriptor: Descriptor,
    /// The signature that came with it.
    pub envelope: Option<Result<Envelope, EnvelopeError>>,
}

/// What a plugin's versions were so far.
#[derive(Default)]
pub struct History {
    /// The version to compare with, as [`gate::version::previous`] chooses it.
    pub previous: Option<Subject>,
    /// Every published version.
    pub published: Vec<Published>,
}

/// Whom to trust, and when.
pub struct TrustNow<'a> {
    /// The operator's word.
    pub trust: &'a Trust,
    /// When the package is taken, and what time it is.
    pub moments: Moments,
}

/// The gate.
pub struct Gate<'a> {
    /// Loads components and runs golden tests.
    pub invoker: &'a dyn Invoker,
    /// Operation contracts and canonical documents.
    pub library: &'a Library,
}

impl Candidate {
    /// Reads a package's folder, and inspects its component.
    ///
    /// # Errors
    /// A report that says what is wrong with the package, if it cannot be judged at all.
    pub fn read(folder: &Path) -> Result<Self, Box<Report>> {
        let mut report = Report::new(folder.display().to_string());
        let refuse = |mut report: Report, rule, place: &str, found: String, change: &str| {
            report.add(Finding::new(rule, Severity::Refuse, place, found).change(change));
            Box::new(report)
        };
        let package = match Package::read(folder) {
            Ok(package) => package,
            Err(error) => {
                let (rule, place) = match &error {
                    PackageError::Manifest { .. } => ("manifest.valid", "plugin.toml"),
                    PackageError::Schema { .. } => ("schema.valid", "schemas/"),
                    _ => ("package.complete", "the package"),
                };
                return Err(refuse(report, rule, place, with_source(&error), "see the README of the plugin SDK"));
            }
        };
        report.plugin = format!("{}@{}", package.manifest.id, package.manifest.version);
        let surface = match surface::surface(&package.wasm) {
            Ok(surface) => surface,
            Err(error) => return Err(refuse(report, "component.loads", "component.wasm", error.to_string(), "")),
        };
        let files = match Files::of_folder(folder) {
            Ok(files) => files,
            Err(error) => return Err(refuse(report, "package.complete", "the package", with_source(&error), "")),
        };
        Ok(Self::of(package, surface, &files))
    }

    fn of(package: Package, surface: Surface, files: &Files) -> Self {
        let envelope = files.get(SIGNATURE_FILE).map(|bytes| Envelope::read(bytes));
        let descriptor = Descriptor::of(&package.manifest, package.digest, &surface, files.digests());
        let subject = Subject {
            manifest: package.manifest.clone(),
            component: package.digest,
            content: descriptor.digest(),
            schemas: package.schemas.clone(),
            surface,
            files: files.sizes(),
        };
        Self { package, subject, descriptor, envelope }
    }
}

/// What the gate compares with, of a version that is installed already.
///
/// # Errors
/// If the component cannot be read.
pub fn subject_of(manifest: Manifest, schemas: Schemas, wasm: &Bytes, content: Digest) -> Result<Subject, LoadError> {
    let surface = surface::surface(wasm)?;
    Ok(Subject { manifest, component: Digest::of(wasm), content, schemas, surface, files: BTreeMap::new() })
}

impl Gate<'_> {
    /// Judges a candidate: everything that the hub asks of a version before it is published, in one report.
    pub async fn judge(&self, candidate: &Candidate, history: &History, trust: &TrustNow<'_>) -> Report {
        let (package, subject) = (&candidate.package, &candidate.subject);
        let contract = match surface::contract() {
            Ok(contract) => contract,
            Err(error) => {
                let mut report = Report::new(format!("{}@{}", package.manifest.id, package.manifest.version));
                report.add(Finding::new("contract.unreadable", Severity::Refuse, "this hub", error));
                return report;
            }
        };
        let component =
            Component { digest: package.digest, wasm: package.wasm.clone(), assets: package.assets.clone() };
        let loaded = self.invoker.load(component).await;
        let golden = match &loaded {
            Ok(_) if package.manifest.kind.is_pure() => Some(golden::run(package, self.invoker).await),
            _ => None,
        };
        let references = Library::references();
        let mut report = gate::judge(&Facts {
            candidate: subject,
            previous: history.previous.as_ref(),
            published: &history.published,
            contract: &contract,
            references: &references,
            golden: golden.as_deref(),
        });
        let told = report.findings.iter().any(refused_by_contract);
        let mut add = |rule: &'static str, place: &str, result: Result<String, String>| match result {
            Ok(holds) => report.take(rule, Vec::new(), holds),
            Err(found) => report.add(Finding::new(rule, Severity::Refuse, place, found)),
        };
        add(
            "manifest.consistent",
            "plugin.toml",
            checks::check_manifest(&package.manifest, &package.schemas)
                .map(|()| "says nothing against itself".to_owned()),
        );
        let promised = self.library.implements(&package.manifest);
        add("contract.operations", "plugin.toml", promised.map(|()| "every promised operation is there".to_owned()));
        match loaded {
            Ok(_) => add("component.loads", "component.wasm", Ok("compiles, links and starts".to_owned())),
            // Where the contract's own words say more, the engine's are left out.
            Err(_) if told => {}
            Err(error) => add("component.loads", "component.wasm", Err(error.to_string())),
        }
        let envelope = match &candidate.envelope {
            None => Ok(None),
            Some(Ok(envelope)) => Ok(Some(envelope)),
            Some(Err(error)) => Err(error),
        };
        match envelope {
            Err(error) => {
                let finding = Finding::new("signature.unreadable", Severity::Refuse, SIGNATURE_FILE, error.to_string());
                report.add(finding.change("sign it again"));
            }
            Ok(envelope) => {
                let namespace = candidate.descriptor.namespace();
                let findings = trust::check(&candidate.descriptor, envelope, trust.trust, trust.moments);
                let signed = envelope.map(|it| trust::standings(it, namespace, &trust.trust.keys, trust.moments));
                let holds = signed.into_iter().flatten().filter(|signed| signed.standing == Standing::Holds);
                report.signed_by = holds.map(|signed| signed.key).collect();
                if findings.is_empty() {
                    report.take("signature", findings, format!("{namespace}'s key signed exactly this"));
                } else {
                    findings.into_iter().for_each(|finding| report.add(finding));
                }
            }
        }
        report.component = Some(package.digest);
        report.content = Some(subject.content);
        report.imports = candidate.descriptor.imports.clone();
        report.exports = candidate.descriptor.exports.clone();
        report.golden = golden.unwrap_or_default();
        report
    }
}

fn refused_by_contract(finding: &Finding) -> bool {
    finding.severity == Severity::Refuse && (finding.rule.starts_with("world.") || finding.rule.starts_with("import."))
}

/// An error with all that led to it, in one line.
pub(crate) fn with_source(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

impl From<ParcelError> for Box<Report> {
    fn from(error: ParcelError) -> Self {
        let mut report = Report::new("a package file");
        report.add(Finding::new("package.file", Severity::Refuse, "the package file", with_source(&error)));
        Self::new(report)
    }
}
