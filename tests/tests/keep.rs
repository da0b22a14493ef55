//! What a hub keeps over months, from the outside: archives, backups, and a restore whose effects wait for a person.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

use std::{fs, path::Path, process::Command, time::Instant};

use crossdock::sandbox::shop::Webhook;
use crossdock_tests::{
    hub::{Hub, PATIENCE},
    retail::Retail,
};
use http::StatusCode;
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");

/// Runs a command that must succeed; what it printed, as JSON.
#[track_caller]
fn crossdock(arguments: &[&str]) -> Value {
    let output = Command::new(BINARY).arg("--json").args(arguments).env_remove("CROSSDOCK_HUB").output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

/// Runs a command that must be refused; what it said.
#[track_caller]
fn refused(arguments: &[&str]) -> String {
    let output = Command::new(BINARY).args(arguments).env_remove("CROSSDOCK_HUB").output().unwrap();
    assert!(!output.status.success(), "{arguments:?} was not refused");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn key(webhook: &Webhook) -> String {
    webhook.order.as_ref().unwrap().name.trim_start_matches('#').to_owned()
}

async fn completed(hub: &Hub, webhook: &Webhook) -> Value {
    let done = |runs: &[Value]| runs.len() == 1 && runs[0]["state"] == "completed";
    let runs = hub.runs_until(&key(webhook), done).await;
    let (status, run) = hub.get(&format!("/v1/runs/{}", runs[0]["id"].as_str().unwrap())).await;
    assert_eq!(status, StatusCode::OK);
    run
}

async fn orders(retail: &Retail, hub: &Hub, count: usize) -> Vec<(Webhook, Value)> {
    let mut done = Vec::new();
    for _ in 0..count {
        let webhook = retail.retailer.shop.ordinary();
        retail.deliver(hub, &webhook).await.unwrap();
        let run = completed(hub, &webhook).await;
        done.push((webhook, run));
    }
    done
}

/// Waits until a check of readiness says something.
async fn says(hub: &Hub, check: &str, text: &str) {
    let begun = Instant::now();
    loop {
        let (_, ready) = hub.get("/health/ready").await;
        let said = ready["checks"][check].as_str().unwrap_or_default().to_owned();
        if said.contains(text) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "`{check}` says `{said}`");
    }
}

#[tokio::test]
async fn runs_that_ended_are_archived_and_still_shown_and_their_events_are_still_duplicates() {
    let retail = Retail::start(BINARY).await;
    let data = retail.data();
    let hub = retail.hub();
    let done = orders(&retail, &hub, 3).await;
    let held = retail.retailer.shop.high_value();
    retail.deliver(&hub, &held).await.unwrap();
    hub.runs_until(&key(&held), |runs| runs.len() == 1 && runs[0]["state"] == "waiting").await;
    assert!(refused(&["archive", "run", "--data", path(&data)]).contains("in use by another hub"));
    assert!(hub.stop());

    let archived = crossdock(&["archive", "run", "--older-than", "30d", "--data", path(&data)]);
    assert_eq!(archived["runs"], 0, "nothing is that old");
    let archived = crossdock(&["archive", "run", "--older-than", "0s", "--data", path(&data)]);
    assert!(archived["runs"].as_u64().unwrap() >= 3, "{archived}");
    assert_eq!(crossdock(&["archive", "list", "--data", path(&data)]).as_array().unwrap().len(), 1);
    let id = done[0].1["id"].as_str().unwrap();
    let shown = crossdock(&["archive", "show", id, "--data", path(&data)]);
    assert_eq!(shown["steps"], done[0].1["steps"]);

    // The whole history is still exported and proven.
    let export = retail.folder.path().join("export");
    crossdock(&["audit", "export", path(&export), "--data", path(&data)]);
    let proof = crossdock(&["audit", "verify", path(&export), "--key", path(&data.join("audit/hub.pub"))]);
    assert_eq!(proof["holds"], true, "{proof}");

    let hub = retail.hub();
    for (webhook, run) in &done {
        let (status, again) = hub.get(&format!("/v1/runs/{}", run["id"].as_str().unwrap())).await;
        assert_eq!((status, &again), (StatusCode::OK, run));
        let receipt = retail.deliver(&hub, webhook).await.unwrap();
        assert!(receipt.delivered(), "{:?}", receipt.response);
        assert_eq!(retail.sales_orders(webhook), 1, "a duplicate starts nothing");
    }
    let (_, ready) = hub.get("/health/ready").await;
    assert_eq!(ready["ready"], true, "{ready:#}");
    // What had not ended goes on where it was.
    hub.runs_until(&key(&held), |runs| runs.len() == 1 && runs[0]["state"] == "waiting").await;
    orders(&retail, &hub, 1).await;
    assert!(hub.stop());
}

#[tokio::test]
async fn a_backup_of_a_busy_hub_is_restored_and_makes_no_call_until_a_person_says_so() {
    let retail = Retail::start(BINARY).await;
    let hub = retail.hub();
    let done = orders(&retail, &hub, 2).await;
    let open = retail.retailer.order_locked_at_first(100, Some(1));
    retail.deliver(&hub, &open).await.unwrap();
    hub.runs_until(&key(&open), |runs| runs.len() == 1 && runs[0]["state"] == "waiting").await;
    let backup = retail.folder.path().join("backups/first");
    let made = crossdock(&["backup", "create", path(&backup), "--hub", &hub.url, "--token-file", &hub.token_file]);
    assert_eq!(made["state"], "made", "{made}");
    assert!(made["paused_ms"].is_u64() && made["appends"].as_u64().unwrap() > 10, "{made}");
    assert!(
        refused(&["backup", "create", path(&backup), "--hub", &hub.url, "--token-file", &hub.token_file])
            .contains("exists")
    );
    let request = json!({ "directory": "relative" }).to_string();
    let (status, _) = hub.post("/v1/admin/backup", &[("content-type", "application/json")], request).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (status, _) = hub.post("/v1/admin/backup", &[("content-type", "text/plain")], "{}").await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    // It goes on as if nothing had been.
    orders(&retail, &hub, 1).await;
    hub.kill();

    let restored = retail.folder.path().join("restored");
    crossdock(&["backup", "restore", path(&backup), "--data", path(&restored)]);
    assert!(refused(&["backup", "restore", path(&backup), "--data", path(&restored)]).contains("is not empty"));
    let hub = Hub::start(BINARY, &restored, Some(&retail.config()));
    says(&hub, "effects", "paused").await;
    for (webhook, run) in &done {
        assert_eq!(&completed(&hub, webhook).await, run);
    }
    let webhook = retail.retailer.shop.ordinary();
    let before = retail.retailer.warehouse.calls().len();
    retail.deliver(&hub, &webhook).await.unwrap();
    hub.runs_until(&key(&webhook), |runs| runs.len() == 1 && runs[0]["state"] == "running").await;
    assert!(hub.stop(), "a hub whose effects are paused can be stopped");
    let hub = Hub::start(BINARY, &restored, Some(&retail.config()));
    says(&hub, "effects", "paused").await;
    assert_eq!(retail.sales_orders(&webhook), 0);
    assert_eq!(retail.retailer.warehouse.calls().len(), before, "no call left");
    assert_eq!(crossdock(&["backup", "reconciled", "--data", path(&restored)])["were_paused"], true);
    says(&hub, "effects", "ok").await;
    completed(&hub, &webhook).await;
    assert_eq!(retail.sales_orders(&webhook), 1);
    assert!(hub.stop());
}

#[tokio::test]
async fn half_a_backup_or_a_changed_one_is_not_restored() {
    let retail = Retail::start(BINARY).await;
    let hub = retail.hub();
    orders(&retail, &hub, 1).await;
    assert!(hub.stop());
    let (backup, data) = (retail.folder.path().join("backup"), retail.folder.path().join("restored"));
    crossdock(&["backup", "create", path(&backup), "--data", path(&retail.data())]);
    let inside = retail.data().join("backup");
    let said = refused(&["backup", "create", path(&inside), "--data", path(&retail.data())]);
    assert!(said.contains("another disk"), "{said}");
    let db = backup.join("data/store/journal/db");
    let whole = fs::read(&db).unwrap();
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    fs::write(&db, changed).unwrap();
    let said = refused(&["backup", "restore", path(&backup), "--data", path(&data)]);
    assert!(said.contains("is not what was backed up"), "{said}");
    fs::write(&db, whole).unwrap();
    let manifest = fs::read(backup.join("backup.json")).unwrap();
    fs::remove_file(backup.join("backup.json")).unwrap();
    let said = refused(&["backup", "restore", path(&backup), "--data", path(&data)]);
    assert!(said.contains("not a whole backup"), "{said}");
    assert!(!data.exists());
    fs::write(backup.join("backup.json"), manifest).unwrap();
    crossdock(&["backup", "restore", path(&backup), "--data", path(&data)]);
}

/// A small file system of its own; unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(image: &Path) -> Result<Self, String> {
        fs::File::create(image).and_then(|file| file.set_len(200 << 20)).map_err(|error| error.to_string())?;
        let run = |command: &mut Command| {
            let output = command.output().map_err(|error| error.to_string())?;
            if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
        };
        run(Command::new("mkfs.ext4").arg("-q").arg(image))?;
        let mount = tempfile::tempdir().map_err(|error| error.to_string())?;
        run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(mount.path()))?;
        Ok(Self(mount))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).output();
    }
}

#[tokio::test]
async fn with_too_little_room_new_events_are_refused_with_advice_and_nothing_else_stops() {
    let retail = Retail::start(BINARY).await;
    let disk = match SmallDisk::mount(&retail.folder.path().join("disk")) {
        Ok(disk) => disk,
        Err(problem) => {
            let required = std::env::var("CROSSDOCK_POWER_CUT_TEST").is_ok_and(|value| value == "required");
            assert!(!required, "no loop device can be mounted: {problem}");
            eprintln!("NOT TESTED: a full disk under a hub; it needs root and loop devices ({problem})");
            return;
        }
    };
    let hub = Hub::start(BINARY, &disk.0.path().join("data"), Some(&retail.config()));
    says(&hub, "space", "free some space").await;
    let (status, _) = hub.get("/health/ready").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let webhook = retail.retailer.shop.ordinary();
    let receipt = retail.deliver(&hub, &webhook).await.unwrap();
    assert_eq!(receipt.response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let text = String::from_utf8_lossy(receipt.response.body()).into_owned();
    assert!(text.contains("free some space"), "{text}");
    let (_, ready) = hub.get("/health/ready").await;
    assert_eq!(ready["checks"]["journal"], "ok", "{ready:#}");
    assert!(hub.stop());
}
