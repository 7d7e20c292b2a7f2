//! The endpoints.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::response::Response;
use rusqlite::{ToSql, named_params, params};

use super::rows::*;
use super::types::*;
use super::unfinished::Unfinished;
use crate::access::caller::Caller;
use crate::audit::Actor;
use crate::computers::{self, Fleet};
use crate::db::Store;
use crate::error::{Error, Fields, Result};
use crate::http::cursor::{self, Order};
use crate::http::{
    List, Look, Mutation, NoBody, Page, PageQuery, Params, PathId, Reply, Room, Seen, Single,
};
use crate::ids::{ProjectId, TenantId, WorkspaceId};
use crate::json::{self, Object};
use crate::rules::text;
use crate::store::{Tx, WriteTx};
use crate::usage::ledger::{attribution, labels};
use crate::workspaces::{self, Deleted};

const OLDEST: Order = Order {
    columns: &["p.created_at", "p.id"],
    descending: false,
};

/// The live projects of the organization, or of one of its workspaces.
fn list_where(
    tx: &Tx<'_>,
    tenant: TenantId,
    workspace: Option<WorkspaceId>,
    filter: &Filter,
    page: Page,
) -> Result<List<Project>> {
    let external = filter.external_project_id.as_deref();
    let mut condition = "p.tenant_id = :tenant AND p.deleted_at IS NULL
         AND NOT EXISTS (SELECT 1 FROM imports i WHERE i.workspace_id = p.workspace_id)"
        .to_owned();
    let mut params: Vec<(&str, &dyn ToSql)> = vec![(":tenant", &tenant)];
    let sql = "SELECT project_count - (SELECT coalesce(sum(w.project_count), 0)
             FROM imports i JOIN workspaces w ON w.id = i.workspace_id WHERE i.tenant_id = :tenant)
         FROM tenants WHERE id = :tenant";
    let mut total = sql;
    if let Some(id) = &workspace {
        condition += " AND p.workspace_id = :workspace";
        params.push((":workspace", id));
        total =
            "SELECT project_count FROM workspaces WHERE id = :workspace AND tenant_id = :tenant";
    }
    if let Some(external) = &external {
        condition += " AND p.external_project_id = :external";
        params.push((":external", external));
    }
    let text = filter.q.as_deref().map(|q| q.trim().to_lowercase());
    let text = text.filter(|text| !text.is_empty());
    if let Some(text) = &text {
        condition += " AND (instr(folded(p.name), :text) OR instr(p.slug, :text)
             OR instr(lower(hex(p.id)), replace(:text, '-', '')))";
        params.push((":text", text));
    }
    let count;
    if external.is_some() || text.is_some() {
        count = format!("SELECT count(*) FROM projects p WHERE {condition}");
        total = &count;
    }
    let total = tx
        .prepare_cached(total)?
        .query_row(params.as_slice(), |row| row.get(0))?;
    let after = page.after(OLDEST.columns.len())?;
    if let Some(values) = &after {
        condition += &format!(" AND {}", OLDEST.beyond());
        params.extend(cursor::named(values));
    }
    params.extend(page.params());
    let data: Vec<Project> = tx
        .prepare_cached(&format!(
            "{SELECT} WHERE {condition} ORDER BY {} {}",
            OLDEST.sql(),
            Page::SQL
        ))?
        .query_map(params.as_slice(), Project::from_row)?
        .collect::<Result<_, _>>()?;
    let next = page.next(tx, &OLDEST, "projects p", &data, |last| ("p.id", &last.id))?;
    Ok(page.linked(data, total, next))
}

/// `GET /projects`
pub async fn list(
    State(store): State<Store>,
    State(room): State<Room>,
    caller: Caller,
    page: Params<PageQuery>,
    filter: Params<Filter>,
) -> Result<Response> {
    let (page, filter) = (page.get()?.page()?, Arc::new(filter.get()?));
    let workspace = filter.workspace_id.get("workspace_id")?;
    room.list(&store, caller.tenant_id(), page, move |tx, page| {
        if let Some(id) = workspace {
            workspaces::reach(tx, &caller, id)?;
        }
        let workspace = workspace.or(caller.only_workspace());
        list_where(tx, caller.tenant_id(), workspace, &filter, page)
    })
    .await
}

/// `GET /workspaces/{id}/projects`
pub async fn list_in_workspace(
    State(store): State<Store>,
    State(room): State<Room>,
    caller: Caller,
    PathId(id): PathId<WorkspaceId>,
    page: Params<PageQuery>,
) -> Result<Response> {
    let page = match page.get().and_then(|page| page.page()) {
        Ok(page) => page,
        Err(e) => {
            // What is not there is said first.
            let exists = store.read(move |tx| workspaces::find(tx, &caller, id).map(drop));
            return exists.await.and(Err(e));
        }
    };
    room.list(&store, caller.tenant_id(), page, move |tx, page| {
        workspaces::find(tx, &caller, id)?;
        list_where(tx, caller.tenant_id(), Some(id), &Filter::default(), page)
    })
    .await
}

/// `POST /projects`
pub async fn create(State(fleet): State<Fleet>, request: Mutation<Create>) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let (project, reused) = create_or_reuse(tx, &fleet, caller, input?)?;
            let reply = Reused { project, reused };
            Ok(if reused {
                Reply::ok(reply)
            } else {
                Reply::created(reply)
            })
        })
        .await
}

fn create_or_reuse(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    caller: &Caller,
    input: Create,
) -> Result<(Project, bool)> {
    let tenant = caller.tenant_id();
    let mut fields = Fields::default();
    let name = text::name(&mut fields, "name", input.name.as_deref());
    if let Some(slug) = &input.slug {
        text::slug(&mut fields, "slug", slug);
    }
    text::external_id(
        &mut fields,
        "external_project_id",
        input.external_project_id.as_deref(),
    );
    text::description(&mut fields, input.description.as_deref());
    text::metadata(&mut fields, "metadata", input.metadata.as_ref());
    fields.finish()?;

    let workspace = if let Some(id) = input.workspace_id {
        workspaces::reach(tx, caller, id)?
    } else if let Some(slug) = &input.workspace_slug {
        workspaces::find_by_slug(tx, tenant, slug)?.ok_or_else(|| Error::not_found("workspace"))?
    } else if let Some(external) = &input.external_workspace_id {
        workspaces::find_by_external(tx, tenant, external)?
            .ok_or_else(|| Error::not_found("workspace"))?
    } else {
        let text = "is required: name the workspace by workspace_id, workspace_slug or external_workspace_id";
        return Err(Error::field("workspace_id", text).with_code("WORKSPACE_REQUIRED"));
    };
    caller.within_reach(tenant, workspace.view.id)?;
    if let Some(external) = &input.external_project_id
        && let Some(existing) = find_by_external(tx, workspace.view.id, external)?
    {
        return Ok((existing, true));
    }
    let slug = match input.slug {
        Some(slug) => slug,
        None => derived_slug(tx, workspace.view.id, &name)?,
    };
    let new = New {
        name: &name,
        slug: &slug,
        external_project_id: input.external_project_id.as_deref(),
        description: input.description.as_deref(),
        metadata: input.metadata.unwrap_or_else(Object::empty),
        is_default: false,
    };
    Ok((
        insert(tx, &fleet.config.file, caller, &workspace.view, new)?,
        false,
    ))
}

/// `GET /projects/{id}`
pub async fn show(
    State(store): State<Store>,
    State(_fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<ProjectId>,
) -> Result<Single<Project>> {
    let project = store.look_up(move |tx| find(tx, &caller, id));
    Ok(Single(project.await?))
}

/// A project as it is, for `If-Match`.
pub fn look() -> Look {
    Arc::new(|tx, caller, id| Seen::of(&find(tx, caller, ProjectId(id))?))
}

/// `PATCH /projects/{id}`
pub async fn update(PathId(id): PathId<ProjectId>, request: Mutation<Update>) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let before = find(tx, caller, id)?;
            let input = input?;
            let mut fields = Fields::default();
            let name = text::renamed(&mut fields, &before.name, &input.name, &input.slug);
            text::description(&mut fields, input.description.value().map(String::as_str));
            let external = input.external_project_id.value().map(String::as_str);
            text::external_id(&mut fields, "external_project_id", external);
            text::metadata(&mut fields, "metadata", input.metadata.value());
            fields.finish()?;

            let mut project = before.clone();
            project.name = name;
            project.slug = input.slug.apply(Some(project.slug)).unwrap_or_default();
            project.description = input.description.apply(project.description);
            project.external_project_id = input.external_project_id.apply(project.external_project_id);
            project.metadata = input.metadata.apply(Some(project.metadata)).unwrap_or_else(Object::empty);
            if json::text(&project)? == json::text(&before)? {
                return Ok(Reply::ok(project)); // Nothing changed, so nothing moved either.
            }
            attribution::changes(
                tx,
                id.0,
                before.external_project_id.as_deref(),
                project.external_project_id.as_deref(),
            )?;
            labels::changes(tx, id.0, &before.metadata, &project.metadata)?;
            project.updated_at = tx.now();
            let sql = "UPDATE projects SET name = :name, slug = :slug, description = :description,
                     external_project_id = :external, metadata = :metadata, updated_at = :now
                 WHERE id = :id AND tenant_id = :tenant";
            tx.run(
                sql,
                named_params! {
                    ":name": project.name, ":slug": project.slug, ":description": project.description,
                    ":external": project.external_project_id, ":metadata": project.metadata, ":now": tx.now(),
                    ":id": id, ":tenant": caller.tenant_id(),
                },
            )
            .map_err(unique)?;
            project.audit(tx, Actor::Key(caller), "project.updated", Some(&before))?;
            Ok(Reply::ok(project))
        })
        .await
}

/// `DELETE /projects/{id}`
pub async fn delete(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    PathId(id): PathId<ProjectId>,
    request: Mutation<NoBody>,
) -> Result<Response> {
    computers::lifecycle::catch_up_in_turns(&store, &fleet).await?;
    request
        .run(move |tx, caller, _| {
            computers::lifecycle::catch_up(tx, &fleet)?;
            let project = find(tx, caller, id)?;
            if project.is_default {
                return Err(Error::conflict(
                    "PROJECT_IS_DEFAULT",
                    "the default project cannot be deleted; it goes with its workspace",
                ));
            }
            if project.computer_count > 0 {
                return Err(
                    Error::conflict("PROJECT_HAS_COMPUTERS", "project has computers")
                        .with_details(serde_json::json!({ "computers": project.computer_count })),
                );
            }
            remove(tx, &fleet.config, Some(caller), &project, None)?;
            Ok(Reply::ok(Deleted::yes()))
        })
        .await
}

/// `POST /projects/{id}/move`
pub async fn move_to(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    PathId(id): PathId<ProjectId>,
    request: Mutation<Move>,
) -> Result<Response> {
    computers::lifecycle::catch_up_in_turns(&store, &fleet).await?;
    let (left, caller) = (Arc::new(AtomicBool::new(false)), request.caller.clone());
    let (left_here, fleet_here) = (left.clone(), fleet.clone());
    let reply = request
        .run(move |tx, caller, input| {
            let before = find(tx, caller, id)?;
            let input = input?;
            let target = input
                .target_workspace_id
                .or(input.workspace_id)
                .ok_or_else(|| Error::field("target_workspace_id", "can't be blank"))?;
            let target = workspaces::reach(tx, caller, target)?;
            if target.view.id == before.workspace_id {
                return Ok(Reply::ok(before));
            }
            if before.is_default {
                return Err(Error::conflict(
                    "PROJECT_IS_DEFAULT",
                    "the default project stays in its workspace; move its computers instead",
                ));
            }
            computers::lifecycle::catch_up(tx, &fleet_here)?;
            // The project first: its computers follow into the place that it then has.
            let sql = "UPDATE projects SET workspace_id = ?1, updated_at = ?2
             WHERE id = ?3 AND tenant_id = ?4";
            tx.run(sql, (target.view.id, tx.now(), id, caller.tenant_id()))
                .map_err(unique)?;
            let left = computers::change::follow_project(tx, &fleet_here, caller, id, &target)?;
            left_here.store(left, Ordering::Relaxed);
            let after =
                one(tx, "p.id = ?1", params![id])?.ok_or_else(|| Error::not_found("project"))?;
            after.audit(tx, Actor::Key(caller), "project.moved", Some(&before))?;
            Ok(Reply::ok(after))
        })
        .await?;
    if left.load(Ordering::Relaxed) {
        Unfinished::Move(id)
            .finish(store, fleet, Some(caller))
            .await?;
    }
    Ok(reply)
}
