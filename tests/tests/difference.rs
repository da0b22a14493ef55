//! What one published version of a plugin changes for who relies on another: asked of a hub, over HTTP and from the command
//! line, and the same as what the packages say here.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

use std::{fs, path::Path};

use crossdock_tests::{hub::Hub, packages, said::Said};
use http::Request;
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");
const LINE: &str = packages::JUDGE;

/// A version with an input that it holds to a schema.
fn package(at: &Path, version: &str, guest: &str, limit: u64, required: &[&str]) -> String {
    let folder = at.join(format!("judge-{version}"));
    packages::judge(
        &folder,
        version,
        guest,
        &format!("input_schema = \"input.json\"\n[limits]\nfuel_base = {limit}\n"),
    );
    let schema = json!({ "type": "object", "required": required,
        "properties": { "n": {}, "sku": { "type": "string" } } });
    fs::write(folder.join("input.json"), schema.to_string()).unwrap();
    folder.display().to_string()
}

fn crossdock(hub: &Hub, token: Option<&str>, arguments: &[&str]) -> (Option<i32>, String) {
    let said = Said::at(hub, BINARY, token, arguments);
    (said.code, said.all())
}

#[track_caller]
fn done(hub: &Hub, arguments: &[&str]) -> String {
    let (code, said) = crossdock(hub, None, arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn two_published_versions_are_compared_at_the_hub_as_their_packages_are_here() {
    let folder = tempfile::tempdir().unwrap();
    let first = package(folder.path(), "1.0.0", "well_behaved", 1_000_000, &["n"]);
    let second = package(folder.path(), "2.0.0", "second_version", 2_000_000, &["n", "sku"]);
    fs::write(folder.path().join("hub.toml"), format!("plugins = [{first:?}]\n")).unwrap();
    let hub = Hub::start(BINARY, &folder.path().join("data"), Some(&folder.path().join("hub.toml")));
    done(&hub, &["plugin", "publish", &second, "--reason", "another"]);
    let (from, to) = (format!("{LINE}@1.0.0"), format!("{LINE}@2.0.0"));

    let said = done(&hub, &["plugin", "diff", &from, &to]);
    for part in [
        "test/judge 1.0.0 → 2.0.0",
        "schema.input.narrowed",
        "`sku` is required now",
        "capability.widened",
        "1000000 becomes 2000000",
        "limits.fuel_base: 1000000 → 2000000",
        "the component is another",
        "what it may touch is widened",
        "the changes are major: 2.0.0 or higher",
        "an operator has to agree",
    ] {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
    let at_hub: Value = serde_json::from_str(&done(&hub, &["plugin", "diff", &from, &to, "--json"])).unwrap();
    let here: Value = serde_json::from_str(&done(&hub, &["plugin", "diff", &first, &second, "--json"])).unwrap();
    assert_eq!(at_hub, here, "the same code compares");
    let (status, over_http) = hub.get(&format!("/v1/plugins/{LINE}/difference?from=1.0.0&to=2.0.0")).await;
    assert_eq!((status.as_u16(), &over_http), (200, &at_hub));
    let (_, back) = hub.get(&format!("/v1/plugins/{LINE}/difference?from=2.0.0&to=1.0.0")).await;
    assert_eq!((&back["capabilities"], &back["bump"]), (&json!("narrowed"), &json!("minor")), "{back:#}");
    let (_, same) = hub.get(&format!("/v1/plugins/{LINE}/difference?from=1.0.0&to=1.0.0")).await;
    assert_eq!((&same["capabilities"], &same["findings"]), (&json!("unchanged"), &json!([])), "{same:#}");

    // A number that says too little would have been refused; that is what is said of it here as well.
    let third = package(folder.path(), "2.0.1", "second_version", 2_000_000, &["n"]);
    let here: Value =
        serde_json::from_str(&done(&hub, &["plugin", "diff", &to.replace("@2.0.0", "@1.0.0"), &to, "--json"])).unwrap();
    assert_eq!(here["bump"], "major");
    let (code, said) = crossdock(&hub, None, &["plugin", "diff", &to, &third]);
    assert!(code == Some(1) && said.contains("name two of a kind") && said.contains("--at-hub"), "{said}");
    for (query, expected, words) in [
        ("from=1.0.0&to=9.9.9", (404, "plugin.unknown"), "1.0.0, 2.0.0"),
        ("from=1.0.0", (400, "query.invalid"), "to="),
        ("from=1&to=2", (400, "query.invalid"), "no version such as"),
    ] {
        let (status, wrong) = hub.get(&format!("/v1/plugins/{LINE}/difference?{query}")).await;
        assert_eq!((status.as_u16(), wrong["code"].as_str().unwrap()), expected, "{wrong:#}");
        assert!(wrong["detail"].as_str().unwrap().contains(words), "{wrong:#}");
    }
    let (code, said) = crossdock(&hub, None, &["plugin", "diff", &from, "other/judge@1.0.0"]);
    assert!(code == Some(1) && said.contains("are not versions of the same"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partner_compares_what_is_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let first = package(folder.path(), "1.0.0", "well_behaved", 1_000_000, &["n"]);
    fs::write(folder.path().join("hub.toml"), format!("plugins = [{first:?}]\n")).unwrap();
    let hub = Hub::start(BINARY, &folder.path().join("data"), Some(&folder.path().join("hub.toml")));
    let made = |name: &str, namespace: &str| {
        let said = done(&hub, &["token", "create", name, "--role", "partner", "--namespace", namespace, "--json"]);
        serde_json::from_str::<Value>(&said).unwrap()["token"].as_str().unwrap().to_owned()
    };
    let (own, other) = (made("tess", "test"), made("otto", "other"));
    let asked = format!("{}/v1/plugins/{LINE}/difference?from=1.0.0&to=1.0.0", hub.url);
    for (token, status) in [(&own, 200), (&other, 403)] {
        let request = Request::get(&asked).header("authorization", format!("Bearer {token}"));
        let response = hub.send(request.body(bytes::Bytes::new()).unwrap()).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{response:?}");
    }
    // Whether there is such a version is no stranger's business.
    let (code, said) = crossdock(&hub, Some(&other), &["plugin", "diff", "test/judge@1.0.0", "test/judge@9.0.0"]);
    assert!(code == Some(1) && said.contains("access.denied") && said.contains("namespace `test`"), "{said}");
    assert_eq!(crossdock(&hub, Some(&own), &["plugin", "diff", "test/judge@1.0.0", "test/judge@1.0.0"]).0, Some(0));
    assert_eq!(
        crossdock(
            &hub,
            Some(&hub.token_as("al", "auditor")),
            &["plugin", "diff", "test/judge@1.0.0", "test/judge@1.0.0"]
        )
        .0,
        Some(0)
    );
}
