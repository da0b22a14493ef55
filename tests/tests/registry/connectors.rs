//! Versions of a connector: what widens takes two people, and what serves is what a connection is bound to.

use super::*;

/// Another version of the warehouse's connector, with other words in its manifest.
fn warehouse(setting: &Setting, version: &str, from: &str, to: &str) -> PathBuf {
    let package = packages::package("sandbox-warehouse");
    let folder = setting.folder.path().join(format!("warehouse-{version}"));
    fs::create_dir_all(folder.join("schemas")).unwrap();
    for name in ["component.wasm", "schemas/config.json"] {
        fs::copy(package.join(name), folder.join(name)).unwrap();
    }
    let manifest = fs::read_to_string(package.join("plugin.toml")).unwrap();
    let manifest = manifest.replace("version = \"1.0.0\"", &format!("version = \"{version}\""));
    assert!(manifest.contains(from), "`{from}` is not in\n{manifest}");
    fs::write(folder.join("plugin.toml"), manifest.replace(from, to)).unwrap();
    folder
}

#[tokio::test]
async fn connections_are_served_by_the_bound_version_and_what_widens_takes_two() {
    const WAREHOUSE: &str = "crossdock/sandbox-warehouse";
    let (setting, remote) = (Setting::new(), Remote::start().await);
    let pipeline = setting.folder.path().join("ask.yaml");
    let text = "pipeline: test/ask\nversion: 1.0.0\nowner: wms-team\nsummary: Asks.\nuses: { wms: retail/warehouse@1 }\n\
        trigger: [{ event: test.order.v1 }]\nkey: event.subject\nsteps:\n  - id: ask\n    call: wms#availability\n    \
        with: { lines: [{ sku: '${ event.subject }', quantity: 1 }] }\n";
    fs::write(&pipeline, text).unwrap();
    let first = packages::package("sandbox-warehouse");
    let config = format!(
        "plugins = [{first:?}]\npipelines = [{pipeline:?}]\n[connections.main]\nplugin = \"{WAREHOUSE}\"\nbase_url = \
         \"{}\"\nallow_addresses = [\"127.0.0.1/32\"]\n[bindings.\"test/ask\"]\nwms = \"main\"\n",
        remote.url
    );
    fs::write(setting.folder.path().join("hub.toml"), config).unwrap();
    let hub = setting.hub();
    let served = |run: &Value| run["steps"][0]["plugin"]["version"].as_str().unwrap_or_default().to_owned();
    assert_eq!(served(&run_of(&hub, "a").await), "1.0.0");

    let narrow = warehouse(&setting, "1.1.0", "\"DELETE\"]", "\"DELETE\"] # the same");
    done(&hub, "ada", &["plugin", "publish", narrow.to_str().unwrap()]);
    let said = refused(&hub, "ada", &["plugin", "shadow", WAREHOUSE, "1.1.0"]);
    assert!(said.contains("a connector cannot be shadowed"), "{said}");
    done(&hub, "ada", &["plugin", "canary", WAREHOUSE, "1.1.0", "--percent", "50"]);
    let mut seen = BTreeSet::new();
    for key in 0..16 {
        let run = run_of(&hub, &format!("key-{key}")).await;
        assert_eq!(run["state"], "completed", "{run:#}");
        seen.insert(served(&run));
    }
    assert_eq!(seen, ["1.0.0", "1.1.0"].map(str::to_owned).into(), "each serves some keys");
    done(&hub, "ada", &["plugin", "promote", WAREHOUSE, "1.1.0"]);
    assert_eq!(served(&run_of(&hub, "b").await), "1.1.0");
    let impact = done(&hub, "ada", &["plugin", "impact", WAREHOUSE, "1.1.0"]);
    for part in ["test/ask@1.0.0", "wms-team", "connections: main"] {
        assert!(impact.contains(part), "`{part}` is not in\n{impact}");
    }

    let wide = warehouse(&setting, "1.2.0", "\"DELETE\"]", "\"DELETE\", \"PATCH\"]");
    done(&hub, "ada", &["plugin", "publish", wide.to_str().unwrap()]);
    let said = done(&hub, "ada", &["plugin", "promote", WAREHOUSE, "1.2.0"]);
    assert!(
        said.contains("it asks for more than before: it may now send PATCH requests to `${connection.base_url}`"),
        "{said}"
    );
    assert_eq!(served(&run_of(&hub, "c").await), "1.1.0", "nothing has changed yet");
    let explained = done(&hub, "ada", &["plugin", "explain", WAREHOUSE, "1.2.0"]);
    for part in ["http PATCH http://127.0.0.1", "the connection has no `auth`"] {
        assert!(explained.contains(part), "`{part}` is not in\n{explained}");
    }
    let (_, changes) = hub.get("/v1/changes").await;
    let id = changes["changes"][0]["id"].as_str().unwrap().to_owned();
    done(&hub, "ada", &["plugin", "decline", &id]);
    done(&hub, "ada", &["plugin", "promote", WAREHOUSE, "1.2.0"]);
    let (_, changes) = hub.get("/v1/changes").await;
    assert_eq!(changes["changes"][1]["state"]["state"], "rejected", "{changes:#}");
    done(&hub, "eve", &["plugin", "approve", changes["changes"][0]["id"].as_str().unwrap()]);
    assert_eq!(served(&run_of(&hub, "d").await), "1.2.0");

    assert!(hub.stop());
    let hub = setting.hub();
    assert_eq!(served(&run_of(&hub, "e").await), "1.2.0", "the configuration does not take it back");
    done(&hub, "ada", &["plugin", "rollback", WAREHOUSE]);
    assert_eq!(served(&run_of(&hub, "f").await), "1.1.0");
}
