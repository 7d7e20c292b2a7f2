//! Whose budget or prices a path names: an organization, a workspace or a project.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use uuid::Uuid;

use crate::access::caller::Caller;
use crate::error::Result;
use crate::http::PathId;
use crate::ids::{ProjectId, TenantId, WorkspaceId};
use crate::store::Tx;
use crate::{projects, workspaces};

/// Whose a budget or a price list is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    Organization,
    Workspace(WorkspaceId),
    Project(ProjectId, WorkspaceId),
}

impl Owner {
    pub fn scope(self) -> &'static str {
        match self {
            Owner::Organization => "organization",
            Owner::Workspace(_) => "workspace",
            Owner::Project(..) => "project",
        }
    }

    pub fn id(self, tenant: TenantId) -> Uuid {
        match self {
            Owner::Organization => tenant.0,
            Owner::Workspace(id) => id.0,
            Owner::Project(id, _) => id.0,
        }
    }

    pub fn workspace(self) -> Option<WorkspaceId> {
        match self {
            Owner::Organization => None,
            Owner::Workspace(id) | Owner::Project(_, id) => Some(id),
        }
    }
}

/// What a path names as an [`Owner`].
pub trait Named: Send + 'static {
    /// Named by the id of a path.
    fn by_id(id: Uuid) -> Self;

    /// # Errors
    /// 404, 403 and the route's scope, as for the resource itself.
    fn find(&self, tx: &Tx<'_>, caller: &Caller) -> Result<Owner>;
}

/// The caller's own organization, which needs no id.
pub struct OwnOrganization;

impl<S: Send + Sync> FromRequestParts<S> for OwnOrganization {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(OwnOrganization)
    }
}

impl Named for OwnOrganization {
    fn by_id(_: Uuid) -> Self {
        OwnOrganization
    }

    fn find(&self, _: &Tx<'_>, _: &Caller) -> Result<Owner> {
        Ok(Owner::Organization)
    }
}

/// A workspace in a path.
pub type OneWorkspace = PathId<WorkspaceId>;
/// A project in a path.
pub type OneProject = PathId<ProjectId>;

impl Named for OneWorkspace {
    fn by_id(id: Uuid) -> Self {
        PathId(WorkspaceId(id))
    }

    fn find(&self, tx: &Tx<'_>, caller: &Caller) -> Result<Owner> {
        workspaces::find(tx, caller, self.0)?;
        Ok(Owner::Workspace(self.0))
    }
}

impl Named for OneProject {
    fn by_id(id: Uuid) -> Self {
        PathId(ProjectId(id))
    }

    fn find(&self, tx: &Tx<'_>, caller: &Caller) -> Result<Owner> {
        let project = projects::find(tx, caller, self.0)?;
        Ok(Owner::Project(self.0, project.workspace_id))
    }
}
