//! What a run's pure steps were given, made again from its facts: each input as the machine made it when the step began,
//! with the time and the seed of then, and what was recorded of the answer. Whoever calls the same version with it gets
//! the same answer.

use std::{collections::HashMap, sync::Arc};

use serde_json::json;

use super::{
    ReplayError, Run,
    calls::{self, Doing},
    executes,
    instance::{Facet, InstanceId},
    moving,
};
use crate::{
    flow::{
        document::Document,
        expression::EvaluateError,
        plan::{Action, Plan, PureKind},
    },
    model::{
        entry::{Entry, Output, PipelineUse, PluginUse},
        failure::Failure,
        id::{Digest, PluginId, RunId, seed},
        json::Json,
        table::TableUse,
        timestamp::Timestamp,
    },
};

/// What a pure step was given, and what came of it.
#[derive(Clone, Debug)]
pub struct Given {
    /// The step's path.
    pub step: String,
    /// What the run executed then.
    pub pipeline: PipelineUse,
    /// Which interface was called.
    pub kind: PureKind,
    /// Exactly what ran.
    pub plugin: Arc<PluginUse>,
    /// Its input.
    pub input: Document,
    /// Whether the input is proven to be the one of then, by the digest recorded with it; absent: none was recorded.
    pub proven: Option<bool>,
    /// What its clock showed.
    pub time: Timestamp,
    /// What its randomness came from.
    pub seed: [u8; 32],
    /// Longest attempt, milliseconds, if the pipeline bounds it.
    pub timeout_ms: Option<u64>,
    /// What is recorded of its latest attempt; absent: nothing yet.
    pub recorded: Option<Recorded>,
    again: bool,
}

#[cfg(test)]
impl Given {
    /// For tests of what is done with it.
    pub(crate) fn new(
        step: &str,
        pipeline: PipelineUse,
        (kind, plugin): (PureKind, Arc<PluginUse>),
        input: Document,
        recorded: Option<Recorded>,
    ) -> Self {
        let (step, time) = (step.to_owned(), Timestamp::default());
        let (seed, proven, timeout_ms, again) = ([0; 32], Some(true), None, false);
        Self { step, pipeline, kind, plugin, input, proven, time, seed, timeout_ms, recorded, again }
    }
}

/// What is looked for in a run.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Calls of this line.
    pub plugin: &'a PluginId,
    /// Calls from then on.
    pub since: Timestamp,
    /// How much room inputs take at most, bytes: those that begin beyond it are only counted.
    pub bytes_max: usize,
    /// The reference tables that [`tables_of`](super::tables_of) names, by digest.
    pub tables: &'a HashMap<Digest, Document>,
}

/// What was found in a run.
#[derive(Debug, Default)]
pub struct Found {
    /// In the order in which they began.
    pub given: Vec<Given>,
    /// How many more there are, for which there was no room.
    pub beyond: u64,
    bytes: usize,
}

/// What is recorded of an attempt.
pub type Recorded = Result<Output, Failure>;

/// Why inputs cannot be made again.
#[derive(Debug, thiserror::Error)]
pub enum GivenError {
    /// The facts do not fit the pipeline.
    #[error("its facts do not fit its pipeline")]
    Replay {
        /// Why.
        #[from]
        source: ReplayError,
    },
    /// The pipeline that it executed is not there.
    #[error("the pipeline that it executed, digest {digest}, is not installed")]
    NoPlan {
        /// Its digest.
        digest: Digest,
    },
}

/// What the pure steps of a plugin's line were given in a run. What a run did before it
/// was moved is read as the version says that it executed then.
///
/// # Errors
/// As [`GivenError`] says; what lies before it is lost with it.
pub fn given(
    run: RunId,
    hub: &Arc<str>,
    entries: &[Entry],
    plans: &dyn Fn(Digest) -> Option<Arc<Plan>>,
    wanted: Wanted<'_>,
) -> Result<Found, GivenError> {
    let moves = entries.iter().enumerate().filter(|(_, entry)| matches!(entry, Entry::Moved(_)));
    let ends: Vec<usize> = moves.map(|(place, _)| place).chain([entries.len()]).collect();
    let (mut found, mut begin) = (Found::default(), 0);
    for end in ends {
        let facts = entries.get(..end).unwrap_or_default();
        let used = executes(facts).ok_or(ReplayError::NoStart { run })?.clone();
        let plan = plans(used.digest).ok_or(GivenError::NoPlan { digest: used.digest })?;
        stretch((run, hub), facts, begin, (&plan, &used), wanted, &mut found)?;
        begin = end;
    }
    Ok(found)
}

/// What began from a fact on, all of it under one version.
fn stretch(
    (id, hub): (RunId, &Arc<str>),
    facts: &[Entry],
    begin: usize,
    (plan, used): (&Arc<Plan>, &PipelineUse),
    wanted: Wanted<'_>,
    found: &mut Found,
) -> Result<(), GivenError> {
    let facts = moving::renamed(facts);
    let Some((Entry::RunStarted(started), rest)) = facts.split_first() else {
        return Err(ReplayError::NoStart { run: id }.into());
    };
    let (mut run, _) = Run::start(id, Arc::clone(plan), Arc::clone(hub), (**started).clone());
    run.tables.clone_from(wanted.tables);
    // Where the latest call of each step stands in `found`.
    let mut latest: HashMap<&str, usize> = HashMap::new();
    for (place, entry) in rest.iter().enumerate() {
        match entry {
            Entry::StepDone(done) => {
                if let Some(given) = latest.get(done.step.as_str()).and_then(|place| found.given.get_mut(*place)) {
                    run.given_again(given);
                    given.recorded = Some(Ok(done.output.clone()));
                }
            }
            Entry::AttemptFailed(failed) => {
                if let Some(given) = latest.get(failed.step.as_str()).and_then(|place| found.given.get_mut(*place)) {
                    run.given_again(given);
                    given.recorded = Some(Err(failed.failure.clone()));
                    // Tried again, it is given what the run says by then.
                    given.again = failed.next.is_some();
                }
            }
            _ => {}
        }
        run.apply(entry)?;
        let (true, Entry::StepStarted(started)) = (place + 1 >= begin, entry) else { continue };
        let Some(plugin) = started.plugin.clone().filter(|plugin| plugin.id == *wanted.plugin) else { continue };
        let Some(instance) = run.find(&started.step) else { continue };
        let Doing::Pure { kind, .. } = calls::doing(plan, run.instance(instance)) else { continue };
        run.gather(instance);
        // A call that could not be begun for want of its input was none.
        let Ok(input) = run.given(instance) else { continue };
        latest.remove(started.step.as_str());
        if started.time < wanted.since {
            continue;
        }
        found.bytes = found.bytes.saturating_add(input.json().as_bytes().len());
        if found.bytes > wanted.bytes_max {
            found.beyond += 1;
            continue;
        }
        latest.insert(&started.step, found.given.len());
        found.given.push(Given {
            kind,
            plugin,
            proven: started.input.map(|recorded| recorded == Digest::of(input.json().as_bytes())),
            input,
            time: started.time,
            seed: seed(id, &started.step),
            timeout_ms: plan.node(run.instance(instance).node).timeout_ms,
            step: started.step.clone(),
            pipeline: used.clone(),
            recorded: None,
            again: false,
        });
    }
    Ok(())
}

impl Run {
    /// The input of an instance's pure call.
    pub(super) fn given(&self, id: InstanceId) -> Result<Document, EvaluateError> {
        self.given_with(id, &self.instance(id).tables)
    }

    /// The same with these reference tables.
    pub(super) fn given_with(&self, id: InstanceId, tables: &[TableUse]) -> Result<Document, EvaluateError> {
        match calls::with_of(&self.plan, self.instance(id)) {
            Some(with) => self.render_given(self.instance(id).frame, with, tables),
            None => Ok(self.fold_input(id)),
        }
    }

    /// What the latest attempt was given, if it was not the first one.
    fn given_again(&self, given: &mut Given) {
        if std::mem::take(&mut given.again)
            && let Some(input) = self.find(&given.step).and_then(|id| self.given(id).ok())
            && input != given.input
        {
            (given.input, given.proven) = (input, None);
        }
    }

    /// Before a fold: what left each item, which is no fact of its own.
    fn gather(&mut self, id: InstanceId) {
        let plan = Arc::clone(&self.plan);
        let (Facet::Reduce(_), Some(main)) = (self.instance(id).facet, self.instance(id).main) else { return };
        let Action::For { output, body, .. } = &plan.node(self.instance(main).node).action else { return };
        let missing = self.instance(main).more.as_ref().map_or_else(Vec::new, |more| {
            let results = more.results.iter().enumerate();
            results.filter(|(_, result)| result.is_none()).map(|(place, _)| place).collect()
        });
        for place in missing {
            let frame = self.enter(main, *body, u32::try_from(place + 1).ok());
            let left = output.as_ref().and_then(|output| self.render(frame, output).ok());
            let left = left.unwrap_or_else(|| Document::new(Json::null()));
            if let Some(result) =
                self.instances.get_mut(main.0).and_then(|instance| instance.more().results.get_mut(place))
            {
                *result = Some(left);
            }
        }
    }

    /// What a fold is given: what came of the items before, and what left this one.
    fn fold_input(&self, id: InstanceId) -> Document {
        let instance = self.instance(id);
        let null = || Document::new(Json::null());
        let (Facet::Reduce(item), Some(main)) = (instance.facet, instance.main) else { return null() };
        let place = usize::try_from(item).unwrap_or(1);
        let before = (item > 1)
            .then(|| self.instance(main).facet(Facet::Reduce(item - 1)))
            .flatten()
            .and_then(|before| self.instance(before).output.clone())
            .unwrap_or_else(null);
        let next = self
            .instance(main)
            .more
            .as_ref()
            .and_then(|more| more.results.get(place.checked_sub(1)?)?.clone())
            .unwrap_or_else(null);
        Document::from(json!({ "so_far": before.value(), "next": next.value() }))
    }
}
