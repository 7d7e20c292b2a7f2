//! What comes in from outside: reports of agents, corrections, credits, and what ran before it was metered here.

pub mod adjust;
pub mod grant;
pub mod ingest;
pub mod past_usage;
pub mod report;
