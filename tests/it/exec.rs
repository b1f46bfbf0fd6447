//! `attache exec`, with real programs: they run as if nobody stood around them, and their requests have tokens.

use std::path::Path;
use std::process::Command;

use attache::demo::{CLIENT_ID, CLIENT_SECRET, Demo, DemoPorts};
use tokio::net::TcpListener;

use crate::support::{Finished, Folder, Running, skipped, until};

/// The variable of the configuration's secret.
const SECRET: &str = "EXEC_TEST_SECRET";

/// What only a caller with a token gets to read.
const ORDERS: &str = "sealing wax";

/// The demo's configuration with the secret in a variable. Its listeners are on `port`.
fn configuration(demo: &Demo, port: u16) -> String {
    let toml = demo.proxy_toml().replace(&format!("\"{CLIENT_SECRET}\""), &format!("{{ env = \"{SECRET}\" }}"));
    toml.replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1)
}

/// With that configuration, the secret, and the programs of this machine.
fn folder(demo: &Demo) -> Folder {
    let folder = Folder::with(&configuration(demo, 0)).env(SECRET, CLIENT_SECRET);
    folder.env("PATH", &std::env::var("PATH").unwrap())
}

/// No server is asked for anything.
fn offline() -> Folder {
    let toml = format!(
        "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[credentials.a]\n\
         token_endpoint = \"https://login.test/token\"\nclient_id = \"me\"\nclient_secret = {{ env = \"{SECRET}\" }}\n\
         [upstreams.a]\norigin = \"https://api.test\"\ncredential = \"a\"\n"
    );
    Folder::with(&toml).env(SECRET, "s3cret-of-mine").env("PATH", &std::env::var("PATH").unwrap())
}

/// A program of the machine that a test cannot do without.
fn there_is(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        skipped(&format!("{program} is not installed"));
    }
    found
}

async fn sh(folder: &Folder, script: &str) -> Finished {
    folder.run(&["exec", "--", "sh", "-c", script]).await
}

/// A script that says `ready` and then waits for signals, for a minute at most.
fn waiting(folder: &Folder, traps: &str) -> Running {
    let script = format!("{traps}\necho ready >&2\nfor _ in $(seq 1200); do sleep 0.05; done");
    folder.start(&["exec", "--", "sh", "-c", &script])
}

/// The value of a variable in what `env` printed.
fn variable<'f>(finished: &'f Finished, name: &str) -> Option<&'f str> {
    finished.stdout.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

#[tokio::test]
async fn a_request_of_the_command_has_a_token() {
    let demo = Demo::start(DemoPorts::default()).await.unwrap();
    let folder = folder(&demo);
    let url = format!("http://{}/orders", demo.api.address());
    for client in [
        &["curl", "-sSf"][..],
        &["wget", "-qO-"],
        &["python3", "-c", "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"],
        &["perl", "-MHTTP::Tiny", "-e", "print HTTP::Tiny->new->get($ARGV[0])->{content}"],
    ] {
        if !there_is(client[0]) {
            continue;
        }
        let command = [&["exec", "--"], client, &[&url]].concat();
        let finished = folder.run(&command).await;
        assert_eq!(finished.code, Some(0), "{client:?}: {finished:?}");
        assert!(finished.stdout.contains(ORDERS), "{client:?}: {finished:?}");
        assert_eq!(finished.stderr, "", "{client:?}");
    }
}

#[tokio::test]
async fn java_finds_the_proxy_also_for_an_upstream_on_this_machine() {
    if !there_is("java") {
        return;
    }
    let demo = Demo::start(DemoPorts::default()).await.unwrap();
    let folder = folder(&demo);
    folder.write(
        "Get.java",
        "import java.net.*; import java.net.http.*;\n\
         public class Get { public static void main(String[] a) throws Exception {\n\
         var request = HttpRequest.newBuilder(URI.create(a[0])).build();\n\
         var client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();\n\
         System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).body());\n\
         System.out.println(new String(new URL(a[0]).openStream().readAllBytes())); } }\n",
    );
    let url = format!("http://{}/orders", demo.api.address());
    let finished = folder.run(&["exec", "--", "java", "Get.java", &url]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(finished.stdout.matches(ORDERS).count(), 2, "{finished:?}");
}

#[tokio::test]
async fn one_upstream_needs_no_file() {
    let demo = Demo::start(DemoPorts::default()).await.unwrap();
    let api = format!("http://{}", demo.api.address());
    let folder = Folder::new().env(SECRET, CLIENT_SECRET).env("PATH", &std::env::var("PATH").unwrap());
    let endpoint = demo.authorization_server.token_endpoint();
    let finished = folder
        .run(&[
            "exec",
            "--upstream",
            &api,
            "--token-endpoint",
            &endpoint,
            "--client-id",
            CLIENT_ID,
            "--client-secret-env",
            SECRET,
            "--scope",
            "orders.read",
            "--",
            "sh",
            "-c",
            &format!("curl -sSf {api}/orders; env"),
        ])
        .await;
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    assert!(finished.stdout.contains(ORDERS), "{finished:?}");
    assert!(!finished.stdout.contains(CLIENT_SECRET), "{finished:?}");
}

#[tokio::test]
async fn it_runs_beside_whatever_has_the_configured_ports() {
    let demo = Demo::start(DemoPorts::default()).await.unwrap();
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = folder(&demo);
    folder.write("proxy.toml", &configuration(&demo, other.local_addr().unwrap().port()));
    let finished = sh(&folder, &format!("curl -sSf http://{}/orders", demo.api.address())).await;
    assert!(finished.code == Some(0) && finished.stdout.contains(ORDERS), "{finished:?}");
}

#[tokio::test]
async fn without_a_token_the_command_runs_and_hears_503() {
    let demo = Demo::start(DemoPorts::default()).await.unwrap();
    let folder = folder(&demo);
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = format!("http://{}/token", nobody.local_addr().unwrap());
    drop(nobody);
    let endpoint = demo.authorization_server.token_endpoint();
    folder.write("proxy.toml", &configuration(&demo, 0).replace(&endpoint, &dead));
    let url = format!("http://{}/orders", demo.api.address());
    let finished = sh(&folder, &format!("curl -s -o /dev/null -w '%{{http_code}}' {url}")).await;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "503"));
    assert!(finished.stderr.contains("refuses connections"), "{finished:?}");
}

#[tokio::test]
async fn the_exit_code_is_the_commands() {
    let folder = offline();
    folder.write("no-program", "text");
    for (command, code) in [
        (&["true"][..], 0),
        (&["sh", "-c", "exit 7"], 7),
        (&["sh", "-c", "exit 255"], 255),
        (&["sh", "-c", "kill -KILL $$"], 128 + 9),
        (&["sh", "-c", "kill -TERM $$"], 128 + 15),
        (&["surely-no-such-command"], 127),
        (&["./no-program"], 126),
    ] {
        let finished = folder.run(&[&["exec", "--"], command].concat()).await;
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(code), ""), "{command:?}: {}", finished.stderr);
        assert_eq!(finished.stderr.contains("error: "), matches!(code, 126 | 127), "{}", finished.stderr);
    }
    // The two lines may be written without the dashes too, and options behind the command are the command's.
    assert_eq!(folder.run(&["exec", "sh", "-c", "exit 3"]).await.code, Some(3));
}

#[tokio::test]
async fn what_is_wrong_beforehand_has_the_usual_exit_codes() {
    let folder = offline();
    assert_eq!(folder.run(&["exec"]).await.code, Some(2));
    assert_eq!(folder.run(&["exec", "--config", "none.toml", "--", "true"]).await.code, Some(78));
    let unknown = folder.run(&["exec", "--listener", "prxy", "--", "true"]).await;
    assert!(unknown.code == Some(2) && unknown.stderr.contains("there are: proxy"), "{unknown:?}");
    let toml = folder.read("proxy.toml");
    folder.write("proxy.toml", &toml.replace(SECRET, "SURELY_UNSET"));
    let unset = folder.run(&["exec", "--", "true"]).await;
    assert!(unset.code == Some(78) && unset.stderr.contains("SURELY_UNSET"), "{unset:?}");
}

#[tokio::test]
async fn upstreams_of_one_origin_are_told_apart_by_a_listener() {
    let toml = "[listeners.one]\naddress = \"127.0.0.1:1\"\nmode = \"reverse\"\nupstream = \"one\"\n\
                [listeners.both]\naddress = \"127.0.0.1:2\"\nmode = \"reverse\"\nupstreams = [\"one\", \"two\"]\n\
                [upstreams.one]\norigin = \"https://api.test\"\npath_prefix = \"/one\"\n\
                [upstreams.two]\norigin = \"https://api.test\"\npath_prefix = \"/two\"\n";
    let folder = Folder::with(toml).env("PATH", &std::env::var("PATH").unwrap());
    for listener in [&[][..], &["--listener", "both"]] {
        let finished = folder.run(&[&["exec"], listener, &["--", "true"]].concat()).await;
        assert_eq!(finished.code, Some(78), "{finished:?}");
        assert!(finished.stderr.contains("\"one\" and \"two\" have the same origin"), "{finished:?}");
        assert!(finished.stderr.contains("--listener NAME"), "{finished:?}");
    }
    assert_eq!(folder.run(&["exec", "--listener", "one", "--", "true"]).await.code, Some(0));
}

#[tokio::test]
async fn stdin_and_stdout_are_the_commands_and_nothing_of_ours() {
    let folder = offline();
    let attache = env!("CARGO_BIN_EXE_attache");
    let finished = folder.start_program(attache, &["exec", "--", "cat"], "line\nno line end").finish().await;
    assert_eq!(finished.stdout, "line\nno line end");
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    let finished = folder.run(&["exec", "--verbose", "--", "true"]).await;
    assert_eq!((finished.stdout.as_str(), finished.stderr.lines().count()), ("", 1), "{finished:?}");
    assert!(finished.stderr.starts_with("attache: http://127.0.0.1:"), "{finished:?}");
    assert!(finished.stderr.ends_with(" with proxy.toml, for https://api.test\n"), "{finished:?}");
}

#[tokio::test]
async fn the_environment_names_the_proxy_and_no_secret() {
    let folder = offline()
        .env("ATTACHE_LOG", "warn")
        .env("ATTACHE_CONFIG", "proxy.toml")
        .env("REQUEST_METHOD", "GET")
        .env("KEPT", "as it is")
        .env("NO_PROXY", "localhost,corp.test")
        .env("no_proxy", ".intern");
    let finished = sh(&folder, "env").await;
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    assert!(!finished.stdout.contains(SECRET) && !finished.stdout.contains("s3cret-of-mine"), "{finished:?}");
    let own: Vec<&str> = finished.stdout.lines().filter(|line| line.starts_with("ATTACHE_")).collect();
    assert!(own.len() == 2 && own.contains(&"ATTACHE_EXEC=proxy"), "{own:?}");
    assert!(own.iter().any(|line| line.starts_with("ATTACHE_CA_SPKI=")), "{own:?}");
    assert!(!finished.stdout.contains("REQUEST_METHOD"), "{finished:?}");
    let proxy = variable(&finished, "HTTP_PROXY").unwrap();
    assert!(proxy.starts_with("http://127.0.0.1:"), "{proxy}");
    for name in ["http_proxy", "HTTPS_PROXY", "https_proxy"] {
        assert_eq!(variable(&finished, name), Some(proxy), "{name}");
    }
    assert_eq!(variable(&finished, "ALL_PROXY"), None);
    assert_eq!(variable(&finished, "KEPT"), Some("as it is"));
    for name in ["NO_PROXY", "no_proxy"] {
        assert_eq!(variable(&finished, name), Some(".intern,localhost,corp.test,127.0.0.1,::1"), "{name}");
    }
}

#[tokio::test]
async fn a_no_proxy_for_this_machine_does_not_keep_its_upstream_away() {
    let demo = Demo::start(DemoPorts::default()).await.unwrap();
    let folder = folder(&demo).env("NO_PROXY", "localhost,127.0.0.1,::1");
    let finished = sh(&folder, &format!("curl -sSf http://{}/orders; echo; env", demo.api.address())).await;
    assert!(finished.stdout.contains(ORDERS), "{finished:?}");
    assert_eq!(variable(&finished, "NO_PROXY"), Some("localhost,::1"));
    assert!(finished.stderr.starts_with("attache: NO_PROXY: \"127.0.0.1\" is left out, because "), "{finished:?}");
    assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn another_process_of_the_user_cannot_read_the_secret_in_our_environment() {
    // Root reads everything; so this is about another user, which only root can become.
    let root = String::from_utf8(Command::new("id").arg("-u").output().unwrap().stdout).unwrap().trim() == "0";
    let folder = offline();
    let script = "cat /proc/$PPID/environ; echo $?";
    let finished = if root && there_is("setpriv") {
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let program = folder.path().join("attache");
        std::fs::copy(env!("CARGO_BIN_EXE_attache"), &program).unwrap();
        let nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "./attache"];
        let arguments = [&nobody[..], &["exec", "--", "sh", "-c", script]].concat();
        folder.start_program("setpriv", &arguments, "").finish().await
    } else if root {
        return;
    } else {
        sh(&folder, script).await
    };
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "1\n"), "{finished:?}");
    assert!(finished.stderr.contains("ermission denied"), "{finished:?}");
}

#[tokio::test]
async fn signals_reach_the_command_and_it_decides() {
    let folder = offline();
    for name in ["USR1", "USR2", "HUP", "WINCH", "CONT", "TERM", "INT", "QUIT"] {
        let running = waiting(&folder, &format!("trap 'echo heard {name} >&2; exit 5' {name}"));
        running.says("ready").await;
        running.signal(name);
        let finished = running.finish().await;
        assert_eq!(finished.code, Some(5), "{name}: {finished:?}");
        assert!(finished.stderr.ends_with(&format!("heard {name}\n")), "{finished:?}");
    }
    let running = waiting(&folder, "");
    running.says("ready").await;
    running.signal("TERM");
    assert_eq!(running.finish().await.code, Some(128 + 15));
}

#[tokio::test]
async fn a_command_that_stays_keeps_its_proxy() {
    let demo = Demo::start(DemoPorts::default()).await.unwrap();
    let url = format!("http://{}/orders", demo.api.address());
    let folder = folder(&demo);
    let running = waiting(&folder, &format!("trap 'curl -sSf {url} && echo asked >&2' TERM\ntrap 'exit 0' USR1"));
    running.says("ready").await;
    for times in 1..=2 {
        running.signal("TERM");
        until("it has asked", async || running.stderr().matches("asked\n").count() == times).await;
    }
    running.signal("USR1");
    let finished = running.finish().await;
    assert!(finished.code == Some(0) && finished.stdout.contains(ORDERS), "{finished:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_was_ignored_before_us_is_ignored_by_the_command() {
    let folder = offline();
    let attache = env!("CARGO_BIN_EXE_attache");
    let script = format!("trap '' HUP; exec {attache} exec -- sh -c 'kill -HUP $PPID; kill -HUP $$; echo alive'");
    let finished = folder.start_program("sh", &["-c", &script], "").finish().await;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "alive\n"), "{finished:?}");
}

#[tokio::test]
async fn the_proxy_ends_with_the_command() {
    let folder = offline();
    // What the command leaves behind holds up nobody.
    let finished = sh(&folder, "echo $http_proxy; sleep 30 >/dev/null 2>&1 & exit 0").await;
    let address = finished.stdout.trim().strip_prefix("http://").unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "{address} still listens");
}

/// Plays a terminal: python3 has what it takes.
const TERMINAL: &str = r#"
import os, pty, select, sys, signal
child, terminal = pty.fork()
if child == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
said = b""
def until(text):
    global said
    while text not in said:
        said += os.read(terminal, 1000)
    said = said.split(text, 1)[1]
def ended():
    while True:
        try:
            if not os.read(terminal, 1000): break
        except OSError:
            break
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
exec(sys.argv[1])
"#;

async fn at_a_terminal(folder: &Folder, story: &str, command: &[&str]) -> Finished {
    let attache = env!("CARGO_BIN_EXE_attache");
    let arguments = [&["-c", TERMINAL, story, attache, "exec", "--"], command].concat();
    folder.start_program("python3", &arguments, "").finish().await
}

#[tokio::test]
async fn control_c_reaches_the_command_once() {
    if !there_is("python3") {
        return;
    }
    let script = "trap 'n=$((n+1)); echo heard $n' INT; trap 'exit $n' TERM; echo ready; while :; do sleep 0.05; done";
    let story = "until(b'ready'); os.write(terminal, b'\\x03'); until(b'heard 1\\r\\n')\n\
                 assert not select.select([terminal], [], [], 0.3)[0], os.read(terminal, 1000)\n\
                 os.kill(child, signal.SIGTERM); sys.exit(ended())";
    let finished = at_a_terminal(&offline(), story, &["sh", "-c", script]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
}

#[tokio::test]
async fn control_z_stops_both_and_continuing_wakes_both() {
    if !there_is("python3") {
        return;
    }
    // A shell with job control, as a person sits at one.
    let attache = env!("CARGO_BIN_EXE_attache");
    let story = format!(
        "until(b'$ '); os.write(terminal, b'{attache} exec -- sh asking\\n')\n\
         until(b'ready'); os.write(terminal, b'\\x1a'); until(b'topped'); until(b'$ ')\n\
         os.write(terminal, b'fg\\n'); until(b'asking'); os.write(terminal, b'word\\n'); until(b'got word'); until(b'$ ')\n\
         os.write(terminal, b'exit 4\\n'); sys.exit(ended())"
    );
    let folder = offline();
    folder.write("asking", "echo ready; read x; echo got $x");
    let arguments = ["-c", TERMINAL, &story, "env", "PS1=$ ", "bash", "--norc", "--noediting", "-i"];
    let finished = folder.start_program("python3", &arguments, "").finish().await;
    assert_eq!(finished.code, Some(4), "{finished:?}");
}

#[cfg(target_os = "linux")]
use std::os::unix::fs::PermissionsExt as _;

/// Nothing of a finished `exec` is left in the folder for temporary files.
#[tokio::test]
async fn nothing_is_left_behind() {
    let folder = offline();
    std::fs::create_dir(folder.path().join("tmp")).unwrap();
    let temporary = folder.path().join("tmp");
    let folder = folder.env("TMPDIR", temporary.to_str().unwrap());
    sh(&folder, "true").await;
    let running = waiting(&folder, "");
    running.says("ready").await;
    running.signal("TERM");
    running.finish().await;
    assert_eq!(entries(&temporary), 0);
}

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_proxy_is_for_programs_of_this_user_alone() {
    use std::os::unix::fs::MetadataExt as _;
    let sudo = ["sudo", "-n", "-E", "-u", "nobody"];
    let become_another: &[&str] = match std::fs::metadata("/proc/self").unwrap().uid() {
        0 => &[],
        _ if Command::new(sudo[0]).args(&sudo[1..]).arg("true").status().is_ok_and(|status| status.success()) => &sudo,
        _ => return skipped("only root becomes another user here, and sudo wants a password"),
    };
    if !there_is("python3") {
        return;
    }
    let demo = Demo::start(DemoPorts::default()).await.unwrap();
    let folder = folder(&demo);
    let script = "import encodings.idna, os, sys, urllib.request as u\nif os.getuid() == 0: os.setuid(65534)\n\
                  try: print(u.urlopen(sys.argv[1]).read().decode())\n\
                  except Exception as error: print('turned away:', type(error).__name__)\n";
    let url = format!("http://{}/orders", demo.api.address());
    let command = [become_another, &["python3", "-c", script, &url]].concat();
    let finished = folder.run(&[&["exec", "--"], &command[..]].concat()).await;
    assert!(finished.stdout.starts_with("turned away"), "{finished:?}");
    let finished = folder.run(&[&["exec", "--any-user", "--"], &command[..]].concat()).await;
    assert!(finished.stdout.contains(ORDERS), "{finished:?}");
}
