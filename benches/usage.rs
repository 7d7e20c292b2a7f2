//! What the meter costs: a series over ten thousand, a million and ten million events, the same
//! question in plain SQL over the raw events, and ingest with durable commits.
//!
//! `cargo bench --bench usage` takes two minutes; `BENCH_EVENTS=10000,1000000,10000000` is the full
//! run: it needs 10 GB of disk and builds its databases for some minutes first. They are under
//! target/tmp and go with the run, unless `BENCH_KEEP` is set: then they are used again.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use rusqlite::{Connection, params};
use tower::ServiceExt;

use workspaced::testing::App;
use workspaced::testing::NewKey;
use workspaced::testing::{Actor, router, tenants};
use workspaced::testing::{Clock, DAY_MS, Timestamp};
use workspaced::testing::{Config, ConfigFile};
use workspaced::testing::{PeriodQuery, SeriesQuery, read_series};
use workspaced::testing::{SCHEMA, Store};
use workspaced::testing::{TenantId, WorkspaceId};

/// Off every boundary, so that both edges of a window lie inside an hour that is full of events.
const NOW: &str = "2026-06-20T10:07:13.377Z";
/// A month, and a little before its window.
const MONTH_DAYS: i64 = 31;
const FIVE_YEARS_DAYS: i64 = 5 * 365;

fn main() {
    divan::main();
    for (case, bytes) in SIZES.lock().unwrap().iter() {
        println!("{case}: {bytes}");
    }
    if setting("BENCH_KEEP").is_none() {
        DATA.lock()
            .unwrap()
            .values()
            .for_each(|data| data.store.close());
        let _ = std::fs::remove_dir_all(folders());
    }
}

static SIZES: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

#[expect(
    clippy::disallowed_methods,
    reason = "how much is measured is the measurer's choice"
)]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn counts() -> Vec<i64> {
    let text = setting("BENCH_EVENTS").unwrap_or_else(|| "10000,1000000".into());
    text.split(',')
        .map(|n| n.trim().parse().expect("BENCH_EVENTS is a list of numbers"))
        .collect()
}

// ---------------------------------------------------------------------------------------------
// Series

/// One workspace full of events.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Case {
    events: i64,
    computers: i64,
    days: i64,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let history = if self.days == MONTH_DAYS {
            "a month"
        } else {
            "five years"
        };
        write!(
            f,
            "{} events, {} computer(s), {history}",
            self.events, self.computers
        )
    }
}

fn cases() -> Vec<Case> {
    let case = |days| counts().into_iter().map(move |events| (events, days));
    let both = case(MONTH_DAYS).chain(case(FIVE_YEARS_DAYS));
    both.flat_map(|(events, days)| {
        [1, 1000].map(|computers| Case {
            events,
            computers,
            days,
        })
    })
    .collect()
}

struct Data {
    store: Store,
    tenant: TenantId,
    workspace: WorkspaceId,
}

static DATA: LazyLock<Mutex<BTreeMap<Case, &'static Data>>> = LazyLock::new(Mutex::default);

fn data(case: Case) -> &'static Data {
    let mut all = DATA.lock().unwrap();
    all.entry(case)
        .or_insert_with(|| Box::leak(Box::new(open(case))))
}

/// Below it are the databases of one schema.
fn folders() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-usage")
}

/// Where the databases of this schema are; those of other schemas go.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let mut hash = std::hash::DefaultHasher::new();
    [SCHEMA, STEPS, HOURS, ERAS, COMPUTERS].hash(&mut hash);
    let all = folders();
    let folder = all.join(format!("{:016x}", hash.finish()));
    if !folder.exists() {
        let _ = std::fs::remove_dir_all(&all);
        std::fs::create_dir_all(&folder).unwrap();
    }
    folder
});

const STEPS: &str = include_str!("../src/usage/ledger/rebuild/steps.sql");
const HOURS: &str = include_str!("../src/usage/ledger/rebuild/hours.sql");
const ERAS: &str = include_str!("../src/usage/ledger/rebuild/eras.sql");
const COMPUTERS: &str = include_str!("../src/usage/ledger/rebuild/computers.sql");

fn open(case: Case) -> Data {
    let name = format!("{}-{}-{}", case.events, case.computers, case.days);
    let (path, building) = (
        FOLDER.join(format!("{name}.db")),
        FOLDER.join(format!("{name}.building")),
    );
    if !path.exists() {
        let _ = std::fs::remove_file(&building);
        build(case, &building);
        std::fs::rename(&building, &path).unwrap();
    }
    let now = Timestamp::parse(NOW).unwrap();
    let store = Store::open(&path, Clock::manual(now), 1).unwrap();
    let found = store.read_blocking(|tx| {
        Ok(
            tx.query_row("SELECT tenant_id, id FROM workspaces", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?,
        )
    });
    let (tenant, workspace) = found.unwrap();
    Data {
        store,
        tenant,
        workspace,
    }
}

/// Each event turns one computer on or off, evenly over the days before now. The rows are inserted
/// in bulk; the meter is built from them by the same statements as `workspaced rebuild-usage`.
fn build(case: Case, path: &Path) {
    let now = Timestamp::parse(NOW).unwrap();
    let store = Store::open(path, Clock::manual(now), 1).unwrap();
    let file = ConfigFile::default();
    let new = store.write_blocking(move |tx| {
        tenants::insert(tx, &file, Actor::Operator, "b", "b", 0, NewKey::operator())
    });
    let new = new.unwrap();
    store.close();

    let mut conn = Connection::open(path).unwrap();
    conn.execute_batch(
        "PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000; PRAGMA temp_store = FILE",
    )
    .unwrap();
    let before = pages(&conn);
    let tx = conn.transaction().unwrap();
    let mut insert = tx
        .prepare(
            "INSERT INTO compute_events (tenant_id, workspace_id, project_id, computer_id, type, at, recorded_at,
                 status, billable, size, rate, stated)
             VALUES (?1, ?2, ?2, ?3, ?4, ?5, ?5, ?6, ?7, 'small', 30, 1)",
        )
        .unwrap();
    let span = case.days * DAY_MS;
    for n in 0..case.events {
        let mut computer = [0; 16];
        computer[8..].copy_from_slice(&(n % case.computers).to_be_bytes());
        let at = now.0 - span + n * span / case.events;
        let running = (n / case.computers) % 2 == 0;
        let status = if running { "running" } else { "stopped" };
        let kind = format!("computer.{status}");
        insert
            .execute(params![
                new.id,
                new.default_workspace,
                computer,
                kind,
                at,
                status,
                running
            ])
            .unwrap();
    }
    drop(insert);
    for (table, sql) in [
        ("metered_computers", COMPUTERS),
        ("meter_steps", STEPS),
        ("meter_hours", HOURS),
        ("meter_eras", ERAS),
    ] {
        tx.execute(&format!("INSERT INTO {table} SELECT * FROM ({sql})"), [])
            .unwrap();
    }
    tx.commit().unwrap();
    let bytes = (pages(&conn) - before) * 4096;
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    SIZES.lock().unwrap().insert(
        case.to_string(),
        format!("{} bytes an event on disk", bytes / case.events),
    );
}

fn pages(conn: &Connection) -> i64 {
    conn.query_row("PRAGMA page_count", [], |row| row.get(0))
        .unwrap()
}

/// A series as the handler reads it, with the way to a reader thread and back.
fn series(bencher: Bencher<'_, '_>, case: Case, window: &'static str, granularity: &'static str) {
    let data = data(case);
    bencher.bench_local(|| {
        let period = PeriodQuery {
            window: window.into(),
            granularity: granularity.into(),
            ..PeriodQuery::default()
        };
        let (tenant, workspace) = (data.tenant, data.workspace);
        black_box(
            data.store
                .read_blocking(move |tx| {
                    read_series(tx, tenant, workspace, &period, &SeriesQuery::default())
                })
                .unwrap(),
        )
    });
}

#[divan::bench(args = cases(), sample_count = 300)]
fn series_24h_hour(bencher: Bencher<'_, '_>, case: Case) {
    series(bencher, case, "24h", "hour");
}

#[divan::bench(args = cases(), sample_count = 300)]
fn series_7d_day(bencher: Bencher<'_, '_>, case: Case) {
    series(bencher, case, "7d", "day");
}

#[divan::bench(args = cases(), sample_count = 300)]
fn series_30d_hour(bencher: Bencher<'_, '_>, case: Case) {
    series(bencher, case, "30d", "hour");
}

/// 30d by the hour from the raw events: the intervals by a window function, cut at the hours.
const RAW: &str = "
WITH RECURSIVE
stints AS (
    SELECT max(at, ?2) AS start,
           min(coalesce(lead(at) OVER (PARTITION BY computer_id ORDER BY at, seq), ?3), ?3) AS stop, billable, rate
    FROM compute_events WHERE workspace_id = ?1 AND at < ?3
),
pieces AS (
    SELECT start - start % 3600000 AS hour, start, stop, rate FROM stints WHERE billable = 1 AND stop > start
    UNION ALL
    SELECT hour + 3600000, start, stop, rate FROM pieces WHERE hour + 3600000 < stop
)
SELECT hour, sum(min(stop, hour + 3600000) - max(start, hour)) AS ms,
       sum((min(stop, hour + 3600000) - max(start, hour)) * rate) AS credit_ms
FROM pieces GROUP BY hour ORDER BY hour";

fn raw_cases() -> Vec<Case> {
    cases()
        .into_iter()
        .filter(|case| case.events <= 1_000_000 && case.days == MONTH_DAYS)
        .collect()
}

#[divan::bench(args = raw_cases(), sample_count = 3, sample_size = 1)]
fn raw_sql_30d_hour(bencher: Bencher<'_, '_>, case: Case) {
    let data = data(case);
    bencher.bench_local(|| {
        let workspace = data.workspace;
        let rows = data.store.read_blocking(move |tx| {
            let mut statement = tx.prepare_cached(RAW)?;
            let range = (workspace, tx.now().plus_ms(-30 * DAY_MS), tx.now());
            Ok(statement
                .query_map(range, |row| row.get::<_, i64>(1))?
                .collect::<Result<Vec<_>, _>>()?)
        });
        black_box(rows.unwrap())
    });
}

// ---------------------------------------------------------------------------------------------
// Ingest

/// A service with a thousand computers of an agent, and its next event.
struct Agent {
    runtime: tokio::runtime::Runtime,
    router: Router,
    store: Store,
    key: String,
    computers: Vec<String>,
    next: std::cell::Cell<i64>,
}

impl Agent {
    fn new(name: &str) -> Agent {
        let path = FOLDER.join(format!("{name}.db"));
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", path.display()));
        }
        let now = Timestamp::parse(NOW).unwrap();
        let clock = Clock::manual(now.plus_ms(-20 * DAY_MS));
        let store = Store::open(&path, clock.clone(), 1).unwrap();
        let file = ConfigFile::default();
        let new = store.write_blocking(move |tx| {
            tenants::insert(tx, &file, Actor::Operator, "b", "b", 0, NewKey::operator())
        });
        let router = router(App::new(store.clone(), Config::default()));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let key = new.unwrap().key.secret().to_owned();
        let mut agent = Agent {
            runtime,
            router,
            store,
            key,
            computers: Vec::new(),
            next: 0.into(),
        };
        for n in 0..1000 {
            let body = format!(r#"{{"name":"pc {n}","driver":"external"}}"#);
            let reply = agent.runtime.block_on(agent.post("/computers", body));
            agent
                .computers
                .push(reply["id"].as_str().unwrap().to_owned());
        }
        clock.set(now);
        agent
    }

    fn post(&self, path: &str, body: String) -> impl Future<Output = serde_json::Value> + 'static {
        use http_body_util::BodyExt;
        let request = Request::post(format!("/api/v1{path}"))
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/json")
            .body(Body::from(body))
            .unwrap();
        let router = self.router.clone();
        async move {
            let reply = router.oneshot(request).await.unwrap();
            assert!(reply.status().is_success(), "{}", reply.status());
            serde_json::from_slice(&reply.into_body().collect().await.unwrap().to_bytes()).unwrap()
        }
    }

    /// A batch in the order of time, computer after computer.
    fn batch(&self, size: i64) -> String {
        use std::fmt::Write;
        let mut body = String::from(r#"{"events":["#);
        for n in self.next.get()..self.next.get() + size {
            let comma = if body.ends_with('[') { "" } else { "," };
            let computer = &self.computers[usize::try_from(n % 1000).unwrap()];
            let kind = if (n / 1000) % 2 == 0 {
                "started"
            } else {
                "stopped"
            };
            let time =
                Timestamp(Timestamp::parse(NOW).unwrap().0 - 19 * DAY_MS + n * 50).rfc3339_ms();
            let _ = write!(
                body,
                r#"{comma}{{"id":"event-{n}","type":"computer.{kind}","subject":"{computer}","time":"{time}"}}"#
            );
        }
        self.next.set(self.next.get() + size);
        body + "]}"
    }

    fn size(&self) -> i64 {
        let pages = self.store.read_blocking(|tx| Ok(pages(tx))).unwrap();
        pages * 4096
    }
}

/// One caller, one batch after another, each acknowledged when it is on disk.
#[divan::bench(args = [1, 100, 10_000], sample_count = 20)]
fn ingest_batches_of(bencher: Bencher<'_, '_>, size: i64) {
    let agent = Agent::new(&format!("ingest-{size}"));
    let before = agent.size();
    bencher
        .counter(ItemsCount::new(u64::try_from(size).unwrap()))
        .with_inputs(|| agent.batch(size))
        .bench_local_values(|body| {
            black_box(agent.runtime.block_on(agent.post("/compute-events", body)))
        });
    if agent.next.get() > 10_000 {
        let bytes = (agent.size() - before) / agent.next.get();
        SIZES.lock().unwrap().insert(
            format!("ingest in batches of {size}"),
            format!("{bytes} bytes an event on disk"),
        );
    }
    agent.store.close();
}

/// 64 callers with one event each: they share commits.
#[divan::bench(sample_count = 20)]
fn ingest_of_64_callers(bencher: Bencher<'_, '_>) {
    let agent = Agent::new("ingest-callers");
    bencher
        .counter(ItemsCount::new(64_u64))
        .with_inputs(|| (0..64).map(|_| agent.batch(1)).collect::<Vec<_>>())
        .bench_local_values(|bodies| {
            let callers: Vec<_> = bodies
                .into_iter()
                .map(|body| agent.post("/compute-events", body))
                .collect();
            agent.runtime.block_on(async {
                for caller in callers.into_iter().map(tokio::spawn).collect::<Vec<_>>() {
                    black_box(caller.await.unwrap());
                }
            });
        });
    agent.store.close();
}
