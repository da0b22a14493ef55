//! What a request means, and its answer.

use std::sync::{Arc, Mutex};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{AUTHORIZATION, ETAG, HOST, LOCATION, SET_COOKIE, WWW_AUTHENTICATE},
};
use serde_json::{Map, Value, json};

use super::{
    Fault, Options, State,
    document::{Document, text},
    failure::SapFailure,
    gate::{SESSION_COOKIE, Session},
    query::{Target, Wanted},
};
use crate::sandbox::{
    lock, server,
    server::{Answer, Received, System},
};

type Reply = Result<Response<Bytes>, SapFailure>;

/// The service: the ERP as a [`System`].
pub(super) struct Service {
    credentials: String,
    state: Arc<Mutex<State>>,
}

impl Service {
    pub(super) fn new(options: &Options, state: Arc<Mutex<State>>) -> Self {
        Self { credentials: STANDARD.encode(format!("{}:{}", options.user, options.password)), state }
    }
}

impl System for Service {
    fn answer(&self, request: &Received) -> Answer {
        let given = request.header(AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Basic "));
        if given != Some(self.credentials.as_str()) {
            return unauthorized().into();
        }
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        match state.gate.disturb(request) {
            Ok(None | Some(Fault::CutAfterCommit)) => {}
            Ok(Some(Fault::CutBefore)) => return Answer::Cut,
            Ok(Some(Fault::Busy { retry_after_s })) => return SapFailure::busy(retry_after_s).response().into(),
            Ok(Some(Fault::Locked)) => return SapFailure::locked(None).response().into(),
            Err(failure) => return failure.response().into(),
        }
        let session = match state.gate.admit(request) {
            Ok(session) => session,
            Err(failure) => {
                let mut response = failure.response();
                response.headers_mut().insert("x-csrf-token", HeaderValue::from_static("Required"));
                return response.into();
            }
        };
        let mut response = respond(state, request).unwrap_or_else(|failure| failure.response());
        let wrote = response.status().is_success() && !matches!(request.method, Method::GET | Method::HEAD);
        if wrote && state.gate.loses_reply(&request.method) {
            return Answer::Cut;
        }
        tell(&mut response, session);
        response.into()
    }
}

fn unauthorized() -> Response<Bytes> {
    let mut response = SapFailure::new(StatusCode::UNAUTHORIZED, "Logon failed").response();
    let challenge = HeaderValue::from_static("Basic realm=\"SAP NetWeaver Application Server [CDK/100]\"");
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
}

/// Tells a client that fetched a token what it is, and in which session.
fn tell(response: &mut Response<Bytes>, session: Option<Session>) {
    let Some(Session { id, token }) = session else { return };
    put(response, "x-csrf-token", &token);
    put(response, SET_COOKIE.as_str(), &format!("{SESSION_COOKIE}={id}; path=/; HttpOnly"));
}

fn put(response: &mut Response<Bytes>, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn respond(state: &mut State, request: &Received) -> Reply {
    let target = Target::of(&request.path)?;
    let wanted = Wanted::of(request)?;
    let host = request.header(HOST.as_str()).unwrap_or("localhost");
    let base_url = format!("http://{host}");
    let method = if request.method == Method::HEAD { &Method::GET } else { &request.method };
    let merges = matches!(method.as_str(), "PATCH" | "MERGE");
    match target {
        Target::Root if method == Method::GET => {
            Ok(data(StatusCode::OK, json!({ "EntitySets": ["A_SalesOrder", "A_SalesOrderItem"] })))
        }
        Target::Orders if method == Method::GET => Ok(list(state, &wanted, &base_url)),
        Target::Orders if method == Method::POST => create(state, request, &base_url),
        Target::Order(id) if method == Method::GET => {
            let document = state.books.find(&id)?;
            let entity = selected(document.render(&base_url, wanted.expand_items), wanted.select.as_deref());
            let mut response = data(StatusCode::OK, entity);
            put(&mut response, ETAG.as_str(), &document.etag());
            Ok(response)
        }
        Target::Order(id) if merges => {
            admit_change(state, request, &id, Condition::Required)?;
            let document = state.books.change(&id, &payload(request)?)?;
            Ok(no_content(document))
        }
        Target::Order(id) if method == Method::DELETE => {
            admit_change(state, request, &id, Condition::Required)?;
            state.books.delete(&id)?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        Target::Items(id) if method == Method::GET => {
            let items = state.books.find(&id)?.render_items(&base_url);
            Ok(data(StatusCode::OK, json!({ "results": items })))
        }
        Target::Item { order, item } if method == Method::GET => {
            let document = state.books.find(&order)?;
            Ok(data(StatusCode::OK, document.render_item(document.item(&item)?, &base_url)))
        }
        Target::Item { order, item } if merges => {
            admit_change(state, request, &order, Condition::Optional)?;
            state.books.change_item(&order, &item, &payload(request)?)?;
            Ok(no_content(state.books.find(&order)?))
        }
        _ => Err(SapFailure::new(StatusCode::METHOD_NOT_ALLOWED, format!("Method {method} is not allowed here"))),
    }
}

fn list(state: &State, wanted: &Wanted, base_url: &str) -> Response<Bytes> {
    let fits = |document: &&Document| wanted.filter.iter().all(|(name, value)| text(&document.fields, name) == value);
    let mut found: Vec<&Document> = state.books.present().filter(fits).collect();
    let total = found.len();
    if wanted.descending {
        found.reverse();
    }
    let page = found.into_iter().skip(wanted.skip).take(wanted.top.unwrap_or(usize::MAX));
    let entities: Vec<Value> = page
        .map(|document| selected(document.render(base_url, wanted.expand_items), wanted.select.as_deref()))
        .collect();
    let mut results = json!({ "results": entities });
    if let (true, Value::Object(results)) = (wanted.count, &mut results) {
        results.insert("__count".into(), Value::from(total.to_string()));
    }
    data(StatusCode::OK, results)
}

fn create(state: &mut State, request: &Received, base_url: &str) -> Reply {
    let payload = payload(request)?;
    let purchase_order = payload.get("PurchaseOrderByCustomer").and_then(Value::as_str).unwrap_or_default();
    state.gate.check_lock(purchase_order)?;
    let document = state.books.create(&payload)?;
    // A deep insert is answered with what it inserted.
    let mut response = data(StatusCode::CREATED, document.render(base_url, payload.contains_key("to_Item")));
    put(&mut response, LOCATION.as_str(), &format!("{base_url}{}", document.path()));
    put(&mut response, ETAG.as_str(), &document.etag());
    Ok(response)
}

/// Whether a write needs an `If-Match`.
#[derive(PartialEq)]
enum Condition {
    Required,
    /// Items have no ETag of their own.
    Optional,
}

fn admit_change(state: &mut State, request: &Received, id: &str, condition: Condition) -> Result<(), SapFailure> {
    let document = state.books.find(id)?;
    match request.header("if-match") {
        None if condition == Condition::Required => {
            let message = "The Data Service Request is required to be conditional. Try using the \"If-Match\" header.";
            return Err(SapFailure::new(StatusCode::PRECONDITION_REQUIRED, message));
        }
        Some(given) if condition == Condition::Required && !matches(given, &document.etag()) => {
            let message = "Precondition failed: the entity was changed by another user after it was read";
            return Err(SapFailure::new(StatusCode::PRECONDITION_FAILED, message));
        }
        _ => {}
    }
    state.gate.check_lock(document.purchase_order())
}

/// The weak comparison of RFC 9110: `*`, or the same opaque tag with or without `W/`.
fn matches(given: &str, etag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").trim_matches('"').to_owned();
    given.trim() == "*" || given.split(',').any(|tag| opaque(tag) == opaque(etag))
}

/// The JSON object of a write, with or without the `d` around it.
fn payload(request: &Received) -> Result<Map<String, Value>, SapFailure> {
    let media_type = request.header("content-type").unwrap_or_default();
    if media_type.split(';').next().map(str::trim) != Some("application/json") {
        let message = format!("Send `application/json`, not `{media_type}`");
        return Err(SapFailure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let parsed: Value = serde_json::from_slice(&request.body)
        .map_err(|error| SapFailure::bad_request(format!("The request body is not valid JSON: {error}")))?;
    match parsed {
        Value::Object(mut object) => match object.remove("d") {
            Some(Value::Object(inner)) => Ok(inner),
            Some(_) => Err(SapFailure::bad_request("`d` must be a JSON object")),
            None => Ok(object),
        },
        _ => Err(SapFailure::bad_request("The request body must be a JSON object")),
    }
}

fn selected(entity: Value, select: Option<&[String]>) -> Value {
    match (entity, select) {
        (Value::Object(entity), Some(names)) => {
            let keeps =
                |name: &String| name == "__metadata" || names.iter().any(|wanted| wanted == name || wanted == "*");
            Value::Object(entity.into_iter().filter(|(name, _)| keeps(name)).collect())
        }
        (entity, _) => entity,
    }
}

fn data(status: StatusCode, body: Value) -> Response<Bytes> {
    let mut response = server::json(status, &json!({ "d": body }));
    put(&mut response, "dataserviceversion", "2.0");
    response
}

fn no_content(document: &Document) -> Response<Bytes> {
    let mut response = empty(StatusCode::NO_CONTENT);
    put(&mut response, ETAG.as_str(), &document.etag());
    response
}

fn empty(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}
