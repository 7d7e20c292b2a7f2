//! The name by which a request reached this server: there is one, and in development mode, where
//! everybody knows the key, it is one of this machine's own.
//!
//! A web page of another site cannot choose what its browser sends as `Host`, but its owner can let a
//! name of his lead here. So the name is the only thing that tells such a page from a program's request.

use std::net::IpAddr;

use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, Version};

use crate::error::{Error, Result};

/// The rule for a request that came over a connection, or through the router alone.
///
/// # Errors
/// 400 where it names no host, or several, or something that is none; 403 where `own` are the only
/// names that may be used (development mode) and it is none of them.
pub fn check(
    version: Version,
    uri: &Uri,
    headers: &HeaderMap,
    wire: bool,
    own: Option<&[String]>,
) -> Result<()> {
    let mut given = headers.get_all(HOST).iter();
    let name = match (given.next(), given.next()) {
        (None, _) if wire && version == Version::HTTP_11 => {
            return Err(invalid("a request must say in Host which server it is for"));
        }
        (Some(_), Some(_)) => return Err(invalid("there is more than one Host header")),
        (name, _) => name.map(|value| value.to_str().unwrap_or("?")),
    };
    let name = name.filter(|name| !name.is_empty());
    if name.is_some_and(|name| name.contains('@') || name.parse::<Authority>().is_err()) {
        return Err(invalid("the Host header is not the name of a host"));
    }
    // What a request to a proxy says in its first line goes before the header.
    let names = uri
        .authority()
        .map(Authority::as_str)
        .into_iter()
        .chain(name);
    if let Some(own) = own {
        for name in names {
            if !is_own(name, own) {
                return Err(Error::denied(
                    "FORBIDDEN",
                    "development mode is for this machine's own programs and pages: reach it as 127.0.0.1 or localhost, \
                     or add the name with --dev-host",
                ));
            }
        }
    }
    Ok(())
}

fn invalid(text: &str) -> Error {
    Error::bad_request("INVALID_HOST", text)
}

/// Whether a name, perhaps with a port, is this machine's for itself, or one that was added.
fn is_own(host: &str, own: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.split(':').next().unwrap_or(""),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        || own.iter().any(|own| own.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn ask(
        version: Version,
        uri: &'static str,
        hosts: &[&'static str],
        own: Option<&[String]>,
    ) -> u16 {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_static(host));
        }
        match check(version, &Uri::from_static(uri), &headers, true, own) {
            Ok(()) => 200,
            Err(e) => e.status().as_u16(),
        }
    }

    #[test]
    fn a_request_names_one_host() {
        for (hosts, status) in [
            (&["a"][..], 200),
            (&["a.example:80"], 200),
            (&["[::1]:8400"], 200),
            (&[""], 200),
            (&[], 400),
            (&["a", "a"], 400),
            (&["a", "b"], 400),
            (&["a b"], 400),
            (&["a/b"], 400),
            (&["user@a"], 400),
        ] {
            assert_eq!(ask(Version::HTTP_11, "/", hosts, None), status, "{hosts:?}");
        }
        assert_eq!(ask(Version::HTTP_10, "/", &[], None), 200);
    }

    #[test]
    fn in_development_mode_the_name_is_one_of_our_own() {
        let own = ["api".to_owned()];
        for (uri, hosts, status) in [
            ("/", &["127.0.0.1:8400"][..], 200),
            ("/", &["[::1]:8400"], 200),
            ("/", &["LOCALHOST:8400"], 200),
            ("/", &["Api:1"], 200),
            ("/", &[""], 200),
            ("/", &["evil.example:8400"], 403),
            ("/", &["localhost.evil.example"], 403),
            ("/", &["127.0.0.1.evil.example"], 403),
            ("/", &["apix"], 403),
            ("http://evil.example/", &["localhost"], 403),
            ("http://localhost/", &["evil.example"], 403),
        ] {
            assert_eq!(
                ask(Version::HTTP_11, uri, hosts, Some(&own)),
                status,
                "{uri} {hosts:?}"
            );
        }
    }
}
