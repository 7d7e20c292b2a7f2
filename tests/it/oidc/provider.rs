//! A provider on loopback that says what it is told to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

pub const CLIENT: &str = "workspaced";
pub const SECRET: &str = "s3cret &+ value";

/// A key that signs tokens.
pub enum Signer {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

impl Signer {
    pub fn es256() -> Signer {
        let (kind, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let made = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        Signer::Es256(EcdsaKeyPair::from_pkcs8(kind, made.as_ref(), &random).unwrap())
    }

    pub fn eddsa() -> Signer {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Signer::EdDsa(Ed25519KeyPair::from_pkcs8(made.as_ref()).unwrap())
    }

    pub fn algorithm(&self) -> &'static str {
        match self {
            Signer::Es256(_) => "ES256",
            Signer::EdDsa(_) => "EdDSA",
        }
    }

    pub fn jwk(&self, kid: &str) -> Value {
        let encode = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        match self {
            Signer::Es256(pair) => {
                let point = pair.public_key().as_ref();
                json!({ "kty": "EC", "crv": "P-256", "kid": kid, "use": "sig", "alg": "ES256",
                    "x": encode(&point[1..33]), "y": encode(&point[33..]) })
            }
            Signer::EdDsa(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": encode(pair.public_key().as_ref()) })
            }
        }
    }

    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = match self {
            Signer::Es256(pair) => {
                let made = pair.sign(&SystemRandom::new(), message.as_bytes());
                made.unwrap().as_ref().to_vec()
            }
            Signer::EdDsa(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
        };
        format!("{message}.{}", BASE64URL_NOPAD.encode(&signature))
    }
}

/// What the provider says.
pub struct Says {
    pub issuer: String,
    pub keys: Value,
    /// The ID token of the next code.
    pub token: String,
    pub userinfo: Value,
    /// What the attempt that is under way has announced.
    pub challenge: String,
    /// Only in this form are client secrets taken.
    pub in_form: bool,
    /// Bytes that its answers are blown up by.
    pub bloat: usize,
    pub code: &'static str,
    /// Paths that were asked for.
    pub asked: Vec<&'static str>,
}

pub struct Provider {
    pub origin: String,
    pub says: Arc<Mutex<Says>>,
    task: tokio::task::JoinHandle<()>,
}

type Shared = State<Arc<Mutex<Says>>>;

impl Provider {
    pub async fn start() -> Provider {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let says = Arc::new(Mutex::new(Says {
            issuer: origin.clone(),
            keys: json!({ "keys": [] }),
            token: String::new(),
            userinfo: json!({ "sub": "u-7" }),
            challenge: String::new(),
            in_form: false,
            bloat: 0,
            code: "good",
            asked: Vec::new(),
        }));
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .route("/userinfo", get(userinfo))
            .with_state(says.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Provider { origin, says, task }
    }

    pub fn stop(&self) {
        self.task.abort();
    }
}

async fn discovery(State(says): Shared) -> Json<Value> {
    let mut says = says.lock().unwrap();
    says.asked.push("discovery");
    let issuer = &says.issuer;
    Json(json!({
        "issuer": issuer, "authorization_endpoint": format!("{issuer}/auth?tenant=1"),
        "token_endpoint": format!("{issuer}/token"), "jwks_uri": format!("{issuer}/keys"),
        "userinfo_endpoint": format!("{issuer}/userinfo"),
        "token_endpoint_auth_methods_supported": [if says.in_form { "client_secret_post" } else { "client_secret_basic" }],
        "more": "x".repeat(says.bloat),
    }))
}

async fn keys(State(says): Shared) -> Json<Value> {
    let mut says = says.lock().unwrap();
    says.asked.push("keys");
    Json(says.keys.clone())
}

async fn userinfo(State(says): Shared, headers: HeaderMap) -> Result<Json<Value>, StatusCode> {
    let mut says = says.lock().unwrap();
    says.asked.push("userinfo");
    match headers["authorization"] == "Bearer at" {
        true => Ok(Json(says.userinfo.clone())),
        false => Err(StatusCode::UNAUTHORIZED),
    }
}

/// As strict as a provider is: the client, the code once, and the verifier behind the challenge.
async fn token(
    State(says): Shared,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> (StatusCode, Json<Value>) {
    let mut says = says.lock().unwrap();
    says.asked.push("token");
    let refused = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": error })));
    let is_client = if says.in_form {
        form["client_id"] == CLIENT && form["client_secret"] == SECRET
    } else {
        let both = format!("{CLIENT}:s3cret+%26%2B+value");
        headers["authorization"] == format!("Basic {}", BASE64.encode(both.as_bytes()))
    };
    if !is_client {
        return refused("invalid_client");
    }
    let challenge = BASE64URL_NOPAD.encode(&Sha256::digest(&form["code_verifier"]));
    if form["code"] != says.code || challenge != says.challenge {
        return refused("invalid_grant");
    }
    let token = says.token.clone();
    (
        StatusCode::OK,
        Json(json!({ "access_token": "at", "token_type": "Bearer", "id_token": token })),
    )
}
