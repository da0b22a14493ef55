//! Whether the hub does its work: what is said of each part, and which of them keep it from taking events in.

use super::Hub;
use crate::{app::traffic, ports::hub::Readiness};

impl Hub {
    /// Looks at every part.
    pub(super) fn look_at_parts(&self) -> Readiness {
        let journal = self.shared.facts.health();
        let room = self.shared.facts.room();
        // They are no reason to refuse events: what comes in waits with the rest.
        let effects = if self.shared.effects.are_paused() {
            "paused after a restore: compare the remotes, then run `crossdock backup reconciled`".to_owned()
        } else {
            "ok".to_owned()
        };
        let stopping = self.shared.stopping.is_cancelled();
        let installation = self.shared.installation.load();
        let mut unbound = Vec::new();
        for (name, pipeline) in &installation.pipelines {
            for used in pipeline.plan.uses.keys() {
                unbound.extend(installation.connection(name, used).err());
            }
        }
        let ok = || "ok".to_owned();
        let stuck = self.shared.index.stuck_count();
        let stuck = if stuck == 0 { ok() } else { format!("{stuck} runs cannot be carried forward: see the log") };
        // Readiness may be asked by anybody: it says how many, the log says which.
        let secrets = self.missing_secrets().len();
        let secrets =
            if secrets == 0 { ok() } else { format!("{secrets} secrets cannot be read: see the log of the start") };
        let failing = self.triggers.problems().len();
        let triggers = if failing == 0 { ok() } else { format!("{failing} triggers fail: see the log") };
        let apis = self.apis.problems();
        let failing = self.subscriptions.problems().len();
        let subscriptions = if failing == 0 {
            ok()
        } else {
            format!("{failing} subscriptions do not deliver: `crossdock subscription list`")
        };
        let unusable = &installation.unusable;
        let installed = if unusable.is_empty() { ok() } else { unusable.join("; ") };
        let mut checks = vec![
            ("installation".to_owned(), installed),
            ("secrets".to_owned(), secrets),
            ("runs".to_owned(), stuck),
            ("journal".to_owned(), journal.clone().err().unwrap_or_else(ok)),
            ("effects".to_owned(), effects),
            ("space".to_owned(), room.clone().err().unwrap_or_else(ok)),
            ("bindings".to_owned(), if unbound.is_empty() { ok() } else { unbound.join("; ") }),
            ("triggers".to_owned(), triggers),
            ("subscriptions".to_owned(), subscriptions),
            ("apis".to_owned(), if apis.is_empty() { ok() } else { apis.join("; ") }),
            ("lifecycle".to_owned(), if stopping { "the hub is stopping".to_owned() } else { ok() }),
        ];
        if self.anchor.view().is_some() {
            checks.push(("anchor".to_owned(), self.anchor.problem().unwrap_or_else(ok)));
        }
        // As information: a remote that is left alone is no reason to refuse events.
        checks.push(("remotes".to_owned(), traffic::breakers(&self.shared)));
        // An unbound name parks the runs that need it; it is no reason to refuse events, which would lose them.
        Readiness { ready: journal.is_ok() && room.is_ok() && !stopping, checks }
    }
}
