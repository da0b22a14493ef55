//! What the tests of Crossdock share.

pub mod calls;
pub mod guests;
pub mod hub;
pub mod packages;
pub mod retail;
