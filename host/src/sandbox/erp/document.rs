//! The sales orders: created with their items, read, changed under their ETag, deleted.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{
    SERVICE_PATH, SalesOrder, SalesOrderItem,
    amount::Amount,
    failure::SapFailure,
    property::{Fields, HEADER, ITEM, Writing, initial, write, write_date},
};
use crate::{model::timestamp::Timestamp, ports::clock::Clock};

/// An order may have this many items.
const ITEMS_MAX: usize = 999;
/// What can be created along with an order or an item.
const HEADER_NAVIGATIONS: [&str; 4] = ["to_Item", "to_Partner", "to_PricingElement", "to_Text"];
const ITEM_NAVIGATIONS: [&str; 1] = ["to_PricingElement"];
/// Without these SAP does not know which sales area and customer an order is for.
const REQUIRED: [&str; 5] =
    ["SalesOrderType", "SalesOrganization", "DistributionChannel", "OrganizationDivision", "SoldToParty"];

/// All sales orders.
pub(super) struct Books {
    documents: Vec<Document>,
    next: u64,
    user: String,
    clock: Arc<dyn Clock>,
}

/// A sales order.
pub(super) struct Document {
    pub(super) fields: Fields,
    pub(super) items: Vec<Fields>,
    changed: Timestamp,
    deleted: bool,
}

impl Books {
    pub(super) fn new(first: u64, user: String, clock: Arc<dyn Clock>) -> Self {
        Self { documents: Vec::new(), next: first, user, clock }
    }

    /// Creates an order with its items. There is no idempotency: the same again makes another one.
    pub(super) fn create(&mut self, payload: &Map<String, Value>) -> Result<&Document, SapFailure> {
        let mut fields = initial(&HEADER);
        write(&HEADER, &HEADER_NAVIGATIONS, payload, Writing::Creation, &mut fields)?;
        if let Some(missing) = REQUIRED.iter().find(|name| text(&fields, name).is_empty()) {
            return Err(SapFailure::property(missing, format!("Enter a value for '{missing}'")));
        }
        let mut items = Vec::new();
        for given in listed(payload.get("to_Item"))? {
            let number = (items.len() + 1) * 10;
            items.push(item(given, number, text(&fields, "TransactionCurrency"))?);
        }
        if items.len() > ITEMS_MAX {
            return Err(SapFailure::bad_request(format!("An order has at most {ITEMS_MAX} items")));
        }
        let id = self.next.to_string();
        self.next += 1;
        let now = self.clock.now();
        fields.insert("SalesOrder", Value::from(id.as_str()));
        fields.insert("OverallSDProcessStatus", Value::from("A"));
        fields.insert("OverallDeliveryStatus", Value::from("A"));
        fields.insert("CreatedByUser", Value::from(self.user.as_str()));
        fields.insert("CreationDate", write_date(now));
        for item in &mut items {
            item.insert("SalesOrder", Value::from(id.as_str()));
        }
        let mut document = Document { fields, items, changed: Timestamp::from_millis(0), deleted: false };
        document.settle(now);
        self.documents.push(document);
        self.documents.last().ok_or_else(|| SapFailure::new(StatusCode::INTERNAL_SERVER_ERROR, "no order was made"))
    }

    /// The orders that the service shows, oldest first.
    pub(super) fn present(&self) -> impl Iterator<Item = &Document> {
        self.documents.iter().filter(|document| !document.deleted)
    }

    /// The order with this number, leading zeros or not.
    pub(super) fn find(&self, id: &str) -> Result<&Document, SapFailure> {
        self.present().find(|document| document.id() == id).ok_or_else(|| no_order(id))
    }

    /// Changes an order's header.
    pub(super) fn change(&mut self, id: &str, payload: &Map<String, Value>) -> Result<&Document, SapFailure> {
        let now = self.clock.now();
        let document = self.find_mut(id)?;
        write(&HEADER, &HEADER_NAVIGATIONS, payload, Writing::Change, &mut document.fields)?;
        document.settle(now);
        Ok(document)
    }

    /// Changes one item of an order.
    pub(super) fn change_item(
        &mut self,
        id: &str,
        number: &str,
        payload: &Map<String, Value>,
    ) -> Result<(), SapFailure> {
        let now = self.clock.now();
        let document = self.find_mut(id)?;
        let item = document.items.iter_mut().find(|item| unpadded(text(item, "SalesOrderItem")) == number);
        let item = item.ok_or_else(|| SapFailure::not_found("A_SalesOrderItem"))?;
        write(&ITEM, &ITEM_NAVIGATIONS, payload, Writing::Change, item)?;
        document.settle(now);
        Ok(())
    }

    /// Deletes an order. What was there stays visible to [`Books::summaries`].
    pub(super) fn delete(&mut self, id: &str) -> Result<(), SapFailure> {
        self.find_mut(id)?.deleted = true;
        Ok(())
    }

    /// Changes nothing but the time of the last change. False if there is no such order.
    pub(super) fn touch(&mut self, id: &str) -> bool {
        let now = self.clock.now();
        self.find_mut(id).map(|document| document.settle(now)).is_ok()
    }

    pub(super) fn summaries(&self) -> Vec<SalesOrder> {
        self.documents.iter().map(Document::summary).collect()
    }

    fn find_mut(&mut self, id: &str) -> Result<&mut Document, SapFailure> {
        self.documents.iter_mut().find(|document| !document.deleted && document.id() == id).ok_or_else(|| no_order(id))
    }
}

impl Document {
    pub(super) fn id(&self) -> &str {
        text(&self.fields, "SalesOrder")
    }

    pub(super) fn purchase_order(&self) -> &str {
        text(&self.fields, "PurchaseOrderByCustomer")
    }

    /// The weak ETag, made as SAP makes it from the time of the last change.
    pub(super) fn etag(&self) -> String {
        format!("W/\"datetimeoffset'{}'\"", self.changed.to_string().replace(':', "%3A"))
    }

    /// The path below the host.
    pub(super) fn path(&self) -> String {
        format!("{SERVICE_PATH}/A_SalesOrder('{}')", self.id())
    }

    /// The entity as JSON; the items as a link unless expanded.
    pub(super) fn render(&self, base_url: &str, expand_items: bool) -> Value {
        let uri = format!("{base_url}{}", self.path());
        let mut entity = properties(&self.fields);
        entity.insert(
            "__metadata".into(),
            json!({ "id": uri, "uri": uri, "type": "API_SALES_ORDER_SRV.A_SalesOrderType", "etag": self.etag() }),
        );
        let items = if expand_items {
            json!({ "results": self.render_items(base_url) })
        } else {
            json!({ "__deferred": { "uri": format!("{uri}/to_Item") } })
        };
        entity.insert("to_Item".into(), items);
        Value::Object(entity)
    }

    pub(super) fn render_items(&self, base_url: &str) -> Vec<Value> {
        self.items.iter().map(|item| self.render_item(item, base_url)).collect()
    }

    pub(super) fn render_item(&self, item: &Fields, base_url: &str) -> Value {
        let (order, number) = (self.id(), text(item, "SalesOrderItem"));
        let uri = format!("{base_url}{SERVICE_PATH}/A_SalesOrderItem(SalesOrder='{order}',SalesOrderItem='{number}')");
        let mut entity = properties(item);
        entity.insert(
            "__metadata".into(),
            json!({ "id": uri, "uri": uri, "type": "API_SALES_ORDER_SRV.A_SalesOrderItemType" }),
        );
        Value::Object(entity)
    }

    /// The item with this number, leading zeros or not.
    pub(super) fn item(&self, number: &str) -> Result<&Fields, SapFailure> {
        let same = |item: &&Fields| unpadded(text(item, "SalesOrderItem")) == number;
        self.items.iter().find(same).ok_or_else(|| SapFailure::not_found("A_SalesOrderItem"))
    }

    /// Makes what is derived follow what was written. Each change is later than the one before, so that no two
    /// states share an ETag.
    fn settle(&mut self, now: Timestamp) {
        self.changed = now.max(self.changed.plus_millis(1));
        let amounts = self.items.iter().filter_map(|item| Amount::parse(text(item, "NetAmount")));
        let total = amounts.fold(Amount::default(), Amount::plus);
        let rejected = self.items.iter().filter(|item| !text(item, "SalesDocumentRjcnReason").is_empty()).count();
        let rejection = match rejected {
            0 => "A",
            some if some < self.items.len() => "B",
            _ => "C",
        };
        self.fields.insert("TotalNetAmount", Value::from(total.to_string()));
        self.fields.insert("OverallSDDocumentRejectionSts", Value::from(rejection));
        self.fields.insert("OverallSDProcessStatus", Value::from(if rejection == "C" { "C" } else { "A" }));
        self.fields.insert("LastChangeDate", write_date(self.changed));
        self.fields.insert("LastChangeDateTime", write_date(self.changed));
    }

    fn summary(&self) -> SalesOrder {
        let own = |name: &str| text(&self.fields, name).to_owned();
        let line = |item: &Fields| SalesOrderItem {
            number: text(item, "SalesOrderItem").to_owned(),
            material: text(item, "Material").to_owned(),
            quantity: text(item, "RequestedQuantity").to_owned(),
            net_amount: text(item, "NetAmount").to_owned(),
            plant: [text(item, "ProductionPlant"), text(item, "Plant")].concat(),
        };
        SalesOrder {
            id: own("SalesOrder"),
            purchase_order: own("PurchaseOrderByCustomer"),
            sold_to: own("SoldToParty"),
            total_net_amount: own("TotalNetAmount"),
            currency: own("TransactionCurrency"),
            items: self.items.iter().map(line).collect(),
            rejected: own("OverallSDDocumentRejectionSts") == "C",
            deleted: self.deleted,
            document: self.render("", true),
        }
    }
}

/// A property's text; empty for a date that is not set.
pub(super) fn text<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A key as SAP compares it: `0000004711` is `4711`.
pub(super) fn unpadded(key: &str) -> &str {
    key.trim_start_matches('0')
}

fn properties(fields: &Fields) -> Map<String, Value> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn no_order(id: &str) -> SapFailure {
    SapFailure::new(StatusCode::NOT_FOUND, format!("Sales order {id} does not exist"))
}

/// A navigation's entities: a bare array, or OData V2's `{"results": […]}`.
fn listed(value: Option<&Value>) -> Result<Vec<&Map<String, Value>>, SapFailure> {
    let entities = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(wrapped)) => wrapped.get("results").and_then(Value::as_array),
        Some(other) => other.as_array(),
    };
    let objects = entities.and_then(|entities| entities.iter().map(Value::as_object).collect::<Option<Vec<_>>>());
    objects.ok_or_else(|| SapFailure::bad_request("A navigation is an array of objects, or `{\"results\": […]}`"))
}

fn item(given: &Map<String, Value>, number: usize, currency: &str) -> Result<Fields, SapFailure> {
    let mut fields = initial(&ITEM);
    fields.insert("SalesOrderItem", Value::from(number.to_string()));
    fields.insert("SalesOrderItemCategory", Value::from("TAN"));
    fields.insert("RequestedQuantityUnit", Value::from("PC"));
    fields.insert("TransactionCurrency", Value::from(currency));
    write(&ITEM, &ITEM_NAVIGATIONS, given, Writing::Creation, &mut fields)?;
    if text(&fields, "Material").is_empty() {
        return Err(SapFailure::property("Material", format!("Enter a material for item {number}")));
    }
    let quantity = Amount::parse(text(&fields, "RequestedQuantity")).filter(|quantity| quantity.is_positive());
    let Some(quantity) = quantity else {
        return Err(SapFailure::property("RequestedQuantity", format!("Enter an order quantity for item {number}")));
    };
    // A manual price condition, where no amount is given: rate times quantity.
    let rate =
        listed(given.get("to_PricingElement"))?.into_iter().find_map(|element| element.get("ConditionRateValue"));
    if let (Some(rate), false) = (rate, given.contains_key("NetAmount")) {
        let amount = rate.as_str().and_then(Amount::parse).and_then(|rate| rate.times(quantity));
        let amount = amount.ok_or_else(|| SapFailure::property("ConditionRateValue", "not a decimal string"))?;
        fields.insert("NetAmount", Value::from(amount.to_string()));
    }
    Ok(fields)
}
