//! `attache tail`: requests of a running attache as they end.

use crate::support::{
    ADMIN, Caller, FORWARD, Folder, Reply, Running, Scripted, TestProxy, TokenServer, credential, send, until, upstream,
};

struct World {
    proxy: TestProxy,
    api: Scripted,
    folder: Folder,
    _tokens: TokenServer,
}

impl World {
    async fn new() -> Self {
        let tokens = TokenServer::start().await;
        let api = Scripted::start(|asked, _| match asked.target() {
            "/missing" => Reply::new(404, "", "no"),
            "/broken" => Reply::new(503, "", "no"),
            _ => Reply::ok("fine"),
        })
        .await;
        let proxy =
            TestProxy::start(&format!("{FORWARD}{ADMIN}{}{}", credential(&tokens), upstream("api", &api.origin())));
        let folder = Folder::new().env("ATTACHE_ADMIN", &format!("http://{}", proxy.address("admin")));
        Self { proxy, api, folder, _tokens: tokens }
    }

    async fn ask(&self, path: &str) -> u16 {
        let request = format!("GET {}{path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.api.origin(), self.api.address());
        send(self.proxy.address("proxy"), request).await.status
    }

    /// With these arguments, once it looks: what comes before it has looked is not shown.
    async fn tail(&self, args: &[&str]) -> Running {
        let tail = self.folder.start(&[&["tail"][..], args].concat());
        until("the first request is shown", async || {
            self.ask("/first").await;
            self.ask("/missing").await;
            !tail.stdout().is_empty()
        })
        .await;
        tail
    }
}

async fn ended(tail: Running) -> (String, String) {
    tail.signal("INT");
    let finished = tail.finish().await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    (finished.stdout, finished.stderr)
}

#[tokio::test]
async fn each_request_is_a_line_as_in_the_access_log_until_ctrl_c() {
    let world = World::new().await;
    world.ask("/before").await;
    let tail = world.tail(&[]).await;
    assert_eq!(world.ask("/orders?secret=sentinel").await, 200);
    until("it is shown", async || tail.stdout().contains("/orders")).await;
    let (shown, said) = ended(tail).await;
    assert_eq!(said, "");
    let line = shown.lines().find(|line| line.contains("/orders")).unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!((words[1], words[4], words[6]), ("proxy", "\"GET", "200"), "{line}");
    assert!(line.contains(" injected api key "), "{line}");
    assert!(!shown.contains("sentinel") && !shown.contains("/before"), "{shown}");
}

#[tokio::test]
async fn filters_choose_and_json_is_an_object_a_line() {
    let world = World::new().await;
    let tail = world.tail(&["--json", "--upstream", "api", "--status", "404", "--status", "5xx"]).await;
    for path in ["/broken", "/orders"] {
        world.ask(path).await;
    }
    let denied =
        send(world.proxy.address("proxy"), "GET http://other.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n").await;
    assert_eq!(denied.status, 403);
    until("it is shown", async || tail.stdout().contains("/broken")).await;
    let (shown, _) = ended(tail).await;
    for line in shown.lines() {
        let request: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(request["status"] == 404 || request["status"] == 503, "{request}");
        assert_eq!((&request["upstream"], request["tries"].is_array()), (&"api".into(), true), "{request}");
    }

    let tail = world.folder.start(&["tail", "--outcome", "denied", "--upstream", "-"]);
    until("it is shown", async || {
        world.ask("/orders").await;
        send(world.proxy.address("proxy"), "GET http://other.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n").await;
        !tail.stdout().is_empty()
    })
    .await;
    let (shown, _) = ended(tail).await;
    assert!(shown.lines().all(|line| line.contains("other.test/\" 403 ") && line.contains(" denied - ")), "{shown}");
}

#[tokio::test]
async fn what_can_show_nothing_is_said() {
    let world = World::new().await;
    let tail = world.folder.start(&["tail", "--upstream", "apo"]);
    tail.says("there is no upstream \"apo\" now; there are: api").await;
    world.proxy.shutdown().await;
    tail.says("is attache running there").await;
    ended(tail).await;
    let nobody = world.folder.run(&["tail"]).await;
    assert!(nobody.code == Some(1) && nobody.stderr.contains("is attache running there"), "{nobody:?}");
    for args in [&["tail", "--status", "6xx"][..], &["tail", "--outcome", "injcted"]] {
        assert_eq!(world.folder.run(args).await.code, Some(2), "{args:?}");
    }
}

#[tokio::test]
async fn requests_that_came_too_fast_are_counted() {
    let world = World::new().await;
    let tail = world.tail(&["--status", "404"]).await;
    tail.signal("STOP");
    let mut caller = Caller::connect(world.proxy.address("proxy")).await;
    for _ in 0..1100 {
        let (origin, host) = (world.api.origin(), world.api.address());
        caller.write(format!("GET {origin}/orders HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(caller.answer().await.status, 200);
    }
    tail.signal("CONT");
    tail.says(" missed: they came faster than they could be read").await;
    ended(tail).await;
}
