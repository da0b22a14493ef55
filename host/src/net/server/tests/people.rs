//! What people decide and do with runs, over HTTP.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};
use tokio::sync::Notify;
use utoipa::OpenApi as _;

use super::{Fake, Options, Served, json, order, start_with, summary};
use crate::{
    model::{
        entry::Control,
        event::Event,
        id::{Digest, RunId},
        json::Json,
        run::{RunState, RunSummary},
        timestamp::Timestamp,
    },
    net::{client::send, server::openapi::Description},
    ports::hub::{ActError, ControlRequest, Decision, Question, QuestionFilter},
};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// Questions, and what was done.
#[derive(Default)]
pub(super) struct People {
    open: Mutex<Vec<Question>>,
    decided: Mutex<Vec<(RunId, String, Decision)>>,
    done: Mutex<Vec<(String, ControlRequest)>>,
}

impl People {
    pub(super) fn list(&self, filter: &QuestionFilter) -> Vec<Question> {
        let fits = |question: &&Question| {
            filter.group.as_ref().is_none_or(|group| question.group == *group)
                && filter.run.is_none_or(|run| question.run == run)
        };
        let listed = |question: &Question| Question { evidence: None, ..question.clone() };
        self.open.lock().unwrap().iter().filter(fits).take(filter.limit).map(listed).collect()
    }

    pub(super) fn get(&self, run: RunId, step: &str) -> Option<Question> {
        self.open.lock().unwrap().iter().find(|question| question.run == run && question.step == step).cloned()
    }

    pub(super) fn decide(&self, run: RunId, step: &str, decision: &Decision) -> Result<(), ActError> {
        let mut decided = self.decided.lock().unwrap();
        if let Some((_, _, first)) = decided.iter().find(|(of, at, _)| *of == run && at == step) {
            let outcome = if first.approved { "approved" } else { "rejected" }.to_owned();
            return Err(ActError::Decided { outcome, by: first.actor.clone() });
        }
        let Some(question) = self.get(run, step) else { return Err(ActError::NotAsked { step: step.to_owned() }) };
        if (decision.revision, decision.digest) != (question.revision, question.digest) {
            return Err(ActError::Stale { revision: question.revision, digest: question.digest });
        }
        if decision.actor == "mallory" {
            return Err(ActError::Denied { problem: "`mallory` is not a member of group `leads`".into() });
        }
        self.open.lock().unwrap().retain(|open| open.run != run || open.step != step);
        decided.push((run, step.to_owned(), decision.clone()));
        Ok(())
    }

    pub(super) fn control(&self, run: &mut RunSummary, request: ControlRequest) -> Result<(), ActError> {
        let resumes = matches!(request.action, Control::Resume);
        if resumes && run.state != RunState::Parked {
            return Err(ActError::Conflict { problem: "the run is not parked".into() });
        }
        self.done.lock().unwrap().push((run.key.clone(), request));
        if resumes && !run.key.starts_with("stubborn") {
            run.state = RunState::Completed;
        }
        Ok(())
    }
}

impl Fake {
    /// A parked run about a key.
    fn park(&self, number: i64, key: &str, cause: &str) -> RunId {
        let mut event = order(&number.to_string());
        event["subject"] = key.into();
        let event: Event = serde_json::from_value(event).unwrap();
        let started = Timestamp::from_millis(number);
        let parked = RunSummary { state: RunState::Parked, started, cause: Some(cause.into()), ..summary(&event) };
        let id = parked.id;
        self.runs.lock().unwrap().insert(id, parked);
        self.events.lock().unwrap().push(event);
        id
    }

    fn ask(&self, run: RunId, step: &str, group: &str) -> Question {
        let question = Question {
            run,
            step: step.into(),
            revision: 1,
            digest: Digest::of(b"evidence"),
            group: group.into(),
            quorum: 1,
            decided_by: Vec::new(),
            asked: Timestamp::from_millis(0),
            due: Timestamp::from_millis(1),
            reminders: 0,
            pipeline: Some("retail/orders".into()),
            key: Some("1".into()),
            evidence: Some(Json::empty_object()),
        };
        self.people.open.lock().unwrap().push(question.clone());
        question
    }

    /// What was done, about which key, in order.
    fn done(&self) -> Vec<String> {
        self.people.done.lock().unwrap().iter().map(|(key, _)| key.clone()).collect()
    }
}

async fn serve(hub: Fake) -> Served {
    start_with(hub, Options::default()).await
}

fn decision(actor: &str) -> Value {
    json!({"actor": actor, "approved": true, "revision": 1, "digest": Digest::of(b"evidence")})
}

/// Status, code, and a part of the detail.
#[track_caller]
fn check(response: &Response<Bytes>, status: u16, code: &str, detail: &str) {
    let problem = json(response);
    assert_eq!((response.status().as_u16(), &problem["code"]), (status, &code.into()), "{problem:#}");
    assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem:#} does not say {detail}");
}

#[tokio::test]
async fn questions_are_listed_and_shown_with_their_evidence() {
    let hub = Fake::default();
    let (first, second) = (hub.park(1, "a", "x"), hub.park(2, "b", "x"));
    hub.ask(first, "plan", "leads");
    hub.ask(second, "plan[2]", "finance");
    let served = serve(hub).await;
    for (query, expected) in
        [(String::new(), 2), ("?group=leads".into(), 1), (format!("?run={second}"), 1), ("?limit=1".into(), 1)]
    {
        let listed = json(&served.get(&format!("/v1/approvals{query}")).await);
        assert_eq!(listed["approvals"].as_array().unwrap().len(), expected, "{query}");
        assert!(listed["approvals"][0].get("evidence").is_none());
    }
    let shown = json(&served.get(&format!("/v1/approvals/{second}/plan%5B2%5D")).await);
    assert_eq!((&shown["step"], &shown["evidence"]), (&"plan[2]".into(), &json!({})));
    check(&served.get(&format!("/v1/approvals/{second}/plan")).await, 404, "approval.unknown", "`plan`");
    let nobody = RunId::from_bytes([7; 16]);
    check(&served.get(&format!("/v1/approvals/{nobody}/plan")).await, 404, "run.unknown", "there is no run");
    check(&served.get("/v1/approvals?colour=red").await, 400, "query.invalid", "group, run, limit");
}

#[tokio::test]
async fn the_first_decision_stands_and_the_second_is_told_of_it() {
    let hub = Fake::default();
    let run = hub.park(1, "a", "x");
    hub.ask(run, "plan[2]~compensate", "leads");
    let served = serve(hub).await;
    let path = format!("/v1/approvals/{run}/plan%5B2%5D~compensate/decision");

    check(&served.post(&path, &JSON, decision("mallory").to_string()).await, 403, "approval.denied", "not a member");
    let mut stale = decision("ann");
    stale["digest"] = json!(Digest::of(b"other"));
    let response = served.post(&path, &JSON, stale.to_string()).await;
    check(&response, 409, "approval.stale", "revision 1");
    assert_eq!(json(&response)["digest"], json!(Digest::of(b"evidence")));

    let response = served.post(&path, &JSON, decision("ann").to_string()).await;
    assert_eq!((response.status().as_u16(), &json(&response)["id"]), (200, &json!(run)));
    let response = served.post(&path, &JSON, decision("bob").to_string()).await;
    check(&response, 409, "approval.decided", "decided before: approved, by ann");
    assert_eq!((&json(&response)["outcome"], &json(&response)["by"]), (&json!("approved"), &json!("ann")));
    assert_eq!(served.hub.people.decided.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_no_decision_is_refused() {
    let hub = Fake::default();
    let run = hub.park(1, "a", "x");
    hub.ask(run, "plan", "leads");
    let served = serve(hub).await;
    let path = format!("/v1/approvals/{run}/plan/decision");
    check(&served.post(&path, &JSON, "{\"actor\": \"ann\"}").await, 400, "request.invalid", "missing field");
    let mut more = decision("ann");
    more["colour"] = json!("red");
    check(&served.post(&path, &JSON, more.to_string()).await, 400, "request.invalid", "unknown field `colour`");
    // A form of some page in a browser reaches a hub on loopback, but never with this type.
    let form = [("content-type", "text/plain")];
    check(&served.post(&path, &form, decision("ann").to_string()).await, 415, "event.content-type", "text/plain");
    let elsewhere = format!("/v1/approvals/{run}/other/decision");
    check(&served.post(&elsewhere, &JSON, decision("ann").to_string()).await, 404, "approval.unknown", "`other`");
    let nobody = format!("/v1/approvals/{}/plan/decision", RunId::from_bytes([7; 16]));
    check(&served.post(&nobody, &JSON, decision("ann").to_string()).await, 404, "run.unknown", "there is no run");
    assert!(served.hub.people.decided.lock().unwrap().is_empty());
}

#[tokio::test]
async fn of_many_decisions_each_is_answered_by_itself() {
    let hub = Fake::default();
    let (first, second) = (hub.park(1, "a", "x"), hub.park(2, "b", "x"));
    hub.ask(first, "plan", "leads");
    hub.ask(second, "plan", "leads");
    let served = serve(hub).await;
    let about = |run: RunId, actor: &str| {
        let mut decision = decision(actor);
        decision["run"] = json!(run);
        decision["step"] = json!("plan");
        decision
    };
    let body = json!({"decisions": [about(first, "ann"), about(first, "bob"), {"run": second, "step": "plan"}, about(second, "ann")]});
    let response = served.post("/v1/approvals/decisions", &JSON, body.to_string()).await;
    let answers = json(&response)["decisions"].clone();
    assert_eq!(response.status(), 200, "{answers:#}");
    assert_eq!(answers[0]["summary"]["id"], json!(first));
    assert_eq!(answers[1]["problem"]["code"], "approval.decided");
    assert_eq!(answers[2]["problem"]["code"], "request.invalid");
    assert_eq!(answers[3]["summary"]["id"], json!(second));
    let many = json!({"decisions": vec![json!({}); 257]}).to_string();
    check(&served.post("/v1/approvals/decisions", &JSON, many).await, 400, "request.invalid", "at most 256");
}

#[tokio::test]
async fn every_act_reaches_the_hub_as_it_was_meant() {
    let hub = Fake::default();
    let run = hub.park(1, "a", "x");
    let served = serve(hub).await;
    let step = || "pick[2]~compensate".to_owned();
    let table = [
        (json!({"do": "pause"}), Control::Pause),
        (json!({"do": "continue"}), Control::Continue),
        (json!({"do": "cancel", "compensate": true}), Control::Cancel { compensate: true }),
        (json!({"do": "close", "compensate": false}), Control::Close { compensate: false }),
        (
            json!({"do": "resolve", "step": step(), "output": {"id": "1"}}),
            Control::Resolve { step: step(), output: Some(Json::from(json!({"id": "1"}))) },
        ),
        (json!({"do": "resolve", "step": step()}), Control::Resolve { step: step(), output: None }),
        (json!({"do": "reassign", "step": step(), "to": "x"}), Control::Reassign { step: step(), to: "x".into() }),
        (json!({"do": "restart", "step": step(), "undo": true}), Control::Restart { step: step(), undo: true }),
        (json!({"do": "resume"}), Control::Resume),
    ];
    for (mut body, action) in table {
        body["actor"] = json!("ann");
        body["reason"] = json!("because");
        let response = served.post(&format!("/v1/runs/{run}/control"), &JSON, body.to_string()).await;
        assert_eq!((response.status().as_u16(), &json(&response)["id"]), (200, &json!(run)), "{body}");
        let done = served.hub.people.done.lock().unwrap().last().unwrap().1.clone();
        assert_eq!(done, ControlRequest { actor: "ann".into(), action, reason: "because [sent by tests]".into() });
    }
    let path = format!("/v1/runs/{run}/control");
    check(&served.post(&path, &JSON, r#"{"actor":"ann","do":"resume"}"#).await, 409, "run.conflict", "not parked");
    check(&served.post(&path, &JSON, r#"{"actor":"ann","do":"dance"}"#).await, 400, "request.invalid", "dance");
    check(&served.post(&path, &JSON, r#"{"actor":"ann","do":"cancel"}"#).await, 400, "request.invalid", "compensate");
    let nobody = format!("/v1/runs/{}/control", RunId::from_bytes([7; 16]));
    check(&served.post(&nobody, &JSON, r#"{"actor":"ann","do":"pause"}"#).await, 404, "run.unknown", "there is no run");
}

#[tokio::test]
async fn many_runs_are_resumed_in_the_order_in_which_they_began() {
    let hub = Fake::default();
    for number in 1..=5 {
        hub.park(number, &format!("key-{number}"), if number == 3 { "`b`: other" } else { "`a`: the ERP is down" });
    }
    let served = serve(hub).await;
    let resume = json!({"actor": "ann", "do": "resume"});
    let body =
        json!({"filter": {"state": "parked", "cause": "ERP"}, "request": resume, "rate_per_second": 50, "limit": 3});
    let begun = Instant::now();
    let response = served.post("/v1/runs/control", &JSON, body.to_string()).await;
    let answer = json(&response);
    assert_eq!(response.status(), 200, "{answer:#}");
    assert!(begun.elapsed() >= Duration::from_millis(35), "three at 50 a second are two pauses of 20 ms");
    assert_eq!(served.hub.done(), ["key-1", "key-2", "key-4"]);
    let counts = ["matched", "done", "refused", "left"].map(|name| answer[name].as_u64().unwrap());
    assert_eq!((counts, &answer["stopped"]), ([4, 3, 0, 1], &json!("limit")));
    assert_eq!(answer["runs"][0]["state"], "completed");
}

#[tokio::test]
async fn the_rest_is_left_alone_if_one_of_the_first_is_parked_again() {
    let hub = Fake::default();
    hub.park(1, "good", "`a`: x");
    let stubborn = hub.park(2, "stubborn", "`a`: x");
    hub.park(3, "rest", "`a`: x");
    let served = serve(hub).await;
    let resume = json!({"actor": "ann", "do": "resume"});
    let body = json!({"filter": {"state": "parked"}, "request": resume, "canary": 2, "rate_per_second": 500});
    let answer = json(&served.post("/v1/runs/control", &JSON, body.to_string()).await);
    assert_eq!(served.hub.done(), ["good", "stubborn"]);
    assert_eq!((&answer["stopped"], &answer["left"]), (&json!("canary"), &json!(1)), "{answer:#}");
    assert_eq!(answer["canary"], json!({"runs": 2, "parked": [stubborn], "under_way": []}));

    // Without the stubborn one, the rest follows.
    let body = json!({"filter": {"key": "rest"}, "request": resume, "canary": 2});
    let answer = json(&served.post("/v1/runs/control", &JSON, body.to_string()).await);
    assert_eq!((&answer["done"], &answer["left"]), (&json!(1), &json!(0)), "{answer:#}");
    // One that refuses is answered by itself, and does not stop the others.
    let body = json!({"filter": {"pipeline": "retail/orders"}, "request": resume, "rate_per_second": 500});
    let answer = json(&served.post("/v1/runs/control", &JSON, body.to_string()).await);
    assert_eq!((&answer["done"], &answer["refused"]), (&json!(1), &json!(2)), "{answer:#}");
    assert_eq!(answer["runs"][0]["problem"]["code"], "run.conflict");
}

#[tokio::test]
async fn an_act_on_many_says_which_and_keeps_to_its_bounds() {
    let served = serve(Fake::default()).await;
    let resume = json!({"actor": "ann", "do": "resume"});
    let resolve = json!({"actor": "ann", "do": "resolve", "step": "x"});
    let parked = json!({"state": "parked"});
    let table = [
        (json!({"filter": {}, "request": resume}), "request.invalid", "fits every run"),
        (json!({"filter": {"state": "sleepy"}, "request": resume}), "query.invalid", "not a state"),
        (json!({"filter": {"colour": "red"}, "request": resume}), "request.invalid", "unknown field `colour`"),
        (json!({"filter": parked, "request": resolve}), "request.invalid", "one by one"),
        (json!({"filter": parked, "request": resume, "rate_per_second": 501}), "request.invalid", "from 1 to 500"),
        (json!({"filter": parked, "request": resume, "limit": 0}), "request.invalid", "from 1 to 1000"),
    ];
    for (body, code, detail) in table {
        check(&served.post("/v1/runs/control", &JSON, body.to_string()).await, 400, code, detail);
    }
}

#[tokio::test]
async fn a_dead_letter_says_what_it_was_started_with_and_what_can_be_done() {
    let hub = Fake::default();
    let run = hub.park(1, "a", "`sap.locked`: the document is locked");
    hub.park(2, "b", "`effect.in-doubt`: look at the remote");
    hub.runs.lock().unwrap().values_mut().filter(|run| run.key == "b").for_each(|run| run.step = None);
    let served = serve(hub).await;
    let listed = json(&served.get("/v1/dead-letters").await);
    assert_eq!((&listed["total"], &listed["dead_letters"][0]["code"]), (&json!(2), &json!("effect.in-doubt")));
    assert_eq!(listed["dead_letters"][0]["actions"], json!(["resolve"]));
    let found = json(&served.get("/v1/dead-letters?cause=locked&limit=1").await);
    assert_eq!((&found["total"], &found["dead_letters"][0]["run"]), (&json!(1), &json!(run)));
    let shown = json(&served.get(&format!("/v1/dead-letters/{run}")).await);
    let data = json!({"total": "1.10"});
    assert_eq!((&shown["event"]["data"], &shown["code"]), (&data, &json!("sap.locked")), "{shown:#}");
    assert_eq!(shown["payload_digest"], json!(Digest::of(data.to_string().as_bytes())));
    assert_eq!((&shown["attempts"], &shown["parked_at"]["path"]), (&json!(1), &json!("plan")));
    assert!(shown["actions"].as_array().unwrap().contains(&json!("resume")));

    served.post(&format!("/v1/runs/{run}/control"), &JSON, r#"{"actor":"ann","do":"resume"}"#).await;
    let gone = served.get(&format!("/v1/dead-letters/{run}")).await;
    check(&gone, 404, "dead-letter.unknown", "the run is completed");
}

#[test]
fn the_description_of_a_question_has_its_fields() {
    let hub = Fake::default();
    let run = hub.park(1, "a", "x");
    let fields = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let question = fields(&serde_json::to_value(hub.ask(run, "plan", "leads")).unwrap());
    let document = serde_json::to_value(Description::openapi()).unwrap();
    assert_eq!(fields(&document["components"]["schemas"]["Question"]["properties"]), question);
}

#[tokio::test]
async fn what_somebody_asked_for_is_done_though_they_go_away() {
    let (begun, goes_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let hub = Fake { held: Some((Arc::clone(&begun), Arc::clone(&goes_on))), ..Fake::default() };
    let run = hub.park(1, "a", "x");
    let mut served = serve(hub).await;
    let hub = Arc::clone(&served.hub);
    let url = format!("{}/v1/runs/{run}/control", served.url);
    let body = r#"{"do":"pause","reason":"because"}"#;
    let request = Request::post(url).header(JSON[0].0, JSON[0].1).body(Bytes::from(body)).unwrap();
    let asking = tokio::spawn(async move { send(request).await.map(drop).map_err(|error| error.to_string()) });
    begun.notified().await;
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    // The connection is closed when the server has ended, which waits for nobody who is gone.
    drop(served.stop.take());
    served.ended.take().unwrap().await.unwrap().unwrap();
    assert!(hub.people.done.lock().unwrap().is_empty());
    goes_on.notify_one();
    let done = async {
        while hub.people.done.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), done).await.expect("it is done all the same");
}
