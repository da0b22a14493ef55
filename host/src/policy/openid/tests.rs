//! Tokens as a provider would make them, with an Ed25519 key of these tests, and everything that is wrong with others.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::json;

use super::*;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn keys() -> Keys {
    let x = BASE64.encode(key().verifying_key().as_bytes());
    let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k1", "alg": "EdDSA", "use": "sig", "x": x}]});
    Keys::parse(set.to_string().as_bytes()).unwrap()
}

fn provider() -> Provider {
    serde_json::from_value(json!({
        "issuer": "https://id.example", "audience": "crossdock", "jwks": "keys.json",
        "roles_claim": "realm.groups", "roles": {"shop-ops": ["operator"], "audit": ["auditor"]},
    }))
    .unwrap()
}

fn claims() -> Value {
    json!({"iss": "https://id.example", "aud": ["other", "crossdock"], "sub": "ann", "exp": 1_000, "nbf": 900,
        "realm": {"groups": ["shop-ops", "unknown"]}})
}

fn signed_with(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let text = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
    format!("{text}.{}", BASE64.encode(sign(text.as_bytes())))
}

fn signed(header: &Value, claims: &Value) -> String {
    signed_with(header, claims, |text| key().sign(text).to_bytes().to_vec())
}

fn header() -> Value {
    json!({"alg": "EdDSA", "typ": "JWT", "kid": "k1"})
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(second * 1_000)
}

#[test]
fn a_token_of_the_provider_stands_for_its_person_with_the_roles_that_the_groups_have_here() {
    let ann = verify(&signed(&header(), &claims()), &provider(), &keys(), at(950)).unwrap();
    assert_eq!((ann.name.as_str(), ann.kind), ("ann", Kind::Person));
    assert_eq!(ann.roles, BTreeSet::from([Role::Operator]));
    assert!(ann.token.is_none() && !ann.development);
}

#[test]
fn clocks_may_differ_a_little() {
    let token = signed(&header(), &claims());
    let check = |second, valid: bool| {
        let verified = verify(&token, &provider(), &keys(), at(second));
        assert_eq!(verified.is_ok(), valid, "{second}: {verified:?}");
    };
    check(839, false);
    check(840, true);
    check(1_059, true);
    check(1_060, false);
}

#[track_caller]
fn refused(token: &str, says: &str) {
    let error = verify(token, &provider(), &keys(), at(950)).unwrap_err();
    assert!(error.contains(says), "no {says} in {error}");
}

#[test]
fn what_is_wrong_with_a_token_refuses_it() {
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        signed(&header(), &claims)
    };
    refused("nonsense", "no JWT");
    refused(&"x".repeat(TOKEN_BYTES_MAX + 1), "at most");
    refused(&with("iss", json!("https://id.example/")), "another issuer");
    refused(&with("aud", json!("other")), "another audience");
    refused(&with("exp", json!("soon")), "required");
    refused(&with("sub", json!("")), "`sub`");
    refused(&with("sub", json!("hub")), "keeps for itself");
    let mut lacking = claims();
    lacking.as_object_mut().unwrap().remove("exp");
    refused(&signed(&header(), &lacking), "required");
    let mut altered = signed(&header(), &claims());
    altered.replace_range(60..61, if &altered[60..61] == "A" { "B" } else { "A" });
    assert!(verify(&altered, &provider(), &keys(), at(950)).is_err());
    refused(&signed(&json!({"alg": "EdDSA", "kid": "k2"}), &claims()), "does not list");
    let other = SigningKey::from_bytes(&[8; 32]);
    let forged = signed_with(&header(), &claims(), |text| other.sign(text).to_bytes().to_vec());
    refused(&forged, "signature");
}

#[test]
fn the_token_does_not_choose_its_algorithm() {
    // None at all, and the public key taken for a shared secret.
    refused(&signed_with(&json!({"alg": "none", "kid": "k1"}), &claims(), |_| Vec::new()), "JWT");
    let public = key().verifying_key();
    let shared = |text: &[u8]| {
        use hmac::Mac as _;
        let mut mac = <hmac::Hmac<sha2::Sha256> as hmac::Mac>::new_from_slice(public.as_bytes()).unwrap();
        mac.update(text);
        mac.finalize().into_bytes().to_vec()
    };
    refused(&signed_with(&json!({"alg": "HS256", "kid": "k1"}), &claims(), shared), "not one that is taken");
    refused(&signed(&json!({"alg": "RS256", "kid": "k1"}), &claims()), "another algorithm");
    let narrow = Provider { algorithms: BTreeSet::from([Algorithm::ES256]), ..provider() };
    assert!(verify(&signed(&header(), &claims()), &narrow, &keys(), at(950)).unwrap_err().contains("is taken"));
}

#[test]
fn a_provider_that_would_let_anybody_in_is_refused() {
    assert!(provider().check().is_ok());
    assert!(Provider { audience: String::new(), ..provider() }.check().is_err());
    assert!(Provider { jwks: "http://id.example/keys".into(), ..provider() }.check().is_err());
    assert!(Provider { algorithms: BTreeSet::new(), ..provider() }.check().is_err());
    assert!(Provider { skew_s: 301, ..provider() }.check().is_err());
    assert!(Keys::parse(b"{\"keys\": []}").is_err());
}
