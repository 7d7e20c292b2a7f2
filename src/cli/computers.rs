//! `workspaced computers`: computers of a service.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};
use ureq::http::Method;

use super::output::text;
use super::service::{PATIENCE, Service, given, with_query};
use super::shell;
use super::{Failure, deleted};
use crate::rules::config::ClientArgs;

/// `workspaced computers`
#[derive(Subcommand)]
pub(super) enum ComputersCommand {
    /// List computers
    Ls {
        #[command(flatten)]
        client: ClientArgs,
        /// Only those of this workspace: id, slug, or external:YOUR-ID
        #[arg(long)]
        workspace: Option<String>,
        /// Only those with this status
        #[arg(long)]
        status: Option<String>,
    },
    /// Create a computer
    Create {
        #[command(flatten)]
        client: ClientArgs,
        /// Its name
        name: String,
        /// Workspace: id, slug, or external:YOUR-ID; the default one when left out
        #[arg(long)]
        workspace: Option<String>,
        /// Project by slug; made if missing
        #[arg(long)]
        project: Option<String>,
        /// Size: xs, small, medium, large, xl
        #[arg(long)]
        size: Option<String>,
        /// Idle seconds after which it stops; 0 = never
        #[arg(long, value_name = "SECONDS")]
        auto_stop: Option<i64>,
    },
    /// Start a computer
    Start(One),
    /// Stop a computer
    Stop(One),
    /// Delete a computer
    Rm(One),
    /// Bring back a deleted computer, stopped; by its id, or the slug that it had
    Restore(One),
    /// Run a command in a computer that has a machine; ends with the command's exit code
    Exec {
        #[command(flatten)]
        one: One,
        /// Seconds that it may take (1 to 3600)
        #[arg(long, value_name = "SECONDS", default_value_t = 300)]
        timeout: u64,
        /// The command, after `--`; one word is a line for the shell
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Open a terminal in a computer; ends with the exit code of its shell
    Shell(One),
    /// Show what a computer's own program wrote last
    Logs {
        #[command(flatten)]
        one: One,
        /// Lines from the end (1 to 10000)
        #[arg(long, value_name = "N", default_value_t = 100)]
        lines: u32,
    },
    /// Write all files of a computer to a tar file
    Export {
        #[command(flatten)]
        one: One,
        /// A file that does not exist
        file: PathBuf,
    },
    /// List snapshots of the organization's computers, the newest first
    Snapshots {
        #[command(flatten)]
        client: ClientArgs,
        /// Only those of this workspace: id, slug, or external:YOUR-ID
        #[arg(long)]
        workspace: Option<String>,
    },
    /// Copy a file into a computer, or out of one
    Cp {
        #[command(flatten)]
        client: ClientArgs,
        /// A file, or COMPUTER:/PATH
        from: String,
        /// A file, or COMPUTER:/PATH; a path that ends in / keeps the file's name
        to: String,
    },
}

/// A command about one computer.
#[derive(clap::Args)]
pub(super) struct One {
    #[command(flatten)]
    client: ClientArgs,
    /// Id, name or slug
    computer: String,
}

pub(super) fn run(command: ComputersCommand) -> Result<(), Failure> {
    match command {
        ComputersCommand::Ls {
            client,
            workspace,
            status,
        } => {
            let service = Service::new(client)?;
            let workspace = workspace.map(|w| service.workspace(&w)).transpose()?;
            let query: Vec<_> = [("workspace_id", &workspace), ("status", &status)]
                .into_iter()
                .filter_map(|(name, value)| Some((name, value.as_deref()?)))
                .collect();
            let rows = service.all("/computers", &query)?;
            service
                .out
                .list(&rows, &["id", "status", "size", "started_at", "name"])
        }
        ComputersCommand::Create {
            client,
            name,
            workspace,
            project,
            size,
            auto_stop,
        } => {
            let service = Service::new(client)?;
            let workspace = workspace.map(|w| service.workspace(&w)).transpose()?;
            let body = given(&[
                ("name", Some(json!(name))),
                ("workspace_id", workspace.map(Value::from)),
                ("project_slug", project.map(Value::from)),
                ("size", size.map(Value::from)),
                ("auto_stop_seconds", auto_stop.map(Value::from)),
            ]);
            let made = service.send(Method::POST, "/computers", Some(&body))?;
            service.out.made(&made)
        }
        ComputersCommand::Start(one) => act(one, Method::POST, "/start"),
        ComputersCommand::Stop(one) => act(one, Method::POST, "/stop"),
        ComputersCommand::Rm(one) => act(one, Method::DELETE, ""),
        ComputersCommand::Restore(one) => {
            deleted::restore(&Service::new(one.client)?, "computer", &one.computer, None)
        }
        ComputersCommand::Exec {
            one,
            timeout,
            command,
        } => exec(one, timeout, &command),
        ComputersCommand::Shell(one) => {
            let service = Service::new(one.client)?;
            let id = service.computer(&one.computer)?;
            shell::run(&service, &id)
        }
        ComputersCommand::Logs { one, lines } => {
            let service = Service::new(one.client)?;
            let id = service.computer(&one.computer)?;
            let found = service.get(&format!("/computers/{id}/logs?lines={lines}"))?;
            if service.out.is_data() {
                return service.out.one(&found);
            }
            let empty = Vec::new();
            for line in found["lines"].as_array().unwrap_or(&empty) {
                println!("{}", text(line));
            }
            Ok(())
        }
        ComputersCommand::Export { one, file } => export(one, &file),
        ComputersCommand::Snapshots { client, workspace } => {
            let service = Service::new(client)?;
            let workspace = workspace.map(|w| service.workspace(&w)).transpose()?;
            let query: Vec<_> = workspace
                .iter()
                .map(|w| ("workspace_id", w.as_str()))
                .collect();
            let rows = service.all("/snapshots", &query)?;
            let columns = [
                "id",
                "computer_id",
                "status",
                "rootfs_size_bytes",
                "created_at",
                "comment",
            ];
            service.out.list(&rows, &columns)
        }
        ComputersCommand::Cp { client, from, to } => copy(client, &from, &to),
    }
}

/// A word for the shell, whatever is in it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn exec(one: One, timeout: u64, command: &[String]) -> Result<(), Failure> {
    let service = Service::patient(one.client, PATIENCE + Duration::from_secs(timeout))?;
    let id = service.computer(&one.computer)?;
    let line = match command {
        [line] => line.clone(),
        words => words
            .iter()
            .map(|word| quoted(word))
            .collect::<Vec<_>>()
            .join(" "),
    };
    let body = json!({ "command": line, "timeout": timeout });
    let ran = service.send(Method::POST, &format!("/computers/{id}/exec"), Some(&body))?;
    if service.out.is_data() {
        service.out.one(&ran)?;
    } else {
        print!("{}", ran["stdout"].as_str().unwrap_or(""));
        eprint(ran["stderr"].as_str().unwrap_or(""));
        if ran["truncated"] == true {
            eprint("workspaced: it wrote more than is shown\n");
        }
        if ran["timed_out"] == true {
            eprint("workspaced: it took too long and was ended\n");
        }
    }
    match ran["exit_code"].as_i64() {
        Some(0) => Ok(()),
        code => std::process::exit(code.and_then(|code| i32::try_from(code).ok()).unwrap_or(1)),
    }
}

fn eprint(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// A place in a computer, `COMPUTER:/PATH`.
fn place(text: &str) -> Option<(&str, &str)> {
    text.split_once(':')
        .filter(|(computer, path)| !computer.contains('/') && path.starts_with('/'))
}

/// Copies a file between this machine and a computer.
fn copy(client: ClientArgs, from: &str, to: &str) -> Result<(), Failure> {
    let service = Service::patient(client, Duration::from_secs(3600))?;
    let file_name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let whole = |to: &str, from: &str| {
        if to.ends_with('/') {
            format!("{to}{}", file_name(from))
        } else {
            to.to_owned()
        }
    };
    let failed = |path: &str, e: &dyn std::fmt::Display| Failure::Fatal(format!("{path}: {e}"));
    match (place(from), place(to)) {
        (None, Some((computer, path))) => {
            let id = service.computer(computer)?;
            let path = whole(path, from);
            let file = std::fs::File::open(from).map_err(|e| failed(from, &e))?;
            service.form(&format!("/computers/{id}/files/upload"), &path, file)
        }
        (Some((computer, path)), None) => {
            let id = service.computer(computer)?;
            let query = with_query(
                &format!("/computers/{id}/files/download"),
                &[("path", path)],
            );
            let to = whole(to, path);
            let mut reply = service.bytes(&query)?;
            let mut file = std::fs::File::create(&to).map_err(|e| failed(&to, &e))?;
            std::io::copy(&mut reply, &mut file).map_err(|e| failed(&to, &e))?;
            Ok(())
        }
        _ => Err(Failure::Usage(
            "one of the two must be in a computer, such as web:/home/notes.txt, and the other here"
                .into(),
        )),
    }
}

/// Writes a computer's files to one here, which is there only when it is whole.
fn export(one: One, file: &Path) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::Fatal(format!("{}: {e}", file.display()));
    if file.exists() {
        return Err(Failure::Usage(format!(
            "{} is there already",
            file.display()
        )));
    }
    let service = Service::patient(one.client, Duration::from_secs(3600))?;
    let id = service.computer(&one.computer)?;
    let mut reply = service.bytes(&format!("/computers/{id}/disk"))?;
    let mut part = file.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let mut to = std::fs::File::create(&part).map_err(failed)?;
    let written = std::io::copy(&mut reply, &mut to).and_then(|bytes| {
        to.sync_all()?;
        std::fs::rename(&part, file)?;
        Ok(bytes)
    });
    match written {
        Ok(bytes) => {
            println!("{} {bytes} bytes", file.display());
            Ok(())
        }
        Err(e) => {
            let _ = std::fs::remove_file(&part);
            Err(failed(e))
        }
    }
}

fn act(one: One, method: Method, verb: &str) -> Result<(), Failure> {
    let service = Service::new(one.client)?;
    let id = service.computer(&one.computer)?;
    let reply = service.send(method, &format!("/computers/{id}{verb}"), None)?;
    if service.out.is_data() {
        return service.out.one(&reply);
    }
    println!("{id} {}", reply["status"].as_str().unwrap_or("destroyed"));
    Ok(())
}
