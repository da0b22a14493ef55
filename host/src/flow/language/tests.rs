//! The language against its four examples, and against what people get wrong.

mod broken;
mod drawing;
mod examples;
mod stubs;
mod tables;
mod values;

use super::Diagnostic;

/// Everything that is found: by `parse`, and if it passes, by `check`.
fn diagnose(text: &str) -> Vec<Diagnostic> {
    match super::parse(text) {
        Ok(definition) => super::check(&definition, &stubs::World::new().environment()),
        Err(found) => found,
    }
}

/// As one line each, for comparing.
fn lines(found: &[Diagnostic]) -> Vec<String> {
    let line =
        |one: &Diagnostic| format!("{}:{} {}: {} → {}", one.line, one.column, one.code, one.problem, one.instead);
    found.iter().map(line).collect()
}
