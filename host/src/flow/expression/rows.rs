//! Reference tables in expressions: `tables.prices['A-1']` finds one row by its key, however many there are. Rows are
//! not copied into the interpreter, and there is no going over them: that is a transform's work.

use std::{any::Any, collections::BTreeMap, sync::Arc};

use cel::{
    ExecutionError,
    common::{
        traits::{Container, Indexer},
        types::{CelInt, CelString, Type},
        value::{CowVal, StaticVal, Val},
    },
};

use super::{Cel, to_cel};
use crate::flow::document::Document;

static TABLES: Type = Type::new_unspecified_type("tables");
static TABLE: Type = Type::new_unspecified_type("table");

/// The tables of a step, by the names that it gives them.
#[derive(Clone, Debug)]
pub(super) struct Tables(pub(super) Arc<BTreeMap<String, Document>>);

/// One table: an object of rows by key.
#[derive(Clone, Debug)]
struct Rows(Document);

/// A key as it is written in a table: a text, or an integer as it prints.
fn key(value: &dyn Val) -> Result<String, ExecutionError> {
    if let Some(text) = value.downcast_ref::<CelString<'_>>() {
        return Ok(text.inner().to_owned());
    }
    if let Some(number) = value.downcast_ref::<CelInt>() {
        return Ok(number.inner().to_string());
    }
    let got = value.get_type().name().to_owned();
    Err(ExecutionError::UnexpectedType { got, want: "a text or a whole number".to_owned() })
}

fn boxed(value: Cel) -> Result<Box<dyn Val>, ExecutionError> {
    value.try_into().map_err(|_| ExecutionError::function_error("tables", "a row cannot be read"))
}

impl Indexer for Tables {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let name = key(index)?;
        let rows = self.0.get(&name).ok_or_else(|| ExecutionError::NoSuchKey(Arc::new(name)))?;
        Ok(CowVal::owned(Rows(rows.clone())))
    }

    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(index).map(CowVal::into_owned)
    }
}

impl Indexer for Rows {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let key = key(index)?;
        match self.0.value().get(&key) {
            Some(row) => Ok(CowVal::from(boxed(to_cel(row))?)),
            None => Err(ExecutionError::NoSuchKey(Arc::new(key))),
        }
    }

    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(index).map(CowVal::into_owned)
    }
}

impl Container for Rows {
    fn contains(&self, value: &dyn Val) -> Result<bool, ExecutionError> {
        Ok(self.0.value().get(key(value)?).is_some())
    }
}

impl Val for Tables {
    fn get_type(&self) -> &Type {
        &TABLES
    }

    fn cel_type() -> &'static Type {
        &TABLES
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn equals(&self, _: &dyn Val) -> bool {
        false
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl Val for Rows {
    fn get_type(&self) -> &Type {
        &TABLE
    }

    fn cel_type() -> &'static Type {
        &TABLE
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn equals(&self, other: &dyn Val) -> bool {
        other.downcast_ref::<Self>().is_some_and(|other| self.0 == other.0)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Tables {}
impl StaticVal for Rows {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::flow::{
        document::Document,
        expression::{Expression, Scope},
    };

    struct Priced;

    impl Scope for Priced {
        fn lookup<'p>(&self, path: &'p [String]) -> Option<(Document, &'p [String])> {
            match path {
                [root, name, rest @ ..] if root == "tables" && name == "prices" => {
                    Some((Document::from(json!({ "A": { "price": "9.90" }, "7": { "price": "1.00" } })), rest))
                }
                [root, name, rest @ ..] if root == "steps" && name == "ask" => {
                    Some((Document::from(json!({ "id": "o1" })), rest))
                }
                [root, rest @ ..] if root == "event" => {
                    Some((Document::from(json!({ "sku": "A", "no": 7, "all": ["A", "B"] })), rest))
                }
                _ => None,
            }
        }
    }

    #[track_caller]
    fn check(source: &str, expected: &str) {
        let said = match Expression::compile(source).unwrap().evaluate(&Priced) {
            Ok(document) => document.value().to_string(),
            Err(error) => error.problem,
        };
        assert!(said.contains(expected), "`{source}`: {said}, and not {expected}");
    }

    #[test]
    fn a_row_is_found_by_its_key() {
        check("tables.prices[event.sku].price", "\"9.90\"");
        check("tables.prices[event.sku]", r#"{"price":"9.90"}"#);
        check("tables.prices[event.no].price", "\"1.00\"");
        check("decimal(tables.prices[event.sku].price) * 2", "\"19.80\"");
        check("tables.prices['B'].price", "No such key: B");
        check("tables.costs['B']", "tables");
    }

    #[test]
    fn what_is_named_in_brackets_is_what_is_named_after_a_dot() {
        check("tables['prices'][event.sku].price", "\"9.90\"");
        check("tables['prices']['A']['price']", "\"9.90\"");
        check("tables[\"prices\"]", r#"{"7":{"price":"1.00"},"A":{"price":"9.90"}}"#);
        check("event.sku in tables['prices'] && has(tables['prices'].A)", "true");
        check("steps['ask'].id + steps.ask['id']", "\"o1o1\"");
        check("event['all'].map(sku, sku in tables['prices'])", "[true,false]");
    }

    #[test]
    fn whether_there_is_a_row_can_be_asked() {
        check("event.sku in tables.prices", "true");
        check("'B' in tables.prices ? tables.prices['B'].price : null", "null");
        check("event.all.map(sku, sku in tables.prices)", "[true,false]");
        check("has(tables.prices.A)", "true");
    }

    #[test]
    fn a_whole_table_is_a_document_and_nothing_goes_over_it() {
        check("tables.prices", r#"{"7":{"price":"1.00"},"A":{"price":"9.90"}}"#);
        check("tables.prices.A.price", "\"9.90\"");
        check("tables.prices.map(key, key)", "fails");
        check("[tables.prices]", "has no JSON form");
    }
}
