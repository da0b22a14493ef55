//! Runs a pure plugin's golden tests: files `golden/NAME.json` with an input and the answer that it must give.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;

use super::package::Package;
use crate::{
    model::{
        id::{Digest, hash32},
        json::Json,
        limits::{Limits, Usage},
        manifest::{Kind, Manifest},
        timestamp::Timestamp,
    },
    policy::gate::golden::GoldenResult,
    ports::invoker::{Answer, Authority, CallError, Invocation, Invoker, StepContext, Work},
};

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

/// Golden tests that are run, at most.
const TESTS_LIMIT: usize = 256;
/// The instant at which golden tests run.
const GOLDEN_TIME: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// Runs every golden test of a package whose component is loaded.
pub async fn run(package: &Package, invoker: &dyn Invoker) -> Vec<GoldenResult> {
    let files = files(&package.folder);
    let mut results = Vec::with_capacity(files.len());
    for path in files.into_iter().take(TESTS_LIMIT) {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        results.push(match read(&path) {
            Ok(test) => run_one(&package.manifest, package.digest, invoker, name, test).await,
            Err(problem) => no_test(name, problem),
        });
    }
    results
}

/// Runs the golden tests of an installed version again, as [`kept`] gave them.
pub(super) async fn rerun(
    manifest: &Manifest,
    digest: Digest,
    tests: &[u8],
    invoker: &dyn Invoker,
) -> Vec<GoldenResult> {
    let tests: BTreeMap<String, Value> = serde_json::from_slice(tests).unwrap_or_default();
    let mut results = Vec::with_capacity(tests.len());
    for (name, test) in tests.into_iter().take(TESTS_LIMIT) {
        results.push(match serde_json::from_value(test) {
            Ok(test) => run_one(manifest, digest, invoker, name, test).await,
            Err(error) => no_test(name, format!("is no golden test: {error}")),
        });
    }
    results
}

/// The golden tests of a package as the hub keeps them: a JSON object of tests by name; absent: it has none.
pub(super) fn kept(folder: &Path) -> Option<Vec<u8>> {
    let mut tests = serde_json::Map::new();
    for path in files(folder) {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let test = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or(Value::Null);
        tests.insert(name, test);
    }
    (!tests.is_empty()).then(|| serde_json::to_vec(&tests).unwrap_or_default())
}

/// The inputs of a package's golden tests, by name; those that cannot be read are left out.
#[must_use]
pub fn inputs(folder: &Path) -> Vec<(String, Json)> {
    let named = |path: PathBuf| {
        let name = path.file_stem()?.to_string_lossy().into_owned();
        Some((name, Json::from(read(&path).ok()?.input)))
    };
    files(folder).into_iter().take(TESTS_LIMIT).filter_map(named).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("golden")).into_iter().flatten().filter_map(Result::ok);
    let mut files: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    files
}

fn no_test(name: String, problem: String) -> GoldenResult {
    let difference = Some(problem);
    GoldenResult { name, passed: false, difference, usage: Usage::default(), fuel_limit: 0, memory_limit: 0 }
}

fn read(path: &Path) -> Result<GoldenFile, String> {
    let bytes = fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("is no golden test: {error}"))
}

async fn run_one(
    manifest: &Manifest,
    digest: Digest,
    invoker: &dyn Invoker,
    name: String,
    test: GoldenFile,
) -> GoldenResult {
    let input = Json::from(test.input);
    let step = StepContext {
        run: "run_golden".to_owned(),
        pipeline: "golden/test".to_owned(),
        pipeline_version: "1.0.0".to_owned(),
        name: name.clone(),
        config: test.config.map_or_else(Json::empty_object, Json::from),
        attributes: Vec::new(),
    };
    let limits = manifest.limits.capped(&Limits::CEILING);
    let (fuel_limit, memory_limit) = (limits.fuel(input.as_bytes().len()), limits.memory_bytes);
    let work = match manifest.kind {
        Kind::Rule => Work::Rule { input, step },
        Kind::Scorer => Work::Score { input, step },
        Kind::Transform | Kind::Connector => Work::Transform { input, step },
    };
    let completed = invoker
        .invoke(Invocation {
            component: digest,
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
    let passed = difference.is_none();
    GoldenResult { name, passed, difference, usage: completed.usage, fuel_limit, memory_limit }
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
