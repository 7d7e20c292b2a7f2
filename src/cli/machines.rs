//! `workspaced machines`: what a container engine has of this installation.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::Failure;
use crate::clock::Timestamp;
use crate::computers::Fleet;
use crate::computers::machines::adopt;
use crate::computers::machines::reconcile::bounded;
use crate::computers::machines::seam::{About, Engine, Fault, Life, Listed};
use crate::computers::machines::{spec, wanted, watch};
use crate::computers::simulation::AsConfigured;
use crate::db::Store;
use crate::ids::{ComputerId, WorkspaceId, parse_uuid};
use crate::rules::catalog::Catalog;
use crate::rules::config::{Config, ConfigFile, DataArgs, EngineArgs};

/// What an engine may take for one of these commands.
const PATIENCE: Duration = Duration::from_secs(60);

/// `workspaced machines`
#[derive(Subcommand)]
pub(super) enum MachinesCommand {
    /// List the containers of this installation, and whose they are
    Ls(MachinesArgs),
    /// Make a computer of a container that belongs to none, such as after a backup was restored
    Adopt {
        #[command(flatten)]
        args: MachinesArgs,
        /// The container's name
        container: String,
        /// Id of the workspace that it comes into
        #[arg(long, value_name = "ID")]
        workspace: String,
    },
    /// Remove a container that belongs to no computer, and its volume
    Rm {
        #[command(flatten)]
        args: MachinesArgs,
        /// The container's name
        container: String,
    },
}

#[derive(Args)]
pub(super) struct MachinesArgs {
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Finds an engine by what the command line and the file of the configuration say.
pub(super) async fn engine(
    args: &EngineArgs,
    file: &ConfigFile,
) -> Result<(Arc<dyn Engine>, About, String), String> {
    let sockets = args.sockets(file)?;
    let (engine, about, socket) = watch::find(&sockets).await?;
    Ok((engine, about, socket.display().to_string()))
}

/// A container, and whose it is.
struct Found {
    listed: Listed,
    computer: Option<ComputerId>,
    /// Name and status of the computer, if there is one.
    owner: Option<(String, String)>,
}

async fn found(store: &Store, engine: &dyn Engine) -> Result<Vec<Found>, Failure> {
    let seen = store.read(wanted::last_seen).await?;
    let Some(seen) = seen else {
        return Err(Failure::Usage(
            "this installation has run no machines yet; start it once with --driver docker".into(),
        ));
    };
    let label = spec::label(&seen.install);
    let listed = bounded(PATIENCE, engine.list(&label))
        .await
        .map_err(fatal)?;
    let owners: HashMap<ComputerId, (String, String)> = store.read(adopt::owners).await?;
    Ok(listed
        .into_iter()
        .map(|listed| {
            let id = listed
                .labels
                .get(spec::COMPUTER)
                .and_then(|id| parse_uuid(id));
            let computer = id.map(ComputerId);
            Found {
                owner: computer.and_then(|id| owners.get(&id).cloned()),
                computer,
                listed,
            }
        })
        .collect())
}

fn fatal(e: Fault) -> Failure {
    Failure::Fatal(e.text().to_owned())
}

/// The container of this name, if it belongs to no computer.
fn orphan(all: Vec<Found>, name: &str) -> Result<(Listed, ComputerId), Failure> {
    let found = all
        .into_iter()
        .find(|found| found.listed.name == name || found.listed.id == name);
    match found {
        None => Err(Failure::Missing(format!(
            "this installation has no container {name}; workspaced machines ls lists them"
        ))),
        Some(Found {
            owner: Some((owner, _)),
            ..
        }) => Err(Failure::Usage(format!(
            "{name} belongs to the computer {owner}; change or delete that instead"
        ))),
        Some(Found {
            computer: Some(id),
            listed,
            ..
        }) => Ok((listed, id)),
        Some(_) => Err(Failure::Usage(format!(
            "{name} does not say which computer it was"
        ))),
    }
}

pub(super) fn run(command: MachinesCommand) -> Result<(), Failure> {
    let (MachinesCommand::Ls(args)
    | MachinesCommand::Adopt { args, .. }
    | MachinesCommand::Rm { args, .. }) = &command;
    let file = match &args.data.config {
        Some(path) => ConfigFile::load(path).map_err(Failure::Usage)?,
        None => ConfigFile::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    super::with_store(&args.data, |store| {
        runtime.block_on(async {
            let (engine, _, _) = engine(&args.engine, &file).await.map_err(Failure::Fatal)?;
            let all = found(store, engine.as_ref()).await?;
            match &command {
                MachinesCommand::Ls(_) => list(&all),
                MachinesCommand::Rm { container, .. } => {
                    let (listed, id) = orphan(all, container)?;
                    bounded(PATIENCE, engine.remove(&listed.id))
                        .await
                        .map_err(fatal)?;
                    match bounded(PATIENCE, engine.remove_volume(&spec::volume(id))).await {
                        Ok(()) | Err(Fault::Missing(_)) => {}
                        Err(e) => return Err(fatal(e)),
                    }
                    println!("removed {}", listed.name);
                }
                MachinesCommand::Adopt {
                    container,
                    workspace,
                    ..
                } => {
                    let (listed, id) = orphan(all, container)?;
                    let workspace = parse_uuid(workspace).map(WorkspaceId).ok_or_else(|| {
                        Failure::Usage(format!("--workspace {workspace:?} is not an id"))
                    })?;
                    let fleet = Fleet {
                        config: Arc::new(Config::default()),
                        catalog: Arc::new(Catalog::new(&file)),
                        engine: Arc::default(),
                        simulation: Arc::new(AsConfigured),
                    };
                    let name = listed.name.clone();
                    store
                        .write(move |tx| adopt::adopt(tx, &fleet, id, workspace, &listed))
                        .await?;
                    println!("{name} is the computer {}", id.0);
                }
            }
            Ok(())
        })
    })
}

fn list(all: &[Found]) {
    println!(
        "{:<40}  {:<8}  {:<20}  {}",
        "CONTAINER", "STATE", "MADE", "COMPUTER"
    );
    for found in all {
        let state = match found.listed.life {
            Life::Created => "made",
            Life::Running => "running",
            Life::Exited => "exited",
            Life::Stuck => "stuck",
        };
        let owner = match &found.owner {
            Some((name, status)) => format!("{name} ({status})"),
            None => "none: adopt it, or remove it with rm".into(),
        };
        let made = Timestamp(found.listed.created * 1000).to_string();
        println!(
            "{:<40}  {state:<8}  {:<20}  {owner}",
            found.listed.name,
            &made[..19]
        );
    }
}
