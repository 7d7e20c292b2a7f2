//! Signing in with an OpenID Connect provider, beside keys.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values::duration;
use crate::rules::public_url::PublicUrl;
use crate::rules::role::Role;

/// Where the provider sends people back to, below the public address.
pub const CALLBACK: &str = "/admin/oidc/callback";
/// The client secret, which is never on a command line, where other users of the machine see it.
const SECRET: &str = "WORKSPACED_OIDC_CLIENT_SECRET";
/// A session lasts no longer, as one that a key began.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// The provider, and who of those that it knows may do what.
#[derive(Args, Clone, Debug, Default)]
pub struct OidcArgs {
    /// People sign in to the admin page with this OpenID Connect provider, beside keys; such as
    /// https://login.example.com/realms/staff. Needs --public-url
    #[arg(long, env = "WORKSPACED_OIDC_ISSUER", value_name = "URL")]
    pub oidc_issuer: Option<String>,
    /// As which client this installation is known there
    #[arg(long, env = "WORKSPACED_OIDC_CLIENT_ID", value_name = "ID")]
    pub oidc_client_id: Option<String>,
    /// A file that holds the client secret; or the secret itself in WORKSPACED_OIDC_CLIENT_SECRET, or neither for a
    /// public client
    #[arg(long, env = "WORKSPACED_OIDC_CLIENT_SECRET_FILE", value_name = "FILE")]
    pub oidc_client_secret_file: Option<PathBuf>,
    /// What is asked for, openid among it [default: openid email profile]
    #[arg(
        long,
        env = "WORKSPACED_OIDC_SCOPES",
        value_name = "SCOPE",
        value_delimiter = ' '
    )]
    pub oidc_scopes: Vec<String>,
    /// The claim that says what somebody may do, a text or a list; dots lead into objects (realm_access.roles)
    /// [default: roles]
    #[arg(long, env = "WORKSPACED_OIDC_ROLE_CLAIM", value_name = "CLAIM")]
    pub oidc_role_claim: Option<String>,
    /// What a value of that claim makes somebody: read, operate, bill, admin or operator; repeat for more. Without it
    /// the first four stand for themselves
    #[arg(
        long = "oidc-role",
        env = "WORKSPACED_OIDC_ROLE",
        value_name = "VALUE=ROLE",
        value_delimiter = ','
    )]
    pub oidc_roles: Vec<String>,
    /// The organization of everybody who signs in so, by its slug; the first one, if left out
    #[arg(long, env = "WORKSPACED_OIDC_ORGANIZATION", value_name = "SLUG")]
    pub oidc_organization: Option<String>,
    /// A claim that holds that slug
    #[arg(long, env = "WORKSPACED_OIDC_ORGANIZATION_CLAIM", value_name = "CLAIM")]
    pub oidc_organization_claim: Option<String>,
    /// After this time somebody has to sign in again, such as 8h; 7 days at most [default: 12h]
    #[arg(long, env = "WORKSPACED_OIDC_SESSION", value_name = "TIME", value_parser = duration)]
    pub oidc_session: Option<Duration>,
}

/// A text that is in no log.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

impl Hidden {
    pub fn new(text: &str) -> Self {
        Hidden(text.to_owned())
    }

    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// [`OidcArgs`], checked.
#[derive(Clone, Debug)]
pub struct OidcSettings {
    /// As the provider writes it itself, to the character.
    pub issuer: String,
    pub client_id: String,
    /// `None` = a public client.
    pub secret: Option<Hidden>,
    /// Separated by spaces.
    pub scopes: String,
    pub role_claim: String,
    /// Values of the claim, and what each makes of somebody.
    pub roles: Vec<(String, Role)>,
    /// The slug of the one organization; `None` = the first one.
    pub organization: Option<String>,
    pub organization_claim: Option<String>,
    /// How long a session lasts.
    pub session: Duration,
    /// Where the provider sends people back to.
    pub redirect_uri: String,
}

impl OidcSettings {
    /// Which provider that is, for people.
    pub fn name(&self) -> &str {
        let rest = self.issuer.split_once("://").map_or("", |(_, rest)| rest);
        rest.split('/').next().unwrap_or("")
    }
}

/// Whether secrets may go there: over TLS, or within this machine.
pub fn is_safe_address(url: &str) -> bool {
    let Ok(uri) = url.parse::<axum::http::Uri>() else {
        return false;
    };
    let host = uri.host().unwrap_or("");
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    let is_own = plain.eq_ignore_ascii_case("localhost")
        || plain.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let named = !host.is_empty() && uri.authority().is_some_and(|a| !a.as_str().contains('@'));
    named && (uri.scheme_str() == Some("https") || (uri.scheme_str() == Some("http") && is_own))
}

impl OidcArgs {
    /// # Errors
    /// The name of the flag, and what is allowed.
    pub fn check(&self, public: Option<&PublicUrl>) -> Result<Option<OidcSettings>, String> {
        let Some(issuer) = self.given_issuer()? else {
            return Ok(None);
        };
        if !is_safe_address(&issuer) || issuer.contains(['?', '#']) {
            return Err(format!(
                "--oidc-issuer {issuer:?}: allowed are https:// addresses without ? and #, and http:// on this machine itself"
            ));
        }
        let client_id = self.oidc_client_id.clone().unwrap_or_default();
        if client_id.trim().is_empty() {
            return Err("--oidc-issuer needs --oidc-client-id: as which client this installation is known there".into());
        }
        let public = public.ok_or(
            "--oidc-issuer needs --public-url, the address to which the provider sends people back",
        )?;
        let session = self.oidc_session.unwrap_or(Duration::from_secs(12 * 3600));
        if session.is_zero() || session > LONGEST {
            return Err("--oidc-session: allowed are 1s to 168h".into());
        }
        Ok(Some(OidcSettings {
            client_id,
            secret: self.secret()?,
            scopes: self.scopes()?,
            role_claim: self.oidc_role_claim.clone().unwrap_or("roles".into()),
            roles: self.roles()?,
            organization: self.oidc_organization.clone(),
            organization_claim: self.oidc_organization_claim.clone(),
            session,
            redirect_uri: format!("{}{CALLBACK}", public.base()),
            issuer,
        }))
    }

    /// What is given without a provider would do nothing.
    fn given_issuer(&self) -> Result<Option<String>, String> {
        let issuer = self.oidc_issuer.as_deref().map(str::trim);
        match issuer.filter(|issuer| !issuer.is_empty()) {
            Some(issuer) => Ok(Some(issuer.to_owned())),
            None if self.oidc_client_id.is_some() || !self.oidc_roles.is_empty() => {
                Err("--oidc-client-id and --oidc-role need --oidc-issuer".into())
            }
            None => Ok(None),
        }
    }

    fn secret(&self) -> Result<Option<Hidden>, String> {
        #[expect(
            clippy::disallowed_methods,
            reason = "what clap reads could be given on the command line, too"
        )]
        let given = std::env::var(SECRET).ok().filter(|text| !text.is_empty());
        let text = match (given, &self.oidc_client_secret_file) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                return Err(format!(
                    "give one of {SECRET} and --oidc-client-secret-file, not both"
                ));
            }
            (Some(text), None) => text,
            (None, Some(file)) => std::fs::read_to_string(file)
                .map_err(|e| format!("--oidc-client-secret-file {}: {e}", file.display()))?,
        };
        match text.trim() {
            "" => Err("--oidc-client-secret-file: the file is empty".into()),
            text => Ok(Some(Hidden::new(text))),
        }
    }

    fn scopes(&self) -> Result<String, String> {
        if self.oidc_scopes.is_empty() {
            return Ok("openid email profile".into());
        }
        let all = self.oidc_scopes.join(" ");
        match all.split(' ').any(|scope| scope == "openid") {
            true => Ok(all),
            false => Err("--oidc-scopes: openid has to be among them".into()),
        }
    }

    fn roles(&self) -> Result<Vec<(String, Role)>, String> {
        if self.oidc_roles.is_empty() {
            // Whoever runs the installation is named on purpose.
            let own = Role::ALL.into_iter().filter(|r| *r != Role::Operator);
            return Ok(own.map(|role| (role.as_str().to_owned(), role)).collect());
        }
        let one = |text: &String| {
            let found = text
                .rsplit_once('=')
                .filter(|(value, _)| !value.is_empty())
                .and_then(|(value, role)| Some((value.to_owned(), Role::parse(role)?)));
            found.ok_or_else(|| {
                format!(
                    "--oidc-role {text:?}: allowed are a value of the claim and read, operate, bill, admin or operator, such as \
                     workspaces-admins=admin"
                )
            })
        };
        self.oidc_roles.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> OidcArgs {
        OidcArgs {
            oidc_issuer: Some("https://login.example/realms/a".into()),
            oidc_client_id: Some("workspaced".into()),
            ..OidcArgs::default()
        }
    }

    #[test]
    fn what_is_given_is_checked_as_a_whole() {
        let public = crate::rules::public_url::parse("https://box.example/ws").unwrap();
        let checked = |change: &dyn Fn(&mut OidcArgs)| {
            let mut args = args();
            change(&mut args);
            args.check(Some(&public))
        };
        let good = checked(&|_| {}).unwrap().unwrap();
        assert_eq!(
            good.redirect_uri,
            "https://box.example/ws/admin/oidc/callback"
        );
        assert_eq!(good.name(), "login.example");
        assert_eq!(good.roles.len(), 4);
        assert!(good.roles.iter().all(|(_, role)| *role != Role::Operator));
        assert!(args().check(None).unwrap_err().contains("--public-url"));
        assert!(OidcArgs::default().check(None).unwrap().is_none());
        for (change, names) in [
            (
                &(|a: &mut OidcArgs| a.oidc_issuer = Some("http://login.example".into()))
                    as &dyn Fn(&mut OidcArgs),
                "--oidc-issuer",
            ),
            (
                &|a| a.oidc_issuer = Some("https://a@b.example".into()),
                "--oidc-issuer",
            ),
            (&|a| a.oidc_issuer = None, "--oidc-issuer"),
            (&|a| a.oidc_client_id = None, "--oidc-client-id"),
            (&|a| a.oidc_scopes = vec!["email".into()], "--oidc-scopes"),
            (&|a| a.oidc_roles = vec!["staff=boss".into()], "--oidc-role"),
            (&|a| a.oidc_roles = vec!["=admin".into()], "--oidc-role"),
            (
                &|a| a.oidc_session = Some(Duration::from_secs(8 * 86_400)),
                "--oidc-session",
            ),
            (
                &|a| a.oidc_client_secret_file = Some("/nowhere".into()),
                "--oidc-client-secret-file",
            ),
        ] {
            let why = checked(change).unwrap_err();
            assert!(why.contains(names), "{why}");
        }
    }

    #[test]
    fn secrets_go_over_tls_or_stay_on_this_machine() {
        for url in [
            "https://a.example",
            "http://127.0.0.1:3000/x",
            "http://[::1]:1",
            "http://localhost:1",
        ] {
            assert!(is_safe_address(url), "{url}");
        }
        for url in [
            "http://a.example",
            "http://localhost.evil.example",
            "ftp://localhost",
            "localhost",
            "https://",
            "http://127.0.0.1@evil.example",
        ] {
            assert!(!is_safe_address(url), "{url}");
        }
        assert_eq!(format!("{:?}", Hidden::new("x")), "(hidden)");
    }
}
