//! Labels: what the metadata of a computer, its project or its workspace said when it ran. Metadata can be
//! changed; what was used before stays with what held then.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use rusqlite::OptionalExtension;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::error::Result;
use crate::ids::{ComputerId, ProjectId, TenantId, WorkspaceId};
use crate::json::Object;
use crate::store::{Tx, WriteTx};

/// Keeps what metadata was up to now, where it changes.
pub fn changes(tx: &WriteTx<'_>, subject: Uuid, before: &Object, after: &Object) -> Result<()> {
    if before.text() != after.text() {
        // Of two changes in one instant the first knows what held before it.
        tx.run(
            "INSERT OR IGNORE INTO past_labels (subject, until, metadata) VALUES (?1, ?2, ?3)",
            (subject.as_bytes().as_slice(), tx.now(), before),
        )?;
    }
    Ok(())
}

/// What metadata was up to an instant, exclusive.
#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct PastMetadata {
    pub until: i64,
    pub metadata: Object,
}

/// What metadata was before it is what it is now, oldest first; what is dated after `until` held up to then.
pub fn past(tx: &Tx<'_>, subject: Uuid, until: i64) -> Result<Vec<PastMetadata>> {
    let mut statement = tx.prepare_cached(
        "SELECT until, metadata FROM past_labels WHERE subject = ?1 ORDER BY until",
    )?;
    let mut all = statement
        .query_map([subject.as_bytes().as_slice()], |row| {
            Ok(PastMetadata {
                until: row.get::<_, i64>(0)?.min(until),
                metadata: row.get(1)?,
            })
        })?
        .collect::<Result<Vec<_>, _>>()?;
    all.dedup_by_key(|one| one.until);
    Ok(all)
}

/// Stores what the metadata of a subject that comes from elsewhere was.
pub fn import(tx: &WriteTx<'_>, subject: Uuid, past: &[PastMetadata]) -> Result<()> {
    for one in past {
        tx.run(
            "INSERT INTO past_labels (subject, until, metadata) VALUES (?1, ?2, ?3)",
            (subject.as_bytes().as_slice(), one.until, &one.metadata),
        )?;
    }
    Ok(())
}

/// One label of a subject, period by period: its value, and up to when it held.
struct History(Vec<(i64, Option<String>)>);

impl History {
    fn load(tx: &Tx<'_>, subject: Uuid, present: Option<Object>, key: &str) -> Result<Self> {
        let past = past(tx, subject, i64::MAX)?;
        let past = past
            .iter()
            .map(|one| (one.until, value(&one.metadata, key)));
        let present = present.as_ref().and_then(|metadata| value(metadata, key));
        Ok(History(past.chain([(i64::MAX, present)]).collect()))
    }

    fn at(&self, at: i64) -> (Option<&str>, i64) {
        let held = self.0.iter().find(|(until, _)| *until > at);
        held.map_or((None, i64::MAX), |(until, value)| {
            (value.as_deref(), *until)
        })
    }
}

/// A label as a text; what is a list or an object is none.
fn value(metadata: &Object, key: &str) -> Option<String> {
    let all: Map<String, Value> = serde_json::from_str(metadata.text()).ok()?;
    match all.get(key)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(yes) => Some(yes.to_string()),
        _ => None,
    }
}

/// One label in a workspace: the computer's own, or that of its project, or that of the workspace.
pub struct Labels<'a> {
    tx: &'a Tx<'a>,
    tenant: TenantId,
    key: &'a str,
    workspace: History,
    projects: BTreeMap<ProjectId, History>,
    computers: BTreeMap<ComputerId, History>,
}

impl<'a> Labels<'a> {
    pub fn load(
        tx: &'a Tx<'a>,
        tenant: TenantId,
        workspace: WorkspaceId,
        key: &'a str,
    ) -> Result<Self> {
        let sql = "SELECT metadata FROM workspaces WHERE id = ?1 AND tenant_id = ?2";
        let present = tx
            .row(sql, (workspace, tenant), |row| row.get(0))
            .optional()?;
        Ok(Labels {
            workspace: History::load(tx, workspace.0, present, key)?,
            tx,
            tenant,
            key,
            projects: BTreeMap::new(),
            computers: BTreeMap::new(),
        })
    }

    /// What held for a computer in a project at an instant, and until when.
    pub fn at(
        &mut self,
        computer: ComputerId,
        project: ProjectId,
        at: i64,
    ) -> Result<(Option<&str>, i64)> {
        let (tx, tenant, key) = (self.tx, self.tenant, self.key);
        let computers = match self.computers.entry(computer) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let sql = "SELECT metadata FROM computers WHERE id = ?1 AND tenant_id = ?2";
                let present = tx
                    .row(sql, (computer, tenant), |row| row.get(0))
                    .optional()?;
                new.insert(History::load(tx, computer.0, present, key)?)
            }
        };
        let projects = match self.projects.entry(project) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let sql = "SELECT metadata FROM projects WHERE id = ?1 AND tenant_id = ?2";
                let present = tx
                    .row(sql, (project, tenant), |row| row.get(0))
                    .optional()?;
                new.insert(History::load(tx, project.0, present, key)?)
            }
        };
        let mut held = (None, i64::MAX);
        for history in [&*computers, &*projects, &self.workspace] {
            let (value, until) = history.at(at);
            held.1 = held.1.min(until);
            if value.is_some() {
                held.0 = value;
                break;
            }
        }
        Ok(held)
    }
}
