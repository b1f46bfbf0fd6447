//! Whether a store does all that a fleet asks of it: one round of every question, on names that nobody else has and that end by
//! themselves. What is there of real tokens is read, never changed.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tokio::runtime::Handle;
use tokio::sync::broadcast::Receiver;
use tokio::time::Instant;

use super::keys::CacheKeys;
use super::live::instance;
use super::names::{Mark, SharedIdentity, StoreNames, Tag};
use super::protocol::{Fail, FailAnswer, FleetStore as _, Lease, Put, PutAnswer, Take, Taken};
use super::script::FleetScripts;
use super::settings::FleetSettings;
use super::value::TokenValue;
use crate::digest::Digest;
use crate::store::{Push, Store, StoreError, StoreMetrics, StoreStatus};
use crate::token::{Clock, Why};

/// So long what is put for the trial stays there.
const STAYS: Duration = Duration::from_secs(2);

/// What was published is heard within this time, or not at all.
const HEARD: Duration = Duration::from_secs(1);

const SCRATCH: &[u8] = b"scratch";

/// A connection of its own, for a moment.
pub(crate) struct Trial {
    store: Store,
    scripts: FleetScripts,
    keys: CacheKeys,
    prefix: String,
    instance: String,
    scratch: Tag,
    members: Tag,
}

/// What a round came to.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) status: StoreStatus,
    /// Seconds by which the store's clock is ahead.
    pub(crate) skew: f64,
    /// One question.
    pub(crate) took: Duration,
    pub(crate) failed: Option<FailedQuestion>,
    pub(crate) publish: Publish,
}

/// A question that was not answered as it should be.
#[derive(Debug)]
pub(crate) struct FailedQuestion {
    pub(crate) question: &'static str,
    pub(crate) error: StoreError,
    /// What the user must be allowed for it.
    pub(crate) commands: Vec<String>,
}

/// Whether replicas are told what others have put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Publish {
    Works,
    /// `push = false`.
    Off,
    /// SUBSCRIBE is refused, or the protocol that it takes.
    NoSubscribe,
    /// Nothing was heard of what was put.
    Silent,
}

/// What lies there for one identity.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) tag: Tag,
    /// Its generation and how long it is good for, or why it cannot be used; `None` where there is nothing.
    pub(crate) token: Option<(u64, Result<Duration, String>)>,
}

impl Trial {
    /// Begins to connect, on `control`.
    pub(crate) fn start(settings: &FleetSettings, keys: CacheKeys, control: &Handle) -> Self {
        let (instance, names) = (instance(), StoreNames::new(&settings.prefix));
        let tag = |what: &str| {
            let mut name = Digest::new();
            name.text(what);
            name.text(&instance);
            Tag::new(keys.first(), &settings.prefix, &SharedIdentity::new(&name.finish(), [], false))
        };
        let (scratch, members) = (tag("scratch"), tag("scratch members"));
        let mut probe = FleetScripts::probe(&names, &instance, STAYS, settings.push);
        // Who only tries is no replica.
        probe.key = names.identity(&members);
        let store = Store::start(settings.store.clone(), probe, control, StoreMetrics::default());
        let scripts = FleetScripts::new(store.clone(), names);
        Self { store, scripts, keys, prefix: settings.prefix.clone(), instance, scratch, members }
    }

    /// Asks everything once.
    ///
    /// # Errors
    /// How the connection is doing, if there is none within this time.
    pub(crate) async fn round(&self, at_most: Duration) -> Result<Round, StoreStatus> {
        if !self.store.wait_connected(at_most).await {
            return Err(self.store.status());
        }
        let mut news = self.scripts.news();
        let began = Instant::now();
        let beat = self.scripts.try_beat(&self.members, &self.instance, STAYS).await;
        let took = began.elapsed();
        let wall = Clock::system().now().wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        let skew = beat.as_ref().map_or(0.0, |beat| (beat.now + took / 2).as_secs_f64() - wall.as_secs_f64());
        let asked = match right("beat", beat, Some) {
            Ok(_) => self.questions().await,
            Err(failed) => Err(failed),
        };
        let status = self.store.status();
        let publish = match status.push {
            Push::Off => Publish::Off,
            Push::Refused => Publish::NoSubscribe,
            Push::On if asked.is_err() || self.hears(&mut news).await => Publish::Works,
            Push::On => Publish::Silent,
        };
        Ok(Round { status, skew, took, failed: asked.err(), publish })
    }

    /// The life of a token, from its first lease.
    async fn questions(&self) -> Result<(), FailedQuestion> {
        let (scripts, tag) = (&self.scripts, &self.scratch);
        let fence = right("take", scripts.take(tag, &self.take()).await, led)?;
        let fail = Fail { owner: self.instance.clone(), fence, failure: None };
        right("fail", scripts.fail(tag, &fail).await, |answer| (answer == FailAnswer::Released).then_some(()))?;
        let fence = right("take", scripts.take(tag, &self.take()).await, led)?;
        let lease = Lease { owner: self.instance.clone(), fence, length: STAYS };
        right("keep", scripts.keep(tag, &lease).await, |kept| kept.then_some(()))?;
        let mark = Mark::from(Arc::from("scratch"));
        let put = Put { fence, sealed: SCRATCH.to_vec(), mark, usable: STAYS, after_unauthorized: false, keep: STAYS };
        right("put", scripts.put(tag, &put).await, |answer| (answer == PutAnswer::Put).then_some(()))?;
        right("take", scripts.take(tag, &self.take()).await, |taken| match taken {
            Taken::Value(stored) => (stored.generation == fence && stored.sealed == SCRATCH).then_some(()),
            _ => None,
        })?;
        right("read", scripts.read(tag).await, |stored| stored.filter(|stored| stored.generation == fence))?;
        right("accepted", scripts.accepted(tag, fence).await, |noted| noted.then_some(()))
    }

    fn take(&self) -> Take {
        Take {
            owner: self.instance.clone(),
            lease: STAYS,
            lease_max: STAYS,
            why: Why::Cold,
            held: None,
            known: 0,
            age: None,
            has_taken: true,
            budget: None,
        }
    }

    async fn hears(&self, news: &mut Receiver<String>) -> bool {
        let heard = async {
            while let Ok(message) = news.recv().await {
                if message.starts_with(self.scratch.as_str()) {
                    return true;
                }
            }
            false
        };
        tokio::time::timeout(HEARD, heard).await.unwrap_or(false)
    }

    /// What is there for this identity now.
    ///
    /// # Errors
    /// The store does not say.
    pub(crate) async fn standing(&self, identity: &SharedIdentity) -> Result<Standing, StoreError> {
        let tag = Tag::new(self.keys.first(), &self.prefix, identity);
        let stored = self.scripts.read(&tag).await?;
        let token = stored.map(|stored| {
            let wall = Clock::system().now().wall;
            let opened = TokenValue::open(&self.keys, &tag, &stored, wall, None);
            let left = opened.map(|value| value.left(&stored, wall)).map_err(|error| error.to_string());
            (stored.generation, left)
        });
        Ok(Standing { tag, token })
    }
}

fn led(taken: Taken) -> Option<u64> {
    if let Taken::Lead(lead) = taken { Some(lead.fence) } else { None }
}

fn right<T, U>(
    question: &'static str,
    answer: Result<T, StoreError>,
    is_right: impl FnOnce(T) -> Option<U>,
) -> Result<U, FailedQuestion> {
    let answer = answer.and_then(|answer| is_right(answer).ok_or(StoreError::Unexpected));
    answer.map_err(|error| FailedQuestion { question, error, commands: FleetScripts::commands(question) })
}
