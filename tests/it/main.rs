//! Tests through the router: what clients see, on a real database file and a hand-set clock.

mod harness;

mod workspaces;
