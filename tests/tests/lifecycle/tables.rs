//! A table's promotion, and the runs of pipelines that do not take what serves from then on.

use super::*;

const TABLE: &str = "test/flags";

/// Waits to be told, and is given the table at a range.
fn taking(version: &str, range: &str) -> String {
    format!(
        "{}  - id: flag\n    rule: test/judge@^1\n    tables: {{ flags: \"{TABLE}@{range}\" }}\n    with: {{ flag: \"${{ \
         tables.flags['A'].value }}\" }}\n",
        pipeline(version, true, &[])
    )
}

/// Drafts, approves and promotes rows.
fn serve(hub: &Hub, setting: &Setting, version: &str, value: &str) {
    let rows = json!({"key": "sku", "version": version, "rows": [{"sku": "A", "value": value}]});
    let file = setting.write(&format!("flags-{version}.json"), &rows.to_string());
    let named = format!("{TABLE}@{version}");
    done(hub, "ann", &["table", "draft", TABLE, &file]);
    done(hub, "bob", &["table", "approve", &named]);
    done(hub, "ann", &["table", "promote", &named]);
}

/// Which version of the table a run was given, once it has completed.
async fn given(hub: &Hub, key: &str) -> (String, String) {
    sent(hub, key, "test.paid.v1").await;
    let run = run_that(hub, key, |run| run["state"] == "completed" || run["state"] == "parked").await;
    assert_eq!(run["state"], "completed", "{run:#}");
    let flag = run["steps"].as_array().unwrap().iter().find(|step| step["path"] == "flag").unwrap();
    let version = flag["tables"][0]["version"].as_str().unwrap().to_owned();
    (run["pipeline_version"].as_str().unwrap().to_owned(), version)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_of_a_version_that_does_not_take_the_new_rows_go_on_with_those_of_before() {
    let setting = Setting::new();
    let hub = setting.hub();
    serve(&hub, &setting, "1.0.0", "first");
    bring_in(&hub, &setting, "1.0.0", &taking("1.0.0", "^1"));
    for key in ["old-1", "old-2", "old-3"] {
        sent(&hub, key, EVENT).await;
        run_that(&hub, key, |run| run["state"] == "waiting").await;
    }
    serve(&hub, &setting, "1.1.0", "second");
    bring_in(&hub, &setting, "1.1.0", &taking("1.1.0", ">=1, <3"));
    serve(&hub, &setting, "2.0.0", "third");
    sent(&hub, "new", EVENT).await;

    let pair = |pipeline: &str, table: &str| (pipeline.to_owned(), table.to_owned());
    assert_eq!(given(&hub, "new").await, pair("1.1.0", "2.0.0"));
    assert_eq!(given(&hub, "old-1").await, pair("1.0.0", "1.1.0"), "the latest that it takes");
    // Nothing starts on what is not taken from what serves.
    refused(
        &hub,
        "ann",
        &["pipeline", "promote", "test/orders@1.0.0"],
        &["serves 2.0.0, and this pipeline takes `^1`"],
    );
    hub.kill();
    let hub = setting.hub();
    assert_eq!(given(&hub, "old-2").await, pair("1.0.0", "1.1.0"), "after a crash as well");

    // What was put away is given to nobody: then what it took before that.
    done(&hub, "ann", &["table", "retire", "test/flags@1.1.0"]);
    assert_eq!(given(&hub, "old-3").await, pair("1.0.0", "1.0.0"));
    assert!(hub.stop());
}
