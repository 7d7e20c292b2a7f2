//! What a living organization has besides its computers: people with keys of their own, a budget, a statement, a
//! share link, a webhook, and something that was deleted. Asked for as any client would, so that it is in the audit log.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::Failure;
use crate::access::key::DEV_KEY;
use crate::rules::hosted::BASE;

/// Bytes of a reply at most.
const LONGEST: usize = 1 << 20;

/// Keys: for whom, and what for.
const KEYS: [(&str, &[&str]); 4] = [
    (
        "Anna (support)",
        &["workspaces:*", "projects:*", "computers:*", "usage:read"],
    ),
    ("Ben (operations)", &[]),
    (
        "Clara (billing)",
        &["usage:read", "workspaces:read", "tenant:admin"],
    ),
    ("Booking app", &["workspaces:read", "computers:*"]),
];

/// Fills a demonstration through its own API.
pub(super) async fn fill(router: &Router) -> Result<(), Failure> {
    let mut secrets = Vec::new();
    for (name, scopes) in KEYS {
        let made = ask(
            router,
            DEV_KEY,
            "POST",
            "/api-keys",
            json!({ "name": name, "scopes": scopes }),
        )
        .await?;
        secrets.push(made["data"]["key"].as_str().unwrap_or_default().to_owned());
    }
    let (anna, ben, clara) = (&secrets[0], &secrets[1], &secrets[2]);
    let hook = json!({
        "name": "Booking app", "url": "https://hooks.example.com/workspaced", "events": ["computer.*", "budget.*"],
        "enabled": false,
    });
    ask(router, ben, "POST", "/webhooks", hook).await?;
    let found = ask(
        router,
        anna,
        "GET",
        "/workspaces?external_workspace_id=clinic_riverside",
        Value::Null,
    )
    .await?;
    let riverside = found["data"][0]["id"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let budget = json!({ "credits": 26_000, "on_exceeded": "notify" });
    ask(
        router,
        clara,
        "PUT",
        &format!("/workspaces/{riverside}/budget"),
        budget,
    )
    .await?;
    let link = json!({ "label": "Riverside Dental, front office" });
    ask(
        router,
        clara,
        "POST",
        &format!("/workspaces/{riverside}/share-links"),
        link,
    )
    .await?;
    let month = last_month(router).await?;
    ask(
        router,
        clara,
        "POST",
        "/statements",
        json!({ "period": month }),
    )
    .await?;
    let trial = json!({ "name": "Hilltop Cardiology (trial)" });
    let trial = ask(router, anna, "POST", "/workspaces", trial).await?;
    let id = trial["id"].as_str().unwrap_or_default();
    let computer = json!({ "name": "try-out", "workspace_id": id, "size": "small" });
    ask(router, anna, "POST", "/computers", computer).await?;
    ask(
        router,
        ben,
        "DELETE",
        &format!("/workspaces/{id}?force=true"),
        Value::Null,
    )
    .await?;
    Ok(())
}

/// The month before this one of the demonstration, which is over.
async fn last_month(router: &Router) -> Result<String, Failure> {
    let now = ask(router, DEV_KEY, "GET", "/system", Value::Null).await?;
    let now = now["now"].as_str().unwrap_or_default();
    let year: i64 = now.get(..4).and_then(|y| y.parse().ok()).unwrap_or(0);
    let month: i64 = now.get(5..7).and_then(|m| m.parse().ok()).unwrap_or(0);
    Ok(if month == 1 {
        format!("{:04}-12", year - 1)
    } else {
        format!("{year:04}-{:02}", month - 1)
    })
}

async fn ask(
    router: &Router,
    key: &str,
    method: &str,
    path: &str,
    body: Value,
) -> Result<Value, Failure> {
    let request = Request::builder()
        .method(method)
        .uri(format!("{BASE}{path}"))
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json");
    let body = if body.is_null() {
        Body::empty()
    } else {
        Body::from(body.to_string())
    };
    let failed = |why: String| Failure::Fatal(format!("the demo: {method} {path}: {why}"));
    let request = request.body(body).map_err(|e| failed(e.to_string()))?;
    let Ok(response) = router.clone().oneshot(request).await;
    let status = response.status();
    let bytes = to_bytes(response.into_body(), LONGEST)
        .await
        .map_err(|e| failed(e.to_string()))?;
    let said: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if status.is_success() {
        Ok(said)
    } else {
        Err(failed(format!("{status}: {}", said["message"])))
    }
}
