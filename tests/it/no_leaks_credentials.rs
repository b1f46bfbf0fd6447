//! The leak search for the newer ways to a token: exchanged, signed, bound, returned to a program.

use crate::support::{Answer, Folder, Reply, Scripted, TokenServer, send};

const SUBJECT: &str = "QzSentinelSubject";
const SECRET: &str = "QzSentinelSecret-of-more-than-32-bytes";
const TOKEN: &str = "QzSentinelToken";
const PASSWORD: &str = "QzSentinelPassword";

/// Answers the first request to each credential with an error that quotes what it was sent, and the second with a token.
async fn tokens() -> TokenServer {
    TokenServer::scripted(|asked, number| {
        let form = String::from_utf8_lossy(&asked.body).replace('"', "");
        if number < 3 {
            return Reply::new(
                400,
                "",
                &format!(r#"{{"error":"invalid_request","error_description":"you said {form}"}}"#),
            );
        }
        let kind = if asked.field("dpop").is_some() { "DPoP" } else { "Bearer" };
        Reply::ok(&format!(r#"{{"access_token":"{TOKEN}","token_type":"{kind}","expires_in":3600}}"#))
    })
    .await
}

/// Fields and text of an answer.
fn said(answer: &Answer) -> String {
    format!("{:?} {}\n", answer.fields, answer.text())
}

#[tokio::test]
async fn nothing_of_a_subject_an_assertion_a_program_or_a_password_comes_out() {
    let (tokens, api) = (tokens().await, Scripted::start(|_, _| Reply::ok("fine")).await);
    let (endpoint, origin) = (tokens.endpoint(), api.origin());
    let credential = |name: &str, rest: &str| {
        format!("[credentials.{name}]\ntoken_endpoint = \"{endpoint}\"\nclient_id = \"me-{name}\"\n{rest}\n")
    };
    let secret = format!("client_secret = {{ command = [\"echo\", \"{SECRET}\"] }}\n");
    let mut toml = String::from("[admin]\naddress = \"127.0.0.1:0\"\n");
    for name in ["exchange", "signed", "bound"] {
        toml += &format!("[listeners.{name}]\naddress = \"127.0.0.1:0\"\nmode = \"reverse\"\nupstream = \"{name}\"\n");
        toml += &format!("[upstreams.{name}]\norigin = \"{origin}\"\ncredential = \"{name}\"\n");
    }
    toml += "[listeners.tokens]\naddress = \"127.0.0.1:0\"\nmode = \"token\"\ncallers = [\"signed\"]\n";
    toml += &format!("[callers.signed]\npassword = {{ command = [\"echo\", \"{PASSWORD}\"] }}\n");
    toml += &credential("exchange", &format!("grant = \"token_exchange\"\n{secret}"));
    toml += &credential("signed", &format!("client_auth = \"client_secret_jwt\"\n{secret}"));
    toml += &credential("bound", &format!("client_auth = \"client_secret_post\"\ndpop = true\n{secret}"));
    let folder = Folder::with(&toml);
    let running = folder.start(&["run", "--log", "trace"]);
    let mut heard = String::new();
    for round in 0..2 {
        for name in ["exchange", "signed", "bound"] {
            if round == 1 {
                let refresh = format!(
                    "POST /api/credentials/{name}/refresh HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
                );
                heard += &said(&send(running.address("admin").await, refresh).await);
            }
            for subject in [SUBJECT.to_owned(), format!("{SUBJECT}-{round}")] {
                let request = format!("GET /x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {subject}\r\n\r\n");
                heard += &said(&send(running.address(name).await, request).await);
            }
        }
        for password in [PASSWORD, "wrong"] {
            let form = format!("grant_type=client_credentials&client_id=signed&client_secret={password}");
            let length = form.len();
            let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n";
            let request = format!("{head}Content-Length: {length}\r\nConnection: close\r\n\r\n{form}");
            let answer = send(running.address("tokens").await, request).await;
            // The token is what this one is for; nothing else of the answer is.
            heard += &said(&answer).replace(TOKEN, "");
        }
        for page in ["/metrics", "/api/status", "/readyz"] {
            let request = format!("GET {page} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
            heard += &said(&send(running.address("admin").await, request).await);
        }
    }
    let sent = format!("{:?}", api.asked());
    assert!(sent.contains(TOKEN) && !sent.contains(SUBJECT), "{sent}");
    running.signal("TERM");
    let finished = running.finish().await;
    assert!(finished.stderr.contains("token request answered") && heard.contains("invalid_request"), "{finished:?}");
    for (place, text) in [("callers", &heard), ("stdout", &finished.stdout), ("stderr", &finished.stderr)] {
        let found =
            text.find("QzSentinel").map(|at| text[at.saturating_sub(200)..].chars().take(300).collect::<String>());
        assert_eq!(found, None, "a sentinel is in what {place} got");
    }
}
