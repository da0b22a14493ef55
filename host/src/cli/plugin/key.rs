//! `crossdock plugin key`: keys that publishers sign with.

use std::{
    fs::OpenOptions,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::{
    app::audit::key as files,
    cli::{
        Failed, HubAddress,
        control::Who,
        impact::{self, Accept},
        out::Out,
    },
    model::id::KeyId,
    policy::seal::PrivateKey,
};

/// Keys.
#[derive(Subcommand, Debug)]
pub(in crate::cli) enum Key {
    /// Make a key: FILE, which only you may read, and FILE.pub for whoever is to trust you.
    New(New),
    /// List the keys that a hub trusts, and what each signed.
    List(HubAddress),
    /// Revoke a key at a hub: what only it signed stops at once, for good.
    Revoke(Revoke),
    /// Show a public key as an operator writes it into `hub.toml`.
    Show(Show),
}

/// Where to put a key.
#[derive(Args, Debug)]
pub(in crate::cli) struct New {
    /// The private key's file, such as `acme.key`. Nothing is ever written over.
    file: PathBuf,
    /// The namespace that it is for: the part of the plugins' ids before the slash.
    #[arg(long, default_value = "NAMESPACE")]
    namespace: String,
}

/// Which key to show.
#[derive(Args, Debug)]
pub(in crate::cli) struct Show {
    /// The public key's file.
    file: PathBuf,
    /// The namespace that it is to be trusted for.
    #[arg(long, default_value = "NAMESPACE")]
    namespace: String,
}

/// Which key to revoke.
#[derive(Args, Debug)]
pub(in crate::cli) struct Revoke {
    /// The key's id, as `plugin key list` shows it.
    key: KeyId,
    #[command(flatten)]
    accept: Accept,
    #[command(flatten)]
    who: Who,
}

impl Key {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        match self {
            Self::New(new) => new.run(out),
            Self::List(address) => {
                tell_trust(out, &address.client()?.get("/v1/trust").await?);
                Ok(ExitCode::SUCCESS)
            }
            Self::Revoke(revoke) => revoke.run(out).await,
            Self::Show(show) => {
                show_key(out, &files::read_public(&show.file)?, &show.file, &show.namespace);
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

impl Revoke {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let mut request = json!({});
        self.accept.sign(&mut request);
        let answer = self.who.send::<Value>(&format!("/v1/trust/{}/revoke", self.key), request).await;
        let Some(answer) = impact::taken(out, answer)? else { return Ok(ExitCode::FAILURE) };
        tell_trust(out, &answer);
        Ok(ExitCode::SUCCESS)
    }
}

fn tell_trust(out: &Out, answer: &Value) {
    if out.is_json() {
        return out.value(answer);
    }
    let rows = answer.get("keys").and_then(Value::as_array).into_iter().flatten().map(|key| {
        let of = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let signed = key.get("signed").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let (from, until, revoked) = (of("not_before"), of("not_after"), of("revoked"));
        let state = match (revoked.as_str(), from.as_str(), until.as_str()) {
            ("", "", "") => out.green("trusted"),
            ("", from, until) => {
                format!("from {from} until {until}").replace("from  ", "").trim_end_matches(" until ").to_owned()
            }
            (revoked, ..) => out.red(&format!("revoked {revoked}")),
        };
        vec![of("id"), of("namespace"), state, signed.collect::<Vec<_>>().join(", "), of("note")]
    });
    out.table(&["key", "namespace", "state", "signed", ""], rows.collect(), "no key is trusted");
}

impl New {
    fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| format!("the system gives no randomness for a key: {error}"))?;
        let key = PrivateKey::from_seed(&seed);
        let public_file = public_file(&self.file);
        if public_file.exists() {
            return Err(format!("`{}` is there already; name another file", public_file.display()).into());
        }
        write_new(&self.file, &key.to_pem()?, 0o600)?;
        write_new(&public_file, &format!("{}\n", key.public().to_line()), 0o644)?;
        out.say(format!("{} {}: keep it to yourself, and a copy of it", out.green("private key"), self.file.display()));
        out.say(format!("{}  {}: give it to the operators of hubs", out.green("public key"), public_file.display()));
        show_key(out, &key.public(), &public_file, &self.namespace);
        Ok(ExitCode::SUCCESS)
    }
}

fn show_key(out: &Out, key: &crate::policy::seal::PublicKey, file: &Path, namespace: &str) {
    if out.is_json() {
        out.value(&serde_json::json!({ "key": key.id(), "public": key.to_line(), "file": file }));
    }
    out.say(format!("{} {}", out.dim("id"), key.id()));
    out.say(out.dim("an operator trusts it in hub.toml with"));
    out.say(format!("[[trust.keys]]\nnamespace = \"{namespace}\"\nkey = \"{}\"", key.to_line()));
}

fn public_file(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".pub");
    PathBuf::from(name)
}

/// Writes a file that is not there yet, and is never readable by more than its mode says.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), Failed> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    let mut file = options.open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => format!("`{}` is there already; name another file", path.display()),
        _ => format!("cannot write `{}`: {error}", path.display()),
    })?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(())
}

/// Reads a private key, which nobody else may be able to read.
///
/// # Errors
/// If others may read it, or it is none.
pub(super) fn read_private(path: &Path) -> Result<PrivateKey, Failed> {
    let wrong = |error: std::io::Error| format!("cannot read the key `{}`: {error}", path.display());
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).map_err(wrong)?.permissions());
        if mode & 0o077 != 0 {
            let path = path.display();
            return Err(format!("others may read the key `{path}`: run `chmod 600 {path}`, or make a new key").into());
        }
    }
    let text = std::fs::read_to_string(path).map_err(wrong)?;
    PrivateKey::from_pem(&text).map_err(|_| {
        format!("`{}` holds no private key: make one with `crossdock plugin key new FILE`", path.display()).into()
    })
}
