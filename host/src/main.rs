//! The `crossdock` binary: everything is in the library.

use std::process::ExitCode;

/// A run is made of many small documents, and the system's allocator took a fifth of a step's time
/// (`cargo bench -p crossdock`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    crossdock::cli::main()
}
