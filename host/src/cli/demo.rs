//! `crossdock demo`: the main job, end to end, on a fresh machine.

mod crash;
mod scenario;
mod setting;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::Args;

use self::{scenario::Scenario, setting::Setting};
use super::{Failed, out::Out, plugin::spinner};
use crate::{
    app::{
        access::enrolment::{token_path, write_secret},
        build,
        hub::Hub,
    },
    net::server,
    sandbox::{self, Retailer},
    telemetry,
};

/// The plugins that the demo uses, by their folder.
const PLUGINS: [&str; 6] =
    ["shopify-order", "node-ranking", "fulfilment-policy", "sap-sales-order", "sandbox-warehouse", "sandbox-carrier"];

/// Whose the demo's token is.
const DEVELOPER: &str = "developer";

/// Runs a small retailer end to end.
#[derive(Args, Debug)]
pub(super) struct Demo {
    /// Keep the data here, for `serve --data DIR` to open afterwards; absent: it is thrown away.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the plugins' sources are; absent: in the workspace that this binary was built from.
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
}

impl Demo {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let sources =
            self.plugins.clone().or_else(|| super::workspace().map(|root| root.join("plugins"))).ok_or(
                "the plugins' sources are not where this binary was built: name their folder with `--plugins`",
            )?;
        out.say(out.bold("Crossdock demo: a small retailer, end to end"));
        let packages = build_plugins(out, &sources)?;

        let thrown_away = tempfile::tempdir()?;
        let data = self.data.clone().unwrap_or_else(|| thrown_away.path().to_owned());
        let retailer = Retailer::start(sandbox::Options::default()).await?;
        let hub = Hub::open(&data).await?;
        let setting = Setting::prepare(&data, &retailer, packages)?;
        hub.apply(&setting.config).await?;
        hub.take_up().await?;
        let issued = hub.access_control().develop(DEVELOPER).await?;
        write_secret(&token_path(&data), &issued.token)?;

        let listener = server::listen(([127, 0, 0, 1], 0).into(), &server::Transport::Plain).await?;
        let url = format!("http://{}", listener.local_addr()?);
        introduce(out, &retailer, &url);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let options = server::Options { metrics: Some(telemetry::metrics()), ..server::Options::default() };
        let serving = tokio::spawn(server::serve(listener, Arc::new(hub.clone()), options, async {
            // A sender that is gone also means: stop.
            let _ = stopped.await;
        }));

        let mut scenario = Scenario { out, retailer: &retailer, hub: &hub, url: &url, wrong: Vec::new() };
        let played = scenario.play().await;
        let mut wrong = std::mem::take(&mut scenario.wrong);

        let _ = stop.send(());
        serving.await??;
        hub.stop().await;
        if played.is_ok() {
            // The data is closed now: a process of its own can open it.
            wrong.extend(crash::play(out, &retailer, &data).await?);
            scenario.show_erp();
        }
        retailer.stop().await;
        played?;
        Ok(self.conclude(out, &data, &wrong))
    }

    fn conclude(&self, out: &Out, data: &Path, wrong: &[String]) -> ExitCode {
        if out.is_json() {
            out.value(&serde_json::json!({ "as_expected": wrong.is_empty(), "wrong": wrong }));
        }
        if !wrong.is_empty() {
            out.say(out.red("\nNot everything came out as it should:"));
            wrong.iter().for_each(|what| out.say(format!("  {what}")));
            return ExitCode::FAILURE;
        }
        out.say(out.green("\nEverything came out as it should."));
        out.say("\nWhat to try next:");
        if self.data.is_some() {
            out.say(format!("  crossdock serve --data {}         open what was just recorded; the systems have stopped, so new orders park", data.display()));
            out.say(format!("  crossdock run list --hub-data {}     and, in another terminal, look at it, with the demo's token: valid for a day", data.display()));
        } else {
            out.say("  crossdock demo --data demo-data     keep the data; then `crossdock serve --data demo-data`");
        }
        out.say("  crossdock pipeline graph host/demo/order-fulfilment.yaml");
        out.say("  crossdock plugin check target/plugins/crossdock-*");
        out.say("  plugin-sdk/README.md                write a rule of your own");
        out.say("(`crossdock` is target/release/crossdock; `cargo install --path host` puts it on your path.)");
        ExitCode::SUCCESS
    }
}

fn build_plugins(out: &Out, sources: &Path) -> Result<Vec<PathBuf>, Failed> {
    let folder = sources.parent().unwrap_or(sources).join("target/plugins");
    let mut packages = Vec::with_capacity(PLUGINS.len());
    for (number, name) in PLUGINS.iter().enumerate() {
        let bar = spinner(out, &format!("building plugin {} of {}: {name}", number + 1, PLUGINS.len()));
        let built = build::build(&sources.join(name), &folder, &mut |artifact| bar.set_message(artifact.to_owned()));
        bar.finish_and_clear();
        let package = built?;
        let bytes = std::fs::metadata(package.join("component.wasm")).map_or(0, |found| found.len());
        out.say(format!("  {} built {name} ({} KiB)", out.green("✓"), bytes / 1024));
        packages.push(package);
    }
    Ok(packages)
}

fn introduce(out: &Out, retailer: &Retailer, url: &str) {
    out.say("");
    for (name, address, what) in [
        ("hub", url.to_owned(), "HTTP API; /openapi.json describes it"),
        ("shop", retailer.shop.url(), "sends signed webhooks, shaped like Shopify's"),
        ("ERP", retailer.erp.url(), "SAP's API_SALES_ORDER_SRV over OData V2"),
        ("warehouse", retailer.warehouse.url(), "stock and picks"),
        ("carrier", retailer.carrier.url(), "quotes"),
    ] {
        out.say(format!("  {:<10} {address:<28} {}", out.bold(name), out.dim(what)));
    }
}
