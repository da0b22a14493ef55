//! Orders as a customer would place them, and the webhooks that tell of them.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Shop, delivery::Signature};
use crate::{
    model::timestamp::Timestamp,
    sandbox::{
        catalogue::{Product, euros, product},
        lock, unique,
    },
};

/// What a webhook is about.
const TOPIC: &str = "orders/create";
/// German value added tax, which the prices include.
const TAX_PERCENT: u64 = 19;

/// Somebody to buy something. Invented.
struct Customer {
    first_name: &'static str,
    last_name: &'static str,
    street: &'static str,
    zip: &'static str,
    city: &'static str,
}

const CUSTOMERS: [Customer; 3] = [
    Customer { first_name: "Amira", last_name: "Jansen", street: "Weserstr. 17", zip: "12045", city: "Berlin" },
    Customer { first_name: "Jonas", last_name: "Petersen", street: "Bleichenbrücke 4", zip: "20354", city: "Hamburg" },
    Customer { first_name: "Lea", last_name: "Novak", street: "Karl-Heine-Str. 62", zip: "04229", city: "Leipzig" },
];

/// An order by the names that it goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedOrder {
    /// Its numeric id.
    pub id: u64,
    /// Its global id, `gid://shopify/Order/…`: the safe key.
    pub global_id: String,
    /// What the customer sees, such as `#1001`.
    pub name: String,
    /// What the customer pays, as a decimal string.
    pub total: String,
    /// The currency of that.
    pub currency: &'static str,
}

impl PlacedOrder {
    /// Everything that a system downstream may call it by.
    #[must_use]
    pub fn references(&self) -> Vec<String> {
        let number = self.name.trim_start_matches('#').to_owned();
        vec![self.name.clone(), number, self.id.to_string(), self.global_id.clone()]
    }
}

/// A webhook, ready to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// What is special about it, for people.
    pub title: &'static str,
    /// The order that it tells of.
    pub order: Option<PlacedOrder>,
    /// `X-Shopify-Topic`.
    pub topic: &'static str,
    /// `X-Shopify-Event-Id`: the same for every telling of one event.
    pub event_id: String,
    /// `X-Shopify-Webhook-Id`: the same for every attempt at one delivery.
    pub delivery_id: String,
    /// `X-Shopify-Triggered-At`.
    pub triggered_at: Timestamp,
    /// The raw bytes, which the signature covers.
    pub body: Bytes,
    /// How it is signed.
    pub signature: Signature,
}

impl Shop {
    /// An ordinary paid order: a stove and two mugs, 75.30 EUR.
    #[must_use]
    pub fn ordinary(&self) -> Webhook {
        self.place("ordinary", &[("STOVE-GAS-01", 1), ("MUG-ENML-BLU", 2)])
    }

    /// A paid order of high value: a cargo bike and its lock, 3328.00 EUR.
    #[must_use]
    pub fn high_value(&self) -> Webhook {
        self.place("high value", &[("EBIKE-CARGO-L", 1), ("LOCK-CHAIN-90", 1)])
    }

    /// The same event again in another delivery, as Shopify sends it when two subscriptions match or an answer got lost.
    #[must_use]
    pub fn duplicate_of(&self, webhook: &Webhook) -> Webhook {
        Webhook { title: "duplicate", delivery_id: uuid(), ..webhook.clone() }
    }

    /// An order whose body breaks off in the middle, signed correctly: what is wrong is the JSON, not the sender.
    #[must_use]
    pub fn malformed(&self) -> Webhook {
        let whole = self.place("malformed", &[("TENT-2P-GRN", 1)]);
        let body = whole.body.slice(..whole.body.len() / 2);
        Webhook { body, ..whole }
    }

    /// A good order signed by somebody who does not know the secret.
    #[must_use]
    pub fn wrongly_signed(&self) -> Webhook {
        Webhook { signature: Signature::Wrong, ..self.place("wrongly signed", &[("BAG-SLP-M5", 1)]) }
    }

    /// Places an order for products of the catalogue, and the webhook about it. Unknown ones are left out.
    #[must_use]
    pub fn place(&self, title: &'static str, lines: &[(&str, u64)]) -> Webhook {
        let now = self.clock.now();
        let lines: Vec<_> = lines.iter().filter_map(|(sku, quantity)| Some((product(sku)?, *quantity))).collect();
        let (order, placed) = {
            let mut orders = lock(&self.counter.orders);
            let number = self.counter.options.first_order_number + orders.len() as u64;
            let (order, placed) = order(number, &lines, now);
            orders.push(order.clone());
            (order, placed)
        };
        Webhook {
            title,
            order: Some(placed),
            topic: TOPIC,
            event_id: uuid(),
            delivery_id: uuid(),
            triggered_at: now,
            body: Bytes::from(order.to_string()),
            signature: Signature::Good,
        }
    }
}

/// An id of 14 digits, as long as Shopify's are today; random, so that two demos on one hub do not share any.
fn numeric_id() -> u64 {
    10_000_000_000_000 + u64::from_str_radix(&unique(5), 16).unwrap_or(0)
}

fn uuid() -> String {
    let hex = unique(16);
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-4{}-a{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

fn money(cents: u64) -> Value {
    let amount = json!({ "amount": euros(cents), "currency_code": "EUR" });
    json!({ "shop_money": amount, "presentment_money": amount })
}

/// The tax within a price that includes it, rounded half up.
const fn tax_within(cents: u64) -> u64 {
    let divisor = 100 + TAX_PERCENT;
    (cents * TAX_PERCENT + divisor / 2) / divisor
}

fn order(number: u64, lines: &[(&Product, u64)], now: Timestamp) -> (Value, PlacedOrder) {
    let id = numeric_id();
    let global_id = format!("gid://shopify/Order/{id}");
    let name = format!("#{number}");
    let total: u64 = lines.iter().map(|(product, quantity)| product.price_cents * quantity).sum();
    let weight: u64 = lines.iter().map(|(product, quantity)| product.weight_grams * quantity).sum();
    let customer = CUSTOMERS.iter().cycle().nth(usize::try_from(number % 3).unwrap_or(0));
    let mut order = json!({
        "id": id,
        "admin_graphql_api_id": global_id,
        "name": name,
        "order_number": number,
        "created_at": now.to_string(),
        "updated_at": now.to_string(),
        "processed_at": now.to_string(),
        "cancelled_at": null,
        "currency": "EUR",
        "presentment_currency": "EUR",
        "financial_status": "paid",
        "fulfillment_status": null,
        "source_name": "web",
        "test": true,
        "tags": "",
        "note": null,
        "taxes_included": true,
        "subtotal_price": euros(total),
        "subtotal_price_set": money(total),
        "total_discounts": "0.00",
        "total_tax": euros(tax_within(total)),
        "total_price": euros(total),
        "total_price_set": money(total),
        "total_shipping_price_set": money(0),
        "total_weight": weight,
        "line_items": lines.iter().map(|(product, quantity)| line(product, *quantity)).collect::<Vec<_>>(),
        "shipping_lines": [{
            "id": numeric_id(),
            "code": "standard",
            "title": "Standard delivery, free of charge",
            "price": "0.00",
            "discounted_price": "0.00",
            "price_set": money(0),
            "tax_lines": [],
        }],
        "discount_codes": [],
        "refunds": [],
    });
    if let (Some(customer), Value::Object(order)) = (customer, &mut order) {
        order.extend(people(customer));
    }
    let placed = PlacedOrder { id, global_id, name, total: euros(total), currency: "EUR" };
    (order, placed)
}

fn line(product: &Product, quantity: u64) -> Value {
    let (id, amount) = (numeric_id(), product.price_cents * quantity);
    let tax = euros(tax_within(amount));
    json!({
        "id": id,
        "admin_graphql_api_id": format!("gid://shopify/LineItem/{id}"),
        "product_id": numeric_id(),
        "variant_id": numeric_id(),
        "sku": product.sku,
        "title": product.title,
        "name": product.title,
        "vendor": "Nordlicht Outdoor",
        "quantity": quantity,
        "current_quantity": quantity,
        "fulfillable_quantity": quantity,
        "fulfillment_status": null,
        "grams": product.weight_grams,
        "price": euros(product.price_cents),
        "price_set": money(product.price_cents),
        "total_discount": "0.00",
        "discount_allocations": [],
        "requires_shipping": true,
        "gift_card": false,
        "taxable": true,
        "tax_lines": [{ "title": "MwSt", "rate": 0.19, "price": tax }],
        "properties": [],
    })
}

fn people(customer: &Customer) -> serde_json::Map<String, Value> {
    let name = format!("{} {}", customer.first_name, customer.last_name);
    let email = format!("{}.{}@example.com", customer.first_name, customer.last_name).to_lowercase();
    let id = numeric_id();
    let address = json!({
        "first_name": customer.first_name,
        "last_name": customer.last_name,
        "name": name,
        "company": null,
        "address1": customer.street,
        "address2": null,
        "zip": customer.zip,
        "city": customer.city,
        "province": null,
        "province_code": null,
        "country": "Germany",
        "country_code": "DE",
        "phone": null,
    });
    let fields = [
        ("email", json!(email)),
        ("contact_email", json!(email)),
        ("billing_address", address.clone()),
        ("shipping_address", address),
        (
            "customer",
            json!({
                "id": id,
                "admin_graphql_api_id": format!("gid://shopify/Customer/{id}"),
                "email": email,
                "first_name": customer.first_name,
                "last_name": customer.last_name,
                "currency": "EUR",
                "tags": "",
            }),
        ),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
