//! For which host names a proxy may ask for a certificate.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::target::{readings, splits};
use crate::db::Store;
use crate::domains;
use crate::error::{Error, Result};
use crate::http::Params;
use crate::rules::config::Config;
use crate::rules::host::{self, normalize_host};
use crate::store::Tx;

/// `GET /domains/ask`
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Asked {
    domain: Option<String>,
}

/// `GET /domains/ask?domain=`: 200 when a certificate for this host name may be asked for, else 404. Without a
/// key, since a proxy asks; it says no more than a look at the DNS does.
pub async fn ask(
    State(store): State<Store>,
    State(config): State<Arc<Config>>,
    asked: Params<Asked>,
) -> Result<Response> {
    let asked = asked.get()?.domain.unwrap_or_default();
    let host = normalize_host(&asked).map_err(|e| Error::field("domain", e))?;
    let known = store.read(move |tx| is_served(tx, &host, &config.base_domain));
    if known.await? {
        Ok("a certificate may be asked for\n".into_response())
    } else {
        Err(Error::not_found("domain"))
    }
}

/// Whether a host name is a verified domain, one below it, or a computer's under the domain of this server.
fn is_served(tx: &Tx<'_>, host: &str, base: &str) -> Result<bool> {
    if host == base {
        return Ok(true);
    }
    for name in std::iter::once(host).chain(host::parents(host)) {
        if domains::is_verified(tx, name)? {
            return Ok(true);
        }
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM computers WHERE slug = ?1 AND deleted_at IS NULL)";
    let below = splits(host).filter(|(_, _, domain)| *domain == base);
    for (slug, _) in below.flat_map(|(label, infix, _)| readings(label, infix)) {
        if tx.row(sql, [slug], |row| row.get(0))? {
            return Ok(true);
        }
    }
    Ok(false)
}
