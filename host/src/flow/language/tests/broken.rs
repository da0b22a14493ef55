//! What people get wrong: place, code, problem and advice of each.

mod references;
mod shape;
mod world;
mod yaml;

use super::{diagnose, lines};

/// The small pipeline with one change, and everything that is found then.
#[track_caller]
fn check(from: &str, to: &str, expected: &[&str]) {
    let text = include_str!("../fixtures/orders.yaml");
    assert!(text.contains(from), "`{from}` is not in the pipeline");
    assert_eq!(lines(&diagnose(&text.replacen(from, to, 1))), expected);
}
