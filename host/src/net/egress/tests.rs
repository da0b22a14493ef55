//! The gateway against real servers on loopback.

mod mutual_tls;
mod tls;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    extract::Request as Received,
    response::{IntoResponse as _, Response as Answer},
    routing::any,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{EgressScope, Gateway};
use crate::{
    model::{
        auth::{Auth, ClientAuthentication},
        connection::{Connection, SecretRef},
        json::Json,
        manifest::HttpCapability,
        timestamp::Timestamp,
    },
    ports::{
        clock::Clock,
        egress::{Egress, EgressError},
        secrets::{Secret, SecretError, Secrets},
    },
};

const PASSWORD: &str = "hush-hush";

struct Vault;

impl Secrets for Vault {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        match reference {
            SecretRef::Env(name) if name == "PASSWORD" => Ok(Secret::new(PASSWORD)),
            _ => Err(SecretError { reference: reference.to_string(), problem: "set it".into() }),
        }
    }
}

#[derive(Default)]
struct Hands(AtomicI64);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + self.0.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, _: Timestamp) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// A remote; answers what the function says.
async fn remote<F>(answer: F) -> String
where
    F: Fn(Received) -> Answer + Clone + Send + Sync + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(any(move |request: Received| {
        let answer = answer(request);
        async move { answer }
    }));
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

/// A remote that reads one request's first bytes, writes the text and closes.
async fn raw_remote(text: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 1024];
            let read = stream.read(&mut head).await;
            assert!(read.is_ok());
            stream.write_all(text.as_bytes()).await.unwrap();
        }
    });
    url
}

fn connection(base_url: &str) -> Connection {
    Connection {
        plugin: "acme/erp".parse().unwrap(),
        base_url: base_url.into(),
        config: Json::empty_object(),
        auth: Auth::None,
        client_certificate: None,
        authorities: None,
        secrets: BTreeMap::new(),
        allow_addresses: vec!["127.0.0.1".into()],
        timeout_ms: 2_000,
        response_bytes_limit: 1024,
        limits: Default::default(),
    }
}

fn basic(base_url: &str) -> Connection {
    let auth = Auth::Basic { user: "hub".into(), password: SecretRef::Env("PASSWORD".into()) };
    Connection { auth, ..connection(base_url) }
}

fn capability(origin: &str, authenticate: bool) -> HttpCapability {
    HttpCapability {
        origin: origin.into(),
        methods: vec!["GET".into(), "POST".into()],
        reason: "test".into(),
        authenticate,
    }
}

fn scope(connection: Connection, capabilities: Vec<HttpCapability>) -> EgressScope {
    EgressScope {
        connection_name: "erp".into(),
        connection,
        capabilities,
        read_methods: Vec::new(),
        revision: 1,
        secret_versions: Vec::new(),
        secrets: Arc::new(Vault),
        clock: Arc::new(Hands::default()),
    }
}

fn open(connection: Connection) -> Arc<dyn Egress> {
    Gateway::new().unwrap().open(scope(connection, vec![capability("${connection.base_url}", true)]))
}

fn get(url: &str) -> Request<Bytes> {
    Request::get(url).body(Bytes::new()).unwrap()
}

async fn text(egress: &dyn Egress, request: Request<Bytes>) -> String {
    String::from_utf8(egress.send(request, false).await.unwrap().into_body().to_vec()).unwrap()
}

#[track_caller]
fn assert_refused(result: Result<Response<Bytes>, EgressError>, part: &str) {
    match result {
        Err(EgressError::Refused { reason }) => assert!(reason.contains(part), "{reason}"),
        other => panic!("{other:?}"),
    }
}

fn seen(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map_or_else(|| "-".to_owned(), |value| value.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_granted_request_is_sent_and_authenticated() {
    let url = remote(|request| seen(request.headers(), "authorization").into_response()).await;
    // The secret's echo is redacted; that it was there is seen from the length.
    assert_eq!(text(&*open(basic(&url)), get(&url)).await, "Basic [redacted]");
    let bare = Gateway::new().unwrap().open(scope(basic(&url), vec![capability(&url, false)]));
    assert_eq!(text(&*bare, get(&url)).await, "-");
}

#[tokio::test]
async fn a_host_that_is_not_granted_is_refused_and_told_how_to_grant() {
    let url = remote(|_| "reached".into_response()).await;
    let egress = open(connection("https://erp.example"));
    assert_refused(egress.send(get(&url), false).await, &format!("`origin = \"{url}\"`"));
}

#[tokio::test]
async fn a_read_cannot_post() {
    let url = remote(|_| "reached".into_response()).await;
    let request = Request::post(&url).body(Bytes::new()).unwrap();
    assert_refused(open(connection(&url)).send(request, true).await, "read_methods = [\"POST\"]");
}

#[tokio::test]
async fn a_private_address_is_refused_without_a_word_from_the_operator() {
    let url = remote(|_| "reached".into_response()).await;
    let closed = Connection { allow_addresses: Vec::new(), ..connection(&url) };
    assert_refused(open(closed).send(get(&url), false).await, "add `allow_addresses = [\"127.0.0.1/32\"]`");
    let by_name = url.replace("127.0.0.1", "localhost");
    let closed = Connection { allow_addresses: Vec::new(), ..connection(&by_name) };
    assert_refused(open(closed).send(get(&by_name), false).await, "is a loopback address");
    // The resolver reads this as 127.0.0.1.
    let as_number = url.replace("127.0.0.1", "2130706433");
    let closed = Connection { allow_addresses: Vec::new(), ..connection(&as_number) };
    assert_refused(open(closed).send(get(&as_number), false).await, "is a loopback address");
    let broken = Connection { allow_addresses: vec!["home".into()], ..connection(&url) };
    assert_refused(open(broken).send(get(&url), false).await, "`home` is not a block of addresses");
}

#[tokio::test]
async fn a_redirect_to_what_is_not_granted_is_refused() {
    let other = remote(|_| "reached".into_response()).await;
    let target = other.clone();
    let url = remote(move |_| (StatusCode::FOUND, [("location", target.clone())]).into_response()).await;
    assert_refused(open(connection(&url)).send(get(&url), false).await, &format!("(redirected from `{url}`)"));
    let both = vec![capability(&url, true), capability(&other, true)];
    let egress = Gateway::new().unwrap().open(scope(connection(&url), both));
    assert_eq!(text(&*egress, get(&url)).await, "reached");
}

#[tokio::test]
async fn a_redirect_to_the_metadata_address_is_refused_even_where_the_origin_is_granted() {
    let metadata = "http://169.254.169.254";
    let url = remote(move |_| (StatusCode::FOUND, [("location", format!("{metadata}/latest"))]).into_response()).await;
    let egress = Gateway::new()
        .unwrap()
        .open(scope(connection(&url), vec![capability(&url, true), capability(metadata, false)]));
    assert_refused(egress.send(get(&url), false).await, "a cloud metadata address");
}

#[tokio::test]
async fn redirects_are_followed_at_most_five_times() {
    let hits = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&hits);
    let url = remote(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        (StatusCode::FOUND, [("location", "/again")]).into_response()
    })
    .await;
    assert_refused(open(connection(&url)).send(get(&url), false).await, "more than 5 redirects");
    assert_eq!(hits.load(Ordering::SeqCst), 6);
}

#[tokio::test]
async fn credentials_never_follow_to_another_origin() {
    let other = remote(|request| {
        let headers = request.headers();
        format!("{} {} {}", seen(headers, "authorization"), seen(headers, "cookie"), seen(headers, "x-key"))
            .into_response()
    })
    .await;
    let target = other.clone();
    let url = remote(move |request| {
        assert!(request.headers().contains_key("authorization"));
        (StatusCode::FOUND, [("location", target.clone()), ("set-cookie", "sid=1".to_owned())]).into_response()
    })
    .await;
    let both = vec![capability(&url, true), capability(&other, true)];
    let egress = Gateway::new().unwrap().open(scope(basic(&url), both));
    let request = Request::get(&url).header("x-key", "guest").body(Bytes::new()).unwrap();
    assert_eq!(text(&*egress, request).await, "- - -");
}

#[tokio::test]
async fn credentials_are_not_sent_in_clear_text_to_where_others_may_read() {
    let public = Connection { allow_addresses: Vec::new(), ..basic("http://1.1.1.1") };
    assert_refused(open(public).send(get("http://1.1.1.1/"), false).await, "not sent in clear text");
}

#[tokio::test]
async fn what_only_the_host_may_say_is_taken_from_the_guest() {
    let url = remote(|request| {
        let names = ["authorization", "cookie", "host", "x-hop", "user-agent", "proxy-authorization", "x-own"];
        let found: Vec<_> = names.iter().map(|name| seen(request.headers(), name)).collect();
        ([("set-cookie", "sid=7; Path=/")], found.join("|")).into_response()
    })
    .await;
    let egress = open(connection(&url));
    let request = || {
        Request::get(&url)
            .header("authorization", "Bearer stolen")
            .header("cookie", "a=b")
            .header("host", "evil.example")
            .header("connection", "x-hop")
            .header("x-hop", "1")
            .header("user-agent", "guest")
            .header("proxy-authorization", "x")
            .header("x-own", "kept")
            .body(Bytes::new())
            .unwrap()
    };
    let host = url.trim_start_matches("http://");
    let agent = concat!("crossdock/", env!("CARGO_PKG_VERSION"));
    let answer = egress.send(request(), false).await.unwrap();
    assert_eq!(answer.headers().get("set-cookie"), None);
    assert_eq!(answer.body(), format!("-|-|{host}|-|{agent}|-|kept").as_bytes());
    // The session goes on without the guest, but not for another outlet.
    assert_eq!(text(&*egress, request()).await, format!("-|sid=7|{host}|-|{agent}|-|kept"));
    assert_eq!(text(&*open(connection(&url)), request()).await, format!("-|-|{host}|-|{agent}|-|kept"));
}

#[tokio::test]
async fn sizes_are_bounded_both_ways() {
    let url = remote(|_| "x".repeat(1025).into_response()).await;
    let too_large = |what, limit_bytes| Err(EgressError::TooLarge { what, limit_bytes });
    let egress = open(connection(&url));
    assert_eq!(egress.send(get(&url), false).await.map(|_| ()), too_large("response body", 1024));
    let request = Request::post(&url).body(Bytes::from(vec![b'x'; (1 << 20) + 1])).unwrap();
    assert_eq!(egress.send(request, false).await.map(|_| ()), too_large("request body", 1 << 20));
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_a_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let egress = open(Connection { timeout_ms: 200, ..connection(&url) });
    let result = egress.send(get(&url), false).await;
    assert_eq!(result.map(|_| ()), Err(EgressError::Timeout { limit_ms: 200 }));
    drop(listener);
}

#[tokio::test]
async fn what_may_have_arrived_is_told_apart_from_what_was_never_sent() {
    for cut in ["", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", "nonsense\r\n\r\n"] {
        let url = raw_remote(cut).await;
        let result = open(connection(&url)).send(get(&url), false).await;
        assert!(matches!(result, Err(EgressError::Broken { .. })), "{cut:?}: {result:?}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for url in [url.clone(), url.replace("http:", "https:"), "http://no-such-host.invalid".to_owned()] {
        let result = open(connection(&url)).send(get(&url), false).await;
        assert!(matches!(result, Err(EgressError::Connect { .. })), "{url}: {result:?}");
    }
    // The write was done; only its redirect leads nowhere.
    let target = url.clone();
    let first = remote(move |_| (StatusCode::SEE_OTHER, [("location", target.clone())]).into_response()).await;
    let post = || Request::post(&first).body(Bytes::new()).unwrap();
    for granted in [vec![capability(&first, false), capability(&url, false)], vec![capability(&first, false)]] {
        let egress = Gateway::new().unwrap().open(scope(connection(&first), granted));
        let result = egress.send(post(), false).await;
        assert!(matches!(result, Err(EgressError::Broken { .. })), "{result:?}");
    }
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_sends_nothing() {
    let url = remote(|_| "reached".into_response()).await;
    let auth = Auth::Bearer { token: SecretRef::Env("ABSENT".into()) };
    let result = open(Connection { auth, ..connection(&url) }).send(get(&url), false).await;
    let reason = "secret `env:ABSENT` cannot be read: set it".to_owned();
    assert_eq!(result.map(|_| ()), Err(EgressError::Authentication { reason }));
}

#[tokio::test]
async fn tokens_are_fetched_once_renewed_in_time_and_after_a_refusal() {
    let issued = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&issued);
    let tokens = remote(move |request| {
        let expected =
            format!("Basic {}", base64::Engine::encode(&base64::prelude::BASE64_STANDARD, "hub%2F1:hush-hush"));
        assert_eq!(seen(request.headers(), "authorization"), expected);
        let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
        let body = format!(r#"{{"access_token":"token-{number}","token_type":"Bearer","expires_in":100}}"#);
        ([("content-type", "application/json")], body).into_response()
    })
    .await;
    let revoked = Arc::new(AtomicUsize::new(0));
    let floor = Arc::clone(&revoked);
    let url = remote(move |request| {
        let token = seen(request.headers(), "authorization");
        let number: usize = token.trim_start_matches("Bearer token-").parse().unwrap();
        if number <= floor.load(Ordering::SeqCst) {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        format!("{number} {token}").into_response()
    })
    .await;
    let auth = Auth::OAuth2ClientCredentials {
        token_url: format!("{tokens}/token"),
        client_id: "hub/1".into(),
        client_secret: SecretRef::Env("PASSWORD".into()),
        scope: Some("orders".into()),
        client_authentication: ClientAuthentication::Basic,
    };
    let clock = Arc::new(Hands::default());
    let scope = EgressScope {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        ..scope(Connection { auth, ..connection(&url) }, vec![capability(&url, true)])
    };
    let gateway = Gateway::new().unwrap();
    let (egress, other) = (gateway.open(scope.clone()), gateway.open(scope));
    assert_eq!(text(&*egress, get(&url)).await, "1 Bearer [redacted]");
    // Another operation of the connection shares it.
    assert_eq!(text(&*other, get(&url)).await, "1 Bearer [redacted]");
    clock.0.store(89_000, Ordering::SeqCst);
    assert_eq!(text(&*egress, get(&url)).await, "1 Bearer [redacted]");
    clock.0.store(90_000, Ordering::SeqCst);
    assert_eq!(text(&*egress, get(&url)).await, "2 Bearer [redacted]");
    revoked.store(2, Ordering::SeqCst);
    assert_eq!(text(&*egress, get(&url)).await, "3 Bearer [redacted]");
    // A remote that takes no token at all is asked twice, not for ever.
    revoked.store(99, Ordering::SeqCst);
    assert_eq!(egress.send(get(&url), false).await.unwrap().status(), 401);
    assert_eq!(issued.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_token_endpoint_that_refuses_is_a_failed_authentication_and_one_that_is_down_is_not() {
    let url = remote(|_| "reached".into_response()).await;
    for (status, body, expected) in [
        (400, r#"{"error":"invalid_client","error_description":"hush-hush"}"#, "400 Bad Request `invalid_client`"),
        (200, "{}", "something else than a token"),
        (200, r#"{"access_token":"x","token_type":"mac"}"#, "not of type `Bearer`"),
    ] {
        let tokens = remote(move |_| (StatusCode::from_u16(status).unwrap(), body).into_response()).await;
        match open(oauth(&url, &tokens)).send(get(&url), false).await {
            Err(EgressError::Authentication { reason }) => {
                assert!(reason.contains(expected) && !reason.contains(PASSWORD), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
    let tokens = remote(|_| StatusCode::SERVICE_UNAVAILABLE.into_response()).await;
    let result = open(oauth(&url, &tokens)).send(get(&url), false).await;
    assert!(matches!(result, Err(EgressError::Connect { .. })), "{result:?}");
    let result = open(oauth(&url, "http://169.254.169.254")).send(get(&url), false).await;
    assert!(
        matches!(&result, Err(EgressError::Authentication { reason }) if reason.contains("metadata")),
        "{result:?}"
    );
}

fn oauth(url: &str, token_url: &str) -> Connection {
    let auth = Auth::OAuth2ClientCredentials {
        token_url: token_url.into(),
        client_id: "hub".into(),
        client_secret: SecretRef::Env("PASSWORD".into()),
        scope: None,
        client_authentication: ClientAuthentication::Basic,
    };
    Connection { auth, ..connection(url) }
}

#[tokio::test]
async fn an_echo_of_the_secret_is_redacted_in_headers_and_body() {
    let url = remote(|request| {
        let given = seen(request.headers(), "authorization");
        ([("x-echo", given.clone())], format!("you sent {given}, which is {PASSWORD}")).into_response()
    })
    .await;
    let answer = open(basic(&url)).send(get(&url), false).await.unwrap();
    assert_eq!(answer.headers()["x-echo"], "Basic [redacted]");
    assert_eq!(answer.body(), &b"you sent Basic [redacted], which is [redacted]"[..]);
}

#[tokio::test]
async fn outlets_of_a_revision_share_a_lane_and_another_revision_does_not() {
    let gateway = Gateway::new().unwrap();
    let of = |revision| EgressScope { revision, ..scope(connection("http://erp.example"), Vec::new()) };
    let (one, same, next) = (gateway.lane(of(1)), gateway.lane(of(1)), gateway.lane(of(2)));
    assert!(Arc::ptr_eq(&one, &same));
    assert!(!Arc::ptr_eq(&one, &next));
    drop((one, same));
    drop(gateway.lane(of(3)));
    assert_eq!(gateway.lanes.lock().unwrap().keys().filter(|(_, revision, _)| *revision == 1).count(), 0);
}

#[test]
fn a_file_without_certificates_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("roots.pem");
    std::fs::write(&path, "nothing").unwrap();
    let error = Gateway::with_roots(&path).err().unwrap().to_string();
    assert!(error.contains("roots.pem") && error.contains("no certificate"), "{error}");
    assert!(Gateway::with_roots(&folder.path().join("absent.pem")).is_err());
}
