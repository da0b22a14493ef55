//! What a connector may ask of the call that is running, or tell about it.

use crate::hub;

/// Milliseconds until the hub ends this call. Leave time to answer; 0 means now.
#[must_use]
pub fn remaining_ms() -> u32 {
    hub::remaining_ms()
}

/// Records one fact about the call beside its output, such as the remote's request id. Kept even if the call fails.
pub fn annotate(name: &str, value: impl AsRef<str>) {
    hub::annotate(name, value.as_ref());
}
