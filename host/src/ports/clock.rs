//! Time. The only way by which the hub learns what time it is, so that tests can own it.

use futures::future::BoxFuture;

use crate::model::timestamp::Timestamp;

/// A clock.
pub trait Clock: Send + Sync {
    /// Now, by the wall clock. May go back; the hub's own time does not (the runner takes the larger of this and the
    /// last recorded time).
    fn now(&self) -> Timestamp;

    /// Waits until an instant.
    fn sleep_until(&self, due: Timestamp) -> BoxFuture<'_, ()>;
}
