//! A slow, obvious reference beside the state machine: what must have come of a history, from the facts and the remote's
//! own log alone. It knows steps by their place in the text and looks at everything again for every question.
//!
//! 1. What took effect has an intent under the same key before it; what is recorded as done has taken effect, once.
//! 2. Of two steps of one list, the earlier took effect earlier.
//! 3. The run is undone latest first, from the last effect on, down to a point of no return; a step undoes what it names
//!    in the same order; each undoing begins when the one before it is recorded, and the remote saw them in that order.
//! 4. What is undone is undone once, and nothing of a run that is undone stays.
//! 5. No write is tried more often than its pipeline and the finding out of doubt allow.

use std::collections::{BTreeMap, BTreeSet};

use super::{super::DOUBT_ATTEMPTS_MIN, world::Done};
use crate::{
    flow::plan::{Node, Plan},
    model::{
        entry::{Control, Entry},
        id::IdempotencyKey,
    },
};

/// Attempts of a compensation for which the pipeline declares nothing.
const COMPENSATION_ATTEMPTS: u32 = 8;

/// What became of a history.
pub(super) struct Outcome<'a> {
    pub(super) plan: &'a Plan,
    pub(super) facts: &'a [Entry],
    /// What took effect at the remote, in order.
    pub(super) done: &'a [Done],
    /// Whether the run was wound down with everything undone.
    pub(super) undone: bool,
    /// Whether a step belongs to what the pipeline does at its end, which stays.
    pub(super) stays: &'a dyn Fn(&str) -> bool,
}

/// The id of a path's step: `s3` of `s3[2]~compensate`.
fn id(path: &str) -> &str {
    path.split(['[', '~']).next().unwrap_or_default()
}

fn node<'a>(plan: &'a Plan, path: &str) -> &'a Node {
    plan.nodes.iter().find(|node| node.id == id(path)).expect("a step of the plan")
}

/// The iteration that a path is of.
fn iteration(path: &str) -> &str {
    path.find('[').map_or("", |from| path[from..].split('~').next().unwrap_or_default())
}

impl Outcome<'_> {
    pub(super) fn check(&self) -> Result<(), String> {
        self.effects_and_intents()?;
        self.attempts()?;
        // Whoever begins again at a step chooses what becomes of later effects.
        if self.facts.iter().any(|fact| matches!(fact, Entry::Restarted { .. })) {
            return Ok(());
        }
        self.one_after_the_other()?;
        self.undoing()
    }

    /// Rule 1.
    fn effects_and_intents(&self) -> Result<(), String> {
        for done in self.done {
            let meant = self.facts.iter().any(|fact| {
                matches!(fact, Entry::Intent(intent) if intent.key == done.key && intent.step == done.step && !intent.resolving)
            });
            if !meant {
                return Err(format!("reference: `{}` took effect and nobody had meant it", done.step));
            }
        }
        let mut latest: BTreeMap<&str, IdempotencyKey> = BTreeMap::new();
        let mut recorded: BTreeSet<(&str, IdempotencyKey)> = BTreeSet::new();
        for fact in self.facts {
            match fact {
                Entry::Intent(intent) => drop(latest.insert(&intent.step, intent.key)),
                Entry::StepDone(done) => {
                    let Some(key) = latest.get(done.step.as_str()) else { continue };
                    if !self.done.iter().any(|effect| effect.key == *key) {
                        return Err(format!("reference: `{}` is recorded and never took effect", done.step));
                    }
                    if !recorded.insert((&done.step, *key)) {
                        return Err(format!("reference: `{}` is recorded twice", done.step));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Rule 2. Where lists stand side by side, nothing is said.
    fn one_after_the_other(&self) -> Result<(), String> {
        for (place, later) in self.done.iter().enumerate() {
            for earlier in self.done.get(..place).into_iter().flatten() {
                if later.step.contains('~') || earlier.step.contains('~') {
                    continue;
                }
                let (first, second) = (node(self.plan, &later.step), node(self.plan, &earlier.step));
                if first.block == second.block
                    && iteration(&later.step) == iteration(&earlier.step)
                    && first.position < second.position
                {
                    return Err(format!("reference: `{}` took effect before `{}`", earlier.step, later.step));
                }
            }
        }
        Ok(())
    }

    /// Rules 3 and 4.
    fn undoing(&self) -> Result<(), String> {
        let mut stack: Vec<&str> = Vec::new();
        let mut floors: BTreeSet<usize> = BTreeSet::from([0]);
        let mut lists: Vec<&[String]> = Vec::new();
        let mut undone: BTreeSet<&str> = BTreeSet::new();
        for fact in self.facts {
            match fact {
                Entry::Intent(intent) => match intent.step.strip_suffix("~compensate") {
                    None if node(self.plan, &intent.step).point_of_no_return => {
                        floors.insert(stack.len());
                    }
                    None => {}
                    Some(effect) => {
                        let list = lists.iter().rev().find(|list| list.iter().any(|named| named == effect));
                        let list = list.ok_or_else(|| format!("reference: `{effect}` is undone and nobody asked"))?;
                        let before = list.iter().take_while(|named| *named != effect);
                        if let Some(open) = before.into_iter().find(|named| !undone.contains(named.as_str())) {
                            return Err(format!("reference: `{effect}` is undone before `{open}`"));
                        }
                    }
                },
                Entry::StepDone(done) => self.took_effect(&done.step, &mut stack, &mut undone)?,
                Entry::Controlled(controlled) => {
                    if let Control::Resolve { step, output: Some(_) } = &controlled.action {
                        self.took_effect(step, &mut stack, &mut undone)?;
                    }
                }
                Entry::UndoBegan { step, effects, .. } => {
                    let reversed: Vec<&str> = stack.iter().rev().copied().collect();
                    let named: Vec<&str> = effects.iter().map(String::as_str).collect();
                    let whole = floors.iter().any(|floor| named == reversed[..reversed.len().saturating_sub(*floor)]);
                    let mut rest = reversed.iter();
                    let in_order = named.iter().all(|name| rest.any(|known| known == name));
                    if if step.is_none() { !whole } else { !in_order } {
                        return Err(format!("reference: {step:?} undoes {named:?}; done, latest first: {reversed:?}"));
                    }
                    lists.push(effects);
                }
                _ => {}
            }
        }
        for list in &lists {
            let place = |name: &String| {
                let undone = format!("{name}~compensate");
                self.done.iter().position(|done| done.step == undone)
            };
            let places: Vec<usize> = list.iter().filter_map(place).collect();
            if !places.is_sorted() {
                return Err(format!("reference: the remote saw {list:?} undone in another order"));
            }
        }
        let left: Vec<&&str> = stack.iter().filter(|effect| !(self.stays)(id(effect))).collect();
        if self.undone && floors.len() == 1 && !left.is_empty() {
            return Err(format!("reference: the run was undone and {left:?} stays"));
        }
        Ok(())
    }

    fn took_effect<'f>(
        &self,
        step: &'f str,
        stack: &mut Vec<&'f str>,
        undone: &mut BTreeSet<&'f str>,
    ) -> Result<(), String> {
        match step.strip_suffix("~compensate") {
            Some(effect) => {
                let place = stack.iter().rposition(|known| *known == effect);
                let place = place.ok_or_else(|| format!("reference: `{effect}` is undone and was not done"))?;
                stack.remove(place);
                undone.insert(effect);
            }
            None if !step.contains('~') && node(self.plan, step).is_undoable() => stack.push(step),
            None => {}
        }
        Ok(())
    }

    /// Rule 5.
    fn attempts(&self) -> Result<(), String> {
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for fact in self.facts {
            match fact {
                // People give all attempts anew.
                Entry::Controlled(_) | Entry::Restarted { .. } => counts.clear(),
                Entry::Intent(intent) if !intent.resolving => {
                    let count = counts.entry(&intent.step).or_default();
                    *count += 1;
                    let node = node(self.plan, &intent.step);
                    let declared = if intent.step.contains('~') && !node.retry_declared {
                        COMPENSATION_ATTEMPTS
                    } else {
                        node.retry.attempts
                    };
                    if *count > declared.max(DOUBT_ATTEMPTS_MIN) {
                        return Err(format!("reference: `{}` was tried {count} times", intent.step));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}
