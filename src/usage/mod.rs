//! Usage: what ran where, for how long, and what it cost. Four rooms, each using only those below it:
//!
//! * [`questions`]: every number that is shown, one endpoint a file
//! * [`reports`]: what comes in from outside: reports of agents, corrections
//! * [`ledger`]: compute events, the append-only history that everything follows from, and its proof
//! * [`meter`]: sums by the hour, derived from the events, from which a series is read
//!
//! The rules that every number obeys are in `assets/manual/metering.md`; the idea of the meter, with its
//! schema, is the last section of `schema.sql`.

pub mod ledger;
pub mod meter;
pub mod questions;
pub mod reports;
