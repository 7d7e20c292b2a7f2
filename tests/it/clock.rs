//! A wall clock that lies: ahead, behind, for a moment or for long.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use workspaced::testing::{
    Clock, Config, DAY_MS, Delays, Timestamp, Wall, bring_all_nearer, built, by_computer, misdated,
    put_right, verify,
};

use crate::harness::{Answer, Service};
use crate::usage::{event, external};

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const YEARS: i64 = 14 * 365 * DAY_MS;

/// A service by a wall clock that begins `ahead` of the right time, with transitions that take no time.
struct Lied {
    s: Service,
    wall: Arc<Wall>,
    workspace: String,
}

impl Lied {
    fn ahead_by(ahead: i64) -> Lied {
        let wall = Wall::told(right().plus_ms(ahead));
        let delays = Delays {
            provision_ms: 0,
            start_ms: 0,
            stop_ms: 0,
        };
        let config = Config {
            delays,
            ..Config::default()
        };
        let s = Service::by(Clock::Told(wall.clone()), config);
        let workspace = s.workspace("Clinic");
        s.put(
            &format!("/workspaces/{workspace}/settings"),
            json!({ "default_auto_stop_seconds": 600 }),
        )
        .expect(200);
        Lied { s, wall, workspace }
    }

    /// Time passes; what falls due happens.
    fn pass(&self, ms: i64) {
        self.wall.pass(ms, ms);
        self.s.run_due();
    }

    /// Time passes; what is due waits.
    fn pass_quietly(&self, ms: i64) {
        self.wall.pass(ms, ms);
        self.s.app.store.now();
    }

    /// The wall clock is set, in no time.
    fn set(&self, by: i64) {
        self.wall.pass(0, by);
        // What the loop of jobs does.
        let app = self.s.app.clone();
        let nearer =
            move |tx: &workspaced::testing::WriteTx<'_>| bring_all_nearer(tx, &app.fleet, 500);
        self.s.app.store.write_blocking(nearer).unwrap();
        self.s.run_due();
    }

    fn computer(&self, name: &str) -> String {
        let body = json!({ "name": name, "workspace_id": self.workspace, "size": "small" });
        let made = self.s.post("/computers", body).expect(201);
        self.s.run_due();
        made["id"].as_str().unwrap().to_owned()
    }

    fn act(&self, computer: &str, what: &str) {
        self.s
            .post(&format!("/computers/{computer}/{what}"), json!({}))
            .expect(200);
        self.s.run_due();
    }

    fn status(&self, computer: &str) -> Value {
        self.s.get(&format!("/computers/{computer}")).expect(200)["status"].clone()
    }

    /// Milliseconds of compute up to now.
    fn used(&self) -> i64 {
        let path = format!("/workspaces/{}/usage?window=30d", self.workspace);
        self.s.get(&path).expect(200)["total_compute_ms"]
            .as_i64()
            .unwrap()
    }

    fn verified(&self) -> i64 {
        let found = self.s.app.store.read_blocking(verify).unwrap();
        assert!(found.ok, "{found}");
        found.ahead
    }
}

fn get(s: &Service, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(path).header("host", "box.test:8400");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    s.send(request.body(Body::empty()).unwrap())
}

fn metrics(s: &Service) -> String {
    let bearer = format!("Bearer {}", s.key);
    get(s, "/metrics", &[("authorization", &bearer)]).text
}

fn right() -> Timestamp {
    built().plus_ms(10 * DAY_MS + 12_345)
}

#[test]
fn a_clock_that_is_ahead_for_two_seconds_stops_nothing() {
    for ahead in [HOUR, YEARS] {
        let l = Lied::ahead_by(0);
        let c = l.computer("pc");
        l.pass(MINUTE);
        l.set(ahead);
        l.pass(2 * SECOND);
        assert_eq!(l.status(&c), "running");
        let health = get(&l.s, "/health", &[]).expect(200);
        assert!(
            health["clock"].as_str().unwrap().contains("jumped ahead"),
            "{health}"
        );
        assert_eq!(health["status"], "ok");
        let ready = get(&l.s, "/readyz", &[]).expect(200);
        assert!(
            ready["warnings"][0]
                .as_str()
                .unwrap()
                .contains("jumped ahead"),
            "{ready}"
        );
        // What is done meanwhile is dated as if nothing had happened.
        let other = l.computer("other");
        l.set(-ahead);
        assert_eq!(l.status(&c), "running");
        l.pass(MINUTE);
        assert_eq!(l.used(), 2 * MINUTE + 2 * SECOND + MINUTE);
        for computer in [c, other] {
            l.act(&computer, "stop");
            assert_eq!(l.status(&computer), "stopped");
        }
        let used = l.used();
        l.pass(HOUR);
        assert_eq!(l.used(), used);
        assert_eq!(l.verified(), 0);
    }
}

#[test]
fn a_clock_that_stays_ahead_is_followed() {
    let l = Lied::ahead_by(0);
    let c = l.computer("pc");
    l.set(HOUR);
    l.pass(9 * MINUTE);
    assert_eq!(l.status(&c), "running");
    l.pass(MINUTE);
    assert_eq!(l.status(&c), "stopped", "it has lasted");
    assert_eq!(l.used(), 10 * MINUTE, "dated at its deadline");
}

/// The clock is ahead from the start, and set right after computers went through their lives by it.
#[test]
fn what_happens_after_the_clock_is_set_right_holds_at_once() {
    for ahead in [MINUTE, HOUR, 365 * DAY_MS, YEARS] {
        let l = Lied::ahead_by(ahead);
        let [runs, stopped, started, gone] =
            ["runs", "stopped", "started", "gone"].map(|n| l.computer(n));
        l.pass(SECOND);
        l.act(&stopped, "stop");
        l.act(&started, "stop");
        l.act(&started, "start");
        l.pass(SECOND);
        l.set(-ahead);
        assert_eq!(l.status(&runs), "running");
        // Each is touched once.
        l.act(&runs, "stop");
        l.act(&stopped, "start");
        assert_eq!(l.status(&stopped), "running");
        l.act(&started, "restart");
        l.s.delete(&format!("/computers/{gone}")).expect(200);
        assert_eq!(l.verified(), 0, "ahead by {ahead}");
        let before = l.used();
        l.pass(MINUTE);
        assert_eq!(l.used() - before, 2 * MINUTE, "two run: {ahead}");
        l.act(&started, "stop");
        l.act(&stopped, "stop");
        assert_eq!(l.status(&stopped), "stopped");
        let listed = l.s.get(&format!("/computers/{stopped}/events")).expect(200);
        assert!(listed["total"].as_i64().unwrap() >= 3, "{listed}");
        // When the time comes that was shown then, nothing comes back.
        let before = l.used();
        l.pass(20 * MINUTE);
        l.pass(ahead);
        assert_eq!(l.verified(), 0);
        if ahead <= HOUR {
            assert_eq!(l.used(), before);
        }
        let shown = l.s.get(&format!("/computers/{stopped}")).expect(200);
        assert_eq!(shown["status"], "stopped");
        if ahead <= HOUR {
            let events =
                l.s.get(&format!("/computers/{stopped}/events"))
                    .expect(200)
                    .to_string();
            assert!(events.contains("computer.voided"), "{events}");
        }
    }
}

#[test]
fn what_was_due_by_a_clock_that_was_ahead_is_not_far_away() {
    let l = Lied::ahead_by(HOUR);
    let c = l.computer("pc");
    l.set(-HOUR);
    l.pass(9 * MINUTE);
    assert_eq!(l.status(&c), "running");
    l.pass(MINUTE);
    assert_eq!(
        l.status(&c),
        "stopped",
        "its idle time began when the clock was set"
    );
    assert_eq!(l.verified(), 0);

    // On its way somewhere, with transitions that take a second.
    let wall = Wall::told(right().plus_ms(YEARS));
    let s = Service::by(Clock::Told(wall.clone()), Config::default());
    let w = s.workspace("w");
    let c = s.computer(&w, "small");
    wall.pass(0, -YEARS);
    s.post(&format!("/computers/{c}/stop"), json!({}))
        .expect(200);
    let shown = s.get(&format!("/computers/{c}")).expect(200);
    assert_eq!(shown["status"], "stopping");
    let now = s.app.store.now().rfc3339();
    assert!(
        shown["created_at"].as_str().unwrap() <= now.as_str(),
        "{shown}"
    );
    wall.pass(SECOND, SECOND);
    s.run_due();
    assert_eq!(
        s.get(&format!("/computers/{c}")).expect(200)["status"],
        "stopped"
    );
    let found = s.app.store.read_blocking(verify).unwrap();
    assert!(found.ok && found.ahead == 0, "{found}");
}

#[test]
fn repair_clock_puts_events_where_they_belong() {
    let l = Lied::ahead_by(0);
    let never = json!({ "default_auto_stop_seconds": 0 });
    l.s.put(&format!("/workspaces/{}/settings", l.workspace), never)
        .expect(200);
    let old = l.computer("old");
    let oldest = l.computer("oldest");
    l.act(&oldest, "stop");
    l.pass(10 * SECOND);
    // It lasts, and so is followed.
    l.set(YEARS);
    l.pass(10 * MINUTE);
    let since = l.s.app.store.now().plus_ms(-YEARS);
    assert!(since > right());
    let new = l.computer("new");
    l.pass(MINUTE);
    l.act(&new, "stop");
    l.act(&oldest, "start");
    l.act(&old, "stop");
    l.s.delete(&format!("/computers/{old}")).expect(200);
    l.pass(MINUTE);
    l.set(-YEARS);
    let ahead = l.verified();
    assert!(ahead >= 6, "{ahead}");
    assert!(l.s.get("/usage/verify").expect(200)["ahead"] == ahead);
    let system = l.s.get("/system").expect(200);
    assert!(system["events_ahead"].as_i64().unwrap() > 0, "{system}");
    let text = metrics(&l.s);
    assert!(!text.contains("workspaced_events_ahead 0"), "{text}");
    assert!(text.contains("workspaced_clock_jumps 2"), "{text}");

    let found =
        l.s.app
            .store
            .read_blocking(move |tx| misdated(tx, since))
            .unwrap();
    assert_eq!(i64::try_from(found.len()).unwrap(), ahead);
    let (app, computers) = (l.s.app.clone(), by_computer(found));
    l.s.app
        .store
        .write_blocking(move |tx| put_right(tx, &app.fleet, &computers))
        .unwrap();
    assert_eq!(l.verified(), 0);
    let again =
        l.s.app
            .store
            .read_blocking(move |tx| misdated(tx, since))
            .unwrap();
    assert!(again.is_empty(), "{again:?}");
    // What happened first under the wrong clock happened at `since`: the distances are those of then.
    let total = |computer: &str| {
        let path = format!("/usage/sessions?computer_id={computer}");
        let sessions = l.s.get(&path).expect(200);
        sessions["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|session| session["duration_ms"].as_i64().unwrap())
            .sum::<i64>()
    };
    assert_eq!(total(&new), MINUTE);
    assert_eq!(total(&old), 10 * SECOND + 11 * MINUTE);
    let shown = l.s.get(&format!("/computers/{new}")).expect(200);
    let now = l.s.app.store.now().rfc3339();
    for field in ["created_at", "updated_at", "started_at"] {
        assert!(
            shown[field].as_str().unwrap() <= now.as_str(),
            "{field}: {shown}"
        );
    }
    let used = l.used();
    l.pass(MINUTE);
    assert_eq!(l.used() - used, MINUTE, "only what was started runs");
}

#[test]
fn a_clock_before_the_build_meters_nothing_and_reads_go_on() {
    let wall = Wall::told(Timestamp::parse("2016-02-03T04:05:06Z").unwrap());
    let s = Service::by(Clock::Told(wall.clone()), Config::default());
    let w = s.workspace("Clinic");
    let body = json!({ "name": "pc", "workspace_id": w });
    let why = s
        .post("/computers", body.clone())
        .refused(503, "CLOCK_WRONG");
    assert!(
        why.contains("2016-02-03") && why.contains("set it"),
        "{why}"
    );
    let correction = json!({ "workspace_id": w, "amount_micros": 1, "reason": "r" });
    s.post("/usage/adjustments", correction)
        .refused(503, "CLOCK_WRONG");
    assert_eq!(s.get("/computers").expect(200)["total"], 0);
    let projects = s.get("/projects").expect(200);
    assert_eq!(projects["total"], 0, "nothing was changed");
    assert!(
        s.get("/system").expect(200)["clock_fault"]
            .as_str()
            .unwrap()
            .contains("2016")
    );
    // By itself, when it is right.
    wall.pass(SECOND, right().0 - s.app.store.now().0);
    s.post("/computers", body).expect(201);
    assert_eq!(s.get("/system").expect(200)["clock_fault"], Value::Null);
    assert_eq!(s.app.store.now(), right());
}

#[test]
fn an_agent_whose_clock_is_a_little_behind_is_heard() {
    let wall = Wall::told(right());
    let s = Service::by(Clock::Told(wall.clone()), Config::default());
    let w = s.workspace("w");
    let made = |ms: i64| {
        wall.pass(ms, ms);
        let c = external(&s, &w, "small");
        let shown = s.get(&format!("/computers/{c}")).expect(200)["created_at"].clone();
        (c, s.app.store.now(), shown.as_str().unwrap().to_owned())
    };
    let report = |id: &str, computer: &str, time: &str| {
        let events = json!({ "events": [event(id, "started", computer, time, json!({}))] });
        s.post("/compute-events", events)
    };
    // Whole seconds, as this API shows them; and behind by two seconds, and by five minutes.
    for (n, behind) in [0, 200, 2 * SECOND, 5 * MINUTE].into_iter().enumerate() {
        let (c, created, shown) = made(1_437);
        assert_ne!(created.0 % 1000, 0);
        let time = match behind {
            0 => shown,
            ms => created.plus_ms(-ms).rfc3339_ms(),
        };
        let id = format!("r{n}");
        let reply = report(&id, &c, &time).expect(200);
        assert_eq!(reply["accepted"], 1, "{reply}");
        let moved = json!([{
            "id": id,
            "time": Timestamp::parse(&time).unwrap().rfc3339_ms(),
            "at": created.rfc3339_ms(),
        }]);
        assert_eq!(reply["moved"], moved, "told");
        let events = s.get(&format!("/computers/{c}/events")).expect(200);
        assert_eq!(events["data"][0]["at"], created.rfc3339_ms());
        assert_eq!(events["data"][0]["type"], "computer.started");
        // The same again is the same.
        let again = report(&id, &c, &time).expect(200);
        assert_eq!(
            (&again["accepted"], &again["duplicates"]),
            (&json!(0), &json!(1))
        );
    }
    let (c, created, _) = made(10 * MINUTE);
    let early = created.plus_ms(-5 * MINUTE - 1).rfc3339_ms();
    let why = report("early", &c, &early).refused(422, "VALIDATION_FAILED");
    assert!(
        why.contains("5 minutes before the computer was created"),
        "{why}"
    );
    let fine = report("fine", &c, &created.rfc3339_ms()).expect(200);
    assert!(fine.get("moved").is_none(), "{fine}");
    // The clock of this server jumped and may be right: the agent is asked to come again.
    wall.pass(0, HOUR);
    let (now, far) = (
        created.plus_ms(HOUR).rfc3339_ms(),
        created.plus_ms(3 * HOUR).rfc3339_ms(),
    );
    report("jumped", &c, &now).refused(503, "CLOCK_JUMPED");
    report("jumped", &c, &far).refused(422, "VALIDATION_FAILED");
    wall.pass(10 * MINUTE, 10 * MINUTE);
    report("jumped", &c, &now).expect(200);
}

/// Whoever reads the time: after the clock was wrong for seconds, all is as if it had not been.
#[test]
fn a_clock_that_lied_for_seconds_leaves_everybody_as_they_were() {
    const YEAR: i64 = 365 * DAY_MS;
    const JUMPS: [i64; 6] = [MINUTE, HOUR, YEAR, -MINUTE, -HOUR, -YEAR];
    for (by, restarted) in JUMPS.into_iter().flat_map(|by| [(by, false), (by, true)]) {
        let case = format!("by {by} ms, restarted: {restarted}");
        let mut l = Lied::ahead_by(0);
        let runs = l.computer("runs");
        let tomorrow = l.s.app.store.now().plus_ms(DAY_MS).rfc3339();
        let key = json!({ "name": "k", "expires_at": tomorrow });
        let key = l.s.post("/api-keys", key).expect(201)["data"]["key"].clone();
        let key = key.as_str().unwrap();
        let origin = ("origin", "http://box.test:8400");
        let mark = ("x-workspaced-admin", "1");
        let sign_in = Request::post("/admin/session")
            .header("host", "box.test:8400")
            .header(origin.0, origin.1)
            .header(mark.0, mark.1)
            .header("content-type", "application/json")
            .body(Body::from(json!({ "key": l.s.key }).to_string()))
            .unwrap();
        let signed_in = l.s.send(sign_in);
        signed_in.expect(200);
        let cookie = signed_in.headers["set-cookie"].to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let once = |s: &Service| {
            let request = Request::post("/api/v1/workspaces")
                .header("host", "box.test:8400")
                .header("authorization", format!("Bearer {}", s.key))
                .header("content-type", "application/json")
                .header("idempotency-key", "once")
                .body(Body::from(json!({ "name": "Once" }).to_string()))
                .unwrap();
            s.send(request).expect(201)["id"].clone()
        };
        let first = once(&l.s);
        l.pass(SECOND);

        let before = l.used();
        l.wall.pass(0, by);
        if restarted {
            l.wall = Wall::told(l.s.app.store.now().plus_ms(l.wall.judge().ahead_ms));
            l.s.clock = Clock::Told(l.wall.clone());
            l.s.restart();
        }
        let name = json!({ "description": "while the clock lied" });
        l.s.patch(&format!("/workspaces/{}", l.workspace), name)
            .expect(200);
        let _ = l.s.post(&format!("/computers/{runs}/restart"), json!({}));
        if l.wall.judge().ahead_ms == 0 && !l.wall.judge().wrong {
            l.s.run_due();
        }
        l.pass_quietly(2 * SECOND);
        l.set(-by);

        l.s.call_as(key, Method::GET, "/whoami", None).expect(200);
        get(&l.s, "/api/v1/whoami", &[("cookie", &cookie), mark]).expect(200);
        assert_eq!(once(&l.s), first, "{case}");
        l.s.patch(
            &format!("/workspaces/{}", l.workspace),
            json!({ "description": "now" }),
        )
        .expect(200);
        let log = l.s.get("/audit-log?limit=2").expect(200);
        assert_eq!(log["data"][0]["type"], "workspace.updated", "{case}: {log}");
        assert_eq!(
            log["data"][0]["metadata"]["after"]["description"], "now",
            "{case}"
        );
        // Started under a clock that is an hour ahead, the service stops what has been idle for so long.
        let stopped = l.status(&runs) == "stopped";
        assert!(!stopped || restarted && by > MINUTE, "{case}");
        l.act(&runs, if stopped { "start" } else { "restart" });
        assert_eq!(l.status(&runs), "running", "{case}");
        assert_eq!(l.verified(), 0, "{case}");
        // What it ran while the clock lied is not known to the second where that was from a start on; it is no hour.
        let used = l.used() - before;
        assert!((0..=MINUTE + 10 * SECOND).contains(&used), "{case}: {used}");
        let before = l.used();
        l.pass(MINUTE);
        assert_eq!(l.used() - before, MINUTE, "{case}");
        l.act(&runs, "stop");
        let before = l.used();
        l.pass(2 * HOUR);
        assert_eq!(l.used(), before, "{case}");
        assert_eq!(l.verified(), 0, "{case}");
        l.pass(DAY_MS);
        l.s.call_as(key, Method::GET, "/whoami", None)
            .refused(401, "invalid_token");
    }
}

/// Random lives under a clock that is set ahead, believed, and set back: whatever happened, the books are
/// right, and from the moment at which each computer was touched it is billed by what it is.
#[test]
fn random_lives_under_a_lying_clock_are_billed_by_what_is_there() {
    for seed in 1..=15_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut dice = move |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let l = Lied::ahead_by(i64::try_from(dice(3)).unwrap() * 40 * MINUTE);
        let other = l.s.workspace("Other");
        let no_stop = json!({ "default_auto_stop_seconds": 0 });
        l.s.put(&format!("/workspaces/{}/settings", l.workspace), no_stop)
            .expect(200);
        let mut all: Vec<String> = Vec::new();
        for n in 0..40 {
            l.pass(i64::try_from(1 + dice(40)).unwrap() * SECOND);
            match dice(9) {
                // Ahead, until it is believed.
                0 => {
                    l.set(i64::try_from(6 + dice(90)).unwrap() * MINUTE);
                    l.pass(11 * MINUTE);
                }
                1 => l.set(-i64::try_from(1 + dice(120)).unwrap() * MINUTE),
                2 => all.push(l.computer(&format!("pc{n}"))),
                _ => {}
            }
            if all.is_empty() {
                continue;
            }
            let which = usize::try_from(dice(all.len() as u64)).unwrap();
            let path = format!("/computers/{}", all[which]);
            let post = |what: &str, body: Value| l.s.post(&format!("{path}/{what}"), body);
            match dice(7) {
                0 | 1 => drop(post("start", json!({}))),
                2 => drop(post("stop", json!({}))),
                3 => {
                    let size = ["xs", "small", "large"][usize::try_from(dice(3)).unwrap()];
                    drop(post("resize", json!({ "size": size })));
                }
                4 => {
                    let to = [&other, &l.workspace][usize::try_from(dice(2)).unwrap()];
                    post("move", json!({ "workspace_id": to })).expect(200);
                }
                5 if dice(3) == 0 => {
                    l.s.delete(&path).expect(200);
                    all.remove(which);
                }
                _ => {}
            }
            l.s.run_due();
            l.verified();
        }
        // Each is touched, in a way that leaves it as it is.
        for computer in &all {
            let size = l.s.get(&format!("/computers/{computer}")).expect(200)["size"].clone();
            for size in [
                if size == "xs" {
                    json!("small")
                } else {
                    json!("xs")
                },
                size,
            ] {
                l.s.post(
                    &format!("/computers/{computer}/resize"),
                    json!({ "size": size }),
                )
                .expect(200);
            }
        }
        l.verified();
        let sum = |workspace: &str| {
            let (from, to) = (
                right().plus_ms(-DAY_MS).rfc3339(),
                right().plus_ms(30 * DAY_MS).rfc3339(),
            );
            let path = format!("/workspaces/{workspace}/usage?from={from}&to={to}&granularity=day");
            let usage = l.s.get(&path).expect(200);
            usage["total_compute_ms"].as_i64().unwrap()
        };
        let place = |workspace: &str| {
            let running = all.iter().filter(|computer| {
                let shown = l.s.get(&format!("/computers/{computer}")).expect(200);
                shown["workspace_id"] == workspace && shown["status"] == "running"
            });
            i64::try_from(running.count()).unwrap()
        };
        let gone =
            l.s.count("SELECT count(*) FROM computers WHERE deleted_at IS NOT NULL");
        let before = [sum(&l.workspace), sum(&other)];
        l.pass(SECOND);
        let after = [sum(&l.workspace), sum(&other)];
        for (n, workspace) in [&l.workspace, &other].into_iter().enumerate() {
            let runs = place(workspace);
            let passed = after[n] - before[n];
            // What was deleted while the clock was ahead cannot be touched; repair-clock finds it.
            assert!(
                passed >= runs * SECOND && passed <= (runs + gone) * SECOND,
                "seed {seed}: {passed} ms for {runs} computers"
            );
        }
        // The history is put right, and nobody is billed but who runs.
        let since = right().plus_ms(-DAY_MS);
        let found =
            l.s.app
                .store
                .read_blocking(move |tx| misdated(tx, since))
                .unwrap();
        let (app, computers) = (l.s.app.clone(), by_computer(found));
        l.s.app
            .store
            .write_blocking(move |tx| put_right(tx, &app.fleet, &computers))
            .unwrap();
        assert_eq!(l.verified(), 0, "seed {seed}");
        let before = [sum(&l.workspace), sum(&other)];
        l.pass(SECOND);
        for (n, workspace) in [&l.workspace, &other].into_iter().enumerate() {
            let runs = place(workspace);
            let passed = [sum(&l.workspace), sum(&other)][n] - before[n];
            assert_eq!(passed, runs * SECOND, "seed {seed}, after the repair");
        }
    }
}
