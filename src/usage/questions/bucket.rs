//! A bucket of a series as replies show it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::usage::meter::units::{Hours, Shown};

/// One bucket.
#[derive(Serialize, ToSchema, Clone)]
pub struct Bucket {
    /// Its aligned start, also where the window begins inside it.
    pub ts: Timestamp,
    /// Whole credits.
    pub credits_used: i64,
    /// Running hours, summed over computers.
    pub compute_hours: Hours,
    /// The same in milliseconds.
    pub compute_ms: i64,
    /// Credits in micro-credits.
    pub credits_micros: i64,
    /// The window begins or ends inside it, or it is not over yet.
    pub partial: bool,
}

impl Bucket {
    pub fn new((ts, partial): (Timestamp, bool), shown: Shown) -> Self {
        Bucket {
            ts,
            credits_used: shown.credits_used,
            compute_hours: shown.compute_hours,
            compute_ms: shown.compute_ms,
            credits_micros: shown.credits_micros,
            partial,
        }
    }
}
