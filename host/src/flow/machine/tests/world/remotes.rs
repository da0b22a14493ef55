//! What remotes and plugins answer, as a test scripts them, and what takes effect there.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::{
    super::{
        super::{effect::Effect, instance::InstanceId},
        given::verdict,
        ways::{Done, Way, ended},
    },
    World,
};
use crate::{
    flow::plan::PureKind,
    model::{
        decision::Outcome,
        entry::Output,
        failure::{Failure, FailureKind},
        id::IdempotencyKey,
    },
};

impl World {
    /// What a remote answers; it acts when it is asked.
    pub(super) fn ask(&mut self, effect: &Effect) -> (InstanceId, Result<Output, Failure>) {
        match effect {
            Effect::Invoke(invoke) => {
                let given = invoke.input.value();
                let good = match invoke.kind {
                    PureKind::Rule => {
                        let plain = invoke.step.split('[').next().unwrap_or_default();
                        let told = [invoke.step.as_str(), plain]
                            .into_iter()
                            .find_map(|name| self.verdicts.get_mut(name).and_then(VecDeque::pop_front));
                        Output::Verdict(told.unwrap_or_else(|| verdict(Outcome::Proceed, None)))
                    }
                    PureKind::Score => Output::Json(json!({"score": 1}).into()),
                    PureKind::Transform if invoke.step.contains("~reduce") => {
                        let sum = given["so_far"].as_u64().unwrap_or(0) + given["next"].as_u64().unwrap_or(0);
                        Output::Json(json!(sum).into())
                    }
                    PureKind::Transform => Output::Json(invoke.input.json().clone()),
                };
                (invoke.instance, ended(self.way(&invoke.step)).map(|()| good))
            }
            Effect::Emit(emit) => {
                self.emitted.insert(emit.event.id.clone());
                let way = self.way(&emit.event.event_type);
                (emit.instance, ended(way).map(|()| Output::Json(json!("event").into())))
            }
            Effect::Start(start) if self.withdrawn.contains(&start.run) => {
                (start.instance, Err(Failure::new(FailureKind::Permanent, "run.ended", "it was cancelled")))
            }
            Effect::Undo(undo) => {
                let step = self.run().path(undo.instance);
                let result = ended(self.way(&step)).map(|()| Output::Json(Value::Null.into()));
                if result.is_ok() {
                    self.undone_children.insert(undo.run);
                }
                (undo.instance, result)
            }
            Effect::Start(start) => {
                self.children.insert(start.run);
                let way = self.way(&start.step);
                let output = json!({"run": start.run, "state": "completed"});
                (start.instance, ended(way).map(|()| Output::Json(output.into())))
            }
            Effect::Call(call) => {
                let result = match &call.page {
                    Some(page) => ended(self.way(&call.step)).map(|()| self.page(page.after.as_deref())),
                    None => self.call(&call.step, &call.operation, call.key),
                };
                (call.instance, result)
            }
            Effect::Record(_) | Effect::Commit | Effect::Sleep(_) | Effect::Withdraw(_) => {
                unreachable!("nothing answers these")
            }
        }
    }

    /// The page of the event's `pages` that a cursor names by its number; `stuck` begins where it ends.
    fn page(&self, after: Option<&str>) -> Output {
        let pages = self.data["pages"].as_array().expect("pages");
        let place: usize = after.map_or(0, |after| after.parse().expect("a cursor of the page before"));
        let mut page = json!({ "rows": pages.get(place).cloned().unwrap_or(Value::Null) });
        if pages.get(place) == Some(&json!("stuck")) {
            page["next"] = json!(place.to_string());
        } else if place + 1 < pages.len() {
            page["next"] = json!((place + 1).to_string());
        }
        Output::Json(page.into())
    }

    fn call(&mut self, step: &str, operation: &str, key: IdempotencyKey) -> Result<Output, Failure> {
        let known = self.places.get(&key).copied();
        if operation == "find" {
            let way = self.way(&format!("{step}?"));
            let found = if known.is_some() { json!({"id": step}) } else { Value::Null };
            return ended(way).map(|()| Output::Json(found.into()));
        }
        let way = self.way(step);
        if operation == "assess" {
            let score = if way == Way::Differs { 7.0 } else { 0.5 };
            let said = json!({
                "model": "triage", "model_version": "3", "score": score, "confidence": 0.9, "recommendation": "look",
                "features": {"words": self.asked.len()},
            });
            return ended(way).map(|()| Output::Json(said.into()));
        }
        if operation == "read" {
            let value = if way == Way::Differs { 0 } else { 7 };
            return ended(way).map(|()| Output::Json(json!({"id": step, "total": value}).into()));
        }
        if matches!(way, Way::Good | Way::LostAfter | Way::Differs) {
            match known {
                Some(place) if !self.honours_keys => self.done[place].repeats += 1,
                Some(_) => {}
                None => {
                    let (step, operation) = (step.to_owned(), operation.to_owned());
                    self.places.insert(key, self.done.len());
                    self.done.push(Done { step, operation, key, repeats: 0 });
                }
            }
        }
        ended(way).map(|()| Output::Json(json!({"id": step, "total": 7}).into()))
    }

    fn way(&mut self, step: &str) -> Way {
        let facet = step.find('~').map_or("", |place| &step[place..]);
        let plain = format!("{}{facet}", step.split(['[', '~']).next().unwrap_or_default());
        let told =
            [step, plain.as_str()].into_iter().find_map(|name| self.script.get_mut(name).and_then(VecDeque::pop_front));
        told.unwrap_or(Way::Good)
    }
}
