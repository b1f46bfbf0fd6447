//! Who may use a listener: callers prove themselves by a password (RFC 7617) or by the certificate of their connection.
//!
//! Whether a name is known takes as long to find out as whether a password is right. Where and how they are asked is the
//! business of `proxy`.

mod guesses;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::HeaderName;
use prometheus_client::metrics::counter::Counter;

pub(crate) use self::guesses::Guesses;
use crate::http_auth::{BasicPair, find_proven};
use crate::listen::{CallerAt, CallerConnection};
use crate::secret::{Digests, Secret, Secrets};
use crate::tls::server::WantedName;

/// The callers that a listener takes.
#[derive(Debug)]
pub(crate) struct Callers {
    known: Vec<Known>,
    guesses: Guesses,
    metrics: CallerMetrics,
}

/// `[callers.X]`, as a listener needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallerSettings {
    /// Its name, which is the user name too.
    pub(crate) name: String,
    /// What it proves itself with; each of several is accepted.
    pub(crate) password: Option<Secrets>,
    /// A name in the certificate of its connection.
    pub(crate) certificate: Option<WantedName>,
}

/// How attempts are counted.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallerMetrics {
    /// A caller is authenticated.
    pub(crate) accepted: Counter,
    /// A wrong password, or a name that nobody has.
    pub(crate) refused: Counter,
    /// No attempt.
    pub(crate) missing: Counter,
    /// Not looked at: too many from there have been wrong.
    pub(crate) too_many: Counter,
}

struct Known {
    name: Arc<str>,
    settings: CallerSettings,
    passwords: Option<Digests>,
}

/// An authenticated caller, and by what it is. What it has opened then asks again and again whether that still holds:
/// [`Callers::still_knows`].
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proven {
    pub(crate) name: Arc<str>,
    by: ProvenBy,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ProvenBy {
    /// The digest of the password: with several, and when they are rotated, it says which one.
    Password([u8; 32]),
    /// The certificate of its connection, which keeps the names in it.
    Certificate,
}

/// Without the digest: a program that reads it could try passwords against it.
impl fmt::Debug for Proven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proven").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What came of a caller's attempt to prove itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Authentication {
    Accepted(Proven),
    /// A wrong password, a name that nobody has, or a field that cannot be read: all the same to who tries.
    Refused,
    /// There was none.
    Missing,
    /// It was not looked at: too many from there have been wrong. How long until one is.
    TooMany(Duration),
}

impl Callers {
    /// Reads every password. Blocks while files are read and programs run.
    #[must_use]
    pub(crate) fn new(callers: Vec<CallerSettings>, metrics: CallerMetrics) -> Self {
        let known = callers.into_iter().map(|settings| {
            let passwords = settings.password.clone().map(Digests::new);
            Known { name: settings.name.as_str().into(), settings, passwords }
        });
        Self { known: known.collect(), guesses: Guesses::default(), metrics }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.known.iter().map(|known| &*known.name)
    }

    /// True if there is a caller of this name.
    #[must_use]
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.known.iter().any(|known| *known.name == *name)
    }

    /// True if these are the same callers with the same places for their passwords.
    pub(crate) fn is_of<'s>(&self, callers: impl ExactSizeIterator<Item = &'s CallerSettings>) -> bool {
        callers.len() == self.known.len() && self.known.iter().map(|known| &known.settings).eq(callers)
    }

    /// Reads the passwords again: see [`Digests::look`]. True if any is another one than before.
    #[must_use]
    pub(crate) fn look(&self) -> bool {
        let passwords = self.known.iter().filter_map(|known| known.passwords.as_ref());
        passwords.fold(false, |changed, passwords| passwords.look() | changed)
    }

    /// The caller that a request comes from, by the field that it proves itself in, which is taken off; else by the certificate of
    /// its connection.
    pub(crate) fn authenticate(
        &self,
        field: &HeaderName,
        headers: &mut HeaderMap,
        from: CallerAt<'_>,
    ) -> Authentication {
        let given = basic(headers, field);
        headers.remove(field);
        let attempt = match given {
            Presented::Nothing => {
                self.by_certificate(from.connection).map_or(Authentication::Missing, Authentication::Accepted)
            }
            // No caller's password; it tells nothing and need not be counted.
            Presented::Unreadable => Authentication::Refused,
            Presented::Pair(name, password) => self.attempt(&name, &password, from),
        };
        self.count(&attempt);
        attempt
    }

    /// The caller of this name, by a password that was given otherwise than in a field.
    pub(crate) fn authenticate_pair(&self, name: &str, password: &Secret, from: CallerAt<'_>) -> Authentication {
        let attempt = self.attempt(name, password, from);
        self.count(&attempt);
        attempt
    }

    fn attempt(&self, name: &str, password: &Secret, from: CallerAt<'_>) -> Authentication {
        let given = password.fingerprint();
        if let Err(after) = self.guesses.may_try(from, name, &given) {
            return Authentication::TooMany(after);
        }
        match self.proven(name, given) {
            Some(proven) => {
                self.guesses.was_right(from, name, &given);
                Authentication::Accepted(proven)
            }
            None => {
                self.guesses.was_wrong(from, name);
                Authentication::Refused
            }
        }
    }

    fn count(&self, attempt: &Authentication) {
        match attempt {
            Authentication::Accepted(_) => self.metrics.accepted.inc(),
            Authentication::Refused => self.metrics.refused.inc(),
            Authentication::Missing => self.metrics.missing.inc(),
            Authentication::TooMany(_) => self.metrics.too_many.inc(),
        };
    }

    /// The caller of this name, if the password is one of its own.
    fn proven(&self, name: &str, given: [u8; 32]) -> Option<Proven> {
        let known = find_proven(&self.known, |known| *known.name == *name, |known| known.has(&given))?;
        Some(Proven { name: Arc::clone(&known.name), by: ProvenBy::Password(given) })
    }

    /// The caller that the connection's certificate stands for.
    #[must_use]
    pub(crate) fn by_certificate(&self, connection: &CallerConnection) -> Option<Proven> {
        let known = self.known.iter().find(|known| known.is_named_by(connection))?;
        Some(Proven { name: Arc::clone(&known.name), by: ProvenBy::Certificate })
    }

    /// True as long as what a caller was authenticated by is good: it is one of these, and the password is still one of its
    /// own, or the certificate that its connection has shown still stands for it.
    #[must_use]
    pub(crate) fn still_knows(&self, proven: &Proven, connection: &CallerConnection) -> bool {
        let Some(known) = self.known.iter().find(|known| known.name == proven.name) else { return false };
        match &proven.by {
            ProvenBy::Password(digest) => known.has(digest),
            ProvenBy::Certificate => known.is_named_by(connection),
        }
    }
}

/// Without the digests: see [`Proven`].
impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Known {
    fn has(&self, digest: &[u8; 32]) -> bool {
        self.passwords.as_ref().is_some_and(|passwords| passwords.has_digest(digest))
    }

    fn is_named_by(&self, connection: &CallerConnection) -> bool {
        self.settings.certificate.as_ref().is_some_and(|name| name.is_among(connection.certificate_names()))
    }
}

/// What stands in the field that a caller proves itself in.
enum Presented {
    Nothing,
    /// Another scheme, no base64, or several fields.
    Unreadable,
    Pair(String, Secret),
}

/// What a field of the scheme Basic says (RFC 7617 section 2).
fn basic(headers: &HeaderMap, field: &HeaderName) -> Presented {
    let mut values = headers.get_all(field).iter();
    let Some(first) = values.next() else { return Presented::Nothing };
    if values.next().is_some() {
        return Presented::Unreadable;
    }
    let given = |pair: BasicPair| Presented::Pair(pair.name, Secret::new(pair.password.to_string()));
    BasicPair::read(first).map_or(Presented::Unreadable, given)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::Peer;
    use crate::secret::SecretSource;
    use crate::tls::server::CertificateName;
    use http::HeaderValue;
    use http::header::PROXY_AUTHORIZATION;
    use prometheus_client::metrics::gauge::Gauge;

    fn callers() -> Callers {
        let literal = |text: &str| SecretSource::Literal(Secret::new(text.to_owned()));
        let password = Secrets::new(vec![literal("old"), literal("new")]);
        let one = CallerSettings { name: "one".into(), password, certificate: WantedName::parse("one.test") };
        Callers::new(vec![one], CallerMetrics::default())
    }

    fn ask(callers: &Callers, field: Option<&str>, shown: &[&str]) -> Authentication {
        let mut headers = HeaderMap::new();
        if let Some(value) = field {
            headers.insert(PROXY_AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        let connection = CallerConnection::new(Peer::User(None), None, None, Gauge::default());
        connection.note_certificate(shown.iter().map(|name| CertificateName::Dns((*name).to_owned())).collect());
        let attempt = callers.authenticate(&PROXY_AUTHORIZATION, &mut headers, connection.as_caller());
        assert!(headers.is_empty(), "the proof is taken off");
        attempt
    }

    fn pair(text: &str) -> String {
        let (name, password) = text.split_once(':').unwrap();
        format!("basic {}", crate::http_auth::basic_credentials(name, password).as_str())
    }

    fn name_of(attempt: Authentication) -> String {
        match attempt {
            Authentication::Accepted(proven) => proven.name.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_of_several_passwords_is_accepted() {
        for password in ["one:old", "one:new"] {
            assert_eq!(name_of(ask(&callers(), Some(&pair(password)), &[])), "one");
        }
    }

    #[test]
    fn whatever_is_wrong_is_refused_in_the_same_way() {
        for broken in [&pair("one:wrong"), &pair("other:old"), "Bearer abc", "Basic", "Basic ???", "Basic b25l"] {
            assert_eq!(ask(&callers(), Some(broken), &["one.test"]), Authentication::Refused, "{broken}");
        }
        assert_eq!(ask(&callers(), None, &["other.test"]), Authentication::Missing);
    }

    #[test]
    fn a_certificate_stands_for_a_caller_that_names_it() {
        assert_eq!(name_of(ask(&callers(), None, &["x", "one.test"])), "one");
    }

    #[test]
    fn what_was_proven_holds_for_as_long_as_the_password_or_the_certificate_is_the_callers() {
        let literal = |text: &str| SecretSource::Literal(Secret::new(text.to_owned()));
        let with = |name: &str, passwords: &[&str], certificate: Option<&str>| {
            let password = Secrets::new(passwords.iter().map(|text| literal(text)).collect());
            let settings =
                CallerSettings { name: name.into(), password, certificate: certificate.and_then(WantedName::parse) };
            Callers::new(vec![settings], CallerMetrics::default())
        };
        let connection = CallerConnection::new(Peer::User(None), None, None, Gauge::default());
        connection.note_certificate(vec![CertificateName::Dns("one.test".into())]);
        let before = with("one", &["old", "new"], Some("one.test"));
        let by = |password: &str| before.proven("one", Secret::new(password.into()).fingerprint()).unwrap();
        let (old, new, shown) = (by("old"), by("new"), before.by_certificate(&connection).unwrap());
        for (after, expected) in [
            (with("one", &["old", "new"], Some("one.test")), [true, true, true]),
            (with("one", &["new"], None), [false, true, false]),
            (with("one", &["other"], Some("one.test")), [false, false, true]),
            (with("two", &["old", "new"], Some("one.test")), [false, false, false]),
        ] {
            let holds = [&old, &new, &shown].map(|proven| after.still_knows(proven, &connection));
            assert_eq!(holds, expected, "{after:?}");
        }
        assert_eq!(format!("{old:?}"), "Proven { name: \"one\", .. }", "no digest");
    }
}
