//! Reference tables in a step's input: the version that serves when the step begins, and no other from then on.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    super::{
        InstanceId, Run,
        effect::{Answer, Bindings, Effect, Input, OperationUse, Pick, Unserved},
        tables_of,
    },
    given::{Installed, begun, id, plan},
};
use crate::{
    flow::{
        document::Document,
        plan::{Plan, PluginRange, TableRange},
    },
    model::{
        entry::{Entry, Output, PluginUse},
        failure::{Failure, FailureKind},
        id::Digest,
        json::Json,
        limits::Usage,
        manifest::Doubt,
        table::TableUse,
        timestamp::Timestamp,
    },
};

const STEPS: &str = "
- id: price
  transform: test/x@^1
  tables: { prices: retail/prices@^1 }
  retry: { on: retryable, attempts: 3, first: 1s, max: 1s }
  with: { price: \"${ tables.prices[event.data.sku].price }\", list: \"${ tables.prices }\" }
- id: after
  transform: test/x@^1
  tables: { list: retail/prices@^1 }
  with: ${ tables.list['A'].price }
";

/// Tables of which one version serves.
struct Serves(&'static str);

fn rows(price: &str) -> Document {
    Document::from(json!({ "A": { "sku": "A", "price": price } }))
}

impl Bindings for Serves {
    fn plugin(&self, range: &PluginRange, pick: Pick<'_>) -> Result<Arc<PluginUse>, Unserved> {
        Installed { doubt: Doubt::None, grant: 1 }.plugin(range, pick)
    }

    fn operation(&self, connection: &str, operation: &str, pick: Pick<'_>) -> Result<OperationUse, Unserved> {
        Installed { doubt: Doubt::None, grant: 1 }.operation(connection, operation, pick)
    }

    fn table(&self, wanted: &TableRange) -> Result<(TableUse, Document), Unserved> {
        let rows = rows(self.0);
        let used = TableUse {
            alias: wanted.alias.clone(),
            name: wanted.name.clone(),
            version: format!("1.0.{}", self.0),
            digest: Digest::of(rows.json().as_bytes()),
        };
        Ok((used, rows))
    }
}

/// What a turn recorded, and the call that it made of a plugin, with its input.
fn turn(run: &mut Run, input: Input, now: i64, serves: &'static str) -> (Vec<Entry>, Option<(InstanceId, Value)>) {
    let (mut recorded, mut called) = (Vec::new(), None);
    for effect in run.decide(input, Timestamp::from_millis(now), &Serves(serves)) {
        match effect {
            Effect::Record(entry) => recorded.push(entry),
            Effect::Invoke(invoke) => called = Some((invoke.instance, invoke.input.value().clone())),
            _ => {}
        }
    }
    (recorded, called)
}

fn answer(instance: InstanceId, result: Result<Output, Failure>) -> Input {
    let usage = Usage::default();
    Input::Answer(Box::new(Answer { instance, result, usage, log: Vec::new(), annotations: Vec::new() }))
}

/// The run after a crash, with the rows that its facts name.
fn replayed(plan: &Arc<Plan>, entries: &[Entry], known: &[&str]) -> Run {
    let all = known.iter().map(|price| {
        let rows = rows(price);
        (Digest::of(rows.json().as_bytes()), rows)
    });
    let all: std::collections::HashMap<_, _> = all.collect();
    let wanted = tables_of(entries).into_iter().map(|digest| (digest, all[&digest].clone()));
    Run::replay_with(id(), Arc::clone(plan), "hub".into(), entries, wanted.collect()).expect("replays")
}

fn versions(entries: &[Entry]) -> Vec<(String, String)> {
    let given = entries.iter().filter_map(|entry| match entry {
        Entry::StepStarted(started) => Some((started.step.clone(), started.tables.first()?.version.clone())),
        _ => None,
    });
    given.collect()
}

#[test]
fn what_a_crash_took_is_computed_again_with_the_rows_that_it_began_with() {
    let plan = plan(STEPS);
    let (mut run, first) = Run::start(id(), Arc::clone(&plan), "hub".into(), begun(json!({ "sku": "A" })));
    let mut journal = vec![first];
    let (recorded, called) = turn(&mut run, Input::Resume, 1_000, "1");
    journal.extend(recorded);
    assert_eq!(versions(&journal), [("price".to_owned(), "1.0.1".to_owned())]);
    let (_, called) = called.expect("a call");
    assert_eq!(called, json!({ "price": "1", "list": { "A": { "sku": "A", "price": "1" } } }));
    let entry = serde_json::to_string(&journal[1]).expect("json");
    assert!(!entry.contains("sku"), "the journal holds the digest, not the rows: {entry}");

    // The hub stops before the answer is recorded, and meanwhile another version is promoted.
    let mut run = replayed(&plan, &journal, &["1", "2"]);
    let (recorded, again) = turn(&mut run, Input::Resume, 9_000, "2");
    let (instance, again) = again.expect("a call");
    assert_eq!(again, called, "bit for bit");
    assert!(versions(&recorded).is_empty(), "it has begun before");

    // Its answer is the step's, and the next step is given what serves by now.
    let done = answer(instance, Ok(Output::Json(Json::parse("1").expect("json"))));
    let (recorded, called) = turn(&mut run, done, 9_100, "2");
    assert_eq!(versions(&recorded), [("after".to_owned(), "1.0.2".to_owned())]);
    assert_eq!(called.map(|(_, input)| input), Some(json!("2")));
}

#[test]
fn a_further_attempt_is_given_the_rows_of_the_first() {
    let plan = plan(STEPS);
    let (mut run, first) = Run::start(id(), Arc::clone(&plan), "hub".into(), begun(json!({ "sku": "A" })));
    let mut journal = vec![first];
    let (recorded, called) = turn(&mut run, Input::Resume, 1_000, "1");
    journal.extend(recorded);
    let (instance, called) = called.expect("a call");
    let failed = answer(instance, Err(Failure::new(FailureKind::Retryable, "busy", "later")));
    journal.extend(turn(&mut run, failed, 1_100, "2").0);

    for mut run in [run, replayed(&plan, &journal, &["1", "2"])] {
        let (recorded, again) = turn(&mut run, Input::Wake, 60_000, "2");
        assert!(versions(&recorded).is_empty(), "it goes on as it began: {recorded:?}");
        assert_eq!(again.map(|(_, input)| input), Some(called.clone()));
    }
}

#[test]
fn a_row_that_is_not_there_is_a_failure_that_says_so() {
    let plan = plan(STEPS);
    let (mut run, _) = Run::start(id(), plan, "hub".into(), begun(json!({ "sku": "B" })));
    let (recorded, called) = turn(&mut run, Input::Resume, 1_000, "1");
    assert!(called.is_none());
    let said = format!("{recorded:?}");
    assert!(said.contains("No such key: B"), "{said}");
}
