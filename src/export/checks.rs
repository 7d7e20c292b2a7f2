//! What a line of a capsule may say, by itself.

use super::format::{Audit, Computer, Project, Workspace};
use crate::error::{Error, Fields};
use crate::rules::config::MAX_CREDITS_PER_HOUR;
use crate::rules::size::Size;
use crate::rules::status::Status;
use crate::rules::text;
use crate::time_zones;
use crate::workspaces::types::MAX_AUTO_STOP_SECONDS;

/// Earlier attributions of a computer or project, and earlier sizes of processors.
pub(super) const MAX_PAST: usize = 100_000;

/// Processors of a size, as in the configuration.
const MAX_VCPUS: i64 = 1 << 24;

/// Names in a list.
const MAX_NAMES: usize = 100;

pub(super) type Check = std::result::Result<(), String>;

pub(super) fn invalid(line: usize, text: impl std::fmt::Display) -> Error {
    Error::field("capsule", format!("line {line}: {text}")).with_code("CAPSULE_INVALID")
}

/// Whether it runs or is about to.
pub(super) fn is_up(status: Status) -> bool {
    matches!(
        status,
        Status::Running | Status::Starting | Status::Provisioning
    )
}

pub(super) fn finish(fields: Fields) -> Check {
    fields.finish().map_err(|e| e.message().to_owned())
}

pub(super) fn instants(fields: &mut Fields, given: &[(&'static str, Option<i64>)]) {
    /// The last instant that RFC 3339 can write.
    const LAST: i64 = 253_402_300_799_999;
    for (field, at) in given {
        if at.is_some_and(|at| !(0..=LAST).contains(&at)) {
            fields.push(*field, "is no instant after 1970");
        }
    }
}

/// The name of a kind: `computer.running`, `workspace.preview_domain_updated`.
pub(super) fn words(fields: &mut Fields, field: &'static str, text: &str) {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_');
    if text.is_empty() || text.len() > 64 || !text.bytes().all(word) {
        fields.push(field, "is no name of a kind");
    }
}

pub(super) fn names(fields: &mut Fields, field: &'static str, list: &[String]) {
    if list.len() > MAX_NAMES {
        fields.push(field, format!("has more than {MAX_NAMES} names"));
    }
    for name in list {
        text::limited(fields, field, Some(name), 1, text::MAX_EXTERNAL_ID);
    }
}

/// Names are stored trimmed.
pub(super) fn name(fields: &mut Fields, given: &str) {
    if text::name(fields, "name", Some(given)) != given {
        fields.push("name", "begins or ends with a space");
    }
}

pub(super) fn check_workspace(w: &Workspace, until: i64) -> Check {
    let mut fields = Fields::default();
    name(&mut fields, &w.name);
    text::slug(&mut fields, "slug", &w.slug);
    for (field, id) in [
        ("external_workspace_id", &w.external_workspace_id),
        ("external_user_id", &w.external_user_id),
    ] {
        text::external_id(&mut fields, field, id.as_deref());
    }
    text::description(&mut fields, w.description.as_deref());
    text::metadata(&mut fields, "metadata", Some(&w.metadata));
    names(
        &mut fields,
        "allowed_template_types",
        &w.allowed_template_types,
    );
    if w.max_computers.is_some_and(|max| max < 0) {
        fields.push("max_computers", "must not be negative");
    }
    if w.max_computer_size
        .is_some_and(|size| !(Size::Small..=Size::Large).contains(&size))
    {
        fields.push("max_computer_size", "must be small, medium or large");
    }
    auto_stop(
        &mut fields,
        "default_auto_stop_seconds",
        w.default_auto_stop_seconds,
    );
    let times = [
        ("created_at", Some(w.created_at)),
        ("updated_at", Some(w.updated_at)),
        ("deleted_at", w.deleted_at),
    ];
    instants(&mut fields, &times);
    finish(fields)?;
    if w.created_at > until || w.deleted_at.is_some_and(|at| at > until) {
        return Err("was created or deleted after the export".into());
    }
    if w.tz
        .as_deref()
        .is_some_and(|tz| time_zones::canonical(tz).is_err())
    {
        return Err(format!("has a tz that {}", time_zones::WANTED));
    }
    if w.vcpus.len() + w.prices.len() > MAX_PAST {
        return Err(format!(
            "has more than {MAX_PAST} prices and numbers of processors"
        ));
    }
    let mut last = None;
    for price in &w.prices {
        let at = (price.size, price.effective_from);
        if last.replace(at) >= Some(at)
            || !(0..=until).contains(&price.effective_from)
            || !(0..=i64::from(MAX_CREDITS_PER_HOUR)).contains(&price.rate)
        {
            return Err("has prices that are not in order".into());
        }
    }
    let mut last = None;
    for since in &w.vcpus {
        let at = (since.size, since.effective_from);
        if last.replace(at) >= Some(at)
            || !(0..=until).contains(&since.effective_from)
            || !(1..=MAX_VCPUS).contains(&since.vcpus)
        {
            return Err("has numbers of processors that are not in order".into());
        }
    }
    Ok(())
}

pub(super) fn auto_stop(fields: &mut Fields, field: &'static str, seconds: i64) {
    if !(0..=MAX_AUTO_STOP_SECONDS).contains(&seconds) {
        fields.push(field, format!("must be 0 to {MAX_AUTO_STOP_SECONDS}"));
    }
}

pub(super) fn check_project(p: &Project) -> Check {
    let mut fields = Fields::default();
    name(&mut fields, &p.name);
    text::slug(&mut fields, "slug", &p.slug);
    text::external_id(
        &mut fields,
        "external_project_id",
        p.external_project_id.as_deref(),
    );
    text::description(&mut fields, p.description.as_deref());
    text::metadata(&mut fields, "metadata", Some(&p.metadata));
    let times = [
        ("created_at", Some(p.created_at)),
        ("updated_at", Some(p.updated_at)),
        ("deleted_at", p.deleted_at),
    ];
    instants(&mut fields, &times);
    finish(fields)
}

pub(super) fn check_computer(c: &Computer) -> Check {
    let mut fields = Fields::default();
    name(&mut fields, &c.name);
    text::slug(&mut fields, "slug", &c.slug);
    text::limited(
        &mut fields,
        "template_type",
        Some(&c.template_type),
        1,
        text::MAX_EXTERNAL_ID,
    );
    for (field, value, allowed) in [
        (
            "driver",
            &c.driver,
            &["simulated", "external", "docker"][..],
        ),
        ("visibility", &c.visibility, &["public", "tenant", "key"]),
    ] {
        if !allowed.contains(&value.as_str()) {
            fields.push(field, format!("must be one of: {}", allowed.join(", ")));
        }
    }
    text::metadata(&mut fields, "metadata", Some(&c.metadata));
    text::metadata(&mut fields, "settings", Some(&c.settings));
    names(&mut fields, "selected_apps", &c.selected_apps);
    for (field, id) in [
        ("external_user_id", &c.external_user_id),
        ("external_project_id", &c.external_project_id),
    ] {
        text::external_id(&mut fields, field, id.as_deref());
    }
    auto_stop(&mut fields, "auto_stop_seconds", c.auto_stop_seconds);
    let times = [
        ("created_at", Some(c.created_at)),
        ("updated_at", Some(c.updated_at)),
        ("started_at", c.started_at),
        ("stopped_at", c.stopped_at),
        ("deleted_at", c.deleted_at),
    ];
    instants(&mut fields, &times);
    finish(fields)
}

pub(super) fn check_audit(row: &Audit, exported_at: i64) -> Check {
    let mut fields = Fields::default();
    words(&mut fields, "type", &row.r#type);
    words(&mut fields, "resource_type", &row.resource_type);
    if matches!(
        row.r#type.as_str(),
        "workspace.imported" | "workspace.exported"
    ) {
        fields.push("type", "is about copies of the workspace");
    }
    if !matches!(row.actor_type.as_str(), "api_key" | "system" | "operator") {
        fields.push("actor_type", "must be one of: api_key, system, operator");
    }
    for (field, value) in [
        ("actor_label", &row.actor_label),
        ("ip_address", &row.ip_address),
        ("request_id", &row.request_id),
    ] {
        text::limited(&mut fields, field, value.as_deref(), 0, 64);
    }
    instants(&mut fields, &[("at", Some(row.at))]);
    if row.at > exported_at {
        fields.push("at", "is after the instant of the export");
    }
    finish(fields)
}
