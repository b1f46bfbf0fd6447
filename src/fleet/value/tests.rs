//! What is sealed for others is what they read, for as long as it counts.

use super::*;
use crate::secret::{SecretSource, Secrets};

const PLACE: &str = "abcdefghijklmnopqrstuv";

fn keys() -> CacheKeys {
    CacheKeys::read(&Secrets::one(SecretSource::Literal(Secret::new("k".repeat(32))))).unwrap()
}

fn place() -> Tag {
    Tag::scripted(PLACE)
}

fn wall(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_900_000_000 + seconds)
}

/// An hour from when it was asked for, two seconds before it was put.
fn token() -> TokenValue {
    TokenValue {
        token: Secret::new("token-1".into()),
        token_type: TokenType::Bearer,
        lifetime: Duration::from_secs(3600),
        age: Duration::from_secs(2),
        expires_at: wall(3600),
        scope: Some("read write".into()),
        missing_scope: vec!["admin".into()],
        detail: FetchDetail {
            proven_by: Some("second".into()),
            members: vec![("tenant".into(), "t \"1\"".into())],
            status: None,
        },
        by: "orders-7f6d-x2".into(),
    }
}

fn stored(sealed: Vec<u8>, generation: u64, age: u64) -> Stored {
    let age = Duration::from_secs(age);
    Stored { generation, sealed, age, left: Duration::from_secs(3598).saturating_sub(age), renewals: 0 }
}

fn content(json: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(json.as_bytes().to_vec())
}

#[test]
fn a_token_is_read_as_it_was_sealed() {
    let keys = keys();
    let bare = TokenValue {
        token_type: TokenType::DPoP,
        scope: None,
        missing_scope: Vec::new(),
        detail: FetchDetail::default(),
        ..token()
    };
    for value in [token(), bare, TokenValue { token_type: TokenType::Unknown, ..token() }] {
        let stored = stored(value.seal(&keys, &place(), 7).unwrap(), 7, 10);
        let opened = TokenValue::open(&keys, &place(), &stored, wall(12), None).unwrap();
        assert_eq!(opened, value);
        assert_eq!(opened.age(&stored), Duration::from_secs(12));
        assert_eq!(opened.left(&stored, wall(12)), Duration::from_secs(3588));
        assert_eq!(opened.obtained_at(), wall(0));
    }
}

#[test]
fn what_is_sealed_is_written_the_same_from_release_to_release() {
    let keys = keys();
    let sealed = token().seal(&keys, &place(), 7).unwrap();
    let content = seal::open(&keys, Kind::Token, &place(), 7, &sealed).unwrap();
    let written = r#"{"t":"token-1","tt":"Bearer","l":3600000,"a":2000,"x":1900003600000,"s":"read write","ms":["admin"],"m":[["tenant","t \"1\""]],"p":"second","by":"orders-7f6d-x2"}"#;
    assert_eq!(std::str::from_utf8(&content).unwrap(), written);
}

#[test]
fn a_token_ends_by_the_clock_of_the_store_or_thirty_seconds_late_by_this_machines() {
    let keys = keys();
    let sealed = token().seal(&keys, &place(), 7).unwrap();
    let at = |age, seconds| {
        let stored = stored(sealed.clone(), 7, age);
        TokenValue::open(&keys, &place(), &stored, wall(seconds), None)
            .map(|value| value.left(&stored, wall(seconds)).as_secs())
    };
    assert_eq!(at(3597, 3599), Ok(1));
    assert_eq!(at(3598, 3600), Err(OpenError::Expired), "the two seconds before it was put count");
    assert_eq!(at(0, 3629), Ok(1), "the store says that it is young");
    assert_eq!(at(0, 3630), Err(OpenError::Expired));
    assert_eq!(at(10, 0), Ok(3588), "this machine's clock is behind");
}

#[test]
fn an_older_token_is_refused_where_both_its_number_and_its_time_say_so() {
    let keys = keys();
    let sealed = token().seal(&keys, &place(), 7).unwrap();
    let known = |generation, obtained| {
        let newest = Newest { generation, obtained_at: wall(obtained) };
        TokenValue::open(&keys, &place(), &stored(sealed.clone(), 7, 10), wall(100), Some(newest)).map(|_| ())
    };
    assert_eq!(known(8, 50), Err(OpenError::Older));
    assert_eq!(known(6, 50), Ok(()), "numbers rise");
    assert_eq!(TokenValue::open(&keys, &place(), &stored(sealed.clone(), 7, 10), wall(100), None).map(|_| ()), Ok(()));
    let newer = TokenValue { expires_at: wall(3660), ..token() };
    let stored = stored(newer.seal(&keys, &place(), 1).unwrap(), 1, 10);
    let newest = Newest { generation: 8, obtained_at: wall(50) };
    assert!(
        TokenValue::open(&keys, &place(), &stored, wall(100), Some(newest)).is_ok(),
        "the store had lost everything"
    );
}

#[test]
fn a_text_that_no_header_may_hold_is_no_token() {
    let keys = keys();
    for json in [
        r#"{"t":"a b","tt":"Bearer","l":3600000,"a":0,"x":1900003600000,"by":"x"}"#,
        r#"{"t":"a\r\nX: y","tt":"Bearer","l":3600000,"a":0,"x":1900003600000,"by":"x"}"#,
        r#"{"t":"","tt":"Bearer","l":3600000,"a":0,"x":1900003600000,"by":"x"}"#,
        r#"{"t":"a","tt":"mac","l":3600000,"a":0,"x":1900003600000,"by":"x"}"#,
        r#"{"t":"a","tt":"Bearer","l":-1,"a":0,"x":1900003600000,"by":"x"}"#,
        r#"{"tt":"Bearer","l":3600000,"a":0,"x":1900003600000,"by":"x"}"#,
        "",
        "[]",
    ] {
        let sealed = seal::seal(&keys, Kind::Token, &place(), 1, content(json)).unwrap();
        let opened = TokenValue::open(&keys, &place(), &stored(sealed, 1, 0), wall(0), None);
        assert_eq!(opened, Err(OpenError::Malformed), "{json}");
    }
    let later = r#"{"t":"a","tt":"Bearer","l":3600000,"a":0,"x":1900003600000,"by":"x","new":[1]}"#;
    let sealed = seal::seal(&keys, Kind::Token, &place(), 1, content(later)).unwrap();
    assert!(TokenValue::open(&keys, &place(), &stored(sealed, 1, 0), wall(0), None).is_ok(), "of a newer release");
}

#[test]
fn times_beyond_all_calendars_are_no_panic() {
    let keys = keys();
    let most = u64::MAX;
    let json = format!(r#"{{"t":"a","tt":"Bearer","l":{most},"a":{most},"x":{most},"by":"x"}}"#);
    let sealed = seal::seal(&keys, Kind::Token, &place(), 1, content(&json)).unwrap();
    assert!(TokenValue::open(&keys, &place(), &stored(sealed, 1, 0), wall(0), None).is_err());
    let early = TokenValue { expires_at: UNIX_EPOCH, ..token() };
    assert_eq!(early.obtained_at(), early.expires_at - early.lifetime);
}

fn failed(error: TokenError, delay: u64) -> FailureValue {
    let why = NoToken::Failed(error);
    FailureValue { why, at: wall(0), delay: Duration::from_secs(delay), by: "orders-7f6d-x2".into() }
}

fn refusal() -> TokenError {
    TokenError {
        code: Some("invalid_client".into()),
        about: Some(About::Client),
        retry_after: Some(Duration::from_secs(5)),
        ..TokenError::new(TokenErrorKind::Permanent, "login.example.com refuses the client")
            .with_remedy("is the secret right?")
    }
}

#[test]
fn a_failure_is_read_as_it_was_sealed_for_as_long_as_it_was_said_for() {
    let keys = keys();
    let plain = TokenError::new(TokenErrorKind::Timeout, "no answer");
    let not_shared = FailureValue { why: NoToken::NotShared, ..failed(plain.clone(), 600) };
    for (value, end) in [(failed(refusal(), 5), 35), (failed(plain, 3600), 3630), (not_shared, 630)] {
        let sealed = value.seal(&keys, &place(), 3).unwrap();
        let at = |seconds| FailureValue::open(&keys, &place(), 3, &sealed, wall(seconds));
        assert_eq!(at(0).as_ref(), Ok(&value));
        assert_eq!(at(end - 1).as_ref(), Ok(&value));
        assert_eq!(at(end), Err(OpenError::Expired));
        assert_eq!(FailureValue::open(&keys, &place(), 4, &sealed, wall(0)), Err(OpenError::Forged));
        let as_token = TokenValue::open(&keys, &place(), &stored(sealed.clone(), 3, 0), wall(0), None);
        assert_eq!(as_token, Err(OpenError::Forged));
    }
}

#[test]
fn no_store_makes_a_failure_count_for_longer_than_it_was_said_for() {
    let value = failed(refusal(), 60);
    let left = |by_store, seconds| value.left(Duration::from_secs(by_store), wall(seconds)).as_secs();
    assert_eq!(left(10, 50), 10, "the store's clock decides");
    assert_eq!(left(9_000_000_000_000, 0), 60);
    assert_eq!(left(9_000_000_000_000, 80), 10, "and this machine's, with what the two may differ by");
    assert_eq!(left(40, 90), 0);
    let keys = keys();
    let ages = failed(refusal(), u64::from(u32::MAX));
    let sealed = ages.seal(&keys, &place(), 3).unwrap();
    let opened = FailureValue::open(&keys, &place(), 3, &sealed, wall(0)).unwrap();
    assert_eq!(opened.delay, LONGEST_FAILURE);
}

#[test]
fn the_skew_of_one_machines_clock_is_not_told_as_anothers() {
    let keys = keys();
    let skewed = failed(TokenError { clock_skew: Some(-3000), ..refusal() }, 5);
    let sealed = skewed.seal(&keys, &place(), 3).unwrap();
    assert_eq!(FailureValue::open(&keys, &place(), 3, &sealed, wall(0)), Ok(failed(refusal(), 5)));
}

#[test]
fn a_sealed_failure_is_written_the_same_from_release_to_release() {
    let keys = keys();
    let not_shared = FailureValue { why: NoToken::NotShared, ..failed(refusal(), 600) };
    for (value, written) in [
        (
            failed(refusal(), 5),
            r#"{"k":"permanent","c":"invalid_client","m":"login.example.com refuses the client; is the secret right?","r":"is the secret right?","ra":5000,"ab":"client","at":1900000000000,"d":5000,"by":"orders-7f6d-x2"}"#,
        ),
        (not_shared, r#"{"k":"not_shared","at":1900000000000,"d":600000,"by":"orders-7f6d-x2"}"#),
    ] {
        let sealed = value.seal(&keys, &place(), 3).unwrap();
        let content = seal::open(&keys, Kind::Failure, &place(), 3, &sealed).unwrap();
        assert_eq!(std::str::from_utf8(&content).unwrap(), written);
    }
    let sealed =
        seal::seal(&keys, Kind::Failure, &place(), 3, content(r#"{"k":"timeout","at":1,"d":1,"by":"x"}"#)).unwrap();
    assert_eq!(FailureValue::open(&keys, &place(), 3, &sealed, wall(0)), Err(OpenError::Malformed));
}

#[test]
fn a_token_that_is_too_large_is_not_shared() {
    let large = TokenValue { token: Secret::new("a".repeat(MAX_SEALED)), ..token() };
    assert!(matches!(large.seal(&keys(), &place(), 1), Err(SealError::TooLarge(_))));
    let shown = format!("{:?}", token());
    assert!(!shown.contains("token-1"), "{shown}");
}
