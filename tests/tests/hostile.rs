//! Guests that misbehave, one per way to do so; those that misuse HTTP are in `hostile_http.rs`. After each, the same sandbox serves a well-behaved guest as before.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a helper that fails fails its test")]

use std::{
    path::Path,
    sync::{Arc, LazyLock, Mutex},
    time::{Duration, Instant},
};

use crossdock::{
    app::{build::MEMORY_BYTES_AT_START, package::Package},
    model::{
        failure::{Failure, FailureKind},
        json::Json,
        limits::{Limit, LimitExceeded, Limits},
        log::LogLevel,
    },
    ports::{
        invoker::{Authority, CallError, Completed, Component, Invocation, Invoker, Work},
        secrets::Secret,
        state::{PluginState, StateEntry, StateKeys},
    },
    wasm::Sandbox,
};
use crossdock_tests::{
    calls::{invocation, json, load, operation, output, step},
    packages,
};
use futures::future::BoxFuture;
use serde_json::{Value, json};

/// One sandbox for all tests of this process, so that each runs beside the others' misbehaviour.
static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| new_sandbox("compiled"));

fn new_sandbox(cache: &str) -> Sandbox {
    Sandbox::new(&Path::new(env!("CARGO_TARGET_TMPDIR")).join(cache)).unwrap()
}

/// Calls a guest's rule.
async fn rule(guest: &str, input: Value, limits: Limits) -> Completed {
    let component = load(&SANDBOX, guest, None).await;
    let call = invocation(component, Work::Rule { input: json(&input), step: step() });
    SANDBOX.invoke(Invocation { limits, ..call }).await
}

/// Calls an operation of the connector guest.
async fn connect(name: &str, input: Value, authority: Authority) -> Completed {
    let component = load(&SANDBOX, "connector", None).await;
    SANDBOX.invoke(Invocation { authority, ..invocation(component, operation(name, &input, true)) }).await
}

#[track_caller]
fn exceeded(done: &Completed) -> LimitExceeded {
    match &done.result {
        Err(CallError::Limit(exceeded)) => *exceeded,
        other => panic!("{other:?}; log: {:?}", done.log),
    }
}

#[track_caller]
fn breach(done: &Completed, expected: &str) {
    let Err(CallError::Contract { message }) = &done.result else { panic!("{:?}", done.result) };
    assert!(message.contains(expected), "{message}");
}

async fn serves_as_before() {
    let done = rule("well_behaved", json!({"order": 1}), Limits::DEFAULT).await;
    assert_eq!(output(&done), json!({"order": 1}));
    assert_eq!(done.log.len(), 1);
    assert!(done.usage.fuel > 0 && done.usage.memory_bytes > 0 && done.usage.log_lines_dropped == 0);
}

#[tokio::test]
async fn a_call_that_needs_little_gets_by_with_the_memory_that_it_began_with() {
    let done = rule("well_behaved", json!({ "filler": "x".repeat(100_000) }), Limits::DEFAULT).await;
    assert_eq!(done.usage.memory_bytes, MEMORY_BYTES_AT_START);

    let package = Package::read(&packages::package("fulfilment-policy")).unwrap();
    let component = Component { digest: package.digest, wasm: package.wasm.clone(), assets: None };
    SANDBOX.load(component).await.unwrap();
    let work = Work::Rule { input: json(&json!({ "filler": "x".repeat(100_000) })), step: step() };
    let done = SANDBOX.invoke(invocation(package.digest, work)).await;
    assert_eq!(done.usage.memory_bytes, MEMORY_BYTES_AT_START, "as `plugin build` makes it: {done:?}");
}

#[tokio::test]
async fn an_endless_loop_runs_out_of_fuel() {
    let done = rule("endless_loop", json!(1), Limits::DEFAULT).await;
    let allowed = Limits::DEFAULT.fuel(1);
    assert_eq!(exceeded(&done), LimitExceeded { limit: Limit::Fuel, allowed, used: allowed });
    assert_eq!(done.usage.fuel, allowed);
    serves_as_before().await;
}

#[tokio::test]
async fn an_endless_loop_with_fuel_to_burn_meets_its_deadline() {
    let limits = Limits { fuel_base: Limits::CEILING.fuel_base, deadline_ms: 100, ..Limits::DEFAULT };
    let done = rule("endless_loop", json!(1), limits).await;
    let exceeded = exceeded(&done);
    assert_eq!((exceeded.limit, exceeded.allowed), (Limit::Deadline, 100));
    assert!(exceeded.used >= 100 && done.usage.elapsed_us >= 100_000 && done.usage.fuel > 0);
    serves_as_before().await;
}

#[tokio::test]
async fn a_memory_bomb_is_named_as_such_though_it_dies_of_an_abort() {
    let limits = Limits { fuel_base: Limits::CEILING.fuel_base, ..Limits::DEFAULT };
    let done = rule("memory_bomb", json!(1), limits).await;
    let exceeded = exceeded(&done);
    assert_eq!((exceeded.limit, exceeded.allowed), (Limit::Memory, Limits::DEFAULT.memory_bytes));
    assert!(exceeded.used > exceeded.allowed && done.usage.memory_bytes <= exceeded.allowed);
    serves_as_before().await;
}

#[tokio::test]
async fn a_component_that_starts_larger_than_its_memory_limit_is_named_as_such() {
    let done = rule("well_behaved", json!(1), Limits { memory_bytes: 64 << 10, ..Limits::DEFAULT }).await;
    assert_eq!(exceeded(&done).limit, Limit::Memory);
    serves_as_before().await;
}

#[tokio::test]
async fn a_stack_overflow_is_named_as_such() {
    let done = rule("stack_overflow", json!(1), Limits::DEFAULT).await;
    assert_eq!(exceeded(&done).limit, Limit::Stack);
    serves_as_before().await;
}

#[tokio::test]
async fn a_trap_tells_where_and_the_panic_is_in_the_log() {
    let done = rule("trap", json!(12), Limits::DEFAULT).await;
    let Err(CallError::Trap { message }) = &done.result else { panic!("{:?}", done.result) };
    assert!(message.contains("unreachable") && message.contains("backtrace") && message.len() <= 4096, "{message}");
    let told = done
        .log
        .iter()
        .any(|line| line.level == LogLevel::Warn && line.message.contains("no idea what to do with 2 bytes"));
    assert!(told, "{:?}", done.log);
    serves_as_before().await;
}

#[tokio::test]
async fn an_exit_is_a_trap_and_ends_only_the_guest() {
    let done = connect("exit", json!({}), Authority::default()).await;
    let Err(CallError::Trap { message }) = &done.result else { panic!("{:?}", done.result) };
    assert!(message.contains("exited with status"), "{message}");
    serves_as_before().await;
}

#[tokio::test]
async fn a_huge_output_is_refused_whether_it_is_a_little_or_far_too_large() {
    for length in [(1 << 20) + 1, 8 << 20] {
        let exceeded = exceeded(&rule("huge_output", json!(length), Limits::DEFAULT).await);
        assert_eq!((exceeded.limit, exceeded.allowed), (Limit::Output, 1 << 20), "{length}");
        assert!(exceeded.used > exceeded.allowed);
    }
    breach(&rule("huge_output", json!(5), Limits::DEFAULT).await, "not one JSON value");
    serves_as_before().await;
}

#[tokio::test]
async fn a_huge_input_is_refused_before_the_guest_sees_it() {
    let limits = Limits { input_bytes: 10, ..Limits::DEFAULT };
    let done = rule("well_behaved", json!("more than ten bytes"), limits).await;
    assert_eq!(exceeded(&done), LimitExceeded { limit: Limit::Input, allowed: 10, used: 21 });
    assert_eq!(done.usage.fuel, 0);
}

#[tokio::test]
async fn a_log_flood_is_counted_and_dropped_and_the_call_goes_on() {
    let limits = Limits { fuel_base: Limits::CEILING.fuel_base, ..Limits::DEFAULT };
    let done = rule("log_flood", json!({"order": 1}), limits).await;
    assert_eq!(output(&done), json!({"order": 1}));
    assert_eq!(done.log.len(), 64);
    assert_eq!(done.usage.log_lines_dropped, 20_000 + 200 + 1 - 64);
    serves_as_before().await;
}

#[tokio::test]
async fn a_sleeping_guest_meets_its_deadline_though_its_clock_stands_still() {
    let limits = Limits { deadline_ms: 100, ..Limits::DEFAULT };
    let began = Instant::now();
    let exceeded = exceeded(&rule("sleeper", json!(60_000), limits).await);
    assert_eq!((exceeded.limit, exceeded.allowed), (Limit::Deadline, 100));
    assert!(began.elapsed() < Duration::from_secs(30));
    let done = rule("sleeper", json!(20), Limits::DEFAULT).await;
    assert_eq!(output(&done), json!(0), "no time passes for a pure guest");
    assert!(done.usage.elapsed_us >= 20_000, "and yet it slept");
    serves_as_before().await;
}

#[tokio::test]
async fn a_score_that_is_not_a_number_breaks_the_contract() {
    let component = load(&SANDBOX, "not_a_number", None).await;
    let done = SANDBOX.invoke(invocation(component, Work::Score { input: Json::null(), step: step() })).await;
    breach(&done, "`score` is NaN");
    let done = SANDBOX.invoke(invocation(component, Work::Rule { input: Json::null(), step: step() })).await;
    breach(&done, "does not export `crossdock:plugin/rule`");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_calls_are_not_disturbed_by_bad_ones_beside_them() {
    let limits = Limits { fuel_base: Limits::CEILING.fuel_base, deadline_ms: 500, ..Limits::DEFAULT };
    let guests = ["endless_loop", "memory_bomb", "endless_loop", "memory_bomb", "endless_loop", "trap"];
    let bad: Vec<_> = guests.map(|guest| tokio::spawn(rule(guest, json!(1), limits))).into();
    for _ in 0..50 {
        serves_as_before().await;
    }
    for done in futures::future::join_all(bad).await {
        assert!(done.unwrap().result.is_err());
    }
    serves_as_before().await;
}

#[tokio::test]
async fn nothing_outside_the_assets_can_be_read_and_nothing_inside_written() {
    let folder = tempfile::tempdir().unwrap();
    let assets = folder.path().join("assets");
    std::fs::create_dir(&assets).unwrap();
    std::fs::write(assets.join("table.csv"), "mine").unwrap();
    std::fs::write(folder.path().join("secret"), "not yours").unwrap();
    std::os::unix::fs::symlink(folder.path().join("secret"), assets.join("absolute-link")).unwrap();
    std::os::unix::fs::symlink("../secret", assets.join("relative-link")).unwrap();
    std::os::unix::fs::symlink("..", assets.join("up")).unwrap();

    let outside = folder.path().join("secret").display().to_string();
    let input = json!({
        "read": [
            "/assets/table.csv",
            "/assets/../secret",
            "/assets/absolute-link",
            "/assets/relative-link",
            "/assets/up/secret",
            "/etc/passwd",
            "../secret",
            outside,
        ],
        "write": ["/assets/new", "/assets/table.csv", "/tmp/new"],
    });
    // A sandbox of its own: the shared one has loaded this component without assets.
    let sandbox = new_sandbox("compiled-for-assets");
    let component = load(&sandbox, "asset_reader", Some(assets.clone())).await;
    let done = sandbox.invoke(invocation(component, Work::Rule { input: json(&input), step: step() })).await;

    let told = output(&done);
    assert_eq!(told["read /assets/table.csv"], "mine");
    for (name, value) in told.as_object().unwrap() {
        let refused = value.as_str().unwrap().starts_with("error:");
        assert!(refused || name == "read /assets/table.csv", "{name}: {value}");
    }
    assert_eq!(told.as_object().unwrap().len(), 11);
    assert_eq!(std::fs::read_to_string(assets.join("table.csv")).unwrap(), "mine");

    let without = rule("asset_reader", input, Limits::DEFAULT).await;
    assert!(output(&without).as_object().unwrap().values().all(|told| told.as_str().unwrap().starts_with("error:")));
}

#[tokio::test]
async fn assets_look_the_same_on_every_machine() {
    let mut seen = Vec::new();
    for (machine, names) in [["b", "a", "c"], ["c", "b", "a"]].into_iter().enumerate() {
        let assets = tempfile::tempdir().unwrap();
        for name in names {
            let file = std::fs::File::create(assets.path().join(name)).unwrap();
            file.set_len(7).unwrap();
            let age = Duration::from_secs(1000 * (machine as u64 + 1));
            file.set_modified(std::time::UNIX_EPOCH + age).unwrap();
        }
        let sandbox = new_sandbox("compiled-for-assets");
        let component = load(&sandbox, "asset_reader", Some(assets.path().to_owned())).await;
        let input = json(&json!({"list": ["/assets"]}));
        let done = sandbox.invoke(invocation(component, Work::Rule { input, step: step() })).await;
        seen.push((output(&done), done.usage.fuel));
    }
    let told = seen[0].0["list /assets"].as_str().unwrap();
    let names: Vec<_> = told.lines().map(|line| &line[..5]).collect();
    assert_eq!(names, [r#""a" 7"#, r#""b" 7"#, r#""c" 7"#], "{told}");
    assert!(told.contains("Some((0, "), "files can be told apart: {told}");
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn two_instances_and_two_engines_give_the_same_bits() {
    let mut seen: Vec<(Value, u64)> = Vec::new();
    let other = new_sandbox("compiled-by-another");
    for sandbox in [&*SANDBOX, &*SANDBOX, &other] {
        let component = load(sandbox, "deterministic", None).await;
        let done = sandbox.invoke(invocation(component, Work::Rule { input: Json::null(), step: step() })).await;
        seen.push((output(&done), done.usage.fuel));
    }
    assert_eq!(seen[0], seen[1], "two instances");
    assert_eq!(seen[0], seen[2], "two engines");
    let told = &seen[0].0;
    assert_eq!((&told["wall"], &told["passed"]), (&json!("1772352900123000000"), &json!("0")));
    assert_eq!(told["environment"], 0);
    // The processor's own would have its sign set.
    assert_eq!(told["nan"], Value::from(vec!["7ff8000000000000"; 4]));
    assert_eq!(told["nan32"], "7fc00000");

    let component = load(&SANDBOX, "deterministic", None).await;
    let call = invocation(component, Work::Rule { input: Json::null(), step: step() });
    let done = SANDBOX.invoke(Invocation { seed: [8; 32], ..call }).await;
    assert_ne!(output(&done)["drawn"], told["drawn"]);
    assert_ne!(output(&done)["order"], told["order"]);
}

#[track_caller]
fn failure(done: &Completed) -> (FailureKind, &str) {
    match &done.result {
        Err(CallError::Failure(failure)) => (failure.kind, &failure.code),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn state_and_secrets_are_denied_unless_they_are_granted() {
    let no_bucket = (FailureKind::Denied, "state.bucket-not-granted");
    let no_secret = (FailureKind::Denied, "secret.not-granted");
    let done = connect("state", json!({"bucket": "cursors"}), Authority::default()).await;
    assert_eq!(failure(&done), no_bucket);
    let done = connect("sign", json!({"secret": "key"}), Authority::default()).await;
    assert_eq!(failure(&done), no_secret);

    let granted = || Authority {
        state: Some((Arc::new(OneKey::default()), vec!["cursors".into()])),
        secrets: vec![("key".into(), Secret::new("value"))],
        ..Authority::default()
    };
    let done = connect("state", json!({"bucket": "cursors"}), granted()).await;
    assert_eq!(output(&done), json!({"n": 1}));
    assert_eq!(failure(&connect("state", json!({"bucket": "others"}), granted()).await), no_bucket);
    let done = connect("sign", json!({"secret": "key"}), granted()).await;
    assert_eq!(output(&done), json!([32, true, false]));
    assert_eq!(failure(&connect("sign", json!({"secret": "other"}), granted()).await), no_secret);
}

#[tokio::test]
async fn a_connector_sees_its_deadline_and_leaves_annotations() {
    let done = connect("remaining", json!({}), Authority::default()).await;
    let remaining = output(&done).as_u64().unwrap();
    assert!(remaining > 0 && remaining <= Limits::DEFAULT.deadline_ms, "{remaining}");
    assert_eq!(done.annotations, [("request-id".to_owned(), "r-1".to_owned())]);
}

/// A state that holds one value whatever the key.
#[derive(Default)]
struct OneKey(Mutex<Option<Json>>);

impl PluginState for OneKey {
    fn get(&self, _: &str, _: &str) -> BoxFuture<'_, Result<Option<StateEntry>, Failure>> {
        let value = self.0.lock().unwrap().clone();
        Box::pin(async move { Ok(value.map(|value| StateEntry { value, revision: "1".into() })) })
    }

    fn put(&self, _: &str, _: &str, value: Json, _: Option<u32>) -> BoxFuture<'_, Result<String, Failure>> {
        *self.0.lock().unwrap() = Some(value);
        Box::pin(async { Ok("1".into()) })
    }

    fn swap(
        &self,
        _: &str,
        _: &str,
        _: Option<&str>,
        _: Json,
        _: Option<u32>,
    ) -> BoxFuture<'_, Result<Option<String>, Failure>> {
        Box::pin(async { Ok(None) })
    }

    fn remove(&self, _: &str, _: &str, _: Option<&str>) -> BoxFuture<'_, Result<bool, Failure>> {
        Box::pin(async { Ok(false) })
    }

    fn scan(&self, _: &str, _: &str, _: Option<&str>, _: u32) -> BoxFuture<'_, Result<StateKeys, Failure>> {
        Box::pin(async { Ok(StateKeys::default()) })
    }
}
