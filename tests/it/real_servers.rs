//! Authorization servers as they are: what they answer that no standard says, and what attache and a person make of it.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};

use crate::support::{
    ADMIN, Asked, FORWARD, Folder, ParentProxy, Reply, Scripted, TestProxy, TlsFront, TokenServer, World, get, send,
    until, upstream,
};

const JSON: &str = "content-type: application/json\r\n";

/// `client_secret_basic` of `me` and this secret.
fn proves(asked: &Asked, secret: &str) -> bool {
    use base64::Engine as _;

    let pair = base64::engine::general_purpose::STANDARD.encode(format!("me:{secret}"));
    asked.field("authorization") == Some(&format!("Basic {pair}"))
}

/// A configuration for `check --live`, beside which files may be.
pub(crate) fn folder(endpoint: &str, credential: &str) -> Folder {
    // Upstreams of a wildcard are known by requests only, and not tried.
    let toml = World::toml(endpoint, "https://*.example.com", "", "");
    Folder::with(&toml.replace("client_secret = \"s3cret-of-mine\"", credential)).env("SECRET", "s3cret-of-mine")
}

#[tokio::test]
async fn tokens_with_every_visible_character_reach_the_upstream() {
    for token in ["00Dxx0000001gER!AQEAQ.x", "Atc|MQEBIHo", "v^1.1#i^1#p^3", "ver:1-hint:8-ETMs"] {
        let tokens = TokenServer::scripted(move |_, _| Reply::ok(&TokenServer::granted(token, 3600))).await;
        let world = World::with(tokens, "", "", |_, _| Reply::ok("fine")).await;
        assert_eq!(world.get("/").await.status, 200, "{token}");
        assert_eq!(world.authorizations(), [format!("Bearer {token}")]);
    }
    for token in ["a b", "a\\u0000b", "\\u00fc", "a\\tb"] {
        let tokens = TokenServer::scripted(move |_, _| Reply::ok(&TokenServer::granted(token, 3600))).await;
        let world = World::with(tokens, "", "", |_, _| Reply::ok("fine")).await;
        let answer = world.get("/").await;
        answer.assert_own_failure(502, "proxy_configuration_error");
        assert!(
            answer.text().contains("holds a space, a control character or one outside of ASCII"),
            "{}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn a_callers_token_of_any_visible_characters_is_exchanged() {
    let world =
        World::with(TokenServer::start().await, "grant = \"token_exchange\"", "", |_, _| Reply::ok("fine")).await;
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer 00Dxx!A|#x\r\n\r\n";
    assert_eq!(send(world.proxy.address("api"), request).await.status, 200);
    let form = String::from_utf8(world.tokens.server.asked()[0].body.clone()).unwrap();
    assert!(form.contains("subject_token=00Dxx%21A%7C%23x"), "{form}");
}

#[tokio::test]
async fn a_token_type_of_the_servers_own_is_bearer_or_for_inject_to_say() {
    let of = |token_type: &'static str| {
        TokenServer::scripted(move |_, _| Reply::ok(&TokenServer::granted("abc", 3600).replace("Bearer", token_type)))
    };
    let world = World::with(of("BearerToken").await, "", "", |_, _| Reply::ok("fine")).await;
    assert_eq!(world.get("/").await.status, 200);
    assert_eq!(world.authorizations(), ["Bearer abc"]);

    let ebay = "Application Access Token";
    let world = World::with(of(ebay).await, "", "", |_, _| Reply::ok("fine")).await;
    let answer = world.get("/").await;
    answer.assert_own_failure(502, "proxy_configuration_error");
    assert!(answer.text().contains("inject = { format = "), "{}", answer.text());
    assert!(!answer.text().contains("Application"), "{}", answer.text());

    let format = "inject = { format = \"Bearer {token}\" }";
    let world = World::with(of(ebay).await, format, "", |_, _| Reply::ok("fine")).await;
    assert_eq!(world.get("/").await.status, 200);
    assert_eq!(world.authorizations(), ["Bearer abc"]);
}

/// Two credentials ask for the same, and one of them alone says how a token of an unknown type is presented.
#[tokio::test]
async fn a_token_of_an_unknown_type_is_for_the_credential_that_says_how() {
    let tokens =
        TokenServer::scripted(|_, _| Reply::ok(&TokenServer::granted("abc", 3600).replace("Bearer", "mac"))).await;
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let (endpoint, origin) = (tokens.endpoint(), api.origin());
    let second = format!(
        "[credentials.mac]\ntoken_endpoint = \"{endpoint}\"\nclient_id = \"me\"\nclient_secret = \"s3cret-of-mine\"\n\
         inject = {{ format = \"MAC {{token}}\" }}\n[upstreams.mac]\norigin = \"{origin}\"\ncredential = \"mac\"\n\
         [listeners.mac]\naddress = \"127.0.0.1:0\"\nmode = \"reverse\"\nupstream = \"mac\"\n"
    );
    let toml =
        World::toml(&endpoint, &origin, "", "").replace("mode = \"forward\"", "mode = \"reverse\"\nupstream = \"api\"");
    let proxy = TestProxy::start(&(toml + &second));
    let ask = |listener: &str| get(proxy.address(listener), "localhost", "/");
    assert_eq!(ask("mac").await.status, 200);
    ask("api").await.assert_own_failure(502, "proxy_configuration_error");
    assert_eq!(api.asked()[0].field("authorization"), Some("MAC abc"));
    assert_eq!((api.requests(), tokens.requests()), (1, 1));
}

#[tokio::test]
async fn a_wrong_secret_by_any_name_has_the_next_one_tried() {
    for (status, body) in [
        (401, r#"{"error":"unauthorized_client","error_description":"Invalid client or Invalid client credentials"}"#),
        (401, r#"{"error":"access_denied","error_description":"Unauthorized"}"#),
        (401, r#"{"error":"unauthorized","error_description":"Bad credentials"}"#),
        (200, r#"{"error":"incorrect_client_credentials","error_description":"The client_secret is wrong"}"#),
        (401, "<html>Unauthorized</html>"),
        (401, ""),
    ] {
        let tokens = TokenServer::scripted(move |asked, number| {
            if proves(asked, "s3cret-of-mine") {
                return Reply::ok(&TokenServer::granted(&format!("token-{number}"), 3600));
            }
            Reply::new(status, JSON, body)
        })
        .await;
        let both = "client_secret = [{ file = \"old\" }, { env = \"SECRET\" }]";
        let folder = folder(&tokens.endpoint(), both);
        folder.write("old", "the-old-one");
        let finished = folder.run(&["check", "--live"]).await;
        assert_eq!(finished.code, Some(0), "{status} {body}: {finished:?}");
        assert!(finished.stderr.contains("the server takes the environment variable SECRET (2 of 2)"), "{finished:?}");
        assert_eq!(tokens.requests(), 2, "{status} {body}");
    }
}

#[tokio::test]
async fn a_wrong_secret_by_any_name_is_told_as_one() {
    for (status, body) in [
        (401, r#"{"error":"unauthorized_client"}"#),
        (401, r#"{"error":"access_denied"}"#),
        (401, r#"{"error":"unauthorized"}"#),
        (200, r#"{"error":"incorrect_client_credentials"}"#),
    ] {
        let tokens = TokenServer::scripted(move |_, _| Reply::new(status, JSON, body)).await;
        let folder = folder(&tokens.endpoint(), "client_secret = { env = \"SECRET\" }");
        let finished = folder.run(&["check", "--live"]).await;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(finished.stderr.contains("check client_id, the client secret and client_auth"), "{finished:?}");
        assert!(
            finished
                .stderr
                .contains("likely cause: the server does not know this client_id, or its secret is another one"),
            "{finished:?}"
        );
    }
}

/// As transient: the one quick retry is enough here.
#[tokio::test]
async fn a_code_that_nobody_has_registered_is_asked_again_at_once() {
    for (status, body) in [
        (400, r#"{"error":"unknown_error","error_description":"For more information, consult the server log."}"#),
        (404, r#"{"error":"Realm does not exist"}"#),
        (409, r#"{"error":"conflict"}"#),
    ] {
        let tokens = TokenServer::scripted(move |_, number| match number {
            0 => Reply::new(status, JSON, body),
            _ => Reply::ok(&TokenServer::granted("abc", 3600)),
        })
        .await;
        let world = World::with(tokens, "", "", |_, _| Reply::ok("fine")).await;
        assert_eq!(world.get("/").await.status, 200, "{status}");
        assert_eq!(world.tokens.requests(), 2);

        let tokens = TokenServer::scripted(move |_, _| Reply::new(status, JSON, body)).await;
        let world = World::with(tokens, "", "", |_, _| Reply::ok("fine")).await;
        let answer = world.get("/").await;
        assert_eq!((answer.status, answer.field("retry-after").is_some()), (503, true), "{}", answer.text());
    }
}

fn date(ahead: i64) -> String {
    let now = std::time::SystemTime::now();
    let by = std::time::Duration::from_secs(ahead.unsigned_abs());
    let date = if ahead > 0 { now + by } else { now - by };
    format!("{JSON}date: {}\r\n", httpdate::fmt_http_date(date))
}

#[tokio::test]
async fn a_servers_clock_that_is_off_is_named_where_it_refuses_an_assertion() {
    let tokens = TokenServer::scripted(|_, _| {
        Reply::new(400, &date(-90), r#"{"error":"invalid_client","error_description":"Assertion is not valid yet"}"#)
    })
    .await;
    let world = World::toml(&tokens.endpoint(), "http://127.0.0.1:1", "client_auth = \"client_secret_jwt\"", "");
    let proxy = TestProxy::start(&world);
    let answer = get(proxy.address("api"), "localhost", "/").await;
    answer.assert_own_failure(502, "proxy_configuration_error");
    assert!(answer.text().contains(" s behind this machine's, and what is signed says its time"), "{}", answer.text());
    let status = get(proxy.address("admin"), "127.0.0.1", "/api/status").await.json();
    let skew = status["credentials"][0]["clock_skew"].as_i64().unwrap();
    assert!((-91..=-89).contains(&skew), "also of an answer without a token: {status}");

    let auth = "client_secret = { env = \"SECRET\" }\nclient_auth = \"client_secret_jwt\"";
    let finished = folder(&tokens.endpoint(), auth).run(&["check", "--live"]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(
        finished.stdout.contains(" -90 s ") || finished.stdout.contains(" -89 s "),
        "the skew is shown: {finished:?}"
    );
    assert!(finished.stderr.contains("likely cause: the server's clock is "), "{finished:?}");
    assert!(finished.stderr.contains(" s behind this machine's"), "{finished:?}");
    assert!(!finished.stderr.contains("another public key"), "{finished:?}");
}

#[tokio::test]
async fn a_grant_of_the_servers_own_and_a_token_under_another_name() {
    let tokens = TokenServer::scripted(|_, _| Reply::ok(r#"{"id_token":"abc","access_token":"other"}"#)).await;
    let credential = "grant = { type = \"account_credentials\" }\ntoken_member = \"id_token\"\n\
                      parameters = { account_id = \"x\" }";
    let world = World::with(tokens, credential, "", |_, _| Reply::ok("fine")).await;
    assert_eq!(world.get("/").await.status, 200);
    assert_eq!(world.authorizations(), ["Bearer abc"]);
    let form = String::from_utf8(world.tokens.server.asked()[0].body.clone()).unwrap();
    assert_eq!(form, "grant_type=account_credentials&account_id=x");
}

#[tokio::test]
async fn an_answer_in_a_form_is_understood() {
    let tokens = TokenServer::scripted(|_, _| {
        let fields = "content-type: application/x-www-form-urlencoded; charset=utf-8\r\n";
        Reply::new(200, fields, "access_token=abc&scope=&token_type=bearer")
    })
    .await;
    let world = World::with(tokens, "", "", |_, _| Reply::ok("fine")).await;
    assert_eq!(world.get("/").await.status, 200);
    assert_eq!(world.authorizations(), ["Bearer abc"]);
    let tokens = TokenServer::scripted(|_, _| {
        Reply::new(200, "content-type: application/x-www-form-urlencoded\r\n", "error=incorrect_client_credentials")
    })
    .await;
    let world = World::with(tokens, "", "", |_, _| Reply::ok("fine")).await;
    let answer = world.get("/").await;
    assert!(answer.status == 502 && answer.text().contains("check client_id"), "{}", answer.text());
}

#[tokio::test]
async fn one_secret_from_two_places_is_one_token_request() {
    let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("fine")).await);
    let folder = tempfile::tempdir().unwrap();
    let mut toml = String::from(
        "[listeners.base]\naddress = \"127.0.0.1:0\"\nmode = \"reverse\"\nupstreams = [\"a\", \"b\", \"c\"]\n",
    );
    for (name, text, more) in [
        ("a", "s3cret", "timeout = \"3s\"\n"),
        ("b", "\u{feff}s3cret\r\n", "inject = { header = \"X-Token\" }\n"),
        ("c", "s3cret\n", "refresh_ahead = \"off\"\n"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        toml += &format!(
            "[upstreams.{name}]\norigin = \"{}\"\ncredential = \"{name}\"\npath_prefix = \"/{name}\"\n\
             [credentials.{name}]\ntoken_endpoint = \"{}\"\nclient_id = \"me\"\nclient_secret = {{ file = {:?} }}\n{more}",
            api.origin(),
            tokens.endpoint(),
            path.display().to_string()
        );
    }
    let proxy = TestProxy::start(&toml);
    for name in ["a", "b", "c"] {
        assert_eq!(get(proxy.address("base"), "localhost", &format!("/{name}/x")).await.status, 200);
    }
    assert_eq!(tokens.requests(), 1);
}

/// As Kubernetes writes a projected token anew: the same pod for the same audience, with another time.
#[tokio::test]
async fn an_assertion_that_is_written_anew_mends_what_the_old_one_failed_of() {
    use base64::Engine as _;

    let jwt = |claims: &str| {
        let part = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.c2ln", part("{}"), part(claims))
    };
    let (old, new) =
        (jwt(r#"{"iss":"k8s","sub":"pod","aud":"x","exp":1}"#), jwt(r#"{"iss":"k8s","sub":"pod","aud":"x","exp":2}"#));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwt");
    std::fs::write(&path, &old).unwrap();
    let takes = new.clone();
    let tokens = TokenServer::scripted(move |asked, _| {
        if String::from_utf8_lossy(&asked.body).contains(&takes) {
            return Reply::ok(&TokenServer::granted("abc", 3600));
        }
        Reply::new(401, JSON, r#"{"error":"invalid_client","error_description":"expired"}"#)
    })
    .await;
    let auth = format!("client_assertion = {{ file = {:?} }}", path.display().to_string());
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let toml =
        World::toml(&tokens.endpoint(), &api.origin(), "", "").replace("client_secret = \"s3cret-of-mine\"", &auth);
    let proxy = TestProxy::start(&toml);
    let ask = || get(proxy.address("api"), "localhost", "/");
    assert_eq!(ask().await.status, 502);
    assert_eq!(ask().await.status, 502, "and it is not asked again for half a minute");
    assert_eq!(tokens.requests(), 1);
    std::fs::write(&path, &new).unwrap();
    until("the new assertion is tried", || async { ask().await.status == 200 }).await;
    assert_eq!(tokens.requests(), 2, "it is tried once, for the old one's failure");
}

#[tokio::test]
async fn what_stands_around_a_secret_is_told_by_check() {
    for (text, told) in [
        ("'s3cret'", "stands between quotes"),
        (" s3cret", "begins or ends with a blank"),
        ("SECRET=s3cret", "in a file of variables"),
    ] {
        let folder =
            folder("https://login.example.com/token", "client_secret = { env = \"SECRET\" }").env("SECRET", text);
        let finished = folder.run(&["check"]).await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert!(finished.stderr.contains(told) && !finished.stderr.contains("s3cret"), "{finished:?}");
    }
    let folder = folder("https://login.example.com/token", "private_key = { env = \"KEY\" }");
    let key = KeyPair::generate().unwrap().serialize_pem();
    let one_line = folder.env("KEY", &key.replace('\n', "\\n"));
    assert_eq!(one_line.run(&["check"]).await.code, Some(0), "a PEM of one line is understood");
    let broken = one_line.env("KEY", &key.replace('\n', " "));
    let finished = broken.run(&["check"]).await;
    assert!(finished.code == Some(78) && finished.stderr.contains("lost its line breaks"), "{finished:?}");
}

#[tokio::test]
async fn an_answer_that_is_compressed_unasked_is_read() {
    use std::io::Write as _;

    let compressed = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let reply = |coding: &str, body: &[u8]| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: {}\r\n\r\n", body.len());
        Reply::Raw([head.as_bytes(), body].concat())
    };
    let body = compressed(&TokenServer::granted("abc", 3600));
    let tokens = TokenServer::scripted(move |_, _| reply("gzip", &body)).await;
    let world = World::with(tokens, "", "", |_, _| Reply::ok("fine")).await;
    assert_eq!(world.get("/").await.status, 200);
    assert_eq!(world.authorizations(), ["Bearer abc"]);

    let tokens = TokenServer::scripted(move |_, _| reply("br", b"xyz")).await;
    let finished = folder(&tokens.endpoint(), "client_secret = { env = \"SECRET\" }").run(&["check", "--live"]).await;
    assert!(finished.stderr.contains("have compression (gzip, br) of token responses switched off"), "{finished:?}");
}

/// What `openssl req -x509` makes: self-signed, and an authority by its own word. Its file, and the server that has it.
fn self_signed(names: &[&str]) -> (tempfile::NamedTempFile, Arc<rustls::ServerConfig>) {
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name.push(DnType::CommonName, names[0]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), certificate.pem()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(attache::bench::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
        .unwrap();
    (file, Arc::new(config))
}

#[tokio::test]
async fn a_self_signed_certificate_is_trusted_where_it_is_named_and_nowhere_else() {
    let tokens = TokenServer::start().await;
    let (file, config) = self_signed(&["localhost"]);
    let front = TlsFront::start(config, tokens.server.address()).await;
    let endpoint = format!("https://localhost:{}/token", front.address().port());
    let trusted = format!("client_secret = {{ env = \"SECRET\" }}\nca_file = {:?}", file.path().display().to_string());
    let finished = folder(&endpoint, &trusted).run(&["check", "--live"]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");

    let (other, _) = self_signed(&["localhost"]);
    let another = format!("client_secret = {{ env = \"SECRET\" }}\nca_file = {:?}", other.path().display().to_string());
    for wrong in [another.as_str(), "client_secret = { env = \"SECRET\" }"] {
        let finished = folder(&endpoint, wrong)
            .env("SSL_CERT_FILE", &other.path().display().to_string())
            .run(&["check", "--live"])
            .await;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(
            finished.stderr.contains("ca_file") && finished.stderr.contains("no TLS connection to localhost:"),
            "{finished:?}"
        );
        for raw in ["Other(", "OtherError", "CaUsedAsEndEntity", "InvalidCertificate", "invalid peer"] {
            assert!(!finished.stderr.contains(raw), "{finished:?}");
        }
    }
    assert_eq!(tokens.requests(), 1);
}

#[tokio::test]
async fn a_self_signed_upstream_and_parent_proxy_are_trusted_by_their_own_certificates() {
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let (file, config) = self_signed(&["api.test"]);
    let front = TlsFront::start(config, api.address()).await;
    let parent_proxy = ParentProxy::start(&[("api.test:443", front.address())]).await;
    let (parent_proxy_file, parent_proxy_config) = self_signed(&["localhost"]);
    let parent_proxy_front = TlsFront::start(parent_proxy_config, parent_proxy.address()).await;
    let proxy = TestProxy::start(&format!(
        "{FORWARD}{ADMIN}{}tls = {{ ca_file = {:?} }}\nvia = {{ url = \"https://localhost:{}\", ca_file = {:?} }}\n",
        upstream("api", "https://api.test").replace("credential = \"key\"\n", ""),
        file.path().display().to_string(),
        parent_proxy_front.address().port(),
        parent_proxy_file.path().display().to_string(),
    ));
    let answer = get(proxy.address("proxy"), "api.test", "http://api.test/x").await;
    assert_eq!((answer.status, answer.text()), (200, "fine"));
}
