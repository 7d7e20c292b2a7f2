//! The `workspaced` program: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    workspaced::cli::main()
}
