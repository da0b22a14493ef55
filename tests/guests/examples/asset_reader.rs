//! Reads and writes the paths in its input (`{"read": […], "write": […]}`), lists the folders (`"list"`), and tells what
//! came of it.

use std::{collections::BTreeMap, fs};

use serde_json::Value;

fn paths<'a>(input: &'a Value, name: &str) -> impl Iterator<Item = &'a str> {
    input.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Everything that a guest learns about the files of a folder, in the order in which it learns it.
fn listing(path: &str) -> std::io::Result<String> {
    let mut told = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let times = (metadata.modified().ok(), metadata.accessed().ok(), metadata.created().ok());
        told.push(format!("{:?} {} {:?} {times:?}", entry.file_name(), metadata.len(), identity(path, &entry)));
    }
    Ok(told.join("\n"))
}

#[cfg(target_arch = "wasm32")]
fn identity(folder: &str, entry: &fs::DirEntry) -> Option<(u64, u64)> {
    use wasip2::filesystem::{preopens, types::PathFlags};
    let (root, _) = preopens::get_directories().into_iter().find(|(_, path)| path == folder)?;
    let hash = root.metadata_hash_at(PathFlags::empty(), entry.file_name().to_str()?).ok()?;
    Some((hash.upper, hash.lower))
}

#[cfg(not(target_arch = "wasm32"))]
fn identity(_folder: &str, _entry: &fs::DirEntry) -> Option<(u64, u64)> {
    None
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
    for path in paths(&input, "list") {
        told.insert(format!("list {path}"), listing(path).unwrap_or_else(|error| format!("error: {:?}", error.kind())));
    }
    serde_json::to_vec(&told).unwrap_or_default()
}

crossdock_test_guests::rule!(evaluate);
