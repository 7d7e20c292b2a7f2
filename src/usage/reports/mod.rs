//! What comes in from outside: reports of agents, corrections, credits.

pub mod adjust;
pub mod grant;
pub mod ingest;
pub mod report;
