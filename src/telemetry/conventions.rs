//! What OpenTelemetry's semantic conventions for HTTP ask for, in logs and traces alike.

use std::time::Duration;

/// The methods that the conventions know (RFC 9110, RFC 5789); `None` for one that a caller has made up.
#[must_use]
pub(super) fn known_method(method: &str) -> Option<&'static str> {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    KNOWN.into_iter().find(|known| *known == method)
}

/// Milliseconds, with three decimals: what is below a microsecond is no measurement.
#[must_use]
pub(crate) fn millis(part: Duration) -> f64 {
    (part.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_decimals() {
        assert_eq!(millis(Duration::from_nanos(1_942_999)).to_string(), "1.943");
        assert_eq!(
            (millis(Duration::from_secs(3)).to_string(), millis(Duration::ZERO).to_string()),
            ("3000".into(), "0".into())
        );
    }
}
