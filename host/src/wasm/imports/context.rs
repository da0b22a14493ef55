//! `context`: what a plugin may ask and tell about the call that is running.

use crate::wasm::{bindings::context::Host, call_state::CallState};

impl Host for CallState {
    fn remaining_ms(&mut self) -> wasmtime::Result<u32> {
        Ok(self.time_left.millis())
    }

    fn annotate(&mut self, name: String, value: String) -> wasmtime::Result<()> {
        self.ledger.annotate(name, value);
        Ok(())
    }
}
