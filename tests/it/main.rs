//! Tests through the router: what clients see, on a real database file and a hand-set clock.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may panic as tests may"
)]

mod harness;

mod admin;
mod audit_retention;
mod backup;
mod budgets;
mod capsule;
mod capsule_hostile;
mod clock;
mod compat;
mod computers;
mod credits;
mod dev;
mod domains;
mod events;
mod faults;
mod floors;
mod formats;
mod fuzz;
mod headroom;
mod idempotency;
mod isolation;
mod keys;
mod labels;
mod machines;
mod manual;
mod metering_oracle;
mod model;
mod months;
mod oidc;
mod operations;
mod organizations;
mod overload;
mod paging;
mod past_usage;
mod plans;
mod published;
mod rates;
mod refusals;
mod repeats;
mod restore;
mod restrictions;
mod share_links;
mod statements;
mod store;
mod surface;
mod tenancy;
mod usage;
mod usage_api;
mod usage_ingest;
mod usage_invariants;
mod usage_readme;
mod usage_rules;
mod usage_settled;
mod usage_store;
mod versions;
mod webhooks;
mod workspaces;
