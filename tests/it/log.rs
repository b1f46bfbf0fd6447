//! The log of `attache run`: every line as it was asked for, by a filter that can be changed, with priorities for the journal.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};

use crate::cli_run::records;
use crate::support::{ADMIN, FORWARD, Folder, TokenServer, credential, send, until, upstream};

#[tokio::test]
async fn by_its_variable_every_line_of_a_whole_run_is_an_object() {
    let tokens = TokenServer::start().await;
    let toml = format!(
        "{FORWARD}{ADMIN}[listeners.socks]\naddress = \"127.0.0.1:0\"\nmode = \"socks5\"\n{}{}",
        credential(&tokens),
        upstream("api", "https://api.example.com")
    );
    let folder = Folder::with(&toml).env("ATTACHE_LOG_FORMAT", "json");
    let running = folder.start(&["run"]);
    let address = running.address("proxy").await;
    running.address("admin").await;
    let refused = send(address, "GET http://other.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n").await;
    assert_eq!(refused.status, 403);
    running.says("other.test").await;
    folder.write("proxy.toml", &format!("{toml}colour = 1\n"));
    running.signal("HUP");
    running.says("colour").await;
    running.signal("TERM");
    let finished = running.finish().await;
    let said = records(&finished.stderr);
    let listening: Vec<_> = said.iter().filter(|record| record["message"] == "listening").collect();
    let of = |name: &str| listening.iter().find(|record| record["listener"] == name).unwrap()["address"].clone();
    assert_eq!(listening.len(), 3, "{said:#?}");
    assert!(of("proxy").as_str().unwrap().starts_with("http://") && of("admin").is_string());
    assert!(of("socks").as_str().unwrap().starts_with("socks5h://127.0.0.1:"), "{listening:?}");
    let started = said.iter().find(|record| record["message"] == "started").unwrap();
    assert_eq!((&started["configuration"], &started["upstreams"]), (&"proxy.toml".into(), &1.into()));
    let denial = said.iter().find(|record| record["status"] == 403).unwrap();
    assert_eq!(denial["request_id"].as_str(), refused.field("x-request-id"), "{denial}");

    let text = folder.run(&["run", "--log-format", "text"]).await;
    assert!(text.code == Some(78) && text.stderr.starts_with("proxy.toml:"), "a flag goes first: {text:?}");
    let folder = Folder::with(&toml).env("ATTACHE_LOG_FORMAT", "");
    assert_eq!(folder.run(&["check"]).await.code, Some(0), "one that is empty is not set");
    let folder = Folder::with(&toml).env("ATTACHE_LOG_FORMAT", "xml");
    let wrong = folder.run(&["check"]).await;
    assert!(wrong.code == Some(2) && wrong.stderr.contains("xml"), "{wrong:?}");
}

#[tokio::test]
async fn the_filter_changes_at_run_time_and_comes_back_with_a_reload() {
    let folder = Folder::with(&format!("{FORWARD}{ADMIN}"));
    let running = folder.start(&["run", "--log", "error"]);
    let admin = running.address("admin").await;
    let url = format!("http://{admin}");
    let log = |more: &[&str]| folder.start(&[&["log", "--admin", &url], more].concat()).finish();
    let (address, refused) = (running.address("proxy").await, "GET http://no.test/ HTTP/1.1\r\nHost: no.test\r\n\r\n");

    assert_eq!(log(&[]).await.stdout, "error\n");
    assert_eq!(send(address, refused).await.status, 403);
    let changed = log(&["trace"]).await;
    assert_eq!(
        (changed.code, changed.stdout.as_str()),
        (Some(0), "trace  (until the next reload, then error), before: error\n"),
        "{changed:?}"
    );
    running.says("the log filter is changed until the next reload").await;
    assert!(!running.stderr().contains("no.test"), "{}", running.stderr());
    assert_eq!(send(address, refused).await.status, 403);
    running.says("no.test").await;
    let asked = log(&["--json"]).await.json();
    assert_eq!(asked, serde_json::json!({ "filter": "trace", "configured": "error" }));
    // Whatever the filter, libraries that print fields are silent.
    assert!(!running.stderr().contains(" hyper") && !running.stderr().contains(" h2::"), "{}", running.stderr());

    for wrong in ["dbug", "=="] {
        let failed = log(&[wrong]).await;
        assert!(failed.code == Some(1) && failed.stderr.contains("is no log filter; write a level"), "{failed:?}");
    }
    let failed = log(&["loud", "--json"]).await;
    assert!(failed.json()["error"].as_str().unwrap().contains("loud"), "{failed:?}");
    let body = "{\"level\": \"debug\"}";
    let length = body.len();
    let post = format!(
        "POST /api/log HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    assert_eq!(send(admin, post).await.status, 400);

    // A file that is refused changes nothing.
    folder.write("proxy.toml", "[listeners.proxy]\n");
    assert_eq!(folder.run(&["reload", "--admin", &url]).await.code, Some(1));
    assert_eq!(log(&["--json"]).await.json()["filter"], "trace");
    folder.write("proxy.toml", &format!("{FORWARD}{ADMIN}"));
    assert_eq!(folder.run(&["reload", "--admin", &url]).await.code, Some(0));
    until("the filter is the configured one", async || log(&[]).await.stdout == "error\n").await;
    let info = log(&["info"]).await;
    assert_eq!(info.code, Some(0));
    assert_eq!(folder.run(&["reload", "--admin", &url]).await.code, Some(0));
    assert_eq!(log(&[]).await.stdout, "error\n");
}

/// stderr of `attache ARGS` when it is what the journal reads; `mine`: as far as the variable says.
fn journal(folder: &Folder, args: &[&str], mine: bool) -> String {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let writer = OwnedFd::from(writer);
    let stat = std::fs::File::from(writer.try_clone().unwrap()).metadata().unwrap();
    let inode = if mine { stat.ino() } else { stat.ino() + 1 };
    let mut command = Command::new(env!("CARGO_BIN_EXE_attache"));
    command.args(args).current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer);
    command.env_clear().env("JOURNAL_STREAM", format!("{}:{inode}", stat.dev()));
    let mut child = command.spawn().unwrap();
    // Its end of the pipe is closed with it.
    drop(command);
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    child.wait().unwrap();
    said
}

#[test]
fn each_line_has_its_priority_where_stderr_is_the_journal() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let folder = Folder::with(&format!("[listeners.proxy]\naddress = \"{address}\"\nmode = \"forward\"\n"));
    for format in ["text", "json"] {
        let said = journal(&folder, &["run", "--log-format", format], true);
        let marks: Vec<&str> = said.lines().map(|line| &line[..3]).collect();
        assert_eq!(marks, ["<4>", "<3>"], "a file without upstreams is warned of, the port is taken: {said}");
        assert!(!said.contains('\u{1b}'), "{said}");
    }
    let said = journal(&folder, &["run", "--log-format", "json"], false);
    assert_eq!(records(&said).len(), 2, "stderr has been sent elsewhere: {said}");

    folder.write("proxy.toml", "[listeners.proxy]\nmode = \"sideways\"\n");
    let said = journal(&folder, &["run"], true);
    assert!(said.lines().count() > 1 && said.lines().all(|line| line.starts_with("<3>proxy.toml:")), "{said}");
}
