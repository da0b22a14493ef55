//! The one way out: HTTP requests of a connector, already bound to one connection and its grant.

use bytes::Bytes;
use futures::future::BoxFuture;

/// Why a request was not sent, or its answer not given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// The grant does not cover it. Nothing was sent.
    #[error("refused: {reason}")]
    Refused {
        /// What was asked, what is granted, and the line that would grant it.
        reason: String,
    },
    /// The host could not authenticate. Nothing was sent.
    #[error("cannot authenticate: {reason}")]
    Authentication {
        /// What to do about it; never a secret.
        reason: String,
    },
    /// No connection came about. Nothing was sent.
    #[error("cannot connect: {reason}")]
    Connect {
        /// What happened.
        reason: String,
    },
    /// The time was up. The request may have been sent.
    #[error("no answer within {limit_ms} ms")]
    Timeout {
        /// The limit.
        limit_ms: u64,
    },
    /// The connection broke after the request began to leave. The remote may have acted.
    #[error("the connection broke before the answer was whole: {reason}")]
    Broken {
        /// What happened.
        reason: String,
    },
    /// The request or the answer is larger than allowed.
    #[error("the {what} is over the limit of {limit_bytes} bytes")]
    TooLarge {
        /// `request body` or `response body`.
        what: &'static str,
        /// The limit.
        limit_bytes: u64,
    },
}

/// Sends requests for one connection. Every check, the authentication and the limits are behind it.
pub trait Egress: Send + Sync {
    /// Sends a request (absolute URI, no credentials) and answers with the whole response, redirects followed only
    /// where each target is granted too.
    ///
    /// `read_only` is set while a read operation runs: unsafe methods are refused unless the manifest excepts them.
    fn send(
        &self,
        request: http::Request<Bytes>,
        read_only: bool,
    ) -> BoxFuture<'_, Result<http::Response<Bytes>, EgressError>>;
}
