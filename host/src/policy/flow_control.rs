//! Who may go on, and who waits: a remote's pace and health, and priority among those who wait. Pure state machines that
//! are told the time; the waiting itself is the business of `app`.

pub mod breaker;
pub mod bucket;
pub mod queue;
pub mod shed;
