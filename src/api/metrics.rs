//! `GET /metrics`: what this process does, in the text format that Prometheus reads.
//!
//! Requests are counted by the route's template, never by its path: a label per id would grow for
//! ever. What can be read off the state (computers, queue, files) is read when it is asked for.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::MatchedPath;
use axum::http::{Method, StatusCode};
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::backups::{self, Backups};
use crate::clock::Stopwatch;
use crate::db::Store;
use crate::error::{Error, Result};
use crate::outbox::events::Streams;
use crate::outbox::webhooks::deliver::Outbox;
use crate::outbox::webhooks::queue;
use crate::usage::ledger::repair;

/// The media type of the format.
pub const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Request {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Route {
    method: &'static str,
    route: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OfStatus {
    status: String,
}

type Histograms = Family<Route, Histogram, fn() -> Histogram>;

/// Everything that is counted.
pub struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<Request, Counter>,
    durations: Histograms,
    computers: Family<OfStatus, Gauge>,
    waiting: Gauge,
    longest_turn: Gauge<f64, AtomicU64>,
    wal: Gauge,
    database: Gauge,
    streams: Gauge,
    deliveries_waiting: Gauge,
    deliveries_sending: Gauge,
    clock_ahead: Gauge<f64, AtomicU64>,
    clock_wrong: Gauge,
    clock_jumps: Gauge,
    events_ahead: Gauge,
    backup_age: Gauge<f64, AtomicU64>,
    backup_failed: Gauge,
}

/// From a tenth of a millisecond to about seven seconds.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 17))
}

impl Metrics {
    /// Counts what happens from now on.
    pub fn new(store: &Store, outbox: &Outbox) -> Self {
        let mut registry = Registry::with_prefix("workspaced");
        let metrics = Metrics {
            requests: Family::default(),
            durations: Family::new_with_constructor(seconds),
            computers: Family::default(),
            waiting: Gauge::default(),
            longest_turn: Gauge::default(),
            wal: Gauge::default(),
            database: Gauge::default(),
            streams: Gauge::default(),
            deliveries_waiting: Gauge::default(),
            deliveries_sending: Gauge::default(),
            clock_ahead: Gauge::default(),
            clock_wrong: Gauge::default(),
            clock_jumps: Gauge::default(),
            events_ahead: Gauge::default(),
            backup_age: Gauge::default(),
            backup_failed: Gauge::default(),
            registry: Mutex::default(),
        };
        let r = &mut registry;
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        r.register("build", "The program", version);
        r.register(
            "http_requests",
            "Requests by route and status",
            metrics.requests.clone(),
        );
        r.register_with_unit(
            "http_request_duration",
            "Time until the reply began",
            Unit::Seconds,
            metrics.durations.clone(),
        );
        r.register(
            "computers",
            "Live computers by status",
            metrics.computers.clone(),
        );
        r.register(
            "writes_waiting",
            "Writes that wait for the writer",
            metrics.waiting.clone(),
        );
        let commits = &store.signals().commits;
        r.register(
            "commit_writes",
            "Writes that shared a commit",
            commits.writes.clone(),
        );
        r.register_with_unit(
            "commit_duration",
            "Time from the begin of a commit until it was on disk",
            Unit::Seconds,
            commits.duration.clone(),
        );
        r.register_with_unit(
            "store_longest_turn",
            "Longest time for which the writer served nobody else",
            Unit::Seconds,
            metrics.longest_turn.clone(),
        );
        r.register_with_unit(
            "wal",
            "Size of the write-ahead log",
            Unit::Bytes,
            metrics.wal.clone(),
        );
        r.register_with_unit(
            "database",
            "Size of the database",
            Unit::Bytes,
            metrics.database.clone(),
        );
        r.register(
            "event_streams",
            "Live event streams",
            metrics.streams.clone(),
        );
        r.register(
            "webhook_deliveries",
            "Attempts to deliver to webhooks by result",
            outbox.results.clone(),
        );
        r.register(
            "webhook_deliveries_waiting",
            "Deliveries to webhooks that wait",
            metrics.deliveries_waiting.clone(),
        );
        r.register(
            "webhook_deliveries_sending",
            "Deliveries to webhooks that are under way",
            metrics.deliveries_sending.clone(),
        );
        r.register_with_unit(
            "clock_ahead",
            "By how much the wall clock jumped ahead and is not followed yet",
            Unit::Seconds,
            metrics.clock_ahead.clone(),
        );
        r.register(
            "clock_wrong",
            "1 while the clock shows a time before the program was built and nothing is metered",
            metrics.clock_wrong.clone(),
        );
        r.register(
            "clock_jumps",
            "How often the wall clock jumped, ahead or back",
            metrics.clock_jumps.clone(),
        );
        r.register(
            "events_ahead",
            "Compute events of the service that are dated ahead of the clock",
            metrics.events_ahead.clone(),
        );
        r.register_with_unit(
            "backup_age",
            "Age of the state that the last good backup holds; -1 = there is none",
            Unit::Seconds,
            metrics.backup_age.clone(),
        );
        r.register(
            "backup_failed",
            "1 while the last try to make a backup failed",
            metrics.backup_failed.clone(),
        );
        // A state and its usage are one commit, so there is nothing that could lag behind.
        let lag = Gauge::<i64>::default();
        r.register_with_unit(
            "meter_lag",
            "Age of the oldest event that is not metered",
            Unit::Seconds,
            lag,
        );
        *metrics.registry.lock() = registry;
        metrics
    }

    /// Counts a reply.
    pub fn count(
        &self,
        method: &Method,
        route: Option<&MatchedPath>,
        status: StatusCode,
        watch: &Stopwatch,
    ) {
        let route = route.map_or("none", MatchedPath::as_str);
        // The alias of one client is the same route.
        let route = route
            .strip_prefix("/api/v1/api/v1")
            .map_or_else(|| route.to_owned(), |rest| format!("/api/v1{rest}"));
        let method = match *method {
            Method::GET => "GET",
            Method::HEAD => "HEAD",
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::PATCH => "PATCH",
            Method::DELETE => "DELETE",
            Method::OPTIONS => "OPTIONS",
            _ => "other",
        };
        let seconds = watch.micros() as f64 / 1e6;
        self.durations
            .get_or_create(&Route {
                method,
                route: route.clone(),
            })
            .observe(seconds);
        let status = status.as_u16();
        self.requests
            .get_or_create(&Request {
                method,
                route,
                status,
            })
            .inc();
    }

    /// All of it in the text format; what is not counted as it happens is looked up now.
    pub async fn text(
        &self,
        store: &Store,
        streams: &Streams,
        outbox: &Outbox,
        backups: &Backups,
    ) -> Result<String> {
        let standing = backups::standing(backups).await?;
        let age = standing.age_seconds.unwrap_or(-1);
        self.backup_age.set(age as f64);
        self.backup_failed.set(i64::from(standing.failed));
        let sql = "SELECT status, count(*) FROM computers WHERE deleted_at IS NULL GROUP BY status";
        let (counts, waiting, ahead): (Vec<(String, i64)>, i64, i64) = store
            .read(move |tx| {
                let waiting = queue::waiting(tx)?;
                let mut statement = tx.prepare_cached(sql)?;
                let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
                let rows = rows.collect::<rusqlite::Result<_>>()?;
                Ok((rows, waiting, repair::count_ahead(tx)?))
            })
            .await?;
        for status in crate::rules::status::Status::ALL {
            let status = status.as_str();
            let count = counts.iter().find(|(of, _)| of == status);
            self.computers
                .get_or_create(&OfStatus {
                    status: status.to_owned(),
                })
                .set(count.map_or(0, |(_, count)| *count));
        }
        let gauge = |gauge: &Gauge, n: u64| {
            gauge.set(i64::try_from(n).unwrap_or(i64::MAX));
        };
        gauge(&self.waiting, store.writes_waiting() as u64);
        gauge(&self.streams, streams.count() as u64);
        let longest = &store.signals().commits.longest_turn;
        self.longest_turn
            .set(longest.load(Ordering::Relaxed) as f64 / 1e6);
        self.deliveries_waiting.set(waiting);
        self.events_ahead.set(ahead);
        let judged = store.clock().judge();
        self.clock_ahead.set(judged.ahead_ms as f64 / 1e3);
        self.clock_wrong.set(i64::from(judged.wrong));
        gauge(&self.clock_jumps, judged.jumps);
        gauge(&self.deliveries_sending, outbox.under_way() as u64);
        let size = |path: &Path| path.metadata().map_or(0, |m| m.len());
        let mut wal = store.path().as_os_str().to_owned();
        wal.push("-wal");
        gauge(&self.wal, size(Path::new(&wal)));
        gauge(&self.database, size(store.path()));
        let mut text = String::new();
        let registry = self.registry.lock();
        encode(&mut text, &registry).map_err(Error::internal)?;
        Ok(text)
    }
}
