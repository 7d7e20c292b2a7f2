//! What a route asks of its caller, and whether granted scopes cover it.

use crate::rules::hosted::other_area;
use crate::rules::text::nearest;

/// Who may use a route, whatever the key's scopes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// Any key; rows outside the key's workspace or end user are out of reach.
    Any,
    /// As [`Reach::Any`], but not for keys that act for one end user: what concerns others too.
    Shared,
    /// Keys of the whole organization only.
    Tenant,
    /// Operator keys of this installation only.
    Operator,
}

/// What a request must bring along; rides in its extensions.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// The scope that covers this route; `None` = any key.
    pub scope: Option<&'static str>,
    /// Who may use it.
    pub reach: Reach,
    /// The path names a row, whose existence and tenant are checked before the scope.
    pub by_id: bool,
    /// Bytes of body that are read.
    pub max_body: usize,
}

/// True when `granted` covers `required`: the same, `*`, `area:*`, or write where read is asked.
/// An empty list covers everything.
pub fn covers(granted: &[String], required: &str) -> bool {
    granted.is_empty()
        || granted.iter().any(|scope| {
            if scope == "*" || scope == required {
                return true;
            }
            let (Some((area, verb)), Some((needed_area, needed_verb))) =
                (scope.split_once(':'), required.split_once(':'))
            else {
                return false;
            };
            // Two spellings of one scope are in use.
            let area = if area == "audit_log" { "audit" } else { area };
            area == needed_area
                && (verb == "*"
                    || verb == needed_verb
                    || (verb == "write" && needed_verb == "read"))
        })
}

/// What can be asked for, and what beside reading and writing.
const AREAS: &[(&str, &[&str])] = &[
    ("workspaces", &[]),
    ("projects", &[]),
    ("computers", &["exec", "files", "desktop"]),
    ("usage", &[]),
    ("audit", &[]),
    ("audit_log", &[]),
    ("webhooks", &[]),
    ("keys", &["admin"]),
    ("tenant", &["admin"]),
];

/// What is wrong with a scope that somebody gives to a key: one that covers nothing would be a restriction by
/// mistake. Those of the hosted platform's other products are taken, since one list is often used for both.
pub fn misspelt(scope: &str) -> Option<String> {
    let verbs = |extra: &'static [&'static str]| ["read", "write", "*"].iter().chain(extra);
    let word = |w: &str| {
        !w.is_empty()
            && w.bytes()
                .all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'-'))
    };
    let known = match scope.split_once(':') {
        None => scope == "*",
        Some((area, verb)) => match AREAS.iter().find(|(own, _)| *own == area) {
            Some((_, extra)) => verbs(extra).any(|v| *v == verb),
            // Its singular is in no list of products, but near one of ours.
            None => {
                other_area(area)
                    && AREAS
                        .iter()
                        .all(|(own, _)| own.strip_suffix('s') != Some(area))
                    && (verb == "*" || word(verb))
            }
        },
    };
    if known && scope.len() <= 64 {
        return None;
    }
    let all = AREAS
        .iter()
        .flat_map(|(area, extra)| verbs(extra).map(move |verb| format!("{area}:{verb}")));
    let meant = nearest(scope, all).map_or_else(
        || "write area:read, area:write, area:* or *".to_owned(),
        |meant| format!("did you mean {meant}?"),
    );
    let shown: String = scope.chars().take(64).collect();
    Some(format!("{shown:?} is not a scope; {meant}"))
}

#[cfg(test)]
mod tests {
    use super::{covers, misspelt};

    #[test]
    fn a_misspelt_scope_is_told_from_one_that_there_is() {
        for scope in [
            "*",
            "computers:*",
            "computers:exec",
            "keys:admin",
            "audit_log:read",
            "sandboxes:create",
            "domains:write",
            "deployments:*",
            "data:write",
        ] {
            assert_eq!(misspelt(scope), None, "{scope}");
        }
        for (scope, meant) in [
            ("computer:*", "computers:*"),
            ("computers:reed", "computers:read"),
            ("workspace:read", "workspaces:read"),
            ("project:write", "projects:write"),
            ("Computers:read", "computers:read"),
            ("computers", "computers:"),
            ("usage:rd", "usage:read"),
            ("", "area:read"),
            ("all", "area:read"),
            ("nothing:read", "area:read"),
        ] {
            let why = misspelt(scope).unwrap();
            assert!(why.contains(meant), "{why}");
        }
    }

    #[test]
    fn scopes_cover_what_they_say() {
        let scopes = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (granted, required, expected) in [
            (scopes(&[]), "workspaces:write", true),
            (scopes(&["*"]), "workspaces:write", true),
            (scopes(&["workspaces:*"]), "workspaces:write", true),
            (scopes(&["workspaces:write"]), "workspaces:read", true),
            (scopes(&["workspaces:read"]), "workspaces:write", false),
            (scopes(&["computers:*"]), "workspaces:read", false),
            (scopes(&["audit_log:read"]), "audit:read", true),
            (scopes(&["nonsense"]), "workspaces:read", false),
        ] {
            assert_eq!(
                covers(&granted, required),
                expected,
                "{granted:?} {required}"
            );
        }
    }
}
