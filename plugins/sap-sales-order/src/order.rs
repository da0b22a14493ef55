//! The canonical order (`retail/order@1`), as far as a sales order in SAP needs it.

use serde::Deserialize;

/// An order. Amounts are decimal strings and stay so.
#[derive(Debug, Deserialize)]
pub(crate) struct Order {
    pub(crate) key: String,
    pub(crate) placed: String,
    pub(crate) currency: String,
    pub(crate) lines: Vec<Line>,
    pub(crate) shipping: String,
}

/// One article in some quantity.
#[derive(Debug, Deserialize)]
pub(crate) struct Line {
    pub(crate) sku: String,
    pub(crate) title: String,
    pub(crate) quantity: u32,
    pub(crate) total: String,
}
