//! Another key takes the place of the key of secrets, on a hub that is switched off, whose process ends at any of the steps.

use super::*;

/// How `secret reseal` is asked, of a copy of the data folder; ended at a step, if one is named.
fn reseal(setting: &Setting, data: &str, step: Option<usize>) -> (Option<i32>, String) {
    reseal_to(setting, data, &format!("{data}.key"), &[], step)
}

/// The same to a key of any name.
fn reseal_to(setting: &Setting, data: &str, to: &str, more: &[&str], step: Option<usize>) -> (Option<i32>, String) {
    let (data, key) = (setting.text(data), setting.text(to));
    let mut command = Command::new(BINARY);
    command.args(["secret", "reseal", "--data", &data, "--new-key", &key, "--reason", "it may have been seen"]);
    command.args(more);
    command.env("NO_COLOR", "1").env("CROSSDOCK_LOG", "error");
    if let Some(step) = step {
        command.env("CROSSDOCK_CRASH_AT", format!("after:resealed:{step}"));
    }
    let output = command.output().expect("runs");
    (output.status.code(), said(&output))
}

/// Starts a hub with a key of secrets; why not, if it refuses.
fn start(setting: &Setting, data: &str, key: Option<&str>) -> Result<Hub, String> {
    let mut command = Command::new(BINARY);
    command.args(["serve", "--listen", "127.0.0.1:0", "--config", &setting.text("hub.toml"), "--data"]);
    command.arg(setting.at(data));
    if let Some(key) = key {
        command.args(["--secrets-key", &setting.text(key)]);
    }
    Hub::try_start(command, BINARY, &setting.at(data))
}

fn copied(setting: &Setting, to: &str) {
    let copy = Command::new("cp").arg("-a").arg(setting.at("data")).arg(setting.at(to)).status();
    assert!(copy.expect("runs").success());
}

async fn secret(hub: &Hub, name: &str, verb: &str, value: Option<&str>) {
    let mut body = json!({ "do": verb, "reason": "tests" });
    if let Some(value) = value {
        body["value"] = json!(value);
    }
    let (status, answer) = hub.post(&format!("/v1/secrets/{name}"), &JSON, body.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{answer:#}");
}

/// Everything is there, opens, and can be changed: secrets, the one that was rotated away, and persons.
async fn whole(hub: &Hub, run: &Value) {
    let (_, secrets) = hub.get("/v1/secrets").await;
    let held = secrets["secrets"].as_array().unwrap();
    assert!(held.len() == 2 && held[0]["previous"]["version"] == 1, "{secrets:#}");
    assert!(shown(hub, run).await.contains(ANN[1]), "what is about a person is read");
    let known = done(hub, &["privacy", "show", ANN[0]]);
    assert!(known.contains("is held since"), "who a person is has not changed: {known}");
    secret(hub, "one", "take-back", None).await;
    secret(hub, "two", "rotate", Some("another")).await;
    // New data of a person whom the hub knows gets the key that it has.
    let more = completed(hub, "o-2", &contact(ANN, false, 1)).await;
    assert!(shown(hub, &more).await.contains(ANN[1]));
    assert!(done(hub, &["privacy", "erase", ANN[0], "--reason", "request 18"]).contains("is destroyed"));
    for run in [run, &more] {
        assert!(shown(hub, run).await.contains("[erased]"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_reseal_is_cut_short_the_hub_starts_with_one_of_the_keys_and_loses_nothing() {
    let setting = Setting::new();
    let hub = setting.begin();
    for name in ["one", "two"] {
        secret(&hub, name, "set", Some("first")).await;
    }
    secret(&hub, "one", "rotate", Some("second")).await;
    let ann = completed(&hub, "o-1", &contact(ANN, false, 1)).await;
    let (code, running) = reseal(&setting, "data", None);
    assert!(code == Some(1) && running.contains("switched off"), "{running}");
    assert!(hub.stop());

    // Before the new key is recorded, after it, between secrets, and between keys of persons.
    for (step, key_of_before) in [(1, true), (2, false), (5, false), (8, false)] {
        let data = format!("data-{step}");
        copied(&setting, &data);
        let (code, cut) = reseal(&setting, &data, Some(step));
        assert_eq!(code, None, "it ended itself: {cut}");
        let new = format!("{data}.key");
        let (opens, refuses) = if key_of_before { (None, Some(&*new)) } else { (Some(&*new), None) };
        let refused = start(&setting, &data, refuses).err().expect("one key opens it");
        assert!(refused.contains("was sealed with key") || refused.contains("were sealed with key"), "{refused}");
        let hub = start(&setting, &data, opens).unwrap_or_else(|refused| panic!("step {step}: {refused}"));
        whole(&hub, &ann).await;
        assert!(hub.stop());
        proven(&setting, &data, &format!("export-{step}"));
    }

    // Cut short before any person's key was sealed anew, and then another key is asked for.
    copied(&setting, "thrice");
    assert_eq!(reseal(&setting, "thrice", Some(7)).0, None);
    let key = setting.text("thrice.key");
    let (code, told) = reseal_to(&setting, "thrice", "third.key", &["--key", &key], None);
    assert!(code == Some(0) && told.contains("1 keys of personal data"), "{told}");
    let hub = start(&setting, "thrice", Some("third.key")).unwrap_or_else(|refused| panic!("{refused}"));
    whole(&hub, &ann).await;
    assert!(hub.stop());

    // Cut short and asked for again, rather than started.
    copied(&setting, "again");
    assert_eq!(reseal(&setting, "again", Some(4)).0, None);
    let (code, told) = reseal(&setting, "again", None);
    assert!(code == Some(0) && told.contains("2 secrets and 1 keys of personal data are sealed"), "{told}");
    let (code, twice) = reseal(&setting, "again", None);
    assert!(code == Some(0), "again changes nothing: {twice}");
    let hub = start(&setting, "again", Some("again.key")).unwrap_or_else(|refused| panic!("{refused}"));
    let (_, audit) = hub.get("/v1/audit?action=secret").await;
    let records = audit["records"].as_array().unwrap();
    let of = |action: &str| records.iter().filter(|record| record["action"] == action).count();
    assert_eq!((of("secrets-key.reseal"), of("secret.reseal")), (1, 2), "{audit:#}");
    let key = records.iter().find(|record| record["action"] == "secrets-key.reseal").unwrap();
    assert_eq!((&key["actor"], &key["reason"]), (&json!("operator:offline"), &json!("it may have been seen")));
    whole(&hub, &ann).await;
}
