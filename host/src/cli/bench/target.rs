//! The server that the runs of a benchmark write to: takes anything, and answers at once.

use std::{io, net::SocketAddr};

use axum::{Router, body::Bytes, http::header};
use tokio::{net::TcpListener, task::JoinHandle};

/// What it answers, as the contract `bench/target@1` wants it.
pub(super) const ANSWER: &str = r#"{"status":"done"}"#;

/// A running server.
pub(super) struct Target {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Target {
    /// Takes a free port of 127.0.0.1.
    pub(super) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let router = Router::new().fallback(answer);
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(NoDelay(listener), router).await {
                tracing::warn!(%error, "the benchmark's target ended early");
            }
        });
        Ok(Self { address, task })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends it, whatever is under way.
    pub(super) async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

async fn answer(_whole: Bytes) -> ([(header::HeaderName, &'static str); 1], &'static str) {
    ([(header::CONTENT_TYPE, "application/json")], ANSWER)
}

/// Connections that send at once what there is to send.
struct NoDelay(TcpListener);

impl axum::serve::Listener for NoDelay {
    type Io = tokio::net::TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        let (stream, address) = axum::serve::Listener::accept(&mut self.0).await;
        // Slower without it, and nothing else.
        let _ = stream.set_nodelay(true);
        (stream, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
