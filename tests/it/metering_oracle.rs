//! The oracle: a meter that walks time, tick by tick, and shares no code with the product, against
//! the API on random histories (metering.md, "exact" and "independent of order").
//!
//! Every instant of a history lies on a grid, so that a walk in steps of the grid is exact. The grid
//! is a millisecond in one history and a quarter of an hour in another. Half of the histories are
//! reported by an agent, a tenth too but under a tariff that changes, the others are driven.
//! `ORACLE_HISTORIES` sets how many there are: 2,000 every day, 5,200 and more by hand. `ORACLE_SEED` sets with which
//! number they begin.

use std::collections::BTreeMap;

use axum::http::Method;
use serde_json::json;
use workspaced::testing::KeyType;
use workspaced::testing::NewKey;
use workspaced::testing::Timestamp;
use workspaced::testing::{Config, Delays};

use crate::harness::{Service, at};
use dice::Dice;
use driven::driven;
use question::{Names, Question, check_metrics};
use reported::{priced, reported};
use walk::{Held, History, QUARTER, SIZES, shown, usual_prices};

mod dice;
mod driven;
mod question;
mod reported;
mod walk;

fn set_clock(s: &Service, t: i64) {
    s.clock.set(Timestamp(t));
}

/// The project that computers of a workspace go to when they name none.
fn default_project(s: &Service, key: &str, workspace: &str) -> String {
    let list = s
        .call_as(
            key,
            Method::GET,
            &format!("/workspaces/{workspace}/projects"),
            None,
        )
        .expect(200);
    list["data"]
        .as_array()
        .unwrap()
        .first()
        .map_or(String::new(), |p| p["id"].as_str().unwrap().to_owned())
}

fn make_workspaces(s: &Service, key: &str, n: usize, name: &str) -> Vec<String> {
    let make = |i| {
        let body = json!({ "name": format!("{name} {i}") });
        let made = s
            .call_as(key, Method::POST, "/workspaces", Some(body))
            .expect(201);
        made["id"].as_str().unwrap().to_owned()
    };
    (0..n).map(make).collect()
}

fn ask(
    s: &Service,
    key: &str,
    dice: &mut Dice,
    history: &History,
    names: &Names,
    ticks: i64,
    why: &str,
) {
    for (n, id) in names.workspaces.iter().enumerate() {
        for _ in 0..2 {
            let question = Question::random(dice, history, ticks);
            let path = format!("/workspaces/{id}/usage?{}", question.query);
            let why = format!("{why} {path}");
            let reply = s.call_as(key, Method::GET, &path, None).expect(200);
            question.check(history, n, &reply, &why);
            if dice.one_in(2) {
                let by = dice.pick(&["computer", "project", "size"]);
                let path = format!("{path}&group_by={by}");
                let reply = s.call_as(key, Method::GET, &path, None).expect(200);
                question.check(history, n, &reply, &why);
                question.check_groups(history, n, by, names, &reply, &why);
            }
            if dice.one_in(2) {
                let (bucket, query) = question.why(dice);
                let path = format!("/workspaces/{id}/usage/explain?{query}");
                let reply = s.call_as(key, Method::GET, &path, None).expect(200);
                question.check_why(history, n, bucket, &reply, &format!("{why}: {path}"));
            }
        }
    }
    let computer = dice.below(names.computers.len());
    let path = format!("/computers/{}/metrics?window=7d", names.computers[computer]);
    let reply = s.call_as(key, Method::GET, &path, None);
    // A deleted computer has no page of its own any more.
    if reply.status != 404 {
        let as_of = history.at(ticks);
        let why = format!("{why} {path}");
        check_metrics(history, computer, as_of, &reply.expect(200), &why);
    }
}

/// Days on which clocks change somewhere, and quiet ones.
const BASES: [&str; 10] = [
    "2026-09-26T10:00:00Z",
    "2026-03-07T20:00:00Z",
    "2026-10-31T22:00:00Z",
    "2026-03-28T23:00:00Z",
    "2026-04-04T12:00:00Z",
    "2026-10-03T11:00:00Z",
    "2026-09-05T22:00:00Z",
    "2026-06-10T00:00:00Z",
    "2026-06-30T23:30:00Z",
    "2026-12-20T07:15:00Z",
];

/// (grid in milliseconds, longest history in steps of it)
const GRIDS: [(i64, i64); 6] = [
    (1, 900),
    (250, 900),
    (1000, 900),
    (60_000, 900),
    (300_000, 900),
    (QUARTER, 3000),
];

#[expect(
    clippy::disallowed_methods,
    reason = "how long a test runs is the tester's choice"
)]
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Histories altogether; a shard runs its part of them.
const SHARDS: u64 = 4;

/// After the last history, so that nothing of any is still ahead of the clock.
fn verified(s: &Service) {
    s.travel_to(at("2027-06-01T00:00:00Z"));
    let found = s
        .app
        .store
        .read_blocking(workspaced::testing::verify)
        .unwrap();
    assert!(found.ok, "{found}");
    assert!(found.events > 0);
}

/// Histories of both kinds in one organization, checked against the walk as they are made.
pub fn histories(s: &Service, key: &str, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        if seed % 2 == 0 {
            reported(s, key, seed);
        } else {
            driven(s, key, 1000, seed);
        }
    }
}

fn shard(n: u64) {
    let share = setting("ORACLE_HISTORIES", 2000) / SHARDS;
    let first = setting("ORACLE_SEED", 1) + n * 1_000_000;
    let (reports, prices) = (share / 2, share / 10);
    let per_service = 100;
    for start in (0..reports).step_by(per_service) {
        let s = Service::new();
        let keys = [
            s.key.clone(),
            s.other_tenant("beta").0,
            s.other_tenant("gamma").0,
        ];
        for seed in (start..reports.min(start + per_service as u64)).map(|i| first + i) {
            reported(&s, &keys[usize::try_from(seed % 3).unwrap()], seed);
        }
        verified(&s);
    }
    (0..prices).for_each(|i| verified(&priced(first + 250_000 + i)));
    let driver = share - reports - prices;
    for (grid, tick) in [1000, 250, 60_000, 900_000].into_iter().enumerate() {
        let s = Service::with(Config {
            delays: Delays {
                provision_ms: tick,
                start_ms: tick,
                stop_ms: tick,
            },
            ..Config::default()
        });
        let (other, _, _) = s.tenant(
            "beta",
            NewKey {
                key_type: KeyType::Admin,
                ..NewKey::named("first")
            },
        );
        for seed in (0..driver)
            .filter(|i| i % 4 == grid as u64)
            .map(|i| first + 500_000 + i)
        {
            driven(&s, if seed % 2 == 0 { &s.key } else { &other }, tick, seed);
        }
        verified(&s);
    }
}

#[test]
fn the_meter_equals_a_walk_through_time_shard_1() {
    shard(0);
}

#[test]
fn the_meter_equals_a_walk_through_time_shard_2() {
    shard(1);
}

#[test]
fn the_meter_equals_a_walk_through_time_shard_3() {
    shard(2);
}

#[test]
fn the_meter_equals_a_walk_through_time_shard_4() {
    shard(3);
}

/// The oracle itself finds what is wrong: a meter that is off by a millisecond does not pass.
#[test]
fn the_oracle_sees_a_millisecond() {
    let held = Held {
        running: true,
        dead: false,
        size: 1,
        workspace: 0,
    };
    let history = |ticks| History {
        base: 0,
        tick: 1,
        held: vec![vec![held; ticks]],
        corrections: vec![Vec::new()],
        prices: usual_prices(),
        agreed: Vec::new(),
    };
    let read = |ticks| shown(history(ticks).whole(0, 10_000_000));
    assert_eq!(read(3_600_000), [30, 30_000_000, 10_000, 3_600_000]);
    assert_ne!(read(3_600_000), read(3_599_999));
    let sizes: BTreeMap<_, _> = SIZES.into_iter().collect();
    assert_eq!(sizes["small"], 30);
}
