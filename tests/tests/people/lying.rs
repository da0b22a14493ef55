//! Runs that people leave lying: listed as late, and taken on under a later version.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_people_leave_lying_is_listed_as_late() {
    let retail = setting(|text| text.replacen("\nkey:", "\nsla: { finish_within: 1s, warn_at: 1% }\nkey:", 1)).await;
    let hub = retail.hub();
    let (webhook, run) = asked(&retail, &hub).await;
    let begun = Instant::now();
    let promise = loop {
        let (_, listed) = hub.get("/v1/promises?standing=late").await;
        if let Some(promise) = listed["promises"].as_array().and_then(|promises| promises.first()) {
            break promise.clone();
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "the run is never late");
        tokio::task::yield_now().await;
    };
    assert_eq!((&promise["run"], &promise["key"]), (&run["id"], &json!(key(&webhook))));
    let said = cli(&hub, "ops", &["run", "late"]);
    good(&said);
    says(&said.out, &["approved-fulfilment", "late", "waiting"]);
    let metrics = hub.get("/metrics").await.1.as_str().unwrap_or_default().to_owned();
    let gauge = metrics.lines().find(|line| line.contains("crossdock_runs_not_in_time") && line.contains("\"late\""));
    assert!(gauge.is_some_and(|line| line.ends_with(" 1")), "{gauge:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_runs_go_on_under_a_later_version_that_mends_their_pipeline() {
    // The first version names a node that there is not.
    let retail = setting(|text| text.replace("plan: \"${ steps.plan }\"", "plan: { node: nowhere }")).await;
    let hub = retail.hub();
    let (webhook, run) = ordinary(&retail, &hub, "parked").await;
    assert_eq!(run["step"], "pick");
    let said = cli(&hub, "ops", &["run", "move", id(&run), "--to", "1.1.0"]);
    assert_eq!(said.code, Some(1));
    says(&said.err, &["there is no version 1.1.0"]);

    drop(hub);
    let text = fs::read_to_string(packages::workspace().join("tests/pipelines/approved-fulfilment.yaml")).expect("it");
    let mended = text.replacen("version: 1.0.0", "version: 1.1.0", 1).replace("id: stock", "id: on_hand");
    let mended = mended.replace("steps.stock", "steps.on_hand");
    fs::write(retail.folder.path().join("pipeline.yaml"), mended).expect("written");
    let hub = retail.hub();
    let all = ["run", "move", "--pipeline", "retail/approved-fulfilment", "--from", "1.0.0", "--to", "1.1.0"];
    let said = cli(&hub, "ops", &[&all[..], &["--dry-run"]].concat());
    assert_eq!(said.code, Some(1), "{}", said.out);
    says(&said.out, &["0 could be moved", "1 refused", "`stock`", "OLD=NEW"]);
    let named = [&all[..], &["--step", "stock=on_hand"]].concat();
    let said = cli(&hub, "ops", &[&named[..], &["--dry-run"]].concat());
    good(&said);
    says(&said.out, &["1 could be moved to version 1.1.0, 0 refused"]);
    assert_eq!(run_in(&hub, &webhook, "parked").await["pipeline_version"], "1.0.0");
    good(&cli(&hub, "ops", &named));

    // What was moved stays so over a kill.
    drop(hub);
    let hub = retail.hub();
    assert_eq!(run_in(&hub, &webhook, "parked").await["pipeline_version"], "1.1.0");
    good(&cli(&hub, "ops", &["run", "resume", id(&run)]));
    let run = run_in(&hub, &webhook, "completed").await;
    assert_eq!(step(&run, "on_hand")["state"], "done");
    assert_eq!(retail.sales_orders(&webhook), 1);
    // Its version was accepted after it began, and it says who did.
    hub.token_as("audrey", "auditor");
    let said = cli(&hub, "audrey", &["--json", "audit", "explain", "--key", &key(&webhook)]);
    good(&said);
    let explained: Value = serde_json::from_str(&said.out).expect("JSON");
    let accepted = &explained["runs"][0]["accepted_by"];
    assert_eq!(accepted["subject"], "pipeline/retail/approved-fulfilment/1.1.0", "{explained:#}");
    assert_eq!(explained["runs"][0]["acts"][0]["action"], "run.move", "{explained:#}");
}
