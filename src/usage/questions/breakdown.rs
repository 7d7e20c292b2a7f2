//! `group_by`: the same usage by project, computer or size. In every bucket the parts add up to the
//! bucket of the series, in milliseconds exactly, in shown integers by the largest remainder.
//! `group_limit` keeps the largest parts and adds up the rest, before anything is rounded.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::OptionalExtension;

use super::split::Split;
use super::types::{Group, GroupBy, Grouping};
use super::window::Window;
use crate::error::{Error, Result};
use crate::ids::{ComputerId, ProjectId, TenantId, WorkspaceId};
use crate::rules::size::Size;
use crate::rules::text::count;
use crate::store::Tx;
use crate::usage::ledger::intervals::{self, Interval};
use crate::usage::ledger::labels::Labels;
use crate::usage::meter::reading::readings;
use crate::usage::meter::units::{Amount, share};

/// Buckets of all parts of one reply together: about 30 MB of JSON.
const MAX_BUCKETS: usize = 250_000;

/// A part. Others and corrections come last.
#[derive(PartialEq, Eq, PartialOrd, Ord, Clone)]
enum Part {
    Project(ProjectId),
    Computer(ComputerId),
    Size(Size),
    /// The value of a label; `None`: there is none.
    Label(Option<String>),
    /// What `group_limit` left out, as one; how many parts that are.
    Others(usize),
    Corrections,
}

/// The parts of a workspace's series; with a `limit`, no more than that many of them, the rest in
/// one, and corrections beside them.
///
/// # Errors
/// 422 where the reply would be too large.
pub fn groups(
    tx: &Tx<'_>,
    tenant: TenantId,
    workspace: WorkspaceId,
    window: &Window,
    by: &Grouping,
    limit: Option<usize>,
) -> Result<Vec<Group>> {
    let cuts = window.cuts();
    let buckets = cuts.len() - 1;
    let (start, end) = (cuts[0], cuts[buckets]);
    let shared: Arc<[_]> = window.buckets().collect();
    let mut parts: BTreeMap<Part, Split> = BTreeMap::new();
    let mut labels = match by {
        Grouping::Label(key) => Some(Labels::load(tx, tenant, workspace, key)?),
        Grouping::By(_) => None,
    };
    let mut add = |part: Part, interval: &Interval| {
        if !parts.contains_key(&part) && (parts.len() + 1) * buckets > MAX_BUCKETS {
            let text = format!(
                "gives more than {MAX_BUCKETS} buckets in all parts; use day, or a shorter period"
            );
            return Err(Error::field("granularity", text));
        }
        let split = parts.entry(part).or_insert_with(|| Split::new(&shared));
        // From the bucket in which the interval starts to the one in which it ends.
        let first = cuts.partition_point(|cut| *cut <= interval.start) - 1;
        for (n, edge) in cuts.windows(2).enumerate().skip(first) {
            let (from, to) = (interval.start.max(edge[0]), interval.end.min(edge[1]));
            if from < to {
                split.add(n, intervals::amount(&interval.opened, from, to));
            }
            if edge[1] >= interval.end {
                break;
            }
        }
        Ok(())
    };
    intervals::of_workspace(tx, tenant, workspace, start, end, |interval| {
        let state = &interval.opened.state;
        match by {
            Grouping::By(GroupBy::Project) => add(Part::Project(state.project), &interval),
            Grouping::By(GroupBy::Computer) => add(Part::Computer(interval.computer), &interval),
            Grouping::By(GroupBy::Size) => add(Part::Size(state.size), &interval),
            Grouping::Label(_) => {
                // Split where the label changed.
                let mut from = interval.start;
                while let Some(labels) = labels.as_mut().filter(|_| from < interval.end) {
                    let (value, until) = labels.at(interval.computer, state.project, from)?;
                    let part = Part::Label(value.map(str::to_owned));
                    let end = interval.end.min(until);
                    add(
                        part,
                        &Interval {
                            start: from,
                            end,
                            ..interval
                        },
                    )?;
                    from = end;
                }
                Ok(())
            }
        }
    })?;
    if let Some(limit) = limit {
        parts = largest(parts, limit);
    }
    for correction in intervals::corrections(tx, tenant, workspace, start, end)? {
        let split = parts
            .entry(Part::Corrections)
            .or_insert_with(|| Split::new(&shared));
        let amount = Amount {
            micros: correction.micros.into(),
            ..Amount::default()
        };
        split.add(
            cuts.partition_point(|cut| *cut <= correction.at) - 1,
            amount,
        );
    }

    for (n, reading) in readings(tx, workspace, &cuts)?.windows(2).enumerate() {
        let exact: Vec<Amount> = parts.values().map(|split| split.exact(n)).collect();
        let shares = share(&exact, &reading[0].until(&reading[1]));
        for (split, share) in parts.values_mut().zip(shares) {
            split.show(n, share);
        }
    }
    parts
        .into_iter()
        .map(|(part, split)| {
            let (key, name) = named(tx, tenant, part)?;
            Ok(Group::new(key, name, split))
        })
        .collect()
}

/// The `limit` parts that cost the most (of equal ones, those that ran the longest), and one of all others.
fn largest(parts: BTreeMap<Part, Split>, limit: usize) -> BTreeMap<Part, Split> {
    let mut sorted: Vec<_> = parts
        .into_iter()
        .map(|(part, split)| {
            let total = split.total();
            ((total.units(), total.ms), part, split)
        })
        .collect();
    sorted.sort_by_key(|(total, part, _)| (Reverse(*total), part.clone()));
    let rest = sorted.split_off(limit.min(sorted.len()));
    let mut kept: BTreeMap<_, _> = sorted
        .into_iter()
        .map(|(_, part, split)| (part, split))
        .collect();
    let count = rest.len();
    let others = rest.into_iter().map(|(_, _, split)| split);
    let others = others.reduce(|mut sum, split| {
        sum.add_all(&split);
        sum
    });
    kept.extend(others.map(|split| (Part::Others(count), split)));
    kept
}

/// Key and name of a part; what was deleted keeps its last name.
fn named(tx: &Tx<'_>, tenant: TenantId, part: Part) -> Result<(Option<String>, String)> {
    let name = |sql: &str, id: &dyn rusqlite::ToSql| -> Result<String> {
        Ok(tx
            .prepare_cached(sql)?
            .query_row((id, tenant), |row| row.get(0))
            .optional()?
            .unwrap_or_default())
    };
    Ok(match part {
        Part::Project(id) => (
            Some(id.to_string()),
            name(
                "SELECT name FROM projects WHERE id = ?1 AND tenant_id = ?2",
                &id,
            )?,
        ),
        Part::Computer(id) => (
            Some(id.to_string()),
            name(
                "SELECT name FROM computers WHERE id = ?1 AND tenant_id = ?2",
                &id,
            )?,
        ),
        Part::Size(size) => (Some(size.to_string()), size.to_string()),
        Part::Label(value) => {
            let name = value.clone().unwrap_or_else(|| "Without".into());
            (value, name)
        }
        Part::Others(others) => (None, count(others, "other")),
        Part::Corrections => (None, "Corrections".into()),
    })
}
