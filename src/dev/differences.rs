//! Where this server answers otherwise than the hosted service, by decision. The routes are patterns
//! of the route table; a test holds that each of them is there.

/// One difference: methods and paths it is about, and what it is.
pub type Difference = (&'static [(&'static str, &'static str)], &'static str);

/// All of them.
#[rustfmt::skip]
pub const DIFFERENCES: &[Difference] = &[
    (&[("POST", "/computers"), ("POST", "/computers/{id}/start"), ("POST", "/computers/{id}/stop"),
       ("POST", "/computers/{id}/restart"), ("POST", "/computers/{id}/clone")],
     "no machine runs behind a computer: its status moves by --provision-ms, --start-ms and --stop-ms, and its addresses lead nowhere"),
    (&[("GET", "/computers/{id}/metrics")],
     "CPU and memory are made from the status, not measured"),
    (&[("POST", "/computers/{id}/move")],
     "host_id and region are accepted and move nothing: there is one host"),
    (&[("POST", "/computers/{id}/resize"), ("PATCH", "/computers/{id}/resize")],
     "a running computer changes its size at once and without a restart"),
    (&[("POST", "/workspaces")],
     "a name that is taken is refused with 422 and the code WORKSPACE_NAME_EXISTS; clients of the hosted service expect 409 there"),
    (&[("DELETE", "/workspaces/{id}")],
     "force=true, which deletes what is in the workspace too, is not there on the hosted service"),
    (&[("PUT", "/workspaces/{id}/preview-domain"), ("PUT", "/projects/{id}/preview-domain"), ("PUT", "/tenant/preview-domain"),
       ("GET", "/workspaces/{id}/preview-domain/verify"), ("GET", "/projects/{id}/preview-domain/verify"),
       ("POST", "/tenant/preview-domain/verify")],
     "DNS is really asked, but no certificate is made and no traffic is routed to the domain"),
    (&[("GET", "/credits/balance"), ("GET", "/credits/transactions"), ("GET", "/credits/usage")],
     "credits are counted at the rates of this installation and nobody is charged"),
    (&[("GET", "/compute/regions"), ("GET", "/regions"), ("GET", "/regions/{name}")],
     "there is one region, this machine"),
    (&[("GET", "/compute/sizes"), ("GET", "/compute/templates"), ("GET", "/compute/templates/{name}"), ("GET", "/compute/catalog"),
       ("GET", "/compute/pricing"), ("GET", "/settings/compute-pricing"), ("GET", "/templates")],
     "sizes, rates and templates are those of this installation's configuration"),
    (&[("POST", "/platform/tenants/{id}/switch")],
     "always refused: a key belongs to one organization"),
    (&[("GET", "/workspaces/{id}/sandboxes"), ("GET", "/workspaces/{id}/deployments"), ("GET", "/workspaces/{id}/databases"),
       ("GET", "/sandboxes"), ("GET", "/deployments"), ("GET", "/databases"), ("GET", "/volumes"), ("GET", "/storage/buckets"),
       ("GET", "/functions"), ("GET", "/cron-jobs")],
     "a product that is not part of this server: the list is always empty"),
    (&[("POST", "/compute-events"), ("GET", "/computers/{id}/events"), ("GET", "/workspaces/{id}/usage/explain"), ("GET", "/usage/series"),
       ("POST", "/usage/adjustments"), ("GET", "/usage/verify"), ("POST", "/platform/tenants"), ("GET", "/overview"), ("GET", "/system"),
       ("GET", "/system/backups"), ("POST", "/system/backups"), ("GET", "/system/log"), ("PUT", "/system/log")],
     "this route is not documented for the hosted service"),
];

/// What is different about a route.
pub(super) fn of(method: &str, path: &str) -> Option<&'static str> {
    let about = |(routes, _): &&Difference| routes.contains(&(method, path));
    DIFFERENCES.iter().find(about).map(|(_, what)| *what)
}
