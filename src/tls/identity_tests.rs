use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
    SignatureAlgorithm,
};

use x509_parser::asn1_rs::{Any, FromDer as _};

use super::*;

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

/// A certificate and its key, both in PEM.
fn pair(algorithm: &'static SignatureAlgorithm) -> (String, String) {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let certificate = CertificateParams::new(["client".to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn why(certificate: &str, key: &str) -> String {
    ClientIdentity::from_pem(&secret(certificate), &secret(key)).unwrap_err().to_string()
}

#[test]
fn a_certificate_and_its_key_are_one_identity_from_two_texts_or_from_one() {
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let (certificate, key) = pair(algorithm);
        let two = ClientIdentity::from_pem(&secret(&certificate), &secret(&key)).unwrap();
        let bundle = secret(&format!("{key}{certificate}"));
        let one = ClientIdentity::from_pem(&bundle, &bundle).unwrap();
        assert_eq!(two, one);
        assert_eq!(two.doubt(SystemTime::now()), None);
    }
}

#[test]
fn keys_in_their_older_encodings_are_read() {
    for (algorithm, label) in [(&PKCS_ECDSA_P256_SHA256, "EC"), (&PKCS_RSA_SHA256, "RSA")] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = CertificateParams::new(["client".to_owned()]).unwrap().self_signed(&key).unwrap();
        // PKCS#8 is a wrapping around them (RFC 5958 section 2): version, algorithm, octets.
        let (_, whole) = Any::from_der(key.serialized_der()).unwrap();
        let (rest, _version) = Any::from_der(whole.data).unwrap();
        let (rest, _algorithm) = Any::from_der(rest).unwrap();
        let (_, octets) = Any::from_der(rest).unwrap();
        let inner = STANDARD.encode(octets.data);
        let older = format!("-----BEGIN {label} PRIVATE KEY-----\n{inner}\n-----END {label} PRIVATE KEY-----\n");
        ClientIdentity::from_pem(&secret(&certificate.pem()), &secret(&older)).unwrap();
    }
}

#[test]
fn the_end_of_a_file_needs_no_line_end() {
    let (certificate, key) = pair(&PKCS_ED25519);
    ClientIdentity::from_pem(&secret(certificate.trim_end()), &secret(key.trim_end())).unwrap();
}

#[test]
fn what_cannot_be_used_is_said_without_a_byte_of_it() {
    let (certificate, key) = pair(&PKCS_ED25519);
    let (_, other) = pair(&PKCS_ED25519);
    let told = why(&certificate, &other);
    assert!(told.starts_with("the client key does not belong to the first certificate; "), "{told}");
    assert!(why(&key, &key).contains("the client certificate holds no -----BEGIN CERTIFICATE----- block"));
    assert!(why(&certificate, &certificate).contains("the client key holds no -----BEGIN PRIVATE KEY----- block"));
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nsentinel\n-----END ENCRYPTED PRIVATE KEY-----\n";
    assert!(why(&certificate, encrypted).contains("encrypted with a passphrase; write it without one"));
    for broken in [
        "-----BEGIN PRIVATE KEY-----\nsentinel",
        "-----BEGIN PRIVATE KEY-----\nsentinel!\n-----END PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\nsentinel\n-----END PRIVATE KEY-----\n",
        "-----BEGIN sentinel\n",
        "sentinel",
    ] {
        let told = why(&certificate, broken);
        assert!(told.starts_with("the client key "), "{told}");
        // The library's errors show the bytes of the line as numbers.
        assert!(!told.contains("sentinel") && !told.contains("115, 101"), "{told}");
    }
    let nonsense = "-----BEGIN CERTIFICATE-----\nc2VudGluZWw=\n-----END CERTIFICATE-----\n";
    assert_eq!(why(nonsense, &key), "the client certificate is no X.509 certificate; have it written anew");
}

#[test]
fn a_renewed_certificate_is_another_identity_even_with_the_same_key() {
    let key = KeyPair::generate().unwrap();
    let issue = || {
        let certificate = CertificateParams::new(["client".to_owned()]).unwrap().self_signed(&key).unwrap();
        ClientIdentity::from_pem(&secret(&certificate.pem()), &secret(&key.serialize_pem())).unwrap()
    };
    let (first, second) = (issue(), issue());
    assert_eq!(first, first.clone());
    assert_ne!(first, second);
}

#[test]
fn debug_output_tells_the_first_bytes_of_the_fingerprint_and_nothing_else() {
    let (certificate, key) = pair(&PKCS_ED25519);
    let identity = ClientIdentity::from_pem(&secret(&certificate), &secret(&key)).unwrap();
    let shown = format!("{identity:?}");
    assert!(shown.starts_with("ClientIdentity(") && shown.ends_with("…)") && shown.chars().count() == 25, "{shown}");
}

#[test]
fn the_clients_own_certificate_comes_first() {
    let (issuer, own) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let params = CertificateParams::new(["issuer".to_owned()]).unwrap();
    let above = params.self_signed(&issuer).unwrap();
    let issuer = rcgen::Issuer::new(params, issuer);
    let leaf = CertificateParams::new(["client".to_owned()]).unwrap().signed_by(&own, &issuer).unwrap();
    let chain = secret(&(leaf.pem() + &above.pem()));
    ClientIdentity::from_pem(&chain, &secret(&own.serialize_pem())).unwrap();
    // The other way round the key is that of another certificate.
    assert!(why(&(above.pem() + &leaf.pem()), &own.serialize_pem()).contains("the client's own certificate before"));
}
