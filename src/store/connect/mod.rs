//! Where the next connection goes: to the server, one of the seeds of a cluster, or whomever the sentinels name.

mod bounded;
mod failure;
mod reading;
mod session;
mod transport;

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use redis::{Value, cmd};
use tokio::sync::broadcast;

pub(super) use bounded::Allowance;
pub(super) use failure::DialFailure;
pub(crate) use session::Probe;
pub(super) use session::Session;

use super::error::StoreError;
use super::fault::{Fault, Loss};
use super::script::answer;
use super::settings::{StoreAddress, StoreSettings};
use crate::secret::{Secret, Secrets};
use reading::Reading;
use session::{Login, open, plain};
use transport::{Node, Ways};

/// One dial, with all that is asked on the way.
const DIAL: Duration = Duration::from_secs(5);

/// One of several servers: a silent one leaves time for the others.
const ONE_OF_SEVERAL: Duration = Duration::from_secs(2);

/// So many nodes of a cluster may send a dial on to the next.
const MOVES: usize = 3;

pub(super) struct Dialler {
    settings: StoreSettings,
    ways: Ways,
    probe: Probe,
    messages: broadcast::Sender<String>,
    tls: Reading<rustls::ClientConfig>,
    password: Reading<Secret>,
    sentinel_password: Reading<Secret>,
    /// Where in the list the next try goes: to the one that answered last, or on from one that did not, though a dial may end with it.
    first: usize,
    /// The node that a cluster has named.
    moved: Option<Node>,
    /// The seed that the last connection came from, by which a node without a name is verified.
    seed: Option<String>,
}

impl Dialler {
    pub(super) fn new(settings: StoreSettings, probe: Probe, messages: broadcast::Sender<String>) -> Self {
        // The replicas of a fleet begin with different seeds.
        let first = fastrand::usize(..settings.servers.len().max(1));
        let password = |from: Option<Secrets>| Reading::new(from.map(|from| move || from.first_readable()));
        let tls = settings.with_tls.then(|| settings.tls.clone()).map(|tls| move || tls.read());
        Self {
            ways: Ways::new(),
            tls: Reading::new(tls),
            password: password(settings.password.clone()),
            sentinel_password: password(settings.sentinel.as_ref().and_then(|sentinel| sentinel.password.clone())),
            settings,
            probe,
            messages,
            first,
            moved: None,
            seed: None,
        }
    }

    /// One try, within five seconds.
    pub(super) async fn dial(&mut self) -> Result<Session, DialFailure> {
        let address = self.settings.servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        within(DIAL, &address, async {
            self.ways.tls = self.tls.now().await.map_err(DialFailure::Certificates)?.map(Arc::new);
            if self.settings.sentinel.is_some() { self.by_sentinels().await } else { self.by_list().await }
        })
        .await
    }

    /// What the end of a connection says about where to go next.
    pub(super) fn heed(&mut self, loss: &Loss) {
        match loss {
            Loss::Moved(Some(to)) => {
                let from = self.moved.take();
                self.moved = Some(self.node_of_cluster(to, from.as_ref()));
            }
            // The node that was named before may be what is wrong.
            Loss::ReadOnly | Loss::NotReady | Loss::Moved(None) => self.moved = None,
            Loss::Timeout | Loss::Closed | Loss::Unauthenticated => {}
        }
    }

    async fn by_list(&mut self) -> Result<Session, DialFailure> {
        let mut failure = None;
        if let Some(node) = self.moved.clone() {
            match self.follow(node).await {
                Ok((session, node)) => {
                    self.moved = Some(node);
                    return Ok(session);
                }
                Err(error) => failure = Some(error.or_more_telling(failure)),
            }
            self.moved = None;
        }
        for _ in 0..self.settings.servers.len() {
            let Some((index, address)) = self.next() else { break };
            self.seed = address.host().map(str::to_owned);
            let seed = Node { address, certificate_name: self.settings.tls.server_name.clone() };
            match self.follow(seed.clone()).await {
                Ok((session, node)) => {
                    self.first = index;
                    self.moved = Some(node).filter(|node| *node != seed);
                    return Ok(session);
                }
                Err(error) => failure = Some(error.or_more_telling(failure)),
            }
        }
        Err(failure.unwrap_or_else(|| DialFailure::Host("an empty list".into())))
    }

    /// The server that is tried now. Another one is next whatever becomes of it: silent ones must not hide those behind them.
    fn next(&mut self) -> Option<(usize, StoreAddress)> {
        let index = self.first;
        let address = self.settings.servers.get(index).cloned()?;
        self.first = (index + 1) % self.settings.servers.len();
        Some((index, address))
    }

    /// Dials a node, and where that one sends it, if it is one of a cluster.
    async fn follow(&mut self, mut node: Node) -> Result<(Session, Node), DialFailure> {
        let mut moves = 0;
        loop {
            match self.open(&node).await {
                Ok(session) => return Ok((session, node)),
                Err(DialFailure::Moved { to: Some(to), .. }) if moves < MOVES => {
                    moves += 1;
                    node = self.node_of_cluster(&to, Some(&node));
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn by_sentinels(&mut self) -> Result<Session, DialFailure> {
        let mut failure = None;
        for _ in 0..self.settings.servers.len() {
            let Some((index, address)) = self.next() else { break };
            let tried = match self.ask_sentinel(address).await {
                Ok(primary) => self.open(&primary).await,
                Err(error) => Err(error),
            };
            match tried {
                Ok(session) => {
                    self.first = index;
                    return Ok(session);
                }
                Err(error) => failure = Some(error.or_more_telling(failure)),
            }
        }
        Err(failure.unwrap_or_else(|| DialFailure::Host("an empty list".into())))
    }

    /// Asks one sentinel where the primary is.
    async fn ask_sentinel(&mut self, address: StoreAddress) -> Result<Node, DialFailure> {
        let Some(sentinel) = &self.settings.sentinel else { return Err(DialFailure::Sentinel(address.to_string())) };
        let node = Node { address, certificate_name: self.settings.tls.server_name.clone() };
        let (name, ways, password) = (node.address.to_string(), &self.ways, &mut self.sentinel_password);
        let asked = async {
            let login = Login {
                username: sentinel.username.clone(),
                password: password.now().await.map_err(DialFailure::Password)?,
            };
            let (mut connection, _driver) = plain(ways, &node, &login, &Allowance::new()).await?;
            let question = cmd("SENTINEL").arg("get-master-addr-by-name").arg(&sentinel.master).to_owned();
            answer(&mut connection, &question).await.map_err(|error| DialFailure::of(&node.address, &Fault::of(&error)))
        };
        let answered = within(ONE_OF_SEVERAL, &name, asked).await?;
        let address = match answered {
            Value::Nil => return Err(DialFailure::UnknownMaster { address: name, master: sentinel.master.clone() }),
            answered => {
                primary(&answered).ok_or(DialFailure::Answer { address: name, error: StoreError::Unexpected })?
            }
        };
        Ok(Node { address, certificate_name: self.settings.tls.server_name.clone() })
    }

    async fn open(&mut self, node: &Node) -> Result<Session, DialFailure> {
        let limit = if self.settings.servers.len() > 1 || self.moved.is_some() { ONE_OF_SEVERAL } else { DIAL };
        let (ways, settings, password) = (&self.ways, &self.settings, &mut self.password);
        let opened = async {
            let login = Login {
                username: settings.username.clone(),
                password: password.now().await.map_err(DialFailure::Password)?,
            };
            open(ways, node, &login, settings.database, &self.probe, &self.messages).await
        };
        within(limit, &node.address.to_string(), opened).await
    }

    /// A node as the cluster names it: perhaps without a host, and perhaps by an address that no certificate is for.
    fn node_of_cluster(&self, to: &StoreAddress, from: Option<&Node>) -> Node {
        let address = match to {
            StoreAddress::Tcp { host, port } if host.is_empty() => {
                let host = from.and_then(|node| node.address.host()).or(self.seed.as_deref()).unwrap_or_default();
                StoreAddress::Tcp { host: host.to_owned(), port: *port }
            }
            named => named.clone(),
        };
        let by_ip = address.host().is_some_and(|host| host.parse::<IpAddr>().is_ok());
        let seed = self.seed.clone().filter(|_| by_ip);
        Node { address, certificate_name: self.settings.tls.server_name.clone().or(seed) }
    }
}

/// Two texts, host and port.
fn primary(answered: &Value) -> Option<StoreAddress> {
    let Value::Array(parts) = answered else { return None };
    let [Value::BulkString(host), Value::BulkString(port)] = parts.as_slice() else { return None };
    let (host, port) = (std::str::from_utf8(host).ok()?, std::str::from_utf8(port).ok()?);
    StoreAddress::named(host, port.parse().ok()?)
}

async fn within<T>(
    limit: Duration,
    address: &str,
    what: impl Future<Output = Result<T, DialFailure>>,
) -> Result<T, DialFailure> {
    let silent = || DialFailure::Silent { address: address.to_owned(), within: limit };
    tokio::time::timeout(limit, what).await.unwrap_or_else(|_elapsed| Err(silent()))
}
