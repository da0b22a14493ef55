//! Reading expressions, and YAML with expressions in it.

use super::{
    super::yaml::{Node, Scalar, Value},
    fields::Reader,
};
use crate::model::pipeline::{
    Place,
    template::{Expression, Part, Template},
};

/// Longest expression, characters: beyond that, a rule says it better.
const EXPRESSION_CHARS_MAX: usize = 4_096;
/// Plain scalars that YAML 1.1 and 1.2 read differently.
const AMBIGUOUS: [&str; 6] = ["yes", "no", "on", "off", "y", "n"];
/// What expressions can begin with, to find those that lack their `${ }`.
const ROOTS: [&str; 7] = ["steps.", "event.", "verdict.", "vars.", "config.", "item.", "signal."];

impl Reader {
    /// A field that is an expression as it stands, without `${ }`.
    pub(super) fn expression(&mut self, node: &Node) -> Option<Expression> {
        let text = self.text(node)?;
        let Value::Scalar(scalar) = &node.value else { return None };
        let skipped = text.chars().take_while(|char| char.is_whitespace()).count();
        let source = text.trim().to_owned();
        let at = self.source.place(node, scalar, skipped);
        if source.starts_with("${") {
            let inner = source.trim_start_matches("${").trim_end_matches('}').trim();
            let instead = format!("leave out the `${{ }}`: `{inner}`");
            self.report(at, "language.expression-marked", "this field is an expression already", instead);
            return None;
        }
        self.sized(Expression { source, at })
    }

    fn sized(&mut self, expression: Expression) -> Option<Expression> {
        let chars = expression.source.chars().count();
        if chars == 0 {
            self.report(
                expression.at,
                "language.expression",
                "there is no expression here",
                "write one, such as `${ event.data }`",
            );
            return None;
        }
        if chars > EXPRESSION_CHARS_MAX {
            let problem = format!("the expression has {chars} characters, the limit is {EXPRESSION_CHARS_MAX}");
            self.report(
                expression.at,
                "language.expression",
                problem,
                "decide this in a `rule`, or map it in a `transform`",
            );
            return None;
        }
        Some(expression)
    }

    /// YAML with `${ … }` in it.
    pub(super) fn template(&mut self, node: &Node) -> Option<Template> {
        match &node.value {
            Value::Scalar(scalar) => self.scalar(node, scalar),
            Value::List(items) => {
                let items: Vec<_> = items.iter().map(|item| self.template(item)).collect();
                items.into_iter().collect::<Option<_>>().map(Template::List)
            }
            Value::Map(entries) => {
                let amount = entries.iter().find(|(key, _)| key.text == "amount");
                if let Some((_, amount)) = amount.filter(|_| entries.iter().any(|(key, _)| key.text == "currency")) {
                    self.money(amount);
                }
                let entries: Vec<_> =
                    entries.iter().map(|(key, value)| Some((key.text.clone(), self.template(value)?))).collect();
                entries.into_iter().collect::<Option<_>>().map(Template::Map)
            }
        }
    }

    /// Money is a decimal text: a number would lose cents, and its last zeros.
    fn money(&mut self, amount: &Node) {
        if let Value::Scalar(scalar) = &amount.value
            && scalar.plain
            && scalar.text.parse::<f64>().is_ok()
        {
            let problem = format!("the amount {} is a number", scalar.text);
            self.report(amount.at, "language.money", problem, format!("money is text: `\"{}\"`", scalar.text));
        }
    }

    fn scalar(&mut self, node: &Node, scalar: &Scalar) -> Option<Template> {
        let parts = self.parts(node, scalar)?;
        match parts.as_slice() {
            [] | [Part::Literal(_)] => {
                let text = if let [Part::Literal(text)] = parts.as_slice() { text.as_str() } else { "" };
                self.literal(node, scalar, text)
            }
            [Part::Expression(expression)] => Some(Template::Expression(expression.clone())),
            [Part::Literal(before), Part::Expression(expression)] if before.trim().is_empty() => {
                Some(Template::Expression(expression.clone()))
            }
            [Part::Expression(expression), Part::Literal(after)] if after.trim().is_empty() => {
                Some(Template::Expression(expression.clone()))
            }
            _ => Some(Template::Text(parts)),
        }
    }

    fn literal(&mut self, node: &Node, scalar: &Scalar, text: &str) -> Option<Template> {
        if ROOTS.iter().any(|root| text.strip_prefix(root).is_some_and(is_path)) {
            let problem = format!("`{text}` is literal text here");
            self.report(
                node.at,
                "language.expression-unmarked",
                problem,
                format!("mark it as an expression: `${{ {text} }}`"),
            );
        }
        if !scalar.plain {
            return Some(Template::Literal(text.into()));
        }
        if AMBIGUOUS.contains(&text.to_ascii_lowercase().as_str()) {
            let problem = format!("`{text}` is a truth value to some YAML readers and text to others");
            self.report(node.at, "yaml.ambiguous", problem, format!("`true` or `false`, or quoted: `\"{text}\"`"));
            return None;
        }
        match plain(text) {
            Ok(value) => Some(Template::Literal(value)),
            Err(problem) => {
                let problem = format!("`{text}` {problem}");
                self.report(node.at, "yaml.ambiguous", problem, format!("quote it: `\"{text}\"`"));
                None
            }
        }
    }

    /// Splits at `${ … }`; `$${` stands for a literal `${`.
    fn parts(&mut self, node: &Node, scalar: &Scalar) -> Option<Vec<Part>> {
        let chars: Vec<char> = scalar.text.chars().collect();
        let rest = |at: usize| chars.get(at..).unwrap_or_default();
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut at = 0;
        while let Some(&char) = chars.get(at) {
            if rest(at).starts_with(&['$', '$', '{']) {
                literal.push_str("${");
                at += 3;
            } else if rest(at).starts_with(&['$', '{']) {
                let Some(length) = expression_length(rest(at + 2)) else {
                    let place = self.source.place(node, scalar, at);
                    let problem = "this `${` has no `}`";
                    self.report(place, "language.expression", problem, "close it, or write `$${` for a literal `${`");
                    return None;
                };
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                }
                let inner: String = rest(at + 2).iter().take(length).collect();
                let skipped = inner.chars().take_while(|char| char.is_whitespace()).count();
                let place: Place = self.source.place(node, scalar, at + 2 + skipped);
                parts.push(Part::Expression(self.sized(Expression { source: inner.trim().to_owned(), at: place })?));
                at += length + 3;
            } else {
                literal.push(char);
                at += 1;
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Some(parts)
    }
}

/// The number of characters up to the `}` that closes the expression, over braces and texts inside it.
fn expression_length(chars: &[char]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut quote = None;
    let mut escaped = false;
    for (index, &char) in chars.iter().enumerate() {
        match (quote, char) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if open == char => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(char),
            (None, '{') => depth += 1,
            (None, '}') if depth == 0 => return Some(index),
            (None, '}') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn is_path(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '_' | '.'))
}

/// A plain scalar by YAML's core schema, or why it is ambiguous.
fn plain(text: &str) -> Result<serde_json::Value, &'static str> {
    use serde_json::Value;
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let numeric = digits.starts_with(|char: char| char.is_ascii_digit())
        && digits.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '+' | '-'));
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(true.into()),
        "false" | "False" | "FALSE" => return Ok(false.into()),
        _ if matches!(digits.to_ascii_lowercase().as_str(), ".inf" | ".nan") => return Err("is no number in JSON"),
        _ if !numeric => return Ok(text.into()),
        _ => {}
    }
    if digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.") && digits.parse::<f64>().is_ok() {
        return Err("begins with a zero, and may be a number or a code");
    }
    if digits.starts_with("0x") || digits.starts_with("0o") || digits.contains('_') {
        return Err("is a number to some YAML readers and text to others");
    }
    if let Ok(number) = text.parse::<i64>() {
        return Ok(number.into());
    }
    if digits.chars().all(|char| char.is_ascii_digit()) {
        return Err("is too large for a number");
    }
    match text.parse::<f64>().ok().and_then(serde_json::Number::from_f64) {
        Some(number) if number.to_string() == text => Ok(Value::Number(number)),
        Some(_) => Err("would change as a number, as versions and amounts do"),
        None => Ok(text.into()),
    }
}
