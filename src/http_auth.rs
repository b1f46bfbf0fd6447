//! What stands in `Authorization`: the schemes Basic (RFC 7617) and Bearer (RFC 6750), read and written in one place, and
//! finding who is meant without telling by the time who there is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use url::form_urlencoded::{byte_serialize, parse};
use zeroize::Zeroizing;

/// A user name (or client id) with its password (or secret).
pub(crate) struct BasicPair {
    pub(crate) name: String,
    pub(crate) password: Zeroizing<String>,
}

impl BasicPair {
    /// RFC 7617 section 2. `None` for another scheme, what is no base64 of UTF-8, and what has no colon.
    pub(crate) fn read(value: &HeaderValue) -> Option<Self> {
        let pair = Zeroizing::new(STANDARD.decode(credentials(value, "Basic")?).ok()?);
        let (name, password) = std::str::from_utf8(&pair).ok()?.split_once(':')?;
        Some(Self { name: name.to_owned(), password: Zeroizing::new(password.to_owned()) })
    }

    /// The pair with both halves form-decoded, as `client_secret_basic` has them (RFC 6749 section 2.3.1).
    pub(crate) fn form_decoded(&self) -> Self {
        let password = Zeroizing::new(form_decoded(&self.password));
        Self { name: form_decoded(&self.name), password }
    }
}

/// What follows `Basic `: the pair in base64.
pub(crate) fn basic_credentials(name: &str, password: &str) -> Zeroizing<String> {
    let pair = Zeroizing::new(format!("{name}:{password}"));
    Zeroizing::new(STANDARD.encode(pair.as_bytes()))
}

/// The token of a field of the scheme Bearer, whatever its characters.
pub(crate) fn bearer(value: &HeaderValue) -> Option<&str> {
    credentials(value, "Bearer")
}

/// The entry that `is_named` finds, if `is_proven` holds for it. Where it finds none, the first entry is examined in its stead,
/// so that an unknown name takes as long as a wrong secret.
pub(crate) fn find_proven<T>(
    entries: &[T],
    is_named: impl Fn(&T) -> bool,
    is_proven: impl FnOnce(&T) -> bool,
) -> Option<&T> {
    let named = entries.iter().find(|entry| is_named(entry));
    let proven = named.or_else(|| entries.first()).is_some_and(is_proven);
    named.filter(|_| proven)
}

/// One value in `application/x-www-form-urlencoded` (RFC 6749 appendix B).
pub(crate) fn form_encoded(text: &str) -> Zeroizing<String> {
    Zeroizing::new(byte_serialize(text.as_bytes()).collect())
}

/// The reverse. A bare `&` comes from no encoder, and would end the value: a text with one is taken as it is.
fn form_decoded(text: &str) -> String {
    if text.contains('&') {
        return text.to_owned();
    }
    let field = Zeroizing::new(format!("x={text}"));
    parse(field.as_bytes()).next().map_or_else(String::new, |(_, value)| value.into_owned())
}

fn credentials<'v>(value: &'v HeaderValue, scheme: &str) -> Option<&'v str> {
    let (named, credentials) = value.to_str().ok()?.split_once(' ')?;
    named.eq_ignore_ascii_case(scheme).then(|| credentials.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn pair(text: &str) -> Option<(String, String)> {
        let pair = BasicPair::read(&HeaderValue::from_str(text).unwrap())?;
        Some((pair.name, pair.password.to_string()))
    }

    #[test]
    fn a_pair_is_read_as_it_was_written() {
        for (name, password) in [("one", "two"), ("", ""), ("ü", "a:b ")] {
            let written = format!("bAsIc  {} ", basic_credentials(name, password).as_str());
            assert_eq!(pair(&written), Some((name.to_owned(), password.to_owned())));
        }
        for broken in ["Bearer abc", "Basic", "Basic ???", "Basic b25l", "Basic /w==", ""] {
            assert_eq!(pair(broken), None, "{broken}");
        }
    }

    #[test]
    fn both_halves_of_a_clients_pair_are_form_encoded() {
        for text in ["a+b c", "ü&=%", ""] {
            let read = BasicPair { name: form_encoded(text).to_string(), password: form_encoded(text) }.form_decoded();
            assert_eq!((read.name.as_str(), read.password.as_str()), (text, text));
        }
        assert_eq!(form_decoded("a&b+c"), "a&b+c", "not encoded");
    }

    #[test]
    fn a_bearer_token_is_what_follows_the_scheme() {
        let token = |text| bearer(&HeaderValue::from_static(text)).map(str::to_owned);
        assert_eq!(token("bearer  a.b "), Some("a.b".to_owned()));
        assert_eq!((token("Basic a"), token("Bearer")), (None, None));
    }

    #[test]
    fn an_unknown_name_is_examined_like_a_known_one() {
        let entries = [("one", 1), ("two", 2)];
        let looked = RefCell::new(Vec::new());
        let find = |name: &str, secret: u8| {
            let proven = |(_, known): &(&str, u8)| {
                looked.borrow_mut().push(*known);
                *known == secret
            };
            find_proven(&entries, |(known, _)| *known == name, proven).copied()
        };
        assert_eq!(find("two", 2), Some(("two", 2)));
        assert_eq!((find("two", 1), find("three", 1)), (None, None));
        assert_eq!(*looked.borrow(), [2, 2, 1]);
        assert_eq!(find_proven(&[], |_: &u8| true, |_| true), None);
    }
}
