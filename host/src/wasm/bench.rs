//! What a benchmark measures apart: compiling, loading from the cache, and the bare instantiate-and-call that the hub's
//! own cost is compared with. Not for the hub's use.

use std::time::Instant;

use super::{
    Sandbox, answer,
    bindings::{connector, envelope},
    call,
    call_state::CallState,
    component, request,
};
use crate::{
    model::{id::Digest, json::Json},
    ports::invoker::{CallError, Invocation, LoadError, StepContext, Work},
};

/// A call with its arguments in the guest's form, ready to be made again and again.
pub struct Bare<'a> {
    sandbox: &'a Sandbox,
    call: Invocation,
    input_bytes: usize,
    arguments: Arguments,
}

enum Arguments {
    Transform(Vec<u8>, envelope::Step),
    Rule(Vec<u8>, envelope::Step),
    Score(Vec<u8>, envelope::Step),
    Invoke(connector::Call),
}

impl Sandbox {
    /// Compiles a component as [`crate::ports::invoker::Invoker::load`] does on a miss, and forgets it; the size of
    /// its code, bytes.
    ///
    /// # Errors
    /// As the engine says.
    pub fn compile(&self, wasm: &[u8]) -> Result<usize, LoadError> {
        let component = component::compile(&self.engine, wasm)?;
        let code = component.serialize();
        code.map(|code| code.len()).map_err(|error| LoadError::Compile { problem: format!("{error:#}") })
    }

    /// Loads a component's compiled code from the cache, and forgets it. False if it is not there.
    #[must_use]
    pub fn load_from_cache(&self, digest: Digest) -> bool {
        self.cache.load(&self.engine, digest).is_ok()
    }

    /// Prepares a bare call of a transform, rule, scorer or connector that is loaded; none for anything else.
    #[must_use]
    pub fn bare(&self, call: Invocation) -> Option<Bare<'_>> {
        let pure =
            |input: &Json, step: &StepContext| (input.as_bytes().to_vec(), request::step(step.clone(), call.now));
        let arguments = match &call.work {
            Work::Transform { input, step } => {
                let (input, step) = pure(input, step);
                Arguments::Transform(input, step)
            }
            Work::Rule { input, step } => {
                let (input, step) = pure(input, step);
                Arguments::Rule(input, step)
            }
            Work::Score { input, step } => {
                let (input, step) = pure(input, step);
                Arguments::Score(input, step)
            }
            Work::Invoke { operation, input, idempotency_key, attempt, step, .. } => {
                let step = request::step(step.clone(), call.now);
                let (operation, key) = (operation.clone(), idempotency_key.clone());
                Arguments::Invoke(request::call(operation, input.as_bytes(), key, *attempt, step))
            }
            Work::Receive { .. } | Work::Poll { .. } | Work::Fetch { .. } => return None,
        };
        Some(Bare { sandbox: self, input_bytes: request::input_bytes(&call.work), call, arguments })
    }
}

impl Bare<'_> {
    /// A fresh store and instance, and the call: no deadline, no checks of the answer, no report.
    ///
    /// # Errors
    /// Why the guest gave no answer.
    pub async fn call(&self) -> Result<(), CallError> {
        let unavailable = |message: &str| CallError::Unavailable { message: message.into() };
        let loaded = self.sandbox.loaded(self.call.component).ok_or_else(|| unavailable("it is not loaded"))?;
        let limits = &self.call.limits;
        let state = CallState::new(&self.call, self.call.authority.clone(), None, Instant::now());
        let engine = &self.sandbox.engine;
        let trap = |error: wasmtime::Error| CallError::Trap { message: format!("{error:?}") };
        let mut store = call::new_store(engine, state, limits, limits.fuel(self.input_bytes)).map_err(trap)?;
        let instance = loaded.pre.instantiate_async(&mut store).await.map_err(trap)?;
        let absent = || unavailable("it does not export that interface");
        let exports = &loaded.exports;
        let failed = |failure| answer::failure(failure, true);
        match &self.arguments {
            Arguments::Transform(input, step) => {
                let guest = exports.transform.as_ref().ok_or_else(absent)?.load(&mut store, &instance).map_err(trap)?;
                guest.call_apply(&mut store, input, step).await.map_err(trap)?.map(drop).map_err(failed)
            }
            Arguments::Rule(input, step) => {
                let guest = exports.rule.as_ref().ok_or_else(absent)?.load(&mut store, &instance).map_err(trap)?;
                guest.call_evaluate(&mut store, input, step).await.map_err(trap)?.map(drop).map_err(failed)
            }
            Arguments::Score(input, step) => {
                let guest = exports.scorer.as_ref().ok_or_else(absent)?.load(&mut store, &instance).map_err(trap)?;
                guest.call_score(&mut store, input, step).await.map_err(trap)?.map(drop).map_err(failed)
            }
            Arguments::Invoke(call) => {
                let guest = exports.connector.as_ref().ok_or_else(absent)?.load(&mut store, &instance).map_err(trap)?;
                guest.call_invoke(&mut store, call).await.map_err(trap)?.map(drop).map_err(failed)
            }
        }
    }
}
