//! What published clients ask about a computer that follows from what it is: its apps, its volume, what it reaches.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::{inside, spec};
use crate::access::caller::Caller;
use crate::computers::{Fleet, Record};
use crate::db::Store;
use crate::error::Result;
use crate::http::PathId;
use crate::ids::{ComputerId, TenantId};
use crate::rules::config::Network;

/// What was to be installed on a computer.
#[derive(Serialize, ToSchema)]
pub struct AppList {
    data: Vec<App>,
}

#[derive(Serialize, ToSchema)]
struct App {
    name: String,
}

/// Its volumes: the one that outlives its container.
#[derive(Serialize, ToSchema)]
pub struct VolumeList {
    data: Vec<Volume>,
}

#[derive(Serialize, ToSchema)]
struct Volume {
    id: String,
    volume_id: String,
    computer_id: ComputerId,
    mount_path: String,
}

/// What a computer reaches: everything or nothing beyond its workspace, as the configuration says.
#[derive(Serialize, ToSchema)]
pub struct NetworkPolicy {
    computer_id: ComputerId,
    tenant_id: TenantId,
    /// `allow` or `deny`.
    default_effect: &'static str,
    /// None: they are not set for single computers.
    rules: Vec<String>,
}

async fn find(store: &Store, caller: Caller, id: ComputerId) -> Result<Record> {
    Ok(inside::machine(store, caller, id).await?.1)
}

/// `GET /computers/{id}/apps`
pub async fn apps(
    State(store): State<Store>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
) -> Result<Json<AppList>> {
    let computer = find(&store, caller, id).await?;
    let data = computer.selected_apps.into_iter().map(|name| App { name });
    Ok(Json(AppList {
        data: data.collect(),
    }))
}

/// `GET /computers/{id}/volumes`
pub async fn volumes(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
) -> Result<Json<VolumeList>> {
    let computer = find(&store, caller, id).await?;
    let settings = fleet.config.engine.as_ref();
    let image = settings.and_then(|engine| engine.images.get(&computer.template_type));
    let data = image.map(|image| Volume {
        id: "home".into(),
        volume_id: spec::volume(id),
        computer_id: id,
        mount_path: image.home.clone(),
    });
    Ok(Json(VolumeList {
        data: data.into_iter().collect(),
    }))
}

/// `GET /computers/{id}/network-policy`
pub async fn network_policy(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
) -> Result<Json<NetworkPolicy>> {
    let computer = find(&store, caller, id).await?;
    let settings = fleet.config.engine.as_ref();
    let open = settings.is_some_and(|engine| engine.network == Network::Workspace);
    Ok(Json(NetworkPolicy {
        computer_id: id,
        tenant_id: computer.tenant_id,
        default_effect: if open { "allow" } else { "deny" },
        rules: Vec::new(),
    }))
}
