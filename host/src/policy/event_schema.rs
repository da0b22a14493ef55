//! Whether a schema may become the next version of an event type. Schemas are those of the gate's profile, so that two of
//! them can be compared, and so that holding an event to one is bounded.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    gate::schema::{
        compare::{Gap, Side, within},
        profile::{Document, References},
    },
    personal::tags::{TagProblem, Tags, uncovered},
};
use crate::model::event_schema::{Compatibility, Obstacle, SCHEMA_BYTES_MAX};

/// What is told about one schema, at most.
const OBSTACLES_MAX: usize = 24;
/// What to do instead of making a version that breaks somebody.
const OR: &str = "or give events of this form a type of their own, such as one that ends in the next `.v2`";

/// Everything that stands against a schema: it is outside the profile, or differs from an earlier version in a way that
/// the mode excludes. Empty: it may be added.
#[must_use]
pub fn obstacles(
    mode: Compatibility,
    earlier: &BTreeMap<u32, &Value>,
    candidate: &Value,
    references: &BTreeMap<String, Value>,
) -> Vec<Obstacle> {
    let library = References::new(references);
    let document = match read(candidate, &library) {
        Ok(document) => document,
        Err(found) => return found,
    };
    let tags = match Tags::read(candidate, references) {
        Ok(tags) => tags,
        Err(TagProblem { at, found, change }) => {
            return vec![Obstacle { against: None, mode: "schema", pointer: at, found, change }];
        }
    };
    let mut found = Vec::new();
    for (version, schema) in earlier.iter().rev().filter(|_| mode != Compatibility::None) {
        // To seal more than before breaks nobody; to seal less needs a type that nobody relies on.
        let Ok(Some(before)) = Tags::read(schema, references) else { continue };
        found.extend(uncovered(&before, tags.as_ref(), candidate, references).into_iter().map(|field| Obstacle {
            against: Some(*version),
            mode: "personal",
            pointer: field.to_owned(),
            found: "it was personal data, and would be kept in clear from now on".to_owned(),
            change: format!("keep `\"x-personal\": true` there, {OR}"),
        }));
    }
    for (version, schema) in earlier.iter().rev() {
        // What was registered is within the profile; what came with the hub is too, as a test holds.
        let Ok(before) = read(schema, &library) else { continue };
        let mut add = |mode, side, gaps: Vec<Gap>| {
            found.extend(gaps.iter().map(|gap| Obstacle {
                against: Some(*version),
                mode,
                pointer: gap.at.clone(),
                found: gap.text(side),
                change: gap.advice_or(side, OR),
            }));
        };
        if mode.is_backward() {
            add("backward", Side::Lost, within(&before, &document, &library));
        }
        if mode.is_forward() {
            add("forward", Side::Gained, within(&document, &before, &library));
        }
    }
    found.truncate(OBSTACLES_MAX);
    found
}

/// Where documents of one schema may not fit another; empty: all do. For what a plugin says it produces of a type that is
/// somebody else's.
#[must_use]
pub fn beyond(produced: &Value, registered: &Value, references: &BTreeMap<String, Value>) -> Vec<Obstacle> {
    let library = References::new(references);
    let (produced, registered) = match (read(produced, &library), read(registered, &library)) {
        (Ok(produced), Ok(registered)) => (produced, registered),
        (Err(found), _) | (_, Err(found)) => return found,
    };
    let told = |gap: &Gap| Obstacle {
        against: None,
        mode: "schema",
        pointer: gap.at.clone(),
        found: gap.text(Side::Gained),
        change: "produce only what the registered schema takes, or give the event a type of your own".to_owned(),
    };
    within(&produced, &registered, &library).iter().take(OBSTACLES_MAX).map(told).collect()
}

fn read(schema: &Value, library: &References) -> Result<Document, Vec<Obstacle>> {
    let bytes = serde_json::to_vec(schema).map_or(0, |bytes| bytes.len());
    if bytes > SCHEMA_BYTES_MAX {
        let found = format!("it is {bytes} bytes, the limit is {SCHEMA_BYTES_MAX}");
        let change = "shorten it, or refer to canonical documents such as `retail/order@1`".to_owned();
        return Err(vec![Obstacle { against: None, mode: "schema", pointer: String::new(), found, change }]);
    }
    Document::read(schema, library).map_err(|problems| {
        let told = problems.into_iter().map(|problem| Obstacle {
            against: None,
            mode: "schema",
            pointer: problem.at,
            found: problem.found,
            change: problem.change,
        });
        told.collect()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::{beyond, obstacles};
    use crate::model::event_schema::Compatibility;

    fn object(required: &[&str], properties: &Value, open: bool) -> Value {
        json!({ "type": "object", "required": required, "properties": properties, "additionalProperties": open })
    }

    /// What each mode says of a change: `backward,forward` that are broken.
    #[track_caller]
    fn check(before: &Value, after: &Value, expected: &str) {
        for mode in Compatibility::ALL {
            let found = obstacles(mode, &BTreeMap::from([(1, before)]), after, &BTreeMap::new());
            let mut broken: Vec<&str> = found.iter().map(|obstacle| obstacle.mode).collect();
            broken.dedup();
            let wanted: Vec<&str> = expected
                .split(',')
                .filter(|name| match *name {
                    "backward" => mode.is_backward(),
                    "forward" => mode.is_forward(),
                    _ => false,
                })
                .collect();
            assert_eq!(broken, wanted, "{mode}: {found:?}");
            assert!(found.iter().all(|obstacle| !obstacle.change.is_empty() && obstacle.against == Some(1)));
        }
    }

    #[test]
    fn each_mode_excludes_what_it_is_about() {
        let a = json!({ "a": { "type": "string" } });
        let ab = json!({ "a": { "type": "string" }, "b": { "type": "string" } });
        check(&object(&["a"], &a, false), &object(&["a"], &a, false), "");
        // A property more: who receives may not know it.
        check(&object(&["a"], &a, false), &object(&["a"], &ab, false), "forward");
        // One that has to be there: who sends does not send it yet.
        check(&object(&["a"], &a, false), &object(&["a", "b"], &ab, false), "backward,forward");
        // One that need not be there any more: who receives relies on it.
        check(&object(&["a", "b"], &ab, false), &object(&["a"], &ab, false), "forward");
        // Another type.
        check(&object(&[], &a, false), &object(&[], &json!({ "a": { "type": "integer" } }), false), "backward,forward");
        // What was open may hold the new property already, as something else.
        check(&object(&[], &a, true), &object(&[], &ab, true), "backward");
    }

    #[test]
    fn every_earlier_version_counts() {
        let (one, two) = (json!({ "type": ["string", "null"] }), json!({ "type": ["string", "integer", "null"] }));
        let earlier = BTreeMap::from([(1, &one), (2, &two)]);
        let found = obstacles(Compatibility::Backward, &earlier, &json!({ "type": "string" }), &BTreeMap::new());
        let against: Vec<_> = found.iter().filter_map(|obstacle| obstacle.against).collect();
        assert_eq!(against, [2, 1]);
    }

    #[test]
    fn what_cannot_be_compared_is_refused_in_every_mode() {
        for (schema, word) in [
            (json!({ "allOf": [] }), "allOf"),
            (json!({ "$ref": "https://example.com/x" }), "not known"),
            (json!(7), "neither"),
            (json!({ "description": "x".repeat(70_000) }), "limit"),
        ] {
            let found = obstacles(Compatibility::None, &BTreeMap::new(), &schema, &BTreeMap::new());
            assert!(found.iter().any(|obstacle| obstacle.found.contains(word)), "{schema}: {found:?}");
        }
    }

    #[test]
    fn a_tag_of_personal_data_may_come_and_does_not_go() {
        let clear =
            object(&["id", "mail"], &json!({ "id": { "type": "string" }, "mail": { "type": "string" } }), false);
        let mut tagged = clear.clone();
        tagged["x-subject"] = json!("/id");
        tagged["properties"]["mail"]["x-personal"] = json!(true);
        check(&clear, &tagged, "");
        let found = |mode| obstacles(mode, &BTreeMap::from([(1, &tagged)]), &clear, &BTreeMap::new());
        for mode in [Compatibility::Backward, Compatibility::Forward, Compatibility::Full] {
            let [obstacle] = &found(mode)[..] else { panic!("{:?}", found(mode)) };
            assert_eq!((obstacle.mode, obstacle.pointer.as_str(), obstacle.against), ("personal", "/mail", Some(1)));
        }
        assert_eq!(found(Compatibility::None), []);
        let mut whose = tagged.clone();
        whose["x-subject"] = json!("/nobody");
        let found = obstacles(Compatibility::None, &BTreeMap::new(), &whose, &BTreeMap::new());
        assert!(found.iter().any(|obstacle| obstacle.pointer == "/x-subject"), "{found:?}");
    }

    #[test]
    fn what_somebody_produces_of_anothers_type_has_to_fit() {
        let registered = json!({ "type": "object", "required": ["a"], "properties": { "a": { "type": "string" } } });
        let narrower = json!({ "type": "object", "required": ["a"], "properties": { "a": { "const": "x" } } });
        assert_eq!(beyond(&narrower, &registered, &BTreeMap::new()), []);
        let found = beyond(&json!({ "type": "object" }), &registered, &BTreeMap::new());
        assert!(found.iter().any(|obstacle| obstacle.found.contains("`a`")), "{found:?}");
    }
}
