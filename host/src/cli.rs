//! The command line: one definition, from which help, completions and behaviour come.

mod answer;
mod api;
mod approval;
mod archive;
mod audit;
mod backup;
mod bench;
mod connection;
mod control;
mod credentials;
mod dead_letter;
mod demo;
mod doctor;
mod enroll;
mod event;
mod exception;
mod impact;
mod many;
mod moving;
mod next;
mod out;
mod pipeline;
mod plugin;
mod privacy;
mod run;
mod schema;
mod secret;
mod serve;
mod source;
mod story;
mod subscription;
mod table;
mod token;
mod versions;

use std::{path::PathBuf, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};

use self::{credentials::HubAddress, out::Out};
use crate::telemetry;

/// Crossdock: a WebAssembly-plugin integration hub for retail.
#[derive(Parser, Debug)]
#[command(name = "crossdock", version, propagate_version = true, max_term_width = 110)]
struct Cli {
    /// Print JSON for programs instead of text for people.
    #[arg(long, global = true)]
    json: bool,
    /// What to log to standard error, such as `info` or `crossdock=debug`.
    #[arg(long, global = true, env = "CROSSDOCK_LOG", default_value = "warn", value_name = "FILTER")]
    log: String,
    /// Log as JSON lines.
    #[arg(long, global = true)]
    log_json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run a small retailer end to end: build the plugins, start a hub, send orders, show what happens.
    Demo(demo::Demo),
    /// Run a hub.
    Serve(serve::Serve),
    /// Send events to a hub.
    #[command(subcommand)]
    Event(event::Event),
    /// Look at runs, and take hold of them.
    #[command(subcommand)]
    Run(run::Run),
    /// Answer what pipelines ask people.
    #[command(subcommand)]
    Approval(approval::Approval),
    /// Look at parked runs, and let them try again.
    #[command(subcommand)]
    DeadLetter(dead_letter::DeadLetter),
    /// Look at events that came for something that was undone, and close them.
    #[command(subcommand)]
    Exception(exception::Exception),
    /// Begin, build, test, check, sign and list plugins.
    #[command(subcommand)]
    Plugin(plugin::Plugin),
    /// Check, draw, list and bind pipelines.
    #[command(subcommand)]
    Pipeline(pipeline::Pipeline),
    /// Reference tables: draft, compare, approve, promote.
    #[command(subcommand)]
    Table(table::Table),
    /// Look at connections, test, change and rotate them; look at the lanes of the hub.
    #[command(subcommand)]
    Connection(connection::Connection),
    /// Webhook sources: who signs deliveries, what they bring, as what.
    #[command(subcommand)]
    Source(source::Source),
    /// Set, rotate and list the secrets that the hub keeps.
    #[command(subcommand)]
    Secret(secret::Secret),
    /// Publish reads of connections to channels and partners.
    #[command(subcommand)]
    Api(api::Api),
    /// Deliver events to partners' endpoints.
    #[command(subcommand)]
    Subscription(subscription::Subscription),
    /// Register schemas of events, see them, and put them out of use.
    #[command(subcommand)]
    Schema(schema::Schema),
    /// See who changed what runs, and prove the whole history without trusting the hub.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// See what is held of a person's data, and erase it.
    #[command(subcommand)]
    Privacy(privacy::Privacy),
    /// Archive runs that ended, and look at archives, of a hub that is switched off.
    #[command(subcommand)]
    Archive(archive::Archive),
    /// Back up a hub, running or not, and restore it.
    #[command(subcommand)]
    Backup(backup::Backup),
    /// Become the first admin of a hub that was just started.
    Enroll(enroll::Enroll),
    /// Make, list, rotate and revoke tokens, and see how much they are used.
    #[command(subcommand)]
    Token(token::Token),
    /// Look whether this machine can run a hub and build plugins.
    Doctor(doctor::Doctor),
    /// Measure a hub under load, and what its parts cost bare.
    Bench(bench::Bench),
    /// Print the completions of a shell.
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
}

/// What went wrong, with everything that led to it.
type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Runs the command line; the process's exit code: 0 done, 1 refused or failed, 2 used wrongly.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::start(&cli.log, cli.log_json);
    let out = Out::new(cli.json);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return out.failed(&error),
    };
    let result = runtime.block_on(dispatch(cli.command, &out));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match result {
        Ok(code) => code,
        Err(error) => out.failed(error.as_ref()),
    }
}

async fn dispatch(command: Command, out: &Out) -> Result<ExitCode, Failed> {
    match command {
        Command::Demo(demo) => Box::pin(demo.run(out)).await,
        Command::Serve(serve) => Box::pin(serve.run(out)).await,
        Command::Event(event) => event.run(out).await,
        Command::Run(run) => run.run(out).await,
        Command::Approval(approval) => approval.run(out).await,
        Command::DeadLetter(dead_letter) => dead_letter.run(out).await,
        Command::Exception(exception) => exception.run(out).await,
        Command::Plugin(plugin) => Box::pin(plugin.run(out)).await,
        Command::Table(table) => Box::pin(table.run(out)).await,
        Command::Pipeline(pipeline) => Box::pin(pipeline.run(out)).await,
        Command::Connection(connection) => Box::pin(connection.run(out)).await,
        Command::Source(source) => source.run(out).await,
        Command::Secret(secret) => secret.run(out).await,
        Command::Api(api) => api.run(out).await,
        Command::Subscription(subscription) => subscription.run(out).await,
        Command::Schema(schema) => Box::pin(schema.run(out)).await,
        Command::Audit(audit) => Box::pin(audit.run(out)).await,
        Command::Privacy(privacy) => privacy.run(out).await,
        Command::Archive(archive) => Box::pin(archive.run(out)).await,
        Command::Backup(backup) => Box::pin(backup.run(out)).await,
        Command::Enroll(enroll) => enroll.run(out).await,
        Command::Token(token) => token.run(out).await,
        Command::Doctor(doctor) => doctor.run(out),
        Command::Bench(bench) => Box::pin(bench.run(out)).await,
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "crossdock", &mut text);
            out.text(String::from_utf8_lossy(&text).trim_end());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The folder of the workspace that this binary was built from, if it is still there.
fn workspace() -> Option<PathBuf> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    root.join("plugins").is_dir().then(|| root.to_owned())
}

#[cfg(test)]
mod tests;
