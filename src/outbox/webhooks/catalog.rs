//! The types of events that a webhook may ask for: what the audit log writes down, and a test.

use serde::Serialize;
use utoipa::ToSchema;

use crate::outbox::events::{self, Globs};

/// The type of the message that `POST /webhooks/{id}/test` sends, whatever the webhook asks for.
pub const TEST: &str = "webhook.test";

/// Every type and what it tells.
pub const EVENTS: &[(&str, &str)] = &[
    ("workspace.created", "A workspace was created"),
    (
        "workspace.updated",
        "Name, slug, description or another field of a workspace changed",
    ),
    (
        "workspace.settings_updated",
        "Limits or defaults of a workspace changed",
    ),
    ("workspace.deleted", "A workspace was deleted"),
    (
        "workspace.restored",
        "A deleted workspace came back, with what was deleted with it",
    ),
    ("workspace.exported", "A workspace was exported to a file"),
    ("workspace.imported", "A workspace came in from a file"),
    (
        "workspace.preview_domain_updated",
        "The preview domain of a workspace was set",
    ),
    (
        "workspace.preview_domain_cleared",
        "The preview domain of a workspace was cleared",
    ),
    (
        "workspace.preview_domain_checked",
        "A check of a workspace's preview domain had another result than before",
    ),
    (
        "workspace.history_added",
        "Usage from before it was metered here was brought in",
    ),
    (
        "workspace.share_link_created",
        "A link was made by which a customer sees a workspace without a key",
    ),
    (
        "workspace.share_link_revoked",
        "Such a link does not open any more",
    ),
    ("project.created", "A project was created"),
    ("project.updated", "A field of a project changed"),
    ("project.moved", "A project went to another workspace"),
    ("project.deleted", "A project was deleted"),
    ("project.restored", "A deleted project came back"),
    (
        "project.preview_domain_updated",
        "The preview domain of a project was set",
    ),
    (
        "project.preview_domain_cleared",
        "The preview domain of a project was cleared",
    ),
    (
        "project.preview_domain_checked",
        "A check of a project's preview domain had another result than before",
    ),
    ("computer.created", "A computer was created and provisions"),
    ("computer.exec", "A command was run in a computer"),
    ("computer.files", "A file in a computer was changed"),
    (
        "computer.desktop",
        "Something was done on the screen of a computer, or it was looked at",
    ),
    (
        "computer.desktop_opened",
        "Somebody has the screen of a computer before them",
    ),
    (
        "computer.desktop_closed",
        "Nobody looks from there any more",
    ),
    (
        "computer.desktop_link_created",
        "A link to the screen of a computer was made",
    ),
    (
        "computer.desktop_link_revoked",
        "A link to the screen of a computer was taken back",
    ),
    (
        "computer.terminal_opened",
        "Somebody has a terminal in a computer, or a program with its streams",
    ),
    ("computer.terminal_closed", "It is closed again"),
    (
        "computer.snapshot_created",
        "A snapshot of a computer was asked for",
    ),
    ("computer.snapshot_ready", "A snapshot can be begun with"),
    ("computer.snapshot_failed", "A snapshot could not be taken"),
    (
        "computer.snapshot_restored",
        "A computer was made that begins with a snapshot",
    ),
    ("computer.snapshot_deleted", "A snapshot was deleted"),
    (
        "computer.env_changed",
        "A variable of a computer's environment was set or unset",
    ),
    (
        "computer.port_changed",
        "It was said who may look at a port of a computer",
    ),
    (
        "computer.preview_link_created",
        "A link was made that opens a computer that is not public",
    ),
    ("computer.starting", "A computer starts"),
    (
        "computer.running",
        "A computer runs; from here on it is billed",
    ),
    ("computer.stopping", "A computer stops"),
    ("computer.stopped", "A computer has stopped"),
    (
        "computer.stop_soon",
        "A running computer stops by itself in five minutes, unless it is used or kept alive",
    ),
    (
        "computer.kept_alive",
        "Somebody put off the automatic stop of a computer",
    ),
    (
        "computer.stop_due",
        "A computer that an agent runs has been idle for as long as it may: the agent is to stop it",
    ),
    ("computer.error", "A computer failed"),
    ("computer.updated", "A field of a computer changed"),
    ("computer.resized", "A computer has another size"),
    (
        "computer.moved",
        "A computer went to another workspace or project",
    ),
    ("computer.deleted", "A computer was deleted"),
    ("computer.restored", "A deleted computer came back, stopped"),
    ("api_key.created", "An API key was created"),
    (
        "api_key.updated",
        "An API key was renamed, re-scoped, disabled or enabled",
    ),
    ("api_key.rotated", "An API key has a new secret"),
    ("api_key.revoked", "An API key was revoked"),
    ("api_key.signed_in", "Somebody signed in to the admin page"),
    (
        "api_key.sign_in_failed",
        "A sign-in with a known key was refused; `after.reason` says why",
    ),
    ("organization.created", "The organization was created"),
    ("organization.updated", "The organization was renamed"),
    (
        "organization.sign_in_failed",
        "A sign-in with an unknown key; told to the first organization of the installation",
    ),
    (
        "organization.preview_domain_updated",
        "The organization's preview domain was set",
    ),
    (
        "organization.preview_domain_cleared",
        "The organization's preview domain was cleared",
    ),
    (
        "organization.preview_domain_checked",
        "A check of the organization's preview domain had another result than before",
    ),
    ("usage.adjusted", "The usage of a workspace was corrected"),
    ("credits.granted", "An operator granted credits"),
    ("credits.refunded", "An operator gave credits back"),
    ("credits.deducted", "An operator took credits away"),
    (
        "credits.low",
        "The balance fell below the threshold of the installation; once until it is above again",
    ),
    ("budget.updated", "A budget was set"),
    ("budget.deleted", "A budget was deleted"),
    (
        "budget.threshold",
        "A threshold of a budget was reached; once in each of its periods",
    ),
    ("prices.updated", "A price list was changed"),
    ("rates.updated", "Rates were agreed"),
    (
        "statement.created",
        "The statement of a month was made for a workspace",
    ),
    ("webhook.created", "A webhook was created"),
    (
        "webhook.updated",
        "A webhook was changed, disabled or enabled",
    ),
    ("webhook.rotated", "A webhook has a new secret"),
    ("webhook.deleted", "A webhook was deleted"),
    (
        "backup.created",
        "A backup of the installation was made by hand",
    ),
    (
        "backup.downloaded",
        "An operator downloaded a backup of the installation",
    ),
];

/// Other names of types, which the examples of clients have.
const ALIASES: [(&str, &str); 3] = [
    ("computer.started", "computer.running"),
    ("computer.errored", "computer.error"),
    ("computer.destroyed", "computer.deleted"),
];

/// The name of a type by which it is kept, sent and shown.
pub fn canonical(kind: String) -> String {
    match ALIASES.iter().find(|(alias, _)| *alias == kind) {
        Some((_, name)) => (*name).to_owned(),
        None => kind,
    }
}

/// One type of event.
#[derive(Serialize, ToSchema)]
pub struct EventType {
    /// Its name, as a webhook's `events` have it.
    pub id: &'static str,
    /// The same.
    pub r#type: &'static str,
    /// The same.
    pub name: &'static str,
    /// What it tells.
    pub description: &'static str,
    /// The kind of resource that it is about.
    pub resource_type: &'static str,
    /// The scope that a key needs to ask for it.
    pub scope: &'static str,
}

/// All of them.
pub fn all() -> Vec<EventType> {
    let view = |(name, description): &(&'static str, &'static str)| EventType {
        id: name,
        r#type: name,
        name,
        description,
        resource_type: resource_of(name),
        scope: events::scope_of(resource_of(name)),
    };
    EVENTS.iter().map(view).collect()
}

/// The kind of resource that a type of event is about.
pub fn resource_of(kind: &str) -> &str {
    kind.split('.').next().unwrap_or(kind)
}

/// The types that these patterns match.
pub fn matching(globs: &Globs) -> impl Iterator<Item = &'static str> {
    EVENTS
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| globs.matches(name))
}
