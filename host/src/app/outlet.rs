//! Ways out that the hub itself uses: each leads to one place and nowhere else, in the name of no plugin, and carries no
//! credentials of a connection.

use std::sync::Arc;

use crate::{
    model::{auth::Auth, connection::Connection, id::PluginId, json::Json, manifest::HttpCapability},
    net::egress::EgressScope,
    policy::egress::Origin,
    ports::{clock::Clock, secrets::Secrets},
};

/// A place that the hub itself asks or tells something.
pub(super) struct Outlet<'a> {
    /// What the way out is called in logs and metrics.
    pub(super) name: String,
    /// In whose name it goes out; no plugin has it.
    pub(super) plugin: &'static str,
    /// Why.
    pub(super) reason: &'static str,
    /// Where to.
    pub(super) url: &'a str,
    /// The one method.
    pub(super) method: &'static str,
    /// Private addresses that may be reached all the same.
    pub(super) allow_addresses: &'a [String],
    /// Longest wait for an answer, milliseconds.
    pub(super) timeout_ms: u64,
    /// Largest answer that is read, bytes.
    pub(super) answer_bytes_limit: u64,
}

impl Outlet<'_> {
    /// What a gateway opens.
    ///
    /// # Errors
    /// If its URL is not one.
    pub(super) fn scope(self, secrets: Arc<dyn Secrets>, clock: Arc<dyn Clock>) -> Result<EgressScope, String> {
        let origin = Origin::parse(self.url).map_err(|error| error.to_string())?.to_string();
        let connection = Connection {
            plugin: self.plugin.parse::<PluginId>().map_err(|error| error.to_string())?,
            base_url: origin.clone(),
            config: Json::empty_object(),
            auth: Auth::None,
            client_certificate: None,
            authorities: None,
            secrets: Default::default(),
            allow_addresses: self.allow_addresses.to_vec(),
            timeout_ms: self.timeout_ms,
            response_bytes_limit: self.answer_bytes_limit,
            limits: Default::default(),
        };
        let capability = HttpCapability {
            origin,
            methods: vec![self.method.to_owned()],
            reason: self.reason.to_owned(),
            authenticate: false,
        };
        Ok(EgressScope {
            connection_name: self.name,
            connection,
            capabilities: vec![capability],
            read_methods: Vec::new(),
            revision: 0,
            secret_versions: Vec::new(),
            secrets,
            clock,
        })
    }
}
