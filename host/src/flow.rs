//! L2: how a run goes on. Pure: it decides, and the runner carries out what it decided.

pub mod document;
pub mod expression;
