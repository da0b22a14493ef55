//! What is in use does not go, and whoever wants it to go is told what uses it.

use super::*;

fn remove(hub: &Hub, what: &str, name: &str) -> Said {
    crossdock(hub, &[what, "remove", name, "--reason", "nobody needs it"], None)
}

#[track_caller]
fn kept(said: &Said, parts: &[&str]) {
    assert_eq!(said.code, Some(1), "{}", said.out);
    for part in parts {
        assert!(said.err.contains(part), "no `{part}` in {}", said.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_stays_while_deliveries_are_signed_with_it_or_a_run_goes_on_with_what_showed_it() {
    let (old, new) = (Gatekeeper::start("tok-one").await, Gatekeeper::start("tok-two").await);
    let setting = Setting::new("");
    let hub = setting.hub();
    for (name, value) in [("old", "tok-one"), ("new", "tok-two"), ("acme", "sign")] {
        crossdock(&hub, &["secret", "set", name, "--reason", "x"], Some(value)).done();
    }
    let wanted = json!({"owner": "acme", "types": ["a"], "url": "https://acme.example", "secrets": ["store:acme"]});
    agreed(&hub, "/v1/subscriptions/acme-orders", json!({ "subscription": wanted, "reason": "x" })).await;
    kept(&remove(&hub, "secret", "acme"), &["is used by subscription `acme-orders`"]);
    assert!(crossdock(&hub, &["secret", "list"], None).done().contains("subscription `acme-orders`"));
    remove(&hub, "subscription", "acme-orders").done();
    remove(&hub, "secret", "acme").done();

    let add = json!({ "do": "add", "connection": connection(&old.url, "store:old"), "reason": "a warehouse" });
    agreed(&hub, "/v1/connections/wms", add).await;
    let bind = json!({ "do": "bind", "names": { "wms": "wms" }, "reason": "x" });
    agreed(&hub, "/v1/pipelines/test/stock/bindings", bind).await;
    let run = begun(&hub, "r1").await;
    let change = json!({ "do": "change", "connection": connection(&new.url, "store:new"), "reason": "we move" });
    agreed(&hub, "/v1/connections/wms", change).await;
    let parts = ["connection `wms` showed before it was changed", "1 runs", run["id"].as_str().unwrap()];
    kept(&remove(&hub, "secret", "old"), &parts);
    completed(&hub, "r1").await;
    assert_eq!((old.shown().len(), new.shown().len()), (2, 0), "it went on with what it began with");
    remove(&hub, "secret", "old").done();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_stays_and_implements_the_contract_while_reads_are_published_through_it() {
    let remote = Gatekeeper::start("tok").await;
    let setting = Setting::new("");
    fs::write(setting.at("token"), "tok").unwrap();
    let file = format!("file:{}", setting.at("token").display());
    let api = "[apis.\"retail/warehouse@1\"]\nconnection = \"wms\"\noperations = [\"availability\"]\n";
    let plugins = ["sandbox-warehouse", "sandbox-carrier"].map(packages::package);
    let text = format!("plugins = {plugins:?}\n{}{api}", declared("wms", &remote.url, &file));
    fs::write(setting.at("hub.toml"), text).unwrap();
    let hub = setting.hub();

    kept(&remove(&hub, "connection", "wms"), &["`retail/warehouse@1` is published through", "crossdock api withdraw"]);
    let mut other = connection(&remote.url, &file);
    other["plugin"] = json!("crossdock/sandbox-carrier");
    let change = json!({ "do": "change", "connection": other, "reason": "x" });
    let (status, refused) = post(&hub, "/v1/connections/wms", change.clone()).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{refused:#}");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("`retail/warehouse@1`") && detail.contains("does not implement it"), "{detail}");
    let (_, shown) = hub.get("/v1/connections/wms").await;
    assert_eq!(shown["plugin"], "crossdock/sandbox-warehouse", "{shown:#}");

    let withdraw = ["api", "withdraw", "retail/warehouse@1", "--reason", "nobody asks"];
    crossdock(&hub, &withdraw, None).done();
    let (status, proposed) = post(&hub, "/v1/connections/wms", change).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{proposed:#}");
    remove(&hub, "connection", "wms").done();
}
