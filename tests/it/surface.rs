//! What guards the surface rather than a case: every endpoint of the table is tried without a key,
//! with another tenant's key and with a key that lacks the scope, and stands in the OpenAPI
//! document. An endpoint that somebody adds is covered by being in the table.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use crate::harness::{Answer, Service};
use workspaced::testing::Reach;
use workspaced::testing::openapi;
use workspaced::testing::routes::{Route, table};

/// The path with ids that exist, by resource.
fn concrete(s: &Service, route: &Route, ids: &Ids) -> String {
    let id = match route.path.split('/').nth(1).unwrap() {
        "workspaces" => &ids.workspace,
        "projects" => &ids.project,
        "computers" => &ids.computer,
        "api-keys" => &ids.key,
        "webhooks" => &ids.webhook,
        _ => &s.tenant_id,
    };
    route
        .path
        .replace("{id}", id)
        .replace("{did}", &ids.delivery)
        .replace("{lid}", &ids.delivery)
        .replace("{name}", "nothing")
        .replace("{number}", "1")
}

struct Ids {
    workspace: String,
    project: String,
    computer: String,
    key: String,
    webhook: String,
    delivery: String,
}

fn ids(s: &Service) -> Ids {
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    // The first thing that it is told is that it is there.
    let hook = json!({ "url": "https://hooks.example.com/", "events": ["*"] });
    let webhook = text(&s.post("/webhooks", hook).expect(201)["data"]["id"]);
    let told = s
        .get(&format!("/webhooks/{webhook}/deliveries"))
        .expect(200);
    let workspace = s.workspace("W");
    let computer = s
        .post(
            "/computers",
            json!({ "name": "c", "workspace_id": workspace, "project_slug": "p" }),
        )
        .expect(201);
    let key = s.post("/api-keys", json!({ "name": "k" })).expect(201)["data"]["id"].clone();
    Ids {
        workspace,
        project: text(&computer["project_id"]),
        computer: text(&computer["id"]),
        key: text(&key),
        webhook,
        delivery: text(&told["data"][0]["id"]),
    }
}

fn call(s: &Service, key: &str, route: &Route, path: &str) -> Answer {
    let body = (route.method != Method::GET).then(|| json!({}));
    s.call_as(key, route.method.clone(), path, body)
}

#[test]
fn every_endpoint_asks_for_a_key_first() {
    let s = Service::new();
    let ids = ids(&s);
    for route in table() {
        for path in [
            concrete(&s, &route, &ids),
            route
                .path
                .replace("{id}", "nonsense")
                .replace("{did}", "nonsense")
                .replace("{lid}", "nonsense")
                .replace("{name}", "x")
                .replace("{number}", "x"),
        ] {
            call(&s, "", &route, &path).refused(401, "invalid_token");
            call(&s, "msk_u_nobody", &route, &format!("/api/v1/api/v1{path}"))
                .refused(401, "invalid_token");
        }
    }
}

#[test]
fn no_endpoint_shows_or_changes_another_tenants_rows() {
    let s = Service::new();
    let ids = ids(&s);
    let (other, _) = s.other_tenant("other");
    let mine = [
        &ids.workspace,
        &ids.project,
        &ids.computer,
        &ids.key,
        &ids.webhook,
        &ids.delivery,
        &s.tenant_id,
        &s.default_workspace,
    ];
    let before = s.fingerprint();
    for route in table().iter().filter(|r| r.access.by_id) {
        let answer = call(&s, &other, route, &concrete(&s, route, &ids));
        answer.refused(403, "FORBIDDEN");
        assert!(
            !mine.iter().any(|id| answer.text.contains(id.as_str())),
            "{} {}",
            route.method,
            route.path
        );
    }
    assert_eq!(s.fingerprint(), before);
    for route in table()
        .iter()
        .filter(|r| !r.access.by_id && r.method == Method::GET)
    {
        let answer = call(&s, &other, route, &concrete(&s, route, &ids));
        assert!(
            !mine.iter().any(|id| answer.text.contains(id.as_str())),
            "{} {}",
            route.method,
            route.path
        );
    }
}

#[test]
fn every_scope_is_needed() {
    let s = Service::new();
    let ids = ids(&s);
    let nothing = s
        .post(
            "/api-keys",
            json!({ "name": "n", "scopes": ["sandboxes:read"] }),
        )
        .expect(201);
    let nothing = nothing["data"]["key"].as_str().unwrap();
    let before = s.fingerprint();
    for route in table() {
        let answer = call(&s, nothing, &route, &concrete(&s, &route, &ids));
        match (route.access.scope, route.access.reach) {
            (_, Reach::Operator) => drop(answer.refused(403, "FORBIDDEN")),
            (Some(scope), _) => assert!(answer.refused(403, "insufficient_scope").contains(scope)),
            (None, _) => assert!(
                !answer.text.contains("insufficient_scope"),
                "{} {}: {}",
                route.method,
                route.path,
                answer.text
            ),
        }
    }
    assert_eq!(s.fingerprint(), before);
    // A reader changes nothing anywhere.
    let areas: BTreeSet<_> = table()
        .iter()
        .filter_map(|r| r.access.scope?.split_once(':'))
        .map(|s| s.0)
        .collect();
    let scopes: Vec<_> = areas.iter().map(|area| format!("{area}:read")).collect();
    let reader = s
        .post("/api-keys", json!({ "name": "r", "scopes": scopes }))
        .expect(201);
    let reader = reader["data"]["key"].as_str().unwrap();
    let before = s.fingerprint();
    for route in table().iter().filter(|r| {
        r.access
            .scope
            .is_some_and(|scope| !scope.ends_with(":read"))
    }) {
        let answer = call(&s, reader, route, &concrete(&s, route, &ids));
        assert_eq!(
            answer.status.as_u16(),
            403,
            "{} {}: {}",
            route.method,
            route.path,
            answer.text
        );
    }
    assert_eq!(s.fingerprint(), before);
}

#[test]
fn every_endpoint_with_an_id_checks_it() {
    let s = Service::new();
    for route in table().iter().filter(|r| r.access.by_id) {
        let with = |id: &str| {
            let path = route
                .path
                .replace("{id}", id)
                .replace("{did}", id)
                .replace("{lid}", id);
            call(&s, &s.key, route, &path)
        };
        if route.path != "/platform/tenants/{id}/switch" {
            with("not-a-uuid").refused(400, "INVALID_ID");
            with("7a1f0000-0000-4000-8000-00000000dead").refused(404, "NOT_FOUND");
        }
    }
}

#[test]
fn every_route_is_in_the_document_and_nothing_else() {
    let document: Value = serde_json::from_str(&openapi::document().to_json().unwrap()).unwrap();
    let documented: BTreeSet<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .keys()
                .map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let served: BTreeSet<String> = table()
        .iter()
        .map(|r| format!("{} /api/v1{}", r.method, r.path))
        .collect();
    assert_eq!(documented, served);
    // Each reference leads somewhere.
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(
            document["components"]["schemas"].get(name).is_some(),
            "{name}"
        );
    }
    let ids: Vec<_> = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|i| i.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    assert_eq!(
        ids.len(),
        ids.iter().collect::<BTreeSet<_>>().len(),
        "operation ids are unique"
    );
}

#[test]
fn the_doubled_prefix_is_the_same_api() {
    let s = Service::new();
    let one = s.get("/api/v1/workspaces").expect(200);
    assert_eq!(s.get("/api/v1/api/v1/workspaces").expect(200), one);
    let id = s.workspace("A");
    s.get(&format!("/api/v1/api/v1/workspaces/{id}/stats"))
        .expect(200);
}

#[test]
fn unknown_routes_and_methods_speak_the_one_error_body() {
    let s = Service::new();
    s.get("/nothing/here").refused(404, "NOT_FOUND");
    s.get("/api/v1").refused(404, "NOT_FOUND");
    s.get("/workspaces/").refused(404, "NOT_FOUND");
    let message = s
        .post("/deployments", json!({ "name": "x" }))
        .refused(404, "NOT_FOUND");
    assert!(message.contains("not part of this server"), "{message}");
    let message = s
        .get("/sandboxes/7a1f0000-0000-4000-8000-00000000dead")
        .refused(404, "NOT_FOUND");
    assert!(message.contains("not part of this server"), "{message}");
    let message = s
        .get("/computers/7a1f0000-0000-4000-8000-00000000dead/exec")
        .refused(404, "NOT_FOUND");
    assert!(message.contains("not part of this server"), "{message}");
    let answer = s.put("/workspaces", json!({}));
    answer.refused(405, "METHOD_NOT_ALLOWED");
    let allow = answer.headers["allow"].to_str().unwrap();
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    for path in [
        "/sandboxes",
        "/deployments",
        "/databases",
        "/volumes",
        "/storage/buckets",
        "/functions",
        "/cron-jobs",
    ] {
        assert_eq!(s.get(path).expect(200), json!({ "data": [], "total": 0 }));
    }
}

fn raw(s: &Service, content_type: Option<&str>, body: impl Into<Body>) -> Answer {
    let request =
        Request::post("/api/v1/workspaces").header("authorization", format!("Bearer {}", s.key));
    let request = content_type
        .into_iter()
        .fold(request, |r, t| r.header("content-type", t));
    s.send(request.body(body.into()).unwrap())
}

#[test]
fn bodies_that_cannot_be_read_change_nothing() {
    let s = Service::new();
    let before = s.fingerprint();
    for bad in [
        "{",
        "{\"name\":\"a\"",
        "nonsense",
        "{\"name\":\"a\"}}",
        "{\"name\":\"\\ud800\"}",
    ] {
        raw(&s, Some("application/json"), bad).refused(400, "INVALID_JSON");
    }
    raw(&s, Some("application/json"), vec![b'"', 0xff, b'"']).refused(400, "INVALID_JSON");
    raw(&s, Some("application/json"), "[".repeat(200_000)).refused(400, "INVALID_JSON");
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "nonsense",
    ] {
        raw(&s, Some(kind), "{\"name\":\"a\"}").refused(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    let large = format!("{{\"name\":\"a\",\"x\":\"{}\"}}", "x".repeat(1 << 20));
    raw(&s, Some("application/json"), large).refused(413, "PAYLOAD_TOO_LARGE");
    assert_eq!(s.fingerprint(), before);
    raw(
        &s,
        Some("application/json; charset=utf-8"),
        "{\"name\":\"a\"}",
    )
    .expect(201);
    raw(&s, None, "{\"name\":\"b\"}").expect(201);
}

#[test]
fn every_reply_carries_a_request_id_of_its_own() {
    let s = Service::new();
    let id = |answer: &Answer| answer.headers["x-request-id"].to_str().unwrap().to_owned();
    let ids: BTreeSet<_> = [
        s.get("/workspaces"),
        s.get("/nothing"),
        s.call_as("", Method::GET, "/workspaces", None),
        s.send(Request::get("/health").body(Body::empty()).unwrap()),
    ]
    .iter()
    .map(id)
    .collect();
    assert_eq!(ids.len(), 4);
}

#[test]
fn health_needs_no_key() {
    let s = Service::new();
    let answer = s.send(Request::get("/health").body(Body::empty()).unwrap());
    assert_eq!(
        answer.expect(200),
        json!({ "status": "ok", "storage": "works", "version": env!("CARGO_PKG_VERSION"), "tzdata": "2026f" })
    );
}

#[test]
fn what_there_is_to_run() {
    let s = Service::new();
    let sizes = s.get("/compute/sizes").expect(200);
    let small = &sizes["data"][1];
    assert_eq!(
        small,
        &json!({ "id": "small", "slug": "small", "name": "small", "vcpus": 1, "cpu": 1, "memory_mb": 4096,
                 "disk_gb": 20, "price_hour": 30, "credits_per_hour": 30 })
    );
    let rates = json!({ "large": 120, "medium": 60, "small": 30, "xl": 240, "xs": 15 });
    assert_eq!(s.get("/compute/pricing").expect(200)["rates"], rates);
    assert_eq!(
        s.get("/compute/regions").expect(200)["data"][0]["id"],
        "local"
    );
    assert_eq!(s.get("/regions/local").expect(200)["status"], "active");
    s.get("/regions/mars").refused(404, "NOT_FOUND");
    assert_eq!(
        s.get("/compute/templates/miosa-desktop").expect(200)["data"]["id"],
        "miosa-desktop"
    );
    assert_eq!(
        s.get("/templates").expect(200)["templates"],
        s.get("/templates").expect(200)["data"]
    );
    assert_eq!(
        s.get("/compute/catalog").expect(200)["data"]["products"][0]["default_template"],
        "miosa-desktop"
    );
}

#[test]
fn the_action_authority_goes_by_the_scopes() {
    let s = Service::new();
    let reader = s
        .post(
            "/api-keys",
            json!({ "name": "r", "scopes": ["workspaces:read"] }),
        )
        .expect(201);
    let reader = reader["data"]["key"].as_str().unwrap().to_owned();
    let catalog = s.get("/actions/catalog").expect(200);
    let row = catalog["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["name"] == "workspace.create")
        .unwrap();
    assert!(row["fingerprint"].as_str().unwrap().len() == 32);
    let ask = |key: &str, name: &str| {
        let body = json!({ "capability": { "name": name, "fingerprint": row["fingerprint"] }, "surface": "mcp" });
        s.call_as(key, Method::POST, "/actions/authorize", Some(body))
            .expect(200)["data"]["decision"]
            .clone()
    };
    assert_eq!(ask(&s.key, "workspace.create"), "allow");
    assert_eq!(ask(&reader, "workspace.list"), "allow");
    assert_eq!(ask(&reader, "workspace.create"), "deny");
    assert_eq!(ask(&reader, "something.else"), "allow");
    s.post("/actions/authorize", json!({}))
        .invalid(&["capability"]);
}
