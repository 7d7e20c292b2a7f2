//! Where a webhook may lead: the form of its URL, and the addresses behind its host.
//!
//! The service sends from inside a network, on behalf of people who may not be inside it. So a URL is
//! judged when it is set, by its form, and its addresses are judged again at every attempt, since a
//! name may lead elsewhere by then.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::http::Uri;

use crate::rules::config::WebhookReach;

/// Longest URL, in characters.
pub const MAX_URL: usize = 2048;
/// From here on a port belongs to no system service.
const FIRST_FREE_PORT: u16 = 1024;

/// What stands behind an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddressClass {
    Public,
    Loopback,
    /// A private network: RFC 1918, RFC 6598 (carriers), RFC 4193.
    Private,
    /// Nothing that anybody may send to through us: metadata services, this link, groups, addresses
    /// that are reserved or say nothing.
    Never,
}

/// The metadata services of clouds that lie in ranges which are otherwise only private.
const METADATA: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Where an address leads. An IPv6 address that stands for an IPv4 address is what that is.
pub fn place(ip: IpAddr) -> AddressClass {
    if METADATA.contains(&ip) {
        return AddressClass::Never;
    }
    match ip {
        IpAddr::V4(ip) => place_v4(ip),
        IpAddr::V6(ip) => place_v6(ip),
    }
}

fn place_v4(ip: Ipv4Addr) -> AddressClass {
    match ip.octets() {
        [127, ..] => AddressClass::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => {
            AddressClass::Private
        }
        // This network, this link (and the metadata of most clouds), IETF protocols, documentation,
        // 6to4 relays, benchmarks.
        [0, ..]
        | [169, 254, ..]
        | [192, 0, 0, _]
        | [192, 0, 2, _]
        | [192, 88, 99, _]
        | [198, 18..=19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _] => AddressClass::Never,
        // Groups, reserved, broadcast.
        [224..=255, ..] => AddressClass::Never,
        _ => AddressClass::Public,
    }
}

fn place_v6(ip: Ipv6Addr) -> AddressClass {
    if ip.is_loopback() {
        return AddressClass::Loopback;
    }
    let s = ip.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        place(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
    };
    match s {
        // Mapped (::ffff:a.b.c.d), translated (::ffff:0:a.b.c.d), and NAT64 with its usual prefix.
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        // 6to4: the address of the router stands behind the prefix.
        [0x2002, high, low, ..] => match embedded(high, low) {
            AddressClass::Public => AddressClass::Public,
            _ => AddressClass::Never,
        },
        [0xfc00..=0xfdff, ..] => AddressClass::Private,
        // NAT64 of a network's own, Teredo and other IETF protocols, documentation.
        [0x64, 0xff9b, 1, ..] | [0x2001, 0..=0x01ff, ..] | [0x2001, 0xdb8, ..] => {
            AddressClass::Never
        }
        [0x3fff, 0..=0x0fff, ..] => AddressClass::Never,
        // Only this block is handed out; the rest is this link, groups, reserved or nothing.
        [0x2000..=0x3fff, ..] => AddressClass::Public,
        _ => AddressClass::Never,
    }
}

/// Whether a webhook may be sent to an address: over TLS to where the installation allows, without it
/// only where nobody else's network lies between.
pub fn may_reach(ip: IpAddr, reach: WebhookReach, tls: bool) -> bool {
    match place(ip) {
        AddressClass::Public => tls,
        AddressClass::Loopback => reach != WebhookReach::Public,
        AddressClass::Private => reach == WebhookReach::Private,
        AddressClass::Never => false,
    }
}

/// Checks a URL by its form.
///
/// # Errors
/// What is wrong and what to send instead, to be put behind the name of the field.
pub fn check(text: &str, reach: WebhookReach) -> Result<Uri, String> {
    let example = "https://example.com/hooks";
    if text.is_empty() {
        return Err("can't be blank".into());
    }
    if text.len() > MAX_URL {
        return Err(format!("should be at most {MAX_URL} character(s)"));
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) || text.contains('\\') {
        return Err(format!(
            "must be a URL of ASCII letters, with everything else percent-encoded, such as {example}"
        ));
    }
    if text.contains('#') {
        return Err("must not have a fragment (#): it would not be sent".into());
    }
    let not_a_url = || format!("must be a whole URL such as {example}");
    let uri: Uri = text.parse().map_err(|_| not_a_url())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(not_a_url());
    };
    let tls = match scheme {
        "https" => true,
        "http" => false,
        _ => return Err(format!("must begin with https://, such as {example}")),
    };
    if authority.as_str().contains('@') {
        return Err(
            "must not have a user or password; what is sent is signed, check the signature".into(),
        );
    }
    let host = authority.host();
    check_port(
        &authority.as_str()[host.len()..],
        if tls { 443 } else { 80 },
    )?;
    let literal = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let ip = literal.unwrap_or(host).parse::<IpAddr>().ok();
    // A name is looked up when something is sent; in development only this one leads to this machine.
    let local = host.eq_ignore_ascii_case("localhost");
    let allowed = match ip {
        Some(ip) => may_reach(ip, reach, tls),
        None if !is_name(host) => return Err(not_a_url()),
        None if local => reach != WebhookReach::Public,
        None if tls => reach == WebhookReach::Private || host.trim_end_matches('.').contains('.'),
        None => reach == WebhookReach::Private,
    };
    if allowed {
        return Ok(uri);
    }
    Err(match (tls, ip, reach) {
        (false, None, WebhookReach::Public) => {
            format!("must begin with https://, such as {example}")
        }
        (false, ..) if ip.is_none_or(|ip| place(ip) == AddressClass::Public) => {
            "must begin with https://: without TLS only this machine and private networks may be \
             reached, and only where this installation allows it"
                .into()
        }
        _ => {
            "leads to this machine, to a private network or to nowhere; this installation sends to \
              public addresses only (see --webhook-allow-private)"
                .into()
        }
    })
}

fn check_port(after_host: &str, usual: u16) -> Result<(), String> {
    let port = match after_host.strip_prefix(':') {
        None if after_host.is_empty() => return Ok(()),
        None => None,
        Some(digits) => digits.parse::<u16>().ok(),
    };
    match port {
        Some(port) if port == usual || port >= FIRST_FREE_PORT => Ok(()),
        _ => Err(format!(
            "must have the port {usual}, or one from {FIRST_FREE_PORT} to 65535: those below belong to other services"
        )),
    }
}

/// Whether a text is a host name, and not another spelling of an address such as 0x7f.1.
fn is_name(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let label = |label: &str| {
        let bytes = label.as_bytes();
        (1..=63).contains(&bytes.len())
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !bytes.starts_with(b"-")
            && !bytes.ends_with(b"-")
    };
    let last = host.rsplit('.').next().unwrap_or("");
    host.len() <= 253
        && host.split('.').all(label)
        && last.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_of_address_is_known() {
        for (text, expected) in [
            ("1.1.1.1", AddressClass::Public),
            ("172.32.0.1", AddressClass::Public),
            ("100.128.0.1", AddressClass::Public),
            ("223.255.255.255", AddressClass::Public),
            ("2606:4700::1111", AddressClass::Public),
            ("127.0.0.1", AddressClass::Loopback),
            ("127.255.255.254", AddressClass::Loopback),
            ("::1", AddressClass::Loopback),
            ("10.0.0.1", AddressClass::Private),
            ("172.16.0.1", AddressClass::Private),
            ("172.31.255.255", AddressClass::Private),
            ("192.168.0.1", AddressClass::Private),
            ("100.64.0.1", AddressClass::Private),
            ("100.127.255.255", AddressClass::Private),
            ("fc00::1", AddressClass::Private),
            ("fdff::1", AddressClass::Private),
            // Unspecified, this network, this link.
            ("0.0.0.0", AddressClass::Never),
            ("0.1.2.3", AddressClass::Never),
            ("::", AddressClass::Never),
            ("169.254.0.1", AddressClass::Never),
            ("fe80::1", AddressClass::Never),
            ("fec0::1", AddressClass::Never),
            // Metadata services.
            ("169.254.169.254", AddressClass::Never),
            ("100.100.100.200", AddressClass::Never),
            ("fd00:ec2::254", AddressClass::Never),
            // Groups, reserved, broadcast, documentation, benchmarks.
            ("224.0.0.1", AddressClass::Never),
            ("239.255.255.250", AddressClass::Never),
            ("240.0.0.1", AddressClass::Never),
            ("255.255.255.255", AddressClass::Never),
            ("ff02::1", AddressClass::Never),
            ("192.0.0.1", AddressClass::Never),
            ("192.0.2.1", AddressClass::Never),
            ("192.88.99.1", AddressClass::Never),
            ("198.18.0.1", AddressClass::Never),
            ("198.51.100.1", AddressClass::Never),
            ("203.0.113.1", AddressClass::Never),
            ("2001:db8::1", AddressClass::Never),
            ("3fff::1", AddressClass::Never),
            ("2001::1", AddressClass::Never),
            ("4000::1", AddressClass::Never),
            // IPv4 in IPv6.
            ("::ffff:127.0.0.1", AddressClass::Loopback),
            ("::ffff:10.0.0.1", AddressClass::Private),
            ("::ffff:169.254.169.254", AddressClass::Never),
            ("::ffff:1.1.1.1", AddressClass::Public),
            ("::ffff:0:10.0.0.1", AddressClass::Private),
            ("::127.0.0.1", AddressClass::Never),
            ("64:ff9b::10.0.0.1", AddressClass::Private),
            ("64:ff9b::a9fe:a9fe", AddressClass::Never),
            ("64:ff9b::1.1.1.1", AddressClass::Public),
            ("64:ff9b:1::1", AddressClass::Never),
            ("2002:a00:1::1", AddressClass::Never),
            ("2002:7f00:1::1", AddressClass::Never),
            ("2002:a9fe:a9fe::1", AddressClass::Never),
            ("2002:101:101::1", AddressClass::Public),
        ] {
            assert_eq!(place(text.parse().unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn where_an_installation_lets_a_webhook_lead() {
        use WebhookReach::{Loopback, Private, Public};
        let reach = |ip: &str, tls| {
            [Public, Loopback, Private].map(|reach| may_reach(ip.parse().unwrap(), reach, tls))
        };
        assert_eq!(reach("1.1.1.1", true), [true, true, true]);
        assert_eq!(reach("1.1.1.1", false), [false, false, false]);
        for tls in [true, false] {
            assert_eq!(reach("127.0.0.1", tls), [false, true, true]);
            assert_eq!(reach("10.0.0.1", tls), [false, false, true]);
            assert_eq!(reach("169.254.169.254", tls), [false, false, false]);
        }
    }

    #[test]
    fn urls_by_their_form() {
        use WebhookReach::{Loopback, Private, Public};
        let at = |text: &str| [Public, Loopback, Private].map(|reach| check(text, reach).is_ok());
        for (text, expected) in [
            ("https://example.com/hooks?x=1", [true, true, true]),
            ("HTTPS://example.com", [true, true, true]),
            ("https://example.com:8443/", [true, true, true]),
            ("https://1.1.1.1/", [true, true, true]),
            ("https://[2606:4700::1111]:8443/", [true, true, true]),
            ("http://localhost:3000/", [false, true, true]),
            ("https://localhost:3000/", [false, true, true]),
            ("http://127.0.0.1:3000/", [false, true, true]),
            ("http://[::1]:3000/", [false, true, true]),
            ("http://10.0.0.1/", [false, false, true]),
            ("https://10.0.0.1/", [false, false, true]),
            ("https://[::ffff:10.0.0.1]/", [false, false, true]),
            ("http://app:3000/", [false, false, true]),
            ("https://app/", [false, false, true]),
            ("http://app.internal/", [false, false, true]),
            ("http://1.1.1.1/", [false, false, false]),
            ("https://169.254.169.254/", [false, false, false]),
            ("https://[fe80::1]/", [false, false, false]),
            ("https://0.0.0.0/", [false, false, false]),
            // Other spellings of 127.0.0.1.
            ("https://0x7f.1/", [false, false, false]),
            ("https://0x7f000001/", [false, false, false]),
            ("https://2130706433/", [false, false, false]),
            ("https://127.1/", [false, false, false]),
            ("https://0177.0.0.1/", [false, false, false]),
            // What does not belong into such a URL.
            ("https://user@example.com/", [false, false, false]),
            ("https://user:pass@example.com/", [false, false, false]),
            ("https://1.1.1.1@127.0.0.1/", [false, false, false]),
            ("https://example.com/#top", [false, false, false]),
            ("https://example.com:22/", [false, false, false]),
            ("https://example.com:80/", [false, false, false]),
            ("https://example.com:0/", [false, false, false]),
            ("https://example.com:65536/", [false, false, false]),
            ("https://example.com:/", [false, false, false]),
            ("https://exa mple.com/", [false, false, false]),
            ("https://bücher.example/", [false, false, false]),
            ("https://example.com\\@127.0.0.1/", [false, false, false]),
            ("https://-example.com/", [false, false, false]),
            ("https:///path", [false, false, false]),
            ("https://", [false, false, false]),
            ("ftp://example.com/", [false, false, false]),
            ("file:///etc/passwd", [false, false, false]),
            ("//example.com/", [false, false, false]),
            ("example.com", [false, false, false]),
            ("/hooks", [false, false, false]),
            ("", [false, false, false]),
        ] {
            assert_eq!(at(text), expected, "{text}");
        }
        let long = format!("https://example.com/{}", "a".repeat(MAX_URL));
        assert!(check(&long, Private).is_err());
    }
}
