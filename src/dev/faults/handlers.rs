//! `/_dev/faults`: adding rules, looking at them, removing them.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::{Effect, Provisioning, Rule, When};
use crate::clock::Timestamp;
use crate::dev::emulator::{Emulator, Input};
use crate::error::{Error, Fields, Result};
use crate::http::nearest;
use crate::rules::size::Size;

/// Rules at once: each is looked at by every request.
const MOST: usize = 100;
/// The longest that an answer is delayed: ten minutes.
const MAX_DELAY_MS: u32 = 600_000;
/// The longest that a computer is on its way: thirty days, which is for ever.
const MAX_PROVISION_MS: u32 = 30 * 86_400_000;
/// Seconds of `Retry-After`, and until a rule expires: a year.
const MAX_SECONDS: i64 = 366 * 86_400;
/// Characters that an API key is shown by.
const PREFIX: usize = 12;

/// `POST /_dev/faults`
#[derive(Deserialize, Default, Clone)]
#[serde(default, deny_unknown_fields)]
pub(in crate::dev) struct Add {
    route: Option<String>,
    key: Option<String>,
    workspace: Option<String>,
    provisioning: Option<Provisioning>,
    size: Option<String>,
    when: Option<When>,
    status: Option<i64>,
    code: Option<String>,
    retry_after: Option<i64>,
    delay_ms: Option<i64>,
    drop: bool,
    error: bool,
    probability: Option<f64>,
    seed: u64,
    times: Option<u64>,
    expires_in_seconds: Option<i64>,
}

/// `GET /_dev/faults`
#[derive(Serialize)]
pub(in crate::dev) struct Rules {
    data: Vec<Rule>,
    total: usize,
    /// Those that may still fire.
    active: usize,
}

/// `DELETE /_dev/faults`
#[derive(Serialize)]
pub(in crate::dev) struct Removed {
    deleted: usize,
}

/// `GET /_dev/faults`
pub(in crate::dev) async fn list(State(dev): State<Emulator>) -> Json<Rules> {
    let now = dev.store.now();
    let data = dev.faults.state().rules.clone();
    Json(Rules {
        total: data.len(),
        active: data.iter().filter(|rule| rule.active(now)).count(),
        data,
    })
}

/// `POST /_dev/faults`
pub(in crate::dev) async fn add(
    State(dev): State<Emulator>,
    Input(input): Input<Add>,
) -> Result<(StatusCode, Json<Rule>)> {
    let mut rule = check(dev.routes(), input, dev.store.now())?;
    let mut state = dev.faults.state();
    if state.rules.len() >= MOST {
        return Err(Error::conflict(
            "TOO_MANY_FAULTS",
            format!("there are {MOST} rules; remove one first"),
        ));
    }
    state.added += 1;
    rule.id = format!("f{}", state.added);
    state.rules.push(rule.clone());
    dev.faults.count.store(state.rules.len(), Ordering::Relaxed);
    tracing::warn!(rule = rule.id, "fault rule added");
    Ok((StatusCode::CREATED, Json(rule)))
}

/// `DELETE /_dev/faults/{id}`
pub(in crate::dev) async fn remove(
    State(dev): State<Emulator>,
    Path(id): Path<String>,
) -> Result<Json<Rule>> {
    let mut state = dev.faults.state();
    let Some(at) = state.rules.iter().position(|rule| rule.id == id) else {
        return Err(Error::not_found("fault rule"));
    };
    let rule = state.rules.remove(at);
    state.doomed.retain(|_, of| *of != id);
    dev.faults.count.store(state.rules.len(), Ordering::Relaxed);
    Ok(Json(rule))
}

/// `DELETE /_dev/faults`
pub(in crate::dev) async fn clear(State(dev): State<Emulator>) -> Json<Removed> {
    Json(Removed {
        deleted: dev.faults.clear(),
    })
}

fn check(routes: &[(Method, &'static str)], input: Add, now: Timestamp) -> Result<Rule> {
    let mut fields = Fields::default();
    let routes = match &input.route {
        Some(route) => matching(routes, &mut fields, route),
        None => Vec::new(),
    };
    let provisioning = input.provisioning.is_some();
    separate(&mut fields, &input);
    if let Some(status) = input.status
        && !(400..=599).contains(&status)
    {
        fields.push("status", "must be 400 to 599");
    }
    if input.status.is_some() && input.drop {
        fields.push(
            "drop",
            "cannot be given together with status: there is no answer",
        );
    }
    for (field, given) in [
        ("code", input.code.is_some()),
        ("retry_after", input.retry_after.is_some()),
    ] {
        if given && input.status.is_none() {
            fields.push(field, "needs a status");
        }
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if let Some(code) = &input.code
        && !((1..=64).contains(&code.len()) && code.bytes().all(plain))
    {
        fields.push("code", "must be 1 to 64 letters, digits and _");
    }
    let longest = if provisioning {
        MAX_PROVISION_MS
    } else {
        MAX_DELAY_MS
    };
    let delay_ms = number(&mut fields, "delay_ms", input.delay_ms, longest.into());
    let retry_after = number(&mut fields, "retry_after", input.retry_after, MAX_SECONDS);
    let expires = number(
        &mut fields,
        "expires_in_seconds",
        input.expires_in_seconds,
        MAX_SECONDS,
    );
    let probability = input.probability.unwrap_or(1.0);
    if !(probability > 0.0 && probability <= 1.0) {
        fields.push("probability", "must be more than 0 and at most 1");
    }
    if input.times == Some(0) {
        fields.push("times", "must be at least 1");
    }
    let size = input.size.as_deref().and_then(|text| {
        let size = text.parse::<Size>().ok();
        if size.is_none() {
            fields.push("size", "must be one of xs, small, medium, large, xl");
        }
        size
    });
    for (field, text) in [("key", &input.key), ("workspace", &input.workspace)] {
        if let Some(text) = text
            && !(1..=255).contains(&text.len())
        {
            fields.push(field, "must be 1 to 255 characters");
        }
    }
    fields.finish()?;
    // The whole secret of a key is not kept, only what it is shown by.
    let shown = |key: String| match crate::ids::parse_uuid(&key) {
        Some(id) => id.to_string(),
        None => key.chars().take(PREFIX).collect(),
    };
    Ok(Rule {
        id: String::new(),
        route: input.route,
        routes,
        key: input.key.map(shown),
        workspace: input.workspace.map(|text| text.to_lowercase()),
        provisioning: input.provisioning,
        size,
        when: (!provisioning).then(|| input.when.unwrap_or_default()),
        effect: Effect {
            status: input.status.and_then(|status| u16::try_from(status).ok()),
            code: input.code,
            retry_after,
            delay_ms,
            drop: input.drop,
            error: input.error,
        },
        probability,
        seed: input.seed,
        times: input.times,
        expires_at: expires.map(|seconds| now.plus_seconds(seconds.into())),
        matched: 0,
        fired: 0,
    })
}

/// A rule is about requests or about provisioning, and does something.
fn separate(fields: &mut Fields, input: &Add) {
    let of_requests = [
        ("route", input.route.is_some()),
        ("key", input.key.is_some()),
        ("when", input.when.is_some()),
        ("status", input.status.is_some()),
        ("drop", input.drop),
    ];
    let of_computers = [("size", input.size.is_some()), ("error", input.error)];
    if input.provisioning.is_some() {
        for (field, _) in of_requests.iter().filter(|(_, given)| *given) {
            fields.push(*field, "does not go with provisioning");
        }
        if !input.error && input.delay_ms.is_none() {
            fields.push("error", "give true here, or delay_ms, or both");
        }
        return;
    }
    for (field, _) in of_computers.iter().filter(|(_, given)| *given) {
        fields.push(*field, "needs provisioning: create, start or any");
    }
    if input.status.is_none() && input.delay_ms.is_none() && !input.drop {
        fields.push("status", "give one here, or delay_ms, or drop");
    }
}

fn number(fields: &mut Fields, field: &'static str, given: Option<i64>, most: i64) -> Option<u32> {
    let given = given?;
    if !(0..=most).contains(&given) {
        fields.push(field, format!("must be 0 to {most}"));
    }
    u32::try_from(given).ok()
}

/// The routes that a text names: `POST /computers`, `* /workspaces/*`, `/computers/{id}`.
fn matching(
    routes: &[(Method, &'static str)],
    fields: &mut Fields,
    text: &str,
) -> Vec<(Method, &'static str)> {
    let (method, path) = match text.trim().split_once(char::is_whitespace) {
        Some((method, path)) => (method.to_ascii_uppercase(), path.trim()),
        None => ("*".to_owned(), text.trim()),
    };
    let path = path.trim_start_matches(crate::rules::hosted::BASE);
    let method = if method == "HEAD" { "GET" } else { &method };
    let all = routes;
    let found: Vec<_> = all
        .iter()
        .filter(|(m, p)| glob(method, m.as_str()) && glob(path, p))
        .cloned()
        .collect();
    if found.is_empty() {
        let names: Vec<String> = all.iter().map(|(m, p)| format!("{m} {p}")).collect();
        let hint = match nearest(&format!("{method} {path}"), &names) {
            Some(near) => format!("did you mean {near}?"),
            None => "/openapi.json lists the routes".to_owned(),
        };
        fields.push(
            "route",
            format!("matches no route of this server, written as METHOD /path/{{id}} with * for anything; {hint}"),
        );
    }
    found
}

/// Whether `text` is of the form `pattern`, in which `*` stands for anything, also nothing.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or("")) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
pub(super) fn rule_for_tests(seed: u64, probability: f64) -> Rule {
    let input = Add {
        status: Some(503),
        probability: Some(probability),
        seed,
        ..Add::default()
    };
    check(&[], input, Timestamp(0)).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("/computers", "/computers", true),
            ("/computers", "/computers/{id}", false),
            ("/computers*", "/computers/{id}/start", true),
            ("*", "/anything", true),
            ("/*/{id}", "/computers/{id}", true),
            ("/*/{id}", "/computers/{id}/start", false),
            ("*/start", "/computers/{id}/start", true),
            ("/c*s/*t", "/computers/{id}/start", true),
            ("", "/x", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }
}
