//! The endpoints.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use rusqlite::{OptionalExtension, ToSql, named_params};

use super::rows::*;
use super::search::{self, Search};
use super::types::*;
use crate::access::caller::Caller;
use crate::audit::Actor;
use crate::clock::DAY_MS;
use crate::compute::Empty;
use crate::computers::{Fleet, lifecycle};
use crate::db::{Store, topics};
use crate::deleted;
use crate::error::{Error, Fields, Result, TAKEN};
use crate::http::cursor;
use crate::http::{
    List, Look, Mutation, NoBody, Page, PageQuery, Params, PathId, Reply, Room, Seen, Single,
};
use crate::ids::{TenantId, WorkspaceId};
use crate::json::{self, Object};
use crate::projects;
use crate::projects::unfinished::Unfinished;
use crate::rules::size::Size;
use crate::rules::text;
use crate::store::{Columns, Tx, WriteTx};
use crate::usage::ledger::labels;
use crate::usage::meter::reading::readings;

/// Over how long credits are compared.
const MONTH_MS: i64 = 30 * DAY_MS;

/// `GET /workspaces`
pub async fn list(
    State(store): State<Store>,
    State(room): State<Room>,
    caller: Caller,
    page: Params<PageQuery>,
    filter: Params<Filter>,
) -> Result<Response> {
    let (page, filter) = (page.get()?.page()?, Arc::new(filter.get()?));
    let order = order(filter.sort.as_deref())?;
    room.list(&store, caller.tenant_id(), page, move |tx, page| {
        list_where(tx, &caller, &filter, order, page)
    })
    .await
}

/// Only the conditions that are asked for, so that each list has the index that fits it.
fn list_where(
    tx: &Tx<'_>,
    caller: &Caller,
    filter: &Filter,
    order: Sorted,
    page: Page,
) -> Result<List<Workspace>> {
    let (tenant, only) = (caller.tenant_id(), caller.only_workspace());
    let mut from = "workspaces w";
    let mut condition = "w.tenant_id = :tenant AND w.deleted_at IS NULL".to_owned();
    let mut params: Vec<(&str, &dyn ToSql)> = vec![(":tenant", &tenant)];
    if let Some(id) = &only {
        condition += " AND w.id = :only";
        params.push((":only", id));
    }
    if let Some(external) = &filter.external_workspace_id {
        condition += " AND w.external_workspace_id = :external";
        params.push((":external", external));
    }
    if let Some(slug) = &filter.slug {
        condition += " AND w.slug = :slug";
        params.push((":slug", slug));
    }
    let search = filter.q.as_deref().and_then(Search::new);
    match &search {
        None => {}
        Some(Search::Ids(first, last)) => {
            condition += " AND w.id BETWEEN :first AND :last";
            params.extend([(":first", first as &dyn ToSql), (":last", last)]);
        }
        Some(Search::Text { phrase, plain }) => {
            from = search::FOUND;
            condition += &format!(" AND (found.waits = 0 OR {})", search::CONTAINS);
            params.extend([(":phrase", phrase as &dyn ToSql), (":plain", plain)]);
        }
        Some(Search::Any(plain)) => {
            condition += &format!(" AND {}", search::CONTAINS);
            params.push((":plain", plain));
        }
    }
    let total = if params.len() == 1 {
        tx.row(
            "SELECT workspace_count FROM tenants WHERE id = ?1",
            [tenant],
            |row| row.get(0),
        )?
    } else {
        tx.prepare_cached(&format!("SELECT count(*) FROM {from} WHERE {condition}"))?
            .query_row(params.as_slice(), |row| row.get(0))?
    };
    if order.credits {
        // There is no place behind a number that changes while one reads.
        page.after(0)?;
        let sql = format!("SELECT w.id FROM {from} WHERE {condition}");
        let ids = tx
            .prepare_cached(&sql)?
            .query_map(params.as_slice(), |row| row.get(0))?
            .collect::<Result<Vec<_>, _>>()?;
        let ids = by_credits(tx, ids, order.by.descending)?;
        let each = page.of(&ids).iter();
        let data = each.map(|id| Ok(find(tx, caller, *id)?.view));
        return Ok(page.list(data.collect::<Result<_>>()?, total));
    }
    let after = page.after(order.by.columns.len())?;
    if let Some(values) = &after {
        condition += &format!(" AND {}", order.beyond(values));
        params.extend(cursor::named(values));
    }
    params.extend(page.params());
    let found = format!(
        "SELECT {} FROM {from} WHERE {condition}",
        Workspace::COLUMNS.join(", ")
    );
    let sorted = matches!(search, Some(Search::Text { .. }));
    let found = if order.merged && !sorted {
        format!("{found} AND w.is_default = 1 UNION ALL {found} AND w.is_default = 0")
    } else {
        found
    };
    let data: Vec<Workspace> = tx
        .prepare_cached(&format!("{found} ORDER BY {} {}", order.sql(), Page::SQL))?
        .query_map(params.as_slice(), |row| {
            Workspace::from_columns(&mut Columns::new(row))
        })?
        .collect::<Result<_, _>>()?;
    let next = page.next(tx, &order.by, "workspaces w", &data, |last| {
        ("w.id", &last.id)
    })?;
    Ok(page.linked(data, total, next))
}

/// Workspaces by what they used in the last thirty days.
fn by_credits(tx: &Tx<'_>, ids: Vec<WorkspaceId>, descending: bool) -> Result<Vec<WorkspaceId>> {
    let now = tx.now().0;
    let mut used = Vec::with_capacity(ids.len());
    for id in ids {
        let read = readings(tx, id, &[now - MONTH_MS, now])?;
        used.push((read[0].until(&read[1]).credits_micros, id));
    }
    if descending {
        used.sort_by_key(|(micros, id)| (Reverse(*micros), *id));
    } else {
        used.sort_unstable();
    }
    Ok(used.into_iter().map(|(_, id)| id).collect())
}

/// `POST /workspaces`
pub async fn create(State(fleet): State<Fleet>, request: Mutation<Create>) -> Result<Response> {
    request
        .validating_first()
        .run(move |tx, caller, input| {
            let input = input?;
            Ok(match create_or_reuse(tx, &fleet, caller, input)? {
                Outcome::Created(new) => Reply::created(Shown::New(new.json)),
                Outcome::Reused(record) => Reply::ok(Shown::Reused(Reused {
                    workspace: record.view,
                    reused: true,
                })),
            })
        })
        .await
}

/// What became of a request to create a workspace.
pub enum Outcome {
    Created(Created),
    /// The external id has one already.
    Reused(Record),
}

/// The order of decisions is part of the API (api-decisions.md, "Workspaces").
pub fn create_or_reuse(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    caller: &Caller,
    input: Create,
) -> Result<Outcome> {
    let tenant = caller.tenant_id();
    let mut fields = Fields::default();
    let name = text::name(&mut fields, "name", input.name.as_deref());
    if let Some(slug) = &input.slug {
        text::slug(&mut fields, "slug", slug);
    }
    text::external_id(
        &mut fields,
        "external_workspace_id",
        input.external_workspace_id.as_deref(),
    );
    text::external_id(
        &mut fields,
        "external_user_id",
        input.external_user_id.as_deref(),
    );
    text::description(&mut fields, input.description.as_deref());
    text::metadata(&mut fields, "metadata", input.metadata.as_ref());
    fields.finish()?;

    if let Some(external) = &input.external_workspace_id
        && let Some(existing) = find_by_external(tx, tenant, external)?
    {
        return Ok(Outcome::Reused(existing));
    }
    let duplicates = input.allow_duplicate_name.unwrap_or(false);
    let slug = match input.slug {
        Some(slug) => slug,
        None => {
            if !duplicates {
                refuse_same_name(tx, tenant, &name)?;
            }
            let derived = text::slugify(&name, "workspace");
            text::free_slug(tx, &derived, |tx, slug| slug_taken(tx, tenant, slug))?
        }
    };
    let new = New {
        tenant_id: tenant,
        name: &name,
        slug: &slug,
        external_workspace_id: input.external_workspace_id.as_deref(),
        external_user_id: input.external_user_id.as_deref(),
        description: input.description.as_deref(),
        metadata: input.metadata.unwrap_or_else(Object::empty),
        is_default: false,
    };
    insert(tx, &fleet.config.file, Actor::Key(caller), new).map(Outcome::Created)
}

/// The same name again without a slug of its own: the caller probably repeats itself.
fn refuse_same_name(tx: &Tx<'_>, tenant: TenantId, name: &str) -> Result<()> {
    let existing = tx
        .prepare_cached(&format!(
            "SELECT {} FROM workspaces w WHERE tenant_id = ?1 AND name = ?2 COLLATE NOCASE AND name = ?2
             AND deleted_at IS NULL ORDER BY created_at, id LIMIT 1",
            Workspace::COLUMNS.join(", ")
        ))?
        .query_row((tenant, name), |row| Workspace::from_columns(&mut Columns::new(row)))
        .optional()?;
    match existing {
        Some(existing) => Err(Error::field("slug", TAKEN)
            .with_code("WORKSPACE_NAME_EXISTS")
            .with_existing(existing)),
        None => Ok(()),
    }
}

/// `GET /workspaces/{id}`
pub async fn show(
    State(store): State<Store>,
    caller: Caller,
    PathId(id): PathId<WorkspaceId>,
) -> Result<Single<Workspace>> {
    let record = store.look_up(move |tx| find(tx, &caller, id)).await?;
    Ok(Single(record.view))
}

/// A workspace as it is, for `If-Match`.
pub fn look() -> Look {
    Arc::new(|tx, caller, id| Seen::of(&find(tx, caller, WorkspaceId(id))?.view))
}

/// `PATCH /workspaces/{id}`
pub async fn update(
    PathId(id): PathId<WorkspaceId>,
    request: Mutation<Update>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let mut record = find(tx, caller, id)?;
            let before = record.view.clone();
            let input = input?;
            let mut fields = Fields::default();
            let name = text::renamed(&mut fields, &before.name, &input.name, &input.slug);
            text::description(&mut fields, input.description.value().map(String::as_str));
            let external = input.external_workspace_id.value().map(String::as_str);
            text::external_id(&mut fields, "external_workspace_id", external);
            text::metadata(&mut fields, "metadata", input.metadata.value());
            fields.finish()?;

            let view = &mut record.view;
            view.name = name;
            view.slug = input.slug.apply(Some(view.slug.clone())).unwrap_or_default();
            view.description = input.description.apply(view.description.take());
            view.external_workspace_id = input.external_workspace_id.apply(view.external_workspace_id.take());
            view.metadata = input.metadata.apply(Some(view.metadata.clone())).unwrap_or_else(Object::empty);
            if json::text(&*view)? == json::text(&before)? {
                return Ok(Reply::ok(record.view)); // Nothing changed, so nothing moved either.
            }
            labels::changes(tx, id.0, &before.metadata, &view.metadata)?;
            view.updated_at = tx.now();
            let sql = "UPDATE workspaces SET name = :name, slug = :slug, description = :description,
                     external_workspace_id = :external, metadata = :metadata, updated_at = :now
                 WHERE id = :id AND tenant_id = :tenant";
            tx.run(
                sql,
                named_params! {
                    ":name": view.name, ":slug": view.slug, ":description": view.description,
                    ":external": view.external_workspace_id, ":metadata": view.metadata, ":now": tx.now(),
                    ":id": id, ":tenant": caller.tenant_id(),
                },
            )
            .map_err(unique)?;
            record.audit(tx, Actor::Key(caller), "workspace.updated", Some(&before))?;
            Ok(Reply::ok(record.view))
        })
        .await
}

/// The API page's reply and the workspace itself, since one client reads the one and one the other.
/// `DELETE /workspaces/{id}`
pub async fn delete(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    PathId(id): PathId<WorkspaceId>,
    query: Params<DeleteQuery>,
    request: Mutation<NoBody>,
) -> Result<Response> {
    lifecycle::catch_up_in_turns(&store, &fleet).await?;
    let (left, caller) = (Arc::new(AtomicBool::new(false)), request.caller.clone());
    let (left_here, fleet_here) = (left.clone(), fleet.clone());
    let reply = request
        .run(move |tx, caller, _| {
            lifecycle::catch_up(tx, &fleet_here)?;
            let record = find(tx, caller, id)?;
            let query = query.get()?;
            let mut fields = Fields::default();
            let force = query.force.is_true(&mut fields, "force");
            let dry_run = query.dry_run.is_true(&mut fields, "dry_run");
            fields.finish()?;
            let deleted = delete_workspace(tx, &fleet_here, caller, &record, force, dry_run)?;
            left_here.store(deleted.1, Ordering::Relaxed);
            Ok(Reply::ok(deleted.0))
        })
        .await?;
    if left.load(Ordering::Relaxed) {
        Unfinished::Delete(id)
            .finish(store, fleet, Some(caller))
            .await?;
    }
    Ok(reply)
}

/// Deletes a workspace with what is in it; true where there is more of that than one turn takes.
fn delete_workspace(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    caller: &Caller,
    record: &Record,
    force: bool,
    dry_run: bool,
) -> Result<(Deleted, bool)> {
    let id = record.view.id;
    if record.view.is_default {
        return Err(Error::conflict(
            "WORKSPACE_IS_DEFAULT",
            "the default workspace cannot be deleted",
        ));
    }
    let contents = Contents {
        computers: record.view.computer_count,
        projects: record.project_count,
    };
    if dry_run {
        let would = Deleted {
            deleted: false,
            dry_run: true,
            would_delete: Some(contents),
            ..Deleted::yes()
        };
        return Ok((would, false));
    }
    if !force {
        if contents.computers > 0 {
            return Err(
                Error::conflict("WORKSPACE_HAS_COMPUTERS", "workspace has computers")
                    .with_details(serde_json::json!(contents)),
            );
        }
        // The automatic default project is no content of the customer's.
        if contents.projects > i64::from(projects::default_of(tx, id)?.is_some()) {
            return Err(
                Error::conflict("WORKSPACE_HAS_PROJECTS", "workspace has projects")
                    .with_details(serde_json::json!(contents)),
            );
        }
    }
    let left = Unfinished::Delete(id)
        .turn(tx, fleet, Some(caller), None)?
        .is_some();
    let domain = crate::domains::forget(tx, crate::domains::Scope::Workspace, id.0)?;
    let until = deleted::until(tx, &fleet.config);
    let sql = "UPDATE workspaces SET deleted_at = ?1, updated_at = ?1, restorable_until = ?4, lost_domain = ?5
         WHERE id = ?2 AND tenant_id = ?3";
    let domain = domain.filter(|_| until.is_some());
    tx.run(sql, (tx.now(), id, caller.tenant_id(), until, domain))?;
    // A key of a workspace that is gone opens nothing, but must not look alive either.
    tx.run(
        "UPDATE api_keys SET status = 'revoked', updated_at = ?1 WHERE workspace_id = ?2",
        (tx.now(), id),
    )?;
    tx.changed(topics::KEYS);
    record.audit(
        tx,
        Actor::Key(caller),
        "workspace.deleted",
        Some(&record.view),
    )?;
    let deleted = if force {
        Deleted {
            force,
            resources: Some(contents),
            ..Deleted::yes()
        }
    } else {
        Deleted::yes()
    };
    Ok((deleted, left))
}

/// `GET /workspaces/{id}/stats`
pub async fn stats(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<WorkspaceId>,
) -> Result<Json<Stats>> {
    let catalog = fleet.catalog.clone();
    let stats = store.read(move |tx| {
        let record = find(tx, &caller, id)?;
        let mut by_status: std::collections::BTreeMap<String, i64> =
            ["running", "stopped", "provisioning", "error"]
                .map(|status| (status.to_owned(), 0))
                .into();
        let (mut total, mut resources) = (0, Resources::default());
        let sql = "SELECT status, size, count(*) FROM computers
             WHERE workspace_id = ?1 AND deleted_at IS NULL GROUP BY status, size";
        let mut statement = tx.prepare_cached(sql)?;
        let mut rows = statement.query([id])?;
        while let Some(row) = rows.next()? {
            let (status, size, count): (String, Size, i64) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            let hardware = catalog.hardware(size);
            *by_status.entry(status).or_default() += count;
            total += count;
            resources.total_vcpus += count * hardware.vcpus;
            resources.total_memory_mb += count * hardware.memory_mb;
            resources.total_disk_gb += count * hardware.disk_gb;
        }
        Ok(Stats {
            workspace_id: id,
            computers: StatsComputers { total, by_status },
            resources,
            settings: record.settings,
        })
    });
    Ok(Json(stats.await?))
}

/// `GET` of a list of another product inside a workspace
pub async fn nothing(
    State(store): State<Store>,
    State(_fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<WorkspaceId>,
) -> Result<Json<List<Empty>>> {
    store
        .read(move |tx| find(tx, &caller, id).map(drop))
        .await?;
    Ok(Json(List::whole(Vec::new())))
}
