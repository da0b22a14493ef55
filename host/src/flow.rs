//! L2: how a run goes on. Pure: it decides, and the runner carries out what it decided.

pub mod correlation;
pub mod document;
pub mod expression;
pub mod language;
pub mod machine;
pub mod plan;
pub mod retry;
pub mod schedule;
pub mod template;
pub mod view;
