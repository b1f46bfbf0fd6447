//! The shared cache on a server: each question is one script on one key, which the server runs at one moment.
//!
//! What lies there, by field of an identity's hash; times are milliseconds on the server's clock.
//!
//! | field | is |
//! |---|---|
//! | `g` `v` `mark` `e` `at` | generation, sealed token, its fingerprint, usable until, put at |
//! | `k` `ok` | tokens in a row that were obtained because of a 401 and never accepted; this one was accepted |
//! | `f` `lo` `ls` `lu` | the newest fence that was given, who leads, since, until |
//! | `x` `xf` `xo` `xu` `xs` `xn` | sealed failure, under which fence, who saw it, until, for whom, failures in a row |
//! | `b` `r` | what was sent of the budget; renewals because of a 401 |
//!
//! The fence of a lease is the generation of what is put under it.

mod words;

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::broadcast;

use super::names::{StoreNames, Tag};
use super::protocol::{Answering, Beat, Fail, FailAnswer, FleetStore, Lease, Put, PutAnswer, Stored, Take, Taken};
use crate::store::{Probe, Reply, Script, Store, StoreError};

/// What the server's list of clients says.
const CLIENT_NAME: &str = "attache";

/// What scripts have in common stands before them.
macro_rules! text {
    ($($file:literal),+) => { concat!($(include_str!($file)),+) };
}

static SCRIPTS: Scripts = Scripts {
    take: Script::new("take", text!("clock.lua", "fields.lua", "take.lua")),
    put: Script::new("put", text!("clock.lua", "fields.lua", "put.lua")),
    fail: Script::new("fail", text!("clock.lua", "fields.lua", "fail.lua")),
    keep: Script::new("keep", text!("clock.lua", "fields.lua", "keep.lua")),
    accepted: Script::new("accepted", text!("fields.lua", "accepted.lua")),
    read: Script::new("read", text!("clock.lua", "fields.lua", "read.lua")),
    beat: Script::writing("beat", text!("clock.lua", "beat.lua")),
};

#[derive(Debug)]
struct Scripts {
    take: Script,
    put: Script,
    fail: Script,
    keep: Script,
    accepted: Script,
    read: Script,
    beat: Script,
}

/// A server, as a fleet asks it.
#[derive(Debug)]
pub(crate) struct FleetScripts {
    store: Store,
    names: StoreNames,
    scripts: &'static Scripts,
}

impl FleetScripts {
    pub(crate) const fn new(store: Store, names: StoreNames) -> Self {
        Self { store, names, scripts: &SCRIPTS }
    }

    /// The name of each question in metrics.
    pub(crate) fn operations() -> [&'static str; 7] {
        let Scripts { take, put, fail, keep, accepted, read, beat } = &SCRIPTS;
        [take, put, fail, keep, accepted, read, beat].map(|script| script.name)
    }

    /// What is asked on each new connection: whether it takes writes, and by the way who else is there.
    pub(crate) fn probe(names: &StoreNames, instance: &str, gone_after: Duration, push: bool) -> Probe {
        Probe {
            client_name: CLIENT_NAME.into(),
            script: &SCRIPTS.beat,
            key: names.members(),
            arguments: words::beat(instance, gone_after),
            channel: push.then(|| names.channel()),
        }
    }

    /// The commands that a question needs, as an ACL names them.
    pub(crate) fn commands(question: &str) -> Vec<String> {
        let Scripts { take, put, fail, keep, accepted, read, beat } = &SCRIPTS;
        let script = [take, put, fail, keep, accepted, read, beat].into_iter().find(|script| script.name == question);
        let text = script.map_or("", |script| script.text);
        let called = text.split("call('").skip(1).filter_map(|rest| rest.split('\'').next());
        let commands: BTreeSet<String> = called.map(str::to_ascii_lowercase).collect();
        commands.into_iter().collect()
    }

    /// `beat`, among those of another name: who only tries is no replica.
    pub(crate) async fn try_beat(&self, tag: &Tag, instance: &str, gone_after: Duration) -> Result<Beat, StoreError> {
        words::beaten(self.run(&self.scripts.beat, tag, words::beat(instance, gone_after)).await?)
    }

    async fn run(&self, script: &'static Script, tag: &Tag, arguments: words::Arguments) -> Result<Reply, StoreError> {
        self.store.run(script, &self.names.identity(tag), arguments).await
    }
}

impl FleetStore for FleetScripts {
    fn take<'a>(&'a self, tag: &'a Tag, question: &'a Take) -> Answering<'a, Taken> {
        Box::pin(async move { words::taken(self.run(&self.scripts.take, tag, words::take(question)).await?) })
    }

    fn put<'a>(&'a self, tag: &'a Tag, put: &'a Put) -> Answering<'a, PutAnswer> {
        let arguments = words::put(put, &self.names, tag);
        Box::pin(async move { words::put_answer(self.run(&self.scripts.put, tag, arguments).await?) })
    }

    fn fail<'a>(&'a self, tag: &'a Tag, fail: &'a Fail) -> Answering<'a, FailAnswer> {
        let arguments = words::fail(fail, &self.names, tag);
        Box::pin(async move { words::fail_answer(self.run(&self.scripts.fail, tag, arguments).await?) })
    }

    fn keep<'a>(&'a self, tag: &'a Tag, lease: &'a Lease) -> Answering<'a, bool> {
        Box::pin(async move { words::yes_or_no(&self.run(&self.scripts.keep, tag, words::keep(lease)).await?) })
    }

    fn accepted<'a>(&'a self, tag: &'a Tag, generation: u64) -> Answering<'a, bool> {
        let arguments = words::accepted(generation);
        Box::pin(async move { words::yes_or_no(&self.run(&self.scripts.accepted, tag, arguments).await?) })
    }

    fn beat<'a>(&'a self, instance: &'a str, gone_after: Duration) -> Answering<'a, Beat> {
        let arguments = words::beat(instance, gone_after);
        Box::pin(
            async move { words::beaten(self.store.run(&self.scripts.beat, &self.names.members(), arguments).await?) },
        )
    }

    fn read<'a>(&'a self, tag: &'a Tag) -> Answering<'a, Option<Stored>> {
        Box::pin(async move { words::read(self.run(&self.scripts.read, tag, Vec::new()).await?) })
    }

    fn news(&self) -> broadcast::Receiver<String> {
        self.store.messages()
    }
}

#[cfg(test)]
#[path = "differential_tests.rs"]
mod differential_tests;
