//! Package managers, unmodified, at an index that takes nobody without a token: `attache exec -- pip …`, `attache exec -- npm …`.

use crate::clients::{World, python, there_is};
use crate::support::{Asked, Reply};

/// An index of one package for Python and one for Node.js.
fn index(asked: &Asked, _: usize) -> Reply {
    if !asked.field("authorization").is_some_and(|token| token.starts_with("Bearer token-")) {
        return Reply::new(401, "WWW-Authenticate: Bearer\r\n", "no token");
    }
    match asked.target() {
        "/simple/sealing/" => Reply::new(
            200,
            "Content-Type: text/html\r\n",
            "<html><body><a href=\"/files/sealing-1.2.3-py3-none-any.whl\">sealing-1.2.3-py3-none-any.whl</a></body></html>",
        ),
        "/sealing" => Reply::new(
            200,
            "Content-Type: application/json\r\n",
            "{\"name\":\"sealing\",\"dist-tags\":{\"latest\":\"1.2.3\"},\"versions\":{\"1.2.3\":{\"name\":\"sealing\",\"version\":\"1.2.3\",\"dist\":{\"tarball\":\"https://api.test/sealing.tgz\"}}}}",
        ),
        _ => Reply::new(404, "", "there is no such package"),
    }
}

#[tokio::test]
async fn pip_reads_an_index() {
    let python = python();
    if !there_is(&python, &["-m", "pip", "--version"]) {
        return;
    }
    let world = World::with(index).await;
    for scheme in ["http", "https"] {
        let url = format!("{scheme}://api.test/simple/");
        let mut command =
            vec![&*python, "-m", "pip", "--no-cache-dir", "--disable-pip-version-check", "index", "versions"];
        command.extend(["sealing", "--index-url", &url]);
        if scheme == "http" {
            // Without TLS pip wants to be told that this is meant.
            command.extend(["--trusted-host", "api.test"]);
        }
        let finished = world.run(&command).await;
        assert!(finished.stdout.contains("1.2.3"), "{scheme}: {finished:?}");
    }
}

#[tokio::test]
async fn npm_reads_a_registry() {
    if !there_is("npm", &["--version"]) {
        return;
    }
    let world = World::with(index).await;
    for scheme in ["http", "https"] {
        let registry = format!("--registry={scheme}://api.test/");
        let finished = world
            .run(&["npm", "view", "sealing", "version", "--no-update-notifier", "--fetch-retries=0", &registry])
            .await;
        assert!(finished.stdout.contains("1.2.3"), "{scheme}: {finished:?}");
    }
}
