//! Mappings: a document with expressions in it, rendered over a run's documents straight to bytes.

use serde_json::Value;

use super::{
    document::Document,
    expression::{EvaluateError, Expression, Scope},
};
use crate::model::json::Json;

/// A compiled mapping.
#[derive(Debug)]
pub enum Template {
    /// Text that is JSON already.
    Literal(Json),
    /// One expression: its document as it is.
    Expression(Expression),
    /// Text with expressions in it: always a string.
    Text(Vec<Part>),
    /// A list.
    List(Vec<Template>),
    /// An object, in order.
    Map(Vec<(String, Template)>),
}

/// A piece of a text with expressions in it.
#[derive(Debug)]
pub enum Part {
    /// As it is.
    Literal(String),
    /// The text of an expression.
    Expression(Expression),
}

impl Template {
    /// Renders it.
    ///
    /// # Errors
    /// If an expression fails.
    pub fn render(&self, scope: &dyn Scope) -> Result<Document, EvaluateError> {
        match self {
            Self::Literal(json) => Ok(Document::new(json.clone())),
            Self::Expression(expression) => expression.evaluate(scope),
            Self::Text(_) | Self::List(_) | Self::Map(_) => {
                let mut out = Vec::with_capacity(1024);
                self.write(scope, &mut out)?;
                // INVARIANT: `write` puts down one JSON value. Checking costs less than a guest's surprise.
                Ok(Document::new(Json::parse(out).unwrap_or_else(|_| Json::null())))
            }
        }
    }

    /// Renders it to text; a string as it is.
    ///
    /// # Errors
    /// If an expression fails, or the result is null, a list or an object.
    pub fn text(&self, scope: &dyn Scope) -> Result<String, EvaluateError> {
        match self {
            Self::Expression(expression) => expression.text(scope),
            _ => match self.render(scope)?.value() {
                Value::String(text) => Ok(text.clone()),
                other => Ok(other.to_string()),
            },
        }
    }

    fn write(&self, scope: &dyn Scope, out: &mut Vec<u8>) -> Result<(), EvaluateError> {
        match self {
            Self::Literal(json) => out.extend_from_slice(json.as_bytes()),
            Self::Expression(expression) => out.extend_from_slice(expression.evaluate(scope)?.json().as_bytes()),
            Self::Text(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        Part::Literal(literal) => text.push_str(literal),
                        Part::Expression(expression) => text.push_str(&expression.text(scope)?),
                    }
                }
                write_text(&text, out);
            }
            Self::List(items) => {
                write_sequence(out, b'[', b']', items, |item, out| item.write(scope, out))?;
            }
            Self::Map(fields) => {
                write_sequence(out, b'{', b'}', fields, |(name, field), out| {
                    write_text(name, out);
                    out.push(b':');
                    field.write(scope, out)
                })?;
            }
        }
        Ok(())
    }
}

fn write_sequence<T>(
    out: &mut Vec<u8>,
    open: u8,
    close: u8,
    items: &[T],
    mut write: impl FnMut(&T, &mut Vec<u8>) -> Result<(), EvaluateError>,
) -> Result<(), EvaluateError> {
    out.push(open);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(item, out)?;
    }
    out.push(close);
    Ok(())
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    // INVARIANT: text always has a JSON form, and writing to memory does not fail.
    let written = serde_json::to_writer(&mut *out, text);
    debug_assert!(written.is_ok());
}
