//! The ceiling of the machine: the same framework answering a JSON object of the same size, and
//! nothing else. What the load test measures everything against.

use axum::Json;
use axum::routing::get;
use serde_json::{Value, json};

fn workspace() -> Value {
    json!({
        "id": "01a20cb9-5c72-76ef-9567-26a4c0e05d89", "tenant_id": "01a20cb9-5878-75fd-b7ea-c58eff3838fa",
        "name": "Dr. Smith Clinic", "slug": "dr-smith-clinic", "external_workspace_id": "clinic_123",
        "description": null, "metadata": {}, "is_default": false, "computer_count": 0,
        "created_at": "2026-05-17T10:00:00Z", "updated_at": "2026-05-17T10:00:00Z",
    })
}

fn page() -> Value {
    json!({ "data": vec![workspace(); 50], "total": 50 })
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let app = axum::Router::new()
        .route(
            "/api/v1/workspaces",
            get(|| async { Json(page()) }).post(|Json(_): Json<Value>| async { Json(workspace()) }),
        )
        .route(
            "/api/v1/workspaces/{id}",
            get(|| async { Json(workspace()) }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await
}
