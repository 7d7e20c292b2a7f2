//! The level that a request names, and whose domain that is.

use rusqlite::OptionalExtension;
use uuid::Uuid;

use super::status::{self, Own, Source};
use crate::access::caller::Caller;
use crate::audit::{self, Actor, Entry};
use crate::domains::{DomainStatus, Scope};
use crate::error::Result;
use crate::ids::{ProjectId, TenantId, WorkspaceId};
use crate::rules::config::Config;
use crate::store::{Tx, WriteTx};
use crate::{projects, workspaces};

/// The level that a request names.
#[derive(Clone, Copy)]
pub(super) enum Level {
    Organization,
    Workspace(WorkspaceId),
    Project(ProjectId),
}

/// A level that exists and that the caller may touch, with those above it.
#[derive(Clone, Copy)]
pub(super) struct Owner {
    pub scope: Scope,
    pub id: Uuid,
    pub tenant: TenantId,
    pub workspace: Option<WorkspaceId>,
}

impl Level {
    /// # Errors
    /// 404, 403 and the route's scope, as for the resource itself.
    pub fn find(self, tx: &Tx<'_>, caller: &Caller) -> Result<Owner> {
        let tenant = caller.tenant_id();
        Ok(match self {
            // The caller's own; reach and scope were asked for before the handler.
            Level::Organization => Owner {
                scope: Scope::Organization,
                id: tenant.0,
                tenant,
                workspace: None,
            },
            Level::Workspace(id) => {
                let workspace = Some(workspaces::find(tx, caller, id)?.view.id);
                Owner {
                    scope: Scope::Workspace,
                    id: id.0,
                    tenant,
                    workspace,
                }
            }
            Level::Project(id) => {
                let workspace = Some(projects::find(tx, caller, id)?.workspace_id);
                Owner {
                    scope: Scope::Project,
                    id: id.0,
                    tenant,
                    workspace,
                }
            }
        })
    }
}

/// The domain of a workspace, for who has found it.
///
/// # Errors
/// The store's.
pub fn of_workspace(
    tx: &Tx<'_>,
    config: &Config,
    tenant: TenantId,
    id: WorkspaceId,
) -> Result<DomainStatus> {
    let owner = Owner {
        scope: Scope::Workspace,
        id: id.0,
        tenant,
        workspace: Some(id),
    };
    owner.status(tx, config)
}

impl Owner {
    /// What is known of the level's own domain.
    pub fn own(&self, tx: &Tx<'_>) -> Result<Option<Own>> {
        status::own(tx, self.tenant, self.scope, self.id)
    }

    /// The level as the API shows it.
    pub fn status(&self, tx: &Tx<'_>, config: &Config) -> Result<DomainStatus> {
        let own = self.own(tx)?;
        let above: &[Scope] = match self.scope {
            _ if own.is_some() => &[],
            Scope::Project => &[Scope::Workspace, Scope::Organization],
            Scope::Workspace => &[Scope::Organization],
            Scope::Organization => &[],
        };
        let mut inherited = None;
        for scope in above {
            let id = match (scope, self.workspace) {
                (Scope::Workspace, Some(workspace)) => workspace.0,
                _ => self.tenant.0,
            };
            inherited = status::own(tx, self.tenant, *scope, id)?
                .map(|own| (own.domain, Source::from(*scope)));
            if inherited.is_some() {
                break;
            }
        }
        Ok(DomainStatus::new(
            config, self.scope, self.id, own, inherited,
        ))
    }

    /// The one behind a row of the store.
    pub fn of_row(tx: &Tx<'_>, scope: Scope, id: Uuid, tenant: TenantId) -> Result<Owner> {
        let workspace = match scope {
            Scope::Organization => None,
            Scope::Workspace => Some(WorkspaceId(id)),
            Scope::Project => tx
                .row(
                    "SELECT workspace_id FROM projects WHERE id = ?1 AND tenant_id = ?2",
                    (id.as_bytes(), tenant),
                    |row| row.get(0),
                )
                .optional()?,
        };
        Ok(Owner {
            scope,
            id,
            tenant,
            workspace,
        })
    }

    pub fn audit(
        &self,
        tx: &WriteTx<'_>,
        actor: Actor<'_>,
        what: &str,
        before: &DomainStatus,
        after: &DomainStatus,
    ) -> Result<()> {
        audit::record(
            tx,
            &Entry {
                actor,
                tenant_id: self.tenant,
                workspace_id: self.workspace,
                kind: &format!("{}.preview_domain_{what}", self.scope.as_str()),
                resource: self.id,
                before: Some(before),
                after: Some(after),
            },
        )
    }
}
