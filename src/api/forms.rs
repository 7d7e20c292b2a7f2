//! Forms of a reply other than JSON: a table that was asked for and is not there is refused, since a program
//! that reads a table makes nonsense of JSON.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use axum::extract::MatchedPath;
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, Uri};

use super::routes;
use crate::error::{Error, Result};
use crate::rules::hosted::BASE;

/// Paths below the base whose route has a parameter `format`.
static WITH_FORMAT: LazyLock<BTreeSet<&'static str>> = LazyLock::new(|| {
    let all = routes::table().into_iter().chain(routes::machines());
    all.filter(|route| route.known().parameters().any(|name| name == "format"))
        .map(|route| route.path)
        .collect()
});

/// Whether the answer can be had in the form that is asked for.
///
/// # Errors
/// 422 where `format` asks for another than JSON, 406 where `Accept` takes nothing but a table.
pub fn check(route: Option<&MatchedPath>, uri: &Uri, headers: &HeaderMap) -> Result<()> {
    let query = uri.query().filter(|query| query.contains("format="));
    let accept = headers.get(ACCEPT).map(|value| value.as_bytes());
    let table = accept.is_some_and(|accept| accept.windows(8).any(|kind| kind == b"text/csv"));
    if query.is_none() && !table {
        return Ok(());
    }
    let mut path = route.map_or("", MatchedPath::as_str);
    while let Some(rest) = path.strip_prefix(BASE) {
        path = rest;
    }
    if WITH_FORMAT.contains(path) {
        return Ok(());
    }
    let asked = form_urlencoded::parse(query.unwrap_or("").as_bytes())
        .any(|(name, form)| name == "format" && form != "json");
    if asked {
        return Err(Error::field(
            "format",
            "this answer is JSON and comes in no other form; leave format out",
        ));
    }
    let all = headers.get_all(ACCEPT).iter();
    let other = all.filter_map(|value| value.to_str().ok()).any(|value| {
        value.contains("json") || value.contains("*/*") || value.contains("application/*")
    });
    if table && !other {
        return Err(Error::not_acceptable(
            "this answer is JSON and comes in no other form; accept application/json",
        ));
    }
    Ok(())
}
