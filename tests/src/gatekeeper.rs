//! A remote that lets in whoever shows one of its tokens, answers as the sandbox warehouse's `/stock` does, and repeats in
//! headers and bodies what it was shown, as careless remotes do.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// The remote. Its tasks end with the runtime of the test.
pub struct Gatekeeper {
    /// Its base URL.
    pub url: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    takes: Mutex<BTreeSet<String>>,
    shown: Mutex<Vec<(String, String)>>,
}

impl Gatekeeper {
    /// Starts one that takes a token.
    ///
    /// # Panics
    /// If no port can be bound.
    #[allow(clippy::panic, reason = "a test without its counterpart has failed, and must say why")]
    pub async fn start(token: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap_or_else(|error| panic!("{error}"));
        let url = listener.local_addr().map_or_else(|error| panic!("{error}"), |address| format!("http://{address}"));
        let state = Arc::new(State::default());
        lock(&state.takes).insert(token.to_owned());
        let serving = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&serving)));
            }
        });
        Self { url, state }
    }

    /// Takes these tokens, and no others.
    pub fn take(&self, tokens: &[&str]) {
        *lock(&self.state.takes) = tokens.iter().map(|token| (*token).to_owned()).collect();
    }

    /// What was asked for, and the token that was shown with it, in order.
    #[must_use]
    pub fn shown(&self) -> Vec<(String, String)> {
        lock(&self.state.shown).clone()
    }

    /// The token that was shown last.
    #[must_use]
    pub fn last(&self) -> String {
        self.shown().last().map(|(_, token)| token.clone()).unwrap_or_default()
    }
}

async fn serve(mut stream: TcpStream, state: Arc<State>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let sku = path.split("sku=").nth(1).and_then(|rest| rest.split('&').next()).unwrap_or_default().to_owned();
    let token = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization").then(|| value.trim_start_matches("Bearer ").to_owned())
    });
    let token = token.unwrap_or_default();
    lock(&state.shown).push((path, token.clone()));
    let (status, body) = if lock(&state.takes).contains(&token) {
        let node = format!(r#"{{"node":"n","name":"{token}","stock":[{{"sku":"{sku}","available":1}}]}}"#);
        ("200 OK", format!(r#"{{"nodes":[{node}]}}"#))
    } else {
        let message = format!("`{token}` is not a token of mine");
        ("401 Unauthorized", format!(r#"{{"error":{{"code":"unauthorized","message":"{message}"}}}}"#))
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nx-shown: {token}\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    // A caller that has gone away is no failure of the remote.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
