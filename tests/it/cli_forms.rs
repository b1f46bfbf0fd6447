//! The forms that a command line may have: what may be left out, what goes together, and what is meant by it.

use crate::support::{FORWARD, Folder, Reply, Scripted, TokenServer, credential, get};

/// An upstream without a credential.
fn open(origin: &str) -> String {
    format!("[upstreams.api]\norigin = \"{origin}\"\n")
}

/// One upstream by flags, with these addresses.
fn single<'a>(command: &'a str, origin: &'a str, endpoint: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let start = [command, "--upstream", origin, "--token-endpoint", endpoint, "--client-id", "me"];
    [&start[..], &["--client-secret-env", "SECRET"], more].concat()
}

#[tokio::test]
async fn check_takes_the_file_by_its_place_and_config_stands_before_a_command_too() {
    let folder = Folder::new();
    folder.write("mine.toml", &format!("{FORWARD}{}", open("https://api.example.com")));
    for args in [
        &["check", "mine.toml"][..],
        &["-c", "mine.toml", "check"],
        &["--config", "mine.toml", "check"],
        &["check", "-c", "mine.toml"],
        &["-c", "other.toml", "check", "mine.toml"],
    ] {
        let finished = folder.run(args).await;
        assert_eq!(finished.code, Some(0), "{args:?}: {finished:?}");
        assert!(finished.stdout.starts_with("mine.toml is right"), "{args:?}: {finished:?}");
    }
    let explained = folder.run(&["-c", "mine.toml", "explain", "http://api.example.com/"]).await;
    assert!(explained.code == Some(0) && explained.stdout.contains("upstream   api"), "{explained:?}");
}

#[tokio::test]
async fn explain_asks_about_get_and_says_what_a_default_port_stands_for() {
    let folder = Folder::with(&format!("{FORWARD}{}", open("https://api.example.com:19443")));
    let explained = folder.run(&["explain", "http://api.example.com/", "--json"]).await;
    let document = explained.json();
    assert_eq!(document["outcome"], "pass", "{document}");
    let reason = document["reason"].as_str().unwrap();
    assert!(reason.contains("covers it by its default port, which stands for port 19443"), "{reason}");
    let written = folder.run(&["explain", "HEAD", "http://api.example.com:19443/", "--json"]).await.json();
    assert!(!written["reason"].as_str().unwrap().contains("default port"), "{written}");
    for args in [&["explain"][..], &["explain", "GET"], &["explain", "A B", "http://a/"]] {
        assert_eq!(folder.run(args).await.code, Some(2), "{args:?}");
    }
}

#[tokio::test]
async fn token_needs_no_name_where_there_is_one_credential() {
    let tokens = TokenServer::start().await;
    let one = credential(&tokens);
    let folder = Folder::with(&one);
    let finished = folder.run(&["token"]).await;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "token-1\n"), "{finished:?}");
    let folder = Folder::with(&format!("{one}{}", one.replace("credentials.key", "credentials.other")));
    let finished = folder.run(&["token"]).await;
    assert!(finished.code == Some(2) && finished.stderr.contains("credentials key, other"), "{finished:?}");
    let finished = Folder::with(FORWARD).run(&["token"]).await;
    assert!(finished.code == Some(2) && finished.stderr.contains("has no credential"), "{finished:?}");
}

#[tokio::test]
async fn flags_of_a_token_request_without_an_upstream_are_not_ignored() {
    let folder = Folder::with(FORWARD);
    let request = ["--token-endpoint", "https://login.example.com/token", "--client-id", "me"];
    for args in [[&["run"][..], &request].concat(), [&["exec"][..], &request, &["--", "true"]].concat()] {
        let finished = folder.run(&args).await;
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{args:?}: {finished:?}");
        assert!(finished.stderr.contains("--upstream ORIGIN, which is missing"), "{finished:?}");
    }
    for flag in ["--forward", "--reverse", "--admin"] {
        let finished = folder.run(&["run", flag, "127.0.0.1:0"]).await;
        assert!(finished.code == Some(2) && finished.stderr.contains("--upstream"), "{finished:?}");
    }
}

#[tokio::test]
async fn run_without_a_file_has_an_admin_listener_and_takes_addresses_as_the_file_does() {
    let (api, tokens) = (Scripted::start(|_, _| Reply::ok("fine")).await, TokenServer::start().await);
    let folder = Folder::new().env("SECRET", "s3cret-of-mine");
    let (origin, endpoint) = (api.origin(), tokens.endpoint());
    let addresses = ["--forward", "localhost:0", "--reverse", "localhost:0", "--admin", "127.0.0.1:0"];
    let running = folder.start(&single("run", &origin, &endpoint, &addresses));
    let reverse = running.address("reverse").await;
    assert_eq!(get(reverse, "localhost", "/x").await.text(), "fine");
    let admin = running.address("admin").await.to_string();
    let status = folder.run(&["status", "--admin", &admin]).await;
    assert!(status.code == Some(0) && status.stdout.contains("127.0.0.1  ready"), "{status:?}");
    let stopped = folder.run(&["stop", "--admin", &admin]).await;
    assert_eq!((stopped.code, running.finish().await.code), (Some(0), Some(0)), "{stopped:?}");
}

#[tokio::test]
async fn problems_of_flags_name_flags_and_no_keys() {
    let folder = Folder::new().env("SECRET", "s3cret-of-mine");
    let endpoint = "https://login.example.com/token";
    for (origin, more, said) in [
        ("https://a.example.com", &["--forward", "nonsense"][..], "`--forward` is not an address"),
        ("https://a.example.com", &["--admin", "0.0.0.0:0"], "`--admin` is open to other machines"),
        ("https://a.example.com", &["--reverse", "0.0.0.0:0"], "`--reverse` is open to other machines"),
        ("http://a.example.com", &[], "`--upstream` is plain http"),
        ("https://a.example.com", &["--upstream-ca-file", "not-there"], "`--upstream-ca-file` "),
    ] {
        let finished = folder.run(&single("run", origin, endpoint, more)).await;
        assert_eq!(finished.code, Some(78), "{finished:?}");
        assert!(finished.stderr.starts_with(&format!("the command line: {said}")), "{finished:?}");
        for key in ["= true", "= {", "credentials.", "upstreams.", "listeners."] {
            assert!(!finished.stderr.contains(key), "{key} is no flag: {finished:?}");
        }
    }
}
