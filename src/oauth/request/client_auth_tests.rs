use super::*;
use crate::oauth::tests::{literal, secrets};

const ID: &str = "odd:id/+ &%";
const SECRET: &str = "p@ss:w/ord+ =%&~";

fn audience() -> assertion::Audience<'static> {
    assertion::Audience {
        issuer: None,
        token_endpoint: "https://login.example.com/token",
        wanted: &crate::oauth::AssertionAudience::Unsaid,
    }
}

fn proof(auth: &ClientAuth, secret: Option<&str>) -> Result<Proof, TokenError> {
    Proof::new(auth, ID, secret.map(literal).as_ref(), &audience())
}

fn basic(raw: bool) -> ClientAuth {
    ClientAuth::Basic { secrets: secrets(SECRET), raw }
}

fn form(proof: &Proof) -> Vec<(&str, &str)> {
    proof.form.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

fn pair(proof: &Proof) -> String {
    let value = proof.authorization.as_ref().unwrap();
    assert!(value.is_sensitive());
    let pair = http_auth::BasicPair::read(value).unwrap();
    format!("{}:{}", pair.name, pair.password.as_str())
}

#[test]
fn basic_form_encodes_id_and_secret_separately() {
    let proof = proof(&basic(false), Some(SECRET)).unwrap();
    assert_eq!(pair(&proof), "odd%3Aid%2F%2B+%26%25:p%40ss%3Aw%2Ford%2B+%3D%25%26%7E");
    assert!(proof.form.is_empty(), "one method for each request");
}

#[test]
fn raw_basic_encodes_nothing() {
    let proof = proof(&basic(true), Some(SECRET)).unwrap();
    assert_eq!(pair(&proof), format!("{ID}:{SECRET}"));
}

#[test]
fn post_puts_both_into_the_form_only() {
    let proof = proof(&ClientAuth::Post(secrets(SECRET)), Some(SECRET)).unwrap();
    assert_eq!(form(&proof), [("client_id", ID), ("client_secret", SECRET)]);
    assert!(proof.authorization.is_none());
}

#[test]
fn a_public_client_sends_its_id_alone_and_an_omitted_one_nothing() {
    let public = proof(&ClientAuth::None, None).unwrap();
    assert_eq!(form(&public), [("client_id", ID)]);
    assert!(public.authorization.is_none() && !public.is_in("anything"));
    let omitted = proof(&ClientAuth::Omitted, None).unwrap();
    assert!(omitted.authorization.is_none() && omitted.form.is_empty());
}

#[test]
fn a_federated_assertion_goes_out_as_it_stands() {
    let proof = proof(&ClientAuth::Assertion(secrets("x")), Some("aaa.bbb.ccc\n")).unwrap();
    let expected = [("client_id", ID), ("client_assertion_type", JWT_BEARER), ("client_assertion", "aaa.bbb.ccc")];
    assert_eq!(form(&proof), expected);
    assert!(proof.is_in("your aaa.bbb.ccc is bad"));
}

#[test]
fn a_secret_jwt_never_shows_the_secret_and_is_never_sent_twice() {
    let auth = ClientAuth::SecretJwt(secrets(SECRET));
    let sent =
        |proof: &Proof| form(proof).into_iter().find(|(name, _)| *name == "client_assertion").unwrap().1.to_owned();
    let one = proof(&auth, Some(SECRET)).unwrap();
    assert!(one.authorization.is_none() && !format!("{:?}", form(&one)).contains(SECRET));
    assert_ne!(sent(&one), sent(&proof(&auth, Some(SECRET)).unwrap()));
    assert!(one.is_in(&format!("rejected {}", sent(&one))));
}

#[test]
fn a_repeated_secret_is_recognised_in_every_form_it_was_sent_in() {
    let proof = proof(&basic(false), Some(SECRET)).unwrap();
    let value = proof.authorization.clone().unwrap();
    for text in [SECRET, "P@SS:W/ORD+ =%&~", "p%40ss%3Aw%2Ford%2B+%3D%25%26%7E", value.to_str().unwrap()] {
        assert!(proof.is_in(&format!("you said {text}!")), "{text}");
    }
    assert!(!proof.is_in("you said nothing"));
}

#[test]
fn a_method_without_its_secret_is_a_configuration_error() {
    let error = proof(&ClientAuth::Post(secrets(SECRET)), None).err().unwrap();
    assert_eq!(error.kind, TokenErrorKind::Configuration);
}
