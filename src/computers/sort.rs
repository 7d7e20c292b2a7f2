//! In which order a list of computers comes.

use std::cmp::Reverse;

use crate::clock::DAY_MS;
use crate::error::{Error, Result};
use crate::http::cursor::Order;
use crate::ids::ComputerId;
use crate::store::Tx;
use crate::usage::ledger::intervals;
use crate::usage::meter::units::Amount;

/// Over how long credits are compared.
const WEEK_MS: i64 = 7 * DAY_MS;

/// What `sort` asks for.
#[derive(Clone, Copy)]
pub(super) enum Sorted {
    /// By columns.
    By(Order),
    /// By what they used in the last seven days, which no column has.
    Credits { descending: bool },
}

/// The order of a list; an unknown one is refused, since a wrong one looks like a right one.
pub(super) fn order(sort: Option<&str>) -> Result<Sorted> {
    let Some(sort) = sort else {
        return Ok(Sorted::By(Order {
            columns: &["c.created_at", "c.id"],
            descending: true,
        }));
    };
    let (word, descending) = match sort.strip_prefix('-') {
        Some(word) => (word, true),
        None => (sort, false),
    };
    let columns: &[&str] = match word {
        "name" => &["c.name COLLATE NOCASE", "c.id"],
        "status" => &["c.status", "c.id"],
        "size" => &[
            "CASE c.size WHEN 'xs' THEN 0 WHEN 'small' THEN 1 WHEN 'medium' THEN 2 WHEN 'large' THEN 3 ELSE 4 END",
            "c.id",
        ],
        "created_at" => &["c.created_at", "c.id"],
        // Those that run, the longest of them first; then those that do not.
        "started_at" => &[
            "CASE c.status WHEN 'running' THEN coalesce(c.started_at, 0) ELSE 9223372036854775807 END",
            "c.id",
        ],
        "auto_stop_seconds" => &["c.auto_stop_seconds", "c.id"],
        "credits" => return Ok(Sorted::Credits { descending }),
        _ => {
            return Err(Error::field(
                "sort",
                "must be one of: name, status, size, created_at, started_at, auto_stop_seconds, credits; with a minus in front for the reverse",
            ));
        }
    };
    Ok(Sorted::By(Order {
        columns,
        descending,
    }))
}

/// Computers by what they used in the last seven days.
pub(super) fn by_credits(
    tx: &Tx<'_>,
    ids: Vec<ComputerId>,
    descending: bool,
) -> Result<Vec<ComputerId>> {
    let now = tx.now().0;
    let mut used = Vec::with_capacity(ids.len());
    for id in ids {
        let mut sum = Amount::default();
        intervals::of_computer(tx, id, now - WEEK_MS, now, |interval| {
            sum += interval.amount();
            Ok(())
        })?;
        used.push((sum.micro_credits(), id));
    }
    if descending {
        used.sort_by_key(|(micros, id)| (Reverse(*micros), *id));
    } else {
        used.sort_unstable();
    }
    Ok(used.into_iter().map(|(_, id)| id).collect())
}
