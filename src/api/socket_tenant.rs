//! A browser opens a WebSocket with an address alone: what its other requests say in `X-MIOSA-Tenant` stands in the
//! query of that address.

use axum::extract::{OriginalUri, Request};
use axum::http::header::UPGRADE;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, Uri};

use crate::access::auth::TENANT;

/// Puts `tenant` from the query of a request for a WebSocket where it is looked for.
pub(super) fn take(request: &mut Request) {
    let upgrade = request.headers().get(UPGRADE);
    if !upgrade.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
        || request.headers().contains_key(TENANT)
    {
        return;
    }
    let query = request.uri().query().unwrap_or("");
    let Some((_, tenant)) =
        form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "tenant")
    else {
        return;
    };
    let Ok(tenant) = HeaderValue::from_str(&tenant) else {
        return;
    };
    request.headers_mut().insert(TENANT, tenant);
    let original = request.extensions().get::<OriginalUri>();
    if let Some(uri) = original.and_then(|uri| without(&uri.0)) {
        request.extensions_mut().insert(OriginalUri(uri));
    }
    if let Some(uri) = without(request.uri()) {
        *request.uri_mut() = uri;
    }
}

/// The address without `tenant`, which no route knows.
fn without(uri: &Uri) -> Option<Uri> {
    let pairs = uri.query()?.split('&');
    let rest: Vec<&str> = pairs.filter(|pair| !pair.starts_with("tenant=")).collect();
    let path = format!("{}?{}", uri.path(), rest.join("&"));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn a_websocket_names_its_organization_in_the_query() {
        for (query, upgrade, header, left) in [
            (
                "cols=9&tenant=globex&rows=3",
                "WebSocket",
                Some("globex"),
                "cols=9&rows=3",
            ),
            ("tenant=a%2Bb", "websocket", Some("a+b"), ""),
            ("tenant=globex", "", None, "tenant=globex"),
            ("cols=9", "websocket", None, "cols=9"),
            ("tenant=%0a", "websocket", None, "tenant=%0a"),
        ] {
            let uri: Uri = format!("/api/v1/x?{query}").parse().unwrap();
            let mut request = Request::get(uri.clone())
                .header(UPGRADE, upgrade)
                .body(Body::empty())
                .unwrap();
            request.extensions_mut().insert(OriginalUri(uri));
            take(&mut request);
            let found = request
                .headers()
                .get(TENANT)
                .map(|value| value.to_str().unwrap());
            let original = request.extensions().get::<OriginalUri>().unwrap();
            assert_eq!(
                (found, request.uri().query()),
                (header, Some(left)),
                "{query}"
            );
            assert_eq!(original.0.query(), Some(left));
        }
    }
}
