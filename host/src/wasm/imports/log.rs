//! `log`: lines for the run's log. Never fails.

use crate::{
    model::log::{LogLevel, LogLine},
    wasm::{
        bindings::log::{Host, Level},
        call_state::CallState,
    },
};

impl Host for CallState {
    async fn write(&mut self, level: Level, message: String, fields: Vec<(String, String)>) -> wasmtime::Result<()> {
        let level = match level {
            Level::Trace => LogLevel::Trace,
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        };
        if !self.ledger.write(LogLine { level, message, fields }) {
            // A flood costs the host more than it costs the guest in fuel: let others go first.
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}
