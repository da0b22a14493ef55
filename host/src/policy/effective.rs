//! What a plugin's version may touch and use: manifest, then the operator's grant, then the hub's ceiling; and for what
//! it does not get, which of the three denies it. Pure, and for people: each call is held to it elsewhere.

use super::egress::Origin;
use crate::model::{
    auth::Scheme,
    connection::Connection,
    limits::Limits,
    manifest::{Kind, Manifest},
    registry::Part,
};

/// What stands for a connection's base URL in a manifest.
const BASE_URL: &str = "${connection.base_url}";
/// Methods that no hub lets out.
const METHODS_NEVER: [&str; 2] = ["CONNECT", "TRACE"];

/// Everything that a version asks for, and what its code imports beyond that.
#[must_use]
pub fn parts(manifest: &Manifest, imports: &[String], connections: &[(&str, &Connection)]) -> Vec<Part> {
    let mut parts = Vec::new();
    let imports_http = imports.iter().any(|import| import.starts_with("wasi:http/outgoing-handler"));
    if imports_http && manifest.capabilities.http.is_empty() {
        let why = if manifest.kind == Kind::Connector {
            "its code imports it, and the manifest has no `[[capabilities.http]]`"
        } else {
            "its code imports it, and a pure plugin touches nothing"
        };
        parts.push(part(None, "http", Err(("manifest", why.to_owned()))));
    }
    if connections.is_empty() && manifest.kind == Kind::Connector {
        let wanted = manifest.capabilities.http.iter().map(|http| format!("http {}", http.origin));
        for what in wanted.chain(manifest.secrets.keys().map(|secret| format!("secret {secret}"))) {
            let why = "no connection uses the plugin, so nobody has granted it anything".to_owned();
            parts.push(part(None, &what, Err(("grant", why))));
        }
    }
    for (name, connection) in connections {
        granted(&mut parts, manifest, name, connection);
    }
    limits(&mut parts, manifest);
    parts
}

/// Takes everything from a version that is called no more; what was denied before keeps its reason.
pub fn deny_all(parts: &mut [Part], why: &str) {
    for part in parts.iter_mut().filter(|part| part.granted) {
        (part.granted, part.layer, part.why) = (false, "lifecycle".to_owned(), why.to_owned());
    }
}

fn part(connection: Option<&str>, what: &str, decided: Result<(&str, String), (&str, String)>) -> Part {
    let granted = decided.is_ok();
    let (layer, why) = decided.unwrap_or_else(|denied| denied);
    Part { connection: connection.map(str::to_owned), what: what.to_owned(), granted, layer: layer.to_owned(), why }
}

fn granted(parts: &mut Vec<Part>, manifest: &Manifest, name: &str, connection: &Connection) {
    for http in &manifest.capabilities.http {
        let origin = http.origin.replace(BASE_URL, &connection.base_url);
        let resolved = Origin::parse(&origin).map(|origin| origin.to_string());
        for method in &http.methods {
            let what = format!("http {method} {}", resolved.as_deref().unwrap_or(&origin));
            let decided = match &resolved {
                Err(error) => Err(("grant", error.to_string())),
                Ok(_) if METHODS_NEVER.contains(&method.as_str()) => {
                    Err(("ceiling", "no hub lets this method out".to_owned()))
                }
                Ok(_) => Ok(("grant", http.reason.clone())),
            };
            parts.push(part(Some(name), &what, decided));
        }
        if http.authenticate {
            let what = format!("credentials at {}", resolved.as_deref().unwrap_or(&origin));
            let schemes: Vec<&str> = connection.schemes().map(Scheme::as_str).collect();
            let decided = if schemes.is_empty() {
                Err(("grant", "the connection has no `auth`".to_owned()))
            } else {
                let why = format!("the hub proves who we are, by {}; the plugin never sees it", schemes.join(" and "));
                Ok(("grant", why))
            };
            parts.push(part(Some(name), &what, decided));
        }
    }
    for (secret, reason) in &manifest.secrets {
        let decided = match connection.secrets.get(secret) {
            Some(reference) => Ok(("grant", format!("{reason} ({reference}; to sign and verify, never to read)"))),
            None => Err(("grant", format!("add `secrets.{secret} = \"file:…\"` to the connection"))),
        };
        parts.push(part(Some(name), &format!("secret {secret}"), decided));
    }
    for secret in connection.secrets.keys().filter(|secret| !manifest.secrets.contains_key(*secret)) {
        let why = "the connection offers it, and the manifest does not ask for it".to_owned();
        parts.push(part(Some(name), &format!("secret {secret}"), Err(("manifest", why))));
    }
    for bucket in &manifest.capabilities.state {
        let why = "durable state, apart for each connection".to_owned();
        parts.push(part(Some(name), &format!("state {bucket}"), Ok(("manifest", why))));
    }
}

fn limits(parts: &mut Vec<Part>, manifest: &Manifest) {
    let (asked, ceiling) = (&manifest.limits, &Limits::CEILING);
    for (name, asked, most) in [
        ("memory_bytes", asked.memory_bytes, ceiling.memory_bytes),
        ("fuel_base", asked.fuel_base, ceiling.fuel_base),
        ("fuel_per_input_kib", asked.fuel_per_input_kib, ceiling.fuel_per_input_kib),
        ("deadline_ms", asked.deadline_ms, ceiling.deadline_ms),
        ("input_bytes", asked.input_bytes, ceiling.input_bytes),
        ("output_bytes", asked.output_bytes, ceiling.output_bytes),
        ("log_bytes", asked.log_bytes, ceiling.log_bytes),
        ("log_lines", asked.log_lines.into(), ceiling.log_lines.into()),
        ("http_requests", asked.http_requests.into(), ceiling.http_requests.into()),
    ] {
        let decided = if asked <= most {
            Ok(("manifest", format!("at most {most}")))
        } else {
            Err(("ceiling", format!("no plugin gets more than {most}, and this one gets that")))
        };
        parts.push(part(None, &format!("limit {name} {asked}"), decided));
    }
}

#[cfg(test)]
mod tests {
    use super::{deny_all, parts};
    use crate::model::{connection::Connection, manifest::Manifest};

    fn check(manifest: &str, imports: &[&str], connection: Option<&str>, expected: &str) {
        let head = "id = \"a/b\"\nversion = \"1.0.0\"\ncontract = \"1.0.0\"\nlicense = \"MIT\"\nsummary = \"x\"\n";
        let manifest: Manifest = toml::from_str(&format!("{head}{manifest}")).expect("a manifest");
        let connection: Option<Connection> = connection.map(|text| toml::from_str(text).expect("a connection"));
        let connections: Vec<_> = connection.iter().map(|connection| ("erp", connection)).collect();
        let imports: Vec<String> = imports.iter().map(|import| (*import).to_owned()).collect();
        let seen: Vec<String> = parts(&manifest, &imports, &connections)
            .into_iter()
            .filter(|part| !part.granted || !part.what.starts_with("limit "))
            .map(|part| {
                let granted = if part.granted { "+" } else { "-" };
                format!("{granted} {} {} [{}]", part.connection.unwrap_or_else(|| "*".into()), part.what, part.layer)
            })
            .collect();
        assert_eq!(seen.join("\n"), expected);
    }

    const CONNECTOR: &str = "kind = \"connector\"\n[secrets]\nkey = \"to sign\"\n[limits]\nmemory_bytes = 999999999999\n\
                             [capabilities]\nstate = [\"cursor\"]\n[[capabilities.http]]\n\
                             origin = \"${connection.base_url}\"\nmethods = [\"GET\", \"TRACE\"]\nreason = \"to read\"\n\
                             authenticate = true\n";

    #[test]
    fn each_layer_says_what_it_denies() {
        check(
            CONNECTOR,
            &["wasi:http/outgoing-handler@0.2.6"],
            Some("plugin = \"a/b\"\nbase_url = \"https://erp.example/x\"\nsecrets = { other = \"env:X\" }\n"),
            "+ erp http GET https://erp.example [grant]\n\
             - erp http TRACE https://erp.example [ceiling]\n\
             - erp credentials at https://erp.example [grant]\n\
             - erp secret key [grant]\n\
             - erp secret other [manifest]\n\
             + erp state cursor [manifest]\n\
             - * limit memory_bytes 999999999999 [ceiling]",
        );
    }

    #[test]
    fn what_is_called_no_more_gets_nothing() {
        let manifest: Manifest = toml::from_str(&format!(
            "id = \"a/b\"\nversion = \"1.0.0\"\ncontract = \"1.0.0\"\nlicense = \"MIT\"\nsummary = \"x\"\n{CONNECTOR}"
        ))
        .expect("a manifest");
        let connection: Connection =
            toml::from_str("plugin = \"a/b\"\nbase_url = \"https://erp.example\"\n").expect("a connection");
        let mut all = parts(&manifest, &[], &[("erp", &connection)]);
        assert!(all.iter().any(|part| part.granted));
        deny_all(&mut all, "it is revoked");
        assert!(all.iter().all(|part| !part.granted));
        let of = |what: &str| all.iter().find(|part| part.what == what).map(|part| part.layer.as_str());
        assert_eq!((of("state cursor"), of("secret key")), (Some("lifecycle"), Some("grant")), "{all:?}");
    }

    #[test]
    fn without_a_connection_nothing_is_granted() {
        check(
            CONNECTOR,
            &[],
            None,
            "- * http ${connection.base_url} [grant]\n- * secret key [grant]\n- * limit memory_bytes 999999999999 [ceiling]",
        );
    }

    #[test]
    fn a_pure_plugin_touches_nothing_whatever_its_code_imports() {
        check("kind = \"rule\"\n", &["wasi:http/outgoing-handler@0.2.6"], None, "- * http [manifest]");
    }
}
