//! What may happen in a history, and to what kinds of upstreams and paths.

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
    /// The same, but what it lies under is no more than a user's name.
    BadOf,
    /// A good path to which requests go that cannot be sent again.
    Upload,
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
