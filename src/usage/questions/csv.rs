//! The series as a table for spreadsheets: RFC 4180, the same integers as in JSON.

use std::fmt::Write;

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

use super::bucket::Bucket;
use super::types::Series;
pub use crate::http::cell;

/// Whether the client would rather have a table: it names `text/csv` and not JSON before it.
pub fn accepted(headers: &HeaderMap) -> bool {
    let ranges = headers
        .get_all(ACCEPT)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|v| v.split(','));
    let mut kinds = ranges.map(|range| {
        range
            .split(';')
            .next()
            .unwrap_or("")
            .trim()
            .to_ascii_lowercase()
    });
    kinds
        .find(|kind| kind == "text/csv" || kind == "application/json")
        .is_some_and(|kind| kind == "text/csv")
}

/// One row per bucket, or per bucket and group.
pub fn text(series: &Series) -> String {
    let mut out = String::new();
    match (&series.group_by, &series.groups) {
        (Some(by), Some(groups)) => {
            out.push_str("ts,group_by,key,name,credits_used,compute_hours,compute_ms,credits_micros,partial\r\n");
            let by = cell(&by.to_string());
            for group in groups {
                let labels = format!(
                    "{by},{},{},",
                    cell(group.key.as_deref().unwrap_or("")),
                    cell(&group.name)
                );
                group
                    .series
                    .iter()
                    .for_each(|bucket| row(&mut out, &bucket, &labels));
            }
        }
        _ => {
            out.push_str("ts,credits_used,compute_hours,compute_ms,credits_micros,partial\r\n");
            series
                .series
                .iter()
                .for_each(|bucket| row(&mut out, bucket, ""));
        }
    }
    out
}

fn row(out: &mut String, b: &Bucket, labels: &str) {
    // Writing into a String cannot fail.
    let _ = write!(
        out,
        "{},{labels}{},{},{},{},{}\r\n",
        b.ts, b.credits_used, b.compute_hours, b.compute_ms, b.credits_micros, b.partial
    );
}
