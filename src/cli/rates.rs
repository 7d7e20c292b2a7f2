//! `workspaced rates`: what an hour costs an organization or workspace in credits, through the API of a service.

use axum::http::Method;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::Failure;
use super::output::Output;
use super::service::{Service, given};
use crate::rules::config::ClientArgs;

#[derive(Subcommand)]
pub(super) enum RatesCommand {
    /// List what was agreed with the organization, or with a workspace, and what holds now
    Ls {
        #[command(flatten)]
        client: ClientArgs,
        /// Of this workspace: id, slug, or external:YOUR-ID
        #[arg(long)]
        workspace: Option<String>,
    },
    /// Set credits per hour from a time on; needs an operator key. What was metered keeps its price
    Set {
        #[command(flatten)]
        client: ClientArgs,
        #[command(flatten)]
        whose: Whose,
        /// When it begins to hold, such as 2029-02-01; now if left out
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// Only show what would come of it
        #[arg(long)]
        dry_run: bool,
        /// Such as small=25; `none`: again what holds above
        #[arg(required = true, value_name = "SIZE=CREDITS|none")]
        rates: Vec<String>,
    },
    /// Take back what lies ahead; needs an operator key
    Withdraw {
        #[command(flatten)]
        client: ClientArgs,
        #[command(flatten)]
        whose: Whose,
        /// Only what was to hold from this time on
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
    },
}

#[derive(Args)]
pub(super) struct Whose {
    /// Of this workspace: id, slug, or external:YOUR-ID
    #[arg(long)]
    workspace: Option<String>,
}

impl Whose {
    fn body(&self, service: &Service, from: Option<String>) -> Result<Value, Failure> {
        let workspace = self.workspace.as_ref();
        let workspace = workspace.map(|name| service.workspace(name)).transpose()?;
        Ok(given(&[
            ("workspace_id", workspace.map(Value::from)),
            ("effective_from", from.map(Value::from)),
        ]))
    }
}

pub(super) fn run(command: RatesCommand) -> Result<(), Failure> {
    match command {
        RatesCommand::Ls { client, workspace } => {
            let (shown, service) = (Output::new(&client)?, Service::new(client)?);
            let path = match workspace {
                None => "/tenant/rates".to_owned(),
                Some(name) => format!("/workspaces/{}/rates", service.workspace(&name)?),
            };
            show(&shown, &service.get(&path)?)
        }
        RatesCommand::Set {
            client,
            whose,
            from,
            dry_run,
            rates,
        } => {
            let (shown, service) = (Output::new(&client)?, Service::new(client)?);
            let mut body = whose.body(&service, from)?;
            body["rates"] = parsed(&rates)?;
            let path = match dry_run {
                true => "/admin/rates?dry_run=true",
                false => "/admin/rates",
            };
            show(&shown, &service.send(Method::POST, path, Some(&body))?)
        }
        RatesCommand::Withdraw {
            client,
            whose,
            from,
        } => {
            let (shown, service) = (Output::new(&client)?, Service::new(client)?);
            let body = whose.body(&service, from)?;
            let path = "/admin/rates/withdraw";
            show(&shown, &service.send(Method::POST, path, Some(&body))?)
        }
    }
}

fn parsed(rates: &[String]) -> Result<Value, Failure> {
    let mut sizes = Map::new();
    for rate in rates {
        let wrong = || {
            Failure::Usage(format!(
                "{rate}: must be a size and credits per hour, such as small=25 or small=none"
            ))
        };
        let (size, credits) = rate.split_once('=').ok_or_else(wrong)?;
        let credits = match credits {
            "none" => Value::Null,
            number => number.parse::<u32>().map_err(|_| wrong())?.into(),
        };
        sizes.insert(size.to_owned(), credits);
    }
    Ok(Value::Object(sizes))
}

/// A row for what holds of each size, and one for each entry that lies ahead; all of it as data.
fn show(shown: &Output, reply: &Value) -> Result<(), Failure> {
    if shown.is_data() {
        return shown.one(reply);
    }
    let mut rows: Vec<Value> = ["xs", "small", "medium", "large", "xl"]
        .iter()
        .map(|size| {
            let held = &reply["effective"][size];
            json!({ "size": size, "rate": held["rate"], "list": held["list"], "since": held["since"] })
        })
        .collect();
    let ahead = reply["data"].as_array().into_iter().flatten();
    for entry in ahead.filter(|entry| entry["begun"] == false) {
        rows.push(json!({
            "size": entry["size"], "rate": entry["rate"], "list": "ahead", "since": entry["holds_from"],
        }));
    }
    shown.list(&rows, &["size", "rate", "list", "since"])
}
