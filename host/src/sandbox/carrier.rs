//! The carrier: quotes for sending a parcel from each node. A bearer token is required.

use std::{io, net::SocketAddr, sync::Arc};

use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::{
    catalogue::{NODES, Node, euros},
    server::{Answer, Call, Received, Server, System, json},
};

/// The heaviest parcel that gets a quote.
pub const WEIGHT_GRAMS_MAX: u64 = 40_000;

/// How the carrier is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The bearer token that it accepts.
    pub token: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { token: "sandbox-carrier-token".into() }
    }
}

/// The carrier, running.
pub struct Carrier {
    server: Server,
}

impl Carrier {
    /// Starts it.
    ///
    /// # Errors
    /// No port could be bound.
    pub async fn start(options: Options) -> io::Result<Self> {
        Ok(Self { server: Server::start(Arc::new(Rates { token: options.token })).await? })
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

    /// Stops it.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

struct Rates {
    token: String,
}

impl System for Rates {
    fn answer(&self, request: &Received) -> Answer {
        let bearer = request.header(header::AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer "));
        if bearer != Some(self.token.as_str()) {
            let mut response = failure(StatusCode::UNAUTHORIZED, "unauthorized", "send the token as `Bearer`");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
            return response.into();
        }
        if request.path != "/quotes" {
            return failure(StatusCode::NOT_FOUND, "not-found", "there is only `/quotes`").into();
        }
        if request.method != Method::GET {
            return failure(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "use GET").into();
        }
        match quotes(request) {
            Ok(quotes) => json(StatusCode::OK, &json!({ "quotes": quotes })).into(),
            Err(message) => failure(StatusCode::BAD_REQUEST, "invalid-request", &message).into(),
        }
    }
}

fn quotes(request: &Received) -> Result<Vec<Value>, String> {
    let country = request.parameter("country").unwrap_or_default();
    if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(format!("`country` must be two capital letters such as `DE`, not `{country}`"));
    }
    let weight = request.parameter("weight_grams").unwrap_or_default();
    let Some(grams) = weight.parse::<u64>().ok().filter(|grams| (1..=WEIGHT_GRAMS_MAX).contains(grams)) else {
        return Err(format!("`weight_grams` must be 1 to {WEIGHT_GRAMS_MAX}, not `{weight}`"));
    };
    Ok(NODES.iter().filter_map(|node| quote(node, country, grams)).collect())
}

/// What it costs from `node`; none if the carrier does not go there.
fn quote(node: &Node, country: &str, grams: u64) -> Option<Value> {
    let (zone_cents, zone_days) = match country {
        _ if country == node.country => (0, 0),
        "AT" | "BE" | "DE" | "DK" | "FR" | "LU" | "NL" | "PL" => (640, 1),
        "CH" | "ES" | "FI" | "IE" | "IT" | "PT" | "SE" => (1_180, 3),
        _ => return None,
    };
    let further_kilograms = grams.div_ceil(1_000).saturating_sub(1);
    let cents = node.base_cents + zone_cents + further_kilograms * 85;
    Some(json!({
        "node": node.id,
        "carrier": node.carrier,
        "cost": { "amount": euros(cents), "currency": "EUR" },
        "days": node.days + zone_days,
    }))
}

fn failure(status: StatusCode, code: &str, message: &str) -> http::Response<bytes::Bytes> {
    json(status, &json!({ "error": { "code": code, "message": message } }))
}
