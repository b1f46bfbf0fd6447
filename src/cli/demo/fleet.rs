//! Three proxies that share one token, and what may happen to them and to their server. Replicas are processes, so that they can be
//! killed.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::processes::{Replica, Server};
use super::telling::{DemoError, GREEN, broken, expect, heading, request, say, show, start_error};
use crate::cli::output::{BOLD, counted};
use crate::demo::{Demo, DemoPorts, Reply, ask};
use crate::exec::private_folder;

/// Replicas.
const FLEET: usize = 3;

/// The authorization server takes so long while its caller is killed.
const SLOW: Duration = Duration::from_secs(2);

/// After the server is back, the replicas are one fleet within this, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts everything, tells the story, and serves on until a signal, or not if `once`. Whatever ends it ends what it has started.
pub(super) async fn run(once: bool) -> Result<(), DemoError> {
    let mut ends = Ends::listen()?;
    tokio::select! {
        told = tell(once) => told,
        () = ends.next() => Ok(()),
    }
}

async fn tell(once: bool) -> Result<(), DemoError> {
    let folder = private_folder().map_err(start_error)?;
    let mut server = Server::find(folder.path())?;
    let demo = Demo::start(DemoPorts::default()).await.map_err(start_error)?;
    server.start().await?;
    let cache = format!(
        "\n[cache]\nshared = \"redis+unix://{}\"\nkey = \"demo only: this key is in the source, and no secret\"\n",
        server.socket().display()
    );
    let toml = |port: u16, admin: u16| demo.replica_toml(port, admin) + &cache;
    let mut replicas = Vec::new();
    for number in 1..=FLEET {
        replicas.push(Replica::new(number, folder.path(), once, toml)?);
    }
    try_join_all(replicas.iter_mut().map(Replica::start)).await?;
    let mut story = Story { demo: &demo, server, replicas };
    story.introduce()?;
    story.one_request_for_all().await?;
    story.one_renewal_for_all().await?;
    story.the_leader_dies().await?;
    story.the_server_is_stopped().await?;
    story.the_server_is_back().await?;
    if once {
        return Ok(());
    }
    story.now_you()?;
    std::future::pending().await
}

struct Story<'a> {
    demo: &'a Demo,
    server: Server,
    replicas: Vec<Replica>,
}

impl Story<'_> {
    fn introduce(&self) -> Result<(), DemoError> {
        let Self { demo, server, replicas } = self;
        say(format!("{BOLD}Three proxies, a server between them, and one token request for all.{BOLD:#}"))?;
        say("")?;
        say(format!("  authorization server  {}", demo.authorization_server.issuer()))?;
        say(format!("  API                   http://{}", demo.api.address()))?;
        say(format!("  shared cache          {} on {}", server.program().display(), server.socket().display()))?;
        for replica in replicas {
            say(format!("  replica {}             http://{}", replica.number, replica.address))?;
        }
        Ok(())
    }

    async fn one_request_for_all(&self) -> Result<(), DemoError> {
        heading(1, "All three are asked in one instant: one token request")?;
        let tokens = self.ask_all(1).await?;
        self.requests(1, 0, 1)?;
        expect(1, "one token", different(&tokens))
    }

    async fn one_renewal_for_all(&self) -> Result<(), DemoError> {
        heading(2, "The token is revoked, and all three are asked: one token request")?;
        let before = self.demo.authorization_server.requests();
        self.demo.authorization_server.revoke_all();
        let tokens = self.ask_all(2).await?;
        say("  The API said 401 to each. One of them got another token, for all.")?;
        self.requests(2, before, 1)?;
        expect(2, "one token", different(&tokens))
    }

    async fn the_leader_dies(&mut self) -> Result<(), DemoError> {
        heading(3, "The one that asks is killed while it asks: another takes over")?;
        let server = &self.demo.authorization_server;
        let before = server.requests();
        server.revoke_all();
        server.delay(SLOW);
        let Some((leader, others)) = self.replicas.split_first_mut() else { return Ok(()) };
        let caller = tokio::spawn({
            let address = leader.address;
            async move { drop(ask(address, &address.to_string(), "/whoami").await) }
        });
        say(format!("  > GET http://{}/whoami", leader.address))?;
        let deadline = Instant::now() + PATIENCE;
        while server.requests() == before && Instant::now() < deadline {
            sleep(Duration::from_millis(5)).await;
        }
        expect(3, "a token request", if server.requests() > before { "a token request" } else { "none" })?;
        leader.kill().await?;
        caller.abort();
        server.delay(Duration::ZERO);
        say(format!(
            "  Replica {} has asked the authorization server, and is killed before there is an answer.",
            leader.number
        ))?;
        let began = Instant::now();
        let tokens = ask_each(3, others).await?;
        let took = began.elapsed().as_secs_f64();
        say(format!("  Answered after {took:.1} s: its lease of 3 s had to end. One of the two asked, for both."))?;
        self.requests(3, before, 2)?;
        expect(3, "one token", different(&tokens))?;
        if let Some(leader) = self.replicas.first_mut() {
            leader.start().await?;
            say(format!("  Replica {} starts again, and is given that token:", leader.number))?;
        }
        self.ask_all(3).await?;
        self.requests(3, before, 2)
    }

    async fn the_server_is_stopped(&mut self) -> Result<(), DemoError> {
        heading(4, "The server is killed, and the token revoked: each goes on by itself")?;
        let before = self.demo.authorization_server.requests();
        self.server.kill().await?;
        self.demo.authorization_server.revoke_all();
        let tokens = self.ask_all(4).await?;
        say("  Each has asked for itself, as without a shared cache.")?;
        self.requests(4, before, 3)?;
        expect(4, "3 tokens", different(&tokens))
    }

    async fn the_server_is_back(&mut self) -> Result<(), DemoError> {
        heading(5, "The server is started again, empty: one fleet again")?;
        let (began, before) = (Instant::now(), self.demo.authorization_server.requests());
        self.server.start().await?;
        while different(&self.tokens().await?) != "one token" {
            if began.elapsed() > PATIENCE {
                return expect(5, "one token", "several");
            }
            sleep(Duration::from_millis(100)).await;
        }
        let now = self.demo.authorization_server.requests();
        say(format!("  After {:.1} s they have one token again.", began.elapsed().as_secs_f64()))?;
        say(format!("  {GREEN}Token requests: {before} -> {now}{GREEN:#}"))?;
        say("  It is revoked, and all three are asked:")?;
        let before = now;
        self.demo.authorization_server.revoke_all();
        let tokens = self.ask_all(5).await?;
        self.requests(5, before, 1)?;
        expect(5, "one token", different(&tokens))
    }

    fn now_you(&self) -> Result<(), DemoError> {
        say("")?;
        say(format!("{BOLD}Now you{BOLD:#}"))?;
        for replica in &self.replicas {
            say(format!("  curl http://{}/whoami     its page: http://{}/", replica.address, replica.admin))?;
        }
        say("")?;
        say("Ctrl-C ends it.")?;
        Ok(())
    }

    /// Asks all replicas at once, and shows it: the token that each has.
    async fn ask_all(&self, step: u8) -> Result<Vec<String>, DemoError> {
        ask_each(step, &self.replicas).await
    }

    /// The same, unseen.
    async fn tokens(&self) -> Result<Vec<String>, DemoError> {
        let asked = self
            .replicas
            .iter()
            .map(|replica| async { ask(replica.address, &replica.address.to_string(), "/whoami").await });
        let replies = join_all(asked).await;
        replies.into_iter().map(|reply| Ok(token(&reply.map_err(|error| broken(5, &error))?))).collect()
    }

    /// Shows how many token requests there have been, and that as many as this came on top.
    fn requests(&self, step: u8, before: u64, more: u64) -> Result<(), DemoError> {
        let now = self.demo.authorization_server.requests();
        say(format!("  {GREEN}Token requests: {before} -> {now}{GREEN:#}"))?;
        expect(step, counted(before + more, "token request"), counted(now, "token request"))
    }
}

async fn ask_each(step: u8, replicas: &[Replica]) -> Result<Vec<String>, DemoError> {
    let of = |replica: &Replica| -> SocketAddr { replica.address };
    let asked = replicas
        .iter()
        .map(of)
        .map(async |address| request(step, address, &format!("http://{address}"), "/whoami").await);
    let replies = try_join_all(asked).await?;
    replies.iter().try_for_each(|reply| show(step, reply))?;
    Ok(replies.iter().map(token).collect())
}

/// Which token the API was shown.
fn token(reply: &Reply) -> String {
    let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap_or_default();
    body["token"].as_str().unwrap_or_default().to_owned()
}

fn different(tokens: &[String]) -> String {
    let different: std::collections::BTreeSet<&String> = tokens.iter().collect();
    if different.len() == 1 { "one token".to_owned() } else { counted(different.len() as u64, "token") }
}

/// Whatever asks the demo to end.
struct Ends([tokio::signal::unix::Signal; 3]);

impl Ends {
    fn listen() -> Result<Self, DemoError> {
        Ok(Self([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
