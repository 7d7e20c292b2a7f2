//! The meter that walks time: states tick by tick, summed one by one. Shares no code with the product.

use serde_json::Value;

use crate::harness::at;

pub const SIZES: [(&str, i128); 5] = [
    ("xs", 15),
    ("small", 30),
    ("medium", 60),
    ("large", 120),
    ("xl", 240),
];

/// Zones with their offsets in minutes from given instants on, written down from the zones' own
/// rules for 2026, not asked of any library.
pub const ZONES: [(&str, &[(&str, i64)]); 8] = [
    ("UTC", &[("2020-01-01T00:00:00Z", 0)]),
    ("Asia/Kolkata", &[("2020-01-01T00:00:00Z", 330)]),
    ("Asia/Kathmandu", &[("2020-01-01T00:00:00Z", 345)]),
    (
        "America/New_York",
        &[
            ("2025-11-02T06:00:00Z", -300),
            ("2026-03-08T07:00:00Z", -240),
            ("2026-11-01T06:00:00Z", -300),
        ],
    ),
    (
        "Europe/Budapest",
        &[
            ("2025-10-26T01:00:00Z", 60),
            ("2026-03-29T01:00:00Z", 120),
            ("2026-10-25T01:00:00Z", 60),
        ],
    ),
    (
        "Australia/Lord_Howe",
        &[
            ("2025-10-04T15:30:00Z", 660),
            ("2026-04-04T15:00:00Z", 630),
            ("2026-10-03T15:30:00Z", 660),
        ],
    ),
    (
        // Changes its clocks at a quarter to.
        "Pacific/Chatham",
        &[
            ("2025-09-27T14:00:00Z", 825),
            ("2026-04-04T14:00:00Z", 765),
            ("2026-09-26T14:00:00Z", 825),
        ],
    ),
    (
        "America/Santiago",
        &[
            ("2025-09-07T04:00:00Z", -180),
            ("2026-04-05T03:00:00Z", -240),
            ("2026-09-06T04:00:00Z", -180),
        ],
    ),
];

pub const QUARTER: i64 = 900_000;

/// What local clocks show at `t` by the offset that holds at `by`, as if it were UTC.
fn local(zone: usize, t: i64, by: i64) -> i64 {
    let rules = ZONES[zone].1;
    let rule = rules.iter().rposition(|(from, _)| at(from).0 <= by);
    t + rules[rule.unwrap()].1 * 60_000
}

/// Whether a bucket starts at `t`: the local date is another than just before; or local clocks show
/// a full hour, after or before they are changed at `t`.
fn starts(zone: usize, day: bool, t: i64) -> bool {
    if day {
        let date = |t: i64| local(zone, t, t).div_euclid(86_400_000);
        return date(t) != date(t - 1);
    }
    [t, t - 1]
        .iter()
        .any(|by| local(zone, t, *by).rem_euclid(3_600_000) == 0)
}

/// Aligned starts of the buckets that touch `[start, end)`, and the end of the last, by walking.
pub fn edges(zone: usize, day: bool, start: i64, end: i64) -> Vec<i64> {
    let mut first = start - start.rem_euclid(QUARTER);
    while !starts(zone, day, first) {
        first -= QUARTER;
    }
    let mut edges = vec![first];
    for n in 1.. {
        let t = first + n * QUARTER;
        if starts(zone, day, t) {
            edges.push(t);
            if t >= end {
                break;
            }
        }
    }
    edges
}

/// What a computer is from a tick on.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Held {
    pub running: bool,
    pub dead: bool,
    pub size: usize,
    pub workspace: usize,
}

/// Something that was reported or done.
#[derive(Clone, Debug)]
pub struct Fact {
    pub tick: i64,
    pub status: Option<&'static str>,
    pub size: Option<usize>,
    pub workspace: Option<usize>,
}

/// Credits per hour of each size, since when, in the order of time.
pub type Prices = Vec<(i64, [i128; SIZES.len()])>;

/// The prices of [`SIZES`], for ever.
pub fn usual_prices() -> Prices {
    vec![(0, SIZES.map(|(_, rate)| rate))]
}

/// One history: what happened, and what the meter must therefore show.
pub struct History {
    pub base: i64,
    pub tick: i64,
    /// Per computer: the state that holds from each tick on.
    pub held: Vec<Vec<Held>>,
    /// Per workspace: corrections by tick, micro-credits.
    pub corrections: Vec<Vec<(i64, i128)>>,
    pub prices: Prices,
    pub agreed: Vec<Agreed>,
}

/// A price that a workspace, or all of the organization, has instead of [`Prices`] from an instant on.
#[derive(Clone, Copy, Debug)]
pub struct Agreed {
    /// `None`: the organization.
    pub workspace: Option<usize>,
    pub from: i64,
    pub size: usize,
    /// `None`: again what holds above.
    pub rate: Option<i128>,
}

#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub struct Exact {
    pub ms: i128,
    pub credit_ms: i128,
    pub micros: i128,
}

impl History {
    pub fn at(&self, tick: i64) -> i64 {
        self.base + tick * self.tick
    }

    /// The state of every tick from facts in the order of time, the later arrival after the earlier.
    pub fn walk(mut facts: Vec<Fact>, first: Held, ticks: i64) -> Vec<Held> {
        facts.sort_by_key(|fact| fact.tick);
        let mut facts = facts.into_iter().peekable();
        let mut now = first;
        let mut held = Vec::new();
        for tick in 0..ticks {
            while let Some(fact) = facts.next_if(|fact| fact.tick <= tick) {
                match fact.status {
                    Some("started") => now.running = !now.dead,
                    Some("deleted") => (now.running, now.dead) = (false, true),
                    Some(_) => now.running = false,
                    None => {}
                }
                now.size = fact.size.unwrap_or(now.size);
                now.workspace = fact.workspace.unwrap_or(now.workspace);
            }
            held.push(now);
        }
        held
    }

    /// What a size costs in a workspace from `start` to `end`: credits per hour × milliseconds, one stretch
    /// without a change after the other.
    fn cost(&self, workspace: usize, size: usize, start: i64, end: i64) -> i128 {
        let changes = self.prices.iter().map(|(from, _)| *from);
        let changes = changes.chain(self.agreed.iter().map(|agreed| agreed.from));
        let mut cuts: Vec<i64> = changes.filter(|at| (start..end).contains(at)).collect();
        cuts.extend([start, end]);
        cuts.sort_unstable();
        let stretch =
            |cut: &[i64]| i128::from(cut[1] - cut[0]) * self.price(workspace, size, cut[0]);
        cuts.windows(2).map(stretch).sum()
    }

    /// Credits per hour at an instant: the last word of the workspace, else of the organization, else of the table.
    fn price(&self, workspace: usize, size: usize, t: i64) -> i128 {
        for whose in [Some(workspace), None] {
            let said = self.agreed.iter().filter(|agreed| {
                agreed.workspace == whose && agreed.size == size && agreed.from <= t
            });
            // Of two of one instant the later holds.
            if let Some(rate) = said.max_by_key(|agreed| agreed.from).and_then(|a| a.rate) {
                return rate;
            }
        }
        let held = self.prices.iter().rfind(|(from, _)| *from <= t);
        held.unwrap().1[size]
    }

    /// The reading at `t` of a meter of those computers and states that `of` picks.
    pub fn reading(&self, t: i64, of: &dyn Fn(usize, &Held) -> bool) -> Exact {
        let mut sum = Exact::default();
        for (computer, held) in self.held.iter().enumerate() {
            for (tick, state) in held.iter().enumerate() {
                let start = self.at(tick as i64);
                if start >= t {
                    break;
                }
                if state.running && of(computer, state) {
                    let end = (start + self.tick).min(t);
                    sum.ms += i128::from(end - start);
                    sum.credit_ms += self.cost(state.workspace, state.size, start, end);
                }
            }
        }
        sum
    }

    pub fn corrected(&self, workspace: usize, t: i64) -> i128 {
        let before = self.corrections[workspace]
            .iter()
            .filter(|(tick, _)| self.at(*tick) < t);
        before.map(|(_, micros)| micros).sum()
    }

    pub fn whole(&self, workspace: usize, t: i64) -> Exact {
        let micros = self.corrected(workspace, t);
        Exact {
            micros,
            ..self.reading(t, &|_, state| state.workspace == workspace)
        }
    }
}

/// Shown integers of a reading: credits, micro-credits, ten-thousandths of hours, milliseconds.
pub fn shown(e: Exact) -> [i128; 4] {
    [
        (e.credit_ms * 1_000_000 + e.micros * 3_600_000).div_euclid(3_600_000_000_000),
        (e.credit_ms * 10 + e.micros * 36).div_euclid(36),
        (2 * e.ms + 360).div_euclid(720),
        e.ms,
    ]
}

pub fn minus(a: [i128; 4], b: [i128; 4]) -> [i128; 4] {
    std::array::from_fn(|i| a[i] - b[i])
}

pub fn numbers(bucket: &Value, prefix: &str) -> [i128; 4] {
    let int = |name: &str| {
        let value = &bucket[format!("{prefix}{name}")];
        i128::from(value.as_i64().unwrap_or_else(|| panic!("{name}: {bucket}")))
    };
    let hours = bucket[format!("{prefix}compute_hours")].as_f64().unwrap();
    let digits = (hours * 10_000.0).round();
    assert_eq!(digits / 10_000.0, hours, "four decimals: {hours}");
    #[expect(clippy::cast_possible_truncation, reason = "hours of a test")]
    [
        int("credits_used"),
        int("credits_micros"),
        digits as i128,
        int("compute_ms"),
    ]
}
