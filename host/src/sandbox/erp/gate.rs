//! Who may in: sessions with their CSRF tokens, and what disturbs a request on its way.

use std::collections::VecDeque;

use http::{Method, StatusCode};

use super::{Disturbance, Fault, Lock, failure::SapFailure};
use crate::sandbox::{server::Received, unique};

/// The name of the session cookie, as a system `CDK` with client 100 names it.
pub(super) const SESSION_COOKIE: &str = "SAP_SESSIONID_CDK_100";
/// More sessions than this end the oldest.
const SESSIONS_MAX: usize = 1_000;
/// What `busy` asks for, when a request itself asks for it.
const BUSY_RETRY_AFTER_S: u32 = 30;

/// Sessions, locks and disturbances.
#[derive(Default)]
pub(super) struct Gate {
    sessions: VecDeque<Session>,
    locks: Vec<Lock>,
    disturbances: Vec<Disturbance>,
}

/// A session and the one token that is valid in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) token: String,
}

impl Gate {
    pub(super) fn add_lock(&mut self, rule: Lock) {
        self.locks.push(rule);
    }

    pub(super) fn add_disturbance(&mut self, disturbance: Disturbance) {
        self.disturbances.push(disturbance);
    }

    pub(super) fn mend(&mut self) {
        self.locks.clear();
        self.disturbances.clear();
    }

    pub(super) fn expire_sessions(&mut self) {
        self.sessions.clear();
    }

    /// The session to tell about, if the request fetches a token; refuses a write without a valid one.
    pub(super) fn admit(&mut self, request: &Received) -> Result<Option<Session>, SapFailure> {
        let token = request.header("x-csrf-token").unwrap_or_default();
        let current = self.sessions.iter().find(|session| carries(request, session));
        if matches!(request.method, Method::GET | Method::HEAD) {
            if !token.eq_ignore_ascii_case("fetch") {
                return Ok(None);
            }
            let session = current.cloned().unwrap_or_else(|| Session { id: unique(16), token: unique(16) });
            if !self.sessions.contains(&session) {
                if self.sessions.len() == SESSIONS_MAX {
                    self.sessions.pop_front();
                }
                self.sessions.push_back(session.clone());
            }
            return Ok(Some(session));
        }
        if current.is_some_and(|session| session.token == token) { Ok(None) } else { Err(SapFailure::csrf()) }
    }

    /// What meets the request before it does anything, if anything does. A `sap-mock-scenario` header asks for it, by
    /// the names that the PyPI package `mock-sap` knows.
    pub(super) fn disturb(&mut self, request: &Received) -> Result<Option<Fault>, SapFailure> {
        match request.header("sap-mock-scenario") {
            None => Ok(self.take(&request.method, |fault| *fault != Fault::CutAfterCommit)),
            Some("busy") => Ok(Some(Fault::Busy { retry_after_s: BUSY_RETRY_AFTER_S })),
            Some("lock") => Ok(Some(Fault::Locked)),
            Some("csrf") => Err(SapFailure::csrf()),
            Some(other) => Err(SapFailure::new(
                StatusCode::BAD_REQUEST,
                format!("Unknown scenario '{other}'. Known: busy, csrf, lock"),
            )),
        }
    }

    /// Whether the answer to a write that succeeded gets lost.
    pub(super) fn loses_reply(&mut self, method: &Method) -> bool {
        self.take(method, |fault| *fault == Fault::CutAfterCommit).is_some()
    }

    /// Refuses a write for an order that is locked for it.
    pub(super) fn check_lock(&mut self, purchase_order: &str) -> Result<(), SapFailure> {
        let names_it =
            |rule: &&mut Lock| rule.attempts > 0 && rule.purchase_orders.iter().any(|name| name == purchase_order);
        let Some(rule) = self.locks.iter_mut().find(names_it) else { return Ok(()) };
        rule.attempts -= 1;
        Err(SapFailure::locked(rule.retry_after_s))
    }

    fn take(&mut self, method: &Method, fits: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let disturbance = self.disturbances.iter_mut().find(|disturbance| {
            disturbance.times > 0
                && disturbance.method.as_ref().is_none_or(|only| only == method)
                && fits(&disturbance.fault)
        })?;
        disturbance.times -= 1;
        Some(disturbance.fault)
    }
}

fn carries(request: &Received, session: &Session) -> bool {
    request.headers.get_all(http::header::COOKIE).iter().filter_map(|value| value.to_str().ok()).any(|cookies| {
        cookies.split(';').any(|cookie| {
            cookie.trim().split_once('=').is_some_and(|(name, value)| name == SESSION_COOKIE && value == session.id)
        })
    })
}
