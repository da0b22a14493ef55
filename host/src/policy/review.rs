//! Two people for one version: whoever drafts it does not approve it. Pure.

use super::lifecycle::{self, LifecycleError, Move};
use crate::model::{
    review::{Approved, Reviewed},
    timestamp::Timestamp,
};

/// Why a version is not approved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalError {
    /// Its author would be alone with it.
    #[error("`{author}` drafted it; somebody else has to approve it")]
    Author {
        /// Who.
        author: String,
    },
    /// It is not a draft.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
}

/// The version, approved: it may serve from then on.
///
/// # Errors
/// If it is no draft, or its author asks.
pub fn approve(version: &Reviewed, by: &str, at: Timestamp, reason: &str) -> Result<Reviewed, ApprovalError> {
    let state = lifecycle::next(&version.record, Move::Publish)?;
    if is_same_person(&version.author, by) {
        return Err(ApprovalError::Author { author: version.author.clone() });
    }
    let mut approved = version.clone();
    approved.record.state = state;
    approved.approved = Some(Approved { by: by.to_owned(), at, reason: reason.to_owned() });
    Ok(approved)
}

/// Whether two names are one person's, however they are written.
#[must_use]
pub fn is_same_person(one: &str, other: &str) -> bool {
    one.trim().to_lowercase() == other.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::{ApprovalError, approve};
    use crate::model::{registry::VersionState, review::Reviewed, timestamp::Timestamp};

    #[track_caller]
    fn check(state: VersionState, by: &str, expected: &str) {
        let mut version = Reviewed::draft("ann".to_owned(), Timestamp::from_millis(1), "why".to_owned());
        version.record.state = state;
        let said = match approve(&version, by, Timestamp::from_millis(2), "fine") {
            Ok(approved) => format!("{} by {}", approved.record.state.as_str(), approved.approved.unwrap().by),
            Err(ApprovalError::Author { author }) => format!("author {author}"),
            Err(ApprovalError::Lifecycle(error)) => format!("it is {}", error.state.as_str()),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn somebody_else_approves_a_draft_and_only_a_draft() {
        check(VersionState::Draft, "bob", "published by bob");
        check(VersionState::Draft, "ann", "author ann");
        check(VersionState::Draft, " ANN ", "author ann");
        check(VersionState::Published, "bob", "it is published");
        check(VersionState::Retired, "bob", "it is retired");
    }
}
