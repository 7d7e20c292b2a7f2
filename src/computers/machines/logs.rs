//! What a computer's own program writes.

use std::convert::Infallible;

use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc::Receiver;
use utoipa::{IntoParams, ToSchema};

use super::inside::{self, KEPT};
use super::reconcile::{LOOK, bounded};
use super::seam::{Fault, Output};
use super::spec;
use crate::access::caller::Caller;
use crate::clock::Timestamp;
use crate::computers::Fleet;
use crate::db::Store;
use crate::error::{Error, Result};
use crate::http::{Params, PathId};
use crate::ids::ComputerId;

/// Lines that are shown unless it is said otherwise, and at most.
const USUAL: u32 = 100;
const MOST: u32 = 10_000;

/// Which of it.
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct LogsQuery {
    /// Lines from the end, 1 to 10000; 100 if left out
    #[param(value_type = Option<u32>)]
    pub lines: Option<String>,
    /// Only what was written from then on; RFC 3339
    pub since: Option<String>,
}

/// `GET /computers/{id}/logs`
#[derive(Serialize, ToSchema)]
pub struct Logs {
    /// Oldest first, each with its instant.
    lines: Vec<String>,
    computer_id: ComputerId,
    /// There was more than is shown.
    truncated: bool,
}

async fn written(
    store: &Store,
    fleet: &Fleet,
    caller: Caller,
    id: ComputerId,
    query: Params<LogsQuery>,
    follow: bool,
) -> Result<(Receiver<Output>, u32)> {
    inside::machine(store, caller, id).await?;
    let query = query.get()?;
    let lines = match query.lines.as_deref().map(str::parse) {
        None if follow => 0,
        None => USUAL,
        Some(Ok(lines)) if (1..=MOST).contains(&lines) => lines,
        Some(_) => return Err(Error::field("lines", format!("must be 1 to {MOST}"))),
    };
    let since = match query.since.as_deref().map(Timestamp::parse) {
        None => 0,
        Some(Some(at)) => at.0 / 1000,
        Some(None) => return Err(Error::field("since", "must be an RFC 3339 time")),
    };
    let engine = fleet.engine.ready()?;
    let name = spec::name(id);
    // One more, to know whether there are more.
    let asked = if follow { lines } else { lines + 1 };
    match bounded(LOOK, engine.logs(&name, asked, since, follow)).await {
        Ok(read) => Ok((read, lines)),
        // It was never started.
        Err(Fault::Missing(_)) => Ok((tokio::sync::mpsc::channel(1).1, lines)),
        Err(e) => Err(Error::unavailable(e.text(), 5).with_code("ENGINE_UNAVAILABLE")),
    }
}

/// `GET /computers/{id}/logs`
pub async fn show(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
    query: Params<LogsQuery>,
) -> Result<Json<Logs>> {
    let (mut read, lines) = written(&store, &fleet, caller, id, query, false).await?;
    let mut text = Vec::new();
    let mut truncated = false;
    while let Some(piece) = read.recv().await {
        if let Output::Out(bytes) | Output::Err(bytes) = piece {
            truncated |= text.len() + bytes.len() > KEPT;
            if truncated {
                break;
            }
            text.extend_from_slice(&bytes);
        }
    }
    let text = String::from_utf8_lossy(&text);
    let mut all: Vec<String> = text.lines().map(str::to_owned).collect();
    let over = all
        .len()
        .saturating_sub(usize::try_from(lines).unwrap_or(usize::MAX));
    all.drain(..over);
    Ok(Json(Logs {
        lines: all,
        computer_id: id,
        truncated: truncated || over > 0,
    }))
}

/// `GET /computers/{id}/logs/stream`
pub async fn follow(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
    query: Params<LogsQuery>,
) -> Result<Response> {
    let (read, _) = written(&store, &fleet, caller, id, query, true).await?;
    let events = stream::unfold(read, |mut read| async move {
        loop {
            let (name, bytes) = match read.recv().await? {
                Output::Out(bytes) => ("stdout", bytes),
                Output::Err(bytes) => ("stderr", bytes),
                _ => continue,
            };
            let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            let data = json!({ "line": text, "stream": name }).to_string();
            let event = Event::default().event("log").data(data);
            return Some((Ok::<_, Infallible>(event), read));
        }
    });
    Ok(Sse::new(events)
        .keep_alive(KeepAlive::default())
        .into_response())
}
