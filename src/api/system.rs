//! What the people who run this see at once: the installation itself, and one organization in short.

use std::collections::BTreeMap;
use std::path::Path;

use axum::Json;
use axum::extract::State;
use rusqlite::named_params;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::engine::{self, EngineView};
use crate::access::caller::Caller;
use crate::api::app::App;
use crate::api::attention::{self, LongRunning, Month, Setup, WebhookProblem};
use crate::clock::{Mode, Timestamp};
use crate::error::Result;
use crate::ids::WorkspaceId;
use crate::limits;
use crate::rules::catalog::Catalog;
use crate::rules::config::{Config, WebhookReach};
use crate::rules::public_url::PublicUrl;
use crate::rules::size::Size;
use crate::rules::status::Status;
use crate::store::{self, Tx};
use crate::usage::ledger::{agreed, repair, tariff};

/// Rows of each list of an overview.
const ROWS: i64 = 10;
/// From this share of its cap on, a workspace is near it: three quarters.
const NEAR: &str = "w.computer_count * 4 >= w.max_computers * 3";

/// `GET /system`
#[derive(Serialize, ToSchema)]
pub struct System {
    /// Of this program.
    version: &'static str,
    /// Development mode: everybody knows the key.
    dev: bool,
    /// When this program started.
    started_at: Timestamp,
    /// Whole seconds since then.
    uptime_seconds: i64,
    /// `system`, or how the virtual clock goes: `frozen` or `running`.
    clock: &'static str,
    /// Its time.
    now: Timestamp,
    /// What is wrong with the clock of this machine; null = nothing.
    clock_fault: Option<String>,
    /// Compute events of the service itself that are dated ahead of the clock.
    events_ahead: i64,
    /// Fault rules that may still fire; null where there is no emulator.
    faults: Option<usize>,
    database: Database,
    counts: Counts,
    /// The container engine that runs computers; null where they are simulated.
    engine: Option<EngineView>,
    /// What it was started with, by flag.
    flags: Vec<Flag>,
}

/// A flag in effect.
#[derive(Serialize, ToSchema)]
pub struct Flag {
    /// As on the command line
    name: String,
    value: String,
}

/// All flags: what the service goes by where that is more than what was given, and the others as they were given.
fn flags(config: &Config) -> Vec<Flag> {
    let mut all = in_effect(config);
    for (name, value) in &config.told {
        if !all.iter().any(|flag| flag.name == *name) {
            all.push(Flag {
                name: name.clone(),
                value: value.clone(),
            });
        }
    }
    all
}

fn in_effect(config: &Config) -> Vec<Flag> {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
    let path = |path: &Path| path.display().to_string();
    let backups = config.backups.as_ref();
    let all = [
        (
            "--public-url",
            or_none(config.public_url.as_ref().map(PublicUrl::base)),
        ),
        ("--base-domain", config.base_domain.clone()),
        ("--proxy-host", config.proxy_host.clone()),
        (
            "--driver",
            if config.engine.is_some() {
                "docker"
            } else {
                "simulated"
            }
            .to_owned(),
        ),
        ("--dev", config.dev.to_string()),
        ("--strict", config.strict.to_string()),
        ("--no-replay-lost", (!config.replay_lost).to_string()),
        (
            "--dns-resolver",
            or_none(config.dns_resolver.map(|at| at.to_string())),
        ),
        ("--provision-ms", config.delays.provision_ms.to_string()),
        ("--start-ms", config.delays.start_ms.to_string()),
        ("--stop-ms", config.delays.stop_ms.to_string()),
        ("--readers", config.readers.to_string()),
        (
            "--address-rate-limit",
            or_none(config.address_rate_limit.map(|n| n.to_string())),
        ),
        ("--low-credits", config.low_credits.to_string()),
        (
            "--webhook-allow-private",
            (config.webhook_reach == WebhookReach::Private).to_string(),
        ),
        (
            "--rate-limit",
            or_none(config.rate_limit.map(|n| n.to_string())),
        ),
        ("--max-connections", config.max_connections.to_string()),
        (
            "--request-timeout",
            format!("{} s", config.request_timeout.as_secs()),
        ),
        (
            "--trusted-proxy",
            or_none(
                Some(
                    config
                        .trusted_proxies
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join(", "),
                )
                .filter(|text| !text.is_empty()),
            ),
        ),
        (
            "--oidc-issuer",
            or_none(config.oidc.as_ref().map(|oidc| oidc.issuer.clone())),
        ),
        (
            "--audit-retention-days",
            or_none(config.audit_retention_days.map(|n| n.to_string())),
        ),
        (
            "--keep-deleted",
            match config.keep_deleted_ms / 3_600_000 {
                hours if hours % 24 == 0 => format!("{} d", hours / 24),
                hours => format!("{hours} h"),
            },
        ),
        (
            "--backup-dir",
            or_none(config.backups.as_ref().map(|backups| path(&backups.dir))),
        ),
        (
            "--backup-every",
            or_none(backups.map(|backups| format!("{} s", backups.every.as_secs()))),
        ),
        (
            "--backup-keep",
            or_none(backups.map(|backups| backups.keep.to_string())),
        ),
        (
            "--statements-dir",
            or_none(config.statements_dir.as_deref().map(path)),
        ),
    ];
    all.into_iter()
        .map(|(name, value)| Flag {
            name: name.to_owned(),
            value,
        })
        .collect()
}

/// The database file.
#[derive(Serialize, ToSchema)]
pub struct Database {
    /// Version of its schema.
    schema_version: i64,
    /// Of SQLite.
    sqlite_version: &'static str,
    /// Size of the file.
    database_bytes: u64,
    /// Size of the write-ahead log beside it.
    wal_bytes: u64,
    /// What is free on its disk; null where that cannot be asked.
    disk_free_bytes: Option<u64>,
    /// Connections that read; one more writes.
    readers: usize,
}

/// How much there is, in all organizations.
#[derive(Serialize, ToSchema)]
pub struct Counts {
    organizations: i64,
    workspaces: i64,
    projects: i64,
    computers: i64,
    /// Rows of the history that is billed.
    compute_events: i64,
    /// Rows of the audit log.
    audit_events: i64,
    /// Sign-in sessions.
    sessions: i64,
    /// Live event streams that are open.
    event_streams: usize,
}

fn file_size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}

/// `GET /system`
pub async fn system(State(app): State<App>, _: Caller) -> Result<Json<System>> {
    let streams = app.streams.count();
    let counts = app.store.read(move |tx| {
        // Kept counters and the last number of append-only tables: nothing is scanned.
        let sql = "SELECT count(*), coalesce(sum(workspace_count), 0), coalesce(sum(project_count), 0),
                     coalesce(sum(computer_count), 0) FROM tenants";
        let (organizations, workspaces, projects, computers) = tx.row(
            sql,
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )?;
        let number = |sql: &str| -> Result<i64> {
            Ok(tx.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
        };
        let counts = Counts {
            organizations,
            workspaces,
            projects,
            computers,
            compute_events: number("SELECT coalesce(max(seq), 0) FROM compute_events")?,
            audit_events: number(
                "SELECT max(coalesce((SELECT max(seq) FROM audit_log), 0), audit_floor) - audit_skipped FROM installation WHERE id = 1",
            )?,
            sessions: number("SELECT count(*) FROM sessions")?,
            event_streams: streams,
        };
        Ok((counts, repair::count_ahead(tx)?))
    });
    let (counts, events_ahead) = counts.await?;
    let now = app.store.now();
    let path = app.store.path();
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    Ok(Json(System {
        version: env!("CARGO_PKG_VERSION"),
        dev: app.config.dev,
        started_at: app.started_at,
        uptime_seconds: (now.0 - app.started_at.0).max(0) / 1000,
        clock: match app.store.clock().course().map(|course| course.mode) {
            None | Some(Mode::Real) => "system",
            Some(Mode::Frozen) => "frozen",
            Some(Mode::Running) => "running",
        },
        now,
        clock_fault: app.store.clock().fault(),
        events_ahead,
        faults: app
            .config
            .virtual_clock
            .then(|| app.emulator.faults.active(now)),
        database: Database {
            schema_version: store::VERSION,
            sqlite_version: rusqlite::version(),
            database_bytes: file_size(path),
            wal_bytes: file_size(Path::new(&wal)),
            disk_free_bytes: rustix::fs::statvfs(path)
                .ok()
                .map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize)),
            readers: app.config.readers,
        },
        counts,
        engine: engine::view(&app.store, &app.fleet).await?,
        flags: flags(&app.config),
    }))
}

/// `GET /overview`
#[derive(Serialize, ToSchema)]
pub struct Overview {
    /// The instant of this answer.
    as_of: Timestamp,
    workspaces: i64,
    projects: i64,
    computers: OverviewComputers,
    /// Credits an hour as long as nothing changes: what runs, at today's rates.
    burn_rate_credits_per_hour: i64,
    /// Ceilings of the organization that are set, and what is used of each.
    ceilings: Vec<Ceiling>,
    /// Workspaces that use three quarters of their cap or more, the fullest first.
    near_limit: Vec<NearLimit>,
    /// Preview domains whose DNS does not lead here, longest known first.
    domain_problems: Vec<DomainProblem>,
    /// Computers that have been running for two days or more without an idle auto-stop: those that run the longest,
    /// the dearest of them first.
    long_running: Vec<LongRunning>,
    /// How many of them there are.
    long_running_total: i64,
    /// Webhooks that do not deliver.
    webhook_problems: Vec<WebhookProblem>,
    month: Month,
    setup: Setup,
}

/// Live computers by status; statuses without any are left out.
#[derive(Serialize, ToSchema)]
pub struct OverviewComputers {
    total: i64,
    by_status: BTreeMap<String, i64>,
}

/// One ceiling.
#[derive(Serialize, ToSchema)]
pub struct Ceiling {
    limit: &'static str,
    max: i64,
    current: i64,
}

/// One workspace near its cap.
#[derive(Serialize, ToSchema)]
pub struct NearLimit {
    workspace_id: WorkspaceId,
    name: String,
    computer_count: i64,
    max_computers: i64,
}

/// One preview domain that does not work.
#[derive(Serialize, ToSchema)]
pub struct DomainProblem {
    /// organization, workspace or project
    scope: String,
    owner_id: Uuid,
    domain: String,
    /// pending or failed
    dns_status: String,
    /// Why the last check could not ask
    last_error: Option<String>,
    checked_at: Option<Timestamp>,
}

/// `GET /overview`
pub async fn overview(State(app): State<App>, caller: Caller) -> Result<Json<Overview>> {
    let store = app.store.clone();
    Ok(Json(store.read(move |tx| read(tx, &app, &caller)).await?))
}

fn read(tx: &Tx<'_>, app: &App, caller: &Caller) -> Result<Overview> {
    let tenant = caller.tenant_id();
    let (by_status, burn) = running(tx, &app.catalog, caller)?;
    let ceilings = limits::ceilings(tx, &app.config.file, tenant)?;
    let used = |name: &str| {
        ceilings
            .iter()
            .find(|(limit, _, _)| *limit == name)
            .map_or(0, |(_, _, used)| *used)
    };
    let near_limit = tx
        .prepare_cached(&format!(
            "SELECT w.id, w.name, w.computer_count, w.max_computers FROM workspaces w
             WHERE w.tenant_id = ?1 AND w.deleted_at IS NULL AND w.max_computers IS NOT NULL
                 AND w.computer_count > 0 AND {NEAR}
             ORDER BY w.computer_count * 1.0 / max(w.max_computers, 1) DESC, w.name LIMIT ?2"
        ))?
        .query_map((tenant, ROWS), |row| {
            Ok(NearLimit {
                workspace_id: row.get(0)?,
                name: row.get(1)?,
                computer_count: row.get(2)?,
                max_computers: row.get(3)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    let sql = "SELECT scope, owner_id, domain, dns_status, last_error, checked_at FROM preview_domains
             WHERE tenant_id = :tenant AND (dns_status <> 'verified' OR last_error IS NOT NULL)
                 AND NOT EXISTS (SELECT 1 FROM imports i WHERE i.workspace_id = owner_id
                     OR i.workspace_id = (SELECT p.workspace_id FROM projects p WHERE p.id = owner_id))
             ORDER BY updated_at LIMIT :rows";
    let domain_problems = tx
        .prepare_cached(sql)?
        .query_map(named_params! { ":tenant": tenant, ":rows": ROWS }, |row| {
            Ok(DomainProblem {
                scope: row.get("scope")?,
                owner_id: Uuid::from_bytes(row.get("owner_id")?),
                domain: row.get("domain")?,
                dns_status: row.get("dns_status")?,
                last_error: row.get("last_error")?,
                checked_at: row.get("checked_at")?,
            })
        })?
        .collect::<Result<_, _>>()?;
    let (long_running, long_running_total) = attention::long_running(tx, caller)?;
    Ok(Overview {
        as_of: tx.now(),
        workspaces: used("max_workspaces"),
        projects: used("max_projects"),
        computers: OverviewComputers {
            total: used("max_computers"),
            by_status,
        },
        burn_rate_credits_per_hour: burn,
        ceilings: ceilings
            .iter()
            .filter_map(|(limit, max, current)| {
                max.map(|max| Ceiling {
                    limit,
                    max,
                    current: *current,
                })
            })
            .collect(),
        near_limit,
        domain_problems,
        long_running,
        long_running_total,
        webhook_problems: attention::webhook_problems(tx, caller)?,
        month: attention::month(tx, tenant)?,
        setup: attention::setup(tx, tenant, app.config.backups.is_some())?,
    })
}

/// Live computers by status, and what those that run cost an hour.
fn running(
    tx: &Tx<'_>,
    catalog: &Catalog,
    caller: &Caller,
) -> Result<(BTreeMap<String, i64>, i64)> {
    // By workspace, because the index that counts without touching a row begins with it.
    let sql = "SELECT c.status, c.size, count(*), NULL FROM workspaces w CROSS JOIN computers c
             ON c.workspace_id = w.id AND c.deleted_at IS NULL
         WHERE w.tenant_id = ?1 AND w.deleted_at IS NULL GROUP BY c.status, c.size";
    // One by one only where a workspace has other prices than its organization.
    let each = "SELECT c.status, c.size, count(*), w.id FROM workspaces w CROSS JOIN computers c
             ON c.workspace_id = w.id AND c.deleted_at IS NULL
         WHERE w.tenant_id = ?1 AND w.deleted_at IS NULL GROUP BY w.id, c.status, c.size";
    let tenant = caller.tenant_id();
    let own_prices = agreed::any_workspace(tx, tenant)?;
    let mut statement = tx.prepare_cached(if own_prices { each } else { sql })?;
    let rows = statement.query_map([tenant], |row| {
        Ok((
            row.get::<_, Status>(0)?,
            row.get::<_, Size>(1)?,
            row.get::<_, i64>(2)?,
            row.get::<_, Option<WorkspaceId>>(3)?,
        ))
    })?;
    let (mut by_status, mut burn) = (BTreeMap::new(), 0);
    for row in rows {
        let (status, size, count, workspace) = row?;
        *by_status.entry(status.to_string()).or_default() += count;
        if status.billable() {
            let now = tx.now().0;
            let price = tariff::at(tx, tenant, workspace, size, now)?;
            burn += count * price.unwrap_or_else(|| catalog.rate_at(size, now));
        }
    }
    Ok((by_status, burn))
}
