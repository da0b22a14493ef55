//! How much linear memory a call holds, and whether it ever asked for more than it may.

use wasmtime::ResourceLimiter;

use super::engine::TABLE_ELEMENTS;

/// The memory of one call, over all its linear memories.
#[derive(Clone, Copy, Debug)]
pub(super) struct MemoryBudget {
    allowed: u64,
    held: u64,
    last_growth: u64,
    peak: u64,
    refused: Option<u64>,
}

impl MemoryBudget {
    /// Nothing held, at most `allowed` bytes.
    pub(super) fn new(allowed: u64) -> Self {
        Self { allowed, held: 0, last_growth: 0, peak: 0, refused: None }
    }

    /// The most that was held, bytes.
    pub(super) fn peak(&self) -> u64 {
        self.peak
    }

    /// The largest total that was asked for and refused. A guest may catch the refusal and die of something else
    /// (`abort` after a failed allocation): the cause is remembered here.
    pub(super) fn refused(&self) -> Option<u64> {
        self.refused
    }

    /// The bound, bytes.
    pub(super) fn allowed(&self) -> u64 {
        self.allowed
    }
}

impl ResourceLimiter for MemoryBudget {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let growth = desired.saturating_sub(current) as u64;
        let wanted = self.held.saturating_add(growth);
        if wanted > self.allowed {
            self.refused = Some(self.refused.unwrap_or(0).max(wanted));
            return Ok(false);
        }
        self.held = wanted;
        self.last_growth = growth;
        self.peak = self.peak.max(wanted);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.held = self.held.saturating_sub(std::mem::take(&mut self.last_growth));
        Ok(())
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::ResourceLimiter as _;

    use super::MemoryBudget;

    #[test]
    fn memories_share_one_budget_and_a_refusal_is_remembered() {
        let mut budget = MemoryBudget::new(100);
        assert!(budget.memory_growing(0, 60, None).unwrap());
        assert!(budget.memory_growing(0, 40, None).unwrap());
        assert!(!budget.memory_growing(60, 61, None).unwrap());
        assert_eq!((budget.peak(), budget.refused()), (100, Some(101)));
    }

    #[test]
    fn a_guest_that_is_over_its_own_maximum_is_not_over_ours() {
        let mut budget = MemoryBudget::new(100);
        assert!(!budget.memory_growing(0, 60, Some(50)).unwrap());
        assert_eq!(budget.refused(), None);
    }
}
