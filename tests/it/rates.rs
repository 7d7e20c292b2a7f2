//! Rates that an organization or a workspace has instead of the size table.

use axum::http::Method;
use serde_json::{Value, json};

use crate::harness::{Service, at};
use crate::headroom::everything;
use crate::usage::{event, external, report, service_at, usage};

/// The job that follows prices.
fn apply(s: &Service) -> usize {
    let app = s.app.clone();
    s.app
        .store
        .write_blocking(move |tx| workspaced::testing::rates::run(tx, &app.catalog))
        .unwrap()
}

fn go_to(s: &Service, time: &str) {
    s.travel_to(at(time));
    apply(s);
}

fn credits(s: &Service, w: &str) -> i64 {
    usage(s, w, "window=30d")["total_credits_micros"]
        .as_i64()
        .unwrap()
}

fn sound(s: &Service) {
    let proof = s.get("/usage/verify").expect(200);
    assert_eq!(proof["ok"], true, "{proof}");
    let before = s.fingerprint();
    s.app
        .store
        .write_blocking(workspaced::testing::rebuild)
        .unwrap();
    assert_eq!(s.fingerprint(), before);
}

const MICROS: i64 = 1_000_000;

#[test]
fn what_was_agreed_holds_from_then_on_and_never_before() {
    let s = service_at("2026-06-01T00:00:00Z");
    apply(&s);
    let [a, b] = ["A", "B"].map(|name| s.workspace(name));
    let c = s.running(&a, "small");
    s.running(&b, "small");
    go_to(&s, "2026-06-01T10:00:00Z");
    let near = |found: i64, wanted: i64| assert!((found - wanted).abs() <= 1, "{found} {wanted}");
    let [first_a, first_b] = [credits(&s, &a), credits(&s, &b)];

    // For the whole organization at noon, for one of its workspaces at two; the job comes hours late.
    s.post(
        "/admin/rates",
        json!({ "effective_from": "2026-06-01T12:00:00Z", "rates": { "small": 20 } }),
    )
    .expect(200);
    let own = json!({ "workspace_id": a, "effective_from": "2026-06-01T14:00:00Z", "rates": { "small": 7 } });
    s.post("/admin/rates", own).expect(200);
    s.travel_to(at("2026-06-01T20:00:00Z"));
    assert_eq!(apply(&s), 2, "two computers, one of them twice");
    assert_eq!(apply(&s), 0, "once");
    near(
        credits(&s, &a),
        first_a + (2 * 30 + 2 * 20 + 6 * 7) * MICROS,
    );
    near(credits(&s, &b), first_b + (2 * 30 + 8 * 20) * MICROS);
    sound(&s);

    // Dated in the past: from now on. Nothing that was metered changes.
    let before = (credits(&s, &a), credits(&s, &b));
    let past = json!({ "workspace_id": b, "effective_from": "2026-06-01T00:00:00Z", "rates": { "small": 100 } });
    let set = s.post("/admin/rates", past).expect(200);
    assert_eq!(set["data"][0]["effective_from"], "2026-06-01T00:00:00Z");
    assert_eq!(set["data"][0]["holds_from"], "2026-06-01T20:00:00Z");
    assert_eq!(set["data"][0]["begun"], true);
    apply(&s);
    assert_eq!((credits(&s, &a), credits(&s, &b)), before);
    go_to(&s, "2026-06-01T21:00:00Z");
    near(credits(&s, &b), before.1 + 100 * MICROS);

    // Null: again what holds above, of the organization and then of the size table.
    s.post(
        "/admin/rates",
        json!({ "workspace_id": b, "rates": { "small": null } }),
    )
    .expect(200);
    go_to(&s, "2026-06-01T22:00:00Z");
    near(credits(&s, &b), before.1 + 120 * MICROS);
    let none = json!({ "rates": { "small": null } });
    let effective = s.post("/admin/rates", none).expect(200)["effective"].clone();
    assert_eq!(
        (&effective["small"]["rate"], &effective["small"]["list"]),
        (&json!(30), &json!("sizes"))
    );
    go_to(&s, "2026-06-01T23:00:00Z");
    near(credits(&s, &b), before.1 + 150 * MICROS);
    near(credits(&s, &a), before.0 + 3 * 7 * MICROS);

    // What is shown beside: the burn rate, the prices of the organization, why it cost what it cost.
    let overview = s.get("/overview").expect(200);
    assert_eq!(overview["burn_rate_credits_per_hour"], 37);
    assert_eq!(s.get("/compute/pricing").expect(200)["rates"]["small"], 30);
    let why = |time: &str| {
        let path = format!("/workspaces/{a}/usage/explain?ts={time}");
        let interval = s.get(&path).expect(200)["intervals"][0].clone();
        (interval["rate"].clone(), interval["rate_from"].clone())
    };
    for (time, rate, from) in [
        (
            "2026-06-01T11:00:00Z",
            30,
            json!({ "list": "sizes", "since": null }),
        ),
        (
            "2026-06-01T13:00:00Z",
            20,
            json!({ "list": "organization", "since": "2026-06-01T12:00:00.000Z" }),
        ),
        (
            "2026-06-01T15:00:00Z",
            7,
            json!({ "list": "workspace", "since": "2026-06-01T14:00:00.000Z" }),
        ),
    ] {
        assert_eq!(why(time), (json!(rate), from), "{time}");
    }
    let events = s.get(&format!("/computers/{c}/events")).expect(200);
    assert_eq!(events["data"][0]["type"], "computer.repriced");
    let log = s.get("/audit-log?type=rates.updated&limit=100").expect(200);
    assert_eq!(log["data"].as_array().unwrap().len(), 5);
    sound(&s);

    // A statement has a line for each rate, and says why.
    s.travel_to(at("2026-07-02T00:00:00Z"));
    let made = s
        .post(
            &format!("/workspaces/{a}/statements"),
            json!({ "period": "2026-06" }),
        )
        .expect(201);
    let lines = made["lines"].as_array().unwrap();
    let rates: Vec<&Value> = lines.iter().map(|line| &line["rate"]).collect();
    assert_eq!(rates, [7, 20, 30]);
    let line = lines[0]["line"].as_i64().unwrap();
    let path = format!("/workspaces/{a}/statements/1/explain?line={line}");
    let explained = s.get(&path).expect(200);
    assert_eq!(
        explained["intervals"][0]["rate_from"]["list"], "workspace",
        "{explained}"
    );
}

#[test]
fn what_lies_ahead_is_replaced_or_taken_back_and_what_has_begun_stays() {
    let s = service_at("2026-06-01T00:00:00Z");
    s.put("/tenant/settings", json!({ "tz": "Asia/Kolkata" }))
        .expect(200);
    let set = |from: &str, rates: Value| {
        s.post(
            "/admin/rates",
            json!({ "effective_from": from, "rates": rates }),
        )
        .expect(200)
    };
    // A date is a midnight there.
    let first = set("2026-06-02", json!({ "small": 9, "xl": 99 }));
    assert_eq!(first["data"][0]["holds_from"], "2026-06-01T18:30:00Z");
    assert_eq!(first["effective"]["small"]["rate"], 30, "not yet");
    let second = set("2026-06-02", json!({ "small": 8 }));
    assert_eq!(second["data"].as_array().unwrap().len(), 2);
    assert_eq!(second["data"][0]["rate"], 8);
    set("2026-06-05", json!({ "small": 5 }));
    let withdraw = |body: Value| s.post("/admin/rates/withdraw", body);
    withdraw(json!({ "effective_from": "2026-06-03" })).invalid(&["effective_from"]);
    let left = withdraw(json!({ "effective_from": "2026-06-05" })).expect(200);
    assert_eq!(left["data"].as_array().unwrap().len(), 2);
    go_to(&s, "2026-06-02T00:00:00Z");
    withdraw(json!({})).invalid(&["effective_from"]);
    let held = s.get("/tenant/rates").expect(200);
    assert_eq!(held["effective"]["small"]["rate"], 8);
    assert_eq!(held["effective"]["small"]["list"], "organization");
    assert_eq!(
        held["effective"]["xs"],
        json!({ "rate": 15, "list": "sizes", "since": null })
    );
    set("2026-07-01", json!({ "xs": 1 }));
    let left = withdraw(json!({})).expect(200);
    assert_eq!(left["data"].as_array().unwrap().len(), 2);
}

#[test]
fn operators_set_rates_of_any_organization_and_others_see_their_own() {
    let s = service_at("2026-06-01T00:00:00Z");
    let (beta, beta_id, beta_workspace) = s.tenant(
        "beta",
        workspaced::testing::NewKey {
            key_type: workspaced::testing::KeyType::Admin,
            ..workspaced::testing::NewKey::named("first")
        },
    );
    let w = s.workspace("Mine");
    let body =
        json!({ "tenant_id": beta_id, "workspace_id": beta_workspace, "rates": { "small": 1 } });
    let theirs = |method, path: &str, body| s.call_as(&beta, method, path, body);
    assert_eq!(
        theirs(Method::POST, "/admin/rates", Some(body.clone())).status,
        403
    );
    s.post("/admin/rates", body).expect(200);
    let wrong = json!({ "tenant_id": beta_id, "workspace_id": w, "rates": { "small": 1 } });
    assert_eq!(s.post("/admin/rates", wrong).status, 404);
    let path = format!("/workspaces/{beta_workspace}/rates");
    let seen = theirs(Method::GET, &path, None).expect(200);
    assert_eq!(seen["effective"]["small"]["rate"], 1);
    assert_eq!(s.get(&path).status, 403);
    let organization = theirs(Method::GET, "/tenant/rates", None).expect(200);
    assert_eq!(organization["effective"]["small"]["rate"], 30);
    assert_eq!(organization["data"], json!([]));
    // It is in their log, not in that of the operator.
    let log = theirs(Method::GET, "/audit-log?type=rates.updated", None).expect(200);
    assert_eq!(log["data"].as_array().unwrap().len(), 1);
    let log = s.get("/audit-log?type=rates.updated").expect(200);
    assert_eq!(log["data"], json!([]));

    for (body, field) in [
        (json!({}), "rates"),
        (json!({ "rates": { "huge": 1 } }), "rates.huge"),
        (json!({ "rates": { "small": -1 } }), "rates.small"),
        (json!({ "rates": { "small": 100_001 } }), "rates.small"),
        (
            json!({ "rates": { "small": 1 }, "effective_from": "soon" }),
            "effective_from",
        ),
    ] {
        s.post("/admin/rates", body).invalid(&[field]);
    }
    assert_eq!(s.count("SELECT count(*) FROM agreed_rates"), 1);
}

#[test]
fn a_move_brings_the_rate_of_where_it_goes_also_where_that_is_learned_late() {
    let told = |late: bool| {
        let s = service_at("2026-06-01T00:00:00Z");
        let [a, b] = ["A", "B"].map(|name| s.workspace(name));
        let c = external(&s, &a, "small");
        for (w, rate) in [(&a, 10), (&b, 100)] {
            s.post(
                "/admin/rates",
                json!({ "workspace_id": w, "rates": { "small": rate } }),
            )
            .expect(200);
        }
        // While it runs the price of each becomes another.
        for (w, rate, from) in [
            (&a, 20, "2026-06-01T04:00:00Z"),
            (&b, 200, "2026-06-01T06:00:00Z"),
        ] {
            let body =
                json!({ "workspace_id": w, "effective_from": from, "rates": { "small": rate } });
            s.post("/admin/rates", body).expect(200);
        }
        let start = event("1", "started", &c, "2026-06-01T01:00:00Z", json!({}));
        let to = json!({ "workspace_id": b });
        let moved = event("2", "moved", &c, "2026-06-01T03:00:00Z", to);
        let stop = event("3", "stopped", &c, "2026-06-01T08:00:00Z", json!({}));
        s.clock.set(at("2026-06-01T12:00:00Z"));
        let batches = if late {
            vec![vec![start, stop], vec![moved]]
        } else {
            vec![vec![start, moved, stop]]
        };
        for batch in batches {
            s.post("/compute-events", json!({ "events": batch }))
                .expect(200);
            apply(&s);
        }
        sound(&s);
        [credits(&s, &a), credits(&s, &b)]
    };
    let wanted = [2 * 10 * MICROS, (3 * 100 + 2 * 200) * MICROS];
    assert_eq!(told(false), wanted);
    assert_eq!(told(true), wanted);
}

#[test]
fn what_was_dated_ahead_of_the_clock_gets_the_new_rate() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("A");
    let c = external(&s, &w, "small");
    s.clock.set(at("2026-06-01T01:00:00Z"));
    // Four minutes ahead, which is taken; two minutes later another price is agreed for one after that.
    report(&s, &c, &["2026-06-01T01:04:00Z"]);
    let body = json!({ "workspace_id": w, "effective_from": "2026-06-01T01:02:00Z", "rates": { "small": 60 } });
    s.post("/admin/rates", body).expect(200);
    s.clock.set(at("2026-06-01T02:04:00Z"));
    apply(&s);
    assert_eq!(credits(&s, &w), 60 * MICROS);
    sound(&s);
}

#[test]
fn a_rehearsal_says_what_the_real_one_says_and_changes_nothing() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("A");
    let body = json!({ "workspace_id": w, "rates": { "small": 3, "large": null } });
    let before = everything(&s);
    let dry = s
        .post("/admin/rates?dry_run=true", body.clone())
        .expect(200);
    assert_eq!(everything(&s), before);
    assert_eq!(s.post("/admin/rates", body).expect(200), dry);
}

#[test]
fn agreed_rates_travel_as_prices_of_the_past() {
    let old = service_at("2026-06-01T00:00:00Z");
    apply(&old);
    let w = old.workspace("A");
    let c = external(&old, &w, "small");
    old.post(
        "/admin/rates",
        json!({ "workspace_id": w, "rates": { "small": 5 } }),
    )
    .expect(200);
    // What is agreed for later is between those two, and stays here.
    let later =
        json!({ "workspace_id": w, "effective_from": "2026-07-01", "rates": { "small": 1 } });
    old.post("/admin/rates", later).expect(200);
    report(&old, &c, &["2026-06-01T00:00:00Z"]);
    old.clock.set(at("2026-06-01T11:00:00Z"));
    let stop = event("end", "stopped", &c, "2026-06-01T10:00:00Z", json!({}));
    old.post("/compute-events", json!({ "events": [stop] }))
        .expect(200);
    assert_eq!(credits(&old, &w), 50 * MICROS);
    let file = crate::capsule::export(&old, &old.key, &w);

    let new = service_at("2026-06-01T12:00:00Z");
    apply(&new);
    crate::capsule::import(&new, &file, "").expect(201);
    assert_eq!(credits(&new, &w), 50 * MICROS);
    let late = [
        event("s", "stopped", &c, "2026-06-01T01:00:00Z", json!({})),
        event("t", "started", &c, "2026-06-01T02:00:00Z", json!({})),
    ];
    new.post("/compute-events", json!({ "events": late }))
        .expect(200);
    assert_eq!(credits(&new, &w), 45 * MICROS);
    let path = format!("/workspaces/{w}/usage/explain?ts=2026-06-01T03:00:00Z");
    let explained = new.get(&path).expect(200);
    assert_eq!(explained["intervals"][0]["rate_from"]["list"], "imported");
    assert_eq!(new.count("SELECT count(*) FROM agreed_rates"), 0);
    sound(&new);
}
