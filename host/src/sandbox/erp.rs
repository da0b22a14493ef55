//! The ERP: SAP's sales order service (`API_SALES_ORDER_SRV`, OData V2) as a connector meets it.
//!
//! Honest where it hurts: basic authentication, a CSRF token that belongs to a session cookie and can run out, ETags
//! with If-Match, locked documents, SAP's error shape, decimals as strings, and no idempotency key: whoever posts the
//! same purchase order twice gets two documents. Not a business: it prices nothing and knows no customers.
//!
//! | file | what |
//! | --- | --- |
//! | `gate` | who may in: authentication, sessions, tokens, disturbances |
//! | `service` | what a request means, and its answer |
//! | `query` | paths, keys and query options |
//! | `document`, `property` | the sales orders and their fields |
//! | `amount`, `failure` | decimals; SAP's error shape |

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use http::Method;
use serde_json::Value;

use self::{document::Books, gate::Gate, service::Service};
use super::{
    lock,
    server::{Call, Server, System},
};
use crate::ports::clock::Clock;

mod amount;
mod document;
mod failure;
mod gate;
mod property;
mod query;
mod service;

/// The service's path.
pub const SERVICE_PATH: &str = "/sap/opu/odata/sap/API_SALES_ORDER_SRV";

/// How the ERP is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The user that it accepts.
    pub user: String,
    /// That user's password.
    pub password: String,
    /// The number of its first sales order.
    pub first_sales_order: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { user: "CROSSDOCK".into(), password: "sandbox-erp-password".into(), first_sales_order: 4711 }
    }
}

/// Writes for an order find its document locked at first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The order: any of these values of `PurchaseOrderByCustomer`.
    pub purchase_orders: Vec<String>,
    /// How many writes are refused with 423 before one gets through.
    pub attempts: u32,
    /// What `Retry-After` says; none leaves it away, as SAP does.
    pub retry_after_s: Option<u32>,
}

/// What may go wrong on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 503 with `Retry-After`: no work process is free.
    Busy {
        /// Seconds to wait.
        retry_after_s: u32,
    },
    /// 423: another user edits the document.
    Locked,
    /// The connection is cut before anything happens.
    CutBefore,
    /// A write succeeds, then the connection is cut instead of an answer.
    CutAfterCommit,
}

/// A fault and whom it meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disturbance {
    /// What goes wrong.
    pub fault: Fault,
    /// Only requests with this method; none for all.
    pub method: Option<Method>,
    /// How many requests it meets.
    pub times: u32,
}

/// A sales order as the ERP holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SalesOrder {
    /// Its number.
    pub id: String,
    /// The customer's reference, by which an order is found again.
    pub purchase_order: String,
    /// The customer.
    pub sold_to: String,
    /// The sum of its items, as a decimal string.
    pub total_net_amount: String,
    /// The currency of its amounts.
    pub currency: String,
    /// Its items.
    pub items: Vec<SalesOrderItem>,
    /// Whether each of its items was rejected.
    pub rejected: bool,
    /// Whether it was deleted since. The service no longer shows it then.
    pub deleted: bool,
    /// The document as the service renders it, items included.
    pub document: Value,
}

/// A line of a sales order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SalesOrderItem {
    /// Its number within the order.
    pub number: String,
    /// What is sold.
    pub material: String,
    /// How many, as a decimal string.
    pub quantity: String,
    /// The line's amount, as a decimal string.
    pub net_amount: String,
    /// The plant it is to leave from; empty if not said.
    pub plant: String,
}

/// The ERP, running.
pub struct Erp {
    server: Server,
    state: Arc<Mutex<State>>,
}

/// All that the ERP remembers.
struct State {
    gate: Gate,
    books: Books,
}

impl Erp {
    /// Starts it.
    ///
    /// # Errors
    /// No port could be bound.
    pub async fn start(options: Options, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let books = Books::new(options.first_sales_order, options.user.clone(), clock);
        let state = Arc::new(Mutex::new(State { gate: Gate::default(), books }));
        let service = Service::new(&options, Arc::clone(&state));
        Ok(Self { server: Server::start(Arc::new(service) as Arc<dyn System>).await?, state })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Its base URL, without the service's path.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Every call that it received.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.server.calls()
    }

    /// Every sales order, deleted ones too, oldest first.
    #[must_use]
    pub fn orders(&self) -> Vec<SalesOrder> {
        lock(&self.state).books.summaries()
    }

    /// Locks an order for its next writes.
    pub fn lock(&self, rule: Lock) {
        lock(&self.state).gate.add_lock(rule);
    }

    /// Disturbs the next requests.
    pub fn disturb(&self, disturbance: Disturbance) {
        lock(&self.state).gate.add_disturbance(disturbance);
    }

    /// Takes away every lock and disturbance.
    pub fn mend(&self) {
        lock(&self.state).gate.mend();
    }

    /// Ends every session, so that every CSRF token has run out.
    pub fn expire_tokens(&self) {
        lock(&self.state).gate.expire_sessions();
    }

    /// Changes an order as another user would, so that its ETag is another. False if there is no such order.
    pub fn change_as_another_user(&self, id: &str) -> bool {
        lock(&self.state).books.touch(id)
    }

    /// Stops it.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}
