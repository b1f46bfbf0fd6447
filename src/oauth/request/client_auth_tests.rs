use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::oauth::tests::{literal, secrets};

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const ID: &str = "odd:id/+ &%";
const SECRET: &str = "p@ss:w/ord+ =%&~";

fn audience() -> assertion::Audience<'static> {
    assertion::Audience {
        issuer: None,
        token_endpoint: "https://login.example.com/token",
        wanted: &crate::oauth::AssertionAudience::Unsaid,
    }
}

fn presented(auth: &ClientAuth, secret: Option<&str>) -> Result<ClientAuthentication, TokenError> {
    ClientAuthentication::new(auth, ID, secret.map(literal).as_ref(), &audience())
}

fn basic(raw: bool) -> ClientAuth {
    ClientAuth::Basic { secrets: secrets(SECRET), raw }
}

fn given(assertion_type: Option<ClientAssertionType>) -> ClientAuth {
    ClientAuth::Assertion { assertions: secrets("x"), assertion_type }
}

fn form(client: &ClientAuthentication) -> Vec<(&str, &str)> {
    client.form.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

fn pair(client: &ClientAuthentication) -> String {
    let value = client.authorization.as_ref().unwrap();
    assert!(value.is_sensitive());
    let pair = http_auth::BasicPair::read(value).unwrap();
    format!("{}:{}", pair.name, pair.password.as_str())
}

#[test]
fn basic_form_encodes_id_and_secret_separately() {
    let client = presented(&basic(false), Some(SECRET)).unwrap();
    assert_eq!(pair(&client), "odd%3Aid%2F%2B+%26%25:p%40ss%3Aw%2Ford%2B+%3D%25%26%7E");
    assert!(client.form.is_empty(), "one method for each request");
}

#[test]
fn raw_basic_encodes_nothing() {
    let client = presented(&basic(true), Some(SECRET)).unwrap();
    assert_eq!(pair(&client), format!("{ID}:{SECRET}"));
}

#[test]
fn post_puts_both_into_the_form_only() {
    let client = presented(&ClientAuth::Post(secrets(SECRET)), Some(SECRET)).unwrap();
    assert_eq!(form(&client), [("client_id", ID), ("client_secret", SECRET)]);
    assert!(client.authorization.is_none());
}

#[test]
fn a_public_client_sends_its_id_alone_and_an_omitted_one_nothing() {
    let public = presented(&ClientAuth::None, None).unwrap();
    assert_eq!(form(&public), [("client_id", ID)]);
    assert!(public.authorization.is_none() && !public.redactor.is_in("anything"));
    let omitted = presented(&ClientAuth::Omitted, None).unwrap();
    assert!(omitted.authorization.is_none() && omitted.form.is_empty());
}

#[test]
fn a_federated_assertion_goes_out_as_it_stands() {
    let client = presented(&given(None), Some("aaa.bbb.ccc\n")).unwrap();
    let expected = [("client_id", ID), ("client_assertion_type", JWT_BEARER), ("client_assertion", "aaa.bbb.ccc")];
    assert_eq!(form(&client), expected);
    assert!(client.redactor.is_in("your aaa.bbb.ccc is bad"));
}

#[test]
fn an_assertion_about_a_spiffe_id_is_said_to_be_one() {
    let jwt = |claims: &str| format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims));
    let said = |assertion_type, claims: &str| {
        let client = presented(&given(assertion_type), Some(&jwt(claims))).unwrap();
        form(&client)[1].1.to_owned()
    };
    let svid = r#"{"sub":"spiffe://example.org/orders","aud":["https://login.example.com"]}"#;
    assert_eq!(said(None, svid), "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe");
    assert_eq!(said(Some(ClientAssertionType::JwtBearer), svid), JWT_BEARER, "as it is configured");
    for other in [r#"{"sub":"orders"}"#, r#"{"sub":1}"#, "{}", "no JSON"] {
        assert_eq!(said(None, other), JWT_BEARER);
        assert_eq!(said(Some(ClientAssertionType::JwtSpiffe), other), ClientAssertionType::JwtSpiffe.as_str());
    }
}

#[test]
fn a_secret_jwt_never_shows_the_secret_and_is_never_sent_twice() {
    let auth = ClientAuth::SecretJwt(secrets(SECRET));
    let sent = |client: &ClientAuthentication| {
        form(client).into_iter().find(|(name, _)| *name == "client_assertion").unwrap().1.to_owned()
    };
    let one = presented(&auth, Some(SECRET)).unwrap();
    assert!(one.authorization.is_none() && !format!("{:?}", form(&one)).contains(SECRET));
    assert_ne!(sent(&one), sent(&presented(&auth, Some(SECRET)).unwrap()));
    assert!(one.redactor.is_in(&format!("rejected {}", sent(&one))));
}

#[test]
fn a_repeated_secret_is_recognised_in_every_form_it_was_sent_in() {
    let client = presented(&basic(false), Some(SECRET)).unwrap();
    let value = client.authorization.clone().unwrap();
    for text in [SECRET, "P@SS:W/ORD+ =%&~", "p%40ss%3Aw%2Ford%2B+%3D%25%26%7E", value.to_str().unwrap()] {
        assert!(client.redactor.is_in(&format!("you said {text}!")), "{text}");
    }
    assert!(!client.redactor.is_in("you said nothing"));
}

#[test]
fn a_method_without_its_secret_is_a_configuration_error() {
    let error = presented(&ClientAuth::Post(secrets(SECRET)), None).err().unwrap();
    assert_eq!(error.kind, TokenErrorKind::Configuration);
}
