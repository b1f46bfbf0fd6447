//! Secrets as people paste them: with what the place, the shell or the editor has put around them.

use zeroize::Zeroizing;

use super::Secret;

/// What stands around a secret and may not belong to it. It is sent all the same: some secrets are like that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SecretDoubt {
    /// White space at an end.
    #[error("begins or ends with a blank")]
    Blank,
    /// A pair of quotes.
    #[error("stands between quotes")]
    Quotes,
    /// `NAME=`, as in a file of variables.
    #[error("begins with a name and \"=\", as in a file of variables")]
    Assignment,
}

impl Secret {
    /// What a person would look at twice.
    #[must_use]
    pub(crate) fn doubt(&self) -> Option<SecretDoubt> {
        let text = self.expose();
        let quoted = |quote: char| text.len() > 2 && text.starts_with(quote) && text.ends_with(quote);
        if text.trim().len() != text.len() {
            Some(SecretDoubt::Blank)
        } else if quoted('"') || quoted('\'') {
            Some(SecretDoubt::Quotes)
        } else if begins_like_an_assignment(text) {
            Some(SecretDoubt::Assignment)
        } else {
            None
        }
    }

    /// True for a PEM with a private key in it.
    #[must_use]
    pub(crate) fn has_private_key(&self) -> bool {
        self.expose().contains("PRIVATE KEY-----")
    }

    /// The text of a PEM. A variable of one line holds its line ends as `\n`, and a tool may have put quotes around it: a PEM
    /// has no backslash and no quote of its own.
    #[must_use]
    pub(crate) fn pem(&self) -> Self {
        let text = self.expose();
        let bare = text.trim().trim_matches(['"', '\'']);
        if !bare.starts_with("-----BEGIN") || (bare.len() == text.trim().len() && !bare.contains('\\')) {
            return self.clone();
        }
        let lines = Zeroizing::new(bare.replace("\\r", ""));
        Self::new(lines.replace("\\n", "\n"))
    }
}

/// The name of a variable, one `=`, and something behind it. Base64 has its `=` at the end, and `key=…` is how some API keys
/// are presented.
fn begins_like_an_assignment(text: &str) -> bool {
    let text = text.strip_prefix("export ").unwrap_or(text);
    let Some((name, value)) = text.split_once('=') else { return false };
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let of_a_variable = name.contains('_') || name.bytes().all(|byte| byte.is_ascii_uppercase());
    let is_name = first && name.len() > 1 && name.bytes().all(usual) && of_a_variable;
    is_name && !value.is_empty() && !value.starts_with('=')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubt(text: &str) -> Option<SecretDoubt> {
        Secret::new(text.into()).doubt()
    }

    #[test]
    fn what_stands_around_a_secret_is_noticed() {
        for blank in [" s3cret", "s3cret ", "s3cret\t"] {
            assert_eq!(doubt(blank), Some(SecretDoubt::Blank));
        }
        for quoted in ["\"s3cret\"", "'s3cret'"] {
            assert_eq!(doubt(quoted), Some(SecretDoubt::Quotes));
        }
        for assignment in ["CLIENT_SECRET=s3cret", "client_secret=\"s3cret\"", "export SECRET=s3cret"] {
            assert_eq!(doubt(assignment), Some(SecretDoubt::Assignment), "{assignment}");
        }
        for fine in
            ["s3cret", "s3 cret", "YWJjZA==", "a=", "=a", "\"s3cret", "it's", "p@ss=word", "\"\"", "9a=b", "key=abc"]
        {
            assert_eq!(doubt(fine), None, "{fine}");
        }
    }

    #[test]
    fn a_pem_of_one_line_gets_its_line_ends() {
        let pem = |text: &str| Secret::new(text.into()).pem().expose().to_owned();
        let whole = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----";
        for written in [whole.replace('\n', "\\n"), whole.replace('\n', "\\r\\n"), format!("\"{whole}\"")] {
            assert_eq!(pem(&written), whole);
        }
        assert_eq!(pem(whole), whole);
        assert_eq!(pem("s3cret\\n"), "s3cret\\n", "what is no PEM is left alone");
    }
}
