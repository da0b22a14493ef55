//! Rule 35: enrolment is the first audit record. What may stand before it is what nobody did over the network: which key
//! signs the log and which release writes it, as the hub finds them, and what the machine's operator declares in `hub.toml`.

use super::*;

/// The audit log, oldest first: who did what.
async fn log(hub: &Hub) -> Vec<(String, String)> {
    let (status, audit) = hub.get("/v1/audit?limit=1000").await;
    assert_eq!(status, StatusCode::OK, "{audit:#}");
    let records = audit["records"].as_array().unwrap().iter().rev();
    let field = |record: &Value, name: &str| record[name].as_str().unwrap().to_owned();
    records.map(|record| (field(record, "actor"), field(record, "action"))).collect()
}

/// Asks for whatever changes something, in every way that there is without a token of the hub.
async fn knock(hub: &Hub) {
    let tries = [
        ("/v1/webhooks/shop", "{}"),
        ("/v1/events", "{}"),
        ("/v1/sources/shop", r#"{"do":"remove","reason":"x"}"#),
        ("/v1/secrets/shop", r#"{"do":"set","value":"x","reason":"x"}"#),
        ("/v1/tokens", r#"{"name":"eve","roles":["admin"]}"#),
    ];
    let headers = [JSON[0], ("authorization", "Bearer crossdock_0000000000000000_guessed")];
    for (path, body) in tries {
        let (status, problem) = hub.post(path, &headers, body).await;
        assert_eq!((status.as_u16(), &problem["code"]), (401, &json!("auth.required")), "{path}: {problem:#}");
    }
    let guessed = json!({ "token": "guessed", "name": "eve" }).to_string();
    let (status, problem) = hub.post("/v1/enroll", &headers, guessed).await;
    assert!(status.is_client_error(), "{problem:#}");
}

#[tokio::test]
async fn nothing_that_anybody_did_over_the_network_stands_before_the_first_admin_in_the_audit_log() {
    let folder = tempfile::tempdir().unwrap();
    let own = [("hub", "key.make"), ("hub", "hub.release")];
    let enrolled = ("enrolment", "hub.enroll");
    let same = |log: &[(String, String)], expected: &[(&str, &str)]| {
        let log: Vec<_> = log.iter().map(|(actor, action)| (actor.as_str(), action.as_str())).collect();
        assert_eq!(log, expected);
    };

    // With nothing declared.
    let data = folder.path().join("bare");
    let hub = Hub::launch(BINARY, &data, &[]);
    knock(&hub).await;
    let said = crossdock(&["enroll", "--name", "ann", "--data", text(&data), "--hub", &hub.url]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    same(&log(&hub).await, &[own[0], own[1], enrolled]);

    // With a configuration, which its first start applies, and a second start before anybody is enrolled.
    let data = folder.path().join("declared");
    let config = folder.path().join("hub.toml");
    let plugin = crossdock_tests::packages::package("shopify-order");
    let source = "[sources.shop]\nplugin = \"crossdock/shopify-order\"\nsource = \"/shops/eu-1\"\n\
                  types = [\"retail.order.placed.v1\"]\nsecret = \"env:PATH\"\n";
    fs::write(&config, format!("plugins = [{plugin:?}]\n{source}")).unwrap();
    let hub = Hub::launch(BINARY, &data, &["--config", text(&config)]);
    knock(&hub).await;
    hub.kill();
    let hub = Hub::launch(BINARY, &data, &["--config", text(&config)]);
    knock(&hub).await;
    let said = crossdock(&["enroll", "--name", "ann", "--data", text(&data), "--hub", &hub.url]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let log = log(&hub).await;
    same(&log[..2], &own);
    let (_, last) = log.split_at(log.len() - 1);
    same(last, &[enrolled]);
    let declared = &log[2..log.len() - 1];
    assert!(declared.iter().any(|(_, action)| action == "source.set"), "{declared:?}");
    for (actor, action) in declared {
        assert!(actor == "operator:config", "`{actor}` did `{action}` before anybody was enrolled");
    }
}
