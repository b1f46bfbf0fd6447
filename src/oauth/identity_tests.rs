//! Which token requests are the same, and which are not.

use super::super::tests::{secrets, settings};
use super::*;
use crate::secret::{Secret, Secrets};

fn of(change: impl FnOnce(&mut OAuthSettings)) -> Identity {
    let mut settings = settings("https://login.example.com/token");
    change(&mut settings);
    identity(&settings, Some([7; 32]), None)
}

#[test]
fn scope_is_a_set() {
    let base = of(|s| s.scope = vec!["a".into(), "b".into()]);
    assert_eq!(base, of(|s| s.scope = vec!["b".into(), "a".into(), "b".into()]));
    assert_eq!(base, of(|s| s.scope = vec!["b a".into()]));
    assert_ne!(base, of(|s| s.scope = vec!["ab".into()]));
}

#[test]
fn every_part_of_the_request_counts() {
    let mut seen = BTreeSet::from([of(|_| {})]);
    let mut new = |identity| assert!(seen.insert(identity), "{identity} was there already");
    new(identity(&settings("https://login.example.com/token"), Some([8; 32]), None));
    new(identity(&settings("https://login.example.com/token"), None, None));
    new(identity(&settings("https://login.example.com/token2"), Some([7; 32]), None));
    new(identity(&settings("https://login.example.com/token"), Some([7; 32]), Some("thumbprint")));
    new(of(|s| s.grant = exchange("x", None)));
    new(of(|s| s.grant = exchange("y", None)));
    new(of(|s| s.grant = exchange("x", Some("y"))));
    new(of(|s| s.grant = Grant::Other("account_credentials".into())));
    new(of(|s| s.client_id.push('2')));
    new(of(|s| s.client_auth = ClientAuth::None));
    new(of(|s| s.client_auth = ClientAuth::Post(secrets("s3cret"))));
    new(of(|s| s.client_auth = ClientAuth::SecretJwt(secrets("s3cret"))));
    new(of(|s| s.token_member = Some("id_token".into())));
    new(of(|s| s.audience = Some("x".into())));
    new(of(|s| s.resource = vec!["x".into()]));
    new(of(|s| s.parameters = vec![("x".into(), "y".into())]));
    new(of(|s| s.parameters = vec![("xy".into(), String::new())]));
    new(of(|s| s.headers = vec![(http::header::ACCEPT, http::HeaderValue::from_static("x"))]));
    let key = |key_id: Option<&str>| SigningKeySettings {
        keys: secrets("x"),
        key_id: key_id.map(str::to_owned),
        algorithm: None,
        certificate: None,
    };
    for key_id in [None, Some("k")] {
        new(of(|s| s.client_auth = ClientAuth::PrivateKeyJwt(key(key_id))));
        new(of(|s| {
            s.grant = Grant::JwtBearer(JwtBearer::Signed {
                key: key(key_id),
                subject: None,
                claims: Vec::new(),
                scope_claim: false,
            });
        }));
    }
    for audience in [AssertionAudience::TokenEndpoint, AssertionAudience::Text("x".into())] {
        let signed = of(|s| {
            s.client_auth = ClientAuth::SecretJwt(secrets("s3cret"));
            s.server.issuer = Some("https://login.example.com".into());
            s.assertion_audience = audience;
        });
        assert!(signed != of(|s| s.client_auth = ClientAuth::Post(secrets("s3cret"))));
    }
}

#[test]
fn every_part_of_a_signed_grant_counts() {
    let signed = |change: fn(&mut SigningKeySettings), subject: Option<&str>, claim: &str, scope_claim: bool| {
        let mut key = SigningKeySettings { keys: secrets("x"), key_id: None, algorithm: None, certificate: None };
        change(&mut key);
        let claims = vec![("name".to_owned(), claim.to_owned())];
        let subject = subject.map(str::to_owned);
        of(|s| s.grant = Grant::JwtBearer(JwtBearer::Signed { key, subject, claims, scope_claim }))
    };
    let identities = [
        signed(|_| {}, None, "x", false),
        signed(|_| {}, Some("subject"), "x", false),
        signed(|_| {}, None, "y", false),
        signed(|_| {}, None, "x", true),
        signed(|key| key.key_id = Some("k".into()), None, "x", false),
        signed(|key| key.algorithm = Some(crate::jose::Algorithm::PS256), None, "x", false),
        signed(|key| key.certificate = Some(SecretSource::Env("x".into())), None, "x", false),
        of(|s| s.grant = Grant::JwtBearer(JwtBearer::Given(secrets("x")))),
    ];
    assert_eq!(identities.into_iter().collect::<BTreeSet<_>>().len(), identities.len());
}

#[test]
fn every_way_of_client_authentication_counts() {
    let one = || secrets("x");
    let place = || SecretSource::Env("x".into());
    let key = SigningKeySettings { keys: one(), key_id: None, algorithm: None, certificate: None };
    let ways = [
        ClientAuth::Basic { secrets: one(), raw: false },
        ClientAuth::Basic { secrets: one(), raw: true },
        ClientAuth::Post(one()),
        ClientAuth::SecretJwt(one()),
        ClientAuth::PrivateKeyJwt(key),
        ClientAuth::Assertion { assertions: one(), assertion_type: None },
        ClientAuth::Tls { certificate: place(), key: place() },
        ClientAuth::None,
        ClientAuth::Omitted,
    ];
    let count = ways.len();
    let identities: BTreeSet<Identity> = ways.into_iter().map(|way| of(|s| s.client_auth = way)).collect();
    assert_eq!(identities.len(), count);
    let issuer = |issuer: &str| {
        of(|s| s.server = crate::oauth::Server { token_endpoint: None, issuer: Some(issuer.to_owned()) })
    };
    assert_ne!(issuer("https://login.example.com"), issuer("https://login.example.com/"));
}

/// Another digest would cost every program that is updated a token for each credential, and tells of a field that was lost.
#[test]
fn an_identity_stays_what_it_is() {
    let known = of(|s| {
        s.scope = vec!["b a".into()];
        s.audience = Some("https://api.example.com".into());
        s.resource = vec!["https://r.example.com".into()];
        s.parameters = vec![("tenant".into(), "x".into())];
    });
    let digits: String = known.0.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digits, "79f06c14db6f8c7883752fcfc9a7067b81a2bc34ac3aa069a65478130e40ca37");
}

#[test]
fn what_is_not_sent_does_not_count() {
    let base = of(|_| {});
    assert_eq!(base, of(|s| s.timeout = std::time::Duration::from_secs(1)));
    assert_eq!(base, of(|s| s.ca_file = Some("ca.pem".into())));
    assert_eq!(base, of(|s| s.members = vec!["instance_url".into()]));
    assert_eq!(base, of(|s| s.any_token_type = true));
    assert_eq!(base, of(|s| s.assertion_audience = AssertionAudience::Text("x".into())), "nothing is signed");
    assert_eq!(base, of(|s| s.server.issuer = Some("https://login.example.com".into())), "the endpoint is known");
    assert_eq!(
        base,
        of(|s| s.parameters = vec![("client_id".into(), "another".into())]),
        "a field that is sent anyway"
    );
    assert_eq!(base, of(|s| s.headers = vec![(http::header::CONTENT_LENGTH, http::HeaderValue::from_static("1"))]));
    let two = |first: &str, second: &str| {
        of(|s| s.parameters = [first, second].map(|name| (name.to_owned(), "x".to_owned())).into())
    };
    assert_eq!(two("a", "b"), two("b", "a"));
}

/// A JWT with these claims, whose signature nobody looks at.
fn jwt(claims: &str) -> SecretSource {
    use base64::Engine as _;

    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims);
    SecretSource::Literal(Secret::new(format!("e30.{payload}.c2ln")))
}

#[test]
fn an_assertion_that_is_written_anew_is_the_same_one() {
    let of = |assertion: SecretSource| {
        let mut settings = settings("https://login.example.com/token");
        let as_client = {
            settings.client_auth =
                ClientAuth::Assertion { assertions: Secrets::one(assertion.clone()), assertion_type: None };
            secrets_fingerprint(&settings).unwrap().unwrap()
        };
        let letters = assertions_fingerprint(&settings).unwrap();
        settings.client_auth = ClientAuth::Omitted;
        settings.grant = Grant::JwtBearer(JwtBearer::Given(Secrets::one(assertion)));
        assert_eq!(as_client, secrets_fingerprint(&settings).unwrap().unwrap());
        (as_client, letters)
    };
    let first = of(jwt(r#"{"iss":"k8s","sub":"pod","aud":["a"],"exp":1}"#));
    let second = of(jwt(r#"{"iss":"k8s","sub":"pod","aud":["a"],"exp":2,"jti":"x"}"#));
    assert!(first.0 == second.0 && first.1 != second.1, "but it is told that there is a new one");
    for other in [
        r#"{"iss":"k9s","sub":"pod","aud":["a"]}"#,
        r#"{"iss":"k8s","sub":"other","aud":["a"]}"#,
        r#"{"iss":"k8s","sub":"pod","aud":["b"]}"#,
    ] {
        assert_ne!(first.0, of(jwt(other)).0, "{other}");
    }
    let opaque = |text: &str| of(SecretSource::Literal(Secret::new(text.into()))).0;
    assert_ne!(opaque("a"), opaque("b"), "what is no JWT counts to the letter");
    let nobodys = |exp: u64| of(jwt(&format!(r#"{{"iss":"k8s","aud":["a"],"exp":{exp}}}"#))).0;
    assert_ne!(nobodys(1), nobodys(2), "so does what says of nobody whose it is");
}

#[test]
fn a_subject_that_may_less_is_another_one() {
    let of = |claims: &str| {
        let mut settings = settings("https://login.example.com/token");
        let Grant::TokenExchange(exchange) = exchange("x", None) else { panic!("another grant") };
        let subject = Some(Secrets::one(jwt(claims)));
        settings.grant = Grant::TokenExchange(TokenExchange { subject, ..exchange });
        secrets_fingerprint(&settings).unwrap().unwrap()
    };
    let first =
        of(r#"{"iss":"i","sub":"s","aud":"a","scope":"all","exp":1,"jti":"x","kubernetes.io":{"warnafter":1}}"#);
    assert_eq!(
        first,
        of(r#"{"iss":"i","sub":"s","aud":"a","scope":"all","exp":2,"jti":"y","kubernetes.io":{"warnafter":2}}"#)
    );
    for other in [
        r#"{"iss":"i","sub":"s","aud":"a","scope":"some"}"#,
        r#"{"iss":"i","sub":"s","aud":"a","scope":"all","act":{"sub":"agent"}}"#,
        r#"{"iss":"i","sub":"s","aud":"a","scope":"all","tid":"t"}"#,
    ] {
        assert_ne!(first, of(other), "{other}");
    }
}

#[test]
fn a_secret_from_two_places_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let of = |source: SecretSource| {
        let mut settings = settings("https://login.example.com/token");
        settings.client_auth = ClientAuth::Post(Secrets::one(source));
        identity(&settings, secrets_fingerprint(&settings).unwrap(), None)
    };
    let file = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        SecretSource::File(folder.path().join(name))
    };
    let literal = of(SecretSource::Literal(Secret::new("s3cret".into())));
    assert_eq!(literal, of(file("one", "s3cret\n")));
    assert_eq!(literal, of(file("two", "\u{feff}s3cret\r\n")));
    assert_ne!(literal, of(file("three", "s3cret2")));
}

fn exchange(subject: &str, requested: Option<&str>) -> Grant {
    Grant::TokenExchange(TokenExchange {
        subject: None,
        subject_token_type: subject.into(),
        requested_token_type: requested.map(str::to_owned),
    })
}

#[test]
fn only_eight_digits_are_shown() {
    assert_eq!(format!("{}", of(|_| {})).len(), 8);
    assert_eq!(format!("{:?}", of(|_| {})).len(), "Identity()".len() + 8);
}
