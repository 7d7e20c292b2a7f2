//! `workspaced statements`: made and listed through the API of a service; proven from the database itself.

use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;

use axum::http::Method;
use clap::Subcommand;
use serde_json::{Value, json};

use super::output::Output;
use super::progress::spinner;
use super::service::{Service, with_query};
use super::{Failure, with_store};
use crate::billing::proof;
use crate::error::Error;
use crate::rules::config::{ClientArgs, DataArgs};

#[derive(Subcommand)]
pub(super) enum StatementsCommand {
    /// Make the statements of a month that is over; what is there already stays
    Make {
        #[command(flatten)]
        client: ClientArgs,
        /// The month, such as 2029-01
        period: String,
        /// Only of this workspace: id, slug, or external:YOUR-ID
        #[arg(long)]
        workspace: Option<String>,
        /// Also write all of the month to a file that does not exist yet: NAME.zip of PDFs, or NAME.csv
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
        /// Paper of the PDFs: a4, letter
        #[arg(long, default_value = "a4")]
        paper: String,
    },
    /// List statements
    Ls {
        #[command(flatten)]
        client: ClientArgs,
        /// Only of this month
        #[arg(long)]
        period: Option<String>,
        /// Only of this workspace: id, slug, or external:YOUR-ID
        #[arg(long)]
        workspace: Option<String>,
    },
    /// Prove from the raw events that statements say what happened; may run beside the service
    Verify {
        #[command(flatten)]
        data: DataArgs,
    },
}

const COLUMNS: [&str; 6] = [
    "number",
    "period",
    "workspace_name",
    "credits_micros",
    "total",
    "currency",
];

pub(super) fn run(command: StatementsCommand) -> Result<(), Failure> {
    match command {
        StatementsCommand::Make {
            client,
            period,
            workspace,
            to,
            paper,
        } => {
            let shown = Output::new(&client)?;
            let service = Service::new(client)?;
            make(&shown, &service, &period, workspace, to, &paper)
        }
        StatementsCommand::Ls {
            client,
            period,
            workspace,
        } => {
            let shown = Output::new(&client)?;
            let service = Service::new(client)?;
            let query: Vec<_> = period
                .iter()
                .map(|period| ("period", period.as_str()))
                .collect();
            let rows = match workspace {
                None => service.all("/statements", &query)?,
                Some(workspace) => {
                    let id = service.workspace(&workspace)?;
                    let mut rows = service.all(&format!("/workspaces/{id}/statements"), &[])?;
                    rows.retain(|row| period.as_deref().is_none_or(|one| row["period"] == one));
                    rows
                }
            };
            shown.list(&rows, &COLUMNS)
        }
        StatementsCommand::Verify { data } => verify(&data),
    }
}

fn make(
    shown: &Output,
    service: &Service,
    period: &str,
    workspace: Option<String>,
    to: Option<PathBuf>,
    paper: &str,
) -> Result<(), Failure> {
    let format = match to
        .as_ref()
        .map(|path| path.extension().and_then(|e| e.to_str()))
    {
        None => None,
        Some(Some(format @ ("zip" | "csv"))) => Some(format),
        Some(_) => {
            return Err(Failure::Usage(
                "--to must name a file that ends in .zip or .csv".into(),
            ));
        }
    };
    let body = json!({ "period": period });
    let rows = match workspace {
        None => {
            let made = service.send(Method::POST, "/statements", Some(&body))?;
            made["data"].as_array().cloned().unwrap_or_default()
        }
        Some(workspace) => {
            let id = service.workspace(&workspace)?;
            let path = format!("/workspaces/{id}/statements");
            let mut made = service.send(Method::POST, &path, Some(&body))?;
            if let Some(lines) = made.get_mut("lines") {
                *lines = Value::Null;
            }
            vec![made]
        }
    };
    shown.list(&rows, &COLUMNS)?;
    let (Some(to), Some(format)) = (&to, format) else {
        return Ok(());
    };
    let query = [("period", period), ("format", format), ("paper", paper)];
    let mut reply = service.bytes(&with_query("/statements", &query))?;
    let about = |e: io::Error| Failure::Fatal(format!("{}: {e}", to.display()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(to)
        .map_err(about)?;
    io::copy(&mut reply, &mut file).map_err(about)?;
    file.sync_all().map_err(about)
}

/// Prints what was compared, by organization; exit code 1 where a statement says other than the events.
fn verify(data: &DataArgs) -> Result<(), Failure> {
    let busy = spinner("comparing all statements with the events");
    let all = with_store(data, |store| {
        let all = store.read_blocking(|tx| {
            let mut statement = tx.prepare("SELECT id, slug FROM tenants ORDER BY slug")?;
            let mut rows = statement.query([])?;
            let mut all = Vec::new();
            while let Some(row) = rows.next()? {
                all.push((row.get::<_, String>(1)?, proof::verify(tx, row.get(0)?)?));
            }
            Ok::<_, Error>(all)
        });
        Ok(all?)
    })?;
    busy.finish_and_clear();
    let ok = all.iter().all(|(_, proof)| proof.ok);
    let text: Vec<String> = all
        .iter()
        .map(|(slug, proof)| format!("{slug}: {proof}"))
        .collect();
    let text = text.join("\n");
    if ok {
        println!("{text}");
        Ok(())
    } else {
        Err(Failure::Fatal(text))
    }
}
