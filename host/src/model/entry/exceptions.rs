//! Facts about events that come for something that was undone: nothing waits for them any more, and people have to know.

use serde::{Deserialize, Serialize};

use super::Await;
use crate::model::{event::Event, id::AcceptanceId, personal::Personal, timestamp::Timestamp};

/// What a run waited for, or would have, when what it did was undone: an event that still comes for it is for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitsUndone {
    /// When.
    pub time: Timestamp,
    /// Each wait, once for each event that it names.
    pub waits: Vec<UndoneWait>,
}

/// A wait that stood on something that was undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoneWait {
    /// The wait.
    pub step: String,
    /// What it waited for.
    pub awaits: Await,
}

/// An event came for something that was undone. It stays open until a person closes it, or the run takes the event
/// after all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExceptionOpened {
    /// The wait that would have taken it.
    pub step: String,
    /// When.
    pub time: Timestamp,
    /// Its name in the wait.
    pub name: String,
    /// Its acceptance, by which the exception is closed.
    pub acceptance: AcceptanceId,
    /// The event.
    pub event: Event,
    /// What of the event is personal data. Absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personal: Option<Personal>,
}
