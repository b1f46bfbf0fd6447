//! What a source is told about why it is asked.

use std::time::Duration;

use super::shared::Shared;
use crate::renewal::Evidence;

/// Why a token is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Why {
    /// Another replica may have a newer one; if it has none, nothing is asked for.
    #[default]
    Look,
    /// The shared cache is back, and there is something to be made up for. If it is away again, nothing is asked for.
    Rejoin,
    /// The one that there is ends before long; it is still good.
    Ahead,
    /// There is none that can be used.
    Cold,
    /// An upstream refused the one that there is.
    Refused,
    /// A new one is wanted, whatever there is.
    Forced,
    /// One is wanted that nobody else sees.
    Apart,
}

/// A question to a source.
#[derive(Debug, Clone)]
pub struct Ask {
    pub(crate) why: Why,
    /// How sure it is that the token is to blame, where it was refused.
    pub(crate) evidence: Option<Evidence>,
    /// A 401 is among the reasons, or was among those of a try before that failed.
    pub(crate) after_unauthorized: bool,
    /// What the cache holds, or held last.
    pub(crate) held: Option<Held>,
    /// It has been put off before.
    pub(crate) put_off: bool,
}

/// The newest token of a cache, as its source knows it.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    /// `None` where it was obtained while there was no fleet.
    pub(crate) shared: Option<Shared>,
    /// How long ago it was obtained.
    pub(crate) age: Duration,
    /// All of its life.
    pub(crate) lifetime: Duration,
    /// What of it is left, short of its last moments.
    pub(crate) usable_for: Duration,
}

impl Ask {
    /// By one that keeps no tokens.
    #[must_use]
    pub const fn apart() -> Self {
        Self { why: Why::Apart, evidence: None, after_unauthorized: false, held: None, put_off: false }
    }
}
