//! A run as people see it, folded from its facts: the summary for lists, the story for one run.

use crate::model::{
    decision::Verdict,
    entry::{AttemptFailed, Control, Controlled, Ending, Entry, Handler, Output, RunStarted, StepDone},
    id::RunId,
    limits::Usage,
    log::LogLine,
    run::{Aside, AttemptFailure, RunEvent, RunState, RunSummary, RunView, StepState, StepView},
    timestamp::Timestamp,
};

/// The summary of a run that has just begun.
#[must_use]
pub fn begin(id: RunId, started: &RunStarted) -> RunSummary {
    RunSummary {
        id,
        pipeline: started.pipeline.name.clone(),
        pipeline_version: started.pipeline.version.clone(),
        key: started.key.clone(),
        state: RunState::Running,
        step: None,
        cause: None,
        due: None,
        started: started.time,
        updated: started.time,
        acceptance: started.acceptance,
        parent: started.parent.as_ref().map(|parent| parent.run),
        out: 0,
        wide: false,
        halted: false,
        aside: None,
    }
}

/// Takes one more fact into a summary.
pub fn summarize(summary: &mut RunSummary, entry: &Entry) {
    let Some(mut aside) = summary.aside.take() else { return take(summary, entry) };
    // A paused run still takes in answers and decisions: they change what is under the pause, not the pause.
    exchange(summary, &mut aside);
    match entry {
        Entry::Controlled(controlled) if controlled.action == Control::Continue => {
            summary.updated = summary.updated.max(controlled.time);
        }
        _ => take(summary, entry),
    }
    let over = matches!(entry, Entry::Controlled(controlled)
        if matches!(controlled.action, Control::Continue | Control::Cancel { .. } | Control::Close { .. }));
    if !over && !summary.state.is_settled() {
        exchange(summary, &mut aside);
        summary.aside = Some(aside);
    }
}

fn exchange(summary: &mut RunSummary, aside: &mut Aside) {
    std::mem::swap(&mut summary.state, &mut aside.state);
    std::mem::swap(&mut summary.due, &mut aside.due);
    std::mem::swap(&mut summary.cause, &mut aside.cause);
}

fn take(summary: &mut RunSummary, entry: &Entry) {
    match entry {
        Entry::Accepted(_)
        | Entry::RunStarted(_)
        | Entry::StepSkipped { .. }
        | Entry::BranchTaken { .. }
        | Entry::BranchClosed { .. }
        | Entry::WaitsUndone(_)
        | Entry::ExceptionOpened(_) => {}
        Entry::StepStarted(started) => {
            summary.out += 1;
            at(summary, &started.step, started.time);
        }
        Entry::Intent(intent) => {
            summary.out += 1;
            at(summary, &intent.step, intent.time);
        }
        Entry::Entered(entered) => {
            summary.wide |= entered.max.is_none();
            at(summary, &entered.step, entered.time);
        }
        Entry::VarsSet { time, .. } | Entry::StepFailed { time, .. } | Entry::Handled { time, .. } => {
            summary.updated = summary.updated.max(*time);
        }
        Entry::WaitStarted(started) => {
            at(summary, &started.step, started.time);
            waits(summary, started.due, "waits for an event or a time");
        }
        Entry::Signalled(signalled) => at(summary, &signalled.step, signalled.time),
        Entry::WaitOver { step, time } | Entry::ApprovalExpired { step, time } => at(summary, step, *time),
        Entry::ApprovalAsked(asked) => {
            at(summary, &asked.step, asked.time);
            let next = asked.remind.iter().copied().chain(asked.escalate.as_ref().map(|(_, time)| *time));
            let next = next.chain([asked.due]).min().unwrap_or(asked.due);
            waits(summary, next, &format!("waits for a decision of group `{}`", asked.group));
        }
        Entry::ApprovalNudged { step, time, to } => {
            at(summary, step, *time);
            let whom = to.as_ref().map_or_else(String::new, |to| format!(" of group `{to}`"));
            // Whatever is due next, it is not far: the run is looked at again then.
            waits(summary, time.plus_millis(1), &format!("waits for a decision{whom}"));
        }
        Entry::ApprovalDecided(decided) => {
            at(summary, &decided.step, decided.time);
            waits(summary, decided.time, "waits for more decisions");
        }
        Entry::UndoBegan { time, .. } => {
            summary.updated = summary.updated.max(*time);
            summary.state = RunState::Compensating;
        }
        Entry::Halted { time, ending, .. } => {
            summary.updated = summary.updated.max(*time);
            summary.due = None;
            if let Ending::Failed { step, failure } = ending {
                summary.step = Some(step.clone());
                summary.cause = Some(failure.to_string());
            }
            summary.state = RunState::Compensating;
            summary.halted = true;
        }
        Entry::Restarted { step, time } => {
            summary.halted = false;
            at(summary, step, *time);
        }
        Entry::Controlled(_) if entry.is_about_exception() => {}
        Entry::Controlled(controlled) => control(summary, controlled),
        Entry::Moved(moved) => {
            summary.updated = summary.updated.max(moved.time);
            summary.pipeline_version.clone_from(&moved.pipeline.version);
        }
        Entry::StepDone(done) => {
            summary.out = summary.out.saturating_sub(1);
            summary.updated = summary.updated.max(done.time);
            if let Output::Verdict(verdict) = &done.output {
                summary.cause = because(verdict);
            }
        }
        Entry::AttemptFailed(failed) => {
            summary.out = summary.out.saturating_sub(1);
            at(summary, &failed.step, failed.time);
            if failed.next.is_some() && !summary.halted {
                summary.state = RunState::Waiting;
            }
            summary.due = failed.next;
            summary.cause = Some(failed.failure.to_string());
        }
        Entry::RunEnded { time, ending } => {
            summary.updated = summary.updated.max(*time);
            summary.due = None;
            match ending {
                Ending::Completed => {
                    summary.state = RunState::Completed;
                    summary.step = None;
                    summary.cause = None;
                }
                Ending::Rejected { step } => {
                    summary.state = RunState::Rejected;
                    summary.step = Some(step.clone());
                }
                Ending::Failed { step, failure } => {
                    summary.state = RunState::Failed;
                    summary.step = Some(step.clone());
                    summary.cause = Some(failure.to_string());
                }
                Ending::Cancelled => summary.state = RunState::Cancelled,
            }
        }
        Entry::RunParked { time, step, failure } => {
            summary.updated = summary.updated.max(*time);
            summary.due = None;
            summary.state = RunState::Parked;
            summary.step = Some(step.clone());
            summary.cause = Some(format!("`{}`: {}", failure.code, failure.message));
        }
    }
}

fn control(summary: &mut RunSummary, controlled: &Controlled) {
    summary.updated = summary.updated.max(controlled.time);
    let cause = |what: &str| {
        let reason = if controlled.reason.is_empty() { String::new() } else { format!(": {}", controlled.reason) };
        Some(format!("{what} by {}{reason}", controlled.actor))
    };
    match &controlled.action {
        Control::Pause => {
            let mut aside = Box::new(Aside { state: RunState::Paused, due: None, cause: cause("paused") });
            exchange(summary, &mut aside);
            summary.aside = Some(aside);
        }
        Control::Cancel { .. } => {
            summary.halted = true;
            summary.state = RunState::Compensating;
            summary.cause = cause("cancelled");
        }
        Control::Close { .. } => {
            summary.halted = true;
            summary.state = RunState::Compensating;
        }
        Control::Continue | Control::Resume | Control::Resolve { .. } | Control::Restart { .. } => {
            summary.state = if summary.halted { RunState::Compensating } else { RunState::Running };
            summary.due = None;
            summary.cause = None;
        }
        Control::Undo => {
            summary.halted = true;
            summary.state = RunState::Compensating;
            summary.cause = cause("undone");
        }
        Control::CloseException { .. } => {}
        Control::Reassign { to, .. } => summary.cause = Some(format!("waits for a decision of group `{to}`")),
    }
}

fn waits(summary: &mut RunSummary, due: Timestamp, cause: &str) {
    if !summary.halted {
        summary.state = RunState::Waiting;
    }
    summary.due = Some(due);
    summary.cause = Some(cause.to_owned());
}

fn at(summary: &mut RunSummary, step: &str, time: Timestamp) {
    summary.state = if summary.halted { RunState::Compensating } else { RunState::Running };
    summary.step = Some(step.to_owned());
    summary.due = None;
    summary.cause = None;
    summary.updated = summary.updated.max(time);
}

fn because(verdict: &Verdict) -> Option<String> {
    verdict.reasons.first().map(|reason| format!("`{}`: {}", reason.code, reason.message))
}

/// The whole run from its facts; absent if they do not begin with its start.
#[must_use]
pub fn story(id: RunId, entries: &[Entry]) -> Option<RunView> {
    let (Entry::RunStarted(started), rest) = entries.split_first()? else { return None };
    let mut view = RunView {
        summary: begin(id, started),
        pipeline_digest: started.pipeline.digest,
        event: RunEvent {
            id: started.event.id.clone(),
            source: started.event.source.clone(),
            event_type: started.event.event_type.clone(),
            subject: started.event.subject.clone(),
            accepted: started.time,
        },
        steps: Vec::new(),
    };
    for entry in rest {
        summarize(&mut view.summary, entry);
        tell(&mut view.steps, entry);
    }
    Some(view)
}

fn tell(steps: &mut Vec<StepView>, entry: &Entry) {
    match entry {
        Entry::Accepted(_)
        | Entry::RunStarted(_)
        | Entry::RunEnded { .. }
        | Entry::Halted { .. }
        | Entry::WaitsUndone(_)
        | Entry::UndoBegan { step: None, .. } => {}
        Entry::Entered(_)
        | Entry::VarsSet { .. }
        | Entry::WaitStarted(_)
        | Entry::Signalled(_)
        | Entry::ExceptionOpened(_)
        | Entry::WaitOver { .. }
        | Entry::StepFailed { .. }
        | Entry::Handled { .. }
        | Entry::BranchClosed { .. }
        | Entry::UndoBegan { .. } => tell_around(steps, entry),
        Entry::ApprovalAsked(_)
        | Entry::ApprovalNudged { .. }
        | Entry::ApprovalDecided(_)
        | Entry::ApprovalExpired { .. }
        | Entry::Restarted { .. }
        | Entry::Moved(_)
        | Entry::Controlled(_) => tell_people(steps, entry),
        Entry::StepSkipped { step } => {
            let time = steps.last().map_or(Timestamp::default(), |step| step.started);
            let step = find(steps, step, time);
            step.state = StepState::Skipped;
            step.attempts = 0;
        }
        Entry::StepStarted(started) => {
            let step = find(steps, &started.step, started.time);
            step.state = StepState::Running;
            step.attempts = step.attempts.max(started.attempt);
            step.plugin.clone_from(&started.plugin);
            step.tables.clone_from(&started.tables);
            step.operation.clone_from(&started.operation);
            // An event's type has no space in it, and nothing is emitted to undo a step.
            let undoes = started.step.ends_with("~compensate");
            let of_run = |operation: &str| undoes || operation.starts_with("run ");
            if started.operation.as_deref().is_some_and(of_run) && started.plugin.is_none() {
                step.kind = "run".to_owned();
            } else if started.plugin.is_none() {
                step.kind = "emit".to_owned();
            } else if started.operation.is_some() {
                step.kind = "call".to_owned();
            }
        }
        Entry::Intent(intent) => {
            let step = find(steps, &intent.step, intent.time);
            step.state = StepState::Running;
            step.kind = "call".to_owned();
            step.plugin = Some(intent.plugin.clone());
            step.tables.clone_from(&intent.tables);
            step.idempotency_key = Some(intent.key.to_string());
            if intent.resolving {
                step.log.push(format!("asked `{}` whether the lost write took effect", intent.operation));
            } else {
                step.attempts = step.attempts.max(intent.attempt);
                step.operation = Some(intent.operation.clone());
            }
        }
        Entry::StepDone(done) => tell_done(steps, done),
        Entry::AttemptFailed(failed) => tell_failed(steps, failed),
        Entry::BranchTaken { step, branch } => {
            let time = steps.last().map_or(Timestamp::default(), |step| step.ended.unwrap_or(step.started));
            let step = find(steps, step, time);
            step.kind = "switch".to_owned();
            step.state = StepState::Done;
            step.ended = Some(time);
            step.decision = Some(branch.as_ref().map_or_else(
                || "no case holds".to_owned(),
                |branch| match branch.parse::<u32>() {
                    Ok(number) => format!("case {number}"),
                    Err(_) => branch.clone(),
                },
            ));
        }
        Entry::RunParked { step, .. } => {
            if let Some(step) = steps.iter_mut().find(|known| known.path == *step)
                && step.state != StepState::Done
            {
                step.state = StepState::Failed;
            }
        }
    }
}

fn ended(step: &mut StepView, state: StepState, time: Timestamp) {
    step.state = state;
    step.ended = Some(time);
}

/// Steps with steps inside, waits, and what was declared for failures.
fn tell_around(steps: &mut Vec<StepView>, entry: &Entry) {
    match entry {
        Entry::Entered(entered) => {
            let kind = match (&entered.items, entered.max) {
                (Some(_), _) => "for",
                (None, Some(_)) => "loop",
                (None, None) => "parallel",
            };
            find(steps, &entered.step, entered.time).kind = kind.to_owned();
        }
        Entry::VarsSet { step, time, .. } => {
            let step = find(steps, step, *time);
            if step.kind.is_empty() {
                step.kind = "set".to_owned();
            }
            ended(step, StepState::Done, *time);
        }
        Entry::UndoBegan { step: Some(step), time, effects } => {
            let step = find(steps, step, *time);
            if step.kind.is_empty() {
                step.kind = "undo".to_owned();
            }
            step.log.push(if effects.is_empty() {
                "nothing to undo".to_owned()
            } else {
                format!("undoes {}", effects.join(", "))
            });
        }
        Entry::WaitStarted(started) => {
            let step = find(steps, &started.step, started.time);
            step.kind = "wait".to_owned();
            step.state = StepState::Waiting;
            step.log.push(format!("until {}", started.due));
        }
        Entry::Signalled(signalled) => {
            let step = find(steps, &signalled.step, signalled.time);
            ended(step, StepState::Done, signalled.time);
            step.decision = Some(signalled.name.clone());
            step.log.push(format!("event `{}` of {}", signalled.event.id, signalled.event.source));
        }
        Entry::ExceptionOpened(opened) => {
            // The wait may never have begun; then the story does not tell of it as of a step.
            let known = steps.iter().position(|step| step.path == opened.step);
            let step = match known {
                Some(place) => steps.get_mut(place),
                None => steps.last_mut(),
            };
            if let Some(step) = step {
                let event = &opened.event;
                step.log.push(format!(
                    "{}: event `{}` of {} came for `{}`, and what that stood on was undone: an exception for people",
                    opened.time, event.id, event.source, opened.step
                ));
            }
        }
        Entry::WaitOver { step, time } => {
            let step = find(steps, step, *time);
            ended(step, StepState::Done, *time);
            step.log.push("the time is up".to_owned());
        }
        Entry::StepFailed { step, time, failure } => {
            let step = find(steps, step, *time);
            ended(step, StepState::Failed, *time);
            let attempt = step.attempts;
            step.failures.push(AttemptFailure { attempt, time: *time, failure: failure.clone(), next: None });
        }
        Entry::Handled { step, time, by, output } => {
            let step = find(steps, step, *time);
            ended(step, StepState::Done, *time);
            step.output.clone_from(output);
            step.log.push(match by {
                Handler::Fallback => "its fallback stands in for it".to_owned(),
                Handler::OnError => "dealt with by its `on_error`".to_owned(),
                Handler::OnExpiry => "dealt with by its `on_expiry`".to_owned(),
                Handler::OnExhausted => "dealt with by its `on_exhausted`".to_owned(),
                Handler::ApprovalExpiry => "dealt with by the question's `on_expiry`".to_owned(),
                Handler::Approval => "approved".to_owned(),
            });
        }
        Entry::BranchClosed { step, output } => {
            let time = steps.last().map_or(Timestamp::default(), |step| step.ended.unwrap_or(step.started));
            let step = find(steps, step, time);
            if step.state != StepState::Done {
                ended(step, StepState::Done, time);
            }
            if matches!(step.kind.as_str(), "for" | "loop" | "parallel" | "switch") {
                step.output.clone_from(output);
            }
        }
        _ => {}
    }
}

/// What people were asked, and what they did.
fn tell_people(steps: &mut Vec<StepView>, entry: &Entry) {
    match entry {
        Entry::ApprovalAsked(asked) => {
            let step = find(steps, &asked.step, asked.time);
            if step.kind.is_empty() {
                step.kind = "approve".to_owned();
            }
            if step.state == StepState::Running {
                step.state = StepState::Waiting;
            }
            step.log.push(format!("{}: group `{}` was asked, until {}", asked.time, asked.group, asked.due));
        }
        Entry::ApprovalNudged { step, time, to } => {
            let step = find(steps, step, *time);
            step.log.push(match to {
                Some(to) => format!("{time}: group `{to}` was asked"),
                None => format!("{time}: a reminder"),
            });
        }
        Entry::ApprovalDecided(decided) => {
            let step = find(steps, &decided.step, decided.time);
            let word = if decided.approved { "approved" } else { "rejected" };
            let whom = decided.on_behalf_of.as_ref().map_or_else(String::new, |whom| format!(" for {whom}"));
            let alone = decided.override_code.as_ref().map_or_else(String::new, |code| format!(" alone ({code})"));
            let reason = if decided.reason.is_empty() { String::new() } else { format!(": {}", decided.reason) };
            step.log.push(format!("{}: {word} by {}{whom}{alone}{reason}", decided.time, decided.actor));
        }
        Entry::ApprovalExpired { step, time } => {
            find(steps, step, *time).log.push(format!("{time}: nobody decided in time"));
        }
        Entry::Restarted { step, time } => {
            let step = find(steps, step, *time);
            step.log.push(format!("{time}: the run begins again here"));
        }
        Entry::Controlled(controlled) => {
            let time = controlled.time;
            let word = match &controlled.action {
                Control::Pause => "paused".to_owned(),
                Control::Continue => "continued".to_owned(),
                Control::Cancel { compensate: true } => "cancelled, to be undone".to_owned(),
                Control::Cancel { compensate: false } => "cancelled".to_owned(),
                Control::Resume => "resumed".to_owned(),
                Control::Close { .. } => "closed".to_owned(),
                Control::Resolve { step, output: Some(_) } => format!("`{step}` took effect, says a person"),
                Control::Resolve { step, output: None } => format!("`{step}` did not take effect, says a person"),
                Control::Reassign { step, to } => format!("`{step}` was given to group `{to}`"),
                Control::Restart { step, .. } => format!("to begin again at `{step}`"),
                Control::Undo => "to be undone".to_owned(),
                Control::CloseException { event } => format!("the exception of event {event} was closed"),
            };
            let reason = if controlled.reason.is_empty() { String::new() } else { format!(": {}", controlled.reason) };
            if let Some(step) = steps.last_mut() {
                step.log.push(format!("{time}: {word} by {}{reason}", controlled.actor));
            }
        }
        Entry::Moved(moved) => {
            for step in steps.iter_mut() {
                moved.rename(&mut step.path);
            }
            let reason = if moved.reason.is_empty() { String::new() } else { format!(": {}", moved.reason) };
            if let Some(step) = steps.last_mut() {
                let (time, version) = (moved.time, &moved.pipeline.version);
                step.log.push(format!("{time}: moved to version {version} by {}{reason}", moved.actor));
            }
        }
        _ => {}
    }
}

fn tell_done(steps: &mut Vec<StepView>, done: &StepDone) {
    let step = find(steps, &done.step, done.time);
    step.state = StepState::Done;
    step.ended = Some(done.time);
    step.usage = done.usage;
    step.log.extend(done.log.iter().map(line));
    step.log.extend(done.annotations.iter().map(|(name, value)| format!("{name}: {value}")));
    match &done.output {
        Output::Json(json) => {
            if step.kind.is_empty() {
                step.kind = "transform".to_owned();
            }
            step.output = Some(json.clone());
        }
        Output::Verdict(verdict) => {
            step.kind = "rule".to_owned();
            step.decision = Some(
                verdict
                    .target
                    .as_ref()
                    .map_or_else(|| verdict.outcome.to_string(), |target| format!("{} → {target}", verdict.outcome)),
            );
            step.reasons.clone_from(&verdict.reasons);
            step.output.clone_from(&verdict.output);
        }
        Output::Assessment(assessment) => {
            step.kind = "score".to_owned();
            step.decision = Some(format!(
                "{} (score {:.2}, confidence {:.2}, model {} {})",
                assessment.recommendation,
                assessment.score,
                assessment.confidence,
                assessment.model,
                assessment.model_version
            ));
            step.reasons.clone_from(&assessment.reasons);
            step.output = Some(assessment.features.clone());
        }
    }
}

fn tell_failed(steps: &mut Vec<StepView>, failed: &AttemptFailed) {
    let step = find(steps, &failed.step, failed.time);
    step.state = if failed.next.is_some() { StepState::Waiting } else { StepState::Failed };
    step.ended = failed.next.is_none().then_some(failed.time);
    step.usage = failed.usage;
    step.log.extend(failed.log.iter().map(line));
    step.failures.push(AttemptFailure {
        attempt: failed.attempt,
        time: failed.time,
        failure: failed.failure.clone(),
        next: failed.next,
    });
}

/// The story of a step, begun if it is new.
fn find<'a>(steps: &'a mut Vec<StepView>, path: &str, time: Timestamp) -> &'a mut StepView {
    let index = steps.iter().position(|step| step.path == path).unwrap_or(steps.len());
    if index == steps.len() {
        steps.push(StepView {
            path: path.to_owned(),
            kind: String::new(),
            state: StepState::Running,
            plugin: None,
            tables: Vec::new(),
            operation: None,
            idempotency_key: None,
            started: time,
            ended: None,
            attempts: 1,
            usage: Usage::default(),
            decision: None,
            reasons: Vec::new(),
            output: None,
            failures: Vec::new(),
            log: Vec::new(),
        });
    }
    #[expect(clippy::indexing_slicing, reason = "found, or just pushed")]
    &mut steps[index]
}

fn line(line: &LogLine) -> String {
    let fields: String = line.fields.iter().map(|(name, value)| format!(" {name}={value}")).collect();
    format!("{}: {}{fields}", line.level, line.message)
}
