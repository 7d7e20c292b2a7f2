//! Why a line of a statement says what it says.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::document::{Line, Statement};
use super::handlers::{Numbered, found};
use super::period::Span;
use crate::access::caller::Caller;
use crate::clock::Timestamp;
use crate::db::Store;
use crate::error::{Error, Result};
use crate::http::{DeletedQuery, Param, Params};
use crate::ids::{ComputerId, ProjectId, TenantId};
use crate::rules::size::Size;
use crate::store::Tx;
use crate::usage::ledger::tariff::{Prices, RateFrom};
use crate::usage::questions::explain::{CorrectionView, EventRef, event};

/// `GET …/statements/{number}/explain`
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct LineQuery {
    /// The number of a line
    #[param(value_type = i64, required = true, minimum = 1)]
    pub line: Param<crate::http::Within<1, { i64::MAX }>>,
}

/// Why a line of a statement says what it says.
#[derive(Serialize, ToSchema)]
#[schema(as = StatementExplanation)]
pub struct LineExplanation {
    number: i64,
    line: i64,
    kind: String,
    /// The month that the line is about.
    period: String,
    /// Milliseconds that the intervals add up to; of a correction less what was stated before.
    compute_ms: i64,
    credits_micros: i64,
    /// Of a correction: what earlier statements had said.
    stated_ms: i64,
    /// The intervals behind it, as they were known when the statement was made.
    intervals: Vec<LineInterval>,
    /// An operator's correction behind it.
    corrections: Vec<CorrectionView>,
}

/// A computer that ran in one state.
#[derive(Serialize, ToSchema)]
#[schema(as = StatementInterval)]
pub struct LineInterval {
    computer_id: ComputerId,
    project_id: ProjectId,
    size: Size,
    rate: i64,
    /// Which price that is.
    rate_from: RateFrom,
    /// With milliseconds.
    start: String,
    /// Exclusive, with milliseconds.
    end: String,
    compute_ms: i64,
    /// The events that hold at its start and its end, as far as they were known.
    opened_by: Option<EventRef>,
    closed_by: Option<EventRef>,
}

/// Intervals of one reply.
const MAX_INTERVALS: usize = 10_000;

/// `GET /workspaces/{id}/statements/{number}/explain`
pub async fn explain(
    State(store): State<Store>,
    caller: Caller,
    Numbered(id, number): Numbered,
    query: Params<LineQuery>,
    deleted: Params<DeletedQuery>,
) -> Result<Json<LineExplanation>> {
    let explanation = store.read(move |tx| {
        let statement = found(tx, &caller, &number, id, deleted)?;
        let query = query.get()?;
        let wanted = query.line.get("line")?;
        let wanted = wanted
            .ok_or_else(|| Error::field("line", "can't be blank; send the number of a line"))?;
        let mut lines = statement.lines(tx)?;
        lines.retain(|line| line.line == wanted.0);
        let line = lines
            .pop()
            .filter(Line::is_metered)
            .ok_or_else(|| Error::field("line", "is not a line of usage on this statement"))?;
        explained(tx, &statement, &line)
    });
    Ok(Json(explanation.await?))
}

fn explained(tx: &Tx<'_>, statement: &Statement, line: &Line) -> Result<LineExplanation> {
    let tenant = statement.tenant_id;
    let about = match line.period == statement.period {
        true => None,
        false => Statement::about(tx, tenant, statement.workspace_id, &line.period)?,
    };
    let about = about.as_ref().unwrap_or(statement);
    let span = Span {
        tenant,
        workspace: statement.workspace_id,
        start: about.starts_at,
        end: about.ends_at,
        known: statement.known_seq,
        increment: 1,
    };
    let prices = Prices::load(tx, tenant, Some(statement.workspace_id))?;
    let mut intervals = Vec::new();
    let mut ms = 0;
    if let Some(computer) = line.computer_id {
        span.runs(tx, |run| {
            let key = run.key;
            let same = key.computer == computer
                && Some(key.project) == line.project_id
                && Some(key.size) == line.size
                && Some(key.rate) == line.rate;
            if !same {
                return Ok(());
            }
            if intervals.len() == MAX_INTERVALS {
                let text =
                    format!("has more than {MAX_INTERVALS} intervals; see the computer's events");
                return Err(Error::field("line", text));
            }
            ms += run.end - run.start;
            intervals.push(LineInterval {
                computer_id: computer,
                project_id: key.project,
                size: key.size,
                rate: key.rate,
                rate_from: prices.why(key.size, run.start, key.rate),
                start: Timestamp(run.start).rfc3339_ms(),
                end: Timestamp(run.end).rfc3339_ms(),
                compute_ms: run.end - run.start,
                opened_by: held(tx, tenant, &span, computer, run.start)?,
                closed_by: held(tx, tenant, &span, computer, run.end)?,
            });
            Ok(())
        })?;
    }
    let corrections = span
        .corrections(tx)?
        .into_iter()
        .filter(|correction| line.event_seq == Some(correction.seq));
    Ok(LineExplanation {
        number: statement.number,
        line: line.line,
        kind: line.kind.clone(),
        period: line.period.clone(),
        compute_ms: line.compute_ms,
        credits_micros: line.micros,
        stated_ms: ms - line.compute_ms,
        intervals,
        corrections: corrections
            .map(|c| CorrectionView::new(c.seq, c.at, c.micros, c.reason, c.actor))
            .collect(),
    })
}

/// The event that holds for a computer at an instant, as far as it was known.
fn held(
    tx: &Tx<'_>,
    tenant: TenantId,
    span: &Span,
    computer: ComputerId,
    at: i64,
) -> Result<Option<EventRef>> {
    use rusqlite::OptionalExtension;
    let sql = "SELECT seq FROM compute_events WHERE computer_id = ?1 AND at <= ?2 AND seq <= ?3
             ORDER BY at DESC, seq DESC LIMIT 1";
    let seq = tx
        .row(sql, (computer, at, span.known), |row| row.get(0))
        .optional()?;
    seq.map(|seq| event(tx, tenant, seq)).transpose()
}
