//! Histories of computers that the built-in driver runs.

use axum::http::Method;
use serde_json::{Value, json};
use workspaced::testing::Timestamp;

use super::dice::Dice;
use super::question::Names;
use super::walk::{Fact, Held, History, SIZES, usual_prices};
use super::{BASES, ask, default_project, make_workspaces, set_clock};
use crate::harness::{Service, at};

/// Computers of the built-in driver, moved about through the API under a clock that also steps back.
pub fn driven(s: &Service, key: &str, tick: i64, seed: u64) {
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
        prices: usual_prices(),
        agreed: Vec::new(),
    };
    ask(s, key, &mut dice, &history, &names, now, &why);
}
