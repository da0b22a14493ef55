//! A remote that looks at each request as it came over the wire, and lets in whoever proves who they are: by its own reading
//! of a scheme, not the hub's. It answers as the sandbox warehouse's `/stock` does, and repeats what it was shown, as careless
//! remotes do. Where a path begins with `/to?`, it sends whoever is let in to the URL behind that.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub struct Raw {
    /// `GET`, say.
    pub method: String,
    /// Path and query, as they were written.
    pub target: String,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The certificate that the client has shown in TLS, if any.
    pub certificate: Option<Vec<u8>>,
}

impl Raw {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value).unwrap_or_default()
    }
}

/// What makes of a request that somebody is let in.
pub type Check = dyn Fn(&Raw) -> Result<(), String> + Send + Sync;

/// The remote. Its tasks end with the runtime of the test.
pub struct Verifier {
    /// Its base URL.
    pub url: String,
    state: Arc<State>,
}

struct State {
    check: Mutex<Arc<Check>>,
    seen: Mutex<Vec<(Raw, Result<(), String>)>>,
}

impl Verifier {
    /// Starts one, over TLS if there is a configuration for it.
    ///
    /// # Panics
    /// If no port can be bound.
    #[allow(clippy::panic, reason = "a test without its counterpart has failed, and must say why")]
    pub async fn start(
        tls: Option<ServerConfig>,
        check: impl Fn(&Raw) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap_or_else(|error| panic!("{error}"));
        let address = listener.local_addr().unwrap_or_else(|error| panic!("{error}"));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let state = Arc::new(State { check: Mutex::new(Arc::new(check)), seen: Mutex::default() });
        let (serving, tls) = (Arc::clone(&state), tls.map(|config| TlsAcceptor::from(Arc::new(config))));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, tls) = (Arc::clone(&serving), tls.clone());
                tokio::spawn(async move {
                    let Some(tls) = tls else { return serve(stream, None, &state).await };
                    let stream = match tls.accept(stream).into_fallible().await {
                        Ok(stream) => stream,
                        Err((_, mut stream)) => {
                            // Whoever shows no certificate that is taken is told so, and is given the time to read it.
                            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                            return;
                        }
                    };
                    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                    let shown = shown.map(|own| own.to_vec());
                    serve(stream, shown, &state).await;
                });
            }
        });
        Self { url: format!("{scheme}://{address}"), state }
    }

    /// Lets in whom another check lets in, from now on.
    pub fn check(&self, check: impl Fn(&Raw) -> Result<(), String> + Send + Sync + 'static) {
        *lock(&self.state.check) = Arc::new(check);
    }

    /// What came, and what was made of it, in order.
    #[must_use]
    pub fn seen(&self) -> Vec<(Raw, Result<(), String>)> {
        lock(&self.state.seen).clone()
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, certificate: Option<Vec<u8>>, state: &State) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let mut raw = read(&String::from_utf8_lossy(&head));
    raw.certificate = certificate;
    raw.body = vec![0; raw.header("content-length").parse().unwrap_or(0)];
    if stream.read_exact(&mut raw.body).await.is_err() {
        return;
    }
    let check = Arc::clone(&lock(&state.check));
    let verdict = check(&raw);
    let shown: Vec<String> = raw.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let shown = shown.join(" | ");
    let sku = raw.target.split("sku=").nth(1).and_then(|rest| rest.split('&').next()).unwrap_or_default().to_owned();
    let elsewhere =
        raw.target.strip_prefix("/to?").filter(|_| verdict.is_ok()).map(|url| format!("location: {url}\r\n"));
    let (status, body) = match &verdict {
        Ok(()) if elsewhere.is_some() => ("302 Found", json!(null)),
        Ok(()) => {
            let node = json!({ "node": "n", "name": shown, "stock": [{ "sku": sku, "available": 1 }] });
            ("200 OK", json!({ "nodes": [node] }))
        }
        Err(why) => {
            let message = format!("{why}: {shown}");
            ("401 Unauthorized", json!({ "error": { "code": "unauthorized", "message": message } }))
        }
    };
    let (body, echo) = (body.to_string(), raw.header("authorization").to_owned());
    lock(&state.seen).push((raw, verdict));
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nx-shown: {echo}\r\n{}connection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        elsewhere.unwrap_or_default(),
        body.len()
    );
    // A caller that has gone away is no failure of the remote.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn read(head: &str) -> Raw {
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    Raw { method, target, headers, ..Raw::default() }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
