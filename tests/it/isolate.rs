//! `exec --isolate`: real programs in a network in which only attache is. Each conversation is had as the user who runs the tests, and as
//! another user too where that is root.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::clients::{python, there_is};
use crate::hidden::LOOK;
use crate::support::{
    Asked, Finished, Folder, Reply, Running, Scripted, TestCa, TlsFront, TokenServer, credential, namespace, skipped,
    until, upstream,
};

const BODY: &str = "sealing wax";

/// Who the command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// The user who runs the tests.
    Us,
    /// An ordinary user, whom root becomes.
    Nobody,
}

/// An API at `https://api.test` that takes nobody without a token, and a folder with attache and its configuration.
struct World {
    folder: Folder,
    api: Scripted,
    /// Holds up `/slow`.
    slow: Arc<Semaphore>,
    _front: TlsFront,
    _tokens: TokenServer,
    _ca: TestCa,
}

impl World {
    async fn new() -> Self {
        Self::with("").await
    }

    /// With more of a configuration.
    async fn with(more: &str) -> Self {
        let slow = Arc::new(Semaphore::new(0));
        let gate = Arc::clone(&slow);
        let api = Scripted::start(move |asked: &Asked, _| match asked.field("authorization") {
            Some(_) if asked.line.contains("/slow") => Reply::ok(BODY).when_open(&gate),
            Some(token) if token.starts_with("Bearer token-") => Reply::ok(BODY),
            _ => Reply::new(401, "WWW-Authenticate: Bearer\r\n", "no token"),
        })
        .await;
        let (tokens, ca) = (TokenServer::start().await, TestCa::new());
        let front = TlsFront::start(ca.server(&["api.test"], &["http/1.1"]), api.address()).await;
        let toml = format!(
            "{}{}connect = \"{}\"\n{}[upstreams.local]\norigin = \"{}\"\ncredential = \"key\"\n{more}",
            credential(&tokens).replace("\"s3cret\"", "{ env = \"ISOLATE_SECRET\" }"),
            upstream("api", "https://api.test"),
            front.address(),
            ca.trusted(),
            api.origin(),
        );
        let folder = Folder::with(&toml).env("ISOLATE_SECRET", "s3cret").env("PATH", &std::env::var("PATH").unwrap());
        // For the other user.
        for path in [folder.path(), ca.path()] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::fs::create_dir(folder.path().join("open")).unwrap();
        std::fs::set_permissions(folder.path().join("open"), std::fs::Permissions::from_mode(0o777)).unwrap();
        bring_attache(&folder);
        Self { folder, api, slow, _front: front, _tokens: tokens, _ca: ca }
    }

    fn start(&self, who: Who, arguments: &[&str]) -> Running {
        let become_nobody: &[&str] = match who {
            Who::Us => &["env"],
            Who::Nobody => &["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"],
        };
        let command = [become_nobody, &["./attache", "exec", "--isolate"], arguments].concat();
        self.folder.start_program(command[0], &command[1..], "")
    }

    async fn run(&self, who: Who, command: &[&str]) -> Finished {
        self.start(who, &[&["--"], command].concat()).finish().await
    }

    async fn sh(&self, who: Who, script: &str) -> Finished {
        self.run(who, &["sh", "-c", script]).await
    }
}

/// attache where another user can start it. By a program of its own: a file that this process writes is busy for a moment wherever
/// another test starts a program meanwhile.
pub(crate) fn bring_attache(folder: &Folder) {
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_attache")).arg(folder.path().join("attache")).status();
    assert!(copied.unwrap().success());
}

/// As whom a conversation can be had; as nobody where this machine keeps namespaces from users.
fn everybody() -> Vec<Who> {
    let works = |program: &str, arguments: &[&str]| {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    if !works("unshare", &["-rmn", "ip", "link", "set", "lo", "up"]) {
        skipped("this machine does not let tests have namespaces (unshare -rmn, ip)");
        return Vec::new();
    }
    let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "unshare", "-rmn", "true"];
    if root && works("setpriv", &nobody) { vec![Who::Us, Who::Nobody] } else { vec![Who::Us] }
}

#[tokio::test]
async fn programs_that_know_no_proxy_get_their_tokens() {
    let everybody = everybody();
    if everybody.is_empty() {
        return;
    }
    let world = World::new().await;
    let local = world.api.origin();
    let plain = "import socket, sys\ns = socket.create_connection((sys.argv[1], 80), timeout=9)\n\
                 s.sendall(b'GET /v1 HTTP/1.1\\r\\nHost: api.test\\r\\nConnection: close\\r\\n\\r\\n')\n\
                 print(b''.join(iter(lambda: s.recv(999), b'')).decode())";
    let tls = "import socket, ssl, sys\ns = ssl.create_default_context().wrap_socket(\n\
               socket.create_connection((sys.argv[1], 443), timeout=9), server_hostname=sys.argv[1])\n\
               s.sendall(b'GET /v1 HTTP/1.1\\r\\nHost: api.test\\r\\nConnection: close\\r\\n\\r\\n')\n\
               print(b''.join(iter(lambda: s.recv(999), b'')).decode())";
    let node = "const url = process.argv[1]; require(url.split(':')[0])\
                .get(url, { agent: false }, answer => answer.pipe(process.stdout)).on('error', console.error)";
    let php = "echo file_get_contents($argv[1]);";
    let clients: [&[&str]; 11] = [
        &["curl", "-sS", "--noproxy", "*", "http://api.test/v1"],
        &["curl", "-sS", "--noproxy", "*", "https://api.test/v1"],
        &["curl", "-sS", "https://api.test/v1"],
        &["curl", "-sS", "http://api.test/v1"],
        &["curl", "-sS", "--noproxy", "*", &local],
        &["python3", "-c", plain, "api.test"],
        &["python3", "-c", tls, "api.test"],
        &["php", "-r", php, "http://api.test/v1"],
        &["php", "-r", php, "https://api.test/v1"],
        &["node", "-e", node, "http://api.test/v1"],
        &["node", "-e", node, "https://api.test/v1"],
    ];
    // Another user may not come to where it is installed.
    let (python, tornado) =
        (python(), "import sys, tornado.httpclient as t\nprint(t.HTTPClient().fetch(sys.argv[1]).body.decode())");
    if there_is(&python, &["-c", "import tornado"]) {
        for url in ["http://api.test/v1", "https://api.test/v1"] {
            let finished = world.run(Who::Us, &[&python, "-c", tornado, url]).await;
            assert!(finished.code == Some(0) && finished.stdout.contains(BODY), "tornado {url}: {finished:?}");
        }
    }
    for who in everybody {
        for client in clients.iter().filter(|client| there_is(client[0], &["--version"])) {
            let finished = world.run(who, client).await;
            assert!(finished.code == Some(0) && finished.stdout.contains(BODY), "{who:?} {client:?}: {finished:?}");
            assert_eq!(finished.stderr, "", "{who:?} {client:?}");
        }
    }
}

#[tokio::test]
async fn rules_are_kept_for_what_is_dialled_without_a_proxy() {
    for who in everybody() {
        let world = World::with("allow = [{ methods = [\"GET\"], paths = [\"/v1/*\"] }]\n").await;
        let local = world.api.origin();
        let script = format!(
            "for ask in {local}/v1/x {local}/v2/x '-X POST {local}/v1/x'; do curl -sS -o /dev/null -w '%{{http_code}} ' --noproxy '*' $ask; done"
        );
        let finished = world.sh(who, &script).await;
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "200 403 403 "), "{who:?}: {finished:?}");
        assert!(
            finished.stderr.starts_with("attache: refused (403): the `allow` rules of upstream \"local\""),
            "{finished:?}"
        );
        // Bytes have no method and no path.
        let other = "import socket\ns = socket.create_connection(('127.0.0.1', PORT))\ns.sendall(b'\\x16\\x03\\x01 no request')\n\
                     try: print(s.recv(9))\nexcept ConnectionError: print(b'')"
            .replace("PORT", &world.api.address().port().to_string());
        if there_is("python3", &["--version"]) {
            let finished = world.run(who, &["python3", "-c", &other]).await;
            assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "b''\n"), "{who:?}: {finished:?}");
        }
        assert_eq!(world.api.requests(), 1);
    }
}

#[tokio::test]
async fn base_urls_are_there_too() {
    for who in everybody() {
        let world = World::new().await;
        let running = world
            .start(who, &["--base", "API=api", "--", "sh", "-c", "curl -sS --noproxy '*' $API/v1; echo $ATTACHE_EXEC"]);
        let finished = running.finish().await;
        assert_eq!(
            (finished.code, finished.stdout),
            (Some(0), format!("{BODY}proxy\n")),
            "{who:?}: {}",
            finished.stderr
        );
    }
}

#[tokio::test]
async fn nothing_else_leads_anywhere_and_each_thing_is_told_once() {
    if !there_is("python3", &["--version"]) {
        return;
    }
    // What is there outside, on this machine.
    let outside = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = outside.local_addr().unwrap().port().to_string();
    let script = "import socket, sys, time\n\
                  def dial(host, port):\n  began = time.monotonic()\n  try:\n    s = socket.create_connection((host, port), timeout=9)\n    s.recv(1)\n    \
                  print('reached', host, port)\n  except socket.gaierror: pass\n  except (ConnectionError, TimeoutError): pass\n  \
                  assert time.monotonic() - began < 5, 'at once'\n\
                  for host, port in [('192.0.2.7', 443), ('192.0.2.7', 443), ('192.0.2.8', 22), ('example.com', 443), ('example.com', 80),\n\
                      ('api.test', 8443), ('2001:db8::1', 443), ('127.0.0.1', int(sys.argv[1])), ('localhost', int(sys.argv[1])), ('169.254.169.254', 80)]: dial(host, port)\n\
                  s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.sendto(b'x', ('192.0.2.9', 53))\n";
    for who in everybody() {
        let world = World::new().await;
        let finished = world.run(who, &["python3", "-c", script, &port]).await;
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), ""), "{who:?}: {finished:?}");
        for told in [
            "attache: the command dialled 192.0.2.7:443 (TCP), an address instead of a name",
            "attache: the command dialled 192.0.2.8:22 (TCP), an address",
            "attache: the command dialled 169.254.169.254:80 (TCP), an address",
            "attache: the command dialled 192.0.2.9:53 (UDP), an address",
            "attache: the command looked up example.com, which no upstream covers",
            "attache: the command dialled api.test:8443, where nothing is",
        ] {
            assert_eq!(finished.stderr.matches(told).count(), 1, "{who:?} {told}: {finished:?}");
        }
        let lines: Vec<&str> = finished.stderr.lines().filter(|line| !line.contains("2001:db8::1")).collect();
        assert_eq!(lines.len(), 6, "{who:?}: {finished:?}");
        assert_eq!(world.api.requests(), 0);
    }
}

#[test]
fn other_names_are_attaches_to_decide_about() {
    if !namespace::is_inside("isolate::other_names_are_attaches_to_decide_about") {
        return;
    }
    namespace::name_server(|name| name.starts_with("other.test").then_some(std::net::Ipv4Addr::LOCALHOST));
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        for (policy, code) in
            [("unmatched = \"pass\"\nprivate_addresses = \"allow\"\n", 0), ("unmatched = \"pass\"\n", 56)]
        {
            let world = World::with(&format!("[forward]\n{policy}")).await;
            let port = world.api.address().port();
            let url = format!("http://other.test:{port}/v1");
            let finished = world.run(Who::Us, &["curl", "-sS", "--noproxy", "*", &url]).await;
            assert_eq!(finished.code, Some(code), "{policy}: {finished:?}");
            // It is no upstream: it gets no token.
            assert_eq!(finished.stdout, if code == 0 { "no token" } else { "" }, "{finished:?}");
            assert_eq!(code != 0, finished.stderr.contains("attache: refused (403)"), "{finished:?}");
        }
    });
}

#[tokio::test]
async fn the_command_is_who_and_what_it_was() {
    for who in everybody() {
        let world = World::new().await;
        let id = if who == Who::Nobody { 65534 } else { std::fs::metadata("/proc/self").unwrap().uid() };
        let finished = world.sh(who, "id -u; id -g; echo x > open/file; stat -c %u open/file; env; cat; exit 7").await;
        assert_eq!(finished.code, Some(7), "{who:?}: {finished:?}");
        assert!(finished.stdout.starts_with(&format!("{id}\n")), "{who:?}: {finished:?}");
        assert!(!finished.stdout.contains("s3cret") && !finished.stdout.contains("token-1"), "{finished:?}");
        assert_eq!(std::fs::metadata(world.folder.path().join("open/file")).unwrap().uid(), id);
        assert_eq!(finished.stderr, "", "{who:?}");
        let finished = world.run(who, &["./surely-not-there"]).await;
        assert_eq!((finished.code, finished.stderr.contains("command not found")), (Some(127), true), "{finished:?}");
        let finished = world.run(who, &["./proxy.toml"]).await;
        assert_eq!(finished.code, Some(126), "{finished:?}");
    }
}

#[tokio::test]
async fn the_command_may_become_another_user_who_cannot_read_what_root_can() {
    if everybody() != [Who::Us, Who::Nobody] {
        return;
    }
    let world = World::new().await;
    world.folder.write("secret", "s3cret");
    std::fs::set_permissions(world.folder.path().join("secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let script = "id -u; cat secret; curl -sS --noproxy '*' https://api.test/v1";
    let becomes =
        ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs", "sh", "-c", script];
    let finished = world.start(Who::Us, &[&["--any-user", "--"], &becomes[..]].concat()).finish().await;
    assert_eq!((finished.code, finished.stdout), (Some(0), format!("65534\n{BODY}")), "{}", finished.stderr);
    assert_eq!(finished.stderr, "cat: secret: Permission denied\n");
}

#[tokio::test]
async fn signals_reach_the_command_and_its_end_is_ours() {
    for who in everybody() {
        let world = World::new().await;
        let script = "trap 'exit 5' HUP; echo ready >&2; for _ in $(seq 1200); do sleep 0.05; done";
        for (signal, code) in [("HUP", 5), ("TERM", 128 + 15)] {
            let running = world.start(who, &["--", "sh", "-c", script]);
            running.says("ready").await;
            running.signal(signal);
            let finished = running.finish().await;
            assert_eq!(finished.code, Some(code), "{who:?} {signal}: {finished:?}");
        }
    }
}

/// Plays a terminal, at which a person types Ctrl-Z, `fg`, an answer, and Ctrl-C.
const TERMINAL: &str = r#"
import os, pty, sys
child, terminal = pty.fork()
if child == 0:
    os.execvp("env", ["env", "PS1=$ ", "bash", "--norc", "--noediting", "-i"])
said = b""
def until(text):
    global said
    while text not in said:
        said += os.read(terminal, 1000)
    said = said.split(text, 1)[1]
until(b"$ ")
os.write(terminal, b"./attache exec --isolate -- sh asking\n")
until(b"ready")
os.write(terminal, b"\x1a")
until(b"topped")
until(b"$ ")
os.write(terminal, b"fg\n")
until(b"asking")
os.write(terminal, b"word\n")
until(b"got word")
os.write(terminal, b"\x03")
until(b"heard 1")
until(b"$ ")
os.write(terminal, b"exit $?\n")
while True:
    try:
        if not os.read(terminal, 1000): break
    except OSError:
        break
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;

#[tokio::test]
async fn a_person_at_the_terminal_notices_nothing() {
    if everybody().is_empty() || !there_is("python3", &["--version"]) {
        return;
    }
    let world = World::new().await;
    let asking =
        "trap 'n=$((n+1)); echo heard $n; exit 4' INT\necho ready; read x; echo got $x; while :; do sleep 0.05; done";
    world.folder.write("asking", asking);
    let finished = world.folder.start_program("python3", &["-c", TERMINAL], "").finish().await;
    assert_eq!(finished.code, Some(4), "{finished:?}");
}

#[tokio::test]
async fn the_command_has_no_way_out_and_no_sight_of_what_attache_keeps() {
    // One process inside, to show that each look can succeed; all others are none of the command's.
    let attempts = format!(
        "{LOOK}\nsleep 600 & look $! open; kill $!\n\
         for process in 1 $PPID $(cut -d' ' -f4 /proc/$PPID/stat) $(cat open/outside); do\n\
           echo \"at $(cat /proc/$process/comm)\"\n\
           nsenter -t $process -n true && echo entered\n  nsenter -t $process -m -n -U true && echo entered\n\
           look $process read\n\
           ls /proc/$process/cwd/ && echo read\ndone\n\
         ip link set lo down && echo changed\nip route del local default dev lo && echo changed\n\
         umount /etc/resolv.conf && echo changed\nmount --bind /dev/null /etc/hosts && echo changed\n\
         unshare --user --map-root-user --net true; ip -o link | wc -l"
    );
    for who in everybody() {
        let world = World::new().await;
        // A process of the same user's, outside, as a shell is that has the secret.
        let mut shell = Command::new("sleep").arg("600").env("ISOLATE_SECRET", "s3cret").spawn().unwrap();
        world.folder.write("open/outside", &shell.id().to_string());
        let finished = world.sh(who, &attempts).await;
        shell.kill().unwrap();
        shell.wait().unwrap();
        for happened in ["entered", "read", "changed"] {
            assert!(!finished.stdout.contains(happened), "{who:?}: {finished:?}");
        }
        for what in ["environ", "maps", "auxv", "fd", "mem"] {
            assert!(finished.stdout.contains(&format!("open {what}\n")), "{what}: {finished:?}");
        }
        // The proxy outside, the helper inside, and the shell's sleep.
        let seen: Vec<&str> = finished.stdout.lines().filter_map(|line| line.strip_prefix("at ")).skip(1).collect();
        assert_eq!(seen, ["attache", "attache", "sleep"], "{finished:?}");
        assert!(finished.stdout.ends_with("\n1\n"), "one interface, lo: {finished:?}");
    }
}

#[tokio::test]
async fn what_listens_outside_on_this_machine_is_not_reachable() {
    let world = World::with(
        "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[admin]\naddress = \"127.0.0.1:0\"\n",
    )
    .await;
    let outside = world.folder.start(&["run"]);
    let (admin, proxy) = (outside.address("admin").await, outside.address("proxy").await);
    for who in everybody() {
        for (address, path) in [(admin, "/api/status"), (proxy, "/"), (admin, "/metrics")] {
            let url = format!("http://{address}{path}");
            let outside = Command::new("curl").args(["-sS", "--noproxy", "*", &url]).output().unwrap();
            assert!(outside.status.success(), "{outside:?}");
            let finished = world.run(who, &["curl", "-sS", "--noproxy", "*", &url]).await;
            assert_eq!((finished.code, finished.stdout.as_str()), (Some(7), ""), "{who:?}: {finished:?}");
        }
    }
}

#[tokio::test]
async fn what_the_command_left_running_may_finish_its_request() {
    for who in everybody() {
        let world = World::new().await;
        let script = "curl -sS --noproxy '*' http://api.test/slow >open/late & echo $$ >open/command\n\
                      for _ in $(seq 1200); do [ -e open/go ] && exit 3; sleep 0.05; done";
        let running = world.start(who, &["--", "sh", "-c", script]);
        until("it has asked", async || world.api.requests() == 1).await;
        world.folder.write("open/go", "");
        let command = world.folder.read("open/command");
        let process = std::path::Path::new("/proc").join(command.trim());
        until("the command has ended", async || !process.exists()).await;
        world.slow.add_permits(1);
        assert_eq!(running.finish().await.code, Some(3), "{who:?}");
        assert_eq!(world.folder.read("open/late"), BODY, "{who:?}");
    }
}

#[tokio::test]
async fn a_program_in_the_path_is_not_taken_for_the_systems() {
    for who in everybody() {
        let world = World::new().await;
        let trap = "#!/bin/sh\necho \"$0 $ISOLATE_SECRET\" >>OPEN/trapped\nexec \"/usr/bin/${0##*/}\" \"$@\"\n";
        let trap = trap.replace("OPEN", &world.folder.path().join("open").display().to_string());
        for name in ["open/unshare", "open/ip"] {
            world.folder.write(name, &trap);
            std::fs::set_permissions(world.folder.path().join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = format!("{}:{}", world.folder.path().join("open").display(), std::env::var("PATH").unwrap());
        let set = format!("PATH={path}");
        let command = ["env", &set, "./attache", "exec", "--isolate", "--", "sh", "-c", "echo $PATH; ip -V >&2"];
        let become_nobody: &[&str] = match who {
            Who::Us => &["env"],
            Who::Nobody => &["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"],
        };
        let command = [become_nobody, &command].concat();
        let finished = world.folder.start_program(command[0], &command[1..], "").finish().await;
        assert_eq!((finished.code, finished.stdout), (Some(0), format!("{path}\n")), "{who:?}: {}", finished.stderr);
        // The command's own call shows that the trap works; it has no secret.
        let trapped = world.folder.read("open/trapped");
        assert_eq!((trapped.lines().count(), trapped.contains("s3cret")), (1, false), "{who:?}: {trapped}");
    }
}

#[tokio::test]
async fn where_namespaces_are_forbidden_nothing_is_started() {
    if everybody().is_empty() {
        return;
    }
    let world = World::new().await;
    let within = |setup: &str| {
        let script = format!("{setup} && exec ./attache exec --isolate -- touch open/started");
        world.folder.start_program("unshare", &["-rmn", "sh", "-c", &script], "").finish()
    };
    for (setup, told) in [
        ("echo 0 > /proc/sys/user/max_user_namespaces", "sysctl -w user.max_user_namespaces=10000"),
        ("mount --bind /dev/null $(readlink -f $(command -v unshare))", "needs the program `unshare`"),
        ("mount --bind /dev/null $(readlink -f $(command -v ip))", "install the package iproute2"),
    ] {
        let finished = within(setup).await;
        assert_eq!(finished.code, Some(1), "{setup}: {finished:?}");
        assert!(finished.stderr.contains("--isolate needs") && finished.stderr.contains(told), "{setup}: {finished:?}");
        assert_eq!(finished.stderr.lines().count(), 1, "{setup}: {finished:?}");
    }
    assert!(!world.folder.path().join("open/started").exists());
}
