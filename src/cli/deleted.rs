//! `workspaced ws deleted`, `ws restore` and `computers restore`: what was deleted, and back with it.

use serde_json::{Value, json};
use ureq::http::Method;

use super::Failure;
use super::output::text;
use super::service::{Service, given};

/// Lists what can be restored.
pub(super) fn list(service: &Service) -> Result<(), Failure> {
    let rows = service.all("/deleted", &[])?;
    service.out.list(
        &rows,
        &[
            "id",
            "type",
            "deleted_at",
            "restorable_until",
            "workspace_name",
            "name",
        ],
    )
}

/// Brings back a workspace or a computer that is named by id or slug.
pub(super) fn restore(
    service: &Service,
    kind: &str,
    name: &str,
    slug: Option<String>,
) -> Result<(), Failure> {
    let id = find(service, kind, name)?;
    let body = given(&[("slug", slug.map(|slug| json!(slug)))]);
    let path = format!("/{kind}s/{id}/restore");
    let restored = service.send(Method::POST, &path, Some(&body))?;
    if service.out.is_data() {
        return service.out.one(&restored);
    }
    let with = &restored["restored"];
    if with.is_object() {
        let (computers, projects) = (text(&with["computers"]), text(&with["projects"]));
        println!(
            "{id} restored, with {projects} projects and {computers} computers, which are stopped"
        );
    } else {
        println!("{id} restored; it is stopped");
    }
    for lost in restored["not_restored"].as_array().into_iter().flatten() {
        println!("  {}: {}", text(&lost["what"]), text(&lost["text"]));
    }
    Ok(())
}

/// The id of what is meant: of several with one slug it has to be named.
fn find(service: &Service, kind: &str, name: &str) -> Result<String, Failure> {
    if uuid::Uuid::parse_str(name).is_ok() {
        return Ok(name.to_owned());
    }
    let rows = service.all("/deleted", &[("type", kind)])?;
    let found: Vec<&Value> = rows.iter().filter(|row| row["slug"] == name).collect();
    match found.as_slice() {
        [one] => Ok(text(&one["id"])),
        [] => Err(Failure::Usage(format!(
            "no deleted {kind} with the slug {name:?} can be restored; see workspaced ws deleted"
        ))),
        _ => Err(Failure::Usage(format!(
            "several deleted {kind}s have the slug {name:?}; name one by its id, see workspaced ws deleted"
        ))),
    }
}
