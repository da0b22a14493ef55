//! The one engine: its settings, and why they are so. Every figure was measured or follows from a limit.

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::model::limits::Limits;

/// Calls that may run at the same moment; the next one is told that there is no room.
pub const CALLS_LIMIT: u32 = 512;

/// The stack of a guest, bytes. Not a manifest's to set: every deeper stack would be paid by each call.
pub const STACK_BYTES: usize = 512 << 10;

/// The stack of the fiber that a call runs on, bytes: the guest's and what the host's functions need on top.
const FIBER_STACK_BYTES: usize = 2 << 20;

/// Fuel between two looks at the rest of the world, about 0.1 ms of work: how late a deadline can be noticed.
pub(super) const FUEL_YIELD_INTERVAL: u64 = 200_000;

/// Elements of one table. StarlingMonkey and Python start at some ten thousand.
pub(super) const TABLE_ELEMENTS: usize = 1 << 16;

/// Core instances of one component; a Python component has 38.
const CORE_INSTANCES_PER_COMPONENT: u32 = 64;

/// Memory kept in a slot for the next instance, bytes: what a std Rust guest touches. With the kernel's page map only
/// what was written is cleared; without this setting every call pays for mapping its pages anew (17 µs, not 6).
const MEMORY_KEPT_BYTES: usize = 512 << 10;

/// The same for tables.
const TABLE_KEPT_BYTES: usize = 64 << 10;

/// An engine that bounds guests by fuel, memory and stack, gives the same answer to the same call, and recycles
/// instances cheaply.
///
/// # Errors
/// If the machine has no room for the pool's address space.
pub(super) fn new() -> wasmtime::Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(CALLS_LIMIT)
        .total_stacks(CALLS_LIMIT)
        .total_core_instances(CALLS_LIMIT * CORE_INSTANCES_PER_COMPONENT)
        .total_memories(CALLS_LIMIT * 2)
        .total_tables(CALLS_LIMIT * 4)
        .max_memories_per_component(8)
        .max_tables_per_component(32)
        .max_tables_per_module(8)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .table_elements(TABLE_ELEMENTS)
        // Address space only: what a call may really use is its own limit, kept by the store's limiter.
        .max_memory_size(usize::try_from(Limits::CEILING.memory_bytes)?)
        // `Auto`, since kernels before 6.7 have no page map to scan.
        .pagemap_scan(Enabled::Auto)
        .linear_memory_keep_resident(MEMORY_KEPT_BYTES)
        .table_keep_resident(TABLE_KEPT_BYTES);

    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .max_wasm_stack(STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        // Fuel rather than epochs: the same call burns the same fuel every time, so it is a meter as well.
        .consume_fuel(true)
        // INVARIANT: the same call gives the same bits on every machine.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true);
    Engine::new(&config)
}
