//! The sockets of the listeners: which listener has which, and what is done with them when the configuration changes.

use std::path::PathBuf;

use crate::app::build::state::Slots;
use crate::app::error::StartFailure;
use crate::app::workers::Workers;
use crate::config::{Config, ListenerConfig};
use crate::listen::{self, Bound, Inherited, ListenAddress, ListeningAt, UnixPath};
use crate::proxy::ListenerMode;

/// The name under which the admin listener's address is given.
pub(crate) const ADMIN: &str = "admin";

/// What the control socket is called where it cannot be bound.
const CONTROL: &str = "control socket";

/// All open sockets. A slot is the number that a listener's sockets have on every worker.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    next: usize,
    open: Vec<Open>,
    inherited: Inherited,
    /// Where the control socket is to be, if there is to be one.
    control: Option<PathBuf>,
}

/// The socket that the commands of this user ask, whatever the configuration says of `[admin]`.
#[derive(Debug)]
pub(super) struct ControlSocket {
    bound: Bound,
    path: Option<UnixPath>,
}

impl ControlSocket {
    /// The socket, and what removes its path when it is dropped.
    pub(super) fn into_parts(self) -> (Bound, Option<UnixPath>) {
        (self.bound, self.path)
    }
}

#[derive(Debug)]
struct Open {
    slot: usize,
    name: String,
    /// As it was configured: port 0 is still 0.
    wanted: ListenAddress,
    /// As it was bound.
    real: ListenAddress,
    _path: Option<UnixPath>,
}

/// The sockets of the next configuration: what is new is bound already, and nothing else has happened yet. Dropping it
/// leaves everything as it is.
pub(super) struct Plan {
    /// In the order of the configuration's listeners.
    pub(super) slots: Slots,
    opened: Vec<(Open, Vec<Bound>)>,
    kept: Vec<(usize, String)>,
}

impl Sockets {
    /// None yet; some may be there already.
    pub(super) fn new(inherited: Inherited, control: Option<PathBuf>) -> Self {
        Self { inherited, control, ..Self::default() }
    }

    /// The control socket, for this user alone. It stays what it is, too.
    pub(super) fn control(&self) -> Result<Option<ControlSocket>, StartFailure> {
        let Some(path) = self.control.clone() else { return Ok(None) };
        let bound = listen::bind(&ListenAddress::Unix(path), None, 1);
        let (real, mut bound) = bound.map_err(|error| StartFailure::Bind { name: CONTROL.into(), error })?;
        Ok(bound.pop().map(|bound| ControlSocket { bound, path: UnixPath::of(&real) }))
    }

    /// The admin listener's, which stays what it is.
    pub(super) fn admin(&self, address: &ListenAddress) -> Result<(ListenAddress, Option<Bound>), StartFailure> {
        let inherited = self.inherited.bound(ADMIN, address, 1);
        let bound = inherited.unwrap_or_else(|| listen::bind(address, None, 1));
        let (real, mut bound) = bound.map_err(|error| StartFailure::Bind { name: ADMIN.into(), error })?;
        Ok((real, bound.pop()))
    }

    /// A socket that was passed has to belong to a listener.
    pub(super) fn check_inherited(&self, config: &Config) -> Result<(), StartFailure> {
        let listeners = config.listeners.iter().map(|listener| (listener.name.as_str(), &listener.address));
        let admin = config.admin.iter().map(|admin| (ADMIN, &admin.address));
        let all: Vec<_> = listeners.chain(admin).collect();
        self.inherited.unwanted(&all).map_or(Ok(()), |message| Err(StartFailure::Inherited(message)))
    }

    /// Finds or binds the sockets of these listeners. A listener keeps its sockets under another name too, as long as its
    /// address stays.
    ///
    /// # Errors
    /// An address that is unavailable.
    pub(super) fn plan(&self, listeners: &[ListenerConfig], workers: usize) -> Result<Plan, StartFailure> {
        let mut plan = Plan { slots: Vec::new(), opened: Vec::new(), kept: Vec::new() };
        let mut next = self.next;
        for listener in listeners {
            let free = |open: &&Open| open.wanted == listener.address && !plan.slots.contains(&open.slot);
            let same = self.open.iter().filter(free).find(|open| open.name == listener.name);
            let renamed = || {
                self.open
                    .iter()
                    .filter(free)
                    .find(|open| !is_any_port(&open.wanted) && !listeners.iter().any(|other| other.name == open.name))
            };
            if let Some(open) = same.or_else(renamed) {
                plan.slots.push(open.slot);
                plan.kept.push((open.slot, listener.name.clone()));
                continue;
            }
            let inherited = self.inherited.bound(&listener.name, &listener.address, workers);
            let is_bound_here = inherited.is_none();
            let bound = inherited.unwrap_or_else(|| listen::bind(&listener.address, listener.socket_mode, workers));
            let (real, sockets) = bound.map_err(|error| StartFailure::Bind { name: listener.name.clone(), error })?;
            let open = Open {
                slot: next,
                name: listener.name.clone(),
                wanted: listener.address.clone(),
                // The service manager's own stays where it is.
                _path: if is_bound_here { UnixPath::of(&real) } else { None },
                real,
            };
            plan.slots.push(next);
            plan.opened.push((open, sockets));
            next += 1;
        }
        Ok(plan)
    }

    /// The sockets of a first plan, and each worker's share of them.
    pub(super) fn begin(mut self, plan: Plan, workers: usize) -> (Self, Vec<Vec<(usize, Bound)>>) {
        let mut shares: Vec<Vec<(usize, Bound)>> = (0..workers).map(|_| Vec::new()).collect();
        for (open, bound) in plan.opened {
            for (share, socket) in shares.iter_mut().zip(bound) {
                share.push((open.slot, socket));
            }
            self.next = open.slot + 1;
            self.open.push(open);
        }
        (self, shares)
    }

    /// Carries a plan out: workers accept on what is new, and finish what is gone.
    pub(super) async fn carry_out(&mut self, plan: Plan, workers: &Workers) {
        let gone: Vec<usize> =
            self.open.iter().map(|open| open.slot).filter(|slot| !plan.slots.contains(slot)).collect();
        self.adopt_names(&plan.kept);
        for (open, sockets) in plan.opened {
            self.next = self.next.max(open.slot + 1);
            workers.open(open.slot, sockets).await;
            self.open.push(open);
        }
        for slot in gone {
            workers.close(slot).await;
            self.open.retain(|open| open.slot != slot);
        }
    }

    fn adopt_names(&mut self, kept: &[(usize, String)]) {
        for (slot, name) in kept {
            if let Some(open) = self.open.iter_mut().find(|open| open.slot == *slot) {
                open.name.clone_from(name);
            }
        }
    }

    /// Where every listener really listens, in the order of these slots.
    pub(super) fn addresses(&self, slots: &Slots) -> Vec<(String, ListenAddress)> {
        let of = |slot: &usize| self.open.iter().find(|open| open.slot == *slot);
        slots.iter().filter_map(of).map(|open| (open.name.clone(), open.real.clone())).collect()
    }
}

fn is_any_port(address: &ListenAddress) -> bool {
    matches!(address, ListenAddress::Tcp(address) if address.port() == 0)
}

/// Every listener with its real address and mode; the admin listener last.
pub(super) fn listening_at(
    config: &Config,
    addresses: Vec<(String, ListenAddress)>,
    admin: Option<ListeningAt>,
) -> Vec<ListeningAt> {
    let listeners = config.listeners.iter().zip(addresses);
    let listeners = listeners.map(|(listener, (name, address))| {
        let scheme = match &listener.mode {
            ListenerMode::Socks5 { .. } => "socks5h",
            _ if listener.tls.is_some() => "https",
            _ => "http",
        };
        ListeningAt { name, address, mode: listener.mode.name(), scheme }
    });
    listeners.chain(admin).collect()
}

pub(super) fn tcp_addresses<'a>(addresses: impl Iterator<Item = &'a ListenAddress>) -> Vec<std::net::SocketAddr> {
    let tcp = |address: &ListenAddress| match address {
        ListenAddress::Tcp(address) => Some(*address),
        ListenAddress::Unix(_) => None,
    };
    addresses.filter_map(tcp).collect()
}
