//! `workspaced seed` and `workspaced scenario`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::accounts::tenant_of;
use super::progress::bar;
use super::{Failure, with_store};
use crate::api::app::App;
use crate::clock::Clock;
use crate::db::Store;
use crate::dev::{self, Seeded, scenario};
use crate::rules::config::{Config, ConfigFile, DataArgs};
use crate::rules::text::count;
use crate::store;

/// `workspaced seed`
#[derive(Args)]
pub(super) struct SeedArgs {
    #[command(flatten)]
    data: DataArgs,
    /// A built-in scenario (see `scenario list`), or a scenario file
    scenario: String,
    /// Decides the ids and whatever is left to chance
    #[arg(long, value_name = "NUMBER", default_value_t = 42)]
    seed: u64,
}

/// `workspaced scenario`
#[derive(Subcommand)]
pub(super) enum ScenarioCommand {
    /// List the built-in scenarios
    List,
    /// Print a built-in scenario, to write one's own after it
    Show {
        /// Its name
        name: String,
    },
    /// Write the present state of an organization as a scenario file
    Save {
        #[command(flatten)]
        data: DataArgs,
        /// The file; standard output if left out
        file: Option<PathBuf>,
        /// Organization, by slug; may be left out where there is only one
        #[arg(long)]
        tenant: Option<String>,
    },
}

/// Seeds a database that is open, and takes the snapshot to come back to.
pub(super) fn fill(
    store: &Store,
    config: &Config,
    name: &str,
    seed: u64,
) -> Result<Seeded, Failure> {
    let text = dev::find(name).map_err(Failure::Usage)?;
    let days = scenario::Scenario::parse(&text)
        .map_err(|e| Failure::Usage(format!("{name}: {e}")))?
        .days;
    let bar = bar("seeding", days.into());
    let app = App::new(store.clone(), config.clone());
    let progress = bar.clone();
    let seeded = store.write_blocking(move |tx| {
        dev::seed(tx, &app.emulator, &text, seed, &|day| {
            progress.set_position(day)
        })
    })?;
    bar.finish_and_clear();
    Ok(seeded)
}

pub(super) fn run(args: &SeedArgs) -> Result<(), Failure> {
    let file = args.data.config.as_deref();
    let config = Config {
        file: file
            .map_or(Ok(ConfigFile::default()), ConfigFile::load)
            .map_err(Failure::Usage)?,
        ..Config::default()
    };
    let (lock, path) = store::lock_data_dir(&args.data.data_dir)?;
    let store = Store::open(&path, Clock::System, 1)?;
    let seeded = fill(&store, &config, &args.scenario, args.seed)
        .and_then(|seeded| Ok((seeded, dev::take_snapshot_blocking(&store, dev::SEED)?)));
    store.close();
    drop(lock);
    let (seeded, ()) = seeded?;
    println!(
        "{}, {}, {} up to {}",
        count(seeded.workspaces, "workspace"),
        count(seeded.computers, "computer"),
        count(seeded.events, "compute event"),
        seeded.end
    );
    println!(
        "serve it with the clock at that instant: workspaced --dev --data-dir {}",
        args.data.data_dir.display()
    );
    Ok(())
}

pub(super) fn scenario(command: &ScenarioCommand) -> Result<(), Failure> {
    match command {
        ScenarioCommand::List => {
            for (name, text) in scenario::BUILT_IN {
                let scenario = scenario::Scenario::parse(text)
                    .map_err(|e| Failure::Fatal(format!("{name}: {e}")))?;
                println!("{name:12}  {}", scenario.about);
            }
            Ok(())
        }
        ScenarioCommand::Show { name } => {
            print!("{}", dev::find(name).map_err(Failure::Usage)?);
            Ok(())
        }
        ScenarioCommand::Save { data, file, tenant } => {
            let text = with_store(data, |store| {
                let tenant = tenant_of(store, tenant.as_deref())?;
                Ok(store.read_blocking(move |tx| dev::save(tx, tenant))?)
            })?;
            match file {
                Some(file) => std::fs::write(file, text)
                    .map_err(|e| Failure::Fatal(format!("{}: {e}", file.display()))),
                None => {
                    print!("{text}");
                    Ok(())
                }
            }
        }
    }
}
