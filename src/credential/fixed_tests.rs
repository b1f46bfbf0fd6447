use http::HeaderName;

use super::*;
use crate::credential::{Format, Inject};
use crate::secret::SecretSource;

fn settings(scheme: FixedScheme, secret: SecretSource) -> Arc<FixedSettings> {
    Arc::new(FixedSettings { scheme, secret })
}

fn literal(text: &str) -> SecretSource {
    SecretSource::Literal(Secret::new(text.to_owned()))
}

fn finished(scheme: FixedScheme, text: &str) -> Result<String, InvalidSecret> {
    let value = settings(scheme, literal("x")).format(&Secret::new(text.to_owned()))?;
    assert!(value.is_sensitive());
    Ok(value.to_str().unwrap().to_owned())
}

/// A header credential whose secret is in a file.
fn in_file() -> (Arc<Fixed>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, "one\n").unwrap();
    let header = FixedScheme::Header(HeaderName::from_static("x-key"));
    (Fixed::new("key", settings(header, SecretSource::File(path)), Handle::current()), folder)
}

fn value(finished: &HeaderToken) -> &str {
    finished.value.to_str().unwrap()
}

#[test]
fn a_bearer_token_has_the_characters_of_one() {
    let bearer = || FixedScheme::Bearer(Inject::default());
    assert_eq!(finished(bearer(), "a.b-c_d~e+f/g=="), Ok("Bearer a.b-c_d~e+f/g==".into()));
    assert_eq!(finished(bearer(), "00Dxx!A|#=1"), Ok("Bearer 00Dxx!A|#=1".into()));
    for wrong in ["a b", "ü", "a\r\nb", "a\u{7f}"] {
        assert_eq!(finished(bearer(), wrong), Err(InvalidSecret::Bearer(TokenFault::Character)), "{wrong:?}");
    }
    assert_eq!(finished(bearer(), ""), Err(InvalidSecret::Bearer(TokenFault::Empty)));
    let format: Format = "Token {token}".parse().unwrap();
    let inject = Inject { format: Some(format), ..Inject::default() };
    assert_eq!(finished(FixedScheme::Bearer(inject), "abc"), Ok("Token abc".into()));
}

#[test]
fn basic_is_the_pair_of_rfc_7617_in_utf_8() {
    let basic = |username: &str| FixedScheme::Basic { username: username.to_owned() };
    // The examples of RFC 7617 sections 2 and 2.1.
    assert_eq!(finished(basic("Aladdin"), "open sesame"), Ok("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".into()));
    assert_eq!(finished(basic("test"), "123£"), Ok("Basic dGVzdDoxMjPCow==".into()));
    assert_eq!(finished(basic(""), "a:b"), Ok("Basic OmE6Yg==".into()), "a password may have colons");
    assert_eq!(finished(basic("a"), "b\tc"), Err(InvalidSecret::Basic));
}

#[test]
fn a_header_value_arrives_as_it_is_written() {
    let header = || FixedScheme::Header(HeaderName::from_static("x-key"));
    assert_eq!(finished(header(), "Key \"a\", b"), Ok("Key \"a\", b".into()));
    for wrong in [" a", "a ", "a\nb", "ä"] {
        assert_eq!(finished(header(), wrong), Err(InvalidSecret::Header), "{wrong:?}");
    }
}

#[test]
fn a_challenge_is_about_the_scheme_that_was_presented() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let answers = |scheme, challenge| {
        Fixed::new("key", settings(scheme, literal("x")), runtime.handle().clone()).answers(challenge)
    };
    let basic = || FixedScheme::Basic { username: "a".into() };
    assert!(answers(basic(), "basic") && !answers(basic(), "Bearer"));
    let bearer = || FixedScheme::Bearer(Inject::default());
    assert!(answers(bearer(), "bearer") && !answers(bearer(), "Basic"));
    assert!(answers(FixedScheme::Header(HeaderName::from_static("x-key")), "Negotiate"));
}

#[tokio::test]
async fn what_is_at_hand_is_ready_from_the_start_and_changes_with_its_file() {
    let (fixed, folder) = in_file();
    assert_eq!((value(&fixed.usable().unwrap()), fixed.status().generation), ("one", 1));
    fixed.look();
    assert_eq!(fixed.status().generation, 1, "the same secret is the same generation");
    std::fs::write(folder.path().join("key"), "two").unwrap();
    assert_eq!(value(&fixed.usable().unwrap()), "one");
    fixed.look();
    let two = fixed.usable().unwrap();
    assert_eq!((value(&two), two.generation, two.after_unauthorized), ("two", 2, false));
    let status = fixed.status();
    assert_eq!((status.state, status.usable, status.expires_in), ("ready", true, None));
    assert!(!format!("{fixed:?} {two:?}").contains("two"));
}

#[tokio::test]
async fn a_secret_that_goes_stays_in_use_and_one_that_never_came_is_an_error() {
    let (fixed, folder) = in_file();
    let path = folder.path().join("key");
    std::fs::remove_file(&path).unwrap();
    fixed.look();
    let status = fixed.status();
    assert_eq!((status.state, value(&fixed.usable().unwrap())), ("ready", "one"));
    assert!(status.last_error.unwrap().message.starts_with("the secret cannot be used: cannot read "));

    let unread = Fixed::new("key", Arc::clone(&fixed.settings), Handle::current());
    assert_eq!((unread.status().state, unread.status().generation), ("failed", 0));
    let error = unread.obtain().await.unwrap_err();
    assert_eq!(error.kind, TokenErrorKind::Configuration);
    std::fs::write(&path, "one").unwrap();
    unread.look();
    assert_eq!(value(&unread.obtain().await.unwrap()), "one");
    assert!(unread.status().last_error.is_none());
}

#[tokio::test]
async fn a_refusal_has_the_secret_read_at_once() {
    let (fixed, folder) = in_file();
    assert!(fixed.renew(1).await.unwrap().is_none(), "it is what was sent");
    std::fs::write(folder.path().join("key"), "two").unwrap();
    let (one, other) = tokio::join!(fixed.renew(1), fixed.renew(1));
    let (one, other) = (one.unwrap().unwrap(), other.unwrap().unwrap());
    assert_eq!((value(&one), one.generation, one.after_unauthorized), ("two", 2, true));
    assert_eq!(other.generation, 2);
    assert_eq!(fixed.renew(1).await.unwrap().unwrap().generation, 2, "a late 401 is about the old one");
    std::fs::remove_file(folder.path().join("key")).unwrap();
    assert_eq!(fixed.renew(2).await.unwrap_err().kind, TokenErrorKind::Configuration);
    assert_eq!(value(&fixed.usable().unwrap()), "two");
}

#[tokio::test]
async fn a_forced_reading_tells_what_it_found() {
    let (fixed, folder) = in_file();
    std::fs::write(folder.path().join("key"), "two").unwrap();
    assert_eq!(fixed.read_again().await.unwrap().generation, 2);
    std::fs::write(folder.path().join("key"), "\u{1}").unwrap();
    let error = fixed.read_again().await.unwrap_err();
    assert!(error.message.contains("no header field may have"), "{error}");
}
