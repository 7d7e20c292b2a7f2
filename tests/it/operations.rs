//! What operators look at: metrics, the log's filter, the listener of their own.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::json;
use tower::ServiceExt;

use workspaced::testing::split;

use crate::harness::{Service, runtime};

fn get(s: &Service, path: &str, key: Option<&str>) -> crate::harness::Answer {
    let mut request = Request::get(path);
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    s.send(request.body(Body::empty()).unwrap())
}

/// The value of the one sample whose line begins with `name`.
fn sample(text: &str, name: &str) -> f64 {
    let found: Vec<&str> = text.lines().filter(|line| line.starts_with(name)).collect();
    let [line] = found[..] else {
        panic!("{name}: {found:?} in\n{text}");
    };
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn metrics_count_requests_by_route_and_what_there_is() {
    let s = Service::new();
    let workspace = s.workspace("Counted");
    s.running(&workspace, "small");
    s.computer(&workspace, "small");
    for _ in 0..3 {
        s.get(&format!("/workspaces/{workspace}")).expect(200);
    }
    s.get("/workspaces/00000000-0000-7000-8000-000000000000")
        .refused(404, "NOT_FOUND");
    get(&s, "/api/v1/api/v1/whoami", Some(&s.key)).expect(200);
    get(&s, "/no/such/route", None).refused(404, "NOT_FOUND");

    let answer = get(&s, "/metrics", Some(&s.key));
    assert_eq!(answer.status, 200);
    let kind = answer.headers["content-type"].to_str().unwrap();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let text = &answer.text;
    let requests = |method: &str, route: &str, status: u16| {
        let labels = format!("method=\"{method}\",route=\"{route}\",status=\"{status}\"");
        sample(text, &format!("workspaced_http_requests_total{{{labels}}}"))
    };
    assert_eq!(requests("GET", "/api/v1/workspaces/{id}", 200), 3.0);
    assert_eq!(requests("GET", "/api/v1/workspaces/{id}", 404), 1.0);
    assert_eq!(requests("POST", "/api/v1/computers", 201), 2.0);
    assert_eq!(requests("GET", "/api/v1/whoami", 200), 1.0);
    assert_eq!(requests("GET", "none", 404), 1.0);
    let route = "method=\"GET\",route=\"/api/v1/workspaces/{id}\"";
    let timed = sample(
        text,
        &format!("workspaced_http_request_duration_seconds_count{{{route}}}"),
    );
    assert_eq!(timed, 4.0);
    assert_eq!(
        sample(text, "workspaced_computers{status=\"running\"}"),
        1.0
    );
    assert_eq!(
        sample(text, "workspaced_computers{status=\"provisioning\"}"),
        1.0
    );
    assert_eq!(
        sample(text, "workspaced_computers{status=\"stopped\"}"),
        0.0
    );
    assert_eq!(sample(text, "workspaced_meter_lag_seconds"), 0.0);
    assert_eq!(sample(text, "workspaced_writes_waiting"), 0.0);
    assert!(sample(text, "workspaced_wal_bytes") > 0.0);
    assert!(sample(text, "workspaced_commit_writes_count") >= 4.0);
    assert!(sample(text, "workspaced_commit_duration_seconds_sum") > 0.0);
    assert!(!text.contains(&workspace), "an id became a label");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn metrics_are_for_operators() {
    let s = Service::new();
    get(&s, "/metrics", None).refused(401, "invalid_token");
    let (ordinary, _) = s.other_tenant("others");
    get(&s, "/metrics", Some(&ordinary)).refused(403, "FORBIDDEN");
}

#[test]
fn a_listener_of_their_own_takes_the_pages_and_opens_the_metrics() {
    let s = Service::new();
    let (api, admin) = split(s.app.clone());
    let status = |router: &axum::Router, path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = runtime().block_on(router.clone().oneshot(request)).unwrap();
        answer.status().as_u16()
    };
    for (path, on_api, on_admin) in [
        ("/metrics", 404, 200),
        ("/admin", 404, 200),
        ("/admin/session", 404, 200),
        ("/", 404, 307),
        ("/health", 200, 200),
        ("/docs", 200, 200),
        ("/openapi.json", 200, 200),
        ("/api/v1/whoami", 401, 401),
    ] {
        assert_eq!(
            (status(&api, path), status(&admin, path)),
            (on_api, on_admin),
            "{path}"
        );
    }
}

#[test]
fn the_log_filter_is_changed_by_operators_and_checked() {
    let s = Service::new();
    let set = |filter: &str| s.put("/system/log", json!({ "filter": filter }));
    assert_eq!(
        set("workspaced=debug,warn").expect(200)["filter"],
        "workspaced=debug,warn"
    );
    assert_eq!(
        s.get("/system/log").expect(200)["filter"],
        "workspaced=debug,warn"
    );
    set("workspaced=loud").invalid(&["filter"]);
    s.put("/system/log", json!({})).invalid(&["filter"]);
    assert_eq!(
        s.get("/system/log").expect(200)["filter"],
        "workspaced=debug,warn"
    );
    let (ordinary, _) = s.other_tenant("others");
    s.call_as(
        &ordinary,
        Method::PUT,
        "/system/log",
        Some(json!({ "filter": "info" })),
    )
    .refused(403, "FORBIDDEN");
}

#[test]
fn metrics_tell_how_webhooks_do() {
    let s = Service::with(workspaced::testing::Config {
        webhook_reach: workspaced::testing::WebhookReach::Loopback,
        ..Default::default()
    });
    // Nobody listens there.
    let hook =
        serde_json::json!({ "url": "http://127.0.0.1:1024/", "events": ["workspace.created"] });
    s.post("/webhooks", hook).expect(201);
    s.workspace("W");
    let text = get(&s, "/metrics", Some(&s.key)).text;
    assert_eq!(sample(&text, "workspaced_webhook_deliveries_waiting "), 1.0);
    let patience = std::time::Duration::from_secs(30);
    let sent = workspaced::testing::deliver::deliver_due(&s.app.outbox, patience);
    assert!(crate::harness::runtime().block_on(sent).unwrap());
    let text = get(&s, "/metrics", Some(&s.key)).text;
    let retries = "workspaced_webhook_deliveries_total{result=\"retry\"}";
    assert_eq!(sample(&text, retries), 1.0);
    assert_eq!(sample(&text, "workspaced_webhook_deliveries_waiting "), 1.0);
    assert_eq!(sample(&text, "workspaced_webhook_deliveries_sending "), 0.0);
}
