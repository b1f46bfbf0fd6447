//! Who may use a listener: passwords on forward and reverse listeners, certificates, users of a unix socket, browsers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{ADMIN, Answer, Caller, Reply, Scripted, TestProxy, TokenServer, credential, send, upstream};

/// Two callers, an upstream for both and one for the first alone; a forward, a reverse and a socks5 listener.
struct Guarded {
    tokens: TokenServer,
    api: Scripted,
    proxy: TestProxy,
}

impl Guarded {
    async fn new() -> Self {
        let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("hello")).await);
        let listener = |name: &str, rest: &str| {
            format!("[listeners.{name}]\naddress = \"127.0.0.1:0\"\ncallers = [\"one\", \"two\"]\n{rest}\n")
        };
        let config = [
            listener("proxy", "mode = \"forward\""),
            listener("base", "mode = \"reverse\"\nupstream = \"api\""),
            listener("socks", "mode = \"socks5\""),
            ADMIN.to_owned(),
            "[callers.one]\npassword = \"s3cret-one\"\n[callers.two]\npassword = [\"s3cret-two\", \"s3cret-next\"]\n"
                .to_owned(),
            credential(&tokens),
            upstream("api", "http://api.test") + &format!("allow_plaintext = true\nconnect = \"{}\"\n", api.address()),
            upstream("own", "http://own.test")
                + &format!("allow_plaintext = true\nconnect = \"{}\"\ncallers = [\"one\"]\n", api.address()),
        ];
        let proxy = TestProxy::start(&config.concat());
        Self { tokens, api, proxy }
    }

    async fn forward(&self, host: &str, proof: &str) -> Answer {
        let request = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{proof}\r\n");
        send(self.proxy.address("proxy"), request).await
    }

    async fn counted(&self, listener: &str, outcome: &str) -> f64 {
        let series = format!("attache_caller_authentication_total{{listener=\"{listener}\",outcome=\"{outcome}\"}}");
        self.proxy.metric(&series).await
    }
}

fn proof(field: &str, pair: &str) -> String {
    format!("{field}: Basic {}\r\n", STANDARD.encode(pair))
}

#[tokio::test]
async fn a_forward_listener_asks_its_callers_by_407() {
    let guarded = Guarded::new().await;
    let asked = guarded.forward("api.test", "").await;
    asked.assert_own_failure(407, "http_request_denied");
    assert_eq!(asked.field("proxy-authenticate"), Some("Basic realm=\"attache\", charset=\"UTF-8\""));
    let wrong = guarded.forward("api.test", &proof("Proxy-Authorization", "one:wrong")).await;
    let unknown = guarded.forward("api.test", &proof("Proxy-Authorization", "nobody:s3cret-one")).await;
    assert_eq!((wrong.status, &wrong.json()["detail"]), (407, &unknown.json()["detail"]));
    for pair in ["one:s3cret-one", "two:s3cret-two", "two:s3cret-next"] {
        let answer = guarded.forward("api.test", &proof("Proxy-Authorization", pair)).await;
        assert_eq!(answer.status, 200, "{pair}");
    }
    assert!(guarded.api.asked().iter().all(|asked| asked.field("proxy-authorization").is_none()));
    assert!(guarded.api.asked().iter().all(|asked| asked.field("authorization") == Some("Bearer token-1")));
    assert_eq!(guarded.counted("proxy", "missing").await, 1.0);
    assert_eq!(guarded.counted("proxy", "refused").await, 2.0);
    assert_eq!(guarded.counted("proxy", "accepted").await, 3.0);
    assert_eq!(guarded.tokens.requests(), 1, "nobody who is refused costs a token");
}

#[tokio::test]
async fn connect_is_asked_too_and_may_be_tried_again_on_the_same_connection() {
    let guarded = Guarded::new().await;
    let mut caller = Caller::connect(guarded.proxy.address("proxy")).await;
    caller.write("CONNECT api.test:80 HTTP/1.1\r\nHost: api.test:80\r\n\r\n").await;
    let asked = caller.answer().await;
    asked.assert_own_failure(407, "http_request_denied");
    let proof = proof("Proxy-Authorization", "one:s3cret-one");
    caller.write(format!("CONNECT api.test:80 HTTP/1.1\r\nHost: api.test:80\r\n{proof}\r\n")).await;
    assert_eq!(caller.answer_head().await.status, 200);
    // Inside, nobody is asked again.
    caller.write("GET / HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
    assert_eq!(caller.answer().await.text(), "hello");
}

#[tokio::test]
async fn a_reverse_listener_asks_its_callers_by_401_and_keeps_their_proof() {
    let guarded = Guarded::new().await;
    let base = guarded.proxy.address("base");
    let asked = send(base, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    asked.assert_own_failure(401, "http_request_denied");
    assert_eq!(asked.field("www-authenticate"), Some("Basic realm=\"attache\", charset=\"UTF-8\""));
    let proof = proof("Authorization", "two:s3cret-two");
    let answer = send(base, format!("GET / HTTP/1.1\r\nHost: localhost\r\n{proof}\r\n")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(guarded.api.asked()[0].field("authorization"), Some("Bearer token-1"));
    let replaced = "attache_caller_authorization_total{upstream=\"api\",action=\"replace\"}";
    assert_eq!(guarded.proxy.metric(replaced).await, 0.0, "it was for us, and not one that ours took the place of");
}

#[tokio::test]
async fn an_upstream_may_be_for_some_callers_alone_inside_of_tunnels_too() {
    let guarded = Guarded::new().await;
    let (one, two) = (proof("Proxy-Authorization", "one:s3cret-one"), proof("Proxy-Authorization", "two:s3cret-two"));
    assert_eq!(guarded.forward("own.test", &one).await.status, 200);
    guarded.forward("own.test", &two).await.assert_own_failure(403, "http_request_denied");
    for (proof, status) in [(&one, 200), (&two, 403)] {
        let mut caller = Caller::connect(guarded.proxy.address("proxy")).await;
        caller.write(format!("CONNECT own.test:80 HTTP/1.1\r\nHost: own.test:80\r\n{proof}\r\n")).await;
        assert_eq!(caller.answer_head().await.status, status);
    }
}

#[tokio::test]
async fn socks_callers_prove_themselves_in_its_own_way() {
    let guarded = Guarded::new().await;
    for (pair, accepted) in [(("one", "s3cret-one"), 0), (("one", "wrong"), 1)] {
        let mut stream = tokio::net::TcpStream::connect(guarded.proxy.address("socks")).await.unwrap();
        stream.write_all(&[5, 2, 0, 2]).await.unwrap();
        let mut answer = [0; 2];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, [5, 2], "a password, and nothing less");
        let mut login = vec![1, u8::try_from(pair.0.len()).unwrap()];
        login.extend(pair.0.as_bytes());
        login.push(u8::try_from(pair.1.len()).unwrap());
        login.extend(pair.1.as_bytes());
        stream.write_all(&login).await.unwrap();
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[1].min(1), accepted);
    }
    assert_eq!(guarded.counted("socks", "accepted").await, 1.0);
    assert_eq!(guarded.counted("socks", "refused").await, 1.0);
}

#[tokio::test]
async fn a_guesser_is_stopped_and_a_good_caller_beside_it_is_not() {
    let guarded = Guarded::new().await;
    let good = proof("Proxy-Authorization", "one:s3cret-one");
    assert_eq!(guarded.forward("api.test", &good).await.status, 200);
    let mut guesser = Caller::connect(guarded.proxy.address("proxy")).await;
    let mut statuses = std::collections::BTreeMap::new();
    for number in 0..200 {
        let guess = proof("Proxy-Authorization", &format!("one:guess-{number}"));
        guesser.write(format!("GET http://api.test/ HTTP/1.1\r\nHost: api.test\r\n{guess}\r\n")).await;
        let answer = guesser.answer().await;
        if answer.status == 429 {
            answer.assert_own_failure(429, "http_request_denied");
            assert_eq!(answer.field("retry-after"), Some("1"));
        }
        *statuses.entry(answer.status).or_insert(0) += 1;
    }
    // A busy machine may take seconds for this, and each is worth one more.
    assert!(statuses[&407] >= 10 && statuses[&407] <= 40 && statuses[&429] >= 160, "{statuses:?}");
    // From the same address, on connections of their own: the one that was let in before, and one that was not yet.
    for pair in ["one:s3cret-one", "two:s3cret-two"] {
        assert_eq!(guarded.forward("api.test", &proof("Proxy-Authorization", pair)).await.status, 200, "{pair}");
    }
    let right = guarded.forward("api.test", &proof("Proxy-Authorization", "one:s3cret-one ")).await;
    assert_eq!(right.status, 429, "nothing else is looked at under that name");
    assert!(guarded.counted("proxy", "too_many").await >= 160.0);
    assert_eq!(guarded.tokens.requests(), 1);
}

#[tokio::test]
async fn guesses_are_no_way_to_use_up_the_requests_of_others() {
    let api = Scripted::start(|_, _| Reply::ok("hello")).await;
    let proxy = TestProxy::start(&format!(
        "[listeners.base]\naddress = \"127.0.0.1:0\"\nmode = \"reverse\"\nupstream = \"api\"\ncallers = [\"one\"]\n\
         [limits]\nrequests_per_second = 50\n[callers.one]\npassword = \"s3cret\"\n[upstreams.api]\norigin = \"{}\"\n",
        api.origin()
    ));
    let mut guesser = Caller::connect(proxy.address("base")).await;
    for number in 0..300 {
        let guess = proof("Authorization", &format!("one:guess-{number}"));
        guesser.write(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{guess}\r\n")).await;
        let status = guesser.answer().await.status;
        assert!(matches!(status, 401 | 429), "{status}");
    }
    // Under another address of this machine nobody has guessed.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut good = Caller::over(socket.connect(proxy.address("base")).await.unwrap());
    for _ in 0..20 {
        good.write(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", proof("Authorization", "one:s3cret"))).await;
        assert_eq!(good.answer().await.status, 200);
    }
}

#[tokio::test]
async fn wrong_passwords_count_as_requests() {
    let api = Scripted::start(|_, _| Reply::ok("hello")).await;
    let proxy = TestProxy::start(&format!(
        "[listeners.base]\naddress = \"127.0.0.1:0\"\nmode = \"reverse\"\nupstream = \"api\"\ncallers = [\"one\"]\n\
         [limits]\nrequests_per_second = 2\n[callers.one]\npassword = \"s3cret\"\n[upstreams.api]\norigin = \"{}\"\n",
        api.origin()
    ));
    let mut guesser = Caller::connect(proxy.address("base")).await;
    let mut refused = 0;
    for number in 0..9 {
        let guess = proof("Authorization", &format!("one:guess-{number}"));
        guesser.write(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{guess}\r\n")).await;
        refused += u32::from(guesser.answer().await.status == 429);
    }
    assert!(refused >= 3, "{refused} of nine at two a second");
}

#[tokio::test]
async fn a_password_that_is_rotated_is_taken_without_a_reload() {
    let api = Scripted::start(|_, _| Reply::ok("hello")).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "before\n").unwrap();
    let proxy = TestProxy::start(&format!(
        "[listeners.base]\naddress = \"127.0.0.1:0\"\nmode = \"reverse\"\nupstream = \"api\"\ncallers = [\"one\"]\n\
         [callers.one]\npassword = {{ file = \"{}\" }}\n[upstreams.api]\norigin = \"{}\"\n",
        file.display(),
        api.origin()
    ));
    let base = proxy.address("base");
    let with = async |password: &str| {
        let proof = proof("Authorization", &format!("one:{password}"));
        send(base, format!("GET / HTTP/1.1\r\nHost: localhost\r\n{proof}\r\n")).await.status
    };
    assert_eq!((with("before").await, with("after").await), (200, 401));
    std::fs::write(&file, "after\n").unwrap();
    crate::support::until("the new password is known", || async { with("after").await == 200 }).await;
    assert_eq!(with("before").await, 401);
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_use_a_loopback_listener_through_a_browser() {
    let api = Scripted::start(|_, _| Reply::ok("hello")).await;
    let base = |hosts: &str| {
        format!(
            "[listeners.base]\naddress = \"127.0.0.1:0\"\nmode = \"reverse\"\nupstream = \"api\"\n{hosts}[upstreams.api]\norigin = \"{}\"\n",
            api.origin()
        )
    };
    let (proxy, open) = (TestProxy::start(&base("")), TestProxy::start(&base("hosts = \"any\"\n")));
    for (fields, status) in [
        ("", 200),
        ("Sec-Fetch-Site: same-origin\r\nOrigin: http://localhost\r\n", 200),
        ("Sec-Fetch-Site: none\r\n", 200),
        ("Origin: http://LOCALHOST:80\r\n", 200),
        // The upstream's own, as programs write that are no browsers.
        (&format!("Origin: {}\r\n", api.origin()), 200),
        // Another port of this machine is another origin.
        ("Origin: http://localhost:3000\r\n", 403),
        ("Origin: http://127.0.0.1\r\n", 403),
        ("Sec-Fetch-Site: same-site\r\n", 403),
        ("Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: same-site\r\n", 403),
        ("Origin: app://localhost\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        ("Origin: https://evil.test\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Origin: http://localhost\r\nOrigin: https://evil.test\r\n", 403),
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: 0\r\n\r\n");
        assert_eq!(send(proxy.address("base"), &request).await.status, status, "{fields}");
        assert_eq!(send(open.address("base"), &request).await.status, 200, "{fields}");
    }
    // The port counts: this page is the listener's own.
    let port = proxy.address("base").port();
    for (page, status) in [(port, 200), (port ^ 1, 403)] {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: http://localhost:{page}\r\nContent-Length: 0\r\n\r\n"
        );
        assert_eq!(send(proxy.address("base"), &request).await.status, status, "{page}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_is_for_its_own_user_and_for_those_it_names() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let api = Scripted::start(|_, _| Reply::ok("hello")).await;
    let folder = tempfile::tempdir().unwrap();
    let me = std::fs::metadata(folder.path()).unwrap().uid();
    let path = |name: &str| folder.path().join(name);
    let listener = |name: &str, rest: &str| {
        format!(
            "[listeners.{name}]\naddress = \"unix:{}\"\nmode = \"reverse\"\nupstream = \"api\"\n{rest}\n",
            path(name).display()
        )
    };
    let _proxy = TestProxy::start(&format!(
        "{}{}{}[upstreams.api]\norigin = \"{}\"\n",
        listener("own", ""),
        listener("mine", &format!("users = [{me}]\nsocket_mode = \"0660\"")),
        listener("theirs", &format!("users = [{}]", me + 1)),
        api.origin()
    ));
    let mode = |name: &str| std::fs::metadata(path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("own"), mode("mine")), (0o600, 0o660));
    for (name, served) in [("own", true), ("mine", true), ("theirs", false)] {
        let mut stream = tokio::net::UnixStream::connect(path(name)).await.unwrap();
        let _refused = stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
        let mut answer = String::new();
        let _reset = stream.read_to_string(&mut answer).await;
        assert_eq!(answer.ends_with("hello"), served, "{name}: {answer}");
    }
}
