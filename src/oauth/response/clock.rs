//! Clocks that differ: what is signed says its time, and a server whose clock is elsewhere refuses it with a word that sends
//! people to their keys.

use std::time::SystemTime;

use super::super::answer::Answer;
use super::super::settings::{ClientAuth, Grant, JwtBearer, OAuthSettings};
use crate::token::{FAR_OFF, TokenError, TokenErrorKind, clock_skew, skew_in_words};

/// The server's clock, by its answer (RFC 9110 section 6.6.1).
pub(crate) fn server_date(answer: &Answer<'_>) -> Option<SystemTime> {
    let date = answer.headers.get(http::header::DATE)?.to_str().ok()?;
    httpdate::parse_http_date(date).ok()
}

/// The error, with the skew of this answer; and in its sentence, where that may well be why.
pub(crate) fn with_skew(mut error: TokenError, answer: &Answer<'_>, settings: &OAuthSettings) -> TokenError {
    error.clock_skew = server_date(answer).map(|date| clock_skew(date, answer.requested_at));
    if let Some(seconds) = settings.explaining_skew(&error) {
        let skew = skew_in_words(seconds);
        let remedy = format!("{skew}, and what is signed says its time: have both set by a time server (NTP)");
        error = error.with_remedy(&*remedy);
    }
    error
}

impl OAuthSettings {
    /// The skew, where a refusal may well be because of it.
    pub(crate) fn explaining_skew(&self, error: &TokenError) -> Option<i64> {
        let skew = error.clock_skew.filter(|seconds| seconds.unsigned_abs() >= FAR_OFF)?;
        (error.kind == TokenErrorKind::Permanent && self.says_a_time()).then_some(skew)
    }

    /// Something in the request is good for a certain time only, by some clock.
    const fn says_a_time(&self) -> bool {
        let client = matches!(
            self.client_auth,
            ClientAuth::SecretJwt(_) | ClientAuth::PrivateKeyJwt(_) | ClientAuth::Assertion { .. }
        );
        let grant = matches!(self.grant, Grant::JwtBearer(JwtBearer::Given(_) | JwtBearer::Signed { .. }));
        client || grant || self.dpop.is_some()
    }
}
