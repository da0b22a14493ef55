//! Questions to people: asked, nudged, decided, expired.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use super::{
    Run,
    instance::{Asked, InstanceId, Phase},
    then_after,
    turn::{Stuck, Turn, Walk},
};
use crate::{
    flow::plan::{Action, Approval, Plan, Then},
    model::{
        entry::{ApprovalAsked, ApprovalDecided, Ending, Entry, Handler},
        failure::{Failure, FailureKind},
        id::Digest,
        json::Json,
        timestamp::Timestamp,
    },
};

/// Why a decision is not taken.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DecisionRefusal {
    /// Nobody was asked at this step.
    #[error("the run asks nobody at step `{step}`")]
    NotAsked {
        /// The step.
        step: String,
    },
    /// The question is decided.
    #[error("this was decided before: {outcome}, by {by}")]
    Decided {
        /// How.
        outcome: String,
        /// By whom.
        by: String,
    },
    /// The decision is about something else than what is asked.
    #[error("the question has changed since it was shown (it is at revision {revision}, digest {digest}): look again")]
    Stale {
        /// Its revision.
        revision: u32,
        /// Digest of its evidence.
        digest: Digest,
    },
    /// The person may not decide this.
    #[error("`{actor}` may not decide this: {problem}")]
    Barred {
        /// Who.
        actor: String,
        /// Why not.
        problem: &'static str,
    },
}

impl Run {
    /// What the pipeline says about the question that a step is at.
    pub(super) fn approval_plan<'p>(&self, plan: &'p Plan, id: InstanceId) -> Option<&'p Approval> {
        let instance = self.instance(id);
        let node = plan.node(instance.node);
        let mut approval = match (&node.action, instance.phase) {
            (Action::Approve(approval), _) => Some(approval.as_ref()),
            (Action::Pure { outcomes, .. }, Phase::Done) => {
                let verdict = instance.verdict.as_ref()?;
                match then_after(outcomes, verdict.outcome)? {
                    Then::Approve(approval) => Some(approval.as_ref()),
                    _ => None,
                }
            }
            (Action::Wait { on_expiry: Some(Then::Approve(approval)), .. }, Phase::Running) => Some(approval.as_ref()),
            (Action::Loop { on_exhausted: Some(Then::Approve(approval)), .. }, Phase::Running) => {
                Some(approval.as_ref())
            }
            _ => match &node.on_error {
                Some(Then::Approve(approval)) => Some(approval.as_ref()),
                _ => None,
            },
        }?;
        for _ in 0..instance.approval()?.depth {
            match &approval.on_expiry {
                Then::Approve(next) => approval = next,
                _ => return None,
            }
        }
        Some(approval)
    }

    /// Whether a decision can be taken now. Membership of the group is the caller's to know.
    ///
    /// # Errors
    /// Why not.
    pub fn check_decision(&self, decision: &ApprovalDecided) -> Result<(), DecisionRefusal> {
        let approval = self
            .find(&decision.step)
            .and_then(|id| self.instance(id).approval())
            .filter(|_| !self.settled || self.parked.is_some())
            .ok_or_else(|| DecisionRefusal::NotAsked { step: decision.step.clone() })?;
        let asked = &approval.asked;
        let outcome = match approval.outcome {
            Asked::Open => None,
            Asked::Approved => Some("approved"),
            Asked::Rejected => Some("rejected"),
            Asked::Expired => Some("expired"),
        };
        if let Some(outcome) = outcome {
            let by: Vec<&str> = approval.decisions.iter().map(|decision| decision.actor.as_str()).collect();
            let by = if by.is_empty() { "nobody".to_owned() } else { by.join(", ") };
            return Err(DecisionRefusal::Decided { outcome: outcome.to_owned(), by });
        }
        if (decision.revision, decision.digest) != (asked.revision, asked.digest) {
            return Err(DecisionRefusal::Stale { revision: asked.revision, digest: asked.digest });
        }
        // Whoever stands in for somebody is, for this question, that person too: the two count once.
        let persons = |decision: &ApprovalDecided| -> BTreeSet<String> {
            std::iter::once(decision.actor.clone()).chain(decision.on_behalf_of.clone()).collect()
        };
        let these = persons(decision);
        let barred = |problem| Err(DecisionRefusal::Barred { actor: decision.actor.clone(), problem });
        if approval.decisions.iter().any(|earlier| !persons(earlier).is_disjoint(&these)) {
            return barred("this person, or whom they stand in for, has decided already");
        }
        if asked.not.iter().any(|person| these.contains(person)) {
            return barred("the run is about this person, or was started by them");
        }
        Ok(())
    }
}

impl Turn<'_> {
    /// Asks people. `revision` counts the questions of this step.
    pub(super) fn ask(&mut self, id: InstanceId, approval: &Approval, revision: u32) -> Result<(), Stuck> {
        let instance = self.run.instance(id);
        let quorum = match &approval.quorum {
            None => 1,
            Some(quorum) => {
                let quorum = self.run.render(instance.frame, quorum)?;
                quorum
                    .value()
                    .as_u64()
                    .and_then(|quorum| u32::try_from(quorum).ok())
                    .filter(|quorum| *quorum > 0)
                    .ok_or_else(|| {
                        Stuck(Failure::new(
                            FailureKind::InvalidInput,
                            "approval.quorum",
                            "`quorum` is not a number from 1",
                        ))
                    })?
            }
        };
        let event = &self.run.started.event;
        // Nobody decides about themselves: neither whom the pipeline bars, nor whoever sent the event.
        let mut not: Vec<String> = approval
            .not
            .iter()
            .map(|who| if who == "subject" { event.subject.clone().unwrap_or_default() } else { who.clone() })
            .collect();
        not.extend(
            event
                .extensions
                .get("actor")
                .and_then(|actor| serde_json::to_value(actor).ok())
                .and_then(|actor| actor.as_str().map(str::to_owned)),
        );
        let output = instance.output.as_ref().map_or(Value::Null, |output| output.value().clone());
        let shown: serde_json::Map<String, Value> = approval
            .show
            .iter()
            .filter_map(|part| output.get(part).map(|value| (part.clone(), value.clone())))
            .collect();
        let verdict = instance.verdict.as_ref();
        let evidence = json!({
            "shown": shown,
            "output": output,
            "decision": verdict.map(|verdict| verdict.outcome),
            "reasons": verdict.map(|verdict| &verdict.reasons),
            "failure": instance.failure(),
        });
        let evidence = Json::from(evidence);
        let digest = Digest::of(evidence.as_bytes());
        let now = self.now;
        let step = self.run.path(id);
        self.record(Entry::ApprovalAsked(Box::new(ApprovalAsked {
            step,
            time: now,
            revision,
            group: approval.group.clone(),
            quorum,
            not,
            evidence,
            digest,
            remind: approval.remind_ms.iter().map(|after_ms| now.plus_millis(*after_ms)).collect(),
            escalate: approval.escalate.as_ref().map(|(to, after_ms)| (to.clone(), now.plus_millis(*after_ms))),
            due: now.plus_millis(approval.within_ms),
        })));
        self.commit();
        Ok(())
    }

    /// A step that waits for people.
    pub(super) fn in_question(&mut self, id: InstanceId, by: Handler) -> Walk {
        let Some(approval) = self.run.instance(id).approval() else { return Walk::Busy };
        match approval.outcome {
            Asked::Open => self.in_open_question(id, by),
            Asked::Approved => self.approved(id),
            Asked::Rejected => {
                let step = self.run.path(id);
                self.halt(Ending::Rejected { step }, true);
                Walk::Busy
            }
            Asked::Expired => self.expired(id),
        }
    }

    fn in_open_question(&mut self, id: InstanceId, by: Handler) -> Walk {
        let grace = self.run.grace;
        let put_off = |time: Timestamp| if time <= grace { grace } else { time };
        let Some(approval) = self.run.instance(id).approval() else { return Walk::Busy };
        let asked = &approval.asked;
        let step = self.run.path(id);
        let due = put_off(asked.due);
        if due <= self.now {
            self.record(Entry::ApprovalExpired { step, time: self.now });
            self.commit();
            return self.expired(id);
        }
        let reminder = asked.remind.get(approval.reminded).copied();
        let escalation = asked.escalate.clone().filter(|_| !approval.escalated);
        if let Some(when) = reminder {
            if when <= self.now {
                self.record(Entry::ApprovalNudged { step, time: self.now, to: None });
                self.commit();
                return self.in_question(id, by);
            }
            self.sleep_until(when);
        }
        if let Some((to, when)) = escalation {
            if when <= self.now {
                self.record(Entry::ApprovalNudged { step, time: self.now, to: Some(to) });
                self.commit();
                return self.in_question(id, by);
            }
            self.sleep_until(when);
        }
        self.sleep_until(due);
        Walk::Busy
    }

    /// People said yes: what was held goes on as it is; what had failed or expired counts as done.
    fn approved(&mut self, id: InstanceId) -> Walk {
        let plan = Arc::clone(&self.run.plan);
        let instance = self.run.instance(id);
        if instance.phase == Phase::Done {
            return self.close_with(id, None);
        }
        let output = match (&plan.node(instance.node).action, instance.approval()) {
            (Action::Approve(_), Some(approval)) => {
                let by: Vec<&str> = approval.decisions.iter().map(|decision| decision.actor.as_str()).collect();
                let last = approval.decisions.last();
                Some(Json::from(json!({
                    "decision": "approved",
                    "by": by,
                    "override": last.and_then(|last| last.override_code.as_ref()),
                    "reason": last.map(|last| &last.reason),
                })))
            }
            _ => None,
        };
        let step = self.run.path(id);
        self.record(Entry::Handled { step, time: self.now, by: Handler::Approval, output });
        self.leave(id)
    }

    fn expired(&mut self, id: InstanceId) -> Walk {
        let plan = Arc::clone(&self.run.plan);
        let Some(approval) = self.run.approval_plan(&plan, id) else { return Walk::Busy };
        let failure = Failure::new(FailureKind::Permanent, "approval.expired", "nobody decided in time");
        self.conclude(id, &approval.on_expiry, Handler::ApprovalExpiry, Some(failure))
    }

    /// A person decided.
    pub(super) fn decision(&mut self, decision: ApprovalDecided) {
        let decision = ApprovalDecided { time: self.now, ..decision };
        self.record(Entry::ApprovalDecided(Box::new(decision)));
        self.commit();
    }
}
