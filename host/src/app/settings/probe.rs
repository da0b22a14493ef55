//! The test of a connection: its secrets are there, its address is granted, its remote answers, and takes the credentials.
//! It only ever looks: one GET, or a read operation of the plugin. Nothing is recorded, and no answer of the remote is
//! shown beyond its status, or the failure that the connector makes of it.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{HubSettings, refused};
use crate::{
    app::{
        calls,
        installation::{Installation, OpenConnection},
        permits::{self, Admitted},
    },
    model::{
        auth::ClientCertificate, connection::Connection, failure::FailureKind, json::Json, lane::Lane,
        manifest::Effect, setting::Probe, timestamp::Timestamp,
    },
    net::egress::{EgressScope, identity::ClientIdentity},
    ports::{
        egress::Egress,
        invoker::{Authority, CallError, Invocation, StepContext, Work},
        secrets::Secrets,
        settings::{Check, SettingError, Tested},
    },
};

/// Tests at the same time.
const TESTS_AT_ONCE: usize = 2;

/// Longest that a test waits for a place among the connection's calls, milliseconds: people wait for its answer.
const PLACE_MS_MAX: u64 = 10_000;

static TESTS: Semaphore = Semaphore::const_new(TESTS_AT_ONCE);

/// What a test has shown, and whether the remote has taken the credentials.
struct Shown {
    tested: Tested,
    proven: bool,
}

impl HubSettings {
    pub(super) async fn test_connection(&self, name: &str, probe: Probe) -> Result<Tested, SettingError> {
        let now = self.shared.installation.load_full();
        let unknown = || SettingError::UnknownConnection { name: name.to_owned() };
        let open = now.connections.get(name).cloned().ok_or_else(unknown)?;
        let secrets = Arc::clone(&self.installer.secrets);
        Ok(self.look(&open, &probe, &secrets).await?.tested)
    }

    /// Tests a connection that is not in place yet.
    ///
    /// # Errors
    /// If it is not shown that its credentials work.
    pub(super) async fn prove(
        &self,
        now: &Installation,
        name: &str,
        connection: &Connection,
        probe: &Probe,
    ) -> Result<Tested, SettingError> {
        let secrets = Arc::clone(&self.installer.secrets);
        self.proven(now, name, connection, probe, "auth", &secrets).await
    }

    /// The same with other secrets than the hub's, for one place.
    pub(super) async fn proven(
        &self,
        now: &Installation,
        name: &str,
        connection: &Connection,
        probe: &Probe,
        place: &str,
        secrets: &Arc<dyn Secrets>,
    ) -> Result<Tested, SettingError> {
        let missing = || refused_with(format!("connection `{name}` has no plugin that serves"), None);
        let plugin = Arc::clone(now.bound_version(&connection.plugin, None).ok_or_else(missing)?);
        let open = self.installer.open_with(plugin, name, connection.clone(), 0, secrets).map_err(refused)?;
        let Shown { tested, proven } = self.look(&open, probe, secrets).await?;
        if !tested.passed {
            let failed: Vec<&str> =
                tested.checks.iter().filter(|check| !check.passed).map(|check| check.says.as_str()).collect();
            let problem = format!("the test failed, so everything stays as it is: {}", failed.join("; "));
            return Err(refused_with(problem, Some(tested)));
        }
        if !place.starts_with("secrets.") && connection.has_credentials() && !proven {
            let problem = "the test does not show that the remote takes the new credentials, so everything stays as it is: \
                           name a read operation that needs them (`--operation NAME --input FILE`)";
            return Err(refused_with(problem.to_owned(), Some(tested)));
        }
        Ok(tested)
    }

    async fn look(
        &self,
        open: &OpenConnection,
        probe: &Probe,
        secrets: &Arc<dyn Secrets>,
    ) -> Result<Shown, SettingError> {
        let conflict = |problem: String| SettingError::Conflict { problem };
        if self.shared.effects.are_paused() {
            let problem = "after a restore nothing leaves the hub, tests neither: compare the remotes with what was restored, \
                           then `crossdock backup reconciled`";
            return Err(conflict(problem.to_owned()));
        }
        let Ok(_room) = TESTS.try_acquire() else {
            let problem = format!("{TESTS_AT_ONCE} tests are under way: try again when one has ended");
            return Err(conflict(problem));
        };
        let mut checks = vec![resolved(&open.connection, &**secrets)];
        let has_auth = open.connection.has_credentials();
        if let Some(shown) =
            open.connection.client_certificate.as_ref().filter(|_| checks.iter().all(|check| check.passed))
        {
            checks.push(certificate(shown, &**secrets, self.shared.clock.now()));
        }
        let mut proven = false;
        if checks.iter().all(|check| check.passed) {
            let (check, took) = match &probe.operation {
                Some(operation) => self.operation(open, operation, probe.input.as_ref(), secrets).await?,
                None => self.exchange(open, secrets).await,
            };
            checks.push(check);
            if has_auth && let Some(took) = took {
                proven = took.0;
                checks.push(took.1);
            }
        }
        let passed = checks.iter().all(|check| check.passed);
        let tested = Tested { connection: open.name.clone(), revision: open.revision, passed, checks };
        Ok(Shown { tested, proven })
    }

    /// One GET of the base URL, through everything that a plugin's request passes.
    async fn exchange(&self, open: &OpenConnection, secrets: &Arc<dyn Secrets>) -> (Check, Option<(bool, Check)>) {
        let outlet = self.outlet(open, secrets);
        let failed = |says: String| (Check { what: "exchange", passed: false, says }, None);
        let base_url = &open.connection.base_url;
        let Ok(request) = Request::get(base_url.as_str()).body(Bytes::new()) else {
            return failed("`base_url` is not a URL".to_owned());
        };
        let at = super::connections::origin_of(&open.connection);
        match outlet.send(request, true).await {
            Err(error) => failed(format!("{at}: {error}")),
            Ok(answer) => {
                let status = answer.status();
                let passed = !status.is_server_error();
                let says = format!("{at} is granted and answers {status}");
                (Check { what: "exchange", passed, says }, Some(judged(status)))
            }
        }
    }

    fn outlet(&self, open: &OpenConnection, secrets: &Arc<dyn Secrets>) -> Arc<dyn Egress> {
        self.installer.gateway.open(EgressScope {
            connection_name: open.name.clone(),
            connection: open.connection.clone(),
            capabilities: open.plugin.manifest.capabilities.http.clone(),
            read_methods: Vec::new(),
            revision: open.revision,
            secret_versions: open.secret_versions.clone(),
            secrets: Arc::clone(secrets),
            clock: Arc::clone(&self.installer.clock),
        })
    }

    /// A place among the calls of the connection, which a test takes like any other call.
    async fn admitted(&self, open: &OpenConnection) -> Result<Admitted, SettingError> {
        let conflict = |problem: String| SettingError::Conflict { problem };
        let asked = self.shared.clock.now();
        if let Some(until) = permits::left_alone(&self.shared, open) {
            let problem = format!("the remote of connection `{}` fails and is left alone until {until}", open.name);
            return Err(conflict(problem));
        }
        let withdrawn = CancellationToken::new();
        let late = || {
            let places = "all places for calls through it are taken";
            conflict(format!("connection `{}` was not tested: {places}; try again when fewer runs use it", open.name))
        };
        tokio::select! {
            biased;
            admitted = permits::admit(&self.shared, open, Lane::default(), 0, &withdrawn) => {
                admitted.map_err(|_| conflict("the hub is stopping".to_owned()))
            }
            () = self.shared.clock.sleep_until(asked.plus_millis(PLACE_MS_MAX)) => Err(late()),
        }
    }

    /// One call of a read operation.
    async fn operation(
        &self,
        open: &OpenConnection,
        operation: &str,
        input: Option<&Json>,
        secrets: &Arc<dyn Secrets>,
    ) -> Result<(Check, Option<(bool, Check)>), SettingError> {
        let invalid = |problem: String| SettingError::Invalid { problem };
        let operations = &open.plugin.manifest.operations;
        let reads: Vec<&str> = operations
            .iter()
            .filter(|(_, declared)| declared.effect == Effect::Read)
            .map(|(name, _)| name.as_str())
            .collect();
        let reads = if reads.is_empty() { "none".to_owned() } else { reads.join(", ") };
        match operations.get(operation).map(|declared| declared.effect) {
            Some(Effect::Read) => {}
            Some(Effect::Write) => {
                return Err(invalid(format!("`{operation}` writes, and a test only looks; read operations: {reads}")));
            }
            None => return Err(invalid(format!("there is no operation `{operation}`; read operations: {reads}"))),
        }
        let named = calls::secrets(open, &**secrets).map_err(|error| invalid(error.to_string()))?;
        let now = self.shared.clock.now();
        let step = StepContext {
            run: "test".to_owned(),
            pipeline: "test".to_owned(),
            pipeline_version: "0".to_owned(),
            name: "test".to_owned(),
            config: calls::connection_config(open),
            attributes: Vec::new(),
        };
        let work = Work::Invoke {
            operation: operation.to_owned(),
            input: input.cloned().unwrap_or_else(Json::empty_object),
            idempotency_key: "test".to_owned(),
            attempt: 1,
            read_only: true,
            step,
        };
        let invocation = Invocation {
            component: open.plugin.inspection.digest,
            work,
            limits: calls::bounded(&open.plugin, None),
            now,
            seed: crate::model::id::hash32("crossdock test 1", &[&now.millis().to_be_bytes()]),
            // A test leaves no trace, so it has no state.
            authority: Authority { egress: open.outlets.get(operation).cloned(), state: None, secrets: named },
        };
        let admitted = self.admitted(open).await?;
        let made = open.plugin.live.unless_revoked(self.shared.invoker.invoke(invocation)).await;
        let Some(completed) = made else {
            let failure = calls::revoked(&open.plugin, FailureKind::Permanent);
            if open.revision > 0 {
                admitted.settle(Some(&failure));
            }
            return Err(SettingError::Conflict { problem: format!("it was not tested: {}", failure.message) });
        };
        // How a connection fares that is not in place says nothing of the one that is.
        if open.revision > 0 {
            let failure = completed.result.as_ref().err().cloned().map(|error| calls::effect_failure(error, true));
            admitted.settle(failure.as_ref());
        }
        let check = |passed: bool, says: String| Check { what: "operation", passed, says };
        Ok(match completed.result {
            Ok(_) => {
                let took = Check { what: "credentials", passed: true, says: "the remote took them".to_owned() };
                (check(true, format!("`{operation}` was answered")), Some((true, took)))
            }
            Err(CallError::Failure(failure)) => {
                (check(false, format!("`{operation}` failed as `{}`: {}", failure.code, failure.message)), None)
            }
            Err(error) => {
                (check(false, format!("`{operation}` failed: {}", calls::effect_failure(error, true).message)), None)
            }
        })
    }
}

/// Whether the secrets are there.
fn resolved(connection: &Connection, secrets: &dyn Secrets) -> Check {
    let mut missing = Vec::new();
    let mut count = 0;
    for (place, reference) in connection.references() {
        count += 1;
        missing.extend(secrets.resolve(reference).err().map(|error| format!("`{place}`: {error}")));
    }
    let says = match (count, missing.is_empty()) {
        (0, _) => "it needs none".to_owned(),
        (_, true) => format!("{count} can be read"),
        (_, false) => missing.join("; "),
    };
    Check { what: "secrets", passed: missing.is_empty(), says }
}

/// Whether the certificate can be shown, and until when.
fn certificate(shown: &ClientCertificate, secrets: &dyn Secrets, now: Timestamp) -> Check {
    let read = ClientIdentity::read(shown, secrets, now);
    let passed = read.is_ok();
    let says = match read {
        Ok(identity) => format!("that of {}, valid until {}", identity.subject(), identity.not_after()),
        Err(error) => error.to_string(),
    };
    Check { what: "certificate", passed, says }
}

/// What a status says of the credentials; whether it proves them.
fn judged(status: StatusCode) -> (bool, Check) {
    let check = |passed: bool, says: &str| Check { what: "credentials", passed, says: says.to_owned() };
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            (false, check(false, "the remote refuses them: give others, or see to the account's rights there"))
        }
        _ if status.is_success() => (true, check(true, "the remote took them, or asks for none there")),
        _ => (false, check(true, "not proven: name a read operation that needs them to prove them")),
    }
}

fn refused_with(problem: String, tested: Option<Tested>) -> SettingError {
    SettingError::Refused { problem, tested }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_success_proves_credentials_and_only_a_refusal_disproves_them() {
        let check = |status: u16, proven: bool, passed: bool| {
            let (found, check) = judged(StatusCode::from_u16(status).unwrap());
            assert_eq!((found, check.passed), (proven, passed), "{status}");
        };
        check(200, true, true);
        check(204, true, true);
        check(401, false, false);
        check(403, false, false);
        check(404, false, true);
        check(302, false, true);
    }
}
