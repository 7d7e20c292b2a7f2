//! Statements as a table: a row for each line, and one for the tax, so that the amounts of a statement add up to
//! its total.

use std::fmt::Write;

use super::document::{Line, Statement, credits, hours};
use crate::usage::questions::csv::cell;

pub const HEADER: &str = "number,period,workspace_id,external_workspace_id,workspace,line,kind,about_period,project_id,\
    project,computer_id,computer,size,rate,text,compute_ms,compute_hours,credits_micros,credits,billed_ms,\
    billed_micros,currency,amount\r\n";

/// The rows of a statement.
pub fn rows(statement: &Statement, lines: &[Line]) -> String {
    let body = &statement.body;
    let head = format!(
        "{},{},{},{},{}",
        statement.number,
        statement.period,
        statement.workspace_id,
        cell(body.external_workspace_id.as_deref().unwrap_or("")),
        cell(&body.workspace)
    );
    let currency = body.prices.currency.map_or("", |currency| currency.code());
    let mut out = String::new();
    let some = |text: Option<String>| text.unwrap_or_default();
    for line in lines {
        // Writing into a String cannot fail.
        let _ = write!(
            out,
            "{head},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{currency},{}\r\n",
            line.line,
            line.kind,
            line.period,
            some(line.project_id.map(|id| id.to_string())),
            cell(line.project.as_deref().unwrap_or("")),
            some(line.computer_id.map(|id| id.to_string())),
            cell(line.computer.as_deref().unwrap_or("")),
            some(line.size.map(|size| size.to_string())),
            some(line.rate.map(|rate| rate.to_string())),
            cell(&line.text),
            line.compute_ms,
            hours(line.compute_ms),
            line.micros,
            credits(line.micros),
            line.billed_ms,
            line.billed_micros,
            some(line.amount.and_then(|amount| statement.money(amount))),
        );
    }
    if let (Some(tax), Some(_)) = (statement.money(body.tax), body.prices.tax_rate) {
        let name = cell(body.prices.tax_name.as_deref().unwrap_or("Tax"));
        let _ = write!(
            out,
            "{head},,tax,{},,,,,,,{name},0,0.0000,0,0.000000,0,0,{currency},{tax}\r\n",
            statement.period
        );
    }
    out
}
