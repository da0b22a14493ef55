//! A remote that does as it is told: it answers as the sandbox warehouse's `/stock` does, fails, or waits to be told. It
//! writes down when each request came.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// A request that came.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When.
    pub at: Instant,
    /// The article that it asked for.
    pub sku: String,
}

/// The remote. Its tasks end with the runtime of the test.
pub struct Remote {
    /// Its base URL.
    pub url: String,
    state: Arc<State>,
}

struct State {
    arrivals: Mutex<Vec<Arrival>>,
    /// What the next requests are answered with instead: whole heads of answers.
    failures: Mutex<VecDeque<String>>,
    /// Whether it answers at all.
    open: watch::Sender<bool>,
}

impl Remote {
    /// Starts one that answers.
    ///
    /// # Panics
    /// If no port can be bound.
    #[allow(clippy::panic, reason = "a test without its counterpart has failed, and must say why")]
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap_or_else(|error| panic!("{error}"));
        let url = listener.local_addr().map_or_else(|error| panic!("{error}"), |address| format!("http://{address}"));
        let state =
            Arc::new(State { arrivals: Mutex::default(), failures: Mutex::default(), open: watch::Sender::new(true) });
        let serving = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&serving)));
            }
        });
        Self { url, state }
    }

    /// Stops answering: requests come in, and wait.
    pub fn hang(&self) {
        self.state.open.send_replace(false);
    }

    /// Answers those that wait, and all from now on.
    pub fn go_on(&self) {
        self.state.open.send_replace(true);
    }

    /// The next requests get 503, each with this `Retry-After`, seconds.
    pub fn fail(&self, times: usize, retry_after_s: u32) {
        let head = format!("503 Service Unavailable\r\nretry-after: {retry_after_s}");
        lock(&self.state.failures).extend(std::iter::repeat_n(head, times));
    }

    /// Every request that came, in order.
    #[must_use]
    pub fn arrivals(&self) -> Vec<Arrival> {
        lock(&self.state.arrivals).clone()
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
    let sku = head.split("sku=").nth(1).and_then(|rest| rest.split([' ', '&']).next()).unwrap_or_default().to_owned();
    lock(&state.arrivals).push(Arrival { at: Instant::now(), sku: sku.clone() });
    let failure = lock(&state.failures).pop_front();
    let mut open = state.open.subscribe();
    if open.wait_for(|open| *open).await.is_err() {
        return;
    }
    let body = format!(r#"{{"nodes":[{{"node":"n","name":"N","stock":[{{"sku":"{sku}","available":1}}]}}]}}"#);
    let answer = match failure {
        Some(head) => format!("HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"),
        None => format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ),
    };
    // A caller that has gone away is no failure of the remote.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
