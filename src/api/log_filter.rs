//! What is logged, changed while the service runs.

use std::sync::{Arc, OnceLock};

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::Targets;
use utoipa::ToSchema;

use crate::access::caller::Caller;
use crate::error::{Error, Result};
use crate::http::{Mutation, Reply};

/// Puts another filter in place of the present one.
pub type Reload = Box<dyn Fn(Targets) -> std::result::Result<(), String> + Send + Sync>;

/// The filter of the log, and how to change it.
#[derive(Default)]
pub struct LogFilter {
    reload: OnceLock<Reload>,
    present: Mutex<String>,
}

/// Reads a filter.
///
/// # Errors
/// What is wrong with it, and what is allowed.
pub fn parse(filter: &str) -> std::result::Result<Targets, String> {
    filter.parse::<Targets>().map_err(|e| {
        format!("{e}; allowed are error, warn, info, debug, trace, or per module such as workspaced=debug")
    })
}

impl LogFilter {
    /// Called once, where logging begins.
    pub fn begin(&self, filter: &str, reload: Reload) {
        filter.clone_into(&mut self.present.lock());
        let _ = self.reload.set(reload);
    }

    fn present(&self) -> String {
        let present = self.present.lock();
        present.clone()
    }

    fn change(&self, filter: &str) -> Result<()> {
        let wrong = |why| Error::field("filter", format!("cannot be read: {why}"));
        let parsed = parse(filter).map_err(wrong)?;
        if let Some(reload) = self.reload.get() {
            reload(parsed).map_err(Error::internal)?;
        }
        filter.clone_into(&mut self.present.lock());
        Ok(())
    }
}

/// `GET /system/log`
#[derive(Serialize, ToSchema)]
#[schema(as = Log)]
pub struct LogView {
    /// error, warn, info, debug, trace, or per module (`workspaced=debug`)
    filter: String,
}

/// `PUT /system/log`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct SetLog {
    /// error, warn, info, debug, trace, or per module (`workspaced=debug`)
    #[schema(required = true, nullable = false)]
    pub filter: Option<String>,
}

/// `GET /system/log`
pub async fn show(State(log): State<Arc<LogFilter>>, _: Caller) -> Json<LogView> {
    Json(LogView {
        filter: log.present(),
    })
}

/// `PUT /system/log`: until the next start, which begins with `--log` again.
pub async fn set(State(log): State<Arc<LogFilter>>, request: Mutation<SetLog>) -> Result<Response> {
    request
        .run(move |_, _, input| {
            let filter = input?
                .filter
                .ok_or_else(|| Error::field("filter", "can't be blank"))?;
            log.change(&filter)?;
            Ok(Reply::ok(LogView { filter }))
        })
        .await
}
