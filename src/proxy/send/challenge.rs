//! `WWW-Authenticate` (RFC 9110 section 11.6.1): several challenges in a line or over lines, quoted commas and all.

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue};

/// What a refusal means for the token that was on the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A challenge of the credential's scheme (Bearer or `DPoP` for a token), or none at all: another token may help.
    TokenRefused,
    /// `error="insufficient_scope"`: another token of the same scope does not help (RFC 6750 section 3.1).
    InsufficientScope,
    /// `error="use_dpop_nonce"`: the token is fine, its proof has to say another nonce (RFC 9449 section 9).
    NonceWanted,
    /// Only other schemes (Basic, Negotiate, for a token): this is not about what was sent.
    OtherScheme,
}

/// Reads all challenges of a response; `is_sent` says of a scheme whether it is that of what was sent.
#[must_use]
pub(crate) fn verdict(headers: &HeaderMap, is_sent: impl Fn(&str) -> bool) -> Verdict {
    let mut any = false;
    let mut sent = false;
    let (mut scope, mut nonce) = (false, false);
    for line in headers.get_all(WWW_AUTHENTICATE) {
        for challenge in parse(line) {
            any = true;
            if is_sent(&challenge.scheme) {
                sent = true;
                scope |= challenge.error.as_deref() == Some("insufficient_scope");
                nonce |= challenge.error.as_deref() == Some("use_dpop_nonce");
            }
        }
    }
    match (any, sent, scope) {
        (true, false, _) => Verdict::OtherScheme,
        (_, _, true) => Verdict::InsufficientScope,
        _ if nonce => Verdict::NonceWanted,
        _ => Verdict::TokenRefused,
    }
}

/// One challenge: its scheme, and the only parameter that matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// As it is written.
    pub(crate) scheme: String,
    /// `error`, unquoted.
    pub(crate) error: Option<String>,
}

/// The challenges of one line. Reads what it can: a line that makes no sense from some point on ends there.
#[must_use]
pub(crate) fn parse(line: &HeaderValue) -> Vec<Challenge> {
    // Bytes above ASCII only ever stand in quoted strings; replacing them loses nothing that is looked at.
    let text = String::from_utf8_lossy(line.as_bytes());
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = text.trim_start_matches([' ', '\t', ',']);
    while let Some((word, behind)) = token(rest) {
        let after = behind.trim_start_matches([' ', '\t']);
        match after.strip_prefix('=') {
            // `name = value` belongs to the challenge before it; `token68` padding does too (see below).
            Some(value) if !challenges.is_empty() => {
                let (value, behind) = parameter_value(value.trim_start_matches([' ', '\t']));
                if let Some(challenge) = challenges.last_mut()
                    && word.eq_ignore_ascii_case("error")
                    && challenge.error.is_none()
                {
                    challenge.error = Some(value);
                }
                rest = behind;
            }
            Some(_) => break,
            None => {
                challenges.push(Challenge { scheme: word.to_owned(), error: None });
                rest = skip_token68(after);
            }
        }
        rest = rest.trim_start_matches([' ', '\t', ',']);
    }
    challenges
}

/// RFC 9110 section 5.6.2.
fn token(text: &str) -> Option<(&str, &str)> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let end = text.bytes().position(|byte| !is_token(byte)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// `Negotiate YII…==`: one lump behind the scheme, followed by a comma or the end.
fn skip_token68(text: &str) -> &str {
    let is_token68 = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    let lump = text.bytes().position(|byte| !is_token68(byte)).unwrap_or(text.len());
    let padded = text[lump..].bytes().position(|byte| byte != b'=').map_or(text.len(), |pad| lump + pad);
    let behind = &text[padded..];
    let ends_here =
        behind.trim_start_matches([' ', '\t']).is_empty() || behind.trim_start_matches([' ', '\t']).starts_with(',');
    if lump > 0 && ends_here { behind } else { text }
}

/// A token or a quoted string, unescaped, and what follows it.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        return token(text).map_or((String::new(), text), |(value, behind)| (value.to_owned(), behind));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(character),
        }
    }
    // Never closed: the rest of the line was the string.
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn verdict_of(lines: &[&str]) -> Verdict {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(line).unwrap());
        }
        verdict(&headers, |scheme| ["bearer", "dpop"].contains(&scheme.to_ascii_lowercase().as_str()))
    }

    #[test]
    fn a_bare_401_and_a_bearer_challenge_are_about_the_token() {
        assert_eq!(verdict_of(&[]), Verdict::TokenRefused);
        assert_eq!(verdict_of(&["Bearer"]), Verdict::TokenRefused);
        assert_eq!(verdict_of(&[r#"bearer realm="a", error="invalid_token""#]), Verdict::TokenRefused);
        assert_eq!(verdict_of(&["DPoP algs=\"ES256\""]), Verdict::TokenRefused);
    }

    #[test]
    fn insufficient_scope_is_told_apart_in_any_place() {
        assert_eq!(verdict_of(&[r#"Bearer error="insufficient_scope", scope="a b""#]), Verdict::InsufficientScope);
        assert_eq!(verdict_of(&["Bearer realm=x , error = insufficient_scope"]), Verdict::InsufficientScope);
        assert_eq!(verdict_of(&["Basic realm=\"a\", Bearer error=\"insufficient_scope\""]), Verdict::InsufficientScope);
        assert_eq!(
            verdict_of(&["Basic realm=\"a\"", "Bearer error=\"insufficient_scope\""]),
            Verdict::InsufficientScope
        );
    }

    #[test]
    fn a_wanted_nonce_is_not_a_refused_token() {
        assert_eq!(verdict_of(&[r#"DPoP error="use_dpop_nonce", error_description="x""#]), Verdict::NonceWanted);
        assert_eq!(verdict_of(&[r#"Bearer, DPoP error="use_dpop_nonce""#]), Verdict::NonceWanted);
        assert_eq!(verdict_of(&[r#"DPoP error="invalid_token""#]), Verdict::TokenRefused);
    }

    #[test]
    fn challenges_of_other_schemes_only_are_not_about_the_token() {
        assert_eq!(verdict_of(&["Basic realm=\"a\""]), Verdict::OtherScheme);
        assert_eq!(verdict_of(&["Negotiate", "NTLM"]), Verdict::OtherScheme);
        assert_eq!(verdict_of(&["Negotiate YIIabc/+==, Basic realm=x"]), Verdict::OtherScheme);
        assert_eq!(verdict_of(&["Negotiate YIIabc/+==, Bearer"]), Verdict::TokenRefused);
    }

    #[test]
    fn quoted_commas_and_quotes_belong_to_their_string() {
        let tricky = r#"Basic realm="a, Bearer error=\"insufficient_scope\", b", charset="UTF-8""#;
        assert_eq!(verdict_of(&[tricky]), Verdict::OtherScheme);
        let described = r#"Bearer error_description="no, error=\"insufficient_scope\"", error="invalid_token""#;
        assert_eq!(verdict_of(&[described]), Verdict::TokenRefused);
    }

    #[test]
    fn empty_members_and_broken_lines_are_survived() {
        let schemes = |line: &str| -> Vec<String> {
            parse(&HeaderValue::from_str(line).unwrap()).into_iter().map(|challenge| challenge.scheme).collect()
        };
        assert_eq!(schemes(", ,Bearer a=b,, ,Basic realm=x,"), ["Bearer", "Basic"]);
        assert_eq!(schemes("Bearer realm=\"never closed, Basic x=y"), ["Bearer"]);
        assert_eq!(schemes("=x"), Vec::<String>::new());
        assert_eq!(schemes("\"quoted\""), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn any_line_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let _challenges = parse(&value);
            }
        }

        #[test]
        fn what_is_written_is_read(realm in "[ -~]{0,20}", error in "[a-z_]{1,20}", quoted in any::<bool>()) {
            let escaped = realm.replace('\\', "\\\\").replace('"', "\\\"");
            let error_text = if quoted { format!("\"{error}\"") } else { error.clone() };
            let line = format!("Basic realm=\"{escaped}\", Bearer realm=\"{escaped}\", error={error_text}");
            let challenges = parse(&HeaderValue::from_str(&line).unwrap());
            prop_assert_eq!(challenges.len(), 2);
            prop_assert_eq!(challenges[1].error.as_deref(), Some(error.as_str()));
        }
    }
}
