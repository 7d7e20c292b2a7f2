//! API keys: what they open, what they never open, and what they may hand on.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use crate::harness::{Answer, Service, redact};

/// A new key: `(id, secret)`.
fn mint(s: &Service, maker: &str, body: Value) -> (String, String) {
    let body = s
        .call_as(maker, Method::POST, "/api-keys", Some(body))
        .expect(201);
    let data = &body["data"];
    (
        data["id"].as_str().unwrap().to_owned(),
        data["key"].as_str().unwrap().to_owned(),
    )
}

fn with_scopes(s: &Service, scopes: Value) -> String {
    mint(s, &s.key, json!({ "name": "k", "scopes": scopes })).1
}

#[test]
fn a_key_is_shown_once_and_stored_as_a_hash() {
    let s = Service::new();
    let body = s
        .post("/api-keys", json!({ "name": "ci", "purpose": "tests" }))
        .expect(201);
    let data = &body["data"];
    let secret = data["key"].as_str().unwrap().to_owned();
    assert!(
        secret.starts_with("msk_u_") && secret.len() == 46,
        "{secret}"
    );
    assert_eq!(
        (&data["token"], &data["secret"]),
        (&json!(secret), &json!(secret))
    );
    assert_eq!(data["key_prefix"], secret[..12]);
    assert_eq!(data["last4"], secret[42..]);

    let shown = s
        .get(&format!("/api-keys/{}", data["id"].as_str().unwrap()))
        .expect(200);
    let mut expected = data.clone();
    for key in ["key", "token", "secret"] {
        expected.as_object_mut().unwrap().remove(key);
    }
    assert_eq!(shown["data"], expected);
    assert_eq!(
        redact(shown["data"].clone()),
        json!({
            "id": "[uuid]", "tenant_id": "[uuid]", "workspace_id": null, "name": "ci", "key_type": "user",
            "key_purpose": "tests", "operator": false, "key_prefix": secret[..12], "prefix": secret[..12],
            "last4": secret[42..], "scopes": [], "rate_limit_rpm": null, "status": "active",
            "external_user_id": null, "expires_at": null, "last_used_at": null, "created_at": "[time]",
            "inserted_at": "[time]", "last_used_ip": null, "allowed_ips": [], "previous_secret_expires_at": null,
        })
    );
    // Nowhere in the files of the database.
    for file in std::fs::read_dir(s.dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(40).any(|w| w == &secret.as_bytes()[..40]));
    }
    assert!(!s.get("/api-keys").text.contains(&secret));
}

#[test]
fn revoked_disabled_rotated_and_expired_keys_open_nothing_from_then_on() {
    let s = Service::new();
    let works = |key: &str| {
        s.call_as(key, Method::GET, "/workspaces", None)
            .status
            .as_u16()
    };
    let (id, key) = mint(&s, &s.key, json!({ "name": "k" }));
    assert_eq!(works(&key), 200);
    s.patch(&format!("/api-keys/{id}"), json!({ "status": "disabled" }))
        .expect(200);
    assert_eq!(works(&key), 401);
    s.patch(&format!("/api-keys/{id}"), json!({ "status": "active" }))
        .expect(200);
    assert_eq!(works(&key), 200);

    let rotated = s
        .call_as(
            &s.key,
            Method::POST,
            &format!("/api-keys/{id}/rotate"),
            None,
        )
        .expect(200);
    let new = rotated["data"]["secret"].as_str().unwrap();
    assert_eq!((works(&key), works(new)), (401, 200));
    assert_eq!(
        s.delete(&format!("/api-keys/{id}")).expect(200),
        json!({ "data": { "id": id, "status": "revoked" }, "deleted": true })
    );
    assert_eq!(works(new), 401);
    s.get(&format!("/api-keys/{id}")).refused(404, "NOT_FOUND");

    let (_, key) = mint(
        &s,
        &s.key,
        json!({ "name": "k", "expires_at": "2026-05-20T10:16:30Z" }),
    );
    assert_eq!(works(&key), 200);
    s.advance(60);
    assert_eq!(works(&key), 401);
    s.post(
        "/api-keys",
        json!({ "name": "k", "expires_at": "2026-05-20T10:16:30Z" }),
    )
    .invalid(&["expires_at"]);
    s.post(
        "/api-keys",
        json!({ "name": "k", "expires_at": "tomorrow" }),
    )
    .invalid(&["expires_at"]);
}

#[test]
fn a_key_revoked_by_another_process_is_refused_within_a_second() {
    let s = Service::new();
    let (id, key) = mint(&s, &s.key, json!({ "name": "k" }));
    let works = || {
        s.call_as(&key, Method::GET, "/workspaces", None)
            .status
            .as_u16()
    };
    assert_eq!(works(), 200);
    let other = rusqlite::Connection::open(s.app.store.path()).unwrap();
    let id = uuid::Uuid::parse_str(&id).unwrap();
    other
        .execute(
            "UPDATE api_keys SET status = 'revoked' WHERE id = ?1",
            [id.as_bytes().as_slice()],
        )
        .unwrap();
    s.advance(1);
    assert_eq!(works(), 401);
}

#[test]
fn no_key_mints_a_stronger_one() {
    let s = Service::new();
    let w = s.workspace("A");
    let limited = json!({
        "name": "k", "scopes": ["keys:admin", "computers:read"], "workspace_id": w,
        "expires_at": "2026-06-01T00:00:00Z",
    });
    let (own, key) = mint(&s, &s.key, limited);
    let create = |body: Value| s.call_as(&key, Method::POST, "/api-keys", Some(body));
    for scopes in [
        json!(["computers:write"]),
        json!(["*"]),
        json!(["computers:*"]),
        json!(["workspaces:read", "computers:read"]),
    ] {
        create(json!({ "name": "n", "scopes": scopes })).refused(403, "insufficient_scope");
    }
    create(json!({ "name": "n" })).refused(403, "insufficient_scope");
    create(
        json!({ "name": "n", "scopes": ["computers:read"], "workspace_id": s.default_workspace }),
    )
    .refused(403, "FORBIDDEN");
    create(json!({ "name": "n", "scopes": ["computers:read"], "key_type": "platform" }))
        .refused(403, "FORBIDDEN");
    let made = create(
        json!({ "name": "n", "scopes": ["computers:read"], "expires_at": "2030-01-01T00:00:00Z" }),
    )
    .expect(201);
    assert_eq!(
        made["data"]["workspace_id"], w,
        "the limits of the maker come along"
    );
    assert_eq!(made["data"]["expires_at"], "2026-06-01T00:00:00Z");
    // Nor by changing itself, nor by taking over another one.
    let patch = |id: &str, body: Value| {
        s.call_as(&key, Method::PATCH, &format!("/api-keys/{id}"), Some(body))
    };
    patch(&own, json!({ "scopes": ["*"] })).refused(403, "insufficient_scope");
    patch(&own, json!({ "scopes": [] })).refused(403, "insufficient_scope");
    let (strong, _) = mint(&s, &s.key, json!({ "name": "strong", "workspace_id": w }));
    patch(&strong, json!({ "name": "mine" })).refused(403, "insufficient_scope");
    let rotate = |id: &str| s.call_as(&key, Method::POST, &format!("/api-keys/{id}/rotate"), None);
    rotate(&strong).refused(403, "insufficient_scope");
    let (wide, _) = mint(
        &s,
        &s.key,
        json!({ "name": "wide", "scopes": ["computers:read"] }),
    );
    rotate(&wide).refused(403, "FORBIDDEN");
    let list = s.call_as(&key, Method::GET, "/api-keys", None).expect(200);
    assert!(
        list["data"]
            .as_array()
            .unwrap()
            .iter()
            .all(|k| k["workspace_id"] == w)
    );

    // An administrator who is no operator stays one.
    let (admin, _) = s.other_tenant("other");
    let (operator, _, _) = s.tenant("third", workspaced::testing::NewKey::operator());
    s.call_as(
        &admin,
        Method::POST,
        "/api-keys",
        Some(json!({ "name": "n", "key_type": "platform" })),
    )
    .refused(403, "FORBIDDEN");
    s.call_as(
        &admin,
        Method::POST,
        "/platform/tenants",
        Some(json!({ "name": "n" })),
    )
    .refused(403, "FORBIDDEN");
    s.call_as(
        &operator,
        Method::POST,
        "/platform/tenants",
        Some(json!({ "name": "n" })),
    )
    .expect(201);
}

#[test]
fn a_workspace_key_sees_its_workspace_only() {
    let s = Service::new();
    let (mine, theirs) = (s.workspace("Mine"), s.workspace("Theirs"));
    let (_, key) = mint(&s, &s.key, json!({ "name": "k", "workspace_id": mine }));
    let foreign = s.running(&theirs, "small");
    let own = s.running(&mine, "small");
    let get = |path: &str| s.call_as(&key, Method::GET, path, None);
    let post = |path: &str, body: Value| s.call_as(&key, Method::POST, path, Some(body));
    assert_eq!(get("/workspaces").expect(200)["total"], 1);
    assert_eq!(get("/computers").expect(200)["total"], 1);
    assert_eq!(get("/projects").expect(200)["total"], 1);
    get(&format!("/workspaces/{mine}")).expect(200);
    get(&format!("/computers/{own}")).expect(200);
    for path in [
        format!("/workspaces/{theirs}"),
        format!("/workspaces/{theirs}/stats"),
        format!("/workspaces/{theirs}/computers"),
        format!("/computers/{foreign}"),
        format!("/computers?workspace_id={theirs}"),
        format!("/projects?workspace_id={theirs}"),
        "/tenant/preview-domain".into(),
    ] {
        get(&path).refused(403, "FORBIDDEN");
    }
    let before = s.fingerprint();
    post("/workspaces", json!({ "name": "x" })).refused(403, "FORBIDDEN");
    post("/computers", json!({ "name": "x", "workspace_id": theirs })).refused(403, "FORBIDDEN");
    post(
        "/computers",
        json!({ "name": "x", "workspace_slug": "theirs" }),
    )
    .refused(403, "FORBIDDEN");
    post(
        "/computers",
        json!({ "name": "x", "workspace_slug": "brand-new" }),
    )
    .refused(403, "FORBIDDEN");
    post(
        "/projects",
        json!({ "name": "x", "workspace_slug": "theirs" }),
    )
    .refused(403, "FORBIDDEN");
    post(
        &format!("/computers/{own}/move"),
        json!({ "workspace_id": theirs }),
    )
    .refused(403, "FORBIDDEN");
    assert_eq!(s.fingerprint(), before);
    // Naming none means its own.
    assert_eq!(
        post("/computers", json!({ "name": "x" })).expect(201)["workspace_id"],
        mine
    );
}

#[test]
fn a_delegated_key_sees_its_users_computers_only() {
    let s = Service::new();
    s.post(
        "/api-keys/scoped",
        json!({ "external_user_id": "", "scopes": [] }),
    )
    .invalid(&["external_user_id", "name", "scopes"]);
    let body = json!({ "external_user_id": "u1", "scopes": ["computers:*", "projects:read", "workspaces:read"] });
    let made = s.post("/api-keys/scoped", body).expect(201);
    assert_eq!(made["data"]["external_user_id"], "u1");
    let key = made["data"]["token"].as_str().unwrap();
    let other = s
        .post(
            "/computers",
            json!({ "name": "x", "external_user_id": "u2" }),
        )
        .expect(201);
    let call = |method: Method, path: &str, body: Option<Value>| s.call_as(key, method, path, body);
    let own = call(Method::POST, "/computers", Some(json!({ "name": "mine" }))).expect(201);
    assert_eq!(own["external_user_id"], "u1");
    call(
        Method::POST,
        "/computers",
        Some(json!({ "name": "x", "external_user_id": "u2" })),
    )
    .refused(403, "FORBIDDEN");
    assert_eq!(
        call(Method::GET, "/computers", None).expect(200)["total"],
        1
    );
    assert_eq!(
        call(Method::GET, "/computers?external_user_id=u2", None).expect(200)["total"],
        0
    );
    let foreign = format!("/computers/{}", other["id"].as_str().unwrap());
    call(Method::GET, &foreign, None).refused(403, "FORBIDDEN");
    call(Method::DELETE, &foreign, None).refused(403, "FORBIDDEN");
    let mine = format!("/computers/{}", own["id"].as_str().unwrap());
    call(
        Method::PATCH,
        &mine,
        Some(json!({ "external_user_id": "u2" })),
    )
    .refused(403, "FORBIDDEN");
    call(Method::PATCH, &mine, Some(json!({ "name": "renamed" }))).expect(200);
    // What concerns everybody in a workspace is not for one of its users, whatever the scopes.
    let body = json!({ "external_user_id": "u1", "scopes": ["*"] });
    let all = s.post("/api-keys/scoped", body).expect(201)["data"]["key"]
        .as_str()
        .unwrap()
        .to_owned();
    let w = format!("/workspaces/{}", s.default_workspace);
    for (method, path) in [
        (Method::PATCH, w.clone()),
        (Method::DELETE, w.clone()),
        (Method::PUT, format!("{w}/settings")),
        (Method::GET, format!("{w}/stats")),
        (Method::GET, "/api-keys".into()),
        (Method::POST, "/api-keys".into()),
        (Method::POST, "/projects".into()),
        (Method::PUT, format!("{w}/preview-domain")),
    ] {
        let body = (method != Method::GET).then(|| json!({ "name": "x" }));
        s.call_as(&all, method, &path, body)
            .refused(403, "FORBIDDEN");
    }
}

#[test]
fn the_authorization_header_is_read_strictly() {
    let s = Service::new();
    let send = |headers: &[(&str, String)]| -> Answer {
        let request = headers
            .iter()
            .fold(Request::get("/api/v1/whoami"), |r, (k, v)| r.header(*k, v));
        s.send(request.body(Body::empty()).unwrap())
    };
    let key = &s.key;
    send(&[("authorization", format!("Bearer {key}"))]).expect(200);
    send(&[("authorization", format!("bearer {key}"))]).expect(200);
    for bad in [
        key.clone(),
        format!("Basic {key}"),
        "Bearer".into(),
        "Bearer ".into(),
        format!("Bearer {key}x"),
    ] {
        send(&[("authorization", bad)]).refused(401, "invalid_token");
    }
    let twice = ("authorization", format!("Bearer {key}"));
    send(&[twice.clone(), twice.clone()]).refused(401, "invalid_token");
    // The tenant header may repeat what the key says, and nothing else.
    for good in [s.tenant_id.clone(), "acme".into(), String::new()] {
        send(&[twice.clone(), ("x-miosa-tenant", good)]).expect(200);
    }
    send(&[twice, ("x-miosa-tenant", "other".into())]).refused(403, "FORBIDDEN");
}

#[test]
fn who_this_is() {
    let s = Service::new();
    let key = with_scopes(&s, json!(["usage:read"]));
    let body = s.call_as(&key, Method::GET, "/whoami", None).expect(200);
    assert_eq!(body["organization"]["slug"], "acme");
    assert_eq!(body["workspace"]["id"], s.default_workspace);
    assert_eq!(
        (&body["scopes"], &body["operator"]),
        (&json!(["usage:read"]), &json!(false))
    );
    let tenant = s
        .call_as(&key, Method::GET, "/platform/tenants/current", None)
        .expect(200);
    assert_eq!(
        (&tenant["id"], &tenant["slug"], &tenant["name"]),
        (&json!(s.tenant_id), &json!("acme"), &json!("acme"))
    );
    s.call_as(
        &key,
        Method::POST,
        "/platform/tenants/acme/switch",
        Some(json!({})),
    )
    .refused(403, "FORBIDDEN");
}

#[test]
fn an_operator_makes_an_organization_with_its_first_key() {
    let s = Service::new();
    let body = s
        .post(
            "/platform/tenants",
            json!({ "name": "ClinicIQ", "credits_granted": 500 }),
        )
        .expect(201);
    assert_eq!(
        (&body["slug"], &body["credit_balance"]),
        (&json!("cliniciq"), &json!(500))
    );
    let key = body["api_key"]["key"].as_str().unwrap();
    let who = s.call_as(key, Method::GET, "/whoami", None).expect(200);
    assert_eq!(who["organization"]["id"], body["id"]);
    assert_eq!(who["workspace"]["id"], body["default_workspace_id"]);
    assert_eq!(
        s.call_as(key, Method::GET, "/workspaces", None).expect(200)["total"],
        1
    );
    assert_eq!(
        s.call_as(key, Method::GET, "/platform/tenants", None)
            .expect(200)["total"],
        1
    );
    assert_eq!(s.get("/platform/tenants").expect(200)["total"], 2);
    s.post(
        "/platform/tenants",
        json!({ "name": "Clinic IQ", "slug": "cliniciq" }),
    )
    .invalid(&["slug"]);
    let path = format!("/tenants/{}", s.tenant_id);
    assert_eq!(
        s.put(&path, json!({ "name": "Acme Inc" })).expect(200)["name"],
        "Acme Inc"
    );
    s.put(
        &format!("/tenants/{}", body["id"].as_str().unwrap()),
        json!({ "name": "x" }),
    )
    .refused(403, "FORBIDDEN");
}

#[test]
fn last_use_is_written_lazily() {
    let s = Service::new();
    let (id, key) = mint(&s, &s.key, json!({ "name": "k" }));
    s.call_as(&key, Method::GET, "/whoami", None).expect(200);
    assert_eq!(
        s.get(&format!("/api-keys/{id}")).expect(200)["data"]["last_used_at"],
        Value::Null
    );
    let uses = s.app.auth.take_uses();
    s.app
        .store
        .write_blocking(move |tx| workspaced::testing::record_uses(tx, &uses))
        .unwrap();
    assert_eq!(
        s.get(&format!("/api-keys/{id}")).expect(200)["data"]["last_used_at"],
        "2026-05-20T10:15:30Z"
    );
}

#[test]
fn a_misspelt_scope_is_refused_with_the_one_that_was_meant() {
    let s = Service::new();
    let (id, _) = mint(&s, &s.key, json!({ "name": "k" }));
    for (method, path, mut body) in [
        (Method::POST, "/api-keys".to_owned(), json!({ "name": "k" })),
        (
            Method::POST,
            "/api-keys/scoped".into(),
            json!({ "external_user_id": "u" }),
        ),
        (Method::PATCH, format!("/api-keys/{id}"), json!({})),
    ] {
        body["scopes"] = json!(["usage:read", "computer:*"]);
        let refused = s
            .call_as(&s.key, method, &path, Some(body))
            .invalid(&["scopes"]);
        assert_eq!(
            refused["errors"]["scopes"],
            json!(["\"computer:*\" is not a scope; did you mean computers:*?"])
        );
    }
}

#[test]
fn every_scope_of_a_route_can_be_given_to_a_key() {
    let s = Service::new();
    let scopes: std::collections::BTreeSet<_> = workspaced::testing::routes::table()
        .iter()
        .chain(&workspaced::testing::routes::machines())
        .chain(&workspaced::testing::routes::desktops())
        .chain(&workspaced::testing::routes::addresses())
        .filter_map(|route| route.access.scope)
        .collect();
    mint(&s, &s.key, json!({ "name": "k", "scopes": scopes }));
}

#[test]
fn who_made_the_first_keys_is_in_the_audit_log() {
    let s = Service::new();
    let rows = s.get("/audit-log?type=api_key.created").expect(200);
    let first = &rows["data"][0];
    assert_eq!(
        (&first["actor_type"], &first["actor_id"]),
        (&json!("operator"), &Value::Null)
    );
    assert_eq!(first["metadata"]["after"]["key_prefix"], s.key[..12]);
    assert!(!rows.to_string().contains(&s.key));
    // A key that an operator makes an organization with is on the record of that organization.
    let made = s
        .post("/platform/tenants", json!({ "name": "Other" }))
        .expect(201);
    let key = made["api_key"]["key"].as_str().unwrap();
    let rows = s
        .call_as(key, Method::GET, "/audit-log?type=api_key.created", None)
        .expect(200);
    assert_eq!(rows["data"][0]["resource_id"], made["api_key"]["id"]);
    assert_eq!(rows["data"][0]["actor_type"], "api_key");
}
