//! `crossdock audit`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Deserialize;

use super::{Failed, HubAddress, out::Out};
use crate::{model::audit::AuditLine, net::client::Client};

/// The audit log.
#[derive(Subcommand, Debug)]
pub(super) enum Audit {
    /// List changes to what runs, newest first.
    List(List),
    /// Show one change with its digests.
    Show(Show),
}

/// Which records.
#[derive(Args, Debug)]
pub(super) struct List {
    /// Only by this actor, such as `operator:config`.
    #[arg(long)]
    actor: Option<String>,
    /// Only actions that begin so, such as `plugin` or `connection.set`.
    #[arg(long)]
    action: Option<String>,
    /// Only subjects that begin so, such as `connection/` or `pipeline/retail/orders`.
    #[arg(long)]
    subject: Option<String>,
    /// Only those before this number: the last one of the page before.
    #[arg(long, value_name = "SEQUENCE")]
    before: Option<u64>,
    /// At most so many.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    address: HubAddress,
}

/// Which record.
#[derive(Args, Debug)]
pub(super) struct Show {
    /// Its number, as `list` shows it.
    sequence: u64,
    #[command(flatten)]
    address: HubAddress,
}

#[derive(Deserialize)]
struct Records {
    records: Vec<AuditLine>,
}

impl Audit {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        match self {
            Self::List(list) => list.run(out).await,
            Self::Show(show) => show.run(out).await,
        }
    }
}

impl List {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let client = Client::new(&self.address.hub)?;
        let mut query = vec![("limit", self.limit.to_string())];
        query.extend(self.actor.map(|actor| ("actor", actor)));
        query.extend(self.action.map(|action| ("action", action)));
        query.extend(self.subject.map(|subject| ("subject", subject)));
        query.extend(self.before.map(|before| ("before", before.to_string())));
        let Records { records } = client.get_with("/v1/audit", &query).await?;
        if out.is_json() {
            out.value(&serde_json::json!({ "records": records }));
            return Ok(ExitCode::SUCCESS);
        }
        let rows = records
            .into_iter()
            .map(|AuditLine { sequence, record, .. }| {
                let after = record.after.map_or_else(|| "nothing".to_owned(), |digest| digest.short());
                vec![
                    sequence.to_string(),
                    record.time.to_string(),
                    record.actor,
                    record.action,
                    record.subject,
                    after,
                    record.reason,
                ]
            })
            .collect();
        let head = ["number", "time", "actor", "action", "subject", "now", "reason"];
        out.table(&head, rows, "no change was recorded that suits");
        Ok(ExitCode::SUCCESS)
    }
}

impl Show {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let client = Client::new(&self.address.hub)?;
        let before = self.sequence.saturating_add(1).to_string();
        let query = [("before", before), ("limit", "1".to_owned())];
        let Records { records } = client.get_with("/v1/audit", &query).await?;
        let line = records.into_iter().find(|line| line.sequence == self.sequence);
        let line =
            line.ok_or_else(|| format!("there is no audit record {}: `audit list` shows them", self.sequence))?;
        if out.is_json() {
            out.value(&line);
            return Ok(ExitCode::SUCCESS);
        }
        let digest =
            |digest: Option<crate::model::id::Digest>| digest.map_or_else(|| "nothing".to_owned(), |it| it.to_string());
        let AuditLine { sequence, record, batch, append } = line;
        out.say(format!("{}  {} {}", out.bold(&format!("audit record {sequence}")), record.action, record.subject));
        for (name, value) in [
            ("time", record.time.to_string()),
            ("actor", record.actor),
            ("reason", record.reason),
            ("before", digest(record.before)),
            ("after", digest(record.after)),
            ("journal", format!("batch {batch}, append {append}")),
        ] {
            out.say(format!("  {} {value}", out.dim(&format!("{name:<8}"))));
        }
        Ok(ExitCode::SUCCESS)
    }
}
