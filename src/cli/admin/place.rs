//! Where an admin listener is asked: a host with a port, or a unix socket.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use crate::cli::output::Failure;
use crate::listen::ListenAddress;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// `host:port`, resolved when it is dialled.
    Tcp(String),
    Unix(PathBuf),
}

impl Place {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        const REMEDY: &str = "write --admin http://127.0.0.1:8079 or --admin unix:/run/attache/admin.sock";
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err(format!("--admin has no path; {REMEDY}"))
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        if text.starts_with("https://") {
            return Err(format!("the admin listener speaks plain http; {REMEDY}"));
        }
        let authority = text.strip_prefix("http://").unwrap_or(text);
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let parsed = authority.parse::<http::uri::Authority>().ok().filter(|parsed| !parsed.host().is_empty());
        match parsed.filter(|parsed| !authority.contains('@') && parsed.port().is_some()) {
            Some(_) => Ok(Self::Tcp(authority.to_owned())),
            None => Err(format!("--admin is neither a host with a port nor a socket; {REMEDY}")),
        }
    }

    /// Where a listener of this machine can be reached: one on every address, on loopback.
    pub(super) fn of(address: &ListenAddress) -> Result<Self, Failure> {
        match address {
            ListenAddress::Unix(path) => Ok(Self::Unix(path.clone())),
            ListenAddress::Tcp(address) if address.port() == 0 => Err(Failure::failed(
                "[admin] has port 0, so only its start line says where it is; name that with --admin http://HOST:PORT",
            )),
            ListenAddress::Tcp(address) => {
                let ip = match address.ip() {
                    IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
                    IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
                    ip => ip,
                };
                Ok(Self::Tcp(SocketAddr::new(ip, address.port()).to_string()))
            }
        }
    }
}

/// As a person writes it: `http://127.0.0.1:8079` or `unix:/run/attache/admin.sock`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => write!(f, "http://{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_listener_is_named_as_its_address_or_its_socket() {
        let tcp = |text: &str| Ok(Place::Tcp(text.to_owned()));
        assert_eq!(Place::parse("http://127.0.0.1:8079/"), tcp("127.0.0.1:8079"));
        assert_eq!(Place::parse("[::1]:8079"), tcp("[::1]:8079"));
        assert_eq!(Place::parse("unix:/run/a.sock"), Ok(Place::Unix("/run/a.sock".into())));
        for wrong in ["https://127.0.0.1:1", "127.0.0.1", "unix:", "", "http://me:x@h:1", "http://h:1/status"] {
            assert!(Place::parse(wrong).unwrap_err().contains("; write --admin http://"), "{wrong}");
        }
    }

    #[test]
    fn a_listener_on_every_address_is_asked_on_loopback() {
        let of = |text: &str| Place::of(&ListenAddress::Tcp(text.parse().unwrap()));
        assert_eq!(of("0.0.0.0:8079").unwrap(), Place::Tcp("127.0.0.1:8079".into()));
        assert_eq!(of("[::]:8079").unwrap(), Place::Tcp("[::1]:8079".into()));
        assert_eq!(of("10.0.0.1:8079").unwrap(), Place::Tcp("10.0.0.1:8079".into()));
        assert!(matches!(of("127.0.0.1:0"), Err(Failure::Failed(message)) if message.contains("--admin")));
    }
}
