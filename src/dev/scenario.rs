//! Scenario files: a believable installation in a screen or two of TOML.
//!
//! Everything is read strictly: an unknown key is an error. Days count from `start`, hours are UTC.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::clock::{DAY_MS, Timestamp};
use crate::rules::size::Size;

/// The scenarios that the binary brings along: name and text.
pub const BUILT_IN: &[(&str, &str)] = &[("clinic", include_str!("scenarios/clinic.toml"))];

/// One file.
#[derive(Deserialize, Serialize, Debug, Clone)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// One line for people.
    #[serde(default)]
    pub about: String,
    /// Name of the organization.
    pub organization: String,
    pub slug: String,
    /// Whole credits that it starts with.
    #[serde(default)]
    pub credits: i64,
    /// When everything begins, RFC 3339.
    #[serde(deserialize_with = "instant", serialize_with = "text")]
    pub start: Timestamp,
    /// How many days pass.
    pub days: u32,
    /// Time of the day after those at which it ends: midnight if left out.
    #[serde(default = "midnight")]
    pub until: Clock,
    /// When computers go on and off, by name; `rhythm` of a computer names one of them.
    #[serde(default)]
    pub rhythms: BTreeMap<String, Rhythm>,
    #[serde(default)]
    pub workspaces: Vec<Workspace>,
}

/// On which days, and from when to when, a computer runs.
#[derive(Deserialize, Serialize, Debug, Clone)]
#[serde(deny_unknown_fields)]
pub struct Rhythm {
    /// `daily`, or days and ranges: `mon-fri`, `sat`, `mon,wed,fri`.
    pub days: Days,
    pub from: Clock,
    /// `HH:MM`; of the next day when not after `from`. Left out, the auto-stop decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Clock>,
    /// Both instants lie up to so many minutes earlier or later.
    #[serde(default)]
    pub jitter_minutes: u16,
    /// Of a hundred days, on so many it stays off.
    #[serde(default)]
    pub skip_percent: u8,
}

/// A customer.
#[derive(Deserialize, Serialize, Debug, Clone, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Workspace {
    /// Its name; the slug is made of it.
    pub name: String,
    /// The organization's own id for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// A line about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Day on which it comes.
    pub day: u32,
    /// Its cap of computers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_computers: Option<i64>,
    /// Its cap of their size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_computer_size: Option<String>,
    /// Idle seconds after which its computers stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_stop_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// How many of the domain's two records are in place.
    #[serde(skip_serializing_if = "is_zero")]
    pub domain_records: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub projects: Vec<String>,
    /// The organization's own data about it.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    pub computers: Vec<Computer>,
}

/// A computer, or several of a kind.
#[derive(Deserialize, Serialize, Debug, Clone)]
#[serde(deny_unknown_fields)]
pub struct Computer {
    /// Its name; several are numbered.
    pub name: String,
    /// How many of them.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u32,
    /// Project, by name; the workspace's default one if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Its size; the workspace's default if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// When it runs. Without a rhythm it runs from the beginning, until somebody stops it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rhythm: Option<String>,
    /// Idle seconds after which it stops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_stop_seconds: Option<i64>,
    /// The end user that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Day on which it is made.
    #[serde(default)]
    pub day: u32,
    /// Hour at which it is made.
    #[serde(default = "morning")]
    pub at: Clock,
    /// What became of it: `2026-05-01T08:00:00.000Z running small`, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<String>,
    /// The caller's own data about it.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

fn one() -> u32 {
    1
}

fn is_one(n: &u32) -> bool {
    *n == 1
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

fn midnight() -> Clock {
    Clock(0)
}

pub(super) fn morning() -> Clock {
    Clock(6 * 60)
}

impl Clock {
    /// The time of day of an instant.
    pub fn of(at: Timestamp) -> Self {
        Clock(u16::try_from(at.0.rem_euclid(DAY_MS) / 60_000).unwrap_or(0))
    }
}

/// A time of day in whole minutes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Clock(u16);

impl Clock {
    /// Seconds since midnight.
    pub fn seconds(self) -> i64 {
        i64::from(self.0) * 60
    }
}

impl<'de> Deserialize<'de> for Clock {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let parsed = text.split_once(':').and_then(|(hours, minutes)| {
            let (h, m): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
            (h < 24 && m < 60).then_some(Clock(h * 60 + m))
        });
        parsed.ok_or_else(|| {
            serde::de::Error::custom(format!("{text:?} is not a time of day such as 08:30"))
        })
    }
}

impl Serialize for Clock {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{:02}:{:02}", self.0 / 60, self.0 % 60))
    }
}

/// Days of the week, Monday first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Days([bool; 7]);

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Days {
    /// Whether the day is among them; 0 = Monday.
    pub fn contains(&self, day: usize) -> bool {
        self.0.get(day).copied().unwrap_or(false)
    }
}

impl<'de> Deserialize<'de> for Days {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let number = |name: &str| DAYS.iter().position(|day| *day == name.trim());
        let mut days = [false; 7];
        for part in text.split(',') {
            let range = match part.trim().split_once('-') {
                _ if part.trim() == "daily" => Some((0, 6)),
                Some((from, to)) => number(from).zip(number(to)),
                None => number(part).map(|day| (day, day)),
            };
            let Some((from, to)) = range else {
                return Err(serde::de::Error::custom(format!(
                    "{text:?}: allowed are daily, or days such as mon-fri or sat,sun"
                )));
            };
            // A range may go over Sunday.
            (0..=(to + 7 - from) % 7).for_each(|n| days[(from + n) % 7] = true);
        }
        Ok(Days(days))
    }
}

impl Serialize for Days {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let names = DAYS.iter().zip(self.0).filter(|(_, on)| *on);
        let names: Vec<&str> = names.map(|(name, _)| *name).collect();
        s.serialize_str(&if names.len() == 7 {
            "daily".into()
        } else {
            names.join(",")
        })
    }
}

fn instant<'de, D: Deserializer<'de>>(d: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(d)?;
    let at = Timestamp::parse(&text).filter(|at| at.0 > 0);
    at.ok_or_else(|| {
        serde::de::Error::custom(format!(
            "{text:?} is not an RFC 3339 time such as 2026-04-20T00:00:00Z"
        ))
    })
}

fn text<S: Serializer>(at: &Timestamp, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&at.rfc3339_ms())
}

/// Days of a scenario at most: ten years.
const MAX_DAYS: u32 = 3660;
/// Computers of a scenario at most.
const MAX_COMPUTERS: u32 = 10_000;

impl Scenario {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let scenario: Scenario = toml::from_str(text).map_err(|e| Invalid(e.to_string()))?;
        if scenario.days > MAX_DAYS {
            return Err(Invalid(format!("days: allowed are 0 to {MAX_DAYS}")));
        }
        for (name, rhythm) in &scenario.rhythms {
            if rhythm.jitter_minutes > 360 || rhythm.skip_percent > 100 {
                return Err(Invalid(format!(
                    "rhythms.{name}: allowed are jitter_minutes 0 to 360 and skip_percent 0 to 100"
                )));
            }
        }
        let mut all: u32 = 0;
        for computer in scenario.workspaces.iter().flat_map(|w| &w.computers) {
            all = all.saturating_add(computer.count);
            if let Some(name) = &computer.rhythm
                && !scenario.rhythms.contains_key(name)
            {
                return Err(Invalid(format!(
                    "computer {}: there is no rhythm {name:?} in the file",
                    computer.name
                )));
            }
        }
        if all > MAX_COMPUTERS {
            return Err(Invalid(format!(
                "at most {MAX_COMPUTERS} computers, found {all}"
            )));
        }
        Ok(scenario)
    }

    /// What is needed of it once everything is there.
    ///
    /// # Errors
    /// When it cannot be written as TOML.
    pub(super) fn without_customers(&self) -> crate::error::Result<String> {
        let rest = Scenario {
            workspaces: Vec::new(),
            ..self.clone()
        };
        toml::to_string(&rest).map_err(crate::error::Error::internal)
    }

    /// When it ends.
    pub fn end(&self) -> Timestamp {
        self.start
            .plus_ms(i64::from(self.days) * DAY_MS)
            .plus_seconds(self.until.seconds())
    }
}

/// What is wrong with a scenario.
#[derive(Debug)]
pub struct Invalid(String);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_ones_are_valid_and_survive_being_written() {
        for (name, text) in BUILT_IN {
            let scenario = Scenario::parse(text).unwrap_or_else(|e| panic!("{name}: {e}"));
            let written = toml::to_string(&scenario).unwrap();
            let again = Scenario::parse(&written).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(format!("{scenario:?}"), format!("{again:?}"), "{name}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let parse = |more: &str| {
            let text = format!(
                "organization = \"A\"\nslug = \"a\"\nstart = \"2026-04-20T00:00:00Z\"\ndays = 1\n{more}"
            );
            Scenario::parse(&text).unwrap_err().to_string()
        };
        assert!(parse("colour = 1").contains("colour"));
        assert!(parse("[rhythms.x]\ndays = \"noday\"\nfrom = \"08:00\"").contains("mon-fri"));
        assert!(parse("[rhythms.x]\ndays = \"mon\"\nfrom = \"25:00\"").contains("25:00"));
        assert!(
            parse("[[workspaces]]\nname = \"w\"\n[[workspaces.computers]]\nname = \"c\"\nrhythm = \"x\"")
                .contains("no rhythm \"x\"")
        );
    }
}
