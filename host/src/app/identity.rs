//! The hub's own identity: made once, kept for ever, part of every idempotency key.

use bytes::Bytes;

use crate::{
    model::hex::hex,
    ports::records::{RecordError, Records},
};

const KEY: &str = "hub/id";

/// The hub's id; made at the first start.
///
/// # Errors
/// If records cannot be used, or the machine gives no randomness.
pub(super) async fn hub_id(records: &dyn Records) -> Result<String, RecordError> {
    loop {
        if let Some(stored) = records.get(KEY).await? {
            return Ok(String::from_utf8_lossy(&stored.value).into_owned());
        }
        let mut random = [0_u8; 16];
        getrandom::fill(&mut random)
            .map_err(|error| RecordError::Unavailable { reason: format!("the system gives no randomness: {error}") })?;
        let id = hex(&random);
        match records.put_if(KEY, Bytes::from(id), None).await {
            Ok(_) | Err(RecordError::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
}
