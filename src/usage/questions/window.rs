//! Which period a question is about, and the buckets that it is cut into (metering.md, "Windows and
//! buckets").

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa::openapi::schema::ObjectBuilder;

use crate::clock::{DAY_MS, HOUR_MS, Timestamp};
use crate::error::{Error, Fields, Result};
use crate::http::{FromText, Param, words};
use crate::ids::{TenantId, WorkspaceId};
use crate::store::Tx;
use crate::time_zones;
use crate::usage::meter::floor;

/// Longest period between `from` and `to`.
const MAX_PERIOD_MS: i64 = 400 * DAY_MS;
/// Most buckets of one reply.
const MAX_BUCKETS: usize = 10_000;

words! {
    /// The size of a bucket.
    pub enum Granularity {
        /// An hour of the clock.
        Hour = "hour",
        /// A day of the calendar.
        Day = "day",
        /// A week of the calendar, Monday to Sunday.
        Week = "week",
        /// A month of the calendar.
        Month = "month",
    }

    /// The windows of the API page.
    pub enum WindowName {
        /// The last 24 hours.
        Day = "24h",
        /// The last 7 × 24 hours.
        Week = "7d",
        /// The last 30 × 24 hours.
        Month = "30d",
        /// Since midnight.
        Today = "today",
        /// The day before today.
        Yesterday = "yesterday",
        /// Since the first of the month.
        ThisMonth = "this_month",
        /// The month before this one.
        LastMonth = "last_month",
    }
}

/// A time zone that buckets are aligned to.
#[derive(Clone, Debug)]
pub struct Zone {
    name: String,
    /// `None` = UTC, where aligning is a division.
    zone: Option<TimeZone>,
}

impl Zone {
    /// Reads an IANA name. `Err` says what is allowed.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let name = time_zones::canonical(text)?;
        let zone = TimeZone::get(&name).map_err(|_| time_zones::WANTED)?;
        Ok(Zone {
            zone: (name != "UTC").then_some(zone),
            name,
        })
    }

    /// The one that a request names, or the one that was set for the workspace or its organization.
    ///
    /// # Errors
    /// When the store fails; a wrong name goes to `fields`.
    pub fn asked(
        tx: &Tx<'_>,
        tenant: TenantId,
        workspace: Option<WorkspaceId>,
        text: Option<&str>,
        fields: &mut Fields,
    ) -> Result<Option<Self>> {
        if let Some(text) = text {
            return Ok(Zone::parse(text)
                .map_err(|text| fields.push("tz", text))
                .ok());
        }
        Zone::of(tx, tenant, workspace).map(Some)
    }

    /// The one that was set for the workspace or its organization; UTC where none was.
    pub fn of(tx: &Tx<'_>, tenant: TenantId, workspace: Option<WorkspaceId>) -> Result<Self> {
        let set = time_zones::of(tx, tenant, workspace)?;
        // A later edition of the zones may have dropped it.
        Ok(set
            .and_then(|name| Zone::parse(&name).ok())
            .unwrap_or_else(Zone::utc))
    }

    pub fn utc() -> Self {
        Zone {
            name: "UTC".into(),
            zone: None,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Milliseconds that local clocks are ahead of UTC.
    fn offset(zone: &TimeZone, at: i64) -> i64 {
        jiff::Timestamp::from_millisecond(at)
            .map_or(0, |at| i64::from(zone.to_offset(at).seconds()) * 1000)
    }

    /// Start of the bucket that `at` lies in.
    pub fn start(&self, at: i64, granularity: Granularity) -> i64 {
        match (&self.zone, granularity) {
            (None, Granularity::Hour) => floor(at, HOUR_MS),
            (None, Granularity::Day) => floor(at, DAY_MS),
            (zone, Granularity::Day | Granularity::Week | Granularity::Month) => {
                Zone::civil(zone.as_ref(), at, granularity, 0)
                    .filter(|start| *start <= at)
                    .unwrap_or(at)
            }
            (Some(zone), Granularity::Hour) => {
                let offset = Zone::offset(zone, at);
                let start = floor(at + offset, HOUR_MS) - offset;
                // A change of the clock inside this hour begins it anew.
                if Zone::offset(zone, start) == offset {
                    return start;
                }
                let day = Zone::civil(Some(zone), at, Granularity::Day, 0)
                    .unwrap_or(start)
                    .min(start);
                let mut last = day;
                while let Some(next) = Some(self.next(last, granularity)).filter(|next| *next <= at)
                {
                    last = next;
                }
                last
            }
        }
    }

    /// Start of the bucket after the one that starts at `start`.
    pub fn next(&self, start: i64, granularity: Granularity) -> i64 {
        match (&self.zone, granularity) {
            (None, Granularity::Hour) => start + HOUR_MS,
            (None, Granularity::Day) => start + DAY_MS,
            (zone, Granularity::Day | Granularity::Week | Granularity::Month) => {
                // A day that a zone skipped (Samoa, 2011-12-30) has no instant of its own.
                (1..=3)
                    .filter_map(|n| Zone::civil(zone.as_ref(), start, granularity, n))
                    .find(|next| *next > start)
                    .unwrap_or(start + DAY_MS)
            }
            (Some(zone), Granularity::Hour) => {
                let offset = Zone::offset(zone, start);
                let next = floor(start + offset, HOUR_MS) + HOUR_MS - offset;
                if Zone::offset(zone, next - 1) == offset {
                    return next;
                }
                // The clock changes in the middle of a local hour: on to the first full one after that.
                let change = jiff::Timestamp::from_millisecond(start)
                    .ok()
                    .and_then(|at| zone.following(at).next());
                let change = change.map_or(next, |change| change.timestamp().as_millisecond());
                let offset = Zone::offset(zone, change);
                Some(floor(change + offset - 1, HOUR_MS) + HOUR_MS - offset)
                    .filter(|full| *full > start)
                    .unwrap_or(next)
            }
        }
    }

    /// First instant of the local day, week or month of `at`, `later` of them on (a day may start at 01:00,
    /// as in Santiago on 2026-09-06).
    fn civil(
        zone: Option<&TimeZone>,
        at: i64,
        granularity: Granularity,
        later: i64,
    ) -> Option<i64> {
        let zone = zone.cloned().unwrap_or(TimeZone::UTC);
        let date = jiff::Timestamp::from_millisecond(at)
            .ok()?
            .to_zoned_datetime(zone.clone())
            .date();
        let span = jiff::Span::new();
        let date = match granularity {
            Granularity::Hour | Granularity::Day => date.checked_add(span.days(later)),
            Granularity::Week => {
                let since = i64::from(date.weekday().to_monday_zero_offset());
                date.checked_add(span.days(7 * later - since))
            }
            Granularity::Month => date.first_of_month().checked_add(span.months(later)),
        };
        Zone::midnight(&zone, date.ok()?)
    }

    /// First instant of a day.
    fn midnight(zone: &TimeZone, date: Date) -> Option<i64> {
        let start = date.at(0, 0, 0, 0).to_zoned_datetime(zone.clone()).ok()?;
        Some(start.timestamp().as_millisecond())
    }

    /// First instant of a day of the calendar.
    pub fn day(&self, date: Date) -> Option<i64> {
        Zone::midnight(self.zone.as_ref().unwrap_or(&TimeZone::UTC), date)
    }

    /// First and last instant of a month such as 2026-10, the last exclusive.
    pub fn month(&self, text: &str) -> Option<(i64, i64)> {
        let first = Some(text).filter(|text| text.len() == 7)?;
        let first: Date = format!("{first}-01").parse().ok()?;
        let next = first.checked_add(jiff::Span::new().months(1)).ok()?;
        Some((self.day(first)?, self.day(next)?))
    }

    /// The month that an instant lies in, such as 2026-10.
    pub fn month_of(&self, at: i64) -> String {
        self.written(at, "%Y-%m")
    }

    /// The day that an instant lies in, such as 2026-10-31.
    pub fn date_of(&self, at: i64) -> String {
        self.written(at, "%Y-%m-%d")
    }

    /// What clocks show at an instant, such as 2026-10-31 23:00.
    pub fn shown(&self, at: i64) -> String {
        self.written(at, "%Y-%m-%d %H:%M")
    }

    fn written(&self, at: i64, as_what: &str) -> String {
        let zone = self.zone.clone().unwrap_or(TimeZone::UTC);
        let at = jiff::Timestamp::from_millisecond(at);
        at.map_or_else(
            |_| String::new(),
            |at| {
                at.to_zoned_datetime(zone)
                    .datetime()
                    .strftime(as_what)
                    .to_string()
            },
        )
    }
}

/// An instant, or a day whose first instant depends on the zone.
#[derive(Clone, Copy)]
pub enum Moment {
    At(Timestamp),
    Day(Date),
}

impl Moment {
    pub fn at(self, zone: &Zone) -> Option<i64> {
        match self {
            Moment::At(at) => Some(at.0),
            Moment::Day(date) => zone.day(date),
        }
    }
}

impl FromText for Moment {
    fn schema() -> ObjectBuilder {
        Timestamp::schema()
    }

    fn from_text(text: &str) -> Option<Self> {
        let day = (text.len() == 10 && !text.contains('T')).then(|| text.parse().ok());
        match day {
            Some(day) => day.map(Moment::Day),
            None => Timestamp::from_text(text).map(Moment::At),
        }
    }

    fn wanted() -> String {
        Timestamp::wanted()
    }
}

/// Which period a series is about.
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct PeriodQuery {
    /// How far back from now: 24h (default), 7d, 30d; or today, yesterday, this_month, last_month of `tz`
    #[param(inline)]
    pub window: Param<WindowName>,
    /// Instead of `window`: a calendar month of `tz`, such as 2026-10
    #[param(example = "2026-10", pattern = r"^\d{4}-\d{2}$")]
    pub period: Option<String>,
    /// Size of a bucket: hour (default; day where a month is asked for), day, week (from Monday), month
    #[param(inline)]
    pub granularity: Param<Granularity>,
    /// Instead of `window`: from here on, inclusive; RFC 3339, or a date, which begins at midnight of `tz`
    #[param(value_type = Option<String>)]
    pub from: Param<Moment>,
    /// Up to here, exclusive; now if left out; at most 400 days or 10,000 buckets after `from`
    #[param(value_type = Option<String>)]
    pub to: Param<Moment>,
    /// IANA time zone that buckets are aligned to; if left out the one that was set for the workspace or
    /// the organization, or UTC
    #[param(example = "Europe/Budapest")]
    pub tz: Option<String>,
}

/// A period and its buckets.
#[derive(Debug)]
pub struct Window {
    /// `24h`, `7d`, `30d`, or `custom`.
    pub name: &'static str,
    pub granularity: Granularity,
    pub zone: Zone,
    /// The first instant, inclusive.
    pub start: i64,
    /// The last instant, exclusive.
    pub end: i64,
    /// The instant of the question: nothing after it is known.
    pub as_of: i64,
    /// Aligned starts of the buckets, and the aligned end of the last one.
    pub edges: Vec<i64>,
}

impl Window {
    /// Checks the parameters against each other and cuts the buckets. Where no zone is asked for, that of the
    /// workspace or organization holds.
    ///
    /// # Errors
    /// 422 that names every parameter that is wrong and what is allowed, and what is in `fields`.
    pub fn new(
        tx: &Tx<'_>,
        tenant: TenantId,
        workspace: Option<WorkspaceId>,
        query: &PeriodQuery,
        mut fields: Fields,
    ) -> Result<Window> {
        let as_of = tx.now();
        let window = query.window.read(&mut fields, "window");
        let granularity = query.granularity.read(&mut fields, "granularity");
        let granularity = granularity.unwrap_or(match (&query.period, window) {
            // A month in hours would be 744 rows.
            (Some(_), _) | (None, Some(WindowName::ThisMonth | WindowName::LastMonth)) => {
                Granularity::Day
            }
            _ => Granularity::Hour,
        });
        let zone = Zone::asked(tx, tenant, workspace, query.tz.as_deref(), &mut fields)?;
        let period = if let Some(text) = &query.period {
            month(query, text, zone.as_ref(), &mut fields)
        } else if query.from.is_given() || query.to.is_given() {
            custom(query, zone.as_ref(), as_of, &mut fields)
        } else {
            let zone = zone.clone().unwrap_or_else(Zone::utc);
            Some(last(window, &zone, as_of))
        };
        fields.finish()?;
        let (Some(zone), Some((name, start, end))) = (zone, period) else {
            return Err(Error::internal("a wrong period without a text"));
        };
        let mut edges = vec![zone.start(start, granularity)];
        let mut last = edges[0];
        while last < end {
            if edges.len() > MAX_BUCKETS {
                return Err(Error::field(
                    "granularity",
                    format!("gives more than {MAX_BUCKETS} buckets; use day, or a shorter period"),
                ));
            }
            last = zone.next(last, granularity);
            edges.push(last);
        }
        Ok(Window {
            name,
            granularity,
            zone,
            start,
            end,
            as_of: as_of.0,
            edges,
        })
    }

    /// The one bucket of an aligned period that `at` lies in, up to `as_of`.
    pub fn bucket(at: Timestamp, granularity: Granularity, zone: Zone, as_of: Timestamp) -> Window {
        let start = zone.start(at.0, granularity);
        let end = zone.next(start, granularity);
        Window {
            name: "custom",
            granularity,
            zone,
            start,
            end,
            as_of: as_of.0,
            edges: vec![start, end],
        }
    }

    /// Where the meter is read: the edges, cut at the window and at what is known.
    pub fn cuts(&self) -> Vec<i64> {
        let (first, last) = (self.start.min(self.as_of), self.end.min(self.as_of));
        self.edges
            .iter()
            .map(|edge| (*edge).clamp(first, last))
            .collect()
    }

    /// The buckets: aligned start, and whether only a part of it is shown.
    pub fn buckets(&self) -> impl Iterator<Item = (Timestamp, bool)> + '_ {
        let known = self.end.min(self.as_of);
        self.edges
            .windows(2)
            .map(move |edge| (Timestamp(edge[0]), edge[0] < self.start || edge[1] > known))
    }
}

type Period = (&'static str, i64, i64);

fn last(window: Option<WindowName>, zone: &Zone, as_of: Timestamp) -> Period {
    let window = window.unwrap_or(WindowName::Day);
    let back = |days| (as_of.0 - days * DAY_MS, as_of.0);
    let since = |granularity| zone.start(as_of.0, granularity);
    let before = |granularity| {
        let end = since(granularity);
        (zone.start(end - 1, granularity), end)
    };
    let (start, end) = match window {
        WindowName::Day => back(1),
        WindowName::Week => back(7),
        WindowName::Month => back(30),
        WindowName::Today => (since(Granularity::Day), as_of.0),
        WindowName::ThisMonth => (since(Granularity::Month), as_of.0),
        WindowName::Yesterday => before(Granularity::Day),
        WindowName::LastMonth => before(Granularity::Month),
    };
    (window.as_str(), start, end)
}

/// The whole month, also where it is not over yet.
fn month(
    query: &PeriodQuery,
    text: &str,
    zone: Option<&Zone>,
    fields: &mut Fields,
) -> Option<Period> {
    for (name, given) in [
        ("window", query.window.is_given()),
        ("from", query.from.is_given()),
        ("to", query.to.is_given()),
    ] {
        if given {
            fields.push(name, "cannot be combined with period; use one or the other");
        }
    }
    let period = zone
        .and_then(|zone| zone.month(text))
        .map(|(start, end)| ("custom", start, end));
    // A wrong zone has its own text.
    if period.is_none() && zone.is_some() {
        fields.push("period", "must be a month such as 2026-10");
    }
    period
}

fn custom(
    query: &PeriodQuery,
    zone: Option<&Zone>,
    as_of: Timestamp,
    fields: &mut Fields,
) -> Option<Period> {
    if query.window.is_given() {
        fields.push(
            "window",
            "cannot be combined with from and to; use one or the other",
        );
    }
    let from = query.from.read(fields, "from");
    let to = query.to.read(fields, "to");
    if !query.from.is_given() {
        fields.push("from", "can't be blank where to is given");
    }
    let to = if query.to.is_given() {
        to?
    } else {
        Moment::At(as_of)
    };
    // A wrong zone has its own text.
    let (from, to) = (from?.at(zone?)?, to.at(zone?)?);
    if from >= to {
        fields.push("from", "must be before to");
    } else if to - from > MAX_PERIOD_MS {
        fields.push("to", "must be at most 400 days after from");
    }
    Some(("custom", from, to))
}
