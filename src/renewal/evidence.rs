//! How sure it is that a refused token is dead.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// This very place has taken tokens before: the token is discarded at once.
    Strong,
    /// What it lies under has: the token stays in use until there is another, here and below.
    Inherited,
    /// Tokens were taken and new ones refused there, and now nothing is taken any more.
    Doubtful,
    /// Nothing speaks for it, and nothing against it.
    Slight,
}

impl Evidence {
    pub(crate) const fn is_weak(self) -> bool {
        matches!(self, Self::Doubtful | Self::Slight)
    }
}
