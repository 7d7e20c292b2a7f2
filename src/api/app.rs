//! The parts of a running service, made once at start. There are no process globals.
//!
//! A handler takes the parts that it uses (`State<Store>`, `State<Fleet>`, ...), never the whole.

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRef;

use crate::access::auth::Auth;
use crate::access::links::Links;
use crate::access::oidc::Provider;
use crate::access::session::Cookies;
use crate::access::throttle::Throttle;
use crate::access::wrong_keys::WrongKeys;
use crate::api::health::Readiness;
use crate::api::log_filter::LogFilter;
use crate::api::metrics::Metrics;
use crate::audit::Sinks;
use crate::backups::Backups;
use crate::clock::Timestamp;
use crate::compute::Offer;
use crate::computers::Fleet;
use crate::computers::simulation::{AsConfigured, Simulation};
use crate::db::Store;
use crate::dev::Emulator;
use crate::dev::faults::Faults;
use crate::domains::Dns;
use crate::domains::check::Domains;
use crate::http::{Kit, Repeats, Room};
use crate::outbox::events::Streams;
use crate::outbox::webhooks::deliver::Outbox;
use crate::outbox::webhooks::queue::Queue;
use crate::previews::Previews;
use crate::rules::catalog::Catalog;
use crate::rules::config::Config;

/// The running service. Cheap to clone, which every request does several times.
#[derive(Clone)]
pub struct App(Arc<Parts>);

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// The parts of the running service.
pub struct Parts {
    pub store: Store,
    pub config: Arc<Config>,
    pub catalog: Arc<Catalog>,
    pub fleet: Fleet,
    pub auth: Arc<Auth>,
    pub throttle: Arc<Throttle>,
    pub room: Room,
    pub repeats: Arc<Repeats>,
    pub domains: Domains,
    pub previews: Previews,
    pub wrong_keys: Arc<WrongKeys>,
    pub links: Arc<Links>,
    /// With which people sign in by name.
    pub oidc: Option<Arc<Provider>>,
    pub backups: Backups,
    pub streams: Arc<Streams>,
    pub outbox: Outbox,
    pub health: Arc<Readiness>,
    pub metrics: Arc<Metrics>,
    pub log: Arc<LogFilter>,
    pub emulator: Emulator,
    pub started_at: Timestamp,
}

impl App {
    /// Puts the parts together.
    pub fn new(store: Store, config: Config) -> App {
        App::with_streams(store, config, Streams::default())
    }

    /// [`App::new`], with live streams that behave otherwise.
    pub fn with_streams(store: Store, config: Config, streams: Streams) -> App {
        attach(&store);
        let config = Arc::new(config);
        let catalog = Arc::new(Catalog::new(&config.file));
        let faults = Arc::new(Faults::default());
        let simulation: Arc<dyn Simulation> = if config.virtual_clock {
            faults.clone()
        } else {
            Arc::new(AsConfigured)
        };
        let fleet = Fleet {
            config: config.clone(),
            catalog: catalog.clone(),
            engine: Arc::default(),
            simulation,
        };
        let auth = Arc::new(Auth::new(Cookies::new(config.public_url.clone())));
        let streams = Arc::new(streams);
        let throttle = Arc::new(Throttle::new(&config, store.clock().ticks()));
        let outbox = Outbox::new(store.clone(), config.clone());
        let started_at = store.now();
        App(Arc::new(Parts {
            emulator: Emulator::new(
                store.clone(),
                fleet.clone(),
                auth.clone(),
                outbox.clone(),
                streams.clone(),
                faults,
            ),
            metrics: Arc::new(Metrics::new(&store, &outbox)),
            room: Room::new(&store),
            repeats: Arc::new(Repeats::new(!config.replay_lost)),
            domains: Domains {
                store: store.clone(),
                config: config.clone(),
                dns: Arc::new(Dns::new(config.dns_resolver)),
            },
            backups: Backups::new(store.clone(), &config),
            previews: Previews {
                store: store.clone(),
                config: config.clone(),
                fleet: fleet.clone(),
                auth: auth.clone(),
                throttle: throttle.clone(),
                reached: Arc::default(),
            },
            throttle,
            wrong_keys: Arc::default(),
            links: Arc::default(),
            oidc: config
                .oidc
                .clone()
                .map(|oidc| Arc::new(Provider::new(oidc))),
            health: Arc::default(),
            log: Arc::default(),
            auth,
            streams,
            outbox,
            fleet,
            started_at,
            store,
            catalog,
            config,
        }))
    }
}

/// Lets the floors that read the audit log hear of it inside the transactions of a store: also for a
/// command line that changes something without a service.
pub fn attach(store: &Store) {
    store.attach(Sinks(vec![Box::new(Queue)]));
}

/// What handlers may ask for.
macro_rules! parts {
    ($($part:ident: $type:ty;)*) => {$(
        impl FromRef<App> for $type {
            fn from_ref(app: &App) -> $type {
                app.$part.clone()
            }
        }
    )*};
}
parts! {
    store: Store;
    config: Arc<Config>;
    catalog: Arc<Catalog>;
    fleet: Fleet;
    auth: Arc<Auth>;
    room: Room;
    domains: Domains;
    wrong_keys: Arc<WrongKeys>;
    backups: Backups;
    streams: Arc<Streams>;
    outbox: Outbox;
    health: Arc<Readiness>;
    log: Arc<LogFilter>;
    emulator: Emulator;
}

impl FromRef<App> for Kit {
    fn from_ref(app: &App) -> Kit {
        Kit {
            store: app.store.clone(),
            request_timeout: app.config.request_timeout,
            room: app.room.clone(),
            repeats: app.repeats.clone(),
        }
    }
}

impl FromRef<App> for Offer {
    fn from_ref(app: &App) -> Offer {
        Offer::new(app.catalog.clone(), app.store.clone())
    }
}
