//! Which period a question is about, and the buckets that it is cut into (metering.md, "Windows and
//! buckets").

use jiff::tz::TimeZone;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::clock::{DAY_MS, HOUR_MS, Timestamp};
use crate::error::{Error, Fields, Result};
use crate::http::{Param, words};
use crate::usage::meter::floor;

/// Longest period between `from` and `to`.
const MAX_PERIOD_MS: i64 = 400 * DAY_MS;
/// Most buckets of one reply.
const MAX_BUCKETS: usize = 10_000;

const NO_ZONE: &str = "must be an IANA time zone such as UTC, Europe/Budapest or Asia/Kathmandu";

words! {
    /// The size of a bucket.
    pub enum Granularity {
        /// An hour of the clock.
        Hour = "hour",
        /// A day of the calendar.
        Day = "day",
    }

    /// The windows of the API page.
    pub enum WindowName {
        /// The last 24 hours.
        Day = "24h",
        /// The last 7 × 24 hours.
        Week = "7d",
        /// The last 30 × 24 hours.
        Month = "30d",
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
    /// Reads an IANA name; absent = UTC. `Err` says what is allowed.
    pub fn parse(text: Option<&str>) -> Result<Self, &'static str> {
        let Some(text) = text else {
            return Ok(Zone::utc());
        };
        let zone = TimeZone::get(text).map_err(|_| NO_ZONE)?;
        let name = zone.iana_name().ok_or(NO_ZONE)?.to_owned();
        Ok(Zone {
            zone: (name != "UTC").then_some(zone),
            name,
        })
    }

    fn utc() -> Self {
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
    fn start(&self, at: i64, granularity: Granularity) -> i64 {
        match (&self.zone, granularity) {
            (None, Granularity::Hour) => floor(at, HOUR_MS),
            (None, Granularity::Day) => floor(at, DAY_MS),
            (Some(zone), Granularity::Day) => Zone::day(zone, at, 0)
                .filter(|start| *start <= at)
                .unwrap_or(at),
            (Some(zone), Granularity::Hour) => {
                let offset = Zone::offset(zone, at);
                let start = floor(at + offset, HOUR_MS) - offset;
                // A change of the clock inside this hour begins it anew.
                if Zone::offset(zone, start) == offset {
                    return start;
                }
                let day = Zone::day(zone, at, 0).unwrap_or(start).min(start);
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
    fn next(&self, start: i64, granularity: Granularity) -> i64 {
        match (&self.zone, granularity) {
            (None, Granularity::Hour) => start + HOUR_MS,
            (None, Granularity::Day) => start + DAY_MS,
            (Some(zone), Granularity::Day) => {
                // A day that a zone skipped (Samoa, 2011-12-30) has no instant of its own.
                (1..=3)
                    .filter_map(|n| Zone::day(zone, start, n))
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

    /// First instant of the local day of `at`, `later` days on (a day may start at 01:00, as in
    /// Santiago on 2026-09-06).
    fn day(zone: &TimeZone, at: i64, later: i64) -> Option<i64> {
        let local = jiff::Timestamp::from_millisecond(at)
            .ok()?
            .to_zoned_datetime(zone.clone());
        let mut date = local.date();
        for _ in 0..later {
            date = date.tomorrow().ok()?;
        }
        let start = date.at(0, 0, 0, 0).to_zoned_datetime(zone.clone()).ok()?;
        Some(start.timestamp().as_millisecond())
    }
}

/// Which period a series is about.
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct PeriodQuery {
    /// How far back from now: 24h (default), 7d, 30d
    #[param(inline)]
    pub window: Param<WindowName>,
    /// Instead of `window`: a calendar month of `tz`, such as 2026-10
    #[param(example = "2026-10", pattern = r"^\d{4}-\d{2}$")]
    pub period: Option<String>,
    /// Size of a bucket: hour (default; day with `period`), day
    #[param(inline)]
    pub granularity: Param<Granularity>,
    /// Instead of `window`: from here on, inclusive; RFC 3339
    #[param(value_type = Option<String>)]
    pub from: Param<Timestamp>,
    /// Up to here, exclusive; now if left out; at most 400 days or 10,000 buckets after `from`
    #[param(value_type = Option<String>)]
    pub to: Param<Timestamp>,
    /// IANA time zone that buckets are aligned to; UTC if left out
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
    /// Checks the parameters against each other and cuts the buckets.
    ///
    /// # Errors
    /// 422 that names every parameter that is wrong and what is allowed, and what is in `fields`.
    pub fn new(query: &PeriodQuery, as_of: Timestamp, mut fields: Fields) -> Result<Window> {
        let granularity = query.granularity.read(&mut fields, "granularity");
        let granularity = granularity.unwrap_or(match query.period {
            // A month in hours would be 744 rows.
            Some(_) => Granularity::Day,
            None => Granularity::Hour,
        });
        let zone = Zone::parse(query.tz.as_deref()).map_err(|text| fields.push("tz", text));
        let period = if let Some(text) = &query.period {
            month(query, text, zone.as_ref().ok(), &mut fields)
        } else if query.from.is_given() || query.to.is_given() {
            custom(query, as_of, &mut fields)
        } else {
            Some(last(query.window.read(&mut fields, "window"), as_of))
        };
        fields.finish()?;
        let (Ok(zone), Some((name, start, end))) = (zone, period) else {
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

fn last(window: Option<WindowName>, as_of: Timestamp) -> Period {
    let window = window.unwrap_or(WindowName::Day);
    let days = match window {
        WindowName::Day => 1,
        WindowName::Week => 7,
        WindowName::Month => 30,
    };
    (window.as_str(), as_of.0 - days * DAY_MS, as_of.0)
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
    let first = Some(text)
        .filter(|text| text.len() == 7)
        .and_then(|text| format!("{text}-01").parse::<jiff::civil::Date>().ok());
    let period = first.and_then(|first| {
        let next = first.checked_add(jiff::Span::new().months(1)).ok()?;
        let zone = zone?.zone.clone().unwrap_or(TimeZone::UTC);
        let start = |date: jiff::civil::Date| {
            let start = date.at(0, 0, 0, 0).to_zoned_datetime(zone.clone()).ok()?;
            Some(start.timestamp().as_millisecond())
        };
        Some(("custom", start(first)?, start(next)?))
    });
    // A wrong zone has its own text.
    if period.is_none() && zone.is_some() {
        fields.push("period", "must be a month such as 2026-10");
    }
    period
}

fn custom(query: &PeriodQuery, as_of: Timestamp, fields: &mut Fields) -> Option<Period> {
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
    let (from, to) = (from?, if query.to.is_given() { to? } else { as_of });
    if from >= to {
        fields.push("from", "must be before to");
    } else if to.0 - from.0 > MAX_PERIOD_MS {
        fields.push("to", "must be at most 400 days after from");
    }
    Some(("custom", from.0, to.0))
}
