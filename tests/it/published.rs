//! What published clients of the hosted service send, and what they must not get for it: filters, pages,
//! months, tools, and paths of features that are not here.

use std::collections::BTreeSet;

use axum::http::{Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use workspaced::testing::routes::table;

use crate::harness::{Service, request, runtime};

fn ids(list: &Value) -> Vec<&str> {
    let rows = list["data"].as_array().unwrap();
    rows.iter().map(|row| row["id"].as_str().unwrap()).collect()
}

// ---------------------------------------------------------------------------------------------
// Filters

#[test]
fn a_list_refuses_a_filter_that_it_does_not_know() {
    let s = Service::new();
    let computer = s.computer(&s.default_workspace, "small");
    let mut tried = BTreeSet::new();
    let routes = table();
    for route in routes.iter().filter(|route| route.method == Method::GET) {
        let id = match route.path.split('/').nth(1).unwrap() {
            "computers" => &computer,
            _ => &s.default_workspace,
        };
        let path = route.path.replace("{id}", id);
        let answer = s.get(&format!("{path}?colour=red"));
        if route.exact {
            tried.insert(route.path);
            assert!(
                answer.invalid(&["colour"])["message"]
                    .as_str()
                    .unwrap()
                    .contains("is not a parameter of this request"),
                "{}",
                route.path
            );
        }
    }
    // Whatever answers with rows, or sums them up, is among them; what is always empty cannot be wrong.
    for path in [
        "/workspaces",
        "/workspaces/{id}/computers",
        "/workspaces/{id}/projects",
        "/workspaces/{id}/stats",
        "/workspaces/{id}/usage",
        "/workspaces/{id}/usage/explain",
        "/projects",
        "/computers",
        "/computers/{id}/events",
        "/computers/{id}/metrics",
        "/usage",
        "/usage/series",
        "/usage/summary",
        "/usage/sessions",
        "/credits/transactions",
        "/credits/usage",
        "/platform/tenants",
        "/audit-log",
        "/events/stream",
        "/api-keys",
        "/webhooks",
        "/webhooks/{id}/deliveries",
    ] {
        assert!(tried.contains(path), "{path}");
    }
    s.get("/sandboxes?state=running").expect(200);
    s.get(&format!("/workspaces/{}?colour=red", s.default_workspace))
        .expect(200);
    // The key and its scopes come first.
    s.call_as("", Method::GET, "/computers?colour=red", None)
        .refused(401, "invalid_token");
}

#[test]
fn computers_are_chosen_by_state_and_by_the_constants_of_clients() {
    let s = Service::new();
    let w = s.workspace("W");
    let running = s.running(&w, "small");
    let stopped = s.running(&w, "small");
    s.post(&format!("/computers/{stopped}/stop"), Value::Null)
        .expect(200);
    s.advance(1);
    let new = s.computer(&w, "small");
    let of = |query: &str| s.get(&format!("/computers?{query}")).expect(200);
    assert_eq!(ids(&of("state=stopped")), [stopped.as_str()]);
    assert_eq!(ids(&of("status=stopped")), [stopped.as_str()]);
    assert_eq!(ids(&of("state=stopped&status=stopped")), [stopped.as_str()]);
    assert_eq!(ids(&of("status=active")), [running.as_str()]);
    assert_eq!(ids(&of("status=creating")), [new.as_str()]);
    for nothing in ["paused", "destroying", "destroyed"] {
        let empty = json!({ "data": [], "total": 0 });
        assert_eq!(of(&format!("status={nothing}")), empty);
        assert_eq!(
            s.get(&format!("/workspaces/{w}/computers?state={nothing}"))
                .expect(200),
            empty
        );
    }
    s.get("/computers?state=stopped&status=running")
        .invalid(&["state"]);
    s.get("/computers?state=sleeping").invalid(&["state"]);
    s.get("/computers?status=sleeping").invalid(&["status"]);
}

#[test]
fn webhooks_are_chosen_by_whether_they_are_active() {
    let s = Service::new();
    let make = |enabled: bool| {
        let body =
            json!({ "url": "https://hooks.example.com/", "events": ["*"], "enabled": enabled });
        let made = s.post("/webhooks", body).expect(201);
        made["data"]["id"].as_str().unwrap().to_owned()
    };
    let (on, off) = (make(true), make(false));
    let of = |query: &str| s.get(&format!("/webhooks{query}")).expect(200);
    assert_eq!(ids(&of("?active=false")), [off.as_str()]);
    assert_eq!(of("?active=false")["total"], 1);
    assert_eq!(ids(&of("?active=true")), [on.as_str()]);
    assert_eq!(ids(&of("?enabled=false")), [off.as_str()]);
    assert_eq!(ids(&of("")), [on.as_str(), off.as_str()]);
    s.get("/webhooks?active=perhaps").invalid(&["active"]);
    s.get("/webhooks?active=true&enabled=false")
        .invalid(&["enabled"]);
}

// ---------------------------------------------------------------------------------------------
// Pages

#[test]
fn the_audit_log_ends_for_who_pages_by_offset_or_number() {
    let s = Service::new();
    for n in 0..23 {
        s.workspace(&format!("W{n}"));
    }
    let all = s.get("/audit-log?limit=100").expect(200);
    let (all, total) = (ids(&all), ids(&all).len());
    assert!(total >= 23);
    for page in ["limit=10&offset={}", "per_page=10&page={}"] {
        let mut seen = Vec::new();
        for n in 0..=total {
            let at = if page.contains("page") { n + 1 } else { n * 10 };
            let found = s
                .get(&format!(
                    "/audit-log?{}",
                    page.replace("{}", &at.to_string())
                ))
                .expect(200);
            let rows: Vec<String> = ids(&found).into_iter().map(str::to_owned).collect();
            let last = rows.len() < 10;
            if page.contains("per_page") {
                let meta = json!({ "total": total, "page": n + 1, "per_page": 10 });
                assert_eq!(found["meta"], meta);
            } else {
                assert_eq!(found.get("meta"), None);
            }
            seen.extend(rows);
            if last {
                break;
            }
        }
        assert_eq!(seen, all, "{page}");
    }
    let some = s
        .get("/audit-log?type=workspace.*&per_page=5&page=2")
        .expect(200);
    let every = s.get("/audit-log?type=workspace.*").expect(200);
    assert_eq!(ids(&some), ids(&every)[5..10]);
    assert_eq!(some["meta"]["total"], ids(&every).len());
    s.get("/audit-log?offset=1&cursor=5").invalid(&["cursor"]);
    s.get("/audit-log?offset=-1&type=!")
        .invalid(&["offset", "type"]);
    s.get("/audit-log?page=0").invalid(&["page"]);
    s.get("/audit-log?page=1&limit=5").invalid(&["limit"]);
}

#[test]
fn a_list_says_where_its_page_lies_to_who_counts_by_per_page() {
    let s = Service::new();
    let w = s.workspace("W");
    for _ in 0..3 {
        s.computer(&w, "small");
    }
    let meta = json!({ "total": 3, "page": 2, "per_page": 2 });
    let page = s.get("/computers?page=2&per_page=2").expect(200);
    assert_eq!((&page["meta"], ids(&page).len()), (&meta, 1));
    assert_eq!(
        s.get("/computers?per_page=2").expect(200)["meta"]["page"],
        1
    );
    for path in [
        "/workspaces",
        "/projects",
        "/api-keys",
        "/webhooks",
        "/usage/sessions",
        "/credits/transactions",
    ] {
        let list = s.get(&format!("{path}?per_page=7")).expect(200);
        let meta = json!({ "total": list["total"], "page": 1, "per_page": 7 });
        assert_eq!(list["meta"], meta, "{path}");
        // One client refuses a third key that it did not ask for.
        for query in ["", "?page=1", "?page_size=7", "?limit=7"] {
            let list = s.get(&format!("{path}{query}")).expect(200);
            assert_eq!(list.get("meta"), None, "{path}{query}");
        }
    }
}

// ---------------------------------------------------------------------------------------------
// Months and dates

#[test]
fn usage_of_a_month_is_that_of_the_month() {
    let s = Service::new();
    let w = s.workspace("W");
    let computer = s.computer(&w, "small");
    // Runs from 2026-05-20T10:15:31Z until 2026-06-02T10:15:31Z.
    s.advance(1);
    s.advance(13 * 86_400);
    s.post(&format!("/computers/{computer}/stop"), Value::Null)
        .expect(200);
    s.advance(60 * 86_400);
    let of = |query: &str| s.get(&format!("/workspaces/{w}/usage?{query}")).expect(200);
    let may = of("period=2026-05");
    assert_eq!(may["window_start"], "2026-05-01T00:00:00.000Z");
    assert_eq!(may["window_end"], "2026-06-01T00:00:00.000Z");
    assert_eq!(may["granularity"], "day");
    assert_eq!(may["series"].as_array().unwrap().len(), 31);
    let to_june = (11 * 86_400 + 13 * 3600 + 44 * 60 + 29) * 1000;
    assert_eq!(may["total_compute_ms"], to_june);
    let june = of("period=2026-06");
    assert_eq!(june["total_compute_ms"], 13 * 86_400_000 - to_june);
    assert_eq!(of("period=2026-07")["total_compute_ms"], 0);
    // The same as its first and last instants; in another zone it is two hours earlier.
    let same = of("from=2026-05-01T00:00:00Z&to=2026-06-01T00:00:00Z&granularity=day");
    assert_eq!(may["series"], same["series"]);
    let there = of("period=2026-06&tz=Europe/Budapest");
    assert_eq!(there["window_start"], "2026-05-31T22:00:00.000Z");
    assert_eq!(there["window_end"], "2026-06-30T22:00:00.000Z");
    assert_eq!(
        there["total_compute_ms"],
        13 * 86_400_000 - to_june + 7_200_000
    );
    let hours = of("period=2026-02&granularity=hour");
    assert_eq!(hours["series"].as_array().unwrap().len(), 28 * 24);
    assert_eq!(of("period=2026-12")["total_compute_ms"], 0);
    let whole = s.get("/usage/series?period=2026-05").expect(200);
    assert_eq!(whole["total_compute_ms"], to_june);
    for wrong in [
        "2026-13",
        "2026-5",
        "2026",
        "mtd",
        "2026-05-01",
        "-026-05",
        "2026-0x",
        "",
        "9999-12",
    ] {
        s.get(&format!("/workspaces/{w}/usage?period={wrong}"))
            .invalid(&["period"]);
    }
    s.get(&format!("/workspaces/{w}/usage?period=2026-05&window=24h"))
        .invalid(&["window"]);
    s.get(&format!(
        "/workspaces/{w}/usage?period=2026-05&from=2026-05-01T00:00:00Z"
    ))
    .invalid(&["from"]);
    s.get(&format!("/workspaces/{w}/usage?period=2026-05&tz=Mars"))
        .invalid(&["tz"]);
}

#[test]
fn a_plain_date_is_its_first_instant() {
    let s = Service::new();
    let w = s.workspace("W");
    s.running(&w, "small");
    s.advance(5 * 86_400);
    let dates = s
        .get("/usage/summary?period_start=2026-05-21&period_end=2026-05-23")
        .expect(200);
    assert_eq!(dates["period_start"], "2026-05-21T00:00:00Z");
    assert_eq!(dates["period_end"], "2026-05-23T00:00:00Z");
    assert_eq!(dates["compute_ms"], 2 * 86_400_000);
    let usage = s.get("/usage?start=2026-05-21&end=2026-05-22").expect(200);
    assert_eq!(usage["results"][0]["compute_ms"], 86_400_000);
    for wrong in ["2026-05-32", "2026-5-1", "21.05.2026", "yesterday!"] {
        s.get(&format!("/usage/summary?period_start={wrong}"))
            .invalid(&["period_start"]);
    }
}

// ---------------------------------------------------------------------------------------------
// Tools

#[test]
fn the_catalogue_of_tools_follows_from_the_route_table() {
    let s = Service::new();
    let catalog = s.get("/actions/catalog").expect(200);
    let rows = catalog["data"].as_array().unwrap();
    let scope = |name: &str| -> Option<&str> {
        let row = rows.iter().find(|row| row["name"] == name)?;
        row["scope"].as_str()
    };
    let routes = table();
    for route in &routes {
        for name in route.tools {
            assert_eq!(
                scope(name),
                Some(route.access.scope.unwrap_or("*")),
                "{name}"
            );
        }
    }
    // Served; served and always empty; not served, but allowed so that the 404 explains it.
    for name in [
        "workspace.list",
        "computer.create",
        "product.template.list",
        "product.template.get",
        "product.template.readiness",
        "settings.compute.pricing",
        "sandbox.list",
        "deployment.list",
        "database.list",
        "volume.list",
        "storage.bucket.list",
        "function.list",
        "cron.list",
        "billing.usage",
        "billing.plan",
        "computer.bash",
        "egress.secrets.list",
    ] {
        assert!(scope(name).is_some(), "{name}");
    }
    let names: BTreeSet<_> = rows
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), rows.len(), "a name twice");
    let body = json!({ "capability": { "name": "computer.bash" } });
    let allowed = s.post("/actions/authorize", body).expect(200);
    assert_eq!(allowed["data"]["decision"], "allow");
}

#[test]
fn templates_are_ready_in_every_size() {
    let s = Service::new();
    let catalog = s.get("/compute/catalog").expect(200)["data"].clone();
    let templates = catalog["products"][0]["templates"].as_array().unwrap();
    let rows = catalog["artifact_readiness"].as_array().unwrap();
    assert_eq!(rows.len(), templates.len() * 5);
    let first = json!({
        "template_id": templates[0]["id"], "size": "xs", "state": "ready", "ready": true, "ready_nodes": 1, "checked_nodes": 1,
    });
    assert_eq!(rows[0], first);
    assert_eq!(templates[0]["artifact_readiness"][0], first);
    let template = &s.get("/templates").expect(200)["templates"][0];
    assert_eq!(
        (&template["sizes"][0], &template["product"]),
        (&first, &json!("computer"))
    );
}

#[test]
fn presets_are_scopes_that_a_key_can_be_made_with() {
    let s = Service::new();
    let presets = s.get("/api-keys/presets").expect(200);
    let presets = presets["data"].as_array().unwrap();
    assert!(presets.len() >= 3);
    for preset in presets {
        let made = s
            .post(
                "/api-keys",
                json!({ "name": preset["name"], "scopes": preset["scopes"] }),
            )
            .expect(201);
        assert_eq!(made["data"]["scopes"], preset["scopes"]);
        if preset["name"] == "read-only" {
            let key = made["data"]["key"].as_str().unwrap();
            for route in table() {
                if let Some(scope) = route.access.scope.filter(|_| !route.access.by_id) {
                    let answer = s.call_as(key, route.method.clone(), route.path, Some(json!({})));
                    assert_eq!(
                        answer.status == StatusCode::FORBIDDEN,
                        !scope.ends_with(":read"),
                        "{} {}: {}",
                        route.method,
                        route.path,
                        answer.text
                    );
                }
            }
        }
    }
    let text = s
        .post("/api-keys/presets", json!({ "name": "mine", "scopes": [] }))
        .refused(404, "NOT_FOUND");
    assert!(text.contains("not part of this server"), "{text}");
}

#[test]
fn events_of_a_computer_are_a_stream_for_who_asks_for_one() {
    let s = Service::new();
    let w = s.workspace("W");
    let (one, other) = (s.computer(&w, "small"), s.computer(&w, "small"));
    let open = |key: &str, accept: &str, id: &str| {
        let path = format!("/computers/{id}/events?last_event_id=0");
        let mut request = request(key, &Method::GET, &path, None);
        request
            .headers_mut()
            .insert("accept", accept.parse().unwrap());
        runtime()
            .block_on(s.router.clone().oneshot(request))
            .unwrap()
    };
    let sse = "text/event-stream, application/json;q=0.9";
    let response = open(&s.key, sse, &one);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    s.advance(1);
    let mut text = String::new();
    while !text.contains("event: computer.running") {
        let frame = runtime().block_on(async {
            let frame = tokio::time::timeout(std::time::Duration::from_secs(10), body.frame());
            frame.await.expect("nothing for 10 s")
        });
        text += std::str::from_utf8(&frame.unwrap().unwrap().into_data().unwrap()).unwrap();
    }
    drop(body);
    assert!(text.contains("event: computer.created"), "{text}");
    assert!(!text.contains("event: workspace.created"), "{text}");
    assert!(text.contains(&one) && !text.contains(&other), "{text}");
    for accept in ["application/json", "*/*"] {
        let response = open(&s.key, accept, &one);
        assert_eq!(response.headers()["content-type"], "application/json");
    }
    let (stranger, _) = s.other_tenant("other");
    assert_eq!(open(&stranger, sse, &one).status(), StatusCode::FORBIDDEN);
    assert_eq!(open(&s.key, sse, &w).status(), StatusCode::NOT_FOUND);
}

// ---------------------------------------------------------------------------------------------
// What is not here

#[test]
fn a_feature_of_the_hosted_platform_says_that_it_is_not_here() {
    let s = Service::new();
    let id = "7a1f0000-0000-4000-8000-00000000dead";
    for path in [
        "/tenant/branding",
        "/tenant/policy",
        "/tenant/members",
        "/tenants/ID/members",
        "/tenants/ID/invites",
        "/tenants/ID/member-caps",
        "/computers/ID/screenshot-region",
        "/computers/ID/commands",
        "/projects/ID/previews",
        "/sandbox-templates",
        "/sandbox-templates/ID/builds",
        "/devices",
        "/agent-runs",
        "/custom-domains",
        "/egress/secrets",
        "/workflows",
        "/docker-deploy/hosts",
        "/mcp-servers",
        "/actions/approvals",
        "/api-keys/ID/events",
        "/api-keys/presets/mine",
        "/billing/usage",
    ] {
        let text = s.get(&path.replace("ID", id)).refused(404, "NOT_FOUND");
        assert!(text.contains("not part of this server"), "{path}: {text}");
    }
    // What nobody has is no feature of anybody.
    for path in ["/nonsense", "/tenant/nonsense", "/computers/ID/nonsense"] {
        let text = s.get(&path.replace("ID", id)).refused(404, "NOT_FOUND");
        assert!(text.contains("no such route"), "{path}: {text}");
    }
}

#[test]
fn a_path_without_the_prefix_is_told_where_the_api_is() {
    let s = Service::new();
    for (method, path) in [
        (Method::GET, "/workspaces"),
        (Method::POST, "/computers"),
        (Method::GET, "/usage/summary"),
        (Method::GET, "/sandboxes"),
        (Method::DELETE, "/api-keys/x"),
    ] {
        let request = axum::http::Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", s.key))
            .body(axum::body::Body::empty())
            .unwrap();
        let text = s.send(request).refused(404, "NOT_FOUND");
        assert!(
            text.contains(&format!("this is /api/v1{path};")) && text.contains("MIOSA_BASE_URL"),
            "{path}: {text}"
        );
    }
    let request = axum::http::Request::get("/nonsense")
        .body(axum::body::Body::empty())
        .unwrap();
    let text = s.send(request).refused(404, "NOT_FOUND");
    assert!(text.contains("no such route"), "{text}");
}
