//! What people are to an organization: a role is a set of scopes.

/// A role, from the one that may least.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    Bill,
    Read,
    Operate,
    Admin,
    /// Whoever runs the installation: all organizations.
    Operator,
}

impl Role {
    pub const ALL: [Role; 5] = [
        Role::Read,
        Role::Operate,
        Role::Bill,
        Role::Admin,
        Role::Operator,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Operate => "operate",
            Role::Bill => "bill",
            Role::Admin => "admin",
            Role::Operator => "operator",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Role::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// The scopes that keys of this role are made with (`assets/screens/keys.js`).
    pub fn scopes(self) -> &'static [&'static str] {
        match self {
            Role::Read => &[
                "workspaces:read",
                "projects:read",
                "computers:read",
                "usage:read",
                "audit:read",
                "webhooks:read",
            ],
            Role::Operate => &[
                "workspaces:write",
                "projects:write",
                "computers:write",
                "usage:read",
            ],
            Role::Bill => &["workspaces:read", "projects:read", "usage:read"],
            Role::Admin | Role::Operator => &["*"],
        }
    }
}

/// The scopes of all these roles together.
pub fn scopes_of(roles: &[Role]) -> Vec<String> {
    if roles.iter().any(|role| *role >= Role::Admin) {
        return vec!["*".to_owned()];
    }
    let mut scopes: Vec<String> = Vec::new();
    for scope in roles.iter().flat_map(|role| role.scopes()) {
        if !scopes.iter().any(|known| known == scope) {
            scopes.push((*scope).to_owned());
        }
    }
    scopes
}
