//! One call: a fresh store and instance, the guest's function under its limits, and what became of it.

use std::time::{Duration, Instant};

use wasmtime::{Engine, PoolConcurrencyLimitError, Store, Trap, component::Instance};

use super::{
    answer,
    bindings::envelope,
    call_state::{CallState, is_pure},
    component::Loaded,
    engine, request,
};
use crate::{
    model::{
        limits::{Limit, LimitExceeded, Limits, Usage},
        timestamp::Timestamp,
    },
    ports::invoker::{Answer, CallError, Completed, Invocation, Work},
};

/// A trap's message with the guest's backtrace, bytes.
const TRAP_BYTES_LIMIT: usize = 4 << 10;

/// What the contract allows beside the output in one answer, bytes: reasons, attributes, 256 events' envelopes. What a
/// guest hands over beyond it is refused before the host copies it.
const ENVELOPE_BYTES_LIMIT: u64 = 2 << 20;

/// Makes one call.
pub(super) async fn run(engine: &Engine, loaded: &Loaded, mut call: Invocation) -> Completed {
    let started = Instant::now();
    let input_bytes = request::input_bytes(&call.work);
    if input_bytes as u64 > call.limits.input_bytes {
        let (limit, allowed) = (Limit::Input, call.limits.input_bytes);
        return refused(CallError::Limit(LimitExceeded { limit, allowed, used: input_bytes as u64 }));
    }
    let authority = std::mem::take(&mut call.authority);
    let state = CallState::new(&call, authority, loaded.assets.clone(), started);
    let fuel = call.limits.fuel(input_bytes);
    let mut store = match new_store(engine, state, &call.limits, fuel) {
        Ok(store) => store,
        Err(error) => return refused(CallError::Unavailable { message: format!("{error:#}") }),
    };

    let (limits, now) = (call.limits, call.now);
    let deadline = Duration::from_millis(limits.deadline_ms);
    let ended = tokio::time::timeout(deadline, execute(&mut store, loaded, call.work, &limits, now)).await;

    let fuel_used = fuel.saturating_sub(store.get_fuel().unwrap_or(0));
    let elapsed = started.elapsed();
    let result = match ended {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => Err(classify(&error, store.data(), &limits, (fuel, fuel_used))),
        Err(_) => Err(CallError::Limit(LimitExceeded {
            limit: Limit::Deadline,
            allowed: limits.deadline_ms,
            used: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(limits.deadline_ms),
        })),
    };
    let closed = store.data().ledger.close();
    let usage = Usage {
        fuel: fuel_used,
        memory_bytes: store.data().memory.peak(),
        elapsed_us: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        log_lines_dropped: closed.lines_dropped,
    };
    Completed { result, usage, log: closed.log, annotations: closed.annotations }
}

/// A call that did not begin.
pub(super) fn refused(error: CallError) -> Completed {
    Completed { result: Err(error), usage: Usage::default(), log: Vec::new(), annotations: Vec::new() }
}

/// A store that enforces the limits.
///
/// # Errors
/// If the engine does not meter fuel, which would be a defect.
pub(super) fn new_store(
    engine: &Engine,
    state: CallState,
    limits: &Limits,
    fuel: u64,
) -> wasmtime::Result<Store<CallState>> {
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.memory);
    store.set_fuel(fuel)?;
    store.fuel_async_yield_interval(Some(engine::FUEL_YIELD_INTERVAL))?;
    let handed_over = limits.output_bytes.saturating_add(ENVELOPE_BYTES_LIMIT);
    store.set_hostcall_fuel(usize::try_from(handed_over).unwrap_or(usize::MAX));
    Ok(store)
}

async fn execute(
    store: &mut Store<CallState>,
    loaded: &Loaded,
    work: Work,
    limits: &Limits,
    now: Timestamp,
) -> wasmtime::Result<Result<Answer, CallError>> {
    if let Some(missing) = missing_export(loaded, &work) {
        return Ok(Err(missing));
    }
    let instance = loaded.pre.instantiate_async(&mut *store).await?;
    answer_of(store, loaded, &instance, work, limits, now).await
}

fn missing_export(loaded: &Loaded, work: &Work) -> Option<CallError> {
    let exports = &loaded.exports;
    let (name, is_there) = match work {
        Work::Transform { .. } => ("transform", exports.transform.is_some()),
        Work::Rule { .. } => ("rule", exports.rule.is_some()),
        Work::Score { .. } => ("scorer", exports.scorer.is_some()),
        Work::Invoke { .. } => ("connector", exports.connector.is_some()),
        Work::Receive { .. } => ("webhook-source", exports.webhook_source.is_some()),
        Work::Fetch { .. } => ("paging", exports.paging.is_some()),
        Work::Poll { .. } => ("polling-source", exports.polling_source.is_some()),
    };
    (!is_there).then(|| CallError::Contract {
        message: format!(
            "the component does not export `crossdock:plugin/{name}`; it exports `{}`",
            loaded.inspection.exports.join("`, `")
        ),
    })
}

/// Calls the function and takes its answer. An export that is missing traps; the caller has looked before.
async fn answer_of(
    store: &mut Store<CallState>,
    loaded: &Loaded,
    instance: &Instance,
    work: Work,
    limits: &Limits,
    now: Timestamp,
) -> wasmtime::Result<Result<Answer, CallError>> {
    let exports = &loaded.exports;
    let pure = is_pure(&work);
    let failed = |failure: envelope::Failure| Err(answer::failure(failure, pure));
    let absent = || wasmtime::format_err!("the interface is not exported");
    Ok(match work {
        Work::Transform { input, step } => {
            let guest = exports.transform.as_ref().ok_or_else(absent)?.load(&mut *store, instance)?;
            let step = request::step(step, now);
            let answered = guest.call_apply(store, &input.as_bytes().to_vec(), &step).await?;
            answered.map_or_else(failed, |output| answer::json(output, limits))
        }
        Work::Rule { input, step } => {
            let guest = exports.rule.as_ref().ok_or_else(absent)?.load(&mut *store, instance)?;
            let step = request::step(step, now);
            let answered = guest.call_evaluate(store, &input.as_bytes().to_vec(), &step).await?;
            answered.map_or_else(failed, |verdict| answer::verdict(verdict, limits))
        }
        Work::Score { input, step } => {
            let guest = exports.scorer.as_ref().ok_or_else(absent)?.load(&mut *store, instance)?;
            let step = request::step(step, now);
            let answered = guest.call_score(store, &input.as_bytes().to_vec(), &step).await?;
            answered.map_or_else(failed, answer::assessment)
        }
        Work::Invoke { operation, input, idempotency_key, attempt, read_only: _, step } => {
            let guest = exports.connector.as_ref().ok_or_else(absent)?.load(&mut *store, instance)?;
            let step = request::step(step, now);
            let call = request::call(operation, input.as_bytes(), idempotency_key, attempt, step);
            let answered = guest.call_invoke(store, &call).await?;
            answered.map_or_else(failed, |output| answer::json(output, limits))
        }
        Work::Receive { delivery, feed } => {
            let guest = exports.webhook_source.as_ref().ok_or_else(absent)?.load(&mut *store, instance)?;
            let (delivery, feed) = (request::delivery(delivery), request::feed(feed, now));
            let answered = guest.call_receive(store, &delivery, &feed).await?;
            answered.map_or_else(failed, |receipt| answer::receipt(receipt, limits))
        }
        Work::Fetch { operation, input, idempotency_key, attempt, cursor, step } => {
            let guest = exports.paging.as_ref().ok_or_else(absent)?.load(&mut *store, instance)?;
            let step = request::step(step, now);
            let call = request::call(operation, input.as_bytes(), idempotency_key, attempt, step);
            let answered = guest.call_fetch(store, &call, cursor.as_deref()).await?;
            answered.map_or_else(failed, |portion| answer::portion(portion, limits))
        }
        Work::Poll { cursor, feed } => {
            let guest = exports.polling_source.as_ref().ok_or_else(absent)?.load(&mut *store, instance)?;
            let answered = guest.call_poll(store, cursor.as_deref(), &request::feed(feed, now)).await?;
            answered.map_or_else(failed, |page| answer::page(page, limits))
        }
    })
}

/// Says what ended a call that gave no answer. `fuel` is what it had, and what it used.
pub(super) fn classify(error: &wasmtime::Error, state: &CallState, limits: &Limits, fuel: (u64, u64)) -> CallError {
    let over = |limit, allowed, used| CallError::Limit(LimitExceeded { limit, allowed, used });
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => return over(Limit::Fuel, fuel.0, fuel.1),
        Some(Trap::StackOverflow) => {
            return over(Limit::Stack, engine::STACK_BYTES as u64, engine::STACK_BYTES as u64);
        }
        _ => {}
    }
    // Whatever it died of, the cause was the memory that it did not get.
    if let Some(wanted) = state.memory.refused() {
        return over(Limit::Memory, state.memory.allowed(), wanted);
    }
    if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        return CallError::Unavailable {
            message: format!(
                "the engine has no room: {} calls run at the moment; try again, or lower the concurrency",
                engine::CALLS_LIMIT
            ),
        };
    }
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return CallError::Trap {
            message: format!("the guest exited with status {}; return a failure instead", exit.0),
        };
    }
    let message = format!("{error:?}");
    // The engine has no type for this one.
    if message.contains("fuel allocated for hostcalls has been exhausted") {
        let at_least = limits.output_bytes.saturating_add(ENVELOPE_BYTES_LIMIT);
        return over(Limit::Output, limits.output_bytes, at_least);
    }
    CallError::Trap { message: trimmed(message, TRAP_BYTES_LIMIT) }
}

/// The text, cut at a character's end.
fn trimmed(mut text: String, bytes_limit: usize) -> String {
    if text.len() > bytes_limit {
        let mark = "\n…";
        let end = (0..=bytes_limit.saturating_sub(mark.len())).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        text.push_str(mark);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::trimmed;

    #[test]
    fn a_long_trap_is_cut_at_a_character() {
        assert_eq!(trimmed("short".into(), 8), "short");
        let cut = trimmed("ä".repeat(100), 21);
        assert!(cut.len() <= 21 && cut.ends_with('…') && cut.starts_with("ää"));
    }
}
