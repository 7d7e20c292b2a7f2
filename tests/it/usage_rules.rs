//! Usage: the rules of metering.md for edge cases, each under its name; the others are in `usage`.

use axum::http::Method;
use serde_json::{Value, json};
use workspaced::testing::{Config, ConfigFile, Delays};

use crate::harness::{Service, at};
use crate::usage::{DAY, HOUR, event, external, filled, report, service_at, total_ms, usage};

fn with_rates(text: &str) -> Config {
    Config {
        file: ConfigFile::parse(text).unwrap(),
        ..Config::default()
    }
}

fn apply_rates(s: &Service, config: &Config) -> usize {
    let app = workspaced::testing::App::new(s.app.store.clone(), config.clone());
    s.app
        .store
        .write_blocking(move |tx| workspaced::testing::rates::run(tx, &app.catalog))
        .unwrap()
}

#[test]
fn rate_change_holds_from_then_on_and_the_past_keeps_its_price() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("Clinic");
    assert_eq!(apply_rates(&s, &Config::default()), 0);
    let c = s.running(&w, "small");
    let credits = || {
        usage(&s, &w, "window=7d")["total_credits_used"]
            .as_i64()
            .unwrap()
    };

    // Dated ahead: holds at its date, to the millisecond, although the job runs hours later.
    let dated = with_rates("[[rates]]\neffective_from = \"2026-06-01T10:00:01Z\"\nsmall = 40");
    assert_eq!(apply_rates(&s, &dated), 0);
    s.travel_to(at("2026-06-01T20:00:01Z"));
    assert_eq!(credits(), 600, "announced, not applied yet");
    assert_eq!(apply_rates(&s, &dated), 1);
    assert_eq!(apply_rates(&s, &dated), 0, "once");
    assert_eq!(credits(), 300 + 400);

    // Dated in the past when it is first seen, or not dated at all: from when it is seen.
    let late = with_rates("[[rates]]\neffective_from = \"2026-06-01T05:00:00Z\"\nsmall = 100");
    assert_eq!(apply_rates(&s, &late), 1);
    assert_eq!(credits(), 700);
    s.travel_to(at("2026-06-01T21:00:01Z"));
    assert_eq!(credits(), 800);
    let undated = with_rates("[sizes.small]\ncredits_per_hour = 7");
    assert_eq!(apply_rates(&s, &undated), 1);
    s.travel_to(at("2026-06-01T22:00:01Z"));
    assert_eq!(credits(), 807);
    let events = s.get(&format!("/computers/{c}/events")).expect(200);
    let kinds: Vec<_> = events["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["type"].clone(), e["rate"].clone()))
        .collect();
    assert_eq!(kinds[0], (json!("computer.repriced"), json!(7)));
    assert_eq!(kinds[2], (json!("computer.repriced"), json!(40)));
    let found = s
        .app
        .store
        .read_blocking(workspaced::testing::verify)
        .unwrap();
    assert!(found.ok, "{found}");
}

#[test]
fn rate_change_at_the_instant_of_a_start_is_its_price() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("Clinic");
    let dated = with_rates("[[rates]]\neffective_from = \"2026-06-01T10:00:00Z\"\nsmall = 40");
    apply_rates(&s, &dated);
    s.travel_to(at("2026-06-01T09:59:59Z"));
    let c = s.running(&w, "small");
    let events = s.get(&format!("/computers/{c}/events")).expect(200);
    assert_eq!(events["data"][0]["at"], "2026-06-01T10:00:00.000Z");
    assert_eq!(
        (&events["data"][0]["rate"], &events["data"][1]["rate"]),
        (&json!(40), &json!(30))
    );
    assert_eq!(apply_rates(&s, &dated), 0, "there is nothing to split");
}

#[test]
fn rate_change_while_the_service_was_down_splits_an_interval_that_has_ended() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("Clinic");
    let dated = with_rates("[[rates]]\neffective_from = \"2026-06-01T01:00:01Z\"\nsmall = 90");
    apply_rates(&s, &dated);
    s.put(
        &format!("/workspaces/{w}/settings"),
        json!({ "default_auto_stop_seconds": 7200 }),
    )
    .expect(200);
    s.running(&w, "small");
    // Back up at noon: the auto-stop at 02:00:01 is caught up first, then the rate.
    s.travel_to(at("2026-06-01T12:00:00Z"));
    assert_eq!(apply_rates(&s, &dated), 1);
    assert_eq!(usage(&s, &w, "")["total_credits_used"], 30 + 90);
}

#[test]
fn rate_change_before_a_late_report_prices_it_as_in_time() {
    let dated = with_rates("[[rates]]\neffective_from = \"2026-06-01T10:00:00Z\"\nsmall = 90");
    for late in [false, true] {
        let s = service_at("2026-06-01T00:00:00Z");
        let w = s.workspace("Clinic");
        apply_rates(&s, &dated);
        let c = external(&s, &w, "small");
        let start = event("1", "started", &c, "2026-06-01T09:00:00Z", json!({}));
        let stop = event("2", "stopped", &c, "2026-06-01T11:00:00Z", json!({}));
        s.clock.set(at("2026-06-01T09:30:00Z"));
        if !late {
            s.post("/compute-events", json!({ "events": [start] }))
                .expect(200);
        }
        s.clock.set(at("2026-06-01T12:00:00Z"));
        assert_eq!(apply_rates(&s, &dated), usize::from(!late));
        let rest = if late {
            json!([stop, start])
        } else {
            json!([stop])
        };
        s.post("/compute-events", json!({ "events": rest }))
            .expect(200);
        assert_eq!(
            usage(&s, &w, "")["total_credits_used"],
            30 + 90,
            "late: {late}"
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
fn durable_is_what_was_acknowledged() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("Clinic");
    s.running(&w, "small");
    // As after a power loss: the files as they are, opened by somebody else.
    let copy = tempfile::TempDir::new().unwrap();
    for name in ["workspaced.db", "workspaced.db-wal"] {
        std::fs::copy(s.dir.path().join(name), copy.path().join(name)).unwrap();
    }
    let store =
        workspaced::testing::Store::open(&copy.path().join("workspaced.db"), s.clock.clone(), 1)
            .unwrap();
    let found = store.read_blocking(workspaced::testing::verify).unwrap();
    assert!(found.ok && found.events == 2, "{found}");
    store.close();
}

#[test]
fn corrections_are_new_events_with_reason_and_actor() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("Clinic");
    let c = external(&s, &w, "small");
    s.clock.set(at("2026-06-02T00:00:00Z"));
    report(&s, &c, &["2026-06-01T01:00:00Z", "2026-06-01T02:00:00Z"]);
    let body = json!({
        "workspace_id": w, "amount_micros": -7_500_000, "reason": "outage on 1 June",
        "at": "2026-06-01T01:00:00Z", "id": "credit-note-1",
    });
    let posted = s.post("/usage/adjustments", body.clone()).expect(201);
    assert_eq!(
        (&posted["reason"], &posted["amount_micros"]),
        (&json!("outage on 1 June"), &json!(-7_500_000))
    );
    assert!(
        posted["actor"]
            .as_str()
            .unwrap()
            .starts_with("api_key msk_")
    );
    let before = s.fingerprint();
    assert_eq!(
        s.post("/usage/adjustments", body).expect(200)["seq"],
        posted["seq"]
    );
    assert_eq!(s.fingerprint(), before, "the same again changes nothing");
    let other =
        json!({ "workspace_id": w, "amount_micros": 1, "reason": "x", "id": "credit-note-1" });
    s.post("/usage/adjustments", other)
        .refused(409, "EVENT_ID_REUSED");
    let day = usage(&s, &w, DAY);
    assert_eq!(
        (&day["total_credits_used"], &day["total_credits_micros"]),
        (&json!(22), &json!(22_500_000))
    );
    assert_eq!(day["total_compute_ms"], HOUR);
    // Half-open: it lies in the hour that begins at its instant.
    assert_eq!(
        usage(&s, &w, "from=2026-06-01T00:00:00Z&to=2026-06-01T01:00:00Z")["total_credits_micros"],
        0
    );
    // Also in the middle of an hour.
    let body = json!({ "workspace_id": w, "amount_micros": 9, "reason": "x", "at": "2026-06-01T05:30:00Z" });
    s.post("/usage/adjustments", body).expect(201);
    for (period, micros) in [
        ("05:00:00Z&to=2026-06-01T05:30:00Z", 0),
        ("05:30:00Z&to=2026-06-01T05:30:00.001Z", 9),
    ] {
        let half = usage(&s, &w, &format!("from=2026-06-01T{period}"));
        assert_eq!(half["total_credits_micros"], micros, "{period}");
    }
    s.post("/usage/adjustments", json!({}))
        .invalid(&["amount_micros", "reason", "workspace_id"]);
    let (plain, _) = s.other_tenant("plain");
    let body = json!({ "workspace_id": w, "amount_micros": -1, "reason": "mine" });
    s.call_as(&plain, Method::POST, "/usage/adjustments", Some(body))
        .refused(403, "FORBIDDEN");
}

#[test]
fn empty_history_is_zeros_in_every_bucket() {
    let s = Service::new();
    let w = s.workspace("Clinic");
    for (query, buckets) in [
        ("", 25),
        ("window=7d&granularity=day", 8),
        ("window=30d", 721),
        ("window=30d&granularity=day", 31),
    ] {
        let empty = usage(&s, &w, query);
        assert_eq!(
            empty["series"].as_array().unwrap().len(),
            buckets,
            "{query}"
        );
        assert!(filled(&empty).is_empty());
        assert_eq!(
            (&empty["total_credits_used"], &empty["total_compute_hours"]),
            (&json!(0), &json!(0.0))
        );
    }
    let old = usage(&s, &w, "from=1999-01-01T00:00:00Z&to=1999-01-02T00:00:00Z");
    assert_eq!(old["series"].as_array().unwrap().len(), 24);
    s.clock.set(at("2026-06-01T00:00:00Z"));
    for (query, buckets) in [
        ("", 24),
        ("window=7d&granularity=day", 7),
        ("window=30d", 720),
    ] {
        assert_eq!(
            usage(&s, &w, query)["series"].as_array().unwrap().len(),
            buckets,
            "{query}"
        );
    }
}

#[test]
fn unknown_words_are_refused_with_what_is_allowed() {
    let s = Service::new();
    let w = s.workspace("Clinic");
    let get = |query: &str| s.get(&format!("/workspaces/{w}/usage?{query}"));
    let defaults = usage(&s, &w, "");
    assert_eq!(
        (&defaults["window"], &defaults["granularity"]),
        (&json!("24h"), &json!("hour"))
    );
    for (query, field, allowed) in [
        ("window=1y", "window", "24h, 7d, 30d"),
        ("window=24H", "window", "24h, 7d, 30d"),
        ("window=", "window", "24h, 7d, 30d"),
        ("granularity=minute", "granularity", "hour, day"),
        ("granularity=Day", "granularity", "hour, day"),
        ("granularity=", "granularity", "hour, day"),
        ("group_by=color", "group_by", "project, computer, size"),
        ("group_by=size&group_limit=0", "group_limit", "1 to 1000"),
        ("group_by=size&group_limit=all", "group_limit", "1 to 1000"),
        ("format=xml", "format", "json, csv"),
        ("tz=Mars/Olympus", "tz", "IANA"),
        ("from=yesterday", "from", "RFC 3339"),
        ("to=2026-06-01T00:00:00Z", "from", "blank"),
        (
            "from=2026-05-01T00:00:00Z&to=2026-05-01T00:00:00Z",
            "from",
            "before to",
        ),
        (
            "from=2024-05-01T00:00:00Z&to=2026-05-01T00:00:00Z",
            "to",
            "400 days",
        ),
        (
            "from=2026-05-01T00:00:00Z&window=7d",
            "window",
            "one or the other",
        ),
        ("window=7d&window=7d", "window", "more than once"),
    ] {
        let body = get(query).invalid(&[field]);
        let text = body["errors"][field][0].as_str().unwrap();
        assert!(text.contains(allowed), "{query}: {text}");
    }
    get("window=x&granularity=y&tz=z&group_by=q&format=w").invalid(&[
        "format",
        "granularity",
        "group_by",
        "tz",
        "window",
    ]);
}

#[test]
fn partial_days_are_two_across_midnight() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("Clinic");
    report(&s, &external(&s, &w, "small"), &["2026-06-01T00:00:00Z"]);
    s.clock.set(at("2026-06-03T06:00:00Z"));
    let two = usage(&s, &w, "window=24h&granularity=day");
    let expected = [
        ("2026-06-02T00:00:00Z".into(), 18 * HOUR),
        ("2026-06-03T00:00:00Z".into(), 6 * HOUR),
    ];
    assert_eq!(filled(&two), expected);
    assert!(
        two["series"]
            .as_array()
            .unwrap()
            .iter()
            .all(|b| b["partial"] == true)
    );
    assert_eq!(two["total_compute_ms"], 24 * HOUR);
    s.clock.set(at("2026-06-03T00:00:00Z"));
    let one = usage(&s, &w, "window=24h&granularity=day");
    assert_eq!(filled(&one), [("2026-06-02T00:00:00Z".into(), 24 * HOUR)]);
    assert_eq!(one["series"][0]["partial"], false);
}

/// Aligned buckets of a computer that always runs: `(ts, hours)`.
fn always(tz: &str, from: &str, to: &str, granularity: &str) -> Vec<(String, f64)> {
    let s = service_at("2026-01-01T00:00:00Z");
    let w = s.workspace("Clinic");
    report(&s, &external(&s, &w, "small"), &["2026-01-01T00:00:00Z"]);
    s.clock.set(at("2026-12-31T00:00:00Z"));
    let reply = usage(
        &s,
        &w,
        &format!("tz={tz}&from={from}&to={to}&granularity={granularity}"),
    );
    assert_eq!(reply["time_zone"], tz);
    let row = |b: &Value| {
        (
            b["ts"].as_str().unwrap().to_owned(),
            b["compute_hours"].as_f64().unwrap(),
        )
    };
    reply["series"]
        .as_array()
        .unwrap()
        .iter()
        .map(row)
        .collect()
}

#[test]
fn daylight_saving_makes_days_of_23_and_25_hours() {
    let spring = always(
        "America/New_York",
        "2026-03-08T05:00:00Z",
        "2026-03-09T04:00:00Z",
        "day",
    );
    assert_eq!(spring, [("2026-03-08T05:00:00Z".into(), 23.0)]);
    let autumn = always(
        "America/New_York",
        "2026-11-01T04:00:00Z",
        "2026-11-02T05:00:00Z",
        "day",
    );
    assert_eq!(autumn, [("2026-11-01T04:00:00Z".into(), 25.0)]);
    let hours = always(
        "America/New_York",
        "2026-11-01T04:00:00Z",
        "2026-11-02T05:00:00Z",
        "hour",
    );
    assert_eq!(
        hours.len(),
        25,
        "the repeated hour is a bucket of its own: keys are UTC instants"
    );
}

#[test]
fn odd_offsets_are_zones_off_the_full_hour() {
    let kolkata = always(
        "Asia/Kolkata",
        "2026-06-01T00:00:00Z",
        "2026-06-01T02:00:00Z",
        "hour",
    );
    let times: Vec<_> = kolkata.iter().map(|(ts, _)| ts.as_str()).collect();
    assert_eq!(
        times,
        [
            "2026-05-31T23:30:00Z",
            "2026-06-01T00:30:00Z",
            "2026-06-01T01:30:00Z"
        ]
    );
    assert_eq!(
        kolkata.iter().map(|(_, h)| *h).collect::<Vec<_>>(),
        [0.5, 1.0, 0.5]
    );
    let kathmandu = always(
        "Asia/Kathmandu",
        "2026-06-01T00:15:00Z",
        "2026-06-01T02:15:00Z",
        "hour",
    );
    assert_eq!(
        kathmandu,
        [
            ("2026-06-01T00:15:00Z".into(), 1.0),
            ("2026-06-01T01:15:00Z".into(), 1.0)
        ]
    );
    // Half an hour forward in the middle of a local hour: that one is short, the next one is whole.
    let caracas = always(
        "America/Caracas",
        "2016-05-01T06:30:00Z",
        "2016-05-01T08:00:00Z",
        "hour",
    );
    let times: Vec<_> = caracas.iter().map(|(ts, _)| ts.as_str()).collect();
    assert_eq!(times, ["2016-05-01T06:30:00Z", "2016-05-01T07:00:00Z"]);
    // Half an hour forward at 02:00, and back at 02:00: the half hour that is left, or that comes once more,
    // is a bucket of its own.
    let hours = |from: &str, to: &str| -> Vec<(String, f64)> {
        always("Australia/Lord_Howe", from, to, "hour")
            .into_iter()
            .map(|(ts, hours)| (ts[11..16].to_owned(), hours))
            .collect()
    };
    let shown = |list: &[(&str, f64)]| -> Vec<(String, f64)> {
        list.iter().map(|(ts, h)| ((*ts).to_owned(), *h)).collect()
    };
    assert_eq!(
        hours("2026-10-03T14:30:00Z", "2026-10-03T18:00:00Z"),
        shown(&[
            ("14:30", 1.0),
            ("15:30", 0.5),
            ("16:00", 1.0),
            ("17:00", 1.0)
        ])
    );
    assert_eq!(
        hours("2026-04-04T14:00:00Z", "2026-04-04T17:30:00Z"),
        shown(&[
            ("14:00", 1.0),
            ("15:00", 0.5),
            ("15:30", 1.0),
            ("16:30", 1.0)
        ])
    );
    let lord_howe = always(
        "Australia/Lord_Howe",
        "2026-10-03T13:30:00Z",
        "2026-10-04T13:00:00Z",
        "day",
    );
    assert_eq!(lord_howe, [("2026-10-03T13:30:00Z".into(), 23.5)]);
    let santiago = always(
        "America/Santiago",
        "2026-09-06T04:00:00Z",
        "2026-09-07T03:00:00Z",
        "day",
    );
    assert_eq!(
        santiago,
        [("2026-09-06T04:00:00Z".into(), 23.0)],
        "the day starts at 01:00 local"
    );
}

#[test]
fn one_snapshot_holds_series_and_totals_while_others_write() {
    let s = Service::with(Config {
        delays: Delays {
            provision_ms: 0,
            start_ms: 0,
            stop_ms: 0,
        },
        readers: 2,
        ..Config::default()
    });
    let w = s.workspace("Clinic");
    let c = external(&s, &w, "small");
    s.advance(86_400);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for n in 0..200 {
                let time = at("2026-05-20T10:15:30Z").plus_seconds(n * 60).rfc3339();
                let kind = if n % 2 == 0 { "started" } else { "stopped" };
                let body = json!({ "events": [event(&n.to_string(), kind, &c, &time, json!({}))] });
                s.post("/compute-events", body).expect(200);
            }
            stop.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        while !stop.load(std::sync::atomic::Ordering::SeqCst) {
            let reply = usage(&s, &w, "");
            let sum: i64 = reply["series"]
                .as_array()
                .unwrap()
                .iter()
                .map(|b| b["compute_ms"].as_i64().unwrap())
                .sum();
            assert_eq!(reply["total_compute_ms"], sum);
        }
    });
    assert_eq!(total_ms(&s, &w, ""), 100 * 60_000);
}

#[test]
fn overflow_does_not_happen_in_a_century_of_the_highest_rate() {
    let config = with_rates("[sizes.xl]\ncredits_per_hour = 100000");
    let s = Service::with(config);
    s.clock.set(at("2026-01-01T00:00:00Z"));
    let w = s.workspace("Clinic");
    for _ in 0..3 {
        report(&s, &external(&s, &w, "xl"), &["2026-01-01T00:00:00Z"]);
    }
    s.clock.set(at("2126-01-01T00:00:00Z"));
    let day = usage(&s, &w, "");
    assert_eq!(
        (&day["total_credits_used"], &day["total_compute_ms"]),
        (&json!(7_200_000), &json!(3 * 24 * HOUR))
    );
    let balance = s.get("/credits/balance").expect(200);
    assert_eq!(balance["lifetime_spent"], 3_i64 * 100_000 * 24 * 36_524);
}

#[test]
fn deleted_workspaces_stay_in_the_tenants_reports() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("Gone Clinic");
    s.running(&w, "small");
    s.travel_to(at("2026-06-01T02:00:01Z"));
    s.delete(&format!("/workspaces/{w}?force=true")).expect(200);
    s.advance(3600);
    s.get(&format!("/workspaces/{w}/usage"))
        .refused(404, "NOT_FOUND");
    let rollup = s.get("/usage?group_by=workspace_id").expect(200);
    let row = &rollup["results"][0];
    assert_eq!(
        (&row["workspace_id"], &row["workspace_name"]),
        (&json!(w), &json!("Gone Clinic"))
    );
    assert_eq!(
        (&row["credit_cents"], &row["compute_ms"]),
        (&json!(60), &json!(2 * HOUR))
    );
    assert_eq!(s.get("/usage/summary").expect(200)["total_credits"], 60);
    assert_eq!(s.get("/credits/balance").expect(200)["lifetime_spent"], 60);
}

#[test]
fn stats_agree_with_usage() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("Clinic");
    let first = s.running(&w, "small");
    s.running(&w, "medium");
    s.post(&format!("/computers/{first}/stop"), json!({}))
        .expect(200);
    s.advance(1);
    let stats = s.get(&format!("/workspaces/{w}/stats")).expect(200);
    let open = s.get("/usage/sessions").expect(200)["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|r| r["ended_at"].is_null())
        .count();
    assert_eq!(stats["computers"]["by_status"]["running"], open);
    let before = total_ms(&s, &w, "");
    s.advance(10);
    assert_eq!(
        total_ms(&s, &w, "") - before,
        10_000 * i64::try_from(open).unwrap()
    );
}
