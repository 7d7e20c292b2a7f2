//! `workspaced demo`: a month of a believable organization, on this machine, going on by itself.

use clap::Args;

use tokio::runtime::Runtime;
use tracing::subscriber::NoSubscriber;

use super::{Failure, demo_data, open, seed, serve};
use crate::api::app::App;
use crate::api::edge;
use crate::db::Store;
use crate::dev;
use crate::rules::config::{Config, ServeArgs};

/// Whose customers are known, and have more than computers.
const BUILT_IN: &str = "clinic";

/// `workspaced demo`
#[derive(Args, Clone)]
pub(super) struct DemoArgs {
    #[command(flatten)]
    pub(super) serve: ServeArgs,
    /// A built-in scenario (see `scenario list`), or a scenario file
    #[arg(long, default_value = BUILT_IN)]
    scenario: String,
    /// Decides the ids and whatever is left to chance
    #[arg(long, value_name = "NUMBER", default_value_t = 42)]
    seed: u64,
    /// Seconds that pass in one of the wall clock (1 to 86400)
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    speed: u32,
    /// Only print the link to the admin page
    #[arg(long)]
    no_open: bool,
}

pub(super) fn run(mut args: DemoArgs) -> Result<(), Failure> {
    args.serve.dev = true;
    args.serve.ephemeral = true;
    let serve_args = args.serve.clone();
    serve(&serve_args, Some(&args))
}

impl DemoArgs {
    /// What there is to show.
    pub(super) fn fill(
        &self,
        store: &Store,
        config: &Config,
        runtime: &Runtime,
    ) -> Result<(), Failure> {
        seed::fill(store, config, &self.scenario, self.seed)?;
        dev::resume(store, false)?;
        if self.scenario == BUILT_IN {
            let router = edge::router(App::new(store.clone(), config.clone()));
            // Nobody asks for these requests: the log begins with those that somebody does.
            let _silent = tracing::subscriber::set_default(NoSubscriber::default());
            runtime.block_on(demo_data::fill(&router))?;
        }
        dev::set_pace(store, self.speed)?;
        Ok(dev::take_snapshot_blocking(store, dev::SEED)?)
    }

    /// Opens the admin page, signed in; where there is no browser to open, the link says where it is.
    pub(super) async fn show(&self, app: &App, pages: &str) -> Result<(), Failure> {
        let random = app.store.write(|tx| Ok(tx.random::<32>()?)).await?;
        let link = format!("{pages}{}", app.emulator.login_links.allow(random));
        println!("the admin page, signed in (good once):\n  {link}\n");
        if !self.no_open {
            open::in_browser(&link);
        }
        Ok(())
    }
}
