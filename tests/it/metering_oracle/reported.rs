//! Histories of computers that an agent reports about.

use axum::http::Method;
use serde_json::{Value, json};
use workspaced::testing::Timestamp;
use workspaced::testing::{Config, ConfigFile};

use super::dice::Dice;
use super::question::Names;
use super::walk::{Agreed, Fact, Held, History, Prices, SIZES, usual_prices};
use super::{BASES, GRIDS, ask, default_project, make_workspaces, set_clock};
use crate::harness::{Service, at};

/// Reports of an agent, late, shuffled and repeated, with changes through the API between them.
pub fn reported(s: &Service, key: &str, seed: u64) {
    let mut dice = Dice::new(seed);
    let plan = Plan::random(&mut dice);
    let prices = (usual_prices(), Vec::new());
    history(s, key, &mut dice, &plan, prices, seed);
}

/// Prices that workspaces and the organization agree on while it goes on.
fn agreements(dice: &mut Dice, plan: &Plan) -> Vec<Agreed> {
    let length = usize::try_from(plan.ticks * plan.tick).unwrap();
    let mut all: Vec<Agreed> = (0..dice.below(8))
        .map(|_| Agreed {
            workspace: (!dice.one_in(3)).then(|| dice.below(3)),
            from: plan.base + 1 + i64::try_from(dice.below(length)).unwrap(),
            size: dice.below(SIZES.len()),
            rate: (!dice.one_in(4)).then(|| i128::try_from(dice.below(500)).unwrap()),
        })
        .collect();
    all.sort_by_key(|agreed| agreed.from);
    all.dedup_by_key(|agreed| agreed.from);
    all
}

/// Tells the service of an agreement: some ahead of their time, the others when it has come, as if it had
/// come long ago.
fn agree(s: &Service, agreed: &Agreed, names: &Names, ahead: bool) {
    let mut body = json!({ "rates": { SIZES[agreed.size].0: agreed.rate.map(|rate| i64::try_from(rate).unwrap()) } });
    if let Some(workspace) = agreed.workspace {
        body["workspace_id"] = names.workspaces[workspace].clone().into();
    }
    let from = if ahead {
        agreed.from
    } else {
        agreed.from - 86_400_000
    };
    body["effective_from"] = Timestamp(from).rfc3339_ms().into();
    s.post("/admin/rates", body).expect(200);
}

/// The same under a tariff that changes twice while it goes on, at any millisecond. Returns the
/// service, which has no other history.
pub fn priced(seed: u64) -> Service {
    let mut dice = Dice::new(seed);
    let plan = Plan::random(&mut dice);
    let mut prices = usual_prices();
    let mut text = String::new();
    let length = usize::try_from(plan.ticks * plan.tick).unwrap();
    let mut instants = [(); 2].map(|()| plan.base + 1 + i64::try_from(dice.below(length)).unwrap());
    instants.sort_unstable();
    instants[1] += i64::from(instants[0] == instants[1]);
    for (n, from) in instants.into_iter().enumerate() {
        let mut rates = prices[n].1;
        text += &format!(
            "[[rates]]\neffective_from = \"{}\"\n",
            Timestamp(from).rfc3339_ms()
        );
        for (size, (name, _)) in SIZES.iter().enumerate() {
            // A size in three goes on as it was.
            if !dice.one_in(3) {
                let rate = dice.below(500);
                rates[size] = i128::try_from(rate).unwrap();
                text += &format!("{name} = {rate}\n");
            }
        }
        prices.push((from, rates));
    }
    let s = Service::with(Config {
        file: ConfigFile::parse(&text).unwrap(),
        ..Config::default()
    });
    set_clock(&s, plan.base);
    apply_rates(&s);
    let key = s.key.clone();
    let agreed = agreements(&mut dice, &plan);
    history(&s, &key, &mut dice, &plan, (prices, agreed), seed);
    s
}

/// The job that follows the tariff.
fn apply_rates(s: &Service) {
    let app = s.app.clone();
    s.app
        .store
        .write_blocking(move |tx| workspaced::testing::rates::run(tx, &app.catalog))
        .unwrap();
}

/// When a history is, and how fine.
struct Plan {
    base: i64,
    tick: i64,
    ticks: i64,
}

impl Plan {
    fn random(dice: &mut Dice) -> Plan {
        let (tick, most) = *dice.pick(&GRIDS);
        let ticks = 20 + i64::try_from(dice.below(usize::try_from(most - 20).unwrap())).unwrap();
        let base = at(BASES[dice.below(BASES.len())]).0;
        Plan { base, tick, ticks }
    }
}

fn history(
    s: &Service,
    key: &str,
    dice: &mut Dice,
    plan: &Plan,
    (prices, mut agreed): (Prices, Vec<Agreed>),
    seed: u64,
) {
    let why = format!("reported history, ORACLE_SEED={seed}");
    let &Plan { base, tick, ticks } = plan;
    let changing = prices.len() > 1;
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

    agreed.retain(|agreed| {
        agreed
            .workspace
            .is_none_or(|workspace| workspace < names.workspaces.len())
    });
    let ahead: Vec<bool> = agreed.iter().map(|_| dice.one_in(2)).collect();
    for (agreed, _) in agreed.iter().zip(&ahead).filter(|(_, ahead)| **ahead) {
        agree(s, agreed, &names, true);
    }
    for (agreed, _) in agreed.iter().zip(&ahead).filter(|(_, ahead)| !**ahead) {
        set_clock(s, agreed.from);
        agree(s, agreed, &names, false);
        if dice.one_in(2) {
            apply_rates(s);
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
        if changing && dice.one_in(3) {
            apply_rates(s);
        }

        // Somebody resizes or moves a computer through the API in between.
        if dice.one_in(6) {
            let c = dice.below(count);
            let path = format!("/computers/{}", names.computers[c]);
            let before = s.call_as(key, Method::GET, &path, None);
            if before.status == 200 {
                let mut fact = Fact {
                    tick: ticks,
                    status: None,
                    size: None,
                    workspace: None,
                };
                if dice.one_in(2) {
                    let size = dice.below(SIZES.len());
                    // A fact also where it was so already: a late report says what was before it.
                    fact.size = Some(size);
                    let body = json!({ "size": SIZES[size].0 });
                    s.call_as(key, Method::POST, &format!("{path}/resize"), Some(body))
                        .expect(200);
                } else {
                    let to = dice.below(names.workspaces.len());
                    fact.workspace = Some(to);
                    let body = json!({ "workspace_id": names.workspaces[to] });
                    s.call_as(key, Method::POST, &format!("{path}/move"), Some(body))
                        .expect(200);
                }
                arrived[c].push(fact);
            }
        }
    }
    if changing && dice.one_in(2) {
        // And once more while computers run that were reported to.
        let now = Agreed {
            workspace: (!dice.one_in(3)).then(|| dice.below(names.workspaces.len())),
            from: as_of,
            size: dice.below(SIZES.len()),
            rate: (!dice.one_in(4)).then_some(77),
        };
        agree(s, &now, &names, false);
        agreed.push(now);
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
            s.call_as(&s.key, Method::POST, "/usage/adjustments", Some(body))
                .expect(201);
            corrections[workspace].push((when, i128::from(micros)));
        }
    }
    // Let what was just done through the API run on for a while.
    let more = i64::try_from(dice.below(40)).unwrap();
    let as_of = as_of + more * tick;
    set_clock(s, as_of);
    if changing {
        apply_rates(s);
    }
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
        prices,
        agreed,
    };
    ask(s, key, dice, &history, &names, ticks + more, &why);
}
