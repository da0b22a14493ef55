//! flow.

pub mod language;
