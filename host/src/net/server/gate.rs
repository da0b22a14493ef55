//! The one place where it is decided who may ask what. Every route names its access ([`Access`]); there is no way to add
//! one without. Whoever is let in reaches the handler as a [`Caller`], which cannot be made anywhere else.
//!
//! A route either is about the hub as a whole, and then everything is decided here ([`Access::Hub`]); or it concerns
//! something that only the handler knows ([`Access::Each`]), and then the handler asks [`Caller::may`]. A handler that
//! answers well without having asked is a defect, and its answer is not sent.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::{FromRequestParts, Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, header, request::Parts};
use tokio::time::timeout;

use super::Surface;
use crate::{
    model::principal::{Action, Denied, Principal, Resource},
    net::problem::{Code, Problem},
    ports::{
        access::{AuthError, TokenError},
        hub::Hub,
        registry::Who,
        secrets::Secret,
    },
};

/// How long something that goes on, such as a stream, may go on after whoever asked for it may not any more.
const AGAIN: Duration = Duration::from_secs(5);

/// What a route asks of whoever calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Nothing, ever: whether the process answers is no secret.
    Liveness,
    /// Nothing, once somebody is enrolled: it proves by itself who sends, in the way that the text says.
    Itself(&'static str),
    /// What lets the first admin in, and so works before anybody is enrolled.
    Enrolment,
    /// That they may do this on the hub.
    Hub(Action),
    /// That they may do this on each thing that it concerns, which the handler asks about.
    Each(Action),
}

/// Whoever called, proven.
#[derive(Clone)]
pub(super) struct Caller {
    hub: Arc<dyn Hub>,
    principal: Arc<Principal>,
    action: Action,
    asked: Arc<AtomicBool>,
}

impl Caller {
    /// Who they are.
    pub(super) fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Whether they may do what the route is for on this.
    pub(super) fn may(&self, resource: Resource<'_>) -> Result<(), Problem> {
        self.may_do(self.action, resource)
    }

    /// The same for a route where what is done depends on what is sent.
    pub(super) fn may_do(&self, action: Action, resource: Resource<'_>) -> Result<(), Problem> {
        self.asked.store(true, Ordering::Relaxed);
        self.hub.access().decide(&self.principal, action, resource).map_err(|denied| {
            tracing::info!(who = self.principal.name, %action, %denied, "somebody may not");
            metrics::counter!("crossdock_access_denied_total", "action" => action.as_str()).increment(1);
            denied.into()
        })
    }

    /// Whether they may do something on the hub, for what is shown only to those who may; nothing is refused if not.
    pub(super) fn sees(&self, action: Action) -> bool {
        self.hub.access().decide(&self.principal, action, Resource::Hub).is_ok()
    }

    /// The name that they act under: their own, or the one they name if they may.
    pub(super) fn acting_as(&self, named: Option<&str>) -> Result<String, Problem> {
        match named {
            Some(named) if named != self.principal.name => {
                let assumed = self.hub.access().decide(&self.principal, Action::ActorAssume, Resource::Identity(named));
                assumed.map_err(|denied| {
                    Problem::new(Code::AccessDenied, format!("{denied}; leave `actor` out to act as yourself"))
                })?;
                Ok(named.to_owned())
            }
            _ => Ok(self.principal.name.clone()),
        }
    }

    /// Resolves soon after they would not be let in any more, because their token was revoked or has expired, or may not do
    /// on the hub what the route is for. For an answer that goes on, to whoever sent these headers.
    pub(super) fn until_shut_out(&self, headers: &HeaderMap) -> impl Future<Output = ()> + Send + use<> {
        let caller = self.clone();
        let shown = bearer(headers).ok().flatten().map(|shown| Secret::new(shown.as_bytes()));
        async move {
            loop {
                let _ = timeout(AGAIN, pending::<()>()).await;
                let shown = shown.as_ref().map(|shown| str::from_utf8(shown.expose()).unwrap_or_default());
                let access = caller.hub.access();
                let stays = match access.prove(shown).await {
                    Ok(who) => access.decide(&who, caller.action, Resource::Hub).map_err(|denied| denied.to_string()),
                    Err(error) => Err(error.to_string()),
                };
                if let Err(problem) = stays {
                    tracing::info!(who = caller.principal.name, problem, "somebody is answered no further");
                    return;
                }
            }
        }
    }

    /// Puts the name that they act under in place of the one that they gave, if any; the reason says so if it is not
    /// their own.
    pub(super) fn sign(&self, actor: &mut String, reason: &mut String) -> Result<(), Problem> {
        let named = Some(actor.trim()).filter(|named| !named.is_empty());
        let name = self.acting_as(named)?;
        if name != self.principal.name {
            *reason = format!("{reason} [sent by {}]", self.principal.name).trim_start().to_owned();
        }
        *actor = name;
        Ok(())
    }

    /// Who does it, and why: the caller, or whom they may act for.
    pub(super) fn signed(&self, mut actor: String, mut reason: String) -> Result<Who, Problem> {
        self.sign(&mut actor, &mut reason)?;
        Ok(Who { actor, reason })
    }
}

impl FromRequestParts<Surface> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Surface) -> Result<Self, Problem> {
        let missing = || Problem::new(Code::Internal, "this path asks nobody who they are, and yet wants to know");
        parts.extensions.get::<Self>().cloned().ok_or_else(missing)
    }
}

/// Lets a request through to its route, or not.
pub(super) async fn pass(
    State((surface, access)): State<(Surface, Access)>,
    mut request: Request,
    next: Next,
) -> Response {
    let action = match access {
        Access::Liveness | Access::Enrolment => return next.run(request).await,
        Access::Itself(_) if surface.hub.access().is_enrolled() => return next.run(request).await,
        Access::Itself(_) => return Problem::from(AuthError::NotEnrolled).into_response(),
        Access::Hub(action) | Access::Each(action) => action,
    };
    let caller = match let_in(&surface, request.headers(), action).await {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    if let Access::Hub(_) = access
        && let Err(problem) = caller.may(Resource::Hub)
    {
        return problem.into_response();
    }
    let asked = Arc::clone(&caller.asked);
    request.extensions_mut().insert(caller);
    // A change goes on to its end when whoever asked goes away, or waits no longer: half of it would be durable and not in
    // force. An event is carried on by the hub itself, and its sender may wait long.
    let is_change = !request.method().is_safe() && action != Action::EventSend;
    let response = if is_change { to_its_end(next.run(request)).await } else { next.run(request).await };
    if response.status().is_success() && !asked.load(Ordering::Relaxed) {
        tracing::error!(%action, "a route answered without having asked whether it may");
        return Problem::new(Code::Internal, "it was not decided whether this may be done").into_response();
    }
    response
}

/// Works on an answer in a task of its own.
async fn to_its_end(work: impl Future<Output = Response> + Send + 'static) -> Response {
    match tokio::spawn(work).await {
        Ok(response) => response,
        // As if it had panicked here.
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Problem::new(Code::HubUnavailable, "the hub is stopping").into_response(),
        },
    }
}

async fn let_in(surface: &Surface, headers: &HeaderMap, action: Action) -> Result<Caller, Problem> {
    let shown = bearer(headers)?;
    let principal = surface.hub.access().authenticate(shown).await?;
    let hub = Arc::clone(&surface.hub);
    Ok(Caller { hub, principal: Arc::new(principal), action, asked: Arc::default() })
}

/// What `Authorization: Bearer` carries (RFC 6750); absent: there is no such header.
pub(super) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let invalid = |problem: &str| AuthError::Invalid { problem: problem.to_owned() };
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid("there are two `Authorization` headers").into());
    }
    let (scheme, shown) = value.to_str().ok().and_then(|value| value.split_once(' ')).unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(invalid("the `Authorization` header is not `Bearer` and a token").into());
    }
    Ok(Some(shown.trim()))
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        Self::new(Code::AccessDenied, denied.to_string())
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let text = error.to_string();
        match error {
            AuthError::NotEnrolled | AuthError::Missing => Self::new(Code::AuthRequired, text),
            AuthError::Invalid { .. } => Self::new(Code::AuthInvalid, text),
            AuthError::Spike { .. } => Self::new(Code::TokenSpike, text).with("retry_after_s", 1),
            AuthError::Quota { retry_after_s, .. } => {
                Self::new(Code::TokenQuota, text).with("retry_after_s", retry_after_s)
            }
            AuthError::Unavailable { .. } => Self::new(Code::HubUnavailable, text),
        }
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        let text = error.to_string();
        match error {
            TokenError::Invalid { .. } => Self::new(Code::RequestInvalid, text),
            TokenError::Unknown { .. } => Self::new(Code::TokenUnknown, text),
            TokenError::Beyond { .. } => Self::new(Code::AccessDenied, text),
            TokenError::Conflict { .. } => Self::new(Code::TokenConflict, text),
            TokenError::Enrolment { .. } => Self::new(Code::EnrolmentInvalid, text),
            TokenError::Unavailable { .. } => Self::new(Code::HubUnavailable, text),
        }
    }
}
