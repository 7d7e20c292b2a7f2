//! Every number that is shown.
//!
//! * [`window`], [`series`], [`breakdown`], [`csv`]: `GET /workspaces/{id}/usage`
//! * [`explain`], [`sessions`], [`metrics`], [`events`]: single computers
//! * [`rollup`], [`organization`], [`credits`]: the organization
//! * [`what_if`]: what other limits would have refused
//! * [`verification`]: the proof on demand
//! * [`table`]: what they have in common as tables

pub mod breakdown;
mod bucket;
pub mod credits;
pub mod csv;
pub mod events;
pub mod explain;
pub mod low;
pub mod metrics;
pub mod organization;
pub mod rollup;
pub mod series;
pub mod sessions;
mod split;
pub mod table;
pub mod types;
pub mod verification;
pub mod what_if;
pub mod window;
