//! What the hub signs, sent to somebody else: each checkpoint that is the latest, until they have taken it. What they keep is
//! an anchor: whoever holds it can tell later that something is missing.
//!
//! Nothing waits for it: the journal goes on whether it is taken or not. One that is not taken is sent again, later and later,
//! or the next one in its place, which says more. What was taken is kept in `<data>/audit/anchored.json`, which only saves
//! sending it again.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex as Lock, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{
    Audit, AuditError,
    checkpoints::{self, CheckpointError},
    key::{CHECKPOINTS_FILE, FOLDER},
};
use crate::{
    app::{
        outlet::Outlet,
        posting::{self, Message},
        runner::Shared,
        triggers::retry_at,
    },
    model::{
        anchor::{Anchor, AnchorView, Reached},
        audit::{Cause, SignedCheckpoint},
        id::{ChainHash, Digest},
        timestamp::Timestamp,
    },
    net::egress::Gateway,
    policy::{
        delivery::{self, Verdict},
        egress::Origin,
    },
    ports::egress::Egress,
};

/// The record that says which anchor is declared.
const RECORD: &str = "anchor";
/// What was taken.
const ANCHORED_FILE: &str = "anchored.json";
/// The longest that an anchor may ask to be left alone, milliseconds: an hour.
const RETRY_AFTER_MS_MAX: u64 = 3_600_000;
/// The longest that a stop waits for the anchor to take the last checkpoint.
const LAST_LIMIT: Duration = Duration::from_secs(3);
/// After how many periods without being taken a checkpoint is late.
const PERIODS_LATE: u64 = 3;

/// Why an anchor that is declared does not count.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// It does not hold.
    #[error("`[audit.anchor]` in hub.toml does not hold: {problem}")]
    Refused {
        /// What, and what to change.
        problem: String,
    },
    /// That it is declared cannot be recorded.
    #[error("which anchor is declared cannot be recorded")]
    Audit {
        /// Why.
        #[from]
        source: AuditError,
    },
}

/// What an anchor has taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Taken {
    /// Digest of the URL that took it; the URL may hold a token.
    place: Digest,
    /// Up to which batch.
    batch: u64,
    /// The hash of that batch's header.
    chain: ChainHash,
    /// When the hub signed it.
    time: Timestamp,
}

/// An anchor that is declared, and the way to it.
struct Declared {
    anchor: Anchor,
    origin: String,
    place: Digest,
    outlet: Arc<dyn Egress>,
}

/// How it stands.
#[derive(Default)]
struct Standing {
    /// The latest checkpoint.
    signed: Option<SignedCheckpoint>,
    taken: Option<Taken>,
    /// When the first checkpoint was signed that is not taken.
    behind_since: Option<Timestamp>,
    failures: u32,
    cause: Option<String>,
}

/// The anchor of a hub. Shared behind an `Arc`.
pub struct Anchoring {
    shared: Arc<Shared>,
    gateway: Arc<Gateway>,
    audit: Arc<Audit>,
    path: PathBuf,
    declared: ArcSwapOption<Declared>,
    standing: Lock<Standing>,
    /// Told when there is something to send.
    due: Notify,
}

impl Anchoring {
    /// Of a data folder. Nothing is sent before an anchor is declared.
    ///
    /// # Errors
    /// If what the hub signed cannot be read.
    pub fn open(
        shared: Arc<Shared>,
        gateway: Arc<Gateway>,
        audit: Arc<Audit>,
        data: &Path,
    ) -> Result<Self, CheckpointError> {
        let folder = data.join(FOLDER);
        let path = folder.join(ANCHORED_FILE);
        let signed = checkpoints::read(&folder.join(CHECKPOINTS_FILE))?;
        let taken = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice::<Taken>(&bytes).ok(),
            Err(_) => None,
        };
        let beyond =
            |signed: &&SignedCheckpoint| taken.as_ref().is_none_or(|taken| signed.checkpoint.batch > taken.batch);
        let behind_since = signed.iter().find(beyond).map(|signed| signed.checkpoint.time);
        let standing = Standing { signed: signed.last().cloned(), taken, behind_since, ..Standing::default() };
        let (declared, standing, due) = (ArcSwapOption::empty(), Lock::new(standing), Notify::new());
        Ok(Self { shared, gateway, audit, path, declared, standing, due })
    }

    /// Takes what an operator's configuration declares; recorded in the audit log if it is another than before.
    ///
    /// # Errors
    /// If it does not hold, or cannot be recorded.
    pub async fn configure(&self, cause: &Cause, wanted: Option<&Anchor>) -> Result<(), AnchorError> {
        let records = &*self.shared.records;
        let Some(anchor) = wanted else {
            self.audit.delete_as(records, cause, "anchor.remove", RECORD).await?;
            self.declared.store(None);
            return Ok(());
        };
        let refused = |problem: String| AnchorError::Refused { problem };
        delivery::check_anchor(anchor).map_err(refused)?;
        let origin = Origin::parse(&anchor.url).map_err(|error| refused(error.to_string()))?.to_string();
        let place = Outlet {
            name: "audit/anchor".to_owned(),
            plugin: "crossdock/audit-anchor",
            reason: "checkpoints of the audit log",
            url: &anchor.url,
            method: "POST",
            allow_addresses: &anchor.allow_addresses,
            timeout_ms: anchor.timeout_ms,
            answer_bytes_limit: posting::ANSWER_BYTES_LIMIT,
        };
        let outlet = posting::outlet(&self.gateway, &self.shared, place).map_err(refused)?;
        let place = Digest::of(anchor.url.as_bytes());
        let value = recorded(anchor, &origin, place).to_string();
        self.audit.put(records, cause, RECORD, Bytes::from(value)).await?;
        self.declared.store(Some(Arc::new(Declared { anchor: anchor.clone(), origin, place, outlet })));
        self.due.notify_one();
        Ok(())
    }

    /// How often the journal's state is to be signed, milliseconds; absent: nobody asks for it.
    pub fn every_ms(&self) -> Option<u64> {
        self.declared.load().as_ref().map(|declared| declared.anchor.every_s.saturating_mul(1_000))
    }

    /// Takes up what was just signed.
    pub fn signed(&self, signed: SignedCheckpoint) {
        let mut standing = self.standing();
        standing.behind_since.get_or_insert(signed.checkpoint.time);
        standing.signed = Some(signed);
        drop(standing);
        self.due.notify_one();
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        // Nothing panics while it is held.
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The checkpoint that this anchor has not taken.
    fn pending(&self, declared: &Declared) -> Option<SignedCheckpoint> {
        let standing = self.standing();
        let signed = standing.signed.as_ref()?;
        let checkpoint = &signed.checkpoint;
        let is_taken = |taken: &Taken| {
            (taken.place, taken.batch, taken.chain) == (declared.place, checkpoint.batch, checkpoint.chain)
        };
        (!standing.taken.as_ref().is_some_and(is_taken)).then(|| signed.clone())
    }

    /// Sends what is signed, until the hub stops.
    pub async fn keep(self: Arc<Self>) {
        loop {
            let again = tokio::select! {
                again = self.send_pending() => again,
                // A stop sends the last one, and waits for that only so long.
                () = self.shared.stopping.cancelled() => return,
            };
            tokio::select! {
                () = self.shared.stopping.cancelled() => return,
                // Whatever is signed meanwhile goes with the next attempt.
                () = self.shared.clock.sleep_until(again.unwrap_or_default()), if again.is_some() => {}
                () = self.due.notified(), if again.is_none() => {}
            }
        }
    }

    /// Sends the last checkpoint of a hub that stops, once and for a moment.
    pub async fn send_last(&self) {
        if tokio::time::timeout(LAST_LIMIT, self.send_pending()).await.is_err() {
            tracing::warn!("the anchor did not take the last checkpoint in time; the next start sends it again");
        }
    }

    /// Sends what is not taken, if there is something; when to try again, if it was not taken.
    async fn send_pending(&self) -> Option<Timestamp> {
        let declared = self.declared.load_full()?;
        let signed = self.pending(&declared)?;
        let verdict = self.post(&declared, &signed).await;
        let outcome = if verdict == Verdict::Taken { "taken" } else { "refused" };
        metrics::counter!("crossdock_audit_anchor_posts_total", "outcome" => outcome).increment(1);
        let (cause, wait_ms) = match verdict {
            Verdict::Taken => {
                self.took(&declared, &signed);
                return None;
            }
            Verdict::Gone => ("it answered 410: nothing is wanted there any more".to_owned(), RETRY_AFTER_MS_MAX),
            Verdict::Refused(failure) | Verdict::Down(failure) => {
                let wait_ms = failure.retry_after_ms.map_or(0, u64::from).min(RETRY_AFTER_MS_MAX);
                (failure.message, wait_ms)
            }
        };
        let now = self.shared.clock.now();
        let mut standing = self.standing();
        standing.failures = standing.failures.saturating_add(1);
        let (batch, attempts) = (signed.checkpoint.batch, standing.failures);
        tracing::warn!(origin = declared.origin, batch, attempts, cause, "the anchor has not taken a checkpoint");
        standing.cause = Some(cause);
        Some(retry_at(now, standing.failures).max(now.plus_millis(wait_ms)))
    }

    async fn post(&self, declared: &Declared, signed: &SignedCheckpoint) -> Verdict {
        let checkpoint = &signed.checkpoint;
        // INVARIANT: a checkpoint has a JSON form.
        let body = Bytes::from(serde_json::to_vec(signed).unwrap_or_default());
        let chain: String = checkpoint.chain.to_string().chars().filter(char::is_ascii_alphanumeric).take(16).collect();
        let message = Message {
            url: &declared.anchor.url,
            id: &format!("chk_{}_{chain}", checkpoint.batch),
            content_type: "application/json",
            body,
            secrets: &declared.anchor.secrets,
        };
        posting::post(&self.shared, &*declared.outlet, message).await
    }

    fn took(&self, declared: &Declared, signed: &SignedCheckpoint) {
        let checkpoint = &signed.checkpoint;
        let (place, batch, chain, time) = (declared.place, checkpoint.batch, checkpoint.chain, checkpoint.time);
        let taken = Taken { place, batch, chain, time };
        if let Err(error) = write(&self.path, &taken) {
            tracing::warn!(%error, "what the anchor has taken cannot be written down; the next start sends it again");
        }
        let mut standing = self.standing();
        let later = standing.signed.as_ref().map(|last| &last.checkpoint).filter(|last| last.batch > batch);
        standing.behind_since = later.map(|last| last.time);
        (standing.taken, standing.failures, standing.cause) = (Some(taken), 0, None);
    }

    /// How it stands; absent: none is declared.
    pub fn view(&self) -> Option<AnchorView> {
        let declared = self.declared.load_full()?;
        let standing = self.standing();
        let taken = standing.taken.as_ref().filter(|taken| taken.place == declared.place);
        let signed = standing
            .signed
            .as_ref()
            .map(|signed| Reached { batch: signed.checkpoint.batch, time: signed.checkpoint.time });
        let acknowledged = taken.map(|taken| Reached { batch: taken.batch, time: taken.time });
        Some(AnchorView {
            origin: declared.origin.clone(),
            every_s: declared.anchor.every_s,
            // Another anchor than the one that took it has taken nothing.
            behind_since: standing.behind_since.or(signed.filter(|_| taken.is_none()).map(|signed| signed.time)),
            signed,
            acknowledged,
            attempts: standing.failures,
            cause: standing.cause.clone(),
        })
    }

    /// What is wrong with it, if it has not taken for long what it should have.
    pub fn problem(&self) -> Option<String> {
        late(&self.view()?, self.shared.clock.now())
    }

    /// Sets the gauges.
    #[expect(clippy::cast_precision_loss, reason = "a gauge works in floating point")]
    pub fn gauge(&self) {
        let Some(view) = self.view() else { return };
        let behind_ms = view.behind_since.map_or(0, |since| self.shared.clock.now().since(since));
        metrics::gauge!("crossdock_audit_anchor_behind_seconds").set(behind_ms as f64 / 1_000.0);
        let batch = view.acknowledged.map_or(0, |reached| reached.batch);
        metrics::gauge!("crossdock_audit_anchor_batch").set(batch as f64);
    }
}

/// What is recorded of an anchor, and leaves the hub in exports: where it is, and the digest of a URL that may hold a token.
fn recorded(anchor: &Anchor, origin: &str, place: Digest) -> Value {
    let Anchor { url: _, secrets, allow_addresses, every_s, timeout_ms } = anchor;
    json!({
        "origin": origin, "url_digest": place, "secrets": secrets, "allow_addresses": allow_addresses,
        "every_s": every_s, "timeout_ms": timeout_ms,
    })
}

/// That a checkpoint has waited for several periods.
fn late(view: &AnchorView, now: Timestamp) -> Option<String> {
    let since = view.behind_since?;
    if now.since(since) <= view.every_s.saturating_mul(1_000).saturating_mul(PERIODS_LATE) {
        return None;
    }
    let proven = match view.acknowledged {
        Some(Reached { batch, .. }) => format!("it proves nothing after batch {batch}"),
        None => "it proves nothing yet".to_owned(),
    };
    let cause = view.cause.as_deref().unwrap_or("it has not answered yet");
    Some(format!(
        "the anchor at `{}` has taken nothing of what was signed since {since}: {cause}; {proven}",
        view.origin
    ))
}

/// Appears under its name only whole.
fn write(path: &Path, taken: &Taken) -> io::Result<()> {
    let part = path.with_extension("part");
    fs::write(&part, serde_json::to_vec(taken)?)?;
    fs::rename(&part, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_is_late_when_several_periods_have_passed() {
        let time = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        let view = AnchorView {
            origin: "https://anchor.example".to_owned(),
            every_s: 60,
            signed: Some(Reached { batch: 9, time: time(1_000) }),
            acknowledged: Some(Reached { batch: 7, time: time(900) }),
            behind_since: Some(time(1_000)),
            attempts: 3,
            cause: Some("it answered 503".to_owned()),
        };
        assert_eq!(late(&view, time(1_180)), None);
        let said = late(&view, time(1_181)).unwrap();
        for part in ["https://anchor.example", "it answered 503", "nothing after batch 7"] {
            assert!(said.contains(part), "no `{part}` in {said}");
        }
        assert_eq!(late(&AnchorView { behind_since: None, ..view.clone() }, time(99_999)), None);
        let never = AnchorView { acknowledged: None, cause: None, ..view };
        assert!(late(&never, time(9_999)).unwrap().contains("proves nothing yet"));
    }
}
