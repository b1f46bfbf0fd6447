use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::demo::{AuthorizationServer, Client, ask};

async fn both(scopes: &[&str]) -> (AuthorizationServer, Api, String) {
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let client = Client::new("me", "x", scopes);
    let server = AuthorizationServer::start(free, "api", vec![client]).await.unwrap();
    let api = Api::start(free, server.verifier()).await.unwrap();
    let form = "grant_type=client_credentials&client_id=me&client_secret=x";
    let head = "Content-Type: application/x-www-form-urlencoded\r\n";
    let answer = say(server.address(), &format!("POST /token HTTP/1.1\r\n{head}"), form).await;
    let json: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    (server, api, json["access_token"].as_str().unwrap().to_owned())
}

async fn say(address: SocketAddr, head: &str, body: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let rest = format!("Host: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(format!("{head}{rest}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_good_token_opens_what_its_scope_allows() {
    let (_server, api, token) = both(&["orders.read"]).await;
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let answer = say(api.address(), &format!("GET /orders HTTP/1.1\r\n{bearer}"), "").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("sealing wax"), "{answer}");
    let answer = say(api.address(), &format!("GET /whoami HTTP/1.1\r\n{bearer}"), "").await;
    assert!(answer.contains("\"client_id\":\"me\"") && !answer.contains(&token), "{answer}");
    let answer = say(api.address(), &format!("POST /orders HTTP/1.1\r\n{bearer}"), "12345").await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("error=\"insufficient_scope\", scope=\"orders.write\""), "{answer}");
    let answer = say(api.address(), &format!("GET /else HTTP/1.1\r\n{bearer}"), "").await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert_eq!((api.requests(), api.unauthorized()), (4, 0));
}

#[tokio::test]
async fn received_bytes_are_counted_whatever_their_number() {
    let (_server, api, token) = both(&["orders.write"]).await;
    let head = format!("POST /orders HTTP/1.1\r\nAuthorization: bearer {token}\r\n");
    let answer = say(api.address(), &head, &"x".repeat(3_000_000)).await;
    assert!(answer.starts_with("HTTP/1.1 201 ") && answer.ends_with("{\"received\":3000000}"), "{answer}");
}

#[tokio::test]
async fn everything_else_is_challenged() {
    let (server, api, token) = both(&["orders.read"]).await;
    let bare = ask(api.address(), "x", "/orders").await.unwrap();
    assert_eq!((bare.status, bare.header("www-authenticate")), (401, Some("Bearer realm=\"orders\"")));
    let basic = say(api.address(), "GET /orders HTTP/1.1\r\nAuthorization: Basic eDp5\r\n", "").await;
    assert!(basic.starts_with("HTTP/1.1 401 ") && !basic.contains("error="), "{basic}");
    let twice = format!("GET /orders HTTP/1.1\r\nAuthorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n");
    assert!(say(api.address(), &twice, "").await.starts_with("HTTP/1.1 400 "));
    server.revoke_all();
    let head = format!("GET /orders HTTP/1.1\r\nAuthorization: Bearer {token}\r\n");
    let answer = say(api.address(), &head, "").await;
    assert!(answer.contains("error=\"invalid_token\", error_description=\"the token has been revoked\""), "{answer}");
    assert_eq!(api.unauthorized(), 3);
}
