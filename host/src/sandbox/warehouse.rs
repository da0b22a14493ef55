//! The warehouse: stock by node, and picks that reserve it. Its idempotency keys are honoured.
//!
//! `Idempotency-Key` follows the IETF draft: the same key with the same body is answered with the first answer, the
//! same key with another body is 422.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    catalogue::{NODES, PRODUCTS},
    lock,
    server::{Answer, Call, Received, Server, System, json},
};

/// A pick may have this many lines.
const LINES_MAX: usize = 100;

/// How the warehouse is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Units on hand by node, then stock keeping unit.
    pub stock: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Default for Options {
    fn default() -> Self {
        let at = |index: usize| {
            PRODUCTS
                .iter()
                .map(|product| (product.sku.to_owned(), product.on_hand.get(index).copied().unwrap_or(0)))
                .collect()
        };
        Self { stock: NODES.iter().enumerate().map(|(index, node)| (node.id.to_owned(), at(index))).collect() }
    }
}

/// A pick: goods set aside at a node for an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Its id.
    pub id: String,
    /// What was asked for, as it came.
    pub request: Value,
    /// Whether it was cancelled.
    pub cancelled: bool,
}

/// The warehouse, running.
pub struct Warehouse {
    server: Server,
    floor: Arc<Floor>,
}

impl Warehouse {
    /// Starts it.
    ///
    /// # Errors
    /// No port could be bound.
    pub async fn start(options: Options) -> io::Result<Self> {
        let state = State { stock: options.stock, ..State::default() };
        let floor = Arc::new(Floor(Mutex::new(state)));
        Ok(Self { server: Server::start(Arc::clone(&floor) as Arc<dyn System>).await?, floor })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Every call that it received.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.server.calls()
    }

    /// Every pick, cancelled ones too, oldest first.
    #[must_use]
    pub fn picks(&self) -> Vec<Pick> {
        lock(&self.floor.0).picks.iter().map(|held| held.pick.clone()).collect()
    }

    /// The next `times` picks do what they do, and then the connection is cut instead of an answer.
    pub fn lose_replies(&self, times: u32) {
        lock(&self.floor.0).replies_lost_next = times;
    }

    /// The next `times` picks are refused: somebody else was faster.
    pub fn refuse_picks(&self, times: u32) {
        lock(&self.floor.0).picks_refused_next = times;
    }

    /// Stops it.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

struct Floor(Mutex<State>);

#[derive(Default)]
struct State {
    stock: BTreeMap<String, BTreeMap<String, u64>>,
    picks: Vec<Held>,
    /// By idempotency key: the body that came with it, and the id of the pick that it made.
    keys: BTreeMap<String, (Bytes, String)>,
    replies_lost_next: u32,
    picks_refused_next: u32,
}

struct Held {
    pick: Pick,
    node: String,
    lines: Vec<Line>,
}

#[derive(Deserialize)]
struct PickRequest {
    node: String,
    lines: Vec<Line>,
}

#[derive(Clone, Deserialize)]
struct Line {
    sku: String,
    quantity: u64,
}

impl System for Floor {
    fn answer(&self, request: &Received) -> Answer {
        let mut state = lock(&self.0);
        let segments: Vec<&str> = request.path.trim_matches('/').split('/').collect();
        match (&request.method, segments.as_slice()) {
            (&Method::GET, ["stock"]) => state.levels(request).into(),
            (&Method::POST, ["picks"]) => {
                let response = state.create(request);
                if response.status() == StatusCode::CREATED && state.replies_lost_next > 0 {
                    state.replies_lost_next -= 1;
                    return Answer::Cut;
                }
                response.into()
            }
            (&Method::GET, ["picks", id]) => state.read(id).into(),
            (&Method::DELETE, ["picks", id]) => state.cancel(id).into(),
            (_, ["stock"] | ["picks"] | ["picks", _]) => {
                failure(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "see the other methods").into()
            }
            _ => failure(StatusCode::NOT_FOUND, "not-found", "there are `/stock` and `/picks`").into(),
        }
    }
}

impl State {
    fn levels(&self, request: &Received) -> Response<Bytes> {
        let skus: Vec<&str> =
            request.parameter("sku").unwrap_or_default().split(',').filter(|s| !s.is_empty()).collect();
        if skus.is_empty() {
            return failure(StatusCode::BAD_REQUEST, "invalid-request", "name what you look for: `?sku=a,b`");
        }
        let nodes: Vec<Value> = self
            .stock
            .iter()
            .map(|(id, shelf)| {
                let name = NODES.iter().find(|node| node.id == id).map_or(id.as_str(), |node| node.name);
                let stock: Vec<Value> = skus
                    .iter()
                    .map(|sku| json!({ "sku": sku, "available": shelf.get(*sku).copied().unwrap_or(0) }))
                    .collect();
                json!({ "node": id, "name": name, "stock": stock })
            })
            .collect();
        json(StatusCode::OK, &json!({ "nodes": nodes }))
    }

    fn create(&mut self, request: &Received) -> Response<Bytes> {
        let key = request.header("idempotency-key").map(str::to_owned);
        if let Some((body, id)) = key.as_ref().and_then(|key| self.keys.get(key)) {
            return if *body == request.body {
                self.held(id).map_or_else(|| no_pick(id), created)
            } else {
                failure(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "idempotency-key-reused",
                    "the key came with another body before",
                )
            };
        }
        let (wanted, raw) = match pick_request(&request.body) {
            Ok(parsed) => parsed,
            Err(message) => return failure(StatusCode::BAD_REQUEST, "invalid-request", &message),
        };
        if self.picks_refused_next > 0 {
            self.picks_refused_next -= 1;
            let message = format!("somebody else was faster at `{}`", wanted.node);
            return failure(StatusCode::CONFLICT, "insufficient-stock", &message);
        }
        let Some(shelf) = self.stock.get_mut(&wanted.node) else {
            return failure(StatusCode::NOT_FOUND, "unknown-node", &format!("there is no node `{}`", wanted.node));
        };
        let mut needed: BTreeMap<&str, u64> = BTreeMap::new();
        for line in &wanted.lines {
            let units = needed.entry(&line.sku).or_default();
            *units = units.saturating_add(line.quantity);
        }
        if let Some((sku, _)) = needed.iter().find(|(sku, units)| shelf.get(**sku).copied().unwrap_or(0) < **units) {
            return failure(
                StatusCode::CONFLICT,
                "insufficient-stock",
                &format!("not enough `{sku}` at `{}`", wanted.node),
            );
        }
        for (sku, units) in needed {
            if let Some(on_hand) = shelf.get_mut(sku) {
                *on_hand = on_hand.saturating_sub(units);
            }
        }
        let id = format!("PICK-{:05}", self.picks.len() + 1);
        let pick = Pick { id: id.clone(), request: raw, cancelled: false };
        let held = Held { pick, node: wanted.node, lines: wanted.lines };
        let response = created(&held);
        self.picks.push(held);
        if let Some(key) = key {
            self.keys.insert(key, (request.body.clone(), id));
        }
        response
    }

    fn read(&self, id: &str) -> Response<Bytes> {
        let Some(held) = self.held(id) else { return no_pick(id) };
        let status = if held.pick.cancelled { "cancelled" } else { "open" };
        json(StatusCode::OK, &json!({ "id": id, "status": status, "node": held.node, "request": held.pick.request }))
    }

    fn held(&self, id: &str) -> Option<&Held> {
        self.picks.iter().find(|held| held.pick.id == id)
    }

    /// Cancelling again changes nothing and is answered the same.
    fn cancel(&mut self, id: &str) -> Response<Bytes> {
        let Some(held) = self.picks.iter_mut().find(|held| held.pick.id == id) else { return no_pick(id) };
        if !std::mem::replace(&mut held.pick.cancelled, true) {
            let shelf = self.stock.entry(held.node.clone()).or_default();
            for line in &held.lines {
                let on_hand = shelf.entry(line.sku.clone()).or_default();
                *on_hand = on_hand.saturating_add(line.quantity);
            }
        }
        json(StatusCode::OK, &json!({ "id": id, "status": "cancelled" }))
    }
}

fn pick_request(body: &[u8]) -> Result<(PickRequest, Value), String> {
    let raw: Value = serde_json::from_slice(body).map_err(|error| format!("the body is not JSON: {error}"))?;
    let wanted = PickRequest::deserialize(&raw).map_err(|error| format!("the pick cannot be read: {error}"))?;
    if wanted.lines.is_empty() || wanted.lines.len() > LINES_MAX {
        return Err(format!("a pick has 1 to {LINES_MAX} lines"));
    }
    if wanted.lines.iter().any(|line| line.quantity == 0) {
        return Err("a line's quantity is at least 1".into());
    }
    Ok((wanted, raw))
}

/// The answer to whoever made a pick, the first time and when they repeat it.
fn created(held: &Held) -> Response<Bytes> {
    let id = &held.pick.id;
    let mut response = json(StatusCode::CREATED, &json!({ "id": id, "node": held.node, "status": "open" }));
    if let Ok(location) = format!("/picks/{id}").parse() {
        response.headers_mut().insert(http::header::LOCATION, location);
    }
    response
}

fn no_pick(id: &str) -> Response<Bytes> {
    failure(StatusCode::NOT_FOUND, "unknown-pick", &format!("there is no pick `{id}`"))
}

fn failure(status: StatusCode, code: &str, message: &str) -> Response<Bytes> {
    json(status, &json!({ "error": { "code": code, "message": message } }))
}
