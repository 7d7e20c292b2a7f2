//! Statements: what a customer is sent about a month. Numbers in money are worked out by hand.

use axum::http::Method;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::harness::{Answer, Service, at, keyed, request};
use crate::usage::{event, external, report, service_at, usage};

/// A clinic with one small computer (30 credits an hour) that runs on the 10th of January and February 2029 for
/// ten hours each; it is the 2nd of March.
fn clinic() -> (Service, String, String) {
    let s = service_at("2029-01-01T00:00:00Z");
    let w = s.workspace("Dr. Smith Clinic");
    let c = external(&s, &w, "small");
    s.clock.set(at("2029-03-02T00:00:00Z"));
    report(
        &s,
        &c,
        &[
            "2029-01-10T08:00:00Z",
            "2029-01-10T18:00:00Z",
            "2029-02-10T08:00:00Z",
            "2029-02-10T18:00:00Z",
        ],
    );
    (s, w, c)
}

fn make(s: &Service, workspace: &str, period: &str) -> Answer {
    s.post(
        &format!("/workspaces/{workspace}/statements"),
        json!({ "period": period }),
    )
}

fn lines(statement: &Value) -> &Vec<Value> {
    statement["lines"].as_array().unwrap()
}

fn sum(rows: &[Value], field: &str) -> i64 {
    rows.iter().map(|row| row[field].as_i64().unwrap()).sum()
}

fn verified(s: &Service) -> Value {
    let proof = s.get("/statements/verify").expect(200);
    assert_eq!(proof["ok"], true, "{proof}");
    proof
}

#[test]
fn a_statement_says_what_ran_and_what_it_costs() {
    let (s, w, c) = clinic();
    let prices = json!({
        "effective_from": "2029-01", "currency": "EUR", "price_per_credit": "0.0125", "tax_rate": "27", "tax_name": "VAT",
        "discount_percent": "10", "fees": [{ "name": "Support", "amount": "9.90" }], "included_credits": "100",
        "head": "Acme Kft.\nBudapest", "foot": "Thank you.",
    });
    let set = s.put("/tenant/prices", prices).expect(200);
    assert_eq!(set["effective"]["price_per_credit"], "0.0125");
    let bill_to = json!({ "effective_from": "2029-01", "bill_to": "Dr. Smith" });
    s.put(&format!("/workspaces/{w}/prices"), bill_to)
        .expect(200);

    let made = make(&s, &w, "2029-01").expect(201);
    assert_eq!(
        (&made["number"], &made["period"]),
        (&json!(1), &json!("2029-01"))
    );
    assert_eq!(made["credits_micros"], 300_000_000);
    assert_eq!(made["prices"]["bill_to"], "Dr. Smith");
    let rows: Vec<_> = lines(&made)
        .iter()
        .map(|line| {
            (
                line["kind"].as_str().unwrap(),
                line["amount"].as_str().unwrap(),
            )
        })
        .collect();
    // 300 credits at 0.0125; 100 of them free; a tenth off; the fee.
    let expected = [
        ("usage", "3.75"),
        ("allowance", "-1.25"),
        ("discount", "-0.25"),
        ("fee", "9.90"),
    ];
    assert_eq!(rows, expected);
    let first = &lines(&made)[0];
    assert_eq!(first["computer_id"], json!(c));
    assert_eq!(
        (&first["rate"], &first["size"]),
        (&json!(30), &json!("small"))
    );
    assert_eq!(first["compute_hours"], 10.0);
    // 12.15 and 27 % of it, 3.2805.
    assert_eq!(
        (&made["net"], &made["tax"], &made["total"]),
        (&json!("12.15"), &json!("3.28"), &json!("15.43"))
    );
    // The link under the line leads to what is behind it.
    let why = s.get(first["explain"].as_str().unwrap()).expect(200);
    assert_eq!(why["compute_ms"], 36_000_000);
    assert_eq!(why["intervals"][0]["start"], "2029-01-10T08:00:00.000Z");
    assert_eq!(why["intervals"][0]["opened_by"]["type"], "computer.started");
    assert_eq!(why["intervals"][0]["closed_by"]["type"], "computer.stopped");
    let wrong = format!("/workspaces/{w}/statements/1/explain?line=");
    s.get(&format!("{wrong}2")).invalid(&["line"]);
    s.get(&format!("{wrong}9")).invalid(&["line"]);
    verified(&s);

    // Once made it stays, whatever prices and names become.
    s.put(
        "/tenant/prices",
        json!({ "effective_from": "2029-01", "price_per_credit": "5" }),
    )
    .expect(200);
    s.patch(
        &format!("/workspaces/{w}"),
        json!({ "name": "Smith & Sons" }),
    )
    .expect(200);
    assert_eq!(make(&s, &w, "2029-01").expect(200), made);
    assert_eq!(
        s.get(&format!("/workspaces/{w}/statements/1")).expect(200),
        made
    );
    verified(&s);
    let log = s.get("/audit-log?type=statement.created").expect(200);
    assert_eq!(log["data"].as_array().unwrap().len(), 1);
    assert_eq!(log["data"][0]["metadata"]["after"]["total"], "15.43");
}

#[test]
fn without_prices_a_statement_has_credits_and_no_money() {
    let (s, w, _) = clinic();
    let made = make(&s, &w, "2029-01").expect(201);
    assert_eq!(made["currency"], json!(null));
    assert_eq!(lines(&made).len(), 1);
    assert_eq!(lines(&made)[0]["amount"], json!(null));
    assert_eq!(made["total"], json!(null));
    let page = s.get(&format!("/workspaces/{w}/statements/1?format=html"));
    assert_eq!(page.status, 200);
}

#[test]
fn only_a_month_that_is_over_has_one() {
    let (s, w, _) = clinic();
    let before = s.count("SELECT count(*) FROM audit_log");
    for (body, text) in [
        (json!({ "period": "2029-03" }), "2029-04-01T00:00:00Z"),
        (json!({ "period": "2029-13" }), "must be a month"),
        (json!({ "period": "january" }), "must be a month"),
        (json!({}), "can't be blank"),
    ] {
        let path = format!("/workspaces/{w}/statements");
        for path in [path.as_str(), "/statements"] {
            let answer = s.post(path, body.clone());
            answer.invalid(&["period"]);
            assert!(answer.text.contains(text), "{}", answer.text);
        }
    }
    // West of Greenwich February is over five hours later.
    s.put(
        &format!("/workspaces/{w}/settings"),
        json!({ "tz": "America/New_York" }),
    )
    .expect(200);
    s.clock.set(at("2029-03-01T04:59:59Z"));
    make(&s, &w, "2029-02").invalid(&["period"]);
    assert_eq!(s.count("SELECT count(*) FROM statements"), 0);
    assert_eq!(s.count("SELECT count(*) FROM audit_log"), before + 1);
    s.clock.set(at("2029-03-01T05:00:00Z"));
    let made = make(&s, &w, "2029-02").expect(201);
    assert_eq!(made["period_start"], "2029-02-01T05:00:00Z");
    assert_eq!(made["time_zone"], "America/New_York");
}

#[test]
fn what_comes_late_is_corrected_on_the_next_one() {
    let (s, w, c) = clinic();
    let prices =
        json!({ "effective_from": "2029-01", "currency": "EUR", "price_per_credit": "0.01" });
    s.put("/tenant/prices", prices).expect(200);
    let january = make(&s, &w, "2029-01").expect(201);
    // It had run for two hours more, and dearer than it was told.
    let late = [
        event("l1", "started", &c, "2029-01-20T08:00:00Z", json!({})),
        event(
            "l2",
            "resized",
            &c,
            "2029-01-20T09:00:00Z",
            json!({ "size": "large" }),
        ),
        event("l3", "stopped", &c, "2029-01-20T10:00:00Z", json!({})),
        event(
            "l4",
            "resized",
            &c,
            "2029-01-20T11:00:00Z",
            json!({ "size": "small" }),
        ),
    ];
    s.post("/compute-events", json!({ "events": late }))
        .expect(200);
    let adjust = json!({ "workspace_id": w, "amount_micros": -5_000_000, "reason": "an outage", "at": "2029-01-15T00:00:00Z" });
    s.post("/usage/adjustments", adjust).expect(201);
    assert_eq!(
        s.get(&format!("/workspaces/{w}/statements/1")).expect(200),
        january
    );
    let proof = verified(&s);
    assert_eq!(
        proof["outstanding"],
        json!([{ "number": 1, "workspace_id": w, "period": "2029-01", "credits_micros": 145_000_000 }])
    );

    // The price of February is not that of January.
    s.put(
        "/tenant/prices",
        json!({ "effective_from": "2029-02", "price_per_credit": "0.02" }),
    )
    .expect(200);
    let february = make(&s, &w, "2029-02").expect(201);
    let rows: Vec<_> = lines(&february)
        .iter()
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
            (
                text("kind"),
                text("period"),
                line["credits_micros"].as_i64().unwrap(),
                text("amount"),
            )
        })
        .collect();
    let row = |kind: &str, period: &str, micros, amount: &str| {
        (
            kind.to_owned(),
            period.to_owned(),
            micros,
            amount.to_owned(),
        )
    };
    assert_eq!(
        rows,
        [
            row("usage", "2029-02", 300_000_000, "6.00"),
            row("correction", "2029-01", -5_000_000, "-0.05"),
            row("correction", "2029-01", 30_000_000, "0.30"),
            row("correction", "2029-01", 120_000_000, "1.20"),
        ]
    );
    assert_eq!(february["corrections_micros"], 145_000_000);
    assert_eq!(february["credits_micros"], 300_000_000);
    let large = lines(&february)[3]["explain"].as_str().unwrap();
    let why = s.get(large).expect(200);
    assert_eq!(why["intervals"][0]["start"], "2029-01-20T09:00:00.000Z");
    assert_eq!(verified(&s)["outstanding"], json!([]));
    // Once is enough.
    s.clock.set(at("2029-04-02T00:00:00Z"));
    let march = make(&s, &w, "2029-03").expect(201);
    assert_eq!(lines(&march), &Vec::<Value>::new());
    verified(&s);
}

#[test]
fn running_time_is_billed_in_steps_that_add_up() {
    let s = service_at("2029-01-01T00:00:00Z");
    let w = s.workspace("Clinic");
    let c = external(&s, &w, "small");
    s.clock.set(at("2029-03-02T00:00:00Z"));
    // A minute and a bit, a second, and half an hour over the end of the month.
    report(
        &s,
        &c,
        &[
            "2029-01-10T08:00:00Z",
            "2029-01-10T08:01:01Z",
            "2029-01-11T08:00:00Z",
            "2029-01-11T08:00:01Z",
            "2029-01-31T23:50:30Z",
            "2029-02-01T00:20:00Z",
        ],
    );
    let prices = json!({ "effective_from": "2029-01", "currency": "USD", "price_per_credit": "1", "billing_increment": "minute" });
    s.put("/tenant/prices", prices).expect(200);
    let january = make(&s, &w, "2029-01").expect(201);
    let line = &lines(&january)[0];
    // The meter is not rounded.
    assert_eq!(line["compute_ms"], 61_000 + 1000 + 570_000);
    assert_eq!(line["billed_ms"], 120_000 + 60_000 + 600_000);
    // 13 minutes at 30 credits an hour.
    assert_eq!(line["amount"], "6.50");
    let february = make(&s, &w, "2029-02").expect(201);
    let line = &lines(&february)[0];
    assert_eq!(line["compute_ms"], 1_200_000);
    // 29 and a half minutes are 30 in all.
    assert_eq!(line["billed_ms"], 1_200_000);
    verified(&s);
}

#[test]
fn a_minimum_and_a_price_by_the_hour() {
    let (s, w, _) = clinic();
    let prices = json!({
        "effective_from": "2029-01", "currency": "JPY", "price_per_credit": "1", "price_per_hour": { "small": "12.5" },
        "minimum": "1000",
    });
    s.put("/tenant/prices", prices).expect(200);
    let made = make(&s, &w, "2029-01").expect(201);
    let amounts: Vec<_> = lines(&made)
        .iter()
        .map(|line| line["amount"].clone())
        .collect();
    assert_eq!(amounts, ["125", "875"]);
    assert_eq!(made["total"], "1000");
    verified(&s);
}

#[test]
fn prices_that_cannot_be_are_refused() {
    let s = Service::new();
    let put = |body: Value| s.put("/tenant/prices", body);
    put(json!({ "price_per_credit": "0.01" })).invalid(&["currency"]);
    put(json!({ "currency": "eur" })).invalid(&["currency"]);
    let wrong = json!({
        "currency": "EUR", "price_per_credit": "-1", "tax_rate": "101", "minimum": "0.001", "discount_percent": "x",
        "fees": [{ "name": "", "amount": "1" }], "included_credits": "0.0000001", "billing_increment": "day", "head": "",
        "price_per_hour": { "tiny": "1" }, "effective_from": "2029-01",
    });
    put(wrong).invalid(&[
        "billing_increment",
        "discount_percent",
        "fees",
        "head",
        "included_credits",
        "minimum",
        "price_per_credit",
        "price_per_hour",
        "tax_rate",
    ]);
    put(json!({ "effective_from": "2029" })).invalid(&["effective_from"]);
    assert_eq!(s.count("SELECT count(*) FROM price_lists"), 0);
    // A workspace's list stands over that of its organization.
    put(json!({ "currency": "EUR", "price_per_credit": "0.01", "tax_rate": "27" })).expect(200);
    let path = format!("/workspaces/{}/prices", s.default_workspace);
    let own = s
        .put(&path, json!({ "price_per_credit": "0.005" }))
        .expect(200);
    assert_eq!(
        own["effective"],
        json!({ "currency": "EUR", "price_per_credit": "0.005", "tax_rate": "27" })
    );
    assert_eq!(own["data"][0]["effective_from"], "2026-05");
    let own = s
        .put(&path, json!({ "price_per_credit": null }))
        .expect(200);
    assert_eq!(own["effective"]["price_per_credit"], "0.01");
}

#[test]
fn all_customers_of_a_month_at_once() {
    let s = service_at("2029-01-01T00:00:00Z");
    let mut computers = Vec::new();
    for n in 0..12 {
        let w = s.workspace(&format!("Clinic {n} Ősz és Társa"));
        computers.push((external(&s, &w, "small"), w));
    }
    s.clock.set(at("2029-02-02T00:00:00Z"));
    for (n, (computer, _)) in computers.iter().enumerate() {
        let stopped = format!("2029-01-10T08:{:02}:00Z", 7 * n % 60 + 1);
        report(&s, computer, &["2029-01-10T08:00:00Z", &stopped]);
    }
    s.put("/tenant/prices", json!({ "effective_from": "2029-01", "currency": "EUR", "price_per_credit": "0.013", "tax_rate": "27" }))
        .expect(200);
    // One goes before its last bill is made.
    let gone = &computers[3].1;
    s.delete(&format!("/workspaces/{gone}?force=true"))
        .expect(200);
    let month = json!({ "period": "2029-01" });
    let made = s.post("/statements", month.clone()).expect(200);
    assert_eq!(made["made"], 12);
    assert_eq!(made["skipped"], json!([s.default_workspace]));
    let rows = made["data"].as_array().unwrap();
    let numbers: Vec<_> = rows
        .iter()
        .map(|row| row["number"].as_i64().unwrap())
        .collect();
    assert_eq!(numbers, (1..=12).collect::<Vec<_>>());
    let all = s.get("/usage/series?period=2029-01").expect(200);
    assert_eq!(all["total_credits_micros"], sum(rows, "credits_micros"));
    let again = s.post("/statements", month).expect(200);
    assert_eq!((&again["made"], &again["data"]), (&json!(0), &made["data"]));

    let csv = s.get("/statements?period=2029-01&format=csv");
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8");
    let table: Vec<&str> = csv.text.lines().collect();
    assert_eq!(table.len(), 1 + 2 * 12, "a line and its tax for each");
    assert!(table[1].starts_with("1,2029-01,"));
    let list = s.get("/statements?per_page=5").expect(200);
    assert_eq!(
        (&list["total"], &list["data"][0]["number"]),
        (&json!(12), &json!(12))
    );
    s.get("/statements?format=zip").invalid(&["period"]);
    let gone = format!("/workspaces/{gone}/statements");
    s.get(&gone).refused(404, "NOT_FOUND");
    assert_eq!(
        s.get(&format!("{gone}?include_deleted=1")).expect(200)["total"],
        1
    );
    verified(&s);
}

/// The bytes of a reply that is no text.
fn bytes(s: &Service, path: &str) -> (axum::http::HeaderMap, Vec<u8>) {
    use http_body_util::BodyExt;
    use tower::ServiceExt;
    let request = crate::harness::request(&s.key, &Method::GET, path, None);
    crate::harness::runtime().block_on(async {
        let response = s.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        (
            parts.headers,
            body.collect().await.unwrap().to_bytes().to_vec(),
        )
    })
}

#[test]
fn a_statement_is_also_a_page_a_pdf_and_a_table() {
    let (s, w, _) = clinic();
    let prices = json!({
        "effective_from": "2029-01", "currency": "EUR", "price_per_credit": "0.01", "tax_rate": "27",
        "head": "Acme <b>Kft.</b>\n1117 Budapest, Őrház tér 1", "foot": "Bankszámla: 1177-0000\nKöszönjük!",
    });
    s.put("/tenant/prices", prices).expect(200);
    make(&s, &w, "2029-01").expect(201);
    let path = format!("/workspaces/{w}/statements/1");
    let page = s.get(&format!("{path}?format=html"));
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    assert!(
        page.text
            .contains("Acme &lt;b&gt;Kft.&lt;/b&gt;<br>1117 Budapest, Őrház tér 1")
    );
    assert!(page.text.contains("size:A4"));
    for outside in [
        "http://", "https://", "src=", "<script", "style=", "onload", "@import", "url(",
    ] {
        assert!(!page.text.contains(outside), "{outside}");
    }
    // The policy lets the browser use exactly the styles that are in the page.
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    let style = page
        .text
        .split("<style>")
        .nth(1)
        .unwrap()
        .split("</style>")
        .next()
        .unwrap();
    let hash = <sha2::Sha256 as sha2::Digest>::digest(style);
    let hash = data_encoding::BASE64.encode(&hash);
    assert!(policy.contains(&format!("'sha256-{hash}'")), "{policy}");
    assert!(policy.starts_with("default-src 'none'"));
    let letter = s.get(&format!("{path}?format=html&paper=letter"));
    assert!(letter.text.contains("size:letter"));

    for (paper, width) in [("a4", "595.28"), ("letter", "612")] {
        let (headers, pdf) = bytes(&s, &format!("{path}?format=pdf&paper={paper}"));
        assert_eq!(headers["content-type"], "application/pdf");
        assert!(pdf.starts_with(b"%PDF-"));
        let text = String::from_utf8_lossy(&pdf);
        assert!(text.contains(&format!("/MediaBox [0 0 {width}")), "{paper}");
        assert!(text.contains("/Count 1"), "one page");
        assert!(pdf.len() < 40_000, "{} bytes", pdf.len());
        assert_eq!(
            bytes(&s, &format!("{path}?format=pdf&paper={paper}")).1,
            pdf
        );
    }
    let (headers, zip) = bytes(&s, "/statements?period=2029-01&format=zip");
    assert_eq!(headers["content-type"], "application/zip");
    assert!(zip.starts_with(b"PK\x03\x04"));
    let table = s.get(&format!("{path}?format=csv")).text;
    assert_eq!(table.lines().count(), 3);
    assert!(table.lines().nth(2).unwrap().contains(",tax,"));
    s.get(&format!("{path}?format=docx&paper=a5"))
        .invalid(&["format", "paper"]);
    // What the client accepts decides where it does not say.
    let request = axum::http::Request::get(format!("/api/v1{path}"))
        .header("authorization", format!("Bearer {}", s.key))
        .header("accept", "text/html,application/xhtml+xml")
        .body(axum::body::Body::empty())
        .unwrap();
    assert_eq!(
        s.send(request).headers["content-type"],
        "text/html; charset=utf-8"
    );
}

#[test]
fn keys_see_and_make_what_they_may() {
    let (s, w, _) = clinic();
    make(&s, &w, "2029-01").expect(201);
    let path = format!("/workspaces/{w}/statements");
    let (other, _) = s.other_tenant("other");
    let get = |key: &str, path: &str| s.call_as(key, Method::GET, path, None);
    let post = |key: &str| {
        s.call_as(
            key,
            Method::POST,
            &path,
            Some(json!({ "period": "2029-02" })),
        )
    };
    for path in [
        &path,
        &format!("{path}/1"),
        &format!("{path}/1/explain?line=1"),
    ] {
        get(&other, path).refused(403, "FORBIDDEN");
    }
    post(&other).refused(403, "FORBIDDEN");
    assert_eq!(get(&other, "/statements").expect(200)["total"], 0);
    // Another's number is no number of this workspace.
    let default = format!("/workspaces/{}/statements/1", s.default_workspace);
    s.get(&default).refused(404, "NOT_FOUND");
    s.get(&format!("{path}/one")).refused(404, "NOT_FOUND");
    let key = |body: Value| {
        s.post("/api-keys", body).expect(201)["data"]["key"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    // The customer's own key reads its statements and makes none.
    let own = key(json!({ "name": "own", "workspace_id": w }));
    assert_eq!(get(&own, &path).expect(200)["total"], 1);
    get(&own, "/statements").refused(403, "FORBIDDEN");
    post(&own).refused(403, "FORBIDDEN");
    let reader = key(json!({ "name": "reader", "scopes": ["usage:read"] }));
    get(&reader, &format!("{path}/1")).expect(200);
    post(&reader).refused(403, "insufficient_scope");
    let admin = key(json!({ "name": "admin", "scopes": ["tenant:admin"] }));
    post(&admin).expect(201);
    get(&admin, &path).refused(403, "insufficient_scope");
    // The same request again is not executed again.
    let body = json!({ "period": "2029-01" });
    let once = keyed(&s, &s.key, Method::POST, &path, "k1", body.clone()).expect(200);
    assert_eq!(
        keyed(&s, &s.key, Method::POST, &path, "k1", body).expect(200),
        once
    );
    assert_eq!(s.count("SELECT count(*) FROM statements"), 2);
}

#[test]
fn a_statement_that_was_tampered_with_is_found() {
    let (s, w, _) = clinic();
    s.put("/tenant/prices", json!({ "effective_from": "2029-01", "currency": "EUR", "price_per_credit": "0.01", "tax_rate": "20" }))
        .expect(200);
    make(&s, &w, "2029-01").expect(201);
    make(&s, &w, "2029-02").expect(201);
    verified(&s);
    let change = |sql: &str| {
        let sql = sql.to_owned();
        s.app
            .store
            .write_blocking(move |tx| Ok(tx.execute_batch(&sql)?))
    };
    // Not through SQL either, as long as the rules of the file hold.
    for sql in [
        "UPDATE statements SET period = '2028-12' WHERE number = 1",
        "DELETE FROM statements WHERE number = 2",
        "UPDATE statement_lines SET amount = 1",
        "DELETE FROM statement_lines",
    ] {
        assert!(change(sql).is_err(), "{sql}");
    }
    change("DROP TRIGGER statements_unchanged; DROP TRIGGER statement_lines_unchanged; DROP TRIGGER statements_kept; DROP TRIGGER statement_lines_kept").unwrap();
    for (sql, undo, what) in [
        (
            "UPDATE statement_lines SET amount = amount + 1 WHERE number = 1",
            "UPDATE statement_lines SET amount = amount - 1 WHERE number = 1",
            "lines",
        ),
        (
            "UPDATE statement_lines SET micros = micros - 1 WHERE number = 2",
            "UPDATE statement_lines SET micros = micros + 1 WHERE number = 2",
            "lines",
        ),
        (
            "UPDATE statements SET digest = zeroblob(32) WHERE number = 1",
            "",
            "digest",
        ),
    ] {
        change(sql).unwrap();
        let proof = s.get("/statements/verify").expect(200);
        assert_eq!(proof["ok"], false);
        assert!(proof["differences"].to_string().contains(what), "{proof}");
        change(undo).unwrap();
    }
}

#[test]
fn a_changed_zone_bills_no_hour_twice_or_never() {
    let s = service_at("2029-01-01T00:00:00Z");
    let w = s.workspace("Clinic");
    let c = external(&s, &w, "small");
    s.clock.set(at("2029-04-02T12:00:00Z"));
    report(&s, &c, &["2029-01-01T00:00:00Z", "2029-04-01T10:00:00Z"]);
    let zone = |tz: &str| {
        s.put(&format!("/workspaces/{w}/settings"), json!({ "tz": tz }))
            .expect(200);
    };
    let first = make(&s, &w, "2029-01").expect(201);
    zone("America/Los_Angeles");
    let third = make(&s, &w, "2029-03").expect(201);
    zone("Asia/Tokyo");
    let second = make(&s, &w, "2029-02").expect(201);
    assert_eq!(first["period_end"], second["period_start"]);
    assert_eq!(second["period_end"], third["period_start"]);
    let all: i64 = [&first, &second, &third]
        .iter()
        .map(|one| one["credits_micros"].as_i64().unwrap())
        .sum();
    let end = third["period_end"].as_str().unwrap();
    let meter = usage(&s, &w, &format!("from=2029-01-01T00:00:00Z&to={end}"));
    assert_eq!(meter["total_credits_micros"], all);
    verified(&s);
}

#[test]
fn statements_of_a_month_are_written_by_themselves() {
    let (s, w, _) = clinic();
    let to = s.dir.path().join("statements");
    let look = || {
        let written = workspaced::testing::write_statements(
            &s.app.store,
            &to,
            workspaced::testing::Paper::A4,
        );
        crate::harness::runtime().block_on(written).unwrap()
    };
    // Without a price list nobody is billed.
    s.clock.set(at("2029-03-01T01:00:00Z"));
    assert_eq!(look(), 0);
    s.put(
        "/tenant/prices",
        json!({ "effective_from": "2029-01", "currency": "EUR", "price_per_credit": "0.01" }),
    )
    .expect(200);
    // Reports are waited for, and a month that is not over somewhere is not over.
    s.clock.set(at("2029-02-01T00:59:59Z"));
    s.put(
        &format!("/workspaces/{w}/settings"),
        json!({ "tz": "America/New_York" }),
    )
    .expect(200);
    s.clock.set(at("2029-03-01T04:00:00Z"));
    assert_eq!(look(), 0);
    assert_eq!(s.count("SELECT count(*) FROM statements"), 0);
    s.clock.set(at("2029-03-01T05:00:00Z"));
    assert_eq!(look(), 1);
    let month = to.join("acme/2029-02");
    let mut files: Vec<_> = std::fs::read_dir(&month)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(
        files,
        ["000001-2029-02-dr-smith-clinic.pdf", "statements.csv"]
    );
    assert!(
        std::fs::read(month.join(&files[0]))
            .unwrap()
            .starts_with(b"%PDF")
    );
    let log = s.get("/audit-log?type=statement.created").expect(200);
    assert_eq!(log["data"][0]["actor_type"], "system");
    // Once.
    std::fs::remove_dir_all(&to).unwrap();
    assert_eq!(look(), 0);
    assert!(!to.exists());
}

/// Prints how long a statement of 1,000 computers and a million events takes, and how much memory more than
/// the service had: `cargo test --test it -- --ignored --nocapture a_million_events`.
#[test]
#[ignore = "a measurement"]
fn a_statement_of_a_million_events() {
    let s = service_at("2028-12-31T00:00:00Z");
    let w = s.workspace("Clinic");
    let first = external(&s, &w, "small");
    for _ in 1..1000 {
        external(&s, &w, "small");
    }
    s.clock.set(at("2029-02-02T00:00:00Z"));
    let start = at("2029-01-01T00:00:00Z").0;
    s.app
        .store
        .write_blocking(move |tx| {
            // Each goes on and off a thousand times, every 40 minutes or so.
            tx.execute(
                "WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 999)
                 INSERT INTO compute_events (tenant_id, workspace_id, project_id, computer_id, type, at, recorded_at,
                     status, billable, size, rate, stated)
                 SELECT tenant_id, workspace_id, project_id, id, 'computer.reported', ?1 + n * 2600000 + n % 7, ?1,
                     CASE n % 2 WHEN 0 THEN 'running' ELSE 'stopped' END, 1 - n % 2, 'small', 30, 1
                 FROM n CROSS JOIN computers",
                [start],
            )?;
            workspaced::testing::rebuild(tx)
        })
        .unwrap();
    let peak = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM"))
            .unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<i64>()
            .unwrap()
            / 1024
    };
    let events = s.count("SELECT count(*) FROM compute_events");
    let clock = || {
        let date = std::process::Command::new("date")
            .arg("+%s%3N")
            .output()
            .unwrap();
        String::from_utf8(date.stdout)
            .unwrap()
            .trim()
            .parse::<i64>()
            .unwrap()
    };
    let (before, began) = (peak(), clock());
    let made = make(&s, &w, "2029-01").expect(201);
    let took = clock() - began;
    println!(
        "{events} events, {} lines: {took} ms, {} MB more at the peak",
        lines(&made).len(),
        peak() - before
    );
    let began = clock();
    verified(&s);
    println!("verify: {} ms", clock() - began);
    let meter = usage(&s, &w, "period=2029-01");
    assert_eq!(meter["total_credits_micros"], made["credits_micros"]);
    s.get(&format!("/computers/{first}")).expect(200);
}

// ---------------------------------------------------------------------------------------------
// Any history

/// Something that a computer did: when (minutes since 2029), what, and in which delivery it is told.
#[derive(Clone, Debug)]
struct Did {
    minute: u32,
    computer: usize,
    kind: u8,
    delivery: u8,
}

/// From January to March: 90 days.
const MINUTES: u32 = 90 * 24 * 60;

fn history() -> impl Strategy<Value = Vec<Did>> {
    let one = (0..MINUTES, 0..3_usize, 0..6_u8, 0..4_u8).prop_map(
        |(minute, computer, kind, delivery)| Did {
            minute,
            computer,
            kind,
            delivery,
        },
    );
    prop::collection::vec(one, 1..40)
}

struct Fleet {
    s: Service,
    workspaces: [String; 2],
    computers: Vec<String>,
}

fn fleet(tz: &str) -> Fleet {
    let s = service_at("2029-01-01T00:00:00Z");
    s.put("/tenant/settings", json!({ "tz": tz })).expect(200);
    s.put("/tenant/prices", json!({ "effective_from": "2029-01", "currency": "EUR", "price_per_credit": "0.013", "billing_increment": "minute" }))
        .expect(200);
    let workspaces = ["A", "B"].map(|name| s.workspace(name));
    let computers = (0..3)
        .map(|n| external(&s, &workspaces[n % 2], "small"))
        .collect();
    Fleet {
        s,
        workspaces,
        computers,
    }
}

impl Fleet {
    fn tell(&self, history: &[Did], told: impl Fn(&Did) -> bool) {
        let start = at("2029-01-01T00:00:00Z");
        let events: Vec<Value> = history
            .iter()
            .enumerate()
            .filter(|(_, did)| told(did))
            .map(|(n, did)| {
                // Off every boundary, and never two at one instant.
                let time = start
                    .plus_ms(i64::from(did.minute) * 60_000 + n as i64 * 7 + 1)
                    .rfc3339_ms();
                let (kind, data) = match did.kind {
                    0 | 1 => ("started", json!({})),
                    2 => ("stopped", json!({})),
                    3 => ("resized", json!({ "size": "large" })),
                    4 => ("resized", json!({ "size": "small" })),
                    _ => ("moved", json!({ "workspace_id": self.workspaces[n % 2] })),
                };
                event(
                    &format!("e{n}"),
                    kind,
                    &self.computers[did.computer],
                    &time,
                    data,
                )
            })
            .collect();
        if !events.is_empty() {
            let reply = self
                .s
                .post("/compute-events", json!({ "events": events }))
                .expect(200);
            assert_eq!(reply["rejected"], json!([]));
        }
    }

    fn make(&self, period: &str) {
        let made = self
            .s
            .post("/statements", json!({ "period": period }))
            .expect(200);
        // Each says what the meter says at this time.
        for one in made["data"].as_array().unwrap() {
            let w = one["workspace_id"].as_str().unwrap();
            let meter = usage(&self.s, w, &format!("period={period}"));
            let all = self
                .s
                .get(&format!("/workspaces/{w}/statements/{}", one["number"]))
                .expect(200);
            let own: Vec<Value> = lines(&all)
                .iter()
                .filter(|line| line["kind"] == "usage")
                .cloned()
                .collect();
            assert_eq!(
                sum(&own, "credits_micros"),
                one["credits_micros"].as_i64().unwrap()
            );
            assert_eq!(
                meter["total_credits_micros"], one["credits_micros"],
                "{w} {period}"
            );
            assert_eq!(meter["total_compute_ms"], one["compute_ms"]);
        }
        let meter = self
            .s
            .get(&format!("/usage/series?period={period}"))
            .expect(200);
        assert_eq!(
            meter["total_credits_micros"],
            sum(made["data"].as_array().unwrap(), "credits_micros")
        );
    }

    /// What all statements together say about a month.
    fn said(&self, period: &str) -> (i64, i64, i64) {
        let about = |column: &str| {
            self.s.count(&format!(
                "SELECT coalesce(sum({column}), 0) FROM statement_lines WHERE period = '{period}'
                 AND kind IN ('usage', 'adjustment', 'correction')"
            ))
        };
        (about("micros"), about("compute_ms"), about("billed_ms"))
    }

    fn go_to(&self, time: &str) {
        self.s.clock.set(at(time));
    }
}

const MONTHS: [&str; 3] = ["2029-01", "2029-02", "2029-03"];

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn statements_add_up_to_the_meter_whatever_comes_late(
        history in history(),
        tz in prop::sample::select(vec!["UTC", "America/New_York", "Asia/Kathmandu"]),
    ) {
        let f = fleet(tz);
        // One delivery is in time; the others come after one, two and three statements.
        let closed = ["2029-02-02T00:00:00Z", "2029-03-02T00:00:00Z", "2029-04-02T00:00:00Z"];
        for (n, (month, now)) in MONTHS.iter().zip(closed).enumerate() {
            f.go_to(now);
            let until = at(now).0 - at("2029-01-01T00:00:00Z").0;
            let past = |did: &Did| i64::from(did.minute) * 60_000 + 1000 < until;
            // What was told before is told again, which changes nothing.
            f.tell(&history, |did| past(did) && usize::from(did.delivery) <= n);
            f.make(month);
            verified(&f.s);
        }
        f.tell(&history, |_| true);
        f.go_to("2029-05-02T00:00:00Z");
        f.make("2029-04");
        prop_assert_eq!(&verified(&f.s)["outstanding"], &json!([]));

        let in_order = fleet(tz);
        in_order.go_to("2029-05-02T00:00:00Z");
        let mut sorted: Vec<usize> = (0..history.len()).collect();
        sorted.sort_by_key(|n| (history[*n].minute, *n));
        for n in sorted {
            in_order.tell(&history, |did| std::ptr::eq(did, &history[n]));
        }
        let mut all = 0;
        for month in MONTHS {
            in_order.make(month);
            let said = f.said(month);
            prop_assert_eq!(said, in_order.said(month), "{}", month);
            let meter = f.s.get(&format!("/usage/series?period={month}")).expect(200);
            prop_assert_eq!(&meter["total_credits_micros"], &json!(said.0));
            all += said.0;
        }
        let quarter = f.s.get("/usage/series?from=2029-01-01&to=2029-04-01&granularity=month").expect(200);
        prop_assert_eq!(&quarter["total_credits_micros"], &json!(all));
        verified(&in_order.s);
    }
}

/// Each starts two services: a fortieth of what `PROPTEST_CASES` asks for.
fn cases() -> u32 {
    (ProptestConfig::default().cases / 40).max(1)
}

#[test]
fn lists_of_statements_go_on_by_their_link_and_a_statement_has_a_tag() {
    let (s, w, _) = clinic();
    // February first: a workspace's list goes by month, the organization's by number.
    for period in ["2029-02", "2029-01"] {
        make(&s, &w, period).expect(201);
    }
    for (path, periods) in [
        (
            format!("/workspaces/{w}/statements"),
            ["2029-02", "2029-01"],
        ),
        ("/statements".to_owned(), ["2029-01", "2029-02"]),
    ] {
        let first = s.get(&format!("{path}?limit=1"));
        let link = first.headers["link"].to_str().unwrap();
        let next = link
            .trim_start_matches('<')
            .trim_end_matches(">; rel=\"next\"");
        let second = s.get(&format!("{path}{next}"));
        let shown: Vec<_> = [&first, &second]
            .iter()
            .map(|answer| answer.json()["data"][0]["period"].clone())
            .collect();
        assert_eq!(shown, periods, "{path}");
        // Another list refuses the cursor.
        s.get(&format!("/workspaces{next}")).invalid(&["after"]);
    }
    let path = format!("/workspaces/{w}/statements/1");
    let statement = s.get(&path);
    let tag = statement.headers["etag"].to_str().unwrap();
    let digest = statement.json()["digest"].clone();
    assert_eq!(tag, digest.to_string());
    let mut again = request(&s.key, &Method::GET, &path, None);
    let tag = tag.parse().unwrap();
    again.headers_mut().insert("if-none-match", tag);
    assert_eq!(s.send(again).status, 304);
}
