//! Tests through the router: what clients see, on a real database file and a hand-set clock.

mod harness;

mod computers;
mod workspaces;
mod idempotency;
mod keys;
mod store;
mod surface;
