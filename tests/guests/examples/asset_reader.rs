//! Reads and writes the paths in its input (`{"read": […], "write": […]}`), and tells what came of it.

use std::{collections::BTreeMap, fs};

use serde_json::Value;

fn paths<'a>(input: &'a Value, name: &str) -> impl Iterator<Item = &'a str> {
    input.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn evaluate(input: &[u8], _log: fn(&str)) -> Vec<u8> {
    let input: Value = serde_json::from_slice(input).unwrap_or_default();
    let mut told = BTreeMap::new();
    for path in paths(&input, "read") {
        let read = fs::read_to_string(path).unwrap_or_else(|error| format!("error: {:?}", error.kind()));
        told.insert(format!("read {path}"), read);
    }
    for path in paths(&input, "write") {
        let written = match fs::write(path, "mine now") {
            Ok(()) => "written".to_owned(),
            Err(error) => format!("error: {:?}", error.kind()),
        };
        told.insert(format!("write {path}"), written);
    }
    serde_json::to_vec(&told).unwrap_or_default()
}

crossdock_test_guests::rule!(evaluate);
