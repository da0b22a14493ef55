//! Reading maps: required, optional and unknown fields.

use super::super::{
    diagnostic::Diagnostic,
    near,
    yaml::{Key, Node, Source, Value},
};
use crate::model::pipeline::Place;

/// The text, and what was found wrong with it so far.
pub(super) struct Reader {
    pub(super) source: Source,
    pub(super) found: Vec<Diagnostic>,
}

impl Reader {
    pub(super) fn new(text: &str, found: Vec<Diagnostic>) -> Self {
        Self { source: Source::new(text), found }
    }

    pub(super) fn report(
        &mut self,
        at: Place,
        code: &'static str,
        problem: impl Into<String>,
        instead: impl Into<String>,
    ) {
        self.found.push(Diagnostic::new(at, code, problem, instead));
    }

    /// Reports that something else is needed here.
    pub(super) fn expected(&mut self, node: &Node, what: &str) {
        let problem = format!("this is {}", node.describe());
        self.report(node.at, "language.type", problem, format!("here belongs {what}"));
    }

    /// The entries of a map.
    pub(super) fn entries<'n>(&mut self, node: &'n Node, what: &str) -> Option<Vec<&'n (Key, Node)>> {
        match &node.value {
            Value::Map(entries) => Some(entries.iter().collect()),
            _ => {
                self.expected(node, &format!("a map: {what}"));
                None
            }
        }
    }

    /// The items of a list.
    pub(super) fn list<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        match &node.value {
            Value::List(items) => Some(items),
            _ => {
                self.expected(node, &format!("a list of {what}"));
                None
            }
        }
    }

    /// The fields of a map.
    pub(super) fn fields<'n>(&mut self, node: &'n Node, what: &'static str) -> Option<Fields<'n>> {
        let entries = self.entries(node, what)?;
        Some(Fields { at: node.at, what, entries, known: Vec::new() })
    }
}

/// A map whose fields are taken one by one; what nobody took is unknown.
pub(super) struct Fields<'n> {
    /// Where the map begins.
    pub(super) at: Place,
    what: &'static str,
    entries: Vec<&'n (Key, Node)>,
    known: Vec<&'static str>,
}

/// Fields that belong to some kinds of step only, so that a misplaced one is not called unknown.
const HOMES: [(&str, &str); 15] = [
    ("with", "`transform`, `rule`, `score`, `call` and `run`"),
    ("outcomes", "`rule`"),
    ("mode", "`score`"),
    ("confirm", "`call`"),
    ("subject", "`emit`"),
    ("data", "`emit`"),
    ("detach", "`run`"),
    ("otherwise", "`switch`"),
    ("output", "`switch`, `loop: { … }` and `for: { … }`"),
    ("timeout", "`transform`, `rule`, `score`, `call`, and `for` over pages"),
    ("within", "`transform`, `rule`, `score`, `call`, and inside `wait`, `approve` and `parallel`"),
    ("retry", "`transform`, `rule`, `score`, `call`, and `for` over pages"),
    ("fallback", "`transform`, `rule`, `score` and `call`"),
    ("compensate", "`call` and `run`"),
    ("point_of_no_return", "`call`, `emit` and `run`"),
];

impl<'n> Fields<'n> {
    /// Whether a field is there; does not take it.
    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(key, _)| key.text == name)
    }

    /// Takes a field, if it is there.
    pub(super) fn take(&mut self, name: &'static str) -> Option<&'n Node> {
        self.known.push(name);
        let index = self.entries.iter().position(|(key, _)| key.text == name)?;
        Some(&self.entries.remove(index).1)
    }

    /// Takes a field that has to be there.
    pub(super) fn require(&mut self, reader: &mut Reader, name: &'static str) -> Option<&'n Node> {
        let node = self.take(name);
        if node.is_none() {
            let problem = format!("{} needs `{name}`", self.what);
            let near = near::nearest(name, self.entries.iter().map(|(key, _)| key.text.as_str()));
            let instead =
                near.map_or_else(|| format!("add `{name}: …`"), |near| format!("rename `{near}` to `{name}`"));
            reader.report(self.at, "language.missing-field", problem, instead);
        }
        node
    }

    /// Reports the fields that nobody took.
    pub(super) fn finish(self, reader: &mut Reader) {
        for (key, _) in &self.entries {
            let name = key.text.as_str();
            let home = HOMES.iter().find(|(field, _)| *field == name && self.what == "a step");
            if let Some((_, home)) = home {
                let problem = format!("`{name}` has no meaning on this kind of step");
                reader.report(key.at, "language.misplaced-field", problem, format!("it belongs to {home}"));
            } else {
                let problem = format!("{} has no field `{name}`", self.what);
                let instead = near::advice(name, self.known.iter().copied(), "leave it out");
                reader.report(key.at, "language.unknown-field", problem, instead);
            }
        }
    }
}
