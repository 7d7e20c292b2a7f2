//! The desktop of a computer whose image has one: what the published clients do with it, and who looks at it.
//!
//! * [`acts`], [`keys`]: pointer and keyboard; [`windows`]: what is open; [`looks`]: the picture, the clipboard
//! * [`viewer`], [`rfb`]: the screen as it changes, over a WebSocket; [`links`]: for who has no key
//!
//! All of it are programs in the computer. An image needs `xdotool`,
//! `wmctrl`, `xclip`, `scrot`, and a program `workspaced-rfb` that is the screen as a stream. Nothing listens on a
//! network, so no neighbour reaches it, and there is no password to keep.

pub mod acts;
pub mod keys;
pub mod links;
pub mod looks;
pub mod rfb;
pub mod viewer;
pub mod windows;

use std::time::Duration;

use super::inside::{Inside, KEPT, Said};
use super::seam::Program;
use crate::error::{Error, Result};

/// The program of an image that is its screen, as a stream.
pub const RFB: &str = "workspaced-rfb";
/// What a program on the screen may take.
const STEP: Duration = Duration::from_secs(25);
/// What scripts end with where there is no such thing.
const NO_DESKTOP: i64 = 90;
const NO_WINDOW: i64 = 91;
const NO_PROGRAM: i64 = 92;

/// How every script begins: on the screen, and with nothing that waits for ever.
const BEGIN: &str = r#"export DISPLAY="${DISPLAY:-:1}"
command -v xdotool >/dev/null 2>&1 || exit 90
t() { timeout -s KILL "${WAIT:-20}" "$@"; }
"#;

/// A program on the screen.
#[derive(Default)]
struct Script<'a> {
    text: &'a str,
    arguments: Vec<String>,
    input: Vec<u8>,
    /// Bytes that it may say.
    most: Option<usize>,
    /// What it may take, where that is longer than usual.
    wait: Option<Duration>,
}

/// The image has none.
fn none() -> Error {
    Error::conflict(
        "NO_DESKTOP",
        "the image of this computer has no desktop, or lacks a part of it; `workspaced images build desktop` makes one that has",
    )
}

fn not_yet() -> Error {
    Error::conflict(
        "DESKTOP_STARTING",
        "its screen is not there: it still starts, or its session has ended; try again, or restart the computer",
    )
}

/// What a script on the screen said, or why it failed.
fn checked(said: Said) -> Result<Said> {
    let text = String::from_utf8_lossy(&said.err);
    let text: String = text.trim().chars().take(500).collect();
    match said.code {
        Some(0) => Ok(said),
        Some(NO_DESKTOP | 126 | 127) => Err(none()),
        Some(NO_WINDOW) => Err(Error::not_found("window")),
        Some(NO_PROGRAM) => Err(Error::field("app", "is no program of this computer")),
        None | Some(137) => Err(Error::unavailable("the desktop does not answer", 5)),
        Some(_) if is_no_screen(&text) => Err(not_yet()),
        Some(code) => Err(Error::conflict(
            "DESKTOP_REFUSED",
            if text.is_empty() {
                format!("the desktop did not do it ({code})")
            } else {
                text
            },
        )),
    }
}

/// How programs say that they find no X server.
fn is_no_screen(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    [
        "open display",
        "open x display",
        "to x server",
        "failed creating new xdo",
    ]
    .iter()
    .any(|words| text.contains(words))
}

impl Inside {
    async fn on_screen(&self, script: Script<'_>) -> Result<Said> {
        let text = format!("{BEGIN}{}", script.text);
        let head = ["/bin/sh", "-c", &text, "sh"].map(String::from);
        let mut env = self.env.clone();
        let wait = script.wait.unwrap_or(STEP);
        if script.wait.is_some() {
            env.push(format!("WAIT={}", wait.as_secs()));
        }
        let program = Program {
            command: head.into_iter().chain(script.arguments).collect(),
            env,
            input: !script.input.is_empty(),
            ..Program::default()
        };
        let most = script.most.unwrap_or(KEPT);
        let said = self.run_up_to(program, &script.input, wait, most).await?;
        checked(said)
    }
}
