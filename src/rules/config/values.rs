//! How the values of flags are written.

use std::time::Duration;

/// A length of time with its unit, such as 24h, 1h30m or 90s; whole seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let given = text.parse::<jiff::SignedDuration>().ok();
    given
        .and_then(|d| u64::try_from(d.as_secs()).ok())
        .filter(|seconds| *seconds <= 366 * 86_400)
        .map(Duration::from_secs)
        .ok_or_else(|| {
            "allowed are hours, minutes and seconds up to a year, such as 24h, 1h30m or 90s".into()
        })
}
