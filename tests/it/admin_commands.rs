//! The commands that ask a running attache: `status`, `wait`, `health`; and those that describe the program: `man`,
//! `completions`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::support::{ADMIN, FORWARD, Folder, Reply, TestProxy, TokenServer, credential, until, upstream};

const REQUIRED: &str = "required = true\n";

fn configuration(tokens: &TokenServer, admin: &str, more: &str) -> String {
    format!("{FORWARD}{admin}{}{more}{}", credential(tokens), upstream("api", "https://api.example.com"))
}

fn admin_url(proxy: &TestProxy) -> String {
    format!("http://{}", proxy.address("admin"))
}

#[tokio::test]
async fn status_shows_what_a_running_attache_holds() {
    let tokens = TokenServer::start().await;
    let proxy = TestProxy::start(&configuration(&tokens, ADMIN, REQUIRED));
    let folder = Folder::new();
    let admin = admin_url(&proxy);
    let waited = folder.run(&["wait", "--admin", &admin]).await;
    assert_eq!((waited.code, waited.stdout.as_str(), waited.stderr.as_str()), (Some(0), "ready\n", ""));

    let status = folder.run(&["status", "--admin", &admin]).await;
    assert_eq!((status.code, status.stderr.as_str()), (Some(0), ""), "{status:?}");
    for shown in ["credentials\n  key  ready", "█", "generation 1, required", "https://api.example.com", "forward"] {
        assert!(status.stdout.contains(shown), "{shown}: {status:?}");
    }
    assert!(!status.stdout.contains('\u{1b}'), "colours are for terminals: {status:?}");

    let document = folder.run(&["status", "--json", "--admin", &admin]).await.json();
    assert_eq!(
        (document["credentials"][0]["name"].as_str(), document["credentials"][0]["state"].as_str()),
        (Some("key"), Some("ready"))
    );
}

#[tokio::test]
async fn a_failed_credential_is_shown_with_its_next_step() {
    let tokens = TokenServer::scripted(|_, _| Reply::new(401, "", r#"{"error":"invalid_client"}"#)).await;
    let proxy = TestProxy::start(&configuration(&tokens, ADMIN, REQUIRED));
    let folder = Folder::new();
    let admin = admin_url(&proxy);
    let waited = folder.run(&["wait", "--admin", &admin, "--timeout", "1500ms"]).await;
    assert_eq!((waited.code, waited.stdout.as_str()), (Some(1), ""), "{waited:?}");
    assert!(waited.stderr.starts_with("not ready:\n  credential \"key\" has no token: "), "{waited:?}");
    assert!(waited.stderr.contains("invalid_client"), "{waited:?}");
    let json = folder.run(&["wait", "--json", "--admin", &admin, "--timeout", "100ms"]).await;
    assert_eq!((json.code, json.json()["ready"].as_bool()), (Some(1), Some(false)));
    assert!(json.json()["reasons"][0].as_str().unwrap().contains("invalid_client"));

    let status = folder.run(&["status", "--admin", &admin]).await;
    assert_eq!(status.code, Some(0));
    assert!(
        status.stdout.contains("failed") && status.stdout.contains("needs attention\n  credential key"),
        "{status:?}"
    );
    assert!(status.stdout.contains("next step"), "{status:?}");
    let ready = folder.run(&["health", "--ready", "--admin", &admin]).await;
    assert_eq!(ready.code, Some(1), "{ready:?}");
    let alive = folder.run(&["health", "--admin", &admin]).await;
    assert_eq!((alive.code, alive.stdout.as_str()), (Some(0), "alive\n"), "{alive:?}");
}

#[tokio::test]
async fn wait_ends_when_the_token_comes() {
    let gate = Arc::new(Semaphore::new(0));
    let gated = Arc::clone(&gate);
    let tokens = TokenServer::scripted(move |_, _| {
        Reply::ok(r#"{"access_token":"t","token_type":"Bearer","expires_in":3600}"#).when_open(&gated)
    })
    .await;
    let proxy = TestProxy::start(&configuration(&tokens, ADMIN, REQUIRED));
    let folder = Folder::new();
    let admin = admin_url(&proxy);
    let early = folder.run(&["wait", "--admin", &admin, "--timeout", "300ms"]).await;
    assert!(early.code == Some(1) && early.stderr.contains("its token request has not ended yet"), "{early:?}");
    let waiting = folder.start(&["wait", "--admin", &admin]);
    gate.add_permits(1);
    assert_eq!(waiting.finish().await.code, Some(0));
}

#[tokio::test]
async fn nothing_that_listens_is_said_with_what_to_do() {
    let folder = Folder::new();
    for args in [&["status"][..], &["health"], &["wait", "--timeout", "10ms"]] {
        // A port of an own that nobody listens on any more.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let finished = folder.run(&[args, &["--admin", &free.to_string()]].concat()).await;
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{finished:?}");
        assert!(finished.stderr.contains("is attache running there"), "{finished:?}");
    }
    let finished = folder.run(&["status", "--admin", "https://127.0.0.1:1"]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    let finished = folder.run(&["status"]).await;
    assert!(
        finished.code == Some(78) && finished.stderr.ends_with("or name an admin listener with --admin\n"),
        "{finished:?}"
    );
    folder.write("proxy.toml", FORWARD);
    let finished = folder.run(&["health"]).await;
    assert!(finished.code == Some(1) && finished.stderr.contains("no [admin] listener"), "{finished:?}");
}

#[tokio::test]
async fn the_token_comes_from_the_environment_or_from_where_the_configuration_says() {
    let tokens = TokenServer::start().await;
    let admin = format!("{ADMIN}token = {{ env = \"CARGO_PKG_NAME\" }}\n");
    let proxy = TestProxy::start(&configuration(&tokens, &admin, ""));
    let address = proxy.address("admin");
    let toml = format!("[admin]\naddress = \"{address}\"\ntoken = {{ env = \"ELSEWHERE\" }}\n");

    let refused = Folder::new().run(&["status", "--admin", &address.to_string()]).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("set ATTACHE_ADMIN_TOKEN"), "{refused:?}");
    // Waiting would not change that.
    let began = std::time::Instant::now();
    let waited = Folder::new().run(&["wait", "--admin", &address.to_string()]).await;
    assert!(waited.code == Some(1) && waited.stderr.contains("set ATTACHE_ADMIN_TOKEN"), "{waited:?}");
    assert!(began.elapsed() < Duration::from_secs(20));
    // The service has the variable; the command that asks may not.
    let missing = Folder::with(&toml).run(&["status"]).await;
    assert!(missing.code == Some(78) && missing.stderr.contains("ELSEWHERE, which is not set"), "{missing:?}");
    assert!(missing.stderr.trim_end().ends_with("or set ATTACHE_ADMIN_TOKEN for this command"), "{missing:?}");
    for name in ["ELSEWHERE", "ATTACHE_ADMIN_TOKEN"] {
        let finished = Folder::with(&toml).env(name, "attache").run(&["status"]).await;
        assert_eq!(finished.code, Some(0), "{name}: {finished:?}");
    }
    let wrong = Folder::with(&toml).env("ATTACHE_ADMIN_TOKEN", "another").run(&["status"]).await;
    assert!(wrong.code == Some(1) && !wrong.stderr.contains("another"), "{wrong:?}");
    // A probe needs none.
    let alive = Folder::new().run(&["health", "--admin", &address.to_string()]).await;
    assert_eq!(alive.code, Some(0), "{alive:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_can_be_asked_too() {
    let tokens = TokenServer::start().await;
    let folder = Folder::new();
    let socket = folder.path().join("admin.sock");
    let admin = format!("[admin]\naddress = \"unix:{}\"\n", socket.display());
    let toml = configuration(&tokens, &admin, "").replace("\"s3cret\"", "{ env = \"SERVICE_ONLY\" }");
    folder.write("proxy.toml", &toml);
    let folder = folder.env("SERVICE_ONLY", "s3cret");
    let running = folder.start(&["run"]);
    running.says("unix:").await;
    // As someone who has not the service's secrets.
    let other = Folder::with(&toml);
    for args in [&["status"][..], &["health"], &["wait"]] {
        let finished = other.run(args).await;
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{args:?}: {finished:?}");
    }
    let named = format!("unix:{}", socket.display());
    let finished = Folder::new().env("ATTACHE_ADMIN", &named).run(&["status"]).await;
    assert!(finished.code == Some(0) && finished.stdout.contains(&named), "{finished:?}");
}

#[tokio::test]
async fn watch_goes_on_until_it_is_interrupted() {
    let tokens = TokenServer::start().await;
    let proxy = TestProxy::start(&configuration(&tokens, ADMIN, ""));
    let folder = Folder::new();
    let watching = folder.start(&["status", "--watch", "--json", "--admin", &admin_url(&proxy)]);
    until("there are two reports", async || watching.stdout().lines().count() >= 2).await;
    proxy.shutdown().await;
    watching.says("is attache running there").await;
    watching.signal("INT");
    let finished = watching.finish().await;
    assert_eq!(finished.code, Some(0));
    for line in finished.stdout.lines() {
        let document: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(document["credentials"][0]["state"], "empty");
    }
}

#[tokio::test]
async fn the_manual_has_a_page_for_each_command() {
    let folder = Folder::new();
    let main = folder.run(&["man"]).await;
    assert!(main.code == Some(0) && main.stdout.contains(".TH ATTACHE 1"), "{main:?}");
    let finished = folder.run(&["man", "--directory", "pages"]).await;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), ""), "{finished:?}");
    assert_eq!(folder.read("pages/attache.1"), main.stdout);
    for (command, flag) in [("status", "\\-\\-watch"), ("token", "\\-\\-client\\-id"), ("man", "\\-\\-directory")] {
        assert!(folder.read(&format!("pages/attache-{command}.1")).contains(flag), "{command}");
    }
}

#[tokio::test]
async fn every_shell_gets_its_completions() {
    let folder = Folder::new();
    for (shell, sign) in [
        ("bash", "complete -F _attache"),
        ("zsh", "#compdef attache"),
        ("fish", "complete -c attache"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion"),
    ] {
        let finished = folder.run(&["completions", shell]).await;
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{shell}");
        assert!(finished.stdout.contains(sign), "{shell}: {}", finished.stdout);
    }
    assert_eq!(folder.run(&["completions", "cmd"]).await.code, Some(2));
}

/// What bash calls, with the words of a command line of which the last one is being typed.
#[tokio::test]
async fn names_of_the_configuration_are_completed() {
    let folder = Folder::with(
        "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n\
         [credentials.orders]\nkind = \"bearer\"\ntoken = { env = \"SURELY_UNSET\" }\n\
         [upstreams.one]\norigin = \"https://one.example.com\"\ncredential = \"orders\"\n",
    );
    folder.write("script", &folder.run(&["completions", "bash"]).await.stdout);
    for (line, completed) in [
        ("token o", "orders"),
        ("refresh --ad", "--admin"),
        ("env --listener pr", "proxy"),
        ("tail --upstream one", "one"),
        ("-c elsewhere.toml token o", ""),
        ("token --client-auth private", "private_key_jwt"),
    ] {
        let program = env!("CARGO_BIN_EXE_attache");
        let typed = format!(
            ". ./script; COMP_WORDS=({program} {line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _attache_or_names {program} \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[*]}}\""
        );
        let finished = folder.start_program("bash", &["-c", &typed], "").finish().await;
        let words: Vec<&str> = finished.stdout.split_whitespace().collect();
        assert_eq!(words.first().copied().unwrap_or_default(), completed, "{line}: {finished:?}");
    }
    let names = folder.run(&["names", "credentials"]).await;
    assert_eq!((names.code, names.stdout.as_str()), (Some(0), "orders\n"), "{names:?}");
}

#[tokio::test]
async fn what_fails_is_json_where_json_was_asked_for() {
    let folder = Folder::with(FORWARD);
    for (args, code, error) in [
        (&["status", "--json", "--admin", "http://127.0.0.1:1"][..], 1, "does not answer"),
        (&["status", "--json"], 1, "has no [admin] listener"),
        (&["status", "--json", "--config", "nowhere.toml"], 78, "nowhere.toml"),
        (&["ca", "show", "--json"], 1, "has no [intercept] table"),
        (&["ca", "show", "--json", "--config", "nowhere.toml"], 78, "nowhere.toml"),
    ] {
        let failed = folder.run(args).await;
        assert_eq!((failed.code, failed.stderr.as_str()), (Some(code), ""), "{args:?}: {failed:?}");
        let document = failed.json();
        assert!(document["ok"] == false && document["error"].as_str().unwrap().contains(error), "{args:?}: {document}");
    }
}
