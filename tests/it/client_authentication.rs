//! How a client proves itself to a real authorization server (oidc-provider, as in `authorization_server`), and that the API
//! beside it takes what comes of it.

use std::path::Path;

use attache::service::Secret;
use serde_json::{Value, json};

use crate::authorization_server::{Server, pems};
use crate::support::{TestCa, TestProxy, get};

fn test_key(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/jose/test_keys").join(name);
    path.to_str().unwrap().to_owned()
}

/// attache in front of the server's own API, with these lines for `[credentials.api]` and `[upstreams.api]`.
fn proxy(scheme: &str, server: &Server, credential: &str, upstream: &str) -> TestProxy {
    let origin = format!("{scheme}://127.0.0.1:{}", server.port);
    TestProxy::start(&format!(
        "[listeners.api]\naddress = \"127.0.0.1:0\"\nmode = \"reverse\"\nupstream = \"api\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [credentials.api]\nclient_id = \"me\"\n{}\n[upstreams.api]\norigin = \"{origin}\"\ncredential = \"api\"\n{upstream}\n",
        credential.replace("ORIGIN", &origin)
    ))
}

const RESOURCE: &str = "resource = \"https://orders.example.com\"\nscope = \"orders.read\"";

/// Asks the API through attache; what it says of the token.
async fn orders(proxy: &TestProxy) -> Value {
    let answer = get(proxy.address("api"), "localhost", "/api/orders").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Asks for another token, as an operator may.
async fn renew(proxy: &TestProxy) {
    let request = "POST /api/credentials/api/refresh HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    let answer = crate::support::send(proxy.address("admin"), request).await;
    assert!(answer.status < 300, "{answer:?}");
}

#[tokio::test]
async fn private_key_jwt_works_with_every_algorithm_and_never_repeats_an_assertion() {
    for (key, algorithm) in
        [("rsa_pkcs8.pem", "RS256"), ("rsa_pkcs1.pem", "PS256"), ("p256_sec1.pem", "ES256"), ("ed25519.pem", "EdDSA")]
    {
        let path = test_key(key);
        let mut jwk = attache::bench::public_jwk(&Secret::new(std::fs::read_to_string(&path).unwrap())).unwrap();
        jwk["kid"] = "k1".into();
        jwk["use"] = "sig".into();
        let client = json!({
            "client_id": "me",
            "token_endpoint_auth_method": "private_key_jwt",
            "token_endpoint_auth_signing_alg": algorithm,
            "jwks": { "keys": [jwk] },
        });
        let Some(server) = Server::start_with(&json!({ "clients": [client] })) else { return };
        let credential = format!(
            "token_endpoint = \"ORIGIN/token\"\nprivate_key = \"{path}\"\nkey_id = \"k1\"\nsigning_algorithm = \"{algorithm}\"\n{RESOURCE}"
        );
        let proxy = proxy("http", &server, &credential, "");
        assert_eq!(orders(&proxy).await["client_id"], "me", "{algorithm}");
        renew(&proxy).await;
        assert_eq!(orders(&proxy).await["client_id"], "me", "{algorithm}");
    }
}

#[tokio::test]
async fn client_secret_jwt_and_discovery_work() {
    let client = json!({
        "client_id": "me",
        "client_secret": "a-secret-of-more-than-thirty-two-bytes",
        "token_endpoint_auth_method": "client_secret_jwt",
        "token_endpoint_auth_signing_alg": "HS256",
    });
    let Some(server) = Server::start_with(&json!({ "clients": [client] })) else { return };
    let credential = format!(
        "issuer = \"ORIGIN\"\nclient_auth = \"client_secret_jwt\"\nclient_secret = \"a-secret-of-more-than-thirty-two-bytes\"\n{RESOURCE}"
    );
    let proxy = proxy("http", &server, &credential, "");
    assert_eq!(orders(&proxy).await, json!({ "client_id": "me", "scope": "orders.read", "bound": "none" }));
    renew(&proxy).await;
}

#[tokio::test]
async fn tokens_bound_to_a_key_work_for_an_unmodified_program_with_both_servers_nonces() {
    let client = json!({
        "client_id": "me",
        "client_secret": "s3cret",
        "token_endpoint_auth_method": "client_secret_basic",
        "dpop_bound_access_tokens": true,
    });
    let setup = json!({ "clients": [client], "dpop_nonce": true, "resource_nonce": 2 });
    let Some(server) = Server::start_with(&setup) else { return };
    let credential = format!("token_endpoint = \"ORIGIN/token\"\nclient_secret = \"s3cret\"\ndpop = true\n{RESOURCE}");
    let proxy = proxy("http", &server, &credential, "");
    for _ in 0..5 {
        assert_eq!(orders(&proxy).await["bound"], "DPoP");
    }
    let asked = get(proxy.address("api"), "localhost", "/requests").await.json();
    let tokens = asked.as_array().unwrap().iter().filter(|asked| asked["path"] == "/token");
    let outcomes: Vec<u64> = tokens.map(|asked| asked["status"].as_u64().unwrap()).collect();
    assert_eq!(outcomes, [400, 200], "one for the nonce, one for the token, none for the API's nonces");
}

#[tokio::test]
async fn a_certificate_is_the_clients_proof_and_what_its_tokens_are_bound_to() {
    let (ca, folder) = (TestCa::new(), tempfile::tempdir().unwrap());
    let mut tls = pems(&ca.issue(&["127.0.0.1"]));
    tls["client_authorities"] = ca.pem().into();
    let client = json!({
        "client_id": "me",
        "token_endpoint_auth_method": "tls_client_auth",
        "tls_client_auth_san_dns": "client.test",
        "tls_client_certificate_bound_access_tokens": true,
    });
    let Some(server) = Server::start_with(&json!({ "tls": tls, "clients": [client] })) else { return };
    let (certificate, key) = ca.issue(&["client.test"]);
    let bundle = folder.path().join("client.pem");
    std::fs::write(&bundle, certificate.pem() + &key.serialize_pem()).unwrap();
    let (bundle, trusted) = (bundle.display(), ca.path().display());
    let credential = format!(
        "issuer = \"ORIGIN\"\nclient_auth = \"tls_client_auth\"\nclient_certificate = \"{bundle}\"\nca_file = \"{trusted}\"\n{RESOURCE}"
    );
    let proxy = proxy("https", &server, &credential, &format!("tls = {{ ca_file = \"{trusted}\" }}"));
    assert_eq!(orders(&proxy).await["bound"], "certificate");
}
