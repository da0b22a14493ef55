//! A token as it is kept: who it stands for, what it is held to, and the digest of its secret.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    model::{
        principal::{Kind, Principal, Role, Scope, TokenId},
        timestamp::Timestamp,
    },
    policy::token,
    ports::access::{TokenLimits, TokenView},
};

/// What keys of tokens begin with.
pub(super) const TOKENS: &str = "token/";

/// A token as it is kept. Never deleted: a revoked one says so.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct TokenRecord {
    pub(super) id: TokenId,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) roles: BTreeSet<Role>,
    #[serde(default)]
    pub(super) scope: Scope,
    #[serde(default)]
    pub(super) limits: TokenLimits,
    /// Digest of the secret.
    pub(super) secret: String,
    /// The secret before the last rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) previous: Option<Previous>,
    pub(super) created: Timestamp,
    pub(super) created_by: String,
    pub(super) expires: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) revoked: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) development: bool,
}

/// A secret that is good for a while longer.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Previous {
    /// Its digest.
    pub(super) secret: String,
    /// Until when.
    pub(super) until: Timestamp,
}

impl TokenRecord {
    /// The key of its record.
    pub(super) fn key(&self) -> String {
        format!("{TOKENS}{}", self.id)
    }

    /// Whether it lets anybody in.
    pub(super) fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && now < self.expires
    }

    /// Whether it is an enrolled admin's.
    pub(super) fn is_admin(&self) -> bool {
        self.roles.contains(&Role::Admin) && !self.development
    }

    /// Whether a secret is its own.
    pub(super) fn is_secret(&self, secret: &str, now: Timestamp) -> bool {
        let earlier = self.previous.as_ref().filter(|previous| now < previous.until);
        token::is_it(secret, &self.secret) || earlier.is_some_and(|previous| token::is_it(secret, &previous.secret))
    }

    /// Whom it stands for.
    pub(super) fn principal(&self) -> Principal {
        Principal {
            name: self.name.clone(),
            kind: self.kind,
            roles: self.roles.clone(),
            scope: self.scope.clone(),
            token: Some(self.id.clone()),
            development: self.development,
        }
    }

    /// As it may be seen.
    pub(super) fn view(&self, now: Timestamp, last_used: Option<Timestamp>) -> TokenView {
        TokenView {
            id: self.id.clone(),
            name: self.name.clone(),
            kind: self.kind,
            roles: self.roles.clone(),
            scope: self.scope.clone(),
            limits: self.limits,
            state: match self.revoked {
                Some(_) => "revoked",
                None if now < self.expires => "active",
                None => "expired",
            },
            created: self.created,
            created_by: self.created_by.clone(),
            expires: self.expires,
            revoked: self.revoked,
            last_used,
            development: self.development,
        }
    }
}
