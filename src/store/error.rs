//! Why a question to the store has no answer.

/// No answer, or one that is of no use. The task that asked goes on without the store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreError {
    /// There is no connection now; nothing was sent.
    #[error("there is no connection to it now")]
    Away,
    /// No answer in time.
    #[error("it did not answer in time")]
    Timeout,
    /// The connection broke before the answer.
    #[error("the connection to it broke")]
    Broken,
    /// It answered with an error.
    #[error("it refuses: {0}")]
    Refused(Refusal),
    /// An answer that is none to this question.
    #[error("its answer makes no sense")]
    Unexpected,
}

/// The error that a server answered, by the word that it begins with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// `OOM`: its memory is full, and it may evict nothing. Reading goes on.
    #[error("its memory is full (OOM)")]
    OutOfMemory,
    /// `READONLY`: a replica, or a primary that is none any more.
    #[error("it takes no writes (READONLY)")]
    ReadOnly,
    /// `NOPERM`: the ACL user may not do that.
    #[error("the user may not do that (NOPERM)")]
    NoPermission,
    /// `NOAUTH`, `WRONGPASS`.
    #[error("the user name or password is wrong (WRONGPASS)")]
    Unauthenticated,
    /// `LOADING`, `MASTERDOWN`, `CLUSTERDOWN`, `TRYAGAIN`, `BUSY`: for now.
    #[error("it is not ready ({0})")]
    NotReady(String),
    /// Anything else; the word alone, never the text behind it, which may hold what was sent.
    #[error("{0}")]
    Other(String),
}
