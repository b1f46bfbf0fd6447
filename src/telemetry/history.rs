//! The last quarter of an hour of each upstream, in samples that are kept whether anybody looks or not.
//!
//! Bounded: 180 samples of 12 bytes for each of at most 256 upstreams, so half a megabyte at the most; an upstream without
//! requests has none. Of more than 256 the ones that have been quiet longest are forgotten.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use super::metrics::{PackedQuantiles, RequestMetrics, Totals};
use super::recent::RecentRequests;
use crate::sync::lock;

/// Time between two samples.
pub(crate) const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);

/// A quarter of an hour.
const MAX_SAMPLES: usize = 180;

const MAX_UPSTREAMS: usize = 256;

/// What is kept of all upstreams. A clone is a reference.
#[derive(Debug, Clone, Default)]
pub(crate) struct History(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// When each sample was taken, the oldest first. A machine that sleeps takes none.
    times: VecDeque<SystemTime>,
    upstreams: BTreeMap<Arc<str>, Line>,
}

#[derive(Debug, Default)]
struct Line {
    /// What had been counted at the newest sample.
    counted: Totals,
    /// Those of the newest times; fewer where the upstream had no requests before.
    samples: VecDeque<Sample>,
    /// Samples since its last request.
    quiet: u32,
}

/// What happened between one sample and the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) requests: u32,
    pub(crate) errors: u32,
    pub(crate) latency: PackedQuantiles,
}

/// One upstream's samples; the last ones of `times`.
#[derive(Debug)]
pub(crate) struct UpstreamHistory {
    pub(crate) name: Arc<str>,
    pub(crate) samples: Vec<Sample>,
}

impl History {
    /// Takes a sample every few seconds, for ever; and lets go of recent requests that nothing looks at any more.
    pub(crate) async fn drive(self, metrics: RequestMetrics, recent: RecentRequests) {
        let mut ticks = tokio::time::interval(SAMPLE_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.sample(metrics.totals(), SystemTime::now());
            recent.forget_unwatched();
        }
    }

    fn sample(&self, totals: BTreeMap<Arc<str>, Totals>, now: SystemTime) {
        let mut kept = lock(&self.0);
        push(&mut kept.times, now);
        for (name, counted) in totals {
            kept.upstreams.entry(name).or_default().take(counted);
        }
        kept.forget_the_quiet();
    }

    /// When the samples were taken, and those of the upstreams that `wanted` says, by name.
    pub(crate) fn read(&self, wanted: impl Fn(&str) -> bool) -> (Vec<SystemTime>, Vec<UpstreamHistory>) {
        let kept = lock(&self.0);
        let lines = kept.upstreams.iter().filter(|(name, line)| !line.samples.is_empty() && wanted(name));
        let histories = lines.map(|(name, line)| UpstreamHistory {
            name: Arc::clone(name),
            samples: line.samples.iter().copied().collect(),
        });
        (kept.times.iter().copied().collect(), histories.collect())
    }
}

impl Kept {
    /// What was counted of them stays known, so that they do not come back with all of it at once.
    fn forget_the_quiet(&mut self) {
        let count = self.upstreams.values().filter(|line| !line.samples.is_empty()).count();
        for _ in MAX_UPSTREAMS..count {
            let with_samples = self.upstreams.values_mut().filter(|line| !line.samples.is_empty());
            if let Some(quietest) = with_samples.max_by_key(|line| line.quiet) {
                quietest.samples = VecDeque::new();
            }
        }
    }
}

impl Line {
    fn take(&mut self, counted: Totals) {
        let since = |now: u64, before: u64| u32::try_from(now.saturating_sub(before)).unwrap_or(u32::MAX);
        let sample = Sample {
            requests: since(counted.requests, self.counted.requests),
            errors: since(counted.errors, self.counted.errors),
            latency: PackedQuantiles::pack(counted.durations.since(&self.counted.durations).quantiles()),
        };
        self.counted = counted;
        self.quiet = if sample.requests == 0 { self.quiet.saturating_add(1) } else { 0 };
        if sample.requests > 0 || !self.samples.is_empty() {
            push(&mut self.samples, sample);
        }
        if usize::try_from(self.quiet).is_ok_and(|quiet| quiet >= MAX_SAMPLES) {
            self.samples = VecDeque::new();
        }
    }
}

fn push<T>(ring: &mut VecDeque<T>, newest: T) {
    if ring.len() == MAX_SAMPLES {
        ring.pop_front();
    }
    ring.push_back(newest);
}

#[cfg(test)]
mod tests {
    use super::super::metrics::Tally;
    use super::*;

    fn after(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn of(name: &str, requests: u64, errors: u64) -> (Arc<str>, Totals) {
        (name.into(), Totals { requests, errors, durations: Tally::default() })
    }

    #[test]
    fn a_sample_takes_twelve_bytes() {
        assert_eq!(size_of::<Sample>(), 12);
    }

    #[test]
    fn each_sample_is_what_came_since_the_one_before() {
        let history = History::default();
        for (tick, (requests, errors)) in [(0, 0), (4, 1), (4, 1), (10, 1)].into_iter().enumerate() {
            history.sample([of("api", requests, errors)].into(), after(5 * tick as u64));
        }
        let (times, all) = history.read(|_| true);
        assert_eq!((times.len(), times[3]), (4, after(15)));
        let counts: Vec<_> = all[0].samples.iter().map(|sample| (sample.requests, sample.errors)).collect();
        assert_eq!(counts, [(4, 1), (0, 0), (6, 0)], "nothing is kept from before the first request");
        assert!(history.read(|name| name != "api").1.is_empty());
    }

    #[test]
    fn what_is_kept_has_a_bound_in_time_and_in_upstreams() {
        let history = History::default();
        for tick in 0..400 {
            history.sample([of("busy", tick + 1, 0), of("quiet", 1, 0)].into(), after(5 * tick));
        }
        let (times, all) = history.read(|_| true);
        assert_eq!((times.len(), all.len(), all[0].samples.len()), (180, 1, 180), "a quarter of an hour without any");
        let many = (0..300).map(|number| of(&format!("u{number:03}"), 1, 0));
        history.sample(many.chain([of("busy", 1000, 0)]).collect(), after(9000));
        let kept = history.read(|_| true).1;
        assert_eq!(kept.len(), 256);
        history.sample([of("u000", 1, 0), of("u299", 7, 0), of("busy", 1001, 0)].into(), after(9005));
        let back = history.read(|name| name == "u299").1;
        assert!(back.iter().all(|line| line.samples.last().is_some_and(|sample| sample.requests == 6)), "{back:?}");
    }
}
