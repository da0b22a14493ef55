//! What must hold when everything has come to rest: nothing lost, nothing doubled, nothing stuck.

#![allow(clippy::indexing_slicing, reason = "what a document does not have is null")]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crossdock::model::timestamp::Timestamp;
use serde_json::{Value, json};

use super::{Kind, Order, Setting, ids, moment};
use crate::{dice::Dice, hub::Hub};

/// How long everything may take to come to rest.
const REST_LIMIT: Duration = Duration::from_secs(240);

/// The runs of an order, and what they do: pipeline, then remote and name of each write in an order that suits.
fn effects(kind: Kind) -> &'static [(&'static str, &'static [(&'static str, &'static str)])] {
    match kind {
        Kind::Straight => &[("straight", &[("native", "a"), ("natural", "b")]), ("after", &[("natural", "p")])],
        Kind::Undo => &[("undo", &[("native", "a"), ("natural", "b")])],
        Kind::Parallel => &[("parallel", &[("native", "x"), ("natural", "y"), ("native", "v")])],
        Kind::Lines => &[("lines", &[("natural", "1"), ("natural", "2"), ("natural", "3")])],
        Kind::Waits => &[("waits", &[("native", "a"), ("natural", "b")])],
        // The child writes under the parent's key.
        Kind::Parent => &[("parent", &[("natural", "b")]), ("child", &[("native", "a")])],
        Kind::Blind => &[("blind", &[("blind", "a")])],
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

impl Setting {
    /// Waits until every run has come to rest, and looks at all of it; what does not hold.
    ///
    /// # Errors
    /// Everything that does not hold.
    pub async fn check(&mut self, hub: &Hub) -> Result<(), Vec<String>> {
        // The last signals.
        self.send(&[], &mut Dice::new(0));
        self.all_acknowledged().await;
        let begun = Instant::now();
        let mut problems = std::mem::take(&mut self.lock().problems);
        let mut runs: Vec<(Order, &'static str, Value)> = Vec::new();
        for order in &self.orders {
            for (pipeline, _) in effects(order.kind) {
                match self.at_rest(hub, pipeline, &order.key, begun).await {
                    Ok(run) => runs.push((order.clone(), pipeline, run)),
                    Err(problem) => problems.push(problem),
                }
            }
        }
        let acknowledged: BTreeMap<String, Vec<String>> =
            self.lock().acknowledged.iter().map(|(id, answer)| (id.clone(), ids(answer))).collect();
        let mut expected: BTreeSet<(String, String)> = BTreeSet::new();
        for (order, pipeline, run) in &runs {
            let first = effects(order.kind).first().is_some_and(|(first, _)| first == pipeline);
            if first && acknowledged.get(&order.key) != Some(&vec![text(run, "id").to_owned()]) {
                problems.push(format!(
                    "{}: another run was acknowledged: {:?}",
                    order.key,
                    acknowledged.get(&order.key)
                ));
            }
            let undone = order.refuse && matches!(order.kind, Kind::Undo | Kind::Parallel | Kind::Lines);
            let wanted = if undone { "rejected" } else { "completed" };
            if text(run, "state") != wanted {
                problems.push(format!("{} of crash/{pipeline} is not {wanted}: {run:#}", order.key));
                continue;
            }
            let writes = effects(order.kind).iter().filter(|(of, _)| of == pipeline).flat_map(|(_, writes)| *writes);
            for (remote, name) in writes {
                expected.insert(((*remote).to_owned(), format!("{}/{name}", order.key)));
                if undone {
                    expected.insert(((*remote).to_owned(), format!("undo/{}/{name}", order.key)));
                }
            }
            if !undone && matches!(order.kind, Kind::Parallel | Kind::Lines) {
                expected.insert(("natural".to_owned(), format!("{}/z", order.key)));
            }
            if undone {
                problems.extend(self.undone_in_reverse(order, run));
            }
        }
        self.check_effects(&expected, &mut problems);
        self.check_arrivals(&runs, &mut problems);
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// The one run of a pipeline about a key, once it is at rest.
    ///
    /// A person finds out about a write in doubt where the hub cannot, and tells the truth: at the remote that honours
    /// nothing; and where a repetition under a native key was refused, which does not prove that nothing had happened.
    async fn at_rest(&self, hub: &Hub, pipeline: &str, key: &str, begun: Instant) -> Result<Value, String> {
        loop {
            let (_, answer) = hub.get(&format!("/v1/runs?pipeline=crash/{pipeline}&key={key}&limit=10")).await;
            let found = answer["runs"].as_array().cloned().unwrap_or_default();
            let id = found.first().map(|run| text(run, "id").to_owned()).unwrap_or_default();
            match found.as_slice() {
                [run] if text(run, "state") == "parked" => {
                    let cause = text(run, "cause").to_owned();
                    let step = text(run, "step").to_owned();
                    let helped = matches!((pipeline, step.as_str()), ("blind", "a") | ("straight", "tried"));
                    if !helped || !cause.contains("effect.in-doubt") || !cause.contains("xd_") {
                        return Err(format!("{key}: crash/{pipeline} is parked: {run:#}"));
                    }
                    let reference = format!("{key}/{step}");
                    let took = self.remotes.effects().iter().any(|(_, done)| *done == reference);
                    let mut request = json!({ "do": "resolve", "step": step });
                    if took && let Some(fields) = request.as_object_mut() {
                        fields.insert("output".to_owned(), json!({ "status": "done" }));
                    }
                    let path = format!("/v1/runs/{id}/control");
                    let (status, answer) =
                        hub.post(&path, &[("content-type", "application/json")], request.to_string()).await;
                    // Another look may have come between: then it goes on already.
                    if !status.is_success() && status.as_u16() != 409 {
                        return Err(format!("{key}: {request} is answered {status}: {answer}"));
                    }
                }
                [run] if matches!(text(run, "state"), "completed" | "rejected" | "failed" | "cancelled") => {
                    return Ok(hub.get(&format!("/v1/runs/{id}")).await.1);
                }
                [_] | [] => {}
                more => return Err(format!("{key}: {} runs of crash/{pipeline}", more.len())),
            }
            if begun.elapsed() > REST_LIMIT {
                return Err(format!("{key}: crash/{pipeline} does not come to rest: {found:#?}"));
            }
            moment().await;
        }
    }

    /// What was done later is undone earlier. Of what was done in the same millisecond the order is not known.
    fn undone_in_reverse(&self, order: &Order, run: &Value) -> Vec<String> {
        let steps = run["steps"].as_array().cloned().unwrap_or_default();
        let ended = |path: &str| {
            let step = steps.iter().find(|step| text(step, "path") == path)?;
            text(step, "ended").parse::<Timestamp>().ok()
        };
        let done = self.remotes.effects();
        let place = |name: &str| {
            let reference = format!("undo/{}/{name}", order.key);
            done.iter().position(|(_, done)| *done == reference)
        };
        let mut problems = Vec::new();
        let names = effects(order.kind).iter().flat_map(|(_, writes)| writes.iter().map(|(_, name)| *name));
        let known: Vec<_> = names
            .filter_map(|name| {
                let path = if order.kind == Kind::Lines { format!("line[{name}]") } else { name.to_owned() };
                Some((ended(&path)?, place(name)?))
            })
            .collect();
        if known.is_empty() {
            problems.push(format!("{}: nothing is known of what was undone: {run:#}", order.key));
        }
        for (first, undone_first) in &known {
            for (second, undone_second) in &known {
                if first < second && undone_first < undone_second {
                    problems.push(format!("{}: undone in another order than reversed: {run:#}", order.key));
                }
            }
        }
        problems
    }

    /// Each effect happened once, and no other did.
    fn check_effects(&self, expected: &BTreeSet<(String, String)>, problems: &mut Vec<String>) {
        let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
        for effect in self.remotes.effects() {
            *counts.entry(effect).or_default() += 1;
        }
        for effect in expected {
            match counts.get(effect) {
                Some(1) => {}
                Some(times) => problems.push(format!("{effect:?} happened {times} times")),
                None => problems.push(format!("{effect:?} never happened")),
            }
        }
        problems.extend(
            counts
                .keys()
                .filter(|effect| !expected.contains(*effect))
                .map(|effect| format!("nobody asked for {effect:?}")),
        );
    }

    /// Attempts are counted on, under one key, and end with what is recorded: no call came after that.
    fn check_arrivals(&self, runs: &[(Order, &'static str, Value)], problems: &mut Vec<String>) {
        let mut steps: BTreeMap<&str, &Value> = BTreeMap::new();
        for (_, _, run) in runs {
            for step in run["steps"].as_array().into_iter().flatten() {
                steps.insert(text(step, "idempotency_key"), step);
            }
        }
        let mut last: BTreeMap<String, (String, u32)> = BTreeMap::new();
        for arrival in self.remotes.arrivals() {
            let before = last.insert(arrival.reference.clone(), (arrival.key.clone(), arrival.attempt));
            if let Some((key, attempt)) = before {
                if key != arrival.key {
                    problems.push(format!("{}: key {key} became {}", arrival.reference, arrival.key));
                }
                // Who was told by a person that nothing happened may begin anew.
                let helped = arrival.remote == "blind" || arrival.reference.ends_with("/tried");
                if attempt >= arrival.attempt && !helped {
                    problems.push(format!("{}: attempt {attempt} became {}", arrival.reference, arrival.attempt));
                }
            }
            let Some(step) = steps.get(arrival.key.as_str()) else {
                problems.push(format!("{}: no step has key {}", arrival.reference, arrival.key));
                continue;
            };
            let attempts = step["attempts"].as_u64().unwrap_or(0);
            if u64::from(arrival.attempt) > attempts {
                problems.push(format!("{}: attempt {} of {attempts}", arrival.reference, arrival.attempt));
            }
            if let Ok(ended) = text(step, "ended").parse::<Timestamp>()
                && arrival.at > ended
            {
                problems.push(format!(
                    "{} was asked at {} although it was recorded at {ended}: {step:#}",
                    arrival.reference, arrival.at
                ));
            }
        }
    }
}
