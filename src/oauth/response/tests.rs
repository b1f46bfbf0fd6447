use std::time::Duration;

use http::HeaderValue;
use http::header::{DATE, LOCATION, RETRY_AFTER};
use proptest::prelude::*;
use serde_json::json;

use http::{HeaderMap, StatusCode};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::*;
use crate::oauth::tests::{presented, settings};
use crate::token::{About, Expires};

const HOST: &str = "login.example.com";
const SECRET: &str = "s3cret-of-the-client";
const TOKEN: &str = "sentinel-ToKeN-0123456789";

fn answer(status: u16, body: &[u8]) -> Answer<'static> {
    let status = StatusCode::from_u16(status).unwrap();
    let body = Zeroizing::new(body.to_vec());
    Answer { host: HOST, status, headers: HeaderMap::new(), body, requested_at: Instant::now() }
}

fn read(answer: &Answer<'_>) -> Result<FetchedToken, TokenError> {
    parse(answer, &presented(SECRET), &settings("https://login.example.com/token"))
}

fn json_answer(status: u16, body: &Value) -> Result<FetchedToken, TokenError> {
    read(&answer(status, body.to_string().as_bytes()))
}

fn kind(status: u16, body: &str) -> TokenErrorKind {
    read(&answer(status, body.as_bytes())).unwrap_err().kind
}

#[test]
fn a_whole_answer_is_read() {
    let body = json!({"access_token": TOKEN, "token_type": "bearer", "expires_in": 60, "scope": "a b", "x": {"y": 1}});
    let token = json_answer(200, &body).unwrap();
    assert_eq!(token.access_token.expose(), TOKEN);
    assert_eq!(token.token_type, TokenType::Bearer);
    assert_eq!(token.expires, Expires::In(Duration::from_mins(1)));
    assert_eq!(token.scope.as_deref(), Some("a b"));
}

#[test]
fn a_silent_server_means_bearer_without_lifetime_or_scope() {
    let token = json_answer(200, &json!({"access_token": TOKEN, "expires_in": null, "scope": null})).unwrap();
    assert_eq!((token.token_type, token.expires, token.scope), (TokenType::Bearer, Expires::Unsaid, None));
}

#[test]
fn token_type_is_whatever_begins_with_bearer() {
    let with = |token_type: Value| json_answer(200, &json!({"access_token": TOKEN, "token_type": token_type}));
    for bearer in ["BEARER", "BearerToken", "bearer ", "bearer_token", ""] {
        assert_eq!(with(json!(bearer)).unwrap().token_type, TokenType::Bearer, "{bearer}");
    }
    for other in
        [json!("mac"), json!("Application Access Token"), json!("N_A"), json!(1), json!(["Bearer"]), json!("b")]
    {
        let error = with(other).unwrap_err();
        assert_eq!(error.kind, TokenErrorKind::InvalidResponse);
        assert!(error.message.contains("inject = { format = "), "{error}");
    }
    assert!(with(json!("dpop")).unwrap_err().message.ends_with("write dpop = true"));
}

#[test]
fn where_the_configuration_says_how_a_token_is_presented_its_type_decides_nothing() {
    let read = |dpop: bool, token_type: &str| {
        let mut settings = settings("https://login.example.com/token");
        settings.any_token_type = true;
        settings.dpop = dpop.then_some(crate::oauth::DpopSettings::Generated);
        let body = json!({"access_token": TOKEN, "token_type": token_type}).to_string();
        parse(&answer(200, body.as_bytes()), &presented(SECRET), &settings).map(|token| token.token_type)
    };
    for other in ["mac", "Application Access Token", "N_A", "dpop"] {
        assert_eq!(read(false, other).unwrap(), TokenType::Unknown, "{other}");
        assert_eq!(read(true, other).is_ok(), other == "dpop", "a token that is to be bound has to be");
    }
    assert_eq!(read(false, "bearertoken").unwrap(), TokenType::Bearer);
}

#[test]
fn the_token_may_be_another_member_and_then_says_itself_how_long_it_lives() {
    let mut google = settings("https://login.example.com/token");
    google.token_member = Some("id_token".into());
    let read = |body: &Value| parse(&answer(200, body.to_string().as_bytes()), &presented(SECRET), &google);
    // {"exp":1}
    let token = read(&json!({"id_token": "e30.eyJleHAiOjF9.c2ln", "access_token": TOKEN, "expires_in": 60})).unwrap();
    assert_eq!(token.access_token.expose(), "e30.eyJleHAiOjF9.c2ln");
    assert!(matches!(token.expires, Expires::At(_)));
    let token = read(&json!({"id_token": "opaque", "expires_in": 60})).unwrap();
    assert_eq!(token.expires, Expires::In(Duration::from_mins(1)));
    let error = read(&json!({ "access_token": TOKEN })).unwrap_err();
    assert!(error.kind == TokenErrorKind::InvalidResponse && error.message.ends_with("it has no id_token"), "{error}");
}

#[test]
fn a_list_of_scopes_is_joined() {
    let token = json_answer(200, &json!({"access_token": TOKEN, "scope": ["a", "b"]})).unwrap();
    assert_eq!(token.scope.as_deref(), Some("a b"));
}

#[test]
fn a_token_that_may_not_enter_a_header_is_refused() {
    for token in ["", "a b", "a\r\nX: y", "ü", "a\u{0}", "a\u{7f}", &"a".repeat(16 * 1024 + 1)] {
        let error = json_answer(200, &json!({ "access_token": token })).unwrap_err();
        assert_eq!(error.kind, TokenErrorKind::InvalidResponse, "{token}");
    }
    for token in ["a", "a==", "00Dxx!A.b_c", "Atc|a", "v^1.1#i^1", "ver:1-hint:2", &"a".repeat(16 * 1024)] {
        assert!(json_answer(200, &json!({ "access_token": token })).is_ok(), "{token}");
    }
}

#[test]
fn an_answer_that_is_none_is_an_invalid_response() {
    for body in
        ["", "<html>", "[]", "null", "{}", r#"{"access_token":5}"#, r#"{"access_token":"a","access_token":"b"}"#]
    {
        assert_eq!(kind(200, body), TokenErrorKind::InvalidResponse, "{body}");
    }
    assert_eq!(kind(200, r#"{"access_token":"a","expires_in":"soon"}"#), TokenErrorKind::InvalidResponse);
    assert_eq!(kind(204, ""), TokenErrorKind::InvalidResponse);
}

#[test]
fn an_oauth_error_is_permanent_even_inside_a_200() {
    for status in [200, 400, 401, 403] {
        let body = json!({"error": "invalid_client", "error_description": "who\r\n\"are\" you", "access_token": TOKEN});
        let error = json_answer(status, &body).unwrap_err();
        assert_eq!(error.kind, TokenErrorKind::Permanent);
        assert_eq!(error.code.as_deref(), Some("invalid_client"));
        let expected = "login.example.com refused the token request: invalid_client (who   are  you); \
                        check client_id, the client secret and client_auth";
        assert_eq!(error.message, expected);
    }
    assert_eq!(kind(400, r#"{"error":"consent_required"}"#), TokenErrorKind::Permanent);
    assert_eq!(kind(200, r#"{"error":"temporarily_unavailable"}"#), TokenErrorKind::Transient);
    assert_eq!(kind(400, r#"{"error":"slow_down"}"#), TokenErrorKind::Transient);
}

/// RFC 6749 section 5.2: 401 means that the client could not prove itself, whatever stands in the body.
#[test]
fn a_401_is_about_the_client_by_whatever_name() {
    for body in [
        r#"{"error":"unauthorized_client","error_description":"Invalid client or Invalid client credentials"}"#,
        r#"{"error":"access_denied"}"#,
        r#"{"error":"unauthorized"}"#,
        r#"{"error":"temporarily_unavailable"}"#,
        r#"{"error":{"code":7}}"#,
        r#"{"fault":"none"}"#,
        "<html>",
        "",
    ] {
        let error = read(&answer(401, body.as_bytes())).unwrap_err();
        assert_eq!((error.kind, error.about), (TokenErrorKind::Permanent, Some(About::Client)), "{body}");
        assert!(error.message.ends_with("; check client_id, the client secret and client_auth"), "{error}");
    }
    let other = read(&answer(401, br#"{"error":"invalid_dpop_proof"}"#)).unwrap_err();
    assert_eq!((other.kind, other.about), (TokenErrorKind::Permanent, None), "no other secret helps there");
}

#[test]
fn a_code_that_says_the_client_is_wrong_says_so_under_every_status() {
    for status in [200, 400, 403] {
        for code in ["incorrect_client_credentials", "invalid_client_id", "BAD_CLIENT_SECRET", "invalid_client"] {
            let error = json_answer(status, &json!({ "error": code })).unwrap_err();
            assert_eq!((error.kind, error.about), (TokenErrorKind::Permanent, Some(About::Client)), "{status} {code}");
        }
        let error = json_answer(status, &json!({"error": "unauthorized_client"})).unwrap_err();
        assert_eq!((error.kind, error.about), (TokenErrorKind::Permanent, None), "{status}");
        assert!(error.message.ends_with("; allow this client the grant there"), "{error}");
    }
}

#[test]
fn a_code_that_nobody_has_registered_is_asked_again() {
    for status in [200, 400, 403, 404, 409, 422] {
        let mut refused = answer(status, br#"{"error":"unknown_error","error_description":"retry"}"#);
        refused.headers.insert(RETRY_AFTER, HeaderValue::from_static("7"));
        let error = read(&refused).unwrap_err();
        assert_eq!(
            (error.kind, error.retry_after),
            (TokenErrorKind::Transient, Some(Duration::from_secs(7))),
            "{status}"
        );
        assert_eq!(error.message, "login.example.com refused the token request: unknown_error (retry)");
    }
    assert_eq!(kind(404, r#"{"error":"Realm does not exist"}"#), TokenErrorKind::Transient);
}

/// As a server says it whose clock is by so many seconds ahead.
fn refused_by_a_clock(ahead: i64, settings: &OAuthSettings) -> TokenError {
    let mut refused = answer(400, br#"{"error":"invalid_client"}"#);
    let by = Duration::from_secs(ahead.unsigned_abs());
    let now = std::time::SystemTime::now();
    let date = httpdate::fmt_http_date(if ahead > 0 { now + by } else { now - by });
    refused.headers.insert(DATE, HeaderValue::from_str(&date).unwrap());
    parse(&refused, &presented(SECRET), settings).unwrap_err()
}

#[test]
fn a_clock_that_is_off_is_named_where_something_that_is_signed_was_refused() {
    let mut signs = settings("https://login.example.com/token");
    signs.client_auth = crate::oauth::ClientAuth::SecretJwt(crate::oauth::tests::secrets(SECRET));
    let error = refused_by_a_clock(-90, &signs);
    assert!((-91..=-89).contains(&error.clock_skew.unwrap()), "{error:?}");
    assert!(error.message.contains(" s behind this machine's, and what is signed says its time: "), "{error}");
    // What to do is one remedy, and the sentence ends with it.
    let remedy = error.remedy.clone().unwrap();
    assert!(remedy.starts_with("check client_id") && remedy.ends_with("(NTP)"), "{remedy}");
    assert!(error.message.ends_with(&format!("; {remedy}")), "{error}");
    assert!(refused_by_a_clock(90, &signs).message.contains(" s ahead of this machine's"));
    assert!(!refused_by_a_clock(1, &signs).message.contains("clock"), "that troubles no server");
    let error = refused_by_a_clock(90, &settings("https://login.example.com/token"));
    assert!(error.clock_skew.unwrap() > 80 && !error.message.contains("clock"), "a secret has no time: {error}");
}

#[test]
fn an_error_member_that_is_none_does_not_hide_a_token() {
    for error in [json!(null), json!("")] {
        assert!(json_answer(200, &json!({"error": error, "access_token": TOKEN})).is_ok());
    }
}

#[test]
fn overload_is_transient_unless_the_code_can_mean_nothing_else() {
    for status in [408, 425, 429, 500, 502, 503, 504] {
        for body in ["", "<html>", r#"{"error":"server_error"}"#, r#"{"error":"quota"}"#] {
            assert_eq!(kind(status, body), TokenErrorKind::Transient, "{status} {body}");
        }
    }
    assert_eq!(kind(500, r#"{"error":"invalid_client"}"#), TokenErrorKind::Permanent);
    assert_eq!(kind(429, r#"{"error":"access_denied"}"#), TokenErrorKind::Transient);
}

#[test]
fn a_refusal_without_words_names_the_status_and_what_to_check() {
    let message = |status, body: &str| {
        let error = read(&answer(status, body.as_bytes())).unwrap_err();
        assert_eq!(error.kind, TokenErrorKind::InvalidResponse);
        error.message
    };
    assert!(message(403, "").contains("403 Forbidden without saying why; check client_id"));
    assert!(message(404, "<html>").contains("404 Not Found to the token request; check the path"));
    assert!(message(400, r#"{"error":{"code":1}}"#).contains("400 Bad Request without saying why"));
    assert!(message(418, "short and stout").contains("418"));
}

#[test]
fn a_redirect_names_the_new_host_and_nothing_else_of_it() {
    let mut redirect = answer(302, br#"{"error":"invalid_client"}"#);
    redirect.headers.insert(LOCATION, HeaderValue::from_static("https://sso.example.com/login?key=hidden"));
    let error = read(&redirect).unwrap_err();
    assert_eq!(error.kind, TokenErrorKind::InvalidResponse);
    assert!(error.message.contains("a redirect to sso.example.com, which"), "{error}");
    assert!(!error.message.contains("hidden") && !error.message.contains("login?"));
}

#[test]
fn retry_after_is_read_in_both_forms_and_bounded() {
    let after = |value: &'static str| {
        let mut unavailable = answer(503, b"");
        unavailable.headers.insert(DATE, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
        unavailable.headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
        read(&unavailable).unwrap_err().retry_after.map(|after| after.as_secs())
    };
    assert_eq!(after("120"), Some(120));
    assert_eq!(after("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
    assert_eq!(after("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
    assert_eq!(after("86400"), Some(3600));
    assert_eq!(after("99999999999999999999999"), Some(3600));
    for nonsense in ["", "soon", "-5", "1.5"] {
        assert_eq!(after(nonsense), None, "{nonsense}");
    }
}

#[test]
fn neither_secret_nor_token_comes_back_in_an_error() {
    let body = json!({
        "error": "invalid_request",
        "error_description": format!("the secret {SECRET} is wrong, here is {TOKEN}"),
        "access_token": TOKEN,
    });
    let error = json_answer(403, &body).unwrap_err();
    assert_eq!(error.message, "login.example.com refused the token request: invalid_request");
    let error = json_answer(400, &json!({ "error": SECRET })).unwrap_err();
    assert_eq!((error.kind, &error.code), (TokenErrorKind::Transient, &None));
    assert!(!format!("{error} {error:?}").contains(SECRET));
    let asked = settings("https://login.example.com/token");
    let error = parse(&answer(400, br#"{"error":"invalid_scope"}"#), &presented("scope"), &asked).unwrap_err();
    assert_eq!(error.code.as_deref(), Some("invalid_scope"));
    let token = json_answer(200, &json!({"access_token": TOKEN, "scope": TOKEN})).unwrap();
    assert_eq!(token.scope, None);
}

#[test]
fn a_token_that_has_to_be_bound_is_refused_where_it_is_not() {
    let mut bound = settings("https://login.example.com/token");
    bound.dpop = Some(crate::oauth::DpopSettings::Generated);
    let read = |token_type: &str| {
        let body = json!({"access_token": TOKEN, "token_type": token_type}).to_string();
        parse(&answer(200, body.as_bytes()), &presented(SECRET), &bound)
    };
    assert_eq!(read("dpop").unwrap().token_type, TokenType::DPoP);
    let error = read("Bearer").unwrap_err();
    assert!(
        error.kind == TokenErrorKind::InvalidResponse && error.message.contains("not bound to attache's key"),
        "{error}"
    );
}

#[test]
fn only_an_access_token_comes_of_an_exchange() {
    let mut exchange = settings("https://login.example.com/token");
    exchange.grant = Grant::TokenExchange(TokenExchange {
        subject: None,
        subject_token_type: "urn:ietf:params:oauth:token-type:access_token".into(),
        requested_token_type: None,
    });
    let read = |rest: Value| {
        let mut body = json!({"access_token": TOKEN});
        body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        parse(&answer(200, body.to_string().as_bytes()), &presented(SECRET), &exchange)
    };
    assert!(read(json!({"issued_token_type": "urn:ietf:params:oauth:token-type:jwt"})).is_ok());
    assert!(read(json!({})).is_ok(), "some servers leave it out");
    let refused = "urn:ietf:params:oauth:token-type:refresh_token";
    assert!(read(json!({ "issued_token_type": refused })).unwrap_err().message.contains("issued_token_type"));
    assert!(read(json!({"token_type": "N_A"})).unwrap_err().message.contains("N_A"));
}

#[test]
fn members_that_routes_ask_for_are_kept_unless_they_repeat_a_secret() {
    let mut asking = settings("https://login.example.com/token");
    asking.members = vec!["instance_url".into(), "other".into()];
    let body = json!({"access_token": TOKEN, "instance_url": "https://a.my.example.com", "other": TOKEN});
    let token = parse(&answer(200, body.to_string().as_bytes()), &presented(SECRET), &asking).unwrap();
    assert_eq!(token.detail.members, [("instance_url".to_owned(), "https://a.my.example.com".to_owned())]);
}

/// JSON values of every kind, some of them the token, the secret, or a text around one.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        "[A-Za-z0-9._~+/-]{1,40}={0,2}".prop_map(Value::from),
        Just(json!("Bearer")),
        Just(json!("invalid_client")),
        Just(json!(TOKEN)),
        Just(json!(SECRET)),
        (".{0,300}", ".{0,20}").prop_map(|(before, after)| json!(format!("{before}{SECRET}{after}"))),
        Just(json!([TOKEN, {"a": TOKEN}])),
    ]
}

fn members() -> impl Strategy<Value = Value> {
    let names = ["token_type", "expires_in", "scope", "error", "error_description"];
    let others = proptest::collection::hash_map(proptest::sample::select(names.to_vec()), value(), 0..5);
    let token = prop_oneof![Just(json!(TOKEN)), Just(json!(format!("{TOKEN} "))), value()];
    (others, token).prop_map(|(others, token)| {
        let mut body = json!({ "access_token": token });
        for (name, value) in others {
            body[name] = value;
        }
        body
    })
}

fn check(outcome: Result<FetchedToken, TokenError>) {
    match outcome {
        Ok(token) => {
            let value = HeaderValue::try_from(format!("Bearer {}", token.access_token.expose())).unwrap();
            assert!(value.to_str().is_ok());
            assert!(!token.scope.unwrap_or_default().contains(SECRET));
        }
        Err(error) => {
            let text = format!("{error} {error:?}");
            assert!(!text.contains(SECRET), "{text}");
            assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{text:?}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_answered_without_a_panic(
        status in 200_u16..600,
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        check(read(&answer(status, &body)));
    }

    #[test]
    fn any_members_give_a_safe_token_or_a_safe_error(
        status in prop_oneof![Just(200), Just(400), Just(503)],
        body in members(),
    ) {
        check(json_answer(status, &body));
    }

    #[test]
    fn no_error_tells_the_token(status in 200_u16..600, description in ".{0,300}", cut in 0_usize..40) {
        for token in [TOKEN.to_owned(), format!("{TOKEN}\n")] {
            let description = format!("{description}{token}");
            let body = json!({"access_token": token, "error": "e", "error_description": description});
            let mut bytes = body.to_string().into_bytes();
            bytes.truncate(bytes.len() - cut.min(bytes.len()));
            if let Err(error) = read(&answer(status, &bytes)) {
                assert!(!format!("{error} {error:?}").contains(TOKEN));
            }
        }
    }
}
