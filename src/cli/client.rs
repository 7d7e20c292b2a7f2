//! `workspaced ws`: the API for people and scripts, on this machine or another one. A line a row for people,
//! the reply itself with `--output`; exit codes tell scripts what happened (see [`super::Failure`]).

use std::io::{BufRead, IsTerminal, Write, stderr, stdin};

use clap::Subcommand;
use serde_json::{Map, Value, json};
use ureq::http::Method;

use super::output::{credits, text};
use super::service::{Service, given, with_query};
use super::{Failure, chart, deleted};
use crate::rules::config::ClientArgs;
use crate::rules::text::count;

/// `workspaced ws`
#[derive(Subcommand)]
pub(super) enum WsCommand {
    /// List workspaces
    Ls {
        #[command(flatten)]
        client: ClientArgs,
        /// Only those whose name, slug, id or external id contains this
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
    },
    /// Show a workspace with its settings and counts
    Show {
        #[command(flatten)]
        client: ClientArgs,
        /// Id, slug, or external:YOUR-ID
        workspace: String,
    },
    /// Create a workspace
    Create {
        #[command(flatten)]
        client: ClientArgs,
        /// Its name
        name: String,
        /// Its slug; derived from the name when left out
        #[arg(long)]
        slug: Option<String>,
        /// Your own id for it; a workspace that has it already is returned instead
        #[arg(long, value_name = "ID")]
        external_id: Option<String>,
    },
    /// Set limits and defaults; `none` clears one
    Set {
        #[command(flatten)]
        client: ClientArgs,
        /// Id, slug, or external:YOUR-ID
        workspace: String,
        /// Computers at most
        #[arg(long, value_name = "N|none")]
        max_computers: Option<String>,
        /// Largest size: small, medium, large
        #[arg(long, value_name = "SIZE|none")]
        max_size: Option<String>,
        /// Size of computers that name none
        #[arg(long, value_name = "SIZE|none")]
        default_size: Option<String>,
        /// Idle seconds after which new computers stop; 0 = never
        #[arg(long, value_name = "SECONDS|none")]
        auto_stop: Option<String>,
    },
    /// Delete a workspace
    Rm {
        #[command(flatten)]
        client: ClientArgs,
        /// Id, slug, or external:YOUR-ID
        workspace: String,
        /// With all computers and projects in it
        #[arg(long)]
        force: bool,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// List what was deleted and can be restored: workspaces, projects, computers
    Deleted {
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Bring back a deleted workspace, with what went with it; computers come back stopped
    Restore {
        #[command(flatten)]
        client: ClientArgs,
        /// Id, or the slug that it had
        workspace: String,
        /// Another slug, where the one that it had is taken by now
        #[arg(long)]
        slug: Option<String>,
    },
    /// Show, set, verify or clear the preview domain of a workspace
    Domain {
        #[command(flatten)]
        client: ClientArgs,
        /// Id, slug, or external:YOUR-ID
        workspace: String,
        /// The domain; `none` clears it, so that the workspace inherits again
        #[arg(value_name = "DOMAIN|none")]
        domain: Option<String>,
        /// Check its DNS records now
        #[arg(long)]
        verify: bool,
    },
    /// Draw a workspace's usage, or list that of all
    Usage {
        #[command(flatten)]
        client: ClientArgs,
        /// Id, slug, or external:YOUR-ID
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        workspace: Option<String>,
        /// A row for each workspace that used anything
        #[arg(long)]
        all: bool,
        /// How far back: 24h, 7d, 30d; or today, yesterday, this_month, last_month. With --all: 7d, 30d, 90d, this_month
        #[arg(long, default_value = "7d")]
        window: String,
        /// Width of a bar: hour, day, week, month
        #[arg(long, default_value = "day", conflicts_with = "all")]
        by: String,
        /// Time zone of the days, such as Europe/Budapest
        #[arg(long, default_value = "UTC", conflicts_with = "all")]
        tz: String,
    },
}

pub(super) fn workspaces(command: WsCommand) -> Result<(), Failure> {
    match command {
        WsCommand::Ls { client, search } => {
            let service = Service::new(client)?;
            let query: Vec<_> = search.iter().map(|text| ("q", text.as_str())).collect();
            let rows = service.all("/workspaces", &query)?;
            service.out.list(
                &rows,
                &[
                    "id",
                    "slug",
                    "computer_count",
                    "external_workspace_id",
                    "name",
                ],
            )
        }
        WsCommand::Show { client, workspace } => {
            let service = Service::new(client)?;
            let path = format!("/workspaces/{}", service.workspace(&workspace)?);
            let mut whole = service.get(&path)?;
            whole["settings"] = service.get(&format!("{path}/settings"))?["settings"].take();
            whole["stats"] = service.get(&format!("{path}/stats"))?["computers"].take();
            service.out.one(&whole)
        }
        WsCommand::Create {
            client,
            name,
            slug,
            external_id,
        } => {
            let service = Service::new(client)?;
            let body = given(&[
                ("name", Some(json!(name))),
                ("slug", slug.map(Value::from)),
                ("external_workspace_id", external_id.map(Value::from)),
            ]);
            let made = service.send(Method::POST, "/workspaces", Some(&body))?;
            service.out.made(&made)
        }
        WsCommand::Set {
            client,
            workspace,
            max_computers,
            max_size,
            default_size,
            auto_stop,
        } => {
            let service = Service::new(client)?;
            let body = given(&[
                ("max_computers", max_computers.map(number)),
                ("max_computer_size", max_size.map(word)),
                ("default_computer_size", default_size.map(word)),
                ("default_auto_stop_seconds", auto_stop.map(number)),
            ]);
            if body.as_object().is_none_or(Map::is_empty) {
                return Err(Failure::Usage(
                    "nothing to set: name at least one of --max-computers, --max-size, --default-size, --auto-stop".into(),
                ));
            }
            let path = format!("/workspaces/{}/settings", service.workspace(&workspace)?);
            let set = service.send(Method::PUT, &path, Some(&body))?;
            service.out.one(if service.out.is_data() {
                &set
            } else {
                &set["settings"]
            })
        }
        WsCommand::Rm {
            client,
            workspace,
            force,
            yes,
        } => remove(&Service::new(client)?, &workspace, force, yes),
        WsCommand::Deleted { client } => deleted::list(&Service::new(client)?),
        WsCommand::Restore {
            client,
            workspace,
            slug,
        } => deleted::restore(&Service::new(client)?, "workspace", &workspace, slug),
        WsCommand::Domain {
            client,
            workspace,
            domain,
            verify,
        } => preview_domain(&Service::new(client)?, &workspace, domain, verify),
        WsCommand::Usage {
            client,
            workspace,
            all,
            window,
            by,
            tz,
        } => {
            let service = Service::new(client)?;
            let (Some(workspace), false) = (workspace, all) else {
                return usage_of_all(&service, &window);
            };
            let query = [
                ("window", window.as_str()),
                ("granularity", by.as_str()),
                ("tz", tz.as_str()),
            ];
            let path = format!("/workspaces/{}/usage", service.workspace(&workspace)?);
            let usage = service.get(&with_query(&path, &query))?;
            if service.out.is_data() {
                return service.out.one(&usage);
            }
            print!("{}", draw(&usage, service.out.bar_width()));
            Ok(())
        }
    }
}

/// Deletes a workspace, after asking where somebody can be asked.
fn remove(service: &Service, name: &str, force: bool, yes: bool) -> Result<(), Failure> {
    let id = service.workspace(name)?;
    let path = format!("/workspaces/{id}");
    let of = |dry_run: &str| {
        let query = [
            ("force", if force { "1" } else { "0" }),
            ("dry_run", dry_run),
        ];
        with_query(&path, &query)
    };
    if !yes {
        let whole = service.get(&path)?;
        let would = service.send(Method::DELETE, &of("1"), None)?;
        let (computers, projects) = (
            &would["would_delete"]["computers"],
            &would["would_delete"]["projects"],
        );
        let what = format!(
            "workspace {} ({}) with {} computers and {} projects",
            text(&whole["name"]),
            text(&whole["slug"]),
            text(computers),
            text(projects)
        );
        if !(stdin().is_terminal() && stderr().is_terminal()) {
            return Err(Failure::Usage(format!(
                "this would delete {what}; say so with --yes"
            )));
        }
        let _ = write!(stderr(), "Delete {what}? [y/N] ");
        let mut answer = String::new();
        stdin().lock().read_line(&mut answer)?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            return Err(Failure::Usage("nothing was deleted".into()));
        }
    }
    let deleted = service.send(Method::DELETE, &of("0"), None)?;
    if service.out.is_data() {
        return service.out.one(&deleted);
    }
    println!("{id} deleted; workspaced ws restore {id} brings it back");
    Ok(())
}

/// The preview domain of a workspace.
fn preview_domain(
    service: &Service,
    name: &str,
    domain: Option<String>,
    verify: bool,
) -> Result<(), Failure> {
    let path = format!("/workspaces/{}/preview-domain", service.workspace(name)?);
    let mut shown = match domain.as_deref() {
        None if verify => Value::Null,
        None => service.get(&path)?,
        Some("none") => service.send(Method::DELETE, &path, None)?,
        Some(domain) => service.send(Method::PUT, &path, Some(&json!({ "domain": domain })))?,
    };
    if verify {
        shown = service.get(&format!("{path}/verify"))?;
    }
    if service.out.is_data() {
        return service.out.one(&shown);
    }
    let records = shown["records"].take();
    if let Some(fields) = shown.as_object_mut() {
        fields.remove("records");
    }
    service.out.one(&shown)?;
    match records.as_array() {
        Some(records) if !records.is_empty() => {
            println!("");
            service
                .out
                .list(records, &["type", "name", "value", "status"])
        }
        _ => Ok(()),
    }
}

/// What each workspace used and costs.
fn usage_of_all(service: &Service, window: &str) -> Result<(), Failure> {
    let period = if window == "this_month" {
        "mtd"
    } else {
        window
    };
    let query = [("group_by", "workspace_id"), ("period", period)];
    let found = service.get(&with_query("/usage", &query))?;
    if service.out.is_whole() {
        return service.out.one(&found);
    }
    let empty = Vec::new();
    let rows: Vec<Value> = found["results"]
        .as_array()
        .unwrap_or(&empty)
        .iter()
        .map(|row| {
            json!({
                "workspace_id": row["workspace_id"], "workspace_name": row["workspace_name"],
                "credits": credits(&row["credits_micros"]), "compute_hours": hours(&row["compute_ms"]),
            })
        })
        .collect();
    service.out.list(
        &rows,
        &["workspace_id", "credits", "compute_hours", "workspace_name"],
    )
}

/// Hours of milliseconds, to four decimals, as the service writes them.
fn hours(ms: &Value) -> f64 {
    ((ms.as_f64().unwrap_or(0.0) + 180.0) / 360.0).floor() / 10_000.0
}

/// The usage of a window as bars, and its totals.
fn draw(usage: &Value, width: usize) -> String {
    let by_day = usage["granularity"] == "day";
    let empty = Vec::new();
    let rows: Vec<_> = usage["series"]
        .as_array()
        .unwrap_or(&empty)
        .iter()
        .map(|bucket| {
            let ts = bucket["ts"].as_str().unwrap_or("");
            let label = ts
                .get(..if by_day { 10 } else { 16 })
                .unwrap_or(ts)
                .replace('T', " ");
            let used = bucket["credits_used"].as_f64().unwrap_or(0.0);
            // A refund is shown to the cent.
            let shown = if bucket["credits_micros"].as_i64() < Some(0) {
                credits(&bucket["credits_micros"])
            } else {
                format!("{used}")
            };
            (label, used, shown)
        })
        .collect();
    format!(
        "Credits per {}, {} to {} ({})\n\n{}\n{}, {}\n",
        usage["granularity"].as_str().unwrap_or("day"),
        text(&usage["window_start"]),
        text(&usage["window_end"]),
        text(&usage["time_zone"]),
        chart::bars(&rows, width),
        count(credits(&usage["total_credits_micros"]), "credit"),
        count(text(&usage["total_compute_hours"]), "compute hour"),
    )
}

/// `none` clears a setting.
fn word(text: String) -> Value {
    if text == "none" {
        Value::Null
    } else {
        text.into()
    }
}

/// As [`word`]; what is no number is sent as it is, and the service says what it wants.
fn number(text: String) -> Value {
    text.parse::<i64>().map_or_else(|_| word(text), Value::from)
}
