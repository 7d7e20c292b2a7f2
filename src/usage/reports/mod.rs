//! What comes in from outside: reports of agents, corrections.

pub mod adjust;
pub mod ingest;
pub mod report;
