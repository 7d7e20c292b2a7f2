//! The names that a request may use: query parameters, and fields of the body.
//!
//! They come from the schemas of the OpenAPI document, so there is no second list that could differ
//! from it. A list, or an answer about usage, refuses a parameter that it does not know: a filter that is
//! ignored answers more than was asked for, and what is done with the rows is done to the wrong ones.
//! Elsewhere names are looked at with `--strict`, which refuses the others, and where the emulator records
//! what an application uses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use utoipa::openapi::schema::ArrayItems;
use utoipa::openapi::{RefOr, Schema};

use super::schemas::{Components, SchemaFn};
use crate::access::caller::Caller;
use crate::error::{Fields, Result};
pub use crate::rules::text::nearest;

/// Fields by which callers narrow what may be reached, or bound what is spent. Where a route has no such field
/// it is refused, with `--strict` or without: who sends one and is answered 2xx believes that it holds. In order.
const RESTRICTIONS: &[&str] = &[
    "allowed_cidrs",
    "allowed_domains",
    "allowed_hosts",
    "allowed_ip",
    "allowed_ips",
    "allowed_origins",
    "allowed_referrers",
    "auto_delete",
    "auto_delete_seconds",
    "auto_destroy_seconds",
    "auto_stop",
    "auto_stop_minutes",
    "auto_stop_seconds",
    "blocked_ips",
    "budget",
    "budget_credits",
    "budget_id",
    "cidr_allowlist",
    "cost_limit",
    "credit_limit",
    "credits_limit",
    "denied_ips",
    "dry_run",
    "expires_at",
    "expires_in",
    "expires_in_days",
    "expires_in_s",
    "expires_in_sec",
    "expires_in_seconds",
    "grace_seconds",
    "headers",
    "idle_timeout_minutes",
    "idle_timeout_sec",
    "idle_timeout_seconds",
    "ip_allowlist",
    "ip_denylist",
    "ip_restrictions",
    "ip_whitelist",
    "max_computers",
    "max_cost",
    "max_credit_cents",
    "max_credits",
    "max_credits_per_month",
    "max_hourly_cents",
    "max_lifetime_seconds",
    "max_runtime",
    "max_runtime_seconds",
    "max_spend",
    "max_storage_gb",
    "max_uses",
    "monthly_budget",
    "monthly_budget_credits",
    "monthly_credits",
    "not_after",
    "not_before",
    "one_time",
    "quota",
    "rate_limit",
    "rate_limit_per_minute",
    "rate_limit_rpm",
    "read_only",
    "readonly",
    "scopes",
    "spend_limit",
    "spending_cap",
    "spending_limit",
    "stop_at",
    "ttl",
    "ttl_hours",
    "ttl_sec",
    "ttl_seconds",
    "valid_until",
];

/// How deep schemas are followed: one that contains itself ends somewhere.
const MAX_DEPTH: usize = 8;
/// Names of one request that are told apart at most.
const MAX_NAMES: usize = 500;
/// Fields that one refusal names at most.
const MAX_NAMES_IN_ERROR: usize = 20;
/// Characters of an unknown name that are shown.
const MAX_NAME_CHARS: usize = 64;

/// What a route knows.
pub struct Known {
    pub method: Method,
    /// Its path below [`BASE`](crate::rules::hosted::BASE).
    pub path: &'static str,
    query: BTreeSet<String>,
    body: Node,
    /// Accepted because clients of the hosted service send it; without effect here.
    ignored: &'static [&'static str],
    /// As [`RESTRICTIONS`], of this route only.
    narrowing: &'static [&'static str],
}

/// What may stand at a place in a body.
#[derive(Clone)]
enum Node {
    /// One value, whose type the handler checks.
    Scalar,
    /// Whatever the caller likes: the names in there are theirs.
    Open,
    List(Box<Node>),
    Object(BTreeMap<String, Node>),
}

/// Where a name was used.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[serde(rename_all = "lowercase")]
pub enum NamedIn {
    /// In the query string.
    Query,
    Body,
}

/// What becomes of it.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Treatment {
    Known,
    /// It is accepted for the sake of clients that send it, and has no effect.
    Ignored,
    /// This server has no such name: without effect, or refused.
    Unknown,
}

/// Names that one request used, with the nearest known one of those that are unknown.
#[derive(Default)]
pub struct Used(pub BTreeMap<(NamedIn, String), (Treatment, Option<String>)>);

impl Known {
    /// Of the documented parameters and body of a route.
    pub fn new(
        method: Method,
        path: &'static str,
        query: impl IntoIterator<Item = String>,
        body: Option<SchemaFn>,
        ignored: &'static [&'static str],
        narrowing: &'static [&'static str],
    ) -> Known {
        let mut components = Components::new();
        let body = body.map(|schema| schema(&mut components));
        Known {
            method,
            path,
            query: query.into_iter().collect(),
            body: body.map_or(Node::Object(BTreeMap::new()), |schema| {
                match node(&schema, &components, 0) {
                    // A body without any field is that of an action that takes none.
                    Node::Scalar => Node::Open,
                    found => found,
                }
            }),
            ignored,
            narrowing,
        }
    }

    /// The names of its parameters.
    pub fn parameters(&self) -> impl Iterator<Item = &String> {
        self.query.iter()
    }

    /// The parameters of a query string.
    pub fn query(&self, query: &str) -> Used {
        let mut used = Used::default();
        for (name, _) in form_urlencoded::parse(query.as_bytes()) {
            let known = self.query.contains(&*name);
            used.add(self, NamedIn::Query, &name, known, || {
                nearest(&name, &self.query)
            });
        }
        used
    }

    /// The fields of a body.
    pub fn body(&self, body: &Value) -> Used {
        let mut used = Used::default();
        self.walk(&mut used, "", body, &self.body);
        used
    }

    /// 422 for a restriction that would be none.
    fn refuse_restrictions(&self, body: &Value) -> Result<()> {
        let Value::Object(body) = body else {
            return Ok(());
        };
        let mut fields = Fields::default();
        for (key, value) in body {
            let name = snake(key);
            let narrows = RESTRICTIONS.binary_search(&name.as_str()).is_ok()
                || self.narrowing.contains(&name.as_str());
            let known = || match &self.body {
                Node::Object(known) => known.contains_key(&name),
                _ => false,
            };
            if narrows && !value.is_null() && !known() && !self.ignored.contains(&name.as_str()) {
                fields.push(
                    name,
                    "would restrict something, and this request has no such field: nothing was done; leave it out, or \
                     look in /openapi.json for what there is",
                );
            }
        }
        fields.finish()
    }

    fn walk(&self, used: &mut Used, path: &str, value: &Value, node: &Node) {
        match (value, node) {
            (Value::Array(rows), Node::List(inner)) => {
                let path = format!("{path}[]");
                rows.iter()
                    .for_each(|row| self.walk(used, &path, row, inner));
            }
            (Value::Object(map), Node::Object(known)) => {
                for (key, value) in map {
                    // Only the fields of the body itself have a second spelling.
                    let name = if path.is_empty() {
                        snake(key)
                    } else {
                        key.clone()
                    };
                    let below = match path {
                        "" => name.clone(),
                        _ => format!("{path}.{name}"),
                    };
                    let found = known.get(&name);
                    used.add(self, NamedIn::Body, &below, found.is_some(), || {
                        nearest(&name, known.keys())
                    });
                    if let Some(inner) = found {
                        self.walk(used, &below, value, inner);
                    }
                }
            }
            _ => {}
        }
    }
}

impl Used {
    fn add(
        &mut self,
        route: &Known,
        place: NamedIn,
        name: &str,
        known: bool,
        near: impl FnOnce() -> Option<String>,
    ) {
        let name: String = name.chars().take(MAX_NAME_CHARS).collect();
        let at = (place, name);
        if self.0.len() >= MAX_NAMES || self.0.contains_key(&at) {
            return;
        }
        let what = if route.ignored.contains(&at.1.as_str()) {
            (Treatment::Ignored, None)
        } else if known {
            (Treatment::Known, None)
        } else {
            (Treatment::Unknown, near())
        };
        self.0.insert(at, what);
    }

    /// 422 that names what is unknown.
    pub fn refuse(&self) -> Result<()> {
        let mut fields = Fields::default();
        let unknown = |(_, (what, _)): &(_, &(Treatment, _))| *what == Treatment::Unknown;
        for ((place, name), (_, near)) in self.0.iter().filter(unknown).take(MAX_NAMES_IN_ERROR) {
            let what = match place {
                NamedIn::Query => "is not a parameter of this request",
                NamedIn::Body => "is not a field of this request",
            };
            fields.push(
                name.clone(),
                match near {
                    Some(near) => format!("{what}; did you mean {near}?"),
                    None => format!("{what}; /openapi.json lists those that are"),
                },
            );
        }
        fields.finish()
    }
}

/// `projectSlug` → `project_slug`.
pub(super) fn snake(key: &str) -> String {
    let mut name = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

/// What a schema allows.
fn node(schema: &RefOr<Schema>, components: &Components, depth: usize) -> Node {
    if depth > MAX_DEPTH {
        return Node::Open;
    }
    let inner = |schema: &RefOr<Schema>| node(schema, components, depth + 1);
    let schema = match schema {
        RefOr::Ref(reference) => {
            let name = reference.ref_location.rsplit('/').next().unwrap_or("");
            return components.get(name).map_or(Node::Open, inner);
        }
        RefOr::T(schema) => schema,
    };
    let any = |of: &[RefOr<Schema>]| of.iter().map(inner).fold(Node::Scalar, Node::or);
    match schema {
        Schema::Object(object) if object.additional_properties.is_some() => Node::Open,
        Schema::Object(object) if object.properties.is_empty() => Node::Scalar,
        Schema::Object(object) => {
            let field = |(name, schema): (&String, &RefOr<Schema>)| (name.clone(), inner(schema));
            Node::Object(object.properties.iter().map(field).collect())
        }
        Schema::Array(array) => match &array.items {
            ArrayItems::RefOrSchema(items) => Node::List(Box::new(inner(items))),
            ArrayItems::False => Node::Open,
        },
        Schema::OneOf(of) => any(&of.items),
        Schema::AllOf(of) => any(&of.items),
        Schema::AnyOf(of) => any(&of.items),
        _ => Node::Open,
    }
}

impl Node {
    /// What one or the other allows.
    fn or(self, other: Node) -> Node {
        match (self, other) {
            (Node::Scalar, one) | (one, Node::Scalar) => one,
            (Node::Object(mut one), Node::Object(other)) => {
                for (name, node) in other {
                    let both = match one.remove(&name) {
                        Some(first) => first.or(node),
                        None => node,
                    };
                    one.insert(name, both);
                }
                Node::Object(one)
            }
            (Node::List(one), Node::List(other)) => Node::List(Box::new(one.or(*other))),
            _ => Node::Open,
        }
    }
}

/// Is told which names a request used.
pub trait Recorder: Send + Sync {
    fn names(&self, route: &Known, used: &Used);
}

/// Rides in the requests of a route whose names are looked at.
#[derive(Clone)]
pub struct Checks(Arc<CheckParts>);

struct CheckParts {
    known: Known,
    /// Names of the body are looked at at all.
    looks: bool,
    /// Refuse what is unknown, fields of the body too.
    strict: bool,
    /// Refuse an unknown parameter: it would have chosen rows.
    exact: bool,
    recorder: Option<Arc<dyn Recorder>>,
}

impl Checks {
    pub fn new(
        known: Known,
        strict: bool,
        exact: bool,
        recorder: Option<Arc<dyn Recorder>>,
    ) -> Self {
        Checks(Arc::new(CheckParts {
            known,
            looks: strict || recorder.is_some(),
            strict,
            exact: exact || strict,
            recorder,
        }))
    }
}

/// Looks at the query of a request before its handler does: after the key and its scopes, before the
/// row that it names.
pub async fn check_query(request: Request, next: Next) -> Response {
    if request.uri().query().is_none_or(str::is_empty) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let outcome = match Caller::from_request_parts(&mut parts, &()).await {
        Ok(_) => judge(
            &parts,
            |checks| checks.exact,
            |known| known.query(parts.uri.query().unwrap_or("")),
        ),
        Err(e) => Err(e),
    };
    match outcome {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(e) => e.into_response(),
    }
}

/// Rides in a request: the names of its body that had no effect, told in a header of the reply.
#[derive(Clone, Default)]
pub struct Ignored(Arc<Mutex<Vec<String>>>);

impl Ignored {
    /// The names, if there are any.
    pub fn header(&self) -> Option<HeaderValue> {
        let names = self.0.lock();
        let text = names.join(", ");
        (!names.is_empty())
            .then(|| HeaderValue::from_str(&text).ok())
            .flatten()
    }

    /// Of the body itself: what lies deeper has its own rules.
    fn note(&self, known: &Known, body: &Value) {
        let (Node::Object(fields), Value::Object(given)) = (&known.body, body) else {
            return;
        };
        let other = |key: &&String| !fields.contains_key(*key) && !fields.contains_key(&snake(key));
        let shown = given
            .keys()
            .filter(other)
            .take(MAX_NAMES_IN_ERROR)
            .map(|key| {
                let plain = |c: char| {
                    if c.is_ascii_graphic() && c != ',' {
                        c
                    } else {
                        '?'
                    }
                };
                key.chars().take(MAX_NAME_CHARS).map(plain).collect()
            });
        *self.0.lock() = shown.collect();
    }
}

/// Looks at a body that has been read.
pub(super) fn check_body(parts: &Parts, body: &Value) -> Result<()> {
    let Some(Checks(checks)) = parts.extensions.get::<Checks>() else {
        return Ok(());
    };
    if let Some(ignored) = parts.extensions.get::<Ignored>() {
        ignored.note(&checks.known, body);
    }
    if checks.looks {
        judge(parts, |checks| checks.strict, |known| known.body(body))?;
    }
    checks.known.refuse_restrictions(body)
}

fn judge(
    parts: &Parts,
    refuses: impl FnOnce(&CheckParts) -> bool,
    look: impl FnOnce(&Known) -> Used,
) -> Result<()> {
    // Not there where nothing is refused and nobody records.
    let Some(Checks(checks)) = parts.extensions.get::<Checks>() else {
        return Ok(());
    };
    let used = look(&checks.known);
    if let Some(recorder) = &checks.recorder {
        recorder.names(&checks.known, &used);
    }
    if refuses(checks) {
        used.refuse()
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::RESTRICTIONS;

    #[test]
    fn restrictions_are_in_order() {
        assert!(RESTRICTIONS.is_sorted());
    }
}
