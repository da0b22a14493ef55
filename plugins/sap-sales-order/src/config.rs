//! Settings. Their names and defaults are those of `schemas/config.json`.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The settings of one connection. What is absent has the default that the schema says, so that `{}` works in tests.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    pub(crate) base_url: String,
    pub(crate) service_path: String,
    pub(crate) order_type: String,
    pub(crate) sales_organization: String,
    pub(crate) distribution_channel: String,
    pub(crate) division: String,
    pub(crate) sold_to: String,
    pub(crate) unit: String,
    pub(crate) shipping_material: String,
    pub(crate) price_condition: Option<String>,
    pub(crate) extra_headers: BTreeMap<String, String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            base_url: String::new(),
            service_path: "/sap/opu/odata/sap/API_SALES_ORDER_SRV".into(),
            order_type: "OR".into(),
            sales_organization: "1010".into(),
            distribution_channel: "10".into(),
            division: "00".into(),
            sold_to: "10100001".into(),
            unit: "PC".into(),
            shipping_material: "SHIPPING".into(),
            price_condition: None,
            extra_headers: BTreeMap::new(),
        }
    }
}

impl Config {
    /// Where the service is, without a slash at the end.
    pub(crate) fn service_url(&self) -> String {
        let base = self.base_url.trim_end_matches('/');
        let path = self.service_path.trim_end_matches('/');
        if base.ends_with(path) { base.to_owned() } else { format!("{base}{path}") }
    }
}
