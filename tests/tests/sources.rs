//! Webhook sources from the outside: set over the command line, agreed to, signed for, rotated, removed; through `kill -9`
//! and against what hub.toml says.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

use std::{fs, process::Command};

use crossdock::sandbox::shop::signature;
use crossdock_tests::{hub::Hub, retail::Retail, said::Said};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");
const JSON: (&str, &str) = ("content-type", "application/json");
const SIGNATURE: &str = "x-shopify-hmac-sha256";

/// Runs a command as the admin, with something on its standard input.
fn crossdock(hub: &Hub, arguments: &[&str], input: Option<&str>) -> Said {
    let mut command = Command::new(BINARY);
    command.args(arguments).args(["--hub", &hub.url, "--token-file", &hub.token_file, "--reason", "tests"]);
    command.env("NO_COLOR", "1").env_remove("CROSSDOCK_TOKEN");
    Said::given(&mut command, input.unwrap_or_default())
}

/// The same for what changes nothing, and so has no reason.
fn look(hub: &Hub, arguments: &[&str]) -> Said {
    let mut command = Command::new(BINARY);
    command.args(arguments).args(["--hub", &hub.url, "--token-file", &hub.token_file]);
    command.env("NO_COLOR", "1").env_remove("CROSSDOCK_TOKEN");
    Said::by(&mut command)
}

#[track_caller]
fn refused(said: &Said, part: &str) {
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    assert!(said.err.contains(part), "no `{part}` in {}", said.err);
}

/// What a source is, as the API takes it.
fn source(uri: &str, secret: &str) -> Value {
    json!({
        "plugin": "crossdock/shopify-order", "source": uri, "types": ["retail.order.placed.v1"], "secret": secret,
    })
}

/// Delivers a new order, signed with a secret; the status, the answer, and the order's number.
async fn deliver(retail: &Retail, hub: &Hub, name: &str, secret: &str) -> (StatusCode, Value, String) {
    let webhook = retail.retailer.shop.ordinary();
    let url = format!("{}/v1/webhooks/{name}", hub.url);
    let mut request = retail.retailer.shop.request(&url, &webhook).unwrap();
    let signed = HeaderValue::from_str(&signature(secret, &webhook.body)).unwrap();
    request.headers_mut().insert(SIGNATURE, signed);
    let response = hub.send(request).await.unwrap();
    let key = webhook.order.unwrap().name.trim_start_matches('#').to_owned();
    (response.status(), serde_json::from_slice(response.body()).unwrap(), key)
}

async fn taken(retail: &Retail, hub: &Hub, name: &str, secret: &str) -> String {
    let (status, answer, key) = deliver(retail, hub, name, secret).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer:#}");
    key
}

async fn not_taken(retail: &Retail, hub: &Hub, name: &str, secret: &str, code: &str) {
    let (_, answer, _) = deliver(retail, hub, name, secret).await;
    assert_eq!(answer["code"], code, "{answer:#}");
}

async fn change(hub: &Hub, name: &str, body: Value) -> (StatusCode, Value) {
    let mut body = body;
    body["reason"] = json!("tests");
    hub.post(&format!("/v1/sources/{name}"), &[JSON], body.to_string()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_added_by_two_outlives_a_kill_and_is_gone_when_it_is_removed() {
    let retail = Retail::start(BINARY).await;
    let hub = retail.hub();
    crossdock(&hub, &["secret", "set", "shop-us"], Some("first")).done();
    let file = retail.folder.path().join("shop-us.toml");
    let text = "plugin = \"crossdock/shopify-order\"\nsource = \"/shops/us-1\"\ntypes = [\"retail.order.placed.v1\"]\n\
                secret = \"store:shop-us\"\n";
    fs::write(&file, text).unwrap();
    let add = ["source", "add", "shop-us", "--file", &file.display().to_string()];
    let proposed = crossdock(&hub, &add, None).done().to_owned();
    for because in ["events come in as `/shops/us-1`", "`retail.order.placed.v1` come in", "`store:shop-us` is let in"]
    {
        assert!(proposed.contains(because), "no `{because}` in {proposed}");
    }
    // Nobody agrees alone, and until somebody else does there is no such source.
    let id = format!("set_{}", &proposed.split_once("set_").unwrap().1[..12]);
    refused(&crossdock(&hub, &["plugin", "approve", &id], None), "somebody else has to agree");
    not_taken(&retail, &hub, "shop-us", "first", "webhook.unknown-source").await;
    assert!(hub.agree(&proposed).contains("webhook source `shop-us` is set"));

    let order = taken(&retail, &hub, "shop-us", "first").await;
    let runs = hub.runs_until(&order, |runs| runs.len() == 1).await;
    let (_, run) = hub.get(&format!("/v1/runs/{}", runs[0]["id"].as_str().unwrap())).await;
    assert_eq!(run["event"]["source"], "/shops/us-1", "{run:#}");
    not_taken(&retail, &hub, "shop-us", "guessed", "webhook.signature").await;

    hub.kill();
    let hub = retail.hub();
    taken(&retail, &hub, "shop-us", "first").await;
    let shown = look(&hub, &["source", "show", "shop-us"]);
    for part in ["POST /v1/webhooks/shop-us", "store:shop-us", SIGNATURE, "the API; hub.toml does not declare it"] {
        assert!(shown.done().contains(part), "no `{part}` in {}", shown.out);
    }
    assert!(look(&hub, &["source", "list"]).done().contains("/shops/us-1"));
    let impact = look(&hub, &["plugin", "impact", "crossdock/shopify-order"]);
    assert!(impact.done().contains("webhook sources: shop, shop-us"), "{}", impact.out);

    let remove = ["source", "remove", "shop-us"];
    refused(&crossdock(&hub, &["secret", "remove", "shop-us"], None), "is used by webhook source `shop-us`");
    assert!(crossdock(&hub, &remove, None).done().contains("answered 404"));
    not_taken(&retail, &hub, "shop-us", "first", "webhook.unknown-source").await;
    refused(&crossdock(&hub, &remove, None), "there is no webhook source `shop-us`");
    crossdock(&hub, &["secret", "remove", "shop-us"], None).done();
    let (_, audit) = hub.get("/v1/audit?subject=source/shop-us").await;
    let records = audit["records"].as_array().unwrap();
    let told: Vec<_> = records.iter().map(|one| (one["action"].as_str().unwrap(), &one["actor"])).collect();
    assert_eq!(told, [("source.remove", &json!("tests")), ("source.add", &json!("second"))], "{audit:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_delivery_is_lost_while_a_secret_takes_the_place_of_another() {
    let retail = Retail::start(BINARY).await;
    let hub = retail.hub();
    for (name, value) in [("one", "first"), ("two", "other")] {
        crossdock(&hub, &["secret", "set", name], Some(value)).done();
    }
    let (status, proposed) =
        change(&hub, "us", json!({ "do": "add", "source": source("/shops/us-1", "store:one") })).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{proposed:#}");
    hub.agree(&proposed.to_string());

    // Another value: the shop signs with the old one until it is told, and with the new one from then on.
    let rotated = crossdock(&hub, &["secret", "rotate", "one"], Some("second"));
    assert!(rotated.done().contains("what the value of before signs is taken too"), "{}", rotated.out);
    taken(&retail, &hub, "us", "first").await;
    taken(&retail, &hub, "us", "second").await;
    hub.kill();
    let hub = retail.hub();
    taken(&retail, &hub, "us", "first").await;
    taken(&retail, &hub, "us", "second").await;
    crossdock(&hub, &["secret", "confirm", "one"], None).done();
    not_taken(&retail, &hub, "us", "first", "webhook.signature").await;
    taken(&retail, &hub, "us", "second").await;
    // Unless whoever rotates says that the old one is out.
    crossdock(&hub, &["secret", "rotate", "one", "--keep", "0"], Some("third")).done();
    not_taken(&retail, &hub, "us", "second", "webhook.signature").await;
    taken(&retail, &hub, "us", "third").await;

    // Another secret: the same, once a second person has agreed to it.
    let proposed =
        crossdock(&hub, &["source", "rotate", "us", "--to", "store:two", "--keep", "600"], None).done().to_owned();
    assert!(proposed.contains("whoever signs with `store:two` is let in"), "{proposed}");
    not_taken(&retail, &hub, "us", "other", "webhook.signature").await;
    let agreed = hub.agree(&proposed);
    assert!(agreed.contains("signed with `store:one` are taken for 600 s more"), "{agreed}");
    taken(&retail, &hub, "us", "other").await;
    taken(&retail, &hub, "us", "third").await;
    hub.kill();
    let hub = retail.hub();
    taken(&retail, &hub, "us", "third").await;
    not_taken(&retail, &hub, "us", "first", "webhook.signature").await;
    refused(&crossdock(&hub, &["secret", "remove", "one"], None), "is used by webhook source `us`");
    assert!(look(&hub, &["source", "show", "us"]).done().contains("store:one, until"));
    // What is taken anyway may have its place back without anybody else.
    let back = crossdock(&hub, &["source", "rotate", "us", "--to", "store:one"], None);
    assert!(back.done().contains("done"), "{}", back.out);
    crossdock(&hub, &["source", "rotate", "us", "--to", "store:two"], None).done();
    // A door is closed whatever has become of the plugin behind it.
    let revoke = ["plugin", "revoke", "crossdock/shopify-order", "1.0.0", "--yes"];
    crossdock(&hub, &revoke, None).done();
    crossdock(&hub, &["source", "confirm", "us"], None).done();
    let restored = crossdock(&hub, &["plugin", "restore", "crossdock/shopify-order", "1.0.0"], None);
    let id = format!("chg_{}", &restored.done().split_once("chg_").unwrap().1[..12]);
    let approve = json!({ "approved": true, "reason": "agreed" }).to_string();
    let (status, made) = hub.post_as("second", &format!("/v1/changes/{id}/decision"), &[JSON], approve).await;
    assert_eq!(status, StatusCode::OK, "{made:#}");
    not_taken(&retail, &hub, "us", "third", "webhook.signature").await;
    taken(&retail, &hub, "us", "other").await;
    crossdock(&hub, &["secret", "remove", "one"], None).done();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_set_over_the_api_holds_against_the_file_until_somebody_takes_that_back() {
    let retail = Retail::start(BINARY).await;
    let hub = retail.hub();
    let secret = fs::read_to_string(retail.folder.path().join("shop-webhook")).unwrap();
    taken(&retail, &hub, "shop", &secret).await;
    assert!(crossdock(&hub, &["source", "remove", "shop"], None).done().contains("hub.toml still declares it"));
    not_taken(&retail, &hub, "shop", &secret, "webhook.unknown-source").await;
    hub.kill();
    let hub = retail.hub();
    not_taken(&retail, &hub, "shop", &secret, "webhook.unknown-source").await;
    assert!(look(&hub, &["source", "list"]).done().contains("no webhook sources"));

    let declared = crossdock(&hub, &["source", "change", "shop", "--declared"], None);
    hub.agree(declared.done());
    taken(&retail, &hub, "shop", &secret).await;
    let (_, shown) = hub.get("/v1/sources/shop").await;
    assert_eq!((&shown["origin"], &shown["declared"]), (&json!("file"), &json!("same")), "{shown:#}");

    // Less needs nobody else, and holds against the file as well.
    let file = format!("file:{}", retail.folder.path().join("shop-webhook").display());
    let mut smaller = source("/shops/eu-1", &file);
    smaller["body_bytes_limit"] = json!(10);
    let (status, made) = change(&hub, "shop", json!({ "do": "change", "source": smaller })).await;
    assert_eq!(status, StatusCode::OK, "{made:#}");
    not_taken(&retail, &hub, "shop", &secret, "body.too-large").await;
    hub.kill();
    let hub = retail.hub();
    not_taken(&retail, &hub, "shop", &secret, "body.too-large").await;
    let (_, shown) = hub.get("/v1/sources/shop").await;
    assert_eq!((&shown["origin"], &shown["declared"]), (&json!("api"), &json!("differs")), "{shown:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lets_in_more_waits_and_what_does_not_hold_changes_nothing() {
    let retail = Retail::start(BINARY).await;
    let hub = retail.hub();
    let file = format!("file:{}", retail.folder.path().join("shop-webhook").display());
    let with = |change: Value| {
        let mut source = source("/shops/eu-1", &file);
        source.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        source
    };
    for (wider, because) in [
        (json!({ "source": "/shops/eu-2" }), "events come in as `/shops/eu-2`"),
        (json!({ "secret": "env:PATH" }), "whoever signs with `env:PATH` is let in"),
    ] {
        let (status, proposed) = change(&hub, "shop", json!({ "do": "change", "source": with(wider) })).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{proposed:#}");
        assert_eq!(proposed["because"], json!([because]));
    }
    let own = format!("file:{}", hub.data.join("audit/hub.key").display());
    for (wrong, says) in [
        (json!({ "plugin": "acme/none" }), "`acme/none` is not installed"),
        (json!({ "plugin": "crossdock/fulfilment-policy" }), "declares no `[webhook]`"),
        (json!({ "types": ["retail.order.paid.v1"] }), "brings no events of type `retail.order.paid.v1`"),
        (json!({ "types": ["retail.*"] }), "`retail.*` is no event type"),
        (json!({ "types": [] }), "names no event type"),
        (json!({ "source": "/pipelines/retail/order-fulfilment" }), "events that the hub makes by itself"),
        (json!({ "config": { "nonsense": 1 } }), "the plugin takes no `config`"),
        (json!({ "secret": "store:none" }), "crossdock secret set none"),
        (json!({ "secret": own }), "data folder"),
        (json!({ "body_bytes_limit": 0 }), "`body_bytes_limit`"),
    ] {
        let (status, refused) = change(&hub, "shop", json!({ "do": "change", "source": with(wrong) })).await;
        assert_eq!((status.as_u16(), &refused["code"]), (422, &json!("setting.refused")), "{refused:#}");
        assert!(refused["detail"].as_str().unwrap().contains(says), "no `{says}` in {refused:#}");
    }
    for (wrong, says) in [
        (json!({ "do": "add", "source": with(json!({ "secret": "hush" })) }), "a secret is given by reference"),
        (json!({ "do": "rotate", "reference": "hush" }), "a secret is given by reference"),
        (json!({ "do": "rotate", "reference": "env:PATH", "keep_s": 99_999_999 }), "at most"),
    ] {
        let (status, refused) = change(&hub, "shop", wrong).await;
        assert_eq!((status.as_u16(), &refused["code"]), (400, &json!("request.invalid")), "{refused:#}");
        let text = refused.to_string();
        assert!(text.contains(says) && !text.contains("hush"), "{text}");
    }
    let add = json!({ "do": "add", "source": with(json!({})) });
    for (name, code) in [("a%20b", "request.invalid"), ("shop", "setting.conflict")] {
        let (_, refused) = change(&hub, name, add.clone()).await;
        assert_eq!(refused["code"], code, "{refused:#}");
    }
    let secret = fs::read_to_string(retail.folder.path().join("shop-webhook")).unwrap();
    taken(&retail, &hub, "shop", &secret).await;
    let (_, shown) = hub.get("/v1/sources/shop").await;
    assert_eq!((&shown["origin"], &shown["source"]), (&json!("file"), &json!("/shops/eu-1")), "{shown:#}");

    // Who sets connections does not let anybody in, nor does who only sees sources.
    let scoped = ["token", "create", "links", "--role", "operator", "--action", "connection.change", "--json"];
    let issued: Value = serde_json::from_str(look(&hub, &scoped).done()).unwrap();
    for token in [issued["token"].as_str().unwrap(), &hub.token_as("ret", "retailer")] {
        let headers = [JSON, ("authorization", &*format!("Bearer {token}"))];
        let (status, denied) = hub.post("/v1/sources/shop", &headers, r#"{"do":"remove"}"#).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{denied:#}");
    }
}
