//! Reads of connections that are published under a contract: consumers know the contract, and not which system stands
//! behind it. Only reads are published, and each goes out like a run's call: through the connection's permits and
//! breaker, with its authority and no more.
//!
//! Nothing of a read is in the journal, for it changes nothing. What is published, by whom and on which terms is, in the
//! audit log.
//!
//! | module | does |
//! | --- | --- |
//! | `input` | makes a document of what a consumer gives |
//! | `answers` | keeps answers for as long as the publication says, and asks once for many |
//! | `outward` | asks the remote, and says what its failures mean to a consumer |
//! | `openapi` | describes an API from its contract |

mod answers;
mod input;
mod openapi;
mod outward;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Mutex;

use self::answers::{Answers, Terms};
use super::{
    audit::Audit,
    calls,
    contracts::Library,
    installation::{Installation, OpenConnection},
    runner::Shared,
};
use crate::{
    flow::document::Document,
    model::{
        api::Publication,
        audit::Cause,
        contract::ContractOperation,
        id::{ContractId, hash32},
        manifest::Effect,
        setting::Origin,
        timestamp::Timestamp,
    },
    policy::publication,
    ports::{
        apis::{ApiAnswer, ApiError, ApiView, Apis as ApisPort, Input, OperationView},
        registry::Who,
    },
};

/// Keys of publications among the records.
const PREFIX: &str = "api/";
/// How many records one look reads.
const PAGE: usize = 256;

/// A publication as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    publication: Publication,
    /// When it became as it is.
    published: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    withdrawn: Option<Timestamp>,
    /// Who has the say about it.
    #[serde(default)]
    origin: Origin,
}

/// Published reads of a hub. Shared behind an `Arc`.
pub struct Apis {
    shared: Arc<Shared>,
    audit: Arc<Audit>,
    published: ArcSwap<BTreeMap<ContractId, Arc<Record>>>,
    /// What an operator's configuration declares.
    configured: ArcSwap<BTreeMap<ContractId, Publication>>,
    answers: Arc<Answers>,
    /// Held while a publication is changed, so that two changes see each other.
    changing: Mutex<()>,
}

/// A read that may be made.
struct Read {
    contract: ContractId,
    operation: String,
    input: Document,
    installation: Arc<Installation>,
    open: Arc<OpenConnection>,
    limit_ms: u64,
}

impl Apis {
    /// Reads what is recorded.
    ///
    /// # Errors
    /// If the records cannot be read, or one is damaged.
    pub async fn open(shared: Arc<Shared>, audit: Arc<Audit>) -> Result<Self, ApiError> {
        let unreadable = |reason: String| ApiError::Unrecorded { reason };
        let mut published = BTreeMap::new();
        let mut after: Option<String> = None;
        loop {
            let page = shared.records.list(PREFIX, after.as_deref(), PAGE).await;
            let page = page.map_err(|error| unreadable(error.to_string()))?;
            after = page.last().map(|(key, _)| key.clone());
            let full = page.len() == PAGE;
            for (key, stored) in page {
                let damaged = |problem: String| unreadable(format!("record `{key}` is damaged: {problem}"));
                let contract = key.trim_start_matches(PREFIX).parse::<ContractId>();
                let contract = contract.map_err(|error| damaged(error.to_string()))?;
                let record = serde_json::from_slice(&stored.value).map_err(|error| damaged(error.to_string()))?;
                published.insert(contract, Arc::new(record));
            }
            if !full {
                break;
            }
        }
        let published = ArcSwap::from_pointee(published);
        let (configured, answers) = (ArcSwap::default(), Arc::default());
        Ok(Self { shared, audit, published, configured, answers, changing: Mutex::default() })
    }

    /// Remembers what an operator's configuration declares; [`Apis::set`] publishes it.
    pub(super) fn configure(&self, publications: &BTreeMap<ContractId, Publication>) {
        self.configured.store(Arc::new(publications.clone()));
    }

    /// What an operator's configuration declares under a contract.
    pub(super) fn configured(&self, contract: &ContractId) -> Option<Publication> {
        self.configured.load().get(contract).cloned()
    }

    /// Publishes what an operator declares; what is as it was is left alone, and so is what was published or ended over the
    /// API.
    ///
    /// # Errors
    /// As [`ApiError`] says; nothing was changed then.
    pub async fn set(&self, cause: &Cause, contract: ContractId, wanted: Publication) -> Result<(), ApiError> {
        let _changing = self.changing.lock().await;
        let known = self.published.load().get(&contract).cloned();
        if let Some(known) = known.filter(|known| known.origin == Origin::Api || known.withdrawn.is_some()) {
            if known.publication != wanted || known.withdrawn.is_some() {
                tracing::warn!(
                    %contract,
                    "hub.toml publishes it in another way than was said over the API, which holds; `crossdock api publish \
                     CONTRACT --declared` takes that back"
                );
            }
            return Ok(());
        }
        self.put_in_place(cause, contract, wanted, Origin::File).await
    }

    /// Publishes what somebody asks for over the API who may, together with whoever has agreed to it.
    ///
    /// # Errors
    /// As [`ApiError`] says; nothing was changed then.
    pub(super) async fn publish(
        &self,
        cause: &Cause,
        contract: ContractId,
        wanted: Publication,
        origin: Origin,
    ) -> Result<(), ApiError> {
        let _changing = self.changing.lock().await;
        self.put_in_place(cause, contract, wanted, origin).await
    }

    /// The lock is held.
    async fn put_in_place(
        &self,
        cause: &Cause,
        contract: ContractId,
        wanted: Publication,
        origin: Origin,
    ) -> Result<(), ApiError> {
        let known = self.published.load().get(&contract).cloned();
        let is_same = |known: &Record| known.publication == wanted && known.origin == origin;
        if known.is_some_and(|known| is_same(&known) && known.withdrawn.is_none()) {
            // Whether it can answer by now is for `problems` to say: at a start, it keeps nothing else from going on.
            return Ok(());
        }
        self.holds(&contract, &wanted)?;
        let record = Record { publication: wanted, published: self.shared.clock.now(), withdrawn: None, origin };
        self.keep(cause, "api.publish", contract, record).await
    }

    /// A publication as it is, if it answers, and who has the say about it.
    pub(super) fn held(&self, contract: &ContractId) -> Option<(Publication, Origin)> {
        let record = self.standing(contract).ok()?;
        Some((record.publication.clone(), record.origin))
    }

    /// The contracts that are published through a connection and still answer.
    pub(super) fn through(&self, connection: &str) -> Vec<ContractId> {
        let published = self.published.load();
        let through = published.iter().filter(|(_, record)| record.publication.connection == connection);
        through.filter(|(contract, _)| self.standing(contract).is_ok()).map(|(contract, _)| contract.clone()).collect()
    }

    async fn end(&self, cause: &Cause, contract: &ContractId) -> Result<ApiView, ApiError> {
        let _changing = self.changing.lock().await;
        let known = self.standing(contract)?;
        let record = Record { withdrawn: Some(self.shared.clock.now()), origin: Origin::Api, ..(*known).clone() };
        self.keep(cause, "api.withdraw", contract.clone(), record.clone()).await?;
        self.view(contract, &record).ok_or_else(|| ApiError::Unknown { contract: contract.to_string() })
    }

    async fn keep(&self, cause: &Cause, action: &str, contract: ContractId, record: Record) -> Result<(), ApiError> {
        let unrecorded = |reason: String| ApiError::Unrecorded { reason };
        let value = serde_json::to_vec(&record).map_err(|error| unrecorded(error.to_string()))?;
        let key = format!("{PREFIX}{contract}");
        let kept = self.audit.put_as(&*self.shared.records, cause, action, &key, Bytes::from(value)).await;
        kept.map_err(|error| unrecorded(error.to_string()))?;
        let mut next = BTreeMap::clone(&self.published.load());
        next.insert(contract, Arc::new(record));
        self.published.store(Arc::new(next));
        Ok(())
    }

    /// Whether a publication holds against its contract and what is installed now.
    ///
    /// # Errors
    /// What does not, and what to change.
    pub(super) fn holds(&self, contract: &ContractId, wanted: &Publication) -> Result<(), ApiError> {
        let refused = |problem: String| ApiError::Refused { problem };
        let installation = self.shared.installation.load();
        let declared = installation.contracts.get(contract).ok_or_else(|| {
            let known: Vec<&str> = installation.contracts.keys().map(ContractId::as_str).collect();
            refused(format!("no contract is named `{contract}`; there is {}", known.join(", ")))
        })?;
        publication::check(wanted, declared).map_err(refused)?;
        behind(&installation, contract, &wanted.connection).map(|_| ()).map_err(refused)
    }

    /// A publication that answers.
    fn standing(&self, contract: &ContractId) -> Result<Arc<Record>, ApiError> {
        let unknown = || ApiError::Unknown { contract: contract.to_string() };
        let record = self.published.load().get(contract).cloned().ok_or_else(unknown)?;
        let instead = match &record.publication.successor {
            Some(successor) => format!("use `{successor}`"),
            None => "GET /v1/apis lists what there is".to_owned(),
        };
        let ended = match (record.withdrawn, record.publication.sunset) {
            (Some(withdrawn), _) => Some(format!("it was withdrawn at {withdrawn}")),
            (None, Some(sunset)) if sunset <= self.shared.clock.now() => Some(format!("its sunset was at {sunset}")),
            _ => None,
        };
        match ended {
            Some(ended) => Err(ApiError::Gone { problem: format!("`{contract}` answers no more: {ended}; {instead}") }),
            None => Ok(record),
        }
    }

    /// A publication as it is; absent: this release does not know its contract.
    fn view(&self, contract: &ContractId, record: &Record) -> Option<ApiView> {
        let installation = self.shared.installation.load();
        let declared = installation.contracts.get(contract)?;
        let Publication { connection, operations, cache_s, stale_if_error_s, deprecated, sunset, successor, .. } =
            record.publication.clone();
        let base = path(contract);
        let operations = operations.into_iter().map(|name| OperationView {
            summary: declared.operations.get(&name).map(|operation| operation.summary.clone()).unwrap_or_default(),
            path: format!("{base}/{name}"),
            name,
        });
        let now = self.shared.clock.now();
        let is_past = |time: Option<Timestamp>| time.is_some_and(|time| time <= now);
        let state = match (record.withdrawn.is_some() || is_past(sunset), is_past(deprecated)) {
            (true, _) => "gone",
            (false, true) => "deprecated",
            (false, false) => "active",
        };
        Some(ApiView {
            contract: contract.clone(),
            summary: declared.summary.clone(),
            state,
            description: format!("{base}/openapi.json"),
            operations: operations.collect(),
            connection: Some(connection),
            origin: Some(record.origin.as_str()),
            declared: self
                .configured
                .load()
                .get(contract)
                .map(|told| if *told == record.publication && record.withdrawn.is_none() { "same" } else { "differs" }),
            cache_s,
            stale_if_error_s,
            deprecated,
            sunset,
            successor,
            published: record.published,
        })
    }

    /// What is published and cannot answer now, one sentence each.
    pub(super) fn problems(&self) -> Vec<String> {
        let installation = self.shared.installation.load();
        let published = self.published.load();
        let live = published.iter().filter(|(contract, _)| self.standing(contract).is_ok());
        live.filter_map(|(contract, record)| {
            let broken = behind(&installation, contract, &record.publication.connection).err()?;
            Some(format!("`{contract}` cannot answer: {broken}"))
        })
        .collect()
    }

    async fn ask(&self, contract: &ContractId, operation: &str, input: Input) -> Result<ApiAnswer, ApiError> {
        let record = self.standing(contract)?;
        let publication = &record.publication;
        let installation = self.shared.installation.load_full();
        let declared = offered(&installation, publication, contract, operation)?;
        let input = Document::new(input::document(input, declared)?);
        let key = (contract.clone(), operation.to_owned());
        let schema = installation.documents.get(&key).map(|(input, _)| input);
        calls::fits(schema, &input, "input", "contract.input")
            .map_err(|failure| ApiError::Input { problem: failure.message })?;
        let open = behind(&installation, contract, &publication.connection).map_err(|problem| {
            tracing::error!(%contract, problem, "a published API cannot answer");
            outward::unavailable(outward::RETRY_AFTER_S)
        })?;
        // Nothing of whoever asks is in it: what is kept may be given to everybody who may ask.
        let identity = hash32(
            "crossdock api read 1",
            &[
                contract.as_str().as_bytes(),
                operation.as_bytes(),
                input.json().as_bytes(),
                open.name.as_bytes(),
                &open.revision.to_be_bytes(),
                open.plugin.inspection.digest.as_bytes(),
            ],
        );
        let terms = Terms {
            cache_ms: u64::from(publication.cache_s) * 1_000,
            stale_ms: u64::from(publication.stale_if_error_s) * 1_000,
        };
        let limit_ms = publication
            .timeout_ms
            .map_or_else(|| open.plugin.limits.deadline_ms.min(outward::LIMIT_MS_DEFAULT), u64::from);
        let open = Arc::clone(open);
        let installed = Arc::clone(&installation);
        let read = Read { contract: key.0, operation: key.1, input, installation: installed, open, limit_ms };
        let shared = Arc::clone(&self.shared);
        let asked = outward::ask(shared, read);
        Answers::get(&self.answers, &self.shared, identity, terms, asked).await
    }
}

/// Where an API is: `/v1/apis/retail/erp-orders/1`.
fn path(contract: &ContractId) -> String {
    format!("/v1/apis/{}", contract.as_str().replace('@', "/"))
}

/// The connection that stands behind a publication.
fn behind<'a>(
    installation: &'a Installation,
    contract: &ContractId,
    connection: &str,
) -> Result<&'a Arc<OpenConnection>, String> {
    let open = installation
        .connections
        .get(connection)
        .ok_or_else(|| format!("connection `{connection}` is not configured"))?;
    if open.plugin.manifest.implements.contains(contract) {
        return Ok(open);
    }
    let plugin = &open.plugin.manifest.id;
    Err(format!("connection `{connection}` is served by `{plugin}`, which does not implement `{contract}`"))
}

/// An operation of the contract that is published.
fn offered<'a>(
    installation: &'a Installation,
    publication: &Publication,
    contract: &ContractId,
    operation: &str,
) -> Result<&'a ContractOperation, ApiError> {
    let declared = installation.contracts.get(contract).and_then(|declared| declared.operations.get(operation));
    match declared {
        Some(declared) if declared.effect == Effect::Read && publication.operations.contains(operation) => Ok(declared),
        declared => {
            let published: Vec<&str> = publication.operations.iter().map(String::as_str).collect();
            let problem = match declared.map(|declared| declared.effect) {
                Some(Effect::Write) => format!("`{operation}` is a write, and writes are not published"),
                Some(Effect::Read) => format!("`{operation}` is not published"),
                None => format!("`{contract}` has no operation `{operation}`"),
            };
            Err(ApiError::UnknownOperation { problem: format!("{problem}; there is: {}", published.join(", ")) })
        }
    }
}

impl ApisPort for Apis {
    fn list(&self) -> Vec<ApiView> {
        let published = self.published.load();
        let live = published.iter().filter(|(_, record)| record.withdrawn.is_none());
        live.filter_map(|(contract, record)| self.view(contract, record)).collect()
    }

    fn api(&self, contract: &ContractId) -> Result<ApiView, ApiError> {
        let record = self.standing(contract)?;
        self.view(contract, &record).ok_or_else(|| ApiError::Unknown { contract: contract.to_string() })
    }

    fn describe(&self, contract: &ContractId) -> Result<Value, ApiError> {
        let view = self.api(contract)?;
        let installation = self.shared.installation.load();
        let declared = installation.contracts.get(contract);
        let declared = declared.ok_or_else(|| ApiError::Unknown { contract: contract.to_string() })?;
        Ok(openapi::document(&view, declared, &Library::references()))
    }

    fn read<'a>(
        &'a self,
        contract: &'a ContractId,
        operation: &'a str,
        input: Input,
    ) -> BoxFuture<'a, Result<ApiAnswer, ApiError>> {
        async move {
            let answer = self.ask(contract, operation, input).await;
            let outcome = outward::outcome(&answer);
            // Names that consumers make up are no labels.
            if !matches!(outcome, "unknown") {
                metrics::counter!("crossdock_api_requests_total", "contract" => contract.to_string(),
                    "operation" => operation.to_owned(), "outcome" => outcome)
                .increment(1);
            }
            answer
        }
        .boxed()
    }

    fn withdraw<'a>(&'a self, who: Who, contract: &'a ContractId) -> BoxFuture<'a, Result<ApiView, ApiError>> {
        async move { self.end(&Cause { actor: who.actor, reason: who.reason }, contract).await }.boxed()
    }
}
