//! What a statement looks like on paper, whether it is drawn as HTML or as PDF.

use std::collections::BTreeMap;

use super::document::{ADJUSTMENT, CORRECTION, Line, ROUNDING, Statement, USAGE, credits, hours};
use super::prices::Increment;
use crate::clock::Timestamp;
use crate::rules::hosted::BASE;
use crate::usage::questions::window::Zone;

/// A statement, ready to be set.
pub struct Sheet {
    pub title: String,
    /// Who sends it, line by line.
    pub head: Vec<String>,
    /// Whom it is sent to.
    pub bill_to: Vec<String>,
    /// What it is about: a word and what it says.
    pub facts: Vec<(&'static str, String)>,
    pub columns: [String; 5],
    pub rows: Vec<Row>,
    /// Sums, the last of which is the one that counts.
    pub sums: Vec<(String, String)>,
    pub foot: Vec<String>,
    /// How it is to be read, small.
    pub notes: Vec<String>,
}

pub enum Row {
    /// What the rows below it have in common.
    Group(String),
    Line {
        number: String,
        text: String,
        hours: String,
        credits: String,
        amount: String,
        explain: Option<String>,
    },
}

/// Decimals that are needed below each other, so that they stand one below the other.
fn places(all: impl Iterator<Item = i64>) -> usize {
    let needed = |micros: i64| {
        let text = credits(micros);
        let part = text.split_once('.').map_or("", |(_, part)| part);
        part.trim_end_matches('0').len()
    };
    all.map(needed).max().unwrap_or(0).max(2)
}

/// Credits with so many decimals, which is all that they have.
fn short(micros: i64, places: usize) -> String {
    let text = credits(micros);
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let part = part.trim_end_matches('0');
    format!("{whole}.{part:0<places$}")
}

fn lines(text: Option<&str>) -> Vec<String> {
    text.unwrap_or("").lines().map(str::to_owned).collect()
}

impl Sheet {
    pub fn new(statement: &Statement, all: &[Line]) -> Sheet {
        let (body, prices) = (&statement.body, &statement.body.prices);
        let mut head = lines(prices.head.as_deref());
        if head.is_empty() {
            head.push(body.organization.clone());
        }
        let mut bill_to = lines(prices.bill_to.as_deref());
        if bill_to.is_empty() {
            bill_to.push(body.workspace.clone());
        }
        let used = body.credits_micros + body.corrections_micros;
        let metered = all.iter().filter(|line| line.is_metered());
        let places = places(metered.map(|line| line.micros).chain([used]));
        // As clocks showed it there; what has a zone that is not known any more, in UTC.
        let zone = Zone::parse(&body.tz).ok();
        let day = |at: i64| match &zone {
            Some(zone) => zone.shown(at),
            None => Timestamp(at).rfc3339_ms().replace(".000Z", "Z"),
        };
        let mut facts = vec![
            ("Statement", statement.number.to_string()),
            ("Month", statement.period.clone()),
            ("From", day(statement.starts_at)),
            ("Until", day(statement.ends_at)),
            ("Time zone", body.tz.clone()),
            ("Customer", body.workspace.clone()),
        ];
        if let Some(id) = &body.external_workspace_id {
            facts.push(("Your id", id.clone()));
        }
        facts.push(("Made at", statement.created_at.rfc3339()));
        let money = |minor: i64| statement.money(minor).unwrap_or_default();
        let currency = prices.currency.map_or("", |currency| currency.code());
        let mut groups: BTreeMap<(u8, &str), Vec<&Line>> = BTreeMap::new();
        for line in all {
            let group = match line.kind.as_str() {
                USAGE => (0, line.project.as_deref().unwrap_or("")),
                ADJUSTMENT => (1, ""),
                CORRECTION => (2, line.period.as_str()),
                _ => (3, ""),
            };
            groups.entry(group).or_default().push(line);
        }
        let mut rows = Vec::new();
        for ((kind, name), of_group) in groups {
            rows.push(Row::Group(match kind {
                0 => name.to_owned(),
                1 => "Corrections of usage".into(),
                2 => format!("Late for {name}, not on the statement of that month"),
                _ => "Charges".into(),
            }));
            for line in of_group {
                let metered = line.is_metered();
                let mut text = match &line.computer {
                    Some(name) => format!("{name} · {}", line.text),
                    None => line.text.clone(),
                };
                if line.billed_ms != line.compute_ms {
                    text += &format!(" · {} h billed", hours(line.billed_ms));
                }
                rows.push(Row::Line {
                    number: line.line.to_string(),
                    text,
                    hours: if line.computer_id.is_some() {
                        hours(line.compute_ms).to_string()
                    } else {
                        String::new()
                    },
                    credits: if metered {
                        short(line.micros, places)
                    } else {
                        String::new()
                    },
                    amount: line.amount.map(money).unwrap_or_default(),
                    explain: statement.explain(line),
                });
            }
        }
        let mut sums = vec![("Credits".to_owned(), short(used, places))];
        if prices.currency.is_some() {
            sums.push(("Net".into(), format!("{} {currency}", money(body.net))));
            if let Some(rate) = prices.tax_rate {
                let name = prices.tax_name.as_deref().unwrap_or("Tax");
                sums.push((
                    format!("{name} {rate} %"),
                    format!("{} {currency}", money(body.tax)),
                ));
            }
            sums.push(("Total".into(), format!("{} {currency}", money(body.total))));
        }
        let mut notes = Vec::new();
        if let Some(price) = prices.price_per_credit {
            notes.push(format!(
                "One credit costs {price} {currency}. Rounding: {ROUNDING}."
            ));
        }
        let step = match prices.billing_increment {
            Some(Increment::Second) => Some("second"),
            Some(Increment::Minute) => Some("minute"),
            Some(Increment::Hour) => Some("hour"),
            Some(Increment::None) | None => None,
        };
        if let Some(step) = step {
            notes.push(format!(
                "Each time that a computer runs is billed to the end of the {step} that has begun."
            ));
        }
        notes.push(format!(
            "Credits are those of the meter, to the millionth. Line n is explained, interval by interval, at \
             {BASE}/workspaces/{}/statements/{}/explain?line=n",
            statement.workspace_id, statement.number
        ));
        notes.push(format!(
            "SHA-256 of what ran: {}",
            data_encoding::HEXLOWER.encode(&statement.digest)
        ));
        Sheet {
            title: format!("Statement {} for {}", statement.number, statement.period),
            head,
            bill_to,
            facts,
            columns: [
                "No.".into(),
                "What".into(),
                "Hours".into(),
                "Credits".into(),
                if currency.is_empty() {
                    String::new()
                } else {
                    currency.to_owned()
                },
            ],
            rows,
            sums,
            foot: lines(prices.foot.as_deref()),
            notes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_stand_below_each_other() {
        let all = [1_380_000_000, 11_869_716_667, -5_600_825_000];
        let places = places(all.into_iter());
        let shown = all.map(|micros| short(micros, places));
        assert_eq!(shown, ["1380.000000", "11869.716667", "-5600.825000"]);
        assert_eq!(super::places([1_500_000].into_iter()), 2);
    }
}
