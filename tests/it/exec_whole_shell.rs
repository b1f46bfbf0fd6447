//! `attache exec` around a whole shell: hosts that have nothing to do with attache are reached as without it, what is refused is
//! told, programs that know no proxy get a base URL, and a wrong secret shows before the command runs.

use attache::demo::{CLIENT_SECRET, Demo, DemoPorts};

use crate::support::{Finished, Folder, ParentProxy, Reply, Scripted};

/// What only a caller with a token gets to read.
const ORDERS: &str = "sealing wax";

/// What any host says to anybody.
const HELLO: &str = "hello, stranger";

struct Shell {
    demo: Demo,
    /// A server that no upstream covers.
    other: Scripted,
    folder: Folder,
}

impl Shell {
    /// With these lines more in the configuration.
    async fn with(more: &str) -> Self {
        let demo = Demo::start(DemoPorts::default()).await.unwrap();
        let other = Scripted::start(|_, _| Reply::ok(HELLO)).await;
        let folder = Folder::with(&format!("{}{more}", demo.proxy_toml())).env("PATH", &std::env::var("PATH").unwrap());
        Self { demo, other, folder }
    }

    fn orders(&self) -> String {
        format!("http://{}/orders", self.demo.api.address())
    }

    async fn exec(&self, options: &[&str], script: &str) -> Finished {
        self.folder.run(&[&["exec"], options, &["--", "sh", "-c", script]].concat()).await
    }

    /// Asks the stranger, in clear and through a tunnel, twice each.
    async fn asks_the_other(&self, options: &[&str]) -> Finished {
        let url = self.other.origin();
        let curl = format!("curl -sS -o - -w ' %{{http_code}} %{{http_connect}}\\n' {url}/");
        self.exec(options, &format!("{curl}; {curl}; {curl} -p 2>&1; {curl} -p 2>&1; true")).await
    }
}

/// How often the stranger was heard.
fn hellos(finished: &Finished) -> usize {
    finished.stdout.matches(HELLO).count()
}

/// The warning about the configuration's literal secret is not what these tests are about.
fn told(finished: &Finished) -> Vec<&str> {
    finished.stderr.lines().filter(|line| !line.starts_with("warning: ")).collect()
}

#[tokio::test]
async fn other_hosts_are_reached_as_without_wherever_they_are() {
    let shell = Shell::with("").await;
    let finished = shell.asks_the_other(&[]).await;
    assert_eq!((hellos(&finished), told(&finished)), (4, vec![]), "{finished:?}");
    let asked = shell.other.asked();
    assert!(asked.iter().all(|asked| asked.field("authorization").is_none()), "a stranger gets no token");
    let finished = shell.exec(&[], &format!("curl -sSf {}", shell.orders())).await;
    assert!(finished.stdout.contains(ORDERS), "{finished:?}");
}

#[tokio::test]
async fn what_is_refused_is_told_once_for_each_host_with_what_lets_it_pass() {
    let shell = Shell::with("").await;
    let finished = shell.asks_the_other(&["--unmatched", "deny"]).await;
    assert_eq!(hellos(&finished), 0, "{finished:?}");
    let refused = finished.stdout.matches(" 403 000\n").count() + finished.stdout.matches(" 000 403\n").count();
    assert_eq!(refused, 4, "{finished:?}");
    assert_eq!(
        told(&finished),
        [
            "attache: 127.0.0.1 is refused (403): no upstream covers it; to let other hosts pass, run exec with --unmatched \
          pass, or set [forward] unmatched = \"pass\""
        ]
    );
    let script = "for host in a b a c b; do curl -sS -o /dev/null http://$host.test/; done";
    let finished = shell.exec(&["--unmatched", "deny"], script).await;
    let hosts: Vec<&str> = told(&finished).iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(hosts, ["a.test", "b.test", "c.test"]);
    assert_eq!(shell.other.requests(), 0);
}

#[tokio::test]
async fn the_flag_goes_before_the_file_and_the_file_before_the_default() {
    for (file, flag, heard) in [
        ("", None, 4),
        ("[forward]\nunmatched = \"deny\"\n", None, 0),
        ("[forward]\nunmatched = \"deny\"\n", Some("pass"), 4),
        ("[forward]\nunmatched = \"pass\"\n", Some("deny"), 0),
        // A file that says nothing about others, but where these may be.
        ("[forward]\nprivate_addresses = \"deny\"\n", None, 0),
        ("[forward]\nprivate_addresses = [\"127.0.0.0/8\"]\n", None, 4),
        // The tunnels only.
        ("[forward]\nconnect_ports = [9]\n", None, 2),
    ] {
        let shell = Shell::with(file).await;
        let options = flag.map(|flag| vec!["--unmatched", flag]).unwrap_or_default();
        let finished = shell.asks_the_other(&options).await;
        assert_eq!(hellos(&finished), heard, "{file} {flag:?}: {finished:?}");
        let key = if file.contains("private") { "private_addresses" } else { "unmatched" };
        let key = if file.contains("connect_ports") { "connect_ports = [" } else { key };
        let told = told(&finished);
        assert_eq!(told.iter().any(|line| line.contains(key)), heard < 4, "{file} {flag:?}: {told:?}");
    }
}

#[tokio::test]
async fn the_rules_of_an_upstream_are_told_in_the_same_way() {
    let shell = Shell::with("allow = [{ methods = [\"GET\"], paths = [\"/orders\"] }]\n").await;
    let url = shell.orders();
    let script = format!("curl -sS {url}; curl -sS -X DELETE {url}; curl -sS {url}/7; curl -sS {url}/8");
    let finished = shell.exec(&[], &script).await;
    assert!(finished.stdout.contains(ORDERS), "{finished:?}");
    assert_eq!(
        told(&finished),
        ["attache: refused (403): the `allow` rules of upstream \"orders\" do not cover DELETE /orders"],
        "{finished:?}"
    );
}

#[tokio::test]
async fn a_program_that_knows_no_proxy_gets_a_base_url() {
    let shell = Shell::with("").await;
    for curl in ["curl", "curl --noproxy '*'"] {
        let script = format!("{curl} -sSf \"$ORDERS_URL/orders\"; echo; echo $ORDERS_URL $AGAIN");
        let finished = shell.exec(&["--base", "ORDERS_URL=orders", "--base", "AGAIN=orders"], &script).await;
        assert!(finished.stdout.contains(ORDERS), "{curl}: {finished:?}");
        let urls: Vec<&str> = finished.stdout.lines().last().unwrap().split(' ').collect();
        assert!(urls.len() == 2 && urls[0] == urls[1] && urls[0].starts_with("http://"), "{urls:?}");
    }
    let finished = shell.exec(&["--base", "URL=ordrs"], "echo started").await;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""));
    assert!(
        finished.stderr.contains("there is no upstream \"ordrs\" in proxy.toml; there are: orders"),
        "{finished:?}"
    );
    let finished = shell.exec(&["--base", "orders"], "echo started").await;
    assert!(finished.code == Some(2) && finished.stderr.contains("write VAR=UPSTREAM"), "{finished:?}");
}

#[tokio::test]
async fn a_base_url_ends_with_the_prefix_that_its_upstream_has() {
    let shell = Shell::with("path_prefix = \"/shop\"\n").await;
    let finished = shell.exec(&["--base", "URL=orders"], "echo $URL; curl -sSf $URL/orders").await;
    assert!(finished.stdout.lines().next().unwrap().ends_with("/shop"), "{finished:?}");
    assert!(finished.stdout.contains(ORDERS), "{finished:?}");
    let wildcard = "[upstreams.many]\norigin = \"https://*.example.test\"\n";
    let finished = Shell::with(wildcard).await.exec(&["--base", "URL=many"], "echo started").await;
    assert!(finished.code == Some(2) && finished.stderr.contains("stands for many hosts"), "{finished:?}");
}

#[tokio::test]
async fn with_a_wrong_secret_a_command_that_requires_a_token_does_not_start() {
    let shell = Shell::with("").await;
    let script = format!("echo started; curl -sSf {}", shell.orders());
    let finished = shell.exec(&["--require-token"], &script).await;
    assert!(finished.code == Some(0) && finished.stdout.contains(ORDERS), "{finished:?}");

    let toml = shell.folder.read("proxy.toml").replace(CLIENT_SECRET, "another");
    shell.folder.write("proxy.toml", &toml);
    let finished = shell.exec(&["--require-token"], &script).await;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{finished:?}");
    assert!(finished.stderr.contains("error: credential \"orders\": "), "{finished:?}");
    assert!(finished.stderr.contains("\n  likely cause: "), "{finished:?}");
    assert!(finished.stderr.contains("\n  next step:    compare client_id and the secret"), "{finished:?}");
    // Without, it is for the command to notice.
    assert!(shell.exec(&[], "echo started").await.stdout.contains("started"));
}

#[tokio::test]
async fn only_tokens_that_the_command_may_use_are_required() {
    let more = "[credentials.other]\ntoken_endpoint = \"http://127.0.0.1:9/token\"\nclient_id = \"x\"\nclient_auth = \"none\"\n\
                [upstreams.other]\norigin = \"https://other.test\"\ncredential = \"other\"\n";
    let shell = Shell::with(more).await;
    let known = shell.exec(&["--require-token"], "echo started").await;
    assert!(known.code == Some(1) && known.stderr.contains("credential \"other\""), "{known:?}");
    let of_one = shell.exec(&["--require-token", "--listener", Demo::REVERSE], "echo started").await;
    assert_eq!((of_one.code, of_one.stdout.as_str()), (Some(0), "started\n"), "{of_one:?}");
}

#[tokio::test]
async fn a_log_level_that_is_asked_for_is_heard() {
    let shell = Shell::with("").await;
    let deny = ["--unmatched", "deny"];
    let script = format!("curl -sS -o /dev/null {}", shell.other.origin());
    let logs = |finished: &Finished| finished.stderr.contains("refused: no upstream covers");
    assert!(!logs(&shell.exec(&deny, &script).await));
    let asked = shell.exec(&["--unmatched", "deny", "--log", "info"], &script).await;
    assert!(logs(&asked), "{asked:?}");
    let shell = Shell { folder: shell.folder.env("ATTACHE_LOG", "info"), ..shell };
    let asked = shell.exec(&deny, &script).await;
    assert!(logs(&asked), "{asked:?}");
}

#[tokio::test]
async fn the_command_knows_by_a_variable_what_it_runs_in() {
    let shell = Shell::with("").await;
    let inner = format!("{} exec --config inner.toml -- sh -c 'echo $ATTACHE_EXEC'", env!("CARGO_BIN_EXE_attache"));
    shell.folder.write("inner.toml", &shell.folder.read("proxy.toml"));
    let finished = shell.exec(&[], &format!("echo $ATTACHE_EXEC; {inner}")).await;
    assert_eq!(finished.stdout, "proxy\ninner\n", "{finished:?}");
}

#[tokio::test]
async fn other_hosts_are_reached_through_the_proxy_that_the_network_has() {
    let shell = Shell::with("").await;
    let known = [("other.test:80", shell.other.address()), ("outside.test:80", shell.other.address())];
    let parent = ParentProxy::start(&known).await;
    let asks = format!("curl -sS http://other.test/; curl -sS http://outside.test/; curl -sSf {}", shell.orders());
    let url = parent.url();
    let shell = Shell { folder: shell.folder.env("HTTP_PROXY", &url).env("NO_PROXY", "outside.test"), ..shell };
    let finished = shell.exec(&[], &format!("NO_PROXY=; no_proxy=; export NO_PROXY no_proxy; {asks}")).await;
    assert_eq!(hellos(&finished), 1, "outside.test is reached directly, where it is unknown: {finished:?}");
    assert!(finished.stdout.contains(ORDERS), "upstreams go their own way: {finished:?}");
    let heads = parent.heads();
    assert!(heads.len() == 1 && heads[0].starts_with("CONNECT other.test:80 "), "{heads:?}");
    let toml = shell.folder.read("proxy.toml");
    shell.folder.write("proxy.toml", &format!("{toml}[forward]\nvia = \"none\"\n"));
    assert_eq!(hellos(&shell.exec(&[], &asks).await), 0, "the file goes before");
    shell.folder.write("proxy.toml", &toml);
    let shell = Shell { folder: shell.folder.env("HTTP_PROXY", "socks5://me:s3cret-of-mine@proxy.test"), ..shell };
    let finished = shell.exec(&[], "true").await;
    assert!(finished.code == Some(0) && finished.stderr.contains("HTTP_PROXY names no http:// proxy"), "{finished:?}");
    assert!(!finished.stderr.contains("s3cret-of-mine"), "{finished:?}");
}
