//! How many descriptors this process may have open, and what of them callers may take.
//!
//! The usual soft limit, 1,024, is there for programs that call `select`, which fails beyond it. This one does not, so it
//! raises its own to the hard one, as Go's runtime and nginx do. The programs that it starts may be others: they begin with
//! what was there before.

use std::sync::OnceLock;

/// What is kept from callers, besides an upstream connection for each of theirs: [`Shares::admin`], token requests, name
/// lookups, files, the programs of secrets, and what the runtimes need.
const RESERVE: u64 = 128;

/// The most connections of the admin listener. A page, a few scrapers and probes are a dozen.
const ADMIN: u64 = 64;

/// The limits that this process began with.
static BEGAN_WITH: OnceLock<Limit> = OnceLock::new();

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit {
    /// `None`: as many as the system has, or unknown.
    soft: Option<u64>,
    hard: Option<u64>,
}

/// How the descriptors are dealt out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shares {
    /// All of them; `None` where there is no limit, or none is known.
    pub(crate) all: Option<u64>,
    /// The most connections of callers.
    pub(crate) callers: usize,
    /// The most connections of the admin listener.
    pub(crate) admin: usize,
}

impl Shares {
    /// With so many listening sockets, as the limit is now.
    #[must_use]
    pub(crate) fn now(sockets: usize) -> Self {
        Self::of(limit().soft, sockets)
    }

    /// Half of what is left belongs to callers: the request of each may need a connection to its upstream. The reserve is never
    /// more than half of all. A listening socket counts twice: what it has accepted may have to wait for room.
    fn of(all: Option<u64>, sockets: usize) -> Self {
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let Some(most) = all else { return Self { all, callers: usize::MAX, admin: count(ADMIN) } };
        let reserve = RESERVE.saturating_add(2 * sockets as u64).min(most / 2);
        Self { all, callers: count(((most - reserve) / 2).max(1)), admin: count(ADMIN.min(most / 8).max(2)) }
    }

    /// What to say where so many connections of callers are wanted, if that is more than there may be.
    #[must_use]
    pub(crate) fn beyond(&self, connections: usize) -> Option<String> {
        let all = self.all.filter(|_| connections > self.callers)?;
        let Self { callers, .. } = self;
        Some(format!(
            "limits.connections is {connections}, but with {all} descriptors only {callers} connections of callers are taken at a \
             time: each may need one to its upstream, and tokens, files and the admin listener need some; raise the limit on \
             descriptors (LimitNOFILE= of systemd, --ulimit nofile= of docker, ulimit -Hn) or write connections = {callers}"
        ))
    }
}

/// Raises the soft limit to the hard one. What fails leaves it as it is: [`Shares::now`] goes by what there is.
pub(crate) fn raise() {
    let began = *BEGAN_WITH.get_or_init(limit);
    // macOS has a hard limit without end, and refuses more than this (OPEN_MAX).
    let raised = set(Limit { soft: began.hard, ..began }) || set(Limit { soft: Some(10_240), ..began });
    let (from, to) = (shown(began.soft), shown(limit().soft));
    tracing::debug!(target: "attache::descriptors", from, to, raised, "the limit on open descriptors");
}

fn shown(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string())
}

/// Starts a program with the limit that this process began with. For the moment that takes, it has that again; so this is for the
/// beginning, before there are more descriptors than that.
pub(crate) fn as_at_the_beginning<T>(start: impl FnOnce() -> T) -> T {
    let (now, began) = (limit(), BEGAN_WITH.get().copied());
    let lowered = began.is_some_and(set);
    let started = start();
    if lowered {
        set(now);
    }
    started
}

/// Gives a program that has just been started the limit that this process began with. It may have begun with the raised one for a
/// moment; to lower that meanwhile would refuse descriptors to the rest of this process.
#[cfg(target_os = "linux")]
pub(crate) fn give_back(id: u32) {
    use rustix::process::{Pid, Resource, prlimit};
    let child = i32::try_from(id).ok().and_then(Pid::from_raw);
    if let (Some(child), Some(began)) = (child, BEGAN_WITH.get()) {
        // It may have ended already.
        let _ended = prlimit(Some(child), Resource::Nofile, began.as_rlimit());
    }
}

/// Only Linux can do this to another process.
#[cfg(not(target_os = "linux"))]
pub(crate) const fn give_back(_: u32) {}

#[cfg(unix)]
impl Limit {
    const fn as_rlimit(self) -> rustix::process::Rlimit {
        rustix::process::Rlimit { current: self.soft, maximum: self.hard }
    }
}

#[cfg(unix)]
fn limit() -> Limit {
    use rustix::process::{Resource, getrlimit};
    let limit = getrlimit(Resource::Nofile);
    Limit { soft: limit.current, hard: limit.maximum }
}

#[cfg(unix)]
fn set(limit: Limit) -> bool {
    use rustix::process::{Resource, setrlimit};
    setrlimit(Resource::Nofile, limit.as_rlimit()).is_ok()
}

#[cfg(not(unix))]
const fn limit() -> Limit {
    Limit { soft: None, hard: None }
}

#[cfg(not(unix))]
const fn set(_: Limit) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_leaves_room_for_an_upstream_connection_and_the_reserve() {
        for (all, sockets, callers, admin) in
            [(256, 4, 64, 32), (1024, 4, 444, 64), (65_536, 8, 32_696, 64), (20, 100, 5, 2), (2, 1, 1, 2)]
        {
            let shares = Shares::of(Some(all), sockets);
            assert_eq!((shares.callers, shares.admin), (callers, admin), "{all}");
        }
        assert_eq!(Shares::of(None, 4).callers, usize::MAX);
    }
}
