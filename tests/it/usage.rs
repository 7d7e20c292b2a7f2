//! Usage: the rules of metering.md for edge cases, each under its name, here and in `usage_rules`. The
//! digits are worked out by hand.

use serde_json::{Value, json};

use crate::harness::{Service, at};

/// A service whose clock stands at `start`.
pub fn service_at(start: &str) -> Service {
    let s = Service::new();
    s.clock.set(at(start));
    s
}

/// A computer that an agent reports about; its id.
pub fn external(s: &Service, workspace: &str, size: &str) -> String {
    let body = json!({ "name": format!("agent {size}"), "workspace_id": workspace, "size": size, "driver": "external" });
    s.post("/computers", body).expect(201)["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// One event as an agent sends it.
pub fn event(id: &str, kind: &str, computer: &str, time: &str, data: Value) -> Value {
    json!({ "id": id, "type": format!("computer.{kind}"), "subject": computer, "time": time, "data": data })
}

/// Reports that a computer started and stopped at these times, in turn.
pub fn report(s: &Service, computer: &str, times: &[&str]) {
    let name = |n: usize| {
        if n.is_multiple_of(2) {
            "started"
        } else {
            "stopped"
        }
    };
    let events: Vec<_> = times
        .iter()
        .enumerate()
        .map(|(n, time)| {
            event(
                &format!("{computer} {n} {time}"),
                name(n),
                computer,
                time,
                json!({}),
            )
        })
        .collect();
    let reply = s
        .post("/compute-events", json!({ "events": events }))
        .expect(200);
    assert_eq!(reply["rejected"], json!([]));
}

pub fn usage(s: &Service, workspace: &str, query: &str) -> Value {
    s.get(&format!("/workspaces/{workspace}/usage?{query}"))
        .expect(200)
}

/// Milliseconds of the buckets that are not empty, by `ts`.
pub fn filled(series: &Value) -> Vec<(String, i64)> {
    let buckets = series["series"].as_array().unwrap().iter();
    let pair = |b: &Value| {
        (
            b["ts"].as_str().unwrap().to_owned(),
            b["compute_ms"].as_i64().unwrap(),
        )
    };
    buckets.map(pair).filter(|(_, ms)| *ms != 0).collect()
}

pub fn total_ms(s: &Service, workspace: &str, query: &str) -> i64 {
    usage(s, workspace, query)["total_compute_ms"]
        .as_i64()
        .unwrap()
}

pub const HOUR: i64 = 3_600_000;
pub const DAY: &str = "from=2026-06-01T00:00:00Z&to=2026-06-02T00:00:00Z";

#[test]
fn running_before_the_window_is_cut_to_its_start() {
    let s = service_at("2026-05-20T00:00:00Z");
    let w = s.workspace("Clinic");
    report(&s, &external(&s, &w, "small"), &["2026-05-20T00:00:00Z"]);
    s.clock.set(at("2026-06-10T00:30:00Z"));
    let day = usage(&s, &w, "window=24h");
    assert_eq!(
        (&day["total_compute_ms"], &day["total_credits_used"]),
        (&json!(24 * HOUR), &json!(720))
    );
    let series = day["series"].as_array().unwrap();
    assert_eq!(series.len(), 25, "aligned hours that touch the window");
    assert_eq!(series[0]["ts"], "2026-06-09T00:00:00Z");
    assert_eq!(
        (&series[0]["compute_ms"], &series[0]["partial"]),
        (&json!(HOUR / 2), &json!(true))
    );
    assert_eq!(
        (&series[1]["compute_ms"], &series[1]["partial"]),
        (&json!(HOUR), &json!(false))
    );
    assert_eq!(
        (&series[24]["compute_ms"], &series[24]["partial"]),
        (&json!(HOUR / 2), &json!(true))
    );
}

#[test]
fn still_running_counts_up_to_now() {
    let s = Service::new();
    let w = s.workspace("Clinic");
    s.running(&w, "small");
    assert_eq!(total_ms(&s, &w, ""), 0);
    s.advance(1);
    assert_eq!(total_ms(&s, &w, ""), 1000);
    s.advance(3599);
    let now = usage(&s, &w, "");
    assert_eq!(
        (&now["total_compute_hours"], &now["total_credits_used"]),
        (&json!(1.0), &json!(30))
    );
}

#[test]
fn bucket_edges_belong_to_the_next_bucket() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("Clinic");
    let c = external(&s, &w, "small");
    s.clock.set(at("2026-06-02T00:00:00Z"));
    report(&s, &c, &["2026-06-01T01:00:00Z", "2026-06-01T02:00:00Z"]);
    assert_eq!(
        filled(&usage(&s, &w, DAY)),
        [("2026-06-01T01:00:00Z".into(), HOUR)]
    );
    assert_eq!(
        total_ms(&s, &w, "from=2026-06-01T00:00:00Z&to=2026-06-01T01:00:00Z"),
        0
    );
    assert_eq!(
        total_ms(
            &s,
            &w,
            "from=2026-06-01T01:00:00Z&to=2026-06-01T01:00:00.001Z"
        ),
        1
    );
}

#[test]
fn zero_length_is_nothing_and_both_events_are_kept() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("Clinic");
    let c = external(&s, &w, "small");
    s.clock.set(at("2026-06-02T00:00:00Z"));
    report(&s, &c, &["2026-06-01T05:00:00Z", "2026-06-01T05:00:00Z"]);
    let day = usage(&s, &w, DAY);
    assert_eq!(
        (&day["total_compute_ms"], &day["total_credits_micros"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(
        s.get(&format!("/computers/{c}/events")).expect(200)["total"],
        3
    );
}

#[test]
fn resize_while_running_splits_the_price_not_the_time() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("Clinic");
    let c = s.running(&w, "small");
    s.travel_to(at("2026-06-01T01:00:01Z"));
    s.post(
        &format!("/computers/{c}/resize"),
        json!({ "size": "large" }),
    )
    .expect(200);
    s.travel_to(at("2026-06-01T02:00:01Z"));
    let two = usage(&s, &w, "");
    assert_eq!(
        (&two["total_compute_ms"], &two["total_credits_used"]),
        (&json!(2 * HOUR), &json!(30 + 120))
    );
}

#[test]
fn move_while_running_leaves_history_where_it_was() {
    let s = service_at("2026-06-01T00:00:00Z");
    let (a, b) = (s.workspace("A"), s.workspace("B"));
    let c = s.running(&a, "small");
    s.travel_to(at("2026-06-01T01:00:01Z"));
    s.post(
        &format!("/computers/{c}/move"),
        json!({ "workspace_id": b }),
    )
    .expect(200);
    s.travel_to(at("2026-06-01T03:00:01Z"));
    assert_eq!(
        (total_ms(&s, &a, ""), total_ms(&s, &b, "")),
        (HOUR, 2 * HOUR)
    );
}

#[test]
fn delete_while_running_stops_it_and_its_usage_stays() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("Clinic");
    let c = s.running(&w, "small");
    s.travel_to(at("2026-06-01T01:00:01Z"));
    s.delete(&format!("/computers/{c}")).expect(200);
    s.travel_to(at("2026-06-01T09:00:00Z"));
    assert_eq!(total_ms(&s, &w, ""), HOUR);
}

#[test]
fn errors_stop_the_meter_and_provisioning_is_free() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("Clinic");
    let c = external(&s, &w, "small");
    s.computer(&w, "small");
    s.clock.set(at("2026-06-02T00:00:00Z"));
    let events = json!([
        event("1", "started", &c, "2026-06-01T01:00:00Z", json!({})),
        event("2", "errored", &c, "2026-06-01T02:00:00Z", json!({})),
        event("3", "started", &c, "2026-06-01T04:00:00Z", json!({})),
        event("4", "stopped", &c, "2026-06-01T04:30:00Z", json!({})),
    ]);
    s.post("/compute-events", json!({ "events": events }))
        .expect(200);
    // The other one provisions for as long as nobody runs the driver: nothing.
    assert_eq!(total_ms(&s, &w, DAY), HOUR + HOUR / 2);
}

#[test]
fn repeated_report_counts_once() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("Clinic");
    let c = external(&s, &w, "small");
    s.clock.set(at("2026-06-02T00:00:00Z"));
    let start = event("a", "started", &c, "2026-06-01T01:00:00Z", json!({}));
    let one = json!({ "events": [start] });
    let reply = |a: i64, d: i64| json!({ "accepted": a, "duplicates": d, "rejected": [], "deleted": [], "over_limit": [] });
    assert_eq!(
        s.post("/compute-events", one.clone()).expect(200),
        reply(1, 0)
    );
    let before = s.fingerprint();
    assert_eq!(s.post("/compute-events", one).expect(200), reply(0, 1));
    let other = event("a", "started", &c, "2026-06-01T02:00:00Z", json!({}));
    s.post("/compute-events", json!({ "events": [other.clone()] }))
        .refused(409, "EVENT_CONFLICT");
    assert_eq!(s.fingerprint(), before);
    // Among others it is told apart; the others count.
    let stop = event("b", "stopped", &c, "2026-06-01T03:00:00Z", json!({}));
    let mixed = s
        .post(
            "/compute-events",
            json!({ "events": [other, stop.clone(), stop] }),
        )
        .expect(207);
    assert_eq!(
        (&mixed["accepted"], &mixed["duplicates"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(mixed["rejected"][0]["id"], "a");
    assert_eq!(total_ms(&s, &w, DAY), 2 * HOUR);
}

#[test]
fn repeated_state_changes_nothing() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("Clinic");
    let c = external(&s, &w, "small");
    s.clock.set(at("2026-06-02T00:00:00Z"));
    let kinds = [
        ("started", "01:00"),
        ("started", "01:20"),
        ("stopped", "02:00"),
        ("stopped", "02:30"),
    ];
    let list = kinds.map(|(kind, t)| {
        event(
            &format!("{kind}{t}"),
            kind,
            &c,
            &format!("2026-06-01T{t}:00Z"),
            json!({}),
        )
    });
    s.post("/compute-events", json!({ "events": list }))
        .expect(200);
    assert_eq!(total_ms(&s, &w, DAY), HOUR);
    let driven = s.running(&w, "small");
    let before = s.count("SELECT count(*) FROM compute_events");
    s.post(&format!("/computers/{driven}/start"), json!({}))
        .expect(200);
    assert_eq!(s.count("SELECT count(*) FROM compute_events"), before);
}

#[test]
fn late_reports_and_shuffled_ones_give_the_numbers_of_in_order_arrival() {
    let facts = |c: &str| {
        [
            event("1", "started", c, "2026-06-01T01:00:00Z", json!({})),
            event(
                "2",
                "resized",
                c,
                "2026-06-01T02:00:00Z",
                json!({ "size": "large" }),
            ),
            event("3", "stopped", c, "2026-06-01T03:00:00Z", json!({})),
            event("4", "started", c, "2026-06-01T05:00:00Z", json!({})),
            event("5", "stopped", c, "2026-06-01T06:00:00Z", json!({})),
        ]
    };
    for order in [
        [0, 1, 2, 3, 4],
        [4, 3, 2, 1, 0],
        [3, 0, 4, 2, 1],
        [2, 4, 0, 3, 1],
    ] {
        let s = service_at("2026-06-01T00:00:00Z");
        let w = s.workspace("Clinic");
        let c = external(&s, &w, "small");
        s.clock.set(at("2026-06-02T00:00:00Z"));
        let facts = facts(&c);
        for n in order {
            s.post("/compute-events", json!({ "events": [facts[n]] }))
                .expect(200);
        }
        let day = usage(&s, &w, DAY);
        // One hour small, then large: also after the restart, which did not say so itself.
        assert_eq!(day["total_credits_used"], 30 + 120 + 120, "{order:?}");
        assert_eq!(day["total_compute_ms"], 3 * HOUR, "{order:?}");
        assert_eq!(
            s.get(&format!("/computers/{c}")).expect(200)["size"],
            "large"
        );
        let found = s
            .app
            .store
            .read_blocking(workspaced::testing::verify)
            .unwrap();
        assert!(found.ok, "{found}");
    }
}

#[test]
fn reports_ahead_of_the_clock_are_taken_for_five_minutes_and_invisible_until_then() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("Clinic");
    let c = external(&s, &w, "small");
    let ahead = event("a", "started", &c, "2026-06-01T00:05:00Z", json!({}));
    let beyond = event("b", "started", &c, "2026-06-01T00:05:00.001Z", json!({}));
    s.post("/compute-events", json!({ "events": [beyond] }))
        .invalid(&["events"]);
    assert_eq!(
        s.post("/compute-events", json!({ "events": [ahead] }))
            .expect(200)["accepted"],
        1
    );
    let look = |s: &Service| {
        let computer = s.get(&format!("/computers/{c}")).expect(200);
        let running = &s.get(&format!("/workspaces/{w}/stats")).expect(200)["computers"]["by_status"]
            ["running"];
        let events = s.get(&format!("/computers/{c}/events")).expect(200)["total"].clone();
        (
            computer["status"].as_str().unwrap().to_owned(),
            running.clone(),
            events,
            total_ms(s, &w, ""),
        )
    };
    s.advance(299);
    assert_eq!(look(&s), ("provisioning".into(), json!(0), json!(1), 0));
    s.advance(1);
    assert_eq!(look(&s), ("running".into(), json!(1), json!(2), 0));
    s.advance(60);
    assert_eq!(look(&s).3, 60_000);
}

#[test]
fn clock_steps_back_and_time_is_not_negative() {
    let s = service_at("2026-06-01T10:00:00Z");
    let w = s.workspace("Clinic");
    let c = s.running(&w, "small");
    s.travel_to(at("2026-06-01T09:00:00Z"));
    s.post(&format!("/computers/{c}/stop"), json!({}))
        .expect(200);
    let stop = s.get(&format!("/computers/{c}/events")).expect(200);
    assert_eq!(stop["total"], 0, "nothing has happened yet, by this clock");
    s.travel_to(at("2026-06-01T11:00:00Z"));
    let events = s.get(&format!("/computers/{c}/events")).expect(200);
    let stopping = events["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|e| e["type"] == "computer.stopping")
        .unwrap();
    assert_eq!(
        stopping["at"], "2026-06-01T10:00:01.000Z",
        "not before the event before it"
    );
    assert_eq!(
        stopping["recorded_at"], "2026-06-01T09:00:00.000Z",
        "the true reading"
    );
    assert_eq!(total_ms(&s, &w, ""), 0);
}

#[test]
fn service_down_and_the_computer_keeps_running() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("Clinic");
    s.running(&w, "small");
    // Nothing is called for ten hours; then the clock is simply later.
    s.travel_to(at("2026-06-01T10:00:01Z"));
    assert_eq!(total_ms(&s, &w, ""), 10 * HOUR);
}

#[test]
fn overdue_auto_stop_is_dated_at_its_deadline() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("Clinic");
    let settings = json!({ "default_auto_stop_seconds": 3600 });
    s.put(&format!("/workspaces/{w}/settings"), settings)
        .expect(200);
    let first = s.running(&w, "small");
    let second = s.running(&w, "small");
    s.travel_to(at("2026-06-01T12:00:00Z"));
    assert_eq!(total_ms(&s, &w, ""), 2 * HOUR);
    for (computer, at) in [
        (first, "2026-06-01T01:00:01.000Z"),
        (second, "2026-06-01T01:00:02.000Z"),
    ] {
        let events = s.get(&format!("/computers/{computer}/events")).expect(200);
        let stopping = events["data"]
            .as_array()
            .unwrap()
            .iter()
            .find(|e| e["type"] == "computer.stopping")
            .unwrap();
        assert_eq!(stopping["at"], at);
    }
}

#[test]
fn changed_auto_stop_default_is_for_computers_created_afterwards() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("Clinic");
    s.running(&w, "small");
    s.put(
        &format!("/workspaces/{w}/settings"),
        json!({ "default_auto_stop_seconds": 60 }),
    )
    .expect(200);
    s.travel_to(at("2026-06-01T02:00:01Z"));
    assert_eq!(total_ms(&s, &w, ""), 2 * HOUR);
    s.running(&w, "small");
    s.advance(7200);
    assert_eq!(total_ms(&s, &w, ""), 4 * HOUR + 1000 + 60_000);
}
