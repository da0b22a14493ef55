//! Acceptance: an event becomes durable together with what is to become of it, once.

use std::{collections::HashMap, sync::Arc};

use futures::future;

use super::{
    actors::Command,
    calls::EventScope,
    installation::Installation,
    intake,
    mailbox::KEPT_MS,
    personal,
    runner::{self, Shared},
};
use crate::{
    model::{
        entry::{Accepted, Entry, Start},
        event::Event,
        id::{AcceptanceId, RunId, SignalKey, SubjectKeyId},
        timestamp::Timestamp,
    },
    ports::{
        hub::{AcceptError, Acceptance},
        journal::{AppendError, StreamId, Version},
    },
};

/// The wait before it is looked what became of an acceptance, and the longest such wait, milliseconds.
const FIND_OUT_MS: (u64, u64) = (50, 5_000);

/// Accepts events from outside: all or none, and only of types that somebody knows.
///
/// # Errors
/// As [`AcceptError`] says; nothing was accepted then.
pub async fn external(shared: &Arc<Shared>, events: Vec<Event>) -> Result<Vec<Acceptance>, AcceptError> {
    let installation = shared.installation.load_full();
    if shared.stopping.is_cancelled() {
        return Err(AcceptError::Unavailable { reason: "the hub is stopping".to_owned() });
    }
    shared.facts.room().map_err(|reason| AcceptError::Unavailable { reason })?;
    let mut prepared = Vec::with_capacity(events.len());
    for (index, event) in events.into_iter().enumerate() {
        event.check().map_err(|source| AcceptError::Invalid { index, source })?;
        known(&installation, &event)?;
        let taken = installation.events.still_taken(&event, shared.clock.now());
        let schema = match taken.and_then(|()| installation.events.hold(&event)) {
            Ok(schema) => schema,
            Err(error) => {
                prepared.push(Prepared::Again(again(shared, &event).await?.ok_or(error)?));
                continue;
            }
        };
        let accepted = prepare(shared, &installation, event, schema, &[]).await?;
        if let Prepared::New(accepted) = &accepted {
            shared.intake.check(intake::lane(accepted), shared.actors.count())?;
        }
        prepared.push(accepted);
    }
    if prepared.len() > 1 {
        // A contradiction must refuse the batch before anything of it is stored.
        let mut digests = HashMap::new();
        for accepted in prepared.iter().map(Prepared::accepted) {
            let id = accepted.event.acceptance();
            if *digests.entry(id).or_insert(accepted.digest) != accepted.digest {
                return Err(contradiction(&accepted.event, id));
            }
            find(shared, accepted).await?;
        }
    }
    // In tasks of their own: a sender that goes away must not keep what is stored from being started.
    let stored = prepared.into_iter().map(|prepared| {
        let shared = Arc::clone(shared);
        shared.tasks.clone().spawn(async move {
            match prepared {
                Prepared::New(accepted) => store(&shared, accepted).await,
                Prepared::Again(accepted) => found(&shared, &accepted).await,
            }
        })
    });
    let outcomes = future::join_all(stored).await;
    outcomes
        .into_iter()
        .map(|outcome| {
            outcome.unwrap_or_else(|error| Err(AcceptError::Unavailable { reason: format!("the hub failed: {error}") }))
        })
        .collect()
}

/// Accepts an event that a run emits, or that the hub makes by itself. Its type need not be known to anybody; its data is
/// held to the schema of its type all the same. What it was made from may be sealed with keys.
///
/// # Errors
/// As [`AcceptError`] says; nothing was accepted then.
pub async fn internal(
    shared: &Arc<Shared>,
    event: Event,
    made_from: &[SubjectKeyId],
) -> Result<Acceptance, AcceptError> {
    let installation = shared.installation.load_full();
    let schema = match installation.events.hold(&event) {
        Ok(schema) => schema,
        Err(error) => return found(shared, &again(shared, &event).await?.ok_or(error)?).await,
    };
    match prepare(shared, &installation, event, schema, made_from).await? {
        Prepared::New(accepted) => store(shared, accepted).await,
        Prepared::Again(accepted) => found(shared, &accepted).await,
    }
}

fn known(installation: &Installation, event: &Event) -> Result<(), AcceptError> {
    if !installation.knows(&event.event_type) {
        let mut known: Vec<&str> = installation.event_types().into_iter().collect();
        known.sort_unstable();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(AcceptError::UnknownType { event_type: event.event_type.clone(), known });
    }
    Ok(())
}

/// What is to be done with an event.
enum Prepared {
    /// It is stored, with what is to become of it.
    New(Accepted),
    /// It was accepted before: its schema took it then and no longer does, or it holds personal data, and a duplicate is
    /// sealed with no key.
    Again(Accepted),
}

impl Prepared {
    fn accepted(&self) -> &Accepted {
        match self {
            Self::New(accepted) | Self::Again(accepted) => accepted,
        }
    }
}

/// The acceptance of an event that came before, exactly as it is now.
async fn again(shared: &Shared, event: &Event) -> Result<Option<Accepted>, AcceptError> {
    Ok(first(shared, event.acceptance()).await?.filter(|first| first.is_same(event.digest())))
}

/// Decides what becomes of an event, which is kept with the schema that it fits. Decided before it is stored, and stored
/// with it.
async fn prepare(
    shared: &Shared,
    installation: &Installation,
    mut event: Event,
    schema: Option<String>,
    made_from: &[SubjectKeyId],
) -> Result<Prepared, AcceptError> {
    let acceptance = event.acceptance();
    let digest = event.digest();
    event.data_schema = schema.or(event.data_schema);
    let scope = EventScope::new(&event);
    let wrong = |problem: String| AcceptError::Data { id: event.id.clone(), problem };
    let mut starts = Vec::new();
    for (name, pipeline) in &installation.pipelines {
        let plan = &pipeline.plan;
        let mut wanted = false;
        for trigger in plan.triggers.iter().filter(|trigger| trigger.event_type == event.event_type) {
            wanted |= match &trigger.filter {
                None => true,
                Some(filter) => filter
                    .is_true(&scope)
                    .map_err(|error| wrong(format!("the trigger of pipeline `{name}` fails on it: {error}")))?,
            };
        }
        if wanted {
            super::calls::key(plan, &event)
                .map_err(|error| wrong(format!("pipeline `{name}` finds no key in it: {error}")))?;
            let lane = intake::lane_of(plan, &scope);
            starts.push(Start { run: RunId::of(acceptance, name), pipeline: plan.pipeline.clone(), lane });
        }
    }
    let accepted = Accepted { time: shared.clock.now(), event, digest, starts, personal: None };
    let tags = personal::tags(installation, &accepted.event);
    if tags.is_none() && made_from.is_empty() {
        return Ok(Prepared::New(accepted));
    }
    if first(shared, acceptance).await?.is_some() {
        return Ok(Prepared::Again(accepted));
    }
    let personal = personal::of(shared, tags.as_deref(), &accepted.event, made_from).await?;
    Ok(Prepared::New(Accepted { personal, ..accepted }))
}

async fn store(shared: &Arc<Shared>, mut accepted: Accepted) -> Result<Acceptance, AcceptError> {
    // Until what comes of it is listed, the person's data is not erased.
    let _kept = match (&accepted.personal, shared.facts.keyring()) {
        (Some(personal), Some(keyring)) => Some(keyring.accept(&personal.keys).await.map_err(unavailable)?),
        _ => None,
    };
    // Waits that are due from now on wait until it is durable and offered, or not.
    let under_way = shared.mailbox.under_way(&*shared.clock);
    accepted.time = under_way.time;
    let id = accepted.event.acceptance();
    let runs: Vec<RunId> = accepted.starts.iter().map(|start| start.run).collect();
    let entry = Entry::Accepted(Box::new(accepted.clone()));
    let mut outcome =
        shared.facts.append(StreamId::Acceptance(id), Version::default(), std::slice::from_ref(&entry)).await;
    let unknown = matches!(outcome, Err(AppendError::Unknown { .. }));
    if unknown {
        outcome = shared.facts.append(StreamId::Acceptance(id), Version::default(), &[entry]).await;
    }
    match outcome {
        Ok(_) => {
            metrics::counter!("crossdock_events_accepted_total").increment(1);
            for start in &accepted.starts {
                runner::start(shared, &accepted, id, start);
            }
            signal(shared, id, &accepted);
            Ok(Acceptance { id, duplicate: false, runs })
        }
        Err(AppendError::Conflict) => found(shared, &accepted).await,
        Err(error) => {
            if unknown || matches!(error, AppendError::Unknown { .. }) {
                shared.tasks.spawn(find_out(Arc::clone(shared), id));
            }
            Err(AcceptError::Unavailable { reason: error.to_string() })
        }
    }
}

/// The answer about an event that was accepted before, after its runs were begun if nobody had.
async fn found(shared: &Arc<Shared>, accepted: &Accepted) -> Result<Acceptance, AcceptError> {
    let again = find(shared, accepted).await?.ok_or_else(|| AcceptError::Unavailable {
        reason: "the journal says that the event is there, and does not find it; try again".to_owned(),
    })?;
    start_missing(shared, accepted.event.acceptance()).await?;
    Ok(again)
}

/// Finds out what became of an acceptance whose sender was told that nobody knows: if it is stored, its runs begin, though
/// nobody sends it again.
async fn find_out(shared: Arc<Shared>, id: AcceptanceId) {
    let (mut delay_ms, longest_ms) = FIND_OUT_MS;
    while !shared.stopping.is_cancelled() {
        let due = shared.clock.now().plus_millis(delay_ms);
        tokio::select! {
            () = shared.clock.sleep_until(due) => {}
            () = shared.stopping.cancelled() => return,
        }
        // Only a store that takes appends again has been compared with its head.
        if shared.facts.health().is_ok() && start_missing(&shared, id).await.is_ok() {
            return;
        }
        delay_ms = (delay_ms * 2).min(longest_ms);
    }
}

/// Offers an accepted event to every run that waits for it, and keeps it for those that will.
pub fn signal(shared: &Arc<Shared>, acceptance: AcceptanceId, accepted: &Accepted) {
    for key in shared.installation.load().signal_keys(&accepted.event) {
        offer(shared, key, acceptance, accepted.time);
    }
}

fn offer(shared: &Arc<Shared>, key: SignalKey, acceptance: AcceptanceId, time: Timestamp) {
    for run in shared.mailbox.keep(key, time, acceptance) {
        runner::deliver(shared, run, Command::Signal { key, acceptance });
    }
}

/// The first acceptance of the same event, if there is one.
async fn find(shared: &Shared, accepted: &Accepted) -> Result<Option<Acceptance>, AcceptError> {
    let id = accepted.event.acceptance();
    let Some(first) = first(shared, id).await? else { return Ok(None) };
    if !first.is_same(accepted.digest) {
        return Err(contradiction(&accepted.event, id));
    }
    metrics::counter!("crossdock_events_duplicate_total").increment(1);
    let runs = first.starts.iter().map(|start| start.run).collect();
    Ok(Some(Acceptance { id, duplicate: true, runs }))
}

/// Starts the runs of an acceptance that nobody started: its sender never heard that it was stored.
async fn start_missing(shared: &Arc<Shared>, id: AcceptanceId) -> Result<(), AcceptError> {
    let Some(first) = first(shared, id).await?.filter(|first| !first.is_erased()) else { return Ok(()) };
    for start in first.starts.iter().filter(|start| !shared.index.contains(start.run)) {
        let stream = StreamId::Run(start.run);
        let begun = shared.facts.read(stream).await.map(|(entries, _)| !entries.is_empty());
        // Begun, settled, and so long ago that the list no longer shows it.
        if matches!(begun, Ok(false)) {
            runner::start(shared, &first, id, start);
        }
    }
    let kept_until = first.time.plus_millis(KEPT_MS);
    if shared.clock.now() < kept_until {
        // Nor was it offered to waits, if it does not lie there.
        let keys = shared.installation.load().signal_keys(&first.event);
        keys.into_iter()
            .filter(|key| !shared.mailbox.holds(*key, id))
            .for_each(|key| offer(shared, key, id, first.time));
    }
    Ok(())
}

fn unavailable(error: impl std::error::Error) -> AcceptError {
    AcceptError::Unavailable { reason: error.to_string() }
}

fn contradiction(event: &Event, first: AcceptanceId) -> AcceptError {
    AcceptError::Contradiction { id: event.id.clone(), source_uri: event.source.clone(), first }
}

/// The acceptance of this id, if there is one.
///
/// # Errors
/// If the journal cannot be read.
pub async fn first(shared: &Shared, id: AcceptanceId) -> Result<Option<Accepted>, AcceptError> {
    let (entries, _) = shared.facts.read(StreamId::Acceptance(id)).await.map_err(unavailable)?;
    Ok(entries.into_iter().find_map(|entry| match entry {
        Entry::Accepted(accepted) => Some(*accepted),
        _ => None,
    }))
}

#[cfg(test)]
mod rules;
#[cfg(test)]
mod tests;
