//! Makes, rotates and revokes tokens. Nobody gives more than they have: not by making a token, and not by having another
//! secret made for one.

use std::sync::Arc;

use bytes::Bytes;

use super::{Access, Held, record::Previous, record::TokenRecord, usage::Count};
use crate::{
    model::{
        audit::Cause,
        id::ContractId,
        principal::{Kind, NAME_BYTES_MAX, Principal, Role, SCOPE_ENTRIES_MAX, Scope, TokenId},
        timestamp::Timestamp,
    },
    policy::token::{self, ID_BYTES, SECRET_BYTES},
    ports::access::{Issued, TokenError, TokenLimits, TokenRequest, TokenView},
};

/// For how long a token is valid that does not say so, seconds: a quarter.
pub const VALID_S_DEFAULT: u64 = 90 * 86_400;
/// The longest that a token is valid, seconds: a year and a day.
pub const VALID_S_MAX: u64 = 366 * 86_400;
/// For how long a development token is valid, seconds.
pub const DEVELOPMENT_S: u64 = 86_400;
/// The longest that a secret is good for after a rotation, seconds: a week.
pub const OVERLAP_S_MAX: u64 = 7 * 86_400;
/// Most tokens, revoked ones included.
pub const TOKENS_MAX: usize = 10_000;
/// Most characters of an entry of a scope.
const ENTRY_CHARACTERS_MAX: usize = 256;

impl Access {
    pub(super) fn list_tokens(&self) -> Vec<TokenView> {
        let now = self.clock.now();
        let mut views: Vec<TokenView> =
            self.read().values().map(|held| held.record.view(now, held.count.last_used())).collect();
        views.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        views
    }

    pub(super) async fn create(&self, by: &Principal, wanted: TokenRequest) -> Result<Issued, TokenError> {
        check(&wanted)?;
        let _changing = self.changing.lock().await;
        let TokenRequest { name, kind, roles, scope, limits, valid_for_s, reason } = wanted;
        let now = self.clock.now();
        let mut expires = after(now, valid_for_s.unwrap_or(VALID_S_DEFAULT));
        if by.development {
            expires = expires.min(after(now, DEVELOPMENT_S));
        }
        let (id, secret) = random()?;
        let text = token::text(&id, &secret);
        let record = TokenRecord {
            id,
            name,
            kind,
            roles,
            scope,
            limits,
            secret: digest(&text),
            previous: None,
            created: now,
            created_by: by.name.clone(),
            expires,
            revoked: None,
            // What was made with something that is only good for trying the hub out is no better.
            development: by.development,
        };
        within(by, &record)?;
        let cause = Cause { actor: by.name.clone(), reason: or(reason, "a token was made") };
        let view = self.keep(&cause, "token.create", record).await?;
        Ok(Issued { token: text, view })
    }

    /// Makes a token that is only good for trying the hub out: an admin's, valid for a day, and while it is, the hub
    /// listens on loopback only.
    ///
    /// # Errors
    /// If it cannot be kept.
    pub async fn develop(&self, name: &str) -> Result<Issued, TokenError> {
        let _changing = self.changing.lock().await;
        let now = self.clock.now();
        let (issued, record) = admin(name, now, DEVELOPMENT_S, true)?;
        let cause = Cause::hub("a development token was made, valid for a day");
        let view = self.keep(&cause, "token.create", record).await?;
        Ok(Issued { token: issued, view })
    }

    pub(super) async fn revoke(&self, by: &Principal, id: &str, reason: &str) -> Result<TokenView, TokenError> {
        let _changing = self.changing.lock().await;
        let now = self.clock.now();
        let held = self.find(id)?;
        if held.record.revoked.is_some() {
            return Ok(held.record.view(now, held.count.last_used()));
        }
        let others = |other: &&Arc<Held>| {
            other.record.id != held.record.id && other.record.is_admin() && other.record.is_valid(now)
        };
        if held.record.is_admin() && held.record.is_valid(now) && !self.read().values().any(|other| others(&other)) {
            return Err(TokenError::Conflict {
                problem: format!("{id} is the last valid admin's token: make another first, or nobody could"),
            });
        }
        let record = TokenRecord { revoked: Some(now), previous: None, ..held.record.clone() };
        let cause = Cause { actor: by.name.clone(), reason: or(reason.to_owned(), "a token was revoked") };
        self.keep(&cause, "token.revoke", record).await
    }

    pub(super) async fn rotate(
        &self,
        by: &Principal,
        id: &str,
        overlap_s: u64,
        reason: &str,
    ) -> Result<Issued, TokenError> {
        if overlap_s > OVERLAP_S_MAX {
            return Err(TokenError::Invalid {
                problem: format!("`overlap_s` is {overlap_s}; the old secret is good for {OVERLAP_S_MAX} s at most"),
            });
        }
        let _changing = self.changing.lock().await;
        let now = self.clock.now();
        let held = self.find(id)?;
        if !held.record.is_valid(now) {
            return Err(TokenError::Conflict { problem: format!("token {id} is no longer valid: make a new one") });
        }
        within(by, &held.record)?;
        let (_, secret) = random()?;
        let text = token::text(&held.record.id, &secret);
        let previous = Previous { secret: held.record.secret.clone(), until: after(now, overlap_s) };
        // It is valid for as long as it was, from now on.
        let valid_ms = held.record.expires.since(held.record.created);
        let record = TokenRecord {
            secret: digest(&text),
            previous: (overlap_s > 0).then_some(previous),
            created: now,
            expires: now.plus_millis(valid_ms),
            ..held.record.clone()
        };
        let cause = Cause { actor: by.name.clone(), reason: or(reason.to_owned(), "a token got another secret") };
        let view = self.keep(&cause, "token.rotate", record).await?;
        Ok(Issued { token: text, view })
    }

    fn find(&self, id: &str) -> Result<Arc<Held>, TokenError> {
        // People paste what they have; a whole token names itself, and is not repeated.
        let id = token::parse(id).map_or_else(|| id.to_owned(), |(id, _)| id.0);
        self.read()
            .get(&TokenId(id.clone()))
            .cloned()
            .ok_or_else(|| TokenError::Unknown { id: token::redact(&id).into_owned() })
    }

    /// Records a token, and has it count from then on.
    pub(super) async fn keep(&self, cause: &Cause, action: &str, record: TokenRecord) -> Result<TokenView, TokenError> {
        let unavailable = |reason: String| TokenError::Unavailable { reason };
        if self.read().len() >= TOKENS_MAX && !self.read().contains_key(&record.id) {
            return Err(TokenError::Conflict { problem: format!("there are {TOKENS_MAX} tokens, which is the most") });
        }
        let value = serde_json::to_vec(&record).map_err(|error| unavailable(error.to_string()))?;
        self.audit
            .put_as(&*self.records, cause, action, &record.key(), Bytes::from(value))
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        let now = self.clock.now();
        let mut tokens = self.write();
        let count = tokens.get(&record.id).map_or_else(|| Arc::new(Count::new(now)), |held| Arc::clone(&held.count));
        let view = record.view(now, count.last_used());
        tokens.insert(record.id.clone(), Arc::new(Held { record, count }));
        Ok(view)
    }
}

/// An admin's token and its record.
pub(super) fn admin(
    name: &str,
    now: Timestamp,
    valid_s: u64,
    development: bool,
) -> Result<(String, TokenRecord), TokenError> {
    let (id, secret) = random()?;
    let text = token::text(&id, &secret);
    let record = TokenRecord {
        id,
        name: name.to_owned(),
        kind: Kind::Person,
        roles: [Role::Admin].into(),
        scope: Scope::unlimited(),
        limits: TokenLimits::default(),
        secret: digest(&text),
        previous: None,
        created: now,
        created_by: if development { "hub" } else { "enrolment" }.to_owned(),
        expires: after(now, valid_s),
        revoked: None,
        development,
    };
    Ok((text, record))
}

/// Randomness for an id and a secret.
pub(super) fn random() -> Result<(TokenId, [u8; SECRET_BYTES]), TokenError> {
    let none = |error: getrandom::Error| TokenError::Unavailable {
        reason: format!("the system gives no randomness: {error}"),
    };
    let (mut id, mut secret) = ([0; ID_BYTES], [0; SECRET_BYTES]);
    getrandom::fill(&mut id).map_err(none)?;
    getrandom::fill(&mut secret).map_err(none)?;
    Ok((token::id(id), secret))
}

/// The digest of a token's secret.
pub(super) fn digest(text: &str) -> String {
    token::digest(token::parse(text).map_or("", |(_, secret)| secret))
}

/// Whether a name can stand in decisions and audit records.
pub(super) fn check_name(name: &str) -> Result<(), TokenError> {
    let reserved = name == "hub" || name == "enrolment" || name.starts_with("operator:");
    let problem = if name.trim().is_empty() {
        "`name` says whose the token is; it is empty".to_owned()
    } else if name.len() > NAME_BYTES_MAX {
        format!("`name` is {} bytes; at most {NAME_BYTES_MAX} are kept", name.len())
    } else if name.chars().any(char::is_control) || name.trim() != name {
        "`name` holds control characters, or spaces around it".to_owned()
    } else if reserved {
        format!("`{name}` is what the hub calls itself or its configuration; take another name")
    } else {
        return Ok(());
    };
    Err(TokenError::Invalid { problem })
}

fn check(wanted: &TokenRequest) -> Result<(), TokenError> {
    let invalid = |problem: String| Err(TokenError::Invalid { problem });
    check_name(&wanted.name)?;
    if wanted.roles.is_empty() {
        let known: Vec<&str> = Role::ALL.iter().map(|role| role.as_str()).collect();
        return invalid(format!(
            "`roles` is empty, so that the token could do nothing; there are: {}",
            known.join(", ")
        ));
    }
    if let Some(valid) = wanted.valid_for_s.filter(|valid| !(1..=VALID_S_MAX).contains(valid)) {
        return invalid(format!("`valid_for_s` is {valid}; it must be from 1 to {VALID_S_MAX}"));
    }
    let Scope { sources, types, namespaces, contracts, .. } = &wanted.scope;
    let lists = [("sources", sources), ("types", types), ("namespaces", namespaces), ("contracts", contracts)];
    for (field, entries) in lists {
        if entries.len() > SCOPE_ENTRIES_MAX {
            return invalid(format!("`{field}` has {} entries; at most {SCOPE_ENTRIES_MAX} are kept", entries.len()));
        }
        for entry in entries {
            let stars = entry.strip_suffix('*').unwrap_or(entry).contains('*');
            if entry.is_empty() || stars || entry.chars().count() > ENTRY_CHARACTERS_MAX {
                return invalid(format!(
                    "`{entry}` in `{field}` is not 1 to {ENTRY_CHARACTERS_MAX} characters with `*` at the end only"
                ));
            }
        }
    }
    if namespaces.iter().any(|namespace| namespace.contains('*')) {
        return invalid("`namespaces` are named one by one, without `*`".to_owned());
    }
    if let Some(wrong) = contracts.iter().find(|contract| contract.parse::<ContractId>().is_err()) {
        return invalid(format!("`{wrong}` in `contracts` is not a contract such as `retail/erp-orders@1`"));
    }
    Ok(())
}

/// Whether a token gives no more than somebody has.
fn within(by: &Principal, record: &TokenRecord) -> Result<(), TokenError> {
    let beyond = |problem: String| Err(TokenError::Beyond { problem });
    if !by.roles.contains(&Role::Admin)
        && let Some(role) = record.roles.iter().find(|role| !by.roles.contains(role))
    {
        return beyond(format!("`{}` has not the role `{role}`, and cannot give it", by.name));
    }
    if !by.scope.covers(&record.scope) {
        return beyond(format!("the token would reach further than that of `{}`, which makes it", by.name));
    }
    if by.development && !record.development {
        return beyond("a development token is no proof for one that is none".to_owned());
    }
    Ok(())
}

pub(super) fn after(now: Timestamp, seconds: u64) -> Timestamp {
    now.plus_millis(seconds.saturating_mul(1_000))
}

fn or(reason: String, otherwise: &str) -> String {
    if reason.trim().is_empty() { otherwise.to_owned() } else { reason }
}
