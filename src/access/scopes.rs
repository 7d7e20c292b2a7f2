//! What a route asks of its caller, and whether granted scopes cover it.

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

#[cfg(test)]
mod tests {
    use super::covers;

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
