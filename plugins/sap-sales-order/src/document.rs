//! SAP's sales order: as it is sent, as it comes back, and as the contract answers it.

use crossdock_plugin::Failure;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    config::Config,
    order::{Line, Order},
};

/// `SalesOrderItemText` is no longer.
const ITEM_TEXT_CHARACTERS_MAX: usize = 40;
/// A sales order's number is no longer.
const NUMBER_CHARACTERS_MAX: usize = 10;
const DAY_MS: i64 = 86_400_000;

/// The deep insert that creates a sales order with its items.
pub(crate) fn draft(order: &Order, config: &Config) -> Value {
    let mut items: Vec<Value> = order.lines.iter().map(|line| item(line, &config.unit, order, config)).collect();
    if order.shipping.bytes().any(|byte| matches!(byte, b'1'..=b'9')) {
        let shipping = Line {
            sku: config.shipping_material.clone(),
            title: "Shipping".into(),
            quantity: 1,
            total: order.shipping.clone(),
        };
        items.push(item(&shipping, &config.unit, order, config));
    }
    let mut header = json!({
        "SalesOrderType": config.order_type,
        "SalesOrganization": config.sales_organization,
        "DistributionChannel": config.distribution_channel,
        "OrganizationDivision": config.division,
        "SoldToParty": config.sold_to,
        "PurchaseOrderByCustomer": order.key,
        "TransactionCurrency": order.currency,
        "to_Item": { "results": items },
    });
    if let (Some(date), Some(header)) = (date(&order.placed), header.as_object_mut()) {
        header.insert("CustomerPurchaseOrderDate".into(), date.into());
    }
    header
}

fn item(line: &Line, unit: &str, order: &Order, config: &Config) -> Value {
    let mut item = Map::new();
    let mut set = |name: &str, value: Value| item.insert(name.to_owned(), value);
    set("Material", line.sku.as_str().into());
    set("SalesOrderItemText", line.title.chars().take(ITEM_TEXT_CHARACTERS_MAX).collect::<String>().into());
    set("RequestedQuantity", line.quantity.to_string().into());
    set("RequestedQuantityUnit", unit.into());
    match &config.price_condition {
        None => {
            set("NetAmount", line.total.as_str().into());
            set("TransactionCurrency", order.currency.as_str().into());
        }
        Some(condition) => {
            let element = json!({
                "ConditionType": condition,
                "ConditionRateValue": line.total,
                "ConditionCurrency": order.currency,
                "ConditionQuantity": line.quantity.to_string(),
                "ConditionQuantityUnit": unit,
            });
            set("to_PricingElement", json!({ "results": [element] }));
        }
    }
    Value::Object(item)
}

/// A sales order's number, as the contract's id; nothing else gets into a URL.
pub(crate) fn number(id: &str) -> Result<&str, Failure> {
    let fits = (1..=NUMBER_CHARACTERS_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    fits.then_some(id).ok_or_else(|| {
        Failure::invalid("sap.number", "a sales order's number is 1 to 10 letters and digits; give the `id` of create_order")
    })
}

/// The calendar day of an RFC 3339 time, as OData V2 writes it in JSON.
fn date(time: &str) -> Option<String> {
    let part = |from: usize, to: usize| time.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days since 1970, after Howard Hinnant's `days_from_civil`: years begin in March, so that leap days come last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(format!("/Date({})/", days * DAY_MS))
}

/// A sales order as SAP answers it.
#[derive(Debug, Deserialize)]
pub(crate) struct Document {
    #[serde(rename = "__metadata", default)]
    metadata: Metadata,
    #[serde(rename = "SalesOrder")]
    number: String,
    #[serde(rename = "PurchaseOrderByCustomer")]
    reference: Option<String>,
    #[serde(rename = "TotalNetAmount")]
    total: String,
    #[serde(rename = "TransactionCurrency")]
    currency: String,
    #[serde(rename = "OverallSDProcessStatus")]
    process_status: Option<String>,
    #[serde(rename = "OverallSDDocumentRejectionSts")]
    rejection_status: Option<String>,
    #[serde(rename = "to_Item", default)]
    items: Items,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    etag: Option<String>,
}

/// Items, if they were asked for.
#[derive(Debug, Default, Deserialize)]
struct Items {
    #[serde(default)]
    results: Vec<Item>,
}

#[derive(Debug, Deserialize)]
struct Item {
    #[serde(rename = "SalesOrderItem")]
    line: String,
    #[serde(rename = "Material")]
    material: Option<String>,
    #[serde(rename = "RequestedQuantity")]
    quantity: String,
    #[serde(rename = "NetAmount")]
    amount: Option<String>,
}

impl Document {
    pub(crate) fn number(&self) -> &str {
        &self.number
    }

    pub(crate) fn etag(&self) -> Option<&str> {
        self.metadata.etag.as_deref()
    }

    /// The contract's view of it.
    pub(crate) fn into_order(self) -> Result<SalesOrder, Failure> {
        let status = match (self.rejection_status.as_deref(), self.process_status.as_deref()) {
            (Some("C"), _) => "cancelled",
            (_, Some("C")) => "completed",
            (_, Some("B")) => "in-process",
            _ => "open",
        };
        let lines = self.items.results.into_iter().map(SalesOrderLine::try_from).collect::<Result<_, _>>()?;
        Ok(SalesOrder {
            number: without_padding(&self.number),
            id: self.number,
            reference: self.reference.unwrap_or_default(),
            total: money(&self.total)?,
            currency: self.currency,
            status,
            lines,
        })
    }
}

/// A sales order as the contract answers it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SalesOrder {
    pub(crate) id: String,
    pub(crate) number: String,
    pub(crate) reference: String,
    pub(crate) total: String,
    pub(crate) currency: String,
    pub(crate) status: &'static str,
    pub(crate) lines: Vec<SalesOrderLine>,
}

/// An item as the contract answers it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SalesOrderLine {
    line: String,
    sku: String,
    quantity: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<String>,
}

impl TryFrom<Item> for SalesOrderLine {
    type Error = Failure;

    fn try_from(item: Item) -> Result<Self, Failure> {
        Ok(Self {
            line: without_padding(&item.line),
            sku: item.material.unwrap_or_default(),
            quantity: decimal(&item.quantity, 0)?,
            total: item.amount.as_deref().map(money).transpose()?,
        })
    }
}

/// What `cancel_order` answers.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Cancelled {
    id: String,
    status: &'static str,
}

impl Cancelled {
    pub(crate) fn new(number: &str) -> Self {
        Self { id: number.to_owned(), status: "cancelled" }
    }
}

/// SAP pads its numbers with zeros; people leave them out.
fn without_padding(number: &str) -> String {
    number.trim_start_matches('0').to_owned()
}

/// SAP writes amounts with the scale of the field (`124.700`), not of the currency; the contract's have two places.
fn money(text: &str) -> Result<String, Failure> {
    decimal(text, 2)
}

/// A decimal without the zeros that its scale added, yet with so many places.
fn decimal(text: &str, places_min: usize) -> Result<String, Failure> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole.strip_prefix('-').unwrap_or(whole)) || whole.trim_start_matches('-').is_empty() || !digits(fraction) {
        return Err(Failure::permanent("sap.not-decimal", "SAP answered an amount that is not a decimal number"));
    }
    let kept = fraction.trim_end_matches('0');
    let places = kept.len().max(places_min);
    Ok(if places == 0 { whole.to_owned() } else { format!("{whole}.{kept:0<places$}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_two_places_and_no_more_than_they_need() {
        for (sap, ours) in [("124.700", "124.70"), ("124", "124.00"), ("-0.475", "-0.475"), ("5.000", "5.00")] {
            assert_eq!(money(sap).unwrap(), ours);
        }
        assert_eq!(decimal("2.000", 0).unwrap(), "2");
        for wrong in ["", "-", "1,5", "1.2.3", "1e3"] {
            assert!(money(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_day_is_counted_from_1970() {
        for (time, date_ms) in [
            ("1970-01-01T00:00:00Z", "/Date(0)/"),
            ("2000-02-29T23:59:59Z", "/Date(951782400000)/"),
            ("2026-03-01T08:15:00+01:00", "/Date(1772323200000)/"),
        ] {
            assert_eq!(date(time).as_deref(), Some(date_ms));
        }
        assert_eq!(date("yesterday"), None);
    }

    #[test]
    fn a_number_cannot_carry_a_path() {
        assert!(number("0000004711").is_ok());
        for wrong in ["", "4711')/x('", "47 11", "12345678901"] {
            assert!(number(wrong).is_err(), "{wrong}");
        }
    }
}
