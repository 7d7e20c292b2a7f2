//! Reading a workspace into a capsule: everything from one read transaction, which is one snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

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
use crate::usage::ledger::labels;
use crate::usage::ledger::rates::Vcpus;
use crate::usage::ledger::tariff;
use crate::usage::ledger::transfer::{self, Consuming, ExportedEvent, Inside};
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
        self.text(&serde_json::to_vec(line).map_err(Error::internal)?)
    }

    fn text(&mut self, line: &[u8]) -> Result<()> {
        self.text += line.len() + 1;
        self.lines += 1;
        if self.text > MAX_TEXT || self.lines > MAX_LINES {
            return Err(too_large());
        }
        for bytes in [line, b"\n"] {
            self.hash.update(bytes);
            match &mut self.out {
                Out::Plain(out) => out.write_all(bytes),
                Out::Gzip(out) => out.write_all(bytes),
            }
            .map_err(http::not_kept)?;
        }
        Ok(())
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
    let mut contents = Contents::read_but_audit(tx, tenant, id, &|_| {})?;
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
    if (usage.compute_ms, usage.credit_ms, corrections_micros) != contents.sums {
        return Err(Error::conflict(
            "USAGE_UNVERIFIED",
            "the usage of this workspace does not add up, so it is not exported; run `workspaced verify`",
        ));
    }
    contents.lines(&mut |line| sink.text(line))?;
    audit(tx, tenant, id, contents.exported_at, &mut |row| {
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
        without_sums(&mut line);
        self.0
            .update(serde_json::to_vec(&line).map_err(Error::internal)?);
        Ok(())
    }

    pub(super) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// Takes out of a line what [`Digested`] leaves out.
fn without_sums(line: &mut Line) {
    match line {
        Line::Computer(computer) => computer.usage = Default::default(),
        // The present ones here join those that came along.
        Line::Workspace(workspace) => {
            workspace.vcpus.clear();
            workspace.prices.clear();
            workspace.tz = None;
        }
        _ => {}
    }
}

/// The digest of a workspace, which the caller has found to be the tenant's.
///
/// # Errors
/// 409 when it is larger than a capsule may be; when the store fails.
pub(super) fn digest(tx: &Tx<'_>, tenant: TenantId, id: WorkspaceId) -> Result<[u8; 32]> {
    let mut contents = Contents::read_but_audit(tx, tenant, id, &without_sums)?;
    let mut digest = Digested::default();
    contents.lines(&mut |line| {
        digest.0.update(line);
        Ok(())
    })?;
    audit(tx, tenant, id, contents.exported_at, &mut |row| {
        digest.line(Line::Audit(Box::new(row)))
    })?;
    Ok(digest.finish())
}

/// Lines that are read in another order than they are written in. They wait in a file without a name, beside the
/// database, so that a large workspace costs no memory; here is only where they are.
struct Waiting {
    file: BufWriter<File>,
    length: u64,
}

/// Where a line is in [`Waiting`]: from, and how long.
type Place = (u64, usize);

impl Waiting {
    fn beside(database: &Path) -> Result<Self> {
        let directory = database.parent().unwrap_or(Path::new("."));
        let file = tempfile::tempfile_in(directory).map_err(http::not_kept)?;
        Ok(Waiting {
            file: BufWriter::new(file),
            length: 0,
        })
    }

    fn keep(&mut self, line: &[u8]) -> Result<Place> {
        let place = (self.length, line.len());
        self.length += line.len() as u64;
        if self.length > MAX_TEXT as u64 {
            return Err(too_large());
        }
        self.file.write_all(line).map_err(http::not_kept)?;
        Ok(place)
    }

    /// Hands the lines to `put` in this order.
    fn each(
        &mut self,
        places: impl IntoIterator<Item = Place>,
        put: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        self.file.flush().map_err(http::not_kept)?;
        let mut line = Vec::new();
        for (from, length) in places {
            line.resize(length, 0);
            let file = self.file.get_ref();
            file.read_exact_at(&mut line, from)
                .map_err(http::not_kept)?;
            put(&line)?;
        }
        Ok(())
    }
}

/// Everything between the head and the sums.
struct Contents {
    pub exported_at: i64,
    pub workspace: Workspace,
    projects: Vec<Project>,
    domains: Vec<PreviewDomain>,
    /// In their order, by when they were made and their id.
    computers: Vec<(i64, ComputerId, Place)>,
    /// In their order, by their number.
    events: Vec<(i64, Place)>,
    waiting: Waiting,
    /// What the computers consumed and what was corrected: milliseconds, credits per hour × milliseconds,
    /// micro-credits.
    sums: (i64, i64, i64),
    edit: &'static dyn Fn(&mut Line),
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
    fn lines(&mut self, put: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let edit = self.edit;
        let line = |mut line: Line, put: &mut dyn FnMut(&[u8]) -> Result<()>| {
            edit(&mut line);
            put(&serde_json::to_vec(&line).map_err(Error::internal)?)
        };
        line(Line::Workspace(Box::new(self.workspace.clone())), put)?;
        for project in &self.projects {
            line(Line::Project(project.clone()), put)?;
        }
        let computers = self.computers.iter().map(|(_, _, place)| *place);
        self.waiting.each(computers, put)?;
        for domain in &self.domains {
            line(Line::PreviewDomain(domain.clone()), put)?;
        }
        let events = self.events.iter().map(|(_, place)| *place);
        self.waiting.each(events, put)
    }

    /// Reads a workspace, live or deleted, which the caller has found to be the tenant's, without its audit log.
    /// Every line is as `edit` leaves it.
    ///
    /// # Errors
    /// 409 when it is larger than a capsule may be; when the store fails.
    fn read_but_audit(
        tx: &Tx<'_>,
        tenant: TenantId,
        id: WorkspaceId,
        edit: &'static dyn Fn(&mut Line),
    ) -> Result<Contents> {
        // Deleted computers that never ran have no part in any bill.
        let mut ids: BTreeSet<ComputerId> =
            transfer::ever_ran(tx, tenant, id)?.into_iter().collect();
        ids.extend(column::<ComputerId>(
            tx,
            "SELECT id FROM computers WHERE tenant_id = ?1 AND workspace_id = ?2 AND deleted_at IS NULL",
            tenant,
            id,
        )?);
        // Events of our own hold even if the clock has stepped back since; what agents dated ahead does
        // not hold yet, and is theirs to report wherever the workspace is then.
        let mut newest = transfer::last_correction(tx, tenant, id)?;
        for computer in &ids {
            newest = newest.max(transfer::last_own(tx, tenant, *computer)?);
        }
        let exported_at = newest.unwrap_or(0).max(tx.now().0);

        let database = tx.path().map(Path::new).unwrap_or(Path::new("."));
        let mut reader = Reader {
            tx,
            tenant,
            workspace: id,
            exported_at,
            projects: BTreeMap::new(),
            computers: Vec::new(),
            events: Vec::new(),
            waiting: Waiting::beside(database)?,
            sums: (0, 0, 0),
            read: 0,
            live: false,
            edit,
        };
        reader.live_projects()?;
        transfer::each_correction(tx, tenant, id, &mut |stored| {
            reader.count()?;
            reader.sums.2 += stored.event.amount_micros.unwrap_or(0);
            reader.event(stored.seq, stored.event)
        })?;
        for computer in ids {
            reader.computer(computer)?;
        }
        reader.events.sort_unstable_by_key(|(seq, _)| *seq);
        reader
            .computers
            .sort_unstable_by_key(|(made, id, _)| (*made, *id));
        let mut projects: Vec<Project> = reader.projects.values().cloned().collect();
        projects.sort_by_key(|project| (project.created_at, project.id));
        let mut workspace = workspace(tx, tenant, id)?;
        workspace.prices = tariff::carried(tx, tenant, id)?;
        workspace.tz = time_zones::of(tx, tenant, Some(id))?;
        workspace.past_metadata = labels::past(tx, id.0, exported_at)?;
        workspace.vcpus = Vcpus::load(tx, id)?.carried();
        workspace
            .vcpus
            .retain(|since| since.effective_from <= exported_at);
        let live = reader.live || projects.iter().any(|p| p.deleted_at.is_none());
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
            computers: reader.computers,
            events: reader.events,
            waiting: reader.waiting,
            sums: reader.sums,
            edit,
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
    computers: Vec<(i64, ComputerId, Place)>,
    events: Vec<(i64, Place)>,
    waiting: Waiting,
    /// As those of [`Contents`].
    sums: (i64, i64, i64),
    /// Events that were read.
    read: usize,
    /// Whether a computer is still there.
    live: bool,
    edit: &'static dyn Fn(&mut Line),
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
            found.past_metadata = labels::past(self.tx, found.id.0, self.exported_at)?;
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
        found.past_metadata = labels::past(self.tx, id.0, self.exported_at)?;
        if workspace != self.workspace {
            found.id = ProjectId(former(id.0, self.workspace));
            found.deleted_at = Some(found.updated_at);
            found.is_default = false;
        }
        let known = found.id;
        self.projects.insert(id, found);
        Ok(known)
    }

    fn count(&mut self) -> Result<()> {
        self.read += 1;
        if self.read > MAX_EVENTS {
            return Err(too_large());
        }
        Ok(())
    }

    fn keep(&mut self, mut line: Line) -> Result<Place> {
        (self.edit)(&mut line);
        let text = serde_json::to_vec(&line).map_err(Error::internal)?;
        self.waiting.keep(&text)
    }

    fn event(&mut self, seq: i64, event: ExportedEvent) -> Result<()> {
        let place = self.keep(Line::Event(event))?;
        self.events.push((seq, place));
        Ok(())
    }

    /// A computer with its history, brought in line with each other; nothing of one that has no part in this
    /// workspace.
    fn computer(&mut self, id: ComputerId) -> Result<()> {
        let (tx, tenant, until) = (self.tx, self.tenant, self.exported_at);
        let inside = Inside::of(tx, tenant, id, self.workspace, until)?;
        let sql = "SELECT * FROM computers WHERE id = ?1 AND tenant_id = ?2";
        let found = tx.row(sql, (id, tenant), computer).optional()?;
        let (Some(mut inside), Some(mut found)) = (inside, found) else {
            return transfer::each_of(tx, tenant, id, &mut |_| self.count());
        };
        found.past_external_ids = self.past(id.0)?;
        found.past_metadata = labels::past(self.tx, id.0, self.exported_at)?;
        let here = transfer::is_there(tx, tenant, id, self.workspace, until)?;
        if !here {
            found.id = ComputerId(former(id.0, self.workspace));
        }
        let mut consuming = Consuming::until(until);
        // The last one is not known to be it before there is no other.
        let mut last: Option<(i64, ExportedEvent)> = None;
        transfer::each_of(tx, tenant, id, &mut |stored| {
            self.count()?;
            let Some(next) = inside.next(stored) else {
                return Ok(());
            };
            match last.replace(next) {
                Some(before) => self.computers_event(found.id, before, &mut consuming),
                None => Ok(()),
            }
        })?;
        let Some((seq, mut last)) = last else {
            return Ok(());
        };
        if !here {
            last.status = Some(Status::Destroyed);
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
            self.live = true;
        } else if found.deleted_at.is_none() {
            found.deleted_at = Some(last.at);
        }
        self.computers_event(found.id, (seq, last), &mut consuming)?;
        found.usage = consuming.consumed()?;
        self.sums.0 += found.usage.compute_ms;
        self.sums.1 += found.usage.credit_ms;
        let key = (found.created_at, found.id);
        let place = self.keep(Line::Computer(Box::new(found)))?;
        self.computers.push((key.0, key.1, place));
        Ok(())
    }

    fn computers_event(
        &mut self,
        id: ComputerId,
        (seq, mut event): (i64, ExportedEvent),
        consuming: &mut Consuming,
    ) -> Result<()> {
        event.computer_id = Some(id);
        event.project_id = event.project_id.map(|id| self.project(id)).transpose()?;
        consuming.add(event.flow());
        self.event(seq, event)
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
                past_metadata: Vec::new(),
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
        past_metadata: Vec::new(),
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
        past_metadata: Vec::new(),
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
            actor: row.get("actor")?,
        })
    };
    let sql = "SELECT * FROM audit_log WHERE workspace_id = ?2 AND tenant_id = ?1
                 AND type NOT IN ('workspace.exported', 'workspace.imported')
             ORDER BY seq LIMIT ?3";
    let mut statement = tx.prepare_cached(sql)?;
    let most = i64::try_from(MAX_LINES).unwrap_or(i64::MAX);
    let mut rows = statement.query((tenant, id, most))?;
    while let Some(row) = rows.next()? {
        visit(read(row)?)?;
    }
    Ok(())
}
