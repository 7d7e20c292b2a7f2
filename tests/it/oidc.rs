//! Signing in by name: against a provider on loopback, with tokens that are what they should be, and others.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use workspaced::testing::{Clock, Config, Hidden, OidcSettings, Role};

use crate::harness::{Answer, Service, runtime};

mod provider;
use provider::{CLIENT, Provider, SECRET, Signer};

const HOST: &str = "box.test:8400";

fn settings(origin: &str) -> OidcSettings {
    OidcSettings {
        issuer: origin.to_owned(),
        client_id: CLIENT.into(),
        secret: Some(Hidden::new(SECRET)),
        scopes: "openid email".into(),
        role_claim: "realm.roles".into(),
        roles: vec![
            ("ws-admins".into(), Role::Admin),
            ("ws-read".into(), Role::Read),
            ("ws-bill".into(), Role::Bill),
            ("ws-run".into(), Role::Operator),
        ],
        organization: None,
        organization_claim: None,
        session: Duration::from_secs(8 * 3600),
        redirect_uri: "http://box.test:8400/admin/oidc/callback".into(),
    }
}

/// A service, its provider, and the key that signs.
struct Scene {
    s: Service,
    provider: Provider,
    signer: Signer,
}

/// A browser that has gone to the provider.
struct Gone {
    cookie: String,
    state: String,
    nonce: String,
    location: String,
}

fn get(s: &Service, path: &str, cookie: &str, more: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(path).header("host", HOST);
    for (name, value) in more.iter().chain(&[("cookie", cookie)]) {
        request = request.header(*name, *value);
    }
    s.send(request.body(Body::empty()).unwrap())
}

/// The cookie of an answer whose name begins so.
fn set(answer: &Answer, name: &str) -> Option<String> {
    let all = answer.headers.get_all("set-cookie").iter();
    all.map(|value| value.to_str().unwrap())
        .find(|set| set.starts_with(name))
        .map(str::to_owned)
}

fn pair(set: &str) -> String {
    set.split(';').next().unwrap().to_owned()
}

impl Scene {
    fn new() -> Scene {
        Scene::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut OidcSettings)) -> Scene {
        let provider = runtime().block_on(Provider::start());
        let mut oidc = settings(&provider.origin);
        change(&mut oidc);
        let s = Service::with(Config {
            oidc: Some(oidc),
            ..Config::default()
        });
        let signer = Signer::es256();
        provider.says.lock().unwrap().keys = json!({ "keys": [signer.jwk("one")] });
        Scene {
            s,
            provider,
            signer,
        }
    }

    fn go(&self) -> Gone {
        let answer = get(
            &self.s,
            "/admin/oidc/start",
            "",
            &[("sec-fetch-site", "same-origin")],
        );
        assert_eq!(answer.status.as_u16(), 303, "{}", answer.text);
        let location = answer.headers["location"].to_str().unwrap().to_owned();
        let query = location.split_once('?').unwrap().1;
        let part = |name: &str| {
            let mut all = form_urlencoded::parse(query.as_bytes());
            all.find(|(key, _)| key == name).unwrap().1.into_owned()
        };
        self.provider.says.lock().unwrap().challenge = part("code_challenge");
        Gone {
            cookie: pair(&set(&answer, "workspaced_signin").unwrap()),
            state: part("state"),
            nonce: part("nonce"),
            location,
        }
    }

    fn claims(&self, gone: &Gone) -> Value {
        let now = Clock::System.wall().0 / 1000;
        json!({
            "iss": self.provider.origin, "aud": CLIENT, "sub": "u-7", "exp": now + 300, "iat": now, "nonce": gone.nonce,
            "name": "Ada Lovelace", "email": "ada@example.com", "realm": { "roles": ["ws-admins", "other"] },
        })
    }

    fn say(&self, claims: &Value) {
        let header = json!({ "alg": self.signer.algorithm(), "kid": "one" });
        self.provider.says.lock().unwrap().token = self.signer.sign(&header, claims);
    }

    fn come_back(&self, gone: &Gone) -> Answer {
        let path = format!("/admin/oidc/callback?code=good&state={}", gone.state);
        let from = [("sec-fetch-site", "cross-site")];
        get(&self.s, &path, &gone.cookie, &from)
    }

    /// All of it; the claims as `change` leaves them.
    fn sign_in(&self, change: impl FnOnce(&mut Value)) -> Answer {
        let gone = self.go();
        let mut claims = self.claims(&gone);
        change(&mut claims);
        self.say(&claims);
        self.come_back(&gone)
    }

    /// The session of somebody who came in.
    #[track_caller]
    fn session(&self, answer: &Answer) -> String {
        assert_eq!(answer.status.as_u16(), 303, "{}", answer.text);
        assert_eq!(answer.headers["location"], "/admin");
        pair(&set(answer, "workspaced_session").unwrap())
    }

    fn call(&self, cookie: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("host", HOST)
            .header("origin", format!("http://{HOST}"))
            .header("x-workspaced-admin", "1")
            .header("content-type", "application/json")
            .header("cookie", cookie);
        let body = body.map_or(Body::empty(), |body| Body::from(body.to_string()));
        self.s.send(request.body(body).unwrap())
    }
}

fn later(scene: &Scene, seconds: i64) {
    let clock = &scene.s.clock;
    clock.set(clock.now().plus_seconds(seconds));
}

/// Refused with a page that says why, and without a session.
#[track_caller]
fn refused(answer: &Answer, status: u16, why: &str) {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
    assert!(answer.text.contains(why), "{why} is not in {}", answer.text);
    assert_eq!(set(answer, "workspaced_session"), None);
    assert_eq!(answer.headers["cache-control"], "no-store");
    let policy = answer.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("script-src 'self'") && policy.contains("frame-ancestors 'none'"));
}

#[test]
fn a_person_signs_in_and_what_is_done_is_done_by_a_person() {
    let scene = Scene::new();
    let gone = scene.go();
    for part in [
        "/auth?tenant=1&response_type=code&client_id=workspaced&",
        "redirect_uri=http%3A%2F%2Fbox.test%3A8400%2Fadmin%2Foidc%2Fcallback",
        "scope=openid+email",
        "code_challenge_method=S256",
    ] {
        assert!(gone.location.contains(part), "{part}: {}", gone.location);
    }
    scene.say(&scene.claims(&gone));
    let answer = scene.come_back(&gone);
    let set_session = set(&answer, "workspaced_session").unwrap();
    for part in ["HttpOnly", "SameSite=Strict", "Max-Age=28800"] {
        assert!(set_session.contains(part), "{set_session}");
    }
    let over = set(&answer, "workspaced_signin").unwrap();
    assert!(
        over.contains("Max-Age=0") && over.contains("SameSite=Lax"),
        "{over}"
    );
    let cookie = scene.session(&answer);

    let who = get(&scene.s, "/admin/session", &cookie, &[]).expect(200);
    assert_eq!(who["key"]["person"]["email"], "ada@example.com");
    assert_eq!(who["key"]["scopes"], json!(["*"]));
    assert_eq!(
        (&who["key"]["operator"], &who["provider"]),
        (&json!(false), &json!(scene.provider.origin[7..]))
    );
    let me = scene
        .call(&cookie, Method::GET, "/whoami", None)
        .expect(200);
    assert_eq!(
        (&me["user"]["name"], &me["user"]["email"]),
        (&json!("Ada Lovelace"), &json!("ada@example.com"))
    );

    let made = scene.call(
        &cookie,
        Method::POST,
        "/workspaces",
        Some(json!({ "name": "Clinic" })),
    );
    let id = made.expect(201)["id"].as_str().unwrap().to_owned();
    scene
        .call(&cookie, Method::DELETE, &format!("/workspaces/{id}"), None)
        .expect(200);
    let log = scene
        .s
        .call_as(
            &scene.s.key,
            Method::GET,
            &format!("/audit-log?resource_id={id}"),
            None,
        )
        .expect(200);
    for row in log["data"].as_array().unwrap() {
        assert_eq!(
            (&row["actor_label"], &row["actor_type"]),
            (&json!("Ada Lovelace"), &json!("api_key"))
        );
        assert_eq!(row["actor"]["subject"], "u-7");
        assert_eq!(row["actor"]["email"], "ada@example.com");
        assert_eq!(row["actor"]["operator_of"], Value::Null);
    }
    assert_eq!(log["data"][0]["type"], "workspace.deleted");
    // A person is listed among the keys, and has no secret that could be had.
    let key = who["key"]["id"].as_str().unwrap();
    let by = |method, path: &str, body| scene.s.call_as(&scene.s.key, method, path, body);
    let shown = by(Method::GET, &format!("/api-keys/{key}"), None).expect(200);
    assert_eq!(shown["data"]["person"]["subject"], "u-7");
    by(
        Method::POST,
        &format!("/api-keys/{key}/rotate"),
        Some(json!({})),
    )
    .refused(409, "IS_A_PERSON");
    by(
        Method::PATCH,
        &format!("/api-keys/{key}"),
        Some(json!({ "scopes": ["*"] })),
    )
    .refused(409, "IS_A_PERSON");
    // Disabled, the session ends at once, and there is no other one.
    by(
        Method::PATCH,
        &format!("/api-keys/{key}"),
        Some(json!({ "status": "disabled" })),
    )
    .expect(200);
    assert_eq!(
        scene
            .call(&cookie, Method::GET, "/whoami", None)
            .status
            .as_u16(),
        401
    );
    refused(
        &scene.sign_in(|_| {}),
        403,
        "Ada Lovelace (ada@example.com) to this installation is disabled",
    );
    by(
        Method::PATCH,
        &format!("/api-keys/{key}"),
        Some(json!({ "status": "active" })),
    )
    .expect(200);
    scene.session(&scene.sign_in(|_| {}));
    by(Method::DELETE, &format!("/api-keys/{key}"), None).expect(200);
    refused(&scene.sign_in(|_| {}), 403, "is revoked");
}

#[test]
fn roles_come_from_the_claim_and_go_with_it() {
    let scene = Scene::new();
    let with = |roles: Value| scene.sign_in(|claims| claims["realm"]["roles"] = roles);
    let scopes = |cookie: &str| {
        get(&scene.s, "/admin/session", cookie, &[]).expect(200)["key"]["scopes"].clone()
    };
    let first = scene.session(&with(json!(["ws-admins"])));
    assert_eq!(scopes(&first), json!(["*"]));
    // The next sign-in knows better, also for the session that there is.
    let second = scene.session(&with(json!(["ws-bill"])));
    assert_eq!(
        scopes(&second),
        json!(["workspaces:read", "projects:read", "usage:read"])
    );
    assert_eq!(scopes(&first), scopes(&second));
    scene
        .call(
            &second,
            Method::POST,
            "/workspaces",
            Some(json!({ "name": "x" })),
        )
        .refused(403, "insufficient_scope");
    let both = scene.session(&with(json!(["ws-bill", "ws-read"])));
    assert!(
        scopes(&both)
            .as_array()
            .unwrap()
            .contains(&json!("audit:read"))
    );
    let run = scene.session(&with(json!("ws-run")));
    scene.call(&run, Method::GET, "/system", None).expect(200);
    // Neither a role of another name, nor one inside a word, nor what is no text.
    for roles in [
        json!(["admin"]),
        json!("ws-admins ws-read"),
        json!([]),
        json!({ "ws-admins": true }),
        json!(null),
        json!(7),
    ] {
        refused(
            &with(roles),
            403,
            "Ada Lovelace (ada@example.com) is known to the sign-in provider, but has no role here",
        );
    }
    let log = scene
        .s
        .call_as(
            &scene.s.key,
            Method::GET,
            "/audit-log?type=organization.sign_in_failed",
            None,
        )
        .expect(200);
    assert_eq!(
        log["data"][0]["metadata"]["after"]["person"]["subject"],
        "u-7"
    );
    assert!(
        log["data"][0]["metadata"]["after"]["reason"]
            .as_str()
            .unwrap()
            .contains("no role")
    );
}

#[test]
fn what_the_token_lacks_is_asked_for_about_the_same_person() {
    let scene = Scene::new();
    let lacking = |sub: &str| {
        scene.provider.says.lock().unwrap().userinfo =
            json!({ "sub": sub, "realm": { "roles": ["ws-read"] }, "name": "Other" });
        scene.sign_in(|claims| drop(claims.as_object_mut().unwrap().remove("realm")))
    };
    let cookie = scene.session(&lacking("u-7"));
    let who = get(&scene.s, "/admin/session", &cookie, &[]).expect(200);
    assert_eq!(
        who["key"]["person"]["name"], "Ada Lovelace",
        "the token goes before"
    );
    refused(&lacking("u-8"), 403, "somebody else");
}

#[test]
fn the_organization_is_the_first_one_a_fixed_one_or_that_of_a_claim() {
    let org = |scene: &Scene, answer: &Answer| {
        let cookie = scene.session(answer);
        get(&scene.s, "/admin/session", &cookie, &[]).expect(200)["key"]["tenant_slug"].clone()
    };
    let first = Scene::new();
    first.s.other_tenant("globex");
    assert_eq!(org(&first, &first.sign_in(|_| {})), "acme");
    let fixed = Scene::with(|oidc| oidc.organization = Some("globex".into()));
    refused(&fixed.sign_in(|_| {}), 403, "there is no organization");
    fixed.s.other_tenant("globex");
    assert_eq!(org(&fixed, &fixed.sign_in(|_| {})), "globex");
    let claimed = Scene::with(|oidc| oidc.organization_claim = Some("org".into()));
    claimed.s.other_tenant("globex");
    refused(&claimed.sign_in(|_| {}), 403, "belongs to no organization");
    refused(
        &claimed.sign_in(|c| c["org"] = json!("nowhere")),
        403,
        "there is no organization",
    );
    let acme = claimed.session(&claimed.sign_in(|c| c["org"] = json!("acme")));
    assert_eq!(
        org(&claimed, &claimed.sign_in(|c| c["org"] = json!("globex"))),
        "globex"
    );
    // Whoever has moved is not signed in where it was.
    assert_eq!(
        claimed
            .call(&acme, Method::GET, "/whoami", None)
            .status
            .as_u16(),
        401
    );
}

#[test]
fn a_token_is_believed_only_for_this_client_this_attempt_and_now() {
    let scene = Scene::new();
    let now = Clock::System.wall().0 / 1000;
    let origin = scene.provider.origin.clone();
    type Change = Box<dyn FnOnce(&mut Value)>;
    let put = |name: &'static str, value: Value| -> Change {
        Box::new(move |claims| claims[name] = value)
    };
    let drop_ = |name: &'static str| -> Change {
        Box::new(move |claims| drop(claims.as_object_mut().unwrap().remove(name)))
    };
    for (change, why) in [
        (
            put("iss", json!("https://evil.example")),
            "another provider",
        ),
        (put("iss", json!(format!("{origin}/"))), "another provider"),
        (drop_("iss"), "another provider"),
        (put("aud", json!("somebody")), "another client"),
        (put("aud", json!([])), "another client"),
        (put("aud", json!([CLIENT, "somebody"])), "another client"),
        (put("azp", json!("somebody")), "another client"),
        (put("exp", json!(now - 120)), "time is over"),
        (put("exp", json!("9999999999")), "time is over"),
        (drop_("exp"), "time is over"),
        (put("iat", json!(now + 600)), "time to come"),
        (drop_("iat"), "time to come"),
        (put("nbf", json!(now + 600)), "time to come"),
        (put("nonce", json!("another")), "another sign-in"),
        (drop_("nonce"), "another sign-in"),
        (drop_("sub"), "nobody"),
        (put("sub", json!("x".repeat(256))), "nobody"),
    ] {
        refused(&scene.sign_in(change), 403, why);
    }
    // A clock that is a little behind is no reason.
    scene.session(&scene.sign_in(put("exp", json!(now - 20))));
    scene.session(&scene.sign_in(put("iat", json!(now + 20))));
    scene.session(
        &scene.sign_in(|c| (c["aud"], c["azp"]) = (json!([CLIENT, "other"]), json!(CLIENT))),
    );
    assert_eq!(
        scene
            .s
            .count("SELECT count(*) FROM api_keys WHERE subject IS NOT NULL"),
        1
    );
}

#[test]
fn a_forged_token_opens_nothing() {
    let scene = Scene::new();
    let stranger = Signer::es256();
    let with = |forge: &dyn Fn(&Value) -> String| {
        let gone = scene.go();
        let claims = scene.claims(&gone);
        scene.provider.says.lock().unwrap().token = forge(&claims);
        scene.come_back(&gone)
    };
    let part = |value: &Value| data_encoding::BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let header = |alg: &str| json!({ "alg": alg, "kid": "one" });
    refused(
        &with(&|c| stranger.sign(&header("ES256"), c)),
        403,
        "signature is wrong",
    );
    refused(
        &with(&|c| stranger.sign(&json!({ "alg": "ES256" }), c)),
        403,
        "no key of the provider",
    );
    refused(
        &with(&|c| stranger.sign(&json!({ "alg": "ES256", "kid": "two" }), c)),
        403,
        "no key of the provider",
    );
    for alg in ["none", "HS256", "RS384", ""] {
        refused(
            &with(&|c| scene.signer.sign(&header(alg), c)),
            403,
            "signed otherwise",
        );
    }
    // The public key as the secret of an HMAC, and a token without a signature.
    refused(
        &with(&|c| {
            let message = format!("{}.{}", part(&header("HS256")), part(c));
            let mac = <hmac::Hmac<sha2::Sha256> as hmac::KeyInit>::new_from_slice(
                scene.signer.jwk("one").to_string().as_bytes(),
            );
            let mac =
                hmac::Mac::finalize(hmac::Mac::chain_update(mac.unwrap(), &message)).into_bytes();
            format!("{message}.{}", data_encoding::BASE64URL_NOPAD.encode(&mac))
        }),
        403,
        "signed otherwise",
    );
    refused(
        &with(&|c| format!("{}.{}.", part(&header("ES256")), part(c))),
        403,
        "signature is wrong",
    );
    refused(
        &with(&|c| format!("{}.{}.", part(&header("EdDSA")), part(c))),
        403,
        "no key of the provider",
    );
    // What was signed, with something else in it.
    refused(
        &with(&|c| {
            let token = scene.signer.sign(&header("ES256"), c);
            let mut other = c.clone();
            other["sub"] = json!("u-8");
            let parts: Vec<&str> = token.split('.').collect();
            format!("{}.{}.{}", parts[0], part(&other), parts[2])
        }),
        403,
        "signature is wrong",
    );
    refused(&with(&|_| "nonsense".into()), 403, "no signed token");
    assert_eq!(scene.s.count("SELECT count(*) FROM sessions"), 0);
}

#[test]
fn keys_that_the_provider_changes_are_fetched_when_a_token_names_them() {
    let mut scene = Scene::new();
    scene.session(&scene.sign_in(|_| {}));
    let asked = |scene: &Scene, what: &str| {
        let says = scene.provider.says.lock().unwrap();
        says.asked.iter().filter(|one| **one == what).count()
    };
    scene.session(&scene.sign_in(|_| {}));
    assert_eq!((asked(&scene, "keys"), asked(&scene, "discovery")), (1, 1));
    scene.signer = Signer::eddsa();
    // Published beside the old one, among what is not understood here.
    scene.provider.says.lock().unwrap().keys =
        json!({ "keys": [{ "kty": "oct", "k": "AA", "kid": "new" }, scene.signer.jwk("new")] });
    let gone = scene.go();
    let claims = scene.claims(&gone);
    scene.provider.says.lock().unwrap().token = scene
        .signer
        .sign(&json!({ "alg": "EdDSA", "kid": "new" }), &claims);
    scene.session(&scene.come_back(&gone));
    assert_eq!(asked(&scene, "keys"), 2);
}

#[test]
fn an_attempt_is_of_one_browser_once_and_for_ten_minutes() {
    let scene = Scene::new();
    let gone = scene.go();
    scene.say(&scene.claims(&gone));
    let callback = |state: &str, cookie: &str| {
        get(
            &scene.s,
            &format!("/admin/oidc/callback?code=good&state={state}"),
            cookie,
            &[],
        )
    };
    // Somebody else's answer in this browser signs nobody in: neither without its cookie, nor with another.
    refused(&callback(&gone.state, ""), 400, "not begun in this browser");
    let other = scene.go();
    refused(
        &callback(&gone.state, &other.cookie),
        400,
        "not the one that this browser began last",
    );
    refused(
        &callback("", &gone.cookie),
        400,
        "not the one that this browser began last",
    );
    let forged = format!("{}0", gone.cookie);
    refused(&callback(&gone.state, &forged), 400, "not the one");
    for query in [
        format!("error=server_error&state={}", gone.state),
        format!("state={}", gone.state),
        format!("code=good&code=good&state={}", gone.state),
    ] {
        refused(
            &get(
                &scene.s,
                &format!("/admin/oidc/callback?{query}"),
                &gone.cookie,
                &[],
            ),
            400,
            "broke it off",
        );
    }
    let query = format!(
        "error=access_denied&error_description=%3Cscript%3E&state={}",
        gone.state
    );
    let said = get(
        &scene.s,
        &format!("/admin/oidc/callback?{query}"),
        &gone.cookie,
        &[],
    );
    refused(&said, 403, "says no");
    assert!(!said.text.contains("<script"));
    let mixed = format!(
        "code=good&iss=https%3A%2F%2Fevil.example&state={}",
        gone.state
    );
    refused(
        &get(
            &scene.s,
            &format!("/admin/oidc/callback?{mixed}"),
            &gone.cookie,
            &[],
        ),
        400,
        "another provider",
    );
    refused(
        &get(
            &scene.s,
            &format!("/admin/oidc/callback?code=bad&state={}", gone.state),
            &gone.cookie,
            &[],
        ),
        400,
        "does not know it any more",
    );

    let gone = scene.go();
    scene.say(&scene.claims(&gone));
    let first = scene.session(&scene.come_back(&gone));
    // A provider that would take the code twice is not asked to.
    refused(&scene.come_back(&gone), 400, "finished before");
    assert_eq!(
        scene
            .call(&first, Method::GET, "/whoami", None)
            .status
            .as_u16(),
        200
    );
    let gone = scene.go();
    scene.say(&scene.claims(&gone));
    later(&scene, 600);
    refused(&scene.come_back(&gone), 400, "took too long");
}

#[test]
fn nobody_is_led_elsewhere_and_no_other_site_begins() {
    let scene = Scene::new();
    let start = |more: &[(&str, &str)], path: &str| get(&scene.s, path, "", more);
    start(&[("sec-fetch-site", "cross-site")], "/admin/oidc/start").refused(403, "FORBIDDEN");
    start(&[("sec-fetch-site", "same-site")], "/admin/oidc/start").refused(403, "FORBIDDEN");
    let led = start(
        &[],
        "/admin/oidc/start?return_to=https://evil.example&redirect_uri=https://evil.example",
    );
    let location = led.headers["location"].to_str().unwrap();
    assert!(
        location.starts_with(&scene.provider.origin) && !location.contains("evil"),
        "{location}"
    );
    let gone = scene.go();
    scene.say(&scene.claims(&gone));
    let path = format!(
        "/admin/oidc/callback?code=good&state={}&return_to=//evil.example",
        gone.state
    );
    scene.session(&get(
        &scene.s,
        &path,
        &gone.cookie,
        &[("x-forwarded-host", "evil.example")],
    ));
    // A session that somebody has planted is not the one that begins.
    let gone = scene.go();
    scene.say(&scene.claims(&gone));
    let planted = format!("{}; workspaced_session={}", gone.cookie, "0".repeat(64));
    let answer = get(
        &scene.s,
        &format!("/admin/oidc/callback?code=good&state={}", gone.state),
        &planted,
        &[],
    );
    assert!(!scene.session(&answer).contains("0000000000000000"));
}

#[test]
fn a_session_by_name_ends_when_it_is_said_however_much_it_is_used() {
    let scene = Scene::new();
    let cookie = scene.session(&scene.sign_in(|_| {}));
    for _ in 0..7 {
        later(&scene, 3600);
        assert_eq!(
            scene
                .call(&cookie, Method::GET, "/whoami", None)
                .status
                .as_u16(),
            200
        );
    }
    later(&scene, 3600);
    assert_eq!(
        scene
            .call(&cookie, Method::GET, "/whoami", None)
            .status
            .as_u16(),
        401
    );
}

#[test]
fn a_provider_that_is_down_or_odd_is_said_to_be_and_keys_go_on() {
    let scene = Scene::new();
    let start = || get(&scene.s, "/admin/oidc/start", "", &[]);
    scene.provider.says.lock().unwrap().bloat = 300 << 10;
    refused(&start(), 502, "more than 262144 bytes");
    scene.provider.says.lock().unwrap().bloat = 0;
    scene.provider.says.lock().unwrap().issuer = "https://other.example".into();
    refused(&start(), 502, "calls itself otherwise");
    scene.provider.says.lock().unwrap().issuer = scene.provider.origin.clone();
    let gone = scene.go();
    scene.say(&scene.claims(&gone));
    scene.provider.stop();
    runtime().block_on(tokio::task::yield_now());
    let said = scene.come_back(&gone);
    refused(&said, 502, "cannot be used now");
    assert!(said.text.contains("Signing in with an API key works"));
    let request = Request::post("/admin/session")
        .header("host", HOST)
        .header("origin", format!("http://{HOST}"))
        .header("x-workspaced-admin", "1")
        .header("content-type", "application/json")
        .body(Body::from(json!({ "key": scene.s.key }).to_string()));
    scene.s.send(request.unwrap()).expect(200);
    // Where it is not configured there is nothing.
    let plain = Service::new();
    get(&plain, "/admin/oidc/start", "", &[]).refused(404, "NOT_FOUND");
    get(&plain, "/admin/oidc/callback?code=a", "", &[]).refused(404, "NOT_FOUND");
}

#[test]
fn a_provider_may_take_the_secret_in_the_form_only() {
    let scene = Scene::new();
    scene.provider.says.lock().unwrap().in_form = true;
    scene.session(&scene.sign_in(|_| {}));
    let wrong = Scene::with(|oidc| oidc.secret = Some(Hidden::new("wrong")));
    refused(
        &wrong.sign_in(|_| {}),
        502,
        "does not take the client id and secret",
    );
}
