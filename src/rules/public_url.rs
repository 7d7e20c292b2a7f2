//! `--public-url`: where people and programs reach the service, whatever stands in between.

/// A checked address: `https://example.com`, `https://example.com:8443/workspaced`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    /// Scheme, host and port, the port only where it is not the scheme's own.
    origin: String,
    /// Empty, or from a slash on without one at the end.
    prefix: String,
}

/// What begins like this is the service's own, so that a prefix cannot be told from it.
const OWN: &[&str] = &[
    "api",
    "admin",
    "docs",
    "assets",
    "health",
    "readyz",
    "openapi.json",
    "metrics",
    "_dev",
    "domains",
    "favicon.ico",
];

/// # Errors
/// What is allowed.
pub fn parse(text: &str) -> Result<PublicUrl, String> {
    const ALLOWED: &str = "allowed are http:// or https://, a host and perhaps a path, such as https://example.com/workspaced";
    let (scheme, rest) = text.trim().split_once("://").ok_or(ALLOWED)?;
    let scheme = scheme.to_ascii_lowercase();
    if !matches!(scheme.as_str(), "http" | "https") {
        return Err(ALLOWED.into());
    }
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = host
        .parse::<axum::http::uri::Authority>()
        .map_err(|_| ALLOWED)?;
    if authority.as_str().contains('@') || authority.host().is_empty() {
        return Err(ALLOWED.into());
    }
    let path = path.trim_end_matches('/');
    let plain = |segment: &str| {
        !segment.is_empty()
            && !segment.starts_with('.')
            && segment
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
    };
    let mut segments = path.split('/').skip(1);
    if !segments.clone().all(plain) {
        return Err("a path is of letters, digits, -, _, . and ~, such as /workspaced".into());
    }
    if let Some(first) = segments.next().filter(|first| OWN.contains(first)) {
        return Err(format!(
            "/{first} is a path of the service itself; choose another, such as /workspaced"
        ));
    }
    let host = without_default_port(&scheme, host).to_ascii_lowercase();
    Ok(PublicUrl {
        origin: format!("{scheme}://{host}"),
        prefix: path.to_owned(),
    })
}

impl PublicUrl {
    /// Scheme, host and port, as a browser sends them.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Host, and port where there is one.
    pub fn host(&self) -> &str {
        self.origin.split_once("://").map_or("", |(_, host)| host)
    }

    /// Empty, or the path below which everything is.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub fn is_https(&self) -> bool {
        self.origin.starts_with("https://")
    }

    /// All of it, without a slash at the end.
    pub fn base(&self) -> String {
        format!("{}{}", self.origin, self.prefix)
    }

    /// A path with the prefix taken off; `None` where it has none. A proxy may take it off itself.
    pub fn without_prefix<'a>(&self, path: &'a str) -> Option<&'a str> {
        if self.prefix.is_empty() {
            return None;
        }
        match path.strip_prefix(&self.prefix)? {
            "" => Some("/"),
            rest => rest.starts_with('/').then_some(rest),
        }
    }
}

/// A host without the port that its scheme has anyway.
pub fn without_default_port<'a>(scheme: &str, host: &'a str) -> &'a str {
    let port = if scheme == "https" { ":443" } else { ":80" };
    host.strip_suffix(port).unwrap_or(host)
}

/// Whether the `Origin` that a browser sends is the host that it asks.
pub fn is_same(origin: &str, host: &str) -> bool {
    let Some((scheme, rest)) = origin.split_once("://") else {
        return false;
    };
    matches!(scheme, "http" | "https")
        && !host.is_empty()
        && without_default_port(scheme, rest)
            .eq_ignore_ascii_case(without_default_port(scheme, host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_public() {
        for (text, base, prefix) in [
            ("https://example.com", "https://example.com", ""),
            ("HTTPS://Example.com:443/", "https://example.com", ""),
            ("http://box:80/ws/", "http://box/ws", "/ws"),
            (
                "https://example.com:8443/a/b",
                "https://example.com:8443/a/b",
                "/a/b",
            ),
            ("http://[::1]:8400", "http://[::1]:8400", ""),
        ] {
            let url = parse(text).unwrap();
            assert_eq!(
                (url.base().as_str(), url.prefix()),
                (base, prefix),
                "{text}"
            );
        }
        for text in [
            "",
            "example.com",
            "ftp://example.com",
            "https://",
            "https:///x",
            "https://a b",
            "https://u@h",
            "https://h/?q",
            "https://h/#f",
            "https://h//x",
            "https://h/../x",
            "https://h/api",
            "https://h/docs/x",
            "https://h/%2e",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_prefix_may_come_or_not() {
        let url = parse("https://example.com/workspaced/").unwrap();
        for (path, inner) in [
            ("/workspaced", Some("/")),
            ("/workspaced/", Some("/")),
            ("/workspaced/api/v1/x", Some("/api/v1/x")),
            ("/workspacedx", None),
            ("/api/v1/x", None),
            ("/", None),
        ] {
            assert_eq!(url.without_prefix(path), inner, "{path}");
        }
        assert_eq!(
            parse("https://example.com").unwrap().without_prefix("/"),
            None
        );
    }

    #[test]
    fn an_origin_is_a_host_whatever_is_said_of_the_port() {
        for (origin, host, same) in [
            ("https://a", "a", true),
            ("https://a", "a:443", true),
            ("https://a:443", "A", true),
            ("http://a", "a:80", true),
            ("http://a:8400", "a:8400", true),
            ("http://a", "a:443", false),
            ("https://a", "a:80", false),
            ("http://a:8400", "a", false),
            ("null", "a", false),
            ("ftp://a", "a", false),
            ("http://", "", false),
        ] {
            assert_eq!(is_same(origin, host), same, "{origin} {host}");
        }
    }
}
