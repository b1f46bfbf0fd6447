//! attache under a service manager: it says when it is ready, and serves on sockets that are there before it and after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::UnixDatagram;

use crate::support::{Folder, Reply, Scripted, TokenServer, credential, get, reverse, skipped, until, upstream};

/// What a service manager does: it keeps one socket open, and starts and stops the program on it.
const MANAGER: &str = r#"
import os, signal, socket, sys
sock = socket.socket()
sock.bind(("127.0.0.1", 0))
sock.listen(1024)
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind("notify")
go_on = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
go_on.bind("go-on")
print("listening at", sock.getsockname()[1], file=sys.stderr, flush=True)
def start():
    child = os.fork()
    if child == 0:
        os.dup2(sock.fileno(), 3)
        os.set_inheritable(3, True)
        os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="base", LISTEN_PID=str(os.getpid()), NOTIFY_SOCKET=os.path.abspath("notify"))
        os.execv(sys.argv[1], [sys.argv[1], "run"])
    # Before that it has no handler for the signal.
    while b"READY=1" not in notify.recv(4096):
        pass
    return child
child = start()
for _ in range(5):
    go_on.recv(1)
    os.kill(child, signal.SIGTERM)
    assert os.waitpid(child, 0)[1] == 0
    child = start()
go_on.recv(1)
os.kill(child, signal.SIGTERM)
os.waitpid(child, 0)
"#;

async fn said(socket: &UnixDatagram) -> String {
    let mut buffer = vec![0; 4096];
    let length = tokio::time::timeout(Duration::from_secs(20), socket.recv(&mut buffer)).await.unwrap().unwrap();
    buffer.truncate(length);
    String::from_utf8(buffer).unwrap()
}

/// The next word that is no sign of life.
async fn next(socket: &UnixDatagram) -> String {
    loop {
        let said = said(socket).await;
        if !said.starts_with("WATCHDOG=1") {
            return said;
        }
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn systemd_hears_of_the_start_of_reloads_of_life_and_of_the_end() {
    let toml = format!("{}[upstreams.api]\norigin = \"http://127.0.0.1:1\"\n", reverse(&["api"]));
    let folder = Folder::with(&toml);
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let folder = folder.env("NOTIFY_SOCKET", path.to_str().unwrap()).env("WATCHDOG_USEC", "300000");
    let running = folder.start(&["run", "--default-drain-delay", "1000s"]);
    assert_eq!(next(&socket).await, "READY=1\nSTATUS=serving 1 upstream\n");
    assert_eq!(said(&socket).await, "WATCHDOG=1\n");
    running.signal("HUP");
    let reloading = next(&socket).await;
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(next(&socket).await, "READY=1\nSTATUS=serving; the configuration was reloaded\n");
    folder.write("proxy.toml", "nonsense");
    running.signal("HUP");
    assert!(next(&socket).await.starts_with("RELOADING=1\n"));
    let refused = next(&socket).await;
    assert!(refused.starts_with("READY=1\nSTATUS=the configuration was not reloaded: "), "{refused}");
    assert!(refused.contains("proxy.toml:1:"), "{refused}");
    running.signal("TERM");
    let stopping = next(&socket).await;
    assert!(stopping.starts_with("STOPPING=1\nEXTEND_TIMEOUT_USEC=1035000000\n"), "{stopping}");
    assert!(stopping.ends_with("\nSTATUS=not ready any more, and still accepting\n"), "{stopping}");
    running.signal("TERM");
    assert_eq!(
        next(&socket).await,
        "STOPPING=1\nEXTEND_TIMEOUT_USEC=35000000\nSTATUS=finishing requests in progress\n"
    );
    assert_eq!(running.finish().await.code, Some(0));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn reloads_that_follow_each_other_closely_keep_no_sign_of_life_back() {
    let toml = format!("{}[upstreams.api]\norigin = \"http://127.0.0.1:1\"\n", reverse(&["api"]));
    let folder = Folder::with(&toml);
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    // A sign of life in each second, and a reload as soon as the last one is over.
    let folder = folder.env("NOTIFY_SOCKET", path.to_str().unwrap()).env("WATCHDOG_USEC", "3000000");
    let running = folder.start(&["run"]);
    assert_eq!(next(&socket).await, "READY=1\nSTATUS=serving 1 upstream\n");
    let signs = async {
        let mut signs = 0;
        while signs < 3 {
            running.signal("HUP");
            loop {
                let said = said(&socket).await;
                signs += usize::from(said == "WATCHDOG=1\n");
                if said.starts_with("READY=1\n") {
                    break;
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), signs).await.expect("signs of life between reloads");
    running.signal("TERM");
    assert_eq!(running.finish().await.code, Some(0));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_unit_reloads_by_a_socket_of_its_own_and_has_the_outcome_as_an_exit_code() {
    // As contrib/systemd/attache.service has it; this file has no [admin].
    let toml = format!("{}[upstreams.api]\norigin = \"http://127.0.0.1:1\"\n", reverse(&["api"]));
    let folder = Folder::with(&toml);
    let (path, control) = (folder.path().join("notify"), folder.path().join("control.sock"));
    let socket = UnixDatagram::bind(&path).unwrap();
    let folder = folder.env("NOTIFY_SOCKET", path.to_str().unwrap());
    let running = folder.start(&["run", "--control-socket", "control.sock"]);
    assert_eq!(next(&socket).await, "READY=1\nSTATUS=serving 1 upstream\n");
    let mode = std::fs::metadata(&control).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600, "for this user alone");
    let reload = async || folder.run(&["reload", "--admin", "unix:control.sock"]).await;
    let reloaded = reload().await;
    assert_eq!(
        (reloaded.code, reloaded.stdout.as_str()),
        (Some(0), "reloaded: nothing is different\n"),
        "{reloaded:?}"
    );
    assert_eq!(next(&socket).await, "STATUS=serving; the configuration was reloaded\n");
    folder.write("proxy.toml", "nonsense");
    let refused = reload().await;
    assert!(refused.code == Some(1) && refused.stderr.contains("proxy.toml:1:"), "{refused:?}");
    let status = next(&socket).await;
    assert!(
        status.starts_with("STATUS=the configuration was not reloaded: ") && status.contains("proxy.toml:1:"),
        "{status}"
    );
    // [admin] with a token, on an address that only its start line tells: the socket asks for none of it.
    folder.write("proxy.toml", &format!("{toml}[admin]\naddress = \"127.0.0.1:0\"\ntoken = \"t0ken-of-the-admin\"\n"));
    assert_eq!(reload().await.code, Some(0));
    let status = folder.run(&["status", "--admin", "unix:control.sock"]).await;
    assert!(status.code == Some(0) && status.stdout.contains("api"), "{status:?}");
    running.signal("TERM");
    assert_eq!(running.finish().await.code, Some(0));
    assert!(!control.exists(), "it leaves nothing behind");
    let nobody = reload().await;
    assert!(nobody.code == Some(1) && nobody.stderr.contains("control.sock does not answer"), "{nobody:?}");
}

/// Asks for `/livez` at a unix socket, as this user.
const ASK_AS: &str = r#"
import os, socket, sys
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
try:
    sock.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = sock.recv(4096)
except (BrokenPipeError, ConnectionResetError):
    answer = b""
print("answer:", answer[:12].decode())
"#;

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_control_socket_answers_no_other_user_whatever_its_mode() {
    use std::os::unix::fs::PermissionsExt as _;
    let toml = format!("{}[upstreams.api]\norigin = \"http://127.0.0.1:1\"\n", reverse(&["api"]));
    let folder = Folder::with(&toml);
    if std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(folder.path()).unwrap()) != 0 {
        skipped("only root can be another user");
        return;
    }
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        skipped("python3 is not installed");
        return;
    }
    let running = folder.start(&["run", "--control-socket", "control.sock"]);
    running.address("base").await;
    // As it is for a moment where the umask lets others in.
    let control = folder.path().join("control.sock");
    for (path, mode) in [(folder.path(), 0o755), (control.as_path(), 0o666)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    for (user, answer) in [("0", "answer: HTTP/1.1 200\n"), ("65534", "answer: \n")] {
        let arguments = ["-c", ASK_AS, control.to_str().unwrap(), user];
        let asked = folder.start_program("python3", &arguments, "").finish().await;
        assert_eq!(asked.stdout, answer, "user {user}: {asked:?}");
    }
    running.signal("TERM");
    assert_eq!(running.finish().await.code, Some(0));
}

#[tokio::test]
async fn a_secret_of_the_unit_is_a_warning_for_check_and_a_problem_for_run() {
    let secret = "client_secret = { credential = \"orders\" }\n";
    let credential =
        format!("[credentials.orders]\ntoken_endpoint = \"http://127.0.0.1:1/token\"\nclient_id = \"me\"\n{secret}");
    let toml =
        reverse(&["api"]) + &credential + "[upstreams.api]\norigin = \"http://127.0.0.1:1\"\ncredential = \"orders\"\n";
    let folder = Folder::with(&toml);
    let checked = folder.run(&["check"]).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let warning = "names the systemd credential orders, which can only be read by the unit; have the unit load it: \
                   LoadCredential=orders:/etc/attache/orders.secret";
    assert!(checked.stderr.contains("warning: proxy.toml:8:") && checked.stderr.contains(warning), "{checked:?}");
    assert_eq!(folder.run(&["run"]).await.code, Some(78));
    // In the unit it has to be there for both.
    let unit = Folder::with(&toml);
    let directory = unit.path().join("credentials");
    std::fs::create_dir(&directory).unwrap();
    let unit = unit.env("CREDENTIALS_DIRECTORY", directory.to_str().unwrap());
    assert_eq!(unit.run(&["check"]).await.code, Some(78));
    unit.write("credentials/orders", "s3cret");
    let checked = unit.run(&["check"]).await;
    assert!(checked.code == Some(0) && !checked.stderr.contains("warning"), "{checked:?}");
}

#[tokio::test]
async fn a_restart_on_an_inherited_socket_fails_no_request() {
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        skipped("python3 is not installed");
        return;
    }
    let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("fine")).await);
    let toml = reverse(&["api"]) + &credential(&tokens) + &upstream("api", &api.origin());
    let folder = Folder::with(&toml);
    let manager = folder.start_program("python3", &["-c", MANAGER, env!("CARGO_BIN_EXE_attache")], "");
    manager.says("listening").await;
    let address = ([127, 0, 0, 1], manager.stderr().split_whitespace().nth(2).unwrap().parse().unwrap()).into();
    let (done, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (done, answered) = (Arc::clone(&done), Arc::clone(&answered));
        callers.spawn(async move {
            while !done.load(Ordering::SeqCst) {
                assert_eq!(get(address, "localhost", "/").await.status, 200);
                answered.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    let go_on = UnixDatagram::unbound().unwrap();
    for number in 0..6 {
        let enough = answered.load(Ordering::SeqCst) + 20;
        until("each serves", async || answered.load(Ordering::SeqCst) >= enough).await;
        if number == 5 {
            done.store(true, Ordering::SeqCst);
            while let Some(ended) = callers.join_next().await {
                ended.unwrap();
            }
        }
        go_on.send_to(b"x", folder.path().join("go-on")).await.unwrap();
    }
    assert_eq!(manager.finish().await.code, Some(0));
}

#[tokio::test]
async fn an_inherited_socket_that_nobody_takes_is_told() {
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        skipped("python3 is not installed");
        return;
    }
    let toml = "[listeners.other]\naddress = \"127.0.0.1:0\"\nmode = \"reverse\"\nupstream = \"api\"\n[upstreams.api]\norigin = \"http://127.0.0.1:1\"\n";
    let folder = Folder::with(toml);
    let script = "import os, socket, sys\nsock = socket.socket()\nsock.bind(('127.0.0.1', 0))\nsock.listen()\nos.dup2(sock.fileno(), 3)\nos.set_inheritable(3, True)\nos.environ.update(LISTEN_FDS='1', LISTEN_FDNAMES='base', LISTEN_PID=str(os.getpid()))\nos.execv(sys.argv[1], [sys.argv[1], 'run'])\n";
    let finished = folder.start_program("python3", &["-c", script, env!("CARGO_BIN_EXE_attache")], "").finish().await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("passed a socket \"base\" at 127.0.0.1:"), "{finished:?}");
    assert!(finished.stderr.contains("FileDescriptorName=: other"), "{finished:?}");
}
