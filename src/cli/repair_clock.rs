//! `workspaced repair-clock`: events that were dated by a clock that was ahead.

use std::sync::Arc;

use super::{Failure, verify, with_store};
use crate::clock::Timestamp;
use crate::computers::simulation::AsConfigured;
use crate::computers::{self, Fleet};
use crate::db::Store;
use crate::rules::catalog::Catalog;
use crate::rules::config::{Config, ConfigFile, DataArgs};
use crate::rules::text::count;
use crate::store::TURN;
use crate::usage::ledger::repair::{self, Misdated};

/// Lines that are printed at most.
const SHOWN: usize = 50;

/// `workspaced repair-clock`
#[derive(clap::Args)]
pub(super) struct RepairClockArgs {
    #[command(flatten)]
    data: DataArgs,
    /// When the clock went wrong, by the right time; RFC 3339, such as 2026-05-10T10:00:00Z
    #[arg(long, value_name = "TIME")]
    since: String,
    /// Do it; without this it is only shown
    #[arg(long)]
    apply: bool,
}

pub(super) fn run(args: &RepairClockArgs) -> Result<(), Failure> {
    let since = Timestamp::parse(&args.since).ok_or_else(|| {
        Failure::Usage("--since must be an RFC 3339 time such as 2026-05-10T10:00:00Z".into())
    })?;
    let file = args.data.config.as_deref();
    let config = Config {
        file: file
            .map_or(Ok(ConfigFile::default()), ConfigFile::load)
            .map_err(Failure::Usage)?,
        ..Config::default()
    };
    let fleet = Fleet {
        catalog: Arc::new(Catalog::new(&config.file)),
        config: Arc::new(config),
        simulation: Arc::new(AsConfigured),
        engine: Arc::default(),
    };
    with_store(&args.data, |store| {
        let clock = store.clock();
        if clock.is_wrong() {
            return Err(Failure::Usage(
                clock.judge().fault().unwrap_or_default() + "; nothing was changed",
            ));
        }
        if since > store.now() {
            return Err(Failure::Usage(format!(
                "--since lies ahead of the clock, which shows {}",
                store.now()
            )));
        }
        let found = store.read_blocking(move |tx| repair::misdated(tx, since))?;
        show(&found);
        if found.is_empty() {
            return Ok(());
        }
        let computers = repair::by_computer(found);
        if !args.apply {
            println!(
                "of {}. Nothing was changed; with --apply these events are made void and put there",
                count(computers.len(), "computer")
            );
            return Ok(());
        }
        apply(store, &fleet, computers)
    })?;
    if args.apply {
        verify(&args.data)?;
    }
    Ok(())
}

fn show(found: &[Misdated]) {
    for event in found.iter().take(SHOWN) {
        println!(
            "{}  {:20}  {}  belongs to  {}",
            event.computer,
            event.kind,
            Timestamp(event.row.at).rfc3339_ms(),
            Timestamp(event.right).rfc3339_ms()
        );
    }
    if found.len() > SHOWN {
        println!("and {} more", found.len() - SHOWN);
    }
    let were = if found.len() == 1 { "was" } else { "were" };
    println!("{} {were} dated wrongly", count(found.len(), "event"));
}

/// In turns, each whole: what was done is right, and a second run finds the rest.
fn apply(store: &Store, fleet: &Fleet, computers: Vec<Vec<Misdated>>) -> Result<(), Failure> {
    let all = computers.len();
    for turn in computers.chunks(TURN) {
        let (turn, fleet) = (turn.to_vec(), fleet.clone());
        store.write_blocking(move |tx| computers::repair::put_right(tx, &fleet, &turn))?;
    }
    println!("of {}, put right", count(all, "computer"));
    Ok(())
}
