//! What of a server's own words may be repeated to people.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use zeroize::Zeroizing;

/// What a request holds in secret, in each form in which it goes out: a text that repeats it is not shown.
#[derive(Default)]
pub(super) struct Redactor(Vec<Zeroizing<String>>);

impl Redactor {
    pub(super) fn withhold(&mut self, secret: &str) {
        self.0.push(Zeroizing::new(secret.to_owned()));
    }

    /// True if the text repeats a secret. One of three characters or fewer is in too many words to be looked for.
    pub(super) fn is_in(&self, text: &str) -> bool {
        let text = Zeroizing::new(text.to_ascii_lowercase());
        let repeats = |secret: &Zeroizing<String>| text.contains(Zeroizing::new(secret.to_ascii_lowercase()).as_str());
        self.0.iter().filter(|secret| secret.len() > 3).any(repeats)
    }

    /// A server's text in the characters of RFC 6749 section 5.2 (`%x20-21 / %x23-5B / %x5D-7E`; others become spaces), at
    /// most `limit` of them. `None` if nothing is left, or if the text repeats a secret.
    pub(super) fn redacted(&self, text: &str, limit: usize) -> Option<String> {
        let allowed = |c: char| matches!(c, '\x20'..='\x21' | '\x23'..='\x5b' | '\x5d'..='\x7e');
        // The whole text is looked through before it is cut, so that no half of a secret remains.
        if self.is_in(text) {
            return None;
        }
        let shown: String = text.chars().map(|c| if allowed(c) { c } else { ' ' }).collect();
        let shown: String = shown.trim().chars().take(limit).collect();
        (!shown.is_empty()).then_some(shown)
    }

    /// `type/subtype` of an answer, for the log.
    pub(super) fn media_type(&self, headers: &HeaderMap) -> String {
        let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = value.split(';').next().unwrap_or_default();
        self.redacted(media_type, 64).unwrap_or_else(|| "none".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::tests::presented;

    #[test]
    fn foreign_characters_become_spaces_and_length_is_bounded() {
        let redactor = Redactor::default();
        let said = |text: &str| redactor.redacted(text, 10);
        assert_eq!(said("a\"b\\c\r\nd").as_deref(), Some("a b c  d"));
        assert_eq!(said("ünïcödé").as_deref(), Some("n c d"));
        assert_eq!(said(&"x".repeat(1000)).as_deref(), Some("xxxxxxxxxx"));
        assert_eq!(said("\r\n\u{7f}\u{9b}"), None);
    }

    #[test]
    fn a_text_that_repeats_the_secret_is_withheld_even_past_the_cut() {
        let redactor = presented("s3cret value");
        assert_eq!(redactor.redacted("bad secret 's3cret value'", 14), None);
        assert_eq!(redactor.redacted("bad S3CRET+VALUE", 200), None);
        assert!(redactor.redacted("bad secret", 200).is_some());
    }
}
