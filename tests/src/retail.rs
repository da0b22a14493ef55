//! The sandbox retailer with a hub beside it, as an operator would set it up: files, folders and `hub.toml`.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use crossdock::sandbox::{
    self, Retailer,
    erp::SERVICE_PATH,
    shop::{DeliveryOptions, Receipt, Webhook},
};
use http::Request;

use crate::{hub::Hub, packages};

/// Another ERP than the sandbox's.
#[derive(Clone, Debug)]
pub struct Erp {
    /// The connection's base URL.
    pub base_url: String,
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
    /// More settings of the connector, as TOML: `extra_headers = { … }`.
    pub config: String,
}

/// A retailer in this process, and what a hub is told about it.
pub struct Retail {
    /// The systems.
    pub retailer: Retailer,
    /// Where the configuration, the secrets and the data are.
    pub folder: tempfile::TempDir,
    binary: String,
}

impl Retail {
    /// Starts the systems and writes the hub's configuration.
    ///
    /// # Panics
    /// If something of it cannot be had.
    pub async fn start(binary: &str) -> Self {
        let options = sandbox::Options::default().erp;
        Self::with_erp(binary, |retailer| Erp {
            base_url: format!("{}{SERVICE_PATH}", retailer.erp.url()),
            user: options.user,
            password: options.password,
            config: String::new(),
        })
        .await
    }

    /// Starts the systems with another ERP.
    ///
    /// # Panics
    /// If something of it cannot be had.
    #[allow(clippy::panic, reason = "a test without its setting has failed, and must say why")]
    pub async fn with_erp(binary: &str, erp: impl FnOnce(&Retailer) -> Erp) -> Self {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let retailer = Retailer::start(sandbox::Options::default()).await.unwrap_or_else(|error| panic!("{error}"));
        let erp = erp(&retailer);
        let retail = Self { retailer, folder, binary: binary.to_owned() };
        retail.configure(&erp).unwrap_or_else(|error| panic!("{error}"));
        retail
    }

    fn configure(&self, erp: &Erp) -> std::io::Result<()> {
        let options = sandbox::Options::default();
        let secret = |name: &str, value: &str| -> std::io::Result<String> {
            let path = self.folder.path().join(name);
            fs::write(&path, value)?;
            Ok(format!("file:{}", path.display()))
        };
        let mut text = String::from("plugins = [\n");
        for name in packages::PLUGINS {
            let _ = writeln!(text, "  \"{}\",", packages::package(name).display());
        }
        let pipeline = packages::workspace().join("host/demo/order-fulfilment.yaml");
        let _ = write!(
            text,
            r#"]
pipelines = ["{pipeline}"]

[connections.erp]
plugin = "crossdock/sap-sales-order"
base_url = "{erp}"
config = {{ {config} }}
auth = {{ scheme = "basic", user = "{user}", password = "{password}" }}
allow_addresses = ["127.0.0.1/32"]
timeout_ms = 5000
limits = {{ breaker = {{ open_ms = 100, open_ms_max = 200 }} }}

[connections.wms]
plugin = "crossdock/sandbox-warehouse"
base_url = "{warehouse}"
allow_addresses = ["127.0.0.1/32"]

[connections.carriers]
plugin = "crossdock/sandbox-carrier"
base_url = "{carrier}"
auth = {{ scheme = "bearer", token = "{token}" }}
allow_addresses = ["127.0.0.1/32"]

[sources.shop]
plugin = "crossdock/shopify-order"
source = "/shops/eu-1"
types = ["retail.order.placed.v1"]
secret = "{webhook}"

[bindings."retail/order-fulfilment"]
erp = "erp"
wms = "wms"
carriers = "carriers"
"#,
            pipeline = pipeline.display(),
            erp = erp.base_url,
            config = erp.config,
            user = erp.user,
            password = secret("erp-password", &erp.password)?,
            warehouse = self.retailer.warehouse.url(),
            carrier = self.retailer.carrier.url(),
            token = secret("carrier-token", &options.carrier.token)?,
            webhook = secret("shop-webhook", &options.shop.webhook_secret)?,
        );
        fs::write(self.config(), text)
    }

    /// The configuration's file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("hub.toml")
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts a hub over the data folder, anew after each crash.
    #[must_use]
    pub fn hub(&self) -> Hub {
        Hub::start(&self.binary, &self.data(), Some(&self.config()))
    }

    /// Delivers a webhook to a hub, once.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn deliver(&self, hub: &Hub, webhook: &Webhook) -> Result<Receipt, String> {
        let send = |request: Request<Bytes>| hub.send(request);
        let options = DeliveryOptions { pauses_ms: Vec::new(), ..DeliveryOptions::default() };
        self.retailer.shop.deliver(&hub.url, webhook, &options, send).await.map_err(|error| format!("{error:?}"))
    }

    /// How many sales orders the ERP has for a webhook's order.
    #[must_use]
    pub fn sales_orders(&self, webhook: &Webhook) -> usize {
        let names = webhook.order.as_ref().map(|order| order.references()).unwrap_or_default();
        self.retailer.erp.orders().iter().filter(|order| names.contains(&order.purchase_order)).count()
    }
}

/// What the hub said in the data folder's log.
#[must_use]
pub fn log(data: &Path) -> String {
    fs::read_to_string(data.with_extension("log")).unwrap_or_default()
}
