//! The admin page: its files, its sign-in sessions, and the endpoints made for it.

use axum::body::Body;
use axum::http::{HeaderMap, Request};
use serde_json::{Value, json};

use workspaced::testing::Config;

use crate::harness::{Answer, Service, at, redact};
use crate::usage::{external, report, service_at};

const HOST: &str = "box.test:8400";

/// A request as a browser sends it: `headers` beside the host.
fn browser(
    s: &Service,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", HOST);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let body = body.map_or(Body::empty(), |body| Body::from(body.to_string()));
    s.send(request.body(body).unwrap())
}

const MARK: (&str, &str) = ("x-workspaced-admin", "1");
const ORIGIN: (&str, &str) = ("origin", "http://box.test:8400");

fn cookie_of(headers: &HeaderMap) -> String {
    let set = headers["set-cookie"].to_str().unwrap();
    set.split(';').next().unwrap().to_owned()
}

fn sign_in(s: &Service, key: &str) -> String {
    let answer = browser(
        s,
        "POST",
        "/admin/session",
        &[MARK, ORIGIN],
        Some(json!({ "key": key })),
    );
    answer.expect(200);
    cookie_of(&answer.headers)
}

/// The status of a read of the API under a cookie.
fn status(s: &Service, cookie: &str) -> u16 {
    let answer = browser(
        s,
        "GET",
        "/api/v1/whoami",
        &[("cookie", cookie), MARK],
        None,
    );
    answer.status.as_u16()
}

#[test]
fn a_key_is_exchanged_for_a_cookie() {
    let s = Service::new();
    let before = browser(&s, "GET", "/admin/session", &[], None);
    assert_eq!(before.headers["cache-control"], "no-store");
    assert_eq!(
        before.expect(200),
        json!({ "signed_in": false, "version": env!("CARGO_PKG_VERSION"), "dev_key": null, "expires_at": null, "key": null })
    );

    let answer = browser(
        &s,
        "POST",
        "/admin/session",
        &[MARK, ORIGIN],
        Some(json!({ "key": s.key })),
    );
    let set = answer.headers["set-cookie"].to_str().unwrap();
    assert!(set.starts_with("workspaced_session="), "{set}");
    for attribute in [
        "; Path=/",
        "; HttpOnly",
        "; SameSite=Strict",
        "; Max-Age=604800",
    ] {
        assert!(set.contains(attribute), "{attribute} is not in {set}");
    }
    assert!(!set.contains("Secure"));
    assert!(!answer.text.contains(&s.key), "the secret comes back");
    let cookie = cookie_of(&answer.headers);
    assert!(
        cookie.len() >= "workspaced_session=".len() + 40,
        "160 bits at the least"
    );

    let who = browser(&s, "GET", "/admin/session", &[("cookie", &cookie)], None).expect(200);
    assert_eq!(
        redact(who.clone()),
        json!({
            "signed_in": true, "version": env!("CARGO_PKG_VERSION"), "dev_key": null, "expires_at": "[time]",
            "key": {
                "id": "[uuid]", "key_prefix": &s.key[..12], "key_type": "platform", "operator": true, "scopes": [],
                "tenant_id": "[uuid]", "tenant_slug": "acme", "workspace_id": null, "external_user_id": null,
                "expires_at": null,
            },
        })
    );
    assert_eq!(who["expires_at"], "2026-05-20T22:15:30Z");
    assert_eq!(status(&s, &cookie), 200);
    // What is stored opens nothing.
    let token = cookie.split('=').nth(1).unwrap();
    assert_eq!(
        s.call_as(token, axum::http::Method::GET, "/whoami", None)
            .status
            .as_u16(),
        401
    );
    assert_eq!(
        s.count("SELECT count(*) FROM sessions WHERE length(token_hash) = 32"),
        1
    );
}

#[test]
fn over_tls_the_cookie_belongs_to_this_host_alone() {
    let s = Service::new();
    let origin = ("origin", "https://box.test:8400");
    let answer = browser(
        &s,
        "POST",
        "/admin/session",
        &[MARK, origin],
        Some(json!({ "key": s.key })),
    );
    let set = answer.headers["set-cookie"].to_str().unwrap();
    assert!(
        set.starts_with("__Host-workspaced_session=") && set.contains("; Secure"),
        "{set}"
    );
    assert_eq!(status(&s, &cookie_of(&answer.headers)), 200);
}

#[test]
fn a_cookie_alone_does_nothing() {
    let s = Service::new();
    let cookie = sign_in(&s, &s.key);
    let cookie = ("cookie", cookie.as_str());
    let name = || Some(json!({ "name": "A" }));
    let path = "/api/v1/workspaces";
    let before = s.fingerprint();
    for headers in [
        &[cookie][..],
        &[cookie, MARK],
        &[cookie, ORIGIN],
        &[cookie, MARK, ("origin", "http://evil.test")],
        &[cookie, MARK, ("origin", "null")],
        &[cookie, ("sec-fetch-site", "same-origin")],
    ] {
        browser(&s, "POST", path, headers, name()).refused(403, "FORBIDDEN");
    }
    browser(&s, "GET", path, &[cookie], None).refused(403, "FORBIDDEN");
    browser(
        &s,
        "GET",
        path,
        &[cookie, ("sec-fetch-site", "cross-site")],
        None,
    )
    .refused(403, "FORBIDDEN");
    browser(
        &s,
        "GET",
        path,
        &[cookie, ("sec-fetch-site", "same-site")],
        None,
    )
    .refused(403, "FORBIDDEN");
    assert_eq!(s.fingerprint(), before);

    browser(&s, "GET", path, &[cookie, MARK], None).expect(200);
    browser(
        &s,
        "GET",
        path,
        &[cookie, ("sec-fetch-site", "same-origin")],
        None,
    )
    .expect(200);
    browser(&s, "POST", path, &[cookie, MARK, ORIGIN], name()).expect(201);
    // A key in the header wins: the cookie neither helps nor harms.
    let wrong = ("authorization", "Bearer msk_u_wrong");
    browser(&s, "GET", path, &[cookie, MARK, wrong], None).refused(401, "invalid_token");
    // Neither can another site sign a person in, or out.
    let key = || Some(json!({ "key": s.key }));
    browser(&s, "POST", "/admin/session", &[ORIGIN], key()).refused(403, "FORBIDDEN");
    browser(&s, "POST", "/admin/session", &[MARK], key()).refused(403, "FORBIDDEN");
    browser(&s, "DELETE", "/admin/session", &[cookie], None).refused(403, "FORBIDDEN");
    assert_eq!(status(&s, cookie.1), 200);
}

#[test]
fn a_session_ends_with_its_key_its_time_and_by_signing_out() {
    let s = Service::new();
    let made = s.post("/api-keys", json!({ "name": "page" })).expect(201)["data"].clone();
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    let path = format!("/api-keys/{id}");

    let cookie = sign_in(&s, key);
    assert_eq!(status(&s, &cookie), 200);
    s.patch(&path, json!({ "status": "disabled" })).expect(200);
    assert_eq!(status(&s, &cookie), 401, "disabled");
    s.patch(&path, json!({ "status": "active" })).expect(200);
    assert_eq!(status(&s, &cookie), 200);
    let rotated = s.post(&format!("{path}/rotate"), json!({})).expect(200)["data"]["key"].clone();
    assert_eq!(status(&s, &cookie), 401, "rotated");

    let cookie = sign_in(&s, rotated.as_str().unwrap());
    let out = browser(
        &s,
        "DELETE",
        "/admin/session",
        &[("cookie", &cookie), MARK, ORIGIN],
        None,
    );
    out.expect(200);
    let cleared: Vec<_> = out
        .headers
        .get_all("set-cookie")
        .iter()
        .map(|v| v.to_str().unwrap())
        .collect();
    assert!(
        cleared.len() == 2 && cleared.iter().all(|c| c.contains("Max-Age=0")),
        "{cleared:?}"
    );
    assert_eq!(status(&s, &cookie), 401, "signed out");

    let cookie = sign_in(&s, rotated.as_str().unwrap());
    s.delete(&path).expect(200);
    assert_eq!(status(&s, &cookie), 401, "revoked");

    let brief = json!({ "name": "brief", "expires_at": "2026-05-20T11:00:00Z" });
    let key = s.post("/api-keys", brief).expect(201)["data"]["key"].clone();
    let cookie = sign_in(&s, key.as_str().unwrap());
    s.advance(45 * 60);
    assert_eq!(status(&s, &cookie), 401, "the key expired");
}

#[test]
fn a_session_lives_from_use_to_use_but_not_for_ever() {
    let s = Service::new();
    let cookie = sign_in(&s, &s.key);
    s.advance(12 * 3600 - 1);
    assert_eq!(status(&s, &cookie), 200);
    s.advance(11 * 3600);
    assert_eq!(status(&s, &cookie), 200, "the use before moved the end");
    s.advance(12 * 3600);
    assert_eq!(status(&s, &cookie), 401, "half a day without use");

    let cookie = sign_in(&s, &s.key);
    for _ in 0..15 {
        s.advance(11 * 3600);
        assert_eq!(status(&s, &cookie), 200);
    }
    s.advance(3 * 3600);
    assert_eq!(status(&s, &cookie), 401, "seven days are the most");

    // What is over is forgotten.
    let gone = s
        .app
        .store
        .write_blocking(|tx| workspaced::testing::purge_sessions(tx, 100));
    assert_eq!(
        (gone.unwrap(), s.count("SELECT count(*) FROM sessions")),
        (2, 0)
    );
}

#[test]
fn wrong_keys_are_slowed_down() {
    let s = Service::new();
    let attempt = |key: &str| {
        browser(
            &s,
            "POST",
            "/admin/session",
            &[MARK, ORIGIN],
            Some(json!({ "key": key })),
        )
    };
    for _ in 0..6 {
        attempt("msk_u_wrong").refused(401, "invalid_token");
    }
    let refused = attempt("msk_u_wrong");
    refused.refused(429, "rate_limit_exceeded");
    assert_eq!(refused.headers["retry-after"], "2");
    // Not the right key: nobody can lock out a neighbour, and 238 random bits are not guessed.
    attempt(&s.key).expect(200);
    for _ in 0..7 {
        attempt("msk_u_wrong");
    }
    attempt("msk_u_wrong").refused(429, "rate_limit_exceeded");
    s.advance(2);
    attempt(&s.key).expect(200);
    attempt("msk_u_wrong").refused(401, "invalid_token");
    attempt(&s.key).expect(200);
    browser(
        &s,
        "POST",
        "/admin/session",
        &[MARK, ORIGIN],
        Some(json!({})),
    )
    .invalid(&["key"]);
    let long = json!({ "key": "x".repeat(5000) });
    browser(&s, "POST", "/admin/session", &[MARK, ORIGIN], Some(long))
        .refused(413, "PAYLOAD_TOO_LARGE");
}

#[test]
fn development_mode_says_so() {
    let s = Service::with(Config {
        dev: true,
        dev_hosts: vec!["box.test".into()],
        ..Config::default()
    });
    let who = browser(&s, "GET", "/admin/session", &[], None).expect(200);
    assert_eq!(who["dev_key"], "msk_u_dev");
}

#[test]
fn the_page_and_its_files() {
    let s = Service::new();
    let root = browser(&s, "GET", "/", &[], None);
    assert_eq!(
        (
            root.status.as_u16(),
            root.headers["location"].to_str().unwrap()
        ),
        (307, "/admin")
    );
    for path in [
        "/admin",
        "/docs",
        "/assets/app.js",
        "/assets/style.css",
        "/assets/theme.js",
        "/assets/icon.svg",
        "/openapi.json",
    ] {
        let answer = browser(&s, "GET", path, &[], None);
        assert_eq!(answer.status.as_u16(), 200, "{path}");
        let header = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
        assert_eq!(
            header("content-security-policy"),
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "no-referrer");
        assert_eq!(header("cache-control"), "no-cache");
        let etag = header("etag");
        assert!(etag.starts_with('"'), "a strong one: {etag}");
        let again = browser(&s, "GET", path, &[("if-none-match", &etag)], None);
        assert_eq!(
            (again.status.as_u16(), again.text.as_str()),
            (304, ""),
            "{path}"
        );
        assert_eq!(again.headers["etag"].to_str().unwrap(), etag);
        // No inline script or style, and nothing from elsewhere.
        if answer.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
        {
            assert!(
                !answer.text.contains("<style")
                    && !answer.text.contains(" style=")
                    && !answer.text.contains(" on")
            );
            assert!(
                !answer.text.contains("http://") && !answer.text.contains("https://"),
                "{path}"
            );
            assert_eq!(
                answer.text.matches("<script").count(),
                answer.text.matches("<script src=").count()
                    + answer.text.matches("<script type=\"module\" src=").count()
            );
        }
    }
    browser(&s, "GET", "/assets/none.js", &[], None).refused(404, "NOT_FOUND");
    browser(&s, "GET", "/assets/../schema.sql", &[], None).refused(404, "NOT_FOUND");
}

#[test]
fn files_travel_compressed() {
    let s = Service::new();
    let send = |headers: &[(&str, &str)]| {
        let mut request = Request::builder().uri("/assets/app.js");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        crate::harness::runtime().block_on(async {
            let response =
                tower::ServiceExt::oneshot(s.router.clone(), request.body(Body::empty()).unwrap())
                    .await
                    .unwrap();
            let (parts, body) = response.into_parts();
            (
                parts,
                http_body_util::BodyExt::collect(body)
                    .await
                    .unwrap()
                    .to_bytes(),
            )
        })
    };
    let (plain, text) = send(&[]);
    let (packed, bytes) = send(&[("accept-encoding", "br, gzip")]);
    assert_eq!(packed.headers["content-encoding"], "gzip");
    assert_eq!(packed.headers["vary"], "accept-encoding");
    assert!(
        bytes.len() * 2 < text.len(),
        "{} of {}",
        bytes.len(),
        text.len()
    );
    assert_ne!(
        plain.headers["etag"], packed.headers["etag"],
        "a strong ETag names bytes"
    );
    let etag = packed.headers["etag"].to_str().unwrap();
    let (again, _) = send(&[("accept-encoding", "gzip"), ("if-none-match", etag)]);
    assert_eq!(again.status.as_u16(), 304);
}

#[test]
fn the_system_for_its_operator() {
    let s = Service::new();
    s.running(&s.default_workspace, "small");
    s.advance(60);
    let system = s.get("/system").expect(200);
    assert_eq!(system["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        (&system["uptime_seconds"], &system["clock"]),
        (&json!(61), &json!("frozen"))
    );
    assert_eq!(
        system["database"]["schema_version"],
        workspaced::testing::VERSION
    );
    assert_eq!(system["database"]["readers"], 2);
    let bytes = |name: &str| system["database"][name].as_u64().unwrap();
    assert!(bytes("database_bytes") + bytes("wal_bytes") > 4096);
    let counts = &system["counts"];
    assert_eq!(
        (
            &counts["organizations"],
            &counts["workspaces"],
            &counts["computers"]
        ),
        (&json!(1), &json!(1), &json!(1))
    );
    let (other, _) = s.other_tenant("other");
    s.call_as(&other, axum::http::Method::GET, "/system", None)
        .refused(403, "FORBIDDEN");
}

#[test]
fn an_organization_at_a_glance() {
    let s = Service::new();
    let full = s.workspace("Full");
    s.put(
        &format!("/workspaces/{full}/settings"),
        json!({ "max_computers": 2 }),
    )
    .expect(200);
    s.put(
        &format!("/workspaces/{full}/preview-domain"),
        json!({ "preview_domain": "full.example" }),
    )
    .expect(200);
    s.running(&full, "small");
    s.running(&full, "medium");
    s.computer(&s.default_workspace, "large");
    let (other, theirs) = s.other_tenant("other");
    let body = json!({ "name": "x", "workspace_id": theirs });
    s.call_as(&other, axum::http::Method::POST, "/computers", Some(body))
        .expect(201);

    let overview = s.get("/overview").expect(200);
    assert_eq!(
        overview["computers"],
        json!({ "total": 3, "by_status": { "provisioning": 1, "running": 2 } })
    );
    assert_eq!(overview["burn_rate_credits_per_hour"], 30 + 60);
    assert_eq!(
        (&overview["workspaces"], &overview["ceilings"]),
        (&json!(2), &json!([]))
    );
    let near =
        json!([{ "workspace_id": full, "name": "Full", "computer_count": 2, "max_computers": 2 }]);
    assert_eq!(overview["near_limit"], near);
    let problems = json!([{ "scope": "workspace", "owner_id": full, "domain": "full.example", "dns_status": "pending", "last_error": null, "checked_at": null }]);
    assert_eq!(overview["domain_problems"], problems);
    let limited = s
        .post("/api-keys", json!({ "name": "one", "workspace_id": full }))
        .expect(201);
    let limited = limited["data"]["key"].as_str().unwrap();
    s.call_as(limited, axum::http::Method::GET, "/overview", None)
        .refused(403, "FORBIDDEN");
}

#[test]
fn the_organizations_usage_is_the_sum_of_its_workspaces() {
    let s = Service::new();
    let (one, two) = (s.workspace("One"), s.workspace("Two"));
    s.running(&one, "small");
    s.advance(5400);
    s.running(&two, "medium");
    s.advance(86_400);
    let (other, theirs) = s.other_tenant("other");
    let body = json!({ "name": "x", "workspace_id": theirs });
    s.call_as(&other, axum::http::Method::POST, "/computers", Some(body))
        .expect(201);
    s.advance(7200);

    for query in [
        "window=24h&granularity=hour",
        "window=7d&granularity=day&tz=Asia/Kathmandu",
    ] {
        let whole = s.get(&format!("/usage/series?{query}")).expect(200);
        let parts =
            [&one, &two].map(|w| s.get(&format!("/workspaces/{w}/usage?{query}")).expect(200));
        for field in ["total_credits_micros", "total_compute_ms"] {
            let sum: i64 = parts.iter().map(|p| p[field].as_i64().unwrap()).sum();
            assert!(sum > 0, "{query}: {field}");
            assert_eq!(whole[field], sum, "{query}: {field}");
        }
        assert_eq!(
            (&whole["time_zone"], &whole["window_start"]),
            (&parts[0]["time_zone"], &parts[0]["window_start"])
        );
        let buckets = whole["series"].as_array().unwrap();
        assert_eq!(buckets.len(), parts[0]["series"].as_array().unwrap().len());
        // Whole credits are rounded once: the floor of what all of them used up to here.
        let mut credits = 0;
        for (n, bucket) in buckets.iter().enumerate() {
            for field in ["credits_micros", "compute_ms"] {
                let sum: i64 = parts
                    .iter()
                    .map(|p| p["series"][n][field].as_i64().unwrap())
                    .sum();
                assert_eq!(bucket[field], sum, "{query}: bucket {n}");
            }
            credits += bucket["credits_used"].as_i64().unwrap();
            assert_eq!(bucket["ts"], parts[0]["series"][n]["ts"]);
        }
        assert_eq!(whole["total_credits_used"], credits, "{query}");
    }
    // One small for 1.5 + 26 hours is 825 credits, one medium for 26 hours is 1560; as asked at the end.
    let top = &s.get("/usage/series?window=7d").expect(200)["top_workspaces"];
    let names: Vec<_> = top
        .as_array()
        .unwrap()
        .iter()
        .map(|w| {
            (
                w["name"].as_str().unwrap(),
                w["credits_used"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(names, [("Two", 1560), ("One", 825)]);
    s.delete(&format!("/workspaces/{two}?force=true"))
        .expect(200);
    let top = &s.get("/usage/series?window=7d").expect(200)["top_workspaces"];
    assert_eq!(top[0]["name"], "Two", "its usage stays");

    s.get("/usage/series?window=1y").invalid(&["window"]);
    let key = s
        .post("/api-keys", json!({ "name": "one", "workspace_id": one }))
        .expect(201);
    let key = key["data"]["key"].as_str().unwrap();
    s.call_as(key, axum::http::Method::GET, "/usage/series", None)
        .refused(403, "FORBIDDEN");
}

#[test]
fn the_audit_log_by_page_and_filter() {
    let s = Service::new();
    let w = s.workspace("A");
    let c = s.running(&w, "small");
    s.patch(&format!("/workspaces/{w}"), json!({ "name": "B" }))
        .expect(200);
    let kinds = |query: &str| -> Vec<String> {
        let rows = s.get(&format!("/audit-log{query}")).expect(200);
        rows["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["type"].as_str().unwrap().to_owned())
            .collect()
    };
    let all = kinds("");
    assert_eq!(
        all[..4],
        [
            "workspace.updated",
            "computer.running",
            "computer.created",
            "project.created"
        ]
    );
    assert_eq!(
        kinds("?type=computer.*"),
        ["computer.running", "computer.created"]
    );
    assert_eq!(kinds("?action=computer.running"), ["computer.running"]);
    assert_eq!(
        kinds(&format!("?resource_id={c}")),
        ["computer.running", "computer.created"]
    );
    assert_eq!(
        kinds("?resource_type=workspace&since=2026-05-20T10:15:31Z"),
        ["workspace.updated"]
    );
    assert_eq!(kinds(&format!("?workspace_id={w}")).len(), 5);
    assert_eq!(kinds("?until=2026-05-20T10:15:30Z"), Vec::<String>::new());

    let row = s.get("/audit-log?limit=1").expect(200)["data"][0].clone();
    assert_eq!(
        (
            &row["metadata"]["before"]["name"],
            &row["metadata"]["after"]["name"],
            &row["action"]
        ),
        (&json!("A"), &json!("B"), &json!("workspace.updated"))
    );
    assert_eq!(
        (&row["actor_type"], &row["resource"], &row["workspace_id"]),
        (&json!("api_key"), &json!("workspace"), &json!(w))
    );
    assert!(row["actor_label"].as_str().unwrap().starts_with("msk_"));
    assert_eq!(
        (&row["ts"], &row["inserted_at"]),
        (&row["created_at"], &row["created_at"])
    );

    // Page by page, under all three names of the cursor.
    let mut seen = Vec::new();
    let mut cursor = String::new();
    for name in [
        "cursor", "after", "before", "cursor", "after", "before", "cursor", "after", "before",
    ] {
        let from = if cursor.is_empty() {
            String::new()
        } else {
            format!("&{name}={cursor}")
        };
        let page = s.get(&format!("/audit-log?limit=2{from}")).expect(200);
        seen.extend(
            page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|r| r["type"].as_str().unwrap().to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, all);

    s.get("/audit-log?limit=0&cursor=x&type=A'&actor_id=1&since=now")
        .invalid(&["actor_id", "cursor", "limit", "since", "type"]);
    // Others see their own only.
    let (other, _) = s.other_tenant("other");
    let theirs = s
        .call_as(&other, axum::http::Method::GET, "/audit-log", None)
        .expect(200);
    assert!(
        theirs["data"]
            .as_array()
            .unwrap()
            .iter()
            .all(|r| r["tenant_id"] != json!(s.tenant_id))
    );
    let key = |body: Value| {
        s.post("/api-keys", body).expect(201)["data"]["key"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let limited = key(json!({ "name": "one", "workspace_id": w }));
    let rows = s
        .call_as(&limited, axum::http::Method::GET, "/audit-log", None)
        .expect(200);
    assert!(
        rows["data"]
            .as_array()
            .unwrap()
            .iter()
            .all(|r| r["workspace_id"] == json!(w))
    );
    let elsewhere = format!("/audit-log?workspace_id={}", s.default_workspace);
    s.call_as(&limited, axum::http::Method::GET, &elsewhere, None)
        .refused(403, "FORBIDDEN");
    let blind = key(json!({ "name": "two", "scopes": ["computers:read"] }));
    s.call_as(&blind, axum::http::Method::GET, "/audit-log", None)
        .refused(403, "insufficient_scope");
}

#[test]
fn workspaces_in_another_order() {
    let s = Service::new();
    for name in ["banana", "Apple", "cherry"] {
        s.workspace(name);
    }
    s.computer(&s.default_workspace, "small");
    let names = |sort: &str| -> Vec<String> {
        let list = s.get(&format!("/workspaces?sort={sort}")).expect(200);
        list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|w| w["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names("name"), ["Apple", "banana", "cherry", "default"]);
    assert_eq!(names("-name"), ["default", "cherry", "banana", "Apple"]);
    assert_eq!(names("-computer_count")[0], "default");
    assert_eq!(names("-created_at")[0], "cherry");
    s.get("/workspaces?sort=size").invalid(&["sort"]);

    // The default workspace has a list of its own, merged by age with all others.
    for (name, age) in [("cherry", 1), ("default", 2), ("Apple", 3), ("banana", 3)] {
        let sql = "UPDATE workspaces SET created_at = ?1 WHERE name = ?2";
        let age = move |tx: &workspaced::testing::WriteTx<'_>| Ok(tx.execute(sql, (age, name))?);
        s.app.store.write_blocking(age).unwrap();
    }
    // Two of one instant: by id, and banana was made first.
    assert_eq!(
        names("created_at"),
        ["cherry", "default", "banana", "Apple"]
    );
    assert_eq!(
        names("-created_at"),
        ["Apple", "banana", "default", "cherry"]
    );
    assert_eq!(names("created_at&limit=2&offset=1"), ["default", "banana"]);
    assert_eq!(names("-created_at&q=an"), ["banana"]);
    assert_eq!(names("-created_at&q=default"), ["default"]);
    let list = s.get("/workspaces?sort=created_at&limit=1").expect(200);
    assert_eq!(list["total"], 4);
}

#[test]
fn the_overview_says_what_somebody_should_look_at_and_how_the_month_goes() {
    let s = service_at("2026-05-03T00:00:00Z");
    let empty = s.get("/overview").expect(200);
    assert_eq!(
        empty["setup"],
        json!({ "workspaces": false, "limits": false, "computers": false, "keys": false, "backups": false })
    );
    let w = s.workspace("Clinic");
    let forgotten = external(&s, &w, "small");
    report(&s, &forgotten, &["2026-05-03T00:00:00Z"]);
    s.patch(
        &format!("/computers/{forgotten}"),
        json!({ "auto_stop_seconds": 0 }),
    )
    .expect(200);
    let looked_after = external(&s, &w, "small");
    s.patch(
        &format!("/computers/{looked_after}"),
        json!({ "auto_stop_seconds": 86_400 }),
    )
    .expect(200);
    let (other, theirs) = s.other_tenant("other");
    let body = json!({ "name": "x", "workspace_id": theirs, "auto_stop_seconds": 0 });
    s.call_as(&other, axum::http::Method::POST, "/computers", Some(body))
        .expect(201);
    s.travel_to(at("2026-05-04T23:59:59Z"));
    let early = s.get("/overview").expect(200);
    assert_eq!(early["long_running"], json!([]), "not for two days yet");

    s.travel_to(at("2026-06-04T00:00:00Z"));
    let found = s.get("/overview").expect(200);
    assert_eq!(found["long_running_total"], 1);
    let row = &found["long_running"][0];
    assert_eq!(
        (
            &row["computer_id"],
            &row["workspace_name"],
            &row["started_at"]
        ),
        (
            &json!(forgotten),
            &json!("Clinic"),
            &json!("2026-05-03T00:00:00Z")
        )
    );
    // 30 credits an hour, for 32 days.
    assert_eq!(row["credits_micros"], 32 * 720_000_000_i64);
    assert_eq!(
        found["month"],
        json!({
            "start": "2026-06-01T00:00:00Z", "end": "2026-07-01T00:00:00Z", "time_zone": "UTC",
            "used_micros": 3 * 720_000_000_i64,
            // Of the first three days of May the machine ran one.
            "previous_micros": 720_000_000_i64,
            "burn_micros_per_day": 720_000_000_i64,
            "forecast_micros": 30 * 720_000_000_i64,
        })
    );
    assert_eq!(
        found["setup"],
        json!({ "workspaces": true, "limits": false, "computers": true, "keys": false, "backups": false })
    );
    // A key that may read numbers only does not learn of computers by it.
    let body = json!({ "name": "numbers", "scopes": ["usage:read"] });
    let key = s.post("/api-keys", body).expect(201)["data"]["key"].clone();
    let key = key.as_str().unwrap();
    let seen = s
        .call_as(key, axum::http::Method::GET, "/overview", None)
        .expect(200);
    assert_eq!(seen["long_running"], json!([]));
    assert_eq!(seen["setup"]["keys"], true);
}

#[test]
fn computers_and_workspaces_come_in_the_order_that_is_asked_for() {
    let s = service_at("2026-05-03T00:00:00Z");
    let (a, b) = (s.workspace("A"), s.workspace("B"));
    let sizes = [(&a, "small", 2), (&a, "large", 1), (&b, "xs", 1)];
    let ids = sizes.map(|(workspace, size, _)| external(&s, workspace, size));
    s.travel_to(at("2026-05-04T00:00:00Z"));
    for (id, (_, _, hours)) in ids.iter().zip(sizes) {
        let stop = format!("2026-05-03T{hours:02}:00:00Z");
        report(&s, id, &["2026-05-03T00:00:00Z", &stop]);
    }
    let order = |path: &str| -> Vec<String> {
        let list = s.get(path).expect(200);
        let rows = list["data"].as_array().unwrap().iter();
        rows.map(|row| {
            row["size"]
                .as_str()
                .or(row["name"].as_str())
                .unwrap()
                .to_owned()
        })
        .collect()
    };
    // 2 h of 30, 1 h of 120, 1 h of 15.
    assert_eq!(order("/computers?sort=-credits"), ["large", "small", "xs"]);
    assert_eq!(order("/computers?sort=credits"), ["xs", "small", "large"]);
    assert_eq!(order("/computers?sort=size"), ["xs", "small", "large"]);
    assert_eq!(order("/computers?sort=-size&limit=1"), ["large"]);
    assert_eq!(order("/computers?sort=-credits&page=2&page_size=2"), ["xs"]);
    assert_eq!(order("/computers?sort=name"), ["large", "small", "xs"]);
    assert_eq!(order("/computers?sort=created_at").len(), 3);
    assert_eq!(order("/computers?sort=status").len(), 3);
    let path = format!("/workspaces/{a}/computers?sort=-credits");
    assert_eq!(order(&path), ["large", "small"]);
    assert_eq!(order("/workspaces?sort=-credits"), ["A", "B", "default"]);
    assert_eq!(order("/workspaces?sort=-credits&limit=1&offset=1"), ["B"]);
    s.get("/computers?sort=price").invalid(&["sort"]);
    // A list in another order goes on where it was, too.
    let mut seen = Vec::new();
    let mut path = "/computers?sort=size&limit=1".to_owned();
    for _ in 0..3 {
        let answer = s.get(&path);
        seen.push(answer.json()["data"][0]["size"].clone());
        let link = answer
            .headers
            .get("link")
            .map(|l| l.to_str().unwrap().to_owned());
        let Some(link) = link else { break };
        let query = link.trim_start_matches("<?").split('>').next().unwrap();
        path = format!("/computers?{query}");
    }
    assert_eq!(seen, ["xs", "small", "large"]);
    // Those that run come first, the longest of them before the others.
    report(&s, &ids[2], &["2026-05-03T10:00:00Z"]);
    report(&s, &ids[0], &["2026-05-03T09:00:00Z"]);
    assert_eq!(
        order("/computers?sort=started_at"),
        ["small", "xs", "large"]
    );
    let (other, _) = s.other_tenant("other");
    let theirs = s
        .call_as(
            &other,
            axum::http::Method::GET,
            "/computers?sort=-credits",
            None,
        )
        .expect(200);
    assert_eq!(theirs["total"], 0);
    let body = json!({ "name": "Spring Campaign", "workspace_id": b });
    s.post("/projects", body).expect(201);
    let found = s.get("/projects?q=campaign").expect(200);
    assert_eq!(
        (&found["total"], &found["data"][0]["name"]),
        (&json!(1), &json!("Spring Campaign"))
    );
}
