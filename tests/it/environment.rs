//! `attache env`: what a shell reads brings programs to the running proxy.

use attache::demo::{CLIENT_SECRET, Demo, DemoPorts};
use tokio::net::TcpListener;

use crate::support::{Finished, Folder, LocalCa, Reply, Scripted};

/// What only a caller with a token gets to read.
const ORDERS: &str = "sealing wax";

const API: &str = "[upstreams.api]\norigin = \"https://api.test\"\n";

fn listener(name: &str, address: &str, mode: &str) -> String {
    format!("[listeners.{name}]\naddress = \"{address}\"\nmode = \"{mode}\"\n")
}

fn folder(listeners: &str) -> Folder {
    Folder::with(&format!("{listeners}{API}"))
}

fn first_line(finished: &Finished) -> &str {
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished.stdout.lines().next().unwrap()
}

#[tokio::test]
async fn a_shell_that_reads_it_goes_through_the_running_proxy() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let demo = Demo::start(DemoPorts { forward: free, ..DemoPorts::default() }).await.unwrap();
    let toml = demo.proxy_toml().replace(&format!("\"{CLIENT_SECRET}\""), "{ env = \"THE_SECRET\" }");
    let path = std::env::var("PATH").unwrap();
    let server = Folder::with(&toml).env("THE_SECRET", CLIENT_SECRET);
    let running = server.start(&["run"]);
    running.says("(admin)").await;

    // Another user's shell, which has the configuration and no secret.
    let shell = Folder::with(&toml).env("PATH", &path).env("NO_PROXY", "127.0.0.1,corp.test");
    let url = format!("http://{}/orders", demo.api.address());
    let attache = env!("CARGO_BIN_EXE_attache");
    let script = format!("eval \"$({attache} env)\"; curl -sSf {url}; echo; echo $NO_PROXY");
    let finished = shell.start_program("sh", &["-c", &script], "").finish().await;
    assert!(finished.stdout.contains(ORDERS), "{finished:?}");
    assert!(finished.stdout.ends_with("\ncorp.test,localhost,::1\n"), "{finished:?}");

    let script = format!("{attache} env --format dotenv > .env; set -a; . ./.env; curl -sSf {url}");
    let finished = shell.start_program("sh", &["-c", &script], "").finish().await;
    assert!(finished.stdout.contains(ORDERS), "{finished:?}");
}

#[tokio::test]
async fn the_shell_is_the_one_in_use_unless_another_is_named() {
    let listeners = listener("proxy", "127.0.0.1:8080", "forward");
    for (shell, expected) in [
        ("/bin/bash", "export HTTPS_PROXY='http://127.0.0.1:8080'"),
        ("/usr/bin/fish", "set -gx HTTPS_PROXY 'http://127.0.0.1:8080'"),
        ("/usr/bin/pwsh", "$env:HTTPS_PROXY = 'http://127.0.0.1:8080'"),
        ("/bin/strange", "export HTTPS_PROXY='http://127.0.0.1:8080'"),
    ] {
        let finished = folder(&listeners).env("SHELL", shell).run(&["env"]).await;
        assert_eq!(first_line(&finished), expected, "{shell}");
    }
    let finished = folder(&listeners).env("SHELL", "/bin/bash").run(&["env", "--shell", "fish"]).await;
    assert!(first_line(&finished).starts_with("set -gx "));
    let finished = folder(&listeners).run(&["env", "--shell", "tcsh"]).await;
    assert!(finished.code == Some(2) && finished.stderr.contains("fish and powershell"), "{finished:?}");
}

#[tokio::test]
async fn as_json_it_is_one_object_with_null_for_what_is_taken_out() {
    let finished = folder(&listener("proxy", "127.0.0.1:8080", "forward")).run(&["env", "--format", "json"]).await;
    let document = finished.json();
    assert_eq!(document["https_proxy"], "http://127.0.0.1:8080");
    assert_eq!(document["NO_PROXY"], "localhost,127.0.0.1,::1");
    assert!(document.as_object().unwrap()["REQUEST_METHOD"].is_null());
    let short = folder(&listener("proxy", "127.0.0.1:8080", "forward")).run(&["env", "--json"]).await;
    assert_eq!(short.json(), document, "the flag that the other commands have");
    assert!(document["SSL_CERT_FILE"].is_null(), "nothing is opened, so nothing has to be trusted");
}

#[tokio::test]
async fn what_is_there_is_added_to_and_what_is_harmful_taken_out() {
    let folder = folder(&listener("proxy", "0.0.0.0:8080\"\nopen = true #", "forward"))
        .env("JAVA_TOOL_OPTIONS", "-Xmx1g")
        .env("ALL_PROXY", "socks5://elsewhere.test")
        .env("REQUEST_METHOD", "GET");
    let finished = folder.run(&["env"]).await;
    let lines: Vec<&str> = finished.stdout.lines().collect();
    assert_eq!(lines[0], "export ALL_PROXY='http://127.0.0.1:8080'", "the whole network is this machine too");
    assert!(lines.iter().any(|line| line.starts_with("export JAVA_TOOL_OPTIONS='-Xmx1g -Dhttp.proxyHost=127.0.0.1 ")));
    assert!(lines.contains(&"unset REQUEST_METHOD"), "{lines:?}");
    assert!(!finished.stdout.contains("SOCKS_PROXY"), "what is not there need not be taken out: {finished:?}");
}

#[tokio::test]
async fn only_a_forward_listener_with_a_port_can_be_named() {
    for (listeners, said) in [
        (listener("proxy", "127.0.0.1:0", "forward"), "takes a free port (0)"),
        (listener("proxy", "unix:/run/proxy.sock", "forward"), "is a unix socket, which HTTP_PROXY cannot name"),
        (
            listener("base", "127.0.0.1:9001", "reverse\"\nupstream = \"api"),
            "has no listener with mode = \"forward\", which is what HTTP_PROXY needs",
        ),
    ] {
        let finished = folder(&listeners).run(&["env"]).await;
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{finished:?}");
        assert!(finished.stderr.contains(said), "{finished:?}");
    }
}

#[tokio::test]
async fn without_a_forward_listener_there_is_still_a_ca_to_trust() {
    let local = LocalCa::new();
    for listeners in [String::new(), listener("base", "127.0.0.1:9001", "reverse\"\nupstream = \"api")] {
        let folder = folder(&format!("{listeners}{}", local.intercept()));
        let cache = folder.path().to_str().unwrap().to_owned();
        let finished = folder.env("HOME", &cache).run(&["env", "--format", "json"]).await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert!(finished.stderr.contains("no listener with mode = \"forward\""), "{finished:?}");
        let document = finished.json();
        assert!(document["SSL_CERT_FILE"].as_str().unwrap().contains("/ca-"), "{document}");
        for name in ["HTTP_PROXY", "https_proxy", "NO_PROXY", "NODE_USE_ENV_PROXY", "REQUEST_METHOD"] {
            assert!(!document.as_object().unwrap().contains_key(name), "{name}: {document}");
        }
        let java = document["JAVA_TOOL_OPTIONS"].as_str().unwrap();
        assert!(java.contains("trustStore=") && !java.contains("proxyHost"), "{java}");
    }
}

#[tokio::test]
async fn of_several_listeners_one_is_named() {
    let listeners = listener("one", "127.0.0.1:8080", "forward") + &listener("two", "[::1]:8081", "forward");
    let finished = folder(&listeners).run(&["env"]).await;
    assert!(finished.code == Some(2) && finished.stderr.contains("name one with --listener: one, two"), "{finished:?}");
    let finished = folder(&listeners).run(&["env", "--listener", "two"]).await;
    assert_eq!(first_line(&finished), "export HTTPS_PROXY='http://[::1]:8081'");
    let finished = folder(&listeners).run(&["env", "--listener", "three"]).await;
    assert!(finished.code == Some(2) && finished.stderr.contains("there are: one, two"), "{finished:?}");
}

/// What a shell has of a variable after reading a script.
async fn after(folder: &Folder, script: &str) -> Finished {
    folder.start_program("sh", &["-c", &script.replace("attache", env!("CARGO_BIN_EXE_attache"))], "").finish().await
}

#[tokio::test]
async fn it_says_when_nothing_listens_and_when_other_hosts_are_refused() {
    let listening = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listening.local_addr().unwrap().to_string();
    let open = listener("proxy", &address, "forward") + "[forward]\nunmatched = \"pass\"\n";
    let folder = folder(&open);
    assert_eq!(folder.run(&["env"]).await.stderr, "");
    folder.write("proxy.toml", &format!("{}{API}", listener("proxy", &address, "forward")));
    let finished = folder.run(&["env"]).await;
    assert_eq!(
        finished.stderr,
        "attache: programs reach no host through it but the upstreams' (403); for a shell that goes elsewhere too, set \
         [forward] unmatched = \"pass\"\n"
    );
    drop(listening);
    folder.write("proxy.toml", &format!("{open}{API}"));
    let finished = folder.run(&["env"]).await;
    let expected =
        format!("attache: nothing answers at {address} yet: start it with `attache run --config proxy.toml`\n");
    assert_eq!((finished.code, finished.stderr), (Some(0), expected));
}

#[tokio::test]
async fn a_caller_is_named_with_its_password_in_the_url() {
    let api = Scripted::start(|_, _| Reply::ok("for callers")).await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let toml = format!(
        "{}callers = [\"job\", \"other\"]\n[upstreams.api]\norigin = \"{}\"\n\
         [callers.job]\npassword = {{ env = \"JOB_PASSWORD\" }}\n[callers.other]\npassword = {{ env = \"OTHER_PASSWORD\" }}\n",
        listener("proxy", &free.to_string(), "forward"),
        api.origin()
    );
    let password = "p@ss:w/rd %20'";
    let path = std::env::var("PATH").unwrap();
    let folder = Folder::with(&toml).env("JOB_PASSWORD", password).env("OTHER_PASSWORD", "x").env("PATH", &path);
    let running = folder.start(&["run"]);
    running.says("proxy").await;

    let finished = folder.run(&["env"]).await;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{finished:?}");
    assert!(finished.stderr.contains("with --caller NAME: job, other"), "{finished:?}");
    let finished = folder.run(&["env", "--caller", "jobs"]).await;
    assert!(finished.code == Some(2) && finished.stderr.contains("there are: job, other"), "{finished:?}");

    // The secret of the other one is not asked for.
    let shell = Folder::with(&toml).env("JOB_PASSWORD", password).env("PATH", &path);
    let script = format!("eval \"$(attache env --caller job)\" && curl -sSf {}/x", api.origin());
    let finished = after(&shell, &script).await;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "for callers"), "{finished:?}");
    assert!(!finished.stderr.contains("w/rd"), "{finished:?}");
    let unset = Folder::with(&toml).run(&["env", "--caller", "job"]).await;
    assert!(unset.code == Some(1) && unset.stderr.contains("JOB_PASSWORD"), "{unset:?}");
}

#[tokio::test]
async fn two_projects_with_a_ca_each_do_not_disturb_each_other() {
    let home = Folder::new();
    let bundle = async |ca: &LocalCa| {
        let folder = folder(&format!("{}{}", listener("proxy", "127.0.0.1:8080", "forward"), ca.intercept()));
        let folder = folder.env("HOME", home.path().to_str().unwrap());
        let finished = folder.run(&["env", "--format", "json"]).await;
        let path = finished.json()["SSL_CERT_FILE"].as_str().unwrap().to_owned();
        (std::fs::read_to_string(&path).unwrap(), path)
    };
    let (one, other) = (LocalCa::new(), LocalCa::new());
    let (first, path) = bundle(&one).await;
    let (second, another) = bundle(&other).await;
    assert!(path != another && first != second, "{path}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), first, "the first shell goes on");
    assert_eq!(bundle(&one).await.1, path, "and its name stays");
}

#[tokio::test]
async fn all_of_it_is_taken_back() {
    let local = LocalCa::new();
    let listeners = listener("proxy", "127.0.0.1:8080", "forward") + &listener("two", "127.0.0.1:8081", "forward");
    let folder = folder(&format!("{listeners}{}", local.intercept()));
    let home = folder.path().to_str().unwrap().to_owned();
    let folder = folder
        .env("PATH", &std::env::var("PATH").unwrap())
        .env("HOME", &home)
        .env("HTTPS_PROXY", "http://corp.test:3128")
        .env("NO_PROXY", ".corp.test")
        .env("REQUEST_METHOD", "it's \"GET\"")
        .env("JAVA_TOOL_OPTIONS", "-Xmx1g");
    let script = "env | sort > before\n\
                  eval \"$(attache env --listener proxy)\"; eval \"$(attache env --listener two)\"; env > within\n\
                  eval \"$(attache env --unset)\"; env | sort > after; diff before after";
    let finished = after(&folder, script).await;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), ""), "{finished:?}");
    let within = folder.read("within");
    for line in ["HTTPS_PROXY=http://127.0.0.1:8081", "NO_PROXY=.corp.test,localhost,127.0.0.1,::1"] {
        assert!(within.lines().any(|known| known == line), "{line}: {within}");
    }
    let java = within.lines().find(|line| line.starts_with("JAVA_TOOL_OPTIONS=")).unwrap();
    assert!(java.starts_with("JAVA_TOOL_OPTIONS=-Xmx1g -D") && java.matches("proxyPort").count() == 2, "{java}");
    assert!(!within.contains("REQUEST_METHOD="), "{within}");
    // A shell that forgot what was before.
    let finished = after(&folder, "unset ATTACHE_ENV_BEFORE; eval \"$(attache env --unset)\"; env").await;
    assert!(!finished.stdout.contains("PROXY") && !finished.stdout.contains("JAVA_TOOL_OPTIONS"), "{finished:?}");
}
