//! Exact amounts, and the integers that are shown of them (metering.md, "Integer credits that add up").
//!
//! A meter is never rounded, only its reading is: what a period shows is the difference of two
//! shown readings. So buckets add up to days, days to windows, windows to the life of a workspace,
//! to the last unit, whatever the granularity.

use std::ops::{Add, AddAssign, Sub};

use serde::{Serialize, Serializer};

/// What was consumed, or a reading of the meter since the birth of a workspace. 128 bits, since a
/// century of 10,000 computers at the highest rate exceeds 64.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Amount {
    /// Running time, summed over computers, milliseconds.
    pub ms: i128,
    /// Credits per hour × milliseconds; 3,600,000 of them are one credit.
    pub credit_ms: i128,
    pub micros: i128,
}

/// One micro-credit in the smallest unit that both a rate over a millisecond (5) and a correction
/// (18) fit into without a fraction: 3,600,000 credit·ms = 1,000,000 micro-credits.
pub const UNITS_PER_MICRO: i128 = 18;
/// Micro-credits of a credit.
pub const MICROS_PER_CREDIT: i128 = 1_000_000;
/// One credit in that unit.
pub const UNITS_PER_CREDIT: i128 = MICROS_PER_CREDIT * UNITS_PER_MICRO;
/// A ten-thousandth of an hour, the last shown digit of `compute_hours`, in milliseconds.
const MS_PER_HOUR_DIGIT: i128 = 360;

impl Amount {
    /// Credits and corrections together, in eighteenths of a micro-credit.
    pub fn units(&self) -> i128 {
        5 * self.credit_ms + UNITS_PER_MICRO * self.micros
    }

    /// Whole credits of a reading.
    pub fn credits(&self) -> i64 {
        whole(self.units(), UNITS_PER_CREDIT)
    }

    /// Whole micro-credits of a reading.
    pub fn micro_credits(&self) -> i64 {
        whole(self.units(), UNITS_PER_MICRO)
    }

    /// Ten-thousandths of an hour of a reading, half rounded up.
    fn hour_digits(&self) -> i64 {
        whole(self.ms + MS_PER_HOUR_DIGIT / 2, MS_PER_HOUR_DIGIT)
    }

    /// As it adds up in the meter of an organization: to the micro-credit, so that its workspaces'
    /// micro-credits add up, and whole credits and hours are rounded once, of the sum.
    pub fn in_sum(&self) -> Amount {
        Amount {
            ms: self.ms,
            credit_ms: 0,
            micros: self.micro_credits().into(),
        }
    }

    /// What the meter shows between this reading and a later one.
    pub fn until(&self, later: &Amount) -> Shown {
        Shown {
            credits_used: later.credits() - self.credits(),
            credits_micros: later.micro_credits() - self.micro_credits(),
            compute_hours: Hours(later.hour_digits() - self.hour_digits()),
            compute_ms: narrow(later.ms - self.ms),
        }
    }
}

impl Add for Amount {
    type Output = Amount;
    fn add(self, other: Amount) -> Amount {
        Amount {
            ms: self.ms + other.ms,
            credit_ms: self.credit_ms + other.credit_ms,
            micros: self.micros + other.micros,
        }
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Amount) {
        *self = *self + other;
    }
}

impl Sub for Amount {
    type Output = Amount;
    fn sub(self, other: Amount) -> Amount {
        Amount {
            ms: self.ms - other.ms,
            credit_ms: self.credit_ms - other.credit_ms,
            micros: self.micros - other.micros,
        }
    }
}

/// The integers of the API for one period.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Shown {
    pub credits_used: i64,
    /// The same, to the millionth of a credit.
    pub credits_micros: i64,
    /// Running hours, four decimals.
    pub compute_hours: Hours,
    pub compute_ms: i64,
}

impl AddAssign for Shown {
    fn add_assign(&mut self, other: Shown) {
        self.credits_used += other.credits_used;
        self.credits_micros += other.credits_micros;
        self.compute_hours.0 += other.compute_hours.0;
        self.compute_ms += other.compute_ms;
    }
}

/// Hours in ten-thousandths: an integer until it is written as a JSON number.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Hours(pub i64);

impl Serialize for Hours {
    #[expect(
        clippy::cast_precision_loss,
        reason = "exact below 2^53 ten-thousandths: a hundred million years"
    )]
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64(self.0 as f64 / 10_000.0)
    }
}

impl Hours {
    /// Appends the JSON number that serde writes of it.
    pub fn write_json(self, out: &mut Vec<u8>) {
        let mut digits = itoa::Buffer::new();
        if self.0 < 0 {
            out.push(b'-');
        }
        let (whole, mut part) = (
            self.0.unsigned_abs() / 10_000,
            self.0.unsigned_abs() % 10_000,
        );
        out.extend_from_slice(digits.format(whole).as_bytes());
        out.push(b'.');
        // One digit at least.
        let mut place = 1_000;
        loop {
            out.push(b'0' + u8::try_from(part / place).unwrap_or(0));
            part %= place;
            place /= 10;
            if part == 0 {
                return;
            }
        }
    }
}

impl std::fmt::Display for Hours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let digits = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:04}", digits / 10_000, digits % 10_000)
    }
}

impl utoipa::PartialSchema for Hours {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        <f64 as utoipa::PartialSchema>::schema()
    }
}
impl utoipa::ToSchema for Hours {}

/// Shows the exact `parts` of a period whose total is shown as `total`, so that the shown parts add
/// up to it: whole numbers first, then one more for the largest remainders (first part first among
/// equals).
pub fn share(parts: &[Amount], total: &Shown) -> Vec<Shown> {
    let units: Vec<i128> = parts.iter().map(Amount::units).collect();
    let ms: Vec<i128> = parts.iter().map(|p| p.ms).collect();
    let credits = apportion(&units, UNITS_PER_CREDIT, total.credits_used);
    let micros = apportion(&units, UNITS_PER_MICRO, total.credits_micros);
    let hours = apportion(&ms, MS_PER_HOUR_DIGIT, total.compute_hours.0);
    (0..parts.len())
        .map(|i| Shown {
            credits_used: credits[i],
            credits_micros: micros[i],
            compute_hours: Hours(hours[i]),
            compute_ms: narrow(ms[i]),
        })
        .collect()
}

/// `total` split by the largest remainder of `parts / unit`. `total` is the sum of the parts over
/// `unit`, rounded up or down.
pub fn apportion(parts: &[i128], unit: i128, total: i64) -> Vec<i64> {
    let mut shown: Vec<i64> = parts.iter().map(|p| narrow(p.div_euclid(unit))).collect();
    let missing = usize::try_from(total - shown.iter().sum::<i64>()).unwrap_or(0);
    let mut by_remainder: Vec<usize> = (0..parts.len()).collect();
    by_remainder.sort_by_key(|&i| std::cmp::Reverse(parts[i].rem_euclid(unit)));
    for i in by_remainder.into_iter().take(missing) {
        shown[i] += 1;
    }
    shown
}

/// How many whole `unit`s there are, rounded down. Nearly every amount fits into 64 bits, which divide ten times as
/// fast as 128.
#[inline]
fn whole(value: i128, unit: i128) -> i64 {
    match (i64::try_from(value), i64::try_from(unit)) {
        (Ok(value), Ok(unit)) => value.div_euclid(unit),
        _ => narrow(value.div_euclid(unit)),
    }
}

/// To 64 bits, which hold every shown number of a century; beyond them the largest there is.
pub fn narrow(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_the_rules() {
        // 67.13 exact credits over seven days are neither 0 (by hours) nor 70 (by days).
        let at = |n: i128, of: i128| Amount {
            credit_ms: 67_130 * 3_600 * n / of,
            ..Amount::default()
        };
        for buckets in [7, 168] {
            let sum: i64 = (0..buckets)
                .map(|n| at(n, buckets).until(&at(n + 1, buckets)).credits_used)
                .sum();
            assert_eq!(sum, 67);
        }
    }

    #[test]
    fn hours_have_four_decimals() {
        let json = |n| serde_json::to_string(&Hours(n)).unwrap();
        assert_eq!(json(66_000), "6.6");
        assert_eq!(json(167), "0.0167");
        assert_eq!(json(0), "0.0");
        assert_eq!(Hours(-167).to_string(), "-0.0167");
        assert_eq!(Hours(425_000).to_string(), "42.5000");
    }

    proptest! {
        #[test]
        fn shares_add_up(values in proptest::collection::vec((0i128..1 << 40, -1_000_000i128..1_000_000), 1..8), a in 0i128..1 << 40) {
            let parts: Vec<Amount> =
                values.iter().map(|&(c, m)| Amount { ms: c / 7, credit_ms: c, micros: m }).collect();
            let start = Amount { ms: a, credit_ms: a, micros: -a };
            let end = parts.iter().fold(start, |sum, p| sum + *p);
            let total = start.until(&end);
            let mut sum = Shown::default();
            share(&parts, &total).into_iter().for_each(|s| sum += s);
            prop_assert_eq!(sum, total);
        }
    }
}
