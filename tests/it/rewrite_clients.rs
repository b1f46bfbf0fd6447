//! Real clients, unmodified, at an API whose answers name its own origin: they sign in by a redirect, keep a session in a
//! `Secure` cookie, and go from page to page by `Link`. A program that leaves attache on the way finds nobody.

use std::net::SocketAddr;
use std::process::Command;

use crate::clients::{python, there_is};
use crate::support::{
    Asked, FORWARD, Reply, Scripted, TestCa, TestProxy, TlsFront, TokenServer, credential, reverse, upstream,
};

const PAGES: [&str; 3] = ["page 1: amber", "page 2: birch", "page 3: cedar"];

/// `/login` begins a session; `/items?page=N` shows a page to clients that have one, and says where the next one is.
fn api(asked: &Asked, _: usize) -> Reply {
    if asked.field("authorization") != Some("Bearer token-1") {
        return Reply::new(401, "WWW-Authenticate: Bearer\r\n", "no token");
    }
    if asked.target() == "/login" {
        let fields = "Location: https://api.test/items?page=1\r\n\
            Set-Cookie: sid=s3ss10n; Domain=api.test; Path=/; Secure; HttpOnly; SameSite=None\r\n\
            Set-Cookie: csrf=t0k3n; Path=/items; Secure\r\n\
            Set-Cookie: elsewhere=x; Path=/other; Secure\r\n";
        return Reply::new(302, fields, "");
    }
    let cookies = asked.all("cookie").join("; ");
    if !cookies.contains("sid=s3ss10n") || !cookies.contains("csrf=t0k3n") || cookies.contains("elsewhere") {
        return Reply::new(403, "", &format!("no session: {cookies:?}"));
    }
    let page: usize = asked.target().strip_prefix("/items?page=").unwrap().parse().unwrap();
    let next = match page + 1 {
        next @ ..=3 => format!(", <https://api.test/items?page={next}>; rel=\"next\""),
        _ => String::new(),
    };
    let link = format!("Link: <https://api.test/items?page=1>; rel=\"first\"{next}\r\n");
    Reply::new(200, &link, &format!("{}\n", PAGES[page - 1]))
}

/// The API behind a base URL with a path prefix, and behind `http://api.test` by a proxy.
struct World {
    api: Scripted,
    proxy: TestProxy,
    folder: tempfile::TempDir,
    _ends: (TlsFront, TokenServer, TestCa),
}

/// A way to the API: its URL, and the proxy that the client is told, by scheme and address.
type Way = (String, Option<(&'static str, SocketAddr)>);

impl World {
    async fn new(keys: &str) -> Self {
        let (tokens, ca, api) = (TokenServer::start().await, TestCa::new(), Scripted::start(api).await);
        let front = TlsFront::start(ca.server(&["api.test"], &["http/1.1"]), api.address()).await;
        let proxy = TestProxy::start(&format!(
            "{FORWARD}[listeners.socks]\naddress = \"127.0.0.1:0\"\nmode = \"socks5\"\n{}{}{}connect = \"{}\"\npath_prefix = \"/base/v1\"\n{}{keys}",
            reverse(&["api"]),
            credential(&tokens),
            upstream("api", "https://api.test"),
            front.address(),
            ca.trusted()
        ));
        Self { api, proxy, folder: tempfile::tempdir().unwrap(), _ends: (front, tokens, ca) }
    }

    fn ways(&self) -> [Way; 2] {
        let base = format!("http://{}/base/v1", self.proxy.address("base"));
        [(base, None), ("http://api.test".to_owned(), Some(("http", self.proxy.address("proxy"))))]
    }

    /// What the client prints, with nothing of this machine's environment.
    async fn run(&self, command: &[&str], proxy: Option<(&str, SocketAddr)>) -> (bool, String) {
        let mut client = Command::new(command[0]);
        client.args(&command[1..]).current_dir(self.folder.path()).env_clear();
        client.env("PATH", std::env::var("PATH").unwrap()).env("HOME", self.folder.path());
        if let Some((scheme, proxy)) = proxy {
            let (host, port) = (proxy.ip(), proxy.port());
            client.env("http_proxy", format!("{scheme}://{proxy}")).env("HTTP_PROXY", format!("{scheme}://{proxy}"));
            client.env("JAVA_TOOL_OPTIONS", format!("-Dhttp.proxyHost={host} -Dhttp.proxyPort={port}"));
        }
        let output = tokio::task::spawn_blocking(move || client.output().unwrap()).await.unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Runs a client on each way, by the URL as its last argument: it has to see every page.
    async fn pages(&self, command: &[&str]) {
        for (url, proxy) in self.ways() {
            let before = self.api.requests();
            let (success, said) = self.run(&[command, &[&url]].concat(), proxy).await;
            assert!(success && PAGES.iter().all(|page| said.contains(page)), "{url} {command:?}: {said}");
            assert_eq!(self.api.requests() - before, 1 + PAGES.len());
        }
    }
}

#[tokio::test]
async fn curl_with_a_cookie_jar() {
    if !there_is("curl", &["--version"]) {
        return;
    }
    let world = World::new("").await;
    let by_socks = ("http://api.test".to_owned(), Some(("socks5h", world.proxy.address("socks"))));
    for (url, proxy) in world.ways().into_iter().chain([by_socks]) {
        let jar = world.folder.path().join("jar").display().to_string();
        let mut next = Some(format!("{url}/login"));
        let mut seen = String::new();
        while let Some(url) = next {
            let command = ["curl", "-sS", "-L", "-D", "-", "-b", &jar, "-c", &jar, &url];
            let (success, said) = world.run(&command, proxy).await;
            assert!(success, "{url}: {said}");
            let link = said.lines().find(|line| line.to_ascii_lowercase().starts_with("link: ")).unwrap();
            let found = link.split(", ").find(|link| link.contains("rel=\"next\""));
            next = found.map(|link| link.split(['<', '>']).nth(1).unwrap().to_owned());
            seen += &said;
        }
        assert!(PAGES.iter().all(|page| seen.contains(page)), "{url}: {seen}");
        std::fs::remove_file(jar).unwrap();
    }
}

#[tokio::test]
async fn python_requests_with_a_session_and_its_links() {
    let python = python();
    if there_is(&python, &["-c", "import requests"]) {
        let script = "import sys, requests\n\
            session = requests.Session()\n\
            answer = session.get(sys.argv[1] + '/login', timeout=20)\n\
            while True:\n\
            \x20 print(answer.status_code, answer.url, answer.text)\n\
            \x20 if 'next' not in answer.links: break\n\
            \x20 answer = session.get(answer.links['next']['url'], timeout=20)\n";
        World::new("").await.pages(&[&python, "-c", script]).await;
    }
}

#[tokio::test]
async fn java_http_client_with_cookies_and_redirects() {
    if !there_is("java", &["-version"]) {
        return;
    }
    let world = World::new("").await;
    let source = "import java.net.*; import java.net.http.*; import java.util.regex.*;\n\
        public class Pages { public static void main(String[] a) throws Exception {\n\
        var client = HttpClient.newBuilder().cookieHandler(new CookieManager())\n\
          .followRedirects(HttpClient.Redirect.NORMAL).build();\n\
        String next = a[0] + \"/login\";\n\
        while (next != null) {\n\
          var answer = client.send(HttpRequest.newBuilder(URI.create(next)).build(), HttpResponse.BodyHandlers.ofString());\n\
          System.out.println(answer.statusCode() + \" \" + answer.uri() + \" \" + answer.body());\n\
          var link = Pattern.compile(\"<([^>]*)>; rel=\\\"next\\\"\").matcher(answer.headers().firstValue(\"link\").orElse(\"\"));\n\
          next = link.find() ? link.group(1) : null;\n\
        } } }\n";
    std::fs::write(world.folder.path().join("Pages.java"), source).unwrap();
    world.pages(&["java", "Pages.java"]).await;
}

#[tokio::test]
async fn without_rewriting_a_client_leaves_and_finds_nobody() {
    if !there_is("curl", &["--version"]) {
        return;
    }
    let world = World::new("rewrite = false\n").await;
    for (url, proxy) in world.ways() {
        let login = format!("{url}/login");
        let (success, said) = world.run(&["curl", "-sS", "-L", "--max-time", "20", &login], proxy).await;
        assert!(!success, "{said}");
    }
    assert_eq!(world.api.requests(), 2);
}
