//! Keys in every form, and signatures that another library verifies.

use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Value, json};

use super::*;
use crate::secret::Secret;

const RSA_PKCS8: &str = include_str!("test_keys/rsa_pkcs8.pem");
const RSA_PKCS1: &str = include_str!("test_keys/rsa_pkcs1.pem");
const P256_PKCS8: &str = include_str!("test_keys/p256_pkcs8.pem");
const P256_SEC1: &str = include_str!("test_keys/p256_sec1.pem");
const P256_CERTIFICATE: &str = include_str!("test_keys/p256_certificate.pem");
const P256_PUBLIC: &str = include_str!("test_keys/p256_public.pem");
const P384_SEC1: &str = include_str!("test_keys/p384_sec1.pem");
const ED25519: &str = include_str!("test_keys/ed25519.pem");
const RSA_JWK: &str = include_str!("test_keys/rfc7517_rsa.json");
const P256_JWK: &str = include_str!("test_keys/rfc7517_p256.json");
const ED25519_JWK: &str = include_str!("test_keys/rfc8037_ed25519.json");

const PLAIN: JwtHeader<'_> = JwtHeader { typ: "JWT", embed_jwk: false, x5t_s256: None };

fn read(text: &str) -> Result<SigningKey, KeyError> {
    SigningKey::from_text(&Secret::new(text.to_owned()), None, None)
}

fn key(text: &str, algorithm: Option<Algorithm>) -> SigningKey {
    SigningKey::from_text(&Secret::new(text.to_owned()), algorithm, None).unwrap()
}

fn header_of(jwt: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(jwt.split('.').next().unwrap()).unwrap()).unwrap()
}

/// The claims, if jsonwebtoken accepts the signature.
fn verified(jwt: &str, algorithm: &str, key: &DecodingKey) -> Option<Value> {
    let mut validation = Validation::new(algorithm.parse().unwrap());
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    jsonwebtoken::decode::<Value>(jwt, key, &validation).ok().map(|token| token.claims)
}

fn public_key(key: &SigningKey) -> DecodingKey {
    DecodingKey::from_jwk(&serde_json::from_value(key.public_jwk().unwrap().clone()).unwrap()).unwrap()
}

#[test]
fn every_algorithm_signs_what_another_library_verifies() {
    let claims = json!({"iss": "me", "jti": unique_id()});
    let keys = [
        (RSA_PKCS8, Algorithm::RS256),
        (RSA_PKCS8, Algorithm::PS256),
        (P256_SEC1, Algorithm::ES256),
        (P384_SEC1, Algorithm::ES384),
        (ED25519, Algorithm::EdDSA),
    ];
    for (text, algorithm) in keys {
        let key = key(text, Some(algorithm));
        let jwt = key.sign(PLAIN, &claims).unwrap();
        assert_eq!(header_of(&jwt), json!({"typ": "JWT", "alg": algorithm.as_str()}));
        assert_eq!(verified(&jwt, algorithm.as_str(), &public_key(&key)).as_ref(), Some(&claims), "{algorithm}");
        let forged = format!("{}x.{}", &jwt[..jwt.find('.').unwrap()], jwt.split_once('.').unwrap().1);
        assert_eq!(verified(&forged, algorithm.as_str(), &public_key(&key)), None);
    }

    let shared = SigningKey::shared_secret(&Secret::new("a secret of both sides".into()));
    assert_eq!((shared.algorithm(), shared.public_jwk(), shared.thumbprint()), (Algorithm::HS256, None, None));
    let jwt = shared.sign(PLAIN, &claims).unwrap();
    assert_eq!(verified(&jwt, "HS256", &DecodingKey::from_secret(b"a secret of both sides")), Some(claims));
    assert_eq!(verified(&jwt, "HS256", &DecodingKey::from_secret(b"another")), None);
}

#[test]
fn one_key_is_the_same_in_every_form() {
    let thumbprint = |text: &str| read(text).unwrap().thumbprint().unwrap().to_owned();
    assert_eq!(thumbprint(RSA_PKCS8), thumbprint(RSA_PKCS1));
    assert_eq!(thumbprint(P256_PKCS8), thumbprint(P256_SEC1));
    for file in [
        format!("{P256_CERTIFICATE}{P256_PUBLIC}{P256_SEC1}"),
        format!("{P256_SEC1}{P256_CERTIFICATE}{P384_SEC1}"),
        format!("\u{feff}Bag Attributes: <none>\r\n{}", P256_PKCS8.replace('\n', "\r\n")),
    ] {
        assert_eq!(thumbprint(&file), thumbprint(P256_PKCS8), "{file}");
    }
}

#[test]
fn the_examples_of_the_rfcs_are_read() {
    // RFC 7638 section 3.1, whose key has its private half in RFC 7517 appendix A.2.
    let rsa = read(RSA_JWK).unwrap();
    assert_eq!(rsa.thumbprint(), Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"));
    assert_eq!((rsa.algorithm(), rsa.key_id()), (Algorithm::RS256, Some("2011-04-29")));
    let example: Value = serde_json::from_str(RSA_JWK).unwrap();
    let public = json!({"kty": "RSA", "n": example["n"], "e": example["e"]});
    assert_eq!(rsa.public_jwk(), Some(&public));

    let p256 = read(P256_JWK).unwrap();
    assert_eq!((p256.algorithm(), p256.key_id()), (Algorithm::ES256, Some("1")));
    let jwt = p256.sign(PLAIN, &json!({})).unwrap();
    let example: Value = serde_json::from_str(P256_JWK).unwrap();
    let public = DecodingKey::from_ec_components(example["x"].as_str().unwrap(), example["y"].as_str().unwrap());
    assert!(verified(&jwt, "ES256", &public.unwrap()).is_some());

    // RFC 8037 appendix A.3.
    let ed25519 = read(ED25519_JWK).unwrap();
    assert_eq!(ed25519.thumbprint(), Some("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"));
    assert_eq!((ed25519.algorithm(), ed25519.key_id()), (Algorithm::EdDSA, None));
}

#[test]
fn a_deterministic_signature_is_that_of_the_rfc() {
    // RFC 8037 appendix A.4.
    let pair = jwk::read(ED25519_JWK).unwrap().pair;
    let signature = pair.sign(Algorithm::EdDSA, b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc").unwrap();
    assert_eq!(
        URL_SAFE_NO_PAD.encode(signature),
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    );
}

#[test]
fn what_is_given_goes_before_what_the_jwk_says() {
    let text = Secret::new(RSA_JWK.into());
    let given = SigningKey::from_text(&text, Some(Algorithm::PS256), Some("mine")).unwrap();
    assert_eq!((given.algorithm(), given.key_id()), (Algorithm::PS256, Some("mine")));
    let algorithm = |text: &str| read(text).unwrap().algorithm();
    assert_eq!(algorithm(&RSA_JWK.replace("RS256", "PS256")), Algorithm::PS256);
    assert_eq!(
        [RSA_PKCS1, P256_SEC1, P384_SEC1, ED25519].map(algorithm),
        [Algorithm::RS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA]
    );
}

#[test]
fn the_header_names_the_key_or_carries_it() {
    let named = SigningKey::from_text(&Secret::new(P256_SEC1.into()), None, Some("k1")).unwrap();
    let header = |header| header_of(&named.sign(header, &json!({})).unwrap());
    let assertion = JwtHeader { typ: "client-authentication+jwt", embed_jwk: false, x5t_s256: Some("abc") };
    let expected = json!({"typ": "client-authentication+jwt", "alg": "ES256", "kid": "k1", "x5t#S256": "abc"});
    assert_eq!(header(assertion), expected);
    let embedded = header(JwtHeader { typ: "dpop+jwt", embed_jwk: true, x5t_s256: None });
    assert_eq!(embedded, json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": named.public_jwk()}));
}

#[test]
fn a_key_that_cannot_be_used_is_told_why() {
    let one_line = P256_PKCS8.trim().replace('\n', " ");
    let cut_off = &P256_PKCS8[..P256_PKCS8.len() / 2];
    let jwk = |change: fn(&mut serde_json::Map<String, Value>)| {
        let mut jwk: Value = serde_json::from_str(RSA_JWK).unwrap();
        change(jwk.as_object_mut().unwrap());
        jwk.to_string()
    };
    let cases: [(&str, KeyError, &str); 22] = [
        ("hunter2", KeyError::NoKey, "there is no private key in it"),
        (P256_CERTIFICATE, KeyError::CertificateOnly, "a certificate and no private key"),
        (P256_PUBLIC, KeyError::PublicOnly, "a public key only"),
        (include_str!("test_keys/rsa_encrypted.pem"), KeyError::Encrypted, "decrypt it first"),
        (include_str!("test_keys/rsa_pkcs1_encrypted.pem"), KeyError::Encrypted, "decrypt it first"),
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----",
            KeyError::OpenSsh,
            "ssh-keygen",
        ),
        (&one_line, KeyError::OneLine, "lost its line breaks"),
        (cut_off, KeyError::DamagedPem, "no end"),
        (&P256_PKCS8.replace('M', "%"), KeyError::DamagedPem, "no base64"),
        (&P256_PKCS8.replace("MIGH", "MIGI"), KeyError::Unsupported, "damaged"),
        (include_str!("test_keys/p521_pkcs8.pem"), KeyError::Unsupported, "P-256 or P-384"),
        (include_str!("test_keys/x25519.pem"), KeyError::Unsupported, "does not sign here"),
        (include_str!("test_keys/rsa_1024.pem"), KeyError::RsaSize, "2048 to 8192 bits"),
        ("{\"kty\": \"RSA\",\n \"d\": 7}", KeyError::DamagedJwk { line: 2, column: 7 }, "in line 2, column 7"),
        (r#"{"keys": []}"#, KeyError::JwkSet, "a set of JWKs"),
        (r#"{"kty": "oct", "k": "aHVudGVyMg"}"#, KeyError::SharedSecret, "a shared secret"),
        (r#"{"kty": "EC", "crv": "P-521", "d": "AA"}"#, KeyError::Unsupported, "does not sign here"),
        (&jwk(|jwk| drop(jwk.remove("d"))), KeyError::PublicOnly, "the private key is needed"),
        (&jwk(|jwk| drop(jwk.remove("qi"))), KeyError::JwkMember("qi"), "no usable member \"qi\""),
        (&jwk(|jwk| drop(jwk.insert("use".into(), "enc".into()))), KeyError::NotForSigning, "is not \"sig\""),
        (&jwk(|jwk| drop(jwk.insert("alg".into(), "RSA-OAEP".into()))), KeyError::UnknownAlgorithm, "is not one of"),
        (&jwk(|jwk| drop(jwk.insert("e".into(), "AQAD".into()))), KeyError::InconsistentJwk, "do not make one key"),
    ];
    for (text, expected, words) in cases {
        let error = read(text).unwrap_err();
        assert_eq!(error, expected, "{text}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn an_algorithm_for_other_keys_is_refused() {
    let sentence = |text: &str, algorithm| {
        SigningKey::from_text(&Secret::new(text.into()), Some(algorithm), None).unwrap_err().to_string()
    };
    assert_eq!(
        sentence(P256_SEC1, Algorithm::RS256),
        "RS256 does not fit the key, which is EC on P-256 and signs with ES256"
    );
    assert_eq!(
        sentence(RSA_JWK, Algorithm::HS256),
        "HS256 does not fit the key, which is RSA and signs with RS256 or PS256"
    );
    assert!(sentence(P384_SEC1, Algorithm::ES256).contains("P-384"));
    assert!(sentence(ED25519, Algorithm::ES256).contains("EdDSA"));
}

#[test]
fn a_public_number_may_have_the_zero_of_der_before_it() {
    let mut jwk: Value = serde_json::from_str(RSA_JWK).unwrap();
    let n = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    jwk["n"] = URL_SAFE_NO_PAD.encode([vec![0], n].concat()).into();
    assert_eq!(read(&jwk.to_string()).unwrap().thumbprint(), read(RSA_JWK).unwrap().thumbprint());
}

#[test]
fn swapped_coordinates_are_no_key() {
    let mut jwk: Value = serde_json::from_str(P256_JWK).unwrap();
    jwk["y"] = jwk["x"].clone();
    assert_eq!(read(&jwk.to_string()).unwrap_err(), KeyError::InconsistentJwk);
    jwk["y"] = "AQ".into();
    assert_eq!(read(&jwk.to_string()).unwrap_err(), KeyError::JwkMember("y"));
}

#[test]
fn names_of_algorithms_are_exact() {
    for algorithm in Algorithm::ALL {
        assert_eq!(Algorithm::from_name(algorithm.as_str()), Some(algorithm));
    }
    assert_eq!(Algorithm::from_name("es256"), None);
    assert_eq!(Algorithm::from_name("none"), None);
}

#[test]
fn debug_output_has_the_algorithm_and_the_key_id_only() {
    let key = SigningKey::from_text(&Secret::new(RSA_JWK.into()), None, None).unwrap();
    assert_eq!(format!("{key:?}"), "SigningKey { algorithm: RS256, key_id: Some(\"2011-04-29\"), .. }");
}

#[test]
fn new_keys_and_ids_are_new() {
    let (one, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    assert_ne!(one.thumbprint(), other.thumbprint());
    let jwt = one.sign(PLAIN, &json!({})).unwrap();
    assert!(verified(&jwt, "ES256", &public_key(&one)).is_some());
    assert!(verified(&jwt, "ES256", &public_key(&other)).is_none());
    assert_ne!(unique_id(), unique_id());
    assert_eq!(unique_id().len(), 22);
}
