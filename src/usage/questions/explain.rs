//! `GET /workspaces/{id}/usage/explain`: the intervals behind one bucket, with the events that opened
//! and closed them. Milliseconds × rate = credits; they add up to the bucket.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::window::{Granularity, Window, Zone};
use crate::access::caller::Caller;
use crate::clock::Timestamp;
use crate::db::Store;
use crate::error::{Error, Fields, Result};
use crate::http::{DeletedQuery, Param, Params, PathId};
use crate::ids::{ComputerId, ProjectId, TenantId, WorkspaceId};
use crate::rules::size::Size;
use crate::store::Tx;
use crate::usage::ledger::intervals::{self, Interval};
use crate::usage::ledger::tariff::{Prices, RateFrom};
use crate::usage::meter::reading::readings;
use crate::usage::meter::units::{Amount, Hours, share};
use crate::workspaces;

/// Intervals of one reply: about 5 MB of JSON.
const MAX_INTERVALS: usize = 10_000;

/// `GET /workspaces/{id}/usage/explain`
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct ExplainQuery {
    /// An instant in the bucket, such as its `ts`; RFC 3339
    #[param(value_type = String, required = true)]
    pub ts: Param<Timestamp>,
    /// Size of the bucket: hour (default), day, week, month
    #[param(inline)]
    pub granularity: Param<Granularity>,
    /// IANA time zone that the bucket is aligned to; if left out the one that was set, or UTC
    pub tz: Option<String>,
}

/// Why a bucket shows what it shows.
#[derive(Serialize, ToSchema)]
pub struct Explanation {
    workspace_id: WorkspaceId,
    /// Start of the bucket.
    ts: Timestamp,
    granularity: &'static str,
    time_zone: String,
    /// Start of the bucket, with milliseconds.
    start: String,
    /// End of the bucket, or `as_of` where that is earlier, with milliseconds.
    end: String,
    /// The instant of this answer.
    as_of: String,
    /// Not over yet.
    partial: bool,
    credits_used: i64,
    credits_micros: i64,
    compute_hours: Hours,
    compute_ms: i64,
    /// Running intervals inside the bucket, by start; their milliseconds and micro-credits add up to it.
    intervals: Vec<IntervalView>,
    /// Corrections dated in the bucket.
    corrections: Vec<CorrectionView>,
}

/// A computer in one state inside the bucket.
#[derive(Serialize, ToSchema)]
#[schema(as = Interval)]
pub struct IntervalView {
    computer_id: ComputerId,
    project_id: ProjectId,
    size: Size,
    /// Credits per hour.
    rate: i64,
    /// Which price that is.
    rate_from: RateFrom,
    /// With milliseconds.
    start: String,
    /// Exclusive, with milliseconds.
    end: String,
    compute_ms: i64,
    /// `compute_ms` × `rate`, exact; 3,600,000 of them are one credit.
    credit_ms: i64,
    /// Micro-credits, rounded so that all of them add up to the bucket.
    credits_micros: i64,
    /// The event that opened it, perhaps before the bucket.
    opened_by: EventRef,
    /// The event that closed it, perhaps after the bucket; null = it goes on.
    closed_by: Option<EventRef>,
}

/// An event in short.
#[derive(Serialize, ToSchema)]
pub struct EventRef {
    /// As in `GET /computers/{id}/events`.
    seq: i64,
    /// The reporter's id; null for the service's own.
    id: Option<String>,
    r#type: String,
    /// With milliseconds.
    at: String,
}

/// A correction.
#[derive(Serialize, ToSchema)]
#[schema(as = Correction)]
pub struct CorrectionView {
    seq: i64,
    /// With milliseconds.
    at: String,
    /// Signed.
    credits_micros: i64,
    reason: String,
    actor: String,
}

impl CorrectionView {
    pub fn new(seq: i64, at: i64, credits_micros: i64, reason: String, actor: String) -> Self {
        CorrectionView {
            seq,
            at: Timestamp(at).rfc3339_ms(),
            credits_micros,
            reason,
            actor,
        }
    }
}

/// `GET /workspaces/{id}/usage/explain`
pub async fn explain(
    State(store): State<Store>,
    caller: Caller,
    PathId(id): PathId<WorkspaceId>,
    query: Params<ExplainQuery>,
    deleted: Params<DeletedQuery>,
) -> Result<Json<Explanation>> {
    let explanation = store.read(move |tx| {
        let workspace = workspaces::find_billed(tx, &caller, id, deleted.get()?.included()?)?;
        let query = query.get()?;
        let mut fields = Fields::default();
        let ts = query.ts.read(&mut fields, "ts");
        if !query.ts.is_given() {
            fields.push("ts", "can't be blank; send the ts of a bucket");
        }
        let granularity = query.granularity.read(&mut fields, "granularity");
        let tz = query.tz.as_deref();
        let tenant = workspace.view.tenant_id;
        let zone = Zone::asked(tx, tenant, Some(id), tz, &mut fields)?;
        fields.finish()?;
        let (Some(ts), Some(zone)) = (ts, zone) else {
            return Err(Error::internal("a wrong parameter without a text"));
        };
        of_bucket(
            tx,
            &workspace.view,
            &Window::bucket(ts, granularity.unwrap_or(Granularity::Hour), zone, tx.now()),
        )
    });
    Ok(Json(explanation.await?))
}

fn of_bucket(
    tx: &Tx<'_>,
    workspace: &workspaces::Workspace,
    window: &Window,
) -> Result<Explanation> {
    let cuts = window.cuts();
    let (start, end) = (cuts[0], cuts[1]);
    let mut found: Vec<Interval> = Vec::new();
    intervals::of_workspace(
        tx,
        workspace.tenant_id,
        workspace.id,
        start,
        end,
        |interval| {
            if found.len() == MAX_INTERVALS {
                let text = format!(
                    "holds more than {MAX_INTERVALS} intervals; ask for an hour, or see group_by=computer"
                );
                return Err(Error::field("granularity", text));
            }
            found.push(interval);
            Ok(())
        },
    )?;
    found.sort_by_key(|interval| (interval.start, interval.opened.seq));
    let corrections = intervals::corrections(tx, workspace.tenant_id, workspace.id, start, end)?;

    let read = readings(tx, workspace.id, &cuts)?;
    let total = read[0].until(&read[1]);
    let exact = found.iter().map(Interval::amount);
    let corrected = corrections.iter().map(|c| Amount {
        micros: c.micros.into(),
        ..Amount::default()
    });
    let shares = share(&exact.chain(corrected).collect::<Vec<_>>(), &total);

    let prices = Prices::load(tx, workspace.tenant_id, Some(workspace.id))?;
    let intervals = found.iter().zip(&shares).map(|(interval, share)| {
        Ok(IntervalView {
            computer_id: interval.computer,
            project_id: interval.opened.state.project,
            size: interval.opened.state.size,
            rate: interval.opened.state.rate,
            rate_from: prices.why(
                interval.opened.state.size,
                interval.start,
                interval.opened.state.rate,
            ),
            start: Timestamp(interval.start).rfc3339_ms(),
            end: Timestamp(interval.end).rfc3339_ms(),
            compute_ms: share.compute_ms,
            credit_ms: share.compute_ms * interval.opened.state.rate,
            credits_micros: share.credits_micros,
            opened_by: event(tx, workspace.tenant_id, interval.opened.seq)?,
            closed_by: interval
                .closed
                .map(|(seq, _)| event(tx, workspace.tenant_id, seq))
                .transpose()?,
        })
    });
    let intervals = intervals.collect::<Result<_>>()?;
    let corrections = corrections
        .into_iter()
        .zip(&shares[found.len()..])
        .map(|(c, share)| {
            CorrectionView::new(c.seq, c.at, share.credits_micros, c.reason, c.actor)
        });
    Ok(Explanation {
        workspace_id: workspace.id,
        ts: Timestamp(window.start),
        granularity: window.granularity.as_str(),
        time_zone: window.zone.name().to_owned(),
        start: Timestamp(start).rfc3339_ms(),
        end: Timestamp(end).rfc3339_ms(),
        as_of: Timestamp(window.as_of).rfc3339_ms(),
        partial: window.end > window.as_of,
        credits_used: total.credits_used,
        credits_micros: total.credits_micros,
        compute_hours: total.compute_hours,
        compute_ms: total.compute_ms,
        intervals,
        corrections: corrections.collect(),
    })
}

/// An event in short.
pub fn event(tx: &Tx<'_>, tenant: TenantId, seq: i64) -> Result<EventRef> {
    Ok(tx.row(
        "SELECT seq, event_id, type, at FROM compute_events WHERE seq = ?1 AND tenant_id = ?2",
        (seq, tenant),
        |row| {
            Ok(EventRef {
                seq: row.get(0)?,
                id: row.get(1)?,
                r#type: row.get(2)?,
                at: row.get::<_, Timestamp>(3)?.rfc3339_ms(),
            })
        },
    )?)
}
