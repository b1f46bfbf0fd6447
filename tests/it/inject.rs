//! `inject`: a token somewhere else than in `Authorization: Bearer`.

use http::Response;

use crate::support::{
    ADMIN, Asked, FORWARD, Http2Server, Reply, Scripted, TestCa, TestProxy, TokenServer, World, credential, get,
    reverse, send, until, upstream,
};

const HEADER: &str = "inject = { header = \"X-Token\", format = \"Token token=\\\"{token}\\\"\" }";
const QUERY: &str = "inject = { query = \"access_token\" }";

/// Issues `a+b/N==`: everything that a query gives a meaning to.
async fn tokens() -> TokenServer {
    TokenServer::scripted(|_, number| Reply::ok(&TokenServer::granted(&format!("a+b/{}==", number + 1), 3600))).await
}

#[tokio::test]
async fn a_token_goes_into_the_field_and_the_text_that_the_upstream_wants() {
    let world = World::with(tokens().await, HEADER, "", |_, _| Reply::ok("fine")).await;
    let theirs = "GET / HTTP/1.1\r\nHost: localhost\r\nX-Token: theirs\r\nx-token: theirs\r\nX_Token: theirs\r\nAuthorization: Bearer theirs\r\nConnection: x-token\r\n\r\n";
    for _ in 0..2 {
        assert_eq!(world.send(theirs).await.status, 200);
    }
    for asked in world.api.asked() {
        assert_eq!(asked.field("x-token"), Some("Token token=\"a+b/1==\""));
        assert_eq!((asked.field("x_token"), asked.field("authorization")), (None, None), "{asked:?}");
    }
}

#[tokio::test]
async fn a_callers_authorization_that_is_kept_and_a_token_elsewhere_both_leave() {
    let world = World::with(tokens().await, QUERY, "caller_authorization = \"keep\"", |_, _| Reply::ok("fine")).await;
    world.send("GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic theirs\r\n\r\n").await;
    let asked = &world.api.asked()[0];
    assert_eq!(
        (asked.target(), asked.field("authorization")),
        ("/?access_token=a%2Bb%2F1%3D%3D", Some("Basic theirs"))
    );
}

#[tokio::test]
async fn without_a_format_the_scheme_is_that_of_the_tokens_type() {
    let dpop = TokenServer::scripted(|_, _| Reply::ok(r#"{"access_token":"abc","token_type":"dpop","expires_in":60}"#));
    let credential = "dpop = true\ninject = { header = \"X-Token\" }";
    let world = World::with(dpop.await, credential, "", |_, _| Reply::ok("fine")).await;
    world.get("/").await;
    assert_eq!(world.api.asked()[0].field("x-token"), Some("DPoP abc"));
}

#[tokio::test]
async fn credentials_that_ask_for_the_same_share_the_token_wherever_it_goes() {
    let (tokens, api) = (tokens().await, Scripted::start(|_, _| Reply::ok("fine")).await);
    let one = credential(&tokens);
    let (two, three) = (one.replace(".key]", ".two]") + HEADER + "\n", one.replace(".key]", ".three]") + QUERY + "\n");
    let upstreams: String = ["key", "two", "three"]
        .iter()
        .map(|name| {
            upstream(name, &api.origin()).replace("\"key\"", &format!("\"{name}\""))
                + &format!("path_prefix = \"/{name}\"\n")
        })
        .collect();
    let proxy = TestProxy::start(&format!("{}{one}{two}{three}{upstreams}", reverse(&["key", "two", "three"])));
    for name in ["key", "two", "three", "key", "two", "three"] {
        assert_eq!(get(proxy.address("base"), "localhost", &format!("/{name}/x?y")).await.status, 200);
    }
    let asked = api.asked();
    for three in asked.chunks(3) {
        assert_eq!((three[0].field("authorization"), three[0].target()), (Some("Bearer a+b/1=="), "/x?y"));
        assert_eq!((three[1].field("x-token"), three[1].target()), (Some("Token token=\"a+b/1==\""), "/x?y"));
        assert_eq!((three[2].field("authorization"), three[2].target()), (None, "/x?y&access_token=a%2Bb%2F1%3D%3D"));
    }
    assert_eq!((asked.len(), tokens.requests()), (6, 1));
}

#[tokio::test]
async fn a_token_in_the_query_is_encoded_and_takes_the_place_of_the_callers() {
    let world = World::with(tokens().await, QUERY, "", |_, _| Reply::ok("fine")).await;
    for (target, expected) in [
        ("/x", "/x?access_token=a%2Bb%2F1%3D%3D"),
        ("/x?", "/x?access_token=a%2Bb%2F1%3D%3D"),
        ("/x?a=%20+b&access_token=theirs&c", "/x?a=%20+b&c&access_token=a%2Bb%2F1%3D%3D"),
        ("/x?access%5ftoken=theirs", "/x?access_token=a%2Bb%2F1%3D%3D"),
        ("/access_token=x", "/access_token=x?access_token=a%2Bb%2F1%3D%3D"),
    ] {
        assert_eq!(world.get(target).await.status, 200);
        let asked = world.api.asked();
        let last = asked.last().unwrap();
        assert_eq!((last.target(), last.field("authorization")), (expected, None), "{target}");
    }
    let options = world.send("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(options.status < 500, "{options:?}");
    let absolute = format!("GET http://{} HTTP/1.1\r\nHost: {}\r\n\r\n", world.api.address(), world.api.address());
    assert_eq!(send(world.proxy.address("proxy"), absolute).await.status, 200);
    assert_eq!(world.api.asked().last().unwrap().target(), "/?access_token=a%2Bb%2F1%3D%3D");
}

#[tokio::test]
async fn a_callers_parameter_does_not_pass_even_where_there_is_no_token() {
    let tokens = TokenServer::scripted(|_, _| Reply::new(500, "", "")).await;
    let world = World::with(tokens, QUERY, "on_token_error = \"pass\"", |_, _| Reply::ok("fine")).await;
    assert_eq!(world.get("/x?a=1&access_token=theirs").await.status, 200);
    assert_eq!(world.api.asked()[0].target(), "/x?a=1");
}

/// Refuses the first token.
fn second(asked: &Asked, _: usize) -> Reply {
    let token = |text: &str| asked.target().contains(text) || asked.field("x-token").is_some_and(|f| f.contains(text));
    if token("a%2Bb%2F2%3D%3D") || token("a+b/2==") { Reply::ok("fine") } else { Reply::new(401, "", "refused") }
}

#[tokio::test]
async fn a_refused_token_is_replaced_wherever_it_goes() {
    let world = World::with(tokens().await, QUERY, "", second).await;
    let request = "PUT /x?access_token=theirs&b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(world.send(request).await.status, 200);
    let asked = world.api.asked();
    assert_eq!(asked[0].target(), "/x?b&access_token=a%2Bb%2F1%3D%3D");
    assert_eq!(asked[1].target(), "/x?b&access_token=a%2Bb%2F2%3D%3D");
    assert_eq!((asked.len(), asked[1].body.as_slice()), (2, &b"hello"[..]));
    World::assert_unauthorized(&world.unauthorized().await, &[("retried_ok", 1)]);

    let world = World::with(tokens().await, HEADER, "", second).await;
    assert_eq!(world.get("/").await.status, 200);
    let fields: Vec<_> = world.api.asked().iter().map(|asked| asked.field("x-token").unwrap().to_owned()).collect();
    assert_eq!(fields, ["Token token=\"a+b/1==\"", "Token token=\"a+b/2==\""]);
}

#[tokio::test]
async fn a_challenge_of_the_formats_own_scheme_is_about_the_token() {
    let format = "inject = { format = \"Token {token}\" }";
    let script = |asked: &Asked, _| match asked.field("authorization") {
        Some("Token a+b/2==") => Reply::ok("fine"),
        _ => Reply::new(401, "www-authenticate: Token realm=\"x\"\r\n", ""),
    };
    let world = World::with(tokens().await, format, "", script).await;
    assert_eq!(world.get("/").await.status, 200);
    World::assert_unauthorized(&world.unauthorized().await, &[("retried_ok", 1)]);
}

/// A base URL in front of an HTTP/2 upstream that answers with 401 to the first token.
async fn http2(inject: &str) -> (TestProxy, Http2Server, TokenServer, TestCa) {
    let (tokens, ca) = (tokens().await, TestCa::new());
    let api = Http2Server::start(ca.server(&["api.test"], &["h2"]), |request, mut respond| async move {
        let token = request
            .uri()
            .query()
            .map(str::to_owned)
            .or_else(|| request.headers().get("x-token").map(|value| value.to_str().unwrap().to_owned()));
        let status = if token.is_some_and(|token| token.contains("/2") || token.contains("%2F2")) { 200 } else { 401 };
        respond.send_response(Response::builder().status(status).body(()).unwrap(), true).unwrap();
    })
    .await;
    let proxy = TestProxy::start_with(
        &format!(
            "{}{FORWARD}{ADMIN}{}{inject}\n{}connect = \"{}\"\n{}",
            reverse(&["api"]),
            credential(&tokens),
            upstream("api", "https://api.test"),
            api.address(),
            ca.trusted()
        ),
        1,
    );
    (proxy, api, tokens, ca)
}

#[tokio::test]
async fn http2_upstreams_get_the_token_in_the_same_places() {
    let (proxy, api, _tokens, _ca) = http2(QUERY).await;
    let answer = get(proxy.address("base"), "localhost", "/x?access_token=theirs&y=1").await;
    assert_eq!(answer.status, 200);
    let uris: Vec<_> = api.asked().iter().map(|head| head.uri.to_string()).collect();
    assert_eq!(
        uris,
        ["https://api.test/x?y=1&access_token=a%2Bb%2F1%3D%3D", "https://api.test/x?y=1&access_token=a%2Bb%2F2%3D%3D"]
    );
    assert!(api.asked().iter().all(|head| !head.headers.contains_key("authorization")));

    let (proxy, api, _tokens, _ca) = http2(HEADER).await;
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nX-Token: theirs\r\nX-Token: again\r\n\r\n";
    assert_eq!(send(proxy.address("base"), request).await.status, 200);
    for (number, head) in api.asked().iter().enumerate() {
        let all: Vec<_> = head.headers.get_all("x-token").iter().collect();
        assert_eq!(all, [&format!("Token token=\"a+b/{}==\"", number + 1)]);
    }
}

#[tokio::test]
async fn explain_names_the_place_and_not_the_token() {
    for (inject, place) in [(QUERY, "as the query parameter \"access_token\""), (HEADER, "as the field \"x-token\"")] {
        let world = World::with(tokens().await, inject, "", |_, _| Reply::ok("fine")).await;
        world.get("/").await;
        let target = format!("/api/explain?url={}/x", world.api.origin());
        let explained = get(world.proxy.address("admin"), "127.0.0.1", &target).await.json();
        assert_eq!(explained["sends_to"], format!("{}/x", world.api.origin()));
        let reason = explained["reason"].as_str().unwrap();
        assert!(reason.ends_with(&format!("a token of credential \"api\" goes on it, {place}")), "{reason}");
    }
}

#[tokio::test]
async fn a_rotated_secret_is_taken_up_by_the_shape_too() {
    let tokens = TokenServer::scripted(|asked, number| {
        let body = String::from_utf8_lossy(&asked.body).into_owned();
        let secret = body.split("client_secret=").nth(1).unwrap().split('&').next().unwrap().to_owned();
        Reply::ok(&TokenServer::granted(&format!("of-{secret}-{number}"), 3600))
    })
    .await;
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, "first").unwrap();
    let more = format!("client_auth = \"client_secret_post\"\n{QUERY}");
    let toml = World::toml(&tokens.endpoint(), &api.origin(), &more, "")
        .replace("\"s3cret-of-mine\"", &format!("{{ file = {:?} }}", path.display().to_string()));
    let world = World { tokens, api, proxy: TestProxy::start(&toml) };
    assert_eq!(world.get("/").await.status, 200);
    std::fs::write(&path, "second").unwrap();
    // Both caches begin with generation 1: what was made of the old one's token must not be taken for the new one's.
    until("the token of the new secret is in use", async || {
        assert_eq!(world.get("/").await.status, 200);
        world.api.asked().last().unwrap().target() == "/?access_token=of-second-1"
    })
    .await;
    assert_eq!(world.tokens.requests(), 2);
}
