//! The oracle: a meter that walks time, tick by tick, and shares no code with the product, against
//! the API on thousands of random histories (USAGE §2, "Exact" and "Order-free").
//!
//! Every instant of a history lies on a grid, so that a walk in steps of the grid is exact. The grid
//! is a millisecond in one history and a quarter of an hour in another. `ORACLE_HISTORIES` sets how
//! many histories there are, `ORACLE_SEED` with which number they begin.

use std::collections::BTreeMap;

use axum::http::Method;
use serde_json::{Value, json};
use workspaced::api_keys::{KeyType, NewKey};
use workspaced::clock::Timestamp;
use workspaced::config::{Config, Delays};

use crate::harness::{Service, at};
use dice::Dice;
use question::{Names, Question};
use walk::{Fact, Held, History, QUARTER, SIZES, shown};

mod dice;
mod question;
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
        }
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

/// Reports of an agent, late, shuffled and repeated, with changes through the API between them.
fn reported(s: &Service, key: &str, operator: &str, seed: u64) {
    let mut dice = Dice::new(seed);
    let why = format!("reported history, ORACLE_SEED={seed}");
    let (tick, most) = *dice.pick(&GRIDS);
    let ticks = 20 + i64::try_from(dice.below(usize::try_from(most - 20).unwrap())).unwrap();
    let base = at(BASES[dice.below(BASES.len())]).0;
    set_clock(s, base);
    let workspaces = make_workspaces(s, key, 1 + dice.below(3), &format!("w{seed}"));
    let count = 1 + dice.below(3);
    let mut names = Names {
        projects: Vec::new(),
        computers: Vec::new(),
        workspaces,
    };
    let mut first = Vec::new();
    for c in 0..count {
        let (workspace, size) = (dice.below(names.workspaces.len()), dice.below(SIZES.len()));
        let body = json!({
            "name": format!("c{seed}-{c}"), "driver": "external", "size": SIZES[size].0,
            "workspace_id": names.workspaces[workspace],
        });
        let made = s
            .call_as(key, Method::POST, "/computers", Some(body))
            .expect(201);
        names
            .computers
            .push(made["id"].as_str().unwrap().to_owned());
        first.push(Held {
            running: false,
            dead: false,
            size,
            workspace,
        });
    }

    // What happened, and as what it is reported.
    let mut reports: Vec<(usize, Fact, Value)> = Vec::new();
    for c in 0..count {
        for n in 0..dice.below(14) {
            let when = i64::try_from(dice.below(usize::try_from(ticks).unwrap())).unwrap();
            // Often at the same instant as another, sometimes on the edge of an hour.
            let when = if dice.one_in(8) { when / 60 * 60 } else { when };
            let mut fact = Fact {
                tick: when,
                status: None,
                size: None,
                workspace: None,
            };
            let mut data = json!({});
            let kind = match dice.below(10) {
                0..=3 => "started",
                4..=5 => "stopped",
                6 => "errored",
                7 => "resized",
                8 => "moved",
                _ if dice.one_in(3) => "deleted",
                _ => "started",
            };
            if kind == "resized" || (kind == "started" && dice.one_in(4)) {
                let size = dice.below(SIZES.len());
                fact.size = Some(size);
                data["size"] = SIZES[size].0.into();
            }
            if kind == "moved" {
                let workspace = dice.below(names.workspaces.len());
                fact.workspace = Some(workspace);
                data["workspace_id"] = names.workspaces[workspace].clone().into();
            }
            fact.status = (kind != "resized" && kind != "moved").then_some(kind);
            let event = json!({
                "id": format!("e{seed}-{c}-{n}"), "type": format!("computer.{kind}"), "subject": names.computers[c],
                "time": Timestamp(base + when * tick).rfc3339_ms(), "data": data,
            });
            reports.push((c, fact, event));
        }
    }
    match dice.below(3) {
        0 => reports.sort_by_key(|(_, fact, _)| fact.tick),
        1 => dice.shuffle(&mut reports),
        _ => {
            // Mostly in order, some late.
            reports.sort_by_key(|(_, fact, _)| fact.tick);
            for _ in 0..reports.len() / 4 {
                let from = dice.below(reports.len());
                let late = reports.remove(from);
                let to = from + dice.below(reports.len() - from + 1);
                reports.insert(to, late);
            }
        }
    }

    let as_of = base + ticks * tick;
    set_clock(s, as_of);
    let mut arrived: Vec<Vec<Fact>> = vec![Vec::new(); count];
    let mut delivered: Vec<Value> = Vec::new();
    let mut reports = reports.into_iter().peekable();
    while reports.peek().is_some() {
        let mut batch = Vec::new();
        let mut new = 0;
        for _ in 0..=dice.below(9) {
            let Some((c, fact, event)) = reports.next() else {
                break;
            };
            arrived[c].push(fact);
            delivered.push(event.clone());
            batch.push(event);
            new += 1;
        }
        let repeats = dice.below(3);
        (0..repeats).for_each(|_| batch.push(dice.pick(&delivered).clone()));
        let reply = s
            .call_as(
                key,
                Method::POST,
                "/compute-events",
                Some(json!({ "events": batch })),
            )
            .expect(200);
        assert_eq!(reply["accepted"], new, "{why}: {reply}");
        assert_eq!(reply["duplicates"], repeats, "{why}: {reply}");
        assert_eq!(reply["rejected"], json!([]), "{why}");

        // Somebody resizes or moves a computer through the API in between.
        if dice.one_in(6) {
            let c = dice.below(count);
            let path = format!("/computers/{}", names.computers[c]);
            let before = s.call_as(key, Method::GET, &path, None);
            if before.status == 200 {
                let before = before.json();
                let mut fact = Fact {
                    tick: ticks,
                    status: None,
                    size: None,
                    workspace: None,
                };
                if dice.one_in(2) {
                    let size = dice.below(SIZES.len());
                    fact.size = (before["size"] != SIZES[size].0).then_some(size);
                    let body = json!({ "size": SIZES[size].0 });
                    s.call_as(key, Method::POST, &format!("{path}/resize"), Some(body))
                        .expect(200);
                } else {
                    let to = dice.below(names.workspaces.len());
                    fact.workspace =
                        (before["workspace_id"] != names.workspaces[to].as_str()).then_some(to);
                    let body = json!({ "workspace_id": names.workspaces[to] });
                    s.call_as(key, Method::POST, &format!("{path}/move"), Some(body))
                        .expect(200);
                }
                arrived[c].push(fact);
            }
        }
    }
    let mut corrections = vec![Vec::new(); names.workspaces.len()];
    for n in 0..dice.below(3) {
        let workspace = dice.below(names.workspaces.len());
        let when = i64::try_from(dice.below(usize::try_from(ticks).unwrap())).unwrap();
        let micros = i64::try_from(dice.below(4_000_001)).unwrap() - 2_000_000;
        if micros != 0 {
            let body = json!({
                "workspace_id": names.workspaces[workspace], "amount_micros": micros, "reason": format!("no. {n}"),
                "at": Timestamp(base + when * tick).rfc3339_ms(),
            });
            s.call_as(operator, Method::POST, "/usage/adjustments", Some(body))
                .expect(201);
            corrections[workspace].push((when, i128::from(micros)));
        }
    }
    // Let what was just done through the API run on for a while.
    let more = i64::try_from(dice.below(40)).unwrap();
    let as_of = as_of + more * tick;
    set_clock(s, as_of);
    names.projects = names
        .workspaces
        .iter()
        .map(|id| default_project(s, key, id))
        .collect();
    let held = arrived
        .into_iter()
        .zip(&first)
        .map(|(facts, first)| History::walk(facts, *first, ticks + more + 60));
    let history = History {
        base,
        tick,
        held: held.collect(),
        corrections,
    };
    ask(s, key, &mut dice, &history, &names, ticks + more, &why);
}

/// Computers of the built-in driver, moved about through the API under a clock that also steps back.
fn driven(s: &Service, key: &str, tick: i64, seed: u64) {
    let mut dice = Dice::new(seed);
    let why = format!("driven history, ORACLE_SEED={seed}");
    let base = at(BASES[dice.below(BASES.len())]).0;
    let mut now = 0;
    set_clock(s, base);
    let workspaces = make_workspaces(s, key, 1 + dice.below(2), &format!("d{seed}"));
    let mut names = Names {
        projects: Vec::new(),
        computers: Vec::new(),
        workspaces,
    };
    // Of each computer: what was reported as a fact, its status, when it arrives, its last event.
    let mut facts: Vec<Vec<Fact>> = Vec::new();
    let mut status: Vec<&str> = Vec::new();
    let mut due: Vec<Option<i64>> = Vec::new();
    let mut last: Vec<i64> = Vec::new();
    let mut place: Vec<usize> = Vec::new();
    let mut size: Vec<usize> = Vec::new();
    let mut first = Vec::new();
    let fact = |tick| Fact {
        tick,
        status: None,
        size: None,
        workspace: None,
    };
    for step in 0..6 + dice.below(14) {
        // Time goes on, or the wall clock is set back.
        let jump = i64::try_from(dice.below(30)).unwrap();
        now = if step > 2 && dice.one_in(7) {
            (now - jump).max(0)
        } else {
            now + jump
        };
        s.travel_to(Timestamp(base + now * tick));
        loop {
            let next = (0..due.len())
                .filter(|c| due[*c].is_some_and(|d| d <= now))
                .min_by_key(|c| due[*c]);
            let Some(c) = next else { break };
            let when = due[c].take().unwrap().max(last[c]);
            last[c] = when;
            let up = status[c] != "stopping";
            status[c] = if up { "running" } else { "stopped" };
            facts[c].push(Fact {
                status: Some(if up { "started" } else { "stopped" }),
                ..fact(when)
            });
        }
        if names.computers.is_empty() || (names.computers.len() < 3 && dice.one_in(4)) {
            let (workspace, kind) = (dice.below(names.workspaces.len()), dice.below(SIZES.len()));
            let body = json!({
                "name": format!("d{seed}-{step}"), "size": SIZES[kind].0, "workspace_id": names.workspaces[workspace],
            });
            let made = s
                .call_as(key, Method::POST, "/computers", Some(body))
                .expect(201);
            names
                .computers
                .push(made["id"].as_str().unwrap().to_owned());
            first.push(Held {
                running: false,
                dead: false,
                size: kind,
                workspace,
            });
            facts.push(Vec::new());
            status.push("provisioning");
            due.push(Some(now + 1));
            last.push(now);
            place.push(workspace);
            size.push(kind);
            continue;
        }
        let c = dice.below(names.computers.len());
        if status[c] == "destroyed" {
            continue;
        }
        let path = format!("/computers/{}", names.computers[c]);
        let when = now.max(last[c]);
        let post = |what: &str, body: Value| {
            s.call_as(key, Method::POST, &format!("{path}/{what}"), Some(body))
        };
        match (dice.below(8), status[c]) {
            (0 | 1, "running") => {
                post("stop", json!({})).expect(200);
                (status[c], due[c], last[c]) = ("stopping", Some(when + 1), when);
                facts[c].push(Fact {
                    status: Some("stopped"),
                    ..fact(when)
                });
            }
            (2, "running") => {
                post("restart", json!({})).expect(200);
                (status[c], due[c], last[c]) = ("starting", Some(when + 1), when);
                facts[c].push(Fact {
                    status: Some("stopped"),
                    ..fact(when)
                });
            }
            (0..=2, "stopped") => {
                post("start", json!({})).expect(200);
                (status[c], due[c], last[c]) = ("starting", Some(when + 1), when);
            }
            (3 | 4, _) => {
                let to = dice.below(SIZES.len());
                post("resize", json!({ "size": SIZES[to].0 })).expect(200);
                if to != size[c] {
                    (size[c], last[c]) = (to, when);
                    facts[c].push(Fact {
                        size: Some(to),
                        ..fact(when)
                    });
                }
            }
            (5 | 6, _) => {
                let to = dice.below(names.workspaces.len());
                post("move", json!({ "workspace_id": names.workspaces[to] })).expect(200);
                if to != place[c] {
                    (place[c], last[c]) = (to, when);
                    facts[c].push(Fact {
                        workspace: Some(to),
                        ..fact(when)
                    });
                }
            }
            (7, _) if dice.one_in(2) => {
                s.call_as(key, Method::DELETE, &path, None).expect(200);
                (status[c], due[c], last[c]) = ("destroyed", None, when);
                facts[c].push(Fact {
                    status: Some("deleted"),
                    ..fact(when)
                });
            }
            _ => {}
        }
    }
    now = last
        .iter()
        .chain(due.iter().flatten())
        .copied()
        .max()
        .unwrap_or(0)
        .max(now)
        + 20;
    s.travel_to(Timestamp(base + now * tick));
    for c in 0..due.len() {
        if let Some(d) = due[c] {
            let up = status[c] != "stopping";
            facts[c].push(Fact {
                status: Some(if up { "started" } else { "stopped" }),
                ..fact(d.max(last[c]))
            });
        }
    }
    names.projects = names
        .workspaces
        .iter()
        .map(|id| default_project(s, key, id))
        .collect();
    let held = facts
        .into_iter()
        .zip(&first)
        .map(|(facts, first)| History::walk(facts, *first, now + 60));
    let history = History {
        base,
        tick,
        held: held.collect(),
        corrections: vec![Vec::new(); names.workspaces.len()],
    };
    ask(s, key, &mut dice, &history, &names, now, &why);
}

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
        .read_blocking(workspaced::usage::verify)
        .unwrap();
    assert!(found.ok, "{found}");
    assert!(found.events > 0);
}

fn shard(n: u64) {
    let share = setting("ORACLE_HISTORIES", 5200) / SHARDS;
    let first = setting("ORACLE_SEED", 1) + n * 1_000_000;
    let reports = share * 3 / 5;
    let per_service = 100;
    for start in (0..reports).step_by(per_service) {
        let s = Service::new();
        let keys = [
            s.key.clone(),
            s.other_tenant("beta").0,
            s.other_tenant("gamma").0,
        ];
        for seed in (start..reports.min(start + per_service as u64)).map(|i| first + i) {
            reported(&s, &keys[usize::try_from(seed % 3).unwrap()], &s.key, seed);
        }
        verified(&s);
    }
    let driver = share - reports;
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
    };
    let read = |ticks| shown(history(ticks).whole(0, 10_000_000));
    assert_eq!(read(3_600_000), [30, 30_000_000, 10_000, 3_600_000]);
    assert_ne!(read(3_600_000), read(3_599_999));
    let sizes: BTreeMap<_, _> = SIZES.into_iter().collect();
    assert_eq!(sizes["small"], 30);
}
