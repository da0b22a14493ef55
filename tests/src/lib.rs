//! What the tests of Crossdock share.

pub mod guests;
