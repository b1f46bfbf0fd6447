//! How a story is told: each line on stdout, and what has to hold at each step.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anstyle::{AnsiColor, Style};

use crate::cli::output::BOLD;
use crate::demo::{Reply, ask};

/// Why the demo ended badly.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum DemoError {
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

pub(super) const GREEN: Style = AnsiColor::Green.on_default();
pub(super) const RED: Style = AnsiColor::Red.on_default();

pub(super) async fn request(step: u8, address: SocketAddr, base: &str, path: &str) -> Result<Reply, DemoError> {
    say(format!("  > GET {base}{path}"))?;
    ask(address, &address.to_string(), path).await.map_err(|error| broken(step, &error))
}

/// Shows an answer that should be a good one.
pub(super) fn show(step: u8, reply: &Reply) -> Result<(), DemoError> {
    let colour = if reply.status == 200 { GREEN } else { RED };
    say(format!("  {colour}< {}{colour:#}", reply.status_line))?;
    for line in reply.body.lines() {
        say(format!("  < {}", line.chars().take(96).collect::<String>()))?;
    }
    expect(step, 200, reply.status)
}

pub(super) fn heading(step: u8, text: &str) -> io::Result<()> {
    say("")?;
    say(format!("{BOLD}{step}. {text}{BOLD:#}"))
}

/// One line on stdout; styles are left out where that is no terminal.
pub(super) fn say(line: impl Display) -> io::Result<()> {
    writeln!(anstream::stdout(), "{line}")
}

pub(super) fn expect<E: Display, G: Display>(step: u8, expected: E, got: G) -> Result<(), DemoError> {
    let (expected, got) = (expected.to_string(), got.to_string());
    if expected == got { Ok(()) } else { Err(DemoError::Step { step, expected, got }) }
}

pub(super) fn broken(step: u8, error: &io::Error) -> DemoError {
    DemoError::Step { step, expected: "an answer".to_owned(), got: error.to_string() }
}

pub(super) fn start_error(error: impl Display) -> DemoError {
    DemoError::Start(error.to_string())
}

/// The port of the documentation, so that its commands can be tried as they stand; 0 where it is taken, and for a single run,
/// which no other program connects to.
pub(super) fn prefer(port: u16, once: bool) -> u16 {
    let free = !once && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    if free { port } else { 0 }
}
