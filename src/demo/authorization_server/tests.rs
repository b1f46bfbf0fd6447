//! The two halves meet: attache's OAuth client asks this server.

use axum::http::HeaderValue;
use axum::http::header::RETRY_AFTER;

use super::*;
use crate::demo::ask;
use crate::oauth::{ClientAuth, OAuthSettings, OAuthSource, Server};
use crate::secret::{Secret, SecretSource, Secrets};
use crate::token::Ask;
use crate::token::{Expires, FetchedToken, TokenError, TokenErrorKind, TokenSource as _};

const ID: &str = "odd:id/+ &%";
const SECRET: &str = "p@ss:w/ord+ =%&~";

async fn server() -> AuthorizationServer {
    let clients = vec![Client::new("other", "x", &["other"]), Client::new(ID, SECRET, &["a", "b"])];
    AuthorizationServer::start(([127, 0, 0, 1], 0).into(), "api", clients).await.unwrap()
}

async fn ask_for(
    server: &AuthorizationServer,
    change: impl FnOnce(&mut OAuthSettings),
) -> Result<FetchedToken, TokenError> {
    let at = Server::at(server.token_endpoint().parse().unwrap());
    let mut settings = OAuthSettings::new(at, ID.into(), basic(SECRET));
    settings.timeout = Duration::from_secs(5);
    change(&mut settings);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    OAuthSource::new(settings, tls, None).unwrap().fetch(Ask::apart()).await
}

fn basic(secret: &str) -> ClientAuth {
    ClientAuth::Basic { secrets: secrets(secret), raw: false }
}

fn secrets(text: &str) -> Secrets {
    Secrets::one(SecretSource::Literal(Secret::new(text.into())))
}

async fn code_for(server: &AuthorizationServer, change: impl FnOnce(&mut OAuthSettings)) -> String {
    let error = ask_for(server, change).await.unwrap_err();
    assert_eq!(error.kind, TokenErrorKind::Permanent, "{error}");
    error.code.unwrap()
}

#[tokio::test]
async fn both_client_authentications_bring_a_token_that_verifies() {
    let server = server().await;
    for auth in [basic(SECRET), ClientAuth::Post(secrets(SECRET))] {
        let token = ask_for(&server, |s| s.client_auth = auth).await.unwrap();
        assert_eq!((token.scope.as_deref(), token.expires), (Some("a b"), Expires::In(Duration::from_mins(5))));
        let claims = server.verify(token.access_token.expose()).unwrap();
        assert_eq!((claims.client_id.as_str(), claims.scope.as_str(), claims.exp - claims.iat), (ID, "a b", 300));
    }
    assert_eq!((server.issued(), server.requests()), (2, 2));
}

#[tokio::test]
async fn refusals_have_their_codes() {
    let server = server().await;
    assert_eq!(code_for(&server, |s| s.client_auth = basic("wrong")).await, "invalid_client");
    assert_eq!(code_for(&server, |s| s.client_auth = ClientAuth::None).await, "invalid_client");
    assert_eq!(code_for(&server, |s| s.client_id = "nobody".into()).await, "invalid_client");
    assert_eq!(code_for(&server, |s| s.scope = vec!["a".into(), "other".into()]).await, "invalid_scope");
    assert_eq!(code_for(&server, |s| s.audience = Some("elsewhere".into())).await, "invalid_target");
    assert!(ask_for(&server, |s| s.scope = vec!["b".into()]).await.is_ok());
    assert_eq!(server.issued(), 1);
}

#[tokio::test]
async fn revoked_expired_and_foreign_tokens_are_told_apart() {
    let server = server().await;
    let first = ask_for(&server, |_| {}).await.unwrap().access_token;
    let second = ask_for(&server, |_| {}).await.unwrap().access_token;
    server.revoke(&server.verify(first.expose()).unwrap().jti);
    assert_eq!(server.verify(first.expose()), Err(TokenFault::Revoked));
    assert!(server.verify(second.expose()).is_ok());
    server.revoke_all();
    assert_eq!(server.verify(second.expose()), Err(TokenFault::Revoked));
    server.set_lifetime(Duration::ZERO);
    let over = ask_for(&server, |_| {}).await.unwrap();
    assert_eq!(over.expires, Expires::In(Duration::ZERO));
    assert_eq!(server.verify(over.access_token.expose()), Err(TokenFault::Expired));
    assert_eq!(server.verify("a.b.c"), Err(TokenFault::Unknown));
}

#[tokio::test]
async fn the_script_is_followed() {
    let server = server().await;
    let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("7"))]);
    server.fail_next(1, StatusCode::SERVICE_UNAVAILABLE, "closed", headers);
    let error = ask_for(&server, |_| {}).await.unwrap_err();
    assert_eq!((error.kind, error.retry_after), (TokenErrorKind::Transient, Some(Duration::from_secs(7))));
    assert!(ask_for(&server, |_| {}).await.is_ok());

    server.delay(Duration::from_mins(1));
    let error = ask_for(&server, |s| s.timeout = Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error.kind, TokenErrorKind::Timeout);
    server.delay(Duration::ZERO);

    server.set_up(false);
    assert_eq!(ask_for(&server, |_| {}).await.unwrap_err().kind, TokenErrorKind::Transient);
    server.set_up(true);
    assert!(ask_for(&server, |_| {}).await.is_ok());
    assert_eq!((server.requests(), server.issued()), (4, 2));
}

#[tokio::test]
async fn metadata_and_keys_are_published() {
    let server = server().await;
    let get = async |path| ask(server.address(), "localhost", path).await.unwrap().body;
    let metadata: serde_json::Value =
        serde_json::from_str(&get("/.well-known/oauth-authorization-server").await).unwrap();
    assert_eq!(metadata["issuer"], server.issuer());
    assert_eq!(metadata["token_endpoint"], server.token_endpoint());
    let keys: serde_json::Value = serde_json::from_str(&get("/jwks").await).unwrap();
    assert_eq!(keys["keys"][0]["alg"], "ES256");
}

#[tokio::test]
async fn dropping_it_frees_the_port() {
    let server = server().await;
    let address = server.address();
    server.stop();
    for _ in 0..100 {
        if ask(address, "localhost", "/jwks").await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it still answers");
}
