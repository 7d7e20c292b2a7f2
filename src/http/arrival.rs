//! How a request arrives: what a proxy in between did to it is undone before anybody reads it.
//!
//! * A trusted proxy says in `X-Forwarded-Host` which host was asked, which is then the `Host`. What anybody else
//!   says there is taken off.
//! * The path of `--public-url` is taken off where the proxy has not done so itself.

use std::net::IpAddr;

use axum::http::header::HOST;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, Request, Uri};

use crate::access::session::FORWARDED_PROTO;
use crate::rules::config::Config;

const FORWARDED_HOST: &str = "x-forwarded-host";

/// Makes a request that came from `peer` look as it did before the proxy.
pub(super) fn arrived<B>(request: &mut Request<B>, peer: IpAddr, config: &Config) {
    let trusted = config.trusted_proxies.iter().any(|net| net.contains(&peer));
    let headers = request.headers_mut();
    // The last of them is what the nearest proxy says.
    let host = headers
        .get_all(FORWARDED_HOST)
        .iter()
        .next_back()
        .and_then(|value| value.to_str().ok()?.rsplit(',').next())
        .and_then(|host| HeaderValue::from_str(host.trim()).ok())
        .filter(|host| trusted && !host.is_empty());
    headers.remove(FORWARDED_HOST);
    if let Some(host) = host {
        headers.insert(HOST, host);
    }
    if !trusted {
        headers.remove(FORWARDED_PROTO);
    }
    let inner = config
        .public_url
        .as_ref()
        .and_then(|url| url.without_prefix(request.uri().path()));
    let Some(inner) = inner else { return };
    let query = request.uri().query().map(|query| format!("?{query}"));
    let path = format!("{inner}{}", query.unwrap_or_default());
    let Ok(path) = PathAndQuery::try_from(path) else {
        return;
    };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = Some(path);
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_proxy_did_is_undone_if_it_is_trusted() {
        let config = Config {
            trusted_proxies: vec!["127.0.0.1/32".parse().unwrap()],
            public_url: Some(crate::rules::public_url::parse("https://x.example/ws").unwrap()),
            ..Config::default()
        };
        let arrive = |peer: &str, uri: &str, forwarded: &[&str]| {
            let mut request = Request::builder().uri(uri).header("host", "backend:1");
            for host in forwarded {
                request = request.header(FORWARDED_HOST, *host);
            }
            let mut request = request.header(FORWARDED_PROTO, "https").body(()).unwrap();
            arrived(&mut request, peer.parse().unwrap(), &config);
            assert!(!request.headers().contains_key(FORWARDED_HOST));
            let told = request.headers().contains_key(FORWARDED_PROTO);
            let host = request.headers()[HOST].to_str().unwrap().to_owned();
            (request.uri().to_string(), host, told)
        };
        for (peer, uri, forwarded, path, host, told) in [
            (
                "127.0.0.1",
                "/ws/docs?q=/ws",
                &["x.example"][..],
                "/docs?q=/ws",
                "x.example",
                true,
            ),
            (
                "127.0.0.1",
                "/docs",
                &["evil, x.example:8443"],
                "/docs",
                "x.example:8443",
                true,
            ),
            (
                "127.0.0.1",
                "/ws",
                &["evil", "x.example"],
                "/",
                "x.example",
                true,
            ),
            (
                "127.0.0.1",
                "http://h/ws/a",
                &[],
                "http://h/a",
                "backend:1",
                true,
            ),
            (
                "127.0.0.2",
                "/wsx",
                &["x.example"],
                "/wsx",
                "backend:1",
                false,
            ),
        ] {
            let expected = (path.to_owned(), host.to_owned(), told);
            assert_eq!(arrive(peer, uri, forwarded), expected);
        }
    }
}
