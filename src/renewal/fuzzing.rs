//! What the fuzz targets hold against the rule: random histories of what upstreams, callers and an authorization server do, on
//! a virtual clock; `renewal::oracle` says what must come of them.

use self::Event::{Request as Ask, Revoke, Wait};
use super::oracle::World;

/// A history: its first byte says what kinds of upstreams there are, and each two bytes are something that happens.
///
/// # Errors
/// Which of the points does not hold.
pub fn history(input: &[u8]) -> Result<(), String> {
    let Some((kinds, script)) = input.split_first() else { return Ok(()) };
    let kind = |of: u8| match of % 4 {
        0 | 1 => Upstream::Good,
        2 => Upstream::Bad,
        _ => Upstream::OneBadServer,
    };
    let kinds: Vec<Upstream> = (0..=kinds % 3).map(|at| kind(kinds >> (2 + 2 * at))).collect();
    World::new(&kinds).run(&script.as_chunks::<2>().0.iter().copied().map(event).collect::<Vec<_>>())
}

fn event([what, how]: [u8; 2]) -> Event {
    let upstream = usize::from(how % 3);
    let path = match (how / 3) % 18 {
        0..6 => Path::Good((how / 3) % 3),
        6..9 => Path::Item,
        9..11 => Path::Bad(how % 2),
        11 => Path::BadItem,
        12 => Path::BadOf,
        13 => Path::Upload,
        14 => Path::BadUpload,
        15 => Path::Down,
        16 => Path::Public,
        _ => Path::Shaky,
    };
    match what % 22 {
        0..12 => Ask(upstream, path),
        12..14 => Event::Slow(upstream, path, what / 52),
        14..16 => Revoke,
        16 => Event::Restart(how % 20),
        17..21 => Wait(u32::from(how) * 12 + 1),
        _ => Wait(3000 + u32::from(how) * 460),
    }
}

/// What an upstream does with good tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upstream {
    /// Takes them, but for its bad paths.
    Good,
    /// Takes none.
    Bad,
    /// One of its two servers takes none; they are asked in turn.
    OneBadServer,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Path {
    Good(u8),
    /// A good path that is never asked for again, under one that is.
    Item,
    Bad(u8),
    /// A bad path that is never asked for again, under one that is bad as a whole.
    BadItem,
    /// The same, but what it lies under is no more than somebody's name.
    BadOf,
    /// A good path to which requests go that cannot be sent again.
    Upload,
    /// A bad one.
    BadUpload,
    /// One that answers with 503 whatever comes.
    Down,
    /// One that never looks at the token.
    Public,
    /// One that is served by two servers in turn, of which one refuses every token.
    Shaky,
}

impl Path {
    pub(super) fn is_good(self) -> bool {
        matches!(self, Self::Good(_) | Self::Item)
    }

    pub(super) fn is_bad(self) -> bool {
        matches!(self, Self::Bad(_) | Self::BadItem | Self::BadOf | Self::BadUpload)
    }

    /// What a caller would call the same path.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Good(0) => "first",
            Self::Good(1) => "second",
            Self::Good(_) => "third",
            Self::Item => "items",
            _ => "other",
        }
    }

    pub(super) fn is_sent_once(self) -> bool {
        matches!(self, Self::Upload | Self::BadUpload)
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    Request(usize, Path),
    /// A request that is answered after so many more events.
    Slow(usize, Path, u8),
    /// The token dies.
    Revoke,
    /// The authorization server is away for so many seconds, and has forgotten its tokens when it is back.
    Restart(u8),
    Wait(u32),
}
