//! What each command asks of a hub, written down: who may use it follows from who may use those endpoints. A command
//! without a row fails.

use std::collections::BTreeSet;

use clap::CommandFactory as _;

use super::Cli;
use crate::net::server::endpoints;

/// Every command and the endpoints that it asks; none: it works on this machine's files, as whoever owns them.
const TABLE: &[(&str, &[&str])] = &[
    ("demo", &[]),
    ("serve", &[]),
    ("event send", &["post /v1/events"]),
    ("run list", &["get /v1/runs"]),
    ("run show", &["get /v1/runs/{id}"]),
    ("run watch", &["get /v1/runs/{id}/stream"]),
    ("run pause", &["post /v1/runs/{id}/control"]),
    ("run continue", &["post /v1/runs/{id}/control"]),
    ("run cancel", &["post /v1/runs/{id}/control"]),
    ("run many", &["post /v1/runs/control"]),
    ("run resume", &["post /v1/runs/{id}/control"]),
    ("run close", &["post /v1/runs/{id}/control"]),
    ("run resolve", &["get /v1/runs/{id}", "post /v1/runs/{id}/control"]),
    ("run reassign", &["get /v1/approvals", "post /v1/runs/{id}/control"]),
    ("run late", &["get /v1/promises"]),
    ("run move", &["get /v1/runs", "post /v1/runs/{id}/move"]),
    ("run restart", &["post /v1/runs/{id}/control"]),
    ("approval list", &["get /v1/approvals"]),
    ("approval show", &["get /v1/approvals", "get /v1/approvals/{run}/{step}"]),
    ("approval approve", &["get /v1/approvals/{run}/{step}", "post /v1/approvals/{run}/{step}/decision"]),
    ("approval reject", &["get /v1/approvals/{run}/{step}", "post /v1/approvals/{run}/{step}/decision"]),
    ("approval decide-many", &["post /v1/approvals/decisions"]),
    ("dead-letter list", &["get /v1/dead-letters"]),
    ("dead-letter show", &["get /v1/dead-letters/{run}"]),
    ("dead-letter replay", &["post /v1/runs/{id}/control", "post /v1/runs/control"]),
    ("exception list", &["get /v1/exceptions"]),
    ("exception close", &["post /v1/runs/{id}/control"]),
    ("plugin build", &[]),
    ("plugin check", &["post /v1/plugins"]),
    ("plugin new", &[]),
    ("plugin test", &[]),
    ("plugin run", &[]),
    ("plugin bench", &[]),
    ("plugin diff", &["get /v1/plugins/{namespace}/{name}/difference"]),
    ("plugin key new", &[]),
    ("plugin key show", &[]),
    ("privacy show", &["post /v1/privacy/subject"]),
    ("privacy erase", &["post /v1/privacy/erase"]),
    ("plugin key list", &["get /v1/trust"]),
    ("plugin key revoke", &["post /v1/trust/{key}/revoke"]),
    ("plugin sign", &[]),
    ("plugin pack", &[]),
    ("plugin verify", &[]),
    ("plugin publish", &["post /v1/plugins"]),
    ("plugin show", &["get /v1/plugins/{namespace}/{name}"]),
    ("plugin explain", &["get /v1/plugins/{namespace}/{name}/explain"]),
    ("plugin impact", &["get /v1/plugins/{namespace}/{name}/impact"]),
    ("plugin release", &["post /v1/plugins/{namespace}/{name}/control"]),
    ("plugin deprecate", &["post /v1/plugins/{namespace}/{name}/control"]),
    ("plugin retire", &["post /v1/plugins/{namespace}/{name}/control"]),
    ("plugin restore", &["post /v1/plugins/{namespace}/{name}/control"]),
    ("plugin yank", &["post /v1/plugins/{namespace}/{name}/control"]),
    ("plugin revoke", &["post /v1/plugins/{namespace}/{name}/control"]),
    ("plugin stage", &["post /v1/bindings/{namespace}/{name}"]),
    ("plugin shadow", &["post /v1/bindings/{namespace}/{name}"]),
    ("plugin canary", &["post /v1/bindings/{namespace}/{name}"]),
    ("plugin promote", &["post /v1/bindings/{namespace}/{name}"]),
    ("plugin withdraw", &["post /v1/bindings/{namespace}/{name}"]),
    ("plugin rollback", &["post /v1/bindings/{namespace}/{name}"]),
    ("plugin changes", &["get /v1/changes"]),
    ("plugin approve", &["post /v1/changes/{id}/decision"]),
    ("plugin decline", &["post /v1/changes/{id}/decision"]),
    ("plugin replay", &["post /v1/plugins/{namespace}/{name}/replay"]),
    ("plugin list", &["get /v1/plugins"]),
    ("pipeline check", &[]),
    ("pipeline graph", &[]),
    ("pipeline schema", &[]),
    ("plugin schema", &[]),
    ("pipeline list", &["get /v1/pipelines"]),
    ("pipeline draft", &["post /v1/pipelines/{namespace}/{name}"]),
    (
        "pipeline diff",
        &[
            "get /v1/pipelines/{namespace}/{name}/difference",
            "get /v1/pipelines/{namespace}/{name}",
            "get /v1/pipelines/{namespace}/{name}/versions/{version}",
        ],
    ),
    ("pipeline approve", &["post /v1/pipelines/{namespace}/{name}/control"]),
    ("pipeline promote", &["post /v1/pipelines/{namespace}/{name}/control"]),
    ("pipeline rollback", &["post /v1/pipelines/{namespace}/{name}/control"]),
    (
        "pipeline show",
        &["get /v1/pipelines/{namespace}/{name}", "get /v1/pipelines/{namespace}/{name}/versions/{version}"],
    ),
    ("pipeline versions", &["get /v1/pipelines/{namespace}/{name}"]),
    ("pipeline deprecate", &["post /v1/pipelines/{namespace}/{name}/control"]),
    ("pipeline retire", &["post /v1/pipelines/{namespace}/{name}/control"]),
    ("pipeline pause", &["post /v1/pipelines/{namespace}/{name}/hold"]),
    ("pipeline continue", &["post /v1/pipelines/{namespace}/{name}/hold"]),
    ("table draft", &["post /v1/tables/{namespace}/{name}"]),
    ("table diff", &["get /v1/tables/{namespace}/{name}/difference"]),
    ("table approve", &["post /v1/tables/{namespace}/{name}/control"]),
    ("table promote", &["post /v1/tables/{namespace}/{name}/control"]),
    ("table rollback", &["post /v1/tables/{namespace}/{name}/control"]),
    ("table list", &["get /v1/tables"]),
    ("table show", &["get /v1/tables/{namespace}/{name}", "get /v1/tables/{namespace}/{name}/versions/{version}"]),
    ("table impact", &["get /v1/tables/{namespace}/{name}/impact"]),
    ("table deprecate", &["post /v1/tables/{namespace}/{name}/control"]),
    ("table retire", &["post /v1/tables/{namespace}/{name}/control"]),
    ("connection list", &["get /v1/connections"]),
    ("connection show", &["get /v1/connections/{name}"]),
    ("connection lanes", &["get /v1/lanes"]),
    ("connection add", &["post /v1/connections/{name}"]),
    ("connection change", &["post /v1/connections/{name}"]),
    ("connection impact", &["get /v1/hosts/{host}/impact"]),
    ("connection remove", &["post /v1/connections/{name}"]),
    ("connection rotate", &["post /v1/connections/{name}"]),
    ("connection test", &["post /v1/connections/{name}/test"]),
    ("source list", &["get /v1/sources"]),
    ("source show", &["get /v1/sources/{name}"]),
    ("source add", &["post /v1/sources/{name}"]),
    ("source change", &["post /v1/sources/{name}"]),
    ("source remove", &["post /v1/sources/{name}"]),
    ("source rotate", &["post /v1/sources/{name}"]),
    ("source confirm", &["post /v1/sources/{name}"]),
    ("secret list", &["get /v1/secrets"]),
    ("secret set", &["post /v1/secrets/{name}"]),
    ("secret rotate", &["post /v1/secrets/{name}"]),
    ("secret take-back", &["post /v1/secrets/{name}"]),
    ("secret confirm", &["post /v1/secrets/{name}"]),
    ("secret remove", &["post /v1/secrets/{name}"]),
    ("secret reseal", &[]),
    ("pipeline bindings", &["get /v1/pipelines/{namespace}/{name}/bindings"]),
    ("pipeline bind", &["post /v1/pipelines/{namespace}/{name}/bindings"]),
    ("api publish", &["post /v1/apis/{namespace}/{name}/{major}"]),
    ("api list", &["get /v1/apis"]),
    ("api show", &["get /v1/apis/{namespace}/{name}/{major}"]),
    ("api withdraw", &["post /v1/apis/{namespace}/{name}/{major}"]),
    ("subscription add", &["post /v1/subscriptions/{name}"]),
    ("subscription list", &["get /v1/subscriptions"]),
    ("subscription show", &["get /v1/subscriptions/{name}"]),
    ("subscription dead-letters", &["get /v1/subscriptions/{name}/dead-letters"]),
    ("subscription pause", &["post /v1/subscriptions/{name}/control"]),
    ("subscription resume", &["post /v1/subscriptions/{name}/control"]),
    ("subscription remove", &["post /v1/subscriptions/{name}/control"]),
    ("subscription replay", &["post /v1/subscriptions/{name}/control"]),
    ("schema list", &["get /v1/schemas"]),
    ("schema show", &["get /v1/schemas/{type}", "get /v1/schemas/{type}/{version}"]),
    ("schema check", &["post /v1/schemas/{type}"]),
    ("schema add", &["post /v1/schemas/{type}"]),
    ("schema impact", &["get /v1/schemas/{type}/impact"]),
    ("schema deprecate", &["post /v1/schemas/{type}/control"]),
    ("audit list", &["get /v1/audit"]),
    ("audit show", &["get /v1/audit"]),
    ("audit explain", &["get /v1/audit/explain"]),
    ("audit checkpoint", &[]),
    ("audit export", &[]),
    ("audit verify", &[]),
    ("archive run", &[]),
    ("archive list", &[]),
    ("archive show", &[]),
    ("backup create", &["post /v1/admin/backup"]),
    ("backup restore", &[]),
    ("backup reconciled", &[]),
    ("enroll", &["post /v1/enroll"]),
    ("token create", &["post /v1/tokens"]),
    ("token list", &["get /v1/tokens"]),
    ("token revoke", &["post /v1/tokens/{id}/revoke"]),
    ("token rotate", &["post /v1/tokens/{id}/rotate"]),
    ("token usage", &["get /v1/usage"]),
    ("bench", &[]),
    ("doctor", &[]),
    ("completions", &[]),
];

/// The commands without subcommands, as they are typed.
fn leaves(command: &clap::Command, path: &str, found: &mut BTreeSet<String>) {
    let mut below = command.get_subcommands().filter(|below| below.get_name() != "help").peekable();
    if below.peek().is_none() {
        found.insert(path.to_owned());
    }
    for below in below {
        leaves(below, format!("{path} {}", below.get_name()).trim_start(), found);
    }
}

#[test]
fn every_command_has_a_row_and_asks_what_there_is() {
    let mut there = BTreeSet::new();
    leaves(&Cli::command(), "", &mut there);
    let rows: BTreeSet<String> = TABLE.iter().map(|(command, _)| (*command).to_owned()).collect();
    assert_eq!(rows, there, "say in the table what it asks of a hub");
    let known: BTreeSet<String> = endpoints().into_iter().map(|(method, path)| format!("{method} {path}")).collect();
    for (command, asks) in TABLE {
        for endpoint in *asks {
            assert!(known.contains(*endpoint), "`{command}` asks `{endpoint}`, which there is not");
        }
    }
}
