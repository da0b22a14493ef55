//! What the tests of Crossdock share.

pub mod guests;
pub mod hub;
pub mod packages;
