//! What one request is authorized by.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::inject::HeaderFormat;
use crate::token::{HeaderToken, TokenError, TokenErrorKind};

/// What authorizes one request, and which token it came from.
#[derive(Debug, Clone)]
pub(crate) struct Authorization {
    /// `None`: it goes into the query.
    pub(super) field: Option<HeaderName>,
    pub(super) finished: HeaderToken,
}

impl Authorization {
    /// The field, which goes out in place of every such field that is there: exactly one authorization leaves (RFC 6750
    /// section 2), and no `Connection` of a caller can name it away. `None` where it goes into the query.
    #[must_use]
    pub(crate) fn field(&self) -> Option<(&HeaderName, &HeaderValue)> {
        self.field.as_ref().map(|name| (name, &self.finished.value))
    }

    /// `name=token`, percent-encoded, where it goes into the query.
    #[must_use]
    pub(crate) fn query(&self) -> Option<&HeaderValue> {
        self.field.is_none().then_some(&self.finished.value)
    }

    /// The token's number.
    #[must_use]
    pub(crate) const fn generation(&self) -> u64 {
        self.finished.generation
    }

    /// True if the other one has the same token, or the same secret: a server may have no other.
    #[must_use]
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        self.finished.value == other.finished.value
    }
}

/// A token's characters are checked when it comes, and those around it when the configuration is read.
pub(super) fn formatted(format: &HeaderFormat, token: HeaderToken) -> Result<HeaderToken, Arc<TokenError>> {
    let token_is_known = token.type_is_known;
    format.format(token).ok_or_else(|| {
        let (message, remedy) = if token_is_known {
            ("the access token cannot be put where `inject` says", None)
        } else {
            let remedy = "if the upstream takes such a token, write how with inject = { format = \"… {token}\" }";
            ("the token's token_type is neither Bearer nor DPoP", Some(remedy))
        };
        Arc::new(TokenError::new(TokenErrorKind::InvalidResponse, message).with_remedy(remedy))
    })
}
