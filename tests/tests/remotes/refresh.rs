//! OAuth 2 with a refresh token, and clients that prove who they are in the form.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{Router, extract::State, http::HeaderMap, routing::post};
use crossdock_tests::{
    signatures::form,
    verifier::{Raw, Verifier},
};
use http::{Request, StatusCode};
use serde_json::json;

use super::{Setting, outlet, sent};

/// Gives out `access-N` for `refresh-N`, and each refresh token once.
#[derive(Default)]
struct Issuer {
    given: Mutex<usize>,
    asked: Mutex<Vec<(String, BTreeMap<String, String>)>>,
    rotates: bool,
}

async fn token(State(issuer): State<Arc<Issuer>>, headers: HeaderMap, body: String) -> (StatusCode, String) {
    let form = form(&body);
    let authorization = headers.get("authorization").map_or("", |value| value.to_str().unwrap()).to_owned();
    issuer.asked.lock().unwrap().push((authorization, form.clone()));
    let mut given = issuer.given.lock().unwrap();
    let expected = if issuer.rotates { format!("refresh canary/{given}") } else { "refresh canary/0".to_owned() };
    if form.get("grant_type").is_some_and(|grant| grant == "refresh_token")
        && form.get("refresh_token") != Some(&expected)
    {
        return (StatusCode::BAD_REQUEST, json!({ "error": "invalid_grant", "was": form }).to_string());
    }
    *given += 1;
    let mut answer = json!({ "access_token": format!("access-{given}"), "token_type": "bearer", "expires_in": 3600 });
    if issuer.rotates {
        answer["refresh_token"] = json!(format!("refresh canary/{given}"));
    }
    (StatusCode::OK, answer.to_string())
}

async fn issuing(rotates: bool) -> (String, Arc<Issuer>) {
    let issuer = Arc::new(Issuer { rotates, ..Issuer::default() });
    let app = Router::new().route("/token", post(token)).with_state(Arc::clone(&issuer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, issuer)
}

fn bearing(token: String) -> impl Fn(&Raw) -> Result<(), String> + Send + Sync {
    move |raw| if raw.header("authorization") == format!("Bearer {token}") { Ok(()) } else { Err("no".to_owned()) }
}

fn auth(setting: &Setting, url: &str, more: &str) -> String {
    let (client, refresh) = (setting.secret("client", "client&canary"), setting.secret("refresh", "refresh canary/0"));
    format!(
        "auth = {{ scheme = \"oauth2-refresh-token\", token_url = \"{url}\", client_id = \"id/1\", client_secret = \
         \"{client}\", refresh_token = \"{refresh}\"{more} }}"
    )
}

#[tokio::test]
async fn access_tokens_are_renewed_by_a_refresh_token_and_by_the_one_that_took_its_place() {
    let setting = Setting::new();
    for rotates in [false, true] {
        let remote = Verifier::start(None, bearing("access-1".to_owned())).await;
        let (url, issuer) = issuing(rotates).await;
        let egress = outlet(&remote.url, &auth(&setting, &url, ", scope = \"orders\""));
        let get = || Request::get(&remote.url).body("".into()).unwrap();
        for number in 1..=3 {
            // What the remote no longer takes is renewed at once.
            remote.check(bearing(format!("access-{number}")));
            for _ in 0..2 {
                let (status, said) = sent(&*egress, get()).await;
                assert_eq!(status, 200, "{rotates} {number}: {said}");
                assert!(!said.contains("access-") && said.contains("[redacted]"), "{said}");
            }
        }
        let asked = issuer.asked.lock().unwrap();
        assert_eq!(asked.len(), 3, "{asked:?}");
        assert_eq!(asked[0].0, "Basic aWQlMkYxOmNsaWVudCUyNmNhbmFyeQ==");
        assert!(asked[0].1["scope"] == "orders" && !asked[0].1.contains_key("client_secret"), "{asked:?}");
    }
}

#[tokio::test]
async fn a_client_may_prove_who_it_is_in_the_form_and_a_refusal_repeats_nothing() {
    let setting = Setting::new();
    let remote = Verifier::start(None, bearing("access-1".to_owned())).await;
    let (url, issuer) = issuing(false).await;
    let in_form = auth(&setting, &url, ", client_authentication = \"body\"");
    let get = || Request::get(&remote.url).body("".into()).unwrap();
    assert_eq!(sent(&*outlet(&remote.url, &in_form), get()).await.0, 200);
    let client = setting.secret("client", "client&canary");
    let credentials = format!(
        "auth = {{ scheme = \"oauth2-client-credentials\", token_url = \"{url}\", client_id = \"id/1\", client_secret = \
         \"{client}\", client_authentication = \"body\" }}"
    );
    remote.check(bearing("access-2".to_owned()));
    assert_eq!(sent(&*outlet(&remote.url, &credentials), get()).await.0, 200);
    for (authorization, form) in issuer.asked.lock().unwrap().iter() {
        assert!(authorization.is_empty(), "{authorization}");
        assert_eq!((&*form["client_id"], &*form["client_secret"]), ("id/1", "client&canary"));
    }
    let egress = outlet(&remote.url, &in_form);
    setting.secret("refresh", "wrong canary");
    let refused = egress.send(get(), false).await.unwrap_err().to_string();
    assert!(refused.contains("`invalid_grant`") && refused.contains("`refresh_token`"), "{refused}");
    assert!(!refused.contains("canary"), "{refused}");
}
