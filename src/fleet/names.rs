//! Names that tell nothing to who has no key: of identities, and of tokens.

/// One identity's place in the store: 22 characters of base64url, by the first key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Tag(pub(crate) String);

/// The fingerprint of a token: 22 characters of base64url.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Mark(pub(crate) String);
