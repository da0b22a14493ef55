//! That an answer which goes on ends with the token that it was asked for with.

use super::*;

const PIPELINE: &str = r#"
pipeline: test/slow
version: 1.0.0
owner: test
summary: Waits to be told.
trigger:
  - event: test.order.v1
key: event.subject
steps:
  - id: told
    wait: { event: test.told.v1, match: signal.subject == event.subject, within: 1d }
"#;

/// A run's stream, as it comes.
struct Streamed(TcpStream);

impl Streamed {
    /// Asks for a stream, and reads until the run is in it.
    fn begin(hub: &Hub, token: &str, run: &str) -> Self {
        let address = hub.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "GET /v1/runs/{run}/stream HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\nconnection: \
             close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut this = Self(stream);
        let said = this.until(|said| said.contains("event: run"));
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
        this
    }

    /// Reads until something is there, or nothing more comes.
    fn until(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let (mut said, mut part) = (String::new(), [0; 4096]);
        while !wanted(&said) {
            match self.0.read(&mut part).expect("the stream goes on, and ends") {
                0 => break,
                read => said.push_str(&String::from_utf8_lossy(&part[..read])),
            }
        }
        said
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_soon_after_its_token_is_revoked_and_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("slow.yaml"), PIPELINE).unwrap();
    let config = folder.path().join("hub.toml");
    fs::write(&config, "pipelines = [\"slow.yaml\"]\n").unwrap();
    let hub = Hub::start(BINARY, &folder.path().join("data"), Some(&config));
    let event = |kind: &str| {
        json!({"specversion": "1.0", "id": kind, "source": "/tests", "type": kind, "subject": "17", "data": {}})
            .to_string()
    };
    let (status, said) = hub.post("/v1/events", &[EVENT], event("test.order.v1")).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{said:#}");
    let runs = hub.runs_until("17", |runs| runs.len() == 1 && runs[0]["state"] == "waiting").await;
    let run = runs[0]["id"].as_str().unwrap().to_owned();
    let (token, issued) = make(&hub, "looks", json!({"roles": ["operator"]})).await;
    let (other, _) = make(&hub, "looks-too", json!({"roles": ["operator"]})).await;
    let mut stream = Streamed::begin(&hub, &token, &run);
    let mut others = Streamed::begin(&hub, &other, &run);

    let path = format!("/v1/tokens/{}/revoke", issued["id"].as_str().unwrap());
    let (status, said) = hub.post(&path, &JSON, r#"{"reason": "it leaked"}"#).await;
    assert_eq!(status, StatusCode::OK, "{said:#}");
    let rest = tokio::task::spawn_blocking(move || stream.until(|_| false)).await.unwrap();
    assert!(!rest.contains("completed"), "{rest}");
    let (status, said) = hub.post("/v1/events", &[EVENT], event("test.told.v1")).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{said:#}");
    let rest = tokio::task::spawn_blocking(move || others.until(|said| said.contains("completed"))).await.unwrap();
    assert!(rest.contains("completed"), "what nobody revoked goes on: {rest}");
    assert!(hub.stop());
}
