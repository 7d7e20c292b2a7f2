//! The other questions about usage: breakdowns, explanations, sessions, the organization. All of them
//! read the same meter and agree.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use crate::harness::{Answer, Service, at};
use crate::usage::{DAY, HOUR, event, external, report, service_at, usage};

fn sum(rows: &Value, name: &str) -> i64 {
    rows.as_array()
        .unwrap()
        .iter()
        .map(|row| row[name].as_i64().unwrap())
        .sum()
}

/// A day in which three computers of two sizes ran in two projects, with a correction; its workspace.
fn busy_day(s: &Service) -> (String, Vec<String>) {
    let w = s.workspace("Clinic");
    let project = json!({ "name": "=SUM(A1)", "slug": "web", "workspace_id": w });
    let project = s.post("/projects", project).expect(201)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let body = json!({ "name": "web", "workspace_id": w, "project_id": project, "size": "large", "driver": "external" });
    let web = s.post("/computers", body).expect(201)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let computers = vec![external(s, &w, "small"), external(s, &w, "small"), web];
    s.clock.set(at("2026-06-02T00:00:00Z"));
    report(
        s,
        &computers[0],
        &["2026-06-01T00:59:00Z", "2026-06-01T01:00:07.001Z"],
    );
    report(
        s,
        &computers[1],
        &["2026-06-01T00:00:00.500Z", "2026-06-01T03:07:00Z"],
    );
    report(s, &computers[2], &["2026-06-01T02:30:00Z"]);
    let body = json!({ "workspace_id": w, "amount_micros": -1_234_567, "reason": "sorry", "at": "2026-06-01T02:00:00Z" });
    s.post("/usage/adjustments", body).expect(201);
    (w, computers)
}

#[test]
fn parts_add_up_in_every_bucket() {
    let s = service_at("2026-06-01T00:00:00Z");
    let (w, computers) = busy_day(&s);
    let plain = usage(&s, &w, DAY);
    for (by, parts) in [("project", 3), ("computer", 4), ("size", 3)] {
        let split = usage(&s, &w, &format!("{DAY}&group_by={by}"));
        assert_eq!(
            (&split["series"], &split["group_by"]),
            (&plain["series"], &json!(by))
        );
        let groups = split["groups"].as_array().unwrap();
        assert_eq!(groups.len(), parts, "{by}: {split}");
        for name in ["compute_ms", "credits_micros", "credits_used"] {
            assert_eq!(
                sum(&split["groups"], &format!("total_{name}")),
                plain[format!("total_{name}")],
                "{by} {name}"
            );
            for hour in 0..24 {
                let of_parts: i64 = groups
                    .iter()
                    .map(|g| g["series"][hour][name].as_i64().unwrap())
                    .sum();
                assert_eq!(of_parts, plain["series"][hour][name], "{by} {name} {hour}");
            }
        }
        assert_eq!(
            groups[parts - 1]["key"],
            Value::Null,
            "corrections come last"
        );
        assert_eq!(
            groups[parts - 1]["total_credits_micros"].as_i64().unwrap(),
            -1_234_567
        );
    }
    let split = usage(&s, &w, &format!("{DAY}&group_by=computer"));
    let web = split["groups"]
        .as_array()
        .unwrap()
        .iter()
        .find(|g| g["key"] == computers[2].as_str())
        .unwrap();
    assert_eq!(
        (&web["name"], &web["total_compute_ms"]),
        (&json!("web"), &json!(21 * HOUR + HOUR / 2))
    );
}

#[test]
fn the_largest_parts_and_the_rest_as_one() {
    let s = service_at("2026-06-01T00:00:00Z");
    let (w, _) = busy_day(&s);
    let all = usage(&s, &w, &format!("{DAY}&group_by=computer"));
    let of_all = all["groups"].as_array().unwrap();
    let cost = |g: &Value| g["total_credits_micros"].as_i64().unwrap();
    let largest = of_all[..3].iter().max_by_key(|g| cost(g)).unwrap();

    let cut = usage(&s, &w, &format!("{DAY}&group_by=computer&group_limit=1"));
    let groups = cut["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 3);
    assert_eq!(groups[0]["key"], largest["key"]);
    assert_eq!(cost(&groups[0]), cost(largest));
    assert_eq!(
        (&groups[1]["key"], &groups[1]["name"]),
        (&Value::Null, &json!("2 others"))
    );
    assert_eq!(groups[2], of_all[3], "corrections stay apart");
    for hour in 0..24 {
        for name in ["compute_ms", "credits_micros", "credits_used"] {
            let sum: i64 = groups
                .iter()
                .map(|g| g["series"][hour][name].as_i64().unwrap())
                .sum();
            assert_eq!(sum, cut["series"][hour][name], "{name} {hour}");
        }
    }
    let enough = usage(&s, &w, &format!("{DAY}&group_by=computer&group_limit=3"));
    assert_eq!(enough, all);
}

#[test]
fn a_reply_of_parts_has_a_largest_size() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("Clinic");
    let computers: Vec<_> = (0..27).map(|_| external(&s, &w, "xs")).collect();
    s.clock.set(at("2026-06-02T00:00:00Z"));
    let start = |c: &String| event(c, "started", c, "2026-06-01T01:00:00Z", json!({}));
    let mut events: Vec<_> = computers.iter().map(start).collect();
    let last = events.split_off(26);
    s.post("/compute-events", json!({ "events": events }))
        .expect(200);
    // 400 days by the hour: 9,600 buckets of each of 26 computers are within 250,000.
    let period = "from=2025-05-01T00:00:00Z&to=2026-06-05T00:00:00Z&group_by=computer";
    let split = usage(&s, &w, period);
    assert_eq!(split["groups"].as_array().unwrap().len(), 26);
    s.post("/compute-events", json!({ "events": last }))
        .expect(200);
    s.get(&format!("/workspaces/{w}/usage?{period}"))
        .invalid(&["granularity"]);
    let days = usage(&s, &w, &format!("{period}&granularity=day"));
    assert_eq!(days["groups"].as_array().unwrap().len(), 27);
}

fn get_accepting(s: &Service, path: &str, accept: &str) -> Answer {
    let request = Request::builder()
        .uri(format!("/api/v1{path}"))
        .header("authorization", format!("Bearer {}", s.key))
        .header("accept", accept)
        .body(Body::empty());
    s.send(request.unwrap())
}

#[test]
fn csv_has_the_same_integers_and_runs_no_formula() {
    let s = service_at("2026-06-01T00:00:00Z");
    let (w, _) = busy_day(&s);
    let path = format!("/workspaces/{w}/usage?{DAY}");
    let json = usage(&s, &w, DAY);
    let csv = get_accepting(&s, &path, "text/csv");
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8");
    let lines: Vec<_> = csv.text.split("\r\n").collect();
    assert_eq!(lines.len(), 26, "a head, 24 hours, the end");
    assert_eq!(
        lines[0],
        "ts,credits_used,compute_hours,compute_ms,credits_micros,partial"
    );
    let hour = &json["series"][2];
    let expected = format!(
        "{},{},{:.4},{},{},false",
        hour["ts"].as_str().unwrap(),
        hour["credits_used"],
        hour["compute_hours"].as_f64().unwrap(),
        hour["compute_ms"],
        hour["credits_micros"]
    );
    assert_eq!(lines[3], expected);
    assert_eq!(s.get(&format!("{path}&format=csv")).text, csv.text);
    let asked = get_accepting(&s, &format!("{path}&format=json"), "text/csv");
    assert_eq!(asked.headers["content-type"], "application/json");
    for accept in ["*/*", "application/json, text/csv", "text/html"] {
        assert_eq!(
            get_accepting(&s, &path, accept).headers["content-type"],
            "application/json",
            "{accept}"
        );
    }
    let split = s.get(&format!("{path}&group_by=project&format=csv")).text;
    assert!(split.contains(",'=SUM(A1),"), "{split}");
    assert!(!split.contains(",=SUM"));
}

#[test]
fn explain_lists_the_intervals_behind_a_bucket_and_they_add_up() {
    let s = service_at("2026-06-01T00:00:00Z");
    let (w, computers) = busy_day(&s);
    for (granularity, buckets) in [("hour", 24), ("day", 1)] {
        let series = usage(&s, &w, &format!("{DAY}&granularity={granularity}"));
        for bucket in series["series"].as_array().unwrap() {
            let ts = bucket["ts"].as_str().unwrap();
            let why = s
                .get(&format!(
                    "/workspaces/{w}/usage/explain?ts={ts}&granularity={granularity}"
                ))
                .expect(200);
            for name in [
                "compute_ms",
                "credits_micros",
                "credits_used",
                "compute_hours",
                "ts",
            ] {
                assert_eq!(why[name], bucket[name], "{granularity} {ts} {name}");
            }
            assert_eq!(sum(&why["intervals"], "compute_ms"), bucket["compute_ms"]);
            let micros = sum(&why["intervals"], "credits_micros")
                + sum(&why["corrections"], "credits_micros");
            assert_eq!(micros, bucket["credits_micros"]);
        }
        assert_eq!(series["series"].as_array().unwrap().len(), buckets);
    }
    let why = s
        .get(&format!(
            "/workspaces/{w}/usage/explain?ts=2026-06-01T02:10:00Z"
        ))
        .expect(200);
    let large = why["intervals"]
        .as_array()
        .unwrap()
        .iter()
        .find(|i| i["size"] == "large")
        .unwrap();
    assert_eq!(
        (&large["computer_id"], &large["rate"]),
        (&json!(computers[2]), &json!(120))
    );
    assert_eq!(
        (&large["start"], &large["end"]),
        (
            &json!("2026-06-01T02:30:00.000Z"),
            &json!("2026-06-01T03:00:00.000Z")
        )
    );
    assert_eq!(large["credit_ms"], 120 * HOUR / 2);
    assert_eq!(
        (&large["opened_by"]["type"], &large["closed_by"]),
        (&json!("computer.started"), &Value::Null)
    );
    assert_eq!(why["corrections"][0]["reason"], "sorry");
    s.get(&format!("/workspaces/{w}/usage/explain"))
        .invalid(&["ts"]);
    s.get(&format!(
        "/workspaces/{w}/usage/explain?ts=now&granularity=year&tz=x"
    ))
    .invalid(&["granularity", "ts", "tz"]);
}

#[test]
fn the_organizations_reports_agree_with_the_series() {
    let s = service_at("2026-06-01T00:00:00Z");
    let (w, _) = busy_day(&s);
    let other = s.workspace("Other");
    let body = json!({ "name": "u", "workspace_id": other, "size": "xl", "driver": "external", "external_user_id": "user-1" });
    let c = s.post("/computers", body).expect(201)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    s.clock.set(at("2026-06-03T00:00:00Z"));
    report(&s, &c, &["2026-06-02T01:00:00Z", "2026-06-02T01:20:00Z"]);

    let query = "window=7d&granularity=day";
    let series = [usage(&s, &w, query), usage(&s, &other, query)];
    let credits: i64 = series
        .iter()
        .map(|u| u["total_credits_used"].as_i64().unwrap())
        .sum();
    let ms: i64 = series
        .iter()
        .map(|u| u["total_compute_ms"].as_i64().unwrap())
        .sum();
    for by in ["external_user_id", "external_project_id", "workspace_id"] {
        let rollup = s
            .get(&format!("/usage?group_by={by}&period=7d"))
            .expect(200);
        assert_eq!(
            sum(&rollup["results"], "credit_cents"),
            credits,
            "{by}: {rollup}"
        );
        assert_eq!(rollup["total_credits"], credits);
        assert_eq!(sum(&rollup["results"], "compute_ms"), ms, "{by}");
        let order: Vec<_> = rollup["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["credit_cents"].as_i64())
            .collect();
        assert!(
            order.is_sorted_by(|a, b| a >= b),
            "the most expensive first"
        );
        for reserved in ["data", "usage", "sessions", "summary", "items"] {
            assert!(
                rollup.get(reserved).is_none(),
                "{reserved} is unwrapped by clients"
            );
        }
    }
    // A calendar month, by its name or by its days, is the same; it is whole, and what is still to come is not there.
    let month = s.get("/usage?period=2026-06").expect(200);
    assert_eq!(month["period_start"], "2026-06-01T00:00:00Z");
    assert_eq!(month["period_end"], "2026-07-01T00:00:00Z");
    assert_eq!(month["total_credits"], credits);
    for same in [
        "/usage?period_start=2026-06-01&period_end=2026-07-01",
        "/usage?start=2026-06-01&period_end=2026-07-01",
        "/usage?period=custom&start=2026-06-01&end=2026-07-01",
    ] {
        assert_eq!(s.get(same).expect(200), month, "{same}");
    }
    let before = s.get("/usage?period=2026-05").expect(200);
    assert_eq!(before["total_credits"], 0);
    s.put("/tenant/settings", json!({ "tz": "Europe/Budapest" }))
        .expect(200);
    let local = s.get("/usage?period=2026-06").expect(200);
    assert_eq!(local["period_start"], "2026-05-31T22:00:00Z");
    s.put("/tenant/settings", json!({ "tz": null })).expect(200);
    s.get("/usage?period=2026-06&start=2026-06-01")
        .invalid(&["period"]);
    s.get("/usage?start=2026-06-01&period_start=2026-06-01")
        .invalid(&["period_start"]);
    for wrong in ["2026-13", "2026-5", "2026", "05-2026"] {
        s.get(&format!("/usage?period={wrong}"))
            .invalid(&["period"]);
    }

    let by_user = s
        .get("/usage?period=7d&external_user_id=user-1")
        .expect(200);
    let row = &by_user["results"][0];
    assert_eq!(
        (
            &row["external_user_id"],
            &row["credit_cents"],
            &row["computer_seconds"]
        ),
        (&json!("user-1"), &json!(80), &json!(8 * 1200))
    );
    assert_eq!(by_user["results"].as_array().unwrap().len(), 1);

    let summary = s.get("/usage/summary").expect(200);
    assert_eq!(
        (&summary["total_credits"], &summary["compute_ms"]),
        (&json!(credits), &json!(ms))
    );
    assert_eq!(summary["period_start"], "2026-06-01T00:00:00Z");
    assert!(summary["ai_tokens"].is_i64() && summary["storage_gb"].is_f64());
    let month = s.get("/credits/usage").expect(200);
    assert_eq!(
        (
            &month["compute"],
            &month["total_credits"],
            &month["ai_credits"]
        ),
        (&json!(credits), &json!(credits), &json!(0))
    );
    let balance = s.get("/credits/balance").expect(200);
    assert_eq!(
        (&balance["lifetime_spent"], &balance["balance"]),
        (&json!(credits), &json!(-credits))
    );
    let spent = s.get("/credits/transactions").expect(200);
    assert_eq!(sum(&spent["data"], "amount"), credits);
    assert_eq!(spent["transactions"], spent["data"]);
    assert_eq!(
        s.get("/platform/tenants/current").expect(200)["credit_balance"],
        -credits
    );

    for (path, field) in [
        ("/usage?group_by=name", "group_by"),
        ("/usage?period=1y", "period"),
        ("/usage?start=x", "start"),
        ("/usage/summary?period_start=x", "period_start"),
        ("/usage/sessions?since=x", "since"),
        ("/usage/sessions?cursor=x", "cursor"),
    ] {
        s.get(path).invalid(&[field]);
    }
}

#[test]
fn sessions_are_stints_at_one_size_in_one_place() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("Clinic");
    let c = external(&s, &w, "small");
    s.clock.set(at("2026-06-02T00:00:00Z"));
    let events = json!([
        event("1", "started", &c, "2026-06-01T01:00:00Z", json!({})),
        event("2", "started", &c, "2026-06-01T01:10:00Z", json!({})),
        event(
            "3",
            "resized",
            &c,
            "2026-06-01T02:00:00Z",
            json!({ "size": "medium" })
        ),
        event("4", "stopped", &c, "2026-06-01T02:30:00Z", json!({})),
        event("5", "started", &c, "2026-06-01T23:00:00Z", json!({})),
    ]);
    s.post("/compute-events", json!({ "events": events }))
        .expect(200);
    let list = s.get("/usage/sessions").expect(200);
    let rows: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| {
            (
                r["size"].as_str().unwrap(),
                r["duration_sec"].as_i64().unwrap(),
                r["credits_used"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("medium", 3600, 60),
            ("medium", 1800, 30),
            ("small", 3600, 30)
        ]
    );
    assert_eq!(
        (&list["data"][0]["ended_at"], &list["data"][2]["started_at"]),
        (&Value::Null, &json!("2026-06-01T01:00:00Z"))
    );
    assert_eq!(list["data"][1]["credit_cost"], 30.0);
    assert_eq!(list["total"], 3);
    assert_eq!(
        sum(&list["data"], "credits_micros"),
        usage(&s, &w, DAY)["total_credits_micros"]
    );
    // A session that spans `since` is whole.
    let late = s
        .get("/usage/sessions?since=2026-06-01T01:30:00Z&until=2026-06-01T01:40:00Z")
        .expect(200);
    assert_eq!(
        (
            &late["total"],
            &late["data"][0]["started_at"],
            &late["data"][0]["duration_sec"]
        ),
        (&json!(1), &json!("2026-06-01T01:00:00Z"), &json!(3600))
    );
    let page = s.get("/usage/sessions?limit=2").expect(200);
    assert_eq!(page["data"].as_array().unwrap().len(), 2);
    let rest = s
        .get(&format!(
            "/usage/sessions?limit=2&cursor={}",
            page["next_cursor"].as_str().unwrap()
        ))
        .expect(200);
    assert_eq!(
        (
            rest["data"].as_array().unwrap().len(),
            &rest["data"][0]["size"]
        ),
        (1, &json!("small"))
    );
    assert!(rest.get("next_cursor").is_none());
    assert_eq!(
        s.get(&format!("/usage/sessions?computer_id={c}"))
            .expect(200)["total"],
        3
    );
}

#[test]
fn a_computers_metrics_agree_with_its_sessions() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("Clinic");
    let c = s.running(&w, "medium");
    s.travel_to(at("2026-06-01T00:30:01Z"));
    let metrics = s.get(&format!("/computers/{c}/metrics")).expect(200);
    assert_eq!(
        (&metrics["window"], &metrics["granularity"]),
        (&json!("1h"), &json!("minute"))
    );
    assert_eq!(
        (&metrics["total_credits_used"], &metrics["total_compute_ms"]),
        (&json!(30), &json!(HOUR / 2))
    );
    let series = metrics["series"].as_array().unwrap();
    assert_eq!(series.len(), 61);
    assert_eq!(
        (&series[60]["memory_mb"], &series[0]["memory_mb"]),
        (&json!(8192), &json!(0))
    );
    assert_eq!(series[40]["credits_used"], 1);
    for (window, buckets) in [("24h", 25), ("7d", 8)] {
        let metrics = s
            .get(&format!("/computers/{c}/metrics?window={window}"))
            .expect(200);
        assert_eq!(
            (
                metrics["series"].as_array().unwrap().len(),
                &metrics["total_credits_used"]
            ),
            (buckets, &json!(30))
        );
    }
    s.get(&format!("/computers/{c}/metrics?window=30d"))
        .invalid(&["window"]);
}

#[test]
fn a_start_at_the_edge_of_a_bucket_is_in_the_next_one_in_metrics_too() {
    let s = service_at("2026-06-01T00:00:00Z");
    let c = external(&s, &s.workspace("Clinic"), "medium");
    s.clock.set(at("2026-06-01T03:00:00Z"));
    report(&s, &c, &["2026-06-01T01:00:00Z", "2026-06-01T02:00:00Z"]);
    let metrics = s.get(&format!("/computers/{c}/metrics?window=24h"));
    let series = metrics.expect(200)["series"].as_array().unwrap().clone();
    let last: Vec<_> = series[21..]
        .iter()
        .map(|p| {
            (
                p["memory_mb"].as_i64().unwrap(),
                p["compute_ms"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(last, [(0, 0), (8192, HOUR), (0, 0)]);
}

#[test]
fn every_month_of_every_workspace_is_a_transaction() {
    let s = service_at("2026-03-31T00:00:00Z");
    let (w, corrected) = (s.workspace("Clinic"), s.workspace("Corrected"));
    let c = external(&s, &w, "small");
    s.clock.set(at("2026-06-01T01:00:00Z"));
    report(&s, &c, &["2026-03-31T23:00:00Z"]);
    // A workspace in which nothing ever ran.
    let body = json!({ "workspace_id": corrected, "amount_micros": -5_000_000, "reason": "sorry", "at": "2026-05-01T00:00:00Z" });
    s.post("/usage/adjustments", body).expect(201);
    let list = s.get("/credits/transactions").expect(200);
    let mut rows: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| {
            (
                t["description"].as_str().unwrap(),
                t["amount"].as_i64().unwrap(),
            )
        })
        .collect();
    rows.sort_unstable();
    let expected = [
        ("Compute of Clinic in 2026-03", 30),
        ("Compute of Clinic in 2026-04", 720 * 30),
        ("Compute of Clinic in 2026-05", 744 * 30),
        ("Compute of Clinic in 2026-06", 30),
        ("sorry", -5),
    ];
    assert_eq!(rows, expected);
    let spent: i64 = expected.iter().map(|(_, amount)| amount).sum();
    assert_eq!(
        s.get("/credits/balance").expect(200)["lifetime_spent"],
        spent
    );
    let rollup = s.get("/usage?group_by=workspace_id&period=90d").expect(200);
    assert_eq!(rollup["total_credits"], spent);
}

#[test]
fn keys_see_what_they_reach() {
    let s = service_at("2026-06-01T00:00:00Z");
    let (w, other) = (s.workspace("Clinic"), s.workspace("Other"));
    let make = |name: &str, workspace: &str, user: &str| {
        let body = json!({ "name": name, "workspace_id": workspace, "external_user_id": user });
        s.post("/computers", body).expect(201)["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (mine, others, far) = (
        make("a", &w, "u1"),
        make("b", &w, "u2"),
        make("c", &other, "u1"),
    );
    s.advance(3601);
    let scoped =
        json!({ "name": "for u1", "external_user_id": "u1", "workspace_id": w, "scopes": ["*"] });
    let key = s.post("/api-keys/scoped", scoped).expect(201);
    let key = key["key"]
        .as_str()
        .or(key["data"]["key"].as_str())
        .unwrap_or_else(|| panic!("{key}"))
        .to_owned();
    let get = |path: &str| s.call_as(&key, Method::GET, path, None);
    let list = get("/usage/sessions").expect(200);
    assert_eq!(
        (&list["total"], &list["data"][0]["computer_id"]),
        (&json!(1), &json!(mine))
    );
    get(&format!("/usage/sessions?computer_id={others}")).refused(403, "FORBIDDEN");
    get(&format!("/computers/{others}/events")).refused(403, "FORBIDDEN");
    get(&format!("/computers/{mine}/events")).expect(200);
    get(&format!("/computers/{far}/metrics")).refused(403, "FORBIDDEN");
    for path in [
        "/usage",
        "/usage/summary",
        "/credits/balance",
        "/credits/transactions",
        "/credits/usage",
    ] {
        get(path).refused(403, "FORBIDDEN");
    }
    get(&format!("/workspaces/{w}/usage")).refused(403, "FORBIDDEN");
    get(&format!("/workspaces/{other}/usage")).refused(403, "FORBIDDEN");
    get("/usage/verify").refused(403, "FORBIDDEN");
}
