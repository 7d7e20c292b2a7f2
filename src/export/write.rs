//! Reading a workspace into a capsule: everything from one read transaction, which is one snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use data_encoding::HEXLOWER;
use flate2::Compression;
use flate2::write::GzEncoder;
use rusqlite::{OptionalExtension, Row};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::format::{
    Audit, Computer, End, FORMAT, Head, Line, PreviewDomain, Project, Rows, Workspace,
};
use super::{MAX_BODY, MAX_EVENTS, MAX_LINES, MAX_TEXT};
use crate::error::{Error, Result};
use crate::ids::{ComputerId, ProjectId, TenantId, WorkspaceId};
use crate::rules::status::Status;
use crate::store::{self, Tx};
use crate::usage::ledger::attribution::{self, Past};
use crate::usage::ledger::rates::Vcpus;
use crate::usage::ledger::tariff;
use crate::usage::ledger::transfer::{self, ExportedEvent};
use crate::{http, json, time_zones};

/// What a capsule that was written holds.
pub(super) struct Exported {
    pub slug: String,
    pub sha256: String,
    pub rows: Rows,
}

/// Where the lines go, counted and hashed on the way.
struct Sink<'a> {
    out: Out<'a>,
    hash: Sha256,
    text: usize,
    lines: usize,
}

enum Out<'a> {
    Plain(&'a mut dyn Write),
    Gzip(GzEncoder<Counted<'a>>),
}

/// Compressed bytes, of which a capsule that can be imported has only so many.
struct Counted<'a> {
    out: &'a mut dyn Write,
    bytes: usize,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

fn too_large() -> Error {
    Error::conflict(
        "CAPSULE_TOO_LARGE",
        format!(
            "this workspace has more than a capsule may hold ({MAX_EVENTS} events, {MAX_LINES} lines, {} MiB of text); \
             copy the whole database with `workspaced backup` instead",
            MAX_TEXT >> 20
        ),
    )
}

impl Sink<'_> {
    fn put(&mut self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_string(line).map_err(Error::internal)?;
        text.push('\n');
        self.hash.update(&text);
        self.text += text.len();
        self.lines += 1;
        if self.text > MAX_TEXT || self.lines > MAX_LINES {
            return Err(too_large());
        }
        match &mut self.out {
            Out::Plain(out) => out.write_all(text.as_bytes()),
            Out::Gzip(out) => out.write_all(text.as_bytes()),
        }
        .map_err(http::not_kept)
    }
}

/// Writes the workspace as a capsule to `out`, compressed if asked for.
///
/// # Errors
/// 409 when it is larger than a capsule may be, or its usage does not add up; when the store fails.
pub(super) fn write(
    tx: &Tx<'_>,
    tenant: TenantId,
    id: WorkspaceId,
    gzip: bool,
    out: &mut dyn Write,
) -> Result<Exported> {
    let contents = Contents::read_but_audit(tx, tenant, id)?;
    let mut sink = Sink {
        out: if gzip {
            Out::Gzip(GzEncoder::new(
                Counted { out, bytes: 0 },
                Compression::default(),
            ))
        } else {
            Out::Plain(out)
        },
        hash: Sha256::new(),
        text: 0,
        lines: 0,
    };
    let organization: String =
        tx.query_row("SELECT slug FROM tenants WHERE id = ?1", [tenant], |row| {
            row.get(0)
        })?;
    sink.put(&Line::Capsule(Head {
        format: FORMAT,
        schema: store::VERSION,
        made_by: concat!("workspaced ", env!("CARGO_PKG_VERSION")).into(),
        exported_at: contents.exported_at,
        workspace_id: id,
        organization,
    }))?;
    let (slug, mut rows) = (contents.workspace.slug.clone(), contents.rows());
    let (usage, corrections_micros) = transfer::metered(tx, id, contents.exported_at)?;
    let each = contents.computers.iter().map(|computer| &computer.usage);
    let sum = each.fold((0, 0), |sum, one| {
        (sum.0 + one.compute_ms, sum.1 + one.credit_ms)
    });
    let corrected: i64 = contents
        .events
        .iter()
        .filter_map(|event| event.amount_micros)
        .sum();
    if (usage.compute_ms, usage.credit_ms, corrections_micros) != (sum.0, sum.1, corrected) {
        return Err(Error::conflict(
            "USAGE_UNVERIFIED",
            "the usage of this workspace does not add up, so it is not exported; run `workspaced verify`",
        ));
    }
    contents.lines(&mut |line| sink.put(&line))?;
    let until = contents.exported_at;
    drop(contents);
    // The largest part goes from the database to the file row by row.
    audit(tx, tenant, id, until, &mut |row| {
        rows.audit += 1;
        sink.put(&Line::Audit(Box::new(row)))
    })?;
    let sha256 = HEXLOWER.encode(&sink.hash.clone().finalize());
    sink.put(&Line::End(End {
        rows,
        usage,
        corrections_micros,
        sha256: sha256.clone(),
    }))?;
    if let Out::Gzip(out) = sink.out
        && out.finish().map_err(http::not_kept)?.bytes > MAX_BODY
    {
        return Err(too_large());
    }
    Ok(Exported { slug, sha256, rows })
}

/// SHA-256 of everything but what was consumed up to the instant of the export: the same for two exports of
/// a workspace in which nothing happened in between.
#[derive(Default)]
pub(super) struct Digested(Sha256);

impl Digested {
    /// The next line between the head and the sums.
    pub(super) fn line(&mut self, mut line: Line) -> Result<()> {
        match &mut line {
            Line::Computer(computer) => computer.usage = Default::default(),
            // The present ones here join those that came along.
            Line::Workspace(workspace) => {
                workspace.vcpus.clear();
                workspace.prices.clear();
                workspace.tz = None;
            }
            _ => {}
        }
        let text = serde_json::to_vec(&line).map_err(Error::internal)?;
        self.0.update(text);
        Ok(())
    }

    pub(super) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// The digest of a workspace, which the caller has found to be the tenant's.
///
/// # Errors
/// 409 when it is larger than a capsule may be; when the store fails.
pub(super) fn digest(tx: &Tx<'_>, tenant: TenantId, id: WorkspaceId) -> Result<[u8; 32]> {
    let contents = Contents::read_but_audit(tx, tenant, id)?;
    let mut digest = contents.digest()?;
    let until = contents.exported_at;
    drop(contents);
    audit(tx, tenant, id, until, &mut |row| {
        digest.line(Line::Audit(Box::new(row)))
    })?;
    Ok(digest.finish())
}

/// Everything between the head and the sums.
struct Contents {
    pub exported_at: i64,
    pub workspace: Workspace,
    pub projects: Vec<Project>,
    pub computers: Vec<Computer>,
    pub domains: Vec<PreviewDomain>,
    pub events: Vec<ExportedEvent>,
}

impl Contents {
    /// All but those of the audit log.
    fn rows(&self) -> Rows {
        Rows {
            projects: self.projects.len(),
            computers: self.computers.len(),
            preview_domains: self.domains.len(),
            events: self.events.len(),
            audit: 0,
        }
    }

    /// The lines in their order.
    fn lines(&self, put: &mut dyn FnMut(Line) -> Result<()>) -> Result<()> {
        put(Line::Workspace(Box::new(self.workspace.clone())))?;
        let projects = self.projects.iter().cloned().map(Line::Project);
        let computers = self.computers.iter().cloned().map(Box::new);
        let domains = self.domains.iter().cloned().map(Line::PreviewDomain);
        let events = self.events.iter().cloned().map(Line::Event);
        projects
            .chain(computers.map(Line::Computer))
            .chain(domains)
            .chain(events)
            .try_for_each(put)
    }

    /// What [`Digested`] says of it.
    fn digest(&self) -> Result<Digested> {
        let mut digest = Digested::default();
        self.lines(&mut |line| digest.line(line))?;
        Ok(digest)
    }

    /// Reads a workspace, live or deleted, which the caller has found to be the tenant's, without its audit log.
    ///
    /// # Errors
    /// 409 when it is larger than a capsule may be; when the store fails.
    fn read_but_audit(tx: &Tx<'_>, tenant: TenantId, id: WorkspaceId) -> Result<Contents> {
        let mut histories = BTreeMap::new();
        let mut left = MAX_EVENTS;
        let corrections = transfer::corrections(tx, tenant, id, left + 1)?;
        left = left.checked_sub(corrections.len()).ok_or_else(too_large)?;
        // Deleted computers that never ran have no part in any bill.
        let mut ids: BTreeSet<ComputerId> =
            transfer::ever_ran(tx, tenant, id)?.into_iter().collect();
        ids.extend(column::<ComputerId>(
            tx,
            "SELECT id FROM computers WHERE tenant_id = ?1 AND workspace_id = ?2 AND deleted_at IS NULL",
            tenant,
            id,
        )?);
        for computer in ids {
            let chain = transfer::history_of(tx, tenant, computer, left + 1)?;
            left = left.checked_sub(chain.len()).ok_or_else(too_large)?;
            histories.insert(computer, chain);
        }
        // Events of our own hold even if the clock has stepped back since; what agents dated ahead does
        // not hold yet, and is theirs to report wherever the workspace is then.
        let own = histories.values().flatten().chain(&corrections);
        let newest = own
            .filter(|stored| stored.is_own())
            .map(|s| s.event.at)
            .max();
        let exported_at = newest.unwrap_or(0).max(tx.now().0);

        let mut reader = Reader {
            tx,
            tenant,
            workspace: id,
            exported_at,
            projects: BTreeMap::new(),
        };
        reader.live_projects()?;
        let mut events: Vec<(i64, ExportedEvent)> =
            corrections.into_iter().map(|s| (s.seq, s.event)).collect();
        let mut computers = Vec::new();
        for (computer, mut chain) in histories {
            chain.retain(|stored| stored.event.at <= exported_at);
            let (mut part, here) = transfer::inside(chain, id);
            if let Some(computer) = reader.computer(computer, &mut part, here, exported_at)? {
                computers.push(computer);
                events.append(&mut part);
            }
        }
        events.sort_unstable_by_key(|(seq, _)| *seq);
        computers.sort_by_key(|computer| (computer.created_at, computer.id));
        let mut projects: Vec<Project> = reader.projects.values().cloned().collect();
        projects.sort_by_key(|project| (project.created_at, project.id));
        let mut workspace = workspace(tx, tenant, id)?;
        workspace.prices = tariff::carried(tx, id)?;
        workspace.tz = time_zones::of(tx, tenant, Some(id))?;
        workspace.vcpus = Vcpus::load(tx, id)?.carried();
        workspace
            .vcpus
            .retain(|since| since.effective_from <= exported_at);
        let live = projects.iter().any(|p| p.deleted_at.is_none())
            || computers.iter().any(|c| c.deleted_at.is_none());
        if workspace.deleted_at.is_some() && live {
            return Err(Error::conflict(
                "CONFLICT",
                "this workspace is still being deleted; export it again in a moment",
            ));
        }
        Ok(Contents {
            exported_at,
            workspace,
            domains: reader.domains()?,
            projects,
            computers,
            events: events.into_iter().map(|(_, event)| event).collect(),
        })
    }
}

fn column<T: rusqlite::types::FromSql>(
    tx: &Tx<'_>,
    sql: &str,
    tenant: TenantId,
    workspace: WorkspaceId,
) -> Result<Vec<T>> {
    Ok(tx
        .prepare_cached(sql)?
        .query_map((tenant, workspace), |row| row.get(0))?
        .collect::<Result<_, _>>()?)
}

/// The id that something goes by in the capsule of a workspace which it has left: its own id is in use
/// where it is now, and both workspaces may be imported into one installation. The same in every
/// export.
fn former(id: Uuid, workspace: WorkspaceId) -> Uuid {
    let mut hash = Sha256::new();
    hash.update(b"workspaced: what has left a workspace");
    hash.update(workspace.0.as_bytes());
    hash.update(id.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

struct Reader<'a, 'tx> {
    tx: &'a Tx<'tx>,
    tenant: TenantId,
    workspace: WorkspaceId,
    exported_at: i64,
    /// By the id that they have here.
    projects: BTreeMap<ProjectId, Project>,
}

impl Reader<'_, '_> {
    fn live_projects(&mut self) -> Result<()> {
        let found = self
            .tx
            .prepare_cached(
                "SELECT * FROM projects WHERE tenant_id = ?1 AND workspace_id = ?2 AND deleted_at IS NULL",
            )?
            .query_map((self.tenant, self.workspace), project)?
            .collect::<Result<Vec<_>, _>>()?;
        for mut found in found {
            found.past_external_ids = self.past(found.id.0)?;
            self.projects.insert(found.id, found);
        }
        Ok(())
    }

    /// What a computer or project was attributed to before. What a clock that was ahead has dated after
    /// this export happened before it.
    fn past(&self, subject: Uuid) -> Result<Vec<Past>> {
        let mut past = attribution::past(self.tx, subject)?;
        past.iter_mut()
            .for_each(|one| one.until = one.until.min(self.exported_at));
        past.dedup_by_key(|one| one.until);
        Ok(past)
    }

    /// The id in the capsule of a project that an event or a computer names.
    fn project(&mut self, id: ProjectId) -> Result<ProjectId> {
        if let Some(known) = self.projects.get(&id) {
            return Ok(known.id);
        }
        let (mut found, workspace): (Project, WorkspaceId) = self.tx.row(
            "SELECT * FROM projects WHERE id = ?1 AND tenant_id = ?2",
            (id, self.tenant),
            |row| Ok((project(row)?, row.get("workspace_id")?)),
        )?;
        found.past_external_ids = self.past(id.0)?;
        if workspace != self.workspace {
            found.id = ProjectId(former(id.0, self.workspace));
            found.deleted_at = Some(found.updated_at);
            found.is_default = false;
        }
        let known = found.id;
        self.projects.insert(id, found);
        Ok(known)
    }

    /// The row of a computer, and its history brought in line with it; `None` for one that has no part
    /// in this workspace.
    fn computer(
        &mut self,
        id: ComputerId,
        part: &mut [(i64, ExportedEvent)],
        here: bool,
        until: i64,
    ) -> Result<Option<Computer>> {
        let found = self
            .tx
            .row(
                "SELECT * FROM computers WHERE id = ?1 AND tenant_id = ?2",
                (id, self.tenant),
                computer,
            )
            .optional()?;
        let (Some(mut found), Some((_, last))) = (found, part.last_mut()) else {
            return Ok(None);
        };
        found.past_external_ids = self.past(id.0)?;
        if !here {
            last.status = Some(Status::Destroyed);
            found.id = ComputerId(former(id.0, self.workspace));
            found.deleted_at = Some(last.at);
        }
        // What holds at the instant of the export, also where the row is about to follow.
        found.size = last.size.unwrap_or(found.size);
        found.status = last.status.unwrap_or(found.status);
        if let Some(project) = last.project_id {
            found.project_id = project;
        }
        found.project_id = self.project(found.project_id)?;
        if found.status != Status::Destroyed {
            found.deleted_at = None;
        } else if found.deleted_at.is_none() {
            found.deleted_at = Some(last.at);
        }
        for (_, event) in &mut *part {
            event.computer_id = Some(found.id);
            event.project_id = event.project_id.map(|id| self.project(id)).transpose()?;
        }
        found.usage = {
            let flows = part.iter().map(|(_, event)| event.flow());
            transfer::consumed(flows, until)?
        };
        Ok(Some(found))
    }

    fn domains(&self) -> Result<Vec<PreviewDomain>> {
        let mut statement = self.tx.prepare_cached(
            "SELECT domain FROM preview_domains WHERE scope = ?1 AND owner_id = ?2 AND tenant_id = ?3",
        )?;
        let mut found = Vec::new();
        let owners = self.projects.values().filter(|p| p.deleted_at.is_none());
        let projects = owners.map(|p| ("project", p.id.0, Some(p.id)));
        for (scope, owner, project_id) in
            std::iter::once(("workspace", self.workspace.0, None)).chain(projects)
        {
            let domain = statement
                .query_row((scope, owner.as_bytes(), self.tenant), |row| row.get(0))
                .optional()?;
            found.extend(domain.map(|domain| PreviewDomain { project_id, domain }));
        }
        Ok(found)
    }
}

fn workspace(tx: &Tx<'_>, tenant: TenantId, id: WorkspaceId) -> Result<Workspace> {
    Ok(tx.row(
        "SELECT * FROM workspaces WHERE id = ?1 AND tenant_id = ?2",
        (id, tenant),
        |row| {
            Ok(Workspace {
                id: row.get("id")?,
                name: row.get("name")?,
                slug: row.get("slug")?,
                external_workspace_id: row.get("external_workspace_id")?,
                external_user_id: row.get("external_user_id")?,
                description: row.get("description")?,
                metadata: row.get("metadata")?,
                max_computers: row.get("max_computers")?,
                max_computer_size: row.get("max_computer_size")?,
                default_computer_size: row.get("default_computer_size")?,
                default_auto_stop_seconds: row.get("default_auto_stop_seconds")?,
                allowed_template_types: json::column(row, "allowed_template_types")?,
                created_at: row.get("created_at")?,
                updated_at: row.get("updated_at")?,
                deleted_at: row.get("deleted_at")?,
                prices: Vec::new(),
                vcpus: Vec::new(),
                tz: None,
            })
        },
    )?)
}

fn project(row: &Row<'_>) -> rusqlite::Result<Project> {
    Ok(Project {
        id: row.get("id")?,
        external_project_id: row.get("external_project_id")?,
        name: row.get("name")?,
        slug: row.get("slug")?,
        description: row.get("description")?,
        metadata: row.get("metadata")?,
        is_default: row.get("is_default")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
        deleted_at: row.get("deleted_at")?,
        past_external_ids: Vec::new(),
    })
}

fn computer(row: &Row<'_>) -> rusqlite::Result<Computer> {
    Ok(Computer {
        id: row.get("id")?,
        project_id: row.get("project_id")?,
        name: row.get("name")?,
        slug: row.get("slug")?,
        template_type: row.get("template_type")?,
        size: row.get("size")?,
        status: row.get("status")?,
        driver: row.get("driver")?,
        visibility: row.get("visibility")?,
        metadata: row.get("metadata")?,
        selected_apps: json::column(row, "selected_apps")?,
        settings: row.get("settings")?,
        external_user_id: row.get("external_user_id")?,
        external_project_id: row.get("external_project_id")?,
        auto_stop_seconds: row.get("auto_stop_seconds")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
        started_at: row.get("started_at")?,
        stopped_at: row.get("stopped_at")?,
        deleted_at: row.get("deleted_at")?,
        past_external_ids: Vec::new(),
        usage: Default::default(),
    })
}

/// The audit log of the workspace, row by row. That it was exported or imported is about copies of it.
fn audit(
    tx: &Tx<'_>,
    tenant: TenantId,
    id: WorkspaceId,
    until: i64,
    visit: &mut dyn FnMut(Audit) -> Result<()>,
) -> Result<()> {
    let read = |row: &Row<'_>| -> rusqlite::Result<Audit> {
        Ok(Audit {
            // What a clock that was ahead has dated after this export happened before it.
            at: row.get::<_, i64>("at")?.min(until),
            actor_type: row.get("actor_type")?,
            actor_id: row
                .get::<_, Option<[u8; 16]>>("actor_id")?
                .map(Uuid::from_bytes),
            actor_label: row.get("actor_label")?,
            ip_address: row.get("ip_address")?,
            request_id: row.get("request_id")?,
            r#type: row.get("type")?,
            resource_type: row.get("resource_type")?,
            resource_id: Uuid::from_bytes(row.get("resource_id")?),
            before: row.get("before")?,
            after: row.get("after")?,
        })
    };
    let mut statement = tx.prepare_cached(
        "SELECT * FROM audit_log WHERE workspace_id = ?2 AND tenant_id = ?1
                 AND type NOT IN ('workspace.exported', 'workspace.imported')
             ORDER BY seq LIMIT ?3",
    )?;
    let most = i64::try_from(MAX_LINES).unwrap_or(i64::MAX);
    let mut rows = statement.query((tenant, id, most))?;
    while let Some(row) = rows.next()? {
        visit(read(row)?)?;
    }
    Ok(())
}
