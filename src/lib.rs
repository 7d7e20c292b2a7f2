//! workspaced: the Workspaces API on one machine, from one SQLite file.
//!
//! Where things are, in the order in which a request meets them:
//!
//! | module | what |
//! |---|---|
//! | [`cli`] | subcommands; `serve` starts everything and stops it gracefully |
//! | [`config`] | every flag, variable and key of the configuration file; the only reader of the environment |
//! | [`http`] | the route table ([`http::routes`]) on one screen; request ids, keys and scopes, extractors, idempotency, paging, the OpenAPI document |
//! | [`tenants`], [`api_keys`], [`workspaces`], [`projects`], [`computers`], [`domains`], [`catalog`], [`actions`] | one resource each: shapes, look-ups and changes of rows, handlers, in that order or in files of that name |
//! | [`limits`] | the one function that says whether a workspace may grow |
//! | [`usage`] | compute events, the meter, and every number that is billed |
//! | [`audit`] | who changed what |
//! | [`events`] | the same as it happens, as server-sent events |
//! | [`webhooks`] | the same again, sent to where an organization wants to hear of it: queued with the change, signed, retried |
//! | [`sessions`] | the admin page's sign-in: an API key exchanged for a cookie |
//! | [`system`], [`metrics`], [`logging`] | the installation and an organization at a glance; Prometheus; the log's filter |
//! | [`capsule`] | a workspace as one file, out of one installation and into another |
//! | [`backups`] | copies of the database: by the clock, and when an operator asks |
//! | [`health`] | what a supervisor and a load balancer ask |
//! | [`store`] | one writer with shared durable commits, a fixed number of readers, the schema's version |
//! | [`dev`] | the emulator: a clock that can be driven, scenarios, snapshots, faults, and what an application used |
//! | [`jobs`] | background work: a static table and one loop |
//! | [`admin`] | documents and the embedded pages |
//! | [`error`], [`clock`], [`ids`], [`json`], [`text`], [`app`] | the small things that all of them share |
//!
//! Three rules hold everywhere: time comes from the transaction, ids and secrets from the store,
//! configuration from [`config`]. `clippy.toml` closes the other doors.

pub mod actions;
pub mod admin;
pub mod api_keys;
pub mod app;
pub mod audit;
pub mod backups;
pub mod capsule;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod computers;
pub mod config;
pub mod dev;
pub mod domains;
pub mod error;
pub mod events;
pub mod health;
pub mod http;
pub mod ids;
pub mod jobs;
pub mod json;
pub mod limits;
pub mod logging;
pub mod metrics;
pub mod projects;
pub mod sessions;
pub mod store;
pub mod system;
pub mod tenants;
pub mod text;
pub mod usage;
pub mod webhooks;
pub mod workspaces;
