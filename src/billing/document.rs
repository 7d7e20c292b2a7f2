//! A statement as it is kept, and as the API shows it.

use rusqlite::{OptionalExtension, Row, named_params};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::prices::Prices;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::ids::{ComputerId, ProjectId, TenantId, WorkspaceId};
use crate::json;
use crate::rules::hosted::BASE;
use crate::rules::size::Size;
use crate::store::{Columns, Tx, WriteTx, columns};
use crate::usage::meter::units::Hours;

/// How money is rounded, as every statement says.
pub const ROUNDING: &str = "each line once, half away from zero, to the smallest unit of the currency; sums are sums of rounded lines";

/// What stands on a statement besides its lines.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Body {
    pub organization: String,
    pub workspace: String,
    pub external_workspace_id: Option<String>,
    pub tz: String,
    pub prices: Prices,
    pub compute_ms: i64,
    /// What was used in the period.
    pub credits_micros: i64,
    /// What is corrected of earlier ones.
    pub corrections_micros: i64,
    /// In the smallest unit of the currency.
    pub net: i64,
    pub tax: i64,
    pub total: i64,
}

/// A statement, as it is kept.
#[derive(Clone, Debug)]
pub struct Statement {
    pub tenant_id: TenantId,
    pub number: i64,
    pub workspace_id: WorkspaceId,
    pub period: String,
    pub starts_at: i64,
    pub ends_at: i64,
    pub known_seq: i64,
    pub start_rest: i64,
    pub digest: [u8; 32],
    pub body: Body,
    pub created_at: Timestamp,
}

columns! { Statement {
    tenant_id: ["tenant_id"],
    number: ["number"],
    workspace_id: ["workspace_id"],
    period: ["period"],
    starts_at: ["starts_at"],
    ends_at: ["ends_at"],
    known_seq: ["known_seq"],
    start_rest: ["start_rest"],
    digest: ["digest"],
    body: json ["body"],
    created_at: ["created_at"],
} }

/// What a line is.
pub const USAGE: &str = "usage";
pub const ADJUSTMENT: &str = "adjustment";
pub const CORRECTION: &str = "correction";
pub const FEE: &str = "fee";
pub const ALLOWANCE: &str = "allowance";
pub const DISCOUNT: &str = "discount";
pub const MINIMUM: &str = "minimum";

/// A line, as it is kept.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Line {
    pub line: i64,
    pub kind: String,
    pub period: String,
    pub project_id: Option<ProjectId>,
    pub computer_id: Option<ComputerId>,
    pub size: Option<Size>,
    pub rate: Option<i64>,
    pub event_seq: Option<i64>,
    pub text: String,
    pub project: Option<String>,
    pub computer: Option<String>,
    pub compute_ms: i64,
    pub credit_ms: i64,
    pub micros: i64,
    pub billed_ms: i64,
    pub billed_micros: i64,
    pub amount: Option<i64>,
}

columns! { Line {
    line: ["line"],
    kind: ["kind"],
    period: ["period"],
    project_id: ["project_id"],
    computer_id: ["computer_id"],
    size: ["size"],
    rate: ["rate"],
    event_seq: ["event_seq"],
    text: ["text"],
    project: ["project"],
    computer: ["computer"],
    compute_ms: ["compute_ms"],
    credit_ms: ["credit_ms"],
    micros: ["micros"],
    billed_ms: ["billed_ms"],
    billed_micros: ["billed_micros"],
    amount: ["amount"],
} }

impl Line {
    /// Of usage: running time, an operator's correction, or what came late of either.
    pub fn is_metered(&self) -> bool {
        [USAGE, ADJUSTMENT, CORRECTION].contains(&self.kind.as_str())
    }

    pub fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Line::from_columns(&mut Columns::new(row))
    }
}

impl Statement {
    pub fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Statement::from_columns(&mut Columns::new(row))
    }

    /// The columns that [`Statement::from_row`] reads.
    pub fn selected() -> String {
        Statement::COLUMNS.join(", ")
    }

    /// By its number.
    pub fn find(tx: &Tx<'_>, tenant: TenantId, number: i64) -> Result<Option<Statement>> {
        let sql = format!(
            "SELECT {} FROM statements WHERE tenant_id = ?1 AND number = ?2",
            Statement::selected()
        );
        let mut statement = tx.prepare_cached(&sql)?;
        Ok(statement
            .query_row((tenant, number), Statement::from_row)
            .optional()?)
    }

    /// Those of a workspace, the last month first.
    pub fn newest(
        tx: &Tx<'_>,
        tenant: TenantId,
        workspace: WorkspaceId,
        limit: usize,
    ) -> Result<Vec<Statement>> {
        let sql = format!(
            "SELECT {} FROM statements WHERE workspace_id = ?1 AND tenant_id = ?2 ORDER BY period DESC LIMIT ?3",
            Statement::selected()
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        Ok(tx
            .prepare_cached(&sql)?
            .query_map((workspace, tenant, limit), Statement::from_row)?
            .collect::<Result<_, _>>()?)
    }

    /// Of a workspace and month.
    pub fn about(
        tx: &Tx<'_>,
        tenant: TenantId,
        workspace: WorkspaceId,
        period: &str,
    ) -> Result<Option<Statement>> {
        let sql = format!(
            "SELECT {} FROM statements WHERE workspace_id = ?1 AND tenant_id = ?2 AND period = ?3",
            Statement::selected()
        );
        let mut statement = tx.prepare_cached(&sql)?;
        let found = statement.query_row((workspace, tenant, period), Statement::from_row);
        Ok(found.optional()?)
    }

    /// All of a workspace, by month.
    pub fn of_workspace(
        tx: &Tx<'_>,
        tenant: TenantId,
        workspace: WorkspaceId,
    ) -> Result<Vec<Statement>> {
        let sql = format!(
            "SELECT {} FROM statements WHERE workspace_id = ?1 AND tenant_id = ?2 ORDER BY period",
            Statement::selected()
        );
        Ok(tx
            .prepare_cached(&sql)?
            .query_map((workspace, tenant), Statement::from_row)?
            .collect::<Result<_, _>>()?)
    }

    /// Its lines.
    pub fn lines(&self, tx: &Tx<'_>) -> Result<Vec<Line>> {
        let sql = format!(
            "SELECT {} FROM statement_lines WHERE tenant_id = ?1 AND number = ?2 ORDER BY line",
            Line::COLUMNS.join(", ")
        );
        Ok(tx
            .prepare_cached(&sql)?
            .query_map((self.tenant_id, self.number), Line::from_row)?
            .collect::<Result<_, _>>()?)
    }

    pub fn insert(&self, tx: &WriteTx<'_>, lines: &[Line]) -> Result<()> {
        let sql = "INSERT INTO statements (tenant_id, number, workspace_id, period, starts_at, ends_at, known_seq, start_rest,
                 digest, body, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        tx.run(
            sql,
            (
                self.tenant_id,
                self.number,
                self.workspace_id,
                &self.period,
                self.starts_at,
                self.ends_at,
                self.known_seq,
                self.start_rest,
                self.digest.as_slice(),
                json::text(&self.body)?,
                self.created_at,
            ),
        )?;
        for line in lines {
            let sql = "INSERT INTO statement_lines (tenant_id, number, line, workspace_id, kind, period, project_id,
                     computer_id, size, rate, event_seq, text, project, computer, compute_ms, credit_ms, micros,
                     billed_ms, billed_micros, amount)
                 VALUES (:tenant, :number, :line, :workspace, :kind, :period, :project_id, :computer_id, :size, :rate,
                     :event, :text, :project, :computer, :ms, :credit_ms, :micros, :billed_ms, :billed_micros, :amount)";
            tx.run(
                sql,
                named_params! {
                    ":tenant": self.tenant_id, ":number": self.number, ":line": line.line,
                    ":workspace": self.workspace_id, ":kind": line.kind, ":period": line.period,
                    ":project_id": line.project_id, ":computer_id": line.computer_id, ":size": line.size,
                    ":rate": line.rate, ":event": line.event_seq, ":text": line.text, ":project": line.project,
                    ":computer": line.computer, ":ms": line.compute_ms, ":credit_ms": line.credit_ms,
                    ":micros": line.micros, ":billed_ms": line.billed_ms, ":billed_micros": line.billed_micros,
                    ":amount": line.amount,
                },
            )?;
        }
        Ok(())
    }

    /// An amount of it in words.
    pub fn money(&self, minor: i64) -> Option<String> {
        self.body
            .prices
            .currency
            .map(|currency| currency.text(minor))
    }

    pub fn summary(&self) -> Summary {
        let body = &self.body;
        Summary {
            number: self.number,
            workspace_id: self.workspace_id,
            workspace_name: body.workspace.clone(),
            external_workspace_id: body.external_workspace_id.clone(),
            period: self.period.clone(),
            period_start: Timestamp(self.starts_at),
            period_end: Timestamp(self.ends_at),
            time_zone: body.tz.clone(),
            compute_hours: hours(body.compute_ms),
            compute_ms: body.compute_ms,
            credits_micros: body.credits_micros,
            corrections_micros: body.corrections_micros,
            currency: body.prices.currency.map(|c| c.code().to_owned()),
            net: self.money(body.net),
            tax: self.money(body.tax),
            total: self.money(body.total),
            digest: data_encoding::HEXLOWER.encode(&self.digest),
            created_at: self.created_at,
        }
    }

    pub fn view(self, lines: Vec<Line>) -> StatementView {
        let views = lines.into_iter().map(|line| self.line(line)).collect();
        StatementView {
            summary: self.summary(),
            organization: self.body.organization,
            prices: self.body.prices,
            rounding: ROUNDING,
            lines: views,
        }
    }

    /// Where the intervals behind a line are shown.
    pub fn explain(&self, line: &Line) -> Option<String> {
        line.is_metered().then(|| {
            format!(
                "{BASE}/workspaces/{}/statements/{}/explain?line={}",
                self.workspace_id, self.number, line.line
            )
        })
    }

    fn line(&self, line: Line) -> LineView {
        LineView {
            explain: self.explain(&line),
            line: line.line,
            period: line.period,
            text: line.text,
            project_id: line.project_id,
            project: line.project,
            computer_id: line.computer_id,
            computer: line.computer,
            size: line.size,
            rate: line.rate,
            compute_hours: hours(line.compute_ms),
            compute_ms: line.compute_ms,
            credit_ms: line.credit_ms,
            credits_micros: line.micros,
            billed_ms: line.billed_ms,
            billed_micros: line.billed_micros,
            amount: line.amount.and_then(|amount| self.money(amount)),
            kind: line.kind,
        }
    }
}

/// Hours of milliseconds, half of the last digit rounded up.
pub fn hours(ms: i64) -> Hours {
    Hours((ms + 180).div_euclid(360))
}

/// Micro-credits as credits with six decimals.
pub fn credits(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let value = micros.unsigned_abs();
    format!("{sign}{}.{:06}", value / 1_000_000, value % 1_000_000)
}

/// A statement without its lines.
#[derive(Serialize, ToSchema, Clone, Debug)]
#[schema(as = StatementSummary)]
pub struct Summary {
    /// 1, 2, 3, ... of the organization, none left out.
    pub number: i64,
    pub workspace_id: WorkspaceId,
    /// As it was called then.
    pub workspace_name: String,
    pub external_workspace_id: Option<String>,
    /// The month, such as 2029-01.
    pub period: String,
    pub period_start: Timestamp,
    /// Exclusive.
    pub period_end: Timestamp,
    /// What the month is one of.
    pub time_zone: String,
    /// Running hours of the period, summed over computers.
    pub compute_hours: Hours,
    /// The same in milliseconds.
    pub compute_ms: i64,
    /// What was used in the period, in micro-credits: what the meter showed.
    pub credits_micros: i64,
    /// What earlier statements had too little, in micro-credits.
    pub corrections_micros: i64,
    /// ISO 4217; null where there is no price list.
    pub currency: Option<String>,
    /// Before tax.
    pub net: Option<String>,
    pub tax: Option<String>,
    pub total: Option<String>,
    /// SHA-256 of all that ran and was corrected in the period, as it was known.
    pub digest: String,
    pub created_at: Timestamp,
}

/// A statement: what a customer is sent about a month. It never changes.
#[derive(Serialize, ToSchema)]
#[schema(as = Statement)]
pub struct StatementView {
    #[serde(flatten)]
    summary: Summary,
    /// Name of the organization.
    organization: String,
    /// The price list that it was made with.
    prices: Prices,
    /// How money is rounded.
    rounding: &'static str,
    lines: Vec<LineView>,
}

/// A line of a statement.
#[derive(Serialize, ToSchema)]
#[schema(as = StatementLine)]
pub struct LineView {
    line: i64,
    /// usage, adjustment (an operator's correction), correction (of an earlier statement), fee, allowance,
    /// discount, minimum
    kind: String,
    /// The month that it is about: of a correction an earlier one.
    period: String,
    /// For people.
    text: String,
    project_id: Option<ProjectId>,
    /// As it was called then.
    project: Option<String>,
    computer_id: Option<ComputerId>,
    /// As it was called then.
    computer: Option<String>,
    size: Option<Size>,
    /// Credits per hour.
    rate: Option<i64>,
    compute_hours: Hours,
    compute_ms: i64,
    /// Running time × rate, exact; 3,600,000 of them are one credit.
    credit_ms: i64,
    /// Micro-credits, rounded so that the lines add up to what the meter shows.
    credits_micros: i64,
    /// Running time in whole billing increments.
    billed_ms: i64,
    /// The micro-credits that are charged.
    billed_micros: i64,
    /// Money, rounded once; null where there is no price list.
    amount: Option<String>,
    /// Where the intervals behind it are.
    explain: Option<String>,
}

/// A statement that nobody has made.
pub fn unknown() -> Error {
    Error::not_found("statement")
}
