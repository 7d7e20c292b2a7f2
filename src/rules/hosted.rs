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
    "workspace",
    "intelligence",
    "builder",
    "workflows",
    "connect",
    "ai-gateway",
    "cloud",
    "sandbox-templates",
    "run-groups",
    "devices",
    "docker-deploy",
    "agent-signins",
    "agent-runs",
    "project-integrations",
    "mcp-servers",
    "named-snapshots",
    "health-checks",
    "bulk",
    "agent-runtime-profiles",
    "notifications",
    "service-deployments",
    "project-auth",
    "egress",
    "external-keys",
    "community",
    "agent-accounts",
    "mcp-catalog",
    "operations",
    "custom-domains",
    "connections",
    "alerts",
    "forge",
    "uploads",
    "sandbox-template-builds",
    "cli-tools",
    "agent-triggers",
    "deployment-environments",
    "runtime-capabilities",
    "services",
    "project-templates",
    "project-capabilities",
];
/// Whether keys of the hosted platform have scopes in this area, none of which means anything here.
pub fn other_area(area: &str) -> bool {
    area == "data" || EMPTY_PRODUCTS.contains(&area) || OTHER_PRODUCTS.contains(&area)
}

/// The same below the id of a computer, workspace, project, organization or API key.
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
    "screenshot-region",
    "previews",
    "templates",
    "commands",
    "control",
    "restore",
    "member-caps",
    "runs",
];
/// The same below `/tenant`, `/actions` and `/api-keys`, where no id comes in between.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("tenant", "branding"),
    ("tenant", "policy"),
    ("tenant", "members"),
    ("tenant", "transfer-ownership"),
    ("actions", "approvals"),
    ("actions", "apps"),
    ("actions", "grants"),
    ("actions", "receipts"),
    ("api-keys", "presets"),
];

/// What tools of the hosted platform may ask for and find no route behind here.
#[rustfmt::skip]
pub const OTHER_CAPABILITIES: &[&str] = &[
    "billing.plan", "billing.usage", "computer.accessibility.tree", "computer.bash", "computer.checkpoint.create",
    "computer.checkpoint.delete", "computer.checkpoint.list", "computer.checkpoint.restore", "computer.click", "computer.close.window",
    "computer.copy.file", "computer.delete.file", "computer.domain.add", "computer.domain.delete", "computer.domain.list",
    "computer.double.click", "computer.drag", "computer.env.delete", "computer.env.list", "computer.env.set",
    "computer.expose.port", "computer.focus.window", "computer.get.clipboard", "computer.get.cursor.position", "computer.get.desktop.env",
    "computer.get.screen.size", "computer.hotkey", "computer.key", "computer.key.down", "computer.key.up",
    "computer.launch", "computer.list.files", "computer.list.ports", "computer.logs", "computer.maximize.window",
    "computer.minimize.window", "computer.mkdir", "computer.mouse.down", "computer.mouse.up", "computer.move.cursor",
    "computer.network.policy.get", "computer.network.policy.reset", "computer.network.policy.set", "computer.preview.url", "computer.read.file",
    "computer.rename.file", "computer.right.click", "computer.rotate.viewer.password", "computer.screenshot", "computer.scroll",
    "computer.service.create", "computer.service.delete", "computer.service.list", "computer.service.logs", "computer.service.restart",
    "computer.service.start", "computer.service.stop", "computer.set.clipboard", "computer.set.wallpaper", "computer.set.window.position",
    "computer.set.window.size", "computer.stat.file", "computer.template.create", "computer.template.list", "computer.type",
    "computer.upload.file", "computer.viewer.password", "computer.wait", "computer.windows", "computer.write.file",
    "cron.create", "cron.delete", "cron.executions", "cron.get", "cron.pause",
    "cron.resume", "cron.run.now", "database.create", "database.credentials", "database.delete",
    "database.get", "database.logs", "deployment.create", "deployment.delete", "deployment.env.list",
    "deployment.env.set", "deployment.get", "deployment.logs", "deployment.publish", "deployment.rollback",
    "deployment.version.list", "deployment.version.promote", "docker.deploy.create", "docker.deploy.doctor", "docker.deploy.host.ensure",
    "docker.deploy.host.get", "docker.deploy.host.list", "docker.deploy.template.get", "docker.deploy.template.list", "egress.audit.count.by.host",
    "egress.audit.get", "egress.audit.query", "egress.network.allow", "egress.network.deny", "egress.network.list.policies",
    "egress.network.list.rules", "egress.network.lockdown", "egress.network.observe", "egress.network.suggestions", "egress.oauth.providers.list",
    "egress.secrets.connect.oauth", "egress.secrets.delete", "egress.secrets.list", "egress.secrets.rotate", "egress.secrets.set",
    "engine.backup", "engine.backups", "engine.connection", "engine.create", "engine.get",
    "engine.remove", "engine.resize", "engine.rollback", "engine.upgrade", "function.create",
    "function.delete", "function.invoke", "project.environment.create", "project.environment.list", "project.variable.delete",
    "project.variable.list", "project.variable.set", "run.cancel", "run.create", "run.files",
    "run.get", "run.list", "run.messages", "run.outputs", "sandbox.create",
    "sandbox.deploy", "sandbox.deploy.docker", "sandbox.destroy", "sandbox.exec", "sandbox.expose",
    "sandbox.get", "sandbox.list.files", "sandbox.logs", "sandbox.pause", "sandbox.python",
    "sandbox.read.file", "sandbox.resume", "sandbox.snapshot.create", "sandbox.snapshot.list", "sandbox.snapshot.restore",
    "sandbox.template.builds", "sandbox.template.create", "sandbox.template.get", "sandbox.template.list", "sandbox.upload",
    "sandbox.write.file", "service.connection", "service.create", "service.delete", "service.deploy",
    "service.domain.disable", "service.domain.enable", "service.get", "service.list", "service.logs",
    "service.release.get", "service.release.list", "service.restart", "service.rollback", "service.runs",
    "service.scale", "service.setting.capabilities", "service.source.upload", "service.start", "service.stop",
    "service.template.apply", "service.template.list", "service.update", "service.variable.delete", "service.variable.effective",
    "service.variable.list", "service.variable.set", "settings.get", "settings.get.branding", "settings.update.branding",
    "storage.bucket.create", "storage.bucket.delete", "storage.object.delete", "storage.object.download", "storage.object.list",
    "storage.object.upload", "storage.presign", "volume.attach", "volume.create", "volume.delete",
    "volume.detach", "volume.get",
];

/// The product of the hosted platform that a path belongs to and that is not part of this server.
pub fn other_product(path: &str) -> Option<&str> {
    let mut segments = segments(path);
    let first = segments.next().unwrap_or("");
    let second = segments.next().unwrap_or("");
    let part = segments.next().unwrap_or("");
    if EMPTY_PRODUCTS.contains(&first) || OTHER_PRODUCTS.contains(&first) {
        Some(first)
    } else if matches!(first, "computers" | "workspaces" | "projects" | "tenants")
        && OTHER_PARTS.contains(&part)
    {
        Some(part)
    } else if (first, part) == ("api-keys", "events") {
        Some("the history of a key")
    } else if OTHER_WORDS.contains(&(first, second)) {
        Some(second)
    } else {
        None
    }
}

/// The path below [`BASE`], which may be there, twice, or gone already.
pub fn segments(path: &str) -> impl Iterator<Item = &str> {
    let rest = path.trim_start_matches(BASE);
    rest.trim_start_matches('/').split('/')
}
