//! `crossdock plugin`: everything that an author needs before a hub sees the plugin, and what a hub has.

mod bench;
mod build;
mod check;
mod diff;
mod key;
mod list;
mod local;
mod new;
mod opened;
mod registry;
mod replay;
mod run;
mod sign;
mod test;

use std::process::ExitCode;

use clap::Subcommand;

pub(super) use self::registry::{said, said_or};
use super::{Failed, HubAddress, out::Out};
use crate::model::manifest;

/// Plugins.
#[derive(Subcommand, Debug)]
pub(super) enum Plugin {
    /// Begin a plugin: a folder that builds, with a test and everything that a package needs.
    New(new::New),
    /// Print the JSON Schema of `plugin.toml`, for editors.
    Schema,
    /// Compile plugins and put each in a package.
    Build(build::Build),
    /// Run a plugin's own tests natively, then its golden tests in the sandbox.
    Test(test::Test),
    /// Call a rule, scorer or transform once, as the hub would, and show what it answers and uses.
    Run(run::Run),
    /// Measure a rule, scorer or transform on its golden inputs, beside the bare call of its component.
    Bench(bench::Bench),
    /// Judge packages as the hub would before it publishes them.
    Check(check::Check),
    /// Say what one version changes for who relies on another: of two packages, or of two versions at a hub.
    Diff(diff::Diff),
    /// Make keys to sign with; see which ones a hub trusts, and revoke them.
    #[command(subcommand)]
    Key(key::Key),
    /// Sign a package.
    Sign(sign::Sign),
    /// Put a package's folder into one file.
    Pack(sign::Pack),
    /// Say who signed a package, and whether it is still what was signed.
    Verify(sign::Verify),
    /// Replay recorded inputs with a version and another, and show where they answer otherwise.
    Replay(replay::Replay),
    /// List the plugins that a hub has installed.
    List(HubAddress),
    #[command(flatten)]
    Registry(registry::Registry),
}

impl Plugin {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        match self {
            Self::New(new) => new.run(out),
            Self::Schema => {
                out.value(&manifest::schema());
                Ok(ExitCode::SUCCESS)
            }
            Self::Build(build) => build.run(out),
            Self::Test(test) => test.run(out).await,
            Self::Run(run) => run.run(out).await,
            Self::Bench(bench) => bench.run(out).await,
            Self::Check(check) => check.run(out).await,
            Self::Diff(diff) => diff.run(out).await,
            Self::Key(key) => key.run(out).await,
            Self::Sign(sign) => sign.run(out),
            Self::Pack(pack) => pack.run(out),
            Self::Verify(verify) => verify.run(out),
            Self::Replay(replay) => replay.run(out).await,
            Self::List(address) => list::list(&address, out).await,
            Self::Registry(registry) => Box::pin(registry.run(out)).await,
        }
    }
}

pub(super) use build::spinner;
