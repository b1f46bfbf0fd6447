//! Proofs, opened by another library than the one that signed them.

use jsonwebtoken::{DecodingKey, Validation};
use serde_json::Value;

use super::*;

const URI: &str = "https://api.example/orders";

/// The proof's header and claims, after its signature was verified with the key that it carries.
fn open(proof: &HeaderValue) -> (Value, Value) {
    let text = proof.to_str().unwrap();
    let header: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text.split('.').next().unwrap()).unwrap()).unwrap();
    let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(header["jwk"].clone()).unwrap();
    let mut validation = Validation::new(header["alg"].as_str().unwrap().parse().unwrap());
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    let claims =
        jsonwebtoken::decode::<Value>(text, &DecodingKey::from_jwk(&jwk).unwrap(), &validation).unwrap().claims;
    (header, claims)
}

#[test]
fn a_proof_carries_the_public_key_and_what_it_is_for() {
    let key = DpopKey::generate().unwrap();
    let proof = key.proof(&Method::POST, URI, None, None).unwrap();
    assert!(proof.is_sensitive());
    let (header, claims) = open(&proof);

    assert_eq!((&header["typ"], &header["alg"]), (&"dpop+jwt".into(), &"ES256".into()));
    assert_eq!(header.as_object().unwrap().len(), 3, "typ, alg, jwk: {header}");
    assert_eq!(header["jwk"].as_object().unwrap().keys().collect::<Vec<_>>(), ["crv", "kty", "x", "y"]);
    let members = header["jwk"].as_object().unwrap().iter().map(|(name, value)| format!("\"{name}\":{value}"));
    let canonical = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
    assert_eq!(access_token_hash(&canonical), key.thumbprint(), "RFC 7638 is the same hash of another text");

    assert_eq!((&claims["htm"], &claims["htu"]), (&"POST".into(), &URI.into()));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert!(now - claims["iat"].as_u64().unwrap() < 60);
    assert_eq!(claims.as_object().unwrap().len(), 4, "jti, htm, htu, iat: {claims}");
}

#[test]
fn a_proof_for_a_token_carries_its_hash_and_the_nonce() {
    // The token and the hash of RFC 9449 section 7.1.
    let hash = access_token_hash("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU");
    assert_eq!(hash, "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo");
    let key = DpopKey::generate().unwrap();
    let (_, claims) = open(&key.proof(&Method::GET, URI, Some(&hash), Some("eyJ7S_zG")).unwrap());
    assert_eq!((&claims["ath"], &claims["nonce"]), (&hash.into(), &"eyJ7S_zG".into()));
}

#[test]
fn every_proof_has_a_name_of_its_own() {
    let key = DpopKey::generate().unwrap();
    let name = || open(&key.proof(&Method::GET, URI, None, None).unwrap()).1["jti"].as_str().unwrap().to_owned();
    let names: std::collections::HashSet<_> = (0..50).map(|_| name()).collect();
    assert_eq!(names.len(), 50);
    assert!(names.iter().all(|name| URL_SAFE_NO_PAD.decode(name).unwrap().len() * 8 >= 96));
}

#[test]
fn query_and_fragment_are_no_part_of_what_is_proven() {
    let key = DpopKey::generate().unwrap();
    for uri in ["https://api.example/orders?a=b", "https://api.example/orders#c", "https://api.example/orders#c?d"] {
        assert_eq!(open(&key.proof(&Method::GET, uri, None, None).unwrap()).1["htu"], URI, "{uri}");
    }
    assert_eq!(htu("https", "api.example:8443", "/orders?a=b"), "https://api.example:8443/orders");
    assert_eq!(htu("https", "api.example", ""), "https://api.example/");
    assert_eq!(htu("https", "api.example", "?a"), "https://api.example/");
}

#[test]
fn a_configured_key_signs_with_its_own_algorithm_and_never_a_shared_one() {
    let text = Secret::new(include_str!("../jose/test_keys/rfc7517_rsa.json").into());
    let key = DpopKey::from_text(&text, None).unwrap();
    assert_eq!(key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    let (header, _) = open(&key.proof(&Method::GET, URI, None, None).unwrap());
    assert_eq!(header["alg"], "RS256");
    assert_eq!(header["jwk"].as_object().unwrap().keys().collect::<Vec<_>>(), ["e", "kty", "n"], "nothing private");
    let error = DpopKey::from_text(&text, Some(Algorithm::HS256)).unwrap_err();
    assert_eq!(error.to_string(), "HS256 does not fit the key, which is RSA and signs with RS256 or PS256");
}

#[test]
fn debug_output_has_the_thumbprint_and_nothing_else() {
    let key = DpopKey::generate().unwrap();
    assert_eq!(format!("{key:?}"), format!("DpopKey {{ thumbprint: {:?}, .. }}", key.thumbprint()));
}
