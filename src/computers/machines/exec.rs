//! Commands in a computer, as the published clients send them.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::inside::{self, Activity, Said};
use super::seam::Program;
use crate::computers::Fleet;
use crate::db::Store;
use crate::error::{Error, Fields, Result};
use crate::http::{Mutation, PathId};
use crate::ids::ComputerId;

/// Seconds that a command may take unless it says otherwise, and at most.
const USUAL: i64 = 300;
const MOST: i64 = 3600;
/// Bytes of a command: what a kernel takes as one argument.
const LONGEST: usize = 128 << 10;

/// `POST /computers/{id}/exec` and `/exec/python`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct Exec {
    /// For the shell
    #[schema(nullable = false)]
    pub command: Option<String>,
    /// For Python 3, at `/exec/python`
    #[schema(nullable = false)]
    pub code: Option<String>,
    /// Seconds that it may take; then it is killed
    #[schema(minimum = 1, maximum = 3600)]
    pub timeout: Option<i64>,
}

/// `POST /computers/{id}/commands`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct Command {
    /// For the shell
    #[schema(required = true, nullable = false)]
    pub command: Option<String>,
    /// Where it begins
    pub cwd: Option<String>,
    /// Seconds that it may take; then it is killed
    #[schema(minimum = 1, maximum = 3600)]
    pub timeout_seconds: Option<i64>,
    /// What it reads
    pub stdin: Option<String>,
}

/// What a command said, and how it ended.
#[derive(Serialize, ToSchema)]
pub struct Ran {
    /// 137 where it was killed.
    exit_code: i64,
    /// What it wrote to standard output, up to 1 MB.
    output: String,
    /// The same.
    stdout: String,
    /// What it wrote to standard error, up to 1 MB.
    stderr: String,
    success: bool,
    /// More was written than is shown.
    truncated: bool,
    /// It was killed because it took too long.
    timed_out: bool,
    duration_ms: u64,
}

/// Under a clock: `sh -c`, which is there wherever the image has a shell. Where it has no `timeout`, the reply
/// does not wait for longer, but nobody ends the program.
const TIMED: &str = r#"n=$1; shift
if command -v timeout >/dev/null 2>&1; then exec timeout -s KILL "$n" "$@"; else exec "$@"; fi"#;

fn timed(seconds: i64, command: &[&str]) -> Vec<String> {
    let seconds = seconds.to_string();
    let head = ["/bin/sh", "-c", TIMED, "sh", &seconds];
    head.iter()
        .chain(command)
        .map(ToString::to_string)
        .collect()
}

fn ran(said: Said, seconds: i64) -> Ran {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let late = said.ms + 100 >= u64::try_from(seconds).unwrap_or(0) * 1000;
    let timed_out = said.code.is_none() || (late && matches!(said.code, Some(124 | 137 | 143)));
    let exit_code = said.code.unwrap_or(137);
    Ran {
        exit_code,
        stdout: text(&said.out),
        output: text(&said.out),
        stderr: text(&said.err),
        success: exit_code == 0,
        truncated: said.truncated,
        timed_out,
        duration_ms: said.ms,
    }
}

/// A text to be run, and how long.
fn checked(
    field: &'static str,
    text: Option<String>,
    seconds: Option<i64>,
) -> Result<(String, i64)> {
    let mut fields = Fields::default();
    let text = text.unwrap_or_default();
    if text.is_empty() {
        fields.push(field, "can't be blank");
    } else if text.len() > LONGEST || text.contains('\0') {
        fields.push(
            field,
            format!("should be at most {LONGEST} bytes, none of them zero"),
        );
    }
    let seconds = seconds.unwrap_or(USUAL);
    if !(1..=MOST).contains(&seconds) {
        fields.push("timeout", format!("must be 1 to {MOST} seconds"));
    }
    fields.finish()?;
    Ok((text, seconds))
}

async fn run(
    store: &Store,
    fleet: &Fleet,
    id: ComputerId,
    request: Mutation<Exec>,
    python: bool,
) -> Result<Json<Ran>> {
    let (caller, input) = request.outside();
    let (caller, _) = inside::machine(store, caller, id).await?;
    let input = input?;
    let (text, seconds) = if python {
        checked("code", input.code.or(input.command), input.timeout)?
    } else {
        checked("command", input.command, input.timeout)?
    };
    let note = Some(("computer.exec", text.clone()));
    let inside = inside::enter(store, fleet, caller, id, note, Activity::Command).await?;
    let command: &[&str] = if python {
        &["python3", "-c", &text]
    } else {
        &["/bin/sh", "-lc", &text]
    };
    let program = Program {
        command: timed(seconds, command),
        env: inside.env.clone(),
        ..Program::default()
    };
    let said = inside.run(program, &[], patience(seconds)).await?;
    Ok(Json(ran(said, seconds)))
}

fn patience(seconds: i64) -> Duration {
    Duration::from_secs(seconds.unsigned_abs())
}

/// `POST /computers/{id}/exec`
pub async fn exec(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    PathId(id): PathId<ComputerId>,
    request: Mutation<Exec>,
) -> Result<Json<Ran>> {
    run(&store, &fleet, id, request, false).await
}

/// `POST /computers/{id}/exec/python`
pub async fn python(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    PathId(id): PathId<ComputerId>,
    request: Mutation<Exec>,
) -> Result<Json<Ran>> {
    run(&store, &fleet, id, request, true).await
}

/// `POST /computers/{id}/commands`
pub async fn commands(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    PathId(id): PathId<ComputerId>,
    request: Mutation<Command>,
) -> Result<Json<Ran>> {
    let (caller, input) = request.outside();
    let (caller, _) = inside::machine(&store, caller, id).await?;
    let input = input?;
    let (text, seconds) = checked("command", input.command, input.timeout_seconds)?;
    if input.cwd.as_deref().is_some_and(|cwd| cwd.contains('\0')) {
        return Err(Error::field("cwd", "should be a path"));
    }
    let note = Some(("computer.exec", text.clone()));
    let inside = inside::enter(&store, &fleet, caller, id, note, Activity::Command).await?;
    let stdin = input.stdin.unwrap_or_default();
    let program = Program {
        command: timed(seconds, &["/bin/sh", "-lc", &text]),
        dir: input.cwd,
        env: inside.env.clone(),
        input: !stdin.is_empty(),
        ..Program::default()
    };
    let said = inside
        .run(program, stdin.as_bytes(), patience(seconds))
        .await?;
    Ok(Json(ran(said, seconds)))
}
