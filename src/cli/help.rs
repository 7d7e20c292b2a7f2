//! `workspaced help`: of commands what clap says, and the pages of the manual.

use std::io::{ErrorKind, IsTerminal, Write, stdout};

use clap::CommandFactory;

use super::{Cli, Failure};
use crate::api::manual::{pages, terminal};
use crate::http::nearest;

/// Where the output is no terminal, or a very wide one.
const WIDTH: usize = 100;

/// Prints what is said of a command (`help ws usage`) or of a topic (`help metering`).
pub(super) fn run(words: &[String]) -> Result<(), Failure> {
    let mut command = Cli::command();
    // Fills in the names under which subcommands are called.
    command.build();
    if let Some(found) = subcommand(&mut command, words) {
        let mut text = found.render_long_help().to_string();
        if words.is_empty() {
            text += "\nTopics of the manual (`workspaced help TOPIC`):\n";
            text += &terminal::topics(width());
        }
        return show(&text);
    }
    let asked = words.join(" ");
    if let Some(page) = pages::find(&asked) {
        return show(&terminal::print(&page.markdown, width()));
    }
    let known: Vec<String> = command
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .chain(pages::all().iter().map(|page| page.name.clone()))
        .collect();
    let meant =
        nearest(&asked, &known).map_or(".".to_owned(), |near| format!("; did you mean {near:?}?"));
    Err(Failure::Usage(format!(
        "there is no command and no topic {asked:?}{meant} `workspaced help` lists all of them"
    )))
}

fn subcommand<'a>(
    command: &'a mut clap::Command,
    words: &[String],
) -> Option<&'a mut clap::Command> {
    match words.split_first() {
        None => Some(command),
        Some((word, rest)) => subcommand(command.find_subcommand_mut(word)?, rest),
    }
}

fn width() -> usize {
    let columns = rustix::termios::tcgetwinsize(stdout())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns > 0 && stdout().is_terminal());
    columns.unwrap_or(WIDTH).min(WIDTH)
}

/// Prints; a reader such as `head` may leave early.
fn show(text: &str) -> Result<(), Failure> {
    match stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}
