//! The nonces that servers want to see in a proof (RFC 9449 sections 8 and 9): one for each server, the last one it gave.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use http::HeaderMap;

use super::DPOP_NONCE;
use crate::sync::lock;

/// Servers that are remembered. One more makes room by forgetting the one that was not asked for longest; that costs it
/// one more refusal.
const MAX_ORIGINS: usize = 256;

/// Octets of a nonce. Servers that keep no state encrypt a date, or sign one; a few hundred octets do.
const MAX_NONCE: usize = 1024;

/// The last nonce of each server. Its lock is held for a lookup.
#[derive(Debug, Default)]
pub(crate) struct Nonces(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    by_origin: HashMap<Box<str>, Entry>,
    /// Counts uses, so that the oldest can be told.
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    nonce: Arc<str>,
    used: u64,
}

impl Nonces {
    /// The nonce for the next proof to this server.
    #[must_use]
    pub(crate) fn get(&self, origin: &str) -> Option<Arc<str>> {
        let mut known = lock(&self.0);
        let now = known.tick();
        let entry = known.by_origin.get_mut(origin)?;
        entry.used = now;
        Some(Arc::clone(&entry.nonce))
    }

    /// Takes the nonce from an answer of this server, whatever its status. True if it is another one than before: a
    /// request that was refused for want of it may be sent again. A field that is no nonce, or that is there twice, is
    /// as good as none.
    pub(crate) fn learn(&self, origin: &str, headers: &HeaderMap) -> bool {
        let Some(nonce) = nonce(headers) else { return false };
        let mut known = lock(&self.0);
        let now = known.tick();
        if let Some(entry) = known.by_origin.get_mut(origin) {
            entry.used = now;
            let news = *entry.nonce != *nonce;
            if news {
                entry.nonce = nonce.into();
            }
            return news;
        }
        known.make_room();
        known.by_origin.insert(origin.into(), Entry { nonce: nonce.into(), used: now });
        true
    }
}

impl Known {
    fn tick(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }

    fn make_room(&mut self) {
        if self.by_origin.len() < MAX_ORIGINS {
            return;
        }
        let oldest = self.by_origin.iter().min_by_key(|(_, entry)| entry.used).map(|(origin, _)| origin.clone());
        if let Some(oldest) = oldest {
            self.by_origin.remove(&oldest);
        }
    }
}

/// `1*NQCHAR` (RFC 9449 section 8.1): `%x21 / %x23-5B / %x5D-7E`.
fn nonce(headers: &HeaderMap) -> Option<&str> {
    let mut lines = headers.get_all(DPOP_NONCE).iter();
    let value = lines.next().filter(|_| lines.next().is_none())?.to_str().ok()?;
    let is_nonce = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    let fits = !value.is_empty() && value.len() <= MAX_NONCE && value.bytes().all(is_nonce);
    fits.then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const API: &str = "https://api.example";

    fn answer(nonce: &[u8]) -> HeaderMap {
        HeaderMap::from_iter([(DPOP_NONCE, http::HeaderValue::from_bytes(nonce).unwrap())])
    }

    #[test]
    fn the_last_nonce_of_each_server_is_kept_for_itself() {
        let nonces = Nonces::default();
        assert_eq!(nonces.get(API), None);
        assert!(nonces.learn(API, &answer(b"one")), "the first is news");
        assert!(!nonces.learn(API, &answer(b"one")), "the same again is none");
        assert!(nonces.learn("https://as.example", &answer(b"other")));
        assert!(nonces.learn(API, &answer(b"two")));
        assert_eq!(nonces.get(API).as_deref(), Some("two"));
        assert_eq!(nonces.get("https://as.example").as_deref(), Some("other"));
    }

    #[test]
    fn an_answer_without_a_nonce_changes_nothing() {
        let nonces = Nonces::default();
        nonces.learn(API, &answer(b"one"));
        let mut two = answer(b"two");
        two.append(DPOP_NONCE, http::HeaderValue::from_static("three"));
        assert!(!nonces.learn(API, &HeaderMap::new()) && !nonces.learn(API, &two));
        assert_eq!(nonces.get(API).as_deref(), Some("one"));
    }

    #[test]
    fn only_the_characters_of_a_nonce_are_taken_and_not_too_many() {
        for good in [b"!".as_slice(), b"#[", b"]~", b"eyJ7S_zG.eyJH0-Z.HX4w-7v", &[b'x'; MAX_NONCE]] {
            assert!(Nonces::default().learn(API, &answer(good)), "{good:?}");
        }
        for bad in [b"".as_slice(), b"a b", b"a\"b", b"a\\b", b"a\tb", b"\xc3\xa4", &[b'x'; MAX_NONCE + 1]] {
            assert!(!Nonces::default().learn(API, &answer(bad)), "{bad:?}");
        }
    }

    #[test]
    fn the_server_that_was_not_asked_for_longest_goes_first() {
        let nonces = Nonces::default();
        for server in 0..MAX_ORIGINS {
            nonces.learn(&server.to_string(), &answer(b"n"));
        }
        assert!(nonces.get("0").is_some());
        nonces.learn("one more", &answer(b"n"));
        assert!(nonces.get("0").is_some() && nonces.get("one more").is_some());
        assert_eq!(nonces.get("1"), None);
        assert_eq!(nonces.0.lock().unwrap().by_origin.len(), MAX_ORIGINS);
    }
}
