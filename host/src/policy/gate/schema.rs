//! Whether documents still fit after a change, in a restricted profile of JSON Schema (2020-12), in both directions.
//!
//! What a plugin *reads* (settings, input) has to go on taking every document that it took; what it *produces* (output,
//! events) has to go on being what was promised. So one and the same edit, such as one more case of an `enum`, is harmless
//! on one side and breaks on the other. Both are one question: is every document that this schema takes also taken by that
//! one? [`within`] answers it, or names where not.
//!
//! | module | does |
//! | --- | --- |
//! | [`profile`] | reads a schema, and refuses by name what the profile does not have |
//! | [`compare`](mod@self::compare) | compares two schemas |
//! | [`accepts`] | holds one value against a schema, for the members of enums |

pub mod accepts;
pub mod compare;
pub mod profile;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use self::{
    compare::{Gap, GapKind, Side, within},
    profile::{Document, References},
};
use super::{Bump, Finding, Severity};

/// Findings about one schema, at most: a schema that was written anew has no use for hundreds.
const FINDINGS_LIMIT: usize = 24;

/// Where a schema counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Settings: read. Without a schema there are none.
    Config,
    /// Input of a pure plugin or an operation: read. Without a schema it is any document.
    Input,
    /// Output of a pure plugin or an operation: produced. Without a schema it is any document.
    Output,
    /// Data of an event: produced.
    Event,
}

impl Position {
    /// The position that a schema's name speaks of, as `Subject::all_schemas` gives it.
    #[must_use]
    pub fn of(name: &str) -> Self {
        match (name, name.rsplit(' ').next()) {
            ("config", _) => Self::Config,
            (name, _) if name.starts_with("event ") => Self::Event,
            (_, Some("output")) => Self::Output,
            _ => Self::Input,
        }
    }

    /// Whether the plugin reads such documents, rather than produces them.
    #[must_use]
    pub fn is_read(self) -> bool {
        matches!(self, Self::Config | Self::Input)
    }

    /// Whether such a schema belongs to something that may come and go: an event or an operation.
    #[must_use]
    pub(super) fn is_optional(self) -> bool {
        self != Self::Config
    }

    /// What counts if there is no schema.
    #[must_use]
    pub(super) fn without_schema(self) -> Value {
        match self {
            Self::Config => json!({ "type": "object", "additionalProperties": false }),
            _ => json!({}),
        }
    }

    fn rule(self, what: What) -> &'static str {
        match (self, what) {
            (Self::Config, What::Narrowed) => "schema.config.narrowed",
            (Self::Config, What::Widened) => "schema.config.widened",
            (Self::Config, What::Collides) => "schema.config.collides",
            (Self::Input, What::Narrowed) => "schema.input.narrowed",
            (Self::Input, What::Widened) => "schema.input.widened",
            (Self::Input, What::Collides) => "schema.input.collides",
            (Self::Output, What::Narrowed) => "schema.output.narrowed",
            (Self::Output, What::Widened | What::Collides) => "schema.output.widened",
            (Self::Event, What::Narrowed) => "schema.event.narrowed",
            (Self::Event, What::Widened | What::Collides) => "schema.event.widened",
        }
    }
}

#[derive(Clone, Copy)]
enum What {
    Narrowed,
    Widened,
    Collides,
}

/// Each schema within the profile. Those of another version may be older than the profile; a candidate's may not.
pub(super) fn check_profile(schemas: &BTreeMap<String, Value>, references: &BTreeMap<String, Value>) -> Vec<Finding> {
    let library = References::new(references);
    let mut found = Vec::new();
    for (name, schema) in schemas {
        for problem in Document::read(schema, &library).err().unwrap_or_default() {
            let place = format!("schema of {name} at `{}`", problem.at);
            let finding = Finding::new(problem.rule, Severity::Refuse, place, problem.found);
            found.push(finding.change(problem.change));
        }
    }
    found
}

/// What a change of a schema means for who sends or receives such documents.
#[must_use]
pub fn compare(
    position: Position,
    name: &str,
    old: &Value,
    new: &Value,
    references: &BTreeMap<String, Value>,
) -> Vec<Finding> {
    if old == new {
        return Vec::new();
    }
    let library = References::new(references);
    let (old_document, new_document) = match (Document::read(old, &library), Document::read(new, &library)) {
        (Ok(old), Ok(new)) => (old, new),
        // The candidate's own problems are refused by `schema.profile`.
        (_, Err(_)) => return Vec::new(),
        (Err(_), Ok(_)) => {
            let text = "the schema of the version before is not within the profile, so it cannot be compared";
            let finding = Finding::new("schema.incomparable", Severity::Note, format!("schema of {name}"), text);
            return vec![finding.change("publish a new major version").bump(Bump::Major)];
        }
    };
    let (lost, gained) =
        (within(&old_document, &new_document, &library), within(&new_document, &old_document, &library));
    let (breaking, harmless) = if position.is_read() { (lost, gained) } else { (gained, lost) };
    let mut found = Vec::new();
    for gap in breaking.iter().take(FINDINGS_LIMIT) {
        found.push(broken(position, name, gap));
    }
    if breaking.len() > FINDINGS_LIMIT {
        let text = format!("{} more places of it break", breaking.len() - FINDINGS_LIMIT);
        let what = if position.is_read() { What::Narrowed } else { What::Widened };
        let finding = Finding::new(position.rule(what), Severity::Note, format!("schema of {name}"), text);
        found.push(finding.bump(Bump::Major));
    }
    for gap in harmless.iter().take(FINDINGS_LIMIT) {
        let what = if position.is_read() { What::Widened } else { What::Narrowed };
        // Seen from the other side: what is taken beyond what was.
        let side = if position.is_read() { Side::Gained } else { Side::Lost };
        let place = format!("schema of {name} at `{}`", gap.at);
        found.push(Finding::new(position.rule(what), Severity::Note, place, gap.text(side)).bump(Bump::Minor));
    }
    if found.is_empty() {
        let text = "only descriptions, titles or defaults are others";
        let bump =
            if position == Position::Config && defaults(old) != defaults(new) { Bump::Minor } else { Bump::Patch };
        let finding = Finding::new("schema.annotated", Severity::Note, format!("schema of {name}"), text);
        found.push(finding.bump(bump));
    }
    found
}

fn broken(position: Position, name: &str, gap: &Gap) -> Finding {
    let place = format!("schema of {name} at `{}`", gap.at);
    let (rule, side) = match (position.is_read(), &gap.kind) {
        (true, GapKind::Collides { .. }) => (position.rule(What::Collides), Side::Lost),
        (true, _) => (position.rule(What::Narrowed), Side::Lost),
        (false, _) => (position.rule(What::Widened), Side::Gained),
    };
    Finding::new(rule, Severity::Note, place, gap.text(side)).change(gap.advice(side)).bump(Bump::Major)
}

/// Every default with where it is.
fn defaults(schema: &Value) -> Vec<(String, Value)> {
    fn collect(at: &str, schema: &Value, into: &mut Vec<(String, Value)>) {
        let Value::Object(fields) = schema else { return };
        for (name, value) in fields {
            if name == "default" {
                into.push((at.to_owned(), value.clone()));
            }
            collect(&format!("{at}/{name}"), value, into);
        }
    }
    let mut all = Vec::new();
    collect("", schema, &mut all);
    all
}
