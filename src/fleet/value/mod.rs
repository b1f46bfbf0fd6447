//! What replicas tell each other, sealed: a token, or why there is none.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::keys::CacheKeys;
use super::names::Tag;
use super::protocol::Stored;
use super::seal::{self, Kind, MAX_SEALED, OpenError, SealError};
use crate::secret::Secret;
use crate::token::{About, FetchDetail, TokenError, TokenErrorKind, TokenType, judge_token};

/// By how much the clocks of two machines may differ before a token is used too long.
pub(super) const SKEW: Duration = Duration::from_secs(30);

/// No failure counts for longer, whatever the store says: as long as a server may have all wait.
pub(super) const LONGEST_FAILURE: Duration = Duration::from_secs(60 * 60);

/// A token, and what its successor's time and its uses are computed from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TokenValue {
    pub(crate) token: Secret,
    pub(crate) token_type: TokenType,
    /// From when its request was sent; the same for all, so that all compute the same time for its successor.
    pub(crate) lifetime: Duration,
    /// What of that had passed when it was put.
    pub(crate) age: Duration,
    /// When it ends, by the clock of the one who obtained it.
    pub(crate) expires_at: SystemTime,
    pub(crate) scope: Option<String>,
    pub(crate) missing_scope: Vec<String>,
    pub(crate) detail: FetchDetail,
    /// The replica that obtained it.
    pub(crate) by: String,
}

/// The newest token that a replica knows of an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Newest {
    pub(crate) generation: u64,
    pub(crate) obtained_at: SystemTime,
}

impl TokenValue {
    /// Sealed for one place and number.
    ///
    /// # Errors
    /// A token too large to be shared.
    pub(crate) fn seal(&self, keys: &CacheKeys, tag: &Tag, fence: u64) -> Result<Vec<u8>, SealError> {
        let token = self.token.expose();
        let written = WrittenToken {
            t: token,
            tt: written_type(self.token_type),
            l: millis(self.lifetime),
            a: millis(self.age),
            x: millis(since_epoch(self.expires_at)),
            s: self.scope.as_deref(),
            ms: &self.missing_scope,
            m: &self.detail.members,
            p: self.detail.proven_by.as_deref(),
            by: &self.by,
        };
        seal::seal(keys, Kind::Token, tag, fence, write(&written)?)
    }

    /// What is stored at this place, if it can be used now.
    ///
    /// By its number alone an older one is not refused: after the store has lost everything, numbers begin again at that of who
    /// asks first. So it must be older by the time that is sealed into it as well.
    ///
    /// # Errors
    /// Why it is not used.
    pub(crate) fn open(
        keys: &CacheKeys,
        tag: &Tag,
        stored: &Stored,
        wall: SystemTime,
        newest: Option<Newest>,
    ) -> Result<Self, OpenError> {
        let content = seal::open(keys, Kind::Token, tag, stored.generation, &stored.sealed)?;
        let read: ReadToken = read(&content)?;
        judge_token(&read.t).map_err(|_fault| OpenError::Malformed)?;
        let value = Self {
            token: Secret::new(read.t),
            token_type: read_type(&read.tt).ok_or(OpenError::Malformed)?,
            lifetime: Duration::from_millis(read.l),
            age: Duration::from_millis(read.a),
            expires_at: at_epoch(read.x)?,
            scope: read.s,
            missing_scope: read.ms,
            detail: FetchDetail { proven_by: read.p, members: read.m, status: None },
            by: read.by,
        };
        if value.left(stored, wall).is_zero() {
            return Err(OpenError::Expired);
        }
        let is_older =
            |newest: Newest| stored.generation < newest.generation && value.obtained_at() <= newest.obtained_at;
        if newest.is_some_and(is_older) {
            return Err(OpenError::Older);
        }
        Ok(value)
    }

    /// How long ago its request was sent, on the store's clock.
    pub(crate) fn age(&self, stored: &Stored) -> Duration {
        self.age.saturating_add(stored.age)
    }

    /// How long it can be used yet. The store's clock decides, unless by this machine's own it has ended: who can write into the
    /// store cannot make it live longer.
    pub(crate) fn left(&self, stored: &Stored, wall: SystemTime) -> Duration {
        let by_store = self.lifetime.saturating_sub(self.age(stored));
        let by_wall = self.expires_at.checked_add(SKEW).and_then(|end| end.duration_since(wall).ok());
        by_store.min(by_wall.unwrap_or_default())
    }

    /// By the clock of the one who obtained it.
    pub(crate) fn obtained_at(&self) -> SystemTime {
        self.expires_at.checked_sub(self.lifetime).unwrap_or(UNIX_EPOCH)
    }
}

/// Why there is no token for all.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum NoToken {
    Failed(TokenError),
    /// There is one, which is good for the replica that has it: each asks for its own.
    NotShared,
}

/// Why there is no token, as one replica has seen it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FailureValue {
    pub(crate) why: NoToken,
    /// By the clock of the one who has seen it.
    pub(crate) at: SystemTime,
    /// It counts for so long from then.
    pub(crate) delay: Duration,
    /// The replica that has seen it.
    pub(crate) by: String,
}

impl FailureValue {
    /// Sealed for one place and number.
    ///
    /// # Errors
    /// An error too large to be shared.
    pub(crate) fn seal(&self, keys: &CacheKeys, tag: &Tag, fence: u64) -> Result<Vec<u8>, SealError> {
        let none = WrittenFailure {
            k: NOT_SHARED,
            c: None,
            m: None,
            r: None,
            ra: None,
            ab: None,
            at: millis(since_epoch(self.at)),
            d: millis(self.delay),
            by: &self.by,
        };
        let written = match &self.why {
            NoToken::NotShared => none,
            // By how much its clock differs from the server's says nothing of another machine's.
            NoToken::Failed(TokenError {
                kind,
                code,
                message,
                remedy,
                retry_after,
                about,
                clock_skew: _,
                status: _,
            }) => WrittenFailure {
                k: kind.as_str(),
                c: code.as_deref(),
                m: Some(message),
                r: remedy.as_deref(),
                ra: retry_after.map(millis),
                ab: about.map(written_about),
                ..none
            },
        };
        seal::seal(keys, Kind::Failure, tag, fence, write(&written)?)
    }

    /// What is stored at this place, if it still counts. A clock that is ahead where it was seen lets it count for longer by as
    /// much.
    ///
    /// # Errors
    /// Why it is not used.
    pub(crate) fn open(
        keys: &CacheKeys,
        tag: &Tag,
        fence: u64,
        sealed: &[u8],
        wall: SystemTime,
    ) -> Result<Self, OpenError> {
        let content = seal::open(keys, Kind::Failure, tag, fence, sealed)?;
        let read: ReadFailure = read(&content)?;
        let at = at_epoch(read.at)?;
        let delay = Duration::from_millis(read.d).min(LONGEST_FAILURE);
        let by = read.by.clone();
        let why = if read.k == NOT_SHARED { NoToken::NotShared } else { NoToken::Failed(read.error()?) };
        let value = Self { why, at, delay, by };
        if value.left_by(wall).is_zero() {
            return Err(OpenError::Expired);
        }
        Ok(value)
    }

    /// How long it counts yet: what the store says, which may have been set back or lie, but no longer than it was said for.
    pub(crate) fn left(&self, by_store: Duration, wall: SystemTime) -> Duration {
        by_store.min(self.delay).min(self.left_by(wall))
    }

    fn left_by(&self, wall: SystemTime) -> Duration {
        (self.delay + SKEW).saturating_sub(wall.duration_since(self.at).unwrap_or_default())
    }
}

#[derive(Serialize)]
struct WrittenToken<'a> {
    t: &'a str,
    tt: &'static str,
    l: u64,
    a: u64,
    x: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    ms: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    m: &'a [(String, String)],
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<&'a str>,
    by: &'a str,
}

/// Where the kind of an error stands.
const NOT_SHARED: &str = "not_shared";

/// What a newer release writes besides is passed over.
#[derive(Deserialize)]
struct ReadToken {
    t: String,
    tt: String,
    l: u64,
    a: u64,
    x: u64,
    s: Option<String>,
    #[serde(default)]
    ms: Vec<String>,
    #[serde(default)]
    m: Vec<(String, String)>,
    p: Option<String>,
    by: String,
}

#[derive(Serialize)]
struct WrittenFailure<'a> {
    k: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    c: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    m: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ra: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ab: Option<&'static str>,
    at: u64,
    d: u64,
    by: &'a str,
}

#[derive(Deserialize)]
struct ReadFailure {
    k: String,
    c: Option<String>,
    m: Option<String>,
    r: Option<String>,
    ra: Option<u64>,
    ab: Option<String>,
    at: u64,
    d: u64,
    by: String,
}

impl ReadFailure {
    fn error(self) -> Result<TokenError, OpenError> {
        let about = match self.ab.as_deref() {
            Some(word) => Some(read_about(word).ok_or(OpenError::Malformed)?),
            None => None,
        };
        Ok(TokenError {
            kind: read_kind(&self.k).ok_or(OpenError::Malformed)?,
            code: self.c,
            message: self.m.ok_or(OpenError::Malformed)?,
            remedy: self.r,
            retry_after: self.ra.map(Duration::from_millis),
            about,
            clock_skew: None,
            status: None,
        })
    }
}

/// Into memory that is zeroed and, as far as what is shared goes, never moves.
fn write(value: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let mut content = Zeroizing::new(Vec::with_capacity(MAX_SEALED));
    // A map with text keys into memory: it cannot fail.
    serde_json::to_writer(&mut *content, value).map_err(|_never| SealError::TooLarge(content.len()))?;
    Ok(content)
}

/// The error of the parser may quote what it stumbled over.
fn read<T: DeserializeOwned>(content: &[u8]) -> Result<T, OpenError> {
    serde_json::from_slice(content).map_err(|_quotes| OpenError::Malformed)
}

const fn written_type(token_type: TokenType) -> &'static str {
    match token_type {
        TokenType::Bearer => "Bearer",
        TokenType::DPoP => "DPoP",
        TokenType::Unknown => "unknown",
    }
}

fn read_type(word: &str) -> Option<TokenType> {
    [TokenType::Bearer, TokenType::DPoP, TokenType::Unknown]
        .into_iter()
        .find(|token_type| written_type(*token_type) == word)
}

const fn written_about(about: About) -> &'static str {
    match about {
        About::Client => "client",
        About::Certificate => "certificate",
        About::CertificateName => "certificate_name",
        About::Handshake => "handshake",
        About::ParentProxy => "parent_proxy",
        About::Rate => "rate",
        About::Budget => "budget",
    }
}

fn read_about(word: &str) -> Option<About> {
    use About::{Budget, Certificate, CertificateName, Client, Handshake, ParentProxy, Rate};

    let abouts = [Client, Certificate, CertificateName, Handshake, ParentProxy, Rate, Budget];
    abouts.into_iter().find(|about| written_about(*about) == word)
}

fn read_kind(word: &str) -> Option<TokenErrorKind> {
    use TokenErrorKind::{Cancelled, Configuration, InvalidResponse, Permanent, Timeout, Transient};

    let kinds = [Permanent, Transient, InvalidResponse, Configuration, Cancelled, Timeout];
    kinds.into_iter().find(|kind| kind.as_str() == word)
}

fn since_epoch(at: SystemTime) -> Duration {
    at.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn at_epoch(millis: u64) -> Result<SystemTime, OpenError> {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis)).ok_or(OpenError::Malformed)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
