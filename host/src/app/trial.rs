//! Versions on trial: what they come to is counted here, and a canary that goes wrong is taken out at once, before the
//! hub has recorded that it is taken back.
//!
//! What a canary served counts when it is durable. Comparisons have no effect and leave no facts; they are made beside
//! the run, at most so many at a time, and left out when there is no room.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::{Notify, Semaphore};

use super::{
    calls::Caller,
    installation::{Installation, Plugin},
    runner::Shared,
};
use crate::{
    flow::{
        document::Document,
        machine::{effect::Invoke, is_defect},
    },
    model::{
        decision::Verdict,
        entry::{Entry, PluginUse},
        failure::{Failure, FailureKind},
        json::Json,
        limits::Limit,
        registry::Trial,
    },
    policy::binding::{self, Seen},
    ports::{
        invoker::{Answer, Authority, CallError, Invocation, Work},
        registry::{CountsView, Sample},
    },
};

/// Comparisons at the same time, over the whole hub.
const COMPARISONS_AT_ONCE: usize = 8;
/// How many differences are kept for people, the latest.
const SAMPLES_MAX: usize = 8;
/// How much of an answer is kept in a sample, characters.
const SAMPLE_CHARACTERS_MAX: usize = 300;

/// What all trials share.
pub struct Trials {
    room: Arc<Semaphore>,
    /// Told when a canary has gone too far.
    pub over: Notify,
}

impl Default for Trials {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(COMPARISONS_AT_ONCE)), over: Notify::new() }
    }
}

/// What one trial came to since it began, or since the hub started.
#[derive(Default)]
pub struct Counts {
    served: AtomicU64,
    failed: AtomicU64,
    traps: AtomicU64,
    deadlines: AtomicU64,
    compared: AtomicU64,
    diverged: AtomicU64,
    left_out: AtomicU64,
    over: AtomicBool,
    why: Mutex<Option<String>>,
    samples: Mutex<Vec<Sample>>,
}

impl Counts {
    /// Whether it serves nobody any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Why it serves nobody any more, if so.
    #[must_use]
    pub fn why(&self) -> Option<String> {
        self.is_over().then(|| lock(&self.why).clone()).flatten()
    }

    /// For people and programs.
    #[must_use]
    pub fn view(&self) -> CountsView {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        CountsView {
            served: of(&self.served),
            failed: of(&self.failed),
            traps: of(&self.traps),
            deadlines: of(&self.deadlines),
            compared: of(&self.compared),
            diverged: of(&self.diverged),
            left_out: of(&self.left_out),
            over: self.why(),
            samples: lock(&self.samples).clone(),
        }
    }

    /// Forgets what was quoted.
    pub(super) fn forget_samples(&self) {
        lock(&self.samples).clear();
    }

    fn add(number: &AtomicU64) {
        number.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes it out if it went too far; whether it was this that did so.
    fn judge(&self, trial: &Trial) -> bool {
        let Trial::Canary { thresholds, .. } = trial else { return false };
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let seen = Seen {
            traps: of(&self.traps),
            deadlines: of(&self.deadlines),
            compared: of(&self.compared),
            diverged: of(&self.diverged),
        };
        let Some(why) = binding::too_much(thresholds, seen) else { return false };
        lock(&self.why).get_or_insert(why);
        !self.over.swap(true, Ordering::AcqRel)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Counts and samples are at worst a little off after a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which of a run's calls went to a version on trial.
#[derive(Default)]
pub(super) struct Watch {
    out: HashMap<String, Arc<PluginUse>>,
}

impl Watch {
    /// Takes in durable facts.
    pub(super) fn observe(&mut self, shared: &Shared, pipeline: &str, entries: &[Entry]) {
        for entry in entries {
            let (step, failure) = match entry {
                Entry::StepStarted(started) => {
                    if let Some(plugin) = started.plugin.as_ref().filter(|plugin| plugin.canary) {
                        self.out.insert(started.step.clone(), Arc::clone(plugin));
                    }
                    continue;
                }
                Entry::Intent(intent) => {
                    if intent.plugin.canary {
                        self.out.insert(intent.step.clone(), Arc::clone(&intent.plugin));
                    }
                    continue;
                }
                _ if self.out.is_empty() => continue,
                Entry::StepDone(done) => (&done.step, None),
                Entry::AttemptFailed(failed) => (&failed.step, Some(&failed.failure)),
                _ => continue,
            };
            if let Some(used) = self.out.remove(step) {
                count(shared, pipeline, &used, failure);
            }
        }
    }
}

fn count(shared: &Shared, pipeline: &str, used: &PluginUse, failure: Option<&Failure>) {
    let installation = shared.installation.load();
    let Some((counts, trial)) = of(&installation, pipeline, used) else { return };
    let outcome = match failure {
        None => (&counts.served, "served"),
        Some(failure) if failure.code == "limit.deadline" => (&counts.deadlines, "deadline"),
        Some(failure) if is_defect(failure) && failure.code != "plugin.revoked" => (&counts.traps, "trap"),
        Some(_) => (&counts.failed, "failed"),
    };
    Counts::add(outcome.0);
    let labels = [("plugin", used.id.to_string()), ("outcome", outcome.1.to_owned())];
    metrics::counter!("crossdock_canary_calls_total", &labels).increment(1);
    if counts.judge(trial) {
        shared.trials.over.notify_one();
    }
}

/// The counts of the trial that a version is on, where it served.
fn of<'a>(installation: &'a Installation, pipeline: &str, used: &PluginUse) -> Option<(&'a Arc<Counts>, &'a Trial)> {
    // A connection's plugin is bound for all pipelines alike.
    let pipeline = (used.grant == 0).then_some(pipeline);
    let bound = installation.line(&used.id, pipeline)?;
    let candidate = bound.line.candidate.as_ref()?;
    let same = candidate.version.to_string() == used.version;
    same.then_some(()).and(bound.counts.as_ref()).map(|counts| (counts, &candidate.trial))
}

/// Evaluates the version that a trial holds against the one that served, on the same input, and counts what comes of it.
/// Returns at once: the run does not wait.
pub(super) fn compare(
    shared: &Arc<Shared>,
    installation: &Installation,
    run: &Caller,
    invoke: &Invoke,
    work: impl FnOnce() -> Work,
    result: &Result<Answer, CallError>,
) {
    let used = &invoke.plugin;
    let Some(bound) = installation.line(&used.id, Some(&run.plan.pipeline.name)) else { return };
    let (Some(candidate), Some(counts)) = (&bound.line.candidate, &bound.counts) else { return };
    let version = match (&candidate.trial, used.canary) {
        (Trial::Shadow, false) => Some(&candidate.version),
        (Trial::Canary { .. }, true) => bound.line.active.as_ref(),
        _ => None,
    };
    let Some(other) = version.and_then(|version| installation.version(&used.id, version)).cloned() else { return };
    if other.is(used) || other.live.is_revoked() || !matches!(result, Ok(_) | Err(CallError::Failure(_))) {
        return;
    }
    let Ok(room) = Arc::clone(&shared.trials.room).try_acquire_owned() else {
        return Counts::add(&counts.left_out);
    };
    let (counts, trial, served, task) =
        (Arc::clone(counts), candidate.trial.clone(), result.clone(), Arc::clone(shared));
    let call = Invocation {
        component: other.inspection.digest,
        work: work(),
        limits: other.limits,
        now: invoke.time,
        seed: invoke.seed,
        authority: Authority::default(),
    };
    let (input, run, step) = (invoke.input.clone(), run.id.to_string(), invoke.step.clone());
    shared.tasks.spawn(async move {
        let _room = room;
        let shadow = matches!(trial, Trial::Shadow);
        // What is revoked says nothing about a trial.
        let Some(answer) = other.live.unless_revoked(evaluate(&task, &other, call, &input)).await else { return };
        match &answer {
            Err(CallError::Limit(exceeded)) if shadow && exceeded.limit == Limit::Deadline => {
                Counts::add(&counts.deadlines);
            }
            Err(CallError::Trap { .. } | CallError::Contract { .. } | CallError::Limit(_)) if shadow => {
                Counts::add(&counts.traps);
            }
            // The active version's own trouble says nothing about the candidate.
            Err(
                CallError::Trap { .. }
                | CallError::Contract { .. }
                | CallError::Limit(_)
                | CallError::Unavailable { .. },
            ) => {
                return;
            }
            _ => {}
        }
        Counts::add(&counts.compared);
        let outcome = if is_same(&served, &answer) {
            "same"
        } else {
            Counts::add(&counts.diverged);
            let sample = Sample { run, step, served: said(&served), other: said(&answer) };
            let mut samples = lock(&counts.samples);
            if samples.len() >= SAMPLES_MAX {
                samples.remove(0);
            }
            samples.push(sample);
            "diverged"
        };
        let labels = [
            ("plugin", other.manifest.id.to_string()),
            ("mode", trial.as_str().to_owned()),
            ("outcome", outcome.to_owned()),
        ];
        metrics::counter!("crossdock_trial_comparisons_total", &labels).increment(1);
        if counts.judge(&trial) {
            task.trials.over.notify_one();
        }
    });
}

async fn evaluate(shared: &Shared, other: &Plugin, call: Invocation, input: &Document) -> Result<Answer, CallError> {
    if other.input.as_ref().is_some_and(|schema| !schema.is_valid(input.value())) {
        let failure = Failure::new(FailureKind::InvalidInput, "plugin.input", "the input does not follow its schema");
        return Err(CallError::Failure(failure));
    }
    shared.invoker.invoke(call).await.result
}

/// Whether two answers decide the same. What is said to people may differ, and a model's own name and version must.
fn is_same(one: &Result<Answer, CallError>, other: &Result<Answer, CallError>) -> bool {
    match (one, other) {
        (Ok(Answer::Verdict(one)), Ok(Answer::Verdict(other))) => {
            let output = |verdict: &Verdict| verdict.output.as_ref().map(Json::to_value);
            one.outcome == other.outcome && one.target == other.target && output(one) == output(other)
        }
        (Ok(Answer::Assessment(one)), Ok(Answer::Assessment(other))) => one.recommendation == other.recommendation,
        (Ok(Answer::Json(one)), Ok(Answer::Json(other))) => one == other || one.to_value() == other.to_value(),
        (Err(CallError::Failure(one)), Err(CallError::Failure(other))) => {
            one.kind == other.kind && one.code == other.code
        }
        _ => false,
    }
}

fn said(answer: &Result<Answer, CallError>) -> String {
    let text = match answer {
        Ok(Answer::Json(json)) => json.to_value().to_string(),
        Ok(Answer::Verdict(verdict)) => serde_json::to_string(verdict).unwrap_or_default(),
        Ok(Answer::Assessment(assessment)) => serde_json::to_string(assessment).unwrap_or_default(),
        Ok(_) => "events".to_owned(),
        Err(CallError::Failure(failure)) => failure.to_string(),
        Err(CallError::Limit(exceeded)) => exceeded.to_string(),
        Err(CallError::Trap { message } | CallError::Contract { message } | CallError::Unavailable { message }) => {
            message.clone()
        }
    };
    text.chars().take(SAMPLE_CHARACTERS_MAX).collect()
}
