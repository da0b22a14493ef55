//! An HTTP/1.1 client as small as it can be: one connection per request, the answer read until the server closes.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub(super) struct Wire(SocketAddr);

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    /// Null if it is not JSON.
    pub(super) body: Value,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Wire {
    pub(super) const fn new(address: SocketAddr) -> Self {
        Self(address)
    }

    pub(super) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.request("GET", path, headers, "").await.unwrap()
    }

    /// The answer; none if the connection ended without a byte of one.
    pub(super) async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Option<Reply> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.0);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        let stream = TcpStream::connect(self.0).await.unwrap();
        let (mut from, mut to) = stream.into_split();
        // Beside the reading: a server that refuses a large body answers before it has all of it.
        let request = [head.as_bytes(), body.as_bytes()].concat();
        let writing = tokio::spawn(async move {
            let _ = to.write_all(&request).await;
            to
        });
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes).await;
        drop(writing.await);
        parse(&bytes)
    }
}

fn parse(bytes: &[u8]) -> Option<Reply> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(k, v)| (k.to_lowercase(), v.to_owned()));
    Some(Reply { status, headers: headers.collect(), body: serde_json::from_str(body).unwrap_or(Value::Null) })
}
