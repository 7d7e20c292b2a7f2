//! What a workspace may run, and what holds where a request says nothing.

use std::hash::DefaultHasher;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::rows::*;
use super::types::*;
use crate::access::caller::Caller;
use crate::audit::{self, Actor, Entry};
use crate::computers::Fleet;
use crate::db::Store;
use crate::error::{Fields, Result};
use crate::http::{
    DryRunQuery, Look, Mutation, Params, PathId, Reply, Seen, Single, Versioned, etag,
};
use crate::ids::WorkspaceId;
use crate::json::{self, Patch};
use crate::rules::catalog::Catalog;
use crate::rules::size::Size;
use crate::store::{Tx, WriteTx};
use crate::{limits, projects, time_zones};

/// Its settings.
pub fn look_at_settings(fleet: &Fleet) -> Look {
    let config = fleet.config.clone();
    Arc::new(move |tx, caller, id| {
        let record = find(tx, caller, WorkspaceId(id))?;
        Seen::of(&settings_reply(tx, &config.file, record)?)
    })
}

#[derive(Serialize, ToSchema)]
pub struct SettingsReply {
    pub(super) workspace_id: WorkspaceId,
    pub(super) settings: Settings,
    /// What holds once the organization's ceilings are applied, and where each value comes from.
    pub(super) effective: limits::Effective,
    /// Time zone of its days and months; left out where neither it nor its organization has one: UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tz: Option<limits::Sourced<String>>,
    #[serde(flatten)]
    pub(super) workspace: Workspace,
}

impl Versioned for SettingsReply {
    fn version(&self, hash: &mut DefaultHasher) {
        self.workspace.version(hash);
        etag::whole(&(&self.settings, &self.tz), hash);
    }
}

/// Settings as the audit log keeps them.
#[derive(Serialize)]
pub(super) struct Audited<'a> {
    #[serde(flatten)]
    settings: &'a Settings,
    #[serde(skip_serializing_if = "Option::is_none")]
    tz: Option<&'a str>,
}

/// `GET /workspaces/{id}/settings`
pub async fn settings(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<WorkspaceId>,
) -> Result<Single<SettingsReply>> {
    let config = fleet.config.clone();
    let reply = store.read(move |tx| {
        let record = find(tx, &caller, id)?;
        settings_reply(tx, &config.file, record)
    });
    Ok(Single(reply.await?))
}

pub(super) fn settings_reply(
    tx: &Tx<'_>,
    file: &crate::rules::config::ConfigFile,
    record: Record,
) -> Result<SettingsReply> {
    let (tenant, id) = (record.view.tenant_id, record.view.id);
    let own = time_zones::own(tx, tenant, id.0)?;
    let tz = match own {
        Some(value) => Some((value, "workspace")),
        None => time_zones::of(tx, tenant, None)?.map(|value| (value, "organization")),
    };
    Ok(SettingsReply {
        tz: tz.map(|(value, source)| limits::Sourced { value, source }),
        workspace_id: record.view.id,
        effective: limits::effective(tx, file, &record)?,
        settings: record.settings,
        workspace: record.view,
    })
}

/// `PUT /workspaces/{id}/settings`
pub async fn update_settings(
    State(fleet): State<Fleet>,
    PathId(id): PathId<WorkspaceId>,
    dry: Params<DryRunQuery>,
    request: Mutation<UpdateSettings>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let record = find(tx, caller, id)?;
            let input = input?;
            dry.get()?.run(tx, || {
                let record = apply_settings(tx, &fleet, caller, record, input)?;
                settings_reply(tx, &fleet.config.file, record).map(Reply::ok)
            })
        })
        .await
}

/// `GET /workspaces/{id}/headroom`
#[derive(Serialize, ToSchema)]
pub struct Headroom {
    workspace_id: WorkspaceId,
    /// By size, the smallest first.
    sizes: Vec<limits::SizeHeadroom>,
}

/// `GET /workspaces/{id}/headroom`
pub async fn headroom(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<WorkspaceId>,
) -> Result<Json<Headroom>> {
    let config = fleet.config.clone();
    let reply = store.read(move |tx| {
        let record = find(tx, &caller, id)?;
        let project = projects::default_of(tx, id)?.map(|project| project.id);
        Ok(Headroom {
            workspace_id: id,
            sizes: limits::headroom(tx, &config.file, &record, project)?,
        })
    });
    Ok(Json(reply.await?))
}

/// Sets what the input names; what it leaves out stays.
///
/// # Errors
/// 422 with every field that is wrong.
pub fn apply_settings(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    caller: &Caller,
    mut record: Record,
    input: UpdateSettings,
) -> Result<Record> {
    let id = record.view.id;
    let before = record.settings.clone();
    let old_tz = time_zones::own(tx, caller.tenant_id(), id.0)?;
    let mut fields = Fields::default();
    let tz = time_zones::patched(&mut fields, input.tz.clone(), old_tz.clone());
    record.settings = merge_settings(&fleet.catalog, before.clone(), input, fields)?;
    if tz != old_tz {
        time_zones::set(tx, caller.tenant_id(), id.0, tz.as_deref())?;
    }
    let s = &record.settings;
    record.view.updated_at = tx.now();
    let sql = "UPDATE workspaces SET max_computers = ?1, max_computer_size = ?2, default_computer_size = ?3,
                     default_auto_stop_seconds = ?4, allowed_template_types = ?5, updated_at = ?6
                 WHERE id = ?7 AND tenant_id = ?8";
    tx.run(
        sql,
        (
            s.max_computers,
            s.max_computer_size,
            s.default_computer_size,
            s.default_auto_stop_seconds,
            json::text(&s.allowed_template_types)?,
            tx.now(),
            id,
            caller.tenant_id(),
        ),
    )?;
    audit::record(
        tx,
        &Entry {
            actor: Actor::Key(caller),
            tenant_id: caller.tenant_id(),
            workspace_id: Some(id),
            kind: "workspace.settings_updated",
            resource: id.0,
            before: Some(&Audited {
                settings: &before,
                tz: old_tz.as_deref(),
            }),
            after: Some(&Audited {
                settings: &record.settings,
                tz: tz.as_deref(),
            }),
        },
    )?;
    Ok(record)
}

/// The settings after the request.
///
/// # Errors
/// 422 with every field that is wrong with it.
pub fn merge_settings(
    catalog: &Catalog,
    old: Settings,
    input: UpdateSettings,
    mut fields: Fields,
) -> Result<Settings> {
    let initial = Settings::initial();
    let mut new = old;
    match input.max_computers {
        Patch::Absent => {}
        Patch::Null => new.max_computers = None,
        Patch::Set(n) if n >= 0 => new.max_computers = Some(n),
        Patch::Set(_) => fields.push("max_computers", "must be 0 or more, or null for no cap"),
    }
    match input.max_computer_size {
        Patch::Absent => {}
        Patch::Null => new.max_computer_size = None,
        Patch::Set(text) => match text.parse() {
            Ok(size @ (Size::Small | Size::Medium | Size::Large)) => {
                new.max_computer_size = Some(size)
            }
            _ => fields.push(
                "max_computer_size",
                "must be small, medium or large, or null for no cap",
            ),
        },
    }
    match input.default_computer_size {
        Patch::Absent => {}
        Patch::Null => new.default_computer_size = initial.default_computer_size,
        Patch::Set(text) => match text.parse() {
            Ok(size) => new.default_computer_size = size,
            Err(why) => fields.push("default_computer_size", why),
        },
    }
    match input.default_auto_stop_seconds {
        Patch::Absent => {}
        Patch::Null => new.default_auto_stop_seconds = initial.default_auto_stop_seconds,
        Patch::Set(n) if (0..=MAX_AUTO_STOP_SECONDS).contains(&n) => {
            new.default_auto_stop_seconds = n
        }
        Patch::Set(_) => {
            fields.push(
                "default_auto_stop_seconds",
                format!("must be 0 (never) to {MAX_AUTO_STOP_SECONDS} seconds (30 days)"),
            );
        }
    }
    match input.allowed_template_types {
        Patch::Absent => {}
        Patch::Null => new.allowed_template_types = initial.allowed_template_types,
        Patch::Set(list) => {
            if let Some(unknown) = list.iter().find(|name| !catalog.templates.contains(name)) {
                let known = catalog.templates.join(", ");
                fields.push(
                    "allowed_template_types",
                    format!("has no template {unknown:?}; there are {known}"),
                );
            }
            new.allowed_template_types = list;
        }
    }
    if let Some(max) = new
        .max_computer_size
        .filter(|max| new.default_computer_size > *max)
    {
        let text = format!(
            "default_computer_size {} is larger than max_computer_size {max}",
            new.default_computer_size
        );
        fields.push("default_computer_size", text.clone());
        fields.push("max_computer_size", text);
    }
    fields.finish().map(|()| new)
}
