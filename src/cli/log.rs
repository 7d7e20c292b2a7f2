//! The log of the service, written by a thread of its own: whoever reads it and stops reading (a pager, a terminal
//! whose output is held) holds up no request.

use std::future::Future;
use std::io::{BufWriter, IsTerminal, stderr};
use std::time::Duration;

use tokio::sync::watch;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

use super::Failure;
use crate::api::log_filter::{self, Reload};
use crate::rules::config::{LogFormat, ServeArgs};

/// Lines that wait for whoever reads them, of a few hundred bytes each; beyond that new ones are lost.
const WAITING: usize = 4096;
/// How often it is looked whether any were.
const LOOK: Duration = Duration::from_secs(1);

/// The log; what waits is written when this is dropped.
pub struct Log {
    filter: reload::Handle<Targets, Registry>,
    lost: ErrorCounter,
    _writer: WorkerGuard,
}

/// Begins to log.
///
/// # Errors
/// When the filter cannot be read.
pub fn start(args: &ServeArgs) -> Result<Log, Failure> {
    let filter = log_filter::parse(&args.log)
        .map_err(|why| Failure::Usage(format!("--log {:?}: {why}", args.log)))?;
    let (layer, filter) = reload::Layer::new(filter);
    let (lines, writer) = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING)
        .thread_name("log")
        .finish(BufWriter::new(stderr()));
    let lost = lines.error_counter();
    let log = fmt::layer()
        .with_writer(lines)
        .with_ansi(stderr().is_terminal());
    let registry = tracing_subscriber::registry().with(layer);
    match args.log_format {
        LogFormat::Text => registry.with(log).init(),
        LogFormat::Json => registry.with(log.json().flatten_event(true)).init(),
    }
    Ok(Log {
        filter,
        lost,
        _writer: writer,
    })
}

impl Log {
    /// How the filter is changed.
    pub fn reload(&self) -> Reload {
        let filter = self.filter.clone();
        Box::new(move |new| filter.reload(new).map_err(|e| e.to_string()))
    }

    /// Says how many lines were lost, when no more are.
    pub fn watch(&self, mut stopped: watch::Receiver<bool>) -> impl Future<Output = ()> + use<> {
        let lost = self.lost.clone();
        async move {
            let (mut told, mut seen) = (0, 0);
            while tokio::time::timeout(LOOK, stopped.changed()).await.is_err() {
                let now = lost.dropped_lines();
                if now == seen && now > told {
                    tracing::warn!(
                        lines = now - told,
                        "lines of the log were lost: nobody read it for a while"
                    );
                    told = now;
                }
                seen = now;
            }
        }
    }
}
