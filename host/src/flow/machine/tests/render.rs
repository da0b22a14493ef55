//! The recorded state of a run as text, to compare what was lived with what is read back.

use super::super::{
    Run,
    instance::{FrameId, InstanceId, Phase},
};

/// The recorded state of a run, one line a step. Left out, since it leaves no fact: whether a pure call, an emit, a
/// start or a question about doubt that waited for its next attempt is out again; and that a remote said a moment ago
/// that nothing took effect, which is asked again after a crash.
pub(super) fn render(run: &Run) -> Vec<String> {
    let mut lines = Vec::new();
    for number in 0..run.instances.len() {
        let id = InstanceId(number);
        let instance = run.instance(id);
        let here = run.frame(instance.frame);
        let current = instance.frame == FrameId(0) || run.find_frame(here.block, &here.indices) == Some(instance.frame);
        let untouched = instance.phase == Phase::Fresh && instance.attempts == 0;
        if !current || untouched || run.path(id).is_empty() {
            continue;
        }
        let asked_and_found_nothing = instance.resolving && !instance.in_doubt;
        let phase = match instance.phase {
            Phase::Running | Phase::Waiting(_) => "under way".to_owned(),
            phase => format!("{phase:?}"),
        };
        let doubt = if asked_and_found_nothing { true } else { instance.in_doubt };
        let more = instance.more.as_ref();
        let failure = more.and_then(|more| more.failure.as_ref()).map(|failure| failure.code.clone());
        let approval = instance.approval().map(|asked| {
            (
                asked.asked.revision,
                asked.depth,
                &asked.group,
                asked.reminded,
                asked.escalated,
                asked.decisions.len(),
                asked.outcome,
            )
        });
        let wait = instance.wait().map(|wait| (wait.due, wait.over, wait.signal.as_ref().map(|s| s.value().clone())));
        lines.push(format!(
            "{}: {phase} attempts {} finds {} failures {} spent {:?} doubt {} begun {:?} output {:?} verdict {:?} branch {:?} closed {} failure {failure:?} handled {:?} max {:?} approval {approval:?} wait {wait:?}",
            run.path(id),
            instance.attempts,
            instance.finds,
            instance.failures,
            instance.spent,
            doubt && matches!(instance.phase, Phase::Running | Phase::Waiting(_) | Phase::Failed),
            instance.begun,
            instance.output.as_ref().map(|output| output.value().to_string()),
            instance.verdict.as_ref().map(|verdict| verdict.outcome),
            instance.branch,
            instance.closed,
            more.and_then(|more| more.handled),
            more.map_or(0, |more| more.max),
        ));
    }
    lines.sort();
    let paths = |ids: &[InstanceId]| ids.iter().map(|id| run.path(*id)).collect::<Vec<_>>();
    lines.push(format!("effects {:?}", paths(&run.effects)));
    lines.push(format!(
        "vars {:?}",
        run.vars.iter().map(|(name, value)| (name, value.value().to_string())).collect::<Vec<_>>()
    ));
    lines.push(format!(
        "halt {:?} paused {} parked {:?}",
        run.halt.is_some(),
        run.paused,
        run.parked.as_ref().map(|(step, failure)| (step, &failure.code))
    ));
    lines.push(format!(
        "generation {} restarting {} settled {}",
        run.generation,
        run.restarting.is_some(),
        run.settled
    ));
    lines
}
