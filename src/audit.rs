//! The audit log: who changed what, written in the transaction of the change itself.

use serde::Serialize;
use uuid::Uuid;

use crate::error::Result;
use crate::http::Caller;
use crate::ids::{TenantId, WorkspaceId};
use crate::json;
use crate::store::WriteTx;

/// Who did it.
pub enum Actor<'a> {
    /// A request, with its key.
    Key(&'a Caller),
    /// The service itself: a transition or an auto-stop that fell due.
    System,
    /// The person at the command line.
    Operator,
}

/// One entry. `before` and `after` are the resource as the API shows it.
pub struct Entry<'a, B: Serialize, A: Serialize> {
    /// Who.
    pub actor: Actor<'a>,
    /// Whose.
    pub tenant_id: TenantId,
    /// In which workspace, if in one.
    pub workspace_id: Option<WorkspaceId>,
    /// What happened: `workspace.created`, `computer.stopped`, ...
    pub kind: &'a str,
    /// The id of the resource; its type is the part of `kind` before the dot.
    pub resource: Uuid,
    /// The resource before.
    pub before: Option<&'a B>,
    /// The resource after.
    pub after: Option<&'a A>,
}

/// For entries without a before or after.
pub const NONE: Option<&()> = None;

/// Appends the entry.
///
/// # Errors
/// When the store fails.
pub fn record<B: Serialize, A: Serialize>(tx: &WriteTx<'_>, entry: &Entry<'_, B, A>) -> Result<()> {
    let (actor_type, caller) = match entry.actor {
        Actor::Key(caller) => ("api_key", Some(caller)),
        Actor::System => ("system", None),
        Actor::Operator => ("operator", None),
    };
    let resource_type = entry.kind.split('.').next().unwrap_or(entry.kind);
    tx.prepare_cached(
        "INSERT INTO audit_log (tenant_id, workspace_id, at, actor_type, actor_id, actor_label, ip_address,
             request_id, type, resource_type, resource_id, before, after)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    )?
    .execute((
        entry.tenant_id,
        entry.workspace_id,
        tx.now(),
        actor_type,
        caller.map(Caller::key_id),
        caller.map(|c| c.key().prefix.as_str()),
        caller.and_then(Caller::ip).map(|ip| ip.to_string()),
        caller.map(Caller::request_id),
        entry.kind,
        resource_type,
        entry.resource.as_bytes().as_slice(),
        entry.before.map(json::text).transpose()?,
        entry.after.map(json::text).transpose()?,
    ))?;
    tx.audited(tx.last_insert_rowid());
    Ok(())
}
