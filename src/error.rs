//! One error type, one body.
//!
//! Variants are what a *client* can do about it, so there are few; the code tells more. An
//! [`Error`] travels by `?` to the edge, where [`crate::http`] adds the request id, writes the
//! one error body and logs what happened inside, once. Internal detail never leaves.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::ids::WorkspaceId;
use crate::store::{Failure, Fault, StoreError};

/// The result of everything that can be refused.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a request was not served. Cheap to move: the parts live behind one box.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    status: StatusCode,
    code: Cow<'static, str>,
    message: String,
    details: Value,
    /// Field texts, shown as `details` and as top-level `errors`.
    fields: BTreeMap<Cow<'static, str>, Vec<String>>,
    /// A resource that stands in the way, shown as `error.existing`.
    existing: Option<Value>,
    /// Whole seconds after which a retry makes sense; also the `Retry-After` header.
    retry_after: Option<u32>,
    /// For the log only.
    internal: Option<String>,
    /// What of the storage failed, where it was that.
    fault: Option<Fault>,
    /// Which limit stood in the way, where it was that.
    refusal: Option<Refusal>,
}

/// A limit that refused something, for the list of refusals.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// None where nothing of a workspace was asked for.
    pub workspace: Option<WorkspaceId>,
    /// `max_computers`, `max_computer_size`, `budget`, ...
    pub limit: String,
    /// Whose limit it is: tenant, workspace or project.
    pub scope: String,
    pub max: Value,
    /// What there was, or what was asked for.
    pub current: Value,
}

/// The text for a slug, an external id or a domain that is taken; clients look for it.
pub const TAKEN: &str = "has already been taken";

impl Error {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            status,
            code: code.into(),
            message: message.into(),
            details: Value::Object(Map::new()),
            fields: BTreeMap::new(),
            existing: None,
            retry_after: None,
            internal: None,
            fault: None,
            refusal: None,
        }))
    }

    /// 400: the request cannot be read at all.
    pub fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 401 `invalid_token`: no, an unknown, a revoked or an expired key.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_token", message)
    }

    /// 403 `FORBIDDEN`, text `forbidden`: the resource of another tenant, or out of the key's reach.
    pub fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", "forbidden")
    }

    /// 403 with a reason of its own.
    pub fn denied(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    /// 404 `NOT_FOUND`, text `<what> not found`.
    pub fn not_found(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NOT_FOUND",
            format!("{what} not found"),
        )
    }

    /// 404 `NOT_FOUND` for a route that this server does not have.
    pub fn no_route(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", message)
    }

    /// 405: the path is known, the method is not.
    pub fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "METHOD_NOT_ALLOWED",
            "this method is not allowed here; the Allow header lists those that are",
        )
    }

    /// 408: a body that did not come.
    pub fn too_slow(patience: std::time::Duration) -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "BODY_TIMEOUT",
            format!(
                "the request body was not there after {:.1} s; nothing was done, send it again",
                patience.as_secs_f64()
            ),
        )
    }

    /// 409: the state of the resource refuses the action.
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// 412: it is not what the caller saw; `now` is what it is.
    pub fn stale(versions: Value, now: Value) -> Self {
        let mut e = Self::new(
            StatusCode::PRECONDITION_FAILED,
            "PRECONDITION_FAILED",
            "it has changed since you read it, and nothing was done; look at error.existing, and send the change again \
             with the ETag that it has now",
        )
        .with_details(versions);
        e.0.existing = Some(now);
        e
    }

    /// 413: more bytes than the server reads.
    pub fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "PAYLOAD_TOO_LARGE",
            format!("the request body is larger than {limit} bytes; send less at once"),
        )
    }

    /// 415: a body that is not declared to be JSON.
    pub fn unsupported_media_type() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UNSUPPORTED_MEDIA_TYPE",
            "send the body with Content-Type: application/json",
        )
    }

    /// 422 `VALIDATION_FAILED` on one field.
    pub fn field(field: impl Into<Cow<'static, str>>, text: impl Into<String>) -> Self {
        let mut fields = Fields::default();
        fields.push(field, text);
        fields.into_error()
    }

    /// 422 with a code of its own.
    pub fn unprocessable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
    }

    /// 406 `NOT_ACCEPTABLE`: it is there, and not in the format that was asked for.
    pub fn not_acceptable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, "NOT_ACCEPTABLE", message)
    }

    /// 422 `LIMIT_EXCEEDED`: never 409 or 429, which clients retry or read as a conflict.
    pub fn limit(message: impl Into<String>, details: Value) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "LIMIT_EXCEEDED", message).with_details(details)
    }

    /// 429 `rate_limit_exceeded`: too much at once; the same again after `seconds`.
    pub fn too_many(message: impl Into<String>, seconds: u32) -> Self {
        let mut e = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limit_exceeded",
            message,
        );
        e.0.retry_after = Some(seconds);
        e
    }

    /// 503: nothing happened; the same request may be sent again after `seconds`.
    pub fn unavailable(message: impl Into<String>, seconds: u32) -> Self {
        let mut e = Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message);
        e.0.retry_after = Some(seconds);
        e
    }

    /// 500: a defect or a broken store. `detail` goes to the log only.
    pub fn internal(detail: impl ToString) -> Self {
        let mut e = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "INTERNAL_ERROR",
            "something went wrong on the server; its log has the details under this request id",
        );
        e.0.internal = Some(detail.to_string());
        e
    }

    /// What a fault rule of the emulator answers.
    pub(crate) fn injected(
        status: StatusCode,
        code: Cow<'static, str>,
        message: String,
        retry_after: Option<u32>,
    ) -> Self {
        let mut e = Self::new(status, "FAULT_INJECTED", message);
        (e.0.code, e.0.retry_after) = (code, retry_after);
        e
    }

    /// Says that a limit was in the way, by what the details say of it.
    pub fn refused_in(mut self, workspace: Option<WorkspaceId>) -> Self {
        let told = |name: &str| self.0.details.get(name).cloned().unwrap_or_default();
        let text = |name: &str| told(name).as_str().unwrap_or_default().to_owned();
        self.0.refusal = Some(Refusal {
            workspace,
            limit: text("limit"),
            scope: text("scope"),
            max: told("max"),
            current: told("current"),
        });
        self
    }

    /// Says which limit was in the way.
    pub fn refused_by(mut self, refusal: Refusal) -> Self {
        self.0.refusal = Some(refusal);
        self
    }

    /// The limit that was in the way.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.0.refusal.as_ref()
    }

    /// It was only a rehearsal: nothing was refused to anybody.
    pub fn rehearsed(mut self) -> Self {
        self.0.refusal = None;
        self
    }

    /// Replaces the machine-readable details.
    pub fn with_details(mut self, details: Value) -> Self {
        self.0.details = details;
        self
    }

    /// Names another code than the constructor's.
    pub fn with_code(mut self, code: &'static str) -> Self {
        self.0.code = code.into();
        self
    }

    /// Shows the resource that is in the way, as `error.existing`.
    pub fn with_existing(mut self, existing: impl Serialize) -> Self {
        self.0.existing = serde_json::to_value(existing).ok();
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The machine-readable code.
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// The text for people.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What programs are told besides.
    pub fn details(&self) -> &Value {
        &self.0.details
    }

    /// Adds what only the log may know.
    pub fn set_internal(&mut self, detail: impl ToString) {
        self.0.internal = Some(detail.to_string());
    }

    /// What only the log may know.
    pub fn internal_detail(&self) -> Option<&str> {
        self.0.internal.as_deref()
    }

    /// Seconds for the `Retry-After` header.
    pub fn retry_after(&self) -> Option<u32> {
        self.0.retry_after
    }

    /// The one error body: the documented object, and its parts at top level for
    /// the clients that look there.
    pub fn body(&self, request_id: &str) -> Value {
        let e = &*self.0;
        let details = if e.fields.is_empty() {
            e.details.clone()
        } else {
            json!(e.fields)
        };
        let mut error = json!({
            "code": e.code, "message": e.message, "request_id": request_id, "details": details,
        });
        if let (Some(existing), Some(object)) = (&e.existing, error.as_object_mut()) {
            object.insert("existing".into(), existing.clone());
        }
        let mut body = json!({
            "error": error, "message": e.message, "code": e.code, "request_id": request_id,
        });
        if let Some(object) = body.as_object_mut() {
            if !e.fields.is_empty() {
                object.insert("errors".into(), json!(e.fields));
            }
            if let Some(seconds) = e.retry_after {
                object.insert("retry_after".into(), json!(seconds));
            }
        }
        body
    }
}

/// Rides in the response's extensions to the edge, which knows the request id.
#[derive(Clone)]
pub struct Carried(pub std::sync::Arc<Error>);

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response
            .extensions_mut()
            .insert(Carried(std::sync::Arc::new(self)));
        response
    }
}

/// The code of a file that this process may not open.
pub const CANNOT_OPEN: &str = "CANNOT_OPEN";

impl From<StoreError> for Error {
    fn from(e: StoreError) -> Self {
        match e {
            StoreError::Busy(text, seconds) => Error::unavailable(text, seconds),
            StoreError::Undecided(e) => Error::of_sqlite(&e).undecided(),
            StoreError::Damaged => Error::damaged(),
            StoreError::Sqlite(e) => Error::of_sqlite(&e),
            StoreError::Io(e, path) => Error::of_io(&e, &path),
            StoreError::Exists(text) => Error::conflict("BACKUP_EXISTS", text),
            StoreError::Closed(text) => Error::unavailable(text, 60).with_code(CANNOT_OPEN),
            StoreError::Refused(code, text) => Error::bad_request(code, text),
            StoreError::Internal(detail) => Error::internal(detail),
        }
    }
}

impl Failure for Error {
    fn fault(&self) -> Option<Fault> {
        self.0.fault
    }
}

impl From<rusqlite::Error> for Error {
    fn from(e: rusqlite::Error) -> Self {
        Error::of_sqlite(&e)
    }
}

impl Error {
    /// SQLite's failures, sorted by what a client can do: wait, or nothing.
    pub fn of_sqlite(e: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{
            CannotOpen, DatabaseBusy, DatabaseCorrupt, DatabaseLocked, DiskFull, NotADatabase,
            ReadOnly, SystemIoFailure,
        };
        let mut error = match e.sqlite_error_code() {
            Some(DiskFull) => Error::storage_full(),
            Some(DatabaseBusy | DatabaseLocked) => {
                Error::unavailable("the database is busy; nothing was changed, try again", 1)
            }
            Some(SystemIoFailure | ReadOnly | CannotOpen) => Error::storage_failed(),
            Some(DatabaseCorrupt | NotADatabase) => Error::damaged(),
            _ => return Error::internal(e),
        };
        error.0.internal = Some(e.to_string());
        error
    }

    /// 507: a disk other than the database's has no space to spare.
    pub fn no_space(message: impl Into<String>) -> Self {
        let mut full = Error::new(StatusCode::INSUFFICIENT_STORAGE, "STORAGE_FULL", message);
        full.0.retry_after = Some(30);
        full
    }

    /// 507: no space left.
    fn storage_full() -> Self {
        let mut full = Error::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "STORAGE_FULL",
            "the disk of this server is full; nothing was changed, try again when there is space",
        );
        full.0.retry_after = Some(30);
        full.0.fault = Some(Fault::Full);
        full
    }

    fn storage_failed() -> Self {
        let mut e = Error::unavailable("the storage of this server failed; nothing was changed", 5)
            .with_code("STORAGE_FAILED");
        e.0.fault = Some(Fault::Io);
        e
    }

    /// 503: a page of the database is damaged. Nothing is written any more.
    pub fn damaged() -> Self {
        let mut e = Error::unavailable(
            "the database of this server is damaged; nothing was changed. Whoever runs it finds in its log what to do",
            60,
        )
        .with_code("DATABASE_DAMAGED");
        e.0.fault = Some(Fault::Damaged);
        e
    }

    /// The storage failed in the moment of the commit, and has not worked since: whether the change
    /// was kept will be seen when it works again.
    pub fn undecided(mut self) -> Self {
        self.0.message = "the storage of this server failed while the change was being written; it may be there when \
            the storage works again. Send the same request with the same Idempotency-Key: it is never executed twice"
            .into();
        self
    }

    /// A failure of the file system outside SQLite, about `path`.
    pub fn of_io(e: &std::io::Error, path: &std::path::Path) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        let mut error = match e.kind() {
            StorageFull | QuotaExceeded => Error::storage_full(),
            _ => Error::storage_failed(),
        };
        let message = format!("{}: {e}; nothing was changed", path.display());
        // Not a fault of the database: it may well be on another disk.
        (error.0.message, error.0.fault) = (message, None);
        error
    }
}

/// Field texts of one request, collected so that a client sees all of them at once.
#[derive(Default, Debug)]
pub struct Fields(BTreeMap<Cow<'static, str>, Vec<String>>);

impl Fields {
    /// Adds a text to a field.
    pub fn push(&mut self, field: impl Into<Cow<'static, str>>, text: impl Into<String>) {
        self.0.entry(field.into()).or_default().push(text.into());
    }

    /// `Ok` when nothing was wrong.
    pub fn finish(self) -> Result<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(self.into_error())
        }
    }

    fn into_error(self) -> Error {
        let message = self
            .0
            .iter()
            .flat_map(|(field, texts)| texts.iter().map(move |text| format!("{field} {text}")))
            .collect::<Vec<_>>()
            .join("; ");
        let mut e = Error::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "VALIDATION_FAILED",
            message,
        );
        e.0.fields = self.0;
        e
    }
}

/// True when a statement broke a UNIQUE or PRIMARY KEY rule over `column` (`table.column`).
/// SQLite names the columns, not the index, in its message; there is no other way to tell two
/// unique rules of one table apart.
pub fn is_unique_violation(e: &rusqlite::Error, column: &str) -> bool {
    match e {
        rusqlite::Error::SqliteFailure(code, Some(message)) => {
            matches!(
                code.extended_code,
                rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE
                    | rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY
            ) && message.split([':', ',']).any(|part| part.trim() == column)
        }
        _ => false,
    }
}
