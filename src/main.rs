//! The `workspaced` program: arguments in, exit code out.

use std::process::ExitCode;

/// Gives back what is free (.cargo/config.toml says how soon).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    workspaced::cli::main()
}
