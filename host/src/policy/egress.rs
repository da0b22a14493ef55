//! Which HTTP requests a connector may send: `manifest.capabilities.http ∩ connection ∩ hub ceiling`, default deny.
//!
//! Decides about origins and methods. Addresses are another question ([`super::address`]), asked once a name has been
//! resolved. A permission is a [`Granted`] request: only this module makes one, and its target cannot be changed.

use std::{fmt, net::Ipv6Addr};

use http::{HeaderMap, Method, Request, Uri};

use crate::model::{connection::Connection, manifest::HttpCapability};

/// What stands for the connection's own base URL in a manifest.
const BASE_URL: &str = "${connection.base_url}";

/// The methods that no hub lets out: they turn a connection into a tunnel, or echo what the host has added.
const METHODS_NEVER: [Method; 2] = [Method::CONNECT, Method::TRACE];

/// The methods that change nothing (RFC 9110 §9.2.1).
const METHODS_SAFE: [Method; 3] = [Method::GET, Method::HEAD, Method::OPTIONS];

/// Scheme, host and port: what a grant is about, and what credentials belong to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: &'static str,
    host: String,
    port: u16,
}

/// The text is not an origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a URL that requests can go to: {problem}")]
pub struct OriginError {
    text: String,
    problem: &'static str,
}

impl Origin {
    /// The origin of an absolute `http` or `https` URI without user information.
    ///
    /// # Errors
    /// Says what is wrong with the URI.
    pub fn of(uri: &Uri) -> Result<Self, OriginError> {
        let wrong = |problem| OriginError { text: without_query(uri), problem };
        let (scheme, default_port) = match uri.scheme_str() {
            Some("http") => ("http", 80),
            Some("https") => ("https", 443),
            Some(_) => return Err(wrong("only `http` and `https` are spoken")),
            None => return Err(wrong("it must be absolute, such as `https://erp.example/path`")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("it must not contain a user or a password; configure `auth` for the connection"));
        }
        let host = canonical_host(authority.host()).ok_or_else(|| wrong("its host is not a name or an address"))?;
        let port = match authority.port_u16() {
            Some(0) => return Err(wrong("port 0 cannot be connected to")),
            Some(port) => port,
            None if authority.as_str().len() > authority.host().len() => {
                return Err(wrong("its port is not a number from 1 to 65535"));
            }
            None => default_port,
        };
        Ok(Self { scheme, host, port })
    }

    /// Reads an absolute URL and keeps its origin.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        let uri: Uri = text.parse().map_err(|_| OriginError { text: text.to_owned(), problem: "it cannot be read" })?;
        Self::of(&uri)
    }

    /// `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// The host in lower case, an IPv6 address in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, given or the scheme's own.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether what is sent there can be read on the way.
    #[must_use]
    pub fn is_cleartext(&self) -> bool {
        self.scheme == "http"
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        match (self.scheme, self.port) {
            ("http", 80) | ("https", 443) => Ok(()),
            (_, port) => write!(f, ":{port}"),
        }
    }
}

/// One spelling for one host: lower case, no dot at the end, IPv6 in its shortest form.
fn canonical_host(host: &str) -> Option<String> {
    if let Some(inner) = host.strip_prefix('[') {
        let address: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
        return Some(format!("[{address}]"));
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (!host.is_empty() && host.len() <= 253 && host.chars().all(plain)).then_some(host)
}

/// A query may carry what must not be shown; it is never part of a message.
fn without_query(uri: &Uri) -> String {
    let text = uri.to_string();
    let end = text.find('?').unwrap_or(text.len());
    let text = text.get(..end).unwrap_or_default();
    // Neither may a user and a password.
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}…{}", text.get(..scheme + 3).unwrap_or_default(), text.get(at..).unwrap_or_default())
        }
        _ => text.to_owned(),
    }
}

/// Why a request may not be sent: what was asked, what is granted, and the line that would grant it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{asked} is not granted to connection `{connection}`: {reason}")]
pub struct Refusal {
    /// Method and target, without query.
    pub asked: String,
    /// The connection that asked.
    pub connection: String,
    /// What is granted instead, and the line to add.
    pub reason: String,
}

/// One capability, resolved for one connection.
#[derive(Clone, Debug)]
struct Grant {
    origin: Origin,
    methods: Vec<Method>,
    authenticate: bool,
}

/// Everything that one operation of one connection may send.
#[derive(Clone, Debug)]
pub struct Grants {
    connection: String,
    grants: Vec<Grant>,
    read_methods: Vec<Method>,
    defects: Vec<String>,
}

/// A request that may be sent. INVARIANT: method and target are those that were permitted.
#[derive(Clone, Debug)]
pub struct Granted<B> {
    request: Request<B>,
    origin: Origin,
    authenticate: bool,
}

impl<B> Granted<B> {
    /// Where it goes.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether the grant says that the host authenticates it.
    #[must_use]
    pub fn authenticate(&self) -> bool {
        self.authenticate
    }

    /// The path that it asks for.
    #[must_use]
    pub fn path(&self) -> &str {
        self.request.uri().path()
    }

    /// The request, to be looked at.
    #[must_use]
    pub fn request(&self) -> &Request<B> {
        &self.request
    }

    /// Its headers, for what the host takes away and adds.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        self.request.headers_mut()
    }

    /// The request itself, to be sent as it is.
    #[must_use]
    pub fn into_request(self) -> Request<B> {
        self.request
    }
}

impl Grants {
    /// Resolves a manifest's HTTP capabilities for a connection. What cannot be read grants nothing and is named in
    /// every refusal.
    #[must_use]
    pub fn new(name: &str, connection: &Connection, capabilities: &[HttpCapability], read_methods: &[String]) -> Self {
        let mut grants = Vec::with_capacity(capabilities.len());
        let mut defects = Vec::new();
        for capability in capabilities {
            let text = capability.origin.replace(BASE_URL, &connection.base_url);
            match Origin::parse(&text) {
                Ok(origin) => grants.push(Grant {
                    origin,
                    methods: read_all(&capability.methods, &mut defects),
                    authenticate: capability.authenticate,
                }),
                Err(error) => defects.push(error.to_string()),
            }
        }
        let read_methods = read_all(read_methods, &mut defects);
        Self { connection: name.to_owned(), grants, read_methods, defects }
    }

    /// Permits or refuses a request. `read_only` is set while a read operation runs: it is held to safe methods, and
    /// those that the operation declares beside them.
    ///
    /// # Errors
    /// What was asked, what is granted, and what to add.
    pub fn permit<B>(&self, request: Request<B>, read_only: bool) -> Result<Granted<B>, Refusal> {
        match self.decide(request.method(), request.uri(), read_only) {
            Ok((origin, authenticate)) => Ok(Granted { request, origin, authenticate }),
            Err(reason) => Err(Refusal {
                asked: format!("`{} {}`", request.method(), without_query(request.uri())),
                connection: self.connection.clone(),
                reason,
            }),
        }
    }

    fn decide(&self, method: &Method, uri: &Uri, read_only: bool) -> Result<(Origin, bool), String> {
        let origin = Origin::of(uri).map_err(|error| error.to_string())?;
        if METHODS_NEVER.contains(method) {
            return Err(format!("no plugin may send `{method}`"));
        }
        let mut here = self.grants.iter().filter(|grant| grant.origin == origin).peekable();
        if here.peek().is_none() {
            return Err(format!(
                "{}; to grant it, add to `plugin.toml`: `[[capabilities.http]]`, `origin = \"{origin}\"`, `methods = \
                 [\"{method}\"]`, `reason = \"…\"`",
                self.granted()
            ));
        }
        let with_method: Vec<_> = here.filter(|grant| grant.methods.contains(method)).collect();
        if with_method.is_empty() {
            return Err(format!(
                "{}; to grant it, add `\"{method}\"` to the `methods` of `{origin}` in `plugin.toml`",
                self.granted()
            ));
        }
        if read_only && !METHODS_SAFE.contains(method) && !self.read_methods.contains(method) {
            return Err(format!(
                "the operation is declared `effect = \"read\"` and may only look; if `{method}` changes nothing here, \
                 add `read_methods = [\"{method}\"]` to the operation in `plugin.toml`, else declare it a write"
            ));
        }
        Ok((origin, with_method.iter().any(|grant| grant.authenticate)))
    }

    /// What is granted, for people.
    fn granted(&self) -> String {
        let list: Vec<_> = self
            .grants
            .iter()
            .map(|grant| {
                let methods: Vec<_> = grant.methods.iter().map(Method::as_str).collect();
                format!("`{} {}`", methods.join(","), grant.origin)
            })
            .collect();
        let mut text =
            if list.is_empty() { "granted is nothing".to_owned() } else { format!("granted is {}", list.join(", ")) };
        for defect in &self.defects {
            text.push_str("; ");
            text.push_str(defect);
        }
        text
    }
}

fn read_all(methods: &[String], defects: &mut Vec<String>) -> Vec<Method> {
    let mut read = Vec::with_capacity(methods.len());
    for text in methods {
        match Method::from_bytes(text.as_bytes()) {
            Ok(method) if text.chars().all(|c| !c.is_ascii_lowercase()) => read.push(method),
            _ => defects.push(format!("`{text}` is not a method in upper case")),
        }
    }
    read
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::{Grants, Origin};
    use crate::model::{auth::Auth, connection::Connection, json::Json, manifest::HttpCapability};

    fn connection(base_url: &str) -> Connection {
        Connection {
            plugin: "acme/erp".parse().unwrap(),
            base_url: base_url.into(),
            config: Json::empty_object(),
            auth: Auth::None,
            client_certificate: None,
            authorities: None,
            secrets: std::collections::BTreeMap::new(),
            allow_addresses: Vec::new(),
            timeout_ms: 1000,
            response_bytes_limit: 1024,
            limits: Default::default(),
        }
    }

    fn capability(origin: &str, methods: &[&str], authenticate: bool) -> HttpCapability {
        HttpCapability {
            origin: origin.into(),
            methods: methods.iter().map(ToString::to_string).collect(),
            reason: "test".into(),
            authenticate,
        }
    }

    fn grants() -> Grants {
        Grants::new(
            "erp",
            &connection("https://erp.example/sap/opu"),
            &[
                capability("${connection.base_url}", &["GET", "POST"], true),
                capability("http://cdn.example:8080", &["GET"], false),
                capability("https://[2001:DB8::0:1]", &["GET"], false),
            ],
            &["POST".into()],
        )
    }

    #[track_caller]
    fn check(grants: &Grants, request: &str, read_only: bool, expected: &str) {
        let (method, uri) = request.split_once(' ').unwrap();
        let request = Request::builder().method(method).uri(uri).body(()).unwrap();
        let found = grants.permit(request, read_only).map_or_else(
            |refusal| refusal.to_string(),
            |granted| format!("{} {}", granted.origin(), if granted.authenticate() { "authenticated" } else { "bare" }),
        );
        assert_eq!(found, expected);
    }

    #[test]
    fn grants_what_manifest_and_connection_name() {
        check(&grants(), "GET https://erp.example/any/path?x=1", false, "https://erp.example authenticated");
        check(&grants(), "POST https://ERP.example.:443/", false, "https://erp.example authenticated");
        check(&grants(), "GET http://cdn.example:8080/x", false, "http://cdn.example:8080 bare");
        check(&grants(), "GET https://[2001:db8:0:0::1]/x", false, "https://[2001:db8::1] bare");
    }

    #[test]
    fn refuses_anything_else_and_says_what_to_add() {
        let granted = "granted is `GET,POST https://erp.example`, `GET http://cdn.example:8080`, `GET \
                       https://[2001:db8::1]`";
        for target in [
            "https://evil.example/x",
            "http://erp.example/",
            "https://erp.example:8443/",
            "https://erp.example.evil.example/",
            "https://sub.erp.example/",
            "http://cdn.example/",
        ] {
            let origin = Origin::parse(target).unwrap();
            let expected = format!(
                "`GET {target}` is not granted to connection `erp`: {granted}; to grant it, add to `plugin.toml`: \
                 `[[capabilities.http]]`, `origin = \"{origin}\"`, `methods = [\"GET\"]`, `reason = \"…\"`"
            );
            check(&grants(), &format!("GET {target}"), false, &expected);
        }
        check(
            &grants(),
            "DELETE https://erp.example/a?token=hush",
            false,
            &format!(
                "`DELETE https://erp.example/a` is not granted to connection `erp`: {granted}; to grant it, add \
                 `\"DELETE\"` to the `methods` of `https://erp.example` in `plugin.toml`"
            ),
        );
    }

    #[test]
    fn denies_by_default() {
        let none = Grants::new("erp", &connection("https://erp.example"), &[], &[]);
        check(
            &none,
            "GET https://erp.example/",
            false,
            "`GET https://erp.example/` is not granted to connection `erp`: granted is nothing; to grant it, add to \
             `plugin.toml`: `[[capabilities.http]]`, `origin = \"https://erp.example\"`, `methods = [\"GET\"]`, \
             `reason = \"…\"`",
        );
    }

    #[test]
    fn a_read_is_held_to_methods_that_change_nothing() {
        let open = [capability("${connection.base_url}", &["GET", "POST", "DELETE"], false)];
        let grants = Grants::new("erp", &connection("https://erp.example"), &open, &["POST".into()]);
        check(&grants, "GET https://erp.example/", true, "https://erp.example bare");
        check(&grants, "POST https://erp.example/", true, "https://erp.example bare");
        check(&grants, "DELETE https://erp.example/", false, "https://erp.example bare");
        check(
            &grants,
            "DELETE https://erp.example/",
            true,
            "`DELETE https://erp.example/` is not granted to connection `erp`: the operation is declared `effect = \
             \"read\"` and may only look; if `DELETE` changes nothing here, add `read_methods = [\"DELETE\"]` to the \
             operation in `plugin.toml`, else declare it a write",
        );
    }

    #[test]
    fn no_grant_opens_a_tunnel() {
        let open = [capability("${connection.base_url}", &["TRACE", "CONNECT"], true)];
        let grants = Grants::new("erp", &connection("https://erp.example"), &open, &[]);
        for method in ["TRACE", "CONNECT"] {
            let expected = format!(
                "`{method} https://erp.example/` is not granted to connection `erp`: no plugin may send `{method}`"
            );
            check(&grants, &format!("{method} https://erp.example/"), false, &expected);
        }
    }

    #[test]
    fn odd_urls_are_refused_without_showing_what_they_hide() {
        for (text, problem) in [
            ("/relative", "must be absolute"),
            ("ftp://erp.example/", "only `http` and `https`"),
            ("https://user:hush@erp.example/", "must not contain a user"),
            ("https://erp.example:0/", "port 0"),
            ("https://erp.example:99999/", "not a number"),
            ("https://erp%2eexample/", "not a name"),
        ] {
            let Ok(uri) = text.parse::<http::Uri>() else { continue };
            let error = Origin::of(&uri).unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn a_capability_that_cannot_be_read_grants_nothing_and_is_named() {
        let broken = [capability("erp.example", &["get"], false), capability("https://erp.example", &["get"], false)];
        let grants = Grants::new("erp", &connection("https://erp.example"), &broken, &[]);
        let request = Request::builder().uri("https://erp.example/").body(()).unwrap();
        let text = grants.permit(request, false).unwrap_err().to_string();
        assert!(text.contains("`get` is not a method in upper case"), "{text}");
        assert!(text.contains("`erp.example` is not a URL"), "{text}");
    }
}
