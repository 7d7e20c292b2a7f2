//! Usage: what is reported ahead of the clock, what fell due meanwhile, and changes beside them; moves to
//! places that are no more; what is shown of sessions and batches.

use serde_json::{Value, json};
use workspaced::testing::{Config, ConfigFile, verify};

use crate::harness::{Service, at};
use crate::usage::{HOUR, event, external, report, service_at, usage};

fn sound(s: &Service) {
    let found = s.app.store.read_blocking(verify).unwrap();
    assert!(found.ok, "{found}");
}

fn send(s: &Service, events: &[Value]) -> Value {
    s.post("/compute-events", json!({ "events": events }))
        .expect(200)
}

fn computer(s: &Service, id: &str) -> Value {
    s.get(&format!("/computers/{id}")).expect(200)
}

/// An external computer that runs from midnight on and is to stop two minutes later.
fn stops_soon() -> (Service, String, String) {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("A");
    let c = external(&s, &w, "small");
    report(&s, &c, &["2026-06-01T00:00:00Z", "2026-06-01T00:02:00Z"]);
    s.advance(60);
    (s, w, c)
}

#[test]
fn what_is_reported_ahead_holds_after_every_change() {
    for change in ["", "/auto-stop", "/resize", "/move"] {
        let (s, w, c) = stops_soon();
        let path = format!("/computers/{c}{change}");
        let mut ms = 2 * HOUR / 60;
        match change {
            "" => s.patch(&path, json!({ "name": "other" })).expect(200),
            "/auto-stop" => s.patch(&path, json!({ "seconds": 600 })).expect(200),
            "/resize" => s.post(&path, json!({ "size": "medium" })).expect(200),
            _ => {
                ms /= 2;
                let other = s.workspace("B");
                s.post(&path, json!({ "workspace_id": other })).expect(200)
            }
        };
        sound(&s);
        s.travel_to(at("2026-06-01T10:00:00Z"));
        assert_eq!(computer(&s, &c)["status"], "stopped", "{change}");
        s.post(
            &format!("/computers/{c}/resize"),
            json!({ "size": "large" }),
        )
        .expect(200);
        s.advance(36_000);
        assert_eq!(usage(&s, &w, "")["total_compute_ms"], ms, "{change}");
        sound(&s);
    }
}

#[test]
fn a_change_in_the_instant_of_a_report_settles_it_first() {
    for late_ms in [0, 1, 2] {
        let s = service_at("2026-06-01T00:00:00Z");
        let w = s.workspace("A");
        let c = external(&s, &w, "small");
        let start = "2026-06-01T00:00:00.025Z";
        report(&s, &c, &[start]);
        s.clock.set(at(start).plus_ms(late_ms));
        s.post(
            &format!("/computers/{c}/resize"),
            json!({ "size": "large" }),
        )
        .expect(200);
        assert_eq!(computer(&s, &c)["status"], "running");
        s.travel_to(at(start).plus_ms(HOUR));
        let shown = usage(&s, &w, "");
        assert_eq!(shown["total_compute_ms"], HOUR, "{late_ms}");
        sound(&s);
    }
}

#[test]
fn what_was_asked_for_again_holds_against_a_late_report_about_the_time_before() {
    let s = service_at("2026-06-01T00:00:00Z");
    let (w, other) = (s.workspace("A"), s.workspace("B"));
    let c = external(&s, &w, "large");
    report(&s, &c, &["2026-06-01T00:00:00Z"]);
    s.advance(2 * 3600);
    s.post(
        &format!("/computers/{c}/resize"),
        json!({ "size": "large" }),
    )
    .expect(200);
    s.post(
        &format!("/computers/{c}/move"),
        json!({ "workspace_id": w }),
    )
    .expect(200);
    s.advance(3600);
    let late =
        |id: &str, kind: &str, data: Value| event(id, kind, &c, "2026-06-01T01:00:00Z", data);
    let taken = send(
        &s,
        &[
            late("late-1", "resized", json!({ "size": "medium" })),
            late("late-2", "moved", json!({ "workspace_id": other })),
        ],
    );
    assert_eq!(taken["accepted"], 2, "{taken}");
    // Large in A, medium in B for the hour until both were asked for again, then large in A.
    let credits = |w: &str| usage(&s, w, "")["total_credits_used"].as_i64().unwrap();
    assert_eq!((credits(&w), credits(&other)), (240, 60));
    assert_eq!(computer(&s, &c)["size"], "large");
    assert_eq!(computer(&s, &c)["workspace_id"], w.as_str());
    sound(&s);
}

#[test]
fn a_change_before_the_catch_up_moves_no_deadline() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("A");
    let c = s.running(&w, "small");
    s.patch(
        &format!("/computers/{c}/auto-stop"),
        json!({ "seconds": 60 }),
    )
    .expect(200);
    // The service was down; nothing has caught up yet.
    s.clock.set(at("2026-06-01T05:00:00Z"));
    s.patch(
        &format!("/computers/{c}/auto-stop"),
        json!({ "seconds": 3600 }),
    )
    .expect(200);
    assert_eq!(computer(&s, &c)["status"], "stopped");
    s.advance(10);
    assert_eq!(usage(&s, &w, "")["total_compute_ms"], 60_000);
    sound(&s);
}

#[test]
fn a_move_into_a_workspace_that_is_deleted_before_does_not_happen() {
    let s = service_at("2026-06-01T00:00:00Z");
    let (a, w) = (s.workspace("A"), s.workspace("W"));
    let (c, other) = (external(&s, &a, "small"), external(&s, &a, "small"));
    report(&s, &c, &["2026-06-01T00:00:00Z"]);
    let moved = event(
        "m",
        "moved",
        &c,
        "2026-06-01T00:04:00Z",
        json!({ "workspace_id": w }),
    );
    send(&s, &[moved]);
    s.delete(&format!("/workspaces/{w}?force=true")).expect(200);
    s.travel_to(at("2026-06-01T01:00:00Z"));
    assert_eq!(computer(&s, &c)["workspace_id"], a);
    assert_eq!(usage(&s, &a, "")["total_compute_ms"], HOUR);
    sound(&s);
    // A report about it refuses nothing of the others.
    let time = "2026-06-01T00:59:00Z";
    let size = json!({ "size": "large" });
    let events = [
        event("1", "resized", &c, time, size),
        event("2", "started", &other, time, json!({})),
    ];
    assert_eq!(send(&s, &events)["accepted"], 2);
    assert_eq!(computer(&s, &other)["status"], "running");
}

fn project(s: &Service, workspace: &str, name: &str) -> String {
    let body = json!({ "name": name, "workspace_id": workspace });
    s.post("/projects", body).expect(201)["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn a_computer_that_turns_out_not_to_have_been_in_a_project_does_not_follow_it() {
    let s = service_at("2026-06-01T00:00:00Z");
    let (a, b) = (s.workspace("A"), s.workspace("B"));
    let (p, q) = (project(&s, &a, "p"), project(&s, &a, "q"));
    let body = json!({ "name": "c", "workspace_id": a, "project_id": p, "driver": "external" });
    let c = s.post("/computers", body).expect(201)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    report(&s, &c, &["2026-06-01T00:00:00Z"]);
    s.travel_to(at("2026-06-01T02:00:00Z"));
    s.post(&format!("/projects/{p}/move"), json!({ "workspace_id": b }))
        .expect(200);
    s.travel_to(at("2026-06-01T04:00:00Z"));
    let place = json!({ "workspace_id": a, "project_id": q });
    send(
        &s,
        &[event("m", "moved", &c, "2026-06-01T01:00:00Z", place)],
    );
    assert_eq!(usage(&s, &a, "")["total_compute_ms"], 4 * HOUR);
    assert_eq!(usage(&s, &b, "")["total_compute_ms"], 0);
    assert_eq!(computer(&s, &c)["workspace_id"], a);
    sound(&s);
}

#[test]
fn a_move_ahead_into_a_project_that_leaves_before_follows_it() {
    let s = service_at("2026-06-01T00:00:00Z");
    let (a, b) = (s.workspace("A"), s.workspace("B"));
    let p = project(&s, &a, "p");
    let c = external(&s, &a, "small");
    report(&s, &c, &["2026-06-01T00:00:00Z"]);
    let place = json!({ "workspace_id": a, "project_id": p });
    send(
        &s,
        &[event("m", "moved", &c, "2026-06-01T00:04:00Z", place)],
    );
    s.advance(60);
    s.post(&format!("/projects/{p}/move"), json!({ "workspace_id": b }))
        .expect(200);
    s.travel_to(at("2026-06-01T01:00:00Z"));
    let c = computer(&s, &c);
    assert_eq!(
        (&c["workspace_id"], &c["project_id"]),
        (&json!(b), &json!(p))
    );
    assert_eq!(usage(&s, &a, "")["total_compute_ms"], 4 * 60_000);
    assert_eq!(usage(&s, &b, "")["total_compute_ms"], 56 * 60_000);
    sound(&s);
}

#[test]
fn the_proof_asks_no_clock() {
    let (s, _, c) = stops_soon();
    sound(&s);
    // The instant has passed and nothing was caught up: as in a backup, or beside another clock.
    s.clock.set(at("2026-06-01T05:00:00Z"));
    sound(&s);
    s.run_due();
    sound(&s);
    let place = json!({ "workspace_id": s.default_workspace });
    send(
        &s,
        &[event("m", "moved", &c, "2026-06-01T05:02:00Z", place)],
    );
    s.delete(&format!("/computers/{c}")).expect(200);
    sound(&s);
    s.advance(3600);
    sound(&s);
}

#[test]
fn the_instant_of_a_correction_is_part_of_it() {
    let s = service_at("2026-06-01T02:00:00Z");
    let w = s.workspace("A");
    let body = |at: &str| json!({ "id": "a", "workspace_id": w, "amount_micros": -5, "reason": "r", "at": at });
    let post = |at: &str| s.post("/usage/adjustments", body(at));
    post("2026-06-01T00:01:00Z").expect(201);
    post("2026-06-01T00:01:00Z").expect(200);
    post("2026-06-01T00:02:00Z").refused(409, "EVENT_ID_REUSED");
    let undated = json!({ "id": "a", "workspace_id": w, "amount_micros": -5, "reason": "r" });
    s.post("/usage/adjustments", undated).expect(200);
}

#[test]
fn the_burn_rate_is_that_of_the_dated_prices() {
    let text = "[[rates]]\neffective_from = \"2026-06-01T01:00:00Z\"\nsmall = 7";
    let s = Service::with(Config {
        file: ConfigFile::parse(text).unwrap(),
        ..Config::default()
    });
    let burn = || s.get("/overview").expect(200)["burn_rate_credits_per_hour"].clone();
    s.clock.set(at("2026-06-01T00:00:00Z"));
    s.running(&s.default_workspace, "small");
    assert_eq!(burn(), 30);
    s.travel_to(at("2026-06-01T02:00:00Z"));
    assert_eq!(burn(), 7);
}

#[test]
fn sessions_are_exact_and_add_up() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("A");
    let c = external(&s, &w, "small");
    s.clock.set(at("2026-06-01T10:00:00Z"));
    let start = at("2026-06-01T00:00:00.250Z");
    let times: Vec<String> = (0..100)
        .flat_map(|n| [0, 49_001].map(|ms| start.plus_ms(n * 100_000 + ms).rfc3339_ms()))
        .collect();
    let times: Vec<&str> = times.iter().map(String::as_str).collect();
    report(&s, &c, &times);
    let mut rows = Vec::new();
    for page in 1..=4 {
        let list = s.get(&format!("/usage/sessions?page={page}&page_size=30"));
        rows.extend(list.expect(200)["data"].as_array().unwrap().clone());
    }
    let sum = |name: &str| rows.iter().map(|r| r[name].as_i64().unwrap()).sum::<i64>();
    let series = usage(&s, &w, "");
    assert_eq!(rows.len(), 100);
    assert_eq!(series["total_credits_used"], 40);
    assert_eq!(sum("credits_used"), 40);
    assert_eq!(series["total_credits_micros"], sum("credits_micros"));
    assert_eq!(sum("duration_ms"), 4_900_100);
    assert_eq!(rows[99]["started_at_exact"], "2026-06-01T00:00:00.250Z");
    assert_eq!(rows[99]["ended_at_exact"], "2026-06-01T00:00:49.251Z");
    assert_eq!(rows[99]["started_at"], "2026-06-01T00:00:00Z");
}

#[test]
fn an_echoed_period_gives_the_same_numbers() {
    let s = service_at("2026-06-01T00:00:00Z");
    let c = external(&s, &s.workspace("A"), "small");
    report(&s, &c, &["2026-06-01T00:00:00Z"]);
    s.clock.set(at("2026-06-01T00:16:40.750Z"));
    let first = s.get("/usage?period=7d&group_by=workspace_id").expect(200);
    assert_eq!(first["results"][0]["compute_ms"], 1_000_750);
    let text = |name: &str| first[name].as_str().unwrap().to_owned();
    let again = format!(
        "/usage?group_by=workspace_id&start={}&end={}",
        text("period_start"),
        text("period_end")
    );
    assert_eq!(s.get(&again).expect(200), first);
}

#[test]
fn micro_credits_of_the_rollup_are_those_of_the_series() {
    let s = service_at("2026-06-01T00:00:00Z");
    let mut spaces = Vec::new();
    for (n, size) in ["xs", "small", "medium", "large", "xl"].iter().enumerate() {
        let w = s.workspace(size);
        let c = external(&s, &w, size);
        let start = at("2026-06-01T00:00:01Z").plus_ms(7 * n as i64);
        report(&s, &c, &[&start.rfc3339_ms()]);
        spaces.push(w);
    }
    s.clock.set(at("2026-06-01T01:00:00Z"));
    for ms in 0..12 {
        let from = at("2026-06-01T00:10:00Z").plus_ms(ms).rfc3339_ms();
        let to = at("2026-06-01T00:40:00Z").plus_ms(7 * ms).rfc3339_ms();
        let rows = s.get(&format!(
            "/usage?group_by=workspace_id&start={from}&end={to}"
        ));
        let rows = rows.expect(200);
        for w in &spaces {
            let series = usage(&s, w, &format!("from={from}&to={to}"));
            let row = rows["results"].as_array().unwrap().iter();
            let row = row
                .clone()
                .find(|row| row["workspace_id"] == json!(w))
                .unwrap();
            assert_eq!(row["credits_micros"], series["total_credits_micros"]);
        }
    }
}

#[test]
fn a_batch_that_is_taken_in_part_says_so() {
    let s = service_at("2026-06-01T00:00:00Z");
    let c = external(&s, &s.workspace("A"), "small");
    let good = event("g", "started", &c, "2026-06-01T00:00:00Z", json!({}));
    let bad = event("b", "stopped", &c, "2026-06-01T01:00:00Z", json!({}));
    let whole = "/compute-events?all_or_nothing=1";
    let both = json!({ "events": [good, bad] });
    s.post(whole, both.clone()).invalid(&["events"]);
    assert_eq!(computer(&s, &c)["status"], "provisioning");
    let reply = s.post("/compute-events", both).expect(207);
    assert_eq!(
        (&reply["accepted"], &reply["rejected"][0]["id"]),
        (&json!(1), &json!("b"))
    );
    let again = s.post(whole, json!({ "events": [good] })).expect(200);
    assert_eq!(again["duplicates"], 1);
}

#[test]
fn late_reports_leave_the_prices_of_imported_history() {
    let old = service_at("2026-06-01T00:00:00Z");
    let w = old.workspace("A");
    let c = external(&old, &w, "small");
    report(&old, &c, &["2026-06-01T00:00:00Z"]);
    old.clock.set(at("2026-06-01T11:00:00Z"));
    send(
        &old,
        &[event(
            "end",
            "stopped",
            &c,
            "2026-06-01T10:00:00Z",
            json!({}),
        )],
    );
    let file = crate::capsule::export(&old, &old.key, &w);
    let new = Service::with(Config {
        file: ConfigFile::parse("[sizes.small]\ncredits_per_hour = 60").unwrap(),
        ..Config::default()
    });
    new.clock.set(at("2026-06-01T12:00:00Z"));
    crate::capsule::import(&new, &file, "").expect(201);
    assert_eq!(usage(&new, &w, "")["total_credits_used"], 300);
    let events = [
        event("s", "stopped", &c, "2026-06-01T01:00:00Z", json!({})),
        event("t", "started", &c, "2026-06-01T02:00:00Z", json!({})),
    ];
    send(&new, &events);
    let shown = usage(&new, &w, "");
    assert_eq!(shown["total_compute_ms"], 9 * HOUR);
    assert_eq!(shown["total_credits_used"], 270);
    sound(&new);
}

#[test]
fn past_usage_keeps_its_owner_and_its_processors() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("A");
    let body = json!({ "name": "p", "workspace_id": w, "external_project_id": "old" });
    let p = s.post("/projects", body).expect(201)["id"].clone();
    let body = json!({ "name": "c", "workspace_id": w, "project_id": p, "driver": "external", "external_user_id": "old" });
    let c = s.post("/computers", body).expect(201)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let vcpus = |s: &Service, n: i64| {
        let config = Config {
            file: ConfigFile::parse(&format!("[sizes.small]\nvcpus = {n}")).unwrap(),
            ..Config::default()
        };
        let app = workspaced::testing::App::new(s.app.store.clone(), config);
        let catalog = app.catalog.clone();
        s.app
            .store
            .write_blocking(move |tx| workspaced::testing::rates::run(tx, &catalog))
            .unwrap();
    };
    vcpus(&s, 2);
    report(&s, &c, &["2026-06-01T00:00:00Z"]);
    s.clock.set(at("2026-06-01T01:00:00Z"));
    vcpus(&s, 8);
    s.patch(
        &format!("/computers/{c}"),
        json!({ "external_user_id": "new" }),
    )
    .expect(200);
    let path = format!("/projects/{}", p.as_str().unwrap());
    s.patch(&path, json!({ "external_project_id": "new" }))
        .expect(200);
    s.clock.set(at("2026-06-01T02:00:00Z"));
    for group in ["external_user_id", "external_project_id"] {
        let path = format!("/usage?group_by={group}&start=2026-06-01T00:00:00Z");
        let rows = s.get(&path).expect(200);
        let mut rows: Vec<_> = rows["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| {
                (
                    r[group].as_str().unwrap().to_owned(),
                    r["compute_ms"].clone(),
                    r["computer_seconds"].clone(),
                )
            })
            .collect();
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        let expected = [
            ("new".to_owned(), json!(HOUR), json!(8 * 3600)),
            ("old".to_owned(), json!(HOUR), json!(2 * 3600)),
        ];
        assert_eq!(rows, expected);
    }

    // In another installation, with numbers of its own, it is the same.
    let groups = |s: &Service, group: &str| {
        let path =
            format!("/usage?group_by={group}&start=2026-06-01T00:00:00Z&end=2026-06-01T02:00:00Z");
        s.get(&path).expect(200)["results"].clone()
    };
    let target = |n: i64, from: &Service| {
        let file = crate::capsule::export(from, &from.key, &w);
        let new = Service::new();
        new.clock.set(from.app.store.now().plus_ms(HOUR));
        vcpus(&new, n);
        crate::capsule::import(&new, &file, "").expect(201);
        crate::capsule::import(&new, &file, "").expect(200);
        new
    };
    let new = target(4, &s);
    let newest = target(16, &new);
    for group in ["external_user_id", "external_project_id"] {
        assert_eq!(groups(&new, group), groups(&s, group));
        assert_eq!(groups(&newest, group), groups(&s, group));
    }
    // From then on the numbers of the new place hold.
    report(&new, &c, &["2026-06-01T03:00:00Z"]);
    new.clock.set(at("2026-06-01T04:00:00Z"));
    let rows = new.get("/usage?start=2026-06-01T03:00:00Z").expect(200);
    assert_eq!(rows["results"][0]["computer_seconds"], 4 * 3600);
}

#[test]
fn a_session_goes_on_through_an_event_of_this_instant_that_changes_nothing() {
    let s = service_at("2026-06-01T00:00:00Z");
    let c = external(&s, &s.workspace("A"), "small");
    report(&s, &c, &["2026-06-01T00:00:00Z"]);
    s.clock.set(at("2026-06-01T01:00:00Z"));
    let again = event("again", "started", &c, "2026-06-01T01:00:00Z", json!({}));
    send(&s, &[again]);
    let shown = s.get(&format!("/usage/sessions?computer_id={c}"));
    let shown = shown.expect(200)["data"].clone();
    assert_eq!(shown.as_array().unwrap().len(), 1);
    assert_eq!(shown[0]["ended_at"], Value::Null);
    assert_eq!(shown[0]["duration_ms"], HOUR);
    let larger = event(
        "larger",
        "resized",
        &c,
        "2026-06-01T01:00:00Z",
        json!({ "size": "large" }),
    );
    send(&s, &[larger]);
    let shown = s.get(&format!("/usage/sessions?computer_id={c}"));
    assert_eq!(
        shown.expect(200)["data"][0]["ended_at"],
        "2026-06-01T01:00:00Z"
    );
}

#[test]
fn a_deleted_workspace_is_exported_and_comes_in_as_deleted() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("A");
    let c = external(&s, &w, "small");
    report(&s, &c, &["2026-06-01T00:00:00Z"]);
    s.clock.set(at("2026-06-01T01:00:00Z"));
    let path = format!("/workspaces/{w}/export");
    s.delete(&format!("/workspaces/{w}?force=true")).expect(200);
    s.get(&path).refused(404, "NOT_FOUND");
    let path = format!("{path}?include_deleted=1");
    let file = s.call_as(&s.key, axum::http::Method::GET, &path, None).text;
    let (other, _) = s.other_tenant("other");
    s.call_as(&other, axum::http::Method::GET, &path, None)
        .refused(403, "FORBIDDEN");
    // The same as it is here; a live one of the same id would be another one.
    assert_eq!(
        crate::capsule::import(&s, &file, "").expect(200)["imported"],
        false
    );

    let new = Service::with(Config {
        file: ConfigFile::parse("[limits]\nmax_workspaces = 1").unwrap(),
        ..Config::default()
    });
    new.clock.set(at("2026-06-01T02:00:00Z"));
    let live = new.get("/workspaces").expect(200);
    let imported = crate::capsule::import(&new, &file, "").expect(201);
    assert_eq!(imported["deleted_at"], "2026-06-01T01:00:00Z");
    assert_eq!(
        crate::capsule::import(&new, &file, "").expect(200)["imported"],
        false
    );
    assert_eq!(new.get("/workspaces").expect(200), live);
    new.get(&format!("/workspaces/{w}"))
        .refused(404, "NOT_FOUND");
    for path in [
        format!(
            "/workspaces/{w}/usage?include_deleted=1&from=2026-06-01T00:00:00Z&to=2026-06-01T02:00:00Z"
        ),
        format!("/workspaces/{w}/usage/explain?include_deleted=1&ts=2026-06-01T00:00:00Z"),
        format!("/computers/{c}/events?include_deleted=1"),
        "/usage?group_by=workspace_id&start=2026-06-01T00:00:00Z".into(),
    ] {
        let (was, is) = (s.get(&path).expect(200), new.get(&path).expect(200));
        for field in [
            "total_credits_used",
            "credits_micros",
            "compute_ms",
            "results",
            "total",
        ] {
            assert_eq!(was[field], is[field], "{path}");
        }
    }
    sound(&new);

    // What is live in a deleted workspace is not believed.
    let lie = file.replace("\"status\":\"destroyed\"", "\"status\":\"stopped\"");
    assert_ne!(lie, file);
    let refused = crate::capsule::import(&new, &lie, "");
    assert!(refused.status.is_client_error(), "{}", refused.text);
}

#[test]
fn late_reports_about_what_was_deleted_are_shown() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("A");
    let c = external(&s, &w, "small");
    report(&s, &c, &["2026-06-01T00:00:00Z"]);
    s.clock.set(at("2026-06-01T02:00:00Z"));
    s.delete(&format!("/computers/{c}")).expect(200);
    s.clock.set(at("2026-06-01T03:00:00Z"));
    let late = [
        event(
            "stopped-late",
            "stopped",
            &c,
            "2026-06-01T01:00:00Z",
            json!({}),
        ),
        event(
            "started-after",
            "started",
            &c,
            "2026-06-01T02:30:00Z",
            json!({}),
        ),
    ];
    let reply = send(&s, &late);
    assert_eq!(reply["accepted"], 2);
    let deleted = json!([
        { "id": "stopped-late", "computer_id": c, "deleted_at": "2026-06-01T02:00:00Z", "counts": true },
        { "id": "started-after", "computer_id": c, "deleted_at": "2026-06-01T02:00:00Z", "counts": false },
    ]);
    assert_eq!(reply["deleted"], deleted);
    s.delete(&format!("/workspaces/{w}?force=true")).expect(200);

    // Nor is it larger, or elsewhere, by what is reported for a time after it.
    let elsewhere = s.workspace("B");
    let after = [
        event(
            "resized-after",
            "resized",
            &c,
            "2026-06-01T02:30:00Z",
            json!({ "size": "xl" }),
        ),
        event(
            "moved-after",
            "moved",
            &c,
            "2026-06-01T02:30:00Z",
            json!({ "workspace_id": elsewhere }),
        ),
        event(
            "resized-before",
            "resized",
            &c,
            "2026-06-01T01:30:00Z",
            json!({ "size": "medium" }),
        ),
    ];
    assert_eq!(send(&s, &after)["accepted"], 3);
    sound(&s);

    let events = s.get(&format!("/computers/{c}/events?include_deleted=1"));
    let events = events.expect(200);
    let shown = |id: &str| {
        let rows = events["data"].as_array().unwrap();
        rows.iter().find(|row| row["id"] == id).unwrap().clone()
    };
    for id in ["stopped-late", "started-after"] {
        assert_eq!(shown(id)["recorded_at"], "2026-06-01T03:00:00.000Z");
    }
    assert_eq!(shown("started-after")["billable"], false);
    let path = format!("/workspaces/{w}/usage?include_deleted=1");
    assert_eq!(s.get(&path).expect(200)["total_compute_ms"], HOUR);
    let path = format!("/workspaces/{w}/usage/explain?include_deleted=1&ts=2026-06-01T00:00:00Z");
    let explained = s.get(&path).expect(200);
    assert_eq!(explained["intervals"][0]["closed_by"]["id"], "stopped-late");
    sound(&s);
    let path = format!("/workspaces/{w}/export?include_deleted=1");
    let file = s.call_as(&s.key, axum::http::Method::GET, &path, None).text;
    let new = Service::new();
    new.clock.set(at("2026-06-01T04:00:00Z"));
    crate::capsule::import(&new, &file, "").expect(201);
    sound(&new);
}

#[test]
fn the_last_bill_of_what_was_deleted_can_be_explained() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("A");
    let c = external(&s, &w, "small");
    report(&s, &c, &["2026-06-01T00:00:00Z"]);
    s.clock.set(at("2026-06-01T01:00:00Z"));
    let body = json!({ "id": "a", "workspace_id": w, "amount_micros": -5, "reason": "r" });
    s.post("/usage/adjustments", body).expect(201);
    s.delete(&format!("/workspaces/{w}?force=true")).expect(200);
    s.clock.set(at("2026-06-01T02:00:00Z"));
    for (path, field) in [
        (format!("/workspaces/{w}/usage?"), "total_compute_ms"),
        (
            format!("/workspaces/{w}/usage/explain?ts=2026-06-01T00:00:00Z&"),
            "compute_ms",
        ),
    ] {
        s.get(&path).refused(404, "NOT_FOUND");
        let shown = s.get(&format!("{path}include_deleted=1")).expect(200);
        assert_eq!(shown[field], HOUR);
    }
    let events = s.get(&format!("/computers/{c}/events?include_deleted=1"));
    assert_eq!(events.expect(200)["total"], 3);
    let rows = s.get("/usage/adjustments").expect(200);
    assert_eq!(rows["total"], 1);
    assert_eq!(rows["data"][0]["amount_micros"], -5);
    let (other, _) = s.other_tenant("other");
    let path = format!("/workspaces/{w}/usage?include_deleted=1");
    s.call_as(&other, axum::http::Method::GET, &path, None)
        .refused(403, "FORBIDDEN");
}

#[test]
fn a_workspace_that_is_still_being_deleted_is_not_exported_half() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("A");
    let c = external(&s, &w, "small");
    report(&s, &c, &["2026-06-01T00:00:00Z"]);
    // As a deletion of many computers leaves it between two turns.
    let between = |tx: &workspaced::testing::WriteTx<'_>| {
        tx.execute(
            "UPDATE workspaces SET deleted_at = ?1 WHERE name = 'A'",
            [tx.now()],
        )?;
        Ok(())
    };
    s.app.store.write_blocking(between).unwrap();
    let path = format!("/workspaces/{w}/export?include_deleted=1");
    let told = s.get(&path).refused(409, "CONFLICT");
    assert!(told.contains("still being deleted"), "{told}");
}
