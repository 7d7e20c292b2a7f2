//! How a statement comes about: worked out from one snapshot by a reader, so that the writer only stores it.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};

use rusqlite::OptionalExtension;

use super::document::{
    ADJUSTMENT, ALLOWANCE, Body, CORRECTION, DISCOUNT, FEE, Line, MINIMUM, Statement, USAGE,
};
use super::money::Decimal;
use super::period::{self, Key, Span, Used};
use super::prices::{self, Prices};
use crate::access::caller::Caller;
use crate::audit::{self, Actor, Entry};
use crate::clock::Timestamp;
use crate::db::Store;
use crate::error::{Error, Result};
use crate::ids::{ComputerId, ProjectId, TenantId, WorkspaceId};
use crate::store::{Tx, WriteTx};
use crate::usage::ledger::intervals;
use crate::usage::meter::reading::readings;
use crate::usage::meter::units::{Amount, MICROS_PER_CREDIT, UNITS_PER_MICRO, apportion, narrow};
use crate::usage::questions::window::Zone;

/// A statement that is not stored yet, and what it stands on.
pub struct Draft {
    statement: Statement,
    lines: Vec<Line>,
    /// The last statement of the workspace when it was worked out.
    last: i64,
}

/// Which month of which workspace is wanted.
#[derive(Clone)]
pub struct Wanted {
    pub tenant: TenantId,
    pub workspace: WorkspaceId,
    pub period: String,
}

impl Wanted {
    /// The statement that is there already.
    pub fn made(&self, tx: &Tx<'_>) -> Result<Option<Statement>> {
        Statement::about(tx, self.tenant, self.workspace, &self.period)
    }

    /// First and last instant of the month, and its zone. It begins where the statement of the month before
    /// ended, and ends where that of the next one began: also when the zone was changed in between, nothing is
    /// billed twice or never.
    ///
    /// # Errors
    /// 422 where it is no month, or not over.
    fn bounds(&self, tx: &Tx<'_>) -> Result<(i64, i64, Zone)> {
        let zone = Zone::of(tx, self.tenant, Some(self.workspace))?;
        let month = zone.month(&self.period);
        let (mut start, mut end) =
            month.ok_or_else(|| Error::field("period", "must be a month such as 2029-01"))?;
        let params = (self.workspace, self.tenant, &self.period);
        let sql = "SELECT period, ends_at FROM statements WHERE workspace_id = ?1 AND tenant_id = ?2 AND period < ?3
             ORDER BY period DESC LIMIT 1";
        let neighbour =
            |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?));
        if let Some((period, at)) = tx.row(sql, params, neighbour).optional()? {
            let adjacent = zone.month(&period).is_some_and(|(_, next)| next == start);
            start = if adjacent { at } else { start.max(at) };
        }
        let sql = "SELECT period, starts_at FROM statements WHERE workspace_id = ?1 AND tenant_id = ?2 AND period > ?3
             ORDER BY period LIMIT 1";
        if let Some((period, at)) = tx.row(sql, params, neighbour).optional()? {
            let adjacent = zone.month(&period).is_some_and(|(first, _)| first == end);
            end = if adjacent { at } else { end.min(at) };
        }
        if end > tx.now().0 {
            let text = format!("is not over: {} ends at {}", self.period, Timestamp(end));
            return Err(Error::field("period", text));
        }
        Ok((start.min(end), end, zone))
    }

    /// Works it out from what is known now.
    ///
    /// # Errors
    /// 422 where the month is not over.
    pub fn draft(&self, tx: &Tx<'_>) -> Result<Draft> {
        let (start, end, zone) = self.bounds(tx)?;
        let prices = prices::of(tx, self.tenant, Some(self.workspace), &self.period)?;
        let span = Span {
            tenant: self.tenant,
            workspace: self.workspace,
            start,
            end,
            known: period::known(tx)?,
            increment: prices.increment(),
        };
        let read = readings(tx, self.workspace, &[start, end])?;
        let used = span.used(tx)?;
        let start_rest = narrow(read[0].units().rem_euclid(UNITS_PER_MICRO));
        let total = read[0].until(&read[1]);
        let mut lines = usage_lines(&used, &self.period, start_rest, &prices);
        if lines.iter().map(|line| line.micros).sum::<i64>() != total.credits_micros {
            return Err(Error::conflict(
                "USAGE_UNVERIFIED",
                "the usage of this workspace does not add up, so no statement is made of it; run `workspaced verify`",
            ));
        }
        let earlier = Statement::of_workspace(tx, self.tenant, self.workspace)?;
        lines.extend(corrections(tx, &span, &earlier)?);
        name(tx, self.tenant, &mut lines)?;
        lines.sort_by_key(order);
        let mut body = Body {
            organization: tx.row(
                "SELECT name FROM tenants WHERE id = ?1",
                [self.tenant],
                |row| row.get(0),
            )?,
            workspace: String::new(),
            external_workspace_id: None,
            tz: zone.name().to_owned(),
            prices,
            compute_ms: total.compute_ms,
            credits_micros: total.credits_micros,
            corrections_micros: 0,
            net: 0,
            tax: 0,
            total: 0,
        };
        (body.workspace, body.external_workspace_id) = tx.row(
            "SELECT name, external_workspace_id FROM workspaces WHERE id = ?1 AND tenant_id = ?2",
            (self.workspace, self.tenant),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        lines.extend(charges(&lines, &body.prices, &self.period));
        for (n, line) in (1..).zip(&mut lines) {
            line.line = n;
        }
        sum_up(&mut body, &lines);
        Ok(Draft {
            last: earlier.iter().map(|one| one.number).max().unwrap_or(0),
            statement: Statement {
                tenant_id: self.tenant,
                number: 0,
                workspace_id: self.workspace,
                period: self.period.clone(),
                starts_at: start,
                ends_at: end,
                known_seq: span.known,
                start_rest,
                digest: used.digest,
                body,
                created_at: tx.now(),
            },
            lines,
        })
    }

    /// Stores a draft, or what is worked out anew where something that it stands on has changed meanwhile:
    /// events that came in between are a matter of the next statement.
    ///
    /// # Errors
    /// As [`Wanted::draft`].
    pub fn keep(
        &self,
        tx: &WriteTx<'_>,
        actor: Actor<'_>,
        draft: Option<Draft>,
    ) -> Result<Statement> {
        let sql = "SELECT coalesce(max(number), 0) FROM statements WHERE workspace_id = ?1 AND tenant_id = ?2";
        let last: i64 = tx.row(sql, (self.workspace, self.tenant), |row| row.get(0))?;
        let prices = prices::of(tx, self.tenant, Some(self.workspace), &self.period)?;
        let holds = |draft: &Draft| {
            let statement = &draft.statement;
            draft.last == last
                && statement.body.prices == prices
                && (self.bounds(tx)).is_ok_and(|(start, end, zone)| {
                    (start, end, zone.name())
                        == (
                            statement.starts_at,
                            statement.ends_at,
                            statement.body.tz.as_str(),
                        )
                })
        };
        let Draft {
            mut statement,
            lines,
            ..
        } = match draft.filter(holds) {
            Some(draft) => draft,
            None => self.draft(tx)?,
        };
        let sql = "SELECT coalesce(max(number), 0) + 1 FROM statements WHERE tenant_id = ?1";
        statement.number = tx.row(sql, [self.tenant], |row| row.get(0))?;
        statement.created_at = tx.now();
        statement.insert(tx, &lines)?;
        audit::record(
            tx,
            &Entry {
                actor,
                tenant_id: self.tenant,
                workspace_id: Some(self.workspace),
                kind: "statement.created",
                resource: self.workspace.0,
                before: audit::NONE,
                after: Some(&statement.summary()),
            },
        )?;
        Ok(statement)
    }
}

/// The lines of what was used, whose micro-credits add up to what the meter shows: it had begun a micro-credit
/// by `start_rest` eighteenths.
pub fn usage_lines(used: &Used, period: &str, start_rest: i64, prices: &Prices) -> Vec<Line> {
    let mut lines = Vec::with_capacity(used.by.len() + used.corrections.len());
    let mut exact = Vec::with_capacity(lines.capacity());
    for (key, sum) in &used.by {
        exact.push(period::exact(key, sum.ms).units());
        lines.push(Line {
            kind: USAGE.into(),
            period: period.into(),
            compute_ms: sum.ms,
            billed_ms: sum.billed_ms,
            ..line_of(key)
        });
    }
    for correction in &used.corrections {
        exact.push(i128::from(correction.micros) * UNITS_PER_MICRO);
        lines.push(Line {
            kind: ADJUSTMENT.into(),
            period: period.into(),
            event_seq: Some(correction.seq),
            text: correction.reason.clone(),
            ..Line::default()
        });
    }
    let total = (i128::from(start_rest) + exact.iter().sum::<i128>()).div_euclid(UNITS_PER_MICRO);
    let micros = apportion(&exact, UNITS_PER_MICRO, narrow(total));
    for (line, micros) in lines.iter_mut().zip(micros) {
        line.credit_ms = line.compute_ms * line.rate.unwrap_or(0);
        line.micros = micros;
        line.billed_micros = billed_micros(line);
        line.amount = amount(line, prices);
    }
    lines
}

fn line_of(key: &Key) -> Line {
    Line {
        project_id: Some(key.project),
        computer_id: Some(key.computer),
        size: Some(key.size),
        rate: Some(key.rate),
        text: format!("{} at {} credits/h", key.size, key.rate),
        ..Line::default()
    }
}

/// The micro-credits that are charged: those of the meter, unless running time is rounded up.
fn billed_micros(line: &Line) -> i64 {
    if line.billed_ms == line.compute_ms {
        return line.micros;
    }
    let credit_ms = i128::from(line.billed_ms) * i128::from(line.rate.unwrap_or(0));
    let exact = Amount {
        credit_ms,
        ..Amount::default()
    };
    exact.micro_credits()
}

/// What a line costs, rounded once.
pub fn amount(line: &Line, prices: &Prices) -> Option<i64> {
    let currency = prices.currency?;
    let by_hour = line
        .size
        .and_then(|size| prices.price_per_hour.as_ref()?.get(&size));
    Some(match (by_hour, prices.price_per_credit) {
        (Some(price), _) => currency.cost(line.billed_ms, 3_600_000, *price),
        (None, Some(price)) => currency.cost(line.billed_micros, narrow(MICROS_PER_CREDIT), price),
        (None, None) => 0,
    })
}

/// Lines in the order in which they stand.
fn order(line: &Line) -> impl Ord + use<> {
    let kind = match line.kind.as_str() {
        USAGE => 0,
        ADJUSTMENT => 1,
        _ => 2,
    };
    (
        kind,
        (kind == 2).then(|| line.period.clone()),
        line.project.clone(),
        line.project_id,
        line.computer.clone(),
        line.computer_id,
        line.size,
        line.rate,
        line.event_seq,
    )
}

/// What a line is about, for comparing it with others.
type About = (Option<Key>, Option<i64>);

fn about(line: &Line) -> About {
    let key = (|| {
        Some(Key {
            computer: line.computer_id?,
            project: line.project_id?,
            size: line.size?,
            rate: line.rate?,
        })
    })();
    (key, line.event_seq)
}

/// What statements up to a number have said about a month, by line.
pub fn said(tx: &Tx<'_>, about_it: &Statement, up_to: i64) -> Result<BTreeMap<About, Line>> {
    let sql = format!(
        "SELECT {}, number FROM statement_lines WHERE workspace_id = ?1 AND tenant_id = ?2 AND period = ?3",
        Line::COLUMNS.join(", ")
    );
    let mut statement = tx.prepare_cached(&sql)?;
    let params = (about_it.workspace_id, about_it.tenant_id, &about_it.period);
    let mut rows = statement.query(params)?;
    let mut all: BTreeMap<About, Line> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let line = Line::from_row(row)?;
        if line.is_metered() && row.get::<_, i64>("number")? <= up_to {
            let sum = all.entry(about(&line)).or_default();
            sum.compute_ms += line.compute_ms;
            sum.micros += line.micros;
            sum.billed_ms += line.billed_ms;
            sum.billed_micros += line.billed_micros;
        }
    }
    Ok(all)
}

/// What earlier statements of the workspace had too little or too much, by what is known now.
fn corrections(tx: &Tx<'_>, now: &Span, earlier: &[Statement]) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    let Some(known) = earlier.iter().map(|one| one.known_seq).max() else {
        return Ok(lines);
    };
    let since = Span {
        end: earlier.iter().map(|one| one.ends_at).max().unwrap_or(0),
        known,
        ..*now
    };
    let Some(late) = since.late(tx)? else {
        return Ok(lines);
    };
    for before in earlier.iter().filter(|one| one.ends_at > late) {
        lines.extend(correction(tx, now, before)?);
    }
    Ok(lines)
}

/// The lines by which what was said about a month becomes what is known now.
fn correction(tx: &Tx<'_>, now: &Span, before: &Statement) -> Result<Vec<Line>> {
    let prices = &before.body.prices;
    let span = Span {
        start: before.starts_at,
        end: before.ends_at,
        increment: prices.increment(),
        ..*now
    };
    let read = readings(tx, now.workspace, &[span.start, span.end])?;
    let total = read[0].until(&read[1]).credits_micros;
    let rest = narrow(read[0].units().rem_euclid(UNITS_PER_MICRO));
    let right = usage_lines(&span.used(tx)?, &before.period, rest, prices);
    let mut right: BTreeMap<About, Line> =
        right.into_iter().map(|line| (about(&line), line)).collect();
    let said = said(tx, before, i64::MAX)?;
    let missing = total - said.values().map(|line| line.micros).sum::<i64>();
    let all: BTreeSet<About> = right.keys().chain(said.keys()).copied().collect();
    let mut lines = Vec::new();
    for about in all {
        let is = right.remove(&about).unwrap_or_else(|| match about.0 {
            Some(key) => line_of(&key),
            None => Line::default(),
        });
        let was = said.get(&about).cloned().unwrap_or_default();
        let line = Line {
            kind: CORRECTION.into(),
            period: before.period.clone(),
            event_seq: about.1,
            compute_ms: is.compute_ms - was.compute_ms,
            credit_ms: (is.compute_ms - was.compute_ms) * is.rate.unwrap_or(0),
            micros: is.micros - was.micros,
            billed_ms: is.billed_ms - was.billed_ms,
            billed_micros: is.billed_micros - was.billed_micros,
            ..is
        };
        // A micro-credit that the rounding has moved from one line to another is no news.
        let news =
            line.compute_ms != 0 || line.billed_ms != 0 || (about.1.is_some() && line.micros != 0);
        if news {
            lines.push(line);
        }
    }
    // Together they are what is missing, to the micro-credit.
    let off = missing - lines.iter().map(|line| line.micros).sum::<i64>();
    let first = lines.iter_mut().find(|line| line.computer_id.is_some());
    match first {
        Some(line) => {
            line.micros += off;
            line.billed_micros += off;
        }
        None if off != 0 => lines.push(Line {
            kind: CORRECTION.into(),
            period: before.period.clone(),
            text: "Rounding of the meter".into(),
            micros: off,
            billed_micros: off,
            ..Line::default()
        }),
        None => {}
    }
    for line in &mut lines {
        line.amount = amount(line, prices);
    }
    Ok(lines)
}

/// Names of projects and computers, as they are now.
fn name(tx: &Tx<'_>, tenant: TenantId, lines: &mut [Line]) -> Result<()> {
    let mut projects: BTreeMap<ProjectId, String> = BTreeMap::new();
    let mut computers: BTreeMap<ComputerId, String> = BTreeMap::new();
    for line in lines {
        if let Some(id) = line.project_id {
            let name = match projects.entry(id) {
                Slot::Occupied(known) => known.into_mut(),
                Slot::Vacant(new) => {
                    let sql = "SELECT name FROM projects WHERE id = ?1 AND tenant_id = ?2";
                    let name = tx.row(sql, (id, tenant), |row| row.get(0)).optional()?;
                    new.insert(name.unwrap_or_default())
                }
            };
            line.project = Some(name.clone());
        }
        if let Some(id) = line.computer_id {
            let name = match computers.entry(id) {
                Slot::Occupied(known) => known.into_mut(),
                Slot::Vacant(new) => {
                    let sql = "SELECT name FROM computers WHERE id = ?1 AND tenant_id = ?2";
                    let name = tx.row(sql, (id, tenant), |row| row.get(0)).optional()?;
                    new.insert(name.unwrap_or_default())
                }
            };
            line.computer = Some(name.clone());
        }
    }
    Ok(())
}

/// What the price list adds to what was used: allowance, discount, fees, minimum.
pub fn charges(lines: &[Line], prices: &Prices, period: &str) -> Vec<Line> {
    let Some(currency) = prices.currency else {
        return Vec::new();
    };
    let mut all = Vec::new();
    let charge = |kind: &str, text: String, micros: i64, amount: i64| Line {
        kind: kind.into(),
        period: period.into(),
        text,
        billed_micros: micros,
        amount: Some(amount),
        ..Line::default()
    };
    let metered = || lines.iter().filter(|line| line.is_metered());
    let of_period = || metered().filter(|line| line.kind != CORRECTION);
    let sum = |lines: &mut dyn Iterator<Item = &Line>| -> i64 {
        lines.filter_map(|line| line.amount).sum()
    };
    let mut used = sum(&mut metered());
    let included = prices.included_credits.and_then(Decimal::millionths);
    if let (Some(included), Some(price)) = (included, prices.price_per_credit) {
        let billed: i64 = of_period().map(|line| line.billed_micros).sum();
        let free = included.min(billed.max(0));
        let amount = -currency.cost(free, narrow(MICROS_PER_CREDIT), price);
        if free > 0 {
            used += amount;
            let included = prices.included_credits.unwrap_or_default();
            let text = format!("Included: {included} credits a month");
            all.push(charge(ALLOWANCE, text, -free, amount));
        }
    }
    if let Some(rate) = prices.discount_percent.filter(|rate| !rate.is_zero()) {
        let of_discount = -currency.percent(used, rate);
        if of_discount != 0 {
            all.push(charge(
                DISCOUNT,
                format!("Discount of {rate} %"),
                0,
                of_discount,
            ));
        }
    }
    for fee in prices.fees.iter().flatten() {
        let amount = Decimal::parse(&fee.amount).and_then(|amount| amount.minor(currency));
        all.push(charge(FEE, fee.name.clone(), 0, amount.unwrap_or(0)));
    }
    if let Some(minimum) = prices.minimum.and_then(|minimum| minimum.minor(currency)) {
        // What is corrected of earlier months is beside it.
        let own = sum(&mut of_period()) + all.iter().filter_map(|line| line.amount).sum::<i64>();
        if own < minimum {
            let text = format!("Up to the minimum of {}", currency.text(minimum));
            all.push(charge(MINIMUM, text, 0, minimum - own));
        }
    }
    all
}

/// The sums of the lines, as they are printed.
pub fn sum_up(body: &mut Body, lines: &[Line]) {
    let corrections = lines.iter().filter(|line| line.kind == CORRECTION);
    body.corrections_micros = corrections.map(|line| line.micros).sum();
    if let Some(currency) = body.prices.currency {
        body.net = lines.iter().filter_map(|line| line.amount).sum();
        let rate = body.prices.tax_rate.unwrap_or_default();
        body.tax = currency.percent(body.net, rate);
        body.total = body.net + body.tax;
    }
}

/// The workspaces of an organization that have something to state of a month: those that were there in it, and
/// those whose usage is not all stated.
///
/// # Errors
/// 422 where it is no month.
pub fn customers(tx: &Tx<'_>, tenant: TenantId, period: &str) -> Result<Vec<WorkspaceId>> {
    let zone = Zone::of(tx, tenant, None)?;
    let month = zone.month(period);
    let (start, end) =
        month.ok_or_else(|| Error::field("period", "must be a month such as 2029-01"))?;
    // A zone may be up to 14 hours away from another.
    const ZONES_MS: i64 = 28 * 3_600_000;
    let sql = "SELECT id FROM workspaces WHERE tenant_id = ?1 AND created_at < ?3
                 AND (deleted_at IS NULL OR deleted_at > ?2) AND id NOT IN (SELECT workspace_id FROM imports)";
    let mut all: BTreeSet<WorkspaceId> = tx
        .prepare_cached(sql)?
        .query_map((tenant, start - ZONES_MS, end + ZONES_MS), |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    all.extend(intervals::workspaces(tx, tenant)?);
    Ok(all.into_iter().collect())
}

/// The months of an organization that were closed before this one, in their order, and this one.
fn closed(tx: &Tx<'_>, tenant: TenantId, period: &str) -> Result<Vec<String>> {
    let sql =
        "SELECT period FROM closed_months WHERE tenant_id = ?1 AND period < ?2 ORDER BY period";
    let mut all = tx
        .prepare_cached(sql)?
        .query_map((tenant, period), |row| row.get(0))?
        .collect::<Result<Vec<String>, _>>()?;
    all.push(period.to_owned());
    Ok(all)
}

/// Makes what is missing of a month, and of those that were closed before it, one workspace after the other.
/// Returns how many were made, and who has nothing to state of the month.
///
/// # Errors
/// 422 where it is no month, or is not over for one of them: then none is made.
pub async fn make_all(
    store: &Store,
    tenant: TenantId,
    period: &str,
    actor: Option<Caller>,
) -> Result<(i64, Vec<WorkspaceId>)> {
    let last = period.to_owned();
    let wanted = store.read(move |tx| {
        let (all, months) = (customers(tx, tenant, &last)?, closed(tx, tenant, &last)?);
        let mut wanted = Vec::new();
        for workspace in all {
            for period in &months {
                let one = Wanted {
                    tenant,
                    workspace,
                    period: period.clone(),
                };
                if one.made(tx)?.is_some() {
                    continue;
                }
                let (start, end, _) = one.bounds(tx)?;
                // Of a month that was closed there is something to say only where something was used.
                let read = readings(tx, workspace, &[start, end])?;
                if *period == last || read[0] != read[1] {
                    wanted.push(one);
                }
            }
        }
        Ok(wanted)
    });
    let (mut made, mut skipped) = (0, Vec::new());
    for one in wanted.await? {
        let asked = one.clone();
        let draft = store.read(move |tx| asked.draft(tx)).await?;
        if draft.lines.is_empty() {
            skipped.push(one.workspace);
            continue;
        }
        let actor = actor.clone();
        let kept = store.write(move |tx| {
            let actor = actor.as_ref().map_or(Actor::System, Actor::Key);
            match one.made(tx)? {
                Some(_) => Ok(0),
                None => one.keep(tx, actor, Some(draft)).map(|_| 1),
            }
        });
        made += kept.await?;
    }
    let period = period.to_owned();
    let closed = store.write(move |tx| {
        tx.run(
            "INSERT OR IGNORE INTO closed_months (tenant_id, period, closed_at) VALUES (?1, ?2, ?3)",
            (tenant, &period, tx.now()),
        )?;
        Ok::<_, Error>(())
    });
    closed.await?;
    Ok((made, skipped))
}
