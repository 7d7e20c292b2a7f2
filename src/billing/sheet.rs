//! What a statement looks like on paper, whether it is drawn as HTML or as PDF.

use std::collections::BTreeMap;

use super::document::{ADJUSTMENT, CORRECTION, Line, ROUNDING, Statement, USAGE, credits, hours};
use super::prices::Increment;
use crate::clock::Timestamp;
use crate::rules::hosted::BASE;

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

/// Credits without needless zeros.
fn short(micros: i64) -> String {
    let text = credits(micros);
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let part = part.trim_end_matches('0');
    format!("{whole}.{part:0<2}")
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
        let day = |at: i64| Timestamp(at).rfc3339_ms().replace(".000Z", "Z");
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
                        short(line.micros)
                    } else {
                        String::new()
                    },
                    amount: line.amount.map(money).unwrap_or_default(),
                    explain: statement.explain(line),
                });
            }
        }
        let used = body.credits_micros + body.corrections_micros;
        let mut sums = vec![("Credits".to_owned(), short(used))];
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
                "One credit costs {price} {currency}. Money is rounded {ROUNDING}."
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
