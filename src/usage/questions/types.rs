//! A series of usage as replies show it.

use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

use super::bucket::{Bucket, fill_list};
use super::split::Split;
use crate::computers::machines::kept::Storage;
use crate::http::{FromText, words};
use crate::ids::WorkspaceId;
use crate::usage::meter::units::Hours;

words! {
    /// What usage can be split by.
    pub enum GroupBy {
        /// The project that the computer was in at that time.
        Project = "project",
        /// The computer.
        Computer = "computer",
        /// The size that the computer had at that time.
        Size = "size",
    }

    /// What a reply looks like.
    pub enum Format {
        /// This object.
        Json = "json",
        /// A table with the same integers.
        Csv = "csv",
    }
}

/// What usage is split by: a part, or a label.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Grouping {
    By(GroupBy),
    /// The value of this key in the metadata of the computer, its project or its workspace.
    Label(String),
}

/// How a label is named where a part could be.
pub const LABEL: &str = "metadata.";

/// The key of `metadata.KEY`.
pub fn label(text: &str) -> Option<&str> {
    text.strip_prefix(LABEL)
        .filter(|key| (1..=MAX_KEY).contains(&key.chars().count()))
}

/// Characters of the key of a label.
const MAX_KEY: usize = 128;

impl FromText for Grouping {
    fn schema() -> ObjectBuilder {
        ObjectBuilder::new().schema_type(Type::String)
    }

    fn from_text(text: &str) -> Option<Self> {
        match label(text) {
            Some(key) => Some(Grouping::Label(key.to_owned())),
            None => GroupBy::from_text(text).map(Grouping::By),
        }
    }

    fn wanted() -> String {
        format!("{}, or metadata.KEY", GroupBy::wanted())
    }
}

impl utoipa::__dev::ComposeSchema for Grouping {
    fn compose(_: Vec<RefOr<Schema>>) -> RefOr<Schema> {
        <Grouping as FromText>::schema().into()
    }
}

impl ToSchema for Grouping {}

impl std::fmt::Display for Grouping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Grouping::By(by) => f.write_str(by.as_str()),
            Grouping::Label(key) => write!(f, "{LABEL}{key}"),
        }
    }
}

impl Serialize for Grouping {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// Usage over time. All numbers are differences of one exact, ever-growing meter per workspace: the
/// buckets add up to the totals, and no bucket that has ended changes by asking differently.
#[derive(Serialize, ToSchema)]
pub struct Series {
    pub workspace_id: WorkspaceId,
    /// As it was asked for; custom where `from` or `period` was given.
    pub window: &'static str,
    pub granularity: &'static str,
    /// First instant of the window, inclusive, with milliseconds.
    pub window_start: String,
    /// Last instant of the window, exclusive, with milliseconds.
    pub window_end: String,
    /// The instant of this answer; nothing after it is counted.
    pub as_of: String,
    /// What the buckets are aligned to.
    pub time_zone: String,
    /// Whole credits.
    pub total_credits_used: i64,
    /// The same in micro-credits.
    pub total_credits_micros: i64,
    /// Running hours, summed over computers.
    pub total_compute_hours: Hours,
    /// The same in milliseconds.
    pub total_compute_ms: i64,
    /// What snapshots kept, by itself: it is in none of the other numbers.
    pub storage: Storage,
    /// Every bucket that touches the window, oldest first.
    pub series: Vec<Bucket>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// What the groups are, where they were asked for.
    #[schema(value_type = Option<String>)]
    pub group_by: Option<Grouping>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// The same usage by part; in each bucket the parts add up to the bucket.
    pub groups: Option<Vec<Group>>,
}

impl Series {
    /// The JSON of it.
    ///
    /// # Errors
    /// None that a series can cause.
    pub fn into_json(mut self) -> serde_json::Result<Vec<u8>> {
        let buckets = std::mem::take(&mut self.series);
        let mut text = serde_json::to_vec(&self)?;
        if !fill_list(&mut text, &buckets) {
            self.series = buckets;
            text = serde_json::to_vec(&self)?;
        }
        Ok(text)
    }
}

/// A part of the usage of a workspace.
#[derive(Serialize, ToSchema)]
pub struct Group {
    /// Id of the project or computer, the size, or the value of the label; null for corrections, which belong to no part, and
    /// for the parts that `group_limit` puts together.
    pub key: Option<String>,
    /// For people: name of the project or computer, also after it was deleted.
    pub name: String,
    pub total_credits_used: i64,
    pub total_credits_micros: i64,
    pub total_compute_hours: Hours,
    pub total_compute_ms: i64,
    #[schema(value_type = Vec<Bucket>)]
    pub series: Split,
}

impl Group {
    pub fn new(key: Option<String>, name: String, series: Split) -> Self {
        let total = series.sum();
        Group {
            key,
            name,
            total_credits_used: total.credits_used,
            total_credits_micros: total.credits_micros,
            total_compute_hours: total.compute_hours,
            total_compute_ms: total.compute_ms,
            series,
        }
    }
}
