//! Requests that are signed with OAuth 1, as NetSuite and Magento want them.

use std::sync::{Arc, Mutex};

use crossdock_tests::{
    signatures::OAuth1Shop,
    verifier::{Raw, Verifier},
};
use http::Request;
use serde_json::json;

use super::{Setting, asked, crossdock, in_no_file, outlet, outlet_with, sent};

const CONSUMER: &str = "consumer&canary/oauth";
const TOKEN: &str = "token+canary oauth";
const OTHER: &str = "token+canary other";

fn shop(method: &'static str, token: Option<&str>) -> OAuth1Shop {
    OAuth1Shop {
        address: String::new(),
        method,
        consumer: ("ck/tests".to_owned(), CONSUMER.to_owned()),
        token: token.map(|secret| ("tk tests".to_owned(), secret.to_owned())),
        nonces: Mutex::default(),
    }
}

/// A remote that verifies as a shop does; the shop knows its own address only when it has one.
async fn remote(shop: OAuth1Shop) -> Verifier {
    let remote = Verifier::start(None, |_| Err("nobody".to_owned())).await;
    remote.check(verified(&remote, shop));
    remote
}

fn verified(remote: &Verifier, shop: OAuth1Shop) -> impl Fn(&Raw) -> Result<(), String> + Send + Sync + use<> {
    let shop = OAuth1Shop { address: remote.url.clone(), ..shop };
    move |raw| shop.verify(raw)
}

fn auth(setting: &Setting, method: &str, token: Option<&str>) -> String {
    let consumer = setting.secret("consumer", CONSUMER);
    let token = token.map_or_else(String::new, |secret| {
        format!(", token = \"tk tests\", token_secret = \"{}\"", setting.secret("token", secret))
    });
    format!(
        "auth = {{ scheme = \"oauth1\", signature_method = \"{method}\", consumer_key = \"ck/tests\", consumer_secret = \
         \"{consumer}\", realm = \"1234567_SB1\"{token} }}"
    )
}

/// The signature of a request, as it stands in its header.
fn signature(raw: &Raw) -> String {
    let value = raw.header("authorization").split("oauth_signature=\"").nth(1).unwrap_or_default();
    value.trim_end_matches('"').to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugins_requests_are_signed_its_secrets_are_rotated_and_no_echo_comes_back() {
    let remote = remote(shop("HMAC-SHA256", Some(TOKEN))).await;
    let setting = Setting::new();
    setting.configure(&remote.url, &auth(&setting, "hmac-sha256", Some(TOKEN)));
    let hub = setting.hub();
    let done = asked(&hub, "r1").await;
    assert_eq!(done["state"], "completed", "{done:#}");
    assert!(remote.seen()[0].0.header("authorization").starts_with("OAuth realm=\"1234567_SB1\", "));
    assert!(crossdock(&hub, &["connection", "test", "wms"], "").done().contains("credentials"));
    remote.check(verified(&remote, shop("HMAC-SHA256", Some(OTHER))));
    let parked = asked(&hub, "r2").await;
    assert_eq!(parked["state"], "parked", "{parked:#}");
    setting.secret("token", OTHER);
    let again = asked(&hub, "r3").await;
    assert_eq!(again["state"], "completed", "{again:#}");
    for answer in [&done, &parked, &again] {
        let text = answer.to_string();
        assert!(text.contains("[redacted]"), "the echo was there to be taken out: {text}");
    }
    crossdock(&hub, &["secret", "set", "token", "--reason", "x"], OTHER).done();
    let place = ["--place", "auth.token_secret", "--reason", "x"];
    let kept = crossdock(&hub, &[&["connection", "rotate", "wms", "--to", "store:token"], &place[..]].concat(), "");
    assert!(kept.done().contains("another secret in `auth.token_secret`"), "{}", kept.out);
    assert_eq!(asked(&hub, "r4").await["state"], "completed");
    // A secret that only signed is sent in clear by another scheme: that takes a second person.
    let change = |auth: serde_json::Value| {
        let connection = json!({
            "plugin": "crossdock/sandbox-warehouse", "base_url": remote.url, "allow_addresses": ["127.0.0.1/32"], "auth": auth,
        });
        let body = json!({ "do": "change", "connection": connection, "reason": "x" }).to_string();
        hub.post("/v1/connections/wms", &[("content-type", "application/json")], body)
    };
    let (status, proposed) = change(json!({ "scheme": "bearer", "token": "store:token" })).await;
    assert_eq!(status, 202, "{proposed:#}");
    assert!(proposed["because"].to_string().contains("it authenticates by `bearer`"), "{proposed:#}");
    let half = json!({ "scheme": "oauth1", "consumer_key": "k", "consumer_secret": "store:token", "token": "t" });
    let (status, refused) = change(half).await;
    assert!(status == 422 && refused.to_string().contains("belong together"), "{refused:#}");
    assert!(hub.stop());
    let signatures: Vec<String> = remote.seen().iter().map(|(raw, _)| signature(raw)).collect();
    assert!(signatures.len() >= 5 && signatures.iter().all(|one| one.len() > 40), "{signatures:?}");
    let mut canaries = vec![CONSUMER, TOKEN, OTHER];
    canaries.extend(signatures.iter().map(String::as_str));
    in_no_file(&setting.at("data"), &canaries);
}

#[tokio::test]
async fn every_shape_of_a_request_is_signed_as_the_remote_reads_it() {
    let setting = Setting::new();
    for (method, named, token) in [("HMAC-SHA256", "hmac-sha256", None), ("HMAC-SHA1", "hmac-sha1", Some(TOKEN))] {
        let remote = remote(shop(method, token)).await;
        let egress = outlet(&remote.url, &auth(&setting, named, token));
        for path in ["", "/", "/rest/V1/orders", "/x%20y/%E1%88%B4", "/a+b/c~d"] {
            for query in
                ["", "?", "?searchCriteria[pageSize]=5&b=2&b=1", "?x", "?x=%2F&y=a+b&z=%20", "?q=a=b&&%C3%BC=1"]
            {
                let url = format!("{}{path}{}", remote.url, query.replace('[', "%5B").replace(']', "%5D"));
                let (status, said) = sent(&*egress, Request::get(&url).body("".into()).unwrap()).await;
                assert_eq!(status, 200, "{method} {url}: {said}");
            }
        }
        for (kind, body) in [
            ("application/json", "{\"a\":1}"),
            ("application/x-www-form-urlencoded", "a=1&b=%20&x=2+q&empty"),
            ("application/x-www-form-urlencoded; charset=utf-8", ""),
        ] {
            let request = Request::post(format!("{}/orders?x=1", remote.url)).header("content-type", kind);
            let (status, said) = sent(&*egress, request.body(body.into()).unwrap()).await;
            assert_eq!(status, 200, "{method} {kind}: {said}");
        }
        // What came once is not taken again: nonces differ, and a repetition is noticed.
        let (raw, _) = remote.seen().remove(0);
        let fresh = verified(&remote, shop(method, token));
        assert!(fresh(&raw).is_ok() && fresh(&raw).is_err());
        let mut other = raw.clone();
        other.target.push_str("?more=1");
        let fresh = verified(&remote, shop(method, token));
        assert_eq!(fresh(&other).unwrap_err(), "the signature is wrong");
        let request = Request::get(format!("{}/?oauth_token=mine", remote.url)).body("".into()).unwrap();
        let refused = egress.send(request, false).await.unwrap_err().to_string();
        assert!(refused.contains("are the host's"), "{refused}");
    }
}

#[tokio::test]
async fn a_signature_goes_where_the_grant_says_and_not_to_another_host_after_a_redirect() {
    let setting = Setting::new();
    let home = Arc::new(remote(shop("HMAC-SHA256", Some(TOKEN))).await);
    let other = Verifier::start(None, |_| Ok(())).await;
    let auth = auth(&setting, "hmac-sha256", Some(TOKEN));
    let egress = outlet_with(&home.url, &auth, &[(&home.url, true), (&other.url, true)]);
    for to in [&home.url, &other.url] {
        let url = format!("{}/to?{to}/stock?sku=a", home.url);
        let (status, said) = sent(&*egress, Request::get(url).body("".into()).unwrap()).await;
        assert_eq!(status, 200, "{said}");
    }
    let seen = home.seen();
    assert!(seen.len() == 3 && seen.iter().all(|(_, verdict)| verdict.is_ok()), "{seen:?}");
    let bare = outlet_with(&home.url, &auth, &[(&home.url, false)]);
    let (status, said) = sent(&*bare, Request::get(&home.url).body("".into()).unwrap()).await;
    assert!(status == 401 && said.contains("it is not signed"), "{said}");
    let seen = other.seen();
    assert!(seen.len() == 1 && seen[0].0.header("authorization").is_empty(), "{seen:?}");
}
