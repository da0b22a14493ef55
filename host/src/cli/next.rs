//! What a person can do with a run, said where the run is shown.

use super::{control::short, out::Out};
use crate::model::run::{RunState, RunSummary};

/// Says what can be done with a run that does not go on by itself.
pub(super) fn say(out: &Out, summary: &RunSummary) {
    let run = short(summary.id);
    match summary.state {
        RunState::Parked => match summary.code() {
            Some("effect.in-doubt") => {
                out.say("    next: find out at the remote whether the write took effect, then say so with");
                out.say(format!(
                    "      `crossdock run resolve {run} --took-effect OUTPUT.json` (what the write answered), or"
                ));
                out.say(format!("      `crossdock run resolve {run} --no-effect` (it is repeated)"));
            }
            Some(code) => {
                let mend =
                    if code == "compensation.blocked" { "undo it by hand or mend the cause" } else { "mend the cause" };
                out.say(format!("    next: {mend}, then `crossdock run resume {run}`;"));
                out.say(format!(
                    "      or end it with `crossdock run close {run}`, which undoes what it did (`--keep-effects`: not)"
                ));
            }
            None => out.say("    next: mend what the cause names; the next start of the hub takes the run up again"),
        },
        RunState::Paused => out.say(format!("    next: `crossdock run continue {run}`, or `run cancel`")),
        _ => {}
    }
}
