//! The token engine from within a program, by nothing but `attache::service`.

use std::time::Duration;

use attache::service::{
    About, AcquireToken, AcquiredToken, CachePolicy, ClientCredentialsRequest, Secret, TokenError, TokenErrorKind,
    TokenService, TokenType,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A service whose authorization server answers every request with this.
async fn service(status: &'static str, body: &'static str) -> TokenService {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let _length = stream.read(&mut request).await.unwrap();
            let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n");
            let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    TokenService::new(&url).unwrap().with_credentials("orders-batch", Secret::new("s3cret".to_owned()))
}

#[tokio::test]
async fn a_token_can_be_read_and_presented() {
    let answer = r#"{"access_token":"abc","token_type":"Bearer","expires_in":3600,"scope":"a"}"#;
    let service = service("200 OK", answer).await;
    let request = AcquireToken { scope: vec!["a".into()], ..AcquireToken::default() };
    let token: AcquiredToken = service.acquire_token_by(CachePolicy::ReadWrite, request).await.unwrap();
    assert_eq!((token.access_token.expose(), token.token_type), ("abc", TokenType::Bearer));
    assert_eq!((token.token_type.as_str(), token.scope.as_deref()), ("Bearer", Some("a")));
    assert!(token.expires_in.is_some_and(|left| left > Duration::from_secs(3000)));
}

#[tokio::test]
async fn an_error_says_what_a_program_decides_on() {
    let service = service("401 Unauthorized", r#"{"error":"invalid_client"}"#).await;
    let request = ClientCredentialsRequest {
        client_id: "orders-batch".into(),
        client_secret: Secret::new("s3cret".to_owned()),
        audience: "https://orders.test".into(),
        cancellation: None,
    };
    let error: TokenError = service.client_credentials_token(request).await.unwrap_err();
    assert_eq!((error.kind, error.kind.as_str()), (TokenErrorKind::Permanent, "permanent"));
    assert!(error.kind.is_permanent() && error.retry_after.is_none() && error.clock_skew.is_none());
    assert_eq!((error.code.as_deref(), error.about), (Some("invalid_client"), Some(About::Client)));
    assert!(error.message.contains("refused the token request"), "{}", error.message);
}
