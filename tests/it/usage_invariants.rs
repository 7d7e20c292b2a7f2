//! The invariants of metering.md as properties, each under its name, over random histories: three
//! computers of an agent, two workspaces, two days. That the numbers are also the right ones is the
//! oracle's business (`metering_oracle`).

use proptest::prelude::*;
use rusqlite::{Connection, StatementStatus};
use serde_json::{Value, json};
use workspaced::testing::Store;
use workspaced::testing::{Clock, Timestamp};
use workspaced::testing::{rebuild, verify};

use crate::harness::{Service, at};
use crate::usage::{HOUR, event, external, service_at, total_ms, usage};
use crate::usage_store::dumps;

const START: &str = "2026-06-01T00:00:00Z";
const MINUTES: i64 = 2 * 24 * 60;
const SIZES: [&str; 3] = ["xs", "small", "large"];

/// What happened to a computer at a minute of its own.
#[derive(Clone, Debug)]
struct Fact {
    computer: usize,
    minute: i64,
    kind: &'static str,
    /// A size or a workspace, where the kind has one.
    number: usize,
}

/// Facts in random order. No two of one computer at one instant: there, the order of arrival decides.
fn facts() -> impl Strategy<Value = Vec<Fact>> {
    let kind = prop::sample::select(vec![
        "started", "started", "started", "stopped", "errored", "resized", "moved", "deleted",
    ]);
    let one = (0..3_usize, 0..MINUTES, kind, 0..3_usize);
    prop::collection::vec(one, 1..30).prop_map(|rows| {
        let mut seen = std::collections::BTreeSet::new();
        rows.into_iter()
            .filter(|row| seen.insert((row.0, row.1)))
            .map(|(computer, minute, kind, number)| Fact {
                computer,
                minute,
                kind,
                number,
            })
            .collect()
    })
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

struct World {
    s: Service,
    workspaces: [String; 2],
    computers: [String; 3],
}

impl World {
    /// A clock two days and some after the start; nothing is reported yet.
    fn new() -> World {
        let s = service_at(START);
        let workspaces = ["A", "B"].map(|name| s.workspace(name));
        let computers = SIZES.map(|size| external(&s, &workspaces[0], size));
        s.clock.set(at("2026-06-03T04:05:06.007Z"));
        World {
            s,
            workspaces,
            computers,
        }
    }

    fn with(facts: &[Fact]) -> World {
        let world = World::new();
        world.report(facts);
        world
    }

    fn report(&self, facts: &[Fact]) {
        let events: Vec<Value> = facts.iter().map(|fact| self.event(fact)).collect();
        let reply = self.s.post("/compute-events", json!({ "events": events }));
        assert_eq!(reply.expect(200)["rejected"], json!([]));
    }

    fn event(&self, fact: &Fact) -> Value {
        let data = match fact.kind {
            "resized" => json!({ "size": SIZES[fact.number] }),
            "moved" => json!({ "workspace_id": self.workspaces[fact.number % 2] }),
            _ => json!({}),
        };
        let time = at(START).plus_seconds(60 * fact.minute).rfc3339();
        let id = format!("{}-{}", fact.computer, fact.minute);
        event(&id, fact.kind, &self.computers[fact.computer], &time, data)
    }

    /// The usage of both workspaces, without what differs from one installation to the next.
    fn both(&self, query: &str) -> Vec<Value> {
        let one = |w: &String| {
            let mut reply = usage(&self.s, w, query);
            reply["workspace_id"] = Value::Null;
            reply
        };
        self.workspaces.iter().map(one).collect()
    }

    fn verified(&self) {
        let found = self.s.app.store.read_blocking(verify).unwrap();
        assert!(found.ok, "{found}");
    }
}

const NUMBERS: [&str; 3] = ["compute_ms", "credits_micros", "credits_used"];

/// The integers of a bucket, or with `total_` of a reply; hours in ten-thousandths.
fn numbers(of: &Value, prefix: &str) -> [i64; 4] {
    let [ms, micros, credits] = NUMBERS.map(|name| of[format!("{prefix}{name}")].as_i64().unwrap());
    let hours = of[format!("{prefix}compute_hours")].as_f64().unwrap();
    #[expect(clippy::cast_possible_truncation, reason = "hours of two days")]
    [ms, micros, credits, (hours * 10_000.0).round() as i64]
}

fn sum<'a>(buckets: impl IntoIterator<Item = &'a Value>) -> [i64; 4] {
    buckets.into_iter().fold([0; 4], |sum, bucket| {
        let more = numbers(bucket, "");
        std::array::from_fn(|i| sum[i] + more[i])
    })
}

fn buckets(reply: &Value) -> &Vec<Value> {
    reply["series"].as_array().unwrap()
}

proptest! {
    #![proptest_config(cases(16))]

    #[test]
    fn atomic_state_and_usage_commit_together(facts in facts()) {
        let world = World::new();
        for fact in &facts {
            world.report(std::slice::from_ref(fact));
            world.verified();
        }
        // What a crash would leave behind: the files as they are.
        let copy = tempfile::TempDir::new().unwrap();
        for name in ["workspaced.db", "workspaced.db-wal"] {
            std::fs::copy(world.s.dir.path().join(name), copy.path().join(name)).unwrap();
        }
        let path = copy.path().join("workspaced.db");
        let store = Store::open(&path, world.s.clock.clone(), 1).unwrap();
        let found = store.read_blocking(verify).unwrap();
        store.close();
        prop_assert!(found.ok && found.events >= facts.len() as i64, "{}", found);
    }

    #[test]
    fn exact_a_series_sums_to_its_totals(facts in facts()) {
        let world = World::with(&facts);
        for query in ["", "window=7d", "window=30d&granularity=day", "window=7d&tz=Asia/Kathmandu"] {
            for reply in world.both(query) {
                prop_assert_eq!(sum(buckets(&reply)), numbers(&reply, "total_"), "{}", query);
            }
        }
    }

    #[test]
    fn independent_of_granularity_are_all_totals(facts in facts()) {
        let world = World::with(&facts);
        for zone in ["UTC", "America/New_York", "Asia/Kolkata"] {
            let query = |granularity| format!("window=7d&granularity={granularity}&tz={zone}");
            for (hours, days) in world.both(&query("hour")).iter().zip(world.both(&query("day"))) {
                prop_assert_eq!(numbers(hours, "total_"), numbers(&days, "total_"));
                for day in buckets(&days).windows(2) {
                    let of_day = |hour: &&Value| hour["ts"].as_str() >= day[0]["ts"].as_str() && hour["ts"].as_str() < day[1]["ts"].as_str();
                    // The window may start inside the first hour of the first day.
                    if day[0]["partial"] == false {
                        prop_assert_eq!(sum(buckets(hours).iter().filter(of_day)), numbers(&day[0], ""), "{}", zone);
                    }
                }
            }
        }
    }

    #[test]
    fn stable_a_bucket_that_has_ended_stays_as_it_is(facts in facts(), later in 1..100_000_i64) {
        let world = World::with(&facts);
        let whole = |reply: &Value| -> Vec<Value> {
            buckets(reply).iter().filter(|b| b["partial"] == false).cloned().collect()
        };
        let before: Vec<_> = world.both("window=7d").iter().map(whole).collect();
        // The clock goes on, windows move, the meter is rebuilt and the service starts again.
        world.s.clock.set(world.s.app.store.now().plus_seconds(later));
        for round in 0..2 {
            for query in ["window=30d", "from=2026-06-01T00:00:00.001Z"] {
                for (reply, before) in world.both(query).iter().zip(&before) {
                    let now = whole(reply);
                    let kept: Vec<_> = before.iter().filter(|b| b["ts"].as_str() >= now[0]["ts"].as_str()).collect();
                    prop_assert!(kept.iter().all(|b| now.contains(b)), "{} {}", round, query);
                }
            }
            world.s.app.store.write_blocking(rebuild).unwrap();
        }
        let copy = tempfile::TempDir::new().unwrap();
        for name in ["workspaced.db", "workspaced.db-wal"] {
            std::fs::copy(world.s.dir.path().join(name), copy.path().join(name)).unwrap();
        }
        let store = Store::open(&copy.path().join("workspaced.db"), Clock::manual(world.s.app.store.now()), 1).unwrap();
        let [after, now] = [&store, &world.s.app.store].map(|store| format!("{:?}", store.read_blocking(verify).unwrap()));
        store.close();
        prop_assert_eq!(after, now);
    }

    #[test]
    fn independent_of_order_the_arrival_leaves_no_trace(facts in facts(), sizes in prop::collection::vec(1..7_usize, 30)) {
        let mut in_order = facts.clone();
        in_order.sort_by_key(|fact| fact.minute);
        let (one, other) = (World::with(&in_order), World::new());
        // Shuffled, in batches, and each batch twice.
        let mut rest = facts.as_slice();
        for size in sizes {
            let (batch, later) = rest.split_at(size.min(rest.len()));
            if !batch.is_empty() {
                other.report(batch);
                other.report(batch);
            }
            rest = later;
        }
        prop_assert!(rest.is_empty() || facts.len() > 30);
        for query in ["window=7d", "window=7d&group_by=size", "window=24h&granularity=day"] {
            prop_assert_eq!(one.both(query), other.both(query), "{}", query);
        }
        for n in 0..3 {
            let [a, b] = [&one, &other].map(|w| {
                let list = w.s.get("/usage/sessions").expect(200);
                let mine = list["data"].as_array().unwrap().iter().filter(|r| r["computer_id"] == w.computers[n].as_str());
                mine.map(|r| (r["started_at"].clone(), r["ended_at"].clone(), r["credits_micros"].clone())).collect::<Vec<_>>()
            });
            prop_assert_eq!(a, b);
        }
        other.verified();
    }

    #[test]
    fn additive_windows_parts_and_places_add_up(facts in facts(), cut in 1..MINUTES * 60_000) {
        let world = World::with(&facts);
        let (start, middle, end) = (at(START), at(START).plus_ms(cut), at("2026-06-03T00:00:00Z"));
        let window = |a: Timestamp, b: Timestamp| format!("from={}&to={}", a.rfc3339_ms(), b.rfc3339_ms());
        let [first, second, both] = [(start, middle), (middle, end), (start, end)].map(|(a, b)| world.both(&window(a, b)));
        for n in 0..2 {
            let (a, b, c) = (numbers(&first[n], "total_"), numbers(&second[n], "total_"), numbers(&both[n], "total_"));
            prop_assert_eq!(std::array::from_fn(|i| a[i] + b[i]), c);
        }
        for by in ["computer", "project", "size"] {
            for reply in world.both(&format!("{}&group_by={by}", window(start, end))) {
                let parts = reply["groups"].as_array().unwrap().iter().map(|g| numbers(g, "total_"));
                let sum = parts.fold([0; 4], |sum, part| std::array::from_fn(|i| sum[i] + part[i]));
                prop_assert_eq!(sum, numbers(&reply, "total_"), "{}", by);
            }
        }
        // Had nobody moved, the time would all be in one place, and as long.
        let stayed: Vec<Fact> = facts.iter().filter(|fact| fact.kind != "moved").cloned().collect();
        if !stayed.is_empty() {
            let unmoved = World::with(&stayed);
            let total = |w: &World| -> i64 { w.workspaces.iter().map(|id| total_ms(&w.s, id, "window=7d")).sum() };
            prop_assert_eq!(total(&world), total(&unmoved));
        }
    }

    #[test]
    fn rebuildable_is_what_is_derived_row_for_row(facts in facts()) {
        let world = World::with(&facts);
        let before = dumps(&world.s);
        world.s.app.store.write_blocking(rebuild).unwrap();
        prop_assert_eq!(dumps(&world.s), before);
        world.verified();
    }
}

/// Steps of SQLite's machine that the series of a month takes, where each of `hours` hours before
/// now saw `events` events of each of `computers` computers.
fn steps_of_a_month(hours: i64, events: i64, computers: i64) -> i64 {
    let s = service_at("2026-06-20T10:30:00Z");
    let w = s.workspace("A");
    let now = s.app.store.now().0;
    s.app
        .store
        .write_blocking(move |tx| {
            tx.execute(
                "WITH RECURSIVE
                 hours(h) AS (SELECT 1 UNION ALL SELECT h + 1 FROM hours WHERE h < ?2),
                 events(e) AS (SELECT 1 UNION ALL SELECT e + 1 FROM events WHERE e < ?3),
                 computers(c) AS (SELECT 1 UNION ALL SELECT c + 1 FROM computers WHERE c < ?4)
                 INSERT INTO compute_events (tenant_id, workspace_id, project_id, computer_id, type, at, recorded_at,
                     status, billable, size, rate)
                 SELECT w.tenant_id, w.id, w.id, cast(printf('%016d', c) AS BLOB), 'test', at, at,
                     iif(e % 2, 'running', 'stopped'), e % 2, 'small', 30
                 FROM (SELECT c, e, ?1 - h * 3600000 + e * 1000 + c AS at FROM hours, events, computers)
                     JOIN workspaces w ON w.name = 'A'
                 ORDER BY at",
                (now, hours, events, computers),
            )?;
            rebuild(tx)
        })
        .unwrap();
    let shown = usage(&s, &w, "window=30d");
    assert!(shown["total_compute_ms"].as_i64().unwrap() >= 720 * 1000);
    let conn = Connection::open(s.app.store.path()).unwrap();
    let mut series = conn
        .prepare(include_str!("../../src/usage/meter/series.sql"))
        .unwrap();
    let start = now - 720 * HOUR;
    let id: Vec<u8> = conn
        .query_row("SELECT id FROM workspaces WHERE name = 'A'", [], |row| {
            row.get(0)
        })
        .unwrap();
    let era = start - start.rem_euclid(336 * HOUR);
    let mut rows = series
        .query(rusqlite::named_params! {
            ":workspace": id, ":era": era, ":hour": start - start.rem_euclid(HOUR), ":end": now,
        })
        .unwrap();
    let mut count = 0;
    while rows.next().unwrap().is_some() {
        count += 1;
    }
    drop(rows);
    assert!(count >= 720, "every hour has a row: {count}");
    series.get_status(StatementStatus::VmStep).into()
}

#[test]
fn flat_a_series_costs_by_its_buckets_alone() {
    let few = steps_of_a_month(1_100, 2, 1);
    let many = steps_of_a_month(1_100, 20, 3);
    assert_eq!(few, many, "thirty times the events");
    let years = steps_of_a_month(2 * 8_760, 2, 1);
    assert!(
        years * 10 <= few * 13,
        "two years: {years} steps, six weeks: {few}"
    );
}
