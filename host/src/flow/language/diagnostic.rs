//! What is wrong with a pipeline, said like a good compiler says it.

use std::fmt::Write as _;

use serde::Serialize;

use crate::model::pipeline::Place;

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
    /// Stable and for programs, dotted, such as `language.unknown-step`.
    pub code: &'static str,
    /// What is wrong.
    pub problem: String,
    /// What to write instead.
    pub instead: String,
}

impl Diagnostic {
    pub(super) fn new(at: Place, code: &'static str, problem: impl Into<String>, instead: impl Into<String>) -> Self {
        Self { line: at.line, column: at.column, code, problem: problem.into(), instead: instead.into() }
    }

    /// Its text for people, with the line of the source and a caret below it. `file` is what the text is called.
    #[must_use]
    pub fn render(&self, file: &str, text: &str) -> String {
        let Self { line, column, code, problem, instead } = self;
        render(file, text, Place { line: *line, column: *column }, code, problem, instead)
    }
}

/// A problem's text for people, with the line of the source and a caret below it. `file` is what the text is called.
#[must_use]
pub fn render(file: &str, text: &str, at: Place, code: &str, problem: &str, instead: &str) -> String {
    let mut out = format!("error[{code}]: {problem}\n");
    let number = at.line.to_string();
    let margin = " ".repeat(number.len());
    // INVARIANT: writing to a string does not fail.
    let _ = writeln!(out, "{margin}--> {file}:{}:{}", at.line, at.column);
    let index = usize::try_from(at.line.saturating_sub(1)).unwrap_or(usize::MAX);
    if let Some(source) = text.lines().nth(index) {
        // A tab stays a tab below, so that the caret stands right however wide tabs are shown.
        let before = usize::try_from(at.column.saturating_sub(1)).unwrap_or(usize::MAX);
        let pad: String = source.chars().take(before).map(|char| if char == '\t' { '\t' } else { ' ' }).collect();
        let _ = write!(out, "{margin} |\n{number} | {source}\n{margin} | {pad}^\n");
    }
    let _ = writeln!(out, "{margin} = instead: {instead}");
    out
}

/// In the order of the text, each once.
pub(super) fn sorted(mut found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    found.sort_by(|a, b| (a.line, a.column, a.code).cmp(&(b.line, b.column, b.code)));
    found.dedup();
    found
}
