//! Budgets: thresholds that are told once, starts that are refused, and what will be used up when.

use axum::http::Method;
use proptest::prelude::*;
use serde_json::{Value, json};
use workspaced::testing::{Config, WebhookReach, look_at_budgets};

use crate::harness::{Service, at, runtime};
use crate::usage::{external, report, service_at};

fn look(s: &Service) -> usize {
    let looked = look_at_budgets(&s.app.store, &s.app.fleet);
    runtime().block_on(looked).unwrap()
}

/// Thresholds that were told of, in their order.
fn told(s: &Service) -> Vec<i64> {
    let log = s
        .get("/audit-log?type=budget.threshold&limit=100")
        .expect(200);
    let rows = log["data"].as_array().unwrap();
    let mut all: Vec<i64> = rows
        .iter()
        .map(|row| row["metadata"]["after"]["threshold"].as_i64().unwrap())
        .collect();
    all.reverse();
    all
}

/// A clinic with a small computer (30 credits an hour) that runs since the first of June 2029.
fn running() -> (Service, String, String) {
    let s = Service::with(Config {
        webhook_reach: WebhookReach::Loopback,
        ..Config::default()
    });
    s.clock.set(at("2029-05-31T23:59:59Z"));
    let w = s.workspace("Dr. Smith Clinic");
    let c = s.running(&w, "small");
    (s, w, c)
}

#[test]
fn a_threshold_is_told_once_in_a_period() {
    let (mut s, w, _) = running();
    // Nobody listens there; what is sent is written down all the same.
    let hook = json!({ "url": "http://127.0.0.1:1024/", "events": ["budget.threshold"] });
    let hook = s.post("/webhooks", hook).expect(201)["data"]["id"].clone();
    let budget = format!("/workspaces/{w}/budget");
    s.get(&budget).refused(404, "NOT_FOUND");
    let set = s.put(&budget, json!({ "credits": 100 })).expect(200);
    assert_eq!(set["notify_at"], json!([50, 80, 100]));
    assert_eq!(
        (&set["period"], &set["on_exceeded"]),
        (&json!("month"), &json!("notify"))
    );
    s.advance(2 * 3600 - 3000);
    assert_eq!((look(&s), told(&s)), (0, vec![]));
    s.advance(3000);
    assert_eq!((look(&s), told(&s)), (1, vec![50]));
    assert_eq!((look(&s), look(&s)), (0, 0));
    s.restart();
    assert_eq!(look(&s), 0);
    s.advance(2 * 3600);
    assert_eq!((look(&s), told(&s)), (2, vec![50, 80, 100]));
    let deliveries = s.get(&format!("/webhooks/{}/deliveries", hook.as_str().unwrap()));
    assert_eq!(deliveries.expect(200)["total"], 3);
    // What is set again has been told; another threshold has not.
    s.put(&budget, json!({ "credits": 100, "notify_at": [50, 120] }))
        .expect(200);
    assert_eq!(told(&s), [50, 80, 100, 120]);
    let view = s.get(&budget).expect(200);
    assert_eq!(view["used_micros"], 120_000_000);
    assert_eq!(
        (&view["used_percent"], &view["exceeded"]),
        (&json!(120), &json!(true))
    );
    assert_eq!(view["alerts"].as_array().unwrap().len(), 4);
    // July is another period.
    s.travel_to(at("2029-07-01T02:00:00Z"));
    assert_eq!((look(&s), told(&s).len()), (1, 5));
    assert_eq!(
        s.get(&budget).expect(200)["alerts"][0]["at"],
        "2029-07-01T02:00:00Z"
    );
}

#[test]
fn a_budget_that_is_used_up_refuses_starts_like_any_limit() {
    let (s, w, c) = running();
    let budget = format!("/workspaces/{w}/budget");
    let other = s.workspace("Other");
    let body = json!({ "credits": 30, "on_exceeded": "refuse_start" });
    s.put(&budget, body.clone()).expect(200);
    s.post(&format!("/computers/{c}/stop"), json!({}))
        .expect(200);
    s.advance(1);
    s.post(&format!("/computers/{c}/start"), json!({}))
        .expect(200);
    s.advance(2 * 3600);
    look(&s);
    // What runs goes on.
    assert_eq!(
        s.get(&format!("/computers/{c}")).expect(200)["status"],
        "running"
    );
    s.post(&format!("/computers/{c}/stop"), json!({}))
        .expect(200);
    s.advance(1);
    let new = json!({ "name": "pc", "workspace_id": w });
    for (path, body) in [
        (format!("/computers/{c}/start"), json!({})),
        ("/computers".into(), new.clone()),
        (format!("/computers/{c}/clone"), json!({ "name": "copy" })),
    ] {
        let answer = s.post(&path, body);
        let message = answer.refused(422, "LIMIT_EXCEEDED");
        assert!(message.contains("30 credits, is used up"), "{message}");
        assert!(
            message.contains(&format!("PUT /api/v1{budget}")),
            "{message}"
        );
        assert_eq!(
            answer.json()["error"]["details"],
            json!({ "limit": "budget", "scope": "workspace", "max": 30, "current": 59, "source": "budget" })
        );
    }
    // Others may, and so may an agent outside, whom nobody here can stop.
    s.running(&other, "small");
    external(&s, &w, "small");
    assert_eq!(s.get(&budget).expect(200)["refusing"], true);
    // Raised, it starts; lowered again it does not; deleted, it starts.
    s.put(
        &budget,
        json!({ "credits": 300, "on_exceeded": "refuse_start" }),
    )
    .expect(200);
    s.post("/computers", new.clone()).expect(201);
    s.put(&budget, body.clone()).expect(200);
    s.post(&format!("/computers/{c}/start"), json!({}))
        .refused(422, "LIMIT_EXCEEDED");
    assert_eq!(s.delete(&budget).expect(200), json!({ "deleted": true }));
    s.delete(&budget).refused(404, "NOT_FOUND");
    s.post(&format!("/computers/{c}/start"), json!({}))
        .expect(200);
    // That of the organization holds in all of it, until its period ends.
    let used = s.get("/usage/summary").expect(200)["total_credits"]
        .as_i64()
        .unwrap();
    assert!(used > 30);
    s.put("/tenant/budget", body).expect(200);
    let text = s
        .post("/computers", json!({ "name": "x", "workspace_id": other }))
        .refused(422, "LIMIT_EXCEEDED");
    assert!(text.contains("2029-07-01T00:00:00Z"), "{text}");
    s.clock.set(at("2029-07-01T00:00:00Z"));
    s.post("/computers", json!({ "name": "x", "workspace_id": other }))
        .expect(201);
}

#[test]
fn a_budget_that_stops_stops_what_runs() {
    let (s, w, c) = running();
    let other = s.workspace("Other");
    let elsewhere = s.running(&other, "small");
    s.put(
        &format!("/workspaces/{w}/budget"),
        json!({ "credits": 30, "on_exceeded": "stop", "period": "day" }),
    )
    .expect(200);
    s.advance(3590);
    look(&s);
    let status = |id: &str| s.get(&format!("/computers/{id}")).expect(200)["status"].clone();
    assert_eq!(status(&c), "running");
    s.advance(60);
    look(&s);
    s.advance(1);
    assert_eq!(
        (status(&c), status(&elsewhere)),
        (json!("stopped"), json!("running"))
    );
    s.post(&format!("/computers/{c}/start"), json!({}))
        .refused(422, "LIMIT_EXCEEDED");
    let log = s
        .get(&format!(
            "/audit-log?type=computer.stopping&resource_id={c}"
        ))
        .expect(200);
    assert_eq!(log["data"][0]["actor_type"], "system");
    s.travel_to(at("2029-06-02T00:00:00Z"));
    s.post(&format!("/computers/{c}/start"), json!({}))
        .expect(200);
}

#[test]
fn the_forecast_goes_by_the_last_seven_days() {
    let s = service_at("2029-06-01T00:00:00Z");
    let w = s.workspace("Clinic");
    let c = external(&s, &w, "small");
    s.put("/tenant/settings", json!({ "tz": "America/New_York" }))
        .expect(200);
    s.clock.set(at("2029-06-11T04:00:00Z"));
    // 70 credits a week, in this one.
    report(&s, &c, &["2029-06-05T10:00:00Z", "2029-06-05T12:20:00Z"]);
    let budget = format!("/workspaces/{w}/budget");
    let view = s.put(&budget, json!({ "credits": 100 })).expect(200);
    assert_eq!(view["period_start"], "2029-06-01T04:00:00Z");
    assert_eq!(
        (&view["used_micros"], &view["used_percent"]),
        (&json!(70_000_000), &json!(70))
    );
    assert_eq!(view["burn_micros_per_day"], 10_000_000);
    // Twenty days are left.
    assert_eq!(view["forecast_micros"], 270_000_000);
    assert_eq!(view["used_up_at"], "2029-06-14T04:00:00Z");
    assert_eq!(view["used_up_on"], "2029-06-14");
    let enough = s.put(&budget, json!({ "credits": 1000 })).expect(200);
    assert_eq!(enough["used_up_at"], json!(null));
    let list = s.get("/budgets").expect(200);
    assert_eq!((&list["total"], &list["data"][0]), (&json!(1), &enough));
}

#[test]
fn a_project_has_a_budget_wherever_it_is() {
    let s = service_at("2029-06-01T00:00:00Z");
    let (a, b) = (s.workspace("A"), s.workspace("B"));
    let project = s
        .post("/projects", json!({ "name": "Site", "workspace_id": a }))
        .expect(201)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let pc = |name: &str| {
        let body = json!({ "name": name, "project_id": project, "size": "small" });
        s.post("/computers", body).expect(201)["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    pc("one");
    let budget = format!("/projects/{project}/budget");
    s.put(
        &budget,
        json!({ "credits": 60, "on_exceeded": "refuse_start", "notify_at": [100] }),
    )
    .expect(200);
    s.running(&a, "large");
    s.advance(3600);
    s.post(
        &format!("/projects/{project}/move"),
        json!({ "workspace_id": b }),
    )
    .expect(200);
    s.advance(3600);
    assert_eq!((look(&s), told(&s)), (1, vec![100]));
    assert_eq!(s.get(&budget).expect(200)["used_micros"], 60_000_000);
    s.post(
        "/computers",
        json!({ "name": "two", "project_id": project }),
    )
    .refused(422, "LIMIT_EXCEEDED");
    s.computer(&b, "small");
}

#[test]
fn budgets_that_cannot_be_are_refused_and_keys_see_their_own() {
    let s = Service::new();
    let w = s.workspace("W");
    let path = format!("/workspaces/{w}/budget");
    let wrong =
        json!({ "credits": 0, "period": "year", "notify_at": [0, 5000], "on_exceeded": "explode" });
    s.put(&path, wrong)
        .invalid(&["credits", "notify_at", "on_exceeded", "period"]);
    s.put(&path, json!({})).invalid(&["credits"]);
    s.put(&path, json!({ "credits": 10 })).expect(200);
    let (other, _) = s.other_tenant("other");
    let call = |key: &str, method: Method, body: Option<Value>| s.call_as(key, method, &path, body);
    let body = || Some(json!({ "credits": 1 }));
    call(&other, Method::GET, None).refused(403, "FORBIDDEN");
    call(&other, Method::PUT, body()).refused(403, "FORBIDDEN");
    call(&other, Method::DELETE, None).refused(403, "FORBIDDEN");
    assert_eq!(
        s.call_as(&other, Method::GET, "/budgets", None).expect(200)["total"],
        0
    );
    let own = s
        .post("/api-keys", json!({ "name": "own", "workspace_id": w }))
        .expect(201);
    let own = own["data"]["key"].as_str().unwrap();
    assert_eq!(call(own, Method::GET, None).expect(200)["credits"], 10);
    call(own, Method::PUT, body()).refused(403, "FORBIDDEN");
    let log = s.get("/audit-log?type=budget.updated").expect(200);
    assert_eq!(log["data"].as_array().unwrap().len(), 1);
    // The budget of what is deleted is nobody's.
    s.delete(&format!("/workspaces/{w}")).expect(200);
    assert_eq!(s.get("/budgets").expect(200)["total"], 0);
    look(&s);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    /// However often it is looked at, killed and told late, each threshold of each month is told once, and
    /// only when it was reached.
    #[test]
    fn thresholds_fire_exactly_once(steps in prop::collection::vec((0..4_u8, 1..100_000_i64), 1..25)) {
        let (mut s, w, _) = running();
        s.put(&format!("/workspaces/{w}/budget"), json!({ "credits": 4000, "notify_at": [10, 50, 100] })).expect(200);
        for (kind, seconds) in steps {
            match kind {
                0 => s.restart(),
                1 => {
                    look(&s);
                }
                _ => s.advance(seconds * 10),
            }
        }
        look(&s);
        look(&s);
        let twice = s.count(
            "SELECT count(*) FROM (SELECT 1 FROM audit_log WHERE type = 'budget.threshold'
             GROUP BY after ->> 'threshold', after ->> 'period_start' HAVING count(*) > 1)",
        );
        prop_assert_eq!(twice, 0);
        let log = s.count("SELECT count(*) FROM audit_log WHERE type = 'budget.threshold'");
        prop_assert_eq!(log, s.count("SELECT count(*) FROM budget_alerts"));
        let view = s.get(&format!("/workspaces/{w}/budget")).expect(200);
        let reached = [10, 50, 100].iter().filter(|t| view["used_percent"].as_i64().unwrap() >= **t).count();
        prop_assert_eq!(view["alerts"].as_array().unwrap().len(), reached);
    }
}
