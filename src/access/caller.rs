//! Who asks, on which route, from where.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::key::Key;
use super::scopes::{Access, Reach, covers};
use crate::error::{Error, Result};
use crate::ids::{ApiKeyId, TenantId, WorkspaceId};

/// Who asks, on which route, from where. Every handler has one.
#[derive(Clone)]
pub struct Caller {
    key: Arc<Key>,
    access: Access,
    request_id: Arc<str>,
    ip: Option<IpAddr>,
}

impl Caller {
    /// Somebody who acts without a request: a scenario, in the name of a key.
    pub fn without_request(key: Key, label: &str) -> Self {
        Caller {
            key: Arc::new(key),
            access: Access {
                scope: None,
                reach: Reach::Any,
                by_id: false,
                max_body: 0,
            },
            request_id: label.into(),
            ip: None,
        }
    }

    /// Somebody who signs in with a key.
    pub fn signing_in(key: Key, request_id: Arc<str>, ip: Option<IpAddr>) -> Self {
        Caller {
            request_id,
            ip,
            ..Caller::without_request(key, "")
        }
    }

    /// The same, with the key as it has become since.
    pub fn with_key(&self, key: Key) -> Self {
        Caller {
            key: Arc::new(key),
            ..self.clone()
        }
    }

    /// The organization that everything is limited to.
    pub fn tenant_id(&self) -> TenantId {
        self.key.tenant_id
    }

    /// The key's row.
    pub fn key_id(&self) -> ApiKeyId {
        self.key.id
    }

    /// The key itself.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The id of this request, as in `x-request-id`.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// The client's address.
    pub fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    /// The workspace that a limited key is limited to.
    pub fn only_workspace(&self) -> Option<WorkspaceId> {
        self.key.workspace_id
    }

    /// The end user that a delegated key is limited to.
    pub fn only_user(&self) -> Option<&str> {
        self.key.external_user_id.as_deref()
    }

    /// Whether this key reaches rows of `tenant` and `workspace`. Every look-up of a row by its id asks
    /// this first, then [`Caller::check_scope`].
    ///
    /// # Errors
    /// 403.
    pub fn within_reach(&self, tenant: TenantId, workspace: WorkspaceId) -> Result<()> {
        let out_of_reach = self.key.tenant_id != tenant
            || self.key.workspace_id.is_some_and(|only| only != workspace);
        if out_of_reach {
            Err(Error::forbidden())
        } else {
            Ok(())
        }
    }

    /// Whether this key may look at what was deleted: an operator's, or one of the whole organization
    /// with the scope `tenant:admin`.
    ///
    /// # Errors
    /// 403.
    pub fn check_past(&self) -> Result<()> {
        let whole = self.key.workspace_id.is_none() && self.key.external_user_id.is_none();
        if whole && (self.key.operator || covers(&self.key.scopes, "tenant:admin")) {
            Ok(())
        } else {
            Err(Error::forbidden())
        }
    }

    /// The scope that the route needs.
    ///
    /// # Errors
    /// 403 `insufficient_scope`.
    pub fn check_scope(&self) -> Result<()> {
        match self.access.scope {
            Some(scope) if !covers(&self.key.scopes, scope) => Err(Error::denied(
                "insufficient_scope",
                format!("this key lacks the scope {scope}"),
            )
            .with_details(serde_json::json!({ "required": scope }))),
            _ => Ok(()),
        }
    }
}

/// Put into the request by the edge.
#[derive(Clone)]
pub struct Identity {
    pub key: Arc<Key>,
    pub request_id: Arc<str>,
    pub ip: Option<IpAddr>,
}

/// The id of a request outside the API, put into it by the edge.
#[derive(Clone)]
pub struct RequestId(pub Arc<str>);

impl Identity {
    /// Whose memory and disk the request uses.
    pub fn tenant_id(&self) -> TenantId {
        self.key.tenant_id
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let identity = parts.extensions.get::<Identity>().cloned();
        let access = parts.extensions.get::<Access>().copied();
        let (
            Some(Identity {
                key,
                request_id,
                ip,
            }),
            Some(access),
        ) = (identity, access)
        else {
            return Err(Error::internal(
                "a handler outside the route table asked for its caller",
            ));
        };
        let caller = Caller {
            key,
            access,
            request_id,
            ip,
        };
        match access.reach {
            Reach::Operator if !caller.key.operator => {
                return Err(Error::denied(
                    "FORBIDDEN",
                    "only an operator key of this installation may do this",
                ));
            }
            Reach::Shared if caller.key.external_user_id.is_some() => {
                return Err(Error::forbidden());
            }
            Reach::Tenant
                if caller.key.workspace_id.is_some() || caller.key.external_user_id.is_some() =>
            {
                return Err(Error::forbidden());
            }
            _ => {}
        }
        // With an id in the path the row decides first (404, 403); the look-up asks for the scope.
        if !access.by_id {
            caller.check_scope()?;
        }
        Ok(caller)
    }
}
