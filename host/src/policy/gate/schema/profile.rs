//! The profile: what of JSON Schema can be compared, read into a typed form. What is not part of it is refused by name,
//! since a keyword that the gate passes over could hide any change.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Number, Value};

/// Deepest nesting of a schema.
const DEPTH_LIMIT: usize = 32;
/// What is wrong with one schema, at most.
const PROBLEMS_LIMIT: usize = 16;
/// Words for people, which do not change what is taken. `format` is one: 2020-12 does not check it.
const ANNOTATIONS: [&str; 14] = [
    "$schema",
    "$id",
    "$comment",
    "title",
    "description",
    "examples",
    "default",
    "deprecated",
    "readOnly",
    "writeOnly",
    "format",
    "$defs",
    // What is personal data, and whose: `policy::personal`.
    "x-personal",
    "x-subject",
];
/// Keywords that constrain.
const CONSTRAINTS: [&str; 18] = [
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "minProperties",
    "maxProperties",
    "items",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "multipleOf",
];
/// Of numbers, beside [`CONSTRAINTS`].
const EXCLUSIVE: [&str; 2] = ["exclusiveMinimum", "exclusiveMaximum"];
/// Keywords that stand alone.
const ALONE: [&str; 3] = ["$ref", "anyOf", "oneOf"];

/// A set of JSON's types. An integer is a number; both bits together are `number`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Types(u8);

impl Types {
    /// `null`.
    pub const NULL: Self = Self(1);
    /// `boolean`.
    pub const BOOLEAN: Self = Self(2);
    /// `integer`.
    pub const INTEGER: Self = Self(4);
    /// Numbers that are not integers.
    pub const FRACTION: Self = Self(8);
    /// `string`.
    pub const STRING: Self = Self(16);
    /// `array`.
    pub const ARRAY: Self = Self(32);
    /// `object`.
    pub const OBJECT: Self = Self(64);
    /// All of them.
    pub const ALL: Self = Self(127);
    /// Each single one.
    pub const EACH: [Self; 7] =
        [Self::NULL, Self::BOOLEAN, Self::INTEGER, Self::FRACTION, Self::STRING, Self::ARRAY, Self::OBJECT];

    /// Whether it has any of the other's.
    #[must_use]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Those that only this one has.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those of both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The types of one value.
    #[must_use]
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::NULL,
            Value::Bool(_) => Self::BOOLEAN,
            Value::Number(number) if is_integer(number) => Self::INTEGER,
            Value::Number(_) => Self::FRACTION,
            Value::String(_) => Self::STRING,
            Value::Array(_) => Self::ARRAY,
            Value::Object(_) => Self::OBJECT,
        }
    }

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "null" => Self::NULL,
            "boolean" => Self::BOOLEAN,
            "integer" => Self::INTEGER,
            "number" => Self::INTEGER.with(Self::FRACTION),
            "string" => Self::STRING,
            "array" => Self::ARRAY,
            "object" => Self::OBJECT,
            _ => return None,
        })
    }

    /// For people: `string or null`.
    #[must_use]
    pub fn text(self) -> String {
        if self == Self::ALL {
            return "anything".to_owned();
        }
        let number = self.has(Self::FRACTION);
        let names = [
            (Self::STRING, "string"),
            (Self::FRACTION, if self.has(Self::INTEGER) { "number" } else { "fractional number" }),
            (Self::INTEGER, if number { "" } else { "integer" }),
            (Self::BOOLEAN, "boolean"),
            (Self::OBJECT, "object"),
            (Self::ARRAY, "array"),
            (Self::NULL, "null"),
        ];
        let names: Vec<&str> =
            names.into_iter().filter(|(of, name)| self.has(*of) && !name.is_empty()).map(|(_, name)| name).collect();
        names.join(" or ")
    }
}

/// JSON Schema counts 1.0 among the integers.
fn is_integer(number: &Number) -> bool {
    number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
}

/// A schema.
#[derive(Clone, Debug, PartialEq)]
pub enum Schema {
    /// Takes nothing: `false`.
    Never,
    /// What another schema takes, by its reference.
    Reference(String),
    /// What any of them takes.
    Union(Vec<Schema>),
    /// What fits all of these constraints.
    Node(Box<Node>),
}

/// Constraints that hold together. Each but types and values speaks of one type only.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Which types.
    pub types: Types,
    /// Only these values.
    pub values: Option<Vec<Value>>,
    /// What properties hold, if they are there.
    pub properties: BTreeMap<String, Schema>,
    /// Properties that are always there.
    pub required: BTreeSet<String>,
    /// What all other properties hold.
    pub additional: Option<Schema>,
    /// What items hold.
    pub items: Option<Schema>,
    /// Whether no two items are the same.
    pub unique: bool,
    /// A regular expression that occurs in the string.
    pub pattern: Option<String>,
    /// Bounds of counts, by keyword: `minLength` and so on. Absent minima are 0.
    pub counts: BTreeMap<&'static str, u64>,
    /// Bounds of numbers, by keyword.
    pub numbers: BTreeMap<&'static str, f64>,
}

impl Node {
    /// Takes anything.
    #[must_use]
    pub fn any() -> Self {
        Self {
            types: Types::ALL,
            values: None,
            properties: BTreeMap::new(),
            required: BTreeSet::new(),
            additional: None,
            items: None,
            unique: false,
            pattern: None,
            counts: BTreeMap::new(),
            numbers: BTreeMap::new(),
        }
    }
}

impl Schema {
    /// Takes anything.
    #[must_use]
    pub fn any() -> Self {
        Self::Node(Box::new(Node::any()))
    }

    /// Whether it says nothing at all.
    #[must_use]
    pub fn is_any(&self) -> bool {
        matches!(self, Self::Node(node) if **node == Node::any())
    }
}

/// A schema with what it refers to within itself.
#[derive(Clone, Debug)]
pub struct Document {
    /// The schema.
    pub root: Schema,
    /// Its `$defs`.
    pub definitions: BTreeMap<String, Schema>,
}

/// Documents that schemas may refer to, by name, such as `retail/order@1`.
pub struct References(BTreeMap<String, Document>);

impl References {
    /// Reads the documents. One that is outside the profile cannot be referred to.
    #[must_use]
    pub fn new(documents: &BTreeMap<String, Value>) -> Self {
        let names = |name: &str| documents.contains_key(name);
        Self(
            documents
                .iter()
                .filter_map(|(name, schema)| Some((name.clone(), Reader::document(schema, &names).ok()?)))
                .collect(),
        )
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Document> {
        self.0.get(name)
    }
}

/// What is outside the profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The rule.
    pub rule: &'static str,
    /// JSON Pointer into the schema.
    pub at: String,
    /// What was found.
    pub found: String,
    /// What to write instead.
    pub change: String,
}

impl Document {
    /// Reads a schema.
    ///
    /// # Errors
    /// Everything that is outside the profile.
    pub fn read(schema: &Value, references: &References) -> Result<Self, Vec<Problem>> {
        Reader::document(schema, &|name| references.get(name).is_some())
    }
}

struct Reader<'a> {
    named: &'a dyn Fn(&str) -> bool,
    definitions: BTreeSet<String>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn document(schema: &Value, named: &dyn Fn(&str) -> bool) -> Result<Document, Vec<Problem>> {
        let defined = schema.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
        let mut reader = Reader { named, definitions: defined.keys().cloned().collect(), problems: Vec::new() };
        let root = reader.schema("", schema, 0);
        let definitions = defined
            .iter()
            .map(|(name, schema)| (name.clone(), reader.schema(&format!("/$defs/{name}"), schema, 1)))
            .collect();
        if reader.problems.is_empty() { Ok(Document { root, definitions }) } else { Err(reader.problems) }
    }

    fn problem(&mut self, rule: &'static str, at: &str, found: impl Into<String>, change: impl Into<String>) {
        if self.problems.len() < PROBLEMS_LIMIT {
            let at = if at.is_empty() { "/" } else { at };
            self.problems.push(Problem { rule, at: at.to_owned(), found: found.into(), change: change.into() });
        }
    }

    fn schema(&mut self, at: &str, schema: &Value, depth: usize) -> Schema {
        if depth > DEPTH_LIMIT {
            self.problem("schema.profile", at, format!("it is nested more than {DEPTH_LIMIT} deep"), "use `$defs`");
            return Schema::Never;
        }
        let fields = match schema {
            Value::Bool(true) => return Schema::any(),
            Value::Bool(false) => return Schema::Never,
            Value::Object(fields) => fields,
            _ => {
                self.problem("schema.profile", at, "it is neither an object nor a boolean", "write a schema");
                return Schema::Never;
            }
        };
        self.keywords(at, fields, depth);
        if let Some(reference) = fields.get("$ref") {
            return self.reference(at, reference);
        }
        for keyword in ["anyOf", "oneOf"] {
            if let Some(branches) = fields.get(keyword) {
                return self.union(&format!("{at}/{keyword}"), keyword, branches, depth);
            }
        }
        self.node(at, fields, depth)
    }

    /// Every keyword is one of the profile, and what stands alone stands alone.
    fn keywords(&mut self, at: &str, fields: &Map<String, Value>, depth: usize) {
        let constrains = |name: &str| CONSTRAINTS.contains(&name) || EXCLUSIVE.contains(&name);
        for name in fields.keys().map(String::as_str) {
            if name == "$defs" && depth > 0 {
                self.problem("schema.profile", at, "`$defs` below the top", "move them to the top of the schema");
            }
            if constrains(name) || ANNOTATIONS.contains(&name) || ALONE.contains(&name) {
                continue;
            }
            let change = match name {
                "allOf" => "write its parts out in one schema",
                "not" | "if" | "then" | "else" => "say what is allowed, with `anyOf` for several forms",
                "patternProperties" | "propertyNames" => "use `properties` and `additionalProperties`",
                "prefixItems" | "contains" | "unevaluatedItems" => "use `items`, or an object with names",
                "dependentRequired" | "dependentSchemas" | "unevaluatedProperties" => {
                    "use `anyOf` with a form for each"
                }
                "definitions" => "use `$defs`",
                "$dynamicRef" | "$anchor" | "$dynamicAnchor" => "use `$ref` with `#/$defs/NAME`",
                _ => "leave it out; words for people go into `description`",
            };
            self.problem("schema.profile", at, format!("keyword `{name}` is outside the profile"), change);
        }
        if let Some(alone) = ALONE.iter().find(|name| fields.contains_key(**name)) {
            let beside =
                fields.keys().find(|name| constrains(name) || (ALONE.contains(&name.as_str()) && name != alone));
            if let Some(beside) = beside {
                let text = format!("`{alone}` and `{beside}` beside each other");
                self.problem("schema.profile", at, text, format!("let `{alone}` stand alone"));
            }
        }
    }

    fn reference(&mut self, at: &str, reference: &Value) -> Schema {
        let Some(reference) = reference.as_str() else {
            self.problem("schema.reference", at, "`$ref` is no text", "name a schema");
            return Schema::Never;
        };
        let known = match reference.strip_prefix("#/$defs/") {
            Some(name) => self.definitions.contains(name),
            None => (self.named)(reference),
        };
        if !known {
            let text = format!("`{reference}` is not known");
            let change = "refer to `#/$defs/NAME` or to a canonical document such as `retail/order@1`";
            self.problem("schema.reference", at, text, change);
        }
        Schema::Reference(reference.to_owned())
    }

    fn union(&mut self, at: &str, keyword: &str, branches: &Value, depth: usize) -> Schema {
        let Some(branches) = branches.as_array().filter(|branches| !branches.is_empty()) else {
            self.problem("schema.profile", at, "it lists no schemas", "list at least one");
            return Schema::Never;
        };
        let read: Vec<Schema> = branches
            .iter()
            .enumerate()
            .map(|(index, branch)| self.schema(&format!("{at}/{index}"), branch, depth + 1))
            .collect();
        // `oneOf` refuses what fits two of its schemas, which nobody can see by looking at one of them.
        let apart =
            read.iter().enumerate().all(|(index, one)| read.iter().skip(index + 1).all(|other| apart(one, other)));
        if keyword == "oneOf" && !apart {
            let change =
                "give each a `type` of its own, or a required property with a `const` of its own; or use `anyOf`";
            self.problem("schema.profile", at, "a document may fit two of them", change);
        }
        Schema::Union(read)
    }

    fn node(&mut self, at: &str, fields: &Map<String, Value>, depth: usize) -> Schema {
        let mut node = Node::any();
        for (name, value) in fields {
            let place = format!("{at}/{name}");
            match name.as_str() {
                "type" => node.types = self.types(&place, value),
                "enum" => match value.as_array() {
                    Some(values) => node.values = Some(values.clone()),
                    None => self.problem("schema.profile", &place, "it is no list", "list the values"),
                },
                "const" => node.values = Some(vec![value.clone()]),
                "properties" => match value.as_object() {
                    Some(properties) => {
                        for (name, schema) in properties {
                            let schema = self.schema(&format!("{place}/{name}"), schema, depth + 1);
                            node.properties.insert(name.clone(), schema);
                        }
                    }
                    None => self.problem("schema.profile", &place, "it is no object", "name properties"),
                },
                "required" => {
                    match value.as_array().map(|names| names.iter().map(Value::as_str).collect::<Option<_>>()) {
                        Some(Some::<Vec<&str>>(names)) => {
                            node.required = names.into_iter().map(str::to_owned).collect()
                        }
                        _ => self.problem("schema.profile", &place, "it is no list of names", "list properties' names"),
                    }
                }
                "additionalProperties" => node.additional = Some(self.schema(&place, value, depth + 1)),
                "items" => node.items = Some(self.schema(&place, value, depth + 1)),
                "uniqueItems" => node.unique = value == &Value::Bool(true),
                "pattern" => match value.as_str() {
                    Some(pattern) => node.pattern = Some(pattern.to_owned()),
                    None => self.problem("schema.profile", &place, "it is no text", "write a regular expression"),
                },
                _ => self.bound(&place, name, value, &mut node),
            }
        }
        if fields.contains_key("enum") && fields.contains_key("const") {
            self.problem("schema.profile", at, "`enum` and `const` beside each other", "keep `const`");
        }
        // What says nothing is left out, so that a schema that says nothing is known as one.
        node.additional = node.additional.filter(|schema| !schema.is_any());
        node.items = node.items.filter(|schema| !schema.is_any());
        Schema::Node(Box::new(node))
    }

    fn types(&mut self, at: &str, value: &Value) -> Types {
        let names: Vec<&Value> = match value {
            Value::Array(names) => names.iter().collect(),
            one => vec![one],
        };
        let mut types = None;
        for name in names {
            match name.as_str().and_then(Types::named) {
                Some(named) => types = Some(types.map_or(named, |types: Types| types.with(named))),
                None => self.problem("schema.profile", at, format!("`{name}` is no type"), "name one of JSON's types"),
            }
        }
        types.unwrap_or(Types::ALL)
    }

    fn bound(&mut self, at: &str, name: &str, value: &Value, node: &mut Node) {
        let count = ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"];
        let number = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"];
        if let Some(keyword) = count.into_iter().find(|keyword| *keyword == name) {
            match value.as_u64() {
                // A minimum of 0 says nothing.
                Some(0) if keyword.starts_with("min") => {}
                Some(bound) => drop(node.counts.insert(keyword, bound)),
                None => self.problem("schema.profile", at, "it is no count", "write a whole number from 0 on"),
            }
        } else if let Some(keyword) = number.into_iter().find(|keyword| *keyword == name) {
            match value.as_f64().filter(|bound| keyword != "multipleOf" || *bound > 0.0) {
                Some(bound) => drop(node.numbers.insert(keyword, bound)),
                None => self.problem("schema.profile", at, "it is no number that can bound", "write a number"),
            }
        }
    }
}

/// Whether no document fits both, as far as one can see without looking into references.
fn apart(one: &Schema, other: &Schema) -> bool {
    let (Schema::Node(one), Schema::Node(other)) = (one, other) else { return false };
    if !one.types.has(other.types) {
        return true;
    }
    if let (Some(values), Some(others)) = (&one.values, &other.values) {
        return !values.iter().any(|value| others.contains(value));
    }
    // A property that both require and that tells them apart; it does so only if they are objects.
    let objects = one.types == Types::OBJECT && other.types == Types::OBJECT;
    objects
        && one.required.intersection(&other.required).any(|name| {
            match (one.properties.get(name), other.properties.get(name)) {
                (Some(one), Some(other)) => apart(one, other),
                _ => false,
            }
        })
}
