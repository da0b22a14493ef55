//! What a schema says of personal data: `"x-personal": true` beside what is about a person, wherever in the schema, and
//! `"x-subject": "/customer/id"` at its top, a JSON Pointer to who that person is.
//!
//! ```json
//! {
//!   "type": "object", "required": ["customer"], "x-subject": "/customer/id",
//!   "properties": { "customer": { "type": "object", "required": ["id"], "properties": {
//!     "id": { "type": "string" }, "email": { "type": "string", "x-personal": true } } } }
//! }
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// The keyword beside what is about a person.
pub const PERSONAL: &str = "x-personal";
/// The keyword that says who that is.
pub const SUBJECT: &str = "x-subject";
/// Most places of one schema.
const FIELDS_MAX: usize = 256;
/// Deepest nesting that is followed, references included.
const DEPTH_LIMIT: usize = 32;

/// What a schema says of personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tags {
    /// JSON Pointer to who the data is about.
    pub subject: String,
    /// Where personal data is, as [`crate::model::personal::Personal::fields`] has it, in order.
    pub fields: Vec<String>,
}

/// What is wrong with the tags of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagProblem {
    /// JSON Pointer into the schema, or into the data where it is about a place there.
    pub at: String,
    /// What was found.
    pub found: String,
    /// What to write instead.
    pub change: String,
}

impl TagProblem {
    fn new(at: &str, found: impl Into<String>, change: impl Into<String>) -> Self {
        Self { at: if at.is_empty() { "/" } else { at }.to_owned(), found: found.into(), change: change.into() }
    }
}

impl Tags {
    /// Reads the tags of a schema that is within the profile; absent: it has none. References are followed into its
    /// `$defs` and into `documents`.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn read(schema: &Value, documents: &BTreeMap<String, Value>) -> Result<Option<Self>, TagProblem> {
        let mut reader = Reader { documents, fields: BTreeSet::new() };
        reader.walk(Inside { root: schema, schema }, "", "", 0)?;
        let subject = schema.get(SUBJECT);
        let fields: Vec<String> = reader.fields.into_iter().collect();
        let Some(subject) = subject else {
            let Some(first) = fields.first() else { return Ok(None) };
            let found =
                format!("`{}` of the data is `{PERSONAL}`, and the schema does not say about whom", shown(first));
            let change = format!(
                "say so at its top: `\"{SUBJECT}\": \"/customer/id\"`, a JSON Pointer to a property that every event has"
            );
            return Err(TagProblem::new("", found, change));
        };
        if fields.is_empty() {
            let change = format!("tag what is personal with `\"{PERSONAL}\": true`, or leave `{SUBJECT}` out");
            return Err(TagProblem::new("", format!("it has `{SUBJECT}`, and nothing in it is `{PERSONAL}`"), change));
        }
        let at = format!("/{SUBJECT}");
        let change = "name a property of type string or integer that is `required`, and so is everything above it";
        let wrong = |found: String| TagProblem::new(&at, found, change);
        let Some(subject) = subject.as_str().filter(|subject| subject.starts_with('/')) else {
            return Err(wrong(format!("`{subject}` is no JSON Pointer, such as `/customer/id`")));
        };
        reader_of(documents).subject(schema, subject).map_err(wrong)?;
        Ok(Some(Self { subject: subject.to_owned(), fields }))
    }

    /// Who an event's data is about.
    #[must_use]
    pub fn subject_of(&self, data: &Value) -> Option<String> {
        match data.pointer(&self.subject)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// Whether everything at a place, of which it may be a part, is tagged.
    #[must_use]
    pub fn cover(&self, field: &str) -> bool {
        self.fields.iter().any(|tagged| {
            let mut parts = field.split('/');
            tagged.split('/').all(|tagged| parts.next().is_some_and(|part| tagged == part || tagged == "*"))
        })
    }
}

/// The places that an earlier schema tagged, and that a later one leaves in clear although data may still be there.
#[must_use]
pub fn uncovered<'a>(
    before: &'a Tags,
    after: Option<&Tags>,
    schema: &Value,
    documents: &BTreeMap<String, Value>,
) -> Vec<&'a str> {
    let reader = reader_of(documents);
    let open = |field: &&String| {
        !after.is_some_and(|after| after.cover(field))
            && reader.may_hold(Inside { root: schema, schema }, &parts(field), 0)
    };
    before.fields.iter().filter(open).map(String::as_str).collect()
}

/// A schema, and the document that its own references are about.
#[derive(Clone, Copy)]
struct Inside<'a> {
    root: &'a Value,
    schema: &'a Value,
}

struct Reader<'a> {
    documents: &'a BTreeMap<String, Value>,
    fields: BTreeSet<String>,
}

fn reader_of(documents: &BTreeMap<String, Value>) -> Reader<'_> {
    Reader { documents, fields: BTreeSet::new() }
}

fn shown(field: &str) -> &str {
    if field.is_empty() { "/" } else { field }
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn parts(field: &str) -> Vec<String> {
    field.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~")).collect()
}

impl<'a> Reader<'a> {
    /// What a reference stands for.
    fn follow(&self, inside: Inside<'a>, reference: &str) -> Option<Inside<'a>> {
        match reference.strip_prefix("#/$defs/") {
            Some(name) => Some(Inside { schema: inside.root.get("$defs")?.get(name)?, ..inside }),
            None => self.documents.get(reference).map(|document| Inside { root: document, schema: document }),
        }
    }

    fn target(&self, inside: Inside<'a>, fields: &Map<String, Value>) -> Option<Inside<'a>> {
        fields.get("$ref").and_then(Value::as_str).and_then(|reference| self.follow(inside, reference))
    }

    /// Notes every tagged place below a schema. `at` is a place in the schema, `field` one in the data.
    fn walk(&mut self, inside: Inside<'a>, at: &str, field: &str, depth: usize) -> Result<bool, TagProblem> {
        let Some(fields) = inside.schema.as_object() else { return Ok(false) };
        if depth > 0 && at.matches("/$ref").count() == 0 && fields.contains_key(SUBJECT) {
            let change = "move it to the top of the schema: all of an event's personal data is about one person";
            return Err(TagProblem::new(at, format!("`{SUBJECT}` below the top"), change));
        }
        match fields.get(PERSONAL) {
            None | Some(Value::Bool(false)) => {}
            Some(Value::Bool(true)) => {
                if self.fields.len() >= FIELDS_MAX {
                    let found = format!("more than {FIELDS_MAX} places are `{PERSONAL}`");
                    return Err(TagProblem::new(at, found, "tag an object that holds several of them"));
                }
                self.fields.insert(field.to_owned());
                // Whatever is below is covered with it.
                return Ok(true);
            }
            Some(other) => {
                let found = format!("`{PERSONAL}` is `{other}`");
                return Err(TagProblem::new(at, found, format!("write `\"{PERSONAL}\": true`, or leave it out")));
            }
        }
        if depth > DEPTH_LIMIT {
            // A schema that refers to itself has no end; it may, as long as nothing in it is personal.
            return Ok(false);
        }
        let mut found = false;
        if let Some(target) = self.target(inside, fields) {
            let (before, last) = (self.fields.len(), depth + 8 > DEPTH_LIMIT);
            found |= self.walk(target, &format!("{at}/$ref"), field, depth + 1)?;
            if last && self.fields.len() > before {
                let change = "tag the whole property that holds what refers to itself";
                return Err(TagProblem::new(at, format!("`{PERSONAL}` inside of what refers to itself"), change));
            }
        }
        for keyword in ["anyOf", "oneOf"] {
            for (index, branch) in fields.get(keyword).and_then(Value::as_array).into_iter().flatten().enumerate() {
                let branch = Inside { schema: branch, ..inside };
                found |= self.walk(branch, &format!("{at}/{keyword}/{index}"), field, depth + 1)?;
            }
        }
        for (name, property) in fields.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let (place, below) = (format!("{at}/properties/{}", escaped(name)), format!("{field}/{}", escaped(name)));
            found |= self.walk(Inside { schema: property, ..inside }, &place, &below, depth + 1)?;
        }
        for keyword in ["items", "additionalProperties"] {
            if let Some(schema) = fields.get(keyword) {
                let inner = Inside { schema, ..inside };
                found |= self.walk(inner, &format!("{at}/{keyword}"), &format!("{field}/*"), depth + 1)?;
            }
        }
        Ok(found)
    }

    /// That every event has a text or a whole number at a place.
    fn subject(&self, schema: &'a Value, pointer: &str) -> Result<(), String> {
        let mut inside = self.resolved(Inside { root: schema, schema });
        let mut above = String::new();
        for part in parts(pointer) {
            let required = inside.schema.get("required").and_then(Value::as_array);
            let property = inside.schema.get("properties").and_then(|properties| properties.get(&part));
            let Some(property) = property else {
                return Err(format!("the schema has no property `{part}` at `{}`", shown(&above)));
            };
            if inside.schema.get("type").and_then(Value::as_str) != Some("object") {
                return Err(format!("`{}` is not of type object alone", shown(&above)));
            }
            if !required.is_some_and(|names| names.iter().any(|name| name.as_str() == Some(part.as_str()))) {
                return Err(format!("property `{part}` at `{}` is not required", shown(&above)));
            }
            above = format!("{above}/{}", escaped(&part));
            inside = self.resolved(Inside { schema: property, ..inside });
        }
        match inside.schema.get("type").and_then(Value::as_str) {
            Some("string" | "integer") => Ok(()),
            _ => Err(format!("`{pointer}` is neither of type string nor of type integer")),
        }
    }

    /// What a schema stands for, through references.
    fn resolved(&self, mut inside: Inside<'a>) -> Inside<'a> {
        for _ in 0..DEPTH_LIMIT {
            let Some(target) = inside.schema.as_object().and_then(|fields| self.target(inside, fields)) else { break };
            inside = target;
        }
        inside
    }

    /// Whether a document may have something at a place.
    fn may_hold(&self, inside: Inside<'a>, parts: &[String], depth: usize) -> bool {
        let inside = self.resolved(inside);
        let fields = match inside.schema {
            Value::Bool(any) => return *any,
            Value::Object(fields) if depth <= DEPTH_LIMIT => fields,
            _ => return true,
        };
        let Some((part, rest)) = parts.split_first() else { return true };
        let below = |schema: &'a Value| self.may_hold(Inside { schema, ..inside }, rest, depth + 1);
        for keyword in ["anyOf", "oneOf"] {
            if let Some(branches) = fields.get(keyword).and_then(Value::as_array) {
                let mut branches = branches.iter().map(|schema| Inside { schema, ..inside });
                return branches.any(|branch| self.may_hold(branch, parts, depth + 1));
            }
        }
        let types = fields.get("type");
        let has = |name: &str| match types {
            None => true,
            Some(Value::Array(names)) => names.iter().any(|named| named.as_str() == Some(name)),
            Some(named) => named.as_str() == Some(name),
        };
        let properties = fields.get("properties").and_then(Value::as_object);
        let additional = || fields.get("additionalProperties").is_none_or(below);
        let as_object = has("object")
            && match properties.and_then(|properties| properties.get(part)) {
                Some(property) => below(property),
                None if part == "*" => {
                    properties.is_some_and(|properties| properties.values().any(below)) || additional()
                }
                None => additional(),
            };
        as_object || (part == "*" && has("array") && fields.get("items").is_none_or(below))
    }
}

#[cfg(test)]
mod tests;
