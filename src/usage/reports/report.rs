//! One report of an outside agent, as it is sent and as it is read.

use serde_json::Value;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::ids::{ComputerId, ProjectId, WorkspaceId, parse_uuid};
use crate::rules::size::Size;
use crate::rules::status::Status;
use crate::rules::text::MAX_EXTERNAL_ID;

/// How far an agent's clock may be ahead of that of this server, or behind it.
pub const MAX_SKEW_MS: i64 = 5 * 60_000;

/// What happened to a computer. Further fields are ignored.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "documents the items of a request field, which are read one by one"
)]
pub struct Report {
    /// The reporter's id of the event; the same again changes nothing
    #[schema(min_length = 1, max_length = 255)]
    id: String,
    /// computer.started, .stopped, .errored, .resized, .moved or .deleted
    r#type: String,
    subject: ComputerId,
    /// When it happened; RFC 3339, at most 5 minutes ahead; up to 5 minutes before the creation of the computer it
    /// counts from the creation on
    time: String,
    /// What else is new
    data: Option<ReportData>,
}

/// What a report says besides its type.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "documents the items of a request field, which are read one by one"
)]
pub struct ReportData {
    /// The size from then on; needed for computer.resized
    size: Option<Size>,
    /// The workspace from then on; needed for computer.moved
    workspace_id: Option<WorkspaceId>,
    /// The project from then on; the workspace's default one if left out
    project_id: Option<ProjectId>,
}

/// A report that says all it must say.
pub struct Parsed {
    pub id: String,
    pub kind: &'static str,
    pub computer: ComputerId,
    pub at: i64,
    pub status: Option<Status>,
    pub size: Option<Size>,
    pub place: Option<(WorkspaceId, Option<ProjectId>)>,
}

/// Reads one event; the text says what is wrong with it.
pub fn parse(n: usize, event: &Value) -> Result<Parsed, String> {
    let text = |name: &str| {
        event
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let data = event.get("data").filter(|data| !data.is_null());
    let datum = |name: &str, camel: &str| {
        let value = data
            .and_then(|data| data.get(name).or_else(|| data.get(camel)))
            .filter(|v| !v.is_null());
        value
            .map(|v| {
                v.as_str()
                    .ok_or_else(|| format!("data.{name} must be a text"))
            })
            .transpose()
    };
    let uuid = |name: &str, text: &str| {
        parse_uuid(text).ok_or_else(|| format!("{name} is not a valid UUID"))
    };
    let id = text("id").ok_or_else(|| format!("events[{n}] has no id"))?;
    if id.chars().count() > MAX_EXTERNAL_ID {
        return Err(format!(
            "id should be at most {} characters",
            MAX_EXTERNAL_ID
        ));
    }
    let size = datum("size", "size")?.map(|text| {
        text.parse::<Size>()
            .map_err(|why| format!("data.size {why}"))
    });
    let size = size.transpose()?;
    let workspace = datum("workspace_id", "workspaceId")?
        .map(|t| uuid("data.workspace_id", t))
        .transpose()?;
    let project = datum("project_id", "projectId")?
        .map(|t| uuid("data.project_id", t))
        .transpose()?;
    let (kind, status) = match text("type") {
        Some("computer.started") => ("computer.started", Some(Status::Running)),
        Some("computer.stopped") => ("computer.stopped", Some(Status::Stopped)),
        Some("computer.errored") => ("computer.errored", Some(Status::Error)),
        Some("computer.deleted") => ("computer.deleted", Some(Status::Destroyed)),
        Some("computer.resized") if size.is_some() => ("computer.resized", None),
        Some("computer.resized") => return Err("computer.resized needs data.size".into()),
        Some("computer.moved") if workspace.is_some() => ("computer.moved", None),
        Some("computer.moved") => return Err("computer.moved needs data.workspace_id".into()),
        _ => {
            return Err("type must be one of: computer.started, computer.stopped, computer.errored, computer.resized, \
                        computer.moved, computer.deleted"
                .into());
        }
    };
    let computer = uuid(
        "subject",
        text("subject").ok_or("subject must be the id of a computer")?,
    )?;
    let at = text("time").and_then(Timestamp::parse);
    let at = at.ok_or("time must be an RFC 3339 time such as 2026-05-10T00:00:00Z")?;
    Ok(Parsed {
        id: id.to_owned(),
        kind,
        computer: ComputerId(computer),
        at: at.0,
        status,
        size,
        place: workspace.map(|id| (WorkspaceId(id), project.map(ProjectId))),
    })
}
