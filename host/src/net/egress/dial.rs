//! Resolves a name, checks every address it has, and connects to one of exactly those addresses. Proxies set in the
//! environment are not looked at.

use std::{
    error::Error,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tower::Service;

use crate::policy::address::AddressRules;

/// Most addresses of one name that are looked at.
const ADDRESSES_MAX: usize = 32;

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DialError {
    /// An address is not granted.
    #[error("{0}")]
    Refused(String),
    /// It did not come about.
    #[error("{0}")]
    Failed(String),
}

impl DialError {
    /// The error of this kind among the causes of another.
    pub(super) fn within<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }
}

/// What may be sent without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cleartext {
    /// Anything that is granted.
    Anywhere,
    /// Only what goes to an address that the operator listed: a secret is on board.
    OnlyListed,
}

/// Tells the addresses of a name.
type Resolve = Arc<dyn Fn(String, u16) -> BoxFuture<'static, Result<Vec<SocketAddr>, DialError>> + Send + Sync>;

/// Connects by TCP, to checked addresses only.
#[derive(Clone)]
pub(super) struct Checked {
    rules: Arc<AddressRules>,
    connection: Arc<str>,
    cleartext: Cleartext,
    limit: Duration,
    resolve: Resolve,
}

impl Service<Uri> for Checked {
    type Response = TokioIo<TcpStream>;
    type Error = DialError;
    type Future = BoxFuture<'static, Result<Self::Response, DialError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { this.connect(&uri).await })
    }
}

impl Checked {
    async fn connect(&self, uri: &Uri) -> Result<TokioIo<TcpStream>, DialError> {
        let host = uri.host().unwrap_or_default();
        let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        // Asked once: what is checked is what is connected to, whatever the name stands for a moment later.
        let addresses = (self.resolve)(host.to_owned(), uri.port_u16().unwrap_or(default_port)).await?;
        for address in &addresses {
            self.check(host, address.ip(), uri.scheme_str() == Some("http"))?;
        }
        let share = self.limit / u32::try_from(addresses.len()).unwrap_or(1).max(1);
        let mut problem = format!("`{host}` has no address");
        for address in addresses {
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Small requests must not wait for the answer to earlier ones.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "cannot turn off delays");
                    }
                    return Ok(TokioIo::new(stream));
                }
                Ok(Err(error)) => problem = format!("`{host}` at {address}: {error}"),
                Err(_) => problem = format!("`{host}` at {address} does not answer within {} ms", share.as_millis()),
            }
        }
        Err(DialError::Failed(problem))
    }

    /// INVARIANT: an address that did not pass here is never connected to.
    fn check(&self, host: &str, address: IpAddr, cleartext: bool) -> Result<(), DialError> {
        self.rules.check(address).map_err(|refused| DialError::Refused(format!("`{host}`: {refused}")))?;
        if cleartext && self.cleartext == Cleartext::OnlyListed && !self.rules.is_listed(address) {
            return Err(DialError::Refused(format!(
                "`http://{host}`: credentials are not sent in clear text; use `https`, or, for a link that nobody else \
                 can read, add `allow_addresses = [\"{address}\"]` to connection `{}`",
                self.connection
            )));
        }
        Ok(())
    }
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, DialError> {
    let literal = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = literal.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found = lookup_host((host, port))
        .await
        .map_err(|error| DialError::Failed(format!("the name `{host}` cannot be resolved: {error}")))?;
    Ok(found.take(ADDRESSES_MAX).collect())
}

/// Connects with TLS where the scheme says so, within a time, so that a connection that does not come about is told
/// apart from an answer that does not come.
#[derive(Clone)]
pub(super) struct Dialer {
    https: HttpsConnector<Checked>,
    limit: Duration,
}

impl Dialer {
    pub(super) fn new(
        rules: Arc<AddressRules>,
        connection: Arc<str>,
        cleartext: Cleartext,
        limit: Duration,
        tls: &ClientConfig,
    ) -> Self {
        let resolve: Resolve = Arc::new(|host, port| Box::pin(async move { resolve(&host, port).await }));
        let checked = Checked { rules, connection, cleartext, limit, resolve };
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls.clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(checked);
        Self { https, limit }
    }
}

impl Service<Uri> for Dialer {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.https.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let host = uri.host().unwrap_or_default().to_owned();
        let connecting = self.https.call(uri);
        let limit = self.limit;
        Box::pin(async move {
            timeout(limit, connecting).await.unwrap_or_else(|_| {
                Err(DialError::Failed(format!("`{host}`: no connection within {} ms", limit.as_millis())).into())
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        sync::{Mutex, PoisonError},
    };

    use futures::FutureExt as _;
    use tokio::net::TcpListener;

    use super::*;

    /// Connects to a name that stands for something else each time it is asked about.
    struct Turning {
        checked: Checked,
        port: u16,
    }

    impl Turning {
        fn new(listener: &TcpListener, answers: &[&[&str]]) -> Self {
            let port = listener.local_addr().unwrap().port();
            let parsed = |answer: &&[&str]| {
                answer.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), port)).collect::<Vec<_>>()
            };
            let answers = Mutex::new(answers.iter().map(parsed).collect::<VecDeque<_>>());
            let resolve: Resolve = Arc::new(move |_, _| {
                let answer = answers.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                Box::pin(async move { answer.ok_or_else(|| DialError::Failed("asked once too often".to_owned())) })
            });
            let rules = Arc::new(AddressRules::new("erp", &["127.0.0.1/32".to_owned()]).unwrap());
            let (cleartext, limit) = (Cleartext::Anywhere, Duration::from_secs(30));
            Self { checked: Checked { rules, connection: "erp".into(), cleartext, limit, resolve }, port }
        }

        async fn connect(&self) -> Result<IpAddr, DialError> {
            let uri: Uri = format!("http://turning.example:{}", self.port).parse().unwrap();
            let stream = self.checked.connect(&uri).await?;
            Ok(stream.inner().peer_addr().unwrap().ip())
        }
    }

    fn refused(outcome: Result<IpAddr, DialError>, address: &str) {
        let Err(DialError::Refused(problem)) = outcome else { panic!("{outcome:?}") };
        assert!(problem.contains(address) && problem.contains("turning.example"), "{problem}");
    }

    #[tokio::test]
    async fn a_name_that_turns_to_another_address_is_connected_to_only_where_it_was_checked() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // Whoever checked one answer and connected to the next would be on the metadata service's machine.
        let turning = Turning::new(&listener, &[&["127.0.0.1"], &["169.254.169.254"], &["127.0.0.2"], &["::1"]]);
        assert_eq!(turning.connect().await, Ok("127.0.0.1".parse().unwrap()));
        // The next connection is checked anew, and so is every other form of what is not granted.
        refused(turning.connect().await, "169.254.169.254");
        refused(turning.connect().await, "127.0.0.2");
        refused(turning.connect().await, "::1");
    }

    #[tokio::test]
    async fn one_address_that_is_not_granted_refuses_a_name_before_anything_is_connected_to() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let turning = Turning::new(&listener, &[&["127.0.0.1", "169.254.169.254"], &["127.0.0.1"]]);
        refused(turning.connect().await, "169.254.169.254");
        // Nobody has come but this one.
        assert!(turning.connect().await.is_ok());
        listener.accept().await.unwrap();
        assert!(listener.accept().now_or_never().is_none());
    }
}
