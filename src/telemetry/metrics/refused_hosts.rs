//! Which hosts were refused because no upstream covers them, and how often: the first thing that a person wants to know who
//! has put a program behind the proxy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use crate::sync::lock;

/// Programs choose these names, so there is a bound; the one that has been asked for longest ago goes.
const MAX_HOSTS: usize = 64;

/// A clone is a reference.
#[derive(Debug, Clone, Default)]
pub(crate) struct RefusedHosts(Arc<Mutex<BTreeMap<String, Refusals>>>);

/// What was refused of one origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusals {
    pub(crate) count: u64,
    /// Where the newest one came in.
    pub(crate) listener: String,
    pub(crate) last: SystemTime,
}

impl RefusedHosts {
    /// Counts one more, unless another worker is counting just then: no request waits for this.
    pub(crate) fn note(&self, listener: &str, origin: String) {
        let Ok(mut hosts) = self.0.try_lock() else { return };
        if hosts.len() >= MAX_HOSTS && !hosts.contains_key(&origin) {
            let oldest = hosts.iter().min_by_key(|(_, refused)| refused.last).map(|(origin, _)| origin.clone());
            oldest.and_then(|oldest| hosts.remove(&oldest));
        }
        let last = SystemTime::now();
        let refused = hosts.entry(origin).or_insert_with(|| Refusals { count: 0, listener: String::new(), last });
        listener.clone_into(&mut refused.listener);
        (refused.count, refused.last) = (refused.count + 1, last);
    }

    /// The origins, the one that was refused last first.
    pub(crate) fn all(&self) -> Vec<(String, Refusals)> {
        let mut all: Vec<_> = lock(&self.0).iter().map(|(origin, refused)| (origin.clone(), refused.clone())).collect();
        all.sort_by_key(|(_, refused)| std::cmp::Reverse(refused.last));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_counted_and_the_ones_longest_ago_forgotten() {
        let refused = RefusedHosts::default();
        for number in 0..100 {
            refused.note("proxy", format!("https://h{number}.test"));
        }
        refused.note("other", "https://h99.test".to_owned());
        let all = refused.all();
        assert_eq!((all.len(), all[0].0.as_str(), all[0].1.count), (64, "https://h99.test", 2));
        assert_eq!(all[0].1.listener, "other");
        assert!(!all.iter().any(|(origin, _)| origin == "https://h0.test"));
    }
}
