//! `workspaced health`: for supervisors and images that have no other client.

use std::time::Duration;

use clap::Args;
use serde_json::Value;
use ureq::Agent;

use super::Failure;
use crate::clock::Stopwatch;
use crate::rules::config::Asked;
use crate::rules::text::printable;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);

/// `workspaced health`
#[derive(Args)]
pub(super) struct HealthArgs {
    #[command(flatten)]
    at: Asked,
    /// Ask only whether the process lives, whatever its disk does
    #[arg(long)]
    live: bool,
}

/// Exit code 0 and what the service says of itself, or 1 and why not.
pub(super) fn run(args: &HealthArgs) -> Result<(), Failure> {
    let base = args.at.url().map_err(Failure::Usage)?;
    let url = format!("{base}{}", if args.live { "/health" } else { "/readyz" });
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .proxy(None)
        .build()
        .into();
    let began = Stopwatch::start();
    loop {
        match ask(&agent, &url) {
            Ok(text) => {
                println!("{text}");
                return Ok(());
            }
            Err(_) if Duration::from_micros(began.micros()) < args.at.wait => {
                std::thread::sleep(PAUSE);
            }
            Err(why) => return Err(Failure::Fatal(format!("{base}: {why}"))),
        }
    }
}

fn ask(agent: &Agent, url: &str) -> Result<String, String> {
    let mut reply = agent.get(url).call().map_err(|e| e.to_string())?;
    let status = reply.status();
    let body: Value = reply
        .body_mut()
        .read_json()
        .map_err(|_| "this is not workspaced: the answer is no JSON".to_owned())?;
    let said = |name: &str| body[name].as_str().map(printable);
    if !status.is_success() {
        return Err(said("message").unwrap_or_else(|| status.to_string()));
    }
    let warnings = body["warnings"].as_array().map(Vec::as_slice);
    let warnings = warnings.unwrap_or_default().iter();
    let warnings = warnings.filter_map(Value::as_str).map(printable);
    Ok(std::iter::once(said("status").unwrap_or_default())
        .chain(warnings)
        .collect::<Vec<_>>()
        .join("\n"))
}
