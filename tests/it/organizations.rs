//! An operator who acts as another organization.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use crate::harness::{Answer, Service};

fn act(
    s: &Service,
    key: &str,
    tenant: &str,
    method: Method,
    path: &str,
    body: Value,
    more: &[(&str, &str)],
) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("/api/v1{path}"))
        .header("authorization", format!("Bearer {key}"))
        .header("x-miosa-tenant", tenant)
        .header("content-type", "application/json");
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() {
        Body::empty()
    } else {
        Body::from(body.to_string())
    };
    s.send(request.body(body).unwrap())
}

#[test]
fn an_operator_acts_as_the_organization_that_a_request_names_and_the_log_says_so() {
    let s = Service::new();
    let (their_key, _) = s.other_tenant("globex");
    let theirs = s
        .call_as(&their_key, Method::GET, "/whoami", None)
        .expect(200);
    let their_id = theirs["organization"]["id"].as_str().unwrap();
    let by =
        |tenant: &str, method, path: &str, body| act(&s, &s.key, tenant, method, path, body, &[]);

    let made = by(
        "globex",
        Method::POST,
        "/workspaces",
        json!({ "name": "Clinic" }),
    )
    .expect(201);
    assert_eq!(made["tenant_id"], their_id);
    let id = made["id"].as_str().unwrap();
    s.call_as(&their_key, Method::GET, &format!("/workspaces/{id}"), None)
        .expect(200);
    by(
        their_id,
        Method::GET,
        &format!("/workspaces/{id}"),
        Value::Null,
    )
    .expect(200);
    // Without the name it is as it was: the organization of another.
    s.call_as(&s.key, Method::GET, &format!("/workspaces/{id}"), None)
        .refused(403, "FORBIDDEN");
    let listed = |tenant: &str| {
        by(tenant, Method::GET, "/workspaces", Value::Null).expect(200)["total"].clone()
    };
    assert_eq!((listed("globex"), listed("acme")), (json!(2), json!(1)));
    assert_eq!(
        by("globex", Method::GET, "/whoami", Value::Null).expect(200)["organization"]["slug"],
        "globex"
    );

    // They see who it was, and that it was the operator.
    let log = s
        .call_as(
            &their_key,
            Method::GET,
            &format!("/audit-log?resource_id={id}"),
            None,
        )
        .expect(200);
    let row = &log["data"][0];
    assert_eq!(
        (&row["type"], &row["actor"]["operator_of"]),
        (&json!("workspace.created"), &json!("acme"))
    );
    assert_eq!(row["actor_label"], s.key[..12]);
    let own = s
        .call_as(
            &s.key,
            Method::GET,
            &format!("/audit-log?resource_id={id}"),
            None,
        )
        .expect(200);
    assert_eq!(own["data"], json!([]));
    let csv = s.call_as(
        &their_key,
        Method::GET,
        "/audit-log?format=csv&type=workspace.created",
        None,
    );
    assert!(
        csv.text.contains("imported,before,after,actor\r\n") && csv.text.contains("operator_of"),
        "{}",
        csv.text
    );

    // A key that is made there belongs there.
    let key = by(
        "globex",
        Method::POST,
        "/api-keys",
        json!({ "name": "app" }),
    )
    .expect(201);
    assert_eq!(key["data"]["tenant_id"], their_id);
    let secret = key["data"]["key"].as_str().unwrap();
    assert_eq!(
        s.call_as(secret, Method::GET, "/whoami", None).expect(200)["organization"]["slug"],
        "globex"
    );
}

#[test]
fn nobody_else_acts_as_another() {
    let s = Service::new();
    let (their_key, workspace) = s.other_tenant("globex");
    act(
        &s,
        &their_key,
        "acme",
        Method::GET,
        "/workspaces",
        Value::Null,
        &[],
    )
    .refused(403, "FORBIDDEN");
    act(
        &s,
        &their_key,
        &s.tenant_id,
        Method::GET,
        "/workspaces",
        Value::Null,
        &[],
    )
    .refused(403, "FORBIDDEN");
    act(
        &s,
        &s.key,
        "nowhere",
        Method::GET,
        "/workspaces",
        Value::Null,
        &[],
    )
    .refused(403, "FORBIDDEN");
    // An admin of the operator's own organization is no operator.
    let admin = s
        .call_as(
            &s.key,
            Method::POST,
            "/api-keys",
            Some(json!({ "name": "a", "key_type": "admin" })),
        )
        .expect(201);
    let admin = admin["data"]["key"].as_str().unwrap();
    act(
        &s,
        admin,
        "globex",
        Method::GET,
        &format!("/workspaces/{workspace}"),
        Value::Null,
        &[],
    )
    .refused(403, "FORBIDDEN");
}

#[test]
fn the_same_request_in_two_organizations_is_two_requests() {
    let s = Service::new();
    s.other_tenant("globex");
    let post = |tenant: &str| {
        let key = [("idempotency-key", "setup-1")];
        act(
            &s,
            &s.key,
            tenant,
            Method::POST,
            "/workspaces",
            json!({ "name": "Clinic" }),
            &key,
        )
    };
    let first = post("globex").expect(201);
    assert_ne!(post("acme").expect(201)["tenant_id"], first["tenant_id"]);
    let again = post("globex");
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.expect(201)["id"], first["id"]);
}
