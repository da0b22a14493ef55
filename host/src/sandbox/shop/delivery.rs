//! Delivering a webhook as Shopify does: signed over the raw bytes, five seconds to answer, retried on anything but 2xx.
//!
//! Source: Shopify's webhook documentation, "delivery" and "troubleshooting". It publishes that a delivery is retried 8
//! times over 4 hours, not at which intervals; here they double.

use std::{future::Future, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hmac::{Hmac, Mac};
use http::{Method, Request, Response};
use sha2::Sha256;
use tokio::time::timeout;

use super::{API_VERSION, Shop, Webhook};

/// How long Shopify waits for an answer.
const ANSWER_WAIT_MS: u64 = 5_000;
/// How often Shopify tries again.
const RETRIES: u32 = 8;
/// The first pause, such that eight pauses, each twice the one before, make four hours: 14400 s ÷ 255.
const FIRST_PAUSE_MS: u64 = 56_470;

/// How a webhook is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// With the shop's secret.
    Good,
    /// With another secret.
    Wrong,
    /// Not at all.
    Missing,
}

/// How to deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryOptions {
    /// The hub's name for this source of webhooks.
    pub source: String,
    /// The pauses before each retry; none for a single attempt.
    pub pauses_ms: Vec<u64>,
    /// How long to wait for an answer to each attempt; Shopify waits five seconds.
    pub answer_wait_ms: u64,
}

impl Default for DeliveryOptions {
    /// One attempt, to the source `shop`.
    fn default() -> Self {
        Self { source: "shop".into(), pauses_ms: Vec::new(), answer_wait_ms: ANSWER_WAIT_MS }
    }
}

impl DeliveryOptions {
    /// Retries as Shopify would, with every pause divided by `speed`: 1 takes four hours.
    #[must_use]
    pub fn as_shopify(speed: u64) -> Self {
        let pauses = (0..RETRIES).map(|retry| (FIRST_PAUSE_MS << retry) / speed.max(1));
        Self { pauses_ms: pauses.collect(), ..Self::default() }
    }
}

/// What the hub said to the last attempt.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// How many attempts were made.
    pub attempts: u32,
    /// The last answer, whatever its status.
    pub response: Response<Bytes>,
}

impl Receipt {
    /// Whether Shopify would take it as delivered.
    #[must_use]
    pub fn delivered(&self) -> bool {
        self.response.status().is_success()
    }
}

/// A webhook that got no answer.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The hub's URL and the source's name make no address.
    #[error("cannot make a request for `{url}`")]
    Address {
        /// The address.
        url: String,
        /// Why not.
        source: http::Error,
    },
    /// No attempt was answered.
    #[error("no answer after {attempts} attempt(s): {reason}")]
    NoAnswer {
        /// How many attempts were made.
        attempts: u32,
        /// What happened to the last one.
        reason: String,
    },
}

/// The signature of a body: the base64 of its HMAC-SHA256.
#[must_use]
pub fn signature(secret: &str, body: &[u8]) -> String {
    // HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(body);
    STANDARD.encode(mac.finalize().into_bytes())
}

impl Shop {
    /// Posts a webhook to `{hub_url}/v1/webhooks/{source}`, again after each pause until a 2xx comes back.
    ///
    /// `send` is the caller's HTTP client. It is given an absolute URI and answers with the whole response; redirects
    /// are not followed, as Shopify does not. Dropping the future abandons the delivery.
    ///
    /// # Errors
    /// The address is none, or no attempt was answered. An answer that refuses is a [`Receipt`].
    pub async fn deliver<S, F>(
        &self,
        hub_url: &str,
        webhook: &Webhook,
        options: &DeliveryOptions,
        send: S,
    ) -> Result<Receipt, DeliveryError>
    where
        S: Fn(Request<Bytes>) -> F,
        F: Future<Output = Result<Response<Bytes>, String>>,
    {
        let url = format!("{}/v1/webhooks/{}", hub_url.trim_end_matches('/'), options.source);
        let mut pauses = options.pauses_ms.iter();
        let mut attempts = 0;
        loop {
            let request = self.request(&url, webhook);
            let request = request.map_err(|source| DeliveryError::Address { url: url.clone(), source })?;
            attempts += 1;
            let outcome = match timeout(Duration::from_millis(options.answer_wait_ms), send(request)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(format!("no answer within {} ms", options.answer_wait_ms)),
            };
            let pause = match &outcome {
                Ok(response) if response.status().is_success() => None,
                _ => pauses.next(),
            };
            match (pause, outcome) {
                (Some(pause_ms), _) => self.clock.sleep_until(self.clock.now().plus_millis(*pause_ms)).await,
                (None, Ok(response)) => return Ok(Receipt { attempts, response }),
                (None, Err(reason)) => return Err(DeliveryError::NoAnswer { attempts, reason }),
            }
        }
    }

    /// The request that delivers a webhook. Every attempt at it is the same, ids included.
    ///
    /// # Errors
    /// The URL is none.
    pub fn request(&self, url: &str, webhook: &Webhook) -> Result<Request<Bytes>, http::Error> {
        let options = &self.counter.options;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header("content-type", "application/json")
            .header("user-agent", "Shopify-Captain-Hook (Crossdock sandbox)")
            .header("x-shopify-topic", webhook.topic)
            .header("x-shopify-shop-domain", &options.domain)
            .header("x-shopify-api-version", API_VERSION)
            .header("x-shopify-webhook-id", &webhook.delivery_id)
            .header("x-shopify-event-id", &webhook.event_id)
            .header("x-shopify-triggered-at", webhook.triggered_at.to_string());
        let signed = match webhook.signature {
            Signature::Good => Some(signature(&options.webhook_secret, &webhook.body)),
            Signature::Wrong => Some(signature("somebody else's secret", &webhook.body)),
            Signature::Missing => None,
        };
        if let Some(signed) = signed {
            request = request.header("x-shopify-hmac-sha256", signed);
        }
        request.body(webhook.body.clone())
    }
}
