//! How often a token is used, and whether that is too often. Counts are kept beside the tokens, within ten seconds: what
//! a crash takes of them is given back to whoever used them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::record::TokenRecord;
use crate::{
    model::{pace::Rate, principal::TokenId, timestamp::Timestamp},
    policy::flow_control::bucket::Bucket,
    ports::{
        access::{AuthError, Quota, TokenLimits, Usage},
        records::{RecordError, Records},
    },
};

/// How often counts are written down, milliseconds.
const KEEP_MS: u64 = 10_000;

/// What is kept of a token's use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    requests: u64,
    refused: u64,
    /// When the period began that is counted.
    period: Timestamp,
    in_period: u64,
    last_used: Option<Timestamp>,
}

struct State {
    kept: Kept,
    /// When it was written down.
    written: Timestamp,
    spike: Option<(u32, Bucket)>,
}

/// A token's use.
pub(super) struct Count(Mutex<State>);

impl Count {
    pub(super) fn new(now: Timestamp) -> Self {
        Self(Mutex::new(State { kept: Kept::default(), written: now, spike: None }))
    }

    /// As it was kept; nothing was used if it cannot be understood.
    pub(super) async fn read(records: &dyn Records, id: &TokenId, now: Timestamp) -> Result<Self, RecordError> {
        let stored = records.get(&key(id)).await?;
        let kept = stored.and_then(|stored| serde_json::from_slice(&stored.value).ok()).unwrap_or_default();
        Ok(Self(Mutex::new(State { kept, written: now, spike: None })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a use.
    ///
    /// # Errors
    /// If it is one too many.
    pub(super) fn take(&self, id: &TokenId, limits: TokenLimits, now: Timestamp) -> Result<(), AuthError> {
        let mut state = self.lock();
        state.kept.requests += 1;
        state.kept.last_used = Some(now);
        let taken = state.spike(id, limits, now).and_then(|()| state.quota(id, limits.quota, now));
        if taken.is_err() {
            state.kept.refused += 1;
        }
        taken
    }

    pub(super) fn last_used(&self) -> Option<Timestamp> {
        self.lock().kept.last_used
    }

    /// Whether it is to be written down.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let mut state = self.lock();
        let due = now.since(state.written) >= KEEP_MS;
        if due {
            state.written = now;
        }
        due
    }

    /// Writes it down. That it cannot is no reason to refuse anybody.
    pub(super) async fn keep(&self, records: &dyn Records, id: &TokenId) {
        let kept = self.lock().kept.clone();
        if kept == Kept::default() {
            return;
        }
        let Ok(value) = serde_json::to_vec(&kept) else { return };
        let written = async {
            let current = records.get(&key(id)).await?;
            records.put_if(&key(id), Bytes::from(value), current.map(|current| current.revision)).await
        };
        if let Err(error) = written.await {
            tracing::warn!(token = %id, %error, "the use of a token is not written down");
        }
    }

    pub(super) fn view(&self, record: &TokenRecord, now: Timestamp) -> Usage {
        let kept = self.lock().kept.clone();
        let period = record.limits.quota.map(|quota| begin(quota, now));
        Usage {
            token: record.id.clone(),
            name: record.name.clone(),
            requests: kept.requests,
            refused: kept.refused,
            in_period: period.map(|period| if period == kept.period { kept.in_period } else { 0 }),
            period_ends: record.limits.quota.map(|quota| begin(quota, now).plus_millis(quota.per.millis())),
            limits: record.limits,
            last_used: kept.last_used,
        }
    }
}

impl State {
    fn spike(&mut self, id: &TokenId, limits: TokenLimits, now: Timestamp) -> Result<(), AuthError> {
        let Some(per_second) = limits.per_second else { return Ok(()) };
        if self.spike.as_ref().is_none_or(|(of, _)| *of != per_second.get()) {
            let second = std::num::NonZeroU64::MIN.saturating_add(999);
            let rate = Rate { calls: per_second, per_ms: second, burst: Some(per_second) };
            self.spike = Some((per_second.get(), Bucket::new(rate, now)));
        }
        let taken = self.spike.as_mut().map_or(Ok(()), |(_, bucket)| bucket.take(now));
        taken.map_err(|_| AuthError::Spike { token: id.clone(), per_second: per_second.get() })
    }

    fn quota(&mut self, id: &TokenId, quota: Option<Quota>, now: Timestamp) -> Result<(), AuthError> {
        let Some(quota) = quota else { return Ok(()) };
        let period = begin(quota, now);
        if period != self.kept.period {
            (self.kept.period, self.kept.in_period) = (period, 0);
        }
        if self.kept.in_period >= quota.requests.get() {
            let next = period.plus_millis(quota.per.millis());
            return Err(AuthError::Quota {
                token: id.clone(),
                requests: quota.requests.get(),
                per: quota.per.as_str(),
                next,
                retry_after_s: next.since(now).div_ceil(1_000).max(1),
            });
        }
        self.kept.in_period += 1;
        Ok(())
    }
}

/// When the period began that a time is in.
fn begin(quota: Quota, now: Timestamp) -> Timestamp {
    let length = i64::try_from(quota.per.millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.millis() - now.millis().rem_euclid(length))
}

fn key(id: &TokenId) -> String {
    format!("usage/{id}")
}
