//! What people do about personal data, as the surfaces ask for it: see what is held, and erase it.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};

use super::Hub;
use crate::{
    app::{
        gate::with_source,
        people,
        personal::{
            erase::{record, recorded},
            keyring::Keyring,
        },
        registry,
    },
    model::{
        entry::Control,
        id::{RunId, SubjectKeyId},
        run::{RunState, RunSummary},
    },
    ports::{
        clock::Clock as _,
        hub::{ControlRequest, Hub as _},
        journal::StreamId,
        privacy::{Erased, ErasedKey, Erasure, Held, Privacy, PrivacyError},
    },
};

/// How long runs that are cancelled for an erasure have to end.
const END_WAIT: Duration = Duration::from_secs(30);
/// Longest name of a person, bytes.
const SUBJECT_BYTES_LIMIT: usize = 1 << 10;
/// Runs that a refusal names.
const NAMED_MAX: usize = 5;

fn unavailable(error: impl std::error::Error) -> PrivacyError {
    PrivacyError::Unavailable { reason: with_source(&error) }
}

fn check(subject: &str) -> Result<(), PrivacyError> {
    let problem = match subject.len() {
        0 => "`subject` is empty: name the person as the events do".to_owned(),
        length if length > SUBJECT_BYTES_LIMIT => {
            format!("`subject` is {length} bytes, the limit is {SUBJECT_BYTES_LIMIT}")
        }
        _ => return Ok(()),
    };
    Err(PrivacyError::Invalid { problem })
}

impl Privacy for Hub {
    fn held<'a>(&'a self, subject: &'a str) -> BoxFuture<'a, Result<Held, PrivacyError>> {
        self.look_up(subject).boxed()
    }

    fn erase(&self, erasure: Erasure) -> BoxFuture<'_, Result<Erased, PrivacyError>> {
        self.destroy(erasure).boxed()
    }
}

impl Hub {
    fn keyring(&self) -> Result<&Arc<Keyring>, PrivacyError> {
        let none = || PrivacyError::Unavailable { reason: "this hub seals nothing".to_owned() };
        self.shared.facts.keyring().ok_or_else(none)
    }

    async fn look_up(&self, name: &str) -> Result<Held, PrivacyError> {
        check(name)?;
        let keyring = self.keyring()?;
        let Some(subject) = keyring.known(name).await.map_err(unavailable)? else { return Ok(Held::default()) };
        let erased = recorded(&*self.shared.records, Some(subject)).await.map_err(unavailable)?;
        let erased = erased.into_iter().map(|(key, erased)| ErasedKey { key, erased }).collect();
        let current = keyring.current(subject).map_err(unavailable)?;
        let runs = match current {
            Some(current) => self.need(current.key).await?,
            None => Vec::new(),
        };
        let (key, since) = (current.map(|current| current.key), current.map(|current| current.made));
        Ok(Held { subject: Some(subject), key, since, erased, runs })
    }

    async fn destroy(&self, erasure: Erasure) -> Result<Erased, PrivacyError> {
        let Erasure { subject: name, who, end_runs } = erasure;
        check(&name)?;
        let cause = registry::cause(&who).map_err(|error| PrivacyError::Invalid { problem: error.to_string() })?;
        if cause.reason.contains(&name) {
            let problem = "`reason` names the person, and the audit log keeps it for ever: give a reference instead";
            return Err(PrivacyError::Invalid { problem: problem.to_owned() });
        }
        let keyring = self.keyring()?;
        let nothing = |subject| Erased { subject, key: None, ended: Vec::new() };
        let Some(subject) = keyring.known(&name).await.map_err(unavailable)? else { return Ok(nothing(None)) };
        let _held = keyring.hold_off(subject).await.map_err(unavailable)?;
        let Some(current) = keyring.current(subject).map_err(unavailable)? else { return Ok(nothing(Some(subject))) };
        let mut ended = Vec::new();
        let mut open = self.need(current.key).await?;
        if end_runs && !open.is_empty() {
            self.end(&open, &who.actor).await;
            ended = open.iter().map(|run| run.id).collect();
            open = self.need(current.key).await?;
        }
        if !open.is_empty() {
            return Err(needed(open, end_runs));
        }
        record(&self.audit, &*self.shared.records, &cause, current.key, self.clock.now()).await.map_err(unavailable)?;
        keyring.destroy(current.key).await.map_err(unavailable)?;
        self.subscriptions.forget(current.key);
        self.shared.installation.load().forget_samples();
        Ok(Erased { subject: Some(subject), key: Some(current.key), ended })
    }

    /// The runs that have not ended and hold data under a key, those that are accepted and have not begun included.
    async fn need(&self, key: SubjectKeyId) -> Result<Vec<RunSummary>, PrivacyError> {
        let facts = &self.shared.facts;
        let mut found = Vec::new();
        for summary in self.shared.index.open() {
            let mut keys = facts.sealed_with(StreamId::Run(summary.id)).await.map_err(unavailable)?;
            keys.extend(facts.sealed_with(StreamId::Acceptance(summary.acceptance)).await.map_err(unavailable)?);
            if keys.contains(&key) {
                found.push(summary);
            }
        }
        Ok(found)
    }

    /// Cancels runs and waits for their end, for a time. Those that cannot end now are found again.
    async fn end(&self, runs: &[RunSummary], actor: &str) {
        for run in runs {
            let action = match run.state {
                RunState::Parked => Control::Close { compensate: false },
                _ => Control::Cancel { compensate: false },
            };
            let reason = "the personal data that it works with is to be erased".to_owned();
            let request = ControlRequest { actor: actor.to_owned(), action, reason };
            if let Err(error) = people::control(&self.shared, run.id, request).await {
                tracing::info!(run = %run.id, %error, "a run cannot be ended for an erasure");
            }
        }
        let ids: Vec<RunId> = runs.iter().map(|run| run.id).collect();
        self.settle(&ids, END_WAIT).await;
    }
}

fn needed(runs: Vec<RunSummary>, tried: bool) -> PrivacyError {
    let named: Vec<String> = runs.iter().take(NAMED_MAX).map(|run| run.id.to_string()).collect();
    let (count, named) = (runs.len(), named.join(", "));
    let instead = if tried {
        "they were cancelled and cannot end yet: a write in doubt has to be resolved first (`crossdock run show`, `run \
         resolve`); then ask again"
    } else {
        "without it they can neither go on nor undo what they did. Let them end, or cancel them (`crossdock run cancel`); or \
         ask with `end_runs`, which cancels them and leaves what they did in place"
    };
    PrivacyError::RunsOpen {
        problem: format!("{count} runs that have not ended need the data, {named}: {instead}"),
        runs,
    }
}
