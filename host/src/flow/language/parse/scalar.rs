//! Reading scalars: texts, numbers, durations, versions. Nothing becomes a number silently.

use semver::{Version, VersionReq};

use super::{
    super::{
        near,
        yaml::{Node, Value},
    },
    fields::Reader,
};
use crate::model::pipeline::{Place, PluginRef, Spot};

/// Longest duration: about ten years, so that no sum of them overflows.
const DURATION_MS_MAX: u64 = 3_660 * 86_400_000;
/// Words of CEL and of the language that no step or name may be called.
const RESERVED: [&str; 29] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
    "event",
    "steps",
    "verdict",
    "vars",
    "config",
    "item",
    "signal",
    "error",
];

impl Reader {
    /// A text as it is written, whatever it looks like.
    pub(super) fn text(&mut self, node: &Node) -> Option<String> {
        match &node.value {
            Value::Scalar(scalar) if !(scalar.plain && scalar.text.is_empty()) => {
                Some(scalar.text.trim_end().to_owned())
            }
            _ => {
                self.expected(node, "text");
                None
            }
        }
    }

    /// A text and where it is.
    pub(super) fn spot(&mut self, node: &Node) -> Option<Spot<String>> {
        self.text(node).map(|value| Spot { value, at: node.at })
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, node: &Node) -> Vec<Spot<String>> {
        let items = self.list(node, "texts").unwrap_or_default();
        items.iter().filter_map(|item| self.spot(item)).collect()
    }

    /// One of some words.
    pub(super) fn one_of<T: Copy>(&mut self, node: &Node, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(node)?;
        let value = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if value.is_none() {
            let instead = near::advice(&text, words.iter().map(|(word, _)| *word), "leave it out");
            self.report(node.at, "language.word", format!("`{text}` is not a word for this"), instead);
        }
        value
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, node: &Node) -> Option<bool> {
        self.one_of(node, &[("true", true), ("false", false)])
    }

    /// A whole number within bounds.
    pub(super) fn count(&mut self, node: &Node, from: u32, to: u32) -> Option<u32> {
        let text = self.text(node)?;
        let value = text.parse().ok().filter(|value| (from..=to).contains(value));
        if value.is_none() {
            let problem = format!("`{text}` is out of bounds");
            self.report(node.at, "language.bounds", problem, format!("a whole number from {from} to {to}"));
        }
        value
    }

    /// A factor within bounds.
    pub(super) fn factor(&mut self, node: &Node, from: f64, to: f64) -> Option<f64> {
        let text = self.text(node)?;
        let value = text.parse().ok().filter(|value| (from..=to).contains(value));
        if value.is_none() {
            let problem = format!("`{text}` is out of bounds");
            self.report(node.at, "language.bounds", problem, format!("a number from {from} to {to}"));
        }
        value
    }

    /// `75%`.
    pub(super) fn percent(&mut self, node: &Node) -> Option<u8> {
        let text = self.text(node)?;
        let value =
            text.strip_suffix('%').and_then(|number| number.parse().ok()).filter(|value| (1..=100).contains(value));
        if value.is_none() {
            let problem = format!("`{text}` is not a share");
            self.report(node.at, "language.percent", problem, "a whole percentage from `1%` to `100%`, such as `75%`");
        }
        value
    }

    /// `30s`, `4h`, `14d`, in milliseconds.
    pub(super) fn duration(&mut self, node: &Node) -> Option<u64> {
        let text = self.text(node)?;
        let value = duration(&text);
        if value.is_none() {
            let problem = format!("`{text}` is not a duration");
            let number = !text.is_empty() && text.chars().all(|char| char.is_ascii_digit());
            let instead = if number {
                format!("say which unit, such as `{text}s` or `{text}m`")
            } else {
                "a whole number above 0 and `ms`, `s`, `m`, `h` or `d`, such as `30s`; at most ten years".to_owned()
            };
            self.report(node.at, "language.duration", problem, instead);
        }
        value
    }

    /// A semantic version.
    pub(super) fn version(&mut self, node: &Node) -> Option<Version> {
        let text = self.text(node)?;
        match text.parse() {
            Ok(version) => Some(version),
            Err(_) => {
                let problem = format!("`{text}` is not a semantic version");
                self.report(node.at, "language.version", problem, "three numbers, such as `1.0.0`");
                None
            }
        }
    }

    /// An event's type: dotted words, such as `retail.order.placed.v1`.
    pub(super) fn event_type(&mut self, node: &Node) -> Option<String> {
        let text = self.text(node)?;
        let word = |word: &str| {
            !word.is_empty() && word.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_'))
        };
        if text.len() <= 255 && text.contains('.') && text.split('.').all(word) {
            return Some(text);
        }
        let problem = format!("`{text}` is not an event type");
        let instead = "dotted words, such as `retail.order.placed.v1`; types are never expressions";
        self.report(node.at, "language.event-type", problem, instead);
        None
    }

    /// `namespace/name@range`.
    pub(super) fn name_range(&mut self, node: &Node) -> Option<(String, VersionReq)> {
        let text = self.text(node)?;
        let Some((name, range)) = text.split_once('@') else {
            let problem = format!("`{text}` does not say which versions will do");
            self.report(node.at, "language.range", problem, format!("add a range, such as `{text}@^1`"));
            return None;
        };
        match range.parse() {
            Ok(range) => Some((name.to_owned(), range)),
            Err(_) => {
                let problem = format!("`{range}` is not a range of versions");
                self.report(node.at, "language.range", problem, format!("such as `{name}@^1` or `{name}@~1.2`"));
                None
            }
        }
    }

    /// `namespace/name@range` of a plugin.
    pub(super) fn plugin(&mut self, node: &Node) -> Option<PluginRef> {
        let (name, range) = self.name_range(node)?;
        match name.parse() {
            Ok(id) => Some(PluginRef { id, range, at: node.at }),
            Err(_) => {
                let problem = format!("`{name}` is not a plugin's name");
                let instead = "`namespace/name`, of a-z, 0-9 and `-`, such as `crossdock/order-risk@^1`";
                self.report(node.at, "language.name", problem, instead);
                None
            }
        }
    }

    /// `connection#operation`.
    pub(super) fn operation(&mut self, node: &Node) -> Option<(Spot<String>, Spot<String>)> {
        let text = self.text(node)?;
        let parts =
            text.split_once('#').filter(|(connection, operation)| !connection.is_empty() && !operation.is_empty());
        let Some((connection, operation)) = parts else {
            let problem = format!("`{text}` does not name a connection and an operation");
            let instead = format!("`connection#operation`, such as `erp#{}`", text.trim_matches('#'));
            self.report(node.at, "language.call-without-connection", problem, instead);
            return None;
        };
        let at = |this: &Self, offset| match &node.value {
            Value::Scalar(scalar) => this.source.place(node, scalar, offset),
            _ => node.at,
        };
        let first = Spot { value: connection.to_owned(), at: at(self, 0) };
        let second = Spot { value: operation.to_owned(), at: at(self, connection.chars().count() + 1) };
        Some((first, second))
    }

    /// Checks a name that expressions use.
    pub(super) fn identifier(&mut self, text: &str, at: Place, what: &str) {
        if RESERVED.contains(&text) {
            let problem = format!("`{text}` is a word of the language");
            self.report(at, "language.reserved", problem, format!("another name, such as `the_{text}`"));
        } else if !is_identifier(text) {
            let problem = format!("`{text}` cannot be {what}");
            let instead = format!("1 to 64 of a-z, 0-9 and `_`, a letter first, such as `{}`", identifier_like(text));
            self.report(at, "language.identifier", problem, instead);
        }
    }
}

fn is_identifier(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|char: char| char.is_ascii_lowercase())
        && text.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_')
}

fn identifier_like(text: &str) -> String {
    let like: String = text
        .chars()
        .map(|char| if char.is_ascii_alphanumeric() { char.to_ascii_lowercase() } else { '_' })
        .skip_while(|char| !char.is_ascii_lowercase())
        .take(64)
        .collect();
    if is_identifier(&like) { like } else { "order_check".to_owned() }
}

fn duration(text: &str) -> Option<u64> {
    let digits = text.find(|char: char| !char.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit_ms).filter(|ms| (1..=DURATION_MS_MAX).contains(ms))
}
