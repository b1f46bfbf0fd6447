//! Addresses and routes of the network inside, by iproute2: every address of the world is this machine's, so that whatever is dialled
//! ends here at once, and can be told.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use super::super::tools::{tool, tool_command};
use super::error::IsolateError;
use super::names::OWN;

const LIMIT: Duration = Duration::from_secs(10);

/// Below this only those who may set a network up have ports.
const UNPRIVILEGED_PORTS: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

/// Sets the network up. `any_port`: the program may listen on ports below 1024 too, as root may without `--isolate`.
///
/// # Errors
/// What `ip` says.
pub(super) async fn set_up(any_port: bool) -> Result<(), IsolateError> {
    let ip = tool("ip").ok_or_else(|| IsolateError::at("ip (iproute2)", io::ErrorKind::NotFound.into()))?;
    let own = format!("{OWN}/{}", Ipv4Addr::BITS);
    must(&ip, &["link", "set", "lo", "up"]).await?;
    must(&ip, &["addr", "add", &own, "dev", "lo"]).await?;
    must(&ip, &["route", "add", "local", "default", "dev", "lo"]).await?;
    // Without it an IPv6 address has no route, which ends as soon; a kernel may have no IPv6 at all.
    let _no_ipv6 = run(&ip, &["-6", "route", "add", "local", "default", "dev", "lo"]).await;
    if any_port {
        // A container may keep it from being written; then the program has the ports of other users.
        let _read_only = std::fs::write(UNPRIVILEGED_PORTS, "0");
    }
    Ok(())
}

async fn must(ip: &Path, arguments: &[&str]) -> Result<(), IsolateError> {
    let output = run(ip, arguments).await.map_err(|error| IsolateError::at("ip", error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(IsolateError::Network { command: arguments.join(" "), said })
}

async fn run(ip: &Path, arguments: &[&str]) -> io::Result<Output> {
    let mut command = tool_command(ip);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    tokio::time::timeout(LIMIT, command.output()).await?
}
