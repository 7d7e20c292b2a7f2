//! Usage as tables: CSV of lists, FOCUS, the mark for spreadsheets, and what is not to be had.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use crate::harness::{Answer, Service, at};
use crate::usage::{external, report, service_at};

fn clinic() -> (Service, String, String) {
    let s = service_at("2029-01-01T00:00:00Z");
    let w = s.workspace("Dr. Smith, Clinic");
    let c = external(&s, &w, "small");
    s.clock.set(at("2029-02-02T00:00:00Z"));
    report(
        &s,
        &c,
        &[
            "2029-01-10T08:00:00Z",
            "2029-01-10T18:00:00.001Z",
            "2029-01-31T23:00:00Z",
            "2029-02-01T01:00:00Z",
        ],
    );
    (s, w, c)
}

fn accepting(s: &Service, path: &str, accept: &str) -> Answer {
    let request = Request::get(format!("/api/v1{path}"))
        .header("authorization", format!("Bearer {}", s.key))
        .header("accept", accept)
        .body(Body::empty())
        .unwrap();
    s.send(request)
}

#[test]
fn lists_of_usage_are_tables_too() {
    let (s, w, c) = clinic();
    for (path, head, rows) in [
        (
            "/usage?group_by=workspace_id",
            "workspace_id,workspace_name,compute_ms,computer_seconds,credit_cents,credits_micros",
            1,
        ),
        (
            "/usage/sessions?since=2029-01-01",
            "id,computer_id,workspace_id,project_id,size,started_at_exact,ended_at_exact,duration_ms,credits_used,\
             credits_micros",
            2,
        ),
        (
            "/credits/transactions?limit=100",
            "id,type,amount_credits,workspace_id,computer_id,description,created_at",
            2,
        ),
    ] {
        let csv = s.get(&format!("{path}&format=csv"));
        assert_eq!(csv.status, 200, "{}", csv.text);
        assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8");
        let lines: Vec<&str> = csv.text.split_terminator("\r\n").collect();
        assert_eq!((lines[0], lines.len()), (head, rows + 1), "{}", csv.text);
        assert_eq!(accepting(&s, path, "text/csv").text, csv.text);
        let marked = s.get(&format!("{path}&format=csv&bom=1"));
        assert_eq!(marked.text, format!("\u{feff}{}", csv.text));
        // JSON is what it was, and never comes in place of something else.
        s.get(path).expect(200);
        s.get(&format!("{path}&format=json")).expect(200);
        accepting(&s, path, "text/html, */*;q=0.8").expect(200);
        accepting(&s, path, "application/vnd.apache.parquet").refused(406, "NOT_ACCEPTABLE");
        s.get(&format!("{path}&format=parquet"))
            .invalid(&["format"]);
        s.get(&format!("{path}&bom=maybe")).invalid(&["bom"]);
    }
    let all = s.get("/usage?group_by=workspace_id&format=csv").text;
    assert!(
        all.contains(&format!("{w},\"Dr. Smith, Clinic\",43200001,")),
        "{all}"
    );
    let sessions = s.get("/usage/sessions?since=2029-01-01&format=csv").text;
    assert!(sessions.contains(&format!("{c},{w},")));
    let series = s
        .get(&format!("/workspaces/{w}/usage?format=csv&bom=true"))
        .text;
    assert!(series.starts_with("\u{feff}ts,"));
}

#[test]
fn focus_has_a_row_for_each_computer_and_day() {
    let (s, w, c) = clinic();
    let path = "/usage/export?format=focus&period=2029-01";
    let without = s.get(path).refused(406, "NOT_ACCEPTABLE");
    assert!(without.contains("PUT /tenant/prices"), "{without}");
    let prices =
        json!({ "effective_from": "2029-01", "currency": "EUR", "price_per_credit": "0.0125" });
    s.put("/tenant/prices", prices).expect(200);
    let adjust = json!({ "workspace_id": w, "amount_micros": -2_000_000, "reason": "an outage", "at": "2029-01-31T00:00:00Z" });
    s.post("/usage/adjustments", adjust).expect(201);
    let made = s
        .post(
            &format!("/workspaces/{w}/statements"),
            json!({ "period": "2029-01" }),
        )
        .expect(201);

    let table = s.get(path);
    assert_eq!(table.headers["content-type"], "text/csv; charset=utf-8");
    let mut lines = table.text.split_terminator("\r\n");
    let head: Vec<&str> = lines.next().unwrap().split(',').collect();
    let mut sorted = head.clone();
    sorted.sort_unstable();
    assert_eq!(head, sorted, "the order of the specification");
    let at = |name: &str| head.iter().position(|column| *column == name).unwrap();
    // No cell before the name of the workspace has a comma.
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    let cells = |name: &str| {
        rows.iter()
            .map(|row| row[at(name)].to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        cells("ChargePeriodStart"),
        [
            "2029-01-10T00:00:00Z",
            "2029-01-31T00:00:00Z",
            "2029-01-31T00:00:00Z"
        ]
    );
    assert_eq!(cells("ChargeCategory"), ["Usage", "Usage", "Adjustment"]);
    assert_eq!(cells("ConsumedQuantity"), ["36000.001", "3600", ""]);
    // 300.000008 credits at 0.0125, exact.
    assert_eq!(cells("BilledCost"), ["3.7500001", "0.375", "-0.025"]);
    assert_eq!(cells("BillingPeriodEnd")[0], "2029-02-01T00:00:00Z");
    assert_eq!(cells("ResourceId"), [c.as_str(), c.as_str(), ""]);
    assert_eq!(cells("SubAccountId")[0], w);
    assert_eq!(cells("InvoiceId")[0], made["number"].to_string());
    let quantity: f64 = cells("PricingQuantity")
        .iter()
        .map(|text| text.parse::<f64>().unwrap())
        .sum();
    let micros = made["credits_micros"].as_i64().unwrap();
    assert_eq!((quantity * 1e6).round() as i64, micros);

    let months = s
        .get("/usage/export?period=2029-01&granularity=month&bom=1")
        .text;
    assert_eq!(months.split_terminator("\r\n").count(), 3);
    assert!(months.starts_with('\u{feff}'));
    for refused in [
        s.get("/usage/export?format=parquet"),
        accepting(&s, "/usage/export", "application/vnd.apache.parquet"),
    ] {
        let said = refused.refused(406, "NOT_ACCEPTABLE");
        assert!(
            said.ends_with("ask for format=focus, which is CSV; there is no Parquet"),
            "{said}"
        );
    }
    assert_eq!(accepting(&s, "/usage/export", "text/csv").status, 200);
    let (other, _) = s.other_tenant("other");
    let theirs = s.call_as(&other, axum::http::Method::GET, path, None);
    assert_eq!(
        (theirs.status.as_u16(), theirs.text.lines().count()),
        (200, 1)
    );
}
