//! The envelope of what lies in the store: encrypted, and bound to its kind, its identity and its number.
//!
//! `0x01 | key id (4) | nonce (12) | AES-256-GCM of the content and its tag (16)`

use aws_lc_rs::aead::{Aad, NONCE_LEN, Nonce};
use zeroize::Zeroizing;

use super::keys::{CacheKeys, KeyId};
use super::names::Tag;

/// More is not shared: with it a thousand identities would fill a small store.
pub(crate) const MAX_SEALED: usize = 16 * 1024;

const VERSION: u8 = 1;
const ID_LEN: usize = 4;
const TAG_LEN: usize = 16;

/// What is sealed. One kind does not open as another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Token,
    Failure,
}

/// Why something is not put into the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SealError {
    #[error("it has {0} bytes when sealed, and may have 16 KiB")]
    TooLarge(usize),
    #[error("it cannot be encrypted: there is no randomness")]
    NoRandomness,
}

/// Why something from the store is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("it is sealed with a key that is not in cache.key (id {0})")]
    UnknownKey(KeyId),
    /// Changed, moved here from elsewhere, or under another number.
    #[error("it is not what was sealed for this place")]
    Forged,
    #[error("it has expired")]
    Expired,
    /// By number and by time.
    #[error("it is older than the one that is held")]
    Older,
    #[error("it is larger than what is shared")]
    TooLarge,
    /// Of another version, or cut off.
    #[error("it makes no sense")]
    Malformed,
}

impl OpenError {
    /// Every word in metrics.
    pub(crate) const REASONS: [&str; 6] = ["unknown_key", "forged", "expired", "older", "too_large", "malformed"];

    /// The word in metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        let [unknown_key, forged, expired, older, too_large, malformed] = Self::REASONS;
        match self {
            Self::UnknownKey(_) => unknown_key,
            Self::Forged => forged,
            Self::Expired => expired,
            Self::Older => older,
            Self::TooLarge => too_large,
            Self::Malformed => malformed,
        }
    }
}

/// Seals with the first key.
pub(super) fn seal(
    keys: &CacheKeys,
    kind: Kind,
    tag: &Tag,
    fence: u64,
    mut content: Zeroizing<Vec<u8>>,
) -> Result<Vec<u8>, SealError> {
    let length = 1 + ID_LEN + NONCE_LEN + content.len() + TAG_LEN;
    if length > MAX_SEALED {
        return Err(SealError::TooLarge(length));
    }
    let key = keys.first();
    let aad = Aad::from(place(kind, tag, fence));
    let nonce =
        key.seal.seal_in_place_append_tag(aad, &mut *content).map_err(|_unspecified| SealError::NoRandomness)?;
    let mut sealed = Vec::with_capacity(length);
    sealed.push(VERSION);
    sealed.extend_from_slice(&key.id.0);
    sealed.extend_from_slice(nonce.as_ref());
    sealed.extend_from_slice(&content);
    Ok(sealed)
}

/// Opens what was sealed for this place.
pub(super) fn open(
    keys: &CacheKeys,
    kind: Kind,
    tag: &Tag,
    fence: u64,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    if sealed.len() > MAX_SEALED {
        return Err(OpenError::TooLarge);
    }
    let Some((&VERSION, rest)) = sealed.split_first() else { return Err(OpenError::Malformed) };
    let (id, rest) = rest.split_first_chunk::<ID_LEN>().ok_or(OpenError::Malformed)?;
    let (nonce, content) = rest.split_first_chunk::<NONCE_LEN>().ok_or(OpenError::Malformed)?;
    if content.len() < TAG_LEN {
        return Err(OpenError::Malformed);
    }
    let id = KeyId(*id);
    let key = keys.by_id(id).ok_or(OpenError::UnknownKey(id))?;
    let mut content = Zeroizing::new(content.to_vec());
    let aad = Aad::from(place(kind, tag, fence));
    let opened = key.seal.open_in_place(Nonce::from(nonce), aad, &mut content);
    let length = opened.map_err(|_unspecified| OpenError::Forged)?.len();
    content.truncate(length);
    Ok(content)
}

/// Where something belongs. Without it, one who can write into the store could give one identity the token of another, or an old
/// token a new number.
fn place(kind: Kind, tag: &Tag, fence: u64) -> Vec<u8> {
    let kind: &[u8] = match kind {
        Kind::Token => b"token",
        Kind::Failure => b"failure",
    };
    [b"attache cache 1".as_slice(), kind, tag.as_str().as_bytes(), &fence.to_be_bytes()].join(&0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::keys::CacheKey;
    use crate::fleet::names::SharedIdentity;
    use crate::secret::{Secret, SecretSource, Secrets};
    use proptest::prelude::*;

    fn keys(texts: &[&str]) -> CacheKeys {
        let literal = |text: &&str| SecretSource::Literal(Secret::new(text.repeat(32)));
        CacheKeys::read(&Secrets::new(texts.iter().map(literal).collect()).unwrap()).unwrap()
    }

    fn tag(key: &CacheKey, prefix: &str, identity: u8) -> Tag {
        Tag::new(key, prefix, &SharedIdentity::new(&[identity; 32], [], false))
    }

    #[test]
    fn each_of_the_keys_opens_and_one_that_is_not_there_is_named() {
        let (old, both, new) = (keys(&["o"]), keys(&["n", "o"]), keys(&["n"]));
        let place = Tag::scripted("place");
        let sealed = seal(&old, Kind::Token, &place, 1, Zeroizing::new(b"content".to_vec())).unwrap();
        assert_eq!(*open(&both, Kind::Token, &place, 1, &sealed).unwrap(), b"content");
        let id = old.first().id();
        assert_eq!(open(&new, Kind::Token, &place, 1, &sealed), Err(OpenError::UnknownKey(id)));
        let by_new = seal(&both, Kind::Token, &place, 1, Zeroizing::new(b"content".to_vec())).unwrap();
        assert!(
            open(&new, Kind::Token, &place, 1, &by_new).is_ok() && open(&old, Kind::Token, &place, 1, &by_new).is_err()
        );
    }

    #[test]
    fn what_is_too_large_is_neither_sealed_nor_opened() {
        let (keys, place) = (keys(&["k"]), Tag::scripted("place"));
        let most = MAX_SEALED - 33;
        let sealed = seal(&keys, Kind::Token, &place, 1, Zeroizing::new(vec![b'x'; most])).unwrap();
        assert!(sealed.len() == MAX_SEALED && open(&keys, Kind::Token, &place, 1, &sealed).is_ok());
        let larger = seal(&keys, Kind::Token, &place, 1, Zeroizing::new(vec![b'x'; most + 1]));
        assert_eq!(larger, Err(SealError::TooLarge(MAX_SEALED + 1)));
        assert_eq!(open(&keys, Kind::Token, &place, 1, &vec![1; MAX_SEALED + 1]), Err(OpenError::TooLarge));
    }

    #[test]
    fn what_has_another_version_or_is_cut_off_makes_no_sense() {
        let (keys, place) = (keys(&["k"]), Tag::scripted("place"));
        let sealed = seal(&keys, Kind::Token, &place, 1, Zeroizing::new(Vec::new())).unwrap();
        for cut in 0..sealed.len() {
            assert_eq!(open(&keys, Kind::Token, &place, 1, &sealed[..cut]), Err(OpenError::Malformed), "{cut}");
        }
        let other = [&[2], &sealed[1..]].concat();
        assert_eq!(open(&keys, Kind::Token, &place, 1, &other), Err(OpenError::Malformed));
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_in_its_own_place_alone_and_only_unchanged(
            content in prop::collection::vec(any::<u8>(), 0..600), identity: u8, fence: u64, at: prop::sample::Index, bit in 0_u8..8,
        ) {
            let keys = keys(&["k"]);
            let here = tag(keys.first(), "attache", identity);
            let sealed = seal(&keys, Kind::Token, &here, fence, Zeroizing::new(content.clone())).unwrap();
            prop_assert_eq!(&*open(&keys, Kind::Token, &here, fence, &sealed).unwrap(), &content);
            let again = seal(&keys, Kind::Token, &here, fence, Zeroizing::new(content)).unwrap();
            prop_assert_ne!(&again, &sealed, "a nonce is used once");

            let elsewhere = [tag(keys.first(), "attache", identity ^ 1), tag(keys.first(), "blue", identity)];
            for elsewhere in elsewhere {
                prop_assert_eq!(open(&keys, Kind::Token, &elsewhere, fence, &sealed), Err(OpenError::Forged));
            }
            prop_assert_eq!(open(&keys, Kind::Token, &here, fence ^ 1, &sealed), Err(OpenError::Forged));
            prop_assert_eq!(open(&keys, Kind::Failure, &here, fence, &sealed), Err(OpenError::Forged));

            let mut flipped = sealed.clone();
            flipped[at.index(sealed.len())] ^= 1_u8 << bit;
            prop_assert!(open(&keys, Kind::Token, &here, fence, &flipped).is_err());
        }
    }
}
