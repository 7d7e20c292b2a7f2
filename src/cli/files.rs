//! `backup`, `restore` and `check`: the database as a file.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{Failure, installation_now, progress};
use crate::backups;
use crate::clock::{Clock, Timestamp};
use crate::error::Error;
use crate::rules::config::DataArgs;
use crate::rules::text::count;
use crate::store::{self, Target};
use crate::tenants;
use crate::usage::ledger::verify::{COMPARED, verify_telling};

#[derive(Subcommand)]
pub(super) enum FilesCommand {
    /// Copy the database to a new file, checked and with its SHA-256 beside it; may run beside the service
    Backup {
        #[command(flatten)]
        data: DataArgs,
        /// A file that does not exist, or a directory, in which the file is named after the time
        #[arg(value_name = "FILE|DIR")]
        to: PathBuf,
        /// In a directory: delete all backups but the newest N
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        keep: Option<u16>,
    },
    /// Put a backup in the place of the database, which is kept; the service must not be running
    Restore {
        #[command(flatten)]
        data: DataArgs,
        /// The backup
        file: PathBuf,
        /// Restore a backup without the file FILE.sha256
        #[arg(long)]
        no_checksum: bool,
    },
    /// Write the database anew without its free pages; the service must not be running
    Compact {
        #[command(flatten)]
        data: DataArgs,
    },
    /// Read a database or a backup from end to end and say whether it is sound; changes nothing
    Check {
        /// The file
        file: PathBuf,
    },
}

pub(super) fn run(command: FilesCommand) -> Result<(), Failure> {
    match command {
        FilesCommand::Backup { data, to, keep } => {
            let now = installation_now(&data.data_dir.join("workspaced.db"));
            backup(&data, to, keep, now)
        }
        FilesCommand::Restore {
            data,
            file,
            no_checksum,
        } => restore(&data, &file, !no_checksum, Clock::System.now()),
        FilesCommand::Compact { data } => compact(&data),
        FilesCommand::Check { file } => check(&file, installation_now(&file)),
    }
}

fn backup(data: &DataArgs, to: PathBuf, keep: Option<u16>, now: Timestamp) -> Result<(), Failure> {
    let db = data.data_dir.join("workspaced.db");
    if !db.exists() {
        return Err(Failure::Usage(format!(
            "--data-dir {}: there is no database yet",
            data.data_dir.display()
        )));
    }
    let target = if to.is_dir() || to.as_os_str().to_string_lossy().ends_with('/') {
        Target::Dir {
            dir: to,
            keep: keep.map(usize::from),
        }
    } else if keep.is_some() {
        return Err(Failure::Usage(format!(
            "--keep needs a directory, and {} is none",
            to.display()
        )));
    } else {
        Target::File(to)
    };
    let backup = store::take_backup(&db, &target, now)?;
    if let Target::Dir { dir, .. } = &target {
        for file in store::dated_ahead(dir, now) {
            eprintln!(
                "warning: {} is dated ahead of the clock, which shows {now}: it was ahead, or is behind",
                file.display()
            );
        }
    }
    println!("{}  {}", backup.sha256, backup.file.display());
    println!(
        "{} bytes, state of {}, checked",
        backup.bytes, backup.created_at
    );
    Ok(())
}

fn restore(data: &DataArgs, file: &Path, checksum: bool, now: Timestamp) -> Result<(), Failure> {
    let (_lock, db) = store::lock_data_dir(&data.data_dir)?;
    let restored = backups::restore(file, &db, checksum, now)?;
    println!("restored {} from {}", db.display(), file.display());
    if let Some(kept) = restored.kept {
        println!("the database that was there is {}", kept.display());
    }
    match restored.carried {
        Ok(0) => {}
        Ok(keys) => {
            println!(
                "revoked, disabled or rotated since that backup, and still so: {}",
                count(keys, "key")
            );
        }
        Err(error) => eprintln!(
            "warning: keys that were revoked since the backup are as they were in it; look at `keys list` ({error})"
        ),
    }
    if restored.schema_version < store::VERSION {
        println!(
            "its schema version {} becomes {} at the next start",
            restored.schema_version,
            store::VERSION
        );
    }
    Ok(())
}

fn compact(data: &DataArgs) -> Result<(), Failure> {
    if !data.data_dir.join("workspaced.db").exists() {
        return Err(Failure::Usage(format!(
            "--data-dir {}: there is no database yet",
            data.data_dir.display()
        )));
    }
    let (_lock, db) = store::lock_data_dir(&data.data_dir)?;
    if store::is_older(&db)? {
        return Err(Failure::Usage(format!(
            "{}: start the service once, which upgrades the schema",
            db.display()
        )));
    }
    let (before, after) = store::compact(&db)?;
    println!("{before} bytes before, {after} bytes now");
    Ok(())
}

fn check(file: &Path, now: Timestamp) -> Result<(), Failure> {
    store::readable(file)?;
    // Before SQLite opens it: see `store::sha256`.
    let recorded = store::recorded_checksum(file);
    if let Some(recorded) = &recorded {
        let found = store::sha256(file)?;
        if found != *recorded {
            return Err(Failure::Fatal(format!(
                "{}: its SHA-256 is {found}, {} says {recorded}",
                file.display(),
                store::checksum_file(file).display()
            )));
        }
    }
    let inspection = store::inspect(file)?;
    if !inspection.faults.is_empty() {
        let faults: String = inspection
            .faults
            .iter()
            .map(|fault| format!("\n  {fault}"))
            .collect();
        return Err(Failure::Fatal(format!(
            "{}: damaged{faults}",
            file.display()
        )));
    }
    let version = inspection.schema_version.unwrap_or(0);
    println!(
        "checksum    {}",
        if recorded.is_some() {
            "as recorded"
        } else {
            "none is recorded"
        }
    );
    println!("schema      version {version}");
    println!("pages       sound, and every reference leads to a row");
    if version != store::VERSION {
        println!(
            "usage       not compared: the next start upgrades the schema to version {} first",
            store::VERSION
        );
        return Ok(());
    }
    let bar = progress::parts("comparing all usage with the events", COMPARED);
    let (found, organizations) = store::read_file(file, now, |tx| {
        let found = verify_telling(tx, &|| bar.inc(1))?;
        Ok::<_, Error>((found, tenants::all(tx)?))
    })?;
    bar.finish_and_clear();
    println!("usage       {found}");
    let sum = |of: fn(&tenants::Overview) -> i64| organizations.iter().map(of).sum::<i64>();
    println!(
        "contents    {}, {}, {}",
        count(organizations.len(), "organization"),
        count(sum(|t| t.workspaces), "workspace"),
        count(sum(|t| t.computers), "computer")
    );
    if found.ok {
        Ok(())
    } else {
        Err(Failure::Fatal(format!(
            "{}: the usage does not add up",
            file.display()
        )))
    }
}
