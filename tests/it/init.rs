//! `attache init`: with flags, and as a person at a terminal uses it. tests/snapshots/init has whole conversations.

use crate::clients::there_is;
use crate::support::{Folder, Snapshots};

#[tokio::test]
async fn init_writes_a_file_that_passes_check_and_never_overwrites_one() {
    let folder = Folder::new().env("ORDERS_CLIENT_SECRET", "x");
    let finished = folder.run(&["init"]).await;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), ""), "{finished:?}");
    let written = folder.read("proxy.toml");
    assert!(written.contains("[upstreams.orders]"));
    let finished = folder.run(&["check"]).await;
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:?}");

    folder.write("proxy.toml", "mine");
    let finished = folder.run(&["init"]).await;
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("proxy.toml is there already"), "{finished:?}");
    assert_eq!(folder.read("proxy.toml"), "mine");
    assert_eq!(folder.run(&["init", "--config", "other.toml"]).await.code, Some(0));
    let keys = |text: &str| text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    assert_eq!(keys(&folder.read("other.toml")), keys(&written));
}

#[tokio::test]
async fn init_takes_its_answers_from_flags() {
    let folder = Folder::new().env("THINGS", "x");
    let told = ["init", "--issuer", "https://id.example.com", "--client-id", "me", "--client-secret-env", "THINGS"];
    let more =
        ["--upstream", "https://api.things.example.com", "--scope", "a", "--scope", "b", "--listen", "127.0.0.1:3128"];
    let finished = folder.run(&[&told[..], &more].concat()).await;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), ""), "{finished:?}");
    assert!(finished.stderr.starts_with("proxy.toml is written. Now:\n  export THINGS='…' "), "{finished:?}");
    let written = folder.read("proxy.toml");
    for shown in ["[credentials.things]", "= \"a b\"", "{ env = \"THINGS\" }", "127.0.0.1:3128"] {
        assert!(written.contains(shown), "{shown}: {written}");
    }
    let checked = folder.run(&["check"]).await;
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""), "{checked:?}");

    let folder = Folder::new();
    let preset = ["init", "--preset", "keycloak", "--preset-key", "realm=r", "--preset-key", "domain=k.example.com"];
    assert_eq!(folder.run(&preset).await.code, Some(0));
    assert!(folder.read("proxy.toml").contains("= \"k.example.com\""));
    assert_eq!(
        folder.run(&["init", "--config", "b.toml", "--preset", "okta", "--preset-key", "colour=r"]).await.code,
        Some(2)
    );
}

#[tokio::test]
async fn init_writes_nothing_that_check_would_refuse() {
    let folder = Folder::new();
    let finished = folder.run(&["init", "--token-endpoint", "http://login.example.com/token"]).await;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(78), ""), "{finished:?}");
    assert!(finished.stderr.starts_with("the command line: `--token-endpoint` is plain http"), "{finished:?}");
    let finished =
        folder.run(&["init", "--preset", "okta", "--preset-key", "domain=a b", "--upstream", "a.test"]).await;
    assert_eq!(finished.code, Some(78), "{finished:?}");
    let lines: Vec<&str> = finished.stderr.lines().collect();
    assert!(lines[0].starts_with("the command line: `--preset-key domain` "), "{finished:?}");
    assert!(lines[1].starts_with("the command line: `--upstream` "), "{finished:?}");
    assert!(!folder.path().join("proxy.toml").exists());
}

#[tokio::test]
async fn a_secret_in_the_place_of_its_name_is_refused_and_not_repeated() {
    let folder = Folder::new();
    for flag in ["--client-secret-env", "--client-secret-file", "--client-secret-credential"] {
        let args = [flag, "s3cr3t~Q.vZ8"];
        let finished = folder.run(&[&["init"][..], &args].concat()).await;
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert!(finished.stderr.contains("if that is the secret itself"), "{finished:?}");
        assert!(!finished.stderr.contains("s3cr3t"), "{finished:?}");
        assert!(!folder.path().join("proxy.toml").exists());
    }
    // A short one may be a name; a variable that is set is none.
    for (folder, is_doubted) in [(Folder::new(), true), (Folder::new().env("JBSWY3DPEHPK3PXP", "x"), false)] {
        let finished = folder.run(&["init", "--client-secret-env", "JBSWY3DPEHPK3PXP"]).await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        let doubt = finished.stderr.lines().find(|line| line.starts_with("warning: "));
        assert_eq!(
            doubt.is_some_and(|line| line.contains("If that was the secret itself")),
            is_doubted,
            "{finished:?}"
        );
        assert!(!doubt.unwrap_or_default().contains("JBSW"), "{finished:?}");
    }
    folder.write("here", "s3cr3t");
    let finished = folder.run(&["init", "--client-secret-file", "here"]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(folder.read("proxy.toml").contains("{ file = \"here\" }"));
}

#[tokio::test]
async fn a_secret_that_a_unit_loads_is_named_and_the_next_step_works_without_it() {
    let folder = Folder::new();
    let finished = folder.run(&["init", "--client-secret-credential", "orders"]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let steps =
        "  (have the unit load the secret: LoadCredential=orders:/etc/attache/orders.secret)\n  attache check  ";
    assert!(finished.stderr.contains(steps), "{finished:?}");
    assert!(finished.stderr.ends_with("\n  systemctl restart attache\n"), "{finished:?}");
    let written = folder.read("proxy.toml");
    assert!(written.contains("client_secret  = { credential = \"orders\" }"), "{written}");
    assert!(written.contains("\n#   (have the unit load the secret: LoadCredential=orders:"), "{written}");
    assert_eq!(folder.run(&["check"]).await.code, Some(0));
}

#[tokio::test]
async fn the_next_steps_name_the_file_that_was_written() {
    let folder = Folder::new();
    let finished = folder.run(&["init", "--config", "other.toml"]).await;
    assert!(finished.stderr.contains("\n  attache check --live --config other.toml "), "{finished:?}");
    assert!(folder.read("other.toml").contains("\n#   attache run --config other.toml\n"));
    let finished = folder.run(&["init", "--config", "of-the-orders.toml"]).await;
    // To be copied as a line, whatever its length.
    let check =
        "  attache check --live --config of-the-orders.toml      # is everything right, and is there a token?\n";
    assert!(
        finished.stderr.contains(check) && folder.read("of-the-orders.toml").contains(&format!("# {check}")),
        "{finished:?}"
    );
    let folder = Folder::new().env("ATTACHE_CONFIG", "mine.toml");
    let finished = folder.run(&["init"]).await;
    assert!(finished.stderr.contains("\n  attache run\n"), "{finished:?}");
}

/// Plays a person at a terminal: the first answer that is left whose question begins so, or else Enter. Prints what the
/// terminal showed.
const PERSON: &str = r#"
import json, os, pty, re, sys
answers = json.loads(sys.argv[1])
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[2], sys.argv[2:])
shown, answered = b"", 0
while True:
    try:
        piece = os.read(terminal, 4096)
    except OSError:
        break
    if not piece:
        break
    shown += piece
    text = re.sub(rb"\x1b\[[0-9;]*m", b"", shown).replace(b"\r\n", b"\n")
    if text.endswith(b"]: ") and len(text) > answered:
        answered = len(text)
        question = text.rsplit(b"\n", 1)[-1].decode()
        place = next((place for place, (begin, _) in enumerate(answers) if question.startswith(begin)), None)
        os.write(terminal, ((answers.pop(place)[1] if place is not None else "") + "\n").encode())
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
sys.stdout.write(text.decode())
sys.exit(f"never asked: {answers}" if answers else code)
"#;

/// What a person answers who has the provider's own values at hand.
const ANSWERS: [(&str, &[(&str, &str)]); 9] = [
    (
        "another",
        &[
            ("token_endpoint", "http://id.acme.test/token"),
            ("token_endpoint", "https://id.acme.test"),
            ("client_id", "orders-batch"),
            ("scope", "orders.read orders.write"),
            ("origin", "https://api.acme.test/v1"),
            ("origin", "https://api.acme.test"),
            ("A name", "acme orders"),
            ("A name", "acme"),
            ("Where the client's secret", "s3cr3t~Q.vZ8"),
            ("Where the client's secret", "./acme.secret"),
            ("There is no such file", "y"),
            ("Where programs", "127.0.0.1:3128"),
        ],
    ),
    (
        "entra",
        &[("tenant", "acme.onmicrosoft.com"), ("client_id", "8f1c"), ("scope", "https://graph.microsoft.com/.default")],
    ),
    ("auth0", &[("domain", "acme.eu.auth0.com"), ("client_id", "x1"), ("audience", "https://api.acme.test/")]),
    (
        "okta",
        &[
            ("domain", "acme.okta.com"),
            ("authorization_server", "org"),
            ("client_id", "0oa1"),
            ("scope", "okta.users.read"),
            ("origin", "https://acme.okta.com"),
        ],
    ),
    (
        "keycloak",
        &[
            ("domain", "https://sso.acme.test/auth"),
            ("realm", "acme"),
            ("client_id", "batch"),
            ("origin", "https://api.acme.test"),
            ("Where the client's secret", "$ACME_SECRET"),
        ],
    ),
    (
        "cognito",
        &[
            ("domain", "acme.auth.eu-west-1.amazoncognito.com"),
            ("client_id", "7a"),
            ("scope", "orders/read"),
            ("origin", "https://orders.example.com"),
        ],
    ),
    (
        "google",
        &[
            ("client_id", "batch@acme.iam.gserviceaccount.com"),
            ("scope", "https://www.googleapis.com/auth/bigquery"),
            ("The key file", "{"),
            ("The key file", "./key.json"),
            ("There is no such file", "yes"),
        ],
    ),
    ("salesforce", &[("domain", "acme.my.salesforce.com"), ("client_id", "3MVG9")]),
    ("paypal", &[("environment", "live"), ("client_id", "AQk1")]),
];

async fn conversation(folder: &Folder, answers: &[(&str, &str)]) -> String {
    let answers = serde_json::to_string(answers).unwrap();
    let arguments = ["-c", PERSON, &answers, env!("CARGO_BIN_EXE_attache"), "init"];
    let finished = folder.start_program("python3", &arguments, "").finish().await;
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:?}");
    finished.stdout
}

#[tokio::test]
async fn every_provider_is_walked_through_with_enter_alone_and_with_answers() {
    if !there_is("python3", &["--version"]) {
        return;
    }
    let mut snapshots = Snapshots::of("init");
    for (provider, answers) in ANSWERS {
        let mut shown = String::new();
        for answers in [&[][..], answers] {
            let folder = Folder::new();
            let answers = [&[("Who issues", provider)], answers].concat();
            let talk = conversation(&folder, &answers).await;
            let written = folder.read("proxy.toml");
            shown += &format!("$ attache init\n{talk}\n$ cat proxy.toml\n{written}\n");
            assert!(!written.contains("s3cr3t"), "{written}");

            let mut folder = folder;
            for file in ["acme.secret", "service-account.json", "key.json"] {
                folder.write(file, r#"{"private_key":"-----BEGIN PRIVATE KEY-----"}"#);
            }
            for variable in ["ACME_SECRET", "SALESFORCE_CLIENT_SECRET", "PAYPAL_CLIENT_SECRET"] {
                folder = folder.env(variable, "x");
            }
            for name in ["ORDERS", "ACME", "GRAPH"] {
                folder = folder.env(&format!("{name}_CLIENT_SECRET"), "x");
            }
            let checked = folder.run(&["check"]).await;
            let said: Vec<&str> =
                checked.stderr.lines().filter(|line| provider != "google" && !line.contains(" may be read ")).collect();
            assert!(said.is_empty(), "{provider}: {checked:?}");
            assert!(checked.code == Some(0) || provider == "google", "{provider}: {checked:?}");
        }
        snapshots.compare(provider, &shown);
    }
    snapshots.finish();
}
