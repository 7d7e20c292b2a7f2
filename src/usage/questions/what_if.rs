//! `POST /workspaces/{id}/settings/what-if`: what other limits would have refused in the last 30 days.
//!
//! The history of the workspace is gone through once more. What would have been refused never comes into it: it takes
//! no place from what comes later. What was there before the 30 days stays, as it does when a limit is lowered.

use std::collections::{BTreeMap, HashMap, HashSet};

use axum::Json;
use axum::extract::State;
use rusqlite::OptionalExtension;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::clock::{DAY_MS, Timestamp};
use crate::computers::Fleet;
use crate::db::Store;
use crate::error::{Fields, Result};
use crate::http::{Mutation, PathId};
use crate::ids::{ComputerId, TenantId, WorkspaceId};
use crate::rules::size::Size;
use crate::store::Tx;
use crate::usage::ledger::event::Stored;
use crate::usage::ledger::intervals;
use crate::usage::meter::units::Amount;
use crate::workspaces::settings::merge_settings;
use crate::workspaces::types::{Settings, UpdateSettings};
use crate::workspaces::{self};

/// How far it looks back.
const BACK_MS: i64 = 30 * DAY_MS;
/// Refusals that are shown, the first of them.
const SHOWN: usize = 100;

/// What other limits would have refused.
#[derive(Serialize, ToSchema)]
pub struct WhatIf {
    workspace_id: WorkspaceId,
    from: Timestamp,
    to: Timestamp,
    /// The settings that were tried: those of the workspace, with what the request names.
    settings: Settings,
    /// How many creations, moves into the workspace and resizes.
    refused: i64,
    /// The same by limit: max_computers, max_computer_size, allowed_template_types.
    by_limit: BTreeMap<&'static str, i64>,
    /// How often a computer was started that would not have been there.
    starts: i64,
    /// What those computers used here, from their refusal on.
    credits_micros: i64,
    /// The first hundred, the oldest first.
    data: Vec<WouldRefuse>,
}

/// What would have been refused.
#[derive(Serialize, ToSchema)]
pub struct WouldRefuse {
    at: Timestamp,
    computer_id: ComputerId,
    name: String,
    /// create, move or resize.
    action: &'static str,
    limit: &'static str,
    #[schema(value_type = serde_json::Value)]
    max: Value,
    /// What there was, or was asked for.
    #[schema(value_type = serde_json::Value)]
    current: Value,
    /// Times that it was started after that; 0 for a resize.
    starts: i64,
    /// What it used here after that; 0 for a resize.
    credits_micros: i64,
}

/// `POST /workspaces/{id}/settings/what-if`
pub async fn what_if(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    PathId(id): PathId<WorkspaceId>,
    request: Mutation<UpdateSettings>,
) -> Result<Json<WhatIf>> {
    let (caller, input) = request.outside();
    let reply = store.read(move |tx| {
        let record = workspaces::find(tx, &caller, id)?;
        let settings = merge_settings(&fleet.catalog, record.settings, input?, Fields::default())?;
        replay(tx, caller.tenant_id(), id, settings)
    });
    Ok(Json(reply.await?))
}

/// What happened to a computer in the workspace.
enum Step {
    /// It came, with this size.
    Comes(&'static str, Size),
    Goes,
    Grows(Size),
    Starts,
}

/// A computer that was ever in the workspace.
struct Known {
    name: String,
    template: String,
    deleted_at: Option<i64>,
}

fn replay(
    tx: &Tx<'_>,
    tenant: TenantId,
    workspace: WorkspaceId,
    settings: Settings,
) -> Result<WhatIf> {
    let (from, to) = (tx.now().0 - BACK_MS, tx.now().0);
    let mut known = HashMap::new();
    let mut steps = Vec::new();
    let mut present = HashSet::new();
    for id in ever_here(tx, tenant, workspace)? {
        let Some(computer) = find(tx, tenant, id)? else {
            continue;
        };
        if gather(
            tx,
            workspace,
            id,
            computer.deleted_at,
            (from, to),
            &mut steps,
        )? {
            present.insert(id);
        }
        known.insert(id, computer);
    }
    steps.sort_by_key(|(at, seq, ..)| (*at, *seq));

    let mut refused: Vec<WouldRefuse> = Vec::new();
    // By computer: which of `refused` keeps it out.
    let mut out: HashMap<ComputerId, usize> = HashMap::new();
    for (at, _, id, step) in steps {
        let said = |limit, max, current| (limit, max, current);
        let (action, verdict) = match step {
            Step::Goes => {
                if out.remove(&id).is_none() {
                    present.remove(&id);
                }
                continue;
            }
            Step::Starts => {
                if let Some(n) = out.get(&id) {
                    refused[*n].starts += 1;
                }
                continue;
            }
            Step::Grows(_) if out.contains_key(&id) => continue,
            Step::Grows(size) => (
                "resize",
                settings
                    .max_computer_size
                    .filter(|cap| size > *cap)
                    .map(|cap| said("max_computer_size", json!(cap), json!(size))),
            ),
            Step::Comes(action, size) => {
                let allowed = &settings.allowed_template_types;
                let template = &known[&id].template;
                let count = i64::try_from(present.len()).unwrap_or(i64::MAX);
                let verdict = if let Some(cap) = settings.max_computer_size.filter(|c| size > *c) {
                    Some(said("max_computer_size", json!(cap), json!(size)))
                } else if !allowed.is_empty() && !allowed.contains(template) {
                    Some(said(
                        "allowed_template_types",
                        json!(allowed),
                        json!(template),
                    ))
                } else {
                    settings
                        .max_computers
                        .filter(|max| count + 1 > *max)
                        .map(|max| said("max_computers", json!(max), json!(count)))
                };
                match verdict {
                    None => {
                        present.insert(id);
                    }
                    Some(_) => {
                        out.insert(id, refused.len());
                    }
                }
                (action, verdict)
            }
        };
        if let Some((limit, max, current)) = verdict {
            refused.push(WouldRefuse {
                at: Timestamp(at),
                computer_id: id,
                name: known[&id].name.clone(),
                action,
                limit,
                max,
                current,
                starts: 0,
                credits_micros: 0,
            });
        }
    }
    // A computer that came, was refused, left and came again has more than one row: each has its own time.
    let comings: Vec<usize> = (0..refused.len())
        .filter(|n| refused[*n].action != "resize")
        .collect();
    for n in &comings {
        let row = &refused[*n];
        let again = comings
            .iter()
            .map(|m| &refused[*m])
            .find(|other| other.computer_id == row.computer_id && other.at > row.at);
        let until = again.map_or(to, |other| other.at.0);
        let mut used = Amount::default();
        intervals::of_computer(tx, row.computer_id, row.at.0, until, |interval| {
            if interval.opened.state.workspace == workspace {
                used += interval.amount();
            }
            Ok(())
        })?;
        refused[*n].credits_micros = used.micro_credits();
    }
    let mut by_limit = BTreeMap::new();
    for row in &refused {
        *by_limit.entry(row.limit).or_insert(0) += 1;
    }
    Ok(WhatIf {
        workspace_id: workspace,
        from: Timestamp(from),
        to: Timestamp(to),
        settings,
        refused: i64::try_from(refused.len()).unwrap_or(i64::MAX),
        by_limit,
        starts: refused.iter().map(|row| row.starts).sum(),
        credits_micros: refused.iter().map(|row| row.credits_micros).sum(),
        data: refused.into_iter().take(SHOWN).collect(),
    })
}

/// Computers that are in the workspace, or ran in it: one that was deleted before it ever ran took a place for seconds.
fn ever_here(tx: &Tx<'_>, tenant: TenantId, workspace: WorkspaceId) -> Result<Vec<ComputerId>> {
    let sql = "SELECT computer_id FROM metered_computers WHERE tenant_id = ?1 AND workspace_id = ?2
         UNION SELECT id FROM computers WHERE tenant_id = ?1 AND workspace_id = ?2 AND deleted_at IS NULL";
    Ok(tx
        .prepare_cached(sql)?
        .query_map((tenant, workspace), |row| row.get(0))?
        .collect::<Result<_, _>>()?)
}

fn find(tx: &Tx<'_>, tenant: TenantId, id: ComputerId) -> Result<Option<Known>> {
    let sql =
        "SELECT name, template_type, deleted_at FROM computers WHERE id = ?1 AND tenant_id = ?2";
    let found = tx.row(sql, (id, tenant), |row| {
        Ok(Known {
            name: row.get(0)?,
            template: row.get(1)?,
            deleted_at: row.get(2)?,
        })
    });
    Ok(found.optional()?)
}

/// The steps of one computer in the workspace. Returns whether it was in it at the beginning.
fn gather(
    tx: &Tx<'_>,
    workspace: WorkspaceId,
    id: ComputerId,
    deleted_at: Option<i64>,
    (from, to): (i64, i64),
    steps: &mut Vec<(i64, i64, ComputerId, Step)>,
) -> Result<bool> {
    let before = crate::usage::ledger::event::last_until(tx, id, from)?;
    let gone = |at: i64| deleted_at.is_some_and(|deleted| deleted <= at);
    let mut state = before.filter(|_| !gone(from)).map(|event| event.state);
    let at_first = state.is_some_and(|state| state.workspace == workspace);
    let sql = format!(
        "SELECT {} FROM compute_events WHERE computer_id = ?1 AND at > ?2 AND at <= ?3 ORDER BY at, seq",
        Stored::COLUMNS
    );
    let mut statement = tx.prepare_cached(&sql)?;
    let events = statement.query_map((id, from, to), Stored::from_row)?;
    let (mut here, mut last) = (at_first, i64::MAX);
    for event in events {
        let event = event?;
        // What an agent reports of a computer after its end changes no limit.
        if deleted_at.is_some_and(|deleted| deleted < event.at) {
            break;
        }
        last = event.seq;
        let now = event.state;
        let mut add = |step| steps.push((event.at, event.seq, id, step));
        match (here, now.workspace == workspace) {
            (false, true) => {
                let action = if state.is_none() { "create" } else { "move" };
                add(Step::Comes(action, now.size));
            }
            (true, false) => add(Step::Goes),
            (true, true) if state.is_some_and(|old| now.size > old.size) => {
                add(Step::Grows(now.size));
            }
            _ => {}
        }
        here = now.workspace == workspace;
        let ran = state.is_some_and(|old| old.status.billable());
        if here && now.status.billable() && !ran {
            add(Step::Starts);
        }
        state = Some(now);
    }
    if let Some(at) = deleted_at.filter(|at| here && (from..=to).contains(at)) {
        steps.push((at, last, id, Step::Goes));
    }
    Ok(at_first)
}
