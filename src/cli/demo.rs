//! `attache demo`: the story of [`crate::demo`], told on the terminal. Every line that begins with `>` or `<` was sent
//! or received on a real socket at that moment.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anstyle::{AnsiColor, Style};

use super::output::{BOLD, counted};
use crate::app::App;
use crate::config::Config;
use crate::demo::{Demo, DemoPorts, Reply, ask};
use crate::listen::ListenAddress;

/// Why the demo ended badly.
#[derive(Debug, thiserror::Error)]
pub(super) enum DemoError {
    /// A part of it did not start.
    #[error("the demo cannot start: {0}")]
    Start(String),
    /// The story did not go as it is told.
    #[error("step {step} did not hold: expected {expected}, got {got}")]
    Step { step: u8, expected: String, got: String },
    /// The terminal is gone.
    #[error("cannot write to the terminal: {0}")]
    Output(#[from] io::Error),
}

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
    let outcome = tell(&demo, &app.addresses(), once).await;
    app.shutdown().await;
    outcome
}

async fn tell(demo: &Demo, addresses: &[(String, ListenAddress)], once: bool) -> Result<(), DemoError> {
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
    tokio::signal::ctrl_c().await?;
    Ok(())
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

async fn request(step: u8, address: SocketAddr, base: &str, path: &str) -> Result<Reply, DemoError> {
    say(format!("  > GET {base}{path}"))?;
    ask(address, &address.to_string(), path).await.map_err(|error| broken(step, &error))
}

/// Shows an answer that should be a good one.
fn show(step: u8, reply: &Reply) -> Result<(), DemoError> {
    let colour = if reply.status == 200 { GREEN } else { RED };
    say(format!("  {colour}< {}{colour:#}", reply.status_line))?;
    for line in reply.body.lines() {
        say(format!("  < {}", line.chars().take(96).collect::<String>()))?;
    }
    expect(step, 200, reply.status)
}

const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default();

fn heading(step: u8, text: &str) -> io::Result<()> {
    say("")?;
    say(format!("{BOLD}{step}. {text}{BOLD:#}"))
}

/// One line on stdout; styles are left out where that is no terminal.
fn say(line: impl Display) -> io::Result<()> {
    writeln!(anstream::stdout(), "{line}")
}

fn expect<E: Display, G: Display>(step: u8, expected: E, got: G) -> Result<(), DemoError> {
    let (expected, got) = (expected.to_string(), got.to_string());
    if expected == got { Ok(()) } else { Err(DemoError::Step { step, expected, got }) }
}

fn broken(step: u8, error: &io::Error) -> DemoError {
    DemoError::Step { step, expected: "an answer".to_owned(), got: error.to_string() }
}

fn start_error(error: impl Display) -> DemoError {
    DemoError::Start(error.to_string())
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

/// The ports of the documentation, so that its commands can be tried as they stand; others where those are taken, and
/// for a single run, which no other program connects to.
fn ports(once: bool) -> DemoPorts {
    let prefer = |port| {
        let free = !once && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if free { port } else { 0 }
    };
    DemoPorts { forward: prefer(8080), reverse: prefer(9001), admin: prefer(8079), ..DemoPorts::default() }
}
