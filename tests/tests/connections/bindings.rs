//! What a pipeline's names stand for, who may say so, and the runs that are under way meanwhile.

use super::*;

/// Two warehouses, of which a pipeline works with the old one, and a hub.
struct Two {
    old: Gatekeeper,
    new: Gatekeeper,
    setting: Setting,
    hub: Hub,
}

async fn two() -> Two {
    let (old, new) = (Gatekeeper::start("tok").await, Gatekeeper::start("tok").await);
    let setting = Setting::new("");
    fs::write(setting.at("token"), "tok").unwrap();
    let file = format!("file:{}", setting.at("token").display());
    let bound = "[bindings.\"test/stock\"]\nwms = \"old\"\n";
    setting.configure(&format!("{}{}{bound}", declared("old", &old.url, &file), declared("new", &new.url, &file)));
    let hub = setting.hub();
    Two { old, new, setting, hub }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_is_swapped_and_rolled_back_and_runs_end_with_what_they_began_with() {
    let Two { old, new, setting, hub } = two().await;
    begun(&hub, "r1").await;
    let refused = crossdock(&hub, &["pipeline", "bind", "test/stock", "erp=new", "--reason", "x"], None);
    assert!(refused.code == Some(1) && refused.err.contains("uses nothing named `erp`"), "{}", refused.err);
    let refused = crossdock(&hub, &["pipeline", "bind", "test/stock", "wms=none", "--reason", "x"], None);
    assert!(refused.code == Some(1) && refused.err.contains("`none` is not configured"), "{}", refused.err);

    let bind = json!({ "do": "bind", "names": { "wms": "new" }, "reason": "we move" });
    agreed(&hub, "/v1/pipelines/test/stock/bindings", bind).await;
    begun(&hub, "r2").await;
    assert_eq!((old.shown().len(), new.shown().len()), (1, 1), "a new run works with what is bound now");
    completed(&hub, "r1").await;
    assert_eq!((old.shown().len(), new.shown().len()), (2, 1), "an older one ends with what it began with");

    // Neither goes as long as it is needed.
    let refused = crossdock(&hub, &["connection", "remove", "new", "--reason", "x"], None);
    assert!(refused.err.contains("is bound in test/stock"), "{}", refused.err);
    crossdock(&hub, &["pipeline", "bind", "test/stock", "--rollback", "--reason", "too early"], None).done();
    begun(&hub, "r3").await;
    assert_eq!((old.shown().len(), new.shown().len()), (3, 1));
    let refused = crossdock(&hub, &["connection", "remove", "new", "--reason", "x"], None);
    assert!(refused.err.contains("1 runs that have not ended"), "{}", refused.err);

    // What was bound over the API is not what hub.toml says at the next start either.
    let (_, view) = hub.get("/v1/pipelines/test/stock/bindings").await;
    assert_eq!((&view["names"]["wms"]["connection"], &view["origin"]), (&json!("old"), &json!("api")), "{view:#}");
    assert!(hub.stop());
    let hub = setting.hub();
    completed(&hub, "r2").await;
    assert_eq!((old.shown().len(), new.shown().len()), (3, 2), "after a restart as well");
    crossdock(&hub, &["connection", "remove", "new", "--reason", "nobody needs it"], None).done();
    let (_, shown) = hub.get("/v1/connections/new").await;
    assert_eq!(shown["code"], "connection.unknown");
    let (_, audit) = hub.get("/v1/audit?subject=binding/test/stock").await;
    let actions: Vec<&str> =
        audit["records"].as_array().unwrap().iter().filter_map(|one| one["action"].as_str()).collect();
    assert_eq!(actions, ["binding.rollback", "binding.change", "binding.set"], "{audit:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_with_the_system_it_began_with_when_its_connection_moves() {
    let (old, new) = (Gatekeeper::start("tok").await, Gatekeeper::start("tok").await);
    let setting = Setting::new("");
    fs::write(setting.at("token"), "tok").unwrap();
    let file = format!("file:{}", setting.at("token").display());
    setting.configure(&format!("{}[bindings.\"test/stock\"]\nwms = \"wms\"\n", declared("wms", &old.url, &file)));
    let hub = setting.hub();
    begun(&hub, "r1").await;
    let change = json!({ "do": "change", "connection": connection(&new.url, &file), "reason": "we move" });
    agreed(&hub, "/v1/connections/wms", change).await;
    begun(&hub, "r2").await;
    assert_eq!((old.shown().len(), new.shown().len()), (1, 1));
    completed(&hub, "r1").await;
    assert_eq!((old.shown().len(), new.shown().len()), (2, 1));

    // hub.toml still says the old one, and does not take it back by itself.
    assert!(hub.stop());
    let hub = setting.hub();
    let log = fs::read_to_string(hub.data.with_extension("log")).unwrap();
    assert!(log.contains("hub.toml declares it in another way"), "{log}");
    let shown = crossdock(&hub, &["connection", "show", "wms"], None);
    assert!(shown.done().contains("hub.toml declares something else"), "{}", shown.out);
    completed(&hub, "r2").await;
    assert_eq!((old.shown().len(), new.shown().len()), (2, 2));
    agreed(&hub, "/v1/connections/wms", json!({ "do": "declared", "reason": "we stay" })).await;
    begun(&hub, "r3").await;
    assert_eq!((old.shown().len(), new.shown().len()), (3, 2));
    let (_, shown) = hub.get("/v1/connections/wms").await;
    assert_eq!((&shown["origin"], &shown["declared"]), (&json!("file"), &json!("same")), "{shown:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_change_pipelines_only_binds_none_agrees_to_no_binding_and_partners_see_none() {
    let Two { hub, old: _old, new: _new, setting: _setting } = two().await;
    let path = "/v1/pipelines/test/stock/bindings";
    let bind = json!({ "do": "bind", "names": { "wms": "new" }, "reason": "we move" });
    let retailer = hub.token_as("rita", "retailer");
    let (status, refused) = as_whom(&hub, &retailer, "POST", path, bind.clone()).await;
    assert_eq!((status, &refused["code"]), (StatusCode::FORBIDDEN, &json!("access.denied")), "{refused:#}");
    let (status, proposed) = post(&hub, path, bind).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{proposed:#}");
    let decision = format!("/v1/changes/{}/decision", proposed["id"].as_str().unwrap());
    let approve = json!({ "approved": true, "reason": "agreed" });
    // What a connection may do is an operator's to say, what a pipeline does a retailer's: neither is enough alone.
    for token in [&retailer, &hub.token_as("olga", "operator")] {
        let (status, refused) = as_whom(&hub, token, "POST", &decision, approve.clone()).await;
        assert_eq!((status, &refused["code"]), (StatusCode::FORBIDDEN, &json!("access.denied")), "{refused:#}");
    }
    let (_, view) = hub.get(path).await;
    assert_eq!(view["names"]["wms"]["connection"], "old", "{view:#}");
    // Nor are connections a partner's business.
    for (token, sees) in [(&retailer, true), (&hub.token_as("paul", "partner"), false)] {
        let (status, changes) = as_whom(&hub, token, "GET", "/v1/changes", Value::Null).await;
        assert_eq!((status, changes["changes"].as_array().unwrap().len()), (StatusCode::OK, usize::from(sees)));
        let (status, shown) = as_whom(&hub, token, "GET", "/v1/pipelines/test/stock", Value::Null).await;
        let expected = if sees { json!({ "wms": "old" }) } else { Value::Null };
        assert_eq!((status, &shown["bindings"], &shown["active"]), (StatusCode::OK, &expected, &json!("1.0.0")));
    }
    let (status, made) = as_whom(&hub, &hub.token_as("ann", "admin"), "POST", &decision, approve).await;
    assert_eq!(status, StatusCode::OK, "{made:#}");
}

/// Drafts a version of a pipeline that uses these names, and has a second person approve it.
async fn approved(hub: &Hub, pipeline: &str, version: &str, names: &[&str]) {
    let uses: Vec<String> = names.iter().map(|name| format!("{name}: retail/warehouse@1")).collect();
    let steps: String = names
        .iter()
        .map(|name| {
            format!(
                "  - id: {name}\n    call: {name}#availability\n    with: {{ lines: [{{ sku: a, quantity: 1 }}] }}\n"
            )
        })
        .collect();
    let text = format!(
        "pipeline: {pipeline}\nversion: {version}\nowner: tests\nsummary: Asks warehouses.\nuses: {{ {} }}\ntrigger: [{{ \
         event: test.stock.v1 }}]\nkey: event.subject\nsteps:\n{steps}",
        uses.join(", ")
    );
    let path = format!("/v1/pipelines/{pipeline}");
    let (status, drafted) =
        hub.post(&format!("{path}?reason=more"), &[("content-type", "application/yaml")], text).await;
    assert_eq!(status, StatusCode::CREATED, "{drafted:#}");
    let approve = json!({ "do": "approve", "version": version, "reason": "read" });
    let ann = hub.token_as("ann", "admin");
    let (status, made) = as_whom(hub, &ann, "POST", &format!("{path}/control"), approve).await;
    assert_eq!(status, StatusCode::OK, "{made:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_binds_only_what_is_unbound_and_reaches_no_further() {
    let Two { hub, old: _old, new: _new, setting: _setting } = two().await;
    let promote = |what: &str, bind: &[&str]| {
        let mut arguments = vec!["pipeline", "promote", what, "--reason", "x"];
        arguments.extend(bind.iter().flat_map(|bind| ["--bind", *bind]));
        crossdock(&hub, &arguments, None)
    };
    let shown = async || {
        let (_, shown) = hub.get("/v1/pipelines/test/stock").await;
        (shown["active"].clone(), shown["bindings"].clone())
    };
    approved(&hub, "test/stock", "1.1.0", &["wms", "spare"]).await;
    let refused = promote("test/stock@1.1.0", &["wms=new", "spare=old"]);
    assert!(refused.code == Some(1) && refused.err.contains("a promotion rebinds nothing"), "{}", refused.err);
    assert!(refused.err.contains("crossdock pipeline bind test/stock wms=new"), "{}", refused.err);
    let refused = promote("test/stock@1.1.0", &["spare=new"]);
    assert!(refused.code == Some(1) && refused.err.contains("a second person has to agree"), "{}", refused.err);
    assert!(refused.err.contains("crossdock pipeline bind test/stock spare=new"), "{}", refused.err);
    assert_eq!(shown().await, (json!("1.0.0"), json!({ "wms": "old" })), "nothing has changed");

    // What it says to do leads there, before any version that uses the name serves.
    let bind = |names: Value| json!({ "do": "bind", "names": names, "reason": "x" });
    agreed(&hub, "/v1/pipelines/test/stock/bindings", bind(json!({ "spare": "new" }))).await;
    promote("test/stock@1.1.0", &[]).done();
    assert_eq!(shown().await, (json!("1.1.0"), json!({ "wms": "old", "spare": "new" })));
    // What reaches no further needs nobody else, and a rollback leaves a name that nobody uses.
    approved(&hub, "test/stock", "1.2.0", &["wms", "spare", "third"]).await;
    promote("test/stock@1.2.0", &["third=old"]).done();
    assert_eq!(shown().await, (json!("1.2.0"), json!({ "wms": "old", "spare": "new", "third": "old" })));
    crossdock(&hub, &["pipeline", "rollback", "test/stock", "--reason", "x"], None).done();
    assert_eq!(shown().await.0, "1.1.0");

    // So does a pipeline of which no version has served.
    approved(&hub, "test/fresh", "1.0.0", &["wms"]).await;
    let refused = promote("test/fresh@1.0.0", &["wms=new"]);
    assert!(refused.code == Some(1) && refused.err.contains("a second person has to agree"), "{}", refused.err);
    let (status, wrong) = post(&hub, "/v1/pipelines/test/fresh/bindings", bind(json!({ "erp": "new" }))).await;
    assert_eq!((status.as_u16(), &wrong["code"]), (422, &json!("setting.refused")), "{wrong:#}");
    let (status, wrong) = post(&hub, "/v1/pipelines/test/fresh/bindings", bind(json!({ "wms": "none" }))).await;
    assert_eq!((status.as_u16(), &wrong["code"]), (422, &json!("setting.refused")), "{wrong:#}");
    agreed(&hub, "/v1/pipelines/test/fresh/bindings", bind(json!({ "wms": "new" }))).await;
    let (_, view) = hub.get("/v1/pipelines/test/fresh/bindings").await;
    assert_eq!(view["names"]["wms"]["connection"], "new", "{view:#}");
    promote("test/fresh@1.0.0", &[]).done();
}
