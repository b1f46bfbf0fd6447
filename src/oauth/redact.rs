//! What of a server's own words may be repeated to people.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::request::client_auth::Proof;

/// A server's text in the characters of RFC 6749 section 5.2 (`%x20-21 / %x23-5B / %x5D-7E`; others become spaces), at
/// most `limit` of them. `None` if nothing is left, or if the text repeats the secret.
pub(super) fn repeatable(text: &str, limit: usize, proof: &Proof) -> Option<String> {
    let allowed = |c: char| matches!(c, '\x20'..='\x21' | '\x23'..='\x5b' | '\x5d'..='\x7e');
    // The whole text is looked through before it is cut, so that no half of a secret remains.
    if proof.is_in(text) {
        return None;
    }
    let shown: String = text.chars().map(|c| if allowed(c) { c } else { ' ' }).collect();
    let shown: String = shown.trim().chars().take(limit).collect();
    (!shown.is_empty()).then_some(shown)
}

/// `type/subtype` of an answer, for the log.
pub(super) fn media_type(headers: &HeaderMap, proof: &Proof) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = value.split(';').next().unwrap_or_default();
    repeatable(media_type, 64, proof).unwrap_or_else(|| "none".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::tests::presented;

    #[test]
    fn foreign_characters_become_spaces_and_length_is_bounded() {
        let proof = Proof::default();
        let said = |text: &str| repeatable(text, 10, &proof);
        assert_eq!(said("a\"b\\c\r\nd").as_deref(), Some("a b c  d"));
        assert_eq!(said("ünïcödé").as_deref(), Some("n c d"));
        assert_eq!(said(&"x".repeat(1000)).as_deref(), Some("xxxxxxxxxx"));
        assert_eq!(said("\r\n\u{7f}\u{9b}"), None);
    }

    #[test]
    fn a_text_that_repeats_the_secret_is_withheld_even_past_the_cut() {
        let proof = presented("s3cret value");
        assert_eq!(repeatable("bad secret 's3cret value'", 14, &proof), None);
        assert_eq!(repeatable("bad S3CRET+VALUE", 200, &proof), None);
        assert!(repeatable("bad secret", 200, &proof).is_some());
    }
}
