//! Real clients, unmodified: each is run by `attache exec` and asks for the same things over http:// and https://. They know
//! nothing of OAuth; the API takes nobody without a token. `tests/clients/install.sh` brings the libraries.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{
    Asked, Finished, Folder, Reply, Scripted, TestCa, TlsFront, TokenServer, credential, skipped, upstream,
};

const BODY: &str = "sealing wax";

/// Refuses requests without a token.
fn api(asked: &Asked, _: usize) -> Reply {
    let token = asked.field("authorization").unwrap_or_default();
    if !token.starts_with("Bearer token-") {
        return Reply::new(401, "WWW-Authenticate: Bearer\r\n", "no token");
    }
    if asked.line.starts_with("POST") {
        return Reply::ok(&format!("got {}", asked.body.len()));
    }
    Reply::ok(BODY)
}

/// An API at `https://api.test`, which only attache can reach, and a folder with its configuration.
pub(crate) struct World {
    pub(crate) folder: Folder,
    pub(crate) api: Scripted,
    _front: TlsFront,
    _tokens: TokenServer,
    _ca: TestCa,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(api).await
    }

    /// With an API that answers so.
    pub(crate) async fn with(script: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        let api = Scripted::start(script).await;
        let address = api.address();
        Self::around(api, address).await
    }

    /// With a stranger's server behind the name.
    pub(crate) async fn around(api: Scripted, server: std::net::SocketAddr) -> Self {
        let tokens = TokenServer::start().await;
        let ca = TestCa::new();
        let front = TlsFront::start(ca.server(&["api.test"], &["http/1.1"]), server).await;
        let toml = format!(
            "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n{}{}connect = \"{}\"\n{}",
            credential(&tokens),
            upstream("api", "https://api.test"),
            front.address(),
            ca.trusted()
        );
        let folder = Folder::with(&toml);
        let home = folder.path().display().to_string();
        let folder = folder.env("PATH", &std::env::var("PATH").unwrap()).env("HOME", &home);
        Self { folder, api, _front: front, _tokens: tokens, _ca: ca }
    }

    pub(crate) async fn run(&self, command: &[&str]) -> Finished {
        self.folder.run(&[&["exec", "--"], command].concat()).await
    }

    /// Runs a client for each scheme; its last argument is the URL.
    async fn gets(&self, command: &[&str]) {
        for scheme in ["http", "https"] {
            let before = self.api.requests();
            let url = format!("{scheme}://api.test/v1");
            let finished = self.run(&[command, &[&url]].concat()).await;
            assert!(finished.stdout.contains(BODY), "{scheme} {command:?}: {finished:?}");
            assert!(self.api.requests() > before);
        }
    }
}

/// A program of the machine; without it a test says so and checks nothing.
pub(crate) fn there_is(program: &str, arguments: &[&str]) -> bool {
    let found = Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success());
    if !found {
        skipped(&format!("{program} {} is not there (tests/clients/install.sh)", arguments.join(" ")));
    }
    found
}

pub(crate) fn installed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".test-deps/clients").join(name)
}

pub(crate) fn python() -> String {
    installed("venv/bin/python").display().to_string()
}

#[tokio::test]
async fn curl_in_both_versions_and_through_tunnels() {
    if !there_is("curl", &["--version"]) {
        return;
    }
    let world = World::new().await;
    world.gets(&["curl", "-sS"]).await;
    world.gets(&["curl", "-sS", "--http1.1"]).await;
    world.gets(&["curl", "-sS", "-p"]).await;
    world.gets(&["curl", "-sS", "--http1.0"]).await;
    let finished = world.run(&["curl", "-sS", "-w", " by %{http_version}", "https://api.test/"]).await;
    assert_eq!(finished.stdout, format!("{BODY} by 2"), "{finished:?}");
}

#[tokio::test]
async fn curl_uploads_with_expect() {
    if !there_is("curl", &["--version"]) {
        return;
    }
    let world = World::new().await;
    world.folder.write("large", &"x".repeat(2_000_000));
    for arguments in [&["--http1.1", "-H", "Expect: 100-continue"][..], &["--http2"]] {
        for scheme in ["http", "https"] {
            let url = format!("{scheme}://api.test/");
            let command = [&["curl", "-sS", "--data-binary", "@large"], arguments, &[&url]].concat();
            let finished = world.run(&command).await;
            assert_eq!(finished.stdout, "got 2000000", "{arguments:?} {scheme}: {finished:?}");
        }
    }
}

#[tokio::test]
async fn wget() {
    if there_is("wget", &["--version"]) {
        let world = World::new().await;
        // wget has no variable for trusted certificates.
        let finished = world.run(&["sh", "-c", "wget -qO- --ca-certificate=$SSL_CERT_FILE https://api.test/v1"]).await;
        assert!(finished.stdout.contains(BODY), "{finished:?}");
        let finished = world.run(&["wget", "-qO-", "http://api.test/v1"]).await;
        assert!(finished.stdout.contains(BODY), "{finished:?}");
    }
}

#[tokio::test]
async fn git_asks_for_references() {
    if there_is("git", &["--version"]) {
        let world = World::new().await;
        for scheme in ["http", "https"] {
            // What comes back is no repository; that git got it is enough, and without a token it would ask for a password.
            let finished = world.run(&["git", "ls-remote", &format!("{scheme}://api.test/a.git")]).await;
            assert!(!finished.stderr.contains("Username") && !finished.stderr.contains("401"), "{finished:?}");
            assert!(!finished.stderr.contains("certificate"), "{finished:?}");
        }
        let asked = world.api.asked();
        assert!(asked.iter().filter(|asked| asked.target().starts_with("/a.git/info/refs")).count() >= 2);
        assert!(
            asked.iter().all(|asked| asked.field("authorization").is_some_and(|token| token.starts_with("Bearer")))
        );
    }
}

#[tokio::test]
async fn python_urllib() {
    if there_is("python3", &["--version"]) {
        let world = World::new().await;
        world
            .gets(&["python3", "-c", "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"])
            .await;
    }
}

#[tokio::test]
async fn python_requests_and_httpx_and_aiohttp() {
    let python = python();
    let world = World::new().await;
    for (library, script) in [
        ("requests", "import sys, requests; print(requests.get(sys.argv[1]).text)"),
        ("httpx", "import sys, httpx; print(httpx.get(sys.argv[1]).text)"),
        ("h2", "import sys, httpx; print(httpx.Client(http2=True).get(sys.argv[1]).text)"),
        (
            "aiohttp",
            "import sys, aiohttp, asyncio\nasync def main():\n async with aiohttp.ClientSession(trust_env=True) as s:\n  async with s.get(sys.argv[1]) as r: print(await r.text())\nasyncio.run(main())",
        ),
    ] {
        if there_is(&python, &["-c", &format!("import {library}")]) {
            world.gets(&[&python, "-c", script]).await;
        }
    }
}

#[tokio::test]
async fn node_with_undici_and_axios() {
    if !there_is("node", &["--version"]) {
        return;
    }
    let world = World::new().await;
    let modules = installed("node_modules").display().to_string();
    for (library, script) in [
        (
            "undici",
            "const u=require(process.argv[1]+'/undici');u.setGlobalDispatcher(new u.EnvHttpProxyAgent());u.fetch(process.argv[2]).then(r=>r.text()).then(console.log)",
        ),
        ("axios", "const a=require(process.argv[1]+'/axios');a.get(process.argv[2]).then(r=>console.log(r.data))"),
    ] {
        if there_is("node", &["-e", &format!("require('{modules}/{library}')")]) {
            world.gets(&["node", "-e", script, &modules]).await;
        }
    }
}

#[tokio::test]
async fn java_http_client_and_http_url_connection() {
    if !there_is("java", &["-version"]) {
        return;
    }
    let world = World::new().await;
    world.folder.write(
        "Get.java",
        "import java.net.*; import java.net.http.*;\n\
         public class Get { public static void main(String[] a) throws Exception {\n\
         var request = HttpRequest.newBuilder(URI.create(a[0])).build();\n\
         System.out.println(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body());\n\
         System.out.println(new String(new URL(a[0]).openStream().readAllBytes())); } }\n",
    );
    for scheme in ["http", "https"] {
        let finished = world.run(&["java", "Get.java", &format!("{scheme}://api.test/v1")]).await;
        assert_eq!(finished.stdout.matches(BODY).count(), 2, "{scheme}: {finished:?}");
    }
}

#[tokio::test]
async fn perl_lwp_and_http_tiny() {
    let world = World::new().await;
    if there_is("perl", &["-MLWP::UserAgent", "-MLWP::Protocol::https", "-e", "1"]) {
        let script = "print LWP::UserAgent->new(env_proxy => 1)->get($ARGV[0])->decoded_content";
        world.gets(&["perl", "-MLWP::UserAgent", "-e", script]).await;
    }
    if there_is("perl", &["-MHTTP::Tiny", "-MIO::Socket::SSL", "-e", "1"]) {
        world
            .gets(&["perl", "-MHTTP::Tiny", "-e", "print HTTP::Tiny->new(verify_SSL => 1)->get($ARGV[0])->{content}"])
            .await;
    }
}

#[tokio::test]
async fn ruby_net_http() {
    if there_is("ruby", &["--version"]) {
        let world = World::new().await;
        world.gets(&["ruby", "-rnet/http", "-e", "puts Net::HTTP.get(URI(ARGV[0]))"]).await;
    }
}
