//! The action authority: a client for tools asks, before each of its actions,
//! whether it may. Here the key's scopes are the answer.

use axum::Json;
use axum::response::Response;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::access::caller::Caller;
use crate::access::scopes::covers;
use crate::error::{Error, Result};
use crate::http::{List, Mutation, Reply};

/// What tools may ask for here, with the scope that each needs (none: any key).
const CAPABILITIES: &[(&str, Option<&str>)] = &[
    ("organization.list", None),
    ("organization.current", None),
    ("organization.switch", None),
    ("workspace.list", Some("workspaces:read")),
    ("workspace.create", Some("workspaces:write")),
    ("workspace.get", Some("workspaces:read")),
    ("workspace.update", Some("workspaces:write")),
    ("workspace.delete", Some("workspaces:write")),
    ("workspace.stats", Some("workspaces:read")),
    ("workspace.usage", Some("usage:read")),
    ("workspace.settings.update", Some("workspaces:write")),
    ("workspace.computers.list", Some("computers:read")),
    ("workspace.projects.list", Some("projects:read")),
    ("computer.create", Some("computers:write")),
    ("computer.list", Some("computers:read")),
    ("computer.get", Some("computers:read")),
    ("computer.update", Some("computers:write")),
    ("computer.destroy", Some("computers:write")),
    ("computer.start", Some("computers:write")),
    ("computer.stop", Some("computers:write")),
    ("computer.restart", Some("computers:write")),
    ("computer.resize", Some("computers:write")),
    ("computer.clone", Some("computers:write")),
    ("computer.move", Some("computers:write")),
    ("computer.metrics", Some("usage:read")),
    ("computer.auto_stop.get", Some("computers:read")),
    ("computer.auto_stop.update", Some("computers:write")),
    ("computer.list.regions", None),
    ("project.list", Some("projects:read")),
    ("project.get", Some("projects:read")),
    ("project.create", Some("projects:write")),
    ("project.update", Some("projects:write")),
    ("project.delete", Some("projects:write")),
    ("api.key.list", Some("keys:admin")),
    ("api.key.create", Some("keys:admin")),
    ("api.key.delete", Some("keys:admin")),
    ("webhook.list", Some("webhooks:read")),
    ("webhook.create", Some("webhooks:write")),
    ("webhook.delete", Some("webhooks:write")),
    ("webhook.test", Some("webhooks:write")),
    ("usage.get", Some("usage:read")),
    ("usage.summary", Some("usage:read")),
    ("usage.sessions", Some("usage:read")),
    ("billing.usage", Some("usage:read")),
    ("billing.plan", None),
    ("credits.balance", Some("usage:read")),
    ("region.list", None),
    ("template.list", None),
];

/// One capability.
#[derive(Serialize, ToSchema)]
pub struct Capability {
    name: &'static str,
    /// Stays the same as long as the capability does.
    fingerprint: String,
    version: &'static str,
    risk: &'static str,
    scope: &'static str,
    approval: &'static str,
}

/// `POST /actions/authorize`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct Authorize {
    /// The capability, `{name, fingerprint}`, or its name
    #[schema(value_type = Option<Asked>)]
    pub capability: Option<Value>,
    /// Of the request, as the tool sees it
    #[schema(value_type = Option<String>)]
    pub request_fingerprint: Option<Value>,
    /// Of its parameters
    #[schema(value_type = Option<String>)]
    pub params_fingerprint: Option<Value>,
    /// Where the tool runs
    #[schema(value_type = Option<String>)]
    pub surface: Option<Value>,
    /// In which workspace
    #[schema(value_type = Option<String>)]
    pub workspace_id: Option<Value>,
}

/// The capability that is asked for.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the shape of a request field")]
pub struct Asked {
    name: String,
    fingerprint: Option<String>,
}

/// The decision under `data`.
#[derive(Serialize, ToSchema)]
pub struct AuthorizeReply {
    data: Decision,
}

/// `allow`, or `deny` with a reason.
#[derive(Serialize, ToSchema)]
pub struct Decision {
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    capability: String,
}

fn fingerprint(name: &str) -> String {
    let hash = Sha256::digest(format!("workspaced capability 1 {name}"));
    HEXLOWER.encode(&hash[..16])
}

/// `GET /actions/catalog`
pub async fn catalog(_: Caller) -> Json<List<Capability>> {
    let data: Vec<_> = CAPABILITIES
        .iter()
        .map(|(name, scope)| {
            let writes = scope.is_some_and(|s| !s.ends_with(":read"));
            Capability {
                name,
                fingerprint: fingerprint(name),
                version: "1",
                risk: if writes { "medium" } else { "low" },
                scope: scope.unwrap_or("*"),
                approval: "none",
            }
        })
        .collect();
    Json(List {
        total: i64::try_from(data.len()).unwrap_or(i64::MAX),
        data,
    })
}

/// `POST /actions/authorize`: the key's scopes decide; what is not part of this server is allowed,
/// so that the tool meets the 404 that explains it.
pub async fn authorize(request: Mutation<Authorize>) -> Result<Response> {
    request
        .run(move |_, caller, input| {
            let capability = match input?.capability {
                Some(Value::String(name)) => Some(name),
                Some(Value::Object(object)) => object
                    .get("name")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
                _ => None,
            };
            let capability = capability
                .filter(|name| !name.is_empty() && name.len() <= 255)
                .ok_or_else(|| {
                    Error::field("capability", "must have a name of 1 to 255 characters")
                })?;
            let needed = CAPABILITIES
                .iter()
                .find(|(name, _)| *name == capability)
                .and_then(|(_, scope)| *scope);
            let reason = needed
                .filter(|scope| !covers(&caller.key().scopes, scope))
                .map(|scope| format!("this key lacks the scope {scope}"));
            let decision = if reason.is_some() { "deny" } else { "allow" };
            Ok(Reply::ok(AuthorizeReply {
                data: Decision {
                    decision,
                    reason,
                    capability,
                },
            }))
        })
        .await
}
