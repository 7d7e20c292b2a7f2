//! `--strict`, and the emulator's report of what an application used.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use workspaced::testing::Config;

use crate::harness::{Answer, Service};

fn service(driven: bool, strict: bool) -> Service {
    Service::with(Config {
        virtual_clock: driven,
        strict,
        ..Config::default()
    })
}

fn compat(s: &Service, method: Method) -> Value {
    let request = Request::builder()
        .method(method)
        .uri("/_dev/compat")
        .header("authorization", format!("Bearer {}", s.key))
        .header("content-type", "application/json");
    s.send(request.body(Body::empty()).unwrap()).expect(200)
}

fn route<'a>(report: &'a Value, method: &str, route: &str) -> &'a Value {
    let routes = report["routes"].as_array().unwrap();
    let same = |r: &&Value| r["method"] == method && r["route"] == route;
    routes
        .iter()
        .find(same)
        .unwrap_or_else(|| panic!("no {method} {route} in {report:#}"))
}

/// `in name treatment` of each field.
fn fields(route: &Value) -> Vec<String> {
    let text = |field: &Value, name: &str| field[name].as_str().unwrap().to_owned();
    let of = |f: &Value| {
        format!(
            "{} {} {}",
            text(f, "in"),
            text(f, "name"),
            text(f, "treatment")
        )
    };
    route["fields"].as_array().unwrap().iter().map(of).collect()
}

// ---------------------------------------------------------------------------------------------
// Strict

#[test]
fn strict_refuses_what_it_does_not_know_and_names_what_was_meant() {
    let s = service(false, true);
    let before = s.fingerprint();
    let refused = |answer: Answer, field: &str, hint: &str| {
        let body = answer.invalid(&[field]);
        let text = body["errors"][field][0].as_str().unwrap();
        assert!(text.contains(hint), "{text}");
    };
    let body = json!({ "name": "Acme", "descripton": "x" });
    refused(
        s.post("/workspaces", body),
        "descripton",
        "did you mean description?",
    );
    let body = json!({ "name": "Acme", "colour": "x" });
    refused(s.post("/workspaces", body), "colour", "/openapi.json");
    refused(
        s.get("/workspaces?pagesize=5"),
        "pagesize",
        "did you mean page_size?",
    );
    refused(s.get("/whoami?x=1"), "x", "is not a parameter");
    let event = json!({ "events": [{ "id": "1", "typ": "x" }] });
    refused(
        s.post("/compute-events", event),
        "events[].typ",
        "did you mean type?",
    );
    assert_eq!(s.fingerprint(), before);

    // Known, in either spelling; the caller's own data; and what clients of the hosted service send.
    let body = json!({ "name": "Acme", "externalWorkspaceId": "c-1", "metadata": { "any": { "thing": 1 } } });
    let id = s.post("/workspaces", body).expect(201)["id"].clone();
    let id = id.as_str().unwrap();
    let body = json!({ "name": "desk", "workspace_id": id, "region": "eu", "gpu_count": 0 });
    let computer = s.post("/computers", body).expect(201)["id"].clone();
    let computer = computer.as_str().unwrap();
    let body = json!({ "size": "large", "cpu_count": 4, "memory_mb": 1 });
    s.post(&format!("/computers/{computer}/resize"), body)
        .expect(200);
    s.post(
        &format!("/computers/{computer}/stop"),
        json!({ "reason": "night" }),
    )
    .refused(409, "COMPUTER_STARTING");
    s.get(&format!("/workspaces/{id}/usage?period=2026-05"))
        .expect(200);
    s.get("/workspaces?page=1&page_size=5&q=acme").expect(200);
}

#[test]
fn strict_asks_for_key_and_scope_first() {
    let s = service(false, true);
    s.call_as("", Method::GET, "/workspaces?x=1", None)
        .refused(401, "invalid_token");
    let body = json!({ "name": "reader", "scopes": ["computers:read"] });
    let made = s.post("/api-keys", body).expect(201);
    let reader = made["data"]["key"].as_str().unwrap();
    s.call_as(reader, Method::GET, "/workspaces?x=1", None)
        .refused(403, "insufficient_scope");
    // The row that is named comes before the body.
    let unknown = "/workspaces/00000000-0000-7000-8000-000000000000";
    s.patch(unknown, json!({ "colour": 1 }))
        .refused(404, "NOT_FOUND");
    // What cannot be read is not a matter of fields.
    let request = Request::post("/api/v1/workspaces")
        .header("authorization", format!("Bearer {}", s.key))
        .header("content-type", "application/json")
        .body(Body::from("{"))
        .unwrap();
    s.send(request).refused(400, "INVALID_JSON");
}

#[test]
fn without_strict_the_unknown_is_ignored_unless_it_would_choose_rows() {
    for driven in [false, true] {
        let s = service(driven, false);
        s.post("/workspaces?x=1", json!({ "name": "Acme", "colour": 1 }))
            .expect(201);
        let text = s.get("/workspaces?pagesize=5").invalid(&["pagesize"])["message"].to_string();
        assert!(text.contains("did you mean page_size?"), "{text}");
        s.get(&format!("/workspaces/{}?pagesize=5", s.default_workspace))
            .expect(200);
    }
}

#[test]
fn cloud_events_may_carry_attributes_of_their_own() {
    let s = service(true, true);
    let event = json!({ "specversion": "1.0", "id": "1", "source": "agent", "type": "computer.running", "traceparent": "00-x" });
    let request = Request::post("/api/v1/compute-events")
        .header("authorization", format!("Bearer {}", s.key))
        .header("content-type", "application/cloudevents-batch+json")
        .body(Body::from(json!([event]).to_string()))
        .unwrap();
    assert!(!s.send(request).text.contains("traceparent"));
}

// ---------------------------------------------------------------------------------------------
// The report

#[test]
fn the_report_says_what_was_used_and_what_is_missing() {
    let s = service(true, false);
    s.get("/whoami").expect(200);
    let fine = compat(&s, Method::GET);
    assert_eq!(fine["ok"], true, "{fine:#}");

    s.post(
        "/workspaces?dry_run=secret-1",
        json!({ "name": "secret-2", "colour": "secret-3" }),
    )
    .expect(201);
    let body =
        json!({ "name": "pc", "region": "secret-4", "metadata": { "secret-5": "secret-6" } });
    let computer = s.post("/computers", body).expect(201)["id"].clone();
    let computer = computer.as_str().unwrap();
    s.post("/computers", json!({ "name": "" }))
        .refused(422, "VALIDATION_FAILED");
    s.post(
        &format!("/computers/{computer}/exec"),
        json!({ "command": "secret-7" }),
    )
    .refused(404, "NOT_FOUND");
    s.get("/nowhere/secret-8").refused(404, "NOT_FOUND");
    let agent = Request::get("/api/v1/whoami")
        .header("authorization", format!("Bearer {}", s.key))
        .header("user-agent", "miosa-python/2.19.2");
    s.send(agent.body(Body::empty()).unwrap()).expect(200);

    let report = compat(&s, Method::GET);
    let counts = [
        "unknown_routes",
        "unknown_fields",
        "ignored_fields",
        "differences",
        "requests",
        "left_out",
    ];
    assert_eq!(
        counts.map(|name| report[name].as_i64().unwrap()),
        [2, 2, 1, 2, 7, 0],
        "{report:#}"
    );
    assert_eq!(report["ok"], false);
    assert_eq!(
        fields(route(&report, "POST", "/workspaces")),
        [
            "query dry_run unknown",
            "body colour unknown",
            "body name known"
        ]
    );
    let create = route(&report, "POST", "/computers");
    assert_eq!(
        fields(create),
        [
            "body metadata known",
            "body name known",
            "body region ignored"
        ]
    );
    assert_eq!(create["statuses"], json!({ "201": 1, "422": 1 }));
    assert_eq!(create["treatment"], "different");
    assert!(create["note"].as_str().unwrap().contains("no machine"));
    let exec = route(&report, "POST", "/computers/{}/exec");
    assert_eq!(
        (&exec["treatment"], &exec["count"]),
        (&json!("missing"), &json!(1))
    );
    assert!(
        exec["note"]
            .as_str()
            .unwrap()
            .starts_with("exec is a feature")
    );
    assert_eq!(
        route(&report, "GET", "/nowhere/{}")["statuses"],
        json!({ "404": 1 })
    );
    assert_eq!(route(&report, "GET", "/whoami")["count"], 2);
    assert!(
        report["clients"]
            .as_array()
            .unwrap()
            .contains(&json!({ "user_agent": "miosa-python/2.19.2", "count": 1 }))
    );
    assert!(
        !report.to_string().contains("secret"),
        "values are not kept: {report:#}"
    );

    // Starting afresh answers what there was.
    assert_eq!(compat(&s, Method::DELETE)["requests"], 7);
    let fresh = compat(&s, Method::POST);
    assert_eq!(
        (&fresh["ok"], &fresh["requests"], &fresh["routes"]),
        (&json!(true), &json!(0), &json!([]))
    );
}

#[test]
fn strangers_are_not_recorded_and_the_rest_is_bounded() {
    let s = service(true, false);
    s.call_as("msk_wrong", Method::GET, "/stranger", None)
        .refused(401, "invalid_token");
    assert_eq!(compat(&s, Method::GET)["requests"], 0);

    let name = |n: usize| -> String {
        let letter = |d: usize| {
            char::from(
                b'a' + u8::try_from(n / 26_usize.pow(u32::try_from(d).unwrap()) % 26).unwrap(),
            )
        };
        (0..3).map(letter).collect()
    };
    for n in 0..250 {
        s.get(&format!("/zz{}", name(n))).refused(404, "NOT_FOUND");
    }
    for round in 0..3 {
        let body: serde_json::Map<String, Value> = (0..60)
            .map(|n| (format!("zz_{}", name(round * 60 + n)), json!(1)))
            .collect();
        s.post("/actions/authorize", Value::Object(body));
    }
    for n in 0..80 {
        let request = Request::get("/api/v1/whoami")
            .header("authorization", format!("Bearer {}", s.key))
            .header("user-agent", format!("{}-{n}", "x".repeat(500 - n)));
        s.send(request.body(Body::empty()).unwrap()).expect(200);
    }
    let long = format!("/{}", "y".repeat(5000));
    s.get(&long).refused(404, "NOT_FOUND");
    let report = compat(&s, Method::GET);
    assert_eq!(report["unknown_routes"], 200);
    assert_eq!(report["unknown_fields"], 100);
    assert!(report["clients"].as_array().unwrap().len() <= 50);
    assert!(report["left_out"].as_i64().unwrap() >= 51 + 80);
    assert!(
        report.to_string().len() < 60_000,
        "{}",
        report.to_string().len()
    );
}
