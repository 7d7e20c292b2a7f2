//! What limits refuse is written down after the refusal, in a transaction of its own: that of the request has
//! left nothing.

use axum::extract::MatchedPath;
use axum::http::Method;
use axum::http::request::Parts;
use rusqlite::named_params;

use crate::access::caller::Caller;
use crate::clock::HOUR_MS;
use crate::error::{Error, Refusal, Result};
use crate::ids::{ApiKeyId, TenantId};
use crate::json;
use crate::rules::hosted::BASE;
use crate::store::WriteTx;

/// What was asked for: method and route.
#[derive(Clone)]
pub(super) enum Asked {
    Route(Method, Option<MatchedPath>),
    /// A computer at its preview address, which would have been started.
    Visit,
}

impl Asked {
    pub fn of(parts: &Parts) -> Asked {
        let path = parts.extensions.get::<MatchedPath>().cloned();
        Asked::Route(parts.method.clone(), path)
    }

    fn text(&self) -> String {
        let Asked::Route(method, path) = self else {
            return "visit of a preview address".to_owned();
        };
        let path = path.as_ref().map_or("", MatchedPath::as_str);
        format!("{method} {}", path.strip_prefix(BASE).unwrap_or(path))
    }
}

/// Who asked for what.
pub(super) struct By {
    tenant: TenantId,
    /// `None`: without one.
    key: Option<ApiKeyId>,
    request: Asked,
}

impl By {
    pub fn of(caller: &Caller, request: Asked) -> By {
        By {
            tenant: caller.tenant_id(),
            key: Some(caller.key_id()),
            request,
        }
    }

    /// What is to be written down, if a limit was in the way.
    pub fn refused(self, error: &Error) -> Option<Refused> {
        let refusal = error.refusal()?.clone();
        Some(Refused {
            by: self,
            refusal,
            message: error.message().to_owned(),
        })
    }
}

/// A visit to a computer of this organization was refused; what is to be written down of it, if a limit was in the
/// way.
pub fn visit_refused(tenant: TenantId, error: &Error) -> Option<Refused> {
    let by = By {
        tenant,
        key: None,
        request: Asked::Visit,
    };
    by.refused(error)
}

/// A refusal that is to be written down.
pub struct Refused {
    by: By,
    refusal: Refusal,
    /// What was answered.
    message: String,
}

impl Refused {
    /// Counts it. What is refused over and over stands in one row for each hour.
    ///
    /// # Errors
    /// When the store fails.
    pub fn record(&self, tx: &WriteTx<'_>) -> Result<()> {
        let Refused {
            by,
            refusal,
            message,
        } = self;
        let now = tx.now();
        let sql = "INSERT INTO refusals (tenant_id, workspace_id, hour, limit_name, scope, request, count, first_at, last_at,
             max, current, message, key_id)
         VALUES (:tenant, :workspace, :hour, :limit, :scope, :request, 1, :now, :now, :max, :current, :message, :key)
         ON CONFLICT (tenant_id, coalesce(workspace_id, x''), hour, limit_name, scope, request) DO UPDATE SET
             count = count + 1, last_at = excluded.last_at, max = excluded.max, current = excluded.current,
             message = excluded.message, key_id = excluded.key_id";
        tx.run(
        sql,
        named_params! {
            ":tenant": by.tenant, ":workspace": refusal.workspace, ":hour": now.0 - now.0.rem_euclid(HOUR_MS),
            ":limit": refusal.limit, ":scope": refusal.scope, ":request": by.request.text(), ":now": now,
            ":max": json::text(&refusal.max)?, ":current": json::text(&refusal.current)?, ":message": message,
            ":key": by.key,
        },
    )?;
        Ok(())
    }
}
