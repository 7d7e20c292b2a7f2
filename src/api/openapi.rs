//! The OpenAPI document, made from the route table: what is not in the table is not served, and
//! what is served is in the document.

use axum::http::Method;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::{ResponseBuilder, ResponsesBuilder};
use utoipa::openapi::schema::{KnownFormat, Object, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathsBuilder, Ref,
    RefOr, Required, Schema,
};

use super::routes::{Route, addresses, desktops, machines, table};
use crate::access::scopes::Reach;
use crate::http::Components;
use crate::rules::hosted::BASE;

/// The document of this version of the API.
pub fn document() -> OpenApi {
    of(table())
}

/// The document where a container engine runs computers.
pub fn with_machines() -> OpenApi {
    of(table()
        .into_iter()
        .chain(machines())
        .chain(desktops())
        .chain(addresses())
        .collect())
}

fn of(routes: Vec<Route>) -> OpenApi {
    let mut components = Components::new();
    components.insert("Error".into(), error_schema());
    let mut paths = PathsBuilder::new();
    for route in routes {
        let path = format!("{}{}", BASE, route.path);
        paths = paths.path(path, operation(&route, &mut components));
    }
    let key = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An API key, msk_..."))
        .build();
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("workspaced")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some("Workspaces, projects, computers, and what they cost."))
                .build(),
        )
        .paths(paths)
        .components(Some(
            ComponentsBuilder::new()
                .schemas_from_iter(components)
                .security_scheme("key", SecurityScheme::Http(key))
                .build(),
        ))
        .security(Some([SecurityRequirement::new(
            "key",
            Vec::<String>::new(),
        )]))
        .build()
}

fn operation(route: &Route, components: &mut Components) -> PathItem {
    let tag = route
        .path
        .trim_start_matches('/')
        .split('/')
        .next()
        .unwrap_or("")
        .to_string();
    let mut operation = OperationBuilder::new()
        .tag(tag)
        .operation_id(Some(operation_id(route)))
        .summary(Some(route.summary))
        .description(access_text(route))
        .responses(responses(route, components));
    for name in route
        .path
        .split('/')
        .filter_map(|s| s.strip_prefix('{')?.strip_suffix('}'))
    {
        operation = operation.parameter(path_parameter(route.path, name));
    }
    for params in &route.params {
        for parameter in params() {
            operation = operation.parameter(parameter);
        }
    }
    if mutates(route) {
        operation = operation.parameter(idempotency_key());
    }
    if route.guard.is_some() {
        operation = operation.parameter(if_match());
    }
    if let Some(body) = route.body {
        let mut request = RequestBodyBuilder::new().required(Some(Required::False));
        for kind in route.takes {
            let content = ContentBuilder::new().schema(Some(body(components))).build();
            request = request.content(*kind, content);
        }
        operation = operation.request_body(Some(request.build()));
    }
    PathItem::new(http_method(&route.method), operation)
}

/// `GET /workspaces/{id}/stats` → `get_workspaces_id_stats`.
fn operation_id(route: &Route) -> String {
    let path = route.path.replace(['/', '-'], "_").replace(['{', '}'], "");
    format!("{}{path}", route.method.as_str().to_ascii_lowercase())
}

fn access_text(route: &Route) -> Option<String> {
    let reach = match route.access.reach {
        Reach::Any => None,
        Reach::Shared => Some("Not for keys that are limited to an end user."),
        Reach::Tenant => Some("Not for keys that are limited to a workspace or an end user."),
        Reach::Operator => Some("For operator keys of this installation only."),
    };
    let scope = route
        .access
        .scope
        .map(|scope| format!("Needs the scope `{scope}`."));
    let text: Vec<_> = scope.into_iter().chain(reach.map(String::from)).collect();
    (!text.is_empty()).then(|| text.join(" "))
}

fn mutates(route: &Route) -> bool {
    route.method != Method::GET
}

fn responses(route: &Route, components: &mut Components) -> ResponsesBuilder {
    let mut responses = ResponsesBuilder::new();
    for (status, schema) in &route.replies {
        let content = ContentBuilder::new()
            .schema(Some(schema(components)))
            .build();
        let text = if *status == 201 { "Created" } else { "OK" };
        let request_id = HeaderBuilder::new()
            .description(Some("The id of this request, as in the log"))
            .build();
        let mut response = ResponseBuilder::new()
            .description(text)
            .header("x-request-id", request_id)
            .content(route.content, content);
        if route.tagged && *status == 200 {
            let tag = HeaderBuilder::new()
                .description(Some(
                    "The version of the resource, for If-Match and If-None-Match",
                ))
                .build();
            response = response.header("etag", tag);
        }
        if route.or_csv {
            let table = ContentBuilder::new()
                .schema(Some(Object::with_type(Type::String)))
                .build();
            response = response.content("text/csv", table);
        }
        responses = responses.response(status.to_string(), response);
    }
    // What any request may meet; then what comes with an id, a query, a change.
    let mut errors = vec![
        (401, "No, an unknown, a revoked or an expired key"),
        (403, "Out of reach of this key, or the scope is missing"),
        (503, "Too busy or stopping; nothing happened"),
    ];
    if route.path.contains('{') {
        errors.push((400, "The id is not a UUID, or the request cannot be read"));
        errors.push((404, "Not found"));
    }
    if route.or_csv || route.content == "text/csv" {
        errors.push((406, "Not to be had in the format that was asked for"));
    }
    if !route.params.is_empty() {
        errors.push((422, "A value is not allowed; `errors` says which and why"));
    }
    if route.guard.is_some() {
        errors.push((
            412,
            "It is not what If-Match names; `error.existing` is what it is",
        ));
    }
    if route.absent {
        errors.push((404, "Not found"));
    }
    let names_a_row = |p: &Parameter| p.name.ends_with("_id");
    if route
        .params
        .iter()
        .flat_map(|params| params())
        .any(|p| names_a_row(&p))
    {
        errors.push((404, "Not found"));
    }
    if mutates(route) {
        errors.extend([
            (400, "The id is not a UUID, or the request cannot be read"),
            (404, "Not found"),
            (
                409,
                "The state refuses it, or the Idempotency-Key came with another payload",
            ),
            (413, "The body is too large"),
            (415, "The body is not JSON"),
            (
                422,
                "A value is not allowed, or a limit refuses; `errors` says which and why",
            ),
            (507, "The disk is full; nothing happened"),
        ]);
    }
    for (status, text) in errors {
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("Error")))
            .build();
        responses = responses.response(
            status.to_string(),
            ResponseBuilder::new()
                .description(text)
                .content("application/json", content),
        );
    }
    responses
}

fn path_parameter(path: &str, name: &str) -> Parameter {
    let named =
        name == "id" && (path.starts_with("/workspaces/") || path.starts_with("/projects/"));
    let schema = ObjectBuilder::new().schema_type(Type::String);
    let schema = if name == "id" {
        schema.format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)))
    } else {
        schema
    };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(named.then_some("Its id, its slug, or `external:` and your own id for it"))
        .schema(Some(schema))
        .build()
}

fn idempotency_key() -> Parameter {
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .description(Some(
            "The same key again within 24 h answers the first reply again and executes nothing",
        ))
        .schema(Some(
            ObjectBuilder::new()
                .schema_type(Type::String)
                .min_length(Some(1))
                .max_length(Some(255)),
        ))
        .build()
}

fn if_match() -> Parameter {
    ParameterBuilder::new()
        .name("If-Match")
        .parameter_in(ParameterIn::Header)
        .description(Some(
            "The ETag of the resource as the caller saw it; where it has changed since, nothing is done and the answer is 412",
        ))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build()
}

/// The one error body.
fn error_schema() -> RefOr<Schema> {
    let text = || Object::with_type(Type::String);
    let free = || {
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .additional_properties(Some(
                utoipa::openapi::schema::AdditionalProperties::FreeForm(true),
            ))
    };
    ObjectBuilder::new()
        .property(
            "error",
            ObjectBuilder::new()
                .property("code", text())
                .property("message", text())
                .property("request_id", text())
                .property("details", free())
                .required("code")
                .required("message")
                .required("request_id")
                .required("details"),
        )
        .property("message", text())
        .property("code", text())
        .property("request_id", text())
        .property("errors", free())
        .required("error")
        .required("message")
        .required("code")
        .required("request_id")
        .into()
}

fn http_method(method: &Method) -> HttpMethod {
    match *method {
        Method::POST => HttpMethod::Post,
        Method::PUT => HttpMethod::Put,
        Method::PATCH => HttpMethod::Patch,
        Method::DELETE => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}
