//! How long a secret that was replaced goes on working.

use crate::error::{Error, Result};

/// Seven days: whoever has not put the new one in by then has lost it.
const LONGEST_SECONDS: i64 = 604_800;

/// `grace_seconds` of a rotation, in milliseconds; `None`: the old secret ends at once.
///
/// # Errors
/// 422.
pub fn grace_ms(seconds: Option<i64>) -> Result<Option<i64>> {
    match seconds {
        None | Some(0) => Ok(None),
        Some(seconds @ 1..=LONGEST_SECONDS) => Ok(Some(seconds * 1000)),
        Some(_) => Err(Error::field(
            "grace_seconds",
            format!("must be 0 to {LONGEST_SECONDS} (7 days)"),
        )),
    }
}
