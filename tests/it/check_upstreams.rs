//! `check --live` for upstreams: each is dialled, shaken hands with where it has TLS, and no request is sent.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Finished, Folder, ParentProxy, Raw, Reply, Scripted, TestCa, TlsFront, skipped, until};

async fn check(upstream: &str) -> Finished {
    Folder::with(&format!("[upstreams.api]\n{upstream}")).run(&["check", "--live"]).await
}

async fn api() -> Scripted {
    Scripted::start(|_, _| Reply::ok("fine")).await
}

#[tokio::test]
async fn upstreams_that_can_be_reached_are_a_table_and_get_no_request() {
    let (ca, api) = (TestCa::new(), api().await);
    let front = TlsFront::start(ca.server(&["localhost"], &["http/1.1"]), api.address()).await;
    let secured = format!("origin = \"https://localhost:{}\"\n{}", front.address().port(), ca.trusted());
    let toml = format!(
        "[upstreams.secured]\n{secured}[upstreams.clear]\norigin = \"{}\"\n[upstreams.any]\norigin = \"https://*.example.com\"\n",
        api.origin()
    );
    let folder = Folder::with(&toml);
    let finished = folder.run(&["check", "--live"]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let row = |name: &str| {
        let line = finished.stdout.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("{finished:?}")).split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row("upstream")[..6], ["upstream", "origin", "address", "result", "tls", "http"]);
    assert_eq!(row("secured ")[3..6], ["ok", "1.3", "1.1"]);
    assert_eq!(row("clear ")[2..6], [api.address().to_string().as_str(), "ok", "-", "1.1"]);
    assert_eq!(row("any ")[3], "untried");
    let document = folder.run(&["check", "--live", "--json"]).await.json();
    let secured = &document["upstreams"][0];
    assert_eq!((&document["ok"], &secured["tls"], &secured["ok"]), (&true.into(), &"1.3".into(), &true.into()));
    assert_eq!(document["upstreams"][2]["untried"], true, "{document}");
    assert_eq!(api.requests(), 0, "nothing is sent");
    let beforehand = folder.run(&["check", "--json"]).await.json();
    assert!(beforehand.get("upstreams").is_none(), "without --live nobody is dialled: {beforehand}");
}

#[tokio::test]
async fn what_a_request_would_fail_of_is_a_failure_with_its_cause_and_next_step() {
    let (ca, api) = (TestCa::new(), api().await);
    let front = TlsFront::start(ca.server(&["localhost"], &["http/1.1"]), api.address()).await;
    let answers = Raw::start(|mut caller, _| async move {
        let _gone = caller.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        let _gone = caller.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let waits = Raw::start(|mut caller, _| async move {
        let _gone = caller.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let (plain, silent, tls) = (answers.address().port(), waits.address().port(), front.address().port());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (upstream, error, next_step) in [
        (format!("origin = \"https://localhost:{tls}\"\n"), "is unknown; if it comes from", "tls.ca_file takes"),
        (
            format!("origin = \"https://127.0.0.1:{tls}\"\n{}", ca.trusted()),
            "the certificate is for localhost, not for 127.0.0.1",
            "compare the host in origin with the names",
        ),
        (
            format!("origin = \"https://localhost:{plain}\"\n"),
            "what answers there does not speak TLS; check the scheme and the port in origin",
            "http:// and https:// mostly",
        ),
        (
            format!("origin = \"https://localhost:{silent}\"\ntimeouts = {{ connect = \"500ms\" }}\n"),
            "takes the connection and no TLS handshake within 500ms; check the scheme and the port in origin",
            "http:// and https:// mostly",
        ),
        (format!("origin = \"https://localhost:{free}\"\n"), "cannot connect to localhost", "check that the API runs"),
    ] {
        let finished = check(&upstream).await;
        assert_eq!(finished.code, Some(1), "{upstream}: {finished:?}");
        assert!(finished.stdout.contains("  failed "), "{upstream}: {finished:?}");
        let said = finished.stderr.split_once("error: upstream \"api\": ").map_or("", |(_, said)| said);
        assert!(said.contains(error), "{upstream}: {finished:?}");
        let (_, diagnosis) = said.split_once("\n  likely cause: ").unwrap_or_else(|| panic!("{finished:?}"));
        assert!(
            diagnosis.split_once("next step:    ").is_some_and(|(_, step)| step.contains(next_step)),
            "{finished:?}"
        );
    }
    assert_eq!(api.requests(), 0, "nothing is sent");
}

#[tokio::test]
async fn an_origin_in_clear_is_dialled_and_sent_nothing() {
    let heard: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let hears = Arc::clone(&heard);
    let server = Raw::start(move |mut caller, _| {
        let hears = Arc::clone(&hears);
        async move {
            let mut all = Vec::new();
            let _gone = caller.read_to_end(&mut all).await;
            hears.lock().unwrap().push(all);
        }
    })
    .await;
    let finished = check(&format!("origin = \"http://{}\"\n", server.address())).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    until("the server has heard all", async || !heard.lock().unwrap().is_empty()).await;
    assert_eq!(*heard.lock().unwrap(), [b""], "one connection, and not a byte");
    // Whether it speaks TLS is not found out by that.
    let (ca, api) = (TestCa::new(), api().await);
    let front = TlsFront::start(ca.server(&["localhost"], &["http/1.1"]), api.address()).await;
    let finished = check(&format!("origin = \"http://localhost:{}\"\n", front.address().port())).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[tokio::test]
async fn a_name_that_is_none_is_told_as_one() {
    if tokio::net::lookup_host("attache-has-no-such-name.invalid:443").await.is_ok() {
        return skipped("a name server that does not make every name up");
    }
    let finished = check("origin = \"https://attache-has-no-such-name.invalid\"\n").await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(
        finished.stderr.contains("compare the host in origin")
            || finished.stderr.contains("name servers do not answer"),
        "{finished:?}"
    );
}

#[tokio::test]
async fn an_upstream_behind_a_parent_proxy_is_tried_through_it() {
    let (ca, api) = (TestCa::new(), api().await);
    let front = TlsFront::start(ca.server(&["localhost"], &["http/1.1"]), api.address()).await;
    let proxy = ParentProxy::start(&[("localhost:443", front.address())]).await;
    let via = format!("via = \"{}\"\n", proxy.url());
    let finished = check(&format!("origin = \"https://localhost\"\n{}{via}", ca.trusted())).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(proxy.heads().iter().all(|head| head.starts_with("CONNECT localhost:443 ")), "{:?}", proxy.heads());
    let finished = check(&format!("origin = \"https://elsewhere.test\"\n{via}")).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("through the parent proxy 127.0.0.1:"), "{finished:?}");
    assert!(finished.stderr.contains("next step:    correct via"), "{finished:?}");
}

#[tokio::test]
async fn a_server_that_wants_a_client_certificate_is_found_out_without_a_request() {
    let (ca, api) = (TestCa::new(), api().await);
    let config = ca.server_with(&["localhost"], &["http/1.1"], rustls::ALL_VERSIONS, Some(&ca));
    let front = TlsFront::start(config, api.address()).await;
    let upstream = format!("origin = \"https://localhost:{}\"\n{}", front.address().port(), ca.trusted());
    let finished = check(&upstream).await;
    assert!(finished.code == Some(1) && finished.stderr.contains("wants a client certificate"), "{finished:?}");
}
