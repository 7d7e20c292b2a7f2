//! The life of a computer: its statuses, and which of them follow by themselves.

use std::fmt;
use std::str::FromStr;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::rules::config::Delays;

/// Where a computer is in its life. Only `running` is billed.
#[derive(Serialize, Deserialize, ToSchema, Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[serde(rename_all = "lowercase")]
#[schema(as = ComputerStatus)]
pub enum Status {
    /// Being made.
    Provisioning,
    /// On its way up.
    Starting,
    /// Up, and billed.
    Running,
    /// On its way down.
    Stopping,
    /// Down.
    Stopped,
    /// Broken; may be started again.
    Error,
    /// Deleted: in the history only.
    Destroyed,
}

impl Status {
    /// All of them.
    pub const ALL: [Status; 7] = [
        Status::Provisioning,
        Status::Starting,
        Status::Running,
        Status::Stopping,
        Status::Stopped,
        Status::Error,
        Status::Destroyed,
    ];

    /// The word of the API and of the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Provisioning => "provisioning",
            Status::Starting => "starting",
            Status::Running => "running",
            Status::Stopping => "stopping",
            Status::Stopped => "stopped",
            Status::Error => "error",
            Status::Destroyed => "destroyed",
        }
    }

    /// What a filter asks for: a status of this server, or a constant of a published client under which
    /// it means the same; `Some(None)` where nothing here is ever in that state.
    pub fn asked(text: &str) -> Option<Option<Status>> {
        match text {
            "creating" => Some(Some(Status::Provisioning)),
            "active" => Some(Some(Status::Running)),
            "paused" | "destroying" => Some(None),
            other => other.parse().ok().map(Some),
        }
    }

    /// The event that says a computer has come here.
    pub fn event(self) -> &'static str {
        match self {
            Status::Provisioning => "computer.created",
            Status::Starting => "computer.starting",
            Status::Running => "computer.running",
            Status::Stopping => "computer.stopping",
            Status::Stopped => "computer.stopped",
            Status::Error => "computer.error",
            Status::Destroyed => "computer.deleted",
        }
    }

    /// Whether time spent here is billed.
    pub fn billable(self) -> bool {
        self == Status::Running
    }

    /// Where the built-in driver takes it by itself, and how long that takes, in milliseconds. A
    /// running computer goes down after `auto_stop_seconds` without activity; 0 = never.
    pub fn next(self, delays: &Delays, auto_stop_seconds: i64) -> Option<(Status, i64)> {
        match self {
            Status::Provisioning => Some((Status::Running, delays.provision_ms)),
            Status::Starting => Some((Status::Running, delays.start_ms)),
            Status::Stopping => Some((Status::Stopped, delays.stop_ms)),
            Status::Running if auto_stop_seconds > 0 => {
                Some((Status::Stopping, auto_stop_seconds * 1000))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Status::ALL
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or_else(|| format!("unknown status {text:?}"))
    }
}

impl ToSql for Status {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for Status {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value
            .as_str()?
            .parse()
            .map_err(|e: String| FromSqlError::Other(e.into()))
    }
}
