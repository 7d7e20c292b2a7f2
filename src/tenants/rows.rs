//! Organizations as the store has them.

use rusqlite::OptionalExtension;

use crate::api_keys::{self, NewKey, NewKeyView};
use crate::audit::{self, Actor, Entry, NONE};
use crate::error::{Error, Result, TAKEN, is_unique_violation};
use crate::ids::{TenantId, WorkspaceId};
use crate::json::Object;
use crate::rules::config::ConfigFile;
use crate::rules::text;
use crate::store::{Tx, WriteTx};
use crate::workspaces;

/// A new organization with its default workspace and its first key.
pub struct NewTenant {
    pub id: TenantId,
    /// The workspace that computers land in when they name none.
    pub default_workspace: WorkspaceId,
    /// The key, with its secret.
    pub key: NewKeyView,
}

/// Makes an organization.
///
/// # Errors
/// 422 when the slug has been taken.
pub fn insert(
    tx: &WriteTx<'_>,
    file: &ConfigFile,
    actor: Actor<'_>,
    name: &str,
    slug: &str,
    credits: i64,
    key: NewKey,
) -> Result<NewTenant> {
    let id: TenantId = tx.new_id();
    let sql = "INSERT INTO tenants (id, name, slug, credits_granted, created_at, updated_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5)";
    tx.run(sql, (id, name, slug, credits, tx.now()))
        .map_err(|e| {
            if is_unique_violation(&e, "tenants.slug") {
                Error::field("slug", TAKEN)
            } else {
                e.into()
            }
        })?;
    audit::record(
        tx,
        &Entry {
            actor,
            tenant_id: id,
            workspace_id: None,
            kind: "organization.created",
            resource: id.0,
            before: NONE,
            after: Some(
                &serde_json::json!({ "name": name, "slug": slug, "credits_granted": credits }),
            ),
        },
    )?;
    let workspace = workspaces::New {
        tenant_id: id,
        name: "default",
        slug: "default",
        external_workspace_id: None,
        external_user_id: None,
        description: None,
        metadata: Object::empty(),
        is_default: true,
    };
    let workspace = workspaces::insert(tx, file, Actor::System, workspace)?.record;
    let key = api_keys::insert(tx, id, actor, key)?;
    Ok(NewTenant {
        id,
        default_workspace: workspace.view.id,
        key,
    })
}

/// The slug of a new organization: of its name, with a number behind it where one of another name has that. The
/// same name again is left to be refused.
///
/// # Errors
/// When the store fails.
pub fn derived_slug(tx: &Tx<'_>, name: &str) -> Result<String> {
    let derived = text::slugify(name, "organization");
    let sql = "SELECT name FROM tenants WHERE slug = ?1";
    let holder = |tx: &Tx<'_>, slug: &str| -> Result<Option<String>> {
        Ok(tx.row(sql, [slug], |row| row.get(0)).optional()?)
    };
    if holder(tx, &derived)?.as_deref() == Some(name) {
        return Ok(derived);
    }
    text::free_slug(tx, &derived, |tx, slug| Ok(holder(tx, slug)?.is_some()))
}

/// An organization in the list of the command line.
pub struct Overview {
    pub id: TenantId,
    pub name: String,
    pub slug: String,
    /// Workspaces that it has.
    pub workspaces: i64,
    /// Computers that it has.
    pub computers: i64,
}

/// The organization that was made first: ids are in the order of their making.
pub fn first(tx: &Tx<'_>) -> Result<Option<TenantId>> {
    let sql = "SELECT id FROM tenants ORDER BY id LIMIT 1";
    Ok(tx.row(sql, [], |row| row.get(0)).optional()?)
}

/// All organizations, oldest first.
pub fn all(tx: &Tx<'_>) -> Result<Vec<Overview>> {
    let mut statement = tx.prepare(
        "SELECT id, name, slug, workspace_count, computer_count FROM tenants ORDER BY created_at, id",
    )?;
    let rows = statement.query_map([], |r| {
        Ok(Overview {
            id: r.get(0)?,
            name: r.get(1)?,
            slug: r.get(2)?,
            workspaces: r.get(3)?,
            computers: r.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
