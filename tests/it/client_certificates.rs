//! What attache shows to an upstream that asks who it is.

use std::path::Path;

use attache::config::Config;
use rustls_pki_types::CertificateDer;

use crate::support::{FORWARD, Reply, Scripted, TestCa, TestProxy, TlsFront, get, real_time, until};

/// Writes a new certificate and its key where the configuration looks for them, one after the other.
fn issue(ca: &TestCa, folder: &Path) -> CertificateDer<'static> {
    let (certificate, key) = ca.issue(&["client"]);
    std::fs::write(folder.join("client.pem"), certificate.pem()).unwrap();
    std::fs::write(folder.join("client.key"), key.serialize_pem()).unwrap();
    certificate.der().clone()
}

/// `https://api.test` at this address; more keys of its `tls` may follow.
fn toml(ca: &TestCa, address: impl std::fmt::Display, tls: &str) -> String {
    let trusted = ca.trusted().replace(" }", &format!("{tls} }}"));
    format!("{FORWARD}[upstreams.api]\norigin = \"https://api.test\"\nconnect = \"{address}\"\n{trusted}")
}

/// The keys of `tls` for what [`issue`] has written.
fn pair(folder: &Path) -> String {
    let folder = folder.display();
    format!(", client_certificate = \"{folder}/client.pem\", client_key = \"{folder}/client.key\"")
}

async fn ask(proxy: &TestProxy) -> crate::support::Answer {
    get(proxy.address("proxy"), "api.test", "http://api.test/").await
}

#[tokio::test]
async fn an_upstream_that_asks_for_a_certificate_gets_it() {
    let (ca, folder) = (TestCa::new(), tempfile::tempdir().unwrap());
    let leaf = issue(&ca, folder.path());
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    for versions in [rustls::ALL_VERSIONS, &[&rustls::version::TLS12]] {
        let asking = ca.server_with(&["api.test"], &[], versions, Some(&ca));
        let front = TlsFront::start(asking, api.address()).await;
        let proxy = TestProxy::start(&toml(&ca, front.address(), &pair(folder.path())));
        assert_eq!(ask(&proxy).await.status, 200);
        assert_eq!(front.shown(), [Some(leaf.clone())]);
    }
    // Nobody is shown it who does not ask.
    let front = TlsFront::start(ca.server(&["api.test"], &[]), api.address()).await;
    let proxy = TestProxy::start(&toml(&ca, front.address(), &pair(folder.path())));
    assert_eq!(ask(&proxy).await.status, 200);
    assert_eq!(front.shown(), [None]);
}

#[tokio::test]
async fn two_upstreams_of_one_server_each_show_their_own() {
    let (ca, one, two) = (TestCa::new(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let leaves = [issue(&ca, one.path()), issue(&ca, two.path())];
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let asking = ca.server_with(&["api.test", "other.test"], &[], rustls::ALL_VERSIONS, Some(&ca));
    let front = TlsFront::start(asking, api.address()).await;
    let other = toml(&ca, front.address(), &pair(two.path())).replace(FORWARD, "");
    let other = other.replace("upstreams.api", "upstreams.other").replace("https://api.test", "https://other.test");
    let other = other.replace("tls = { ", "tls = { server_name = \"api.test\", ");
    let proxy = TestProxy::start_with(&(toml(&ca, front.address(), &pair(one.path())) + &other), 1);
    for host in ["api.test", "other.test"] {
        assert_eq!(get(proxy.address("proxy"), host, &format!("http://{host}/")).await.status, 200);
    }
    // No session that one began is resumed by the other, though the name is the same.
    assert_eq!(front.shown(), leaves.map(Some));
}

#[tokio::test]
async fn without_one_or_with_a_strangers_the_answer_says_what_the_server_wants() {
    let (ca, stranger, folder) = (TestCa::new(), TestCa::new(), tempfile::tempdir().unwrap());
    issue(&stranger, folder.path());
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let asking = ca.server_with(&["api.test"], &[], rustls::ALL_VERSIONS, Some(&ca));
    let front = TlsFront::start(asking, api.address()).await;
    let none = ask(&TestProxy::start(&toml(&ca, front.address(), ""))).await;
    none.assert_own_failure(502, "tls_alert_received");
    assert!(none.text().contains("set tls.client_certificate and tls.client_key"), "{}", none.text());
    let unknown = ask(&TestProxy::start(&toml(&ca, front.address(), &pair(folder.path())))).await;
    unknown.assert_own_failure(502, "tls_alert_received");
    assert!(unknown.text().contains("the client certificate"), "{}", unknown.text());
    assert_eq!(api.requests(), 0);
}

#[tokio::test]
async fn a_certificate_with_the_key_of_another_is_a_problem_of_the_configuration() {
    let (ca, folder) = (TestCa::new(), tempfile::tempdir().unwrap());
    issue(&ca, folder.path());
    std::fs::write(folder.path().join("client.key"), ca.issue(&["client"]).1.serialize_pem()).unwrap();
    let errors = Config::parse("test.toml", &toml(&ca, "127.0.0.1:1", &pair(folder.path()))).unwrap_err().to_string();
    assert!(errors.starts_with("test.toml:7:"), "{errors}");
    assert!(errors.contains("`upstreams.api.tls.client_key` does not belong to the first certificate; "), "{errors}");
}

#[tokio::test]
async fn a_rotated_certificate_is_shown_on_the_next_connection_without_a_failed_request() {
    let (ca, folder) = (TestCa::new(), tempfile::tempdir().unwrap());
    let first = issue(&ca, folder.path());
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let asking = ca.server_with(&["api.test"], &[], rustls::ALL_VERSIONS, Some(&ca));
    let front = TlsFront::start(asking, api.address()).await;
    let proxy = TestProxy::start_with(&toml(&ca, front.address(), &pair(folder.path())), 1);
    let answered = async || assert_eq!(ask(&proxy).await.status, 200);
    answered().await;

    // Half of the pair is new: nothing changes, and nothing fails, for longer than it takes to look.
    let (certificate, key) = ca.issue(&["client"]);
    std::fs::write(folder.path().join("client.pem"), certificate.pem()).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(3);
    while std::time::Instant::now() < deadline {
        answered().await;
        real_time("the files are looked at", std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(front.shown(), [Some(first.clone())], "the one connection is used on");

    std::fs::write(folder.path().join("client.key"), key.serialize_pem()).unwrap();
    until("the new certificate is shown", async || {
        answered().await;
        front.shown().len() == 2
    })
    .await;
    let second = certificate.der().clone();
    assert_eq!(front.shown(), [Some(first), Some(second.clone())]);

    // A file that goes away changes nothing either.
    std::fs::remove_file(folder.path().join("client.pem")).unwrap();
    let third = issue(&ca, folder.path());
    until("the third is shown", async || {
        answered().await;
        front.shown().len() == 3
    })
    .await;
    assert_eq!(front.shown().last().unwrap().as_ref(), Some(&third));
}

#[tokio::test]
async fn a_server_without_the_wanted_version_of_tls_is_said_to_be_one() {
    let ca = TestCa::new();
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let old = ca.server_with(&["api.test"], &[], &[&rustls::version::TLS12], None);
    let front = TlsFront::start(old, api.address()).await;
    let refused = ask(&TestProxy::start(&toml(&ca, front.address(), ", min_version = \"1.3\""))).await;
    assert_eq!(refused.status, 502);
    assert!(refused.text().contains("set tls.min_version = \\\"1.2\\\""), "{}", refused.text());
    let taken = ask(&TestProxy::start(&toml(&ca, front.address(), ", min_version = \"1.2\""))).await;
    assert_eq!(taken.status, 200);
    let new = TlsFront::start(ca.server(&["api.test"], &[]), api.address()).await;
    assert_eq!(ask(&TestProxy::start(&toml(&ca, new.address(), ", min_version = \"1.3\""))).await.status, 200);
}
