//! Names that tell nothing to who has no key: of identities, and of tokens; and what they are called in the store.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::keys::CacheKey;
use crate::digest::Digest;
use crate::secret::Secret;

/// 132 bits of a name.
const LENGTH: usize = 22;

/// One identity's place in the store: 22 characters of base64url, by one key.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Tag(Arc<str>);

/// The fingerprint of a token: 22 characters of base64url, by one key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Mark(Arc<str>);

/// What replicas must agree on to share a token: a digest over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SharedIdentity([u8; 32]);

/// Whose lease it is: a replica has one owner's name, with a number, for each of its caches.
pub(super) fn replica_of(owner: &str) -> &str {
    owner.rsplit_once('~').map_or(owner, |(replica, _number)| replica)
}

impl SharedIdentity {
    /// `identity` is which token requests are the same request. What is read from the answer, and which answers are taken, must
    /// be the same too: who wants a member that another replica did not keep cannot use its token.
    pub(crate) fn new<'m>(
        identity: &[u8; 32],
        members: impl IntoIterator<Item = &'m str>,
        any_token_type: bool,
    ) -> Self {
        let mut members: Vec<&str> = members.into_iter().collect();
        members.sort_unstable();
        members.dedup();
        let mut fields = Digest::new();
        fields.text("attache fleet identity 1");
        fields.bytes(identity);
        fields.list(members.into_iter(), Digest::text);
        fields.flag(any_token_type);
        Self(fields.finish())
    }
}

impl Tag {
    /// Of an identity in the fleet of this prefix. The prefix counts, so that what is sealed for one fleet is of no value to
    /// another that has the same key.
    pub(crate) fn new(key: &CacheKey, prefix: &str, identity: &SharedIdentity) -> Self {
        let mut fields = Digest::new();
        fields.text(prefix);
        fields.bytes(&identity.0);
        Self(keyed(&key.name, &fields.finish()))
    }

    /// From a message that one of the fleet, or one who can write into the store, has sent.
    pub(super) fn read(text: &str) -> Option<Self> {
        (text.len() == LENGTH).then(|| Self(text.into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Mark {
    /// Of a token.
    pub(crate) fn new(key: &CacheKey, token: &Secret) -> Self {
        Self(keyed(&key.mark, token.expose().as_bytes()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// As [`crate::token::Shared`] has it.
    pub(crate) fn text(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// In 0..1, by its first four bytes: all who have this token agree on it.
    pub(crate) fn jitter(&self) -> f64 {
        let start = self.0.get(..8).and_then(|start| URL_SAFE_NO_PAD.decode(start).ok()).unwrap_or_default();
        let number = start.first_chunk().map_or(0, |bytes: &[u8; 4]| u32::from_be_bytes(*bytes));
        f64::from(number) / (f64::from(u32::MAX) + 1.0)
    }
}

/// One that was made by [`Mark::new`].
impl From<Arc<str>> for Mark {
    fn from(text: Arc<str>) -> Self {
        Self(text)
    }
}

fn keyed(key: &hmac::Key, bytes: &[u8]) -> Arc<str> {
    let mut name = URL_SAFE_NO_PAD.encode(hmac::sign(key, bytes));
    name.truncate(LENGTH);
    name.into()
}

/// The names of one fleet's keys and channel. The braces are a hash tag: a cluster keeps all of them in one slot.
#[derive(Debug, Clone)]
pub(crate) struct StoreNames {
    start: String,
}

impl StoreNames {
    /// The number is that of the layout: another one is another fleet.
    pub(crate) fn new(prefix: &str) -> Self {
        Self { start: format!("attache:1:{{{prefix}}}:") }
    }

    /// The hash of an identity.
    pub(crate) fn identity(&self, tag: &Tag) -> String {
        format!("{}{}", self.start, tag.0)
    }

    /// The sorted set of who is there.
    pub(crate) fn members(&self) -> String {
        format!("{}members", self.start)
    }

    /// The channel on which is said what there is.
    pub(crate) fn channel(&self) -> String {
        format!("{}news", self.start)
    }
}

/// By their first characters: whole ones would let who reads the log find them in the store.
impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({self})")
    }
}

/// As people see it: `Zk3f…`.
impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", self.0.get(..4).unwrap_or_default())
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mark({}…)", self.0.get(..4).unwrap_or_default())
    }
}

#[cfg(test)]
impl Tag {
    pub(crate) fn scripted(text: &str) -> Self {
        Self(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> CacheKey {
        CacheKey::from_text(&Secret::new(text.into())).unwrap()
    }

    fn token(text: &str) -> Secret {
        Secret::new(text.into())
    }

    #[test]
    fn names_stay_the_same_from_release_to_release() {
        let key = key(&"00".repeat(32));
        let identity = SharedIdentity::new(&[7; 32], ["tenant", "id"], false);
        assert_eq!(Tag::new(&key, "attache", &identity).as_str(), "PNXL5jQfNqx10LbhmAzz1-");
        let mark = Mark::new(&key, &token("token-1"));
        assert_eq!(mark.as_str(), "aJ3zd6P59oj0KaZnFXnEi3");
        assert!((mark.jitter() - 0.408_660_142).abs() < 1e-9, "{}", mark.jitter());
        let names = StoreNames::new("attache");
        assert_eq!(names.identity(&Tag::scripted("TAG")), "attache:1:{attache}:TAG");
        assert_eq!(names.members(), "attache:1:{attache}:members");
        assert_eq!(names.channel(), "attache:1:{attache}:news");
    }

    #[test]
    fn an_identity_has_another_name_by_another_key_in_another_fleet_and_where_more_is_kept() {
        let (first, second) = (key(&"a".repeat(32).replace('a', "k")), key(&"l".repeat(32)));
        let of = |members: &[&str], any| SharedIdentity::new(&[1; 32], members.iter().copied(), any);
        let plain = Tag::new(&first, "attache", &of(&["a", "b"], false));
        assert_eq!(plain, Tag::new(&first, "attache", &of(&["b", "a", "b"], false)), "the order is of no account");
        for other in [
            Tag::new(&second, "attache", &of(&["a", "b"], false)),
            Tag::new(&first, "blue", &of(&["a", "b"], false)),
            Tag::new(&first, "attache", &of(&["ab"], false)),
            Tag::new(&first, "attache", &of(&["a", "b"], true)),
            Tag::new(&first, "attache", &SharedIdentity::new(&[2; 32], ["a", "b"], false)),
        ] {
            assert_ne!(other, plain);
        }
    }

    #[test]
    fn names_are_not_shown_whole() {
        let mark = Mark::new(&key(&"k".repeat(32)), &token("token-1"));
        let shown = format!("{mark:?} {:?} {}", Tag::scripted(mark.as_str()), Tag::scripted(mark.as_str()));
        assert!(mark.as_str().len() == LENGTH && !shown.contains(&mark.as_str()[..5]), "{shown}");
    }

    #[test]
    fn the_jitter_of_marks_is_spread_over_all_of_its_range() {
        let key = key(&"k".repeat(32));
        let jitters: Vec<f64> = (0..1000).map(|n| Mark::new(&key, &token(&n.to_string())).jitter()).collect();
        assert!(jitters.iter().all(|jitter| (0.0..1.0).contains(jitter)));
        let lower = jitters.iter().filter(|jitter| **jitter < 0.5).count();
        assert!((430..570).contains(&lower), "{lower}");
    }
}
