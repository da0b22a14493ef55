//! The shop: keeps orders shaped like Shopify's, and sends webhooks about them.
//!
//! As a server it answers what reconciles a lost webhook: its orders, for whoever has the access token. As a sender it
//! signs with its secret and posts to a hub; `delivery` says how. The orders are invented.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use http::{Method, StatusCode};
use serde_json::{Value, json};

pub use self::{
    delivery::{DeliveryError, DeliveryOptions, Receipt, Signature, signature},
    order::{PlacedOrder, Webhook},
};
use super::{
    lock,
    server::{Answer, Call, Received, Server, System, json},
};
use crate::ports::clock::Clock;

mod delivery;
mod order;

/// The version of the shop's API, which its webhooks name too.
pub const API_VERSION: &str = "2026-07";

/// How the shop is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The secret that its webhooks are signed with.
    pub webhook_secret: String,
    /// What a client of its API sends as `X-Shopify-Access-Token`.
    pub access_token: String,
    /// The shop's name, as `X-Shopify-Shop-Domain` gives it.
    pub domain: String,
    /// The number of its first order.
    pub first_order_number: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            webhook_secret: "sandbox-shop-webhook-secret".into(),
            access_token: "sandbox-shop-access-token".into(),
            domain: "nordlicht-outdoor.myshopify.example".into(),
            first_order_number: 1001,
        }
    }
}

/// The shop, running.
pub struct Shop {
    server: Server,
    counter: Arc<Counter>,
    clock: Arc<dyn Clock>,
}

/// What the shop remembers, and its server's side of it.
struct Counter {
    options: Options,
    /// Oldest first.
    orders: Mutex<Vec<Value>>,
}

impl Shop {
    /// Starts it.
    ///
    /// # Errors
    /// No port could be bound.
    pub async fn start(options: Options, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let counter = Arc::new(Counter { options, orders: Mutex::new(Vec::new()) });
        let server = Server::start(Arc::clone(&counter) as Arc<dyn System>).await?;
        Ok(Self { server, counter, clock })
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

    /// Every order, as Shopify would show it, oldest first.
    #[must_use]
    pub fn orders(&self) -> Vec<Value> {
        lock(&self.counter.orders).clone()
    }

    /// Stops it.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

impl System for Counter {
    fn answer(&self, request: &Received) -> Answer {
        if request.header("x-shopify-access-token") != Some(self.options.access_token.as_str()) {
            let message = "[API] Invalid API key or access token (unrecognized login or wrong password)";
            return json(StatusCode::UNAUTHORIZED, &json!({ "errors": message })).into();
        }
        let prefix = format!("/admin/api/{API_VERSION}/orders");
        let rest = request.path.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(".json"));
        let orders = lock(&self.orders);
        match (&request.method, rest) {
            (&Method::GET, Some("")) => json(StatusCode::OK, &json!({ "orders": *orders })).into(),
            (&Method::GET, Some(rest)) => {
                let id = rest.trim_start_matches('/').parse::<u64>().ok();
                match orders.iter().find(|order| id.is_some() && order.get("id").and_then(Value::as_u64) == id) {
                    Some(order) => json(StatusCode::OK, &json!({ "order": order })).into(),
                    None => json(StatusCode::NOT_FOUND, &json!({ "errors": "Not Found" })).into(),
                }
            }
            _ => json(StatusCode::NOT_FOUND, &json!({ "errors": "Not Found" })).into(),
        }
    }
}
