//! `run` keeps what it knows from other processes of its own user (Linux).

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use crate::isolate::bring_attache;
use crate::support::{Folder, skipped};

#[tokio::test]
async fn other_processes_of_the_user_read_neither_environment_nor_memory_of_run() {
    let toml = "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[credentials.a]\n\
                token_endpoint = \"https://login.test/token\"\nclient_id = \"me\"\nclient_secret = { env = \"HIDDEN_SECRET\" }\n\
                [upstreams.a]\norigin = \"https://api.test\"\ncredential = \"a\"\n";
    let folder = Folder::with(toml).env("HIDDEN_SECRET", "s3cret-of-mine").env("PATH", &std::env::var("PATH").unwrap());
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    bring_attache(&folder);
    let script = "./attache run 2>said & proxy=$!\n\
                  for _ in $(seq 1200); do grep -q forward said && break; sleep 0.05; done\n\
                  for file in environ mem maps auxv; do head -c1 /proc/$proxy/$file >/dev/null 2>&1 && echo \"read $file\"; done\n\
                  ls /proc/$proxy/fd >/dev/null 2>&1 && echo 'read fd'\ngrep 'core file size' /proc/$proxy/limits\nkill $proxy; wait $proxy; echo \"ended $?\"";
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
    assert!(!finished.stdout.contains("read "), "{finished:?}");
    let limit = finished.stdout.lines().find(|line| line.contains("core file size")).unwrap();
    assert_eq!(limit.split_whitespace().collect::<Vec<_>>()[..6], ["Max", "core", "file", "size", "0", "0"]);
    assert!(finished.stdout.ends_with("ended 0\n"), "{finished:?}");
}
