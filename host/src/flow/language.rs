//! The pipeline language: YAML text to a [`Definition`], and everything that can be found wrong with one before it
//! runs.
//!
//! [`parse()`] needs only the text, [`check()`] also what the hub knows, and [`advise`] says what would be better
//! otherwise. All report every problem they find, each with its place, a stable code and what to write instead. What
//! expressions evaluate to is not decided here.

pub mod check;
pub mod diagnostic;
pub mod difference;
pub mod graph;
pub mod parse;
pub mod schema;

mod cel;
mod near;
mod yaml;

#[cfg(test)]
mod tests;

pub use check::{Environment, PipelineFacts, PluginFacts, advise, check};
pub use diagnostic::Diagnostic;
pub use difference::difference;
pub use graph::{Graph, graph};
pub use parse::parse;
pub use schema::schema;

#[cfg(doc)]
use crate::model::pipeline::Definition;
