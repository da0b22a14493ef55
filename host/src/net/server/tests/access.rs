//! Who may ask what, endpoint by endpoint and role by role, written down; and what those are told who may not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use bytes::Bytes;
use futures::{
    FutureExt as _,
    future::{BoxFuture, ready},
};
use http::{Response, StatusCode};
use serde_json::{Value, json};
use utoipa::OpenApi as _;

use super::{Fake, KNOWN, Options, json as body, order, start, start_with};
use crate::{
    model::{
        principal::{Action, Denied, Kind, Principal, Resource, Role, Scope, TokenId},
        timestamp::Timestamp,
    },
    net::server::openapi::Description,
    policy::authorization::Policies,
    ports::access::{Access, AuthError, Issued, TokenError, TokenLimits, TokenRequest, TokenView, Usage},
};

/// A door that opens to everybody who shows nothing, as somebody who may do anything; `role:NAME` is somebody with that
/// role. The policies are the real ones.
pub(super) struct Door {
    policies: Policies,
    unmanned: bool,
    asked: Mutex<Vec<TokenRequest>>,
}

impl Default for Door {
    fn default() -> Self {
        Self { policies: Policies::new([]).unwrap(), unmanned: false, asked: Mutex::default() }
    }
}

fn principal(name: &str, roles: &[Role], development: bool) -> Principal {
    Principal {
        name: name.to_owned(),
        kind: if development { Kind::Service } else { Kind::Person },
        roles: roles.iter().copied().collect(),
        scope: Scope::unlimited(),
        token: Some(TokenId("0123456789abcdef".into())),
        development,
    }
}

fn view() -> TokenView {
    TokenView {
        id: TokenId("0123456789abcdef".into()),
        name: "ann".into(),
        kind: Kind::Person,
        roles: BTreeSet::from([Role::Admin]),
        scope: Scope::unlimited(),
        limits: TokenLimits::default(),
        state: "active",
        created: Timestamp::from_millis(0),
        created_by: "enrolment".into(),
        expires: Timestamp::from_millis(1),
        revoked: None,
        last_used: None,
        development: false,
    }
}

fn issued() -> Issued {
    Issued { token: "crossdock_secret".into(), view: view() }
}

impl Access for Door {
    fn authenticate<'a>(&'a self, shown: Option<&'a str>) -> BoxFuture<'a, Result<Principal, AuthError>> {
        let invalid = || AuthError::Invalid { problem: "the token is not one of this hub".into() };
        ready(match shown {
            _ if self.unmanned => Err(AuthError::NotEnrolled),
            None => Ok(principal("tests", Role::ALL, true)),
            Some("missing") => Err(AuthError::Missing),
            Some("spike") => Err(AuthError::Spike { token: TokenId("01".into()), per_second: 2 }),
            Some("held") => {
                let scope = Scope { sources: BTreeSet::from(["/shop".to_owned()]), ..Scope::unlimited() };
                Ok(Principal { scope, kind: Kind::Service, ..principal("shop", &[Role::Partner], false) })
            }
            Some(shown) => match shown.strip_prefix("role:").and_then(|role| role.parse().ok()) {
                Some(role) => Ok(principal("ann", &[role], false)),
                None => Err(invalid()),
            },
        })
        .boxed()
    }

    fn prove<'a>(&'a self, shown: Option<&'a str>) -> BoxFuture<'a, Result<Principal, AuthError>> {
        self.authenticate(shown)
    }

    fn is_enrolled(&self) -> bool {
        !self.unmanned
    }

    fn may_be_exposed(&self) -> Result<(), String> {
        Ok(())
    }

    fn decide(&self, who: &Principal, action: Action, resource: Resource<'_>) -> Result<(), Denied> {
        self.policies.decide(who, action, resource)
    }

    fn enroll<'a>(&'a self, shown: &'a str, _: &'a str) -> BoxFuture<'a, Result<Issued, TokenError>> {
        let refused = || TokenError::Enrolment { problem: "this is not the enrolment token".into() };
        ready(if shown == "right" { Ok(issued()) } else { Err(refused()) }).boxed()
    }

    fn tokens(&self) -> Vec<TokenView> {
        vec![view()]
    }

    fn create_token<'a>(&'a self, _: &'a Principal, wanted: TokenRequest) -> BoxFuture<'a, Result<Issued, TokenError>> {
        self.asked.lock().unwrap().push(wanted);
        ready(Ok(issued())).boxed()
    }

    fn revoke_token<'a>(
        &'a self,
        _: &'a Principal,
        id: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<TokenView, TokenError>> {
        let unknown = || TokenError::Unknown { id: id.to_owned() };
        ready(if id == "x" { Err(unknown()) } else { Ok(view()) }).boxed()
    }

    fn rotate_token<'a>(
        &'a self,
        _: &'a Principal,
        _: &'a str,
        _: u64,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Issued, TokenError>> {
        ready(Ok(issued())).boxed()
    }

    fn usage(&self, _: Option<&str>) -> Vec<Usage> {
        Vec::new()
    }
}

/// Who an endpoint answers: everybody, everybody once somebody is enrolled, or the roles marked, in the order of
/// [`Role::ALL`]: partner, retailer, operator, auditor, admin.
#[derive(Clone, Copy)]
enum To {
    /// Without a token, always.
    Anybody,
    /// Without a token, once somebody is enrolled: it has a proof of its own.
    Proven,
    /// With a token of these roles.
    Roles([bool; 5]),
}

use To::{Anybody, Proven, Roles};

const ALL: To = Roles([true, true, true, true, true]);
const STAFF: To = Roles([false, true, true, true, true]);
const DECIDERS: To = Roles([false, true, true, false, true]);
const OPERATORS: To = Roles([false, false, true, false, true]);
/// Who writes pipelines and tables.
const WRITERS: To = Roles([false, true, false, false, true]);
const AUDITORS: To = Roles([false, false, false, true, true]);
const ADMINS: To = Roles([false, false, false, false, true]);

/// Every endpoint and whom it answers. An endpoint without a row fails the test below.
const TABLE: [(&str, &str, To); 91] = [
    ("post", "/v1/events", Roles([true, true, true, false, true])),
    ("post", "/v1/webhooks/{source}", Proven),
    ("post", "/v1/webhooks/{source}/{rest}", Proven),
    ("get", "/v1/runs", STAFF),
    ("get", "/v1/runs/{id}", STAFF),
    ("get", "/v1/runs/{id}/stream", STAFF),
    ("get", "/v1/plugins", ALL),
    ("get", "/v1/pipelines", ALL),
    ("get", "/v1/connections", STAFF),
    ("get", "/v1/connections/{name}", STAFF),
    ("post", "/v1/connections/{name}", OPERATORS),
    ("post", "/v1/connections/{name}/test", OPERATORS),
    ("get", "/v1/sources", STAFF),
    ("get", "/v1/sources/{name}", STAFF),
    ("post", "/v1/sources/{name}", OPERATORS),
    ("get", "/v1/secrets", Roles([false, false, true, true, true])),
    ("post", "/v1/secrets/{name}", OPERATORS),
    ("get", "/v1/pipelines/{namespace}/{name}/bindings", STAFF),
    // Whoever writes pipelines and also changes connections.
    ("post", "/v1/pipelines/{namespace}/{name}/bindings", ADMINS),
    ("get", "/v1/lanes", STAFF),
    ("get", "/v1/audit", Roles([false, false, false, true, true])),
    ("get", "/v1/audit/explain", Roles([false, false, false, true, true])),
    ("post", "/v1/admin/backup", OPERATORS),
    ("get", "/health/live", Anybody),
    ("get", "/health/ready", STAFF),
    ("get", "/metrics", STAFF),
    ("get", "/openapi.json", ALL),
    ("get", "/v1/approvals", STAFF),
    ("post", "/v1/approvals/decisions", DECIDERS),
    ("get", "/v1/approvals/{run}/{step}", STAFF),
    ("post", "/v1/approvals/{run}/{step}/decision", DECIDERS),
    ("post", "/v1/runs/control", OPERATORS),
    ("post", "/v1/runs/{id}/control", OPERATORS),
    ("get", "/v1/dead-letters", STAFF),
    ("get", "/v1/dead-letters/{run}", STAFF),
    ("get", "/v1/exceptions", STAFF),
    ("post", "/v1/enroll", Anybody),
    ("get", "/v1/tokens", ADMINS),
    ("post", "/v1/tokens", ADMINS),
    ("post", "/v1/tokens/{id}/revoke", ADMINS),
    ("post", "/v1/tokens/{id}/rotate", ADMINS),
    ("get", "/v1/usage", ALL),
    ("get", "/v1/promises", STAFF),
    ("post", "/v1/runs/{id}/move", OPERATORS),
    ("post", "/v1/plugins", ADMINS),
    ("get", "/v1/plugins/{namespace}/{name}", ALL),
    ("get", "/v1/plugins/{namespace}/{name}/explain", ALL),
    // A partner compares what is in the namespaces that its token names; the table's names none.
    ("get", "/v1/plugins/{namespace}/{name}/difference", STAFF),
    ("get", "/v1/plugins/{namespace}/{name}/impact", STAFF),
    ("post", "/v1/plugins/{namespace}/{name}/control", OPERATORS),
    ("post", "/v1/plugins/{namespace}/{name}/replay", DECIDERS),
    ("get", "/v1/bindings", ALL),
    ("post", "/v1/bindings/{namespace}/{name}", DECIDERS),
    ("get", "/v1/pipelines/{namespace}/{name}", ALL),
    ("post", "/v1/pipelines/{namespace}/{name}", WRITERS),
    ("get", "/v1/pipelines/{namespace}/{name}/versions/{version}", ALL),
    ("get", "/v1/pipelines/{namespace}/{name}/difference", ALL),
    ("post", "/v1/pipelines/{namespace}/{name}/control", WRITERS),
    ("post", "/v1/pipelines/{namespace}/{name}/hold", OPERATORS),
    ("get", "/v1/tables", STAFF),
    ("get", "/v1/tables/{namespace}/{name}", STAFF),
    ("post", "/v1/tables/{namespace}/{name}", WRITERS),
    ("get", "/v1/tables/{namespace}/{name}/versions/{version}", STAFF),
    ("get", "/v1/tables/{namespace}/{name}/difference", STAFF),
    ("get", "/v1/tables/{namespace}/{name}/impact", STAFF),
    ("post", "/v1/tables/{namespace}/{name}/control", WRITERS),
    ("get", "/v1/apis", ALL),
    // A partner's token names the contracts that it may ask; the table's names none.
    ("get", "/v1/apis/{namespace}/{name}/{major}", STAFF),
    ("post", "/v1/apis/{namespace}/{name}/{major}", OPERATORS),
    ("get", "/v1/apis/{namespace}/{name}/{major}/openapi.json", STAFF),
    ("get", "/v1/apis/{namespace}/{name}/{major}/{operation}", STAFF),
    ("post", "/v1/apis/{namespace}/{name}/{major}/{operation}", STAFF),
    // Each sees their own.
    ("get", "/v1/subscriptions", ALL),
    ("get", "/v1/subscriptions/{name}", STAFF),
    ("post", "/v1/subscriptions/{name}", OPERATORS),
    ("post", "/v1/subscriptions/{name}/control", OPERATORS),
    ("get", "/v1/subscriptions/{name}/dead-letters", STAFF),
    ("get", "/v1/changes", ALL),
    ("post", "/v1/changes/{id}/decision", DECIDERS),
    ("get", "/v1/schemas", ALL),
    ("get", "/v1/schemas/{type}", ALL),
    ("post", "/v1/schemas/{type}", DECIDERS),
    ("get", "/v1/schemas/{type}/{version}", ALL),
    ("post", "/v1/schemas/{type}/control", DECIDERS),
    ("get", "/v1/schemas/{type}/impact", STAFF),
    ("get", "/v1/hosts/{host}/impact", STAFF),
    ("get", "/asyncapi.json", ALL),
    ("get", "/v1/trust", ALL),
    ("post", "/v1/trust/{key}/revoke", OPERATORS),
    // The subject stands in the body, so that no log of requests holds it.
    ("post", "/v1/privacy/subject", AUDITORS),
    ("post", "/v1/privacy/erase", ADMINS),
];

fn described() -> BTreeSet<(String, String)> {
    let document = serde_json::to_value(Description::openapi()).unwrap();
    document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(|method| (method.clone(), path.clone())))
        .collect()
}

/// What is sent: enough to be read, so that a refusal is about who sends it.
fn sent(path: &str) -> (&'static str, String) {
    let digest = format!("sha256:{}", "0".repeat(64));
    let text = match path {
        "/v1/events" => return ("application/cloudevents+json", order("1").to_string()),
        "/v1/runs/control" => json!({"filter": {"key": "none"}, "request": {"do": "pause"}}),
        "/v1/plugins" => return ("application/octet-stream", String::new()),
        "/v1/runs/{id}/move" => json!({"to": "2.0.0"}),
        "/v1/plugins/{namespace}/{name}/control" => json!({"do": "revoke", "version": "1.0.0"}),
        "/v1/plugins/{namespace}/{name}/replay" => json!({"version": "1.0.0", "since": "7d"}),
        "/v1/bindings/{namespace}/{name}" => json!({"do": "promote", "version": "1.0.0"}),
        "/v1/pipelines/{namespace}/{name}" => return ("application/yaml", "pipeline: x/x".to_owned()),
        "/v1/tables/{namespace}/{name}/control" | "/v1/pipelines/{namespace}/{name}/control" => {
            json!({"do": "approve", "version": "1.0.0"})
        }
        "/v1/apis/{namespace}/{name}/{major}" => json!({"do": "withdraw"}),
        "/v1/subscriptions/{name}/control" => json!({"do": "pause"}),
        "/v1/schemas/{type}" => json!({"schema": {}}),
        "/v1/schemas/{type}/control" => json!({"do": "deprecate"}),
        "/v1/changes/{id}/decision" => json!({"approved": true}),
        "/v1/connections/{name}" | "/v1/sources/{name}" | "/v1/secrets/{name}" => json!({"do": "remove"}),
        "/v1/pipelines/{namespace}/{name}/bindings" => json!({"do": "rollback"}),
        "/v1/runs/{id}/control" | "/v1/pipelines/{namespace}/{name}/hold" => json!({"do": "pause"}),
        "/v1/approvals/decisions" => json!({"decisions": []}),
        "/v1/approvals/{run}/{step}/decision" => json!({"approved": true, "revision": 1, "digest": digest}),
        "/v1/admin/backup" => json!({"directory": "/nowhere"}),
        "/v1/privacy/subject" => json!({"subject": "c-1"}),
        "/v1/privacy/erase" => json!({"subject": "c-1", "reason": "r"}),
        "/v1/tokens" => json!({"name": "shop", "kind": "service", "roles": ["partner"]}),
        _ => json!({}),
    };
    ("application/json", text.to_string())
}

fn path_of(template: &str) -> String {
    let places = [
        ("{rest}", "x"),
        ("{source}", "shop"),
        ("{id}", "x"),
        ("{run}", "x"),
        ("{step}", "x"),
        ("{name}", "x"),
        ("{namespace}", "x"),
        ("{version}", "1.0.0"),
        ("{major}", "1"),
        ("{operation}", "x"),
        ("{key}", "x"),
        ("{type}", "x"),
        ("{version}", "1"),
    ];
    // Which namespace it is about stands in the query.
    let template = if template == "/v1/plugins" { "/v1/plugins?plugin=x/x" } else { template };
    places.iter().fold(template.to_owned(), |path, (place, value)| path.replace(place, value))
}

fn code(response: &Response<Bytes>) -> String {
    let document: Value = serde_json::from_slice(response.body()).unwrap_or_default();
    document["code"].as_str().unwrap_or_default().to_owned()
}

/// Asks an endpoint with a token.
async fn ask(served: &super::Served, method: &str, template: &str, token: &str) -> Response<Bytes> {
    let (content_type, text) = sent(template);
    let bearer = format!("Bearer {token}");
    let headers = [("content-type", content_type), ("authorization", bearer.as_str())];
    served
        .ask(&method.to_uppercase(), &path_of(template), &headers, if method == "get" { String::new() } else { text })
        .await
}

#[test]
fn every_endpoint_has_a_row() {
    let rows: BTreeSet<_> = TABLE.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(rows.len(), TABLE.len());
    assert_eq!(rows, described(), "say in the table who may use it");
}

#[tokio::test]
async fn each_endpoint_answers_the_roles_that_the_table_says() {
    let served = start().await;
    for (method, path, to) in TABLE {
        let Roles(expected) = to else { continue };
        for (role, allowed) in Role::ALL.iter().zip(expected) {
            let response = ask(&served, method, path, &format!("role:{role}")).await;
            let denied = code(&response) == "access.denied";
            assert_eq!(denied, !allowed, "{role} {method} {path}: {response:?}");
            assert_eq!(denied, response.status() == StatusCode::FORBIDDEN, "{role} {method} {path}: {response:?}");
            assert_ne!(response.status(), StatusCode::UNAUTHORIZED, "{role} {method} {path}: {response:?}");
        }
    }
}

#[tokio::test]
async fn who_shows_no_token_or_a_wrong_one_is_let_in_nowhere_but_where_the_table_says() {
    let served = start().await;
    for (method, path, to) in TABLE {
        for (token, expected) in [("missing", "auth.required"), ("nonsense", "auth.invalid")] {
            let response = ask(&served, method, path, token).await;
            match to {
                Anybody | Proven => assert!(!code(&response).starts_with("auth."), "{method} {path}: {response:?}"),
                Roles(_) => {
                    assert_eq!((response.status().as_u16(), code(&response).as_str()), (401, expected), "{path}");
                    let challenge = response.headers()["www-authenticate"].to_str().unwrap();
                    assert!(challenge.starts_with("Bearer realm=\"crossdock\""), "{challenge}");
                    assert!(body(&response)["advice"].as_str().unwrap().contains("crossdock token create"));
                }
            }
        }
    }
    let response = ask(&served, "get", "/v1/nothing", "missing").await;
    assert_eq!(code(&response), "auth.required", "what there is not is no stranger's business either");
    let response = ask(&served, "get", "/v1/nothing", "role:partner").await;
    assert_eq!(code(&response), "route.unknown");
}

#[tokio::test]
async fn until_somebody_is_enrolled_only_liveness_and_enrolment_answer() {
    let door = Door { unmanned: true, ..Door::default() };
    let served = start_with(Fake { door, ..Fake::default() }, Options::default()).await;
    for (method, path, _) in TABLE {
        let response = ask(&served, method, path, "role:admin").await;
        let expected = match path {
            "/health/live" => (200, ""),
            "/v1/enroll" => (400, "request.invalid"),
            _ => (401, "auth.required"),
        };
        assert_eq!((response.status().as_u16(), code(&response).as_str()), expected, "{method} {path}");
        if expected.0 == 401 {
            assert!(body(&response)["detail"].as_str().unwrap().contains("crossdock enroll --data"), "{response:?}");
        }
    }
}

#[tokio::test]
async fn a_token_sends_only_from_its_sources_and_never_under_anothers_name() {
    let served = start().await;
    let send = async |token: &str, change: Value| {
        let mut event = order("e1");
        event.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let bearer = format!("Bearer {token}");
        let headers = [("content-type", "application/cloudevents+json"), ("authorization", bearer.as_str())];
        served.ask("POST", "/v1/events", &headers, event.to_string()).await
    };
    let response = send("held", json!({"source": "/bank", "type": "bank.statement.booked"})).await;
    assert_eq!((response.status().as_u16(), code(&response).as_str()), (403, "access.denied"));
    assert!(body(&response)["detail"].as_str().unwrap().contains("its sources are /shop"), "{response:?}");
    assert_eq!(send("held", json!({"source": "/shop"})).await.status(), 202);
    assert!(served.hub.events.lock().unwrap()[0].extensions.is_empty(), "a service is nobody who decides");

    let response = send("role:operator", json!({"id": "e2", "actor": "bob"})).await;
    assert_eq!(code(&response), "access.denied", "ann is not bob");
    assert_eq!(send("role:operator", json!({"id": "e2"})).await.status(), 202);
    assert_eq!(served.hub.events.lock().unwrap()[1].extensions["actor"], "ann");
    assert_eq!(served.hub.events.lock().unwrap().len(), 2);
    assert_eq!(served.hub.events.lock().unwrap()[1].event_type, KNOWN);
}

#[tokio::test]
async fn tokens_are_shown_once_and_stored_by_nobody_between() {
    let served = start().await;
    let token = json!({"name": "shop", "kind": "service", "roles": ["partner"],
        "scope": {"sources": ["/shop"], "types": [KNOWN]}, "limits": {"per_second": 5, "quota": {"requests": 9, "per": "day"}}});
    let headers = [("content-type", "application/json")];
    let response = served.post("/v1/tokens", &headers, token.to_string()).await;
    assert_eq!(response.status(), StatusCode::CREATED, "{response:?}");
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(body(&response)["token"], "crossdock_secret");
    assert_eq!(served.hub.door.asked.lock().unwrap()[0].scope.sources, BTreeSet::from(["/shop".to_owned()]));

    let response = served.get("/v1/tokens").await;
    assert!(!String::from_utf8_lossy(response.body()).contains("secret"), "{response:?}");
    for wrong in [
        json!({"name": "x", "kind": "service", "roles": ["king"]}),
        json!({"name": "x", "kind": "service", "roles": ["admin"], "scope": {"actions": ["run.raed"]}}),
        json!({"name": "x", "kind": "service", "roles": ["admin"], "development": true}),
    ] {
        let response = served.post("/v1/tokens", &headers, wrong.to_string()).await;
        assert_eq!((response.status().as_u16(), code(&response).as_str()), (400, "request.invalid"), "{wrong}");
    }
    let response = served.post("/v1/tokens/x/revoke", &headers, "{}").await;
    assert_eq!((response.status().as_u16(), code(&response).as_str()), (404, "token.unknown"));
    let enroll = |token: &'static str| [("content-type", "application/json"), ("authorization", token)];
    let response = served.post("/v1/enroll", &enroll("Bearer wrong"), r#"{"name": "ann"}"#).await;
    assert_eq!((response.status().as_u16(), code(&response).as_str()), (401, "enrolment.invalid"));
    let response = served.post("/v1/enroll", &enroll("Bearer right"), r#"{"name": "ann"}"#).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    let response = served.post("/v1/enroll", &enroll("Basic cmlnaHQ="), r#"{"name": "ann"}"#).await;
    assert_eq!((response.status().as_u16(), code(&response).as_str()), (401, "auth.invalid"));
}

#[tokio::test]
async fn too_much_is_refused_with_when_to_try_again() {
    let served = start().await;
    let response = ask(&served, "get", "/v1/runs", "spike").await;
    assert_eq!((response.status().as_u16(), code(&response).as_str()), (429, "token.spike"));
    assert_eq!(response.headers()["retry-after"], "1");
}

#[test]
fn descriptions_of_tokens_have_their_fields() {
    let document = serde_json::to_value(Description::openapi()).unwrap();
    let described = &document["components"]["schemas"]["TokenView"]["properties"];
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(described), names(&serde_json::to_value(view()).unwrap()));
    let roles: BTreeMap<_, _> = Role::ALL.iter().map(|role| (role.as_str(), ())).collect();
    assert_eq!(roles.len(), 5, "the table's columns");
}
