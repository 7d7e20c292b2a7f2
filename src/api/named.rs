//! Workspaces and projects that a path names otherwise than by their id: `/workspaces/acme`,
//! `/projects/external:site_7`. The id rides along, and handlers find it where they look for that of the path.

use axum::extract::Request;

use crate::access::key::Key;
use crate::api::app::App;
use crate::error::{Error, Result};
use crate::http::NamedId;
use crate::ids::parse_uuid;
use crate::rules::hosted::BASE;
use crate::rules::text::is_slug;
use crate::{projects, workspaces};

/// What a path names, besides by id.
enum Name {
    Slug(String),
    External(String),
}

/// The name in the place of an id, and of what.
fn name_in(path: &str) -> Option<(&'static str, Name)> {
    let mut inner = path.strip_prefix(BASE)?;
    // One client sends the prefix twice.
    inner = inner.strip_prefix(BASE).unwrap_or(inner);
    let kind = ["/workspaces/", "/projects/"]
        .into_iter()
        .find(|kind| inner.starts_with(*kind))?;
    let rest = &inner[kind.len()..];
    let segment = rest.split('/').next().unwrap_or("");
    if parse_uuid(segment).is_some() {
        return None;
    }
    let text = percent_decoded(segment)?;
    let name = match text.strip_prefix("external:") {
        Some(external) if !external.is_empty() => Name::External(external.to_owned()),
        _ if is_slug(&text) => Name::Slug(text),
        _ => return None,
    };
    Some((kind, name))
}

fn percent_decoded(segment: &str) -> Option<String> {
    // A plus stands for itself in a path.
    let pair = format!("v={}", segment.replace('+', "%2B"));
    let (_, value) = form_urlencoded::parse(pair.as_bytes()).next()?;
    (!value.contains('\u{fffd}')).then(|| value.into_owned())
}

/// Finds the id behind a name. What is called nothing of the kind stays, and is refused as no id.
///
/// # Errors
/// 404 where nothing has that id of the caller's, 400 where several things are called so.
pub(super) async fn resolve(app: &App, key: &Key, request: &mut Request) -> Result<()> {
    let Some((kind, name)) = name_in(request.uri().path()) else {
        return Ok(());
    };
    let (tenant, only) = (key.tenant_id, key.workspace_id);
    let is_workspace = kind == "/workspaces/";
    let external = matches!(name, Name::External(_));
    let found = app.store.look_up(move |tx| {
        let (slug, external) = match &name {
            Name::Slug(slug) => (Some(slug.as_str()), None),
            Name::External(external) => (None, Some(external.as_str())),
        };
        if !is_workspace {
            let ids = projects::named(tx, tenant, only, slug, external)?;
            return Ok(ids.into_iter().map(|id| id.0).collect::<Vec<_>>());
        }
        let found = match (slug, external) {
            (_, Some(external)) => workspaces::find_by_external(tx, tenant, external)?,
            (slug, None) => workspaces::find_by_slug(tx, tenant, slug.unwrap_or(""))?,
        };
        let ids = found.map(|record| record.view.id.0);
        Ok(ids.into_iter().collect())
    });
    let id = match (found.await?.as_slice(), external) {
        ([id], _) => *id,
        ([], false) => return Ok(()),
        ([], true) => {
            let what = if is_workspace { "workspace" } else { "project" };
            return Err(Error::not_found(what));
        }
        _ => {
            return Err(Error::bad_request(
                "AMBIGUOUS_ID",
                "several projects are called so, each in a workspace of its own; name one by its id",
            ));
        }
    };
    request.extensions_mut().insert(NamedId(id));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_path_names() {
        let shown = |path: &str| {
            name_in(path).map(|(kind, name)| match name {
                Name::Slug(slug) => format!("{kind}{slug}"),
                Name::External(id) => format!("{kind}external {id}"),
            })
        };
        for (path, found) in [
            ("/api/v1/workspaces/acme", Some("/workspaces/acme")),
            ("/api/v1/workspaces/acme/usage", Some("/workspaces/acme")),
            ("/api/v1/api/v1/projects/a/move", Some("/projects/a")),
            (
                "/api/v1/workspaces/external:a%2Fb+c",
                Some("/workspaces/external a/b+c"),
            ),
            (
                "/api/v1/workspaces/external%3Aa",
                Some("/workspaces/external a"),
            ),
            (
                "/api/v1/workspaces/7a1f0000-0000-4000-8000-000000000001",
                None,
            ),
            (
                "/api/v1/workspaces/7A1F0000-0000-4000-8000-000000000001/x",
                None,
            ),
            ("/api/v1/workspaces", None),
            ("/api/v1/workspaces/", None),
            ("/api/v1/workspaces/external:", None),
            ("/api/v1/workspaces/%ff", None),
            ("/api/v1/workspaces/%20", None),
            ("/api/v1/computers/acme", None),
            ("/workspaces/acme", None),
        ] {
            assert_eq!(shown(path).as_deref(), found, "{path}");
        }
    }
}
