//! Which computer, and which port of it, a host name means.

use rusqlite::OptionalExtension;

use super::said;
use crate::access::key::Key;
use crate::access::scopes::covers;
use crate::computers;
use crate::computers::rows::WAKES;
use crate::db::Store;
use crate::domains;
use crate::error::Result;
use crate::ids::{ComputerId, TenantId, WorkspaceId};
use crate::rules::config::Config;
use crate::rules::driven_by::DrivenBy;
use crate::rules::host;
use crate::rules::status::Status;
use crate::store::Tx;

/// What is served at an address without a port.
pub const DEFAULT_PORT: u16 = 3000;
/// Under this name every computer is reached from its own machine: browsers resolve it to loopback.
pub const LOCAL: &str = "localhost";

/// For whom a request is.
pub enum Meant {
    /// The API and the page.
    Here,
    /// A computer; `None`: one that there is not.
    Computer(Option<Target>),
}

/// A port of a computer.
pub struct Target {
    pub id: ComputerId,
    pub tenant: TenantId,
    pub workspace: WorkspaceId,
    pub user: Option<String>,
    pub status: Status,
    pub visibility: String,
    pub engine_ref: Option<String>,
    /// A visit starts it.
    pub wakes: bool,
    pub port: u16,
}

impl Target {
    /// Whether a key may look at it.
    pub fn is_reached_by(&self, key: &Key) -> bool {
        key.tenant_id == self.tenant
            && key.workspace_id.is_none_or(|only| only == self.workspace)
            && (key.external_user_id.is_none() || key.external_user_id == self.user)
            && covers(&key.scopes, "computers:read")
    }
}

/// What a label before the domain says: which slug, and which port. The slug as it stands goes first, since one
/// may begin with a number.
pub(super) fn readings(label: &str, infix: bool) -> Vec<(&str, u16)> {
    let mut readings = vec![(label, DEFAULT_PORT)];
    if infix
        && let Some((port, slug)) = label.split_once('-')
        && let Ok(port) = port.parse::<u16>()
        && port > 0
    {
        readings.push((slug, port));
    }
    readings
}

/// The label and the domain of a host name, by where the domain may begin; with whether `.sandbox` is between.
pub(super) fn splits(host: &str) -> impl Iterator<Item = (&str, bool, &str)> {
    let (label, rest) = host.split_once('.').unwrap_or((host, ""));
    let infix = rest
        .strip_prefix("sandbox.")
        .map(|domain| (label, true, domain));
    infix
        .into_iter()
        .chain((!rest.is_empty()).then_some((label, false, rest)))
}

/// For whom a request with this host name is.
///
/// # Errors
/// When the store fails.
pub async fn meant(store: &Store, config: &Config, host: &str) -> Result<Meant> {
    let own = config.own_names().unwrap_or_default();
    let public = config.public_url.as_ref();
    let public = public.is_some_and(|url| {
        let name = url.host().split(':').next().unwrap_or("");
        name.eq_ignore_ascii_case(host)
    });
    if public || own.iter().any(|own| own == host) || host == config.base_domain {
        return Ok(Meant::Here);
    }
    let (base, host) = (config.base_domain.clone(), host.to_owned());
    store.look_up(move |tx| known(tx, &host, &base)).await
}

fn known(tx: &Tx<'_>, host: &str, base: &str) -> Result<Meant> {
    let mut ours = false;
    for (label, infix, domain) in splits(host) {
        let local = domain == base || (domain == LOCAL && infix);
        if !local && !domains::is_verified(tx, domain)? {
            continue;
        }
        ours = true;
        for (slug, port) in readings(label, infix) {
            if let Some(target) = find(tx, slug, port, domain, local)? {
                return Ok(Meant::Computer(Some(target)));
            }
        }
    }
    // What is below such a domain is nobody else's either.
    let below = |domain: &str| {
        host.strip_suffix(domain)
            .is_some_and(|rest| rest.ends_with('.'))
    };
    ours |= below(base) || below("sandbox.localhost");
    if !ours {
        for domain in std::iter::once(host).chain(host::parents(host)) {
            ours |= domains::is_verified(tx, domain)?;
        }
    }
    Ok(if ours {
        Meant::Computer(None)
    } else {
        Meant::Here
    })
}

/// The computer with this slug, if `domain` is the one that holds for it; every one is `local`, too.
fn find(tx: &Tx<'_>, slug: &str, port: u16, domain: &str, local: bool) -> Result<Option<Target>> {
    let sql =
        "SELECT id FROM computers WHERE slug = ?1 AND driver = 'docker' AND deleted_at IS NULL
             ORDER BY created_at, id LIMIT 1";
    let id: Option<ComputerId> = tx.row(sql, [slug], |row| row.get(0)).optional()?;
    let Some(found) = id.map(|id| computers::load(tx, id)).transpose()?.flatten() else {
        return Ok(None);
    };
    let holds = local || found.domain.as_deref() == Some(domain);
    let given = said::visibility(tx, found.id, port)?;
    Ok(
        (holds && found.driver == DrivenBy::Docker).then_some(Target {
            id: found.id,
            tenant: found.tenant_id,
            workspace: found.workspace_id,
            user: found.external_user_id,
            status: found.status,
            visibility: given.unwrap_or(found.visibility),
            wakes: found.settings.is_true(WAKES),
            engine_ref: found.engine_ref,
            port,
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_a_slug_before_it_is_read_as_a_port() {
        let read = |host: &'static str| -> Vec<(&str, u16, &str)> {
            let each = |(label, infix, domain)| {
                let all = readings(label, infix).into_iter();
                all.map(move |(slug, port)| (slug, port, domain))
            };
            splits(host).flat_map(each).collect()
        };
        assert_eq!(
            read("3000-front.sandbox.acme.com"),
            [
                ("3000-front", 3000, "acme.com"),
                ("front", 3000, "acme.com"),
                ("3000-front", 3000, "sandbox.acme.com")
            ]
        );
        assert_eq!(read("front.acme.com"), [("front", 3000, "acme.com")]);
        assert_eq!(
            read("0-a.sandbox.x")[..1],
            [("0-a", 3000, "x")],
            "no port is 0"
        );
        assert_eq!(read("a-b.sandbox.x").len(), 2);
        assert!(read("localhost").is_empty());
    }
}
