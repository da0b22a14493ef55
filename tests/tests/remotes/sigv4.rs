//! Requests that are signed with AWS Signature Version 4.

use std::sync::Arc;

use crossdock_tests::{
    signatures::AwsAccount,
    verifier::{Raw, Verifier},
};
use http::Request;
use serde_json::json;

use super::{Setting, asked, crossdock, in_no_file, outlet, outlet_with, sent};

const SECRET: &str = "wJ4lrXUtn/canary+aws-one";
const OTHER: &str = "wJ4lrXUtn/canary+aws-two";
const SESSION: &str = "session/canary+aws==";

fn account(service: &str, secret: &str, session: Option<&str>) -> AwsAccount {
    AwsAccount {
        access_key_id: "AKIDTESTS".to_owned(),
        secret_access_key: secret.to_owned(),
        session_token: session.map(str::to_owned),
        region: "eu-west-1".to_owned(),
        service: service.to_owned(),
    }
}

fn verified(account: AwsAccount) -> impl Fn(&Raw) -> Result<(), String> + Send + Sync {
    move |raw| account.verify(raw)
}

fn auth(service: &str, secret: &str, session: Option<&str>) -> String {
    let session = session.map_or_else(String::new, |session| format!(", session_token = \"{session}\""));
    format!(
        "auth = {{ scheme = \"aws-sigv4\", region = \"eu-west-1\", service = \"{service}\", access_key_id = \"AKIDTESTS\", \
         secret_access_key = \"{secret}\"{session} }}"
    )
}

/// The signature of a request.
fn signature(raw: &Raw) -> String {
    raw.header("authorization").rsplit('=').next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugins_requests_are_signed_its_secrets_are_rotated_and_no_echo_comes_back() {
    let remote = Verifier::start(None, verified(account("execute-api", SECRET, Some(SESSION)))).await;
    let setting = Setting::new();
    let (secret, session) = (setting.secret("secret", SECRET), setting.secret("session", SESSION));
    setting.configure(&remote.url, &auth("execute-api", &secret, Some(&session)));
    let hub = setting.hub();
    let done = asked(&hub, "r1").await;
    assert_eq!(done["state"], "completed", "{done:#}");
    assert!(crossdock(&hub, &["connection", "test", "wms"], "").done().contains("credentials"));
    // Another key is taken from the next request on.
    remote.check(verified(account("execute-api", OTHER, Some(SESSION))));
    let parked = asked(&hub, "r2").await;
    assert_eq!(parked["state"], "parked", "{parked:#}");
    setting.secret("secret", OTHER);
    let again = asked(&hub, "r3").await;
    assert_eq!(again["state"], "completed", "{again:#}");
    for answer in [&done, &parked, &again] {
        let text = answer.to_string();
        assert!(text.contains("[redacted]"), "the echo was there to be taken out: {text}");
    }
    // A session's token is as secret, and rotated in a place of its own, to what the remote takes.
    for (name, value) in [("next", "session/canary+new=="), ("wrong", "session/canary+wrong==")] {
        crossdock(&hub, &["secret", "set", name, "--reason", "x"], value).done();
    }
    remote.check(verified(account("execute-api", OTHER, Some("session/canary+new=="))));
    let rotate = |to: &str| {
        let place = ["--place", "auth.session_token", "--reason", "x"];
        crossdock(&hub, &[&["connection", "rotate", "wms", "--to", to], &place[..]].concat(), "")
    };
    let refused = rotate("store:wrong");
    assert!(refused.code == Some(1) && refused.err.contains("everything stays as it is"), "{}", refused.err);
    rotate("store:next").done();
    assert_eq!(asked(&hub, "r4").await["state"], "completed");
    // What cannot be signed with is refused when it is configured.
    let connection = json!({
        "plugin": "crossdock/sandbox-warehouse", "base_url": remote.url, "allow_addresses": ["127.0.0.1/32"],
        "auth": { "scheme": "aws-sigv4", "region": "eu west", "service": "s3", "access_key_id": "AKIDTESTS",
            "secret_access_key": "store:next" },
    });
    let body = json!({ "do": "change", "connection": connection, "reason": "x" }).to_string();
    let (status, refused) = hub.post("/v1/connections/wms", &[("content-type", "application/json")], body).await;
    assert!(status == 422 && refused.to_string().contains("`auth.region`"), "{refused:#}");
    let (_, explained) = hub.get("/v1/audit/explain?key=r1").await;
    assert!(explained.to_string().contains("AWS signatures of `AKIDTESTS` (file:"), "{explained:#}");
    assert!(hub.stop());
    let signatures: Vec<String> = remote.seen().iter().map(|(raw, _)| signature(raw)).collect();
    assert!(signatures.len() >= 5 && signatures.iter().all(|one| one.len() == 64), "{signatures:?}");
    let mut canaries = vec![SECRET, OTHER, SESSION, "session/canary+new==", "session/canary+wrong=="];
    canaries.extend(signatures.iter().map(String::as_str));
    in_no_file(&setting.at("data"), &canaries);
}

#[tokio::test]
async fn every_shape_of_a_request_is_signed_as_the_remote_reads_it() {
    let setting = Setting::new();
    let secret = setting.secret("secret", SECRET);
    for service in ["execute-api", "s3"] {
        let remote = Verifier::start(None, verified(account(service, SECRET, None))).await;
        let egress = outlet(&remote.url, &auth(service, &secret, None));
        let paths = ["/", "/orders", "/a//b/./c/../d/", "/x%20y/%E1%88%B4", "/a+b$c!d'e(f)*g;h=i", "/%2F%2f/~_-."];
        let queries = ["", "?", "?b=2&a=1&a=0", "?x", "?x=%2F&y=a+b&z=%20", "?q=a=b&&%C3%BC=%c3%bc", "?A=1&a=2&a-b=3"];
        for (path, query) in paths.iter().flat_map(|path| queries.map(|query| (path, query))) {
            let url = format!("{}{path}{query}", remote.url);
            let (status, said) = sent(&*egress, Request::get(&url).body("".into()).unwrap()).await;
            assert_eq!(status, 200, "{service} {url}: {said}");
        }
        for (kind, body) in [("application/json", "{\"a\":1}"), ("application/x-www-form-urlencoded", "a=1&b=%20")] {
            let request = Request::post(format!("{}/orders?x=1", remote.url))
                .header("content-type", kind)
                .header("x-amz-target", "  Orders   v1 ")
                .header("x-amz-meta", "one")
                .header("x-amz-meta", "two")
                .header("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
                .body(body.into());
            let (status, said) = sent(&*egress, request.unwrap()).await;
            assert_eq!(status, 200, "{service} {kind}: {said}");
        }
    }
    // The counterpart can refuse: another key, another region, another body.
    let secret = setting.secret("secret", OTHER);
    let remote = Verifier::start(None, verified(account("execute-api", SECRET, None))).await;
    let egress = outlet(&remote.url, &auth("execute-api", &secret, None));
    let (status, said) = sent(&*egress, Request::get(&remote.url).body("".into()).unwrap()).await;
    assert!(status == 401 && said.contains("the signature is wrong"), "{said}");
    let (mut raw, _) = remote.seen().remove(0);
    assert!(account("execute-api", OTHER, None).verify(&raw).is_ok());
    assert!(account("s3", OTHER, None).verify(&raw).is_err());
    raw.body = b"other".to_vec();
    assert_eq!(account("execute-api", OTHER, None).verify(&raw).unwrap_err(), "another body");
}

#[tokio::test]
async fn a_signature_goes_where_the_grant_says_and_not_to_another_host_after_a_redirect() {
    let setting = Setting::new();
    let (secret, session) = (setting.secret("secret", SECRET), setting.secret("session", SESSION));
    let home = Arc::new(Verifier::start(None, verified(account("s3", SECRET, Some(SESSION)))).await);
    let other = Verifier::start(None, |_| Ok(())).await;
    let auth = auth("s3", &secret, Some(&session));
    let egress = outlet_with(&home.url, &auth, &[(&home.url, true), (&other.url, true)]);
    // Within the host each request is signed anew, as its remote verifies.
    let url = format!("{}/to?{}/stock?sku=a", home.url, home.url);
    let (status, said) = sent(&*egress, Request::get(url).body("".into()).unwrap()).await;
    assert_eq!(status, 200, "{said}");
    let seen = home.seen();
    assert!(seen.len() == 2 && seen.iter().all(|(_, verdict)| verdict.is_ok()), "{seen:?}");
    assert_ne!(signature(&seen[0].0), signature(&seen[1].0));
    let url = format!("{}/to?{}/stock?sku=a", home.url, other.url);
    let (status, said) = sent(&*egress, Request::get(url).body("".into()).unwrap()).await;
    assert_eq!(status, 200, "{said}");
    let bare = outlet_with(&home.url, &auth, &[(&home.url, false), (&other.url, false)]);
    sent(&*bare, Request::get(&other.url).body("".into()).unwrap()).await;
    let (status, said) = sent(&*bare, Request::get(&home.url).body("".into()).unwrap()).await;
    assert!(status == 401 && said.contains("it is not signed"), "{said}");
    assert_eq!(other.seen().len(), 2);
    for (raw, _) in other.seen() {
        let shown: Vec<&str> = raw.headers.iter().map(|(name, _)| &**name).collect();
        assert!(!shown.iter().any(|name| *name == "authorization" || name.starts_with("x-amz-")), "{shown:?}");
    }
}
