//! When a certificate is valid (RFC 5280 section 4.1.2.5), read without a parser for all the rest of it.

use std::fmt;
use std::time::SystemTime;

/// From when until when a certificate may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Validity {
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Validity {
    /// `None` where the certificate is no DER of the usual form; others will have more to say about that.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let (mut outer, _) = element(certificate, SEQUENCE)?;
        let (mut inner, _) = element(outer, SEQUENCE)?;
        outer = inner;
        // The version is left out by the first one.
        if let Some((_, rest)) = element(outer, VERSION) {
            outer = rest;
        }
        for skipped in [INTEGER, SEQUENCE, SEQUENCE] {
            (_, outer) = element(outer, skipped)?;
        }
        (inner, _) = element(outer, SEQUENCE)?;
        let (not_before, rest) = time(inner)?;
        let (not_after, _) = time(rest)?;
        Some(Self { not_before, not_after })
    }

    pub(super) fn when(&self, now: SystemTime) -> When {
        if now > self.not_after {
            When::After
        } else if now < self.not_before {
            When::Before
        } else {
            When::Within
        }
    }

    pub(super) fn doubt(&self, now: SystemTime) -> Option<Doubt> {
        let moment = humantime::format_rfc3339_seconds;
        match self.when(now) {
            When::After => Some(Doubt { what: format!("expired at {}", moment(self.not_after)), remedy: "renew it" }),
            When::Before => {
                let what = format!("is not valid before {}", moment(self.not_before));
                Some(Doubt { what, remedy: "check this machine's clock" })
            }
            When::Within => None,
        }
    }
}

/// Where a moment lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Before,
    Within,
    After,
}

/// Why a certificate is hardly accepted at a certain time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Doubt {
    /// Such as `expired at 2026-01-01T00:00:00Z`.
    pub(crate) what: String,
    /// What helps.
    pub(crate) remedy: &'static str,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the client certificate {}; {}", self.what, self.remedy)
    }
}

// Tags of DER (X.690 section 8.1.2).
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT`
const VERSION: u8 = 0xa0;

/// The content of the first element, if it has this tag, and what follows it.
pub(super) fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (first, mut rest) = rest.split_first()?;
    let mut length = usize::from(*first);
    // From 128 on, the first byte says how many bytes the length has.
    if let Some(bytes) = length.checked_sub(0x80) {
        let long = rest.get(..bytes).filter(|_| (1..=4).contains(&bytes))?;
        length = long.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        rest = rest.get(bytes..)?;
    }
    (*found == tag).then_some(())?;
    rest.split_at_checked(length)
}

/// A time, and what follows it: `YYMMDDHHMMSSZ`, or with four digits of the year.
fn time(der: &[u8]) -> Option<(SystemTime, &[u8])> {
    let (century, digits, rest) = match element(der, UTC_TIME) {
        // 50 to 99 are the twentieth century's.
        Some((digits, rest)) => (if *digits.first()? >= b'5' { "19" } else { "20" }, digits, rest),
        None => element(der, GENERALIZED_TIME).map(|(digits, rest)| ("", digits, rest))?,
    };
    let text = format!("{century}{}", std::str::from_utf8(digits).ok()?);
    let part = |from: usize, to: usize| text.get(from..to);
    let (date, clock) = ((part(0, 4)?, part(4, 6)?, part(6, 8)?), (part(8, 10)?, part(10, 12)?, part(12, 14)?));
    let text = format!("{}-{}-{}T{}:{}:{}Z", date.0, date.1, date.2, clock.0, clock.1, clock.2);
    // A time before 1970 is one that is over.
    let time = humantime::parse_rfc3339(&text).unwrap_or(SystemTime::UNIX_EPOCH);
    Some((time, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(from: (i32, u8), until: (i32, u8)) -> Vec<u8> {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["api.test".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from.0, from.1, 1);
        params.not_after = rcgen::date_time_ymd(until.0, until.1, 1);
        params.self_signed(&key).unwrap().der().to_vec()
    }

    fn at(text: &str) -> SystemTime {
        humantime::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn both_forms_of_a_time_are_read() {
        let validity = Validity::of(&certificate((1999, 3), (2055, 4))).unwrap();
        assert_eq!(validity.not_before, at("1999-03-01T00:00:00Z"));
        assert_eq!(validity.not_after, at("2055-04-01T00:00:00Z"));
    }

    #[test]
    fn a_certificate_is_doubted_before_and_after_its_time() {
        let validity = Validity::of(&certificate((2020, 1), (2021, 1))).unwrap();
        assert_eq!(validity.doubt(at("2020-06-01T00:00:00Z")), None);
        let late = validity.doubt(at("2021-01-01T00:00:01Z")).unwrap().to_string();
        assert_eq!(late, "the client certificate expired at 2021-01-01T00:00:00Z; renew it");
        let early = validity.doubt(at("2019-12-31T23:59:59Z")).unwrap().to_string();
        assert_eq!(
            early,
            "the client certificate is not valid before 2020-01-01T00:00:00Z; check this machine's clock"
        );
    }

    #[test]
    fn what_is_no_certificate_has_no_validity() {
        let whole = certificate((2020, 1), (2021, 1));
        for end in 0..whole.len() {
            assert_eq!(Validity::of(&whole[..end]), None, "{end} bytes of {}", whole.len());
        }
        assert_eq!(Validity::of(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(Validity::of(&[0x30, 0x80, 0x30, 0x00]), None);
    }
}
