//! `crossdock privacy`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Failed, HubAddress, control::Who, out::Out};
use crate::ports::privacy::{Erased, Held};

/// Personal data.
#[derive(Subcommand, Debug)]
pub(super) enum Privacy {
    /// Say what is held of a person's data: the key that it is sealed with, and which runs need it.
    Show(Show),
    /// Erase a person's data for good: the key that it is sealed with is destroyed, here and in every later restore.
    Erase(Erase),
}

/// Whom it is about.
#[derive(Args, Debug)]
pub(super) struct Show {
    /// The person, as the events name them.
    subject: String,
    #[command(flatten)]
    address: HubAddress,
}

/// Whose data is erased.
#[derive(Args, Debug)]
pub(super) struct Erase {
    /// The person, as the events name them.
    subject: String,
    /// Cancel the runs that need the data first, and leave what they did in place.
    #[arg(long)]
    end_runs: bool,
    #[command(flatten)]
    who: Who,
}

impl Privacy {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        match self {
            Self::Show(show) => {
                let body = serde_json::to_vec(&json!({ "subject": show.subject }))?;
                let held: Held = show.address.client()?.post("/v1/privacy/subject", "application/json", body).await?;
                if out.is_json() {
                    out.value(&held);
                } else {
                    tell(out, &held);
                }
            }
            Self::Erase(erase) => {
                let request = json!({ "subject": erase.subject, "end_runs": erase.end_runs });
                let erased: Erased = erase.who.send("/v1/privacy/erase", request).await?;
                if out.is_json() {
                    out.value(&erased);
                } else if let Some(key) = erased.key {
                    for run in &erased.ended {
                        out.say(format!("{run} was cancelled; what it did is left in place"));
                    }
                    out.say(format!("erased: key {} is destroyed", out.bold(&key.to_string())));
                    out.say(
                        "  keep a copy of `audit/erasures` in the data folder beside the key of secrets: a restore of an \
                         older backup asks for it",
                    );
                } else {
                    out.say("there is nothing to erase: no personal data of this subject is held");
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn tell(out: &Out, held: &Held) {
    match (&held.key, &held.since) {
        (Some(key), Some(since)) => {
            out.say(format!("personal data is held since {since}, sealed with {}", out.bold(&key.to_string())));
        }
        _ => out.say("no personal data of this subject is held"),
    }
    for erased in &held.erased {
        out.say(format!("  erased {}: {}", erased.erased, erased.key));
    }
    for run in &held.runs {
        out.say(format!("  needed by {}, which is {}", run.id, run.state.as_str()));
    }
}
