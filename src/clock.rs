//! Instants, and the only reader of the system clock.
//!
//! Everything that has a time gets it from the transaction ([`crate::store::Tx::now`]), which
//! stamps it once from the [`Clock`] of the store. Tests and development mode drive the clock by hand.

use std::fmt;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::{Deserialize, Serialize, Serializer};
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
        self.with_rfc3339(str::to_owned)
    }

    /// Hands `f` [`Timestamp::rfc3339`] without an allocation: a page of a list has a hundred of them.
    pub fn with_rfc3339<T>(self, f: impl FnOnce(&str) -> T) -> T {
        let at = self.civil();
        let year = at.year().unsigned_abs();
        let mut text = *b"0000-00-00T00:00:00Z";
        for (place, value) in [
            (0, year / 100 % 100),
            (2, year % 100),
            (5, u8::from(at.month()).into()),
            (8, at.day().into()),
            (11, at.hour().into()),
            (14, at.minute().into()),
            (17, at.second().into()),
        ] {
            text[place] += (value / 10) as u8;
            text[place + 1] += (value % 10) as u8;
        }
        f(std::str::from_utf8(&text).unwrap_or_default())
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
        self.with_rfc3339(|text| f.write_str(text))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.with_rfc3339(|text| s.serialize_str(text))
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

/// Where `now` comes from: the system, or a hand that drives it.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The wall clock of this machine, as far as it is believed (see [`Wall`]).
    System,
    /// The same with hands that a test moves.
    Told(Arc<Wall>),
    /// A clock that can be driven; shared by all clones.
    Driven(Arc<Mutex<Course>>),
    /// The same set by a test, where limits go by it too. Those of a service that people use
    /// go by the time of this machine: a clock that stands still must not shut them out.
    Manual(Arc<Mutex<Course>>),
}

/// How a driven clock goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// With the wall clock.
    Real,
    Frozen,
    /// From where it stands, at a speed of its own.
    Running,
}

/// Where a driven clock stands and how it goes on from there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Course {
    pub mode: Mode,
    /// What it showed when it was last set.
    pub at: Timestamp,
    /// Seconds that it goes in a second of the wall clock; counts while it is running.
    pub speed: u32,
    /// The wall clock when it was last set.
    set_at: Timestamp,
}

impl Course {
    /// A course that begins now.
    pub fn new(mode: Mode, at: Timestamp, speed: u32) -> Self {
        Course {
            mode,
            at,
            speed,
            set_at: Wall::of_machine().now(),
        }
    }

    fn now(&self) -> Timestamp {
        match self.mode {
            Mode::Real => Wall::of_machine().now(),
            Mode::Frozen => self.at,
            Mode::Running => {
                // A wall clock that steps back must not take this one along.
                let passed = (Wall::of_machine().now().0 - self.set_at.0).max(0);
                self.at
                    .plus_ms(passed.saturating_mul(i64::from(self.speed)))
            }
        }
    }
}

/// A wall clock that is ahead of the steady one by more than this is not followed at once.
const AHEAD_MS: i64 = 5 * 60_000;
/// For so long it must have gone evenly, then it is.
const LASTS_MS: i64 = 10 * 60_000;
/// The two may drift apart by so much between two looks: adjustments, and the pauses of a busy machine.
const DRIFT_MS: i64 = 60_000;
/// A step back by more than this is one, and no adjustment.
const BACK_MS: i64 = 1000;

/// The wall clock of a machine, held against one that only goes forward and counts while the machine sleeps.
///
/// A wall clock lies: it is ahead for seconds while the time is being set, or it begins in 1970. What happens
/// now must hold now and what is due must not happen early, so a jump ahead is not followed
/// until it has lasted; until then time goes on by the steady clock. A step back is followed at
/// once. Both are told (`/health`, metrics, log).
#[derive(Debug)]
pub struct Wall {
    source: Source,
    seen: Mutex<Option<Seen>>,
}

#[derive(Debug)]
enum Source {
    Machine,
    /// The wall clock and the steady one, of a test.
    Hands(Mutex<(Timestamp, i64)>),
}

/// What was seen of it so far; offsets are the wall clock less the steady one, milliseconds.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// The offset that is followed.
    followed: i64,
    /// The offset at the last look.
    last: i64,
    /// Since when it has gone evenly, by the steady clock.
    even_since: i64,
    jumps: u64,
    set_back: u64,
}

/// What there is to say about the clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Judgement {
    /// What is believed of it.
    pub now: Timestamp,
    /// The wall clock is ahead by so much and not followed; 0 = it is.
    pub ahead_ms: i64,
    /// For so long it has gone evenly.
    pub even_ms: i64,
    /// How often it jumped, ahead or back.
    pub jumps: u64,
    /// How often it was set back by a second or more.
    pub set_back: u64,
    /// It shows a time before this program was built.
    pub wrong: bool,
}

impl Judgement {
    /// What is wrong with it, in a sentence; `None` = nothing.
    pub fn fault(&self) -> Option<String> {
        if self.wrong {
            return Some(format!(
                "the clock shows {}, before this program was built: set it. Until then nothing is metered; \
                 reads go on",
                self.now
            ));
        }
        (self.ahead_ms > 0).then(|| {
            format!(
                "the wall clock jumped ahead by {} s; it is not followed until that has lasted for {} minutes",
                self.ahead_ms / 1000,
                LASTS_MS / 60_000
            )
        })
    }
}

impl Wall {
    /// That of this machine.
    pub fn of_machine() -> &'static Wall {
        static MACHINE: Wall = Wall {
            source: Source::Machine,
            seen: Mutex::new(None),
        };
        &MACHINE
    }

    /// One whose hands a test moves.
    pub fn told(wall: Timestamp) -> Arc<Wall> {
        Arc::new(Wall {
            source: Source::Hands(Mutex::new((wall, 0))),
            seen: Mutex::new(None),
        })
    }

    /// The steady clock beside it, milliseconds since some start.
    fn steady(&self) -> i64 {
        match &self.source {
            Source::Machine => steady_ms(),
            Source::Hands(hands) => hands.lock().1,
        }
    }

    /// Time passes for a test: so much by the steady clock, so much by the wall clock.
    pub fn pass(&self, steady_ms: i64, wall_ms: i64) {
        if let Source::Hands(hands) = &self.source {
            let mut hands = hands.lock();
            *hands = (hands.0.plus_ms(wall_ms), hands.1 + steady_ms);
        }
    }

    /// What is believed to be the time.
    pub fn now(&self) -> Timestamp {
        self.judge().now
    }

    /// Looks at both clocks.
    pub fn judge(&self) -> Judgement {
        let mut seen = self.seen.lock();
        let (wall, steady) = match &self.source {
            Source::Machine => (wall(), steady_ms()),
            Source::Hands(hands) => *hands.lock(),
        };
        let offset = wall.0.saturating_sub(steady);
        let seen = seen.get_or_insert(Seen {
            followed: offset,
            last: offset,
            even_since: steady,
            jumps: 0,
            set_back: 0,
        });
        let step = offset.saturating_sub(seen.last);
        if step.saturating_abs() > DRIFT_MS {
            tracing::warn!(
                seconds = step / 1000,
                "the wall clock jumped; nothing is deleted by age for a while"
            );
            seen.even_since = steady;
            seen.jumps += 1;
        }
        seen.last = offset;
        let even_ms = steady - seen.even_since;
        let ahead = offset.saturating_sub(seen.followed);
        // From a time that cannot be it is followed anywhere.
        let lost = seen.followed.saturating_add(steady) < built().0;
        if ahead <= AHEAD_MS || even_ms >= LASTS_MS || lost {
            if ahead > AHEAD_MS {
                tracing::warn!(seconds = ahead / 1000, now = %wall, "the clock is followed ahead");
            }
            seen.set_back += u64::from(ahead < -BACK_MS);
            seen.followed = offset;
        }
        let now = Timestamp(seen.followed.saturating_add(steady));
        Judgement {
            now,
            ahead_ms: offset.saturating_sub(seen.followed),
            even_ms,
            jumps: seen.jumps,
            set_back: seen.set_back,
            wrong: now < built(),
        }
    }
}

/// The day on which this program was built: it did not exist before.
pub fn built() -> Timestamp {
    static BUILT: OnceLock<Timestamp> = OnceLock::new();
    *BUILT.get_or_init(|| {
        let seconds = env!("WORKSPACED_BUILT_ON").parse().unwrap_or(0);
        Timestamp(0).plus_seconds(seconds)
    })
}

/// The wall clock of this machine, whatever it says.
#[expect(
    clippy::disallowed_methods,
    reason = "the one legal site: everything else asks the transaction"
)]
fn wall() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
}

/// Milliseconds since some start, also of the time in which the machine slept.
#[cfg(target_os = "linux")]
fn steady_ms() -> i64 {
    let at = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    at.tv_sec * 1000 + at.tv_nsec / 1_000_000
}

/// Milliseconds since the first call.
#[cfg(not(target_os = "linux"))]
fn steady_ms() -> i64 {
    static START: OnceLock<Stopwatch> = OnceLock::new();
    i64::try_from(START.get_or_init(Stopwatch::start).micros() / 1000).unwrap_or(i64::MAX)
}

impl Clock {
    /// A clock that stands at `at` until [`Clock::set`] moves it.
    pub fn manual(at: Timestamp) -> Self {
        Clock::Manual(Arc::new(Mutex::new(Course::new(Mode::Frozen, at, 1))))
    }

    /// A clock on this course until it gets another one.
    pub fn controlled(course: Course) -> Self {
        Clock::Driven(Arc::new(Mutex::new(course)))
    }

    /// The present instant.
    pub fn now(&self) -> Timestamp {
        match self.course() {
            Some(course) => course.now(),
            None => self.judge().now,
        }
    }

    /// Puts a driven clock at an instant, from which it goes on as before; one that goes with the
    /// wall clock runs beside it from there. The system's clock stays as it is.
    pub fn set(&self, to: Timestamp) {
        if let Some(course) = self.course() {
            let mode = match course.mode {
                Mode::Real => Mode::Running,
                mode => mode,
            };
            self.steer(Course::new(mode, to, course.speed));
        }
    }

    /// How a driven clock goes; `None` for the system's.
    pub fn course(&self) -> Option<Course> {
        match self {
            Clock::System | Clock::Told(_) => None,
            Clock::Driven(course) | Clock::Manual(course) => Some(*course.lock()),
        }
    }

    /// Gives a driven clock another course; the system's stays as it is.
    pub fn steer(&self, to: Course) {
        if let Clock::Driven(course) | Clock::Manual(course) = self {
            *course.lock() = to;
        }
    }

    /// What is believed of the wall clock, which only a driven clock may differ from.
    pub fn wall(&self) -> Timestamp {
        self.judge().now
    }

    /// What there is to say about the wall clock behind it.
    pub fn judge(&self) -> Judgement {
        match self {
            Clock::Told(wall) => wall.judge(),
            _ => Wall::of_machine().judge(),
        }
    }

    /// Whether it shows what the wall clock does, and may be as wrong.
    pub fn follows_the_wall(&self) -> bool {
        self.course().is_none_or(|course| course.mode == Mode::Real)
    }

    /// What is wrong with it, in a sentence; `None` = nothing, or it is driven.
    pub fn fault(&self) -> Option<String> {
        self.follows_the_wall()
            .then(|| self.judge().fault())
            .flatten()
    }

    /// Whether it shows a time that cannot be: before this program was built.
    pub fn is_wrong(&self) -> bool {
        self.follows_the_wall() && self.judge().wrong
    }

    /// Real milliseconds until this clock shows `at`; `None` while it stands still.
    pub fn real_ms_until(&self, at: Timestamp) -> Option<i64> {
        let speed = match self.course() {
            Some(course) if course.mode == Mode::Frozen => return None,
            Some(course) if course.mode == Mode::Running => i64::from(course.speed.max(1)),
            _ => 1,
        };
        Some((at.0.saturating_sub(self.now().0)).div_euclid(speed))
    }
}

/// Time that only ever goes forward, for limits. Never for data.
#[derive(Clone, Debug)]
pub enum Ticks {
    /// Of this machine, since some start.
    System(std::time::Instant),
    /// The same hand that sets the clock.
    Manual(Clock),
    /// The steady clock beside a wall clock.
    Steady(Arc<Wall>),
}

impl Clock {
    /// Ticks that go with this clock.
    #[expect(
        clippy::disallowed_methods,
        reason = "limits only; no data depends on it"
    )]
    pub fn ticks(&self) -> Ticks {
        match self {
            Clock::System | Clock::Driven(_) => Ticks::System(std::time::Instant::now()),
            Clock::Told(wall) => Ticks::Steady(wall.clone()),
            Clock::Manual(_) => Ticks::Manual(self.clone()),
        }
    }
}

impl governor::clock::Clock for Ticks {
    type Instant = governor::nanos::Nanos;

    fn now(&self) -> Self::Instant {
        match self {
            Ticks::System(start) => start.elapsed().into(),
            Ticks::Steady(wall) => {
                let ms = u64::try_from(wall.steady()).unwrap_or(0);
                std::time::Duration::from_millis(ms).into()
            }
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
    fn a_driven_clock_goes_as_it_is_told() {
        let clock = Clock::manual(Timestamp(5_000));
        assert_eq!(clock.now(), Timestamp(5_000));
        assert_eq!(clock.real_ms_until(Timestamp(6_000)), None);
        clock.set(Timestamp(7_000));
        assert_eq!(clock.now(), Timestamp(7_000));

        let mut course = Course::new(Mode::Running, Timestamp(7_000), 60);
        course.set_at = course.set_at.plus_ms(-2_000);
        clock.steer(course);
        assert!(
            clock.now() >= Timestamp(127_000),
            "two seconds are two minutes"
        );
        // A wall clock that stepped back.
        course.set_at = course.set_at.plus_ms(DAY_MS);
        clock.steer(course);
        assert_eq!(clock.now(), Timestamp(7_000));

        clock.steer(Course::new(Mode::Real, Timestamp(0), 1));
        assert!((clock.now().0 - clock.wall().0).abs() < 60_000);
        let ahead = clock.now().plus_ms(DAY_MS);
        clock.set(ahead);
        assert!(clock.now() >= ahead, "set ahead, it goes on from there");
        assert_eq!(Clock::System.course(), None);
    }

    #[test]
    fn a_wall_clock_that_jumps_ahead_is_followed_when_it_has_lasted() {
        const MINUTE: i64 = 60_000;
        let start = built().plus_ms(DAY_MS);
        let wall = Wall::told(start);
        assert_eq!(wall.now(), start);
        // Adjustments, and less than some minutes.
        wall.pass(0, 4 * MINUTE);
        assert_eq!(wall.now(), start.plus_ms(4 * MINUTE));
        // Fourteen years for two seconds.
        let right = wall.now();
        wall.pass(0, 14 * 365 * DAY_MS);
        wall.pass(2000, 2000);
        assert_eq!(wall.now(), right.plus_ms(2000));
        assert_eq!(wall.judge().ahead_ms, 14 * 365 * DAY_MS);
        assert!(wall.judge().fault().unwrap().contains("ahead"));
        wall.pass(0, -14 * 365 * DAY_MS);
        assert_eq!(wall.now(), right.plus_ms(2000));
        assert_eq!(wall.judge().fault(), None);
        assert_eq!(wall.judge().set_back, 0, "it was never followed");
        // It lasts; another jump meanwhile begins that anew. Somebody looks every second.
        wall.pass(0, HOUR_MS);
        wall.now();
        wall.pass(9 * MINUTE, 9 * MINUTE);
        assert_eq!(wall.now(), right.plus_ms(2000 + 9 * MINUTE));
        wall.pass(0, HOUR_MS);
        wall.now();
        wall.pass(9 * MINUTE, 9 * MINUTE);
        assert_eq!(wall.now(), right.plus_ms(2000 + 18 * MINUTE));
        wall.pass(MINUTE, MINUTE);
        assert_eq!(wall.now(), right.plus_ms(2000 + 19 * MINUTE + 2 * HOUR_MS));
        // Back: at once.
        let ahead = wall.now();
        wall.pass(0, -2 * HOUR_MS);
        assert_eq!(wall.now(), ahead.plus_ms(-2 * HOUR_MS));
        assert_eq!(wall.judge().set_back, 1);
        // Asleep: the steady clock counts that too.
        wall.pass(9 * HOUR_MS, 9 * HOUR_MS);
        assert_eq!(wall.now(), ahead.plus_ms(7 * HOUR_MS));
    }

    #[test]
    fn a_clock_before_the_build_is_wrong_and_right_as_soon_as_it_is_set() {
        let wall = Wall::told(Timestamp::parse("2016-01-01T00:00:00Z").unwrap());
        assert!(wall.judge().wrong);
        assert!(wall.judge().fault().unwrap().contains("2016-01-01"));
        let now = built().plus_ms(DAY_MS);
        wall.pass(1000, now.0 - wall.now().0);
        assert_eq!(wall.now(), now);
        assert!(!wall.judge().wrong);
    }

    #[test]
    fn a_clock_that_jumped_has_gone_evenly_since_then() {
        let wall = Wall::told(built().plus_ms(DAY_MS));
        let even = |wall: &Wall| wall.judge().even_ms / HOUR_MS;
        assert_eq!(even(&wall), 0, "right after a start");
        wall.pass(HOUR_MS, HOUR_MS);
        assert_eq!(even(&wall), 1);
        // A year ahead, and right again: both are jumps.
        wall.pass(0, 365 * DAY_MS);
        assert_eq!(even(&wall), 0);
        wall.pass(HOUR_MS, HOUR_MS - 365 * DAY_MS);
        assert_eq!(even(&wall), 0);
        wall.pass(HOUR_MS - 1, HOUR_MS - 1);
        assert_eq!(even(&wall), 0);
        wall.pass(1, 1);
        assert_eq!(even(&wall), 1);
        // It stays ahead: believed in the end.
        wall.pass(0, 98 * HOUR_MS);
        assert_eq!(even(&wall), 0);
        wall.pass(HOUR_MS, HOUR_MS);
        assert_eq!(even(&wall), 1);
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
