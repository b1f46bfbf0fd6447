//! Token requests that take more than one exchange: discovery, fallback secrets, nonces.

use std::sync::{Arc, Mutex};

use super::*;

/// Answers each request by its path and body, and keeps them.
struct Server {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(answer: impl Fn(&str, &str) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (kept, base) = (Arc::clone(&requests), url.clone());
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                let is_get = |request: &[u8]| request.starts_with(b"GET") && request.ends_with(b"\r\n\r\n");
                while !is_whole(&request) && !is_get(&request) {
                    if stream.read_buf(&mut request).await.unwrap() == 0 {
                        break;
                    }
                }
                let request = String::from_utf8(request).unwrap();
                let said = answer(&base, &request);
                kept.lock().unwrap().push(request);
                stream.write_all(said.replacen("\r\n", "\r\nConnection: close\r\n", 1).as_bytes()).await.unwrap();
            }
        });
        Self { url, requests, task }
    }

    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }

    fn settings(&self) -> OAuthSettings {
        settings(&format!("{}/token", self.url))
    }
}

fn says_status(status: &str, fields: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())
}

const TOKEN: &str = r#"{"access_token":"t1","token_type":"Bearer","expires_in":60}"#;

#[tokio::test]
async fn an_issuer_is_asked_where_tokens_are_and_only_once() {
    let server = Server::start(|base, request| match request.split(' ').nth(1).unwrap() {
        "/realm/.well-known/openid-configuration" => {
            ok(&format!(r#"{{"issuer":"{base}/realm","token_endpoint":"{base}//deep/token"}}"#))
        }
        "//deep/token" => ok(TOKEN),
        _ => says_status("404 Not Found", "", ""),
    })
    .await;
    let mut settings = server.settings();
    settings.server = super::Server { token_endpoint: None, issuer: Some(format!("{}/realm", server.url)) };
    let source = source(settings);
    assert_eq!(source.fetch(Ask::apart()).await.unwrap().access_token.expose(), "t1");
    let paths = |requests: Vec<String>| -> Vec<String> {
        requests.iter().map(|request| request.split(' ').nth(1).unwrap().to_owned()).collect()
    };
    assert_eq!(
        paths(server.requests()),
        ["/.well-known/oauth-authorization-server/realm", "/realm/.well-known/openid-configuration", "//deep/token"]
    );
    source.fetch(Ask::apart()).await.unwrap();
    assert_eq!(paths(server.requests()), ["//deep/token"], "the document is an hour good");
}

#[tokio::test]
async fn a_good_document_survives_an_outage_of_its_server() {
    let up = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let works = Arc::clone(&up);
    let server = Server::start(move |base, request| {
        if request.starts_with("POST") {
            return ok(TOKEN);
        }
        if works.load(Ordering::Relaxed) {
            ok(&format!(r#"{{"issuer":"{base}","token_endpoint":"{base}/token"}}"#))
        } else {
            says_status("503 Service Unavailable", "", "")
        }
    })
    .await;
    let mut settings = server.settings();
    settings.server = super::Server { token_endpoint: None, issuer: Some(server.url.clone()) };
    let source = source(settings);
    up.store(false, Ordering::Relaxed);
    let error = source.fetch(Ask::apart()).await.unwrap_err();
    assert_eq!(error.kind, TokenErrorKind::Transient);
    assert!(error.message.contains("cannot give its metadata now"), "{error}");
    up.store(true, Ordering::Relaxed);
    source.fetch(Ask::apart()).await.unwrap();
    up.store(false, Ordering::Relaxed);
    tokio::time::pause();
    tokio::time::advance(Duration::from_hours(2)).await;
    tokio::time::resume();
    source.fetch(Ask::apart()).await.unwrap();
}

#[tokio::test]
async fn where_one_secret_is_refused_the_next_is_tried_and_remembered() {
    // `b64("orders-batch:two")`
    let server = Server::start(|_, request| {
        if request.contains("b3JkZXJzLWJhdGNoOnR3bw==") {
            ok(TOKEN)
        } else {
            says_status("401 Unauthorized", "", r#"{"error":"invalid_client"}"#)
        }
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("two");
    std::fs::write(&path, "two\n").unwrap();
    let list = vec![SecretSource::Literal(literal("one")), SecretSource::File(path.clone())];
    let mut settings = server.settings();
    settings.client_auth = ClientAuth::Basic { secrets: Secrets::new(list).unwrap(), raw: false };
    let source = source(settings);
    let token = source.fetch(Ask::apart()).await.unwrap();
    assert_eq!(token.detail.proven_by, Some(format!("the file {} (2 of 2)", path.display())));
    assert_eq!(server.requests().len(), 2);
    source.fetch(Ask::apart()).await.unwrap();
    assert_eq!(server.requests().len(), 1, "the one that worked goes first");
    std::fs::write(&path, "three").unwrap();
    let error = source.fetch(Ask::apart()).await.unwrap_err();
    assert_eq!((server.requests().len(), error.code.as_deref()), (2, Some("invalid_client")));
}

#[tokio::test]
async fn only_a_refused_client_leads_to_the_next_secret() {
    for (status, body) in [("400 Bad", r#"{"error":"invalid_scope"}"#), ("503 Down", ""), ("200 OK", "<html>")] {
        let server = Server::start(move |_, _| says_status(status, "", body)).await;
        let list = ["one", "two"].map(|text| SecretSource::Literal(literal(text)));
        let mut settings = server.settings();
        settings.client_auth = ClientAuth::Post(Secrets::new(list.into()).unwrap());
        source(settings).fetch(Ask::apart()).await.unwrap_err();
        assert_eq!(server.requests().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_nonce_that_the_server_wants_is_put_into_the_next_proof() {
    let server = Server::start(|_, request| {
        let proof = request.lines().find_map(|line| line.strip_prefix("dpop: ")).unwrap();
        if claims(proof)["nonce"] == "n-1" {
            says_status("200 OK", "", r#"{"access_token":"t1","token_type":"DPoP","expires_in":60}"#)
        } else {
            says_status("400 Bad Request", "DPoP-Nonce: n-1\r\n", r#"{"error":"use_dpop_nonce"}"#)
        }
    })
    .await;
    let mut settings = server.settings();
    settings.dpop = Some(DpopSettings::Generated);
    let source = OAuthSource::new(settings, tls(), Some(DpopKey::generate().unwrap())).unwrap();
    let token = source.fetch(Ask::apart()).await.unwrap();
    assert_eq!(token.token_type, crate::token::TokenType::DPoP);
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    let proof = requests[1].lines().find_map(|line| line.strip_prefix("dpop: ")).unwrap();
    let claims = claims(proof);
    assert_eq!((&claims["htm"], &claims["htu"]), (&"POST".into(), &format!("{}/token", server.url).into()));
    source.fetch(Ask::apart()).await.unwrap();
    assert_eq!(server.requests().len(), 1, "the nonce is kept");
}

fn claims(jwt: &str) -> serde_json::Value {
    use base64::Engine as _;
    let part = jwt.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn token_requests_take_the_configured_way_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let proxy_task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0);
        }
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
        let mut request = Vec::new();
        while !is_whole(&request) {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
        }
        stream.write_all(ok(TOKEN).as_bytes()).await.unwrap();
        (String::from_utf8(head).unwrap(), String::from_utf8(request).unwrap())
    });
    let mut settings = settings("http://127.0.0.1:1/token");
    settings.proxy = Some(crate::dial::ParentProxySettings {
        key: "proxy",
        proxy: proxy.parse().unwrap(),
        login: Some(crate::dial::ParentProxyLogin { username: "me".into(), password: secrets("pw") }),
        ca_file: None,
        except: Vec::new(),
    });
    source(settings).fetch(Ask::apart()).await.unwrap();
    let (head, request) = proxy_task.await.unwrap();
    let expected = "CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\nProxy-Authorization: Basic bWU6cHc=\r\n\r\n";
    assert_eq!(head, expected);
    assert!(request.starts_with("POST /token HTTP/1.1\r\n") && !request.contains("roxy-"), "{request}");
}

#[tokio::test]
async fn the_subject_of_an_exchange_is_the_callers_token_and_is_never_quoted() {
    let server = Server::start(|_, request| {
        if request.contains("subject_token=sentinel-of-one&") {
            ok(TOKEN)
        } else {
            says_status("400 Bad", "", r#"{"error":"invalid_request","error_description":"sentinel-of-two is bad"}"#)
        }
    })
    .await;
    let mut settings = server.settings();
    settings.grant = Grant::TokenExchange(TokenExchange {
        subject: None,
        subject_token_type: "urn:ietf:params:oauth:token-type:access_token".into(),
        requested_token_type: None,
    });
    let source = Arc::new(source(settings));
    let of = |subject: &str| SubjectSource::new(Arc::clone(&source), literal(subject));
    assert_eq!(of("sentinel-of-one").fetch(Ask::apart()).await.unwrap().access_token.expose(), "t1");
    let error = of("sentinel-of-two").fetch(Ask::apart()).await.unwrap_err();
    assert!(!format!("{error:?}").contains("sentinel"), "{error:?}");
    assert!(!format!("{:?}", of("sentinel-of-one")).contains("sentinel"));
}
