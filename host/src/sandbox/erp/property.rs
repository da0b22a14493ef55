//! The fields of a sales order and of its items: what they hold, and who may set them when.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{amount::Amount, failure::SapFailure};
use crate::model::timestamp::Timestamp;

/// A document's values by property. A date that is not set is null; everything else is text.
pub(super) type Fields = BTreeMap<&'static str, Value>;

/// A property of an entity type.
pub(super) struct Property {
    pub(super) name: &'static str,
    kind: Kind,
    access: Access,
}

enum Kind {
    /// Text of at most so many characters.
    Text(usize),
    Decimal,
    Date,
}

#[derive(PartialEq)]
enum Access {
    /// The server sets it.
    ReadOnly,
    /// Given when the entity is created, and not changed after.
    Once,
    /// Given at any time.
    Free,
}

const fn text(name: &'static str, length_max: usize) -> Property {
    Property { name, kind: Kind::Text(length_max), access: Access::Free }
}

const fn once(name: &'static str, length_max: usize) -> Property {
    Property { name, kind: Kind::Text(length_max), access: Access::Once }
}

const fn read_only(name: &'static str, kind: Kind) -> Property {
    Property { name, kind, access: Access::ReadOnly }
}

const fn date(name: &'static str) -> Property {
    Property { name, kind: Kind::Date, access: Access::Free }
}

const fn decimal(name: &'static str) -> Property {
    Property { name, kind: Kind::Decimal, access: Access::Free }
}

/// `A_SalesOrder`, as far as the sandbox keeps it.
pub(super) const HEADER: [Property; 30] = [
    read_only("SalesOrder", Kind::Text(10)),
    once("SalesOrderType", 4),
    once("SalesOrganization", 4),
    once("DistributionChannel", 2),
    once("OrganizationDivision", 2),
    text("SalesGroup", 3),
    text("SalesOffice", 4),
    text("SoldToParty", 10),
    text("PurchaseOrderByCustomer", 35),
    text("CustomerPurchaseOrderType", 4),
    date("CustomerPurchaseOrderDate"),
    text("TransactionCurrency", 5),
    text("SDDocumentReason", 3),
    date("SalesOrderDate"),
    date("RequestedDeliveryDate"),
    date("PricingDate"),
    text("ShippingCondition", 2),
    text("IncotermsClassification", 3),
    text("CustomerPaymentTerms", 4),
    text("ReferenceSDDocument", 10),
    text("DeliveryBlockReason", 2),
    text("HeaderBillingBlockReason", 2),
    read_only("TotalNetAmount", Kind::Decimal),
    read_only("OverallSDProcessStatus", Kind::Text(1)),
    read_only("OverallDeliveryStatus", Kind::Text(1)),
    read_only("OverallSDDocumentRejectionSts", Kind::Text(1)),
    read_only("CreatedByUser", Kind::Text(12)),
    read_only("CreationDate", Kind::Date),
    read_only("LastChangeDate", Kind::Date),
    read_only("LastChangeDateTime", Kind::Date),
];

/// `A_SalesOrderItem`, as far as the sandbox keeps it.
pub(super) const ITEM: [Property; 18] = [
    read_only("SalesOrder", Kind::Text(10)),
    once("SalesOrderItem", 6),
    text("HigherLevelItem", 6),
    text("SalesOrderItemCategory", 4),
    text("SalesOrderItemText", 40),
    text("PurchaseOrderByCustomer", 35),
    text("Material", 40),
    text("MaterialByCustomer", 35),
    text("MaterialGroup", 9),
    decimal("RequestedQuantity"),
    text("RequestedQuantityUnit", 3),
    decimal("NetAmount"),
    text("TransactionCurrency", 5),
    text("Plant", 4),
    text("ProductionPlant", 4),
    text("ShippingPoint", 4),
    date("RequestedDeliveryDate"),
    text("SalesDocumentRjcnReason", 2),
];

/// What an entity is being written for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Writing {
    Creation,
    Change,
}

/// Every property at its initial value, as ABAP has it: empty text, zero, no date.
pub(super) fn initial(properties: &[Property]) -> Fields {
    let value = |property: &Property| match property.kind {
        Kind::Text(_) => Value::from(""),
        Kind::Decimal => Value::from(Amount::default().to_string()),
        Kind::Date => Value::Null,
    };
    properties.iter().map(|property| (property.name, value(property))).collect()
}

/// Writes what a payload holds into `fields`, all of it or none. `navigations` are left to the caller.
pub(super) fn write(
    properties: &[Property],
    navigations: &[&str],
    payload: &Map<String, Value>,
    writing: Writing,
    fields: &mut Fields,
) -> Result<(), SapFailure> {
    let mut changes = Fields::new();
    for (name, value) in payload {
        if name.starts_with("__") || navigations.contains(&name.as_str()) {
            continue;
        }
        let Some(property) = properties.iter().find(|property| property.name == name) else {
            return Err(SapFailure::property(name, format!("Property '{name}' is invalid")));
        };
        let writable = match property.access {
            Access::ReadOnly => false,
            Access::Once => writing == Writing::Creation,
            Access::Free => true,
        };
        if !writable {
            return Err(SapFailure::property(name, format!("Property '{name}' is read-only here")));
        }
        changes.insert(property.name, accepted(property, value)?);
    }
    fields.extend(changes);
    Ok(())
}

fn accepted(property: &Property, value: &Value) -> Result<Value, SapFailure> {
    let name = property.name;
    let invalid = |why: &str| SapFailure::property(name, format!("Failed to read property '{name}': {why}"));
    match (&property.kind, value) {
        (Kind::Text(_), Value::Null) => Ok(Value::from("")),
        (Kind::Text(length_max), Value::String(given)) if given.chars().count() > *length_max => {
            Err(invalid(&format!("longer than {length_max} characters")))
        }
        (Kind::Text(_), Value::String(_)) => Ok(value.clone()),
        (Kind::Text(_), _) => Err(invalid("Edm.String is a JSON string")),
        (Kind::Decimal, Value::String(given)) => Amount::parse(given)
            .map(|amount| Value::from(amount.to_string()))
            .ok_or_else(|| invalid("not a decimal with at most three places")),
        (Kind::Decimal, _) => Err(invalid("Edm.Decimal is a JSON string, such as \"12.90\"")),
        (Kind::Date, Value::Null) => Ok(Value::Null),
        (Kind::Date, Value::String(given)) => read_date(given)
            .map(write_date)
            .ok_or_else(|| invalid("Edm.DateTime is `/Date(milliseconds)/` or `2026-03-01T00:00:00`")),
        (Kind::Date, _) => Err(invalid("Edm.DateTime is a JSON string")),
    }
}

/// An instant in OData V2's JSON form.
pub(super) fn write_date(moment: Timestamp) -> Value {
    Value::from(format!("/Date({})/", moment.millis()))
}

fn read_date(given: &str) -> Option<Timestamp> {
    if let Some(inner) = given.strip_prefix("/Date(").and_then(|rest| rest.strip_suffix(")/")) {
        let millis = inner.find(['+', '-']).filter(|at| *at > 0).map_or(Some(inner), |at| inner.get(..at))?;
        return millis.parse().ok().map(Timestamp::from_millis);
    }
    let with_zone = if given.ends_with('Z') { given.to_owned() } else { format!("{given}Z") };
    with_zone.parse().ok()
}
