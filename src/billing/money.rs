//! Money: decimals of up to nine places, currencies with their smallest unit, and the one rounding.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Places after the point of a [`Decimal`].
const PLACES: u32 = 9;
/// One, in the smallest unit of a [`Decimal`].
const ONE: i128 = 1_000_000_000;
/// Digits before the point.
const MAX_DIGITS: usize = 12;

/// A decimal number, exact to nine places: a price, a rate in percent, an amount.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Decimal(i128);

impl Decimal {
    /// From a text such as `12`, `0.0125` or `-3.5`.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
        let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !are_digits(whole)
            || !are_digits(part)
            || whole.len() > MAX_DIGITS
            || part.len() > PLACES as usize
        {
            return None;
        }
        let whole: i128 = whole.parse().ok()?;
        let scale = 10_i128.pow(PLACES - u32::try_from(part.len()).ok()?);
        let value = whole * ONE + part.parse::<i128>().ok()? * scale;
        Some(Decimal(if negative { -value } else { value }))
    }

    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    pub fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// In millionths; `None` where there are finer parts.
    pub fn millionths(self) -> Option<i64> {
        (self.0 % 1000 == 0)
            .then(|| i64::try_from(self.0 / 1000).ok())
            .flatten()
    }

    /// In the smallest unit of a currency; `None` where there are finer parts.
    pub fn minor(self, currency: Currency) -> Option<i64> {
        let unit = ONE / currency.scale();
        (self.0 % unit == 0)
            .then(|| i64::try_from(self.0 / unit).ok())
            .flatten()
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let value = self.0.unsigned_abs();
        let one = ONE.unsigned_abs();
        write!(f, "{sign}{}", value / one)?;
        let part = format!("{:09}", value % one);
        let part = part.trim_end_matches('0');
        if part.is_empty() {
            Ok(())
        } else {
            write!(f, ".{part}")
        }
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Decimal::parse(&text).ok_or_else(|| serde::de::Error::custom("is not a decimal"))
    }
}

/// A currency of ISO 4217.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Currency(&'static str, u32);

/// The codes that are in use, by the number of decimals of their smallest unit.
const CURRENCIES: &[(u32, &str)] = &[
    (
        0,
        "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    ),
    (
        2,
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP \
         CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS \
         INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN \
         MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE \
         SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST XCD XCG YER ZAR ZMW ZWG",
    ),
    (3, "BHD IQD JOD KWD LYD OMR TND"),
];

impl Currency {
    pub fn parse(code: &str) -> Option<Self> {
        CURRENCIES.iter().find_map(|(places, codes)| {
            let code = codes.split(' ').find(|known| *known == code)?;
            Some(Currency(code, *places))
        })
    }

    pub fn code(self) -> &'static str {
        self.0
    }

    /// Smallest units of one.
    fn scale(self) -> i128 {
        10_i128.pow(self.1)
    }

    /// An amount of its smallest unit, as a decimal: `12.50`, `-3`, `0.125`.
    pub fn text(self, minor: i64) -> String {
        let sign = if minor < 0 { "-" } else { "" };
        let (value, scale) = (
            u128::from(minor.unsigned_abs()),
            self.scale().unsigned_abs(),
        );
        match self.1 {
            0 => format!("{sign}{value}"),
            places => format!(
                "{sign}{}.{:0width$}",
                value / scale,
                value % scale,
                width = places as usize
            ),
        }
    }

    /// What `quantity` parts of one thing cost, of which `per` are a whole one that costs `price`.
    pub fn cost(self, quantity: i64, per: i64, price: Decimal) -> i64 {
        rounded(
            i128::from(quantity) * price.0 * self.scale(),
            i128::from(per) * ONE,
        )
    }

    /// So many percent of an amount.
    pub fn percent(self, minor: i64, rate: Decimal) -> i64 {
        rounded(i128::from(minor) * rate.0, 100 * ONE)
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.0)
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Currency::parse(&text).ok_or_else(|| serde::de::Error::custom("is no currency"))
    }
}

/// `of / by`, half away from zero.
fn rounded(of: i128, by: i128) -> i64 {
    let (value, half) = (of.unsigned_abs(), by.unsigned_abs() / 2);
    let whole = (value + half) / by.unsigned_abs();
    let whole = i64::try_from(whole).unwrap_or(i64::MAX);
    if of < 0 { -whole } else { whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn decimals_are_exact() {
        for text in ["0", "12", "0.0125", "-3.5", "999999999999.999999999"] {
            assert_eq!(decimal(text).to_string(), text);
        }
        assert_eq!(decimal("1.50").to_string(), "1.5");
        for wrong in [
            "",
            "-",
            ".5",
            "5.",
            "1e3",
            "+1",
            "1,5",
            " 1",
            "0x1",
            "1.0000000001",
            "1000000000000",
        ] {
            assert_eq!(Decimal::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn half_a_cent_goes_away_from_zero() {
        let eur = Currency::parse("EUR").unwrap();
        // 0.5 credits at 0.01 are half a cent.
        assert_eq!(eur.cost(500_000, 1_000_000, decimal("0.01")), 1);
        assert_eq!(eur.cost(-500_000, 1_000_000, decimal("0.01")), -1);
        assert_eq!(eur.cost(499_999, 1_000_000, decimal("0.01")), 0);
        assert_eq!(eur.percent(1050, decimal("27")), 284);
        assert_eq!(eur.text(-1205), "-12.05");
        let yen = Currency::parse("JPY").unwrap();
        assert_eq!(yen.cost(1_500_000, 1_000_000, decimal("1")), 2);
        assert_eq!(yen.text(2), "2");
        let dinar = Currency::parse("KWD").unwrap();
        assert_eq!(
            dinar.text(dinar.cost(1_000_000, 1_000_000, decimal("0.0015"))),
            "0.002"
        );
        assert_eq!(Currency::parse("eur"), None);
        assert_eq!(Currency::parse("XXX"), None);
        assert_eq!(decimal("10.005").minor(eur), None);
        assert_eq!(decimal("10.05").minor(eur), Some(1005));
    }
}
