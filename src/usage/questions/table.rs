//! Answers as tables: which format was asked for, and the parts of RFC 4180 that all of them share.

use axum::body::Body;
use axum::http::header::{ACCEPT, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::IntoParams;

use super::csv::cell;
use super::types::Format;
use crate::error::{Error, Fields, Result};
use crate::http::Param;

/// `format` of answers that can be had as a table.
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct TableQuery {
    /// json (default) or csv
    #[param(inline)]
    pub format: Param<Format>,
    /// 1: a table begins with the mark by which spreadsheets know UTF-8
    #[param(inline)]
    pub bom: Param<bool>,
}

/// A table was asked for.
#[derive(Clone, Copy)]
pub struct Table {
    pub bom: bool,
}

impl TableQuery {
    /// What was asked for: by the parameter, or by what the client accepts; `None` = JSON.
    ///
    /// # Errors
    /// 406 where the client accepts neither; what is wrong with a parameter goes to `fields`.
    pub fn read(&self, fields: &mut Fields, headers: &HeaderMap) -> Result<Option<Table>> {
        let format = self.format.read(fields, "format");
        let bom = self.bom.read(fields, "bom") == Some(true);
        let csv = match format {
            Some(format) => format == Format::Csv,
            None if self.format.is_given() => false,
            None => preferred(headers)?,
        };
        Ok(csv.then_some(Table { bom }))
    }
}

/// Whether the client would rather have a table.
///
/// # Errors
/// 406 where it takes neither a table nor JSON.
pub fn preferred(headers: &HeaderMap) -> Result<bool> {
    let mut named = false;
    for value in headers.get_all(ACCEPT) {
        for range in value.to_str().unwrap_or("").split(',') {
            let kind = range
                .split(';')
                .next()
                .unwrap_or("")
                .trim()
                .to_ascii_lowercase();
            match kind.as_str() {
                "text/csv" => return Ok(true),
                "application/json" | "*/*" | "application/*" => return Ok(false),
                "" => {}
                _ => named = true,
            }
        }
    }
    if named {
        return Err(unavailable("application/json or text/csv"));
    }
    Ok(false)
}

/// 406: it is not to be had like that.
pub fn unavailable(what: &str) -> Error {
    Error::not_acceptable(format!(
        "this is not to be had in the format that was asked for; ask for {what}"
    ))
}

impl Table {
    /// The reply, as a file of this name.
    pub fn reply(self, name: &str, text: String) -> Response {
        let text = if self.bom {
            format!("\u{feff}{text}")
        } else {
            text
        };
        file(name, Body::from(text))
    }
}

/// A table as a file of this name.
pub fn file(name: &str, body: Body) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/csv; charset=utf-8"),
    );
    let disposition = format!("attachment; filename=\"{name}.csv\"");
    if let Ok(value) = HeaderValue::from_str(&disposition) {
        headers.insert(CONTENT_DISPOSITION, value);
    }
    response
}

/// Rows as a table of these fields.
///
/// # Errors
/// Never for the types of this program.
pub fn rows<T: Serialize>(columns: &[&str], rows: &[T]) -> Result<String> {
    let mut out = columns.join(",");
    out.push_str("\r\n");
    for row in rows {
        let row = serde_json::to_value(row).map_err(Error::internal)?;
        let cells: Vec<String> = columns
            .iter()
            .map(|column| match &row[*column] {
                Value::Null => String::new(),
                Value::String(text) => cell(text),
                other => other.to_string(),
            })
            .collect();
        out.push_str(&cells.join(","));
        out.push_str("\r\n");
    }
    Ok(out)
}
