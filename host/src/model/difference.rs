//! What differs between two versions of something that people wrote: as data, for people and programs.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A field with other content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Where: names joined by dots.
    pub path: String,
    /// What was there; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What is there; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// What became of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It has other content.
    Changed,
    /// It stands elsewhere, with the same content.
    Moved,
}

impl Fate {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
            Self::Moved => "moved",
        }
    }
}

/// A step of a pipeline that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepChange {
    /// Its id; of one without, its kind and where it stands, such as `emit in split.each`.
    pub step: String,
    /// What became of it.
    pub change: Fate,
    /// What it does, such as `rule`.
    pub kind: String,
    /// What differs in it; `(place)` is where it stands. Of one that is new or gone, its fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldChange>,
}

/// What differs between two versions of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PipelineDifference {
    /// Outside its steps: trigger, key, order, SLA, uses, config and so on.
    pub fields: Vec<FieldChange>,
    /// Its steps, in the order of the later text; those that are gone last.
    pub steps: Vec<StepChange>,
}

impl PipelineDifference {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.steps.is_empty()
    }
}

/// Appends what differs between two values, object by object; anything else is one field.
pub fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<FieldChange>) {
    if before == after {
        return;
    }
    if let (Some(Value::Object(old)), Some(Value::Object(new))) = (before, after) {
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        for (name, old) in old {
            compare(&below(name), Some(old), new.get(name), found);
        }
        for (name, new) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
            compare(&below(name), None, Some(new), found);
        }
        return;
    }
    found.push(FieldChange { path: path.to_owned(), before: before.cloned(), after: after.cloned() });
}
