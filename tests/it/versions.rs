//! `ETag`, `If-Match`, `If-None-Match`: nobody overwrites what they have not seen.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use crate::harness::{Answer, Service, request};
use workspaced::testing::routes;

fn with(
    s: &Service,
    method: &str,
    path: &str,
    header: (&str, &str),
    body: Option<Value>,
) -> Answer {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = request(&s.key, &method, path, body);
    let name = axum::http::HeaderName::from_bytes(header.0.as_bytes()).unwrap();
    request
        .headers_mut()
        .insert(name, header.1.parse().unwrap());
    s.send(request)
}

fn tag(s: &Service, path: &str) -> String {
    let answer = s.get(path);
    answer.expect(200);
    answer.headers["etag"].to_str().unwrap().to_owned()
}

#[test]
fn a_stale_tab_does_not_take_back_what_another_has_set() {
    let s = Service::new();
    let w = s.workspace("w");
    let path = format!("/workspaces/{w}/settings");
    let seen = tag(&s, &path);
    let cap = json!({ "max_computers": 5 });
    let saved = with(&s, "PUT", &path, ("if-match", &seen), Some(cap));
    saved.expect(200);
    assert_eq!(saved.headers["etag"], tag(&s, &path).as_str());
    let stale = json!({ "max_computers": null, "default_auto_stop_seconds": 60 });
    let refused = with(&s, "PUT", &path, ("if-match", &seen), Some(stale.clone()));
    refused.refused(412, "PRECONDITION_FAILED");
    let body = refused.json();
    // Both versions, and what is there now; the clock has not moved in between.
    let now = tag(&s, &path);
    assert_eq!(
        body["error"]["details"],
        json!({ "if_match": seen, "etag": now })
    );
    assert_eq!(body["error"]["existing"]["settings"]["max_computers"], 5);
    assert_eq!(s.get(&path).expect(200)["settings"]["max_computers"], 5);
    with(&s, "PUT", &path, ("if-match", &now), Some(stale)).expect(200);
    assert_eq!(
        s.get(&path).expect(200)["settings"]["max_computers"],
        Value::Null
    );
}

#[test]
fn a_change_is_made_to_what_its_caller_saw_only() {
    let s = Service::new();
    let w = s.workspace("w");
    let path = format!("/workspaces/{w}");
    let first = tag(&s, &path);
    // What is counted is no other version, and all of the reply is another one.
    s.computer(&w, "small");
    let counted = tag(&s, &path);
    assert_ne!(first, counted);
    assert_eq!(first.split('-').next(), counted.split('-').next());
    let name = |name: &str| Some(json!({ "name": name }));
    with(&s, "PATCH", &path, ("if-match", &first), name("a")).expect(200);
    with(&s, "PATCH", &path, ("if-match", &first), name("b")).refused(412, "PRECONDITION_FAILED");
    let second = tag(&s, &path);
    for fits in [
        format!("W/{second}"),
        format!("\"x\", {second}"),
        "*".to_owned(),
    ] {
        let same = name("a");
        with(&s, "PATCH", &path, ("if-match", &fits), same).expect(200);
    }
    for wrong in ["\"x\"", "x", "", ","] {
        let answer = with(&s, "PATCH", &path, ("if-match", wrong), name("c"));
        answer.refused(412, "PRECONDITION_FAILED");
    }
    assert_eq!(s.get(&path).expect(200)["name"], "a");
    // Deleting with everything in it, too; and nothing of it happens.
    let all = format!("{path}?force=true");
    with(&s, "DELETE", &all, ("if-match", &first), None).refused(412, "PRECONDITION_FAILED");
    assert_eq!(s.get(&format!("{path}/computers")).expect(200)["total"], 1);
    with(&s, "DELETE", &all, ("if-match", &second), None).expect(200);

    // What is not there, or not the caller's, is said first.
    with(&s, "PATCH", &path, ("if-match", &second), name("c")).refused(404, "NOT_FOUND");
    let (_, theirs) = s.other_tenant("other");
    let theirs = format!("/workspaces/{theirs}");
    with(&s, "PATCH", &theirs, ("if-match", "\"x\""), name("c")).refused(403, "FORBIDDEN");
    // A condition that nothing can hold to is not ignored.
    let made = json!({ "name": "new" });
    with(&s, "POST", "/workspaces", ("if-match", "*"), Some(made)).invalid(&["If-Match"]);
}

#[test]
fn a_repeated_request_gets_its_reply_whatever_has_changed() {
    let s = Service::new();
    let path = format!("/workspaces/{}", s.workspace("w"));
    let seen = tag(&s, &path);
    let rename = |match_: &str| {
        let body = json!({ "name": "renamed" });
        let mut request = request(&s.key, &Method::PATCH, &path, Some(body));
        let headers = request.headers_mut();
        headers.insert("if-match", match_.parse().unwrap());
        headers.insert("idempotency-key", "once".parse().unwrap());
        s.send(request)
    };
    let first = rename(&seen);
    first.expect(200);
    let again = rename(&seen);
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.expect(200), first.json());
}

#[test]
fn who_has_it_already_is_told_so() {
    let s = Service::new();
    let w = s.workspace("w");
    let path = format!("/workspaces/{w}");
    let seen = tag(&s, &path);
    for known in [seen.clone(), format!("\"x\", W/{seen}"), "*".to_owned()] {
        let answer = with(&s, "GET", &path, ("if-none-match", &known), None);
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (304, ""));
        assert_eq!(answer.headers["etag"], seen.as_str());
    }
    with(&s, "GET", &path, ("if-none-match", "\"x\""), None).expect(200);
    s.computer(&w, "small");
    let fresh = with(&s, "GET", &path, ("if-none-match", &seen), None);
    assert_eq!(fresh.expect(200)["computer_count"], 1);
    let gone = format!("/workspaces/{}", uuid::Uuid::nil());
    with(&s, "GET", &gone, ("if-none-match", "*"), None).refused(404, "NOT_FOUND");
}

/// Every route that has tags or looks at them, on resources that exist.
#[test]
fn every_single_resource_has_a_tag_and_every_change_of_one_looks_at_it() {
    let s = Service::new();
    let w = s.workspace("w");
    let c = s.computer(&w, "small");
    s.advance(5);
    let project = s
        .post("/projects", json!({ "name": "p", "workspace_id": w }))
        .expect(201);
    let key = s.post("/api-keys", json!({ "name": "k" })).expect(201);
    let hook = json!({ "url": "https://example.com/h", "events": ["*"], "enabled": false });
    let hook = s.post("/webhooks", hook).expect(201);
    let id = |value: &Value| value["id"].as_str().unwrap().to_owned();
    let of = |path: &str| match path.split('/').nth(1).unwrap() {
        "workspaces" => w.clone(),
        "projects" => id(&project),
        "computers" => c.clone(),
        "api-keys" => id(&key["data"]),
        "webhooks" => id(&hook["data"]),
        _ => s.tenant_id.clone(),
    };
    let (mut tagged, mut guarded) = (0, 0);
    for route in routes::table() {
        let path = route.path.replace("{id}", &of(route.path));
        if route.path.ends_with("/budget") {
            s.put(&path, json!({ "credits": 1000 })).expect(200);
        }
        if route.tagged && !path.contains("{did}") && !path.contains("{number}") {
            let answer = s.get(&path);
            answer.expect(200);
            assert!(answer.headers.contains_key("etag"), "{}", route.path);
            let same = answer.headers["etag"].to_str().unwrap();
            let known = with(&s, "GET", &path, ("if-none-match", same), None);
            assert_eq!(known.status.as_u16(), 304, "{path}");
            tagged += 1;
        }
        let changes = [Method::PATCH, Method::PUT, Method::DELETE].contains(&route.method);
        let single = route.path.contains("{id}") || route.path.starts_with("/tenant/");
        // A link is made and revoked, and never changed.
        let single = single && !route.path.contains("{lid}");
        if changes && single {
            let answer = with(
                &s,
                route.method.as_str(),
                &path,
                ("if-match", "\"0-0\""),
                Some(json!({})),
            );
            answer.refused(412, "PRECONDITION_FAILED");
            assert!(answer.json()["error"]["existing"].is_object(), "{path}");
            guarded += 1;
        }
    }
    assert!(tagged >= 16 && guarded >= 25, "{tagged} {guarded}");
    // Nothing of all that has happened.
    assert_eq!(
        s.get(&format!("/computers/{c}")).expect(200)["status"],
        "running"
    );
}

#[test]
fn a_tag_is_the_same_after_a_restart() {
    let mut s = Service::new();
    let path = format!("/workspaces/{}", s.workspace("w"));
    let before = tag(&s, &path);
    s.restart();
    assert_eq!(tag(&s, &path), before);
    let head = Request::head(format!("/api/v1{path}"))
        .header("authorization", format!("Bearer {}", s.key))
        .body(Body::empty())
        .unwrap();
    assert_eq!(s.send(head).headers["etag"], before.as_str());
}
