//! Host names: which texts are one, in the one spelling that is stored and compared.

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};

/// Longest label of a DNS name.
const MAX_LABEL: usize = 63;
/// Longest DNS name, written without the root's dot.
const MAX_NAME: usize = 253;
/// Longest domain: the longest host under it, `<label>.sandbox.<domain>`, must still be a DNS name.
const MAX_DOMAIN: usize = MAX_NAME - (MAX_LABEL + ".sandbox.".len());
/// Longest text that is looked at. Non-ASCII letters take more bytes than their ASCII form.
const MAX_TEXT: usize = 1024;
/// Last labels that public DNS does not delegate: a name under them means something else on every
/// network, so nobody can prove that it is theirs.
const NOT_PUBLIC: [&str; 13] = [
    "arpa",
    "corp",
    "home",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "mail",
    "onion",
    "private",
];

/// A host name as it is stored: ASCII, lower case, no dot at the end, and short enough for the
/// names that are made under it. International names are turned into their `xn--` form.
///
/// At least two labels; no scheme, port, path, wildcard or IP address.
///
/// # Errors
/// What is wrong and what to send instead, to be put behind the name of a field or flag.
pub fn normalize_host(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("must not be empty; send a host name such as acme.com".into());
    }
    if text.len() > MAX_TEXT {
        return Err(too_long());
    }
    // Before anything is judged: full-width letters, dots and colons are what they stand for.
    let host = Uts46::new()
        .to_ascii(
            text.as_bytes(),
            AsciiDenyList::EMPTY,
            Hyphens::Allow,
            DnsLength::Ignore,
        )
        .map_err(|_| {
            "has letters that no host name can have; send a host name such as acme.com".to_owned()
        })?;
    not_something_else(&host)?;
    let host = host.strip_suffix('.').unwrap_or(&host);
    host.split('.').try_for_each(check_label)?;
    check_end(host)?;
    if host.len() > MAX_DOMAIN {
        return Err(too_long());
    }
    Ok(host.to_owned())
}

/// Whether `host` is `domain` or a name under it. Both are normalized.
pub fn is_within(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The domains above a normalized host that have at least two labels, nearest first.
pub fn parents(host: &str) -> impl Iterator<Item = &str> {
    host.match_indices('.')
        .map(|(dot, _)| &host[dot + 1..])
        .filter(|parent| parent.contains('.'))
}

fn too_long() -> String {
    format!("is too long; a domain may have {MAX_DOMAIN} characters, since names are made under it")
}

/// Texts that people paste instead of a host name, each with the part to leave out.
fn not_something_else(text: &str) -> Result<(), String> {
    let colons = text.matches(':').count();
    let why = if text.contains("://") {
        "must be a host name without a scheme; leave out what stands before and with ://"
    } else if text.contains(['/', '?', '#', '\\']) {
        "must be a host name without a path; leave out the slash and what follows"
    } else if text.contains('@') {
        "must be a host name without a user; leave out what stands before and with @"
    } else if text.contains(['[', ']']) || colons > 1 {
        NO_ADDRESS
    } else if colons == 1 {
        "must be a host name without a port; leave out the colon and what follows"
    } else if text.contains('*') {
        "must be a host name without a wildcard; leave out the *, wildcard records are made from it"
    } else if text.contains(|c: char| c.is_ascii_whitespace()) {
        "must be one host name without spaces"
    } else {
        return Ok(());
    };
    Err(why.into())
}

const NO_ADDRESS: &str = "must be a host name, not an IP address; send a domain such as acme.com";

fn check_label(label: &str) -> Result<(), String> {
    if label.is_empty() {
        return Err("has a dot too many; send a host name such as acme.com".into());
    }
    if label.len() > MAX_LABEL {
        return Err(format!(
            "has a part of more than {MAX_LABEL} characters between its dots"
        ));
    }
    if label.contains('_') {
        return Err("must not contain an underscore; host names have letters, digits and -".into());
    }
    if !label
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    {
        return Err("must contain only letters, digits, - and dots".into());
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err("must not have a - at the beginning or end of a part between dots".into());
    }
    Ok(())
}

/// What the last label says about the whole: an address, or a name of no public zone.
fn check_end(host: &str) -> Result<(), String> {
    let last = host.rsplit('.').next().unwrap_or(host);
    let hex = last
        .strip_prefix("0x")
        .is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    if hex || last.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NO_ADDRESS.into());
    }
    if NOT_PUBLIC.contains(&last) {
        return Err(format!(
            "must be a name of the public DNS, which .{last} is not; send a domain that you own"
        ));
    }
    if last.len() == host.len() {
        return Err("must have at least two parts, such as acme.com".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_have_one_spelling() {
        for (text, expected) in [
            ("miosa.ai", "miosa.ai"),
            ("proxy.miosa.ai", "proxy.miosa.ai"),
            ("  DrSmithClinic.COM. ", "drsmithclinic.com"),
            ("harbor.example", "harbor.example"),
            ("a.b", "a.b"),
            ("1.2.3.x", "1.2.3.x"),
            ("r3---sn.example", "r3---sn.example"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("XN--bcher-kva.example", "xn--bcher-kva.example"),
            ("ｍｉｏｓａ。ａｉ", "miosa.ai"),
            ("faß.example", "xn--fa-hia.example"),
            ("mail.acme.com", "mail.acme.com"),
        ] {
            assert_eq!(normalize_host(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_the_part_that_is_wrong() {
        let long_label = format!("{}.com", "a".repeat(64));
        let long = format!("{}com", "abcdefghi.".repeat(18));
        let endless = "a".repeat(5000);
        for (text, part) in [
            ("", "empty"),
            ("  ", "empty"),
            (".", "dot too many"),
            ("a..b", "dot too many"),
            (".a.b", "dot too many"),
            ("a.b..", "dot too many"),
            ("https://acme.com", "scheme"),
            ("acme.com/path", "path"),
            ("acme.com?x", "path"),
            ("me@acme.com", "user"),
            ("acme.com:443", "port"),
            ("acme.com：443", "port"),
            ("*.acme.com", "wildcard"),
            ("ac me.com", "spaces"),
            ("ac\nme.com", "spaces"),
            ("_dmarc.acme.com", "underscore"),
            ("-a.com", "beginning or end"),
            ("a-.com", "beginning or end"),
            ("a,b.com", "only letters"),
            ("a%2e.com", "only letters"),
            ("a\0.com", "only letters"),
            ("xn--a.com", "letters that no host name"),
            ("acme", "two parts"),
            ("localhost", "localhost"),
            ("a.localhost", "localhost"),
            ("printer.local", "local"),
            ("vault.internal", "internal"),
            ("1.0.0.127.in-addr.arpa", "arpa"),
            ("127.0.0.1", "IP address"),
            ("2130706433", "IP address"),
            ("0x7f.0x1", "IP address"),
            ("１２７.0.0.1", "IP address"),
            ("a.0x", "IP address"),
            ("[::1]", "IP address"),
            ("::1", "IP address"),
            (&long_label, "63"),
            (&long, "too long"),
            (&endless, "too long"),
        ] {
            match normalize_host(text) {
                Err(why) => assert!(why.contains(part), "{text:?}: {why}"),
                Ok(host) => panic!("{text:?} was taken as {host:?}"),
            }
        }
    }

    #[test]
    fn room_is_left_for_the_longest_name_under_a_domain() {
        let domain = format!("{}.com", "abcdefghi.".repeat(17) + "abcdefg");
        assert_eq!(domain.len(), MAX_DOMAIN);
        assert!(normalize_host(&domain).is_ok());
        let longest = format!("{}.sandbox.{domain}", "x".repeat(MAX_LABEL));
        assert_eq!(longest.len(), MAX_NAME);
        assert!(normalize_host(&format!("a{domain}")).is_err());
    }

    #[test]
    fn what_is_above_and_below() {
        assert!(is_within("miosa.ai", "miosa.ai"));
        assert!(is_within("a.b.miosa.ai", "miosa.ai"));
        assert!(!is_within("notmiosa.ai", "miosa.ai"));
        assert!(!is_within("ai", "miosa.ai"));
        let above: Vec<_> = parents("a.b.acme.com").collect();
        assert_eq!(above, ["b.acme.com", "acme.com"]);
        assert_eq!(parents("acme.com").count(), 0);
    }

    #[test]
    fn any_text_is_judged_and_the_result_is_its_own_spelling() {
        let pieces = "[-._:*/@a-zA-Z0-9 xnäßｅ。\\x00-\\x7f]{0,80}";
        proptest::proptest!(|(any in "\\PC{0,100}", close in pieces)| {
            for text in [any, close] {
                if let Ok(host) = normalize_host(&text) {
                    assert_eq!(normalize_host(&host), Ok(host.clone()), "{text:?}");
                    assert!(host.is_ascii() && host.len() <= MAX_DOMAIN && host.contains('.'));
                    assert_eq!(host, host.to_ascii_lowercase());
                }
            }
        });
        proptest::proptest!(|(host in "[a-z]{1,20}(-[a-z0-9]{1,10}){0,3}\\.[a-z]{2,3}")| {
            // An `xn--` that was not made by the encoding is refused, as it should be.
            proptest::prop_assume!(!host.contains("xn--") && !NOT_PUBLIC.iter().any(|n| host.ends_with(&format!(".{n}"))));
            assert_eq!(normalize_host(&host.to_uppercase()), Ok(host));
        });
    }
}
