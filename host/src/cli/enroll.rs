//! `crossdock enroll`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use serde_json::{Value, json};

use super::{Failed, HubAddress, credentials, out::Out};
use crate::app::access::enrolment::{enrolment_path, token_path, write_secret};

/// Becomes the first admin: exchanges the enrolment token that the hub wrote to its data folder for an admin's token,
/// which is written to that folder too, for its owner alone to read.
#[derive(Args, Debug)]
pub(super) struct Enroll {
    /// The hub's data folder.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The name that decisions and audit records will carry.
    #[arg(long, env = "USER", hide_env_values = true, value_name = "NAME")]
    name: String,
    /// Where the token is written; absent: to the data folder, where the command line looks for it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    address: HubAddress,
}

impl Enroll {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let offered = enrolment_path(&self.data);
        if !offered.is_file() {
            return Err(format!(
                "there is no enrolment token in `{}`: a hub writes one at its start if no admin is enrolled; others get \
                 a token with `crossdock token create`",
                offered.display()
            )
            .into());
        }
        let client = self.address.client_showing(credentials::read(&offered)?)?;
        let body = serde_json::to_vec(&json!({ "name": self.name }))?;
        let issued: Value = client.post("/v1/enroll", "application/json", body).await?;
        let text = |name: &str| issued.get(name).and_then(Value::as_str).unwrap_or_default();
        let path = self.out.unwrap_or_else(|| token_path(&self.data));
        write_secret(&path, text("token")).map_err(|error| {
            format!(
                "`{}` is enrolled, and the token cannot be written to `{}`: {error}; start the \
                hub again for another enrolment token after revoking {}",
                self.name,
                path.display(),
                text("id")
            )
        })?;
        if out.is_json() {
            out.value(
                &json!({ "id": text("id"), "name": text("name"), "expires": text("expires"), "token_file": path }),
            );
        } else {
            out.say(format!(
                "`{}` is an admin until {}; the token is in {}",
                self.name,
                text("expires"),
                path.display()
            ));
            if path != token_path("data".as_ref()) {
                out.say(format!(
                    "the command line uses it with `--token-file {0}` or CROSSDOCK_TOKEN_FILE={0}",
                    path.display()
                ));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
