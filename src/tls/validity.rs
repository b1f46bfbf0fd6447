//! When a certificate is valid (RFC 5280 section 4.1.2.5).

use std::fmt;
use std::time::{Duration, SystemTime};

use x509_parser::prelude::{ASN1Time, FromDer as _, X509Certificate};

/// From when until when a certificate may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Validity {
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Validity {
    /// `None` where this is no certificate; others will have more to say about that.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        X509Certificate::from_der(certificate).ok().map(|(_, parsed)| Self::of_parsed(&parsed))
    }

    pub(super) fn of_parsed(certificate: &X509Certificate<'_>) -> Self {
        // A time before 1970 is one that is over.
        let moment = |time: ASN1Time| {
            SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or_default())
        };
        let validity = certificate.validity();
        Self { not_before: moment(validity.not_before), not_after: moment(validity.not_after) }
    }

    /// From when until when.
    pub(super) const fn times(&self) -> (SystemTime, SystemTime) {
        (self.not_before, self.not_after)
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
    pub(crate) remedy: &'static str,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the client certificate {}; {}", self.what, self.remedy)
    }
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
