//! What every handler can reach, made once at start. There are no process globals.

use std::ops::Deref;
use std::sync::Arc;

use crate::backups::Backups;
use crate::catalog::Catalog;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::dev::Dev;
use crate::domains::Dns;
use crate::events::Streams;
use crate::health::Readiness;
use crate::http::{Auth, Throttle};
use crate::logging::LogFilter;
use crate::metrics::Metrics;
use crate::sessions::SignIns;
use crate::store::Store;
use crate::webhooks::Outbox;

/// The running service. Cheap to clone, which every request does several times.
#[derive(Clone)]
pub struct App(Arc<Parts>);

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl From<Parts> for App {
    fn from(parts: Parts) -> App {
        App(Arc::new(parts))
    }
}

/// The parts of the running service.
#[derive(Clone)]
pub struct Parts {
    /// The database.
    pub store: Store,
    /// The checked configuration.
    pub config: Arc<Config>,
    /// Sizes, rates and templates.
    pub catalog: Arc<Catalog>,
    /// The credential check.
    pub auth: Arc<Auth>,
    /// How much a key and an address may ask for.
    pub throttle: Arc<Throttle>,
    /// Looks preview domains up.
    pub dns: Arc<Dns>,
    /// Failed sign-ins by address.
    pub sign_ins: Arc<SignIns>,
    /// The backups of the service.
    pub backups: Arc<Backups>,
    /// The live event streams that are open.
    pub streams: Arc<Streams>,
    /// What is being sent to webhooks.
    pub outbox: Arc<Outbox>,
    /// Whether to send requests here.
    pub health: Arc<Readiness>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is logged.
    pub log: Arc<LogFilter>,
    /// What the emulator holds in memory.
    pub dev: Arc<Dev>,
    /// When the service started.
    pub started_at: Timestamp,
}

impl App {
    /// Puts the parts together.
    pub fn new(store: Store, config: Config) -> App {
        App::from(Parts {
            sign_ins: Arc::default(),
            streams: Arc::default(),
            outbox: Arc::new(Outbox::new(&config)),
            backups: Arc::default(),
            health: Arc::default(),
            dev: Arc::default(),
            metrics: Arc::new(Metrics::new(&store)),
            log: Arc::default(),
            started_at: store.now(),
            throttle: Arc::new(Throttle::new(&config, store.clock().ticks())),
            store,
            catalog: Arc::new(Catalog::new(&config.file)),
            auth: Arc::default(),
            dns: Arc::new(Dns::new(config.dns_resolver)),
            config: Arc::new(config),
        })
    }
}
