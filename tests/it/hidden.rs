//! `run` keeps what it knows from other processes of its own user (Linux).

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use crate::isolate::bring_attache;
use crate::support::{Folder, skipped};

/// A shell's function that tells what can be read of a process: `look PID WORD` prints the word before each. The memory is opened by
/// the shell itself, which stands above what it has started, and is read where something lies.
pub(crate) const LOOK: &str = r#"look() {
  for file in environ maps auxv; do head -c1 /proc/$1/$file >/dev/null 2>&1 && echo "$2 $file"; done
  readlink /proc/$1/fd/0 >/dev/null 2>&1 && echo "$2 fd"
  at=$(head -n1 /proc/$1/maps 2>/dev/null); at=${at%%-*}
  { echo "$2 mem opened"
    page=$(dd bs=4096 count=1 skip=$((0x${at:-0} / 4096)) 2>/dev/null | wc -c)
    [ "$page" -gt 0 ] && echo "$2 mem"; } 2>/dev/null </proc/$1/mem
}"#;

#[tokio::test]
async fn other_processes_of_the_user_read_neither_environment_nor_memory_of_run() {
    let toml = "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[credentials.a]\n\
                token_endpoint = \"https://login.test/token\"\nclient_id = \"me\"\nclient_secret = { env = \"HIDDEN_SECRET\" }\n\
                [upstreams.a]\norigin = \"https://api.test\"\ncredential = \"a\"\n";
    let folder = Folder::with(toml).env("HIDDEN_SECRET", "s3cret-of-mine").env("PATH", &std::env::var("PATH").unwrap());
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    bring_attache(&folder);
    // The sleep is to show that each of these can succeed.
    let script = format!(
        "{LOOK}\n./attache run 2>said & proxy=$!\nsleep 600 & open=$!\n\
         for _ in $(seq 1200); do grep -q forward said && break; sleep 0.05; done\n\
         look $open open; look $proxy hidden\n\
         grep 'core file size' /proc/$proxy/limits\nkill $open $proxy; wait $proxy; echo \"ended $?\""
    );
    let script = script.as_str();
    // Root reads everything; so this is about another user, which only root can become.
    let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let command: &[&str] = if root {
        &["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "sh", "-c", script]
    } else {
        &["sh", "-c", script]
    };
    if root && std::process::Command::new("setpriv").arg("--version").output().is_err() {
        return skipped("setpriv is not installed");
    }
    let finished = folder.start_program(command[0], &command[1..], "").finish().await;
    for what in ["environ", "maps", "auxv", "fd", "mem"] {
        assert!(finished.stdout.contains(&format!("open {what}\n")), "{what}: {finished:?}");
    }
    assert!(!finished.stdout.contains("hidden "), "{finished:?}");
    let limit = finished.stdout.lines().find(|line| line.contains("core file size")).unwrap();
    assert_eq!(limit.split_whitespace().collect::<Vec<_>>()[..6], ["Max", "core", "file", "size", "0", "0"]);
    assert!(finished.stdout.ends_with("ended 0\n"), "{finished:?}");
}
