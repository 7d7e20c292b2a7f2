//! Reading computers.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::rows::{SELECT, find};
use super::sort::{self, Sorted};
use super::types::{Computer, Filter};
use crate::access::caller::Caller;
use crate::computers::{Fleet, Record};
use crate::db::Store;
use crate::error::{Error, Result};
use crate::http::{List, Look, Page, PageQuery, Params, PathId, Room, Seen, Single};
use crate::ids::{ComputerId, WorkspaceId};
use crate::store::Tx;
use crate::{projects, workspaces};

/// `GET /computers/{id}`
pub async fn show(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
) -> Result<Single<Computer>> {
    let record = store.look_up(move |tx| find(tx, &caller, id)).await?;
    Ok(Single(record.view(&fleet)))
}

/// A computer as it is, for `If-Match`.
pub fn look(fleet: &Fleet) -> Look {
    let fleet = fleet.clone();
    Arc::new(move |tx, caller, id| Seen::of(&find(tx, caller, ComputerId(id))?.view(&fleet)))
}

/// `GET /computers`
pub async fn list(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    State(room): State<Room>,
    caller: Caller,
    page: Params<PageQuery>,
    filter: Params<Filter>,
) -> Result<Response> {
    let (page, filter) = (page.get()?.page()?, Arc::new(filter.get()?));
    room.list(&store, caller.tenant_id(), page, move |tx, page| {
        let workspace = filter.workspace_id.get("workspace_id")?;
        if let Some(id) = workspace {
            workspaces::reach(tx, &caller, id)?;
        }
        list_where(
            tx,
            &fleet,
            &caller,
            workspace.or(caller.only_workspace()),
            &filter,
            page,
        )
    })
    .await
}

/// `GET /workspaces/{id}/computers`
pub async fn list_in_workspace(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    State(room): State<Room>,
    caller: Caller,
    PathId(id): PathId<WorkspaceId>,
    page: Params<PageQuery>,
    filter: Params<Filter>,
) -> Result<Response> {
    let asked = move || {
        let (page, filter) = (page.get()?.page()?, filter.get()?);
        let other = filter.workspace_id.get("workspace_id")?;
        if other.is_some_and(|other| other != id) {
            return Err(Error::field(
                "workspace_id",
                "is not the workspace of the path; leave it out",
            ));
        }
        Ok((page, Arc::new(filter)))
    };
    let (page, filter) = match asked() {
        Ok(asked) => asked,
        Err(e) => {
            // What is not there is said first.
            let exists = store.read(move |tx| workspaces::find(tx, &caller, id).map(drop));
            return exists.await.and(Err(e));
        }
    };
    room.list(&store, caller.tenant_id(), page, move |tx, page| {
        workspaces::find(tx, &caller, id)?;
        list_where(tx, &fleet, &caller, Some(id), &filter, page)
    })
    .await
}

/// The narrowest index that fits comes from the conditions that are really there.
fn list_where(
    tx: &Tx<'_>,
    fleet: &Fleet,
    caller: &Caller,
    workspace: Option<WorkspaceId>,
    filter: &Filter,
    page: Page,
) -> Result<List<Computer>> {
    let tenant = caller.tenant_id();
    let order = sort::order(filter.sort.as_deref())?;
    let project = filter.project_id.get("project_id")?;
    if let Some(id) = project {
        projects::reach(tx, caller, id)?;
    }
    let status = match filter.status()? {
        None => None,
        Some(Some(status)) => Some(status),
        Some(None) => return Ok(page.list(Vec::new(), 0)),
    };
    let user = caller.only_user().or(filter.external_user_id.as_deref());
    let mut condition = "c.tenant_id = :tenant AND c.deleted_at IS NULL
         AND NOT EXISTS (SELECT 1 FROM imports i WHERE i.workspace_id = c.workspace_id)"
        .to_owned();
    let mut params: Vec<(&str, &dyn rusqlite::ToSql)> = vec![(":tenant", &tenant)];
    if let Some(id) = &workspace {
        condition += " AND c.workspace_id = :workspace";
        params.push((":workspace", id));
    }
    if let Some(id) = &project {
        condition += " AND c.project_id = :project";
        params.push((":project", id));
    }
    if let Some(status) = &status {
        condition += " AND c.status = :status";
        params.push((":status", status));
    }
    if let Some(user) = &user {
        condition += " AND c.external_user_id = :user";
        params.push((":user", user));
    }
    let text = filter.q.as_deref().map(|q| q.trim().to_lowercase());
    let text = text.filter(|text| !text.is_empty());
    if let Some(text) = &text {
        condition += " AND (instr(folded(c.name), :text) OR instr(c.slug, :text)
             OR instr(lower(hex(c.id)), replace(:text, '-', '')))";
        params.push((":text", text));
    }
    if caller.only_user().is_some()
        && filter
            .external_user_id
            .as_deref()
            .is_some_and(|asked| Some(asked) != user)
    {
        return Ok(page.list(Vec::new(), 0));
    }
    // What a counter knows is not counted; without other conditions they are :tenant and one more.
    let count = match (&workspace, &project, params.len()) {
        (None, None, 1) => "SELECT computer_count - (SELECT coalesce(sum(w.computer_count), 0)
                 FROM imports i JOIN workspaces w ON w.id = i.workspace_id WHERE i.tenant_id = :tenant)
             FROM tenants WHERE id = :tenant"
            .into(),
        (Some(_), None, 2) => {
            "SELECT computer_count FROM workspaces WHERE id = :workspace AND tenant_id = :tenant"
                .into()
        }
        (None, Some(_), 2) => {
            "SELECT computer_count FROM projects WHERE id = :project AND tenant_id = :tenant".into()
        }
        _ => format!("SELECT count(*) FROM computers c WHERE {condition}"),
    };
    let total = tx
        .prepare_cached(&count)?
        .query_row(params.as_slice(), |row| row.get(0))?;
    let order = match order {
        Sorted::By(order) => order,
        Sorted::Credits { descending } => {
            // There is no place behind a number that changes while one reads.
            page.after(0)?;
            let sql = format!("SELECT c.id FROM computers c WHERE {condition}");
            let ids = tx
                .prepare_cached(&sql)?
                .query_map(params.as_slice(), |row| row.get(0))?
                .collect::<Result<Vec<_>, _>>()?;
            let ids = sort::by_credits(tx, ids, descending)?;
            let each = page.of(&ids).iter();
            let data = each.map(|id| Ok(find(tx, caller, *id)?.view(fleet)));
            return Ok(page.list(data.collect::<Result<_>>()?, total));
        }
    };
    page.narrow(&order, &mut condition, &mut params)?;
    let mut statement = tx.prepare_cached(&format!(
        "{} WHERE {condition} ORDER BY {} {}",
        *SELECT,
        order.sql(),
        Page::SQL
    ))?;
    let rows = statement.query_map(params.as_slice(), Record::from_row)?;
    let data: Vec<Computer> = rows
        .map(|row| row.map(|record| record.view(fleet)))
        .collect::<Result<_, _>>()?;
    let next = page.next(tx, &order, "computers c", &data, |last| ("c.id", &last.id))?;
    Ok(page.linked(data, total, next))
}
