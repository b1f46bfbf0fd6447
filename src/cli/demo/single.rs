//! One proxy: the program asks by itself and is refused, and by attache it is answered, also when the token is revoked.

use std::net::SocketAddr;

use super::telling::{DemoError, RED, broken, expect, heading, prefer, request, say, show, start_error};
use crate::app::App;
use crate::cli::output::{BOLD, counted};
use crate::config::Config;
use crate::demo::{Demo, DemoPorts, Reply, ask};
use crate::listen::ListenAddress;

/// Starts everything, tells the story, and serves on until Ctrl-C, or not if `once`.
///
/// # Errors
/// When something does not start, or a step of the story does not hold.
pub(super) async fn run(once: bool) -> Result<(), DemoError> {
    let demo = Demo::start(ports(once)).await.map_err(start_error)?;
    let mut config = Config::parse("the demo's proxy.toml", &demo.proxy_toml()).map_err(start_error)?;
    // Its secret stands in the file, which is worth a warning everywhere but here.
    config.warnings.clear();
    crate::descriptors::raise();
    let app = App::start(config).map_err(start_error)?;
    let outcome = tell(&demo, &app, once).await;
    app.shutdown().await;
    outcome
}

async fn tell(demo: &Demo, app: &App, once: bool) -> Result<(), DemoError> {
    let addresses = &app.addresses();
    let story = Story {
        demo,
        api: demo.api.address(),
        forward: find(addresses, Demo::FORWARD)?,
        reverse: find(addresses, Demo::REVERSE)?,
    };
    story.introduce()?;
    story.refused_without_attache().await?;
    story.answered_through_attache().await?;
    story.token_revoked()?;
    story.answered_all_the_same().await?;
    if once {
        return Ok(());
    }
    story.now_you(find(addresses, "admin").ok())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        () = app.asked_to_stop() => Ok(()),
    }
}

struct Story<'a> {
    demo: &'a Demo,
    api: SocketAddr,
    forward: SocketAddr,
    reverse: SocketAddr,
}

impl Story<'_> {
    fn introduce(&self) -> Result<(), DemoError> {
        let Self { demo, api, forward, reverse } = self;
        say(format!(
            "{BOLD}An API that wants OAuth tokens, a program that has none, and attache between them.{BOLD:#}"
        ))?;
        say("")?;
        say(format!("  authorization server  {}", demo.authorization_server.issuer()))?;
        say(format!("  API                   http://{api}"))?;
        say(format!("  attache               http://{forward}  as HTTP_PROXY"))?;
        say(format!("                        http://{reverse}  as the API's base URL"))?;
        Ok(())
    }

    async fn refused_without_attache(&self) -> Result<(), DemoError> {
        heading(1, "The program asks the API by itself: refused")?;
        let reply = request(1, self.api, &format!("http://{}", self.api), "/orders").await?;
        let challenge = reply.header("www-authenticate").unwrap_or("no challenge");
        say(format!("  {RED}< {}{RED:#}", reply.status_line))?;
        say(format!("  < WWW-Authenticate: {challenge}"))?;
        expect(1, 401, reply.status)
    }

    async fn answered_through_attache(&self) -> Result<(), DemoError> {
        heading(2, "The same request through attache: answered")?;
        let base = format!("http://{}", self.reverse);
        show(2, &request(2, self.reverse, &base, "/orders").await?)?;
        say("")?;
        say(format!("  and with HTTP_PROXY=http://{}", self.forward))?;
        show(2, &self.request_through_proxy(2).await?)?;
        let issued = self.demo.authorization_server.issued();
        say(format!("  attache fetched the token by itself and kept it. Token requests so far: {issued}"))?;
        expect(2, "1 token request", counted(issued, "token request"))
    }

    fn token_revoked(&self) -> Result<(), DemoError> {
        heading(3, "The authorization server revokes that token")?;
        self.demo.authorization_server.revoke_all();
        say("  attache is not told. The token it holds is worth nothing from now on.")?;
        Ok(())
    }

    async fn answered_all_the_same(&self) -> Result<(), DemoError> {
        heading(4, "The next request is answered all the same")?;
        let (issued, refused) = (self.demo.authorization_server.issued(), self.demo.api.unauthorized());
        show(4, &self.request_through_proxy(4).await?)?;
        let refused = self.demo.api.unauthorized() - refused;
        let now_issued = self.demo.authorization_server.issued();
        say(format!("  The API said 401 {} to attache, which fetched another token and asked again.", times(refused)))?;
        say(format!("  Token requests: {issued} -> {now_issued}"))?;
        expect(4, "a 401 once", format!("a 401 {}", times(refused)))?;
        expect(4, counted(issued + 1, "token request"), counted(now_issued, "token request"))
    }

    fn now_you(&self, admin: Option<SocketAddr>) -> Result<(), DemoError> {
        let Self { api, forward, reverse, .. } = self;
        say("")?;
        say(format!("{BOLD}Now you{BOLD:#}"))?;
        say(format!("  curl -x http://{forward} http://{api}/orders"))?;
        say(format!("  curl http://{reverse}/whoami"))?;
        say(format!("  curl -d 'two diplomatic bags' http://{reverse}/orders"))?;
        if let Some(admin) = admin {
            say("")?;
            say(format!("  admin    http://{admin}/"))?;
            say(format!("  metrics  http://{admin}/metrics"))?;
        }
        say("")?;
        say("Ctrl-C ends it.")?;
        Ok(())
    }

    async fn request_through_proxy(&self, step: u8) -> Result<Reply, DemoError> {
        let url = format!("http://{}/orders", self.api);
        say(format!("  > GET {url}"))?;
        let reply = ask(self.forward, &self.api.to_string(), &url).await;
        reply.map_err(|error| broken(step, &error))
    }
}

fn times(number: u64) -> String {
    if number == 1 { "once".to_owned() } else { format!("{number} times") }
}

fn find(addresses: &[(String, ListenAddress)], name: &str) -> Result<SocketAddr, DemoError> {
    let address = addresses.iter().find_map(|(listener, address)| match address {
        ListenAddress::Tcp(address) if listener == name => Some(*address),
        _ => None,
    });
    address.ok_or_else(|| DemoError::Start(format!("attache does not listen as {name}")))
}

/// Those of the documentation, where they are free.
fn ports(once: bool) -> DemoPorts {
    let at = |port| prefer(port, once);
    DemoPorts { forward: at(8080), reverse: at(9001), admin: at(8079), ..DemoPorts::default() }
}
