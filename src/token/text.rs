//! Which texts may be access tokens: the one judge of their characters, wherever a token comes from.

/// A token above it makes a header that most servers refuse.
const LONGEST: usize = 16 * 1024;

/// Why a text can be no access token; fit for the end of a sentence about it. Never says what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenFault {
    /// There is nothing.
    #[error("is empty")]
    Empty,
    /// More than 16 KiB.
    #[error("is longer than 16 KiB")]
    TooLong,
    /// A control character, a space, or one outside of ASCII.
    #[error("holds a space, a control character or one outside of ASCII, which no header may have in a token")]
    Character,
}

/// Judges a text that is to enter a header, or a query, as an access token.
///
/// RFC 6749 appendix A.12 has visible ASCII and spaces. The `b64token` of RFC 6750 section 2.1 is less, and less than real
/// servers issue: `00D…!…`, `Atc|…`, `ver:1-hint:…`. So whatever is visible passes, and a space does not: it would end the
/// token.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn judge_token(text: &str) -> Result<(), TokenFault> {
    if text.is_empty() {
        Err(TokenFault::Empty)
    } else if text.len() > LONGEST {
        Err(TokenFault::TooLong)
    } else if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(TokenFault::Character)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_as_real_servers_issue_them_pass() {
        for token in [
            "a",
            "00Dxx0000001gER!AQEAQ",
            "Atc|MQEBIHo",
            "v^1.1#i^1#p^3",
            "ver:1-hint:8-ETMs",
            "a=b",
            "=",
            "\"{}\\",
            "~",
        ] {
            assert_eq!(judge_token(token), Ok(()), "{token}");
        }
        for byte in 0x21..=0x7e_u8 {
            assert_eq!(judge_token(&char::from(byte).to_string()), Ok(()), "{byte:#x}");
        }
        assert_eq!(judge_token(&"a".repeat(LONGEST)), Ok(()));
    }

    #[test]
    fn what_could_end_or_break_a_field_does_not_pass() {
        for byte in (0..=0x20_u8).chain([0x7f]) {
            assert_eq!(judge_token(&format!("a{}b", char::from(byte))), Err(TokenFault::Character), "{byte:#x}");
        }
        assert_eq!(judge_token("ü"), Err(TokenFault::Character));
        assert_eq!(judge_token(""), Err(TokenFault::Empty));
        assert_eq!(judge_token(&"a".repeat(LONGEST + 1)), Err(TokenFault::TooLong));
    }
}
