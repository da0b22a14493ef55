//! Requests to the service: reads, and writes with their CSRF token.
//!
//! The session that a token belongs to is a cookie, and cookies are the hub's: it keeps them for each connection and a
//! guest never sees one.

use std::collections::BTreeMap;

use crossdock_plugin::{
    Failure,
    http::{self, Request, Response},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    config::Config,
    document::Document,
    refusal::{self, During, TOKEN},
};

const ORDERS: &str = "A_SalesOrder";
/// With more than this many orders under one reference, the further ones do not matter.
const SAME_REFERENCE_MAX: &str = "2";

/// One connection's sales order service.
pub(crate) struct Service {
    url: String,
    headers: BTreeMap<String, String>,
}

/// The envelope of every answer of OData V2.
#[derive(Deserialize)]
struct Envelope<T> {
    d: T,
}

#[derive(Deserialize)]
struct Collection {
    results: Vec<Document>,
}

#[derive(Deserialize)]
struct Created {
    #[serde(rename = "SalesOrder")]
    number: String,
}

impl Service {
    /// The service of the connection that the settings are of.
    pub(crate) fn new(config: &Config) -> Result<Self, Failure> {
        if config.base_url.is_empty() {
            return Err(Failure::permanent("sap.no-base-url", "the connection has no base URL; give it one"));
        }
        Ok(Self { url: config.service_url(), headers: config.extra_headers.clone() })
    }

    /// The sales order with this number, its items included.
    pub(crate) fn read(&self, number: &str) -> Result<Document, Failure> {
        self.read_if_there(number)?.ok_or_else(|| {
            Failure::invalid("sap.not-found", "SAP has no sales order with this number; it may have been deleted")
        })
    }

    /// The sales order with this number, if it is there.
    pub(crate) fn read_if_there(&self, number: &str) -> Result<Option<Document>, Failure> {
        let request = self.request(http::get(&self.order_url(number))).query("$expand", "to_Item");
        let response = request.send().map_err(refusal::before_write)?;
        if response.status() == 404 {
            return Ok(None);
        }
        answer(&accepted(response)?).map(Some)
    }

    /// The sales orders of a customer under a reference, the oldest first.
    pub(crate) fn with_reference(&self, sold_to: &str, reference: &str) -> Result<Vec<Document>, Failure> {
        let filter =
            format!("PurchaseOrderByCustomer eq {} and SoldToParty eq {}", literal(reference), literal(sold_to));
        let request = self
            .request(http::get(&format!("{}/{ORDERS}", self.url)))
            .query("$filter", &filter)
            .query("$orderby", "SalesOrder asc")
            .query("$top", SAME_REFERENCE_MAX)
            .query("$expand", "to_Item");
        let response = accepted(request.send().map_err(refusal::before_write)?)?;
        Ok(answer::<Collection>(&response)?.results)
    }

    /// Creates a sales order and returns its number.
    pub(crate) fn create(&self, draft: &Value) -> Result<String, Failure> {
        let url = format!("{}/{ORDERS}", self.url);
        let response = self.write(|token| http::post(&url).header(TOKEN, token).json(draft))?;
        if !response.is_success() {
            return Err(refusal::of(&response, During::Write));
        }
        answer::<Created>(&response).map(|created| created.number).map_err(refusal::after_write)
    }

    /// Deletes a sales order if it is still as its ETag says; one that is gone is as good as deleted. False: somebody
    /// changed it, so read it again. On the `last` try that is a failure.
    pub(crate) fn delete(&self, number: &str, etag: Option<&str>, last: bool) -> Result<bool, Failure> {
        let url = self.order_url(number);
        let response = self.write(|token| {
            let request = http::delete(&url).header(TOKEN, token);
            Ok(match etag {
                Some(etag) => request.header("if-match", etag),
                None => request,
            })
        })?;
        match response.status() {
            404 => Ok(true),
            412 | 428 if !last => Ok(false),
            _ if response.is_success() => Ok(true),
            _ => Err(refusal::of(&response, During::Write)),
        }
    }

    /// Sends a write under a token. A token that has run out is renewed once: SAP refused it before it did anything.
    fn write(&self, request: impl Fn(&str) -> Result<Request, Failure>) -> Result<Response, Failure> {
        let mut response = self.request(request(&self.token()?)?).send()?;
        if refusal::wants_token(&response) {
            response = self.request(request(&self.token()?)?).send()?;
        }
        Ok(response)
    }

    /// Fetches a CSRF token; empty if the service asks for none.
    fn token(&self) -> Result<String, Failure> {
        let request = self.request(http::get(&format!("{}/", self.url))).header(TOKEN, "Fetch");
        let response = accepted(request.send().map_err(refusal::before_write)?)?;
        Ok(response.header(TOKEN).unwrap_or_default().to_owned())
    }

    fn order_url(&self, number: &str) -> String {
        format!("{}/{ORDERS}({})", self.url, literal(number))
    }

    /// What every request carries.
    fn request(&self, request: Request) -> Request {
        let request = request.header("accept", "application/json");
        self.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    }
}

/// A string literal of OData; a quote within is doubled.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The answer to a request that changes nothing, if it is good.
fn accepted(response: Response) -> Result<Response, Failure> {
    if response.is_success() { Ok(response) } else { Err(refusal::of(&response, During::Read)) }
}

fn answer<T: DeserializeOwned>(response: &Response) -> Result<T, Failure> {
    response.json::<Envelope<T>>().map(|envelope| envelope.d).map_err(|failure| {
        Failure::permanent("sap.answer", "SAP answered something that is not the entity asked for; see the detail")
            .detail(&failure.message)
    })
}
