//! `cache.key`: read from its text, and what is derived from it for names, for fingerprints and for sealing.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::hmac::{HMAC_SHA256, Key};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use crate::secret::{Secret, SecretError, SecretSource, Secrets};

/// In bytes; half of it would do for AES, but a key is made once and a short one is mostly a mistake.
const SHORTEST: usize = 32;

/// All keys of a replica: the first seals and names, each opens. At least one.
#[derive(Debug)]
pub(crate) struct CacheKeys {
    first: CacheKey,
    others: Vec<CacheKey>,
    passed_over: Vec<CacheKeyError>,
}

/// What is derived from one key. The key itself is forgotten.
pub(crate) struct CacheKey {
    pub(super) id: KeyId,
    pub(super) name: Key,
    pub(super) mark: Key,
    pub(super) seal: RandomizedNonceKey,
}

/// Tells keys apart without telling anything of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct KeyId(pub(super) [u8; 4]);

/// A place of `cache.key` that brings no key.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum CacheKeyError {
    #[error("{0}")]
    Unreadable(#[from] SecretError),
    #[error("{place} {fault}; make one with: openssl rand -base64 32")]
    Unsuitable { place: String, fault: KeyFault },
}

/// Why a text is no key. Never says what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyFault {
    #[error("is shorter than 32 bytes")]
    Short,
    #[error("has fewer than 64 hex digits, which are fewer than 32 bytes")]
    ShortHex,
    #[error("has an odd number of hex digits, so one is missing")]
    OddHex,
    #[error("cannot be used: the cryptographic library refuses it")]
    Refused,
}

impl CacheKeys {
    /// Reads them. Blocks while files are read and programs run. One that cannot be read is passed over as long as another can
    /// be, since a fleet lives on either of two keys while they are changed; one that is no key is an error.
    ///
    /// # Errors
    /// The first that is no key, or that of the first, if none can be read.
    pub(crate) fn read(from: &Secrets) -> Result<Self, CacheKeyError> {
        let (mut keys, mut passed_over) = (Vec::<CacheKey>::new(), Vec::new());
        for source in from.sources() {
            match CacheKey::read(source) {
                Ok(key) if keys.iter().any(|known| known.id == key.id) => {}
                Ok(key) => keys.push(key),
                Err(unreadable @ CacheKeyError::Unreadable(_)) => passed_over.push(unreadable),
                Err(unsuitable) => return Err(unsuitable),
            }
        }
        let mut keys = keys.into_iter();
        match keys.next() {
            Some(first) => Ok(Self { first, others: keys.collect(), passed_over }),
            None => {
                let none = || SecretError::Empty("the list of keys".into()).into();
                Err(passed_over.into_iter().next().unwrap_or_else(none))
            }
        }
    }

    /// The one that seals and names.
    pub(crate) const fn first(&self) -> &CacheKey {
        &self.first
    }

    /// In their order.
    pub(crate) fn all(&self) -> impl Iterator<Item = &CacheKey> {
        std::iter::once(&self.first).chain(&self.others)
    }

    pub(super) fn by_id(&self, id: KeyId) -> Option<&CacheKey> {
        self.all().find(|key| key.id == id)
    }

    /// Those that could not be read.
    pub(crate) fn passed_over(&self) -> &[CacheKeyError] {
        &self.passed_over
    }
}

impl CacheKey {
    fn read(source: &SecretSource) -> Result<Self, CacheKeyError> {
        let unsuitable = |fault| CacheKeyError::Unsuitable { place: source.to_string(), fault };
        Self::from_text(&source.read()?).map_err(unsuitable)
    }

    /// From its text: hex, base64, or characters as they are.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn from_text(text: &Secret) -> Result<Self, KeyFault> {
        Self::derive(&bytes(text.expose().trim())?)
    }

    fn derive(key: &[u8]) -> Result<Self, KeyFault> {
        let extracted = Salt::new(HKDF_SHA256, b"attache cache 1").extract(key);
        let hmac = |what| expand::<32>(&extracted, what).map(|key| Key::new(HMAC_SHA256, &*key));
        let sealing = expand::<32>(&extracted, "seal")?;
        Ok(Self {
            id: KeyId(*expand::<4>(&extracted, "id")?),
            name: hmac("name")?,
            mark: hmac("mark")?,
            seal: RandomizedNonceKey::new(&AES_256_GCM, &*sealing).map_err(|_unspecified| KeyFault::Refused)?,
        })
    }

    pub(crate) const fn id(&self) -> KeyId {
        self.id
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand<const N: usize>(from: &Prk, what: &str) -> Result<Zeroizing<[u8; N]>, KeyFault> {
    let mut out = Zeroizing::new([0; N]);
    let info = [what.as_bytes()];
    let filled = from.expand(&info, Length(N)).and_then(|okm| okm.fill(&mut *out));
    filled.map(|()| out).map_err(|_unspecified| KeyFault::Refused)
}

/// What a text stands for. 64 hex digits are 32 bytes and not 48 of base64, as `openssl rand -hex 32` means them; fewer are
/// refused, because who made 16 bytes that way would take them for long enough.
fn bytes(text: &str) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
    if text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return match text.len() {
            0..SHORTEST => Err(KeyFault::Short),
            length if length < 2 * SHORTEST => Err(KeyFault::ShortHex),
            length if !length.is_multiple_of(2) => Err(KeyFault::OddHex),
            _ => Ok(Zeroizing::new(
                text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect(),
            )),
        };
    }
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    for alphabet in [&alphabet::STANDARD, &alphabet::URL_SAFE] {
        let decoded = GeneralPurpose::new(alphabet, config).decode(text).map(Zeroizing::new);
        if let Ok(decoded) = decoded
            && decoded.len() >= SHORTEST
        {
            return Ok(decoded);
        }
    }
    if text.chars().count() < SHORTEST {
        return Err(KeyFault::Short);
    }
    Ok(Zeroizing::new(text.as_bytes().to_vec()))
}

/// Of a hex digit.
const fn digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        _ => byte - b'A' + 10,
    }
}

/// The id alone.
impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CacheKey({})", self.id)
    }
}

/// In hex, as people see it in the log and the status.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Result<CacheKey, KeyFault> {
        CacheKey::from_text(&Secret::new(text.into()))
    }

    fn literal(text: &str) -> SecretSource {
        SecretSource::Literal(Secret::new(text.into()))
    }

    #[test]
    fn one_key_is_the_same_in_hex_and_in_either_base64() {
        let hex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";
        let of_hex = key(hex).unwrap().id();
        assert_eq!(key(&hex.to_uppercase()).unwrap().id(), of_hex);
        for base64 in [
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8=",
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8",
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8=\n",
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8=".replace('/', "_").as_str(),
        ] {
            assert_eq!(key(base64).unwrap().id(), of_hex, "{base64}");
        }
    }

    #[test]
    fn what_is_no_encoding_counts_as_it_is() {
        let phrase = "correct horse battery staple and more";
        assert_eq!(key(phrase).unwrap().id(), CacheKey::derive(phrase.as_bytes()).unwrap().id());
        assert_eq!(*bytes(&"é!".repeat(16)).unwrap(), "é!".repeat(16).into_bytes(), "32 characters");
    }

    #[test]
    fn what_is_too_short_is_refused_with_what_to_write_instead() {
        let cases = [
            ("", KeyFault::Short),
            ("short", KeyFault::Short),
            ("0123456789abcdef", KeyFault::Short),
            ("0123456789abcdef0123456789abcdef", KeyFault::ShortHex),
            (&"a".repeat(63), KeyFault::ShortHex),
            (&"a".repeat(65), KeyFault::OddHex),
            (&"!".repeat(31), KeyFault::Short),
        ];
        for (text, fault) in cases {
            assert_eq!(key(text).unwrap_err(), fault, "{text}");
        }
        let error = CacheKeys::read(&Secrets::one(literal("sh0rt"))).unwrap_err().to_string();
        assert!(
            error.contains("is shorter than 32 bytes; make one with: openssl rand -base64 32")
                && !error.contains("sh0rt"),
            "{error}"
        );
    }

    #[test]
    fn the_first_that_can_be_read_seals_and_each_is_known_once() {
        let absent = SecretSource::Env("ATTACHE_TEST_SURELY_UNSET".into());
        let (new, old) = ("n".repeat(32), "o".repeat(32));
        let places = vec![absent.clone(), literal(&new), literal(&old), literal(&new)];
        let keys = CacheKeys::read(&Secrets::new(places).unwrap()).unwrap();
        let ids: Vec<_> = keys.all().map(CacheKey::id).collect();
        assert_eq!(ids, [key(&new).unwrap().id(), key(&old).unwrap().id()]);
        assert!(keys.first().id() == ids[0] && keys.by_id(ids[1]).is_some());
        assert_eq!(keys.passed_over().len(), 1);
        let none = CacheKeys::read(&Secrets::one(absent)).unwrap_err();
        assert!(matches!(none, CacheKeyError::Unreadable(SecretError::EnvUnset(_))));
        let unsuitable = CacheKeys::read(&Secrets::new(vec![literal(&new), literal("short")]).unwrap());
        assert!(matches!(unsuitable, Err(CacheKeyError::Unsuitable { .. })));
    }

    #[test]
    fn what_is_derived_stays_the_same_from_release_to_release() {
        let key = key(&"00".repeat(32)).unwrap();
        assert_eq!(format!("{key:?}"), "CacheKey(c19aa5b9)");
    }
}
