//! `workspaced open`: the admin page, signed in with the key of the client commands.

use std::process::{Command, Stdio};

use clap::Args;

use super::Failure;
use super::service::Service;
use crate::rules::config::ClientArgs;

/// `workspaced open`
#[derive(Args)]
pub(super) struct OpenArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Only print the link
    #[arg(long)]
    no_open: bool,
}

pub(super) fn run(args: OpenArgs) -> Result<(), Failure> {
    let link = Service::new(args.client)?.sign_in_link()?;
    println!("the admin page, signed in (good once, for a minute):\n  {link}");
    if !args.no_open {
        in_browser(&link);
    }
    Ok(())
}

/// Nobody waits for it, and a machine without a browser is none the worse.
pub(super) fn in_browser(link: &str) {
    let opener = if cfg!(target_os = "macos") {
        "open"
    } else {
        "xdg-open"
    };
    let _ = Command::new(opener)
        .arg(link)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
}
