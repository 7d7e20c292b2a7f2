//! `workspaced doctor`: what an operator would look at first.

use std::fmt::Display;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use clap::Args;
use rusqlite::{Connection, OpenFlags};
use uuid::Uuid;

use super::{Failure, installation_now};
use crate::clock::{DAY_MS, Timestamp, built};
use crate::computers::machines::host::Host;
use crate::computers::machines::room;
use crate::domains::{Dns, RecordStatus};
use crate::rules::config::{ConfigFile, DataArgs, EngineArgs, ImageConfig};
use crate::store;
use crate::usage::ledger::repair;

/// Free bytes below which a warning is due, and below which writes may fail soon.
const LOW: u64 = 1 << 30;
const VERY_LOW: u64 = 100 << 20;
/// A log that was not moved into the database for long.
const LARGE_WAL: u64 = 64 << 20;

/// `workspaced doctor`
#[derive(Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    data: DataArgs,
    /// Resolver that preview domains are checked with; the system's when not given
    #[arg(long, env = "WORKSPACED_DNS_RESOLVER", value_name = "IP:PORT")]
    dns_resolver: Option<SocketAddr>,
    /// CNAME target of preview domains, which is looked up
    #[arg(
        long,
        env = "WORKSPACED_PROXY_HOST",
        value_name = "HOST",
        default_value = "proxy.miosa.ai"
    )]
    proxy_host: String,
    #[command(flatten)]
    engine: EngineArgs,
}

#[derive(PartialEq)]
enum Verdict {
    Fine,
    Warning,
    Broken,
}

/// What was found so far.
#[derive(Default)]
struct Report {
    broken: usize,
}

impl Report {
    fn say(&mut self, verdict: Verdict, what: &str, text: impl Display) {
        let mark = match verdict {
            Verdict::Fine => "ok  ",
            Verdict::Warning => "warn",
            Verdict::Broken => "FAIL",
        };
        self.broken += usize::from(verdict == Verdict::Broken);
        println!("{mark}  {what:12}  {text}");
    }
}

pub(super) fn run(args: &DoctorArgs) -> Result<(), Failure> {
    let mut report = Report::default();
    let dir = &args.data.data_dir;
    let file = dir.join("workspaced.db");
    let now = installation_now(&file);
    if file.exists() {
        permissions(&mut report, dir, 0o700);
        permissions(&mut report, &file, 0o600);
        database(&mut report, &file, now);
        let running = store::lock_data_dir(dir).is_err();
        report.say(
            Verdict::Fine,
            "service",
            if running { "running" } else { "not running" },
        );
    } else {
        let text = format!(
            "{}: there is no database yet; start the service once",
            dir.display()
        );
        report.say(Verdict::Warning, "database", text);
        clock(&mut report, now, None);
    }
    disk(&mut report, if dir.exists() { dir } else { Path::new(".") });
    dns(&mut report, args);
    machines(&mut report, args);
    if report.broken > 0 {
        return Err(Failure::Fatal(format!(
            "{} of the checks failed",
            report.broken
        )));
    }
    Ok(())
}

fn permissions(report: &mut Report, path: &Path, wanted: u32) {
    let name = path.display();
    match path.metadata().map(|m| m.permissions().mode() & 0o777) {
        Ok(mode) if mode & !wanted == 0 => {
            report.say(Verdict::Fine, "permissions", format!("{name}: {mode:o}"));
        }
        Ok(mode) => report.say(
            Verdict::Broken,
            "permissions",
            format!("{name}: {mode:o}, others may read it; chmod {wanted:o} {name}"),
        ),
        Err(e) => report.say(Verdict::Broken, "permissions", format!("{name}: {e}")),
    }
}

fn database(report: &mut Report, file: &Path, now: Timestamp) {
    let looked = (|| -> rusqlite::Result<_> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let conn = Connection::open_with_flags(file, flags)?;
        conn.busy_timeout(std::time::Duration::from_secs(5))?;
        let version: i64 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let health: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        let last: Option<Timestamp> =
            conn.query_row("SELECT max(at) FROM audit_log", [], |row| row.get(0))?;
        Ok((version, health, last))
    })();
    match looked {
        Ok((version, health, last)) => {
            let known = store::VERSION;
            let text = format!("schema version {version}, this program knows {known}");
            let verdict = match version {
                _ if version > known => Verdict::Broken,
                _ if version < known => Verdict::Warning,
                _ => Verdict::Fine,
            };
            let hint = match verdict {
                Verdict::Fine => "",
                Verdict::Warning => "; the next start upgrades it",
                Verdict::Broken => "; use the newer workspaced that wrote it",
            };
            report.say(verdict, "schema", format!("{text}{hint}"));
            if health == "ok" {
                report.say(Verdict::Fine, "database", "every page is in order");
            } else {
                let text = format!("{health}; restore the last backup");
                report.say(Verdict::Broken, "database", text);
            }
            clock(report, now, last);
            events_ahead(report, file, now);
            backups(report, file, now);
        }
        Err(e) => {
            report.say(
                Verdict::Broken,
                "database",
                format!("{}: {e}", file.display()),
            );
            clock(report, now, None);
        }
    }
    let mut wal = file.as_os_str().to_owned();
    wal.push("-wal");
    let bytes = Path::new(&wal).metadata().map_or(0, |m| m.len());
    if bytes < LARGE_WAL {
        report.say(Verdict::Fine, "wal", format!("{bytes} bytes"));
    } else {
        let text = format!(
            "{bytes} bytes; something reads for very long, or writes cannot be moved to the database"
        );
        report.say(Verdict::Warning, "wal", text);
    }
}

fn clock(report: &mut Report, now: Timestamp, last: Option<Timestamp>) {
    if now < built() {
        report.say(
            Verdict::Broken,
            "clock",
            format!(
                "{now} cannot be: this program was built on {}; set the clock",
                built()
            ),
        );
        return;
    }
    match last {
        Some(last) if last > now.plus_seconds(60) => report.say(
            Verdict::Warning,
            "clock",
            format!(
                "{now}, but the last change is dated {last}: the clock went back, or was driven"
            ),
        ),
        _ => report.say(Verdict::Fine, "clock", now),
    }
}

/// What was dated by a clock that was ahead, and so is billed until then.
fn events_ahead(report: &mut Report, file: &Path, now: Timestamp) {
    match store::read_file(file, now, repair::count_ahead) {
        Ok(0) => report.say(Verdict::Fine, "events", "none of our own is dated ahead of the clock"),
        Ok(count) => report.say(
            Verdict::Warning,
            "events",
            format!(
                "{count} compute events are dated ahead of the clock, which was ahead: see workspaced repair-clock"
            ),
        ),
        Err(e) => report.say(Verdict::Warning, "events", format!("not looked at: {}", e.message())),
    }
}

/// A backup that is older than this is no help.
const OLD_MS: i64 = 8 * DAY_MS;

fn backups(report: &mut Report, file: &Path, now: Timestamp) {
    let records = match store::backup_records(file) {
        Ok(records) => records,
        Err(e) => return report.say(Verdict::Warning, "backups", format!("not looked at: {e}")),
    };
    if records.is_empty() {
        report.say(Verdict::Fine, "backups", "none was made in a directory yet");
    }
    for record in records {
        let dir = &record.directory;
        let good = match record.good_at {
            Some(at) => format!("{dir}: the last good one is of {at}"),
            None => format!("{dir}: there is no good one"),
        };
        match record.error {
            Some(error) => report.say(
                Verdict::Warning,
                "backups",
                format!("{good}; that of {} failed: {error}", record.tried_at),
            ),
            None if record.good_at.is_some_and(|at| at.plus_ms(OLD_MS) >= now) => {
                report.say(Verdict::Fine, "backups", good);
            }
            None => report.say(Verdict::Warning, "backups", good),
        }
    }
}

fn disk(report: &mut Report, dir: &Path) {
    match rustix::fs::statvfs(dir) {
        Ok(fs) => {
            let free = fs.f_bavail.saturating_mul(fs.f_frsize);
            let text = format!("{} MB free at {}", free >> 20, dir.display());
            let verdict = match free {
                _ if free < VERY_LOW => Verdict::Broken,
                _ if free < LOW => Verdict::Warning,
                _ => Verdict::Fine,
            };
            report.say(verdict, "disk", text);
        }
        Err(e) => report.say(Verdict::Broken, "disk", format!("{}: {e}", dir.display())),
    }
}

/// The container engine: broken only where the configuration says that it runs machines.
fn machines(report: &mut Report, args: &DoctorArgs) {
    let file = match &args.data.config {
        None => ConfigFile::default(),
        Some(path) => match ConfigFile::load(path) {
            Ok(file) => file,
            Err(e) => return report.say(Verdict::Broken, "engine", e),
        },
    };
    let wanted = !file.images.is_empty();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => return report.say(Verdict::Broken, "engine", e),
    };
    runtime.block_on(async {
        let (engine, about, socket) = match super::machines::engine(&args.engine, &file).await {
            Ok(found) => found,
            Err(why) if wanted => return report.say(Verdict::Broken, "engine", why),
            Err(_) => {
                let text =
                    "none; computers are simulated, which is what they are without --driver docker";
                return report.say(Verdict::Fine, "engine", text);
            }
        };
        let use_it = if wanted {
            ""
        } else {
            "; computers are simulated unless --driver docker is given"
        };
        report.say(
            Verdict::Fine,
            "engine",
            format!("{} at {socket}{use_it}", about.name),
        );
        let holds: Vec<&str> = [
            (about.limits_memory, "memory"),
            (about.limits_cpu, "CPU"),
            (about.limits_pids, "processes"),
            (about.seccomp, "system calls"),
        ]
        .into_iter()
        .filter_map(|(can, what)| can.then_some(what))
        .collect();
        let verdict = if holds.len() == 4 {
            Verdict::Fine
        } else {
            Verdict::Warning
        };
        let spaces = if about.user_namespaces {
            "its own users"
        } else {
            "the host's users"
        };
        let text = format!("limits {}; disk is advisory; {spaces}", holds.join(", "));
        report.say(verdict, "limits", text);
        let host = Host::here(about.data.as_deref(), Some(about.cpus));
        let mb = |mb: Option<i64>| mb.map_or_else(|| "unknown".to_owned(), |mb| format!("{mb} MB"));
        let text = format!(
            "{} of memory available, {} of disk left for containers; {} and {} MB are kept for the host",
            mb(host.available_mb),
            mb(host.disk_left_mb),
            file.engine.reserve.memory_mb,
            file.engine.reserve.disk_mb
        );
        let short = host.available_mb.is_some_and(|mb| mb < i64::try_from(file.engine.reserve.memory_mb).unwrap_or(i64::MAX))
            || room::disk_is_low(&host, file.engine.reserve.disk_mb).is_some();
        let verdict = if short { Verdict::Warning } else { Verdict::Fine };
        report.say(verdict, "room", text);
        for (template, image) in file.images {
            let image = match image {
                ImageConfig::Name(name) => name,
                ImageConfig::Full(image) => image.image,
            };
            match engine.has_image(&image).await {
                Ok(true) => report.say(Verdict::Fine, "image", format!("{template} is {image}")),
                Ok(false) => report.say(
                    Verdict::Broken,
                    "image",
                    format!("{template} is {image}, which the engine does not have; workspaced images ls says which can be built"),
                ),
                Err(e) => report.say(Verdict::Broken, "image", e.text()),
            }
        }
    });
}

/// Asks for the records of a domain as a check would: whether there is an answer is what counts.
fn dns(report: &mut Report, args: &DoctorArgs) {
    let with = args
        .dns_resolver
        .map_or("the system's resolver".to_owned(), |r| r.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let asked = match runtime {
        Ok(runtime) => runtime.block_on(async {
            let dns = Dns::new(args.dns_resolver);
            dns.check(&args.proxy_host, &args.proxy_host, None, Uuid::nil())
                .await
        }),
        Err(e) => {
            report.say(Verdict::Broken, "dns", e);
            return;
        }
    };
    let silent = |records: &[crate::domains::DnsRecord]| {
        records
            .iter()
            .all(|record| record.status == RecordStatus::Error)
    };
    match asked {
        Ok(records) if !silent(&records) => {
            report.say(Verdict::Fine, "dns", format!("{with} answers"))
        }
        _ => report.say(
            Verdict::Warning,
            "dns",
            format!(
                "{with} does not answer: preview domains cannot be checked; see --dns-resolver"
            ),
        ),
    }
}
