//! People and runs, from the outside: a hub's process, the sandbox retailer, and the command line that people use.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crossdock::sandbox::{
    erp::{Disturbance, Fault},
    shop::Webhook,
};
use crossdock_tests::{hub::Hub, packages, retail::Retail, said::Said};
use http::{Method, StatusCode};
use serde_json::{Value, json};

#[path = "people/lying.rs"]
mod lying;

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

const PEOPLE: &str = r#"
[people.groups]
fulfilment-leads = ["ann", "bob", "cid"]
operations-duty = ["ola", "oli"]
override = ["eve"]

[[people.delegations]]
from = "bob"
to = "dan"
"#;

/// The retailer with the pipeline that asks people, changed as a test needs it.
async fn setting(change: impl Fn(String) -> String) -> Retail {
    let retail = Retail::start(BINARY).await;
    let root = packages::workspace();
    let text = fs::read_to_string(root.join("tests/pipelines/approved-fulfilment.yaml")).expect("the pipeline");
    let path = retail.folder.path().join("pipeline.yaml");
    fs::write(&path, change(text)).expect("written");
    let demo = root.join("host/demo/order-fulfilment.yaml").display().to_string();
    let config = fs::read_to_string(retail.config()).expect("the configuration");
    let config = config
        .replace(&demo, &path.display().to_string())
        .replace("retail/order-fulfilment", "retail/approved-fulfilment");
    fs::write(retail.config(), format!("{config}{PEOPLE}")).expect("written");
    retail
}

async fn as_it_is() -> Retail {
    setting(|text| text).await
}

/// The command line, used by a person.
fn cli(hub: &Hub, person: &str, arguments: &[&str]) -> Said {
    let mut command = Command::new(BINARY);
    command.args(arguments).env("NO_COLOR", "1").env("CROSSDOCK_TOKEN", hub.token_of(person));
    Said::by(command.env("CROSSDOCK_HUB", &hub.url).env_remove("CROSSDOCK_LOG"))
}

#[track_caller]
fn good(said: &Said) {
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part} in {text}");
    }
}

fn key(webhook: &Webhook) -> String {
    webhook.order.as_ref().expect("an order").name.trim_start_matches('#').to_owned()
}

/// The run about an order, once it is in a state.
async fn run_in(hub: &Hub, webhook: &Webhook, state: &str) -> Value {
    let runs = hub.runs_until(&key(webhook), |runs| runs.len() == 1 && runs[0]["state"] == state).await;
    let (_, run) = hub.get(&format!("/v1/runs/{}", id(&runs[0]))).await;
    run
}

fn id(run: &Value) -> &str {
    run["id"].as_str().expect("id")
}

fn step<'a>(run: &'a Value, path: &str) -> &'a Value {
    let steps = run["steps"].as_array().unwrap_or_else(|| panic!("no steps: {run:#}"));
    steps.iter().find(|step| step["path"] == path).unwrap_or_else(|| panic!("no step `{path}` in {run:#}"))
}

/// An order that asks people, and its run.
async fn asked(retail: &Retail, hub: &Hub) -> (Webhook, Value) {
    let webhook = retail.retailer.shop.high_value();
    retail.deliver(hub, &webhook).await.expect("answered");
    let run = run_in(hub, &webhook, "waiting").await;
    (webhook, run)
}

/// An order that asks nobody.
async fn ordinary(retail: &Retail, hub: &Hub, state: &str) -> (Webhook, Value) {
    let webhook = retail.retailer.shop.ordinary();
    retail.deliver(hub, &webhook).await.expect("answered");
    let run = run_in(hub, &webhook, state).await;
    (webhook, run)
}

async fn question(hub: &Hub, run: &Value) -> Value {
    let (status, question) = hub.get(&format!("/v1/approvals/{}/plan", id(run))).await;
    assert_eq!(status, StatusCode::OK, "{question:#}");
    question
}

async fn decide(hub: &Hub, question: &Value, actor: &str, more: Value) -> (u16, Value) {
    let mut decision = json!({
        "approved": true, "revision": question["revision"], "digest": question["digest"],
    });
    decision.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let path = format!("/v1/approvals/{}/plan/decision", question["run"].as_str().expect("run"));
    let (status, answer) = hub.post_as(actor, &path, &JSON, decision.to_string()).await;
    (status.as_u16(), answer)
}

async fn control(hub: &Hub, run: &Value, request: Value) -> (u16, Value) {
    let path = format!("/v1/runs/{}/control", id(run));
    let (status, answer) = hub.post_as("ops", &path, &JSON, request.to_string()).await;
    (status.as_u16(), answer)
}

fn deleted(retail: &Retail) -> Vec<bool> {
    retail.retailer.erp.orders().iter().map(|order| order.deleted).collect()
}

fn cancelled(retail: &Retail) -> Vec<bool> {
    retail.retailer.warehouse.picks().iter().map(|pick| pick.cancelled).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_approve_on_the_command_line_and_the_same_one_twice_does_not_count() {
    let retail = as_it_is().await;
    let hub = retail.hub();
    let (webhook, run) = asked(&retail, &hub).await;
    let run_id = id(&run).to_owned();

    let said = cli(&hub, "ann", &["approval", "list", "--group", "fulfilment-leads"]);
    good(&said);
    says(&said.out, &[&run_id[..16], "plan", "fulfilment-leads", "0 of 2", &key(&webhook)]);
    good(&cli(&hub, "ann", &["approval", "list", "--group", "nobody"]));
    let said = cli(&hub, "ann", &["approval", "show", &run_id, "plan"]);
    good(&said);
    says(
        &said.out,
        &["the rule says hold", "reaches the approval threshold", "\"node\"", "evidence sha256:", "--digest"],
    );
    let said = cli(&hub, "ann", &["run", "show", &run_id]);
    says(&said.out, &["waiting", "asks group `fulfilment-leads`", "approval approve"]);

    let said =
        cli(&hub, "ann", &["approval", "approve", &run_id, "--reason", "fine by me", "--digest", "sha256:00000000"]);
    assert_eq!(said.code, Some(1), "{}", said.out);
    says(&said.err, &["look at it again"]);
    good(&cli(&hub, "ann", &["approval", "approve", &run_id, "--reason", "fine by me"]));
    assert!(retail.retailer.erp.orders().is_empty(), "one of two is not enough");
    let said = cli(&hub, "ann", &["approval", "approve", &run_id]);
    assert_eq!(said.code, Some(1), "{}", said.out);
    says(&said.err, &["403", "has decided already", "[approval.denied]"]);
    let said = cli(&hub, "zoe", &["--json", "approval", "approve", &run_id]);
    assert_eq!(serde_json::from_str::<Value>(&said.out).expect("JSON")["code"], "approval.denied");

    let first = question(&hub, &run).await;
    good(&cli(&hub, "bob", &["approval", "approve", &run_id]));
    let run = run_in(&hub, &webhook, "completed").await;
    assert_eq!(retail.sales_orders(&webhook), 1);
    let log = step(&run, "plan")["log"].to_string();
    says(&log, &["approved by ann: fine by me", "approved by bob"]);

    // The first decision stands, whoever comes later, also when the run has ended.
    let (status, problem) = decide(&hub, &first, "cid", json!({"approved": false})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("approval.decided")), "{problem:#}");
    assert_eq!((&problem["outcome"], &problem["by"]), (&json!("approved"), &json!("ann, bob")));
    let (status, problem) = hub.get(&format!("/v1/approvals/{run_id}/plan")).await;
    assert_eq!((status.as_u16(), &problem["code"]), (404, &json!("approval.unknown")));
}

#[tokio::test]
async fn a_stand_in_counts_once_with_whom_they_stand_in_for() {
    let retail = as_it_is().await;
    let hub = retail.hub();
    let (webhook, run) = asked(&retail, &hub).await;
    let question = question(&hub, &run).await;
    let stands_in = |whom: &str| json!({ "on_behalf_of": whom });

    let (status, problem) = decide(&hub, &question, "dan", json!({})).await;
    assert_eq!((status, &problem["code"]), (403, &json!("approval.denied")), "dan is no member: {problem:#}");
    let (status, problem) = decide(&hub, &question, "dan", stands_in("cid")).await;
    assert_eq!(status, 403, "dan does not stand in for cid: {problem:#}");
    let mut stale = question.clone();
    stale["digest"] = json!(format!("sha256:{}", "0".repeat(64)));
    let (status, problem) = decide(&hub, &stale, "bob", json!({})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("approval.stale")), "{problem:#}");
    assert_eq!(problem["digest"], question["digest"]);

    assert_eq!(decide(&hub, &question, "bob", json!({})).await.0, 200);
    let (status, problem) = decide(&hub, &question, "dan", stands_in("bob")).await;
    assert_eq!(status, 403, "bob has decided already, by himself: {problem:#}");
    assert!(retail.retailer.erp.orders().is_empty());
    assert_eq!(decide(&hub, &question, "cid", json!({})).await.0, 200);
    run_in(&hub, &webhook, "completed").await;
}

#[tokio::test]
async fn nobody_decides_about_what_they_sent_and_one_may_override_with_a_code() {
    let retail = as_it_is().await;
    let hub = retail.hub();
    let order = fs::read_to_string(packages::workspace().join("host/demo/order.json")).expect("the demo's order");
    let mut event: Value = serde_json::from_str(&order).expect("JSON");
    event["data"]["total_price"] = json!("2000.00");
    let headers = [("content-type", "application/cloudevents+json")];
    let (status, answer) = hub.post_as("ann", "/v1/events", &headers, event.to_string()).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer:#}");
    let runs = hub.runs_until("1001", |runs| runs.len() == 1 && runs[0]["state"] == "waiting").await;
    let question = question(&hub, &runs[0]).await;

    let (status, problem) = decide(&hub, &question, "ann", json!({})).await;
    assert_eq!((status, &problem["code"]), (403, &json!("approval.denied")), "ann sent it: {problem:#}");
    let alone = json!({ "override_code": "stock-out", "reason": "the shop waits" });
    let (status, problem) = decide(&hub, &question, "bob", alone.clone()).await;
    assert_eq!(status, 403, "bob may not override: {problem:#}");
    let (status, run) = decide(&hub, &question, "eve", alone).await;
    assert_eq!(status, 200, "{run:#}");
    let runs = hub.runs_until("1001", |runs| runs[0]["state"] == "completed").await;
    let (_, run) = hub.get(&format!("/v1/runs/{}", id(&runs[0]))).await;
    says(&step(&run, "plan")["log"].to_string(), &["approved by eve alone (stock-out): the shop waits"]);
}

#[tokio::test]
async fn a_kill_between_two_decisions_loses_neither() {
    let retail = as_it_is().await;
    let hub = retail.hub();
    let (webhook, run) = asked(&retail, &hub).await;
    let before = question(&hub, &run).await;
    assert_eq!(decide(&hub, &before, "ann", json!({})).await.0, 200);
    hub.kill();

    let hub = retail.hub();
    let after = question(&hub, &run).await;
    assert_eq!(after["decided_by"], json!(["ann"]));
    assert_eq!((&after["digest"], &after["evidence"]), (&before["digest"], &before["evidence"]));
    assert_eq!(decide(&hub, &after, "ann", json!({})).await.0, 403, "the first is remembered");
    assert_eq!(decide(&hub, &after, "bob", json!({})).await.0, 200);
    run_in(&hub, &webhook, "completed").await;
    assert_eq!(retail.sales_orders(&webhook), 1);
}

#[tokio::test]
async fn others_are_asked_in_time_and_nobody_at_all_is_a_no() {
    let short = |text: String| text.replace("after: 30m", "after: 500ms").replace("within: 1h", "within: 5s");
    let retail = setting(short).await;
    let hub = retail.hub();
    let (webhook, run) = asked(&retail, &hub).await;
    loop {
        let (status, asked) = hub.get(&format!("/v1/approvals?run={}", id(&run))).await;
        assert_eq!(status, StatusCode::OK);
        match asked["approvals"].get(0) {
            Some(question) if question["group"] == "operations-duty" => break,
            Some(_) => tokio::task::yield_now().await,
            None => panic!("it expired before anybody else was asked"),
        }
    }
    let question = question(&hub, &run).await;
    assert_eq!(decide(&hub, &question, "ola", json!({})).await.0, 200, "she is asked now too");
    let run = run_in(&hub, &webhook, "rejected").await;
    assert!(retail.retailer.erp.orders().is_empty(), "one of two is not enough");
    says(&step(&run, "plan")["log"].to_string(), &["`operations-duty` was asked", "nobody decided in time"]);
    let (status, problem) = decide(&hub, &question, "oli", json!({})).await;
    assert_eq!((status, &problem["outcome"]), (409, &json!("expired")), "{problem:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_decisions_is_answered_one_by_one() {
    let retail = setting(|text| text.replace("quorum: 2", "quorum: 1")).await;
    let hub = retail.hub();
    let (first, _) = asked(&retail, &hub).await;
    let (second, _) = asked(&retail, &hub).await;
    let (third, _) = asked(&retail, &hub).await;
    let said = cli(&hub, "ann", &["--json", "approval", "list"]);
    let mut listed: Value = serde_json::from_str(&said.out).expect("JSON");
    for question in listed["approvals"].as_array_mut().unwrap() {
        let about = question["key"].as_str().unwrap().to_owned();
        if about == key(&first) {
            question["approved"] = json!(true);
        } else if about == key(&second) {
            question["approved"] = json!(false);
            question["actor"] = json!("mallory");
        }
    }
    let path = retail.folder.path().join("decisions.json");
    fs::write(&path, listed.to_string()).expect("written");
    let said = cli(&hub, "ann", &["approval", "decide-many", &path.display().to_string()]);
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    says(&said.out, &["decided", "refused", "the name `mallory`"]);
    run_in(&hub, &first, "completed").await;
    run_in(&hub, &second, "waiting").await;
    run_in(&hub, &third, "waiting").await;
    let (_, run) = (&third, run_in(&hub, &third, "waiting").await);
    good(&cli(&hub, "ann", &["approval", "reject", id(&run), "--reason", "too dear"]));
    run_in(&hub, &third, "rejected").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_run_takes_decisions_and_goes_on_only_when_it_is_continued() {
    let retail = as_it_is().await;
    let hub = retail.hub();
    let (webhook, run) = asked(&retail, &hub).await;
    let said = cli(&hub, "ops", &["run", "pause", id(&run), "--reason", "stock count"]);
    good(&said);
    says(&said.out, &["is paused", "stock count"]);
    let question = question(&hub, &run).await;
    assert_eq!(decide(&hub, &question, "ann", json!({})).await.0, 200);
    assert_eq!(decide(&hub, &question, "bob", json!({})).await.0, 200);
    let run = run_in(&hub, &webhook, "paused").await;
    assert!(retail.retailer.erp.orders().is_empty());
    let said = cli(&hub, "ops", &["run", "pause", id(&run)]);
    assert_eq!(said.code, Some(1), "{}", said.out);
    says(&said.err, &["paused already", "[run.conflict]"]);
    hub.kill();
    let hub = retail.hub();
    run_in(&hub, &webhook, "paused").await;
    assert!(retail.retailer.erp.orders().is_empty(), "a restart does not continue it");
    good(&cli(&hub, "ops", &["run", "continue", id(&run)]));
    run_in(&hub, &webhook, "completed").await;
    assert_eq!(retail.sales_orders(&webhook), 1);

    // Who allowed it is one question: what people decided, and what else they did.
    hub.token_as("audrey", "auditor");
    let said = cli(&hub, "audrey", &["audit", "explain", "--key", &key(&webhook)]);
    good(&said);
    let who = ["approved by ann at", "approved by bob at", "saw evidence", "pause by ops at", "continue by ops at"];
    says(&said.out, &[&who[..], &["audit record", "stock count"]].concat());
}

/// The ERP refuses every write until it is mended.
fn lock_erp(retail: &Retail) {
    retail.retailer.erp.disturb(Disturbance { fault: Fault::Locked, method: Some(Method::POST), times: 10_000 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_shown_and_resumed_after_the_remote_is_mended() {
    let retail = as_it_is().await;
    let hub = retail.hub();
    lock_erp(&retail);
    let (webhook, run) = ordinary(&retail, &hub, "parked").await;
    let said = cli(&hub, "ops", &["dead-letter", "list"]);
    good(&said);
    says(&said.out, &["erp_order", &key(&webhook), "dead-letter show"]);
    let said = cli(&hub, "ops", &["dead-letter", "show", id(&run)]);
    good(&said);
    says(&said.out, &["parked at `erp_order`", "attempt 1", "attempt 2", "line_items", "run resume", "run close"]);
    let (_, letter) = hub.get(&format!("/v1/dead-letters/{}", id(&run))).await;
    assert_eq!(letter["chain"].as_array().expect("chain").len(), 2, "{letter:#}");
    assert_eq!(letter["attempts"], 2);
    assert_eq!(letter["event"]["subject"], json!(key(&webhook)));

    // As it is, it parks again, with all its attempts.
    let said = cli(&hub, "ops", &["dead-letter", "replay", "--cause", "lock", "--canary", "1"]);
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    says(&said.out, &["1 went first, 1 of them parked again"]);
    retail.retailer.erp.mend();
    good(&cli(&hub, "ops", &["dead-letter", "replay", "--run", id(&run), "--reason", "unlocked"]));
    let run = run_in(&hub, &webhook, "completed").await;
    assert_eq!(step(&run, "erp_order")["attempts"], 5);
    assert_eq!(retail.sales_orders(&webhook), 1);
    let said = cli(&hub, "ops", &["run", "resume", id(&run)]);
    assert_eq!(said.code, Some(1));
    says(&said.err, &["the run has ended"]);
    let said = cli(&hub, "ops", &["dead-letter", "show", id(&run)]);
    says(&said.err, &["the run is completed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_dead_letters_are_replayed_a_few_first() {
    let retail = as_it_is().await;
    let hub = retail.hub();
    lock_erp(&retail);
    let mut webhooks = Vec::new();
    for _ in 0..4 {
        webhooks.push(ordinary(&retail, &hub, "parked").await.0);
    }
    let replay =
        ["dead-letter", "replay", "--pipeline", "retail/approved-fulfilment", "--canary", "1", "--rate", "100"];
    let said = cli(&hub, "ops", &replay);
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    says(&said.out, &["1 of 4 parked runs try again", "3 left as they are", "the rest was left alone"]);
    retail.retailer.erp.mend();
    let said = cli(&hub, "ops", &replay);
    good(&said);
    says(&said.out, &["4 of 4 parked runs try again; 0 refused, 0 left"]);
    for webhook in &webhooks {
        run_in(&hub, webhook, "completed").await;
        assert_eq!(retail.sales_orders(webhook), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_closed_and_what_it_did_is_undone() {
    let nowhere = |text: String| text.replace("plan: \"${ steps.plan }\"", "plan: { node: nowhere }");
    let retail = setting(nowhere).await;
    let hub = retail.hub();
    let (webhook, run) = ordinary(&retail, &hub, "parked").await;
    assert_eq!(run["step"], "pick", "{run:#}");
    assert_eq!(deleted(&retail), [false]);
    good(&cli(&hub, "ops", &["run", "close", id(&run), "--reason", "no such node"]));
    let run = run_in(&hub, &webhook, "failed").await;
    assert_eq!(deleted(&retail), [true], "{run:#}");
    let (_, listed) = hub.get("/v1/dead-letters").await;
    assert_eq!(listed["total"], 0);

    let (webhook, run) = ordinary(&retail, &hub, "parked").await;
    good(&cli(&hub, "ops", &["run", "close", id(&run), "--keep-effects"]));
    run_in(&hub, &webhook, "failed").await;
    assert_eq!(deleted(&retail), [true, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_in_doubt_is_resolved_as_having_taken_effect() {
    let retail = as_it_is().await;
    let hub = retail.hub();
    retail.retailer.warehouse.lose_replies(10_000);
    let (webhook, run) = ordinary(&retail, &hub, "parked").await;
    says(run["cause"].as_str().expect("cause"), &["effect.in-doubt", "xd_"]);
    let said = cli(&hub, "ops", &["run", "resume", id(&run)]);
    assert_eq!(said.code, Some(1), "{}", said.out);
    says(&said.err, &["find out at the remote", "resolve"]);
    says(&cli(&hub, "ops", &["run", "show", id(&run)]).out, &["run resolve", "--took-effect", "--no-effect"]);
    // What is in doubt is not undone before it is known.
    let (_, answer) = control(&hub, &run, json!({"do": "close", "compensate": true})).await;
    assert_ne!(answer["state"], "failed", "{answer:#}");
    let run = run_in(&hub, &webhook, "parked").await;
    assert_eq!(deleted(&retail), [false]);

    let pick = retail.retailer.warehouse.picks()[0].clone();
    let path = retail.folder.path().join("pick.json");
    fs::write(&path, json!({"id": pick.id, "node": pick.request["node"], "status": "open"}).to_string()).unwrap();
    good(&cli(&hub, "ops", &["run", "resolve", id(&run), "--took-effect", &path.display().to_string()]));
    // It was closed before: now that it is known, both effects are undone.
    run_in(&hub, &webhook, "failed").await;
    assert_eq!((deleted(&retail), cancelled(&retail)), (vec![true], vec![true]));

    let (webhook, run) = ordinary(&retail, &hub, "parked").await;
    let pick = retail.retailer.warehouse.picks()[1].clone();
    fs::write(&path, json!({"id": pick.id, "node": pick.request["node"], "status": "open"}).to_string()).unwrap();
    good(&cli(&hub, "ops", &["run", "resolve", id(&run), "--took-effect", &path.display().to_string()]));
    let run = run_in(&hub, &webhook, "completed").await;
    assert_eq!(retail.retailer.warehouse.picks().len(), 2);
    says(&run["steps"].to_string(), &["`pick` took effect, says a person by ops"]);
    // What a person said is read back like every other fact.
    hub.kill();
    let hub = retail.hub();
    assert_eq!(run_in(&hub, &webhook, "completed").await, run);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_in_doubt_is_resolved_as_not_having_taken_effect() {
    let retail = as_it_is().await;
    let hub = retail.hub();
    retail.retailer.warehouse.lose_replies(10_000);
    let (webhook, run) = ordinary(&retail, &hub, "parked").await;
    retail.retailer.warehouse.lose_replies(0);
    let said = cli(&hub, "ops", &["run", "resolve", id(&run), "--step", "erp_order", "--no-effect"]);
    assert_eq!(said.code, Some(1), "{}", said.out);
    says(&said.err, &["did not park the run"]);
    assert_eq!(cli(&hub, "ops", &["run", "resolve", id(&run)]).code, Some(2), "one of the two has to be said");
    good(&cli(&hub, "ops", &["run", "resolve", id(&run), "--no-effect"]));
    run_in(&hub, &webhook, "completed").await;
    // It was repeated under the same key, so that even a mistake makes no second pick.
    assert_eq!(retail.retailer.warehouse.picks().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_waits_for_the_call_that_is_out_and_undoes_it_too() {
    let retail = as_it_is().await;
    let hub = retail.hub();
    retail.retailer.warehouse.hold_answers(true);
    let webhook = retail.retailer.shop.ordinary();
    retail.deliver(&hub, &webhook).await.expect("answered");
    while retail.retailer.warehouse.picks().is_empty() {
        tokio::task::yield_now().await;
    }
    let runs = hub.runs_until(&key(&webhook), |runs| runs[0]["state"] == "running").await;
    good(&cli(&hub, "ops", &["run", "cancel", id(&runs[0]), "--reason", "the customer called"]));
    let run = run_in(&hub, &webhook, "compensating").await;
    assert_eq!((deleted(&retail), cancelled(&retail)), (vec![false], vec![false]), "{run:#}");
    retail.retailer.warehouse.hold_answers(false);
    let run = run_in(&hub, &webhook, "cancelled").await;
    assert_eq!((deleted(&retail), cancelled(&retail)), (vec![true], vec![true]), "{run:#}");
    let (status, problem) = control(&hub, &run, json!({"do": "cancel", "compensate": true})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("run.conflict")), "{problem:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_begins_again_at_a_step_after_its_later_effects_are_undone() {
    let retail = as_it_is().await;
    let hub = retail.hub();
    let (webhook, run) = ordinary(&retail, &hub, "completed").await;
    let first = step(&run, "erp_order")["idempotency_key"].clone();
    assert_eq!(cli(&hub, "ops", &["run", "restart", id(&run), "--step", "erp_order"]).code, Some(2));
    let said = cli(&hub, "ops", &["run", "restart", id(&run), "--step", "no_such", "--undo"]);
    assert_eq!(said.code, Some(1), "{}", said.out);
    says(&said.err, &["`no_such` is not a step"]);
    good(&cli(&hub, "ops", &["run", "restart", id(&run), "--step", "erp_order", "--undo", "--reason", "wrong node"]));
    while retail.retailer.warehouse.picks().len() < 2 {
        tokio::task::yield_now().await;
    }
    let run = run_in(&hub, &webhook, "completed").await;
    assert_eq!((deleted(&retail), cancelled(&retail)), (vec![true, false], vec![true, false]), "{run:#}");
    assert_ne!(step(&run, "erp_order")["idempotency_key"], first, "another effect has another key");
}

#[test]
fn the_pipeline_of_these_tests_is_one() {
    let root = packages::workspace();
    let output = Command::new(BINARY)
        .args(["pipeline", "check", "tests/pipelines/approved-fulfilment.yaml"])
        .current_dir(Path::new(&root))
        .output()
        .expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
