//! The small retailer that the demo talks to: a shop, an ERP, a warehouse and a carrier, each an HTTP server of its own.
//!
//! All of it is invented, all of it is in memory, and it listens on loopback only. It imitates what real systems of
//! these kinds do on the wire, including what makes them hard to talk to: tokens that run out, locked documents,
//! answers that never come. It does not imitate their business: nothing is priced, posted or shipped.
//!
//! Nothing here knows the hub. The shop sends with a function that the caller supplies, the others only answer.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{app::clock::SystemClock, model::hex::hex, ports::clock::Clock};

pub mod carrier;
pub mod catalogue;
pub mod erp;
pub mod server;
pub mod shop;
pub mod warehouse;

#[cfg(test)]
mod tests;

/// How the retailer is set up. The defaults are those of the demo; the secrets among them guard nothing.
#[derive(Clone)]
pub struct Options {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The shop.
    pub shop: shop::Options,
    /// The ERP.
    pub erp: erp::Options,
    /// The warehouse.
    pub warehouse: warehouse::Options,
    /// The carrier.
    pub carrier: carrier::Options,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock::default()),
            shop: shop::Options::default(),
            erp: erp::Options::default(),
            warehouse: warehouse::Options::default(),
            carrier: carrier::Options::default(),
        }
    }
}

/// The retailer, running: four servers on free ports of 127.0.0.1.
pub struct Retailer {
    /// The shop, which also sends webhooks.
    pub shop: shop::Shop,
    /// The ERP, speaking SAP's sales order service.
    pub erp: erp::Erp,
    /// The warehouse.
    pub warehouse: warehouse::Warehouse,
    /// The carrier.
    pub carrier: carrier::Carrier,
}

impl Retailer {
    /// Starts all four servers.
    ///
    /// # Errors
    /// No port could be bound.
    pub async fn start(options: Options) -> io::Result<Self> {
        Ok(Self {
            shop: shop::Shop::start(options.shop, Arc::clone(&options.clock)).await?,
            erp: erp::Erp::start(options.erp, options.clock).await?,
            warehouse: warehouse::Warehouse::start(options.warehouse).await?,
            carrier: carrier::Carrier::start(options.carrier).await?,
        })
    }

    /// An ordinary paid order whose ERP document is locked for the first `attempts` writes.
    ///
    /// The ERP knows an order by whatever the pipeline makes its customer reference; each of the order's own names
    /// counts here: `#1001`, `1001`, its numeric id and its global id.
    #[must_use]
    pub fn order_locked_at_first(&self, attempts: u32, retry_after_s: Option<u32>) -> shop::Webhook {
        let webhook = self.shop.ordinary();
        let purchase_orders = webhook.order.as_ref().map(shop::PlacedOrder::references).unwrap_or_default();
        self.erp.lock(erp::Lock { purchase_orders, attempts, retry_after_s });
        shop::Webhook { title: "ERP locked at first", ..webhook }
    }

    /// Stops all four, letting answers that are under way finish.
    pub async fn stop(self) {
        tokio::join!(self.shop.stop(), self.erp.stop(), self.warehouse.stop(), self.carrier.stop());
    }
}

/// Locks, whatever a panicking thread left behind: the sandbox's state is whole after each statement.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A name that nobody else has: `length` random bytes in hexadecimal.
fn unique(length: usize) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};

    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut bytes = vec![0_u8; length];
    if getrandom::fill(&mut bytes).is_err() {
        // Still unique within the process, which is all that a sandbox needs.
        let counter = COUNTER.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        bytes.iter_mut().rev().zip(counter.iter().rev()).for_each(|(byte, count)| *byte = *count);
    }
    hex(&bytes)
}
