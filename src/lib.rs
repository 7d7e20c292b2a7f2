//! workspaced: the Workspaces API on one machine, from one SQLite file.
//!
//! The modules stand on floors. What stands higher may use what stands lower, never the other way
//! round, and no two files need each other; `tests/it/floors.rs` reads this table and every `use`
//! and holds the code to both. A new line goes to the lowest floor that knows all it needs.
//!
//! | floor | modules | what |
//! |---|---|---|
//! | command line | `cli` | subcommands; `serve` starts everything and stops it gracefully |
//! | assembly | `api` | the only floor that knows all others: the route table, the edge that every request passes, the OpenAPI document, pages, background jobs, metrics |
//! | emulator | `dev` | a clock that can be driven, scenarios, snapshots, faults, what an application used |
//! | export | `export` | a workspace as one file, out of one installation and into another |
//! | outbox | `outbox` | what happened, told to others: live streams and webhooks |
//! | share links | `share_links` | what a customer sees of a workspace without a key |
//! | billing | `billing` | what was used, in money: price lists, statements, budgets |
//! | questions | `usage::questions`, `usage::reports` | every number that is billed; what agents outside report |
//! | resources | `actions`, `api_keys`, `backups`, `compute`, `computers`, `deleted`, `domains`, `limits`, `previews`, `projects`, `refusals`, `tenants`, `time_zones`, `workspaces` | one resource each |
//! | ledger | `usage::ledger` | compute events, the append-only history that is billed, and its proof |
//! | meter | `usage::meter` | the derived structure that answers in O(buckets) |
//! | audit | `audit` | who changed what |
//! | kit | `http` | parameters, bodies, idempotent changes, lists, connections |
//! | access | `access` | who asks: keys, people, callers, scopes, sessions, throttling |
//! | rules | `rules` | configuration, sizes, statuses, prices, what names may look like |
//! | errors | `db`, `error`, `json` | the one error type and body; what the store says becomes one |
//! | store | `store` | one writer with shared durable commits, a fixed number of readers, the schema's version |
//! | ground | `ids`, `clock` | what all of them share |
//!
//! Words: an *organization* is a `tenant` in code and on the wire; a *limit* is what a workspace may not exceed (its
//! settings cap it, the configuration's ceilings cap those); a *driver* is who takes a computer from status to
//! status, an *engine* is what runs containers for one of them.
//!
//! Three rules hold everywhere: time comes from the transaction, ids and secrets from the store,
//! configuration from `rules::config`. `clippy.toml` closes the other doors.

mod access;
mod actions;
mod api;
mod api_keys;
mod audit;
mod backups;
mod billing;
pub mod cli;
mod clock;
mod compute;
mod computers;
mod db;
mod deleted;
mod dev;
mod domains;
mod error;
mod export;
mod http;
mod ids;
mod json;
mod limits;
mod outbox;
mod previews;
mod projects;
mod refusals;
mod rules;
mod share_links;
mod store;
mod tenants;
mod time_zones;
mod usage;
mod workspaces;

/// What tests, benchmarks and fuzz targets reach: nothing else of the crate is public, so that the
/// compiler reports what nobody uses.
#[doc(hidden)]
pub mod testing {
    pub use crate::access::key::{DEV_KEY, KeyType};
    pub use crate::access::scopes::Reach;
    pub use crate::api::app::App;
    pub use crate::api::edge::{router, split};
    pub use crate::api::openapi;
    pub use crate::api::routes;
    pub use crate::api_keys::{NewKey, record_uses};
    pub use crate::audit::{Actor, Entry};
    pub use crate::billing::budgets::look_at_all as look_at_budgets;
    pub use crate::billing::html::Paper;
    pub use crate::billing::monthly::look as write_statements;
    pub use crate::clock::{Clock, Course, DAY_MS, Mode, Stopwatch, Ticks, Timestamp, Wall, built};
    pub use crate::computers::lifecycle::{bring_all_nearer, run_due};
    pub use crate::computers::repair::put_right;
    pub use crate::db::Store;
    pub use crate::deleted::forget as forget_deleted;
    pub use crate::error::Error;
    pub use crate::http::{idempotency, serve};
    pub use crate::ids::{TenantId, WorkspaceId};
    pub use crate::outbox::events::Streams;
    pub use crate::outbox::webhooks::{catalog, deliver, queue, target};
    pub use crate::rules::config::{
        BackupSettings, Config, ConfigFile, Delays, Hidden, OidcSettings, WebhookReach,
    };
    pub use crate::rules::host::normalize_host;
    pub use crate::rules::hosted::BASE;
    pub use crate::rules::role::Role;
    pub use crate::rules::text;
    pub use crate::store::{SCHEMA, Tx, VERSION, WriteTx};
    pub use crate::usage::ledger::rates;
    pub use crate::usage::ledger::repair::{by_computer, misdated};
    pub use crate::usage::ledger::verify::{rebuild, verify};
    pub use crate::usage::questions::low;
    pub use crate::usage::questions::series::{SeriesQuery, read_series};
    pub use crate::usage::questions::window::PeriodQuery;
    pub use crate::workspaces::search;

    pub mod api_keys {
        pub use crate::api_keys::insert;
    }
    pub mod audit {
        pub use crate::audit::{NONE, purge, record};
    }
    pub mod dev {
        pub use crate::dev::clock::advance;
        pub use crate::dev::{
            SEED, Seeded, keep, resume, save, scenario, seed, take_snapshot_blocking,
        };
    }
    pub mod machines {
        pub use crate::computers::machines::host::{Host, online_cpus};
        pub use crate::computers::machines::watch::run;
        pub use crate::rules::config::{
            EngineSettings, Firewall, Image, Network, OnBoot, Reserve, Snapshots,
        };
    }
    pub mod store {
        pub use crate::backups::restore;
        pub use crate::store::{
            Target, checksum_file, give_back, heavy, inspect, list_backups, lock_data_dir, sha256,
            take_backup,
        };
    }
    pub mod tenants {
        pub use crate::tenants::insert;
    }

    /// Forgets sessions that are over.
    pub use crate::access::session::purge as purge_sessions;
}
