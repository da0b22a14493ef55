//! What the surfaces ask about who is asking: proof, permission, and the tokens that are proof.

use std::{collections::BTreeSet, fmt};

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::model::{
    principal::{Action, Denied, Kind, Principal, Resource, Role, Scope, TokenId},
    timestamp::Timestamp,
};

/// How often a token may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenLimits {
    /// Spike limit, which protects the hub: requests a second. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<std::num::NonZeroU32>,
    /// Quota, which a contract says: requests a period. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
}

/// So many requests a period. Periods are counted from the Unix epoch, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Requests.
    pub requests: std::num::NonZeroU64,
    /// The period.
    pub per: Period,
}

/// A period of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// Sixty seconds.
    Minute,
    /// Sixty minutes.
    Hour,
    /// Twenty-four hours.
    Day,
}

impl Period {
    /// Its length, milliseconds.
    #[must_use]
    pub const fn millis(self) -> u64 {
        match self {
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

/// A token that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Whose it is: the name that decisions and audit records will carry.
    pub name: String,
    /// What they are.
    pub kind: Kind,
    /// What they do here.
    pub roles: BTreeSet<Role>,
    /// What it is held to.
    #[serde(default)]
    pub scope: Scope,
    /// How often it may be used.
    #[serde(default)]
    pub limits: TokenLimits,
    /// For how long it is valid, seconds; absent: 90 days.
    #[serde(default)]
    pub valid_for_s: Option<u64>,
    /// Why it is made.
    #[serde(default)]
    pub reason: String,
}

/// A token as it may be seen: everything but its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenView {
    /// Its id, which begins the token itself after `crossdock_`.
    pub id: TokenId,
    /// Whose it is.
    pub name: String,
    /// What they are.
    pub kind: Kind,
    /// What they do here.
    pub roles: BTreeSet<Role>,
    /// What it is held to.
    pub scope: Scope,
    /// How often it may be used.
    pub limits: TokenLimits,
    /// `active`, `expired` or `revoked`.
    pub state: &'static str,
    /// When it was made.
    pub created: Timestamp,
    /// By whom.
    pub created_by: String,
    /// Until when it is valid.
    pub expires: Timestamp,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
    /// When it was last used, within a minute.
    pub last_used: Option<Timestamp>,
    /// Whether it is only for trying the hub out.
    pub development: bool,
}

/// A new token. The only time that its text is seen.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Issued {
    /// The text, to be sent as `Authorization: Bearer …`.
    pub token: String,
    /// What it is.
    #[serde(flatten)]
    pub view: TokenView,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("token", &"…").field("view", &self.view).finish()
    }
}

/// How much a principal has used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// The token.
    pub token: TokenId,
    /// Whose it is.
    pub name: String,
    /// Requests since it was made, refused ones included.
    pub requests: u64,
    /// Of these, refused for their number.
    pub refused: u64,
    /// Requests in this period, if there is a quota.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_period: Option<u64>,
    /// When this period ends, if there is a quota.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period_ends: Option<Timestamp>,
    /// How often it may be used.
    pub limits: TokenLimits,
    /// When it was last used.
    pub last_used: Option<Timestamp>,
}

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Nobody is enrolled yet.
    #[error(
        "nobody is enrolled at this hub yet: on its machine, run `crossdock enroll --data DIR` within 15 minutes of its \
         start"
    )]
    NotEnrolled,
    /// Nothing was shown.
    #[error("the request carries no token")]
    Missing,
    /// What was shown proves nothing.
    #[error("{problem}")]
    Invalid {
        /// Why; never what was shown.
        problem: String,
    },
    /// The token is used too often just now.
    #[error("token {token} is used more than {per_second} times a second")]
    Spike {
        /// Which.
        token: TokenId,
        /// Its limit.
        per_second: u32,
    },
    /// The token has used up its quota.
    #[error("token {token} has used its {requests} requests a {per}; the next {per} begins at {next}")]
    Quota {
        /// Which.
        token: TokenId,
        /// Its quota.
        requests: u64,
        /// The period.
        per: &'static str,
        /// When the next begins.
        next: Timestamp,
        /// Seconds until then.
        retry_after_s: u64,
    },
    /// It cannot be said now.
    #[error("it cannot be said who this is: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}

/// Why nothing was changed about tokens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// What was asked for makes no sense.
    #[error("{problem}")]
    Invalid {
        /// What, and what would.
        problem: String,
    },
    /// No such token.
    #[error("there is no token `{id}`")]
    Unknown {
        /// As asked.
        id: String,
    },
    /// It would give more than whoever asks has.
    #[error("{problem}")]
    Beyond {
        /// What.
        problem: String,
    },
    /// It cannot be done now.
    #[error("{problem}")]
    Conflict {
        /// Why, and what can be done instead.
        problem: String,
    },
    /// The enrolment token does not hold.
    #[error("{problem}")]
    Enrolment {
        /// Why not, and how to get another.
        problem: String,
    },
    /// The hub cannot keep it now.
    #[error("the hub cannot keep it: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}

/// Who may come in, and what they may do.
pub trait Access: Send + Sync {
    /// Who shows this (the credentials of `Authorization: Bearer`); absent: nothing was shown. Counts a use.
    ///
    /// # Errors
    /// Why they are not let in.
    fn authenticate<'a>(&'a self, shown: Option<&'a str>) -> BoxFuture<'a, Result<Principal, AuthError>>;

    /// The same for something that goes on, such as a stream: whether they would be let in now. Counts nothing.
    ///
    /// # Errors
    /// Why they would not.
    fn prove<'a>(&'a self, shown: Option<&'a str>) -> BoxFuture<'a, Result<Principal, AuthError>>;

    /// Whether anybody can be let in at all. Until then, only liveness and enrolment answer.
    fn is_enrolled(&self) -> bool;

    /// Whether the hub may be reached from elsewhere: somebody is enrolled, and nothing that is only good for trying it
    /// out is valid.
    ///
    /// # Errors
    /// What to do first.
    fn may_be_exposed(&self) -> Result<(), String>;

    /// Whether somebody may do something.
    ///
    /// # Errors
    /// Why not.
    fn decide(&self, who: &Principal, action: Action, resource: Resource<'_>) -> Result<(), Denied>;

    /// Makes the first admin's token for whoever shows the enrolment token; durable, and recorded, when it answers.
    ///
    /// # Errors
    /// As [`TokenError`] says.
    fn enroll<'a>(&'a self, shown: &'a str, name: &'a str) -> BoxFuture<'a, Result<Issued, TokenError>>;

    /// All tokens, the newest first.
    fn tokens(&self) -> Vec<TokenView>;

    /// Makes a token; durable, and recorded, when it answers.
    ///
    /// # Errors
    /// As [`TokenError`] says.
    fn create_token<'a>(&'a self, by: &'a Principal, wanted: TokenRequest)
    -> BoxFuture<'a, Result<Issued, TokenError>>;

    /// Revokes a token, at once and for good; durable, and recorded, when it answers.
    ///
    /// # Errors
    /// As [`TokenError`] says.
    fn revoke_token<'a>(
        &'a self,
        by: &'a Principal,
        id: &'a str,
        reason: &'a str,
    ) -> BoxFuture<'a, Result<TokenView, TokenError>>;

    /// Gives a token another secret; the old one is good for `overlap_s` seconds more. Durable, and recorded, when it
    /// answers.
    ///
    /// # Errors
    /// As [`TokenError`] says.
    fn rotate_token<'a>(
        &'a self,
        by: &'a Principal,
        id: &'a str,
        overlap_s: u64,
        reason: &'a str,
    ) -> BoxFuture<'a, Result<Issued, TokenError>>;

    /// How much each token was used; of one principal's tokens, if a name is given.
    fn usage(&self, name: Option<&str>) -> Vec<Usage>;
}
