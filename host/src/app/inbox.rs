//! Questions that people have not answered, derived from durable facts; and who belongs to which group.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::{
    model::{
        entry::{Control, Entry},
        id::RunId,
        timestamp::Timestamp,
    },
    ports::hub::{Question, QuestionFilter},
};

/// People, as an operator declares them: who belongs to which group, and who stands in for whom.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct People {
    /// Members by group.
    #[serde(default)]
    pub groups: BTreeMap<String, Vec<String>>,
    /// Who may decide for whom.
    #[serde(default)]
    pub delegations: Vec<Delegation>,
}

/// A person who stands in for another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delegation {
    /// Who is stood in for.
    pub from: String,
    /// Who stands in.
    pub to: String,
    /// Until when; absent: until it is taken out.
    #[serde(default)]
    pub until: Option<Timestamp>,
}

/// The group whose members may decide alone, with a reason code.
pub const OVERRIDE_GROUP: &str = "override";

impl People {
    /// Whether a person may decide for a group, for themselves or for a member.
    ///
    /// # Errors
    /// Why not, and what to do about it.
    pub fn may_decide(
        &self,
        group: &str,
        actor: &str,
        on_behalf_of: Option<&str>,
        overrides: bool,
        now: Timestamp,
    ) -> Result<(), String> {
        let group = if overrides { OVERRIDE_GROUP } else { group };
        let Some(members) = self.groups.get(group) else {
            return Err(format!("group `{group}` has no members: declare it under `[people.groups]` in hub.toml"));
        };
        let member = on_behalf_of.unwrap_or(actor);
        if !members.iter().any(|known| known == member) {
            return Err(format!("`{member}` is not a member of group `{group}`"));
        }
        let stands_in = |delegation: &Delegation| {
            delegation.from == member && delegation.to == actor && delegation.until.is_none_or(|until| now < until)
        };
        if on_behalf_of.is_some_and(|whom| whom != actor) && !self.delegations.iter().any(stands_in) {
            return Err(format!("`{actor}` does not stand in for `{member}` now"));
        }
        Ok(())
    }
}

/// Open questions by run and step.
#[derive(Default)]
pub struct Inbox {
    open: Mutex<HashMap<RunId, Vec<Question>>>,
}

impl Inbox {
    /// Takes in durable facts of a run.
    pub fn observe(&self, run: RunId, entries: &[Entry]) {
        for entry in entries {
            match entry {
                Entry::ApprovalAsked(asked) => {
                    let mut open = self.lock();
                    let questions = open.entry(run).or_default();
                    questions.retain(|question| question.step != asked.step);
                    questions.push(Question {
                        run,
                        step: asked.step.clone(),
                        revision: asked.revision,
                        digest: asked.digest,
                        group: asked.group.clone(),
                        quorum: asked.quorum,
                        decided_by: Vec::new(),
                        asked: asked.time,
                        due: asked.due,
                        reminders: 0,
                        pipeline: None,
                        key: None,
                        evidence: None,
                    });
                }
                Entry::ApprovalNudged { step, to, .. } => self.change(run, step, |question| match to {
                    Some(to) => question.group.clone_from(to),
                    None => question.reminders += 1,
                }),
                Entry::ApprovalDecided(decided) => self.change(run, &decided.step, |question| {
                    question.decided_by.push(decided.actor.clone());
                    let enough = question.decided_by.len() >= usize::try_from(question.quorum).unwrap_or(usize::MAX);
                    if !decided.approved || enough || decided.override_code.is_some() {
                        // Marks it as decided; taken out below.
                        question.quorum = 0;
                    }
                }),
                Entry::ApprovalExpired { step, .. } => self.change(run, step, |question| question.quorum = 0),
                Entry::Controlled(controlled) => match &controlled.action {
                    Control::Reassign { step, to } => self.change(run, step, |question| question.group.clone_from(to)),
                    Control::Restart { .. } | Control::Cancel { .. } | Control::Close { .. } => {
                        drop(self.lock().remove(&run))
                    }
                    _ => {}
                },
                Entry::Halted { .. } | Entry::RunEnded { .. } => drop(self.lock().remove(&run)),
                _ => {}
            }
        }
    }

    fn change(&self, run: RunId, step: &str, change: impl FnOnce(&mut Question)) {
        let mut open = self.lock();
        let Some(questions) = open.get_mut(&run) else { return };
        if let Some(question) = questions.iter_mut().find(|question| question.step == step) {
            change(question);
        }
        questions.retain(|question| question.quorum > 0);
        if questions.is_empty() {
            open.remove(&run);
        }
    }

    /// Open questions, the most urgent first.
    pub fn list(&self, filter: &QuestionFilter) -> Vec<Question> {
        let mut found: Vec<Question> = self
            .lock()
            .values()
            .flatten()
            .filter(|question| filter.group.as_ref().is_none_or(|group| *group == question.group))
            .filter(|question| filter.run.is_none_or(|run| run == question.run))
            .cloned()
            .collect();
        found.sort_by(|a, b| a.due.cmp(&b.due).then_with(|| a.run.cmp(&b.run)));
        found.truncate(filter.limit);
        found
    }

    /// One open question.
    pub fn get(&self, run: RunId, step: &str) -> Option<Question> {
        self.lock().get(&run)?.iter().find(|question| question.step == step).cloned()
    }

    /// Forgets everything.
    pub(super) fn forget_all(&self) {
        self.lock().clear();
    }

    /// Takes in a question of a snapshot.
    pub(super) fn restore(&self, question: Question) {
        self.lock().entry(question.run).or_default().push(question);
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.lock().values().map(Vec::len).sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, Vec<Question>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
