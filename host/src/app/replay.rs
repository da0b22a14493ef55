//! Replays what pure steps were given, as runs of the journal recorded it, with two versions of a plugin, and says where
//! they answer otherwise. Guests are deterministic and get the recorded time and seed, so a difference is a difference.
//!
//! It changes nothing, and takes nothing from runs that are under way: one call at a time, in the lowest lane, for so
//! long and no longer. An input that cannot be made again, or is not the recorded one, is counted and named.
//!
//! | module | does |
//! | --- | --- |
//! | [`compare`] | what differs between two answers |
//! | [`tally`] | counts it |

mod compare;
mod tally;

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use self::tally::{About, Tally};
use super::{
    calls::{bounded, fits, pure_failure, pure_output},
    facts::FactsError,
    gate::with_source,
    installation::{Installation, Plugin},
    runner::{Shared, tables_of},
};
use crate::{
    flow::{
        machine::{Found, Given, GivenError, Recorded, Wanted, given},
        plan::PureKind,
    },
    model::{entry::Entry, id::RunId, json::Json, lane::Lane, limits::Usage, replay::Report, timestamp::Timestamp},
    ports::{
        invoker::{Authority, Completed, Invocation, StepContext, Work},
        journal::StreamId,
    },
    store::disk::Store,
};

/// How many inputs are replayed unless told.
pub(super) const INPUTS_DEFAULT: u32 = 1_000;
/// How many inputs are replayed at most.
pub(super) const INPUTS_MAX: u32 = 20_000;
/// How long a replay takes at most: about half of what a request may, so that there is time for what rests on it.
const TIME_MAX: Duration = Duration::from_secs(30);
/// How much room the inputs of one run take at most, bytes.
const RUN_BYTES_MAX: usize = 64 << 20;

/// What is replayed.
pub(super) struct Job {
    /// The version that is looked at.
    pub(super) candidate: Arc<Plugin>,
    /// The version that it is held against.
    pub(super) against: Arc<Plugin>,
    /// Runs of this pipeline alone.
    pub(super) pipeline: Option<String>,
    /// Pipelines whose runs are left aside.
    pub(super) except: BTreeSet<String>,
    /// Calls from then on.
    pub(super) since: Timestamp,
    /// Files of archives that hold runs of that time, the latest first.
    pub(super) archives: Vec<u32>,
    /// At most so many, the latest runs first.
    pub(super) limit: u32,
}

/// Replays.
///
/// # Errors
/// Why it was given up: a version was revoked, or the hub stops.
pub(super) async fn replay(shared: &Arc<Shared>, store: &Store, job: &Job) -> Result<Report, String> {
    let begun = Instant::now();
    let installation = shared.installation.load_full();
    let runs = shared.index.changed_since(job.since, |pipeline| {
        job.pipeline.as_deref().is_none_or(|only| only == pipeline) && !job.except.contains(pipeline)
    });
    let mut tally = Tally::new(about(job, shared.clock.now()));
    if shared.index.has_forgotten(job.since) {
        tally.note("older runs that are not archived are no longer listed, and were not looked into");
    }
    let pipelines = callers(&installation, job);
    let mut looking = Looking { shared, installation, job, begun, tally };
    let mut seen = HashSet::new();
    for (run, _) in runs.into_iter().filter(|(_, pipeline)| pipelines.contains(pipeline)) {
        seen.insert(run);
        if !looking.look_into(run, None).await? {
            return Ok(looking.tally.report());
        }
    }
    // What ended long ago is not listed any more, and lies in the archive all the same.
    for file in &job.archives {
        if !looking.goes_on() {
            break;
        }
        let archived = match store.archived(*file, |_| true).await {
            Ok(archived) => archived,
            Err(error) => {
                tracing::error!(file, error = &error as &dyn std::error::Error, "an archive cannot be read");
                looking.tally.note("an archive cannot be read, and was not looked into: see the log");
                continue;
            }
        };
        for (stream, last) in archived {
            let StreamId::Run(run) = stream else { continue };
            if last < job.since || !seen.insert(run) {
                continue;
            }
            if !looking.look_into(run, Some(&pipelines)).await? {
                return Ok(looking.tally.report());
            }
        }
    }
    Ok(looking.tally.report())
}

/// A replay under way.
struct Looking<'a> {
    shared: &'a Arc<Shared>,
    installation: Arc<Installation>,
    job: &'a Job,
    begun: Instant,
    tally: Tally,
}

impl Looking<'_> {
    /// Whether there is room and time for more.
    fn goes_on(&mut self) -> bool {
        if self.tally.is_full() {
            self.tally.cut_short("limit");
            return false;
        }
        if self.begun.elapsed() >= TIME_MAX {
            self.tally.cut_short("time");
            return false;
        }
        true
    }

    /// Replays what a run's steps were given; whether to go on. `of` says which pipelines call the line, for a run of which
    /// the pipeline is not known yet.
    async fn look_into(&mut self, run: RunId, of: Option<&BTreeSet<String>>) -> Result<bool, String> {
        if !self.goes_on() {
            return Ok(false);
        }
        let (shared, job) = (self.shared, self.job);
        let read = shared.facts.read_whole(StreamId::Run(run)).await;
        if let Some(of) = of {
            let outline = match &read {
                Err(FactsError::Erased) => shared.facts.read(StreamId::Run(run)).await.ok(),
                _ => None,
            };
            let entries = outline.as_ref().or(read.as_ref().ok()).map(|(entries, _)| entries.as_slice());
            let pipeline = entries.unwrap_or_default().iter().find_map(|entry| match entry {
                Entry::RunStarted(started) => Some(&started.pipeline.name),
                _ => None,
            });
            let other = |name: &String| {
                !of.contains(name)
                    || job.pipeline.as_ref().is_some_and(|only| only != name)
                    || job.except.contains(name)
            };
            if pipeline.is_some_and(other) {
                return Ok(true);
            }
        }
        self.tally.look_into();
        let entries = match read {
            Ok((entries, _)) if entries.is_empty() => {
                self.tally.left_out("run.gone", "its archive was dropped", run, None);
                return Ok(true);
            }
            Ok((entries, _)) => entries,
            Err(FactsError::Erased) => {
                self.tally.left_out("content.erased", "the personal data in it was erased", run, None);
                return Ok(true);
            }
            Err(FactsError::Blob { source: None, .. }) => {
                self.tally.left_out("content.gone", "a document of it is not kept any more", run, None);
                return Ok(true);
            }
            Err(error) => {
                self.tally.left_out("run.unreadable", &with_source(&error), run, None);
                return Ok(true);
            }
        };
        match inputs(shared, &self.installation, job, run, entries).await {
            Ok(inputs) => self.replay_all(run, inputs).await,
            Err((code, why)) => {
                self.tally.left_out(code, &why, run, None);
                Ok(true)
            }
        }
    }

    /// Calls both versions with each input of a run; whether to go on.
    async fn replay_all(&mut self, run: RunId, inputs: Found) -> Result<bool, String> {
        let (shared, job, tally) = (self.shared, self.job, &mut self.tally);
        for _ in 0..inputs.beyond {
            tally.left_out("run.too-large", "its inputs take more room than there is for a run", run, None);
        }
        for given in inputs.given {
            if given.proven == Some(false) {
                let why = "the input that its facts give is not the recorded one";
                tally.left_out("input.differs", why, run, Some(&given.step));
                continue;
            }
            if tally.is_full() {
                tally.cut_short("limit");
                return Ok(false);
            }
            let left = TIME_MAX.saturating_sub(self.begun.elapsed());
            let both = async {
                let before = call(shared, &job.against, run, &given).await?;
                let after = call(shared, &job.candidate, run, &given).await?;
                Ok::<_, String>((before, after))
            };
            match tokio::time::timeout(left, both).await {
                Ok(answers) => {
                    let (before, after) = answers?;
                    tally.take(run, &given, before, after);
                }
                // What ran out is the replay's own time.
                Err(_) => {
                    tally.cut_short("time");
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

fn about(job: &Job, now: Timestamp) -> About {
    let named = |plugin: &Plugin| (plugin.manifest.version.clone(), plugin.inspection.digest);
    About {
        plugin: job.candidate.manifest.id.clone(),
        candidate: named(&job.candidate),
        against: named(&job.against),
        pipeline: job.pipeline.clone(),
        since: job.since,
        until: now,
        limit: job.limit,
    }
}

/// The pipelines of which some version calls the line.
fn callers(installation: &Installation, job: &Job) -> BTreeSet<String> {
    let id = &job.candidate.manifest.id;
    let calls = installation.plans.values().filter(|plan| plan.plugins().any(|(_, called)| called.id == *id));
    calls.map(|plan| plan.pipeline.name.clone()).collect()
}

/// What the line was given in a run, as far as it lies in the time that is asked for. Away from where runs are worked on:
/// a long one takes its time.
async fn inputs(
    shared: &Arc<Shared>,
    installation: &Arc<Installation>,
    job: &Job,
    run: RunId,
    entries: Vec<Entry>,
) -> Result<Found, (&'static str, String)> {
    let (hub, installation, plugin, since) =
        (Arc::clone(&shared.hub), Arc::clone(installation), job.candidate.manifest.id.clone(), job.since);
    let tables = tables_of(shared, &entries).await;
    let tables = tables.map_err(|error| ("content.gone", with_source(&error)))?;
    let made = tokio::task::spawn_blocking(move || {
        let wanted = Wanted { plugin: &plugin, since, bytes_max: RUN_BYTES_MAX, tables: &tables };
        given(run, &hub, &entries, &|digest| installation.plans.get(&digest).cloned(), wanted)
    });
    match made.await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error @ GivenError::NoPlan { .. })) => Err(("pipeline.missing", error.to_string())),
        Ok(Err(error @ GivenError::Replay { .. })) => Err(("run.unfit", with_source(&error))),
        Err(error) => Err(("run.unreadable", error.to_string())),
    }
}

/// Calls a version as the step called its own.
async fn call(shared: &Arc<Shared>, plugin: &Plugin, run: RunId, given: &Given) -> Result<(Recorded, Usage), String> {
    let _turn = shared.turns.pure.acquire(Lane::Bulk).await;
    if shared.stopping.is_cancelled() {
        return Err("the hub stops".to_owned());
    }
    let revoked = || format!("{}@{} was revoked meanwhile", plugin.manifest.id, plugin.manifest.version);
    if plugin.live.is_revoked() {
        return Err(revoked());
    }
    if let Err(failure) = fits(plugin.input.as_ref(), &given.input, "input", "plugin.input") {
        return Ok((Err(failure), Usage::default()));
    }
    let step = StepContext {
        run: run.to_string(),
        pipeline: given.pipeline.name.clone(),
        pipeline_version: given.pipeline.version.clone(),
        name: given.step.clone(),
        config: Json::empty_object(),
        attributes: Vec::new(),
    };
    let input = given.input.json().clone();
    let work = match given.kind {
        PureKind::Transform => Work::Transform { input, step },
        PureKind::Rule => Work::Rule { input, step },
        PureKind::Score => Work::Score { input, step },
    };
    let _calling = plugin.live.begin();
    let invoked = shared.invoker.invoke(Invocation {
        component: plugin.inspection.digest,
        work,
        limits: bounded(plugin, given.timeout_ms),
        now: given.time,
        seed: given.seed,
        authority: Authority::default(),
    });
    let Completed { result, usage, .. } = tokio::select! {
        biased;
        completed = invoked => completed,
        () = plugin.live.revoked() => return Err(revoked()),
    };
    Ok((result.map_err(pure_failure).and_then(|answer| pure_output(plugin, answer)), usage))
}
