//! Workloads that a platform vouches for: a JWT in a file stands in for the client's secret.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use url::form_urlencoded;

use crate::support::{Asked, Folder, Reply, Scripted, TestProxy, TokenServer, get, until};

fn jwt(claims: &serde_json::Value) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// A field of the form of a token request.
fn field(asked: &Asked, name: &str) -> Option<String> {
    let mut fields = form_urlencoded::parse(&asked.body);
    fields.find_map(|(key, value)| (key == name).then(|| value.into_owned()))
}

fn reverse(credential: &str, api: &Scripted) -> String {
    format!(
        "[listeners.a]\naddress = \"127.0.0.1:0\"\nmode = \"reverse\"\nupstream = \"a\"\n[upstreams.a]\norigin = \"{}\"\n\
         credential = \"a\"\n[credentials.a]\n{credential}\n",
        api.origin()
    )
}

#[tokio::test]
async fn the_variables_of_a_workload_in_azure_are_all_that_entra_needs() {
    let server = TokenServer::start().await;
    let endpoint = server.endpoint();
    let toml = "[credentials.orders]\npreset = \"entra\"\nscope = \"api://orders/.default\"\n";
    let folder = Folder::with(toml);
    folder.write("platform.jwt", &format!("{}\n", jwt(&serde_json::json!({ "sub": "system:serviceaccount:a:b" }))));
    let origin = endpoint.rsplit_once('/').map_or("", |(origin, _)| origin).to_owned();
    let file = folder.path().join("platform.jwt").display().to_string();
    let folder = folder
        .env("AZURE_CLIENT_ID", "00000000-0000-0000-0000-00000000000a")
        .env("AZURE_TENANT_ID", "tenant-of-the-pod")
        .env("AZURE_AUTHORITY_HOST", &format!("{origin}/"))
        .env("AZURE_FEDERATED_TOKEN_FILE", &file);
    let finished = folder.run(&["token", "orders", "--json"]).await;
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let asked = server.server.asked();
    assert_eq!(asked[0].target(), "/tenant-of-the-pod/oauth2/v2.0/token");
    assert_eq!(field(&asked[0], "client_id").as_deref(), Some("00000000-0000-0000-0000-00000000000a"));
    let type_of = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    assert_eq!(field(&asked[0], "client_assertion_type").as_deref(), Some(type_of));
    assert!(field(&asked[0], "client_assertion").is_some_and(|assertion| assertion.starts_with("e30.")));
    assert!(field(&asked[0], "client_secret").is_none());

    // A variable that leads nowhere is a problem of the configuration, before anything runs.
    let astray = Folder::with(toml).env("AZURE_CLIENT_ID", "a").env("AZURE_TENANT_ID", "t");
    let astray = astray.env("AZURE_FEDERATED_TOKEN_FILE", "/surely/not/there").run(&["check"]).await;
    assert_eq!(astray.code, Some(78), "{}", astray.stderr);
    assert!(astray.stderr.contains("AZURE_FEDERATED_TOKEN_FILE: cannot read /surely/not/there"), "{}", astray.stderr);

    // What the file says goes first.
    folder.write("secret", "s3cret");
    let said =
        format!("client_id = \"written\"\ntoken_endpoint = \"{endpoint}\"\nclient_secret = {{ file = \"secret\" }}\n");
    folder.write("proxy.toml", &format!("{toml}{said}"));
    assert_eq!(folder.run(&["token", "orders", "--json"]).await.code, Some(0));
    let asked = server.server.asked();
    assert_eq!(asked[1].target(), "/token");
    assert_eq!(field(&asked[1], "client_id").as_deref(), Some("written"));
    assert_eq!(field(&asked[1], "client_secret").as_deref(), Some("s3cret"));
}

#[tokio::test]
async fn a_subject_token_that_the_platform_writes_anew_costs_no_token_request() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("subject");
    let written = |exp: u64, sub: &str| {
        let claims = serde_json::json!({ "iss": "https://cluster.test", "sub": sub, "aud": ["login"], "exp": exp });
        std::fs::write(&file, jwt(&claims)).unwrap();
    };
    written(1, "pod");
    let server = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let credential = format!(
        "token_endpoint = \"{}\"\ngrant = \"token_exchange\"\nsubject_token = {{ file = \"{}\" }}\naudience = \"//x\"",
        server.endpoint(),
        file.display()
    );
    let proxy = TestProxy::start(&reverse(&credential, &api));
    assert_eq!(get(proxy.address("a"), "localhost", "/").await.status, 200);
    let asked = server.server.asked();
    let value = |name: &str| field(&asked[0], name);
    assert_eq!(value("grant_type").as_deref(), Some("urn:ietf:params:oauth:grant-type:token-exchange"));
    assert_eq!(value("subject_token_type").as_deref(), Some("urn:ietf:params:oauth:token-type:jwt"));
    assert!(value("subject_token").is_some() && value("client_id").is_none(), "the subject is all the proof there is");

    written(2, "pod");
    proxy.reload().await;
    assert_eq!(get(proxy.address("a"), "localhost", "/").await.status, 200);
    assert_eq!(server.requests(), 1, "the same workload");

    written(3, "another");
    proxy.reload().await;
    until("another workload has a token of its own", async || server.requests() == 2).await;
}

#[tokio::test]
async fn a_caller_keeps_its_own_authorization_to_itself_where_the_subject_is_ours() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("subject"), "subject-of-ours").unwrap();
    let server = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let credential = format!(
        "token_endpoint = \"{}\"\ngrant = \"token_exchange\"\nsubject_token = {{ file = \"{}\" }}",
        server.endpoint(),
        folder.path().join("subject").display()
    );
    let proxy = TestProxy::start(&reverse(&credential, &api));
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sentinel-of-a-caller\r\n\r\n";
    assert_eq!(crate::support::send(proxy.address("a"), request).await.status, 200);
    assert_eq!(field(&server.server.asked()[0], "subject_token").as_deref(), Some("subject-of-ours"));
    assert!(!format!("{:?}", api.asked()).contains("sentinel"));
}

#[tokio::test]
async fn a_spiffe_workload_says_what_its_assertion_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("svid");
    std::fs::write(&file, jwt(&serde_json::json!({ "sub": "spiffe://example.org/orders", "aud": ["x"] }))).unwrap();
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    for (written, sent) in [("", "jwt-spiffe"), ("client_assertion_type = \"jwt-bearer\"", "jwt-bearer")] {
        let server = TokenServer::start().await;
        let credential = format!(
            "token_endpoint = \"{}\"\nclient_id = \"spiffe://example.org/orders\"\nclient_assertion = {{ file = \"{}\" }}\n{written}",
            server.endpoint(),
            file.display()
        );
        let proxy = TestProxy::start(&reverse(&credential, &api));
        assert_eq!(get(proxy.address("a"), "localhost", "/").await.status, 200);
        let expected = format!("urn:ietf:params:oauth:client-assertion-type:{sent}");
        assert_eq!(field(&server.server.asked()[0], "client_assertion_type"), Some(expected));
    }
}
