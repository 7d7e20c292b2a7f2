//! Standard output of the commands, whose reader may leave before its end.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write, stderr, stdout};
use std::process::exit;

/// Prints what a command found. A reader that leaves early, such as `head`, ends the command quietly;
/// the macros of the standard library would panic.
pub(super) fn out(text: Arguments<'_>) {
    match stdout().write_fmt(text) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::BrokenPipe => exit(0),
        Err(e) => {
            let _ = writeln!(stderr(), "error: standard output: {e}");
            exit(1);
        }
    }
}

// They take the place of those of the standard library in all commands.
macro_rules! print {
    ($($text:tt)*) => { $crate::cli::out::out(format_args!($($text)*)) };
}
macro_rules! println {
    ($($text:tt)*) => { print!("{}\n", format_args!($($text)*)) };
}
