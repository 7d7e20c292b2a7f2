//! Whether statements still say what happened: worked out anew from the raw events, as they were known when
//! each was made. What came later is no difference; it is told as what the next statement will correct.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::document::{CORRECTION, Line, Statement};
use super::make::{amount, charges, said, sum_up, usage_lines};
use super::period::{self, Span};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::{TenantId, WorkspaceId};
use crate::rules::text::count;
use crate::store::Tx;
use crate::usage::meter::reading::readings;

/// What a check of statements found.
#[derive(Serialize, ToSchema, Debug)]
#[schema(as = StatementProof)]
pub struct Proof {
    /// Every statement says what happened.
    pub ok: bool,
    /// The instant of the snapshot that was checked.
    pub as_of: Timestamp,
    pub statements: i64,
    pub lines: i64,
    /// Where a statement says other than the events.
    pub differences: Vec<Wrong>,
    /// What came late: the next statement of the workspace corrects it.
    pub outstanding: Vec<Outstanding>,
}

/// A statement that does not say what happened.
#[derive(Serialize, ToSchema, Debug)]
#[schema(as = StatementDifference)]
pub struct Wrong {
    pub number: i64,
    pub what: String,
}

/// What is known of a month since its statement was made.
#[derive(Serialize, ToSchema, Debug)]
#[schema(as = StatementOutstanding)]
pub struct Outstanding {
    pub number: i64,
    pub workspace_id: WorkspaceId,
    pub period: String,
    /// Signed micro-credits.
    pub credits_micros: i64,
}

impl std::fmt::Display for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}, {}: {}",
            count(self.statements, "statement"),
            count(self.lines, "line"),
            count(self.differences.len(), "difference")
        )?;
        for wrong in &self.differences {
            write!(f, "\n  statement {}: {}", wrong.number, wrong.what)?;
        }
        for late in &self.outstanding {
            write!(
                f,
                "\n  statement {} ({}): {} micro-credits came late and stand on the next one",
                late.number, late.period, late.credits_micros
            )?;
        }
        Ok(())
    }
}

/// Checks every statement of an organization.
pub fn verify(tx: &Tx<'_>, tenant: TenantId) -> Result<Proof> {
    let mut proof = Proof {
        ok: true,
        as_of: tx.now(),
        statements: 0,
        lines: 0,
        differences: Vec::new(),
        outstanding: Vec::new(),
    };
    let sql = format!(
        "SELECT {} FROM statements WHERE tenant_id = ?1 ORDER BY number",
        Statement::selected()
    );
    let mut statement = tx.prepare_cached(&sql)?;
    let all: Vec<Statement> = statement
        .query_map([tenant], Statement::from_row)?
        .collect::<Result<_, _>>()?;
    let mut before: BTreeMap<WorkspaceId, Vec<&Statement>> = BTreeMap::new();
    for (expected, statement) in (1..).zip(&all) {
        let mut wrong = |what: &str| {
            proof.differences.push(Wrong {
                number: statement.number,
                what: what.to_owned(),
            });
        };
        if statement.number != expected {
            wrong("a number before it is missing");
        }
        let lines = statement.lines(tx)?;
        proof.lines += i64::try_from(lines.len()).unwrap_or(i64::MAX);
        let earlier = before.entry(statement.workspace_id).or_default();
        for what in of_statement(tx, statement, &lines, earlier)? {
            wrong(&what);
        }
        earlier.push(statement);
        proof.statements += 1;
    }
    for statements in before.values() {
        outstanding(tx, statements, &mut proof.outstanding)?;
    }
    proof.ok = proof.differences.is_empty();
    Ok(proof)
}

fn span(statement: &Statement, known: i64) -> Span {
    Span {
        tenant: statement.tenant_id,
        workspace: statement.workspace_id,
        start: statement.starts_at,
        end: statement.ends_at,
        known,
        increment: statement.body.prices.increment(),
    }
}

/// What is wrong with a statement.
fn of_statement(
    tx: &Tx<'_>,
    statement: &Statement,
    lines: &[Line],
    earlier: &[&Statement],
) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let prices = &statement.body.prices;
    let used = span(statement, statement.known_seq).used(tx)?;
    if used.digest != statement.digest {
        found.push("its digest is not that of the events behind it".to_owned());
    }
    let right = usage_lines(&used, &statement.period, statement.start_rest, prices);
    let own = |line: &&Line| line.is_metered() && line.kind != CORRECTION;
    let mut listed: Vec<Line> = lines.iter().filter(own).map(bare).collect();
    let mut right: Vec<Line> = right.iter().map(bare).collect();
    let key = |line: &Line| {
        (
            line.computer_id,
            line.project_id,
            line.size,
            line.rate,
            line.event_seq,
        )
    };
    listed.sort_by_key(key);
    right.sort_by_key(key);
    if listed != right {
        found.push("its lines are not what the events behind it say".to_owned());
    }
    // What the price list adds, and the sums, follow from the lines.
    let metered: Vec<Line> = lines
        .iter()
        .filter(|line| line.is_metered())
        .cloned()
        .collect();
    let charged: Vec<Line> = charges(&metered, prices, &statement.period)
        .iter()
        .map(bare)
        .collect();
    let listed: Vec<Line> = lines
        .iter()
        .filter(|line| !line.is_metered())
        .map(bare)
        .collect();
    if listed != charged {
        found.push("its charges do not follow from its prices".to_owned());
    }
    let mut body = statement.body.clone();
    (body.net, body.tax, body.total) = (0, 0, 0);
    sum_up(&mut body, lines);
    body.credits_micros = lines.iter().filter(own).map(|line| line.micros).sum();
    body.compute_ms = lines.iter().filter(own).map(|line| line.compute_ms).sum();
    if body != statement.body {
        found.push("its sums are not those of its lines".to_owned());
    }
    for line in lines.iter().filter(|line| line.kind == CORRECTION) {
        let about = earlier.iter().find(|one| one.period == line.period);
        if about.is_none_or(|about| amount(line, &about.body.prices) != line.amount) {
            found.push(format!(
                "line {} is not a correction at the price of its month",
                line.line
            ));
        }
    }
    if corrects(tx, statement, earlier)? {
        return Ok(found);
    }
    found.push("its corrections are not what came late before it was made".to_owned());
    Ok(found)
}

/// A line without its place and the names that it was given.
fn bare(line: &Line) -> Line {
    Line {
        line: 0,
        project: None,
        computer: None,
        ..line.clone()
    }
}

/// Whether with its corrections everything is said that was known of earlier months when it was made.
fn corrects(tx: &Tx<'_>, statement: &Statement, earlier: &[&Statement]) -> Result<bool> {
    let Some(known) = earlier.iter().map(|one| one.known_seq).max() else {
        return Ok(true);
    };
    let since = Span {
        end: earlier.iter().map(|one| one.ends_at).max().unwrap_or(0),
        ..span(statement, known)
    };
    let late = since.late(tx)?;
    for before in earlier {
        let said = said(tx, before, statement.number)?;
        if late.is_none_or(|at| at >= before.ends_at) {
            continue;
        }
        let used = span(before, statement.known_seq).used(tx)?;
        let said_ms = |key| {
            said.get(&(Some(key), None))
                .map_or(0, |line| line.compute_ms)
        };
        let all = used.by.iter().all(|(key, sum)| said_ms(*key) == sum.ms);
        let none = said
            .iter()
            .filter(|((key, _), line)| key.is_some() && line.compute_ms != 0)
            .count();
        let adjusted = used.corrections.iter().all(|correction| {
            said.get(&(None, Some(correction.seq)))
                .is_some_and(|line| line.micros == correction.micros)
        });
        if !all || none != used.by.len() || !adjusted {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What the meter shows now of months that are stated, and no statement has yet.
fn outstanding(tx: &Tx<'_>, statements: &[&Statement], found: &mut Vec<Outstanding>) -> Result<()> {
    let Some(last) = statements.iter().max_by_key(|one| one.known_seq) else {
        return Ok(());
    };
    let since = Span {
        end: statements.iter().map(|one| one.ends_at).max().unwrap_or(0),
        known: last.known_seq,
        ..span(last, period::known(tx)?)
    };
    let Some(late) = since.late(tx)? else {
        return Ok(());
    };
    for statement in statements.iter().filter(|one| one.ends_at > late) {
        let cuts = [statement.starts_at, statement.ends_at];
        let read = readings(tx, statement.workspace_id, &cuts)?;
        let is = read[0].until(&read[1]).credits_micros;
        let said = said(tx, statement, i64::MAX)?;
        let micros = is - said.values().map(|line| line.micros).sum::<i64>();
        if micros != 0 {
            found.push(Outstanding {
                number: statement.number,
                workspace_id: statement.workspace_id,
                period: statement.period.clone(),
                credits_micros: micros,
            });
        }
    }
    Ok(())
}
