//! What a plugin and its settings say against themselves, found without calling anything.

use crate::{
    app::package::Schemas,
    model::{
        connection::Connection,
        manifest::{Doubt, Kind, Manifest},
    },
    ports::invoker::Inspection,
};

/// Settings against a plugin's schema for them.
pub(in crate::app) fn fits_config(schemas: &Schemas, config: &serde_json::Value) -> Result<(), String> {
    let Some(schema) = &schemas.config else {
        return if config.as_object().is_some_and(serde_json::Map::is_empty) {
            Ok(())
        } else {
            Err("the plugin takes no `config`".to_owned())
        };
    };
    let validator =
        jsonschema::validator_for(schema).map_err(|error| format!("its config schema is not one: {error}"))?;
    match validator.iter_errors(config).next() {
        None => Ok(()),
        Some(error) => Err(format!("`config{}` does not follow the plugin's schema: {error}", error.instance_path())),
    }
}

/// The scheme of a connection against those that its plugin's remote knows.
pub(in crate::app) fn fits_authentication(manifest: &Manifest, connection: &Connection) -> Result<(), String> {
    let known = &manifest.authentication;
    let Some(other) = connection.schemes().find(|scheme| !known.is_empty() && !known.contains(scheme)) else {
        return Ok(());
    };
    let known: Vec<String> = known.iter().map(|scheme| format!("`{scheme}`")).collect();
    Err(format!("`auth`: the plugin's remote does not authenticate by `{other}`, but by {}", known.join(" or ")))
}

/// What a manifest says against itself.
///
/// # Errors
/// The first contradiction, and what to change.
pub fn check_manifest(manifest: &Manifest, schemas: &Schemas) -> Result<(), String> {
    if manifest.contract.major != 1 {
        return Err(format!("it is built for contract {}; this hub serves 1.x", manifest.contract));
    }
    match manifest.kind {
        Kind::Connector if manifest.operations.is_empty() => {
            return Err("a connector lists its `operations`".to_owned());
        }
        Kind::Rule if manifest.rule.is_none() => return Err("a rule lists its outcomes under `[rule]`".to_owned()),
        Kind::Scorer if manifest.model_card.is_none() => return Err("a scorer has a `[model_card]`".to_owned()),
        _ => {}
    }
    if manifest.kind != Kind::Connector {
        if !manifest.operations.is_empty() || !manifest.implements.is_empty() {
            return Err("only a connector has `operations` and `implements`".to_owned());
        }
        if !manifest.capabilities.http.is_empty() || !manifest.capabilities.state.is_empty() {
            return Err("a pure plugin has no `capabilities`: only a connector touches anything".to_owned());
        }
        if !manifest.authentication.is_empty() {
            return Err("a pure plugin has no `authentication`: only a connector has a remote".to_owned());
        }
    }
    if !manifest.authentication.is_empty() && !manifest.capabilities.http.iter().any(|http| http.authenticate) {
        return Err("`authentication` is declared, and nothing is authenticated: say `authenticate = true` in the \
                    `[[capabilities.http]]` that needs it"
            .to_owned());
    }
    for (name, operation) in &manifest.operations {
        if let Doubt::NaturalKey { find, .. } = &operation.doubt
            && !manifest.operations.contains_key(find)
        {
            return Err(format!("operation `{name}` finds by `{find}`, which is not among `operations`"));
        }
        if let Some(undo) = &operation.compensate
            && !manifest.operations.contains_key(undo)
        {
            return Err(format!("operation `{name}` is undone by `{undo}`, which is not among `operations`"));
        }
    }
    for (name, schema) in [("config", &schemas.config), ("input", &schemas.input), ("output", &schemas.output)] {
        if let Some(schema) = schema
            && !jsonschema::meta::is_valid(schema)
        {
            return Err(format!("`{name}_schema` is not a JSON Schema (2020-12)"));
        }
    }
    Ok(())
}

/// Whether a component exports what its manifest says.
///
/// # Errors
/// What is missing, and what to do.
pub fn check_exports(manifest: &Manifest, inspection: &Inspection) -> Result<(), String> {
    let exports = |interface: &str| {
        let prefix = format!("crossdock:plugin/{interface}@1.");
        inspection.exports.iter().any(|name| name.starts_with(&prefix))
    };
    let mut needed = vec![manifest.kind.interface()];
    needed.extend(manifest.webhook.is_some().then_some("webhook-source"));
    match needed.into_iter().find(|interface| !exports(interface)) {
        None => Ok(()),
        Some(missing) => Err(format!(
            "the manifest needs an export of `crossdock:plugin/{missing}`; the component exports {}",
            if inspection.exports.is_empty() { "nothing".to_owned() } else { inspection.exports.join(", ") }
        )),
    }
}
