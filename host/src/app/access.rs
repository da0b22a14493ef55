//! Who may come in: tokens as they are kept, the first admin's enrolment, the policies in force.
//!
//! A token's record holds the digest of its secret and is audited like everything else that changes what runs; its use
//! is counted beside it ([`usage`]), unaudited. No secret is written to the log, to an error or to the journal.
//!
//! | module | does |
//! | --- | --- |
//! | [`record`] | a token as it is kept |
//! | [`tokens`] | makes, rotates and revokes them |
//! | [`enrolment`] | lets the first admin in |
//! | `openid` | asks an identity provider's keys about those who have none |
//! | [`usage`] | counts uses, and holds them to limits |

pub mod enrolment;
mod openid;
pub mod record;
pub mod tokens;
pub mod usage;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use self::{
    enrolment::Enrolment,
    openid::OpenId,
    record::{TOKENS, TokenRecord},
    usage::Count,
};
use super::audit::{Audit, AuditError};
use crate::{
    model::{
        audit::Cause,
        principal::{Action, Denied, Principal, Resource, Role, TokenId},
        timestamp::Timestamp,
    },
    policy::{
        authorization::{Policies, PolicyError},
        openid::Provider,
        token,
    },
    ports::{
        access::{Access as AccessPort, AuthError, Issued, TokenError, TokenRequest, TokenView, Usage},
        clock::Clock,
        records::{RecordError, Records},
    },
};

/// The record of an operator's policies.
const POLICIES: &str = "policies";
/// The record of an OpenID provider.
const PROVIDER: &str = "openid";
/// How many records one look reads.
const PAGE: usize = 256;

/// Who an operator lets in, beside those with tokens, and what they may do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessConfig {
    /// Files of Cedar policies, in force beside those that come with the hub.
    #[serde(default)]
    pub policies: Vec<PathBuf>,
    /// An OpenID provider whose tokens are taken as well.
    #[serde(default)]
    pub openid: Option<Provider>,
}

/// Why access cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A file of policies cannot be read.
    #[error("cannot read policies `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A policy is wrong.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The OpenID provider cannot be used.
    #[error("`[access.openid]` cannot be used: {problem}")]
    OpenId {
        /// Why not.
        problem: String,
    },
    /// A recorded token or policy cannot be understood.
    #[error("record `{key}` cannot be understood: {problem}")]
    Damaged {
        /// Its key.
        key: String,
        /// Why.
        problem: String,
    },
    /// Records cannot be used.
    #[error("the records of access cannot be used")]
    Record {
        /// Why.
        #[from]
        source: RecordError,
    },
    /// The change is not recorded.
    #[error("the change of policies is not recorded")]
    Audit {
        /// Why.
        #[from]
        source: AuditError,
    },
    /// The enrolment token cannot be written.
    #[error("the enrolment token cannot be written to `{path}`")]
    Enrolment {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A token, and how it was used.
pub(super) struct Held {
    record: TokenRecord,
    count: Arc<Count>,
}

/// Who may come in. Shared behind an `Arc`.
pub struct Access {
    audit: Arc<Audit>,
    records: Arc<dyn Records>,
    clock: Arc<dyn Clock>,
    policies: ArcSwap<Policies>,
    openid: ArcSwapOption<OpenId>,
    tokens: RwLock<BTreeMap<TokenId, Arc<Held>>>,
    enrolment: Mutex<Option<Enrolment>>,
    /// Held while tokens are changed, so that two changes see each other.
    changing: Mutex<()>,
}

impl Access {
    /// Reads what is recorded.
    ///
    /// # Errors
    /// As [`AccessError`] says.
    pub async fn open(
        audit: Arc<Audit>,
        records: Arc<dyn Records>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AccessError> {
        let damaged = |key: &str, problem: String| AccessError::Damaged { key: key.to_owned(), problem };
        let mut tokens = BTreeMap::new();
        let mut after: Option<String> = None;
        loop {
            let page = records.list(TOKENS, after.as_deref(), PAGE).await?;
            after = page.last().map(|(key, _)| key.clone());
            let full = page.len() == PAGE;
            for (key, stored) in page {
                let record: TokenRecord =
                    serde_json::from_slice(&stored.value).map_err(|error| damaged(&key, error.to_string()))?;
                let count = Arc::new(Count::read(&*records, &record.id, clock.now()).await?);
                tokens.insert(record.id.clone(), Arc::new(Held { record, count }));
            }
            if !full {
                break;
            }
        }
        let provider: Option<Provider> = match records.get(PROVIDER).await? {
            Some(stored) => {
                serde_json::from_slice(&stored.value).map_err(|error| damaged(PROVIDER, error.to_string()))?
            }
            None => None,
        };
        let openid = provider.map(|provider| OpenId::new(provider, Arc::clone(&clock))).transpose();
        let openid = openid.map_err(|problem| AccessError::OpenId { problem })?;
        let texts: BTreeMap<String, String> = match records.get(POLICIES).await? {
            Some(stored) => {
                serde_json::from_slice(&stored.value).map_err(|error| damaged(POLICIES, error.to_string()))?
            }
            None => BTreeMap::new(),
        };
        let policies = Policies::new(texts.iter().map(|(file, text)| (file.as_str(), text.as_str())))?;
        Ok(Self {
            audit,
            records,
            clock,
            policies: ArcSwap::from_pointee(policies),
            openid: ArcSwapOption::from_pointee(openid),
            tokens: RwLock::new(tokens),
            enrolment: Mutex::new(None),
            changing: Mutex::new(()),
        })
    }

    /// Puts an operator's policies in force: all of them, or none if one is wrong.
    ///
    /// # Errors
    /// As [`AccessError`] says; what was in force stays so.
    pub async fn apply(&self, cause: &Cause, config: &AccessConfig) -> Result<(), AccessError> {
        let mut texts = BTreeMap::new();
        for path in &config.policies {
            let text =
                std::fs::read_to_string(path).map_err(|source| AccessError::Read { path: path.clone(), source })?;
            texts.insert(path.display().to_string(), text);
        }
        let policies = Policies::new(texts.iter().map(|(file, text)| (file.as_str(), text.as_str())))?;
        let openid = config.openid.clone().map(|provider| OpenId::new(provider, Arc::clone(&self.clock))).transpose();
        let openid = openid.map_err(|problem| AccessError::OpenId { problem })?;
        if config.openid.is_some() || self.records.get(PROVIDER).await?.is_some() {
            let value = serde_json::to_vec(&config.openid)
                .map_err(|error| AccessError::Damaged { key: PROVIDER.to_owned(), problem: error.to_string() })?;
            self.audit.put(&*self.records, cause, PROVIDER, Bytes::from(value)).await?;
        }
        self.openid.store(openid.map(Arc::new));
        if !texts.is_empty() || self.records.get(POLICIES).await?.is_some() {
            let value = serde_json::to_vec(&texts)
                .map_err(|error| AccessError::Damaged { key: POLICIES.to_owned(), problem: error.to_string() })?;
            self.audit.put(&*self.records, cause, POLICIES, Bytes::from(value)).await?;
        }
        self.policies.store(Arc::new(policies));
        Ok(())
    }

    /// Writes down how tokens were used; for a hub that stops.
    pub async fn keep_usage(&self) {
        let counts: Vec<_> = self.read().iter().map(|(id, held)| (id.clone(), Arc::clone(&held.count))).collect();
        for (id, count) in counts {
            count.keep(&*self.records, &id).await;
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<TokenId, Arc<Held>>> {
        self.tokens.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<TokenId, Arc<Held>>> {
        self.tokens.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The token that a text proves, if it is valid now.
    fn proven(&self, shown: &str, now: Timestamp) -> Result<Arc<Held>, AuthError> {
        let invalid = |problem: String| AuthError::Invalid { problem };
        let unknown = || invalid("the token is not one of this hub".to_owned());
        let (id, secret) = token::parse(shown).ok_or_else(unknown)?;
        let held = self.read().get(&id).cloned().ok_or_else(unknown)?;
        if !held.record.is_secret(secret, now) {
            return Err(unknown());
        }
        if let Some(revoked) = held.record.revoked {
            return Err(invalid(format!("token {id} was revoked at {revoked}")));
        }
        if !held.record.is_valid(now) {
            return Err(invalid(format!("token {id} expired at {}", held.record.expires)));
        }
        Ok(held)
    }

    /// Whom something that is shown stands for, with the token if it is one of this hub.
    async fn identify(&self, shown: Option<&str>, now: Timestamp) -> Result<(Principal, Option<Arc<Held>>), AuthError> {
        if !AccessPort::is_enrolled(self) {
            return Err(AuthError::NotEnrolled);
        }
        let shown = shown.ok_or(AuthError::Missing)?;
        if let Some(openid) = self.openid.load_full().filter(|_| !token::is_token(shown)) {
            return Ok((openid.verify(shown, now).await?, None));
        }
        let held = self.proven(shown, now)?;
        Ok((held.record.principal(), Some(held)))
    }

    async fn let_in(&self, shown: Option<&str>) -> Result<Principal, AuthError> {
        let now = self.clock.now();
        let (principal, held) = self.identify(shown, now).await?;
        let Some(held) = held else { return Ok(principal) };
        let record = &held.record;
        let counted = held.count.take(&record.id, record.limits, now);
        if held.count.is_due(now) {
            let (records, count, id) = (Arc::clone(&self.records), Arc::clone(&held.count), record.id.clone());
            tokio::spawn(async move { count.keep(&*records, &id).await });
        }
        counted?;
        Ok(principal)
    }
}

impl AccessPort for Access {
    fn authenticate<'a>(&'a self, shown: Option<&'a str>) -> BoxFuture<'a, Result<Principal, AuthError>> {
        self.let_in(shown).boxed()
    }

    fn prove<'a>(&'a self, shown: Option<&'a str>) -> BoxFuture<'a, Result<Principal, AuthError>> {
        async move { Ok(self.identify(shown, self.clock.now()).await?.0) }.boxed()
    }

    fn is_enrolled(&self) -> bool {
        let now = self.clock.now();
        // An admin whose token has expired was enrolled all the same: what runs goes on.
        let counts =
            |record: &TokenRecord| record.roles.contains(&Role::Admin) && (!record.development || record.is_valid(now));
        self.read().values().any(|held| counts(&held.record))
    }

    fn may_be_exposed(&self) -> Result<(), String> {
        let now = self.clock.now();
        let tokens = self.read();
        let live = |held: &&Arc<Held>| held.record.is_valid(now);
        if let Some(development) = tokens.values().filter(live).find(|held| held.record.development) {
            return Err(format!(
                "development token {} is valid until {}: revoke it with `crossdock token revoke {0}`, or wait until then",
                development.record.id, development.record.expires
            ));
        }
        if !tokens.values().filter(live).any(|held| held.record.is_admin()) {
            return Err(
                "no admin is enrolled: start the hub on 127.0.0.1, run `crossdock enroll --data DIR`, and start \
                        it again"
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn decide(&self, who: &Principal, action: Action, resource: Resource<'_>) -> Result<(), Denied> {
        self.policies.load().decide(who, action, resource)
    }

    fn enroll<'a>(&'a self, shown: &'a str, name: &'a str) -> BoxFuture<'a, Result<Issued, TokenError>> {
        self.enroll_admin(shown, name).boxed()
    }

    fn tokens(&self) -> Vec<TokenView> {
        self.list_tokens()
    }

    fn create_token<'a>(
        &'a self,
        by: &'a Principal,
        wanted: TokenRequest,
    ) -> BoxFuture<'a, Result<Issued, TokenError>> {
        self.create(by, wanted).boxed()
    }

    fn revoke_token<'a>(
        &'a self,
        by: &'a Principal,
        id: &'a str,
        reason: &'a str,
    ) -> BoxFuture<'a, Result<TokenView, TokenError>> {
        self.revoke(by, id, reason).boxed()
    }

    fn rotate_token<'a>(
        &'a self,
        by: &'a Principal,
        id: &'a str,
        overlap_s: u64,
        reason: &'a str,
    ) -> BoxFuture<'a, Result<Issued, TokenError>> {
        self.rotate(by, id, overlap_s, reason).boxed()
    }

    fn usage(&self, name: Option<&str>) -> Vec<Usage> {
        let now = self.clock.now();
        let tokens = self.read();
        let wanted = tokens.values().filter(|held| name.is_none_or(|name| held.record.name == name));
        wanted.map(|held| held.count.view(&held.record, now)).collect()
    }
}
