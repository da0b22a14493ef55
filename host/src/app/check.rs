//! `plugin check`: everything that the hub looks at before it takes a plugin, as one report. Rule ids are stable.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    contracts::Library,
    install::checks,
    package::{Package, PackageError},
};
use crate::{
    model::{
        id::{Digest, hash32},
        json::Json,
        limits::{Limits, Usage},
        manifest::{Kind, Manifest},
        timestamp::Timestamp,
    },
    ports::invoker::{Answer, Authority, CallError, Component, Inspection, Invocation, Invoker, StepContext, Work},
};

/// What came of one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable id, such as `component.loads`.
    pub rule: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// What was seen, or what to change.
    pub detail: String,
}

/// What came of one golden test.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Golden {
    /// The test's file.
    pub name: String,
    /// Whether the answer was the expected one.
    pub passed: bool,
    /// What differed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<String>,
    /// What the call used.
    pub usage: Usage,
    /// Its fuel limit for that input.
    pub fuel_limit: u64,
}

/// The whole report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `id@version`, as far as it could be read.
    pub plugin: String,
    /// Digest of the component.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Whether the hub would take it.
    pub accepted: bool,
    /// Each rule, in the order in which they are looked at.
    pub findings: Vec<Finding>,
    /// What it imports and exports, computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imports: Option<Vec<String>>,
    /// As `imports`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exports: Option<Vec<String>>,
    /// Its golden tests.
    pub golden: Vec<Golden>,
}

/// A golden test: one input and the answer that it must give.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GoldenFile {
    #[serde(default)]
    #[expect(dead_code, reason = "written for people")]
    description: Option<String>,
    input: Value,
    #[serde(default)]
    config: Option<Value>,
    expected: Value,
}

/// The instant at which golden tests run.
const GOLDEN_TIME: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// Checks a package.
pub async fn check(folder: &Path, invoker: &dyn Invoker, library: &Library) -> Report {
    let mut report = Report {
        plugin: folder.display().to_string(),
        digest: None,
        accepted: false,
        findings: Vec::new(),
        imports: None,
        exports: None,
        golden: Vec::new(),
    };
    let package = match Package::read(folder) {
        Ok(package) => package,
        Err(error) => {
            let rule = match &error {
                PackageError::Manifest { .. } => "manifest.valid",
                PackageError::Schema { .. } => "schema.valid",
                _ => "package.complete",
            };
            report.add(rule, Err(with_source(&error)));
            return report;
        }
    };
    report.plugin = format!("{}@{}", package.manifest.id, package.manifest.version);
    report.digest = Some(package.digest);
    report.add("package.complete", Ok(format!("component of {} bytes", package.wasm.len())));
    report.add("manifest.valid", Ok("every field is known".to_owned()));
    let manifest = &package.manifest;
    report.add("manifest.consistent", checks::check_manifest(manifest, &package.schemas).map(|()| "holds".into()));
    report
        .add("contract.operations", library.implements(manifest).map(|()| "every promised operation is there".into()));
    let component = Component { digest: package.digest, wasm: package.wasm.clone(), assets: package.assets.clone() };
    let inspection = match invoker.load(component).await {
        Ok(inspection) => inspection,
        Err(error) => {
            report.add("component.loads", Err(error.to_string()));
            return report;
        }
    };
    report.add("component.loads", Ok("compiles and links".to_owned()));
    report
        .add("component.exports", checks::check_exports(manifest, &inspection).map(|()| "as the manifest says".into()));
    report.add("component.imports", imports(manifest, &inspection));
    if manifest.kind.is_pure() {
        report.golden = golden(&package, invoker).await;
        let failed = report.golden.iter().filter(|golden| !golden.passed).count();
        let total = report.golden.len();
        report.add(
            "golden.pass",
            if total == 0 {
                Ok("there is none: add `golden/NAME.json` with `input` and `expected`".to_owned())
            } else if failed == 0 {
                Ok(format!("{total} passed"))
            } else {
                Err(format!("{failed} of {total} failed"))
            },
        );
    }
    report.imports = Some(inspection.imports);
    report.exports = Some(inspection.exports);
    report.accepted = report.findings.iter().all(|finding| finding.holds);
    report
}

impl Report {
    fn add(&mut self, rule: &'static str, result: Result<String, String>) {
        let holds = result.is_ok();
        self.findings.push(Finding { rule, holds, detail: result.unwrap_or_else(|problem| problem) });
    }
}

fn with_source(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// A pure plugin needs no network; one that imports it all the same (as JavaScript's toolchain does) is told that it
/// gets refusals.
fn imports(manifest: &Manifest, inspection: &Inspection) -> Result<String, String> {
    let http = inspection.imports.iter().any(|import| import.starts_with("wasi:http/outgoing-handler"));
    match (http, manifest.kind, manifest.capabilities.http.is_empty()) {
        (true, Kind::Connector, true) => {
            Err("it imports `wasi:http` but declares no `[[capabilities.http]]`: add origin, methods and reason"
                .to_owned())
        }
        (true, kind, _) if kind.is_pure() => Ok("imports `wasi:http`, and every request will be refused".to_owned()),
        _ => Ok(format!("{} interfaces, all known", inspection.imports.len())),
    }
}

async fn golden(package: &Package, invoker: &dyn Invoker) -> Vec<Golden> {
    let mut files: Vec<_> = fs::read_dir(package.folder.join("golden"))
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    let mut results = Vec::with_capacity(files.len());
    for path in files {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let read = fs::read(&path).map_err(|error| error.to_string());
        let test = read.and_then(|bytes| {
            serde_json::from_slice::<GoldenFile>(&bytes).map_err(|error| format!("is no golden test: {error}"))
        });
        results.push(match test {
            Err(problem) => {
                Golden { name, passed: false, difference: Some(problem), usage: Usage::default(), fuel_limit: 0 }
            }
            Ok(test) => run_golden(package, invoker, name, test).await,
        });
    }
    results
}

/// Runs the golden tests of an installed version again: a JSON object of tests by name.
pub(super) async fn rerun(manifest: &Manifest, digest: Digest, tests: &[u8], invoker: &dyn Invoker) -> Vec<Golden> {
    let tests: std::collections::BTreeMap<String, Value> = serde_json::from_slice(tests).unwrap_or_default();
    let package = Package {
        folder: std::path::PathBuf::new(),
        manifest: manifest.clone(),
        manifest_text: String::new(),
        wasm: bytes::Bytes::new(),
        digest,
        schemas: super::package::Schemas::default(),
        assets: None,
    };
    let mut results = Vec::with_capacity(tests.len());
    for (name, test) in tests {
        results.push(match serde_json::from_value::<GoldenFile>(test) {
            Ok(test) => run_golden(&package, invoker, name, test).await,
            Err(error) => {
                let difference = Some(format!("is no golden test: {error}"));
                Golden { name, passed: false, difference, usage: Usage::default(), fuel_limit: 0 }
            }
        });
    }
    results
}

/// The golden tests of a package as they are kept: a JSON object of tests by name; absent: it has none.
pub(super) fn golden_of(folder: &Path) -> Option<Vec<u8>> {
    let files =
        fs::read_dir(folder.join("golden")).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let mut tests = serde_json::Map::new();
    for path in files.filter(|path| path.extension().is_some_and(|extension| extension == "json")) {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let test = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or(Value::Null);
        tests.insert(name, test);
    }
    (!tests.is_empty()).then(|| serde_json::to_vec(&tests).unwrap_or_default())
}

async fn run_golden(package: &Package, invoker: &dyn Invoker, name: String, test: GoldenFile) -> Golden {
    let input = Json::from(test.input);
    let step = StepContext {
        run: "run_golden".to_owned(),
        pipeline: "golden/test".to_owned(),
        pipeline_version: "1.0.0".to_owned(),
        name: name.clone(),
        config: test.config.map_or_else(Json::empty_object, Json::from),
        attributes: Vec::new(),
    };
    let limits = package.manifest.limits.capped(&Limits::CEILING);
    let fuel_limit = limits.fuel(input.as_bytes().len());
    let work = match package.manifest.kind {
        Kind::Rule => Work::Rule { input, step },
        Kind::Scorer => Work::Score { input, step },
        Kind::Transform | Kind::Connector => Work::Transform { input, step },
    };
    let completed = invoker
        .invoke(Invocation {
            component: package.digest,
            work,
            limits,
            now: GOLDEN_TIME,
            seed: hash32("crossdock golden 1", &[name.as_bytes()]),
            authority: Authority::default(),
        })
        .await;
    let actual = match completed.result {
        Ok(Answer::Json(json)) => json.to_value(),
        Ok(Answer::Verdict(verdict)) => serde_json::to_value(verdict).unwrap_or_default(),
        Ok(Answer::Assessment(assessment)) => serde_json::to_value(assessment).unwrap_or_default(),
        Ok(Answer::Receipt(..) | Answer::Portion(_) | Answer::Page(_)) => Value::Null,
        Err(CallError::Failure(failure)) => serde_json::json!({ "failure": failure }),
        Err(error) => serde_json::json!({ "error": format!("{error:?}") }),
    };
    let difference = difference("", &test.expected, &actual);
    Golden { name, passed: difference.is_none(), difference, usage: completed.usage, fuel_limit }
}

/// The first place where an answer differs from what is expected. What the test does not mention is not compared.
fn difference(path: &str, expected: &Value, actual: &Value) -> Option<String> {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => expected.iter().find_map(|(name, expected)| {
            difference(&format!("{path}/{name}"), expected, actual.get(name).unwrap_or(&Value::Null))
        }),
        (Value::Array(expected), Value::Array(actual)) if expected.len() == actual.len() => expected
            .iter()
            .zip(actual)
            .enumerate()
            .find_map(|(index, (expected, actual))| difference(&format!("{path}/{index}"), expected, actual)),
        (expected, actual) if expected == actual => None,
        (expected, actual) => {
            let place = if path.is_empty() { "the answer" } else { path };
            Some(format!("{place} is {actual}, expected {expected}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::difference;

    #[test]
    fn only_what_the_test_mentions_is_compared() {
        assert_eq!(difference("", &json!({"a": 1}), &json!({"a": 1, "b": 2})), None);
        assert_eq!(
            difference("", &json!({"a": {"b": [1, 2]}}), &json!({"a": {"b": [1, 3]}})).as_deref(),
            Some("/a/b/1 is 3, expected 2")
        );
        assert!(difference("", &json!([1]), &json!([1, 2])).is_some());
    }
}
