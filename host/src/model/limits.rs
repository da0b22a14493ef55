//! Every bound that a call of a plugin runs under, by name, and what a call used of it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The bounds of one call. Defaults suit a rule or a transform in Rust; the manifest may ask for others, and the hub's
/// ceiling holds in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Linear memory, bytes.
    pub memory_bytes: u64,
    /// Fuel that any call gets.
    pub fuel_base: u64,
    /// Fuel on top, for each KiB of input begun, so that a bigger cart does not break a rule.
    pub fuel_per_input_kib: u64,
    /// Wall-clock time, milliseconds.
    pub deadline_ms: u64,
    /// Input document, bytes.
    pub input_bytes: u64,
    /// Output document, bytes.
    pub output_bytes: u64,
    /// Log text, bytes; lines beyond it are counted and dropped.
    pub log_bytes: u64,
    /// Log lines; lines beyond it are counted and dropped.
    pub log_lines: u32,
    /// HTTP requests in one call.
    pub http_requests: u32,
}

impl Limits {
    /// What a plugin gets that does not ask.
    pub const DEFAULT: Self = Self {
        memory_bytes: 16 << 20,
        fuel_base: 20_000_000,
        fuel_per_input_kib: 2_000_000,
        deadline_ms: 5_000,
        input_bytes: 1 << 20,
        output_bytes: 1 << 20,
        log_bytes: 64 << 10,
        log_lines: 64,
        http_requests: 16,
    };

    /// What no plugin gets more of, whatever its manifest says.
    pub const CEILING: Self = Self {
        memory_bytes: 256 << 20,
        fuel_base: 100_000_000_000,
        fuel_per_input_kib: 1_000_000_000,
        deadline_ms: 60_000,
        input_bytes: 1 << 20,
        output_bytes: 1 << 20,
        log_bytes: 256 << 10,
        log_lines: 1_024,
        http_requests: 64,
    };

    /// Each bound no higher than the other's.
    #[must_use]
    pub fn capped(self, ceiling: &Self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.min(ceiling.memory_bytes),
            fuel_base: self.fuel_base.min(ceiling.fuel_base),
            fuel_per_input_kib: self.fuel_per_input_kib.min(ceiling.fuel_per_input_kib),
            deadline_ms: self.deadline_ms.min(ceiling.deadline_ms),
            input_bytes: self.input_bytes.min(ceiling.input_bytes),
            output_bytes: self.output_bytes.min(ceiling.output_bytes),
            log_bytes: self.log_bytes.min(ceiling.log_bytes),
            log_lines: self.log_lines.min(ceiling.log_lines),
            http_requests: self.http_requests.min(ceiling.http_requests),
        }
    }

    /// The fuel of a call with an input of this size.
    #[must_use]
    pub fn fuel(&self, input_bytes: usize) -> u64 {
        let kib = (input_bytes as u64).div_ceil(1024);
        self.fuel_base.saturating_add(self.fuel_per_input_kib.saturating_mul(kib))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What one call used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Fuel burnt; the same on every repetition of a pure call.
    pub fuel: u64,
    /// Highest linear memory, bytes.
    pub memory_bytes: u64,
    /// Wall-clock time, microseconds.
    pub elapsed_us: u64,
    /// Log lines dropped for want of room.
    pub log_lines_dropped: u32,
}

/// A bound of a call, by its name in the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// `memory_bytes`.
    Memory,
    /// `fuel_base` and `fuel_per_input_kib`.
    Fuel,
    /// `deadline_ms`.
    Deadline,
    /// The engine's stack, bytes; not the manifest's to set.
    Stack,
    /// `input_bytes`.
    Input,
    /// `output_bytes`.
    Output,
}

/// A call that ran into a bound: which, how high it was, and what was used or asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitExceeded {
    /// Which bound.
    pub limit: Limit,
    /// Its value, in its own unit.
    pub allowed: u64,
    /// What was used or asked for, in the same unit; at least this much where the call was stopped.
    pub used: u64,
}

impl fmt::Display for LimitExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit, mend) = match self.limit {
            Limit::Memory => ("memory_bytes", "bytes", "use less memory, or raise `limits.memory_bytes`"),
            Limit::Fuel => (
                "fuel",
                "units",
                "look for a loop that does not end, or raise `limits.fuel_base` or `limits.fuel_per_input_kib`",
            ),
            Limit::Deadline => ("deadline_ms", "ms", "answer sooner, or raise `limits.deadline_ms`"),
            Limit::Stack => ("stack", "bytes", "recurse less deeply; the stack cannot be raised by a manifest"),
            Limit::Input => ("input_bytes", "bytes", "send a smaller document, or raise `limits.input_bytes`"),
            Limit::Output => ("output_bytes", "bytes", "return a smaller document, or raise `limits.output_bytes`"),
        };
        write!(f, "limit `{name}` exceeded: {} of {} {unit}; {mend}", self.used, self.allowed)
    }
}
