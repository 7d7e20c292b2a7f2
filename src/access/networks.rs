//! Networks that a key may be used from: addresses and CIDR blocks of both versions.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use crate::error::Fields;

/// Networks of one key at most.
const MOST: usize = 50;
/// Bits before the four bytes of an address of version 4 in the form of version 6.
const MAPPED: u8 = 96;

/// One address or one block. What stands for version 4 in the form of version 6 is version 4.
pub fn parse(text: &str) -> Option<IpNet> {
    let net = match text.parse::<IpAddr>() {
        Ok(ip) => IpNet::from(ip),
        Err(_) => text.parse().ok()?,
    };
    let IpNet::V6(block) = net else {
        return Some(net);
    };
    match (
        block.addr().to_ipv4_mapped(),
        block.prefix_len().checked_sub(MAPPED),
    ) {
        (Some(ip), Some(bits)) => Some(IpNet::V4(Ipv4Net::new(ip, bits).ok()?)),
        _ => Some(net),
    }
}

/// A block of one address is shown as that address.
pub fn shown(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() {
        net.addr().to_string()
    } else {
        net.to_string()
    }
}

/// Networks as they came in a request.
pub fn read(fields: &mut Fields, name: &'static str, given: &[String]) -> Vec<IpNet> {
    if given.len() > MOST {
        fields.push(name, format!("should be at most {MOST}"));
        return Vec::new();
    }
    let mut networks = Vec::new();
    for text in given {
        match parse(text.trim()) {
            // Whoever writes 10.1.2.3/8 may have meant one address: it must not open a network.
            Some(net) if net.trunc() != net => fields.push(
                name,
                format!(
                    "{text:?} has more bits than /{}; write {} for the network, or {} for the address",
                    net.prefix_len(),
                    net.trunc(),
                    net.addr()
                ),
            ),
            Some(net) => networks.push(net),
            None => {
                let shown: String = text.chars().take(64).collect();
                fields.push(
                    name,
                    format!(
                        "{shown:?} is neither an address nor a network; write 203.0.113.7, 203.0.113.0/24 or 2001:db8::/48"
                    ),
                );
            }
        }
    }
    networks
}

/// Whether an address lies in one of these networks; no network is every address, and one that is not
/// known lies in none.
pub fn is_among(networks: &[IpNet], ip: Option<IpAddr>) -> bool {
    networks.is_empty()
        || ip.is_some_and(|ip| networks.iter().any(|net| net.contains(&ip.to_canonical())))
}

/// Whether nothing that `inner` allows is refused by `outer`.
pub fn within(outer: &[IpNet], inner: &[IpNet]) -> bool {
    let covered = |net: &IpNet| outer.iter().any(|wide| wide.contains(net));
    outer.is_empty() || (!inner.is_empty() && inner.iter().all(covered))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| parse(text).unwrap()).collect()
    }

    #[test]
    fn addresses_and_blocks_of_both_versions() {
        for (text, seen) in [
            ("203.0.113.7", "203.0.113.7"),
            ("203.0.113.0/24", "203.0.113.0/24"),
            ("2001:db8::1", "2001:db8::1"),
            ("2001:DB8::/48", "2001:db8::/48"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            assert_eq!(shown(&parse(text).unwrap()), seen, "{text}");
        }
        for text in [
            "",
            "x",
            "203.0.113",
            "203.0.113.7/33",
            "::/129",
            "203.0.113.7/",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        let mut fields = Fields::default();
        read(&mut fields, "allowed_ips", &["10.1.2.3/8".to_owned()]);
        let text = fields.finish().unwrap_err().message().to_owned();
        assert!(
            text.contains("10.0.0.0/8") && text.contains("10.1.2.3 "),
            "{text}"
        );
    }

    #[test]
    fn who_is_among_them() {
        let some = nets(&["203.0.113.0/24", "2001:db8::/48"]);
        let among = |ip: &str| is_among(&some, Some(ip.parse().unwrap()));
        assert!(among("203.0.113.255") && among("2001:db8:0:ffff::1"));
        assert!(among("::ffff:203.0.113.9"));
        assert!(!among("203.0.114.0") && !among("2001:db8:1::"));
        assert!(!is_among(&some, None) && is_among(&[], None));
    }

    #[test]
    fn a_part_of_a_network_is_within_it() {
        let outer = nets(&["10.0.0.0/8", "2001:db8::1"]);
        assert!(within(&outer, &nets(&["10.1.0.0/16", "2001:db8::1"])));
        assert!(!within(&outer, &nets(&["10.1.0.0/16", "11.0.0.0/16"])));
        assert!(!within(&outer, &nets(&["0.0.0.0/0"])) && !within(&outer, &[]));
        assert!(within(&[], &[]) && within(&[], &outer));
    }
}
