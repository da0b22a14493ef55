//! The audit's part of a hub's start: the key, what was signed, the log, and what the start itself has to record.

use std::{path::Path, sync::Arc};

use super::{
    Audit, AuditError,
    checkpoints::{CheckpointError, Checkpoints},
    key::{self, KeyError},
    reconcile::reconcile,
};
use crate::{
    app::identity,
    model::{
        audit::{Cause, Change},
        id::Digest,
    },
    ports::{clock::Clock, records::RecordError},
    store::disk::Store,
};

/// Why a hub does not start without its audit log.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The log cannot be used.
    #[error("the audit log cannot be used")]
    Audit {
        /// Why.
        #[from]
        source: AuditError,
    },
    /// The signing key cannot be used.
    #[error("the hub's signing key cannot be used")]
    Key {
        /// Why.
        #[from]
        source: KeyError,
    },
    /// What the hub has signed does not hold.
    #[error("the hub's checkpoints cannot be used")]
    Checkpoint {
        /// Why.
        #[from]
        source: CheckpointError,
    },
    /// The hub's own records cannot be used.
    #[error("the hub's records cannot be used")]
    Record {
        /// Why.
        #[from]
        source: RecordError,
    },
}

/// Opens the audit log and the checkpoints of a data folder, and records a new key, another release, and whatever was
/// changed without the hub.
///
/// # Errors
/// As [`BeginError`] says.
pub async fn begin(
    data: &Path,
    store: &Arc<Store>,
    clock: &Arc<dyn Clock>,
) -> Result<(Arc<Audit>, Arc<Checkpoints>), BeginError> {
    let records = store.records();
    let hub = identity::hub_id(&*records).await?;
    let (key, made) = key::open_or_make(data)?;
    let public = key.public();
    let checkpoints = Checkpoints::open(data, key, &hub, Arc::clone(store), Arc::clone(clock)).await?;
    let audit = Audit::open(store.journal(), store.blobs(), Arc::clone(clock)).await?;
    if made {
        note(&audit, "key.make", &format!("key/{}", public.id()), &public.to_line(), "the hub had no signing key")
            .await?;
    }
    let release = concat!("crossdock ", env!("CARGO_PKG_VERSION"));
    note(&audit, "hub.release", "hub/release", release, &format!("{release} runs from here on")).await?;
    reconcile(&audit, &*records).await?;
    Ok((Arc::new(audit), Arc::new(checkpoints)))
}

/// Records that something is so now, unless the log says so already.
async fn note(audit: &Audit, action: &str, subject: &str, text: &str, reason: &str) -> Result<(), AuditError> {
    let before = audit.latest().await.get(subject).and_then(|line| line.record.after);
    if before == Some(Digest::of(text.as_bytes())) {
        return Ok(());
    }
    let after = audit.keep(text.to_owned().into()).await?;
    let change = Change { action: action.to_owned(), subject: subject.to_owned(), before, after: Some(after) };
    audit.record(&Cause::hub(reason), &change).await?;
    Ok(())
}
