//! `GET /metrics`: what this process does, in the text format that Prometheus reads.
//!
//! Requests are counted by the route's template, never by its path: a label per id would grow for
//! ever. What can be read off the state (computers, queue, files) is read when it is asked for.

use std::path::Path;
use std::sync::atomic::Ordering;

use axum::extract::MatchedPath;
use axum::http::{Method, StatusCode};
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::engine::{self, EngineView};
use crate::backups::{self, Backups};
use crate::clock::{Stopwatch, Timestamp};
use crate::computers::Fleet;
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
    counted: Mutex<Registry>,
    requests: Family<Request, Counter>,
    durations: Histograms,
}

/// From a tenth of a millisecond to about seven seconds.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 17))
}

fn registry() -> Registry {
    Registry::with_prefix("workspaced")
}

impl Metrics {
    /// Counts what happens from now on.
    pub fn new(store: &Store, outbox: &Outbox) -> Self {
        let requests = Family::default();
        let durations = Histograms::new_with_constructor(seconds);
        let commits = &store.signals().commits;
        let mut r = registry();
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        r.register("build", "The program", version);
        let help = "Requests by route and status";
        r.register("http_requests", help, requests.clone());
        let help = "Time until the reply began";
        r.register_with_unit(
            "http_request_duration",
            help,
            Unit::Seconds,
            durations.clone(),
        );
        let help = "Writes that shared a commit";
        r.register("commit_writes", help, commits.writes.clone());
        let help = "Time from the begin of a commit until it was on disk";
        r.register_with_unit(
            "commit_duration",
            help,
            Unit::Seconds,
            commits.duration.clone(),
        );
        let help = "Attempts to deliver to webhooks by result";
        r.register("webhook_deliveries", help, outbox.results.clone());
        Metrics {
            counted: Mutex::new(r),
            requests,
            durations,
        }
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
        fleet: &Fleet,
    ) -> Result<String> {
        let mut read = registry();
        self::computers(&mut read, store).await?;
        for gauge in gauges(store, streams, outbox, backups).await? {
            gauge.register(&mut read);
        }
        if let Some(engine) = engine::view(store, fleet).await? {
            for gauge in of_engine(&engine, store.now()) {
                gauge.register(&mut read);
            }
        }
        let mut text = String::new();
        encode_registry(&mut text, &self.counted.lock()).map_err(Error::internal)?;
        encode_registry(&mut text, &read).map_err(Error::internal)?;
        encode_eof(&mut text).map_err(Error::internal)?;
        Ok(text)
    }
}

async fn computers(registry: &mut Registry, store: &Store) -> Result<()> {
    let sql = "SELECT status, count(*) FROM computers WHERE deleted_at IS NULL GROUP BY status";
    let counts: Vec<(String, i64)> = store
        .read(move |tx| {
            let mut statement = tx.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await?;
    let computers: Family<OfStatus, Gauge> = Family::default();
    for status in crate::rules::status::Status::ALL {
        let status = status.as_str();
        let count = counts.iter().find(|(of, _)| of == status);
        let label = OfStatus {
            status: status.to_owned(),
        };
        let count = count.map_or(0, |(_, count)| *count);
        computers.get_or_create(&label).set(count);
    }
    registry.register("computers", "Live computers by status", computers);
    Ok(())
}

/// One number as it is now.
enum Reading {
    Count(i64),
    Bytes(u64),
    Seconds(f64),
}

/// Name, help, value.
struct Number(&'static str, &'static str, Reading);

impl Number {
    fn register(self, registry: &mut Registry) {
        let Number(name, help, reading) = self;
        match reading {
            Reading::Count(n) => registry.register(name, help, ConstGauge::new(n)),
            Reading::Bytes(n) => {
                let n = i64::try_from(n).unwrap_or(i64::MAX);
                registry.register_with_unit(name, help, Unit::Bytes, ConstGauge::new(n));
            }
            Reading::Seconds(n) => {
                registry.register_with_unit(name, help, Unit::Seconds, ConstGauge::new(n));
            }
        }
    }
}

/// A line for each number about the container engine, where one runs computers.
fn of_engine(engine: &EngineView, now: Timestamp) -> Vec<Number> {
    use Reading::{Count, Seconds};
    let age = |at: Option<Timestamp>| at.map_or(-1.0, |at| (now.0 - at.0) as f64 / 1e3);
    let count = |n: usize| Count(i64::try_from(n).unwrap_or(i64::MAX));
    vec![
        Number(
            "engine_up",
            "1 while the container engine answers and runs a container",
            Count((engine.state == "up").into()),
        ),
        Number(
            "machines_pending",
            "Machines of which something was asked that is not done",
            Count(engine.pending),
        ),
        Number(
            "machines_faults",
            "Machines with which something is wrong",
            Count(engine.faults),
        ),
        Number(
            "machines_orphans",
            "Containers of this installation that belong to no computer",
            count(engine.orphans),
        ),
        Number(
            "machines_look_age",
            "Time since all containers were last looked at; -1 = never",
            Seconds(age(engine.looked_at)),
        ),
        Number(
            "machines_heartbeat_age",
            "Time since all machines were last seen to run that should, which a loss of power does not bill; -1 = never",
            Seconds(age(engine.seen_at)),
        ),
        Number(
            "machines_terminals",
            "Terminals that are open",
            count(engine.terminals),
        ),
    ]
}

/// A line for each number that is looked up when it is asked for.
async fn gauges(
    store: &Store,
    streams: &Streams,
    outbox: &Outbox,
    backups: &Backups,
) -> Result<Vec<Number>> {
    use Reading::{Bytes, Count, Seconds};
    let backup = backups::standing(backups).await?;
    let (waiting, ahead) = store
        .read(|tx| Ok((queue::waiting(tx)?, repair::count_ahead(tx)?)))
        .await?;
    let longest_turn = store.signals().commits.longest_turn.load(Ordering::Relaxed);
    let clock = store.clock().judge();
    let size = |path: &Path| path.metadata().map_or(0, |m| m.len());
    let mut log = store.path().as_os_str().to_owned();
    log.push("-wal");
    let count = |n: usize| Count(i64::try_from(n).unwrap_or(i64::MAX));
    Ok(vec![
        Number(
            "writes_waiting",
            "Writes that wait for the writer",
            count(store.writes_waiting()),
        ),
        Number(
            "store_longest_turn",
            "Longest time for which the writer served nobody else",
            Seconds(longest_turn as f64 / 1e6),
        ),
        Number(
            "wal",
            "Size of the write-ahead log",
            Bytes(size(Path::new(&log))),
        ),
        Number(
            "database",
            "Size of the database",
            Bytes(size(store.path())),
        ),
        Number(
            "event_streams",
            "Live event streams",
            count(streams.count()),
        ),
        Number(
            "webhook_deliveries_waiting",
            "Deliveries to webhooks that wait",
            Count(waiting),
        ),
        Number(
            "webhook_deliveries_sending",
            "Deliveries to webhooks that are under way",
            count(outbox.under_way()),
        ),
        Number(
            "clock_ahead",
            "By how much the wall clock jumped ahead and is not followed yet",
            Seconds(clock.ahead_ms as f64 / 1e3),
        ),
        Number(
            "clock_wrong",
            "1 while the clock shows a time before the program was built and nothing is metered",
            Count(clock.wrong.into()),
        ),
        Number(
            "clock_jumps",
            "How often the wall clock jumped, ahead or back",
            Count(i64::try_from(clock.jumps).unwrap_or(i64::MAX)),
        ),
        Number(
            "events_ahead",
            "Compute events of the service that are dated ahead of the clock",
            Count(ahead),
        ),
        Number(
            "backup_age",
            "Age of the state that the last good backup holds; -1 = there is none",
            Seconds(backup.age_seconds.unwrap_or(-1) as f64),
        ),
        Number(
            "backup_failed",
            "1 while the last try to make a backup failed",
            Count(backup.failed.into()),
        ),
        // A state and its usage are one commit, so there is nothing that could lag behind.
        Number(
            "meter_lag",
            "Age of the oldest event that is not metered",
            Seconds(0.0),
        ),
    ])
}
