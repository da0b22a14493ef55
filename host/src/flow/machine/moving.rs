//! A run goes on under another version of its pipeline. Its facts are read as facts of that version, with steps that
//! are called otherwise there named so; it may be moved only if it then stands exactly where it stood.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use super::{
    Run,
    calls::{self, Doing},
    instance::{self, Facet, InstanceId, Phase},
};
use crate::{
    flow::plan::Plan,
    model::{
        entry::{Entry, Moved, PipelineUse},
        id::RunId,
    },
};

/// Most problems that a refusal names.
const PROBLEMS_MAX: usize = 20;

/// Why a run cannot go on under another version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.join("; "))]
pub struct MoveRefusal {
    /// What stands in the way, each with what to do about it; at most 20.
    pub problems: Vec<String>,
}

/// What a run executes, by its facts: the version that it was moved to last, or began with.
#[must_use]
pub fn executes(entries: &[Entry]) -> Option<&PipelineUse> {
    entries.iter().rev().find_map(|entry| match entry {
        Entry::Moved(moved) => Some(&moved.pipeline),
        Entry::RunStarted(started) => Some(&started.pipeline),
        _ => None,
    })
}

/// Facts with the names that steps have in the version that the run was moved to last.
#[must_use]
pub(super) fn renamed(entries: &[Entry]) -> Cow<'_, [Entry]> {
    let Some(last) = entries.iter().rposition(|entry| matches!(entry, Entry::Moved(_))) else {
        return Cow::Borrowed(entries);
    };
    let mut facts = entries.to_vec();
    for place in 0..=last {
        let Some(Entry::Moved(moved)) = facts.get(place).cloned() else { continue };
        for fact in facts.iter_mut().take(place) {
            fact.steps_mut().into_iter().for_each(|step| moved.rename(step));
        }
    }
    Cow::Owned(facts)
}

impl Run {
    /// The run as it would go on after a move.
    ///
    /// # Errors
    /// What stands in the way.
    pub fn check_move(
        &self,
        id: RunId,
        entries: &[Entry],
        plan: Arc<Plan>,
        moved: Moved,
    ) -> Result<(Self, Entry), MoveRefusal> {
        let refuse = |problem: String| MoveRefusal { problems: vec![problem] };
        if self.settled && self.parked.is_none() {
            return Err(refuse("the run has ended".to_owned()));
        }
        if plan.pipeline.name != self.plan.pipeline.name {
            return Err(refuse(format!("`{}` is another pipeline", plan.pipeline.name)));
        }
        if plan.pipeline.digest == self.plan.pipeline.digest {
            return Err(refuse(format!("the run executes version {} already", plan.pipeline.version)));
        }
        let mut problems = self.unfit_names(&plan, &moved.steps);
        let entry = Entry::Moved(Box::new(moved.clone()));
        let mut facts = entries.to_vec();
        facts.push(entry.clone());
        if problems.is_empty() {
            match Self::replay_with(id, plan, Arc::clone(&self.hub), &facts, self.tables.clone()) {
                Ok(mut after) => {
                    after.grace = self.grace;
                    after.offered = self.offered;
                    problems = self.differences(&after, &moved);
                    if problems.is_empty() {
                        return Ok((after, entry));
                    }
                }
                Err(error) => problems.push(format!("{error}: say what it is called there with `OLD=NEW`")),
            }
        }
        problems.truncate(PROBLEMS_MAX);
        Err(MoveRefusal { problems })
    }

    /// Names of a mapping that do not fit, and steps that may not be called otherwise now.
    fn unfit_names(&self, plan: &Plan, steps: &BTreeMap<String, String>) -> Vec<String> {
        let mut problems = Vec::new();
        for (old, new) in steps {
            match (self.plan.find(old), plan.find(new)) {
                (None, _) => problems.push(format!("version {} has no step `{old}`", self.plan.pipeline.version)),
                (_, None) => problems.push(format!("version {} has no step `{new}`", plan.pipeline.version)),
                _ => {}
            }
        }
        for (place, instance) in self.instances.iter().enumerate() {
            let node = self.plan.node(instance.node);
            let path = self.path(InstanceId(place));
            let begun = matches!(instance.phase, Phase::Running | Phase::Waiting(_) | Phase::Failed);
            // What keys, seeds and identities are made of must not change under an attempt.
            if steps.get(&node.id).is_some_and(|new| *new != node.id) && (begun || instance.in_doubt) {
                problems.push(format!("`{path}` has begun and is not done: it keeps its name until it is"));
            }
            let (Doing::Call(before), Some(after)) =
                (calls::doing(&self.plan, instance), plan.find(steps.get(&node.id).unwrap_or(&node.id)))
            else {
                continue;
            };
            let moved = instance::Instance::new(after, instance.frame, instance.facet, instance.main);
            let same = matches!(calls::doing(plan, &moved), Doing::Call(after)
                if (&after.connection, &after.operation) == (&before.connection, &before.operation));
            if (begun || instance.in_doubt) && !same {
                let called = format!("{}#{}", before.connection, before.operation);
                problems.push(format!("`{path}` has called `{called}` and is not done: it must call the same there"));
            }
        }
        problems
    }

    /// Where a run that was moved stands otherwise than before.
    fn differences(&self, after: &Self, moved: &Moved) -> Vec<String> {
        let mut problems = Vec::new();
        let there = |path: &str| {
            let mut path = path.to_owned();
            moved.rename(&mut path);
            path
        };
        for (place, before) in self.instances.iter().enumerate() {
            let id = InstanceId(place);
            if before.phase == Phase::Fresh || !self.is_reachable(id) {
                continue;
            }
            let path = self.path(id);
            let Some(found) = after.find(&there(&path)) else {
                problems.push(format!("`{path}` is recorded, and has no place there"));
                continue;
            };
            let now = after.instance(found);
            let kind = self.plan.node(before.node).action.kind();
            if kind != after.plan.node(now.node).action.kind() {
                let other = after.plan.node(now.node).action.kind();
                problems.push(format!("`{path}` is recorded as `{kind}`, and would be `{other}`"));
            } else if now.phase != before.phase || self.is_live(id) != after.is_live(found) {
                problems.push(format!("`{path}` would not stand where it stands: it has to lie in the same step"));
            } else if now.output != before.output || now.verdict != before.verdict {
                problems.push(format!("`{path}` would have given something else"));
            }
        }
        for (place, now) in after.instances.iter().enumerate() {
            let frame = after.frame(now.frame);
            let count = after.plan.block(frame.block).nodes.len();
            let later = (place + 1..frame.first + count).find(|later| {
                let later = after.instance(InstanceId(*later));
                later.phase != Phase::Fresh
            });
            let skipped = now.facet == Facet::Main && now.phase == Phase::Fresh && place >= frame.first;
            if let Some(later) = later.filter(|_| skipped) {
                let (new, old) = (after.path(InstanceId(place)), after.path(InstanceId(later)));
                problems.push(format!("`{new}` would come before `{old}`, which has begun: put it behind"));
            }
        }
        let paths = |run: &Self| run.effects.iter().map(|effect| run.path(*effect)).collect::<Vec<_>>();
        let effects: Vec<String> = paths(self).iter().map(|path| there(path)).collect();
        if effects != paths(after) {
            problems.push("what can be undone would not be the same: keep each `compensate`".to_owned());
        }
        if self.protected.len() != after.protected.len() {
            problems.push("`point_of_no_return` would not be the same".to_owned());
        }
        problems
    }

    /// Whether an instance is the one that its path means: nothing around it was begun again.
    fn is_reachable(&self, id: InstanceId) -> bool {
        self.find(&self.path(id)) == Some(id)
    }
}
