//! Signing in by name: OpenID Connect with an authorization code, PKCE, a state and a nonce.
//!
//! The provider is asked over TLS, or on this machine itself, and never for longer than some seconds. What it says about
//! a person is believed only when one of its published keys has signed it for this client and this attempt. Its keys are
//! asked for again when a token names one that is not known: that is how providers change them.

mod browser;
mod claims;
mod fault;
mod http;
mod jwt;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use data_encoding::BASE64;
use parking_lot::Mutex;
use serde_json::{Value, json};

pub use browser::GOOD_MS;
use browser::{Attempt, Spent, attempt, cookie};
use claims::Claims;
pub use fault::Fault;
use http::{Ask, Http};
use jwt::{Jwk, Unsigned};

use crate::access::person::Person;
use crate::clock::{Stopwatch, Timestamp};
use crate::rules::config::{OidcSettings, is_safe_address};
use crate::rules::role::Role;

/// For so long it is not looked again what the provider says of itself.
const KEPT: Duration = Duration::from_secs(3600);

/// The provider, with what is known of it.
pub struct Provider {
    pub settings: OidcSettings,
    http: Http,
    /// Of this process alone; attempts do not outlive it.
    secret: OnceLock<[u8; 32]>,
    known: Mutex<Option<Known>>,
    spent: Spent,
}

/// What the provider says of itself.
#[derive(Clone)]
struct Known {
    authorization: String,
    token: String,
    userinfo: Option<String>,
    keys_at: String,
    /// The client shows its secret in the form, since the provider takes it nowhere else.
    secret_in_form: bool,
    keys: Arc<Vec<Jwk>>,
    since: Arc<Stopwatch>,
}

/// Where a browser goes to sign in, and the cookie by which it is known when it is back.
pub struct Begun {
    pub cookie: String,
    pub location: String,
}

/// With what a browser comes back.
#[derive(serde::Deserialize, Default)]
#[serde(default)]
pub struct Answer {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
    iss: Option<String>,
}

/// Who has signed in.
pub struct Arrival {
    pub person: Person,
    /// `Err`: the person may not come in.
    pub admitted: Result<Admitted, Fault>,
}

/// As what.
pub struct Admitted {
    pub roles: Vec<Role>,
    /// By its slug; `None` = the first one.
    pub organization: Option<String>,
}

impl Provider {
    pub fn new(settings: OidcSettings) -> Self {
        Provider {
            settings,
            http: Http::default(),
            secret: OnceLock::new(),
            known: Mutex::default(),
            spent: Spent::default(),
        }
    }

    /// Begins a sign-in.
    ///
    /// # Errors
    /// Where the provider does not say where that is.
    pub async fn begin(&self, random: [u8; 64], now: Timestamp) -> Result<Begun, Fault> {
        let known = self.known().await?;
        let (for_cookie, for_secret) = random.split_at(32);
        let secret = self
            .secret
            .get_or_init(|| for_secret.try_into().unwrap_or([0; 32]));
        let cookie = cookie(for_cookie, now);
        let attempt =
            attempt(secret, &cookie, now).ok_or(Fault::Attempt("the clock is out of range"))?;
        let separator = if known.authorization.contains('?') {
            '&'
        } else {
            '?'
        };
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", &self.settings.redirect_uri)
            .append_pair("scope", &self.settings.scopes)
            .append_pair("state", &attempt.state)
            .append_pair("nonce", &attempt.nonce)
            .append_pair("code_challenge", &attempt.challenge())
            .append_pair("code_challenge_method", "S256")
            .finish();
        let location = format!("{}{separator}{query}", known.authorization);
        Ok(Begun { cookie, location })
    }

    /// Who comes back from the provider, with the cookie of that browser.
    ///
    /// # Errors
    /// Why nobody is known by that.
    pub async fn finish(
        &self,
        cookie: Option<&str>,
        answer: Answer,
        now: Timestamp,
        wall: Timestamp,
    ) -> Result<Arrival, Fault> {
        let attempt = self.attempt(cookie, &answer, now)?;
        let known = self.known().await?;
        let said = self.exchange(&known, &attempt, answer.code.unwrap_or_default());
        let said = said.await?;
        let mut claims = self.believed(&known, &said).await?;
        claims::check(&claims, &self.settings, &attempt.nonce, wall)?;
        self.complete(&known, &said, &mut claims).await?;
        // The same answer of the provider, sent again, begins nothing.
        if !self.spent.spend(&attempt.state, now) {
            return Err(Fault::Attempt("it was finished before"));
        }
        let person = claims::person(&claims, &self.settings.issuer);
        let admitted = claims::roles(&claims, &self.settings, &person).and_then(|roles| {
            let organization = claims::organization(&claims, &self.settings, &person)?;
            Ok(Admitted {
                roles,
                organization,
            })
        });
        Ok(Arrival { person, admitted })
    }

    /// The attempt of this browser that the provider answers.
    fn attempt(
        &self,
        cookie: Option<&str>,
        answer: &Answer,
        now: Timestamp,
    ) -> Result<Attempt, Fault> {
        let cookie = cookie.ok_or(Fault::Attempt("it was not begun in this browser"))?;
        let secret = self.secret.get();
        let found = secret.and_then(|secret| attempt(secret, cookie, now));
        let found = found.ok_or(Fault::Attempt("it took too long"))?;
        if !found.answers_to(answer.state.as_deref().unwrap_or("")) {
            return Err(Fault::Attempt(
                "it is not the one that this browser began last",
            ));
        }
        if answer
            .iss
            .as_ref()
            .is_some_and(|iss| *iss != self.settings.issuer)
        {
            return Err(Fault::Attempt("another provider answered it"));
        }
        match (&answer.error, &answer.code) {
            (Some(error), _) if error == "access_denied" => Err(Fault::Denied(
                "The sign-in provider says no: access_denied.".into(),
            )),
            (Some(_), _) | (None, None) => Err(Fault::Attempt("the provider broke it off")),
            (None, Some(_)) => Ok(found),
        }
    }

    /// The code for tokens.
    async fn exchange(
        &self,
        known: &Known,
        attempt: &Attempt,
        code: String,
    ) -> Result<Value, Fault> {
        let (id, secret) = (&self.settings.client_id, self.settings.secret.as_ref());
        let mut fields = vec![
            ("grant_type", "authorization_code".to_owned()),
            ("code", code),
            ("redirect_uri", self.settings.redirect_uri.clone()),
            ("code_verifier", attempt.verifier.clone()),
        ];
        let encoded =
            |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let basic = match secret.filter(|_| !known.secret_in_form) {
            Some(secret) => {
                let both = format!("{}:{}", encoded(id), encoded(secret.text()));
                Some(format!("Basic {}", BASE64.encode(both.as_bytes())))
            }
            None => {
                fields.push(("client_id", id.clone()));
                fields.extend(secret.map(|secret| ("client_secret", secret.text().to_owned())));
                None
            }
        };
        let url = known.token.clone();
        match self.http.ask(Ask::Form { url, basic, fields }).await? {
            (200, said) => Ok(said),
            (400, said) if said["error"] == "invalid_grant" => {
                Err(Fault::Attempt("the provider does not know it any more"))
            }
            (400 | 401, said) if said["error"] == "invalid_client" => Err(Fault::Provider(
                "it does not take the client id and secret of this installation".into(),
            )),
            (status, _) => Err(Fault::Provider(format!("it answered {status} to the code"))),
        }
    }

    /// The claims of the ID token, if the provider has signed it.
    async fn believed(&self, known: &Known, said: &Value) -> Result<Claims, Fault> {
        let token = said["id_token"].as_str();
        let token = token.ok_or(Fault::Provider("it sent no ID token".into()))?;
        let found = match jwt::verified(token, &known.keys) {
            // It may be a new one.
            Err(Unsigned::UnknownKey) => jwt::verified(token, &self.new_keys(known).await?),
            found => found,
        };
        found.map_err(|why| match why {
            Unsigned::UnknownKey => Fault::Token("no key of the provider has signed it"),
            Unsigned::Bad(why) => Fault::Token(why),
        })
    }

    /// Claims that the configuration needs and the token has not, from where the provider says more about a person.
    async fn complete(
        &self,
        known: &Known,
        said: &Value,
        claims: &mut Claims,
    ) -> Result<(), Fault> {
        let named = [
            Some(&self.settings.role_claim),
            self.settings.organization_claim.as_ref(),
        ];
        let lacks = named
            .into_iter()
            .flatten()
            .any(|name| claims::claim(claims, name).is_none());
        let (Some(url), Some(token), true) =
            (&known.userinfo, said["access_token"].as_str(), lacks)
        else {
            return Ok(());
        };
        let more = self.http.get(url.clone(), Some(token.to_owned())).await?;
        let Value::Object(more) = more else {
            return Ok(());
        };
        if more.get("sub") != claims.get("sub") {
            return Err(Fault::Token("the provider speaks of somebody else"));
        }
        for (name, value) in more {
            claims.entry(name).or_insert(value);
        }
        Ok(())
    }

    /// What the provider says of itself, asked for once in a while.
    async fn known(&self) -> Result<Known, Fault> {
        let fresh = |known: &Known| known.since.micros() < KEPT.as_micros() as u64;
        if let Some(known) = self.known.lock().clone().filter(fresh) {
            return Ok(known);
        }
        let issuer = &self.settings.issuer;
        let url = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let said = self.http.get(url, None).await?;
        if said["issuer"] != json!(issuer) {
            return Err(Fault::Provider(
                "it calls itself otherwise than --oidc-issuer does".into(),
            ));
        }
        let place = |name: &str| {
            let url = said[name].as_str().filter(|url| is_safe_address(url));
            url.map(str::to_owned)
                .ok_or_else(|| Fault::Provider(format!("it names no safe {name}")))
        };
        let methods = said["token_endpoint_auth_methods_supported"].as_array();
        let takes = |name: &str| methods.is_none_or(|all| all.iter().any(|m| m == name));
        let known = Known {
            authorization: place("authorization_endpoint")?,
            token: place("token_endpoint")?,
            userinfo: place("userinfo_endpoint").ok(),
            keys_at: place("jwks_uri")?,
            secret_in_form: !takes("client_secret_basic"),
            keys: Arc::default(),
            since: Arc::new(Stopwatch::start()),
        };
        let keys = self.new_keys(&known).await?;
        Ok(Known { keys, ..known })
    }

    /// Its keys as they are now, which are kept.
    async fn new_keys(&self, known: &Known) -> Result<Arc<Vec<Jwk>>, Fault> {
        let set = self.http.get(known.keys_at.clone(), None).await?;
        let keys = Arc::new(jwt::keys(&set));
        *self.known.lock() = Some(Known {
            keys: keys.clone(),
            ..known.clone()
        });
        Ok(keys)
    }
}
