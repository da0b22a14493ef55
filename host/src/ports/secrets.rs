//! Secrets: from a reference to a value that never prints.

use std::fmt;

use crate::model::connection::SecretRef;

/// A secret's value. It has no `Display`, its `Debug` hides it, and it is wiped when dropped.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes a value.
    #[must_use]
    pub fn new(value: impl Into<Vec<u8>>) -> Self {
        Self(value.into())
    }

    /// The value, for the one place that uses it.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        // A plain fill may be optimised away; going through `black_box` keeps it without unsafe code.
        self.0.fill(0);
        std::hint::black_box(&self.0);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A secret could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("secret `{reference}` cannot be read: {problem}")]
pub struct SecretError {
    /// The reference; never the value.
    pub reference: String,
    /// What to do about it.
    pub problem: String,
}

/// Resolves references. Values are read anew each time, so that rotation needs no restart.
pub trait Secrets: Send + Sync {
    /// The value behind a reference.
    ///
    /// # Errors
    /// If it is not set or cannot be read.
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError>;

    /// The value that was behind a reference before, as long as its rotation can be taken back: whoever signs to us may not
    /// know the new one yet. Absent: there is none, or others keep it.
    fn earlier(&self, _reference: &SecretRef) -> Option<Secret> {
        None
    }

    /// Another number for each value that the hub is known to have been given for a reference; 0 for values that others
    /// keep. What was made with an earlier value, such as a token, is not used any more.
    fn version(&self, _reference: &SecretRef) -> u64 {
        0
    }
}
