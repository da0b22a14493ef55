//! Answers that are kept for as long as their publication says, and reads that are under way: who asks the same at the
//! same time waits for the same answer.
//!
//! An answer's age counts from when the remote was about to be asked, so that it is never given for longer than declared.
//! What is kept is in memory only, bounded in number and size; the oldest goes first.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture, future::Shared as Joined};
use tokio::sync::Semaphore;

use super::outward;
use crate::{
    app::runner::Shared,
    model::{id::Digest, timestamp::Timestamp},
    ports::apis::{ApiAnswer, ApiError, Origin},
};

/// Most answers that are kept.
const ANSWERS_MAX: usize = 8_192;
/// Most bytes of answers that are kept.
const ANSWERS_BYTES_MAX: usize = 64 << 20;
/// Most reads under way.
const READS_MAX: usize = 256;

/// What makes two reads the same.
pub(super) type Identity = [u8; 32];

/// How long an answer is good for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// As it is, milliseconds; 0: it is not kept, and nobody else is given it.
    pub(super) cache_ms: u64,
    /// After that while the remote gives none, milliseconds.
    pub(super) stale_ms: u64,
}

/// An answer of the remote.
#[derive(Clone, Debug)]
pub(super) struct Fetched {
    /// The document.
    pub(super) body: Bytes,
    /// Before the remote was asked.
    pub(super) asked: Timestamp,
}

type Outcome = Result<Kept, ApiError>;
type Flight = Joined<BoxFuture<'static, Outcome>>;

/// An answer as it is kept.
#[derive(Clone, Debug)]
struct Kept {
    body: Bytes,
    tag: Arc<str>,
    asked: Timestamp,
}

/// What is kept, and what is under way.
pub(super) struct Answers {
    inner: Mutex<Inner>,
    reads: Arc<Semaphore>,
}

#[derive(Default)]
struct Inner {
    kept: HashMap<Identity, Kept>,
    /// The same by age.
    ages: BTreeSet<(Timestamp, Identity)>,
    /// Of all that is kept.
    bytes: usize,
    flights: HashMap<Identity, Flight>,
}

impl Default for Answers {
    fn default() -> Self {
        Self { inner: Mutex::default(), reads: Arc::new(Semaphore::new(READS_MAX)) }
    }
}

impl Inner {
    fn keep(&mut self, identity: Identity, kept: Kept) {
        if self.kept.get(&identity).is_some_and(|there| there.asked > kept.asked) {
            return;
        }
        self.forget(identity);
        self.bytes += kept.body.len();
        self.ages.insert((kept.asked, identity));
        self.kept.insert(identity, kept);
        while self.bytes > ANSWERS_BYTES_MAX || self.kept.len() > ANSWERS_MAX {
            let Some((_, oldest)) = self.ages.first().copied() else { return };
            self.forget(oldest);
        }
    }

    fn forget(&mut self, identity: Identity) {
        if let Some(kept) = self.kept.remove(&identity) {
            self.ages.remove(&(kept.asked, identity));
            self.bytes = self.bytes.saturating_sub(kept.body.len());
        }
    }
}

impl Answers {
    /// The answer to a read: kept, or of a read that is under way, or of `ask`, which is only polled then.
    ///
    /// # Errors
    /// What `ask` says, if nothing that is kept may stand in for it.
    pub(super) async fn get(
        this: &Arc<Self>,
        shared: &Shared,
        identity: Identity,
        terms: Terms,
        ask: impl Future<Output = Result<Fetched, ApiError>> + Send + 'static,
    ) -> Result<ApiAnswer, ApiError> {
        let now = shared.clock.now();
        let kept = this.lock().kept.get(&identity).cloned();
        if let Some(kept) = kept.as_ref().filter(|kept| now.since(kept.asked) < terms.cache_ms) {
            return Ok(kept.answer(now, Origin::Kept));
        }
        let (outcome, origin) = match this.join(shared, identity, terms, ask) {
            Ok((flight, origin)) => (flight.await, origin),
            Err(busy) => (Err(busy), Origin::Remote),
        };
        let now = shared.clock.now();
        match (outcome, kept) {
            (Ok(answer), _) => Ok(answer.answer(now, origin)),
            (Err(error), Some(kept))
                if outward::is_outage(&error) && now.since(kept.asked) < terms.cache_ms + terms.stale_ms =>
            {
                Ok(kept.answer(now, Origin::Stale))
            }
            (Err(error), _) => Err(error),
        }
    }

    /// The read of this identity that is under way, or a new one. It goes on when whoever asked has gone away: others may
    /// wait for it, and the remote is asked already.
    fn join(
        self: &Arc<Self>,
        shared: &Shared,
        identity: Identity,
        terms: Terms,
        ask: impl Future<Output = Result<Fetched, ApiError>> + Send + 'static,
    ) -> Result<(Flight, Origin), ApiError> {
        let is_shared = terms.cache_ms > 0;
        let mut inner = self.lock();
        if let Some(flight) = inner.flights.get(&identity).filter(|_| is_shared) {
            return Ok((flight.clone(), Origin::Collapsed));
        }
        let permit = Arc::clone(&self.reads).try_acquire_owned().map_err(|_| outward::unavailable(1))?;
        let this = Arc::clone(self);
        let task = shared.tasks.spawn(async move {
            let outcome = ask.await.map(Kept::of);
            if is_shared || terms.stale_ms > 0 {
                let mut inner = this.lock();
                inner.flights.remove(&identity);
                if let Ok(kept) = &outcome {
                    inner.keep(identity, kept.clone());
                }
            }
            drop(permit);
            outcome
        });
        let this = Arc::clone(self);
        let flight = async move {
            task.await.unwrap_or_else(|error| {
                tracing::error!(%error, "a read of an API failed");
                this.lock().flights.remove(&identity);
                Err(outward::unavailable(outward::RETRY_AFTER_S))
            })
        };
        let flight = flight.boxed().shared();
        if is_shared {
            inner.flights.insert(identity, flight.clone());
        }
        Ok((flight, Origin::Remote))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it is held.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn of(Fetched { body, asked }: Fetched) -> Self {
        let tag = Digest::of(&body).to_string();
        let tag = tag.trim_start_matches("sha256:").chars().take(32).collect::<String>();
        Self { body, tag: tag.into(), asked }
    }

    fn answer(&self, now: Timestamp, origin: Origin) -> ApiAnswer {
        let age_s = now.since(self.asked).div_ceil(1_000);
        ApiAnswer { body: self.body.clone(), tag: self.tag.to_string(), age_s, origin }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{ANSWERS_BYTES_MAX, ANSWERS_MAX, Fetched, Inner, Kept};
    use crate::model::timestamp::Timestamp;

    fn kept(time: i64, bytes: usize) -> Kept {
        Kept::of(Fetched { body: Bytes::from(vec![b'x'; bytes]), asked: Timestamp::from_millis(time) })
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_goes_first() {
        let mut inner = Inner::default();
        let identity = |number: usize| {
            let mut identity = [0; 32];
            identity[..8].copy_from_slice(&number.to_be_bytes());
            identity
        };
        for number in 0..=ANSWERS_MAX {
            inner.keep(identity(number), kept(i64::try_from(number).unwrap(), 1));
        }
        assert_eq!((inner.kept.len(), inner.bytes, inner.ages.len()), (ANSWERS_MAX, ANSWERS_MAX, ANSWERS_MAX));
        assert!(!inner.kept.contains_key(&identity(0)) && inner.kept.contains_key(&identity(1)));
        inner.keep(identity(1), kept(0, 9));
        assert_eq!(inner.kept[&identity(1)].body.len(), 1, "a later answer is not replaced by an earlier one");
        inner.keep(identity(1), kept(100_000, ANSWERS_BYTES_MAX));
        assert_eq!((inner.kept.len(), inner.bytes, inner.ages.len()), (1, ANSWERS_BYTES_MAX, 1));
    }
}
