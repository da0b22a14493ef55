//! Sales orders in SAP S/4HANA: the contract `retail/erp-orders@1` over `API_SALES_ORDER_SRV` (OData V2).
//!
//! SAP knows no idempotency key. An order's key is its `PurchaseOrderByCustomer`, and whoever is in doubt, or tries
//! again, asks by that before posting. What a write answers was read back from SAP after it.
//!
//! | file | what |
//! | --- | --- |
//! | `config` | settings |
//! | `order` | the canonical order, as far as SAP needs it |
//! | `document` | SAP's sales order, as it is sent and as it comes back |
//! | `service` | requests: token, ETag, query |
//! | `refusal` | what SAP's refusals mean |

use crossdock_plugin::{Call, Failure, context};
use serde::{Deserialize, Serialize};

use self::{
    config::Config,
    document::{Cancelled, Document, SalesOrder},
    order::Order,
    service::Service,
};

mod config;
mod document;
mod order;
mod refusal;
mod service;
#[cfg(test)]
mod tests;

crossdock_plugin::connector! {
    "create_order" => create_order,
    "find_order" => find_order,
    "read_order" => read_order,
    "cancel_order" => cancel_order,
}

/// What `create_order` and `find_order` take.
#[derive(Debug, Deserialize)]
pub struct ForOrder {
    order: Order,
}

/// What `read_order` takes.
#[derive(Debug, Deserialize)]
pub struct ById {
    id: String,
}

/// What `cancel_order` takes.
#[derive(Debug, Deserialize)]
pub struct Cancellation {
    id: String,
}

/// Creates the sales order, unless an earlier attempt did, and answers what SAP made of it.
fn create_order(input: ForOrder, call: &Call) -> Result<SalesOrder, Failure> {
    let config: Config = call.config()?;
    let service = Service::new(&config)?;
    if call.attempt > 1
        && let Some(found) = find(&service, &config, &input.order)?
    {
        context::annotate("sap.found", &found.number);
        return Ok(found);
    }
    let created = service.create(&document::draft(&input.order, &config))?;
    context::annotate("sap.created", &created);
    // SAP has the order by now: whatever goes wrong from here on is doubt, and doubt is resolved by `find_order`.
    service.read(&created).and_then(Document::into_order).map_err(refusal::after_write)
}

/// Finds the sales order that was made for an order.
fn find_order(input: ForOrder, call: &Call) -> Result<Option<SalesOrder>, Failure> {
    let config: Config = call.config()?;
    find(&Service::new(&config)?, &config, &input.order)
}

/// Reads a sales order.
fn read_order(input: ById, call: &Call) -> Result<SalesOrder, Failure> {
    let service = Service::new(&call.config::<Config>()?)?;
    service.read(document::number(&input.id)?)?.into_order()
}

/// Deletes a sales order under its ETag. Whoever changed it in between wins once; then it is somebody else's turn.
fn cancel_order(input: Cancellation, call: &Call) -> Result<Cancelled, Failure> {
    let service = Service::new(&call.config::<Config>()?)?;
    let number = document::number(&input.id)?;
    for last in [false, true] {
        let Some(current) = service.read_if_there(number)? else { break };
        if service.delete(number, current.etag(), last)? {
            break;
        }
    }
    Ok(Cancelled::new(number))
}

/// The sales order with the order's key. Should there be several, the oldest is the one that the others repeat.
fn find(service: &Service, config: &Config, order: &Order) -> Result<Option<SalesOrder>, Failure> {
    let mut found = service.with_reference(&config.sold_to, &order.key)?.into_iter();
    let first = found.next();
    if let Some(second) = found.next() {
        context::annotate("sap.also-there", second.number());
    }
    first.map(Document::into_order).transpose()
}
