//! Instants, and the only reader of the system clock.
//!
//! Everything that has a time gets it from the transaction ([`crate::store::Tx::now`]), which
//! stamps it once from the [`Clock`] of the store. Tests hold the clock by hand.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// An instant: milliseconds since the Unix epoch, UTC. As JSON: RFC 3339 with `Z`, whole seconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Timestamp(pub i64);

/// Milliseconds in an hour.
pub const HOUR_MS: i64 = 3_600_000;
/// Milliseconds in a day of 24 hours.
pub const DAY_MS: i64 = 24 * HOUR_MS;
/// The instants that RFC 3339 can write, years 0000 to 9999: what callers may name.
const RFC3339_RANGE: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

impl Timestamp {
    /// This instant, `ms` milliseconds later (earlier when negative); saturating.
    pub fn plus_ms(self, ms: i64) -> Self {
        Timestamp(self.0.saturating_add(ms))
    }

    /// This instant, `s` seconds later; saturating.
    pub fn plus_seconds(self, s: i64) -> Self {
        self.plus_ms(s.saturating_mul(1000))
    }

    /// Reads RFC 3339 in any offset; fractions below a millisecond are dropped.
    pub fn parse(text: &str) -> Option<Self> {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        let ms = i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000)).ok()?;
        RFC3339_RANGE.contains(&ms).then_some(Timestamp(ms))
    }

    /// RFC 3339 with `Z`, whole seconds: the form of every time in the API.
    pub fn rfc3339(self) -> String {
        self.civil()
            .format(&Rfc3339)
            .unwrap_or_else(|_| self.0.to_string())
    }

    /// RFC 3339 with `Z` and always three decimals, for instants whose milliseconds matter.
    pub fn rfc3339_ms(self) -> String {
        let seconds = self.rfc3339();
        let ms = self.0.rem_euclid(1000);
        format!("{}.{ms:03}Z", seconds.trim_end_matches('Z'))
    }

    fn civil(self) -> OffsetDateTime {
        let ms = self.0.clamp(*RFC3339_RANGE.start(), *RFC3339_RANGE.end());
        OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000))
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.rfc3339())
    }
}

impl ToSql for Timestamp {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.into())
    }
}

impl FromSql for Timestamp {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Timestamp)
    }
}

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .into()
    }
}
impl utoipa::ToSchema for Timestamp {}

/// Where `now` comes from: the system, or a hand that sets it.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The wall clock of this machine.
    System,
    /// Stands still until it is set; shared by all clones.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands at `at` until [`Clock::set`] moves it.
    pub fn manual(at: Timestamp) -> Self {
        Clock::Manual(Arc::new(AtomicI64::new(at.0)))
    }

    /// The present instant.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one legal site: everything else asks the transaction"
    )]
    pub fn now(&self) -> Timestamp {
        match self {
            Clock::System => {
                let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                Timestamp(since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
            }
            Clock::Manual(at) => Timestamp(at.load(Ordering::SeqCst)),
        }
    }

    /// Moves a manual clock; a system clock stays as it is.
    pub fn set(&self, to: Timestamp) {
        if let Clock::Manual(at) = self {
            at.store(to.0, Ordering::SeqCst);
        }
    }
}

/// Time that only ever goes forward, for limits. Never for data.
#[derive(Clone, Debug)]
pub enum Ticks {
    /// Of this machine, since some start.
    System(std::time::Instant),
    /// The same hand that sets the clock.
    Manual(Clock),
}

impl Clock {
    /// Ticks that go with this clock.
    #[expect(
        clippy::disallowed_methods,
        reason = "limits only; no data depends on it"
    )]
    pub fn ticks(&self) -> Ticks {
        match self {
            Clock::System => Ticks::System(std::time::Instant::now()),
            Clock::Manual(_) => Ticks::Manual(self.clone()),
        }
    }
}

impl governor::clock::Clock for Ticks {
    type Instant = governor::nanos::Nanos;

    fn now(&self) -> Self::Instant {
        match self {
            Ticks::System(start) => start.elapsed().into(),
            Ticks::Manual(clock) => {
                let ms = u64::try_from(clock.now().0).unwrap_or(0);
                std::time::Duration::from_millis(ms).into()
            }
        }
    }
}

/// How long something took, for the log and for metrics. Never for data.
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts now.
    #[expect(
        clippy::disallowed_methods,
        reason = "durations for people; no data depends on them"
    )]
    pub fn start() -> Self {
        Stopwatch(std::time::Instant::now())
    }

    /// Microseconds since the start.
    pub fn micros(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_whole_seconds_and_reads_any_offset() {
        assert_eq!(
            Timestamp(1_778_407_200_999).rfc3339(),
            "2026-05-10T10:00:00Z"
        );
        assert_eq!(
            Timestamp(1_778_407_200_007).rfc3339_ms(),
            "2026-05-10T10:00:00.007Z"
        );
        assert_eq!(
            Timestamp::parse("2026-05-10T12:00:00.5+02:00"),
            Some(Timestamp(1_778_407_200_500))
        );
        assert_eq!(Timestamp::parse("2026-05-10"), None);
        assert_eq!(Timestamp::parse("-0001-01-01T00:00:00Z"), None);
    }

    #[test]
    fn extremes_do_not_panic() {
        assert_eq!(Timestamp(i64::MAX).rfc3339(), "9999-12-31T23:59:59Z");
        assert_eq!(Timestamp(i64::MIN).rfc3339(), "0000-01-01T00:00:00Z");
        assert_eq!(
            Timestamp(i64::MAX).plus_seconds(i64::MAX),
            Timestamp(i64::MAX)
        );
    }
}
