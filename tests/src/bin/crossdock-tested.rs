//! The hub's binary as the tests run it: the same library, in a process that can be killed.

use std::process::ExitCode;

fn main() -> ExitCode {
    crossdock::cli::main()
}
