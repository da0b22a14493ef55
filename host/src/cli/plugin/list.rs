//! `crossdock plugin list`: what a hub has installed.

use std::process::ExitCode;

use serde_json::Value;

use crate::cli::{Failed, HubAddress, out::Out};

pub(super) async fn list(address: &HubAddress, out: &Out) -> Result<ExitCode, Failed> {
    let client = address.client()?;
    let answer: Value = client.get("/v1/plugins").await?;
    if out.is_json() {
        out.value(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let plugins = answer.get("plugins").and_then(Value::as_array).cloned().unwrap_or_default();
    let rows = plugins
        .iter()
        .map(|plugin| {
            let text = |path: &str| match plugin.pointer(path) {
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
                None => String::new(),
            };
            vec![
                text("/manifest/id"),
                text("/manifest/version"),
                text("/manifest/kind"),
                text("/state"),
                text("/part"),
                text("/digest").chars().take(19).collect(),
                text("/manifest/summary"),
            ]
        })
        .collect();
    out.table(&["plugin", "version", "kind", "state", "part", "digest", "summary"], rows, "no plugins are installed");
    Ok(ExitCode::SUCCESS)
}
