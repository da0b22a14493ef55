//! Connections: at most so many, each head within its time and size, and an orderly end.

use std::{convert::Infallible, future::pending, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    pin, select,
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::{Options, Transport};

/// Most header lines of a request.
const HEADERS_MAX: usize = 100;

/// Most bytes of a request's head.
const HEAD_BYTES_LIMIT: usize = 64 << 10;

/// How long to wait after the system could not give us a connection, such as for want of file handles.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn attend(
    listener: TcpListener,
    app: Router,
    options: &Options,
    stopping: CancellationToken,
    shutdown: impl Future<Output = ()> + Send,
) {
    if let Transport::Tls(certificate) = &options.transport {
        tokio::spawn(certificate.clone().follow(stopping.clone()));
    }
    let slots = Arc::new(Semaphore::new(options.connections_max));
    let mut connections = JoinSet::new();
    pin!(shutdown);
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = select! {
            biased;
            () = &mut shutdown => break,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                let (app, transport) = (app.clone(), options.transport.clone());
                let (head_timeout, stopping) = (options.head_timeout, stopping.clone());
                connections.spawn(async move {
                    match transport {
                        Transport::Plain | Transport::Proxied => serve(stream, app, head_timeout, stopping).await,
                        // Whoever does not shake hands in time holds no place.
                        Transport::Tls(certificate) => match timeout(head_timeout, certificate.accept(stream)).await {
                            Ok(Ok(stream)) => serve(stream, app, head_timeout, stopping).await,
                            Ok(Err(error)) => tracing::debug!(%error, "a connection is not TLS"),
                            Err(_) => tracing::debug!("a connection does not shake hands in time"),
                        },
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection");
                let _ = timeout(PAUSE, pending::<()>()).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    stopping.cancel();
    let drained = timeout(options.drain_timeout, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!(open = connections.len(), "requests in flight did not end in time and are cut off");
        connections.shutdown().await;
    }
}

async fn serve<S>(stream: S, app: Router, head_timeout: Duration, stopping: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = service_fn(move |request: Request<Incoming>| {
        let app = app.clone();
        async move { Ok::<_, Infallible>(app.oneshot(request.map(Body::new)).await.unwrap_or_else(|never| match never {})) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEAD_BYTES_LIMIT)
        .max_buf_size(HEAD_BYTES_LIMIT)
        .serve_connection(TokioIo::new(stream), answer);
    pin!(connection);
    let ended = select! {
        ended = connection.as_mut() => ended,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
