//! Signed tokens: the few algorithms that providers sign with, each with the kind of key that it needs. What names
//! another one, or none, is refused before any key is looked at.

use data_encoding::BASE64URL_NOPAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde_json::{Map, Value};

/// Keys of one provider that are looked at.
const MOST_KEYS: usize = 64;
/// Bytes of a token.
const LONGEST: usize = 64 << 10;

/// How a token is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Algorithm {
    Rs256,
    Es256,
    EdDsa,
}

impl Algorithm {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "RS256" => Some(Algorithm::Rs256),
            "ES256" => Some(Algorithm::Es256),
            // The second is its name since RFC 9864.
            "EdDSA" | "Ed25519" => Some(Algorithm::EdDsa),
            _ => None,
        }
    }
}

/// A public key with which one algorithm goes.
#[derive(Debug)]
enum Public {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A key of the provider.
#[derive(Debug)]
pub struct Jwk {
    id: Option<String>,
    algorithm: Algorithm,
    public: Public,
}

/// Why a token is not believed.
#[derive(Debug, PartialEq, Eq)]
pub enum Unsigned {
    /// It names a key that is not known, perhaps not yet.
    UnknownKey,
    Bad(&'static str),
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    BASE64URL_NOPAD.decode(text.as_bytes()).ok()
}

/// The keys of a JWK set that may sign; those of other kinds are passed over.
pub fn keys(set: &Value) -> Vec<Jwk> {
    let all = set["keys"].as_array().map_or(&[][..], Vec::as_slice);
    all.iter().take(MOST_KEYS).filter_map(key).collect()
}

fn key(jwk: &Value) -> Option<Jwk> {
    let part = |name: &str| jwk[name].as_str().and_then(bytes);
    let (algorithm, public) = match (jwk["kty"].as_str()?, jwk["crv"].as_str()) {
        ("RSA", _) => {
            let (n, e) = (part("n")?, part("e")?);
            (Algorithm::Rs256, Public::Rsa { n, e })
        }
        ("EC", Some("P-256")) => {
            let (x, y) = (part("x")?, part("y")?);
            if (x.len(), y.len()) != (32, 32) {
                return None;
            }
            let point = [&[4][..], &x, &y].concat();
            (Algorithm::Es256, Public::P256(point))
        }
        ("OKP", Some("Ed25519")) => (Algorithm::EdDsa, Public::Ed25519(part("x")?)),
        _ => return None,
    };
    // A key for something else signs nothing here.
    let named = jwk["alg"].as_str().map(Algorithm::parse);
    let signs = jwk["use"].as_str().is_none_or(|used| used == "sig");
    (signs && named.is_none_or(|named| named == Some(algorithm))).then(|| Jwk {
        id: jwk["kid"].as_str().map(str::to_owned),
        algorithm,
        public,
    })
}

impl Jwk {
    fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.public {
            Public::Rsa { n, e } => RsaPublicKeyComponents { n, e }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
            Public::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .verify(message, signature)
                .is_ok(),
            Public::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key)
                .verify(message, signature)
                .is_ok(),
        }
    }
}

/// What a token says, if one of the keys has signed it.
///
/// # Errors
/// Why it is not believed.
pub fn verified(token: &str, keys: &[Jwk]) -> Result<Map<String, Value>, Unsigned> {
    let payload = signed_bytes(token, keys)?;
    serde_json::from_slice(&payload).map_err(|_| Unsigned::Bad("it holds no claims"))
}

fn signed_bytes(token: &str, keys: &[Jwk]) -> Result<Vec<u8>, Unsigned> {
    let malformed = Unsigned::Bad("it is no signed token");
    if token.len() > LONGEST {
        return Err(malformed);
    }
    let mut parts = token.split('.');
    let (Some(head), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed);
    };
    let header: Option<Map<String, Value>> =
        bytes(head).and_then(|head| serde_json::from_slice(&head).ok());
    let (Some(header), Some(content), Some(signature)) = (header, bytes(payload), bytes(signature))
    else {
        return Err(malformed);
    };
    let algorithm = header.get("alg").and_then(Value::as_str);
    let algorithm = algorithm.and_then(Algorithm::parse).ok_or(Unsigned::Bad(
        "it is signed otherwise than with RS256, ES256 or EdDSA",
    ))?;
    // Nothing that has to be understood is.
    if header.contains_key("crit") || header.contains_key("b64") {
        return Err(Unsigned::Bad("it has extensions that are not known here"));
    }
    let id = header.get("kid").and_then(Value::as_str);
    let mut fitting = keys
        .iter()
        .filter(|key| key.algorithm == algorithm)
        .filter(|key| id.is_none() || key.id.as_deref() == id)
        .peekable();
    if fitting.peek().is_none() {
        return Err(Unsigned::UnknownKey);
    }
    let message = &token.as_bytes()[..head.len() + 1 + payload.len()];
    if fitting.any(|key| key.signed(message, &signature)) {
        Ok(content)
    } else if id.is_none() {
        Err(Unsigned::UnknownKey)
    } else {
        Err(Unsigned::Bad("its signature is wrong"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// RFC 7515, appendix A.2: a key and a token that it signed.
    const N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    const RS256: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    /// Appendix A.3.
    const ES256: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    /// RFC 8037, appendix A.4.
    const EDDSA: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

    fn rsa() -> Value {
        json!({ "kty": "RSA", "n": N, "e": "AQAB" })
    }
    fn p256() -> Value {
        json!({ "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" })
    }
    fn ed25519() -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" })
    }
    fn set(all: &[Value]) -> Vec<Jwk> {
        keys(&json!({ "keys": all }))
    }

    #[test]
    fn the_published_examples_are_believed_under_their_own_key_only() {
        let all = set(&[rsa(), p256(), ed25519()]);
        assert_eq!(all.len(), 3);
        for (token, own) in [(RS256, rsa()), (ES256, p256()), (EDDSA, ed25519())] {
            assert!(signed_bytes(token, &all).is_ok(), "{token}");
            assert!(signed_bytes(token, &set(&[own])).is_ok());
            assert_eq!(signed_bytes(token, &[]), Err(Unsigned::UnknownKey));
            // One bit of the signature, or of what it is about.
            let at = token.rfind('.').unwrap() + 5;
            for place in [at, 30] {
                let mut changed = token.to_owned().into_bytes();
                changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
                let changed = String::from_utf8(changed).unwrap();
                assert!(signed_bytes(&changed, &all).is_err(), "{changed}");
            }
        }
        assert_eq!(verified(RS256, &all).unwrap()["iss"], "joe");
    }

    #[test]
    fn a_token_does_not_choose_how_little_is_checked() {
        let all = set(&[rsa(), p256(), ed25519()]);
        let head = |json: &str| BASE64URL_NOPAD.encode(json.as_bytes());
        let rest = RS256.split_once('.').unwrap().1;
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"None"}"#,
            r#"{"alg":"HS256"}"#,
            r#"{"alg":"RS384"}"#,
            r#"{"alg":["RS256"]}"#,
            r#"{}"#,
            r#"{"alg":"RS256","crit":["b64"]}"#,
            r#"{"alg":"RS256","b64":false}"#,
            r#"{"alg":"ES256"}"#,
            r#"[]"#,
        ] {
            let token = format!("{}.{rest}", head(header));
            assert!(signed_bytes(&token, &all).is_err(), "{header}");
        }
        let payload = rest.split('.').next().unwrap();
        for token in [
            "".to_owned(),
            "a.b".into(),
            format!("{RS256}.x"),
            format!("{}.{payload}.", head(r#"{"alg":"none"}"#)),
            format!("{}.{payload}.", head(r#"{"alg":"RS256"}"#)),
            "x".repeat(LONGEST + 1),
        ] {
            assert!(signed_bytes(&token, &all).is_err());
        }
    }

    #[test]
    fn keys_for_other_purposes_are_passed_over() {
        let with = |mut key: Value, name: &str, value: Value| {
            key[name] = value;
            key
        };
        for key in [
            with(rsa(), "use", json!("enc")),
            with(rsa(), "alg", json!("RSA-OAEP")),
            with(p256(), "crv", json!("P-384")),
            with(p256(), "x", json!("AAAA")),
            json!({ "kty": "oct", "k": "c2VjcmV0" }),
            json!({ "kty": "RSA" }),
            json!(7),
        ] {
            assert!(set(std::slice::from_ref(&key)).is_empty(), "{key}");
        }
        let named = with(rsa(), "kid", json!("a"));
        assert!(signed_bytes(RS256, &set(&[named])).is_ok());
    }
}
