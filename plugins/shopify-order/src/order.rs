//! The order as Shopify says it, and as everybody else means it.

use crossdock_plugin::{Decimal, Failure};
use serde::{Deserialize, Serialize};

/// A Shopify order, as far as the canonical order needs it.
#[derive(Debug, Deserialize)]
pub struct ShopifyOrder {
    admin_graphql_api_id: String,
    name: String,
    pub(crate) created_at: String,
    currency: String,
    financial_status: Option<String>,
    total_price: Decimal,
    #[serde(default)]
    total_tax: Option<Decimal>,
    #[serde(default)]
    total_weight: Option<u64>,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    customer: Option<ShopifyCustomer>,
    #[serde(default)]
    shipping_address: Option<Address>,
    #[serde(default)]
    shipping_lines: Vec<ShippingLine>,
    line_items: Vec<LineItem>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ShopifyCustomer {
    admin_graphql_api_id: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    email: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Address {
    name: Option<String>,
    address1: Option<String>,
    address2: Option<String>,
    city: Option<String>,
    zip: Option<String>,
    country_code: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ShippingLine {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    title: Option<String>,
    price: Decimal,
    /// What is left of the price after discounts on shipping.
    #[serde(default)]
    discounted_price: Option<Decimal>,
}

#[derive(Debug, Deserialize)]
struct LineItem {
    sku: Option<String>,
    #[serde(default)]
    title: Option<String>,
    quantity: u32,
    price: Decimal,
    /// This line's share of every discount, those on the whole order included.
    #[serde(default)]
    discount_allocations: Option<Vec<Discount>>,
    /// Without the shares above: the discounts on this line alone.
    #[serde(default)]
    total_discount: Option<Decimal>,
    #[serde(default)]
    grams: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Discount {
    amount: Decimal,
}

/// The canonical order, `retail/order@1`. Money is in the order's currency.
#[derive(Debug, PartialEq, Serialize)]
pub struct Order {
    key: String,
    source_id: String,
    placed: String,
    channel: &'static str,
    financial_status: String,
    shipping_class: &'static str,
    customer: Customer,
    ship_to: ShipTo,
    currency: String,
    lines: Vec<Line>,
    shipping: Decimal,
    tax: Decimal,
    total: Decimal,
    weight_grams: u64,
}

#[derive(Debug, PartialEq, Serialize)]
struct Customer {
    id: String,
    name: String,
    email: String,
}

#[derive(Debug, PartialEq, Serialize)]
struct ShipTo {
    name: String,
    street: String,
    city: String,
    postal_code: String,
    country: String,
}

#[derive(Debug, PartialEq, Serialize)]
struct Line {
    sku: String,
    title: String,
    quantity: u32,
    unit_price: Decimal,
    total: Decimal,
}

impl ShopifyOrder {
    /// What people call the order, without the `#`.
    pub(crate) fn key(&self) -> String {
        self.name.trim_start_matches('#').trim().to_owned()
    }
}

pub(crate) fn normalized(order: ShopifyOrder) -> Result<Order, Failure> {
    let key = order.key();
    if key.is_empty() {
        return Err(Failure::invalid("order.no-name", "the order's `name` is empty; it is the order's key"));
    }
    if order.line_items.iter().all(|line| line.quantity == 0) {
        return Err(Failure::invalid("order.no-lines", format!("order {key} has no `line_items` to deliver")));
    }
    let address = order
        .shipping_address
        .ok_or_else(|| Failure::invalid("order.no-address", format!("order {key} has no `shipping_address`")))?;
    let shipping_class = if order.shipping_lines.iter().any(ShippingLine::is_express) { "express" } else { "standard" };
    let shipping = order.shipping_lines.iter().map(|line| line.discounted_price.unwrap_or(line.price)).sum();
    let weighed = order.line_items.iter().map(LineItem::grams).fold(0, u64::saturating_add);
    let lines = order
        .line_items
        .into_iter()
        .enumerate()
        // What was taken off the order again stays in it with quantity 0.
        .filter(|(_, line)| line.quantity > 0)
        .map(|(number, line)| line.normalized(number, &key))
        .collect::<Result<_, _>>()?;
    let customer = order.customer.unwrap_or_default();
    let ship_to = address.normalized();
    for (field, value) in [("address1", &ship_to.street), ("city", &ship_to.city), ("country_code", &ship_to.country)] {
        if value.is_empty() {
            let message = format!("order {key} says no `shipping_address.{field}`");
            return Err(Failure::invalid("order.address-incomplete", message));
        }
    }
    Ok(Order {
        source_id: order.admin_graphql_api_id,
        placed: order.created_at,
        channel: "shopify",
        financial_status: order.financial_status.unwrap_or_else(|| "unknown".to_owned()),
        shipping_class,
        customer: Customer {
            id: customer.admin_graphql_api_id.unwrap_or_else(|| "guest".to_owned()),
            name: joined([customer.first_name, customer.last_name], " ").unwrap_or_else(|| ship_to.name.clone()),
            email: customer.email.or(order.email).unwrap_or_default(),
        },
        ship_to,
        currency: order.currency,
        lines,
        shipping,
        tax: order.total_tax.unwrap_or(Decimal::ZERO),
        total: order.total_price,
        weight_grams: order.total_weight.filter(|grams| *grams > 0).unwrap_or(weighed),
        key,
    })
}

impl ShippingLine {
    fn is_express(&self) -> bool {
        [&self.code, &self.title].into_iter().flatten().any(|text| text.to_lowercase().contains("express"))
    }
}

impl LineItem {
    fn grams(&self) -> u64 {
        self.grams.unwrap_or(0).saturating_mul(self.quantity.into())
    }

    fn normalized(self, number: usize, order: &str) -> Result<Line, Failure> {
        let sku = self.sku.filter(|sku| !sku.is_empty()).ok_or_else(|| {
            let message = format!("line {} of order {order} has no `sku`: give its variant one in Shopify", number + 1);
            Failure::invalid("order.no-sku", message)
        })?;
        let discount = match self.discount_allocations {
            Some(shares) => shares.iter().map(|share| share.amount).sum(),
            None => self.total_discount.unwrap_or(Decimal::ZERO),
        };
        Ok(Line {
            sku,
            title: self.title.unwrap_or_default(),
            quantity: self.quantity,
            unit_price: self.price,
            total: self.price.times(self.quantity) - discount,
        })
    }
}

impl Address {
    fn normalized(self) -> ShipTo {
        ShipTo {
            name: self.name.unwrap_or_default(),
            street: joined([self.address1, self.address2], ", ").unwrap_or_default(),
            city: self.city.unwrap_or_default(),
            postal_code: self.zip.unwrap_or_default(),
            country: self.country_code.unwrap_or_default(),
        }
    }
}

/// The parts that are there; nothing if none is.
fn joined(parts: [Option<String>; 2], separator: &str) -> Option<String> {
    let there: Vec<String> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    (!there.is_empty()).then(|| there.join(separator))
}
