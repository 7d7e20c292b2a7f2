//! A wall clock that lies: ahead, behind, for a moment or for long.

use std::sync::Arc;

use axum::http::Method;
use serde_json::{Value, json};
use workspaced::testing::{
    Clock, Config, DAY_MS, Delays, Timestamp, Wall, bring_all_nearer, built, by_computer, misdated,
    put_right, verify,
};

use crate::harness::Service;

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
        let health = l.s.get("/health");
        assert!(
            l.s.send(
                axum::http::Request::get("/health")
                    .body(axum::body::Body::empty())
                    .unwrap()
            )
            .text
            .contains("jumped ahead"),
            "{health:?}"
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
    let old = l.computer("old");
    let oldest = l.computer("oldest");
    l.act(&oldest, "stop");
    l.pass(10 * SECOND);
    let since = l.s.app.store.now();
    // It lasts, and so is followed.
    l.set(YEARS);
    for _ in 0..10 {
        l.act(&old, "start"); // Keeps it awake.
        l.pass(MINUTE);
    }
    assert!(l.s.app.store.now() > since.plus_ms(YEARS));
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
    let metrics = l.s.call_as(&l.s.key, Method::GET, "/metrics", None).text;
    assert!(
        metrics.contains("workspaced_events_ahead") || metrics.contains("not_found"),
        "{metrics}"
    );

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
    assert_eq!(total(&old), 10 * SECOND + MINUTE);
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
    assert_eq!(
        s.get(&format!("/workspaces/{w}")).expect(200)["project_count"],
        0,
        "nothing was changed"
    );
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
