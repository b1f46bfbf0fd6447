use std::time::Duration;

use http::HeaderValue;
use http::header::{DATE, LOCATION, RETRY_AFTER};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::oauth::tests::{presented, settings};
use crate::token::Expires;

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
fn token_type_is_bearer_or_dpop_in_any_case() {
    let with = |token_type: Value| json_answer(200, &json!({"access_token": TOKEN, "token_type": token_type}));
    assert_eq!(with(json!("BEARER")).unwrap().token_type, TokenType::Bearer);
    assert_eq!(with(json!("dpop")).unwrap().token_type, TokenType::DPoP);
    for other in [json!("mac"), json!("N_A"), json!(""), json!(1), json!(["Bearer"])] {
        assert_eq!(with(other).unwrap_err().kind, TokenErrorKind::InvalidResponse);
    }
}

#[test]
fn a_list_of_scopes_is_joined() {
    let token = json_answer(200, &json!({"access_token": TOKEN, "scope": ["a", "b"]})).unwrap();
    assert_eq!(token.scope.as_deref(), Some("a b"));
}

#[test]
fn a_token_that_may_not_enter_a_header_is_refused() {
    for token in ["", "a b", "a\r\nX: y", "ü", "=", "a=b", "a\u{0}", "\"a\"", &"a".repeat(MAX_TOKEN + 1)] {
        let error = json_answer(200, &json!({ "access_token": token })).unwrap_err();
        assert_eq!(error.kind, TokenErrorKind::InvalidResponse, "{token}");
    }
    for token in ["a", "a==", "A-z.0_~+/9=", &"a".repeat(MAX_TOKEN)] {
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
    assert_eq!(kind(403, r#"{"error":"scope_invalid"}"#), TokenErrorKind::Permanent);
    assert_eq!(kind(200, r#"{"error":"temporarily_unavailable"}"#), TokenErrorKind::Transient);
    assert_eq!(kind(400, r#"{"error":"slow_down"}"#), TokenErrorKind::Transient);
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
    let error = json_answer(401, &body).unwrap_err();
    assert_eq!(error.message, "login.example.com refused the token request: invalid_request");
    let error = json_answer(400, &json!({ "error": SECRET })).unwrap_err();
    assert_eq!((error.kind, &error.code), (TokenErrorKind::Permanent, &None));
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
    assert!(error.kind == TokenErrorKind::InvalidResponse && error.message.contains("not bound to our key"), "{error}");
}

#[test]
fn only_an_access_token_comes_of_an_exchange() {
    let mut exchange = settings("https://login.example.com/token");
    exchange.grant = Grant::TokenExchange(TokenExchange {
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
