//! What a 401 comes to over real sockets, whatever an upstream does: the four points of docs/failures.md, "401". The same patterns
//! on a virtual clock, and random ones, are in `src/renewal/fuzzing/model_tests.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::{
    ADMIN, Answer, Asked, Reply, Scripted, TestProxy, TokenServer, World, credential, get, reverse, upstream,
};

/// An authorization server whose tokens can be revoked: all that it has issued so far.
#[derive(Clone, Default)]
struct Issuer {
    issued: Arc<AtomicUsize>,
    revoked: Arc<AtomicUsize>,
}

impl Issuer {
    async fn start(&self) -> TokenServer {
        let issued = Arc::clone(&self.issued);
        TokenServer::scripted(move |_, _| {
            let number = issued.fetch_add(1, Ordering::SeqCst) + 1;
            Reply::ok(&TokenServer::granted(&format!("token-{number}"), 3600))
        })
        .await
    }

    fn revoke(&self) {
        self.revoked.store(self.issued.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    fn takes(&self, asked: &Asked) -> bool {
        let token = asked.field("authorization").unwrap_or_default().trim_start_matches("Bearer token-");
        token.parse::<usize>().is_ok_and(|number| number > self.revoked.load(Ordering::SeqCst))
    }

    fn answer(&self, asked: &Asked) -> Reply {
        if self.takes(asked) { Reply::ok("fine") } else { Reply::new(401, "", "refused") }
    }
}

/// Callers that ask for these paths in turn until the time is over; every status they saw, with the path and when.
async fn callers(proxy: &TestProxy, number: usize, paths: &'static [&'static str], time: Duration) -> Vec<Seen> {
    let (address, began) = (proxy.address("base"), Instant::now());
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..number {
        tasks.spawn(async move {
            let (mut seen, mut turn) = (Vec::new(), caller);
            let mut pace = tokio::time::interval(Duration::from_millis(3));
            while began.elapsed() < time {
                let path = paths[turn % paths.len()];
                turn += 1;
                let status = get(address, "localhost", path).await.status;
                seen.push(Seen { path, status, at: began.elapsed() });
                pace.tick().await;
            }
            seen
        });
    }
    tasks.join_all().await.concat()
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    path: &'static str,
    status: u16,
    at: Duration,
}

fn refused<'a>(seen: &'a [Seen], path: &'a str) -> Vec<&'a Seen> {
    seen.iter().filter(|seen| seen.path.starts_with(path) && seen.status != 200).collect()
}

async fn revoke_every(issuer: &Issuer, period: Duration, times: usize) {
    let mut ticks = tokio::time::interval(period);
    ticks.tick().await;
    for _ in 0..times {
        ticks.tick().await;
        issuer.revoke();
    }
}

fn base(tokens: &TokenServer, upstreams: &[(&str, &Scripted)]) -> TestProxy {
    let names: Vec<&str> = upstreams.iter().map(|(name, _)| *name).collect();
    let tables: Vec<String> = upstreams
        .iter()
        .map(|(name, api)| format!("{}path_prefix = \"/{name}\"\n", upstream(name, &api.origin())))
        .collect();
    TestProxy::start(&format!("{}{ADMIN}{}{}", reverse(&names), credential(tokens), tables.concat()))
}

#[tokio::test]
async fn six_revocations_two_and_a_half_seconds_apart_are_seen_by_none_of_four_callers() {
    let issuer = Issuer::default();
    let (tokens, judge) = (issuer.start().await, issuer.clone());
    let api = Scripted::start(move |asked, _| judge.answer(asked)).await;
    let proxy = base(&tokens, &[("api", &api)]);
    let period = Duration::from_millis(2500);
    let (seen, ()) = tokio::join!(
        callers(&proxy, 4, &["/api/a", "/api/b/1", "/api/b/2"], period * 7),
        revoke_every(&issuer, period, 6)
    );
    assert!(refused(&seen, "/").is_empty(), "{:?}", refused(&seen, "/"));
    assert!(seen.len() > 100, "{}", seen.len());
    assert_eq!(tokens.requests(), 7);
}

#[tokio::test]
async fn one_bad_server_of_two_costs_six_token_requests_at_the_most() {
    for callers_at_once in [1, 4] {
        let issuer = Issuer::default();
        let (tokens, judge) = (issuer.start().await, issuer.clone());
        let api = Scripted::start(move |asked, number| match number % 2 {
            0 => judge.answer(asked),
            _ => Reply::new(401, "", "a bad server"),
        })
        .await;
        let proxy = base(&tokens, &[("api", &api)]);
        let seen = callers(&proxy, callers_at_once, &["/api/a", "/api/b"], Duration::from_secs(10)).await;
        assert!(tokens.requests() <= 6, "{} token requests for {} calls", tokens.requests(), seen.len());
        // One caller alone is always sent on to the good server; several come between each other.
        assert!(callers_at_once > 1 || refused(&seen, "/").is_empty(), "{:?}", refused(&seen, "/"));
    }
}

#[tokio::test]
async fn a_path_that_keeps_refusing_does_not_keep_a_revoked_token_from_being_replaced_for_the_others() {
    let issuer = Issuer::default();
    let (tokens, judge) = (issuer.start().await, issuer.clone());
    let api = Scripted::start(move |asked, _| {
        if asked.target().starts_with("/bad") { Reply::new(401, "", "not for you") } else { judge.answer(asked) }
    })
    .await;
    let proxy = base(&tokens, &[("api", &api)]);
    let revocation = async {
        let mut ticks = tokio::time::interval(Duration::from_secs(3));
        ticks.tick().await;
        ticks.tick().await;
        issuer.revoke();
    };
    let paths = &["/api/good", "/api/bad", "/api/items/1", "/api/bad/2", "/api/items/3"];
    let (seen, ()) = tokio::join!(callers(&proxy, 3, paths, Duration::from_secs(6)), revocation);
    let late = |seen: &&Seen| seen.at < Duration::from_millis(3000) || seen.at > Duration::from_secs(5);
    let (good, items) = (refused(&seen, "/api/good"), refused(&seen, "/api/items"));
    assert!(good.iter().chain(&items).filter(|seen| late(seen)).count() == 0, "{good:?} {items:?}");
    assert!(tokens.requests() <= 5, "{}", tokens.requests());
    assert!(seen.iter().any(|seen| seen.path == "/api/bad" && seen.status == 401));
}

#[tokio::test]
async fn an_upstream_that_takes_no_token_costs_its_neighbour_on_the_same_credential_nothing() {
    let issuer = Issuer::default();
    let (tokens, judge) = (issuer.start().await, issuer.clone());
    let good = Scripted::start(move |asked, _| judge.answer(asked)).await;
    let bad = Scripted::start(|_, _| Reply::new(401, "", "never")).await;
    let proxy = base(&tokens, &[("good", &good), ("bad", &bad)]);
    let paths = &["/good/a", "/bad/a", "/good/b", "/bad/b/1"];
    let (seen, ()) = tokio::join!(
        callers(&proxy, 4, paths, Duration::from_secs(7)),
        revoke_every(&issuer, Duration::from_secs(3), 2)
    );
    assert!(refused(&seen, "/good").is_empty(), "{:?}", refused(&seen, "/good"));
    assert!(refused(&seen, "/bad").iter().all(|seen| seen.status == 401));
    assert!(tokens.requests() <= 6, "the first, two because of the revocations, three in a minute for nothing");
}

/// A world whose upstream takes every token but those that were revoked, and tells of the others in this way.
async fn refusing(upstream: &str, refusal: impl Fn() -> Reply + Send + Sync + 'static) -> (World, Issuer) {
    let issuer = Issuer::default();
    let judge = issuer.clone();
    let script = move |asked: &Asked, _: usize| if judge.takes(asked) { Reply::ok("fine") } else { refusal() };
    (World::with(issuer.start().await, "", upstream, script).await, issuer)
}

fn told(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.text())
}

#[tokio::test]
async fn an_upstream_that_has_taken_a_token_may_refuse_it_in_the_words_of_another_scheme() {
    for challenge in ["Basic realm=\"x\"", "Negotiate", "OAuth realm=\"x\", error=\"invalid_token\"", "\"unreadable"] {
        let field = format!("www-authenticate: {challenge}\r\n");
        let (world, issuer) = refusing("", move || Reply::new(401, &field, "who are you")).await;
        assert_eq!(world.get("/").await.status, 200);
        issuer.revoke();
        assert_eq!(told(&world.get("/").await), (200, "fine"), "{challenge}");
        World::assert_unauthorized(&world.unauthorized().await, &[("retried_ok", 1)]);
        assert_eq!(world.tokens.requests(), 2);
    }
}

#[tokio::test]
async fn what_another_scheme_costs_stays_bounded() {
    let basic = "www-authenticate: Basic realm=\"x\"\r\n";
    let world = World::new(move |asked, _| match asked.target() {
        "/" => Reply::ok("fine"),
        _ => Reply::new(401, basic, "a password, please"),
    })
    .await;
    world.get("/").await;
    for _ in 0..20 {
        assert_eq!(world.get("/admin").await.status, 401);
        assert_eq!(world.get("/").await.status, 200);
    }
    assert_eq!(world.tokens.requests(), 2);
}

#[tokio::test]
async fn a_dead_token_may_be_told_by_a_page_or_a_redirect_to_one() {
    for (on, status, fields) in [("203", 203, ""), ("302", 302, "location: https://login.test/\r\n")] {
        let line = format!("retry = {{ on = [401, {on}] }}");
        let (world, issuer) = refusing(&line, move || Reply::new(status, fields, "please sign in")).await;
        assert_eq!(world.get("/").await.status, 200);
        issuer.revoke();
        assert_eq!(told(&world.get("/").await), (200, "fine"), "{on}");
        World::assert_unauthorized(&world.unauthorized().await, &[("retried_ok", 1)]);
    }
}

#[tokio::test]
async fn a_grpc_status_in_the_head_is_a_refusal() {
    let fields = "content-type: application/grpc\r\ngrpc-status: 16\r\ngrpc-message: expired\r\n";
    let (world, issuer) = refusing("", move || Reply::new(200, fields, "")).await;
    assert_eq!(told(&world.get("/").await), (200, "fine"));
    issuer.revoke();
    assert_eq!(told(&world.get("/").await), (200, "fine"));
    World::assert_unauthorized(&world.unauthorized().await, &[("retried_ok", 1)]);
}

#[tokio::test]
async fn a_server_that_has_no_other_token_is_not_asked_for_one_with_each_call() {
    let tokens = TokenServer::scripted(|_, _| Reply::ok(&TokenServer::granted("the-only-one", 3600))).await;
    let world = World::with(tokens, "", "", |_, _| Reply::new(401, "", "refused")).await;
    for _ in 0..10 {
        assert_eq!(world.get("/").await.status, 401);
    }
    assert_eq!((world.tokens.requests(), world.api.requests()), (2, 10), "and nothing is sent twice with one token");
    World::assert_unauthorized(&world.unauthorized().await, &[("fresh_token", 10)]);
}

#[tokio::test]
async fn a_token_that_is_handed_out_until_it_ends_costs_nobody_a_request_or_an_error() {
    const LIFE: u64 = 5;
    let began = Instant::now();
    let tokens = TokenServer::scripted(move |_, _| {
        let age = began.elapsed().as_secs();
        Reply::ok(&TokenServer::granted(&format!("token-{}", age / LIFE), LIFE - age % LIFE))
    })
    .await;
    let api = Scripted::start(move |asked, _| {
        let now = format!("Bearer token-{}", began.elapsed().as_secs() / LIFE);
        if asked.field("authorization") == Some(&now) { Reply::ok("fine") } else { Reply::new(401, "", "") }
    })
    .await;
    let proxy = base(&tokens, &[("api", &api)]);
    let seen = callers(&proxy, 3, &["/api/a", "/api/b"], Duration::from_secs(LIFE * 3)).await;
    assert!(refused(&seen, "/").is_empty(), "{:?}", refused(&seen, "/"));
    assert!(tokens.requests() <= 16, "{} token requests in three lives", tokens.requests());
}

#[tokio::test]
async fn what_fails_or_never_looks_at_tokens_does_not_keep_a_dead_one_in_use() {
    let issuer = Issuer::default();
    let (tokens, judge) = (issuer.start().await, issuer.clone());
    let blip = Arc::new(AtomicUsize::new(0));
    let refusing = Arc::clone(&blip);
    let api = Scripted::start(move |asked, _| match asked.target() {
        "/down" => Reply::new(503, "", ""),
        "/public" => Reply::ok("for everybody"),
        _ if refusing.load(Ordering::SeqCst) > 0 => Reply::new(401, "", "out of order"),
        _ => judge.answer(asked),
    })
    .await;
    let proxy = base(&tokens, &[("api", &api)]);
    let ask = async |path: &str| get(proxy.address("base"), "localhost", path).await.status;
    assert_eq!(ask("/api/good").await, 200);
    blip.store(1, Ordering::SeqCst);
    assert_eq!(ask("/api/good").await, 401, "a new token is refused too");
    blip.store(0, Ordering::SeqCst);
    assert_eq!(ask("/api/good").await, 200);
    issuer.revoke();
    let seen = callers(&proxy, 3, &["/api/down", "/api/public", "/api/good"], Duration::from_secs(4)).await;
    let late: Vec<&Seen> =
        refused(&seen, "/api/good").into_iter().filter(|seen| seen.at > Duration::from_secs(2)).collect();
    assert!(late.is_empty(), "{late:?}");
}

#[tokio::test]
async fn uploads_that_are_refused_and_not_kept_hold_up_no_good_path() {
    let issuer = Issuer::default();
    let judge = issuer.clone();
    let script = move |asked: &Asked, _: usize| {
        if asked.target().starts_with("/upload") { Reply::new(401, "", "not for you") } else { judge.answer(asked) }
    };
    let world = World::with(issuer.start().await, "", "retry = { max_body = \"1KiB\" }", script).await;
    assert_eq!(world.get("/good").await.status, 200);
    for number in 0..20 {
        let head = format!("POST /upload/{} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000\r\n\r\n", number % 3);
        assert_eq!(world.send([head.as_bytes(), &[b'x'; 4000]].concat()).await.status, 401);
        assert_eq!(world.get("/good").await.status, 200);
    }
    assert!(world.tokens.requests() <= 4, "{}", world.tokens.requests());
    issuer.revoke();
    assert_eq!(world.get("/good").await.status, 200);
}

#[tokio::test]
async fn one_bad_server_behind_one_path_keeps_no_revoked_token_in_use_for_the_others() {
    let issuer = Issuer::default();
    let (tokens, judge) = (issuer.start().await, issuer.clone());
    let turn = AtomicUsize::new(0);
    let api = Scripted::start(move |asked, _| {
        let bad = asked.target() == "/shaky" && turn.fetch_add(1, Ordering::SeqCst) % 2 == 1;
        if bad { Reply::new(401, "", "a bad server") } else { judge.answer(asked) }
    })
    .await;
    let proxy = base(&tokens, &[("api", &api)]);
    let paths = &["/api/shaky", "/api/good", "/api/items/1"];
    // Until its servers are known to contradict each other, the shaky path may spend all that an upstream may cause in ten seconds.
    callers(&proxy, 3, paths, Duration::from_secs(11)).await;
    // Three revocations in ten seconds, and what the shaky path may ask for beside them, are what an upstream may cause.
    let period = Duration::from_secs(4);
    let (seen, ()) = tokio::join!(callers(&proxy, 3, paths, period * 5), revoke_every(&issuer, period, 4));
    // Seen by nobody, or for two seconds at the most after each revocation.
    for path in ["/api/good", "/api/items"] {
        let late = |seen: &&Seen| seen.at < period || seen.at.as_millis() % period.as_millis() > 2000;
        let late: Vec<&Seen> = refused(&seen, path).into_iter().filter(|seen| late(seen)).collect();
        assert!(late.is_empty(), "{late:?}");
    }
    assert!(tokens.requests() <= 16, "{}", tokens.requests());
}
