//! What an organization is given and spends: one rounding for all, each gift and correction for itself, and
//! who runs out.

use serde_json::{Value, json};
use workspaced::testing::low;

use crate::harness::{Service, at};
use crate::usage::{event, external, report, service_at, usage};

fn number(reply: &Value, field: &str) -> i64 {
    reply[field]
        .as_i64()
        .unwrap_or_else(|| panic!("{field} in {reply}"))
}

fn sum(rows: &Value, field: &str) -> i64 {
    rows.as_array()
        .unwrap()
        .iter()
        .map(|row| number(row, field))
        .sum()
}

/// Seven workspaces, each of which has used 0.7 credits: 4.9 together.
fn sevenths() -> Service {
    let s = service_at("2026-06-01T00:00:00Z");
    for n in 0..7 {
        let c = external(&s, &s.workspace(&format!("W{n}")), "small");
        let events = [
            event(
                &format!("a{n}"),
                "started",
                &c,
                "2026-06-01T00:00:00Z",
                json!({}),
            ),
            event(
                &format!("b{n}"),
                "stopped",
                &c,
                "2026-06-01T00:01:24Z",
                json!({}),
            ),
        ];
        s.clock.set(at("2026-06-01T02:00:00Z"));
        s.post("/compute-events", json!({ "events": events }))
            .expect(200);
        s.clock.set(at("2026-06-01T00:00:00Z"));
    }
    s.clock.set(at("2026-06-01T03:00:00Z"));
    s
}

#[test]
fn what_an_organization_used_is_rounded_once() {
    let s = sevenths();
    let series = s.get("/usage/series?window=24h").expect(200);
    assert_eq!(number(&series, "total_credits_micros"), 4_900_000);
    assert_eq!(number(&series, "total_credits_used"), 4);
    assert_eq!(sum(&series["series"], "credits_used"), 4);
    // 84 s are 0.0233 hours; seven times that is 0.1633, not 0.1631.
    assert_eq!(series["total_compute_hours"], 0.1633);
    for path in ["/usage/summary", "/credits/usage"] {
        assert_eq!(
            number(&s.get(path).expect(200), "total_credits"),
            4,
            "{path}"
        );
    }
    for by in ["workspace_id", "external_user_id", "external_project_id"] {
        let rollup = s.get(&format!("/usage?group_by={by}")).expect(200);
        assert_eq!(number(&rollup, "total_credits"), 4);
        assert_eq!(sum(&rollup["results"], "credit_cents"), 4);
        assert_eq!(sum(&rollup["results"], "credits_micros"), 4_900_000);
    }
    assert_eq!(
        number(&s.get("/credits/balance").expect(200), "lifetime_spent"),
        4
    );
    let rows = s.get("/credits/transactions").expect(200);
    assert_eq!(sum(&rows["data"], "amount"), 4);
    let tenant = s.get("/platform/tenants/current").expect(200);
    assert_eq!(number(&tenant, "credit_balance"), -4);
    // One workspace for itself is what its own series shows.
    let w = s.get("/workspaces?q=W3").expect(200)["data"][0]["id"].clone();
    let w = w.as_str().unwrap();
    let rollup = s.get(&format!("/usage?workspace_id={w}")).expect(200);
    assert_eq!(
        number(&rollup, "total_credits"),
        number(&usage(&s, w, ""), "total_credits_used")
    );
}

#[test]
fn each_gift_refund_and_correction_is_a_transaction_at_its_instant() {
    let s = service_at("2026-06-01T00:00:00Z");
    let created = json!({ "name": "Customer", "slug": "customer", "credits_granted": 50 });
    let created = s.post("/platform/tenants", created).expect(201);
    let key = created["api_key"]["key"].as_str().unwrap().to_owned();
    let (tenant, w) = (
        created["id"].clone(),
        created["default_workspace_id"].clone(),
    );
    let mut left = 50;
    for (hour, what, amount) in [(1, "grant", 100), (2, "refund", 7), (3, "deduct", 30)] {
        s.clock.set(at(&format!("2026-06-01T0{hour}:00:00Z")));
        let body = json!({ "tenant_id": tenant, "amount": amount, "description": format!("{what} of June") });
        let path = format!("/admin/credits/{what}");
        s.call_as(&key, axum::http::Method::POST, &path, Some(body.clone()))
            .refused(403, "FORBIDDEN");
        left += if what == "deduct" { -amount } else { amount };
        assert_eq!(
            number(&s.post(&path, body).expect(201), "balance_credits"),
            left
        );
    }
    for (hour, micros) in [(4, 1_600_000), (5, 1_600_000), (6, -3_200_000)] {
        s.clock.set(at(&format!("2026-06-01T0{hour}:30:00Z")));
        let body = json!({ "workspace_id": w, "amount_micros": micros, "reason": "r" });
        s.post("/usage/adjustments", body).expect(201);
    }
    s.clock.set(at("2026-06-01T08:00:00Z"));
    let get = |path: &str| {
        s.call_as(&key, axum::http::Method::GET, path, None)
            .expect(200)
    };
    let rows = get("/credits/transactions");
    let mut shown = Vec::new();
    for row in rows["data"].as_array().unwrap().iter().rev() {
        let at = row["created_at"].as_str().unwrap()[11..16].to_owned();
        shown.push((
            at,
            row["type"].as_str().unwrap().to_owned(),
            number(row, "amount"),
        ));
    }
    let expected = [
        ("00:00", "earn", 50),
        ("01:00", "earn", 100),
        ("02:00", "refund", 7),
        ("03:00", "deduct", 30),
        ("04:30", "adjustment", 1),
        ("05:30", "adjustment", 2),
        ("06:30", "adjustment", -3),
    ];
    let expected = expected.map(|(at, kind, amount)| (at.to_owned(), kind.to_owned(), amount));
    assert_eq!(shown, expected);
    assert_eq!(number(&get("/credits/balance"), "balance"), 127);
    let body = json!({ "tenant_id": tenant, "amount": 0, "description": " ", "expires_at": "2030-01-01T00:00:00Z" });
    s.post("/admin/credits/grant", body)
        .invalid(&["amount", "description", "expires_at"]);
}

#[test]
fn who_runs_out_is_told_once() {
    let s = service_at("2026-06-01T00:00:00Z");
    let created = json!({ "name": "Customer", "slug": "customer", "credits_granted": 130 });
    let created = s.post("/platform/tenants", created).expect(201);
    let key = created["api_key"]["key"].as_str().unwrap().to_owned();
    let tenant = created["id"].clone();
    let body = json!({ "name": "c", "driver": "external", "size": "small" });
    let c = s
        .call_as(&key, axum::http::Method::POST, "/computers", Some(body))
        .expect(201);
    let c = c["id"].as_str().unwrap().to_owned();
    let events =
        json!({ "events": [event("a", "started", &c, "2026-06-01T00:00:00Z", json!({}))] });
    s.call_as(
        &key,
        axum::http::Method::POST,
        "/compute-events",
        Some(events),
    )
    .expect(200);
    let hook = json!({ "url": "https://example.com/hook", "events": ["credits.low"] });
    let hook = s
        .call_as(&key, axum::http::Method::POST, "/webhooks", Some(hook))
        .expect(201);
    let hook = hook["data"]["id"].as_str().unwrap().to_owned();
    let look = |time: &str| {
        s.clock.set(at(time));
        crate::harness::runtime()
            .block_on(low::look(&s.app.store, s.app.config.low_credits))
            .unwrap()
    };
    let told = || {
        let path = "/audit-log?type=credits.low";
        let rows = s
            .call_as(&key, axum::http::Method::GET, path, None)
            .expect(200);
        rows["data"].as_array().unwrap().clone()
    };
    assert_eq!(
        look("2026-06-01T01:00:00Z"),
        0,
        "100 are left, as many as the threshold"
    );
    assert_eq!(look("2026-06-01T01:03:00Z"), 1);
    assert_eq!(told().len(), 1);
    let after = json!({ "balance_credits": 99, "threshold_credits": 100 });
    assert_eq!(told()[0]["metadata"]["after"], after);
    assert_eq!(look("2026-06-01T02:00:00Z"), 0, "told already");
    let body = json!({ "tenant_id": tenant, "amount": 50, "description": "top-up" });
    s.post("/admin/credits/grant", body).expect(201);
    assert_eq!(look("2026-06-01T02:01:00Z"), 1, "above again");
    assert_eq!(told().len(), 1);
    assert_eq!(look("2026-06-01T03:00:00Z"), 1);
    assert_eq!(told().len(), 2, "a new crossing");
    let path = format!("/webhooks/{hook}/deliveries");
    let sent = s
        .call_as(&key, axum::http::Method::GET, &path, None)
        .expect(200);
    assert_eq!(sent["data"].as_array().unwrap().len(), 2, "{sent}");
    // An organization that was granted nothing has no balance that could be low.
    let c = external(&s, &s.workspace("Own"), "small");
    report(&s, &c, &["2026-06-01T03:00:00Z"]);
    assert_eq!(look("2026-06-01T05:00:00Z"), 0);
}
