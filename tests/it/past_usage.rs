//! Usage from before it was metered here, brought in.

use axum::body::Body;
use axum::http::{Method, Request};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::harness::{Answer, Service};
use crate::headroom::everything;
use crate::usage::{external, report, service_at};

fn path(w: &str) -> String {
    format!("/workspaces/{w}/history")
}

fn month(s: &Service, w: &str, period: &str) -> i64 {
    let usage = s.get(&format!("/workspaces/{w}/usage?period={period}"));
    usage.expect(200)["total_credits_micros"].as_i64().unwrap()
}

fn sound(s: &Service) {
    let proof = s.get("/usage/verify").expect(200);
    assert_eq!(proof["ok"], true, "{proof}");
}

fn table(s: &Service, w: &str, query: &str, text: &str) -> Answer {
    let request = Request::post(format!("/api/v1{}{query}", path(w)))
        .header("host", "127.0.0.1")
        .header("authorization", format!("Bearer {}", s.key))
        .header("content-type", "text/csv")
        .body(Body::from(text.to_owned()));
    s.send(request.unwrap())
}

fn intervals() -> Value {
    json!({ "intervals": [
        // Thirty credits an hour, over the end of a month, long before this installation.
        { "id": "a", "computer": "front desk", "size": "small", "rate": 30,
          "from": "2025-11-30T23:00:00Z", "to": "2025-12-01T02:00:00Z" },
        // The next begins where that ends, larger; what it cost is a whole price.
        { "id": "b", "computer": "front desk", "size": "large", "credits_micros": 200_000_000,
          "from": "2025-12-01T02:00:00Z", "to": "2025-12-01T04:00:00Z" },
        // No whole price gives this.
        { "id": "c", "computer": "x-ray", "size": "xl", "credits_micros": 1_000_001,
          "from": "2026-01-10T00:00:00Z", "to": "2026-01-10T01:00:00Z" },
        // At this server's price.
        { "id": "d", "computer": "x-ray", "size": "small",
          "from": "2026-01-11T00:00:00Z", "to": "2026-01-11T01:00:00Z" },
    ] })
}

#[test]
fn what_ran_elsewhere_is_on_the_bill_of_its_month() {
    let s = service_at("2026-05-20T10:00:00Z");
    let w = s.workspace("Clinic");
    s.computer(&w, "small");
    let before = everything(&s);
    let dry = s
        .post(&format!("{}?dry_run=true", path(&w)), intervals())
        .expect(200);
    assert_eq!(everything(&s), before);
    let made = s.post(&path(&w), intervals()).expect(200);
    assert_eq!(dry, made, "a rehearsal says the same");
    assert_eq!(
        (&made["added"], &made["known"], &made["computers"]),
        (&json!(4), &json!(0), &json!(2))
    );
    assert_eq!(
        made["months"],
        json!({
            "2025-11": { "compute_ms": 3_600_000, "credits_micros": 30_000_000 },
            "2025-12": { "compute_ms": 14_400_000, "credits_micros": 260_000_000 },
            "2026-01": { "compute_ms": 7_200_000, "credits_micros": 31_000_001 },
        })
    );
    for (period, micros) in [
        ("2025-10", 0),
        ("2025-11", 30_000_000),
        ("2025-12", 260_000_000),
        ("2026-01", 31_000_001),
    ] {
        assert_eq!(month(&s, &w, period), micros, "{period}");
    }
    sound(&s);
    // It is on a statement, and counts for no limit.
    let statement = json!({ "period": "2025-12" });
    let statement = s
        .post(&format!("/workspaces/{w}/statements"), statement)
        .expect(201);
    assert_eq!(statement["credits_micros"], 260_000_000);
    assert!(statement.to_string().contains("front desk"));
    let stats = s.get(&format!("/workspaces/{w}")).expect(200);
    assert_eq!(stats["computer_count"], 1);
    // It says where it comes from.
    let explained = s.get(&format!(
        "/workspaces/{w}/usage/explain?from=2025-12-01T00:00:00Z&to=2025-12-02T00:00:00Z"
    ));
    if explained.status == 200 {
        assert!(explained.text.contains("history"), "{}", explained.text);
    }

    // The same again adds nothing; the same id with something else is refused, and nothing of it is done.
    let again = s.post(&path(&w), intervals()).expect(200);
    assert_eq!((&again["added"], &again["known"]), (&json!(0), &json!(4)));
    let mut other = intervals();
    other["intervals"][0]["rate"] = 31.into();
    other["intervals"].as_array_mut().unwrap().push(json!({
        "id": "e", "computer": "new", "size": "small", "rate": 1,
        "from": "2026-02-01T00:00:00Z", "to": "2026-02-01T01:00:00Z",
    }));
    s.post(&path(&w), other).refused(409, "HISTORY_CONFLICT");
    // Whatever it is that differs: the end, the size, an amount that no rate gives, that it has one at all.
    for (n, field, value) in [
        (0, "to", json!("2025-12-01T01:30:00Z")),
        (0, "size", json!("medium")),
        (1, "from", json!("2025-12-01T02:30:00Z")),
        (2, "credits_micros", json!(1_000_002)),
        (2, "credits_micros", json!(0)),
        (3, "credits_micros", json!(31_000_001)),
    ] {
        let mut other = intervals();
        other["intervals"][n][field] = value;
        s.post(&path(&w), other).refused(409, "HISTORY_CONFLICT");
    }
    // What an agent calls an event is no interval's name, and none is another's.
    let named_like_it = json!({ "intervals": [
        { "id": "y:credits", "computer": "new", "size": "small", "credits_micros": 0,
          "from": "2019-01-01T00:00:00Z", "to": "2019-01-01T01:00:00Z" },
        { "id": "y", "computer": "newer", "size": "small", "credits_micros": 1_000_001,
          "from": "2019-01-01T00:00:00Z", "to": "2019-01-01T01:00:00Z" },
    ] });
    let made = s.post(&path(&w), named_like_it).expect(200);
    assert_eq!(made["added"], 2, "{made}");
    assert_eq!(month(&s, &w, "2026-02"), 0);
    assert_eq!(month(&s, &w, "2025-12"), 260_000_000);
    sound(&s);

    // More of it later: the closed month gets a line of correction.
    let late = json!({ "intervals": [{ "id": "f", "computer": "front desk", "size": "small", "rate": 10,
        "from": "2025-12-05T00:00:00Z", "to": "2025-12-05T01:00:00Z" }] });
    s.post(&path(&w), late).expect(200);
    let next = json!({ "period": "2026-01" });
    let next = s
        .post(&format!("/workspaces/{w}/statements"), next)
        .expect(201);
    assert_eq!(next["corrections_micros"], 10_000_000, "{next}");
    assert_eq!(s.get("/statements/verify").expect(200)["ok"], true);
    sound(&s);
}

#[test]
fn the_table_of_sessions_of_another_installation_is_taken() {
    let there = service_at("2026-05-01T00:00:00Z");
    let w = there.workspace("Clinic");
    let c = external(&there, &w, "medium");
    there.clock.set(crate::harness::at("2026-05-20T00:00:00Z"));
    report(
        &there,
        &c,
        &[
            "2026-05-02T00:00:00Z",
            "2026-05-02T10:20:30Z",
            "2026-05-03T00:00:00Z",
            "2026-05-03T00:00:01Z",
        ],
    );
    let sessions = there.get("/usage/sessions?format=csv&since=2026-05-01T00:00:00Z");
    assert_eq!(sessions.status, 200, "{}", sessions.text);

    let here = service_at("2026-06-01T00:00:00Z");
    let to = here.workspace("Clinic");
    here.computer(&to, "small");
    let refused = table(&here, &to, "", &sessions.text).invalid(&["intervals"]);
    assert!(refused.to_string().contains("?project="), "{refused}");
    let project = json!({ "name": "Old", "workspace_id": to });
    here.post("/projects", project).expect(201);
    let made = table(&here, &to, "?project=old", &sessions.text).expect(200);
    assert_eq!(made["added"], 2, "{made}");
    assert_eq!(month(&here, &to, "2026-05"), month(&there, &w, "2026-05"));
    sound(&here);
}

#[test]
fn wrong_intervals_are_named_and_nothing_is_added() {
    let s = service_at("2026-05-20T10:00:00Z");
    let w = s.workspace("Clinic");
    s.computer(&w, "small");
    let before = s.fingerprint();
    let good = json!({ "id": "g", "computer": "c", "size": "small", "rate": 1,
        "from": "2026-01-01T00:00:00Z", "to": "2026-01-01T01:00:00Z" });
    let with = |name: &str, value: Value| {
        let mut row = good.clone();
        row[name] = value;
        row["id"] = "h".into();
        row
    };
    for (row, said) in [
        (with("from", "2026-01-01T01:00:00Z".into()), "after from"),
        (
            with("to", "2027-01-01T00:00:00Z".into()),
            "not in the future",
        ),
        (with("from", "yesterday".into()), "RFC 3339"),
        (with("size", "huge".into()), "must be one of"),
        (with("rate", (-1).into()), "rate"),
        (with("rate", 10_000_000.into()), "rate"),
        (with("computer", "a\nb".into()), "computer"),
        (with("project", "nowhere".into()), "none of this workspace"),
        (with("credits_micros", 5.into()), "combined"),
        (with("from", "2026-01-01T00:30:00Z".into()), "overlap"),
    ] {
        let body = json!({ "intervals": [good, row] });
        let refused = s.post(&path(&w), body).invalid(&["intervals"]);
        assert!(refused.to_string().contains(said), "{said}: {refused}");
    }
    s.post(&path(&w), json!({ "intervals": [good, good] }))
        .invalid(&["intervals"]);
    s.post(&path(&w), json!({ "intervals": [] }))
        .invalid(&["intervals"]);
    s.post(&path(&w), json!({})).invalid(&["intervals"]);
    table(&s, &w, "", "id,computer\na\n").invalid(&["intervals"]);
    let many: Vec<Value> = (0..2001).map(|_| good.clone()).collect();
    s.post(&path(&w), json!({ "intervals": many }))
        .invalid(&["intervals"]);
    assert_eq!(s.fingerprint(), before);
    // Whoever is no operator brings in nothing.
    let (other, home) = s.other_tenant("globex");
    let answer = s.call_as(
        &other,
        Method::POST,
        &path(&home),
        Some(json!({ "intervals": [good] })),
    );
    assert_eq!(answer.status, 403);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// Whatever is brought in, in whatever pieces, the months are those of the intervals, and the books are sound.
    #[test]
    fn any_history_adds_up(rows in prop::collection::vec((0usize..3, 1i64..500_000, 1i64..200_000, 0i64..200), 1..20), cut in 0usize..20) {
        let s = service_at("2026-05-20T10:00:00Z");
        let w = s.workspace("w");
        s.computer(&w, "small");
        let base = 1_735_000_000_000i64;
        let mut ends = [base; 3];
        let mut all = Vec::new();
        let mut expected = 0i128;
        for (n, (computer, gap, seconds, rate)) in rows.iter().enumerate() {
            let from = ends[*computer] + gap * 1000;
            let to = from + seconds * 1000;
            ends[*computer] = to;
            let text = |ms: i64| workspaced::testing::Timestamp(ms).rfc3339();
            expected += i128::from(to - from) * i128::from(*rate);
            all.push(json!({ "id": n.to_string(), "computer": format!("c{computer}"), "size": "small", "rate": rate,
                "from": text(from), "to": text(to) }));
        }
        let cut = cut.min(all.len());
        for piece in [&all[cut..], &all[..cut], &all[..]] {
            if !piece.is_empty() {
                s.post(&path(&w), json!({ "intervals": piece })).expect(200);
            }
        }
        let usage = s.get(&format!("/workspaces/{w}/usage?from=2024-12-01T00:00:00Z&to=2025-12-31T00:00:00Z&granularity=month")).expect(200);
        prop_assert_eq!(i128::from(usage["total_credits_micros"].as_i64().unwrap()), expected * 1_000_000 / 3_600_000);
        let proof = s.get("/usage/verify").expect(200);
        prop_assert_eq!(&proof["ok"], &json!(true), "{}", proof);
    }
}
