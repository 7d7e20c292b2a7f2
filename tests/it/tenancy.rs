//! Every SQL statement over rows that a tenant owns says which tenant, or belongs to a kind that need
//! not, with the reason. Read from the sources themselves, so that a new statement cannot be forgotten.

use std::fs;
use std::path::Path;

/// Tables whose rows belong to a tenant.
const OWNED: [&str; 33] = [
    "workspaces",
    "projects",
    "computers",
    "api_keys",
    "compute_events",
    "preview_domains",
    "audit_log",
    "metered_computers",
    "credit_entries",
    "low_credits",
    "time_zones",
    "price_lists",
    "agreed_rates",
    "statements",
    "statement_lines",
    "closed_months",
    "budgets",
    "budget_alerts",
    "budget_stops",
    "meter_steps",
    "meter_hours",
    "meter_eras",
    "sessions",
    "idempotency",
    "webhooks",
    "webhook_deliveries",
    "machines",
    "preview_links",
    "desktop_links",
    "refusals",
    "share_links",
    "snapshots",
    "computer_origins",
];

/// A condition on one of these names one row, or the rows of one parent; whoever comes with such an id
/// found it through `Caller::within_reach` (a test of all routes with foreign ids is in `isolation.rs`).
const PARENTS: [&str; 6] = [
    "id = ",
    "workspace_id = ",
    "deleted_with = ",
    "computer_id = ",
    "key_id = ",
    "secret_hash = ",
];

/// What has neither, by file and a part of the statement, and why that is right.
const OTHERS: &[(&str, &str, &str)] = &[
    (
        "domains/rows.rs",
        "WHERE domain = ?1 AND dns_status = 'verified'",
        "a proxy without a key asks whether a host name is served here, whoever's it is",
    ),
    (
        "previews/ask.rs",
        "FROM computers WHERE slug = ?1",
        "a proxy without a key asks whether a host name is served here, whoever's it is",
    ),
    (
        "previews/target.rs",
        "FROM computers WHERE slug = ?1",
        "a host name is one computer's of all organizations; what is not public then asks for a key",
    ),
    (
        "computers/create.rs",
        "WHERE slug = ?1 AND driver = 'docker'",
        "a host name is one computer's of all organizations",
    ),
    (
        "computers/machines/adopt.rs",
        "driver = 'docker'",
        "the person at the command line, about all of it",
    ),
    (
        "domains/list.rs",
        "WHERE {place}",
        "the place begins with the tenant",
    ),
    (
        "deleted.rs",
        "restorable_until <= ?1",
        "what can be restored no longer, whoever's it is",
    ),
    (
        "projects/unfinished.rs",
        "deleted_at IS NOT NULL",
        "the service at its start, about all of it",
    ),
    (
        "tenants/first_start.rs",
        "last_used_at IS NOT NULL",
        "the service at its start, about all of it",
    ),
    (
        "api_keys/rows.rs",
        "present.api_keys",
        "about all of it, from the command line",
    ),
    (
        "api_keys/handlers.rs",
        "WHERE {condition}",
        "the condition begins with the tenant",
    ),
    (
        "computers/handlers.rs",
        "FROM computers c WHERE {condition}",
        "the condition begins with the tenant",
    ),
    (
        "projects/handlers.rs",
        "FROM projects p WHERE {condition}",
        "the condition begins with the tenant",
    ),
    (
        "projects/types.rs",
        "SELECT p.*",
        "the condition that is added begins with the tenant, or names the row",
    ),
    (
        "audit/list.rs",
        "WHERE {place}",
        "the place is the tenant, or a workspace of it",
    ),
    (
        "audit/mod.rs",
        "DELETE FROM audit_log",
        "what is too old goes, whoever's it is",
    ),
    (
        "workspaces/rows.rs",
        "FROM workspaces w WHERE {condition}",
        "the condition begins with the tenant",
    ),
    (
        "workspaces/search.rs",
        "found CROSS JOIN workspaces w",
        "the condition on w begins with the tenant",
    ),
    (
        "workspaces/search.rs",
        "max(number)",
        "the index is everybody's, and so is its state",
    ),
    ("dev/", "", "development mode, about all of it"),
    (
        "cli/doctor.rs",
        "max(at)",
        "an instant, about the installation",
    ),
    (
        "api/metrics.rs",
        "GROUP BY status",
        "numbers, about the installation",
    ),
    (
        "tenants/first_start.rs",
        "operator = 1",
        "about the installation",
    ),
    (
        "computers/notices.rs",
        "FROM computers c",
        "the driver serves all tenants",
    ),
    (
        "computers/lifecycle.rs",
        "SELECT id, due_at",
        "the driver serves all tenants",
    ),
    (
        "computers/lifecycle.rs",
        "SELECT due_at",
        "the driver serves all tenants",
    ),
    (
        "outbox/events.rs",
        "max(seq)",
        "a number, about the installation",
    ),
    (
        "export/import.rs",
        "min(seq)",
        "a number, inside the writer",
    ),
    ("export/", "max(rowid)", "a number, inside the writer"),
    (
        "usage/ledger/transfer.rs",
        "max(seq)",
        "a number, inside the writer",
    ),
    ("api/system.rs", "max(seq)", "a number, for operators"),
    (
        "api/system.rs",
        "count(*) FROM sessions",
        "a number, for operators",
    ),
    (
        "billing/period.rs",
        "max(seq)",
        "a number, by which a statement knows what was known",
    ),
    (
        "http/idempotency/store.rs",
        "INSERT INTO idempotency",
        "the key is the caller's",
    ),
    (
        "http/idempotency/store.rs",
        "FROM idempotency_state",
        "what the writer knows of all of them",
    ),
    (
        "http/idempotency/store.rs",
        "ORDER BY seq LIMIT ?2",
        "what is too old goes, whoever's it is",
    ),
    (
        "http/idempotency/store.rs",
        "DELETE FROM idempotency",
        "what is too old goes, whoever's it is",
    ),
    (
        "access/session.rs",
        "INSERT INTO sessions",
        "the key is the one that signed in",
    ),
    ("access/session.rs", "token_hash", "whoever knows the token"),
    ("api/sign_in.rs", "token_hash", "whoever knows the token"),
    ("store/upgrade", "", "upgrades all of it"),
    ("store/schema.rs", "", "upgrades all of it"),
    ("usage/ledger/rebuild/", "", "rebuilds all of it"),
    (
        "usage/ledger/verify",
        "",
        "compares all of it, for operators",
    ),
    (
        "usage/ledger/history.rs",
        "max(seq)",
        "a number, inside the writer",
    ),
    (
        "computers/lifecycle.rs",
        "auto_stop_seconds * 1000",
        "the driver serves all tenants",
    ),
    ("audit/mod.rs", "max(seq)", "a number, inside the writer"),
    (
        "computers/machines/wanted.rs",
        "FROM machines",
        "the reconciler, about all of it",
    ),
    (
        "computers/machines/kept.rs",
        "WHERE {condition}",
        "the condition names the snapshot, or the computer that it is of",
    ),
    (
        "computers/machines/kept.rs",
        "look_at <= ?1",
        "the reconciler, about all of it",
    ),
    (
        "computers/machines/watch.rs",
        "WHERE engine_ref = ?2",
        "a container's id, which the engine alone has given",
    ),
    (
        "previews/links.rs",
        "DELETE FROM preview_links WHERE expires_at",
        "what is over goes, whoever's it is",
    ),
    (
        "outbox/webhooks/queue.rs",
        "due_at",
        "the service's own agenda, about all of it",
    ),
    (
        "outbox/webhooks/queue.rs",
        "DELETE FROM webhook_deliveries",
        "what is too old goes, whoever's it is",
    ),
    (
        "usage/ledger/reprice.rs",
        "WHERE applied = 0",
        "the agenda of all of it; whose a change is stands in it",
    ),
    (
        "billing/handlers.rs",
        "WHERE {place}",
        "the place begins with the tenant",
    ),
    (
        "refusals.rs",
        "WHERE {place}",
        "the place begins with the tenant, or names the workspace",
    ),
    (
        "share_links/links.rs",
        "WHERE {place}",
        "the place names workspace and tenant",
    ),
    (
        "refusals.rs",
        "DELETE FROM refusals",
        "what is too old goes, whoever's it is",
    ),
    (
        "outbox/webhooks/handlers.rs",
        "WHERE {place}",
        "the place begins with the tenant, or names the webhook",
    ),
    ("store/copies.rs", "max(seq)", "a number, about all of it"),
    ("usage/ledger/ahead.sql", "", "a number, for operators"),
];
/// And one statement whose text is only the head of an insert.
const INSERTS: &str = "INSERT";

fn sources(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path
            .extension()
            .is_some_and(|kind| kind == "rs" || kind == "sql")
        {
            found.push(path);
        }
    }
}

/// The string literals of a Rust source, comments left out.
fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let bytes = source.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at += source[at..].find('\n').unwrap_or(bytes.len() - at);
            }
            // A character, or the beginning of a lifetime.
            b'\'' if bytes.get(at + 2) == Some(&b'\'') => at += 3,
            b'\'' if bytes.get(at + 1) == Some(&b'\\') => {
                at += 2 + source[at + 2..].find('\'').unwrap() + 1
            }
            b'"' => {
                let start = at + 1;
                at = start;
                while bytes[at] != b'"' {
                    at += 1 + usize::from(bytes[at] == b'\\');
                }
                found.push(source[start..at].to_owned());
                at += 1;
            }
            _ => at += 1,
        }
    }
    found
}

/// The owned tables that a statement reads or writes.
fn tables(statement: &str) -> Vec<&'static str> {
    let words: Vec<&str> = statement
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .collect();
    OWNED
        .into_iter()
        .filter(|table| {
            words.windows(2).any(|pair| {
                matches!(pair[0], "FROM" | "JOIN" | "UPDATE" | "INTO") && pair[1] == *table
            })
        })
        .collect()
}

#[test]
fn every_statement_of_owned_tables_carries_its_tenant() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let (mut seen, mut with_tenant, mut by_parent) = (0, 0, 0);
    let mut used = [0; OTHERS.len()];
    let mut wrong = Vec::new();
    for file in files {
        let name = file
            .strip_prefix(&root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let text = fs::read_to_string(&file).unwrap();
        let statements = if name.ends_with(".sql") {
            vec![text]
        } else {
            literals(text.split("#[cfg(test)]").next().unwrap())
        };
        for statement in statements {
            if tables(&statement).is_empty() {
                continue;
            }
            seen += 1;
            let other = OTHERS
                .iter()
                .position(|(place, part, _)| name.starts_with(place) && statement.contains(part));
            let is_insert_of_parent =
                statement.trim_start().starts_with(INSERTS) && statement.contains("workspace_id");
            if statement.contains("tenant_id") {
                with_tenant += 1;
            } else if let Some(other) = other {
                used[other] += 1;
            } else if is_insert_of_parent || PARENTS.iter().any(|parent| statement.contains(parent))
            {
                by_parent += 1;
            } else {
                wrong.push(format!(
                    "{name}: {}",
                    statement.split_whitespace().collect::<Vec<_>>().join(" ")
                ));
            }
        }
    }
    assert_eq!(
        wrong,
        Vec::<String>::new(),
        "say which tenant, or say in this test why not"
    );
    let stale: Vec<_> = OTHERS
        .iter()
        .zip(used)
        .filter(|(_, used)| *used == 0)
        .map(|(other, _)| other)
        .collect();
    assert_eq!(
        stale,
        Vec::<&(&str, &str, &str)>::new(),
        "no statement is like this any more"
    );
    assert!(seen > 90, "{seen} statements were found");
    println!(
        "{seen} statements: {with_tenant} name the tenant, {by_parent} one parent, {} explained",
        used.iter().sum::<i32>()
    );
}
