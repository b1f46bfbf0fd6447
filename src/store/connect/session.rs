//! A connection from its first bytes to the first question: who we are, who the server is, and whether it does what is needed.

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ErrorKind, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, RedisError,
    ServerErrorKind, Value, cmd,
};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use super::bounded::{Allowance, Bounded};
use super::failure::DialFailure;
use super::transport::{Node, Ways};
use crate::secret::Secret;
use crate::store::condition::About;
use crate::store::error::{Refusal, StoreError};
use crate::store::fault::{Fault, Loss};
use crate::store::script::{PRIMARY, Script, answer, role, text};
use crate::store::settings::StoreAddress;
use crate::store::status::Push;

/// No message of a fleet's is longer. Others may say more on the channel; of that nothing is kept.
const LONGEST_MESSAGE: usize = 64;

/// What is done on each new connection before it serves.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    /// The connection's name in the server's lists.
    pub(crate) client_name: String,
    /// It has to succeed, or be refused for want of memory. In a cluster its key says which node is the right one.
    pub(crate) script: &'static Script,
    pub(crate) key: String,
    pub(crate) arguments: Vec<Vec<u8>>,
    /// Listened to; `None`: nothing is.
    pub(crate) channel: Option<String>,
}

/// Whom a connection is made as. A user has a password.
pub(in crate::store) struct Login {
    pub(in crate::store) username: Option<String>,
    pub(in crate::store) password: Option<Secret>,
}

/// A connection that is ready.
pub(in crate::store) struct Session {
    pub(in crate::store) connection: MultiplexedConnection,
    pub(in crate::store) driver: Driver,
    pub(in crate::store) allowance: Allowance,
    pub(in crate::store) about: About,
}

/// The task that moves a connection's bytes; it ends with its owner.
pub(in crate::store) struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Driver {
    /// Waits until the connection has ended.
    pub(in crate::store) async fn ended(&mut self) {
        let _whatever = (&mut self.0).await;
    }
}

/// Connects to a node, and makes sure that it is a primary that does what is needed.
pub(in crate::store) async fn open(
    ways: &Ways,
    node: &Node,
    login: &Login,
    database: u16,
    probe: &Probe,
    messages: &broadcast::Sender<String>,
) -> Result<Session, DialFailure> {
    let Greeted { mut connection, driver, allowance, push } = greet(ways, node, login, probe, messages).await?;
    let refused = |error: RedisError| DialFailure::of(&node.address, &Fault::of(&error));
    let server = introduce(&mut connection, &probe.client_name, push).await;
    if database != 0 {
        answer(&mut connection, cmd("SELECT").arg(database)).await.map_err(|error| match Fault::of(&error) {
            Fault { error: error @ StoreError::Refused(_), loss: None } => {
                DialFailure::Database { address: node.address.to_string(), database, error }
            }
            fault => DialFailure::of(&node.address, &fault),
        })?;
    }
    // In a cluster a replica says where its primary is, when it is asked for the key.
    if !server.is_cluster {
        require_primary(&mut connection, &server, &node.address).await?;
    }
    let refusal = try_out(&mut connection, probe, &node.address).await?;
    let push = match &probe.channel {
        None => Push::Off,
        Some(_) if !push => Push::Refused,
        Some(channel) => match connection.subscribe(channel).await {
            Ok(()) => Push::On,
            Err(error) => match Fault::of(&error).error {
                StoreError::Refused(_) => Push::Refused,
                _ => return Err(refused(error)),
            },
        },
    };
    allowance.renew();
    let (address, tls) = (node.address.to_string(), ways.tls.is_some() && !node.address.is_unix());
    let about = About { server: server.name, address, tls, push, refusal };
    Ok(Session { connection, driver, allowance, about })
}

struct Greeted {
    connection: MultiplexedConnection,
    driver: Driver,
    allowance: Allowance,
    /// It speaks the protocol in which a server may say something unasked.
    push: bool,
}

/// HELLO 3, or AUTH where the server does not know that or the user may not say it.
async fn greet(
    ways: &Ways,
    node: &Node,
    login: &Login,
    probe: &Probe,
    messages: &broadcast::Sender<String>,
) -> Result<Greeted, DialFailure> {
    let allowance = Allowance::new();
    let stream = Bounded::new(ways.connect(node).await?, allowance.clone());
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let config = match &probe.channel {
        Some(channel) => config.set_push_sender(listener(channel, messages, &allowance)),
        None => config,
    };
    let info = login.info(ProtocolVersion::RESP3);
    match MultiplexedConnection::new_with_config(&info, stream, config).await {
        Ok((connection, driver)) => {
            return Ok(Greeted { connection, driver: Driver(tokio::spawn(driver)), allowance, push: true });
        }
        Err(error) if knows_no_hello(&error) => {}
        Err(error) => return Err(DialFailure::of(&node.address, &Fault::of(&error))),
    }
    let (connection, driver) = plain(ways, node, login, &allowance).await?;
    Ok(Greeted { connection, driver, allowance, push: false })
}

/// A connection in the older protocol, which every server speaks. It says nothing unasked.
pub(in crate::store) async fn plain(
    ways: &Ways,
    node: &Node,
    login: &Login,
    allowance: &Allowance,
) -> Result<(MultiplexedConnection, Driver), DialFailure> {
    allowance.renew();
    let stream = Bounded::new(ways.connect(node).await?, allowance.clone());
    let info = login.info(ProtocolVersion::RESP2);
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    match MultiplexedConnection::new_with_config(&info, stream, config).await {
        Ok((connection, driver)) => Ok((connection, Driver(tokio::spawn(driver)))),
        Err(error) => Err(DialFailure::of(&node.address, &Fault::of(&error))),
    }
}

/// An old server, a proxy in front of one, or an ACL without `+hello`.
fn knows_no_hello(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::RESP3NotSupported => true,
        ErrorKind::Server(kind) => matches!(kind, ServerErrorKind::ResponseError | ServerErrorKind::NoPerm),
        ErrorKind::Extension => error.code() == Some("NOPROTO"),
        _ => false,
    }
}

impl Login {
    fn info(&self, protocol: ProtocolVersion) -> RedisConnectionInfo {
        // What the library would say of itself is a command that older servers and narrow ACLs refuse.
        let info = RedisConnectionInfo::default().set_protocol(protocol).set_skip_set_lib_name();
        let info = match &self.username {
            Some(username) => info.set_username(username),
            None => info,
        };
        match &self.password {
            Some(password) => info.set_password(password.expose()),
            None => info,
        }
    }
}

/// Takes what is said on the channel, and hands it on without waiting.
fn listener(
    channel: &str,
    messages: &broadcast::Sender<String>,
    allowance: &Allowance,
) -> impl Fn(PushInfo) -> Result<(), ()> + Send + Sync + 'static {
    let (channel, messages, allowance) = (channel.to_owned(), messages.clone(), allowance.clone());
    move |said: PushInfo| {
        allowance.renew();
        if said.kind == PushKind::Message
            && let [Value::BulkString(on), Value::BulkString(payload)] = said.data.as_slice()
            && on.as_slice() == channel.as_bytes()
            && payload.len() <= LONGEST_MESSAGE
            && let Ok(payload) = std::str::from_utf8(payload)
        {
            // Nobody may be listening.
            let _heard = messages.send(payload.to_owned());
        }
        Ok(())
    }
}

/// What a server says of itself.
#[derive(Default)]
struct Server {
    name: Option<String>,
    role: Option<String>,
    is_cluster: bool,
    is_sentinel: bool,
}

/// Says the connection's name and reads who the server is. A server that says nothing of itself is asked no further.
async fn introduce(connection: &mut MultiplexedConnection, client_name: &str, hello: bool) -> Server {
    // The protocol wants no spaces in it.
    let printable = |byte: char| if byte.is_ascii_graphic() { byte } else { '-' };
    let client_name: String = client_name.chars().map(printable).collect();
    if !hello {
        let _refused = answer(connection, cmd("CLIENT").arg("SETNAME").arg(client_name)).await;
        return Server::default();
    }
    let said = answer(connection, cmd("HELLO").arg(3).arg("SETNAME").arg(client_name)).await;
    let Ok(Value::Map(said)) = said else { return Server::default() };
    let field = |name: &str| said.iter().find(|(key, _)| text(key) == Some(name)).and_then(|(_, value)| text(value));
    let name = match (field("server"), field("version")) {
        (Some(server), Some(version)) => Some(shown(&format!("{server} {version}"))),
        _ => None,
    };
    let (mode, role) = (field("mode"), field("role").map(shown));
    Server { name, role, is_cluster: mode == Some("cluster"), is_sentinel: mode == Some("sentinel") }
}

/// The role as the server has said it, else as it answers ROLE. An ACL without `+role` is not asked twice: a write tells it too.
async fn require_primary(
    connection: &mut MultiplexedConnection,
    server: &Server,
    address: &StoreAddress,
) -> Result<(), DialFailure> {
    let role = match &server.role {
        Some(role) => Some(role.clone()),
        None => match role(connection).await {
            Ok(role) => role.as_deref().map(shown),
            Err(error) => match Fault::of(&error) {
                Fault { loss: None | Some(Loss::Moved(_)), .. } => None,
                fault => return Err(DialFailure::of(address, &fault)),
            },
        },
    };
    match role.as_deref() {
        _ if server.is_sentinel => Err(DialFailure::Sentinel(address.to_string())),
        None | Some(PRIMARY) => Ok(()),
        Some("sentinel") => Err(DialFailure::Sentinel(address.to_string())),
        Some(role) => Err(DialFailure::Role { address: address.to_string(), role: role.to_owned() }),
    }
}

/// Runs the probe. A server that is full is better than none.
async fn try_out(
    connection: &mut MultiplexedConnection,
    probe: &Probe,
    address: &StoreAddress,
) -> Result<Option<Refusal>, DialFailure> {
    let Err(error) = probe.script.evaluate(connection, &probe.key, &probe.arguments).await else { return Ok(None) };
    match Fault::of(&error) {
        Fault { loss: Some(Loss::Moved(to)), .. } => Err(DialFailure::Moved { address: address.to_string(), to }),
        Fault { loss: None, error: StoreError::Refused(refusal) } if refusal.is_of_writes() => Ok(Some(refusal)),
        fault => Err(DialFailure::of(address, &fault)),
    }
}

/// What a server says of itself, fit for a log and a page.
fn shown(said: &str) -> String {
    said.chars().filter(|one| one.is_ascii_graphic() || *one == ' ').take(64).collect()
}
