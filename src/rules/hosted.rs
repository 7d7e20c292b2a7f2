//! The hosted platform's other products, which are not part of this server: what their paths look like.

/// Where the API lives.
pub const BASE: &str = "/api/v1";

/// Other products whose lists are served, empty: to write there is 404, since it
/// is the product that is missing, not the method.
pub const EMPTY_PRODUCTS: &[&str] = &[
    "sandboxes",
    "deployments",
    "databases",
    "volumes",
    "storage",
    "functions",
    "cron-jobs",
];
/// First path segments of the hosted platform's other products.
const OTHER_PRODUCTS: &[&str] = &[
    "opencomputers",
    "service-accounts",
    "ai",
    "agents",
    "connectors",
    "integrations",
    "channels",
    "billing",
    "dashboard",
    "analytics",
    "admin",
    "command-center",
    "bill-to",
    "tokens",
    "sse",
    "auth",
    "settings",
    "environments",
    "runs",
    "ssh-keys",
    "snapshots",
    "mcp",
    "jobs",
    "domains",
    "inbox",
    "members",
    "invites",
    "workspace-invites",
    "limits",
    "external-users",
    "quotas",
    "event-subscriptions",
    "event-deliveries",
];
/// The same below `/computers/{id}`, `/workspaces/{id}` and `/projects/{id}`.
const OTHER_PARTS: &[&str] = &[
    "exec",
    "files",
    "desktop",
    "screenshot",
    "terminal",
    "pty",
    "services",
    "domains",
    "network-policy",
    "ports",
    "env",
    "logs",
    "inbox",
    "osa",
    "volumes",
    "apps",
    "urls",
    "embed",
    "vnc-credentials",
    "viewer-password",
    "stream-token",
    "snapshots",
    "checkpoints",
    "connectors",
    "agent",
    "cua",
    "config",
    "runtime-env",
    "policy",
    "members",
    "invites",
    "computer-templates",
    "environments",
    "shared-variables",
    "apply-template",
    "project-templates",
    "project-capabilities",
    "activity",
    "inventory",
    "cleanup",
    "transfer",
    "summary",
];

/// The product of the hosted platform that a path belongs to and that is not part of this server.
pub fn other_product(path: &str) -> Option<&str> {
    let mut segments = segments(path);
    let first = segments.next().unwrap_or("");
    let part = segments.nth(1).unwrap_or("");
    if EMPTY_PRODUCTS.contains(&first) || OTHER_PRODUCTS.contains(&first) {
        Some(first)
    } else if matches!(first, "computers" | "workspaces" | "projects")
        && OTHER_PARTS.contains(&part)
    {
        Some(part)
    } else {
        None
    }
}

/// The path below [`BASE`], which may be there, twice, or gone already.
pub fn segments(path: &str) -> impl Iterator<Item = &str> {
    let rest = path.trim_start_matches(BASE);
    rest.trim_start_matches('/').split('/')
}
