//! `mode = "token"`: programs that insist on being OAuth clients get the cached token.

use crate::support::{Answer, Reply, TestProxy, TokenServer, send};

/// A token listener for the credential `orders`, with more tables behind.
fn listening(tokens: &TokenServer, listener: &str, rest: &str) -> TestProxy {
    TestProxy::start(&format!(
        r#"
[listeners.tokens]
address = "127.0.0.1:0"
mode = "token"
{listener}
[credentials.orders]
token_endpoint = "{}"
client_id = "orders-batch"
client_secret = "s3cret of/mine"
{rest}
"#,
        tokens.endpoint()
    ))
}

fn post(fields: &str, form: &str) -> String {
    format!(
        "POST /oauth2/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n{fields}Content-Length: {}\r\n\r\n{form}",
        form.len()
    )
}

const SECRET: &str = "client_secret=s3cret+of%2Fmine";

async fn ask(proxy: &TestProxy, form: &str) -> Answer {
    send(proxy.address("tokens"), post("", form)).await
}

async fn tokens() -> TokenServer {
    TokenServer::scripted(|_, number| {
        Reply::ok(&format!(
            r#"{{"access_token":"token-{}","token_type":"Bearer","expires_in":3600,"scope":"a b"}}"#,
            number + 1
        ))
    })
    .await
}

#[tokio::test]
async fn a_program_gets_the_cached_token_by_any_standard_request() {
    let tokens = tokens().await;
    let proxy = listening(&tokens, "", "");
    let form = format!("grant_type=client_credentials&client_id=orders-batch&{SECRET}");
    let answer = ask(&proxy, &form).await;
    let document = answer.json();
    assert_eq!((answer.status, answer.field("cache-control")), (200, Some("no-store")));
    assert_eq!((&document["access_token"], &document["token_type"]), (&"token-1".into(), &"Bearer".into()));
    assert!(document["expires_in"].as_u64().unwrap() <= 3600 && document["scope"] == "a b", "{document}");
    // b64("orders:s3cret+of%2Fmine"): the credential's name will do, and the pair is form-encoded.
    let basic =
        post("Authorization: Basic b3JkZXJzOnMzY3JldCtvZiUyRm1pbmU=\r\n", "grant_type=client_credentials&scope=a");
    assert_eq!(send(proxy.address("tokens"), basic).await.json()["access_token"], "token-1");
    assert_eq!(tokens.requests(), 1);
}

#[tokio::test]
async fn an_unknown_client_and_a_wrong_secret_are_answered_with_the_same_bytes() {
    let tokens = tokens().await;
    let proxy = listening(&tokens, "", "");
    let mut answers = Vec::new();
    for form in [
        "grant_type=client_credentials&client_id=nobody&client_secret=x".to_owned(),
        "grant_type=client_credentials&client_id=orders&client_secret=wrong".to_owned(),
        "grant_type=password&client_id=nobody&client_secret=wrong".to_owned(),
        "grant_type=password&client_id=orders&client_secret=wrong".to_owned(),
        "grant_type=client_credentials&client_id=orders".to_owned(),
    ] {
        let answer = ask(&proxy, &form).await;
        let fields: Vec<_> =
            answer.fields.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("date")).cloned().collect();
        answers.push((answer.status, fields, answer.text().to_owned()));
    }
    assert_eq!(answers[0].0, 401);
    assert!(answers[0].2.contains(r#""error":"invalid_client""#));
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:#?}");
    assert_eq!(tokens.requests(), 0);
}

#[tokio::test]
async fn listed_callers_have_passwords_of_their_own() {
    let tokens = tokens().await;
    let callers = "[callers.legacy]\npassword = \"pa55\"\ncredential = \"orders\"\n";
    let proxy = listening(&tokens, "callers = [\"legacy\"]", callers);
    let good = ask(&proxy, "grant_type=client_credentials&client_id=legacy&client_secret=pa55").await;
    assert_eq!((good.status, &good.json()["access_token"]), (200, &"token-1".into()));
    let own = format!("grant_type=client_credentials&client_id=orders&{SECRET}");
    assert_eq!(ask(&proxy, &own).await.status, 401, "the credential's own secret is not for callers then");
}

#[tokio::test]
async fn what_is_wrong_with_a_request_has_its_code() {
    let tokens = tokens().await;
    let proxy = listening(&tokens, "", "");
    let who = format!("client_id=orders&{SECRET}");
    for (form, code) in [
        (who.clone(), "invalid_request"),
        (format!("grant_type=password&{who}"), "unsupported_grant_type"),
        (format!("grant_type=client_credentials&scope=admin&{who}"), "invalid_scope"),
        (format!("grant_type=client_credentials&grant_type=client_credentials&{who}"), "invalid_request"),
        (format!("x={}&{who}", "x".repeat(20_000)), "invalid_request"),
    ] {
        let answer = ask(&proxy, &form).await;
        assert_eq!((answer.status, answer.json()["error"].as_str()), (400, Some(code)), "{form}");
    }
    let both = post("Authorization: Basic b3JkZXJzOng=\r\n", &format!("grant_type=client_credentials&{who}"));
    assert_eq!(send(proxy.address("tokens"), both).await.json()["error"], "invalid_request");
    let get = send(proxy.address("tokens"), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!((get.status, get.field("allow")), (405, Some("POST")));
    let json = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(send(proxy.address("tokens"), json).await.status, 400);
}

#[tokio::test]
async fn a_server_that_gives_no_token_is_told_of_in_the_words_of_the_standard() {
    let down = TokenServer::scripted(|_, _| Reply::new(503, "Retry-After: 7\r\n", "")).await;
    let proxy = listening(&down, "", "");
    let form = format!("grant_type=client_credentials&client_id=orders&{SECRET}");
    let answer = ask(&proxy, &form).await;
    assert_eq!((answer.status, answer.field("retry-after")), (503, Some("7")));
    assert_eq!(answer.json()["error"], "temporarily_unavailable");
    let refusing = TokenServer::scripted(|_, _| Reply::new(401, "", r#"{"error":"invalid_client"}"#)).await;
    let proxy = listening(&refusing, "", "");
    let answer = ask(&proxy, &form).await;
    assert_eq!((answer.status, &answer.json()["error"]), (502, &"server_error".into()));
}

#[tokio::test]
async fn guessing_is_held_to_the_rate_of_all_requests() {
    let tokens = tokens().await;
    let proxy = listening(&tokens, "", "[limits]\nrequests_per_second = 1\n");
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let form = "grant_type=client_credentials&client_id=orders&client_secret=guess";
        statuses.push(ask(&proxy, form).await.status);
    }
    assert!(statuses.contains(&401) && statuses.contains(&429), "{statuses:?}");
}

/// Many clients do not form-encode the pair of Basic, as RFC 6749 section 2.3.1 would have it.
#[tokio::test]
async fn basic_is_taken_in_either_spelling() {
    use base64::Engine as _;

    let tokens = tokens().await;
    let proxy = listening(
        &tokens,
        "callers = [\"legacy\"]",
        "[callers.legacy]\npassword = \"a+b%2F c&d\"\ncredential = \"orders\"\n",
    );
    let with = |pair: &str| {
        let field = format!("Authorization: Basic {}\r\n", base64::engine::general_purpose::STANDARD.encode(pair));
        send(proxy.address("tokens"), post(&field, "grant_type=client_credentials"))
    };
    for spelling in ["legacy:a+b%2F c&d", "legacy:a%2Bb%252F+c%26d"] {
        assert_eq!(with(spelling).await.status, 200, "{spelling}");
    }
    for wrong in ["legacy:a b/ c&d", "legacy:a+b", "other:a+b%2F c&d"] {
        let answer = with(wrong).await;
        assert_eq!((answer.status, &answer.json()["error"]), (401, &"invalid_client".into()), "{wrong}");
    }
}

#[tokio::test]
async fn a_request_may_be_json() {
    let tokens = tokens().await;
    let proxy = listening(&tokens, "", "");
    let json = |body: &str| {
        let request = post("", body).replace("application/x-www-form-urlencoded", "application/json; charset=utf-8");
        send(proxy.address("tokens"), request)
    };
    let body = r#"{"grant_type":"client_credentials","client_id":"orders-batch","client_secret":"s3cret of/mine","expires":null}"#;
    let answer = json(body).await;
    assert_eq!((answer.status, &answer.json()["access_token"]), (200, &"token-1".into()), "{}", answer.text());
    for wrong in ["[]", "{", r#"{"grant_type":"a","grant_type":"b"}"#] {
        assert_eq!(json(wrong).await.json()["error"], "invalid_request", "{wrong}");
    }
}

#[tokio::test]
async fn secrets_of_clients_are_not_guessed_at_any_speed() {
    let tokens = tokens().await;
    let proxy = listening(&tokens, "", "");
    let form = |secret: &str| format!("grant_type=client_credentials&client_id=orders-batch&client_secret={secret}");
    let right = format!("grant_type=client_credentials&client_id=orders-batch&{SECRET}");
    assert_eq!(ask(&proxy, &right).await.status, 200);
    let mut looked_at = 0;
    for number in 0..100 {
        let answer = ask(&proxy, &form(&format!("guess-{number}"))).await;
        match answer.status {
            401 => looked_at += 1,
            429 => {
                assert!(answer.field("retry-after").is_some() && answer.json()["error"] == "temporarily_unavailable");
            }
            other => panic!("{other}"),
        }
    }
    assert!((10..=30).contains(&looked_at), "{looked_at}");
    assert_eq!(ask(&proxy, &right).await.status, 200, "who was right from there before is heard");
}

#[cfg(unix)]
#[tokio::test]
async fn strangers_have_no_secret_read_and_no_program_run() {
    let folder = tempfile::tempdir().unwrap();
    let (ran, file) = (folder.path().join("ran"), folder.path().join("secret"));
    std::fs::write(&file, "old").unwrap();
    let tokens = tokens().await;
    let script = format!("echo x >> {}; echo from-a-program", ran.display());
    let proxy = listening(
        &tokens,
        "callers = [\"one\", \"two\"]",
        &format!(
            "[callers.one]\npassword = {{ command = [\"sh\", \"-c\", {script:?}] }}\ncredential = \"orders\"\n\
             [callers.two]\npassword = {{ file = {file:?} }}\ncredential = \"orders\"\n"
        ),
    );
    let form = |id: &str, secret: &str| format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
    let runs = || std::fs::read_to_string(&ran).unwrap_or_default().lines().count();
    assert_eq!(ask(&proxy, &form("one", "from-a-program")).await.status, 200);
    let before = runs();
    for number in 0..25 {
        let status = ask(&proxy, &form("one", &format!("guess-{number}"))).await.status;
        assert!(matches!(status, 401 | 429), "{status}");
    }
    assert_eq!(ask(&proxy, &form("one", "from-a-program")).await.status, 200);
    assert_eq!(runs(), before, "it was asked beforehand");
    // A rotated file is taken up, as callers' passwords are.
    assert_eq!(ask(&proxy, &form("two", "old")).await.status, 200);
    std::fs::write(&file, "new").unwrap();
    crate::support::until("the new secret is known", async || ask(&proxy, &form("two", "new")).await.status == 200)
        .await;
    assert_eq!(ask(&proxy, &form("two", "old")).await.status, 401);
}
