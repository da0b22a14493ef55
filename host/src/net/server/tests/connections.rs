//! How connections begin, what bounds them, and how they end.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout},
};

use super::{Fake, Options, STRUCTURED, json, order, start, start_with};
use crate::net::server::{ServeError, Transport, listen};

/// Sends bytes and reads until the server closes.
async fn raw(url: &str, text: &str) -> String {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the server keeps the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn only_loopback_is_listened_on() {
    for address in ["0.0.0.0:0", "[::]:0", "192.168.1.1:0"] {
        let address: SocketAddr = address.parse().unwrap();
        let error = listen(address, &Transport::Plain).await.unwrap_err();
        assert!(matches!(error, ServeError::Unprotected { .. }));
        assert!(error.to_string().contains("127.0.0.1"), "{error}");
    }
    let taken = listen("127.0.0.1:0".parse().unwrap(), &Transport::Plain).await.unwrap();
    let error = listen(taken.local_addr().unwrap(), &Transport::Plain).await.unwrap_err();
    assert!(error.to_string().contains("is another hub running there?"), "{error}");
}

#[tokio::test]
async fn slow_heads_and_bodies_are_cut_off() {
    let short = Duration::from_millis(100);
    let options = Options { head_timeout: short, body_timeout: short, ..Options::default() };
    let served = start_with(Fake::default(), options).await;
    raw(&served.url, "POST /v1/events HTTP/1.1\r\nhost: local").await;
    let head = "POST /v1/events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";
    let body = "content-type: application/cloudevents+json\r\ncontent-length: 10\r\n\r\n{";
    let answer = raw(&served.url, &format!("{head}{body}")).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("body.timeout"), "{answer}");
}

#[tokio::test]
async fn long_heads_are_refused() {
    let served = start().await;
    let many = "x: y\r\n".repeat(101);
    let answer = raw(&served.url, &format!("GET /health/live HTTP/1.1\r\nhost: localhost\r\n{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let long = "x".repeat(64 << 10);
    let answer = raw(&served.url, &format!("GET /health/live HTTP/1.1\r\nhost: localhost\r\nx: {long}\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn two_host_names_and_none_are_refused() {
    let served = start().await;
    for heads in ["", "host: localhost\r\nhost: localhost\r\n"] {
        let answer = raw(&served.url, &format!("GET /health/live HTTP/1.1\r\n{heads}connection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
    }
    let answer = raw(
        &served.url,
        "GET http://evil.example/health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
}

#[tokio::test]
async fn work_that_takes_too_long_is_told_so() {
    let options = Options { request_timeout: Duration::from_millis(50), ..Options::default() };
    let served = start_with(Fake::default(), options).await;
    let response = served.event(&order("slow")).await;
    assert_eq!((response.status().as_u16(), json(&response)["code"].clone()), (503, "request.timeout".into()));
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_their_turn() {
    let served = start_with(Fake::default(), Options { connections_max: 1, ..Options::default() }).await;
    let first = TcpStream::connect(served.url.trim_start_matches("http://")).await.unwrap();
    let waiting = timeout(Duration::from_millis(200), served.get("/health/live")).await;
    assert!(waiting.is_err(), "a second connection was served beside the first");
    drop(first);
    assert_eq!(served.get("/health/live").await.status(), 200);
}

#[tokio::test]
async fn a_stop_lets_requests_in_flight_end_and_ends_streams() {
    let mut served = start_with(Fake { endless: true, ..Fake::default() }, Options::default()).await;
    let id = json(&served.event(&order("1")).await)["events"][0]["runs"][0]["id"].as_str().unwrap().to_owned();
    let (stop, ended) = (served.stop.take().unwrap(), served.ended.take().unwrap());
    let in_flight = served.post("/v1/events", &STRUCTURED, order("slow").to_string());
    let path = format!("/v1/runs/{id}/stream");
    let streaming = served.get(&path);
    let stopping = async {
        // Both have reached the server once the hub has seen neither end.
        let _ = timeout(Duration::from_millis(100), std::future::pending::<()>()).await;
        stop.send(()).unwrap();
    };
    let began = Instant::now();
    let (event, stream, ()) = tokio::join!(in_flight, streaming, stopping);
    assert_eq!(event.status(), 202);
    assert!(String::from_utf8_lossy(stream.body()).contains("event: run"));
    ended.await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(TcpStream::connect(served.url.trim_start_matches("http://")).await.is_err(), "it still listens");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let options = Options { drain_timeout: Duration::from_millis(100), ..Options::default() };
    let mut served = start_with(Fake::default(), options).await;
    let mut stream = TcpStream::connect(served.url.trim_start_matches("http://")).await.unwrap();
    stream
        .write_all(b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/cloudevents+json\r\ncontent-length: 9\r\n\r\n{")
        .await
        .unwrap();
    assert_eq!(served.get("/health/live").await.status(), 200);
    served.stop.take().unwrap().send(()).unwrap();
    let ended = timeout(Duration::from_secs(3), served.ended.take().unwrap()).await;
    ended.expect("it stops").unwrap().unwrap();
}
