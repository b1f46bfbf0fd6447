//! The command line, by the real binary: exit codes, stdout for data and stderr for talk.

use std::collections::BTreeSet;

use crate::support::{Finished, Folder, Reply, Scripted, TokenServer};

const JSON: &str = "content-type: application/json\r\n";

/// A whole configuration with one upstream behind each kind of listener.
pub(crate) fn configuration(endpoint: &str, origin: &str) -> String {
    format!(
        r#"
[listeners.proxy]
address = "127.0.0.1:0"
mode = "forward"
[listeners.base]
address = "127.0.0.1:0"
mode = "reverse"
upstream = "api"
[admin]
address = "127.0.0.1:0"
[credentials.api]
token_endpoint = "{endpoint}"
client_id = "me"
client_secret = {{ env = "SECRET" }}
[upstreams.api]
origin = "{origin}"
credential = "api"
[upstreams.open]
origin = "https://open.example.com"
"#
    )
}

pub(crate) fn folder(endpoint: &str, origin: &str) -> Folder {
    Folder::with(&configuration(endpoint, origin)).env("SECRET", "s3cret-of-mine")
}

fn example() -> Folder {
    folder("https://login.example.com/token", "https://api.example.com")
}

pub(crate) const MISTAKES: &str = r#"
[listeners.proxy]
address = "127.0.0.1:0"
mode = "forwrd"
[credentials.api]
token_endpoint = "https://login.example.com/token"
client_id = "me"
client_secret = { env = "SURELY_UNSET" }
timeout = 10
[upstreams.api]
origin = "https://api.example.com"
credential = "api"
"#;

/// The lines that look like `proxy.toml:12:3: what is wrong; what to write instead`.
fn located(text: &str) -> Vec<&str> {
    let is_located = |line: &&str| {
        let Some(rest) = line.strip_prefix("proxy.toml:") else { return false };
        let mut parts = rest.splitn(3, ':');
        let number = |part: Option<&str>| part.is_some_and(|part| part.parse::<usize>().is_ok());
        number(parts.next()) && number(parts.next()) && parts.next().is_some_and(|what| what.contains("; "))
    };
    text.lines().filter(is_located).collect()
}

#[tokio::test]
async fn check_tells_every_mistake_in_one_go_and_exits_with_78() {
    let folder = Folder::with(MISTAKES);
    let finished = folder.run(&["check"]).await;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(78), ""));
    let lines = located(&finished.stderr);
    assert_eq!((lines.len(), finished.stderr.lines().count()), (3, 3), "{}", finished.stderr);
    for (line, place) in lines.iter().zip(["proxy.toml:4:8: ", "proxy.toml:8:", "proxy.toml:9:11: "]) {
        assert!(line.starts_with(place), "{line} is not at {place}");
    }
    for command in [&["run"][..], &["explain", "GET", "http://a/"], &["token", "api"]] {
        let finished = folder.run(command).await;
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(78), ""), "{command:?}");
        assert_eq!(located(&finished.stderr).len(), 3, "{command:?}: {}", finished.stderr);
    }
}

#[tokio::test]
async fn check_as_json_keeps_stdout_for_the_document() {
    let finished = Folder::with(MISTAKES).run(&["check", "--json"]).await;
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(78), ""));
    let document = finished.json();
    assert_eq!(document["ok"], false);
    let problems = document["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 3);
    assert!(problems.iter().all(|line| located(line.as_str().unwrap()).len() == 1), "{document}");

    let finished = example().run(&["check", "--json"]).await;
    assert_eq!((finished.code, finished.json()["ok"].as_bool()), (Some(0), Some(true)), "{finished:?}");
}

#[tokio::test]
async fn check_says_that_a_right_file_is_right() {
    let finished = example().run(&["check"]).await;
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    assert!(
        finished.stdout.starts_with("proxy.toml is right: 2 listeners, 2 upstreams, 1 credential\n"),
        "{finished:?}"
    );
}

#[tokio::test]
async fn only_run_needs_a_listener() {
    let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("fine")).await);
    let path = std::env::var("PATH").unwrap();
    let folder = Folder::with(&format!(
        "[intercept]\nca_certificate = \"ca.pem\"\nca_key = \"ca.key\"\n[credentials.api]\ntoken_endpoint = \"{}\"\n\
         client_id = \"me\"\nclient_secret = {{ env = \"SECRET\" }}\n[upstreams.api]\norigin = \"{}\"\ncredential = \"api\"\n",
        tokens.endpoint(),
        api.origin()
    ));
    let home = folder.path().to_str().unwrap().to_owned();
    let folder = folder.env("SECRET", "s3cret-of-mine").env("PATH", &path).env("HOME", &home);
    for args in
        [&["ca", "init"][..], &["ca", "show"], &["ca", "export"], &["env"], &["token", "api"], &["check", "--live"]]
    {
        let finished = folder.run(args).await;
        assert_eq!(finished.code, Some(0), "{args:?}: {finished:?}");
    }
    let checked = folder.run(&["check", "--json"]).await;
    let warnings = checked.json()["warnings"].clone();
    assert!(
        warnings[0].as_str().unwrap().contains("`listeners` is missing, which `attache run` needs; add "),
        "{warnings}"
    );
    let asked = folder.run(&["exec", "--", "curl", "-sS", &format!("{}/x", api.origin())]).await;
    assert_eq!((asked.code, asked.stdout.as_str()), (Some(0), "fine"), "{asked:?}");
    assert!(api.asked()[0].field("authorization").unwrap().starts_with("Bearer "));
    let refused = folder.run(&["run"]).await;
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(
        refused.stderr.starts_with("proxy.toml: `listeners` is missing; add [listeners.proxy] with "),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_missing_file_is_a_configuration_error_and_init_is_the_way_out() {
    let finished = Folder::new().run(&["check", "--config", "none.toml"]).await;
    assert_eq!(finished.code, Some(78));
    assert!(finished.stderr.contains("none.toml") && finished.stderr.contains("attache init"), "{}", finished.stderr);
}

#[tokio::test]
async fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
    let toml = configuration("https://login.example.com/token", "https://api.example.com");
    let folder = Folder::with(&toml.replace("client_id", "clientid")).env("SECRET", "x");
    let finished = folder.run(&["check"]).await;
    assert_eq!(finished.code, Some(78));
    let said = &finished.stderr;
    assert!(said.contains("unknown key `clientid`") && said.contains("did you mean `client_id`?"), "{said}");
    assert!(said.contains("proxy.toml:13:1: "), "{said}");
}

#[tokio::test]
async fn a_secret_in_the_file_is_warned_about_on_stderr() {
    let toml = configuration("https://login.example.com/token", "https://api.example.com");
    let finished = Folder::with(&toml.replace("{ env = \"SECRET\" }", "\"written-down\"")).run(&["check"]).await;
    assert_eq!(finished.code, Some(0));
    assert!(finished.stderr.starts_with("warning: proxy.toml:14:"), "{}", finished.stderr);
    assert!(!finished.stderr.contains("written-down") && !finished.stdout.contains("warning"), "{finished:?}");
}

#[tokio::test]
async fn check_live_obtains_every_token_once_and_shows_what_came() {
    let tokens = TokenServer::scripted(|_, _| {
        let date = httpdate::fmt_http_date(std::time::SystemTime::now());
        let body = r#"{"access_token":"sentinel","token_type":"Bearer","expires_in":"77","scope":"orders.read"}"#;
        Reply::new(200, &format!("date: {date}\r\n"), body)
    })
    .await;
    // What only requests name is not tried.
    let toml = configuration(&tokens.endpoint(), "https://*.api.example.com").replace("://open.", "://*.open.");
    let folder = Folder::with(&toml).env("SECRET", "s3cret-of-mine");
    let finished = folder.run(&["check", "--live"]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    for shown in ["api", "client_secret_basic", "77 s", "orders.read"] {
        assert!(finished.stdout.contains(shown), "{shown}: {finished:?}");
    }
    assert!(!finished.stdout.contains("sentinel"));
    let finished = folder.run(&["check", "--live", "--json"]).await;
    let document = finished.json();
    let credential = &document["credentials"][0];
    assert_eq!((credential["ok"].as_bool(), credential["lifetime"].as_u64()), (Some(true), Some(77)));
    assert_eq!(credential["scope"], "orders.read");
    assert!(credential["clock_skew"].as_i64().unwrap().abs() <= 5, "{document}");
    assert_eq!(tokens.requests(), 2);
}

#[tokio::test]
async fn check_live_fails_with_1_and_says_why() {
    let tokens = TokenServer::scripted(|_, _| Reply::new(401, JSON, r#"{"error":"invalid_client"}"#)).await;
    let folder = folder(&tokens.endpoint(), "https://api.example.com");
    let finished = folder.run(&["check", "--live"]).await;
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("invalid_client"), "{}", finished.stderr);
    let finished = folder.run(&["check", "--live", "--json"]).await;
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(1), ""));
    assert_eq!(
        (finished.json()["ok"].as_bool(), finished.json()["credentials"][0]["kind"].as_str()),
        (Some(false), Some("permanent"))
    );
}

#[tokio::test]
async fn explain_tells_what_would_happen_and_exits_with_0_whenever_it_could_decide() {
    let folder = example();
    for (args, outcome, upstream, sends_to) in [
        (&["GET", "http://api.example.com/v1?x=1"][..], "inject", Some("api"), Some("https://api.example.com/v1?x=1")),
        (&["GET", "https://api.example.com/v1"], "inject", Some("api"), Some("https://api.example.com/v1")),
        (&["GET", "/v1", "--listener", "base"], "inject", Some("api"), Some("https://api.example.com/v1")),
        (&["GET", "http://open.example.com/"], "pass", Some("open"), Some("https://open.example.com/")),
        (&["GET", "http://other.example.com/"], "deny", None, None),
        (&["TRACE", "http://api.example.com/"], "deny", Some("api"), None),
        (&["CONNECT", "api.example.com:443"], "tunnel", Some("api"), Some("api.example.com:443")),
        (&["CONNECT", "other.example.com:443"], "deny", None, None),
    ] {
        let finished = folder.run(&[&["explain"], args, &["--json"]].concat()).await;
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{args:?}");
        let document = finished.json();
        let keys: BTreeSet<&str> = document.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = ["credential", "listener", "outcome", "reason", "sends_to", "target", "upstream"];
        assert_eq!(keys, expected.into(), "{args:?}");
        assert_eq!(document["outcome"], outcome, "{document}");
        assert_eq!((document["upstream"].as_str(), document["sends_to"].as_str()), (upstream, sends_to), "{document}");
        let credential = (outcome == "inject").then_some("api");
        assert_eq!(document["credential"].as_str(), credential, "{document}");
        assert!(document["reason"].as_str().unwrap().len() > 10, "{document}");

        let finished = folder.run(&[&["explain"], args].concat()).await;
        assert_eq!(finished.code, Some(0));
        assert!(finished.stdout.starts_with("outcome") && finished.stdout.contains(outcome), "{finished:?}");
    }
}

#[tokio::test]
async fn explain_fails_where_it_cannot_decide() {
    let folder = example();
    let finished = folder.run(&["explain", "GET", "http://api.example.com/", "--listener", "none"]).await;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""));
    assert!(finished.stderr.contains("none"), "{finished:?}");
    let finished = folder.run(&["explain", "G T", "http://api.example.com/"]).await;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""));
}

#[tokio::test]
async fn token_prints_the_token_and_nothing_else() {
    let tokens = TokenServer::scripted(|_, number| {
        let scope = if number == 1 { r#","scope":"a b""# } else { "" };
        Reply::ok(&format!(r#"{{"access_token":"the-token","token_type":"bearer","expires_in":3600{scope}}}"#))
    })
    .await;
    let folder = folder(&tokens.endpoint(), "https://api.example.com");
    let finished = folder.run(&["token", "api"]).await;
    assert_eq!((finished.code, finished.stdout.as_str(), finished.stderr.as_str()), (Some(0), "the-token\n", ""));
    for scope in [serde_json::json!("a b"), serde_json::Value::Null] {
        let finished = folder.run(&["token", "api", "--json"]).await;
        let expected = serde_json::json!(
            { "access_token": "the-token", "token_type": "Bearer", "expires_in": 3600, "scope": scope }
        );
        assert_eq!((finished.code, finished.json()), (Some(0), expected));
    }
    let finished = folder.run(&["token", "other"]).await;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""));
    assert!(finished.stderr.contains("there are: api"), "{finished:?}");
}

#[tokio::test]
async fn token_can_be_asked_for_without_a_file() {
    let tokens = TokenServer::start().await;
    let folder = Folder::new().env("SECRET", "s3cret-of-mine");
    folder.write("secret", "from-a-file\n");
    let endpoint = tokens.endpoint();
    let all = [
        &["token", "--json", "--token-endpoint", &endpoint, "--client-id", "me", "--client-secret-env", "SECRET"][..],
        &["--scope", "a", "--scope", "b", "--audience", "u", "--resource", "https://r.example.com/"],
        &["--parameter", "k=v=w", "--client-auth", "client_secret_post"],
    ];
    let finished = folder.run(&all.concat()).await;
    assert_eq!((finished.code, finished.json()["access_token"].as_str()), (Some(0), Some("token-1")), "{finished:?}");
    let asked = tokens.server.asked();
    let form: BTreeSet<(String, String)> = url::form_urlencoded::parse(&asked[0].body).into_owned().collect();
    for (name, value) in [
        ("scope", "a b"),
        ("audience", "u"),
        ("resource", "https://r.example.com/"),
        ("k", "v=w"),
        ("client_id", "me"),
        ("client_secret", "s3cret-of-mine"),
    ] {
        assert!(form.contains(&(name.into(), value.into())), "{name}: {form:?}");
    }
    let file = ["token", "--token-endpoint", &endpoint, "--client-id", "me", "--client-secret-file", "secret"];
    let finished = folder.run(&file).await;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "token-2\n"), "{finished:?}");
    assert_eq!(tokens.server.asked()[1].field("authorization"), Some("Basic bWU6ZnJvbS1hLWZpbGU="));
}

async fn ad_hoc(endpoint: &str, more: &[&str]) -> Finished {
    let folder = Folder::new().env("SECRET", "s3cret-of-mine");
    let args = ["token", "--json", "--token-endpoint", endpoint, "--client-id", "me", "--client-secret-env", "SECRET"];
    folder.run(&[&args, more].concat()).await
}

/// The failure is the only document on stdout, has exactly the three members, and exits with 1.
#[track_caller]
fn assert_failure(finished: &Finished, error: &str, kind: &str) {
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(1), ""), "{finished:?}");
    let document = finished.json();
    let keys: BTreeSet<&str> = document.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["error", "error_description", "kind"].into(), "{document}");
    assert_eq!((document["error"].as_str(), document["kind"].as_str()), (Some(error), Some(kind)), "{document}");
    assert!(document["error_description"].as_str().unwrap().len() > 10, "{document}");
}

#[tokio::test]
async fn a_failed_token_request_says_its_kind_and_exits_with_1() {
    for (status, body, error, kind) in [
        (401, r#"{"error":"invalid_client"}"#, "invalid_client", "permanent"),
        (200, r#"{"error":"invalid_scope"}"#, "invalid_scope", "permanent"),
        (503, "", "transient", "transient"),
        (200, "<html>", "invalid_response", "invalid_response"),
    ] {
        let tokens = TokenServer::scripted(move |_, _| Reply::new(status, JSON, body)).await;
        assert_failure(&ad_hoc(&tokens.endpoint(), &[]).await, error, kind);
    }
    let tokens = TokenServer::scripted(|_, _| Reply::Silence).await;
    let toml = configuration(&tokens.endpoint(), "https://api.example.com");
    let folder = Folder::with(&toml.replace("client_id", "timeout = \"200ms\"\nclient_id")).env("SECRET", "x");
    assert_failure(&folder.run(&["token", "api", "--json"]).await, "timeout", "timeout");
}

#[tokio::test]
async fn arguments_that_make_no_token_request_are_of_kind_configuration() {
    assert_failure(&ad_hoc("http://login.example.com/token", &[]).await, "configuration", "configuration");
    let finished = ad_hoc("https://login.example.com/token", &["--client-auth", "private_key_jwt"]).await;
    assert_failure(&finished, "configuration", "configuration");
    for (client_id, variable) in [("me", "SURELY_UNSET"), (" ", "SECRET")] {
        let request = ["token", "--json", "--token-endpoint", "https://login.example.com/token"];
        let client = ["--client-id", client_id, "--client-secret-env", variable];
        let finished = Folder::new().env("SECRET", "x").run(&[request, client].concat()).await;
        assert_failure(&finished, "configuration", "configuration");
    }
}

#[tokio::test]
async fn a_wrong_command_line_exits_with_2() {
    for args in [
        &["serve"][..],
        &["run", "--no-such-flag"],
        &["token"],
        &["explain", "GET"],
        &["run", "--upstream", "https://a.example.com"],
        &["check", "--log", "attache=nonsense"],
    ] {
        let finished = Folder::new().run(args).await;
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(!finished.stderr.is_empty(), "{args:?}");
    }
}

#[tokio::test]
async fn demo_once_tells_its_story_and_exits_with_0() {
    let finished = Folder::new().run(&["demo", "--once"]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    for told in ["401", "200", "revokes", "answered all the same"] {
        assert!(finished.stdout.contains(told), "{told}: {}", finished.stdout);
    }
    assert!(!finished.stdout.contains('\u{1b}'), "no colours where no terminal is");
}

#[tokio::test]
async fn help_shows_the_way() {
    let finished = Folder::new().run(&["--help"]).await;
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    for mentioned in
        ["run", "check", "explain", "token", "init", "demo", "version", "ATTACHE_LOG", "--log-format", "78"]
    {
        assert!(finished.stdout.contains(mentioned), "{mentioned}: {}", finished.stdout);
    }
    for (command, mentioned) in [
        ("run", &["--config", "ATTACHE_CONFIG", "--upstream", "--client-secret-env", "SIGTERM"][..]),
        ("check", &["--live", "--json"]),
        ("explain", &["--listener", "--json", "CONNECT"]),
        ("token", &["--client-secret-file", "--scope", "--audience", "--resource", "--parameter", "--ca-file"]),
        ("init", &["--config"]),
        ("demo", &["--once", "--fleet"]),
    ] {
        let finished = Folder::new().run(&[command, "--help"]).await;
        assert_eq!(finished.code, Some(0));
        for mentioned in mentioned {
            assert!(finished.stdout.contains(mentioned), "{command}: {mentioned}: {}", finished.stdout);
        }
    }
}

/// The tables of commands, in README.md and docs/commands.md, are held against the commands that there are.
#[tokio::test]
async fn every_command_is_in_the_tables_and_no_other() {
    let help = Folder::new().run(&["--help"]).await.stdout;
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A line that goes on is indented further.
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let commands: BTreeSet<&str> =
        names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect();
    assert!(commands.len() > 10, "{help}");
    let mut tables = 0;
    for page in ["README.md", "docs/commands.md"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let cells = text.lines().filter_map(|line| line.strip_prefix("| `attache "));
        let rows: BTreeSet<&str> = cells.filter_map(|cell| cell.split(['`', ' ']).next()).collect();
        if !rows.is_empty() {
            assert_eq!(rows, commands, "the table of commands in {page}");
            tables += 1;
        }
    }
    assert!(tables > 0, "there is no table with rows such as | `attache run` | …");
}

#[tokio::test]
async fn version_is_data() {
    let version = env!("CARGO_PKG_VERSION");
    let finished = Folder::new().run(&["version"]).await;
    assert_eq!((finished.code, finished.stdout), (Some(0), format!("attache {version}\n")));
    let finished = Folder::new().run(&["version", "--json"]).await;
    let said = finished.json();
    assert_eq!((&said["name"], &said["version"]), (&"attache".into(), &version.into()));
    assert!(said["target"].as_str().unwrap().starts_with(std::env::consts::ARCH), "{said}");
    for library in ["rustls", "aws_lc_rs"] {
        assert!(said[library].as_str().unwrap().split('.').count() >= 3, "{said}");
    }
    assert_eq!(Folder::new().run(&["--version"]).await.stdout, format!("attache {version}\n"));
}

#[tokio::test]
async fn the_configuration_can_be_named_by_a_variable() {
    let folder = example().env("ATTACHE_CONFIG", "moved.toml");
    folder.write("moved.toml", &folder.read("proxy.toml"));
    std::fs::remove_file(folder.path().join("proxy.toml")).unwrap();
    let finished = folder.run(&["check"]).await;
    assert!(finished.stdout.starts_with("moved.toml is right"), "{finished:?}");
}

#[tokio::test]
async fn token_json_is_json_for_an_unknown_name_and_a_broken_file_too() {
    let unknown = example().run(&["token", "nobody", "--json"]).await;
    let answer: serde_json::Value = serde_json::from_str(&unknown.stdout).unwrap();
    assert_eq!((unknown.code, answer["kind"].as_str()), (Some(1), Some("configuration")));
    let broken = Folder::with(MISTAKES).run(&["token", "api", "--json"]).await;
    let answer: serde_json::Value = serde_json::from_str(&broken.stdout).unwrap();
    assert_eq!((broken.code, answer["kind"].as_str()), (Some(78), Some("configuration")));
}

#[tokio::test]
async fn explain_without_a_listener_does_not_hide_what_the_proxy_refuses() {
    let refused = example().run(&["explain", "GET", "http://nobody.example.com/", "--json"]).await;
    let answer: serde_json::Value = serde_json::from_str(&refused.stdout).unwrap();
    assert_eq!((answer["listener"].as_str(), answer["outcome"].as_str()), (Some("proxy"), Some("deny")));
    let path = example().run(&["explain", "GET", "/v1", "--json"]).await;
    let answer: serde_json::Value = serde_json::from_str(&path.stdout).unwrap();
    assert_eq!((answer["listener"].as_str(), answer["outcome"].as_str()), (Some("base"), Some("inject")));
}

#[tokio::test]
async fn examples_in_the_help_stand_below_each_other() {
    for command in ["explain", "token", "init", "status", "wait", "health", "schema", "completions", "man"] {
        let help = Folder::new().run(&[command, "--help"]).await.stdout;
        let (_, examples) = help.split_once("\nExamples:\n").unwrap_or_else(|| panic!("{help}"));
        assert!(examples.starts_with("  "), "{command}: {examples}");
    }
}
