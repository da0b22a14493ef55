//! What the demo's operator declares: plugins, connections to the sandbox retailer, the shop's webhook, the pipeline.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use crate::{
    app::{
        config::{Config, HubLimits},
        inbox::People,
    },
    cli::Failed,
    model::{
        auth::Auth,
        connection::{Connection, SecretRef, WebhookSource},
        json::Json,
    },
    sandbox::{self, Retailer, erp::SERVICE_PATH},
};

/// The pipeline that every order goes through.
const PIPELINE: &str = include_str!("../../../demo/order-fulfilment.yaml");
/// Its name.
const PIPELINE_NAME: &str = "retail/order-fulfilment";
/// Where the sandbox listens: the one private address that each connection is granted.
const LOOPBACK: &str = "127.0.0.1/32";

/// The demo's declarations, with the secrets and the pipeline that they refer to on disk.
pub(super) struct Setting {
    /// What the hub applies.
    pub(super) config: Config,
}

impl Setting {
    pub(super) fn prepare(data: &Path, retailer: &Retailer, packages: Vec<PathBuf>) -> Result<Self, Failed> {
        let options = sandbox::Options::default();
        let secrets = data.join("secrets");
        fs::create_dir_all(&secrets)?;
        let secret = |name: &str, value: &str| keep(&secrets.join(name), value);
        let connection = |plugin: &str, base_url: String, auth: Auth| -> Result<Connection, Failed> {
            Ok(Connection {
                plugin: plugin.parse()?,
                base_url,
                config: Json::empty_object(),
                auth,
                client_certificate: None,
                authorities: None,
                secrets: BTreeMap::new(),
                allow_addresses: vec![LOOPBACK.to_owned()],
                timeout_ms: 5_000,
                response_bytes_limit: 1 << 20,
                limits: Default::default(),
            })
        };
        let password = secret("erp-password", &options.erp.password)?;
        let connections = BTreeMap::from([
            (
                "erp-main".to_owned(),
                connection(
                    "crossdock/sap-sales-order",
                    format!("{}{SERVICE_PATH}", retailer.erp.url()),
                    Auth::Basic { user: options.erp.user, password },
                )?,
            ),
            (
                "warehouse-main".to_owned(),
                connection("crossdock/sandbox-warehouse", retailer.warehouse.url(), Auth::None)?,
            ),
            (
                "carrier-main".to_owned(),
                connection(
                    "crossdock/sandbox-carrier",
                    retailer.carrier.url(),
                    Auth::Bearer { token: secret("carrier-token", &options.carrier.token)? },
                )?,
            ),
        ]);
        let source = WebhookSource {
            plugin: "crossdock/shopify-order".parse()?,
            source: "/shops/sandbox".to_owned(),
            types: vec!["retail.order.placed.v1".to_owned()],
            secret: secret("shop-webhook", &options.shop.webhook_secret)?,
            config: Json::empty_object(),
            body_bytes_limit: 1 << 20,
        };
        let pipeline = data.join("order-fulfilment.yaml");
        fs::write(&pipeline, PIPELINE)?;
        let names = [("erp", "erp-main"), ("wms", "warehouse-main"), ("carriers", "carrier-main")];
        let names = names.map(|(name, connection)| (name.to_owned(), connection.to_owned()));
        Ok(Self {
            config: Config {
                plugins: packages,
                pipelines: vec![pipeline],
                connections,
                sources: BTreeMap::from([("shop".to_owned(), source)]),
                bindings: BTreeMap::from([(PIPELINE_NAME.to_owned(), BTreeMap::from(names))]),
                hub: HubLimits::default(),
                people: People {
                    groups: BTreeMap::from([("fulfilment-leads".to_owned(), vec!["lea".to_owned()])]),
                    delegations: Vec::new(),
                },
                ..Config::default()
            },
        })
    }
}

/// Keeps a secret in a file that only its owner reads.
fn keep(path: &Path, value: &str) -> Result<SecretRef, Failed> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(value.as_bytes())?;
    Ok(SecretRef::File(path.canonicalize()?.display().to_string()))
}
