//! What the tests of Crossdock share.

pub mod calls;
pub mod guests;
