//! How long the server says that a token lives: `expires_in`, else a JWT's own `exp`.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::token::Expires;

/// Longer lifetimes count as this one: no deadline needs more, and no clock arithmetic overflows.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Reads `expires_in` (RFC 6749 section 5.1): a number, or a text that holds one, as some servers send it. Zero or less
/// is zero. Without it, the `exp` of a JWT access token counts (RFC 9068 section 2.2).
///
/// # Errors
/// A sentence about an `expires_in` that is no number: guessing a lifetime would be worse than refusing the answer.
pub(crate) fn expires(expires_in: Option<&Value>, access_token: &str) -> Result<Expires, &'static str> {
    let seconds = match expires_in {
        None => return Ok(jwt_expiry(access_token)),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(jwt_expiry(access_token)),
        Some(Value::String(text)) => numeric(text.trim()),
        Some(value) => value.as_f64(),
    };
    match seconds {
        Some(seconds) if !seconds.is_nan() => Ok(Expires::In(bounded(seconds))),
        _ => Err("expires_in is no number of seconds"),
    }
}

/// `f64` would also read `inf` and `nan`.
fn numeric(text: &str) -> Option<f64> {
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E'));
    if digits { text.parse().ok() } else { None }
}

fn bounded(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.clamp(0.0, LONGEST.as_secs_f64()))
}

fn jwt_expiry(access_token: &str) -> Expires {
    jwt_end(access_token).map_or(Expires::Unsaid, Expires::At)
}

/// When a token ends by its own `exp`; `None` for one that is no JWT, or does not say.
pub(crate) fn jwt_end(token: &str) -> Option<SystemTime> {
    let exp = jwt_exp(token)?;
    let longest = SystemTime::now() + LONGEST;
    // A bound on the number itself first: `from_secs_f64` panics above what fits.
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs_f64(exp.clamp(0.0, 1e11)));
    Some(at.map_or(longest, |at| at.min(longest)))
}

/// The `exp` claim. The signature is not looked at: the token came from the authorization server itself, and the API is
/// who checks it.
fn jwt_exp(access_token: &str) -> Option<f64> {
    claims(access_token)?.get("exp")?.as_f64().filter(|exp| !exp.is_nan())
}

/// The claims of a JWT (RFC 7519 section 3), its signature unseen; `None` for whatever else a token may be.
pub(crate) fn claims(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&payload).ok().filter(Value::is_object)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn expires_in(value: &Value) -> Result<Expires, &'static str> {
        expires(Some(value), "opaque")
    }

    fn jwt(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn numbers_and_numeric_texts_are_seconds() {
        for value in [json!(3600), json!(3600.0), json!("3600"), json!(" 3600.0 "), json!("3.6e3")] {
            assert_eq!(expires_in(&value), Ok(Expires::In(Duration::from_hours(1))), "{value}");
        }
        assert_eq!(expires_in(&json!(0.5)), Ok(Expires::In(Duration::from_millis(500))));
    }

    #[test]
    fn zero_or_less_is_zero_and_more_than_a_year_is_a_year() {
        for value in [json!(0), json!(-1), json!(-1e300), json!("-5"), json!(i64::MIN)] {
            assert_eq!(expires_in(&value), Ok(Expires::In(Duration::ZERO)), "{value}");
        }
        for value in [json!(u64::MAX), json!(1e300), json!("99999999999999999999"), json!("1e999")] {
            assert_eq!(expires_in(&value), Ok(Expires::In(LONGEST)), "{value}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for value in [json!("soon"), json!("inf"), json!("NaN"), json!(true), json!([1]), json!({}), json!("1h")] {
            assert!(expires_in(&value).is_err(), "{value}");
        }
    }

    #[test]
    fn without_expires_in_a_jwt_speaks_for_itself() {
        let at = |seconds| Ok(Expires::At(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)));
        assert_eq!(expires(None, &jwt(r#"{"exp":1700000000}"#)), at(1_700_000_000));
        assert_eq!(expires(None, &jwt(r#"{"exp":-1}"#)), at(0));
        assert_eq!(expires(Some(&json!("")), &jwt(r#"{"exp":1}"#)), at(1));
        assert!(matches!(expires(None, &jwt(r#"{"exp":1e300}"#)), Ok(Expires::At(_))));
        assert_eq!(expires(Some(&json!(5)), &jwt(r#"{"exp":1}"#)), Ok(Expires::In(Duration::from_secs(5))));
    }

    #[test]
    fn a_token_that_is_no_jwt_leaves_it_unsaid() {
        for token in ["opaque", "a.b", "a.b.c", "a.b.c.d", "..", &jwt("[]"), &jwt(r#"{"exp":"x"}"#), &jwt("{}")] {
            assert_eq!(expires(None, token), Ok(Expires::Unsaid), "{token}");
        }
    }
}
