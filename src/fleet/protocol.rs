//! What a replica and the store say to each other: the questions, the answers, and the trait between the two.
//!
//! The store answers each question at one moment, on its own clock. `script` asks a real one; a scripted one stands in for it in
//! tests, in the simulation and under the model checker.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::broadcast;

use super::names::{Mark, Tag};
use crate::store::StoreError;
use crate::token::{Budget, Why};

/// The largest generation; 1 follows it. The scripts' numbers are doubles, which are exact up to here.
pub(crate) const LARGEST: u64 = (1 << 53) - 2;

/// An answer on its way; it comes within the store's own time limit.
pub(crate) type Answering<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The shared cache, as a replica asks it.
pub(crate) trait FleetStore: Send + Sync + 'static {
    /// Who gives me a token?
    fn take<'a>(&'a self, tag: &'a Tag, question: &'a Take) -> Answering<'a, Taken>;
    /// A token for all.
    fn put<'a>(&'a self, tag: &'a Tag, put: &'a Put) -> Answering<'a, PutAnswer>;
    /// There is no token.
    fn fail<'a>(&'a self, tag: &'a Tag, fail: &'a Fail) -> Answering<'a, FailAnswer>;
    /// The leader lives: its lease goes on for so long from now. False if it is not the leader any more.
    fn keep<'a>(&'a self, tag: &'a Tag, lease: &'a Lease) -> Answering<'a, bool>;
    /// An upstream has taken the token of this generation. False if there is a newer one.
    fn accepted<'a>(&'a self, tag: &'a Tag, generation: u64) -> Answering<'a, bool>;
    /// I am here; who else? Who has not said so for `gone_after` does not count.
    fn beat<'a>(&'a self, instance: &'a str, gone_after: Duration) -> Answering<'a, Beat>;
    /// What is there, without a lease: for a key that is on its way out.
    fn read<'a>(&'a self, tag: &'a Tag) -> Answering<'a, Option<Stored>>;
    /// What others have put, as it is said on the channel: see [`super::news::News`]. Some may be missed.
    fn news(&self) -> broadcast::Receiver<String>;
}

/// A lease, by who has it and its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) owner: String,
    /// The generation that is put under it.
    pub(crate) fence: u64,
    /// It ends so long after it was given or kept.
    pub(crate) length: Duration,
}

/// `take`.
///
/// [`Why::Forced`] passes over a value, a hold and a failure, but waits for another replica that asks; who has waited asks again as
/// [`Why::Cold`], so that any newer token will do. [`Why::Apart`] is about the budget alone: it is spent, and no lease is given.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Take {
    /// Who would lead.
    pub(crate) owner: String,
    pub(crate) lease: Duration,
    /// A lease is over so long after it was first given, however often it was kept.
    pub(crate) lease_max: Duration,
    pub(crate) why: Why,
    /// The token that is held, or was last; it is not given again, unless ahead where it was put again under a newer number.
    pub(crate) held: Option<Mark>,
    /// The newest generation that this replica knows; 0 for none.
    pub(crate) known: u64,
    /// How long ago the token that is held was obtained; `None` without one.
    pub(crate) age: Option<Duration>,
    /// Whether what refused the token ever took one; of no meaning unless it was refused.
    pub(crate) has_taken: bool,
    /// That of the whole fleet.
    pub(crate) budget: Option<Budget>,
}

/// The answer to `take`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Taken {
    /// A token that is usable and not the one that is held.
    Value(Stored),
    /// Another token because of a 401 would be one too many; not for so long.
    Hold(Duration),
    /// A failure that counts for all, or that each asks for itself; sealed under this number, and it stands for so long.
    Failed { sealed: Vec<u8>, fence: u64, left: Duration },
    /// Another replica asks; its lease ends after `left`, unless it is kept, and began `since` ago.
    Wait { left: Duration, since: Duration },
    /// The fleet's budget; there is room after so long.
    Spent(Duration),
    /// Ask, and say what came of it.
    Lead(Lead),
}

/// This replica leads; or, apart, it may ask.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Lead {
    /// 0 for [`Why::Apart`]: nothing is put or failed under it.
    pub(crate) fence: u64,
    /// Failures in a row before this.
    pub(crate) failures: u32,
    /// Whose lease had run out.
    pub(crate) took_over_from: Option<String>,
    /// How much of the budget is used with this; 0 without one.
    pub(crate) used: u32,
}

/// A token as it lies in the store.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored {
    pub(crate) generation: u64,
    pub(crate) sealed: Vec<u8>,
    /// Since it was put, on the store's clock.
    pub(crate) age: Duration,
    /// Usable for so long yet, on the store's clock.
    pub(crate) left: Duration,
    /// Tokens in a row, with this one, that were obtained because of a 401 and never taken.
    pub(crate) renewals: u32,
}

/// `put`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Put {
    pub(crate) fence: u64,
    pub(crate) sealed: Vec<u8>,
    pub(crate) mark: Mark,
    pub(crate) usable: Duration,
    /// A 401 is why it was obtained.
    pub(crate) after_unauthorized: bool,
    /// What is known besides (failures, what was spent) is kept at least so long.
    pub(crate) keep: Duration,
}

/// The answer to `put`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PutAnswer {
    Put,
    /// There is a newer one, which stays.
    Older(Stored),
}

/// `fail`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fail {
    pub(crate) owner: String,
    pub(crate) fence: u64,
    /// `None`: this replica's own affair, of which nobody else is told.
    pub(crate) failure: Option<SharedFailure>,
}

/// A failure that others may be told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SharedFailure {
    pub(crate) sealed: Vec<u8>,
    /// Nobody asks before it is over.
    pub(crate) delay: Duration,
    pub(crate) reach: Reach,
}

/// For whom a failure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// For all when a second replica has seen one.
    Confirmed,
    /// For all at once.
    All,
    /// For all at once, and it is none: each replica asks for itself. Failures in a row have ended with it.
    EachForItself,
}

/// The answer to `fail`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailAnswer {
    /// The lease had passed to another.
    Lost,
    /// The lease has ended.
    Released,
    /// Noted, and not yet for all.
    Noted,
    /// All are told.
    Shared,
}

/// The answer to `beat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Beat {
    /// The store's clock, since the Unix epoch.
    pub(crate) now: Duration,
    /// Replicas, with this one.
    pub(crate) replicas: u32,
}
