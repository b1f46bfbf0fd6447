//! The head of a request on its way out.

use std::fmt;
use std::rc::Rc;

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};

use crate::interim::Interims;

/// The head of a request as it is to leave: the caller's, rewritten, with attache's authorization in place of any that is in it.
/// Borrowed, so that it can be sent again without having been copied the first time.
#[derive(Clone, Copy)]
pub(crate) struct OutboundHead<'a> {
    /// Method, path and fields. Scheme, authority and `Host` are not looked at: those are the origin's.
    pub(crate) head: &'a Parts,
    /// In place of the head's path and query: a token may be in it.
    pub(crate) path: Option<&'a PathAndQuery>,
    /// The fields that authorize the request: a token, and what may have to go along with it. Fields of these names that are
    /// in the head do not leave.
    pub(crate) authorization: [Option<OutboundField<'a>>; 2],
    /// `traceparent`, where this sending is a part of a trace; the same holds for it.
    pub(crate) trace: Option<OutboundField<'a>>,
    /// It leaves over a new connection.
    pub(crate) fresh: bool,
    /// Where interim answers go.
    pub(crate) interim: Option<&'a Rc<Interims>>,
}

/// A field that is put on a request.
pub(crate) type OutboundField<'a> = (&'a HeaderName, &'a HeaderValue);

impl<'a> OutboundHead<'a> {
    /// A head that leaves as it is.
    #[must_use]
    pub(crate) const fn plain(head: &'a Parts) -> Self {
        Self { head, path: None, authorization: [None, None], trace: None, fresh: false, interim: None }
    }

    /// True if a field of this name is put on.
    pub(super) fn replaces(&self, name: &HeaderName) -> bool {
        // Asked of every field of a request.
        let puts = |put: &Option<OutboundField<'_>>| put.is_some_and(|(field, _)| field == name);
        let [first, second] = &self.authorization;
        puts(first) || puts(second) || puts(&self.trace)
    }

    /// What is put on.
    pub(super) fn put_on(&self) -> impl Iterator<Item = OutboundField<'a>> + use<'a> {
        self.authorization.into_iter().chain([self.trace]).flatten()
    }
}

impl fmt::Debug for OutboundHead<'_> {
    /// Neither the path nor a field: there may be secrets in both.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundHead").field("method", &self.head.method).finish_non_exhaustive()
    }
}
