//! `workspaced export` and `workspaced import`: a workspace as a file, through the API of a service.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::Failure;
use super::output::credits;
use super::progress::{bar, spinner};
use super::service::{Service, with_query};
use crate::rules::config::ClientArgs;
use crate::rules::text;

#[derive(Subcommand)]
pub(super) enum CapsuleCommand {
    /// Write a workspace with its history to a file that another installation can import
    Export {
        #[command(flatten)]
        client: ClientArgs,
        /// Id, slug, or external:YOUR-ID
        workspace: String,
        /// A file that does not exist yet; its lines are compressed
        file: PathBuf,
        /// Also one that is deleted, named by its id
        #[arg(long)]
        include_deleted: bool,
    },
    /// Bring in a workspace from a file, all of it or nothing; the same file again changes nothing
    Import {
        #[command(flatten)]
        client: ClientArgs,
        /// The file
        file: PathBuf,
        /// Its slug here, where its own is taken
        #[arg(long)]
        slug: Option<String>,
        /// Your own id for it here; empty = none
        #[arg(long, value_name = "ID")]
        external_id: Option<String>,
        /// Start again here what the built-in driver ran there
        #[arg(long)]
        keep_running: bool,
        /// Give computers whose slug is taken the next free one
        #[arg(long)]
        rename_computers: bool,
        /// Leave the preview domains behind
        #[arg(long)]
        without_domains: bool,
    },
}

pub(super) fn run(command: CapsuleCommand) -> Result<(), Failure> {
    match command {
        CapsuleCommand::Export {
            client,
            workspace,
            file,
            include_deleted,
        } => export(&Service::new(client)?, &workspace, &file, include_deleted),
        CapsuleCommand::Import {
            client,
            file,
            slug,
            external_id,
            keep_running,
            rename_computers,
            without_domains,
        } => {
            let mut query: Vec<(&str, &str)> = Vec::new();
            query.extend(slug.as_deref().map(|slug| ("slug", slug)));
            query.extend(
                external_id
                    .as_deref()
                    .map(|id| ("external_workspace_id", id)),
            );
            for (name, given) in [
                ("keep_running", keep_running),
                ("rename_computers", rename_computers),
                ("without_domains", without_domains),
            ] {
                query.extend(given.then_some((name, "true")));
            }
            import(&Service::new(client)?, &file, &query)
        }
    }
}

fn about(file: &Path) -> impl Fn(io::Error) -> Failure + '_ {
    |e| Failure::Fatal(format!("{}: {e}", file.display()))
}

fn export(
    service: &Service,
    workspace: &str,
    file: &Path,
    include_deleted: bool,
) -> Result<(), Failure> {
    if file.exists() {
        return Err(Failure::Usage(format!(
            "{} is there already; name a file that does not exist",
            file.display()
        )));
    }
    let path = if include_deleted {
        format!("/workspaces/{workspace}/export?include_deleted=1")
    } else {
        format!("/workspaces/{}/export", service.workspace(workspace)?)
    };
    let busy = spinner("exporting");
    let mut reply = service.download(&path)?;
    // It has its name only when it is complete. What a customer used is nobody else's business.
    let mut partial = file.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let mut options = OpenOptions::new();
    let written = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)
        .and_then(|mut out| {
            let bytes = io::copy(&mut busy.wrap_read(&mut reply), &mut out)?;
            out.flush()?;
            out.sync_all()?;
            fs::rename(&partial, file).map(|()| bytes)
        });
    busy.finish_and_clear();
    let bytes = written.map_err(|e| {
        let _ = fs::remove_file(&partial);
        about(file)(e)
    })?;
    println!("{}  {bytes} bytes", file.display());
    Ok(())
}

fn import(service: &Service, file: &Path, query: &[(&str, &str)]) -> Result<(), Failure> {
    let input = File::open(file).map_err(about(file))?;
    let length = input.metadata().map_err(about(file))?.len();
    let progress = bar("sending", length);
    let path = with_query("/workspaces/import", query);
    let reply = service.upload(&path, &mut progress.wrap_read(input))?;
    progress.finish_and_clear();
    if service.out.is_data() {
        return service.out.one(&reply);
    }
    let count = |field: &str| reply[field].as_array().map_or(0, Vec::len);
    let id = reply["workspace_id"].as_str().unwrap_or("");
    if reply["imported"] == false {
        println!("{id}  nothing has changed: it is here already");
        return Ok(());
    }
    let rows = &reply["rows"];
    println!(
        "{id}  {}: {}, {}, {}, {}; {} ms of compute, {}, as in the file",
        reply["slug"].as_str().unwrap_or(""),
        text::count(&rows["projects"], "project"),
        text::count(&rows["computers"], "computer"),
        text::count(&rows["events"], "compute event"),
        text::count(&rows["audit"], "audit row"),
        reply["usage"]["compute_ms"],
        text::count(credits(&reply["usage"]["credits_micros"]), "credit"),
    );
    if count("stopped") + count("kept_running") > 0 {
        println!(
            "{} computers that ran at the export ({}) are stopped here, {} run",
            count("stopped"),
            reply["exported_at"].as_str().unwrap_or(""),
            count("kept_running"),
        );
    }
    Ok(())
}
