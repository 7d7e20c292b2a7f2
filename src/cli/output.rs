//! How the client commands show what a service answers: tables for people, data for programs.

use std::io::{IsTerminal, stdout};

use serde_json::Value;

use super::{Failure, chart};
use crate::http::cell;
use crate::rules::config::{ClientArgs, ColorChoice, OutputFormat};
use crate::rules::text::printable;

/// The form that was asked for, and what standard output is.
pub(super) struct Output {
    format: OutputFormat,
    colors: bool,
    /// Columns of the terminal; `None` where there is none.
    width: Option<usize>,
}

/// A value in a line for people: a terminal cannot be made to do anything by it.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => printable(text),
        other => printable(&other.to_string()),
    }
}

/// Micro-credits as credits with two decimals, cut off: a refund of less than one is one, too.
pub(super) fn credits(micros: &Value) -> String {
    let cents = micros.as_i64().unwrap_or(0) / 10_000;
    let sign = if cents < 0 { "-" } else { "" };
    let cents = cents.unsigned_abs();
    format!("{sign}{}.{:02}", cents / 100, cents % 100)
}

impl Output {
    pub(super) fn new(args: &ClientArgs) -> Result<Self, Failure> {
        let format = match (args.output, args.json, args.csv) {
            (Some(format), false, false) => format,
            (None, true, false) => OutputFormat::Json,
            (None, false, true) => OutputFormat::Csv,
            (None, false, false) => OutputFormat::Table,
            _ => {
                return Err(Failure::Usage(
                    "--json, --csv and --output say the same: give one of them".into(),
                ));
            }
        };
        let terminal = stdout().is_terminal();
        let width = rustix::termios::tcgetwinsize(stdout()).ok();
        let width = width.map(|size| usize::from(size.ws_col));
        let forbidden = args.no_color.as_deref().is_some_and(|set| !set.is_empty());
        Ok(Output {
            format,
            colors: match args.color {
                ColorChoice::Always => true,
                ColorChoice::Never => false,
                ColorChoice::Auto => terminal && !forbidden,
            },
            width: width.filter(|width| terminal && *width > 0),
        })
    }

    /// For a program, not for people.
    pub(super) fn is_data(&self) -> bool {
        self.format != OutputFormat::Table
    }

    /// For a program that takes whatever shape the reply has.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.format, OutputFormat::Json | OutputFormat::Yaml)
    }

    /// Characters of the longest bar that fits.
    pub(super) fn bar_width(&self) -> usize {
        let room = self.width.unwrap_or(usize::MAX);
        room.saturating_sub(32).clamp(10, chart::WIDTH)
    }

    /// Rows: those columns for people, all of each row as data.
    pub(super) fn list(&self, rows: &[Value], columns: &[&str]) -> Result<(), Failure> {
        match self.format {
            OutputFormat::Json | OutputFormat::Yaml => {
                self.one(&serde_json::json!({ "data": rows, "total": rows.len() }))
            }
            OutputFormat::Csv => {
                print!("{}", csv(rows, columns));
                Ok(())
            }
            OutputFormat::Table => {
                let head: Vec<String> = columns
                    .iter()
                    .map(|name| name.to_uppercase().replace('_', " "))
                    .collect();
                let head: Vec<&str> = head.iter().map(String::as_str).collect();
                let cells = |row: &Value| columns.iter().map(|name| text(&row[*name])).collect();
                let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
                let look = chart::Look {
                    width: self.width,
                    paint: self.colors.then_some(paint),
                };
                print!("{}", chart::table(&head, &rows, &look));
                Ok(())
            }
        }
    }

    /// What was made: its id, or all of it as data.
    pub(super) fn made(&self, made: &Value) -> Result<(), Failure> {
        if self.is_data() {
            return self.one(made);
        }
        println!("{}", text(&made["id"]));
        Ok(())
    }

    /// One object: a line a field, or as data.
    pub(super) fn one(&self, object: &Value) -> Result<(), Failure> {
        match (self.format, object.as_object()) {
            (OutputFormat::Table, Some(fields)) => {
                let width = fields.keys().map(String::len).max().unwrap_or(0);
                for (name, value) in fields {
                    let shown = text(value);
                    let shown = if self.colors {
                        paint(&shown, &shown)
                    } else {
                        shown
                    };
                    println!("{name:width$}  {shown}");
                }
            }
            (OutputFormat::Csv, Some(fields)) => {
                let names: Vec<&str> = fields.keys().map(String::as_str).collect();
                print!("{}", csv(std::slice::from_ref(object), &names));
            }
            (OutputFormat::Yaml, _) => print!("{}", yaml(object)),
            _ => println!(
                "{}",
                serde_json::to_string_pretty(object).map_err(|e| Failure::Fatal(e.to_string()))?
            ),
        }
        Ok(())
    }
}

/// A cell in the colour of its state; `padded` is the cell with what fills its column.
fn paint(cell: &str, padded: &str) -> String {
    let code = match cell {
        "running" | "verified" | "active" => "32",
        "error" | "failed" | "missing" | "revoked" => "31",
        "provisioning" | "starting" | "stopping" | "pending" | "degraded" | "wrong" => "33",
        "stopped" | "-" => "2",
        _ => return padded.to_owned(),
    };
    format!("\x1b[{code}m{padded}\x1b[0m")
}

/// A table for spreadsheets: the columns first, then whatever else the rows have.
fn csv(rows: &[Value], columns: &[&str]) -> String {
    let mut names: Vec<&str> = columns.to_vec();
    for row in rows.iter().filter_map(Value::as_object) {
        for name in row.keys() {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
    }
    let value = |value: &Value| match value {
        Value::Null => String::new(),
        // An amount is a number, also one that is taken off.
        Value::String(text) if text.starts_with('-') && text.parse::<f64>().is_ok() => text.clone(),
        Value::String(text) => cell(text),
        Value::Number(number) => number.to_string(),
        other => cell(&other.to_string()),
    };
    let line = |cells: Vec<String>| cells.join(",") + "\r\n";
    let head = line(names.iter().map(|name| cell(name)).collect());
    rows.iter()
        .map(|row| line(names.iter().map(|name| value(&row[*name])).collect()))
        .fold(head, |all, line| all + &line)
}

/// YAML of what is JSON: blocks for objects and lists, and scalars as JSON writes them, which YAML reads the same.
/// Thirty lines here, for which no crate is needed.
fn yaml(value: &Value) -> String {
    fn put(out: &mut String, value: &Value, depth: usize, behind: &str) {
        let inner = "  ".repeat(depth);
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                // Behind a dash the first field stands on its line.
                let mut first = behind == "-";
                out.push_str(if first {
                    " "
                } else if behind.is_empty() {
                    ""
                } else {
                    "\n"
                });
                for (name, value) in fields {
                    if !std::mem::take(&mut first) {
                        out.push_str(&inner);
                    }
                    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                        && name.starts_with(|c: char| c.is_ascii_alphabetic())
                        && !["null", "true", "false", "yes", "no", "on", "off", "y", "n"]
                            .contains(&name.to_ascii_lowercase().as_str());
                    let name = if plain {
                        name.clone()
                    } else {
                        Value::from(name.as_str()).to_string()
                    };
                    out.push_str(&name);
                    out.push(':');
                    put(out, value, depth + 1, ":");
                }
            }
            Value::Array(rows) if !rows.is_empty() => {
                out.push_str(if behind.is_empty() { "" } else { "\n" });
                for row in rows {
                    out.push_str(&inner);
                    out.push('-');
                    put(out, row, depth + 1, "-");
                }
            }
            scalar => {
                out.push_str(if behind.is_empty() { "" } else { " " });
                out.push_str(&scalar.to_string());
                out.push('\n');
            }
        }
    }
    let mut out = String::new();
    put(&mut out, value, 0, "");
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn csv_quotes_what_would_break_a_row_and_marks_what_would_be_a_formula() {
        let rows = [
            json!({"id": 1, "name": "a, \"b\"\nc", "metadata": {"k": [1]}}),
            json!({"id": -2, "name": "=1+1", "metadata": null, "later": true}),
        ];
        assert_eq!(
            csv(&rows, &["name", "id"]),
            "name,id,metadata,later\r\n\"a, \"\"b\"\"\nc\",1,\"{\"\"k\"\":[1]}\",\r\n'=1+1,-2,,true\r\n"
        );
    }

    #[test]
    fn yaml_is_what_json_was() {
        let value = json!({
            "data": [{"id": 1, "name": "yes: no", "tags": ["a", []]}, "x", [[1], {}]],
            "no": null, "0": {"deep": {"er": 1.5}}, "text": "a\nb\u{1b}"
        });
        assert_eq!(
            yaml(&value),
            "data:\n  - id: 1\n    name: \"yes: no\"\n    tags:\n      - \"a\"\n      - []\n  - \"x\"\n  -\n    -\n      - 1\n    - {}\n\
             \"no\": null\n\"0\":\n  deep:\n    er: 1.5\ntext: \"a\\nb\\u001b\"\n"
        );
    }
}
