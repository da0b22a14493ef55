//! YAML with expressions in it: what `with`, `data`, `output` and the like hold.

use serde::Serialize;

use super::Place;

/// A CEL expression, without the `${ }` around it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Expression {
    /// The text.
    pub source: String,
    /// Where its first character is written.
    #[serde(skip)]
    pub at: Place,
}

/// A tree of YAML with expressions.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Template {
    /// A scalar as it stands.
    Literal(serde_json::Value),
    /// The whole value is what the expression gives, of any type: `${ steps.order }`.
    Expression(Expression),
    /// Text with expressions in it: `order ${ event.subject } of ${ event.source }`.
    Text(Vec<Part>),
    /// A list.
    List(Vec<Template>),
    /// An object; the keys are as written, each once.
    Map(Vec<(String, Template)>),
}

/// A part of a text with expressions.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// As it stands.
    Literal(String),
    /// What the expression gives, as text.
    Expression(Expression),
}

impl Template {
    /// `{}`.
    #[must_use]
    pub const fn empty() -> Self {
        Self::Map(Vec::new())
    }

    /// The expressions in it, in the order of the text.
    #[must_use]
    pub fn expressions(&self) -> Vec<&Expression> {
        let mut found = Vec::new();
        self.collect(&mut found);
        found
    }

    fn collect<'a>(&'a self, found: &mut Vec<&'a Expression>) {
        match self {
            Self::Literal(_) => {}
            Self::Expression(expression) => found.push(expression),
            Self::Text(parts) => found.extend(parts.iter().filter_map(|part| match part {
                Part::Literal(_) => None,
                Part::Expression(expression) => Some(expression),
            })),
            Self::List(items) => items.iter().for_each(|item| item.collect(found)),
            Self::Map(entries) => entries.iter().for_each(|(_, value)| value.collect(found)),
        }
    }
}
