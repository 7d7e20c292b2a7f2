//! Who moves a computer from one status to the next.

use std::str::FromStr;

use clap::ValueEnum;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who moves a computer.
#[derive(
    Serialize, Deserialize, ToSchema, ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default,
)]
#[serde(rename_all = "lowercase")]
#[schema(as = Driver)]
pub enum DrivenBy {
    /// This server, by the clock: there is no machine behind it.
    #[default]
    Simulated,
    /// An agent outside, which reports what happened.
    #[value(skip)]
    External,
    /// A container engine on this machine (Docker or Podman); what it saw is what is billed.
    Docker,
}

impl DrivenBy {
    /// All of them.
    pub const ALL: [DrivenBy; 3] = [DrivenBy::Simulated, DrivenBy::External, DrivenBy::Docker];

    /// The word of the API and of the store.
    pub fn as_str(self) -> &'static str {
        match self {
            DrivenBy::Simulated => "simulated",
            DrivenBy::External => "external",
            DrivenBy::Docker => "docker",
        }
    }

    /// What happens to it is learnt afterwards, possibly late: its events say what it is.
    pub fn is_reported(self) -> bool {
        self != DrivenBy::Simulated
    }
}

impl FromStr for DrivenBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        DrivenBy::ALL
            .into_iter()
            .find(|driver| driver.as_str() == text)
            .ok_or_else(|| format!("unknown driver {text:?}"))
    }
}

impl ToSql for DrivenBy {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for DrivenBy {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value
            .as_str()?
            .parse()
            .map_err(|e: String| FromSqlError::Other(e.into()))
    }
}
