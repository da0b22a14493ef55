//! What makes rows a table: a key that tells them apart, and columns of the types that the schema gives. Pure.

use std::collections::BTreeMap;

use semver::Version;
use serde_json::{Map, Value};

use crate::model::{
    difference::{Fate, compare},
    table::{KEY_COLUMNS_MAX, KEY_SEPARATOR, ROWS_MAX, ROWS_TOLD_MAX, RowChange, TableDifference, TableRecord},
};

/// A row.
pub type Row = Map<String, Value>;

/// Something wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Which, from 1; 0: the table itself.
    pub row: usize,
    /// What.
    pub problem: String,
    /// What to write instead.
    pub instead: String,
}

fn wrong(row: usize, problem: impl Into<String>, instead: impl Into<String>) -> Wrong {
    Wrong { row, problem: problem.into(), instead: instead.into() }
}

/// The rows by their keys.
///
/// # Errors
/// Each row without a key of its own.
pub fn keyed(key: &[String], rows: Vec<Row>) -> Result<Value, Vec<Wrong>> {
    if key.is_empty() || key.len() > KEY_COLUMNS_MAX || key.iter().any(String::is_empty) {
        let problem = format!("its key has {} columns", key.len());
        return Err(vec![wrong(0, problem, format!("name 1 to {KEY_COLUMNS_MAX} columns in `key`"))]);
    }
    if rows.len() > ROWS_MAX {
        let problem = format!("it has {} rows; the limit is {ROWS_MAX}", rows.len());
        return Err(vec![wrong(0, problem, "split it, or keep it where a connector can read it")]);
    }
    let (mut keyed, mut first, mut found) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for (index, row) in rows.into_iter().enumerate() {
        let number = index + 1;
        match key_of(key, &row) {
            Err(column) => {
                let instead = "a text without a slash at a join, or a whole number, in every column of the key";
                found.push(wrong(number, format!("it has no `{column}`, which is part of the key"), instead));
            }
            Ok(name) => match first.get(&name) {
                Some(before) => {
                    let problem = format!("its key `{name}` is also that of row {before}");
                    found.push(wrong(number, problem, "one row for each key, or more columns in `key`"));
                }
                None => {
                    first.insert(name.clone(), number);
                    keyed.insert(name, Value::Object(row));
                }
            },
        }
    }
    if found.is_empty() { Ok(Value::Object(keyed.into_iter().collect())) } else { Err(found) }
}

/// The key of a row, or the column that it lacks.
fn key_of<'k>(key: &'k [String], row: &Row) -> Result<String, &'k str> {
    let mut parts = Vec::with_capacity(key.len());
    for column in key {
        let part = match row.get(column) {
            Some(Value::String(text)) if !text.is_empty() => text.clone(),
            Some(Value::Number(number)) if number.is_i64() => number.to_string(),
            _ => return Err(column),
        };
        // `a/b` and `c` would be found as `a` and `b/c` are.
        if key.len() > 1 && part.contains(KEY_SEPARATOR) {
            return Err(column);
        }
        parts.push(part);
    }
    Ok(parts.join(KEY_SEPARATOR))
}

/// A field of comma-separated values as the schema of its column says. Absent: it is empty.
///
/// # Errors
/// If it is not of that type.
pub fn typed(schema: Option<&Value>, column: &str, text: &str) -> Result<Option<Value>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let kind = schema.and_then(|schema| schema.pointer("/properties")?.get(column)?.get("type")?.as_str());
    let read = match kind {
        Some("integer" | "number") => serde_json::from_str(text).ok().filter(Value::is_number),
        Some("boolean") => serde_json::from_str(text).ok().filter(Value::is_boolean),
        _ => Some(Value::from(text)),
    };
    match (read, kind) {
        (Some(value), _) => Ok(Some(value)),
        (None, kind) => Err(format!("`{column}` is `{text}`, and no {}", kind.unwrap_or("text"))),
    }
}

/// The version after the latest: another major one if what finds or describes a row has changed.
#[must_use]
pub fn next_version(latest: Option<&Version>, shape_changed: bool) -> Version {
    match latest {
        None => Version::new(1, 0, 0),
        Some(latest) if shape_changed => Version::new(latest.major + 1, 0, 0),
        Some(latest) => Version::new(latest.major, latest.minor, latest.patch + 1),
    }
}

/// What differs between two versions, each with its rows.
#[must_use]
pub fn difference(before: (&TableRecord, &Value), after: (&TableRecord, &Value)) -> TableDifference {
    let mut found = TableDifference::default();
    let keys = |record: &TableRecord| Value::from(record.key.clone());
    compare("key", Some(&keys(before.0)), Some(&keys(after.0)), &mut found.fields);
    compare("schema", before.0.schema.as_ref(), after.0.schema.as_ref(), &mut found.fields);
    let none = Map::new();
    let (old, new) = (before.1.as_object().unwrap_or(&none), after.1.as_object().unwrap_or(&none));
    let mut tell = |key: &str, change: Fate, before: Option<&Value>, after: Option<&Value>| {
        match change {
            Fate::Added => found.added += 1,
            Fate::Removed => found.removed += 1,
            Fate::Changed | Fate::Moved => found.changed += 1,
        }
        if found.rows.len() < ROWS_TOLD_MAX {
            let mut fields = Vec::new();
            compare("", before, after, &mut fields);
            found.rows.push(RowChange { key: key.to_owned(), change, fields });
        }
    };
    for (key, row) in old {
        match new.get(key) {
            None => tell(key, Fate::Removed, Some(row), None),
            Some(now) if now != row => tell(key, Fate::Changed, Some(row), Some(now)),
            Some(_) => {}
        }
    }
    for (key, row) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
        tell(key, Fate::Added, None, Some(row));
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Row, difference, keyed, next_version, typed};
    use crate::model::{
        id::Digest,
        table::{ROWS_MAX, TableRecord},
    };

    fn rows(value: &Value) -> Vec<Row> {
        value.as_array().unwrap().iter().map(|row| row.as_object().unwrap().clone()).collect()
    }

    #[track_caller]
    fn check(key: &[&str], given: Value, expected: &str) {
        let key: Vec<String> = key.iter().map(|column| (*column).to_owned()).collect();
        let said = match keyed(&key, rows(&given)) {
            Ok(table) => table.to_string(),
            Err(found) => {
                found.iter().map(|wrong| format!("{}: {}", wrong.row, wrong.problem)).collect::<Vec<_>>().join("; ")
            }
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn rows_are_found_by_their_key_and_lie_in_its_order() {
        check(
            &["sku"],
            json!([{"sku": "B", "p": "2"}, {"sku": "A", "p": "1"}]),
            r#"{"A":{"sku":"A","p":"1"},"B":{"sku":"B","p":"2"}}"#,
        );
        check(&["sku", "no"], json!([{"sku": "A", "no": 7}]), r#"{"A/7":{"sku":"A","no":7}}"#);
        check(&["sku"], json!([{"sku": "a/b"}]), r#"{"a/b":{"sku":"a/b"}}"#);
    }

    #[test]
    fn a_row_without_a_key_of_its_own_is_no_row() {
        check(&["sku"], json!([{"sku": "A"}, {"sku": "A"}]), "2: its key `A` is also that of row 1");
        check(&["sku"], json!([{"p": 1}]), "1: it has no `sku`, which is part of the key");
        check(
            &["sku"],
            json!([{"sku": ""}, {"sku": 1.5}, {"sku": null}]),
            &[1, 2, 3].map(|row| format!("{row}: it has no `sku`, which is part of the key")).join("; "),
        );
        check(&["a", "b"], json!([{"a": "x/y", "b": "z"}]), "1: it has no `a`, which is part of the key");
        check(&[], json!([]), "0: its key has 0 columns");
        let many: Value = (0..=ROWS_MAX).map(|number| json!({ "sku": number })).collect();
        check(&["sku"], many, "0: it has 20001 rows; the limit is 20000");
    }

    #[test]
    fn fields_are_read_by_the_type_of_their_column() {
        let schema = json!({"properties": {"n": {"type": "integer"}, "ok": {"type": "boolean"}}});
        let read = |column: &str, text: &str| typed(Some(&schema), column, text);
        assert_eq!(read("n", "7"), Ok(Some(json!(7))));
        assert_eq!(read("ok", "true"), Ok(Some(json!(true))));
        assert_eq!(read("price", "9.90"), Ok(Some(json!("9.90"))), "an amount stays the text that it is");
        assert_eq!(read("n", ""), Ok(None));
        assert_eq!(read("n", "seven").unwrap_err(), "`n` is `seven`, and no integer");
    }

    #[test]
    fn another_shape_is_another_major_version() {
        assert_eq!(next_version(None, true).to_string(), "1.0.0");
        assert_eq!(next_version(Some(&"1.2.3".parse().unwrap()), false).to_string(), "1.2.4");
        assert_eq!(next_version(Some(&"1.2.3".parse().unwrap()), true).to_string(), "2.0.0");
    }

    #[test]
    fn versions_are_compared_row_by_row() {
        let record =
            |key: &str| TableRecord { digest: Digest::of(b""), key: vec![key.to_owned()], schema: None, rows: 0 };
        let old = json!({"A": {"p": "1"}, "B": {"p": "2"}, "C": {"p": "3"}});
        let new = json!({"A": {"p": "1"}, "B": {"p": "4"}, "D": {"p": "5"}});
        let found = difference((&record("sku"), &old), (&record("gtin"), &new));
        assert_eq!((found.added, found.removed, found.changed), (1, 1, 1));
        let keys: Vec<_> = found.rows.iter().map(|row| format!("{} {}", row.change.as_str(), row.key)).collect();
        assert_eq!(keys, ["changed B", "removed C", "added D"]);
        assert_eq!(found.fields[0].path, "key");
        assert_eq!(found.rows[0].fields[0].path, "p");
    }
}
