//! The sockets of the listeners: which listener has which, and what becomes of them when the configuration changes.

use super::StartError;
use super::build::Slots;
use super::workers::Workers;
use crate::config::ListenerConfig;
use crate::listen::{self, Bound, ListenAddress, UnixPath};

/// All open sockets. A slot is the number that a listener's sockets have on every worker.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    next: usize,
    open: Vec<Open>,
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
    /// Finds or binds the sockets of these listeners. A listener keeps its sockets under another name too, as long as its
    /// address stays.
    ///
    /// # Errors
    /// An address that cannot be had.
    pub(super) fn plan(&self, listeners: &[ListenerConfig], workers: usize) -> Result<Plan, StartError> {
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
            let bound = listen::bind(&listener.address, listener.socket_mode, workers);
            let (real, sockets) = bound.map_err(|error| StartError::Bind { name: listener.name.clone(), error })?;
            let open = Open {
                slot: next,
                name: listener.name.clone(),
                wanted: listener.address.clone(),
                _path: UnixPath::of(&real),
                real,
            };
            plan.slots.push(next);
            plan.opened.push((open, sockets));
            next += 1;
        }
        Ok(plan)
    }

    /// The sockets of a first plan, and each worker's share of them.
    pub(super) fn begin(plan: Plan, workers: usize) -> (Self, Vec<Vec<(usize, Bound)>>) {
        let mut shares: Vec<Vec<(usize, Bound)>> = (0..workers).map(|_| Vec::new()).collect();
        let mut sockets = Self::default();
        for (open, bound) in plan.opened {
            for (share, socket) in shares.iter_mut().zip(bound) {
                share.push((open.slot, socket));
            }
            sockets.next = open.slot + 1;
            sockets.open.push(open);
        }
        (sockets, shares)
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
