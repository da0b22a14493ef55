//! Which versions decided an order, who allowed each, and what they could touch.

use super::*;

/// The step of the first run about an order, as `audit explain` tells it.
fn explained(hub: &Hub, key: &str, path: &str) -> Value {
    let said =
        crossdock(&["--json", "audit", "explain", "--key", key, "--hub", &hub.url, "--token-file", &hub.token_file]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let steps = json(&said)["runs"][0]["steps"].as_array().expect("steps").clone();
    steps.into_iter().find(|step| step["path"] == path).unwrap_or_else(|| panic!("no step `{path}`: {}", said.out))
}

#[tokio::test]
async fn an_order_is_explained_by_what_was_granted_then_and_not_by_what_is_granted_now() {
    let retail = Retail::start(BINARY).await;
    let hub = retail.hub();
    let mut keys = Vec::new();
    let order = async |hub: &crossdock_tests::hub::Hub| -> String {
        let webhook = retail.retailer.shop.ordinary();
        let key = webhook.order.as_ref().expect("an order").name.trim_start_matches('#').to_owned();
        retail.deliver(hub, &webhook).await.expect("answered");
        hub.runs_until(&key, |runs: &[Value]| runs.len() == 1 && runs[0]["state"] == "completed").await;
        key
    };
    keys.push(order(&hub).await);
    assert!(hub.stop());
    // Somebody lets the connection reach more.
    let config = fs::read_to_string(retail.config()).unwrap();
    let wider = config.replacen("[\"127.0.0.1/32\"]", "[\"127.0.0.1/32\", \"10.0.0.0/8\"]", 1);
    assert_ne!(config, wider);
    fs::write(retail.config(), wider).unwrap();
    let hub = retail.hub();
    keys.push(order(&hub).await);

    let steps: Vec<Value> = keys.iter().map(|key| explained(&hub, key, "erp_order")).collect();
    let addresses = |step: &Value| step["connection"]["allow_addresses"].as_array().expect("addresses").len();
    assert_eq!((addresses(&steps[0]), addresses(&steps[1])), (1, 2), "each by its own grant");
    assert!(steps[1]["plugin"]["grant"].as_u64() > steps[0]["plugin"]["grant"].as_u64());
    let granted = |step: &Value| step["connection"]["granted_by"]["sequence"].as_u64().expect("a record");
    assert!(granted(&steps[1]) > granted(&steps[0]));
    for step in &steps {
        assert_eq!(step["connection"]["name"], "erp");
        assert_eq!(step["installed_by"]["action"], "plugin.install");
        let http = &step["touches"]["http"][0];
        assert!(http["origin"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{http:#}");
        assert!(http["methods"].as_array().unwrap().iter().any(|method| method == "POST"), "{http:#}");
        let secret = step["touches"]["secrets"][0].as_str().unwrap();
        assert!(secret.contains("erp-password"), "by reference: {secret}");
    }
    let plan = explained(&hub, &keys[0], "plan");
    assert_eq!((&plan["connection"], &plan["touches"]["http"]), (&Value::Null, &serde_json::json!([])), "{plan:#}");
    assert_eq!(plan["decision"], "proceed");

    let said = crossdock(&["audit", "explain", "--key", &keys[0], "--hub", &hub.url, "--token-file", &hub.token_file]);
    for says in ["accepted by operator:config", "nothing but its input", "could touch: ", "never seen by the plugin"] {
        assert!(said.out.contains(says), "{} does not say {says}", said.out);
    }
    let said = crossdock(&["audit", "explain", "--key", "nothing", "--hub", &hub.url, "--token-file", &hub.token_file]);
    assert!(said.code == Some(1) && said.err.contains("run list"), "{}", said.err);

    // What ended so long ago that it is in the archive, and not listed any more, is explained as it was.
    assert!(hub.stop());
    let data = retail.data().display().to_string();
    assert_eq!(crossdock(&["archive", "run", "--data", &data, "--older-than", "0s"]).code, Some(0));
    let hub = retail.hub();
    let (_, listed) = hub.get(&format!("/v1/runs?key={}", keys[0])).await;
    assert_eq!(listed["runs"], serde_json::json!([]), "{listed:#}");
    for (key, step) in keys.iter().zip(&steps) {
        assert_eq!(&explained(&hub, key, "erp_order"), step);
    }
    assert!(hub.stop());
    let dropped = ["archive", "run", "--data", &data, "--older-than", "0s", "--drop-older-than", "0s"];
    assert_eq!(crossdock(&dropped).code, Some(0));
    let hub = retail.hub();
    let said = crossdock(&["audit", "explain", "--key", &keys[0], "--hub", &hub.url, "--token-file", &hub.token_file]);
    assert!(said.code == Some(1) && said.err.contains("archives that have been dropped"), "{}", said.err);
}
