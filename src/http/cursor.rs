//! Where a list goes on: after a row, whatever has been deleted or added since the page before.
//!
//! A cursor holds the values by which the list is ordered, of the last row that was shown, and what it was made for:
//! the path, the filters and the order. To the caller it is opaque.

use std::hash::{DefaultHasher, Hash, Hasher};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use rusqlite::ToSql;
use rusqlite::types::Value;

use crate::error::{Error, Result};
use crate::store::Tx;

/// Parameters that say which part of a list is asked for, and so are no filter.
const PARTS: [&str; 6] = ["after", "limit", "offset", "page", "page_size", "per_page"];
/// Characters of a cursor at most.
const LONGEST: usize = 4096;
/// Between the parts of a cursor.
const SEPARATOR: char = '\u{1f}';
/// Names of the values in a statement.
const NAMES: [&str; 3] = [":after0", ":after1", ":after2"];

/// Columns that order a list, all the same way. The last one tells every two rows apart.
#[derive(Clone, Copy)]
pub struct Order {
    pub columns: &'static [&'static str],
    pub descending: bool,
}

impl Order {
    /// For `ORDER BY`.
    pub fn sql(&self) -> String {
        let way = if self.descending { " DESC" } else { "" };
        let columns = self.columns.iter().map(|column| format!("{column}{way}"));
        columns.collect::<Vec<_>>().join(", ")
    }

    /// The condition for what comes behind the values of [`named`].
    pub fn beyond(&self) -> String {
        let than = if self.descending { '<' } else { '>' };
        let names = &NAMES[..self.columns.len()];
        format!(
            "({}) {than} ({})",
            self.columns.join(", "),
            names.join(", ")
        )
    }
}

/// The values under the names that [`Order::beyond`] has for them.
pub fn named(values: &[Value]) -> impl Iterator<Item = (&'static str, &dyn ToSql)> {
    NAMES
        .into_iter()
        .zip(values.iter().map(|value| value as &dyn ToSql))
}

/// The values by which one row is ordered: that of `from` whose `id` this is.
pub fn of_row(
    tx: &Tx<'_>,
    columns: &[&str],
    from: &str,
    id: (&str, &dyn ToSql),
) -> Result<Vec<Value>> {
    let sql = format!(
        "SELECT {} FROM {from} WHERE {} = ?1",
        columns.join(", "),
        id.0
    );
    Ok(tx.prepare_cached(&sql)?.query_row([id.1], |row| {
        (0..columns.len()).map(|n| row.get(n)).collect()
    })?)
}

/// Which list a request asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place(String);

impl Place {
    /// Of a path with its query.
    pub fn new(target: &str) -> Place {
        Place(target.to_owned())
    }

    fn parts(&self) -> (&str, Vec<(String, String)>) {
        let (path, query) = self.0.split_once('?').unwrap_or((&self.0, ""));
        let pairs = form_urlencoded::parse(query.as_bytes());
        let filters = pairs.filter(|(name, _)| !PARTS.contains(&&**name));
        (
            path,
            filters
                .map(|(n, v)| (n.into_owned(), v.into_owned()))
                .collect(),
        )
    }

    fn bound(&self) -> u64 {
        let (path, mut filters) = self.parts();
        filters.sort();
        let mut hash = DefaultHasher::new();
        (path, filters).hash(&mut hash);
        hash.finish()
    }

    /// The cursor behind a row with these values.
    fn encode(&self, values: &[Value]) -> String {
        let mut text = format!("{:016x}", self.bound());
        for value in values {
            text.push(SEPARATOR);
            match value {
                Value::Integer(n) => text.push_str(&format!("i{n}")),
                Value::Text(t) => text.push_str(&format!("t{t}")),
                Value::Blob(b) => text.push_str(&format!("x{}", HEXLOWER.encode(b))),
                Value::Null | Value::Real(_) => text.push('n'),
            }
        }
        BASE64URL_NOPAD.encode(text.as_bytes())
    }

    /// The values of a cursor of this list.
    ///
    /// # Errors
    /// 422 where it is none, or of another list.
    pub fn decode(&self, cursor: &str) -> Result<Vec<Value>> {
        let wrong = || {
            Error::field(
                "after",
                "is not a cursor of this list; take it from the Link header of the page before, or leave it out to begin",
            )
        };
        if cursor.len() > LONGEST {
            return Err(wrong());
        }
        let bytes = BASE64URL_NOPAD
            .decode(cursor.as_bytes())
            .map_err(|_| wrong())?;
        let text = String::from_utf8(bytes).map_err(|_| wrong())?;
        let mut parts = text.split(SEPARATOR);
        let bound = parts
            .next()
            .and_then(|text| u64::from_str_radix(text, 16).ok());
        if bound.ok_or_else(wrong)? != self.bound() {
            return Err(Error::field(
                "after",
                "is of a list with another path, filter or order; begin that list without after",
            ));
        }
        let value = |part: &str| {
            let (kind, rest) = part.split_at_checked(1)?;
            Some(match kind {
                "i" => Value::Integer(rest.parse().ok()?),
                "t" => Value::Text(rest.to_owned()),
                "x" => Value::Blob(HEXLOWER.decode(rest.as_bytes()).ok()?),
                _ => return None,
            })
        };
        parts.map(value).collect::<Option<_>>().ok_or_else(wrong)
    }

    /// The value of a `Link` header that leads behind a row with these values: relative to what was asked, so
    /// that it holds behind every proxy.
    pub fn link(&self, limit: i64, values: &[Value]) -> String {
        let (_, filters) = self.parts();
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(filters);
        query.append_pair("limit", &limit.to_string());
        query.append_pair("after", &self.encode(values));
        format!("<?{}>; rel=\"next\"", query.finish())
    }
}

/// A `Link` header to the next page of a list with a cursor of its own, `name`.
pub fn link(query: &str, name: &str, value: &str) -> String {
    let kept = form_urlencoded::parse(query.as_bytes())
        .filter(|(one, _)| !["after", "before", "cursor", "offset", "page"].contains(&&**one));
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(kept).append_pair(name, value);
    format!("<?{}>; rel=\"next\"", query.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_for_the_same_list_only() {
        let values = [
            Value::Integer(-5),
            Value::Text("Dr. Ü\u{1e}".into()),
            Value::Blob(vec![0, 255]),
        ];
        let place = Place::new("/api/v1/workspaces?q=a&sort=name&limit=5");
        let cursor = place.encode(&values);
        assert_eq!(place.decode(&cursor).unwrap(), values);
        let same = Place::new("/api/v1/workspaces?sort=name&limit=7&q=a&after=x");
        assert_eq!(same.decode(&cursor).unwrap(), values);
        for other in [
            "/api/v1/workspaces?q=b&sort=name",
            "/api/v1/workspaces?q=a",
            "/api/v1/projects?q=a&sort=name",
            "/api/v1/workspaces",
        ] {
            assert!(Place::new(other).decode(&cursor).is_err(), "{other}");
        }
        for wrong in ["", "x", "é", &cursor[1..], &"A".repeat(5000)] {
            assert!(place.decode(wrong).is_err(), "{wrong}");
        }
        let link = place.link(5, &values);
        assert_eq!(
            link,
            format!("<?q=a&sort=name&limit=5&after={cursor}>; rel=\"next\"")
        );
    }
}
