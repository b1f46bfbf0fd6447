//! Where a token goes: a field with a text around the token, or a parameter of the query.

use arc_swap::ArcSwapOption;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use url::form_urlencoded::byte_serialize;
use zeroize::Zeroizing;

use crate::token::HeaderToken;

/// `inject`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inject {
    /// The field, or the parameter.
    pub(crate) place: Place,
    /// What stands around the token; `None` for its type's scheme in front, as in `Bearer …` and `DPoP …`.
    pub(crate) format: Option<Format>,
}

/// What part of a request a credential is put on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A header field; the caller's own fields of this name do not leave.
    Field(HeaderName),
    /// A parameter of the query (RFC 6750 section 2.3); the caller's own ones of this name do not leave.
    Query(String),
}

/// A text with exactly one `{token}` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Format {
    before: String,
    after: String,
}

/// Why a text is no format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidFormat {
    /// None, or more than one.
    #[error("it has to hold {{token}} exactly once")]
    Token,
    /// The field would not arrive as it is written.
    #[error("it holds a character that no header field may have, or begins or ends with a space")]
    Character,
}

impl Default for Inject {
    /// `Authorization: Bearer …`.
    fn default() -> Self {
        Self { place: Place::Field(AUTHORIZATION), format: None }
    }
}

impl Inject {
    /// The finished text, marked sensitive: a field's value, or `name=token` for the query, percent-encoded. `None` if it may
    /// not stand there.
    pub(super) fn format(&self, scheme: &str, token: &str) -> Option<HeaderValue> {
        let text = Zeroizing::new(match (&self.place, &self.format) {
            (Place::Query(name), _) => encoded(name) + "=" + &*Zeroizing::new(encoded(token)),
            (Place::Field(_), Some(Format { before, after })) => format!("{before}{token}{after}"),
            (Place::Field(_), None) => format!("{scheme} {token}"),
        });
        sensitive(&text)
    }

    /// The authentication scheme that `format` names (RFC 9110 section 11.1), if it does.
    pub(super) fn scheme(&self) -> Option<&str> {
        let before = &self.format.as_ref()?.before;
        before.split_once(' ').map(|(scheme, _)| scheme)
    }

    /// True where this alone says how a token is presented, whatever its type is called.
    #[must_use]
    pub(crate) const fn is_explicit(&self) -> bool {
        matches!(self.place, Place::Query(_)) || self.format.is_some()
    }

    /// True where a token's own ready-made value is what goes out.
    const fn is_as_usual(&self) -> bool {
        matches!(self.place, Place::Field(_)) && self.format.is_none()
    }
}

impl std::str::FromStr for Format {
    type Err = InvalidFormat;

    fn from_str(text: &str) -> Result<Self, InvalidFormat> {
        let (before, after) = text.split_once("{token}").ok_or(InvalidFormat::Token)?;
        if after.contains("{token}") {
            return Err(InvalidFormat::Token);
        }
        if sensitive(text).is_none() {
            return Err(InvalidFormat::Character);
        }
        Ok(Self { before: before.to_owned(), after: after.to_owned() })
    }
}

/// Tokens in the credential's own format. Equal token requests share a cache, whatever becomes of the token; so what differs
/// is kept here: the newest token's finished text, made once and then read like the usual one.
#[derive(Debug)]
pub(super) struct HeaderFormat {
    pub(super) inject: Inject,
    newest: ArcSwapOption<HeaderToken>,
}

impl HeaderFormat {
    pub(super) fn new(inject: Inject) -> Self {
        Self { inject, newest: ArcSwapOption::empty() }
    }

    /// This token, as it goes out. `None` if it may not stand there, or if nothing says how it is presented: another
    /// credential may have taken a token of a type that this one cannot use.
    pub(super) fn format(&self, token: HeaderToken) -> Option<HeaderToken> {
        if !token.type_is_known && !self.inject.is_explicit() {
            return None;
        }
        if self.inject.is_as_usual() {
            return Some(token);
        }
        let newest = self.newest.load();
        if let Some(finished) = newest.as_ref().filter(|finished| finished.generation == token.generation) {
            return Some(HeaderToken::clone(finished));
        }
        let (scheme, text) = token.scheme_and_token()?;
        let finished = HeaderToken { value: self.inject.format(scheme, text)?, ..token };
        // Two threads may both come here, with one token or with two: what stays is right for its own generation.
        self.newest.store(Some(std::sync::Arc::new(finished.clone())));
        Some(finished)
    }
}

/// A field's value that arrives as it is written: visible ASCII, and no space at its ends (RFC 9110 section 5.5).
pub(super) fn sensitive(text: &str) -> Option<HeaderValue> {
    if text.trim().len() != text.len() || !text.is_ascii() {
        return None;
    }
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Leaves no character that a query or its parameters give a meaning to.
fn encoded(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(format: Option<&str>) -> Inject {
        Inject {
            place: Place::Field(HeaderName::from_static("x-token")),
            format: format.map(|text| text.parse().unwrap()),
        }
    }

    fn token(generation: u64, value: &'static str) -> HeaderToken {
        let value = HeaderValue::from_static(value);
        HeaderToken { value, generation, after_unauthorized: false, type_is_known: true }
    }

    #[test]
    fn a_format_holds_the_token_exactly_once_and_fits_into_a_field() {
        let parse = str::parse::<Format>;
        assert_eq!(parse("Bearer"), Err(InvalidFormat::Token));
        assert_eq!(parse("{token} {token}"), Err(InvalidFormat::Token));
        for wrong in ["{token}\n", " {token}", "{token} ", "ü {token}"] {
            assert_eq!(parse(wrong), Err(InvalidFormat::Character), "{wrong:?}");
        }
        assert!(parse("{token}").is_ok() && parse("Token token=\"{token}\"").is_ok());
    }

    #[test]
    fn the_scheme_is_the_tokens_own_unless_a_format_says_otherwise() {
        assert_eq!(field(None).format("DPoP", "abc").unwrap(), "DPoP abc");
        assert_eq!(field(Some("Token {token}!")).format("DPoP", "abc").unwrap(), "Token abc!");
        assert_eq!(field(Some("Token {token}")).scheme(), Some("Token"));
        assert_eq!((field(Some("{token}")).scheme(), field(None).scheme()), (None, None));
    }

    #[test]
    fn a_parameter_is_encoded_so_that_every_server_reads_the_same() {
        let query = Inject { place: Place::Query("access token".into()), format: None };
        let pair = query.format("Bearer", "a+b/c~d==").unwrap();
        assert_eq!(pair, "access+token=a%2Bb%2Fc%7Ed%3D%3D");
        assert!(pair.is_sensitive());
    }

    #[test]
    fn a_shape_is_made_once_for_each_token() {
        let format = HeaderFormat::new(field(Some("Token {token}")));
        let first = format.format(token(1, "Bearer one")).unwrap();
        assert_eq!((first.value.as_bytes(), first.generation), (&b"Token one"[..], 1));
        let again = format.format(token(1, "Bearer one")).unwrap();
        assert_eq!(again.value.as_bytes().as_ptr(), first.value.as_bytes().as_ptr(), "the same bytes, not a copy");
        assert_eq!(format.format(token(2, "Bearer two")).unwrap().value, "Token two");
        assert!(!format!("{format:?}").contains("two"));
    }
}
