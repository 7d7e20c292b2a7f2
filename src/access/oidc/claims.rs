//! What an ID token has to say so that it is about this sign-in, and who somebody is by it.

use serde_json::{Map, Value};

use super::fault::Fault;
use crate::access::person::Person;
use crate::clock::Timestamp;
use crate::rules::config::OidcSettings;
use crate::rules::role::Role;
use crate::rules::text::{MAX_NAME, printable};

/// By how much the clocks of the provider and of this machine may differ, seconds.
const SKEW: i64 = 60;
/// Characters of a subject, as the standard has it, and of an address.
const LONGEST: usize = 255;
/// Values of a claim that are looked at.
const MOST: usize = 1000;

pub type Claims = Map<String, Value>;

/// Whether the claims are for this installation, for this attempt, and for now. `wall` is the wall clock, which is also
/// the provider's.
///
/// # Errors
/// What is wrong with them.
pub fn check(
    claims: &Claims,
    settings: &OidcSettings,
    nonce: &str,
    wall: Timestamp,
) -> Result<(), Fault> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let second = |name: &str| claims.get(name).and_then(Value::as_f64);
    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds, of which f64 has room for all"
    )]
    let (now, skew) = (wall.0.div_euclid(1000) as f64, SKEW as f64);
    if text("iss") != Some(settings.issuer.as_str()) {
        return Err(Fault::Token("another provider issued it"));
    }
    let for_us = texts(claims.get("aud")).any(|aud| aud == settings.client_id);
    let several = claims
        .get("aud")
        .is_some_and(|aud| aud.as_array().is_some_and(|all| all.len() > 1));
    let party = claims.get("azp");
    let by_us = party.is_none_or(|azp| azp.as_str() == Some(settings.client_id.as_str()));
    if !for_us || !by_us || (several && party.is_none()) {
        return Err(Fault::Token("it is for another client"));
    }
    if second("exp").is_none_or(|exp| exp + skew <= now) {
        return Err(Fault::Token("its time is over"));
    }
    let ahead = |name: &str| second(name).is_some_and(|at| at > now + skew);
    if second("iat").is_none() || ahead("iat") || ahead("nbf") {
        return Err(Fault::Token("it is from a time to come"));
    }
    if text("nonce") != Some(nonce) {
        return Err(Fault::Token("it is about another sign-in"));
    }
    if text("sub").is_none_or(|sub| sub.is_empty() || sub.chars().count() > LONGEST) {
        return Err(Fault::Token("it names nobody"));
    }
    Ok(())
}

/// A text, or the texts of a list.
fn texts(value: Option<&Value>) -> impl Iterator<Item = &str> {
    let (one, all) = match value {
        Some(Value::Array(all)) => (None, all.as_slice()),
        Some(Value::String(one)) => (Some(one.as_str()), &[][..]),
        _ => (None, &[][..]),
    };
    one.into_iter()
        .chain(all.iter().take(MOST).filter_map(Value::as_str))
}

/// A claim by its name; where there is none of that name, dots in it lead into objects.
pub fn claim<'a>(claims: &'a Claims, name: &str) -> Option<&'a Value> {
    if let Some(found) = claims.get(name) {
        return Some(found);
    }
    let (first, rest) = name.split_once('.')?;
    claim(claims.get(first)?.as_object()?, rest)
}

/// What the provider's word makes of somebody, in this installation.
///
/// # Errors
/// That it is nothing.
pub fn roles(claims: &Claims, settings: &OidcSettings, who: &Person) -> Result<Vec<Role>, Fault> {
    let given: Vec<&str> = texts(claim(claims, &settings.role_claim)).collect();
    let roles = settings.roles.iter();
    let mut found: Vec<Role> = roles
        .filter(|(value, _)| given.contains(&value.as_str()))
        .map(|(_, role)| *role)
        .collect();
    found.sort_unstable();
    found.dedup();
    if found.is_empty() {
        return Err(Fault::Denied(format!(
            "{} is known to the sign-in provider, but has no role here. Ask whoever runs this installation for one: the claim {:?} \
             decides.",
            who.shown(),
            settings.role_claim
        )));
    }
    Ok(found)
}

/// The organization that somebody belongs to, by its slug; `None` where nothing says which.
///
/// # Errors
/// Where the claim that says it is missing, and nothing else does.
pub fn organization(
    claims: &Claims,
    settings: &OidcSettings,
    who: &Person,
) -> Result<Option<String>, Fault> {
    let fixed = settings.organization.clone();
    let Some(name) = &settings.organization_claim else {
        return Ok(fixed);
    };
    let said = claim(claims, name).and_then(Value::as_str);
    match said.map(str::to_owned).or(fixed) {
        Some(slug) => Ok(Some(slug)),
        None => Err(Fault::Denied(format!(
            "{} is known to the sign-in provider, but belongs to no organization here: the claim {name:?} names none.",
            who.shown()
        ))),
    }
}

/// Who it is.
pub fn person(claims: &Claims, issuer: &str) -> Person {
    let text = |name: &str| {
        let text = claims.get(name).and_then(Value::as_str).map(str::trim);
        text.filter(|text| !text.is_empty())
    };
    let short = |text: &str, most: usize| printable(text).chars().take(most).collect::<String>();
    // An address that nobody has confirmed is a claim of the person's own.
    let confirmed = claims.get("email_verified") != Some(&Value::Bool(false));
    let email = text("email").filter(|_| confirmed);
    let subject = text("sub").unwrap_or("").to_owned();
    let names = [text("name"), text("preferred_username"), email];
    let name = names.into_iter().flatten().next().unwrap_or(&subject);
    Person {
        name: short(name, MAX_NAME),
        email: email.map(|email| short(email, LONGEST)),
        issuer: issuer.to_owned(),
        subject,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(value: Value) -> Claims {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_claim_is_found_by_its_name_or_inside_objects() {
        let claims = of(json!({
            "roles": ["a", 7, "b"], "realm_access": { "roles": "c" }, "https://x.example/roles": ["d"], "a.b": "e", "a": { "b": "f" },
        }));
        let found = |name: &str| texts(claim(&claims, name)).collect::<Vec<_>>();
        assert_eq!(found("roles"), ["a", "b"]);
        assert_eq!(found("realm_access.roles"), ["c"]);
        assert_eq!(found("https://x.example/roles"), ["d"]);
        assert_eq!(found("a.b"), ["e"]);
        assert!(found("nothing").is_empty() && found("realm_access.nothing").is_empty());
    }

    #[test]
    fn a_person_goes_by_the_best_name_that_is_known() {
        let name = |value: Value| person(&of(value), "i").name;
        assert_eq!(
            name(json!({ "sub": "7", "name": " Ada ", "email": "a@x" })),
            "Ada"
        );
        assert_eq!(
            name(json!({ "sub": "7", "preferred_username": "ada", "email": "a@x" })),
            "ada"
        );
        assert_eq!(name(json!({ "sub": "7", "email": "a@x" })), "a@x");
        assert_eq!(
            name(json!({ "sub": "7", "email": "a@x", "email_verified": false })),
            "7"
        );
        assert_eq!(
            name(json!({ "sub": "7", "name": "A\u{202e}da" })),
            "A\\u{202e}da"
        );
        assert_eq!(
            name(json!({ "sub": "7", "name": "x".repeat(500) })).len(),
            MAX_NAME
        );
    }
}
