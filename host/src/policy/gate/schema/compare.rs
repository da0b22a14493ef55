//! Is every document that one schema takes also taken by another? Where not, a [`Gap`] says so.
//!
//! Sound: without a gap, every document of the one is taken by the other. Not complete: a gap may be told where a cleverer
//! look would find none (a pattern that matches less, a union that is covered by several parts together). Then the version
//! number has to say more than it would have to, which harms nobody.

use std::{cell::Cell, collections::BTreeSet};

use serde_json::Value;

use super::{
    accepts::accepts,
    profile::{Document, Node, References, Schema, Types},
};

/// Gaps that are looked for.
const GAPS_LIMIT: usize = 256;
/// References that lead to references.
const HOPS_LIMIT: usize = 16;
/// Pairs of schemas that are compared before it is given up: unions of unions that refer to each other could go on for
/// longer than anybody waits.
const PAIRS_LIMIT: u32 = 50_000;
/// How deep the comparison goes into schemas that refer to each other, before it is given up.
const DEPTH_LIMIT: u32 = 64;

/// Whom a gap concerns: the words differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Documents of the old schema that the new one refuses.
    Lost,
    /// Documents of the new schema that the old one refuses.
    Gained,
}

/// A place where a document of the one may not fit the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Gap {
    /// JSON Pointer into the document; `*` stands for any name or index.
    pub at: String,
    /// What may be there.
    pub kind: GapKind,
}

/// What may be there that the other refuses. *One* is the schema whose documents are looked at, *other* the one that they
/// should fit.
#[derive(Clone, Debug, PartialEq)]
pub enum GapKind {
    /// Values of these types.
    Types {
        /// Which.
        types: String,
    },
    /// These members of an `enum`, or anything beside the other's members if empty.
    Values {
        /// Which, as JSON.
        values: Vec<String>,
    },
    /// The property is missing, which the other requires.
    Missing {
        /// Its name.
        name: String,
    },
    /// The property is there, which the other does not know and closes itself against.
    Unknown {
        /// Its name.
        name: String,
    },
    /// Any property at all is there; the other takes only those that it names.
    Closed,
    /// The property is there with any content, since one does not speak of it and is open; the other wants it to be
    /// something.
    Collides {
        /// Its name.
        name: String,
    },
    /// A bound is wider than the other's.
    Bound {
        /// The keyword.
        keyword: String,
        /// Of one; absent: none.
        one: Option<String>,
        /// Of the other.
        other: String,
    },
    /// The documents may take a form that none of the other's fits.
    Form,
    /// The schemas are too entangled to be compared.
    Entangled,
}

impl Gap {
    /// What it is, in words for its side.
    #[must_use]
    pub fn text(&self, side: Side) -> String {
        let lost = side == Side::Lost;
        match &self.kind {
            GapKind::Types { types } if lost => format!("{types} is no longer allowed"),
            GapKind::Types { types } => format!("{types} is allowed now"),
            GapKind::Values { values } if values.is_empty() && lost => "only listed values are allowed now".to_owned(),
            GapKind::Values { values } if values.is_empty() => {
                "values beside the listed ones are allowed now".to_owned()
            }
            GapKind::Values { values } if lost => format!("{} is no longer among the values", values.join(", ")),
            GapKind::Values { values } => format!("{} is new among the values", values.join(", ")),
            GapKind::Missing { name } if lost => format!("`{name}` is required now"),
            GapKind::Missing { name } => format!("`{name}` is no longer always there"),
            GapKind::Unknown { name } if lost => format!("`{name}` is no longer known, and what is unknown is refused"),
            GapKind::Unknown { name } => format!("`{name}` is new, and what is unknown was excluded"),
            GapKind::Closed if lost => "properties that it does not name are refused now".to_owned(),
            GapKind::Closed => "properties that it does not name are allowed now".to_owned(),
            GapKind::Collides { name } if lost => {
                format!(
                    "`{name}` has a meaning now; it was open before, so somebody may already send it as something else"
                )
            }
            GapKind::Collides { name } => format!("`{name}` is no longer held to anything"),
            GapKind::Bound { keyword, one, other } => {
                let one = one.as_deref().unwrap_or("none");
                let (from, to) = if lost { (one, other.as_str()) } else { (other.as_str(), one) };
                format!("`{keyword}` was {from} and is {to}")
            }
            GapKind::Entangled => "its unions and references are too entangled to be compared".to_owned(),
            GapKind::Form if lost => "a form that was allowed fits none of the forms now".to_owned(),
            GapKind::Form => "a form is allowed now that fitted none before".to_owned(),
        }
    }

    /// What to do so that it does not break anybody.
    #[must_use]
    pub fn advice(&self, side: Side) -> String {
        self.advice_or(side, "or publish a new major version")
    }

    /// The same, where something else can be done instead than to publish a new major version.
    #[must_use]
    pub fn advice_or(&self, side: Side, or: &str) -> String {
        match (&self.kind, side) {
            (GapKind::Missing { name }, Side::Lost) => format!("make `{name}` optional, {or}"),
            (GapKind::Missing { name }, Side::Gained) => format!("keep `{name}` in `required`, {or}"),
            (GapKind::Collides { name }, Side::Lost) => {
                format!("let `{name}` be `{{}}` and check it in the plugin, or use a name that nobody sends, {or}")
            }
            (GapKind::Closed, Side::Lost) => format!("leave `additionalProperties` open, {or}"),
            (GapKind::Closed | GapKind::Unknown { .. }, Side::Gained) => {
                format!("who receives it may refuse what it does not know: leave it out, {or}")
            }
            (GapKind::Entangled, _) => format!("write it with fewer unions, {or}"),
            (_, Side::Lost) => format!("go on taking it, {or}"),
            (_, Side::Gained) => format!("who receives it does not expect it: do not produce it, {or}"),
        }
    }
}

/// Every place where a document that `one` takes may not be taken by `other`; empty if there is none.
#[must_use]
pub fn within(one: &Document, other: &Document, references: &References) -> Vec<Gap> {
    let pairs = Cell::new(0);
    let mut walk = Walk { references, gaps: Vec::new(), assumed: BTreeSet::new(), pairs: &pairs, depth: 0 };
    walk.schema("", (&one.root, one), (&other.root, other));
    if pairs.get() > PAIRS_LIMIT {
        walk.gaps.insert(0, Gap { at: "/".to_owned(), kind: GapKind::Entangled });
    }
    walk.gaps
}

/// What a reference leads to, and the document that its own references are about.
pub(super) fn resolve<'a>(
    name: &str,
    document: &'a Document,
    references: &'a References,
) -> Option<(&'a Schema, &'a Document)> {
    match name.strip_prefix("#/$defs/") {
        Some(name) => document.definitions.get(name).map(|schema| (schema, document)),
        None => references.get(name).map(|document| (&document.root, document)),
    }
}

/// A schema and the document that its references are about.
type Placed<'a> = (&'a Schema, &'a Document);

struct Walk<'a> {
    references: &'a References,
    gaps: Vec<Gap>,
    /// Pairs of references that are being, or have been, compared: what refers to itself is taken to hold until it is
    /// shown not to, which is what makes the walk end.
    assumed: BTreeSet<(usize, usize)>,
    /// How many pairs were looked at, in all walks together.
    pairs: &'a Cell<u32>,
    depth: u32,
}

impl<'a> Walk<'a> {
    fn gap(&mut self, at: &str, kind: GapKind) {
        if self.gaps.len() < GAPS_LIMIT {
            let at = if at.is_empty() { "/" } else { at };
            self.gaps.push(Gap { at: at.to_owned(), kind });
        }
    }

    fn follow(&self, mut placed: Placed<'a>) -> Option<Placed<'a>> {
        for _ in 0..HOPS_LIMIT {
            let Schema::Reference(name) = placed.0 else { return Some(placed) };
            placed = resolve(name, placed.1, self.references)?;
        }
        None
    }

    fn schema(&mut self, at: &str, one: Placed<'a>, other: Placed<'a>) {
        if self.depth >= DEPTH_LIMIT {
            self.pairs.set(PAIRS_LIMIT + 1);
            return;
        }
        self.depth += 1;
        self.pair(at, one, other);
        self.depth -= 1;
    }

    fn pair(&mut self, at: &str, one: Placed<'a>, other: Placed<'a>) {
        self.pairs.set(self.pairs.get().saturating_add(1));
        if self.gaps.len() >= GAPS_LIMIT || self.pairs.get() > PAIRS_LIMIT {
            return;
        }
        let referred = matches!((one.0, other.0), (Schema::Reference(_), _) | (_, Schema::Reference(_)));
        let (Some(one), Some(other)) = (self.follow(one), self.follow(other)) else {
            return self.gap(at, GapKind::Form);
        };
        if referred {
            let pair = (std::ptr::from_ref(one.0) as usize, std::ptr::from_ref(other.0) as usize);
            if pair.0 == pair.1 || !self.assumed.insert(pair) {
                return;
            }
        }
        match (one.0, other.0) {
            (Schema::Never, _) => {}
            (Schema::Union(branches), _) => branches.iter().for_each(|branch| self.schema(at, (branch, one.1), other)),
            (_, Schema::Never) => self.gap(at, GapKind::Types { types: types_of(one.0) }),
            (_, Schema::Union(branches)) => self.any_of(at, one, branches, other.1),
            (Schema::Node(node), Schema::Node(bound)) => self.node(at, (&**node, one.1), (&**bound, other.1)),
            // Both have been followed.
            (Schema::Reference(_), _) | (_, Schema::Reference(_)) => self.gap(at, GapKind::Form),
        }
    }

    /// Into one of several: each type for itself, since forms are mostly told apart by their types.
    fn any_of(&mut self, at: &str, one: Placed<'a>, branches: &'a [Schema], document: &'a Document) {
        let parts: Vec<Schema> = match one.0 {
            Schema::Node(node) => match &node.values {
                Some(values) => values.iter().map(|value| single(node, Some(value.clone()), node.types)).collect(),
                None => {
                    Types::EACH.into_iter().filter(|of| node.types.has(*of)).map(|of| single(node, None, of)).collect()
                }
            },
            other => vec![other.clone()],
        };
        for part in &parts {
            let mut fewest: Option<Vec<Gap>> = None;
            for branch in branches {
                // The part is made here, so its address means nothing; assumptions made within stay within.
                let (references, pairs, depth) = (self.references, self.pairs, self.depth);
                let mut walk = Walk { references, gaps: Vec::new(), assumed: self.assumed.clone(), pairs, depth };
                walk.schema(at, (part, one.1), (branch, document));
                if fewest.as_ref().is_none_or(|fewest| walk.gaps.len() < fewest.len()) {
                    fewest = Some(walk.gaps);
                }
            }
            match fewest {
                Some(gaps) if gaps.is_empty() => {}
                Some(gaps) if gaps.iter().all(|gap| gap.at != place(at)) => {
                    gaps.into_iter().for_each(|gap| self.gap(&gap.at, gap.kind));
                }
                _ => match part {
                    Schema::Node(node) if node.values.is_some() => {
                        let values = node.values.iter().flatten().map(ToString::to_string).collect();
                        self.gap(at, GapKind::Values { values });
                    }
                    part if branches.iter().all(|branch| !shares_type(part, branch)) => {
                        self.gap(at, GapKind::Types { types: types_of(part) });
                    }
                    _ => self.gap(at, GapKind::Form),
                },
            }
        }
    }

    fn node(&mut self, at: &str, (one, one_in): (&'a Node, &'a Document), (other, other_in): (&'a Node, &'a Document)) {
        if let Some(values) = &one.values {
            return self.values(at, (one, one_in), (other, other_in), values);
        }
        let lost = one.types.without(other.types);
        if !lost.is_empty() {
            self.gap(at, GapKind::Types { types: lost.text() });
        }
        if let Some(values) = &other.values {
            let finite = [Value::Null, Value::Bool(false), Value::Bool(true)];
            let few = one.types.without(Types::NULL.with(Types::BOOLEAN)).is_empty();
            let all = finite.iter().filter(|value| one.types.has(Types::of(value))).all(|value| values.contains(value));
            if !(few && all) {
                return self.gap(at, GapKind::Values { values: Vec::new() });
            }
        }
        let both = |of: Types| one.types.has(of) && other.types.has(of);
        if both(Types::INTEGER) || both(Types::FRACTION) {
            self.numbers(at, one, other);
        }
        if both(Types::STRING) {
            self.count(at, one.counts.get("minLength"), other, "minLength");
            self.count(at, one.counts.get("maxLength"), other, "maxLength");
            if let Some(pattern) = other.pattern.as_ref().filter(|pattern| one.pattern.as_ref() != Some(*pattern)) {
                let kind =
                    GapKind::Bound { keyword: "pattern".to_owned(), one: one.pattern.clone(), other: pattern.clone() };
                self.gap(at, kind);
            }
        }
        if both(Types::ARRAY) {
            self.count(at, one.counts.get("minItems"), other, "minItems");
            self.count(at, one.counts.get("maxItems"), other, "maxItems");
            let at_most_one = one.counts.get("maxItems").is_some_and(|most| *most <= 1);
            if other.unique && !one.unique && !at_most_one {
                let kind = GapKind::Bound { keyword: "uniqueItems".to_owned(), one: None, other: "true".to_owned() };
                self.gap(at, kind);
            }
            if let Some(items) = other.items.as_ref().filter(|_| one.counts.get("maxItems") != Some(&0)) {
                match &one.items {
                    Some(own) => self.schema(&format!("{at}/*"), (own, one_in), (items, other_in)),
                    None => self.anything_into(&format!("{at}/*"), (items, other_in)),
                }
            }
        }
        if both(Types::OBJECT) {
            self.object(at, (one, one_in), (other, other_in));
        }
    }

    /// From an `enum`: it is enough to look at its members.
    fn values(
        &mut self,
        at: &str,
        (one, one_in): (&Node, &Document),
        (other, other_in): (&Node, &Document),
        values: &[Value],
    ) {
        let free = Schema::Node(Box::new(Node { values: None, ..one.clone() }));
        let other = Schema::Node(Box::new(other.clone()));
        let lost: Vec<String> = values
            .iter()
            .filter(|value| accepts(&free, one_in, self.references, value))
            .filter(|value| !accepts(&other, other_in, self.references, value))
            .map(ToString::to_string)
            .collect();
        if !lost.is_empty() {
            self.gap(at, GapKind::Values { values: lost });
        }
    }

    fn object(
        &mut self,
        at: &str,
        (one, one_in): (&'a Node, &'a Document),
        (other, other_in): (&'a Node, &'a Document),
    ) {
        for name in other.required.difference(&one.required) {
            self.gap(at, GapKind::Missing { name: name.clone() });
        }
        for (name, bound) in &other.properties {
            let place = format!("{at}/{name}");
            match (one.properties.get(name), &one.additional) {
                (Some(own), _) | (None, Some(own)) => self.schema(&place, (own, one_in), (bound, other_in)),
                (None, None) if bound.is_any() => {}
                (None, None) => self.gap(at, GapKind::Collides { name: name.clone() }),
            }
        }
        if let Some(bound) = &other.additional {
            for (name, own) in one.properties.iter().filter(|(name, _)| !other.properties.contains_key(*name)) {
                match bound {
                    Schema::Never if *own != Schema::Never => self.gap(at, GapKind::Unknown { name: name.clone() }),
                    bound => self.schema(&format!("{at}/{name}"), (own, one_in), (bound, other_in)),
                }
            }
            match (&one.additional, bound) {
                (None, Schema::Never) => self.gap(at, GapKind::Closed),
                (Some(own), Schema::Never) if *own != Schema::Never => self.gap(at, GapKind::Closed),
                (Some(own), bound) => self.schema(&format!("{at}/*"), (own, one_in), (bound, other_in)),
                (None, bound) => self.anything_into(&format!("{at}/*"), (bound, other_in)),
            }
        }
        // What is required is there, and what is closed has no more than it names.
        let least = (one.required.len() as u64).max(one.counts.get("minProperties").copied().unwrap_or_default());
        self.count(at, Some(&least), other, "minProperties");
        let named = one.properties.values().filter(|schema| **schema != Schema::Never).count() as u64;
        let most = match (one.counts.get("maxProperties"), &one.additional) {
            (Some(most), Some(Schema::Never)) => Some(named.min(*most)),
            (None, Some(Schema::Never)) => Some(named),
            (most, _) => most.copied(),
        };
        self.count(at, most.as_ref(), other, "maxProperties");
    }

    fn count(&mut self, at: &str, one: Option<&u64>, other: &Node, keyword: &'static str) {
        let Some(bound) = other.counts.get(keyword) else { return };
        let holds = match (one, keyword.starts_with("min")) {
            (Some(one), true) => one >= bound,
            (Some(one), false) => one <= bound,
            (None, _) => false,
        };
        if !holds {
            let one = one.map(ToString::to_string);
            self.gap(at, GapKind::Bound { keyword: keyword.to_owned(), one, other: bound.to_string() });
        }
    }

    fn numbers(&mut self, at: &str, one: &Node, other: &Node) {
        let whole = !one.types.has(Types::FRACTION);
        for (exclusive, inclusive, sign) in
            [("exclusiveMinimum", "minimum", 1.0), ("exclusiveMaximum", "maximum", -1.0)]
        {
            let (Some(bound), own) =
                (lower(other, exclusive, inclusive, sign, whole), lower(one, exclusive, inclusive, sign, whole))
            else {
                continue;
            };
            // A higher lower bound lies within; at the same one, an exclusive bound lies within an inclusive one.
            let holds = own.is_some_and(|own| own.0 > bound.0 || (own.0 == bound.0 && (own.1 || !bound.1)));
            if !holds {
                let text = |(value, exclusive): (f64, bool)| {
                    if exclusive { format!("{} (excluded)", value * sign) } else { (value * sign).to_string() }
                };
                let kind = GapKind::Bound { keyword: inclusive.to_owned(), one: own.map(text), other: text(bound) };
                self.gap(at, kind);
            }
        }
        if let Some(step) = other.numbers.get("multipleOf") {
            let own = one.numbers.get("multipleOf").copied().or(whole.then_some(1.0));
            if own.is_none_or(|own| (own / step).fract() != 0.0) {
                let one = one.numbers.get("multipleOf").map(ToString::to_string);
                self.gap(at, GapKind::Bound { keyword: "multipleOf".to_owned(), one, other: step.to_string() });
            }
        }
    }

    /// Anything at all, into a schema that wants something.
    fn anything_into(&mut self, at: &str, other: Placed<'a>) {
        let Some((schema, _)) = self.follow(other) else { return self.gap(at, GapKind::Form) };
        match schema {
            schema if schema.is_any() => {}
            Schema::Node(node) if node.types == Types::ALL => self.gap(at, GapKind::Form),
            schema => {
                let taken = match schema {
                    Schema::Node(node) => node.types,
                    _ => Types::NULL.without(Types::NULL),
                };
                self.gap(at, GapKind::Types { types: Types::ALL.without(taken).text() });
            }
        }
    }
}

/// The lower bound of a node's numbers, and whether it is excluded. With `sign` −1 the upper one, turned round. Whole
/// numbers have no bound between them: above 0 is from 1 on.
fn lower(node: &Node, exclusive: &str, inclusive: &str, sign: f64, whole: bool) -> Option<(f64, bool)> {
    let of = |keyword: &str| node.numbers.get(keyword).map(|bound| bound * sign);
    let bound = match (of(exclusive), of(inclusive)) {
        (Some(excluded), Some(included)) if excluded >= included => (excluded, true),
        (_, Some(included)) => (included, false),
        (Some(excluded), None) => (excluded, true),
        (None, None) => return None,
    };
    Some(match bound {
        (value, true) if whole => (value.floor() + 1.0, false),
        (value, false) if whole => (value.ceil(), false),
        bound => bound,
    })
}

/// The same node, held to one of its values or types.
fn single(node: &Node, value: Option<Value>, types: Types) -> Schema {
    Schema::Node(Box::new(Node { types, values: value.map(|value| vec![value]), ..node.clone() }))
}

fn place(at: &str) -> &str {
    if at.is_empty() { "/" } else { at }
}

fn types_of(schema: &Schema) -> String {
    match schema {
        Schema::Node(node) => node.types.text(),
        _ => "anything".to_owned(),
    }
}

fn shares_type(one: &Schema, other: &Schema) -> bool {
    match (one, other) {
        (Schema::Node(one), Schema::Node(other)) => one.types.has(other.types),
        _ => true,
    }
}
