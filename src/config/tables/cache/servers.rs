//! `cache.shared`: one URL or several, and whether they agree. No message repeats a URL, in which a password may stand.

use std::path::PathBuf;

use url::Url;

use crate::config::syntax::userinfo::{decoded, userinfo};
use crate::config::syntax::value::Value;
use crate::dial::Host;
use crate::secret::Secret;
use crate::store::StoreAddress;

/// Of servers, and of sentinels.
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

const REMEDY: &str = "write \"rediss://HOST\", without TLS \"redis://HOST\" (valkeys:// and valkey:// are the same), or a socket: \"redis+unix:///path\"";
const SENTINELS: &str = "write the sentinels as a list, [\"redis://HOST\", …], and sentinel = { master = \"NAME\" }";
const SOCKET: &str = "write \"redis+unix:///path\": three slashes, and the path of the socket";

/// What all URLs of `shared` come to.
#[derive(Debug)]
pub(super) struct Servers {
    pub(super) addresses: Vec<StoreAddress>,
    pub(super) with_tls: bool,
    pub(super) database: u16,
    pub(super) username: Option<String>,
    /// In the URL, which has been warned about.
    pub(super) password: Option<Secret>,
    /// Some of them are other machines.
    remote: bool,
}

impl Servers {
    /// What is sent could be read on the way to another machine.
    pub(super) const fn in_clear_elsewhere(&self) -> bool {
        self.remote && !self.with_tls
    }
}

/// Reads a URL, or a list of them. `None` after a problem; all are told.
pub(super) fn servers(value: Value<'_>, sentinels: bool) -> Option<Servers> {
    let entries = value.one_or_list()?;
    let read: Vec<_> = entries.iter().map(|entry| server(entry, sentinels)).collect();
    let right: Vec<(&Value<'_>, &Server)> =
        entries.iter().zip(&read).filter_map(|(entry, read)| Some((entry, read.as_ref()?))).collect();
    let agreed = agree(&right, sentinels);
    if !agreed || right.len() < entries.len() {
        return None;
    }
    let (_, first) = right.first()?;
    Some(Servers {
        addresses: right.iter().map(|(_, server)| server.address.clone()).collect(),
        with_tls: first.scheme.has_tls(),
        database: right.iter().find_map(|(_, server)| server.database).unwrap_or_default(),
        username: right.iter().find_map(|(_, server)| server.username.clone()),
        password: right.iter().find_map(|(_, server)| server.password.clone()),
        remote: right.iter().any(|(_, server)| server.remote),
    })
}

#[derive(Debug)]
struct Server {
    scheme: Scheme,
    address: StoreAddress,
    remote: bool,
    /// Where it is named.
    database: Option<u16>,
    username: Option<String>,
    password: Option<Secret>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Redis,
    Rediss,
    Valkey,
    Valkeys,
    Unix,
}

const SCHEMES: [(&str, Scheme); 5] = [
    ("redis", Scheme::Redis),
    ("rediss", Scheme::Rediss),
    ("valkey", Scheme::Valkey),
    ("valkeys", Scheme::Valkeys),
    ("redis+unix", Scheme::Unix),
];

impl Scheme {
    const fn has_tls(self) -> bool {
        matches!(self, Self::Rediss | Self::Valkeys)
    }
}

fn server(value: &Value<'_>, sentinels: bool) -> Option<Server> {
    let text = value.text()?.trim();
    let Some((written, rest)) = text.split_once("://") else { return value.wrong("has no scheme", REMEDY) };
    let lower = written.to_ascii_lowercase();
    let Some((_, scheme)) = SCHEMES.iter().find(|(name, _)| *name == lower) else {
        let remedy = match lower.as_str() {
            known if known.contains("sentinel") => SENTINELS,
            known if known.contains("unix") || known.contains("socket") => SOCKET,
            _ => REMEDY,
        };
        return value.wrong("has another scheme than those of a shared cache", remedy);
    };
    if *scheme == Scheme::Unix {
        return socket(value, rest, sentinels);
    }
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => return value.wrong(format_args!("is not valid: {error}"), REMEDY),
    };
    // All at once, so that nothing is told only after the other is mended.
    belongs_elsewhere(value, &url);
    let (username, password) = login(value, &url);
    let database = database(value, &url);
    let (host, address) = address(value, &url, sentinels)?;
    Some(Server { scheme: *scheme, address, remote: !host.is_loopback(), database, username, password })
}

fn address(value: &Value<'_>, url: &Url, sentinels: bool) -> Option<(Host, StoreAddress)> {
    let Some(host) = url.host_str().filter(|host| !host.is_empty()) else { return value.wrong("has no host", REMEDY) };
    let host = match Host::parse(host) {
        Ok(host) => host,
        Err(error) => return value.wrong(format_args!("is not valid: {error}"), REMEDY),
    };
    let port = url.port().unwrap_or(if sentinels { SENTINEL_PORT } else { PORT });
    if port == 0 {
        return value.wrong("names port 0", format!("write the port of the server, or none for {PORT}"));
    }
    Some((host.clone(), StoreAddress::Tcp { host: host.bare().to_owned(), port }))
}

/// The path is its number.
fn database(value: &Value<'_>, url: &Url) -> Option<u16> {
    let path = url.path().strip_prefix('/').unwrap_or_else(|| url.path());
    if path.is_empty() {
        return None;
    }
    let digits = path.bytes().all(|byte| byte.is_ascii_digit());
    match path.parse().ok().filter(|_| digits) {
        Some(number) => Some(number),
        None => value.wrong("has a path that is no number of a database", "write \"/0\", another number, or nothing"),
    }
}

/// What a URL may have, and one of these may not.
fn belongs_elsewhere(value: &Value<'_>, url: &Url) {
    if url.query().is_some() {
        let remedy =
            "write what it says as keys of [cache], such as timeout = \"250ms\", and the database as a path: \"/0\"";
        value.wrong::<()>("has a query", remedy);
    }
    if url.fragment().is_some() {
        let remedy = "remove what begins with \"#\"; a certificate is always verified: tls = { ca_file = \"ca.pem\" } says by whom";
        value.wrong::<()>("has a fragment", remedy);
    }
}

/// User name and password; the latter with a warning.
fn login(value: &Value<'_>, url: &Url) -> (Option<String>, Option<Secret>) {
    let (username, password) = userinfo(url);
    let password = password.filter(|password| !password.is_blank());
    if password.is_some() {
        value.file.warning(
            value.at,
            format!("`{}`: the password is written into the URL", value.path),
            "write password = { file = \"path\" } or { env = \"NAME\" } beside it, and the user name alone before the \"@\"",
        );
    }
    (Some(username).filter(|name| !name.is_empty()), password)
}

/// `redis+unix://[USER[:PASSWORD]@]/path`. The `url` crate knows no user information without a host.
fn socket(value: &Value<'_>, rest: &str, sentinels: bool) -> Option<Server> {
    if sentinels {
        return value.wrong("is a socket of this machine, where sentinels are meant", SENTINELS);
    }
    let Some((before, path)) = rest.split_once('/').filter(|(_, path)| !path.is_empty()) else {
        return value.wrong("has no path", SOCKET);
    };
    if rest.contains(['?', '#']) {
        return value.wrong("has a query or a fragment", SOCKET);
    }
    let with_host = format!("redis://{before}localhost");
    let Some(url) = Url::parse(&with_host).ok().filter(|_| before.is_empty() || before.ends_with('@')) else {
        return value.wrong("has a host before the path of the socket", SOCKET);
    };
    let (username, password) = login(value, &url);
    let address = StoreAddress::Unix(PathBuf::from(format!("/{}", decoded(path))));
    Some(Server { scheme: Scheme::Unix, address, remote: false, database: None, username, password })
}

/// Whether several can be one cache: told at each that differs from those before it.
fn agree(servers: &[(&Value<'_>, &Server)], sentinels: bool) -> bool {
    let Some(((_, first), others)) = servers.split_first() else { return false };
    let cluster = !others.is_empty() && !sentinels;
    let mut right = true;
    let mut wrong = |value: &Value<'_>, what: &str, remedy: &str| {
        value.wrong::<()>(what, remedy);
        right = false;
    };
    for (at, (value, server)) in servers.iter().enumerate() {
        let before = &servers[..at];
        let differs = |differs: &dyn Fn(&Server) -> bool| before.iter().any(|(_, other)| differs(other));
        if cluster && server.scheme == Scheme::Unix {
            wrong(value, "is a socket in a list of servers", "write it alone, or the hosts of a cluster");
        } else if server.scheme != first.scheme {
            wrong(value, "has another scheme than the first", "write the same for all: either each with TLS, or none");
        }
        if differs(&|other| other.address == server.address) {
            wrong(value, "is listed twice", "keep one of the two");
        }
        if cluster && server.database.is_some_and(|number| number != 0) {
            let remedy = "take the number away; if these are sentinels, add sentinel = { master = \"NAME\" }";
            wrong(value, "names a database, and a cluster has only 0", remedy);
        } else if differs(&|other| differ(other.database.as_ref(), server.database.as_ref())) {
            wrong(
                value,
                "names another database than one before it",
                "write the same number for all, or for the first alone",
            );
        }
        if differs(&|other| differ(other.username.as_ref(), server.username.as_ref())) {
            wrong(value, "names another user than one before it", "write the same for all, or for the first alone");
        }
        if differs(&|other| differ(other.password.as_ref(), server.password.as_ref())) {
            wrong(
                value,
                "has another password than one before it",
                "write password = { file = \"path\" } beside the list",
            );
        }
    }
    right
}

/// Both are named, and are not the same.
fn differ<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one != other)
}
