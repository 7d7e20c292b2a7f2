//! The action authority: a client for tools asks, before each of its actions,
//! whether it may. Here the key's scopes are the answer.

use std::sync::Arc;

use axum::response::Response;
use axum::{Extension, Json};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::access::caller::Caller;
use crate::access::scopes::covers;
use crate::error::{Error, Result};
use crate::http::{List, Mutation, Reply};
use crate::rules::hosted::OTHER_CAPABILITIES;

/// What tools may ask for: of the route table, with the scope of the route, and of the hosted platform's
/// other products, which are allowed so that the tool meets the 404 that explains it.
pub struct Capabilities(Vec<(&'static str, Option<&'static str>)>);

impl Capabilities {
    /// In the order in which they are listed.
    pub fn new(served: impl IntoIterator<Item = (&'static str, Option<&'static str>)>) -> Self {
        let mut all: Vec<_> = served.into_iter().collect();
        all.extend(OTHER_CAPABILITIES.iter().map(|name| (*name, None)));
        Capabilities(all)
    }

    fn scope(&self, name: &str) -> Option<&'static str> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.and_then(|(_, scope)| *scope)
    }
}

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
pub async fn catalog(
    Extension(known): Extension<Arc<Capabilities>>,
    _: Caller,
) -> Json<List<Capability>> {
    let data = known
        .0
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
    Json(List::whole(data))
}

/// `POST /actions/authorize`: the key's scopes decide; what is not part of this server is allowed,
/// so that the tool meets the 404 that explains it.
pub async fn authorize(
    Extension(known): Extension<Arc<Capabilities>>,
    request: Mutation<Authorize>,
) -> Result<Response> {
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
            let needed = known.scope(&capability);
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
