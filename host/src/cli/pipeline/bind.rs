//! `crossdock pipeline bindings` and `bind`.

use std::{collections::BTreeMap, process::ExitCode};

use clap::{ArgGroup, Args};
use serde_json::{Value, json};

use crate::{
    cli::{Failed, HubAddress, control::Who, out::Out, plugin::said},
    net::client::encoded,
};

/// Whose.
#[derive(Args, Debug)]
pub(in crate::cli) struct Bindings {
    /// The pipeline, `namespace/name`.
    pipeline: String,
    #[command(flatten)]
    address: HubAddress,
}

/// What is to be bound.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("what").required(true)))]
pub(in crate::cli) struct Bind {
    /// The pipeline, `namespace/name`.
    pipeline: String,
    /// A name that the pipeline uses, and the connection that it is to stand for.
    #[arg(value_name = "NAME=CONNECTION", group = "what", value_parser = pair)]
    names: Vec<(String, String)>,
    /// As it was bound before.
    #[arg(long, group = "what")]
    rollback: bool,
    /// As hub.toml declares it, which is followed again.
    #[arg(long, group = "what")]
    declared: bool,
    #[command(flatten)]
    who: Who,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, connection)) if !name.is_empty() && !connection.is_empty() => {
            Ok((name.to_owned(), connection.to_owned()))
        }
        _ => Err("it has the form `NAME=CONNECTION`".to_owned()),
    }
}

/// The path of a pipeline's bindings.
fn path(pipeline: &str) -> Result<String, Failed> {
    let (namespace, name) = pipeline
        .split_once('/')
        .ok_or_else(|| format!("`{pipeline}` has no namespace: a pipeline is named `namespace/name`"))?;
    Ok(format!("/v1/pipelines/{}/{}/bindings", encoded(namespace), encoded(name)))
}

impl Bindings {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let answer: Value = self.address.client()?.get(&path(&self.pipeline)?).await?;
        if out.is_json() {
            out.value(&answer);
            return Ok(ExitCode::SUCCESS);
        }
        let of = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let names = answer.get("names").and_then(Value::as_object).cloned().unwrap_or_default();
        let rows = names.iter().map(|(name, bound)| {
            let connection = of(bound, "connection");
            let connection = if connection.is_empty() { out.red("nothing") } else { connection };
            vec![name.clone(), of(bound, "contract"), connection]
        });
        out.table(&["name", "contract", "connection"], rows.collect(), "the pipeline uses no connection");
        let earlier = answer.get("earlier").and_then(Value::as_array).map_or(0, Vec::len);
        out.say(format!("set by {}; {earlier} earlier bindings are known", of(&answer, "origin")));
        Ok(ExitCode::SUCCESS)
    }
}

impl Bind {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let request = if self.rollback {
            json!({ "do": "rollback" })
        } else if self.declared {
            json!({ "do": "declared" })
        } else {
            let names: BTreeMap<String, String> = self.names.into_iter().collect();
            json!({ "do": "bind", "names": names })
        };
        let answer: Value = self.who.send(&path(&self.pipeline)?, request).await?;
        said(out, &answer);
        Ok(ExitCode::SUCCESS)
    }
}
