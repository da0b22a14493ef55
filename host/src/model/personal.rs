//! Personal data: what of an event is about a person, and whose key it is sealed with.

use serde::{Deserialize, Serialize};

use super::id::{Digest, SubjectKeyId};

/// What is shown of sealed data where nobody needs it opened, such as in the list of runs.
pub const SEALED: &str = "[personal]";
/// What is shown of data whose key was destroyed.
pub const ERASED: &str = "[erased]";
/// Stands for a digest of personal data: the digest itself could confirm a guess.
pub const NO_DIGEST: Digest = Digest::from_bytes([0; 32]);

/// That a document holds personal data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Personal {
    /// The keys that it is sealed with, each a person's: it opens with all of them only.
    pub keys: Vec<SubjectKeyId>,
    /// Where it is, as JSON Pointers into the document; `*` stands for any name or index, an empty one for all of it.
    pub fields: Vec<String>,
}

impl Personal {
    /// All of a document that was made from personal data.
    #[must_use]
    pub fn whole(keys: Vec<SubjectKeyId>) -> Self {
        Self { keys, fields: vec![String::new()] }
    }
}
