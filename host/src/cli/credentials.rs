//! Where the hub is, and what the command line shows it: a token from a file, from the environment, or from the hub's
//! data folder on this machine.

use std::{fmt, fs, path::PathBuf, str::FromStr};

use clap::Args;
use http::Uri;

use super::Failed;
use crate::{
    app::access::enrolment::token_path,
    net::client::{Client, Credentials, is_loopback},
    ports::secrets::Secret,
};

/// Largest token file, bytes.
const TOKEN_BYTES_LIMIT: u64 = 16 << 10;

/// Where the hub is.
#[derive(Args, Debug, Clone)]
pub(super) struct HubAddress {
    /// The hub's address.
    #[arg(long, env = "CROSSDOCK_HUB", default_value = "http://127.0.0.1:7420", value_name = "URL")]
    pub(super) hub: String,
    /// A file that holds the token to show; the environment variable CROSSDOCK_TOKEN may hold the token itself. Without
    /// either, a hub on this machine is shown the token that `crossdock enroll` left in its data folder.
    #[arg(long, env = "CROSSDOCK_TOKEN_FILE", value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    #[arg(long, env = "CROSSDOCK_TOKEN", hide = true, hide_env_values = true)]
    token: Option<Hidden>,
    /// The data folder of a hub on this machine, for the token in it.
    #[arg(long, env = "CROSSDOCK_DATA", default_value = "data", value_name = "DIR")]
    hub_data: PathBuf,
    /// Authorities that may vouch for the hub, as a PEM file, beside those that everybody trusts.
    #[arg(long, env = "CROSSDOCK_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// A token that does not print.
#[derive(Clone)]
struct Hidden(Secret);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl FromStr for Hidden {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(Secret::new(text.trim())))
    }
}

impl HubAddress {
    /// A client of the hub that shows the token.
    pub(super) fn client(&self) -> Result<Client, Failed> {
        let credentials = Credentials { token: self.token()?, authorities: self.ca.clone() };
        Ok(Client::with(&self.hub, &credentials)?)
    }

    /// A client of the hub that shows another token.
    pub(super) fn client_showing(&self, token: Secret) -> Result<Client, Failed> {
        let credentials = Credentials { token: Some(token), authorities: self.ca.clone() };
        Ok(Client::with(&self.hub, &credentials)?)
    }

    fn token(&self) -> Result<Option<Secret>, Failed> {
        if let Some(path) = &self.token_file {
            return read(path).map(Some);
        }
        if let Some(Hidden(token)) = &self.token {
            return Ok(Some(token.clone()));
        }
        // What lies about in a folder is for the hub of this machine, and for no other.
        let path = token_path(&self.hub_data);
        let is_here = self.hub.parse::<Uri>().ok().and_then(|url| url.host().map(is_loopback)).unwrap_or(false);
        if is_here && path.is_file() { read(&path).map(Some) } else { Ok(None) }
    }
}

/// The one line of a file.
pub(super) fn read(path: &std::path::Path) -> Result<Secret, Failed> {
    let wrong = |error: std::io::Error| format!("cannot read the token in `{}`: {error}", path.display());
    let bytes = fs::metadata(path).map_err(wrong)?.len();
    if bytes > TOKEN_BYTES_LIMIT {
        return Err(format!("`{}` is {bytes} bytes, which no token is", path.display()).into());
    }
    let text = fs::read_to_string(path).map_err(wrong)?;
    Ok(Secret::new(text.trim()))
}
