//! What somebody sends in order to narrow something holds, or is refused: nothing of it is swallowed.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use crate::harness::{Answer, Service, request};
use workspaced::testing::{Config, record_uses};

/// A request from an address.
fn from(s: &Service, peer: &str, key: &str, method: &Method, path: &str, body: Value) -> Answer {
    let body = (method != Method::GET).then_some(body);
    let mut request = request(key, method, path, body);
    let peer = SocketAddr::new(peer.parse().unwrap(), 40_000);
    request.extensions_mut().insert(ConnectInfo(peer));
    s.send(request)
}

fn whoami(s: &Service, peer: &str, key: &str) -> Answer {
    from(s, peer, key, &Method::GET, "/whoami", Value::Null)
}

/// A key that is bound to these; its id and secret.
fn bound(s: &Service, allowed: Value) -> (String, String) {
    let body = json!({ "name": "bound", "allowed_ips": allowed });
    let made = s.post("/api-keys", body).expect(201)["data"].clone();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

#[test]
fn a_key_bound_to_addresses_works_from_there_only() {
    let s = Service::new();
    let (id, key) = bound(
        &s,
        json!(["203.0.113.7", "198.51.100.0/24", "2001:db8::/48"]),
    );
    for peer in [
        "203.0.113.7",
        "198.51.100.255",
        "2001:db8:0:1::5",
        "::ffff:203.0.113.7",
    ] {
        whoami(&s, peer, &key).expect(200);
    }
    for peer in ["203.0.113.8", "198.51.101.0", "2001:db8:1::", "127.0.0.1"] {
        let text = whoami(&s, peer, &key).refused(403, "IP_NOT_ALLOWED");
        assert!(text.contains(peer), "{text}");
    }
    // An address that is not known is not one of them.
    s.call_as(&key, Method::GET, "/whoami", None)
        .refused(403, "IP_NOT_ALLOWED");

    let shown = s.get(&format!("/api-keys/{id}")).expect(200);
    assert_eq!(
        shown["data"]["allowed_ips"],
        json!(["203.0.113.7", "198.51.100.0/24", "2001:db8::/48"])
    );
    // A change holds at once, also for who was let in a moment ago.
    let narrower = json!({ "allowed_ips": ["198.51.100.0/24"] });
    s.patch(&format!("/api-keys/{id}"), narrower).expect(200);
    whoami(&s, "203.0.113.7", &key).refused(403, "IP_NOT_ALLOWED");
    whoami(&s, "198.51.100.1", &key).expect(200);
    let other = json!({ "name": "renamed" });
    s.patch(&format!("/api-keys/{id}"), other).expect(200);
    whoami(&s, "203.0.113.7", &key).refused(403, "IP_NOT_ALLOWED");
    let free = json!({ "allowed_ips": [] });
    s.patch(&format!("/api-keys/{id}"), free).expect(200);
    whoami(&s, "203.0.113.7", &key).expect(200);

    for wrong in [
        json!(["10.1.2.3/8"]),
        json!(["example.com"]),
        json!([""]),
        json!(["1.2.3.4/33"]),
    ] {
        let body = json!({ "name": "x", "allowed_ips": wrong });
        s.post("/api-keys", body).invalid(&["allowed_ips"]);
    }
}

#[test]
fn the_address_of_a_bound_key_is_the_one_that_trusted_proxies_give() {
    let s = Service::with(Config {
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        ..Config::default()
    });
    let (_, key) = bound(&s, json!(["203.0.113.7"]));
    let asked = |peer: &str, forwarded: &str| {
        let mut request = Request::get("/api/v1/whoami")
            .header("authorization", format!("Bearer {key}"))
            .header("x-forwarded-for", forwarded)
            .body(Body::empty())
            .unwrap();
        let peer = SocketAddr::new(peer.parse().unwrap(), 40_000);
        request.extensions_mut().insert(ConnectInfo(peer));
        s.send(request).status.as_u16()
    };
    assert_eq!(asked("10.0.0.1", "203.0.113.7"), 200);
    assert_eq!(asked("10.0.0.1", "203.0.113.7, 192.0.2.1"), 403);
    assert_eq!(
        asked("192.0.2.1", "203.0.113.7"),
        403,
        "anybody can write that"
    );
    assert_eq!(asked("203.0.113.7", "192.0.2.1"), 200);
}

#[test]
fn a_bound_key_makes_and_manages_none_that_is_freer() {
    let s = Service::new();
    let (_, key) = bound(&s, json!(["198.51.100.0/24"]));
    let here = "198.51.100.1";
    let make = |allowed: Value| {
        let body = json!({ "name": "child", "allowed_ips": allowed });
        from(&s, here, &key, &Method::POST, "/api-keys", body)
    };
    let child = make(Value::Null).expect(201);
    assert_eq!(child["data"]["allowed_ips"], json!(["198.51.100.0/24"]));
    make(json!(["198.51.100.7"])).expect(201);
    make(json!(["198.51.100.7", "203.0.113.7"])).refused(403, "FORBIDDEN");
    make(json!(["0.0.0.0/0"])).refused(403, "FORBIDDEN");

    let (free, _) = bound(&s, json!([]));
    let path = format!("/api-keys/{free}");
    from(
        &s,
        here,
        &key,
        &Method::PATCH,
        &path,
        json!({ "name": "x" }),
    )
    .refused(403, "FORBIDDEN");
    let rotate = format!("{path}/rotate");
    from(&s, here, &key, &Method::POST, &rotate, json!({})).refused(403, "FORBIDDEN");
    let own = format!("/api-keys/{}", child["data"]["id"].as_str().unwrap());
    let wider = json!({ "allowed_ips": [] });
    from(&s, here, &key, &Method::PATCH, &own, wider).refused(403, "FORBIDDEN");
}

#[test]
fn the_address_of_the_last_use_is_shown() {
    let s = Service::new();
    let (id, key) = bound(&s, json!([]));
    let flush = || {
        let uses = s.app.auth.take_uses();
        s.app
            .store
            .write_blocking(move |tx| record_uses(tx, &uses))
            .unwrap();
        s.get(&format!("/api-keys/{id}")).expect(200)["data"]["last_used_ip"].clone()
    };
    assert_eq!(flush(), Value::Null);
    whoami(&s, "203.0.113.7", &key).expect(200);
    assert_eq!(flush(), "203.0.113.7");
    s.advance(60);
    whoami(&s, "2001:db8::1", &key).expect(200);
    assert_eq!(flush(), "2001:db8::1");
}

#[test]
fn a_rotated_secret_works_for_the_time_of_grace_and_not_a_moment_longer() {
    let s = Service::new();
    let (id, old) = bound(&s, json!([]));
    let rotate = format!("/api-keys/{id}/rotate");
    let ask = |key: &str| s.call_as(key, Method::GET, "/whoami", None).status.as_u16();
    for wrong in [json!(-1), json!(604_801)] {
        s.post(&rotate, json!({ "grace_seconds": wrong }))
            .invalid(&["grace_seconds"]);
    }
    let made = s.post(&rotate, json!({ "grace_seconds": 600 })).expect(200);
    let new = made["data"]["key"].as_str().unwrap();
    assert_eq!(
        made["data"]["previous_secret_expires_at"],
        "2026-05-20T10:25:30Z"
    );
    assert_eq!((ask(&old), ask(new)), (200, 200));
    s.advance(599);
    assert_eq!((ask(&old), ask(new)), (200, 200));
    s.advance(1);
    assert_eq!((ask(&old), ask(new)), (401, 200));
    let shown = s.get(&format!("/api-keys/{id}")).expect(200);
    assert_eq!(shown["data"]["previous_secret_expires_at"], Value::Null);

    // The next rotation ends what was before the last, whatever time it had left.
    let second = s.post(&rotate, json!({ "grace_seconds": 600 })).expect(200);
    let second = second["data"]["key"].as_str().unwrap();
    let third = s.post(&rotate, json!({})).expect(200);
    let third = third["data"]["key"].as_str().unwrap();
    assert_eq!([new, second, third].map(ask), [401, 401, 200]);
    // Nor does a key that is revoked leave one behind.
    let last = s.post(&rotate, json!({ "grace_seconds": 600 })).expect(200);
    assert_eq!(ask(third), 200);
    s.delete(&format!("/api-keys/{id}")).expect(200);
    assert_eq!(
        [third, last["data"]["key"].as_str().unwrap()].map(ask),
        [401, 401]
    );
}

fn sign_in(s: &Service, peer: &str, key: &str) -> Answer {
    let request = Request::post("/admin/session")
        .header("host", "box.test:8400")
        .header("origin", "http://box.test:8400")
        .header("x-workspaced-admin", "1")
        .header("content-type", "application/json")
        .body(Body::from(json!({ "key": key }).to_string()));
    let mut request = request.unwrap();
    let peer = SocketAddr::new(peer.parse().unwrap(), 40_000);
    request.extensions_mut().insert(ConnectInfo(peer));
    s.send(request)
}

#[test]
fn good_and_failed_sign_ins_are_in_the_audit_log() {
    let s = Service::new();
    let (id, key) = bound(&s, json!(["203.0.113.7"]));
    let good = sign_in(&s, "203.0.113.7", &key);
    good.expect(200);
    sign_in(&s, "203.0.113.9", &key).refused(403, "IP_NOT_ALLOWED");
    let rotated = s.post(
        &format!("/api-keys/{id}/rotate"),
        json!({ "grace_seconds": 60 }),
    );
    rotated.expect(200);
    // It opens the API for a while, and no session that would outlast it.
    sign_in(&s, "203.0.113.7", &key).refused(401, "invalid_token");
    s.delete(&format!("/api-keys/{id}")).expect(200);
    let newest = rotated.json()["data"]["key"].as_str().unwrap().to_owned();
    sign_in(&s, "203.0.113.7", &newest).refused(401, "invalid_token");
    sign_in(&s, "192.0.2.1", "msk_u_secret-of-somebody").refused(401, "invalid_token");

    let log = s.get("/audit-log?type=*sign*").expect(200);
    let rows: Vec<_> = log["data"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|row| {
            let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
            (
                text(&row["type"]),
                text(&row["ip_address"]),
                text(&row["metadata"]["after"]["reason"]),
            )
        })
        .collect();
    let row = |kind: &str, ip: &str, why: &str| (kind.to_owned(), ip.to_owned(), why.to_owned());
    assert_eq!(
        rows,
        [
            row("api_key.signed_in", "203.0.113.7", ""),
            row(
                "api_key.sign_in_failed",
                "203.0.113.9",
                "the key is bound to other addresses"
            ),
            row(
                "api_key.sign_in_failed",
                "203.0.113.7",
                "the secret was replaced"
            ),
            row(
                "api_key.sign_in_failed",
                "203.0.113.7",
                "the key is revoked"
            ),
            row(
                "organization.sign_in_failed",
                "192.0.2.1",
                "there is no such key"
            ),
        ]
    );
    assert!(!log.to_string().contains("secret-of-somebody"));
    // Another organization hears of its own only.
    let (other, _) = s.other_tenant("other");
    let log = s.call_as(&other, Method::GET, "/audit-log?type=*sign*", None);
    assert_eq!(log.expect(200)["data"], json!([]));
}

#[test]
fn failed_sign_ins_do_not_fill_the_disk() {
    let s = Service::new();
    for n in 0..100 {
        sign_in(&s, &format!("192.0.2.{n}"), "msk_u_wrong").refused(401, "invalid_token");
    }
    let count = "SELECT count(*) FROM audit_log WHERE type = 'organization.sign_in_failed'";
    assert_eq!(s.count(count), 60);
    s.advance(60);
    sign_in(&s, "192.0.2.200", "msk_u_wrong").refused(401, "invalid_token");
    assert_eq!(s.count(count), 61);
}

#[test]
fn a_restriction_that_is_not_built_is_refused_without_strict() {
    let s = Service::new();
    let w = s.workspace("w");
    for (method, path, body, field) in [
        (
            Method::POST,
            "/workspaces".to_owned(),
            json!({ "name": "x", "max_credits": 5 }),
            "max_credits",
        ),
        (
            Method::POST,
            "/workspaces".to_owned(),
            json!({ "name": "x", "maxCredits": 5 }),
            "max_credits",
        ),
        (
            Method::PATCH,
            format!("/workspaces/{w}"),
            json!({ "allowed_ips": ["10.0.0.1"] }),
            "allowed_ips",
        ),
        (
            Method::PUT,
            format!("/workspaces/{w}/settings"),
            json!({ "spend_limit": 1 }),
            "spend_limit",
        ),
        (
            Method::POST,
            "/computers".to_owned(),
            json!({ "name": "x", "ttl_seconds": 60 }),
            "ttl_seconds",
        ),
        (
            Method::POST,
            "/api-keys".to_owned(),
            json!({ "name": "x", "project_id": w }),
            "project_id",
        ),
        (
            Method::POST,
            "/api-keys".to_owned(),
            json!({ "name": "x", "external_user_id": "u" }),
            "external_user_id",
        ),
        (
            Method::POST,
            "/api-keys".to_owned(),
            json!({ "name": "x", "ip_allowlist": [] }),
            "ip_allowlist",
        ),
        (
            Method::POST,
            "/projects".to_owned(),
            json!({ "name": "x", "workspace_id": w, "budget_id": 1 }),
            "budget_id",
        ),
        (
            Method::POST,
            "/webhooks".to_owned(),
            json!({ "url": "https://example.com", "events": ["*"], "project_id": w }),
            "project_id",
        ),
    ] {
        let answer = s.call_as(&s.key, method, &path, Some(body));
        answer.invalid(&[field]);
        assert!(answer.text.contains("nothing was done"), "{}", answer.text);
    }
    assert_eq!(s.get("/workspaces").expect(200)["total"], 2);
    // Null restricts nothing, and names inside of metadata are the caller's own.
    let body = json!({ "name": "y", "max_credits": null, "metadata": { "max_credits": 5 } });
    s.post("/workspaces", body).expect(201);
    // What is built is taken.
    let settings = json!({ "max_computers": 3 });
    s.put(&format!("/workspaces/{w}/settings"), settings)
        .expect(200);
}

#[test]
fn a_table_that_is_not_there_is_never_json() {
    let s = Service::new();
    let w = s.workspace("w");
    for path in [
        format!("/workspaces/{w}?format=csv"),
        "/workspaces?format=csv".to_owned(),
        "/api-keys?format=xlsx".to_owned(),
        "/whoami?x=1&format=csv".to_owned(),
    ] {
        s.get(&path).refused(422, "VALIDATION_FAILED");
    }
    s.get("/whoami?format=json").expect(200);
    let accepting = |path: &str, accept: &str| {
        let request = Request::get(format!("/api/v1{path}"))
            .header("authorization", format!("Bearer {}", s.key))
            .header("accept", accept);
        s.send(request.body(Body::empty()).unwrap())
    };
    accepting(&format!("/workspaces/{w}"), "text/csv").refused(406, "NOT_ACCEPTABLE");
    accepting(&format!("/workspaces/{w}"), "text/csv, */*").expect(200);
    accepting(&format!("/workspaces/{w}"), "text/csv, application/json").expect(200);
    let usage = accepting(&format!("/workspaces/{w}/usage"), "text/csv");
    assert!(usage.text.starts_with("ts,"), "{}", usage.text);
}

#[test]
fn the_audit_log_as_lines_and_as_a_table() {
    let s = Service::new();
    let (other, _) = s.other_tenant("other");
    s.call_as(
        &other,
        Method::POST,
        "/workspaces",
        Some(json!({ "name": "theirs" })),
    )
    .expect(201);
    for n in 0..120 {
        s.workspace(&format!("w {n}"));
    }
    s.workspace("=1+2");
    let all = "type=workspace.created";
    let lines = s.get(&format!("/audit-log?{all}&format=jsonl"));
    assert_eq!(lines.headers["content-type"], "application/x-ndjson");
    let rows: Vec<Value> = lines
        .text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    // The default workspace, and all that were made; more than a page of the list.
    assert_eq!(rows.len(), 122);
    let page = s.get(&format!("/audit-log?{all}&limit=100")).expect(200);
    assert_eq!(&rows[..100], page["data"].as_array().unwrap().as_slice());
    assert!(!lines.text.contains("theirs"));

    let table = s.get(&format!("/audit-log?{all}&format=csv"));
    assert_eq!(table.headers["content-type"], "text/csv; charset=utf-8");
    let mut text = table.text.split("\r\n");
    assert!(text.next().unwrap().starts_with("id,ts,type,"));
    assert_eq!(text.filter(|line| !line.is_empty()).count(), 122);
    assert!(table.text.contains("\"\"name\"\":\"\"=1+2\"\""));

    s.get("/audit-log?format=csv&limit=5").invalid(&["format"]);
    s.get("/audit-log?format=xml").invalid(&["format"]);
    let body = json!({ "external_user_id": "u", "scopes": ["audit:read"] });
    let made = s.post("/api-keys/scoped", body).expect(201);
    let key = made["data"]["key"].as_str().unwrap().to_owned();
    s.call_as(&key, Method::GET, "/audit-log?format=jsonl", None)
        .refused(403, "FORBIDDEN");
}
