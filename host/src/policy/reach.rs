//! What code reaches through a connection: origins, private addresses; and where the connection's credentials go. A change
//! that lets it reach more than before, or sends credentials elsewhere, needs a second person.

use std::collections::{BTreeMap, BTreeSet};

use super::egress::{Origin, OriginError};
use crate::model::{auth::Scheme, connection::Connection, manifest::HttpCapability};

/// What stands for a connection's base URL in a manifest.
const BASE_URL: &str = "${connection.base_url}";

/// What code reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Each origin with its methods, such as `https://erp.example`: `GET`.
    origins: BTreeMap<String, BTreeSet<String>>,
    /// Origins that the connection's credentials are sent to.
    authenticated: BTreeSet<String>,
    /// Authorities in PEM form that vouch for remotes; none: those that Mozilla trusts.
    authorities: BTreeSet<String>,
    /// How they prove who we are.
    schemes: BTreeSet<Scheme>,
    /// Private addresses, as CIDR blocks.
    addresses: BTreeSet<String>,
}

/// A host that is asked about, perhaps with a port, perhaps with a scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    host: String,
    port: Option<u16>,
    scheme: Option<&'static str>,
}

impl Host {
    /// Reads `erp.example`, `erp.example:8443` or `https://erp.example`.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        if text.contains("://") {
            let origin = Origin::parse(text)?;
            let (port, scheme) = (Some(origin.port()), Some(origin.scheme()));
            return Ok(Self { host: origin.host().to_owned(), port, scheme });
        }
        // Whatever the scheme: another one makes another port of a text without one.
        let (plain, secure) = (Origin::parse(&format!("http://{text}"))?, Origin::parse(&format!("https://{text}"))?);
        let port = (plain.port() == secure.port()).then_some(plain.port());
        Ok(Self { host: plain.host().to_owned(), port, scheme: None })
    }

    /// Whether a URL leads there.
    #[must_use]
    pub fn is_of(&self, url: &str) -> bool {
        Origin::parse(url).is_ok_and(|origin| {
            origin.host() == self.host
                && self.port.is_none_or(|port| port == origin.port())
                && self.scheme.is_none_or(|scheme| scheme == origin.scheme())
        })
    }
}

impl Reach {
    /// Whether it reaches a host.
    #[must_use]
    pub fn has(&self, host: &Host) -> bool {
        self.origins.keys().any(|origin| host.is_of(origin))
    }

    /// What a plugin with these capabilities reaches through a connection.
    #[must_use]
    pub fn of(connection: &Connection, capabilities: &[HttpCapability]) -> Self {
        let mut reach = Self {
            addresses: connection.allow_addresses.iter().cloned().collect(),
            authorities: connection.authorities.iter().map(|pem| pem.trim().to_owned()).collect(),
            schemes: connection.schemes().collect(),
            ..Self::default()
        };
        for capability in capabilities {
            let origin = canonical(&capability.origin.replace(BASE_URL, &connection.base_url));
            if capability.authenticate && connection.has_credentials() {
                reach.authenticated.insert(origin.clone());
            }
            reach.origins.entry(origin).or_default().extend(capability.methods.iter().cloned());
        }
        if let Some(token_url) = connection.auth.token_url() {
            // The client's secret goes there.
            reach.authenticated.insert(canonical(token_url));
            reach.origins.entry(canonical(token_url)).or_default().insert("POST".to_owned());
        }
        reach
    }

    /// What both reach together.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        for (origin, methods) in &other.origins {
            self.origins.entry(origin.clone()).or_default().extend(methods.iter().cloned());
        }
        self.authenticated.extend(other.authenticated.iter().cloned());
        self.authorities.extend(other.authorities.iter().cloned());
        self.schemes.extend(&other.schemes);
        self.addresses.extend(other.addresses.iter().cloned());
        self
    }

    /// What another reaches beyond this, in words.
    #[must_use]
    pub fn widened(&self, after: &Self) -> Vec<String> {
        let mut wider = Vec::new();
        for (origin, methods) in &after.origins {
            match self.origins.get(origin) {
                None => wider.push(format!("it reaches `{origin}`")),
                Some(before) => {
                    let more: Vec<&str> = methods.difference(before).map(String::as_str).collect();
                    if !more.is_empty() {
                        wider.push(format!("it sends {} to `{origin}`", more.join(", ")));
                    }
                }
            }
        }
        let shown = after.authenticated.difference(&self.authenticated);
        wider.extend(shown.map(|origin| format!("it sends its credentials to `{origin}`")));
        // Whoever vouches for a remote says who is given the credentials.
        if !after.authorities.is_subset(&self.authorities) {
            wider.push("it trusts the authorities that it names".to_owned());
        } else if after.authorities.is_empty() && !self.authorities.is_empty() {
            wider.push("it trusts every authority that Mozilla trusts".to_owned());
        }
        if !self.schemes.is_empty() {
            // What was only signed with may be sent in clear then.
            let other = after.schemes.difference(&self.schemes);
            wider.extend(other.map(|scheme| format!("it authenticates by `{scheme}`, which it did not")));
        }
        wider
            .extend(after.addresses.difference(&self.addresses).map(|block| format!("it reaches addresses `{block}`")));
        wider
    }
}

/// One spelling for one origin; what is none, as it is written.
fn canonical(text: &str) -> String {
    Origin::parse(text).map_or_else(|_| text.to_owned(), |origin| origin.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(text: &str) -> Connection {
        let fields: serde_json::Value = serde_json::from_str(text).unwrap();
        let mut all = serde_json::json!({ "plugin": "acme/erp" });
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn a_host_is_asked_about_with_or_without_port_and_scheme() {
        let of = |host: &str, url: &str| Host::parse(host).unwrap().is_of(url);
        for url in ["https://erp.example/a?b", "http://ERP.example.:8080", "https://erp.example:8443"] {
            assert!(of("erp.example", url), "{url}");
        }
        assert!(!of("erp.example", "https://other.erp.example") && !of("erp.example", "${connection.base_url}"));
        assert!(of("erp.example:8443", "https://erp.example:8443/x") && !of("erp.example:8443", "https://erp.example"));
        assert!(of("erp.example:80", "http://erp.example") && !of("erp.example:80", "https://erp.example"));
        assert!(
            of("https://erp.example", "https://erp.example:443") && !of("https://erp.example", "http://erp.example")
        );
        for wrong in ["", "erp example", "ftp://erp.example", "ann@erp.example"] {
            assert!(Host::parse(wrong).is_err(), "{wrong}");
        }
        let signed = r#"{"base_url":"https://erp.example","auth":{"scheme":"oauth2-client-credentials","token_url":
            "https://id.example/token","client_id":"c","client_secret":"env:S"}}"#;
        let reach = Reach::of(&connection(signed), &[]);
        assert!(reach.has(&Host::parse("id.example").unwrap()), "its secret goes there");
        assert!(!reach.has(&Host::parse("erp.example").unwrap()), "it may not ask anything there");
    }

    #[track_caller]
    fn check(before: &str, after: &str, expected: &[&str]) {
        let capability = |origin: &str, methods: &[&str], authenticate: bool| HttpCapability {
            origin: origin.to_owned(),
            methods: methods.iter().map(|method| (*method).to_owned()).collect(),
            reason: "test".to_owned(),
            authenticate,
        };
        let capabilities =
            [capability(BASE_URL, &["GET", "POST"], true), capability("https://cdn.example", &["GET", "POST"], false)];
        let reach = |text: &str| Reach::of(&connection(text), &capabilities);
        assert_eq!(reach(before).widened(&reach(after)), expected, "{before} {after}");
    }

    #[test]
    fn another_host_another_port_and_cleartext_are_more() {
        let before = r#"{"base_url":"https://erp.example/a"}"#;
        check(before, r#"{"base_url":"https://ERP.example.:443/b"}"#, &[]);
        check(before, r#"{"base_url":"https://cdn.example"}"#, &[]);
        check(before, r#"{"base_url":"http://erp.example/a"}"#, &["it reaches `http://erp.example`"]);
        check(before, r#"{"base_url":"https://erp.example:8443"}"#, &["it reaches `https://erp.example:8443`"]);
    }

    #[test]
    fn addresses_and_token_endpoints_are_more_and_less_is_not() {
        let narrow = r#"{"base_url":"https://erp.example"}"#;
        let wide = r#"{"base_url":"https://erp.example","allow_addresses":["10.0.0.0/8"],"auth":
            {"scheme":"oauth2-client-credentials","token_url":"https://id.example/t","client_id":"x","client_secret":"env:X"}}"#;
        check(
            narrow,
            wide,
            &[
                "it reaches `https://id.example`",
                "it sends its credentials to `https://erp.example`",
                "it sends its credentials to `https://id.example`",
                "it reaches addresses `10.0.0.0/8`",
            ],
        );
        check(wide, narrow, &[]);
    }

    #[test]
    fn credentials_that_go_where_only_bare_requests_went_are_more() {
        let with = |base_url: &str, token_url: Option<&str>| {
            let auth = match token_url {
                None => serde_json::json!({ "scheme": "bearer", "token": "env:X" }),
                Some(token_url) => serde_json::json!({
                    "scheme": "oauth2-client-credentials", "token_url": token_url, "client_id": "x", "client_secret": "env:X",
                }),
            };
            serde_json::json!({ "base_url": base_url, "auth": auth }).to_string()
        };
        // The images are fetched without the token; then their host is given it.
        let before = with("https://erp.example", None);
        let shown = "it sends its credentials to `https://cdn.example`";
        check(&before, &with("https://cdn.example", None), &[shown]);
        let other = "it authenticates by `oauth2-client-credentials`, which it did not";
        check(&before, &with("https://erp.example", Some("https://cdn.example/token")), &[shown, other]);
        check(&before, &with("https://erp.example", Some("https://erp.example/token")), &[other]);
        check(&with("https://cdn.example", None), &with("https://cdn.example/b", None), &[]);
        check(r#"{"base_url":"https://cdn.example"}"#, &with("https://cdn.example", None), &[shown]);
    }

    #[test]
    fn another_scheme_is_more_and_one_less_is_not() {
        let with = |auth: &str| format!(r#"{{"base_url":"https://erp.example",{auth}}}"#);
        let bearer = with(r#""auth":{"scheme":"bearer","token":"store:x"}"#);
        let basic = with(r#""auth":{"scheme":"basic","user":"u","password":"store:x"}"#);
        let both =
            with(r#""auth":{"scheme":"bearer","token":"store:x"},"client_certificate":{"certificate":"store:c"}"#);
        check(&basic, &bearer, &["it authenticates by `bearer`, which it did not"]);
        check(&bearer, &both, &["it authenticates by `mutual-tls`, which it did not"]);
        check(&both, &bearer, &[]);
        let private = with(r#""authorities":"PEM""#);
        let public = with(r#""timeout_ms":1"#);
        check(&public, &private, &["it trusts the authorities that it names"]);
        check(&private, &private, &[]);
        check(&private, &public, &["it trusts every authority that Mozilla trusts"]);
        let none = with(r#""allow_addresses":[]"#);
        check(&both, &none, &[]);
        let certificate = with(r#""client_certificate":{"certificate":"store:c"}"#);
        check(&none, &certificate, &["it sends its credentials to `https://erp.example`"]);
    }

    #[test]
    fn a_method_that_was_not_sent_is_more() {
        let capability = |methods: &[&str]| HttpCapability {
            origin: BASE_URL.to_owned(),
            methods: methods.iter().map(|method| (*method).to_owned()).collect(),
            reason: "test".to_owned(),
            authenticate: true,
        };
        let connection = connection(r#"{"base_url":"https://erp.example"}"#);
        let reach = |methods: &[&str]| Reach::of(&connection, &[capability(methods)]);
        assert_eq!(reach(&["GET"]).widened(&reach(&["GET", "POST"])), ["it sends POST to `https://erp.example`"]);
        assert_eq!(reach(&["GET", "POST"]).widened(&reach(&["GET"])), Vec::<String>::new());
    }

    #[test]
    fn nothing_reaches_nothing() {
        assert_eq!(Reach::default().widened(&Reach::default()), Vec::<String>::new());
    }
}
