//! `crossdock plugin diff`: what one version changes for who relies on another; of two packages here, or of two versions at a
//! hub. Nothing is compiled or run.

use std::{path::Path, process::ExitCode};

use clap::Args;

use super::{check::tell_finding, opened};
use crate::{
    app::contracts::Library,
    cli::{
        Failed, HubAddress,
        out::Out,
        versions::{Named, field, path_of},
    },
    policy::gate::{
        Finding, Severity,
        difference::{Difference, Names},
    },
};

/// Two versions of one plugin.
#[derive(Args, Debug)]
pub(in crate::cli) struct Diff {
    /// The version before: a package's folder or file, or a version at a hub, `namespace/name@version`.
    before: String,
    /// The version after it, found in the same place.
    after: String,
    #[command(flatten)]
    address: HubAddress,
}

impl Diff {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let found = match (at_hub(&self.before), at_hub(&self.after)) {
            (Some(before), Some(after)) => self.ask(&before, &after).await?,
            (None, None) => {
                let (before, _before) = opened::readable(Path::new(&self.before))?;
                let (after, _after) = opened::readable(Path::new(&self.after))?;
                Difference::between(&before.subject, &after.subject, &Library::references())
            }
            (before, _) => {
                let (named, package) =
                    if before.is_some() { (&self.before, &self.after) } else { (&self.after, &self.before) };
                return Err(format!(
                    "`{named}` is a version at a hub, and `{package}` a package here: name two of a kind, or have the hub \
                     judge the package against what is published there with `crossdock plugin check {package} --at-hub`"
                )
                .into());
            }
        };
        if out.is_json() {
            out.value(&found);
        } else {
            tell(out, &found);
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn ask(&self, before: &Named, after: &Named) -> Result<Difference, Failed> {
        if before.name != after.name {
            return Err(format!("`{}` and `{}` are not versions of the same", before.name, after.name).into());
        }
        let path = format!("/v1/plugins/{}/difference", path_of(&before.name)?);
        let query = [("from", before.version.to_string()), ("to", after.version.to_string())];
        Ok(self.address.client()?.get_with(&path, &query).await?)
    }
}

/// The version at a hub that is meant, unless a package here has that name.
fn at_hub(given: &str) -> Option<Named> {
    given.parse().ok().filter(|_| !Path::new(given).exists())
}

fn tell(out: &Out, found: &Difference) {
    let Difference { plugin, from, to, .. } = found;
    out.say(format!("{} {from} → {to}", out.bold(plugin.as_str())));
    let counts = |finding: &&Finding| finding.bump.is_some() || finding.severity > Severity::Note;
    found.findings.iter().filter(counts).for_each(|finding| tell_finding(out, finding));
    if !found.manifest.is_empty() {
        out.say("  plugin.toml says otherwise:");
        found.manifest.iter().for_each(|change| out.say(format!("    {}", field(out, change))));
    }
    for (what, Names { added, removed }) in [("imports", &found.imports), ("exports", &found.exports)] {
        added.iter().for_each(|name| out.say(format!("  + {what} {name}")));
        removed.iter().for_each(|name| out.say(format!("  - {what} {name}")));
    }
    let component = if found.component.from == found.component.to { "the same" } else { "another" };
    out.say(format!("  the component is {component}"));
    out.say(format!("  what it may touch is {}", found.capabilities));
    if from != to {
        out.say(format!("  the changes are {}: {} or higher", out.bold(&found.bump.to_string()), found.next));
    }
    if found.findings.iter().any(|finding| finding.severity == Severity::Consent) {
        out.say("  an operator has to agree to what it newly may do");
    }
}
