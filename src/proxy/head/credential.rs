//! A credential that does not go into `Authorization`: room is made for it once, and a token in the query is put into the
//! path of what goes out, each time it goes out. No head, log or error ever has it.

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Uri};
use url::form_urlencoded;

use super::hop_by_hop;
use crate::credential::{Authorization, Credential, Place};
use crate::dial::Origin;
use crate::upstream::{ExchangeError, OutboundHead};

/// RFC 9449 section 4.1.
static PROOF: HeaderName = HeaderName::from_static("dpop");

/// Takes away what the caller put where the credential goes, whether there will be one or not. The field `Authorization` is
/// ruled by `caller_authorization` instead.
pub(in crate::proxy) fn remove_callers(credential: &Credential, head: &mut Parts) {
    if credential.binding().is_some() {
        hop_by_hop::remove_with_aliases(&mut head.headers, &PROOF);
    }
    match credential.place() {
        Place::Field(name) if *name == AUTHORIZATION => {}
        Place::Field(name) => hop_by_hop::remove_with_aliases(&mut head.headers, name),
        Place::Query(name) => {
            if let Some(rest) = head.uri.path_and_query().and_then(|target| without(target, name)) {
                // Only path and query are looked at from here on.
                head.uri = Uri::from(rest);
            }
        }
    }
}

/// What goes out besides the caller's head and the authorization's field.
pub(in crate::proxy) struct CredentialHead {
    path: Option<PathAndQuery>,
    proof: Option<HeaderValue>,
}

impl CredentialHead {
    /// Makes what this one request needs: the path with the token in it, or the proof of a bound token. Made anew each time
    /// a request goes out: no proof is used twice.
    pub(in crate::proxy) fn new(
        credential: &Credential,
        authorization: &Authorization,
        origin: &Origin,
        head: &Parts,
    ) -> Result<Self, ExchangeError> {
        let path = path(authorization, head)?;
        let proof = match credential.binding() {
            None => None,
            Some(_) => {
                let authority = origin.authority();
                let made = credential.proof(
                    authorization,
                    &head.method,
                    (origin.scheme.as_str(), &authority),
                    head.uri.path(),
                );
                made.transpose().map_err(|error| ExchangeError::unsigned(&error.to_string()))?
            }
        };
        Ok(Self { path, proof })
    }

    /// The head as it goes out.
    pub(in crate::proxy) fn head<'a>(&'a self, head: &'a Parts, authorization: &'a Authorization) -> OutboundHead<'a> {
        let proof = self.proof.as_ref().map(|proof| (&PROOF, proof));
        OutboundHead {
            authorization: [authorization.field(), proof],
            path: self.path.as_ref(),
            ..OutboundHead::plain(head)
        }
    }
}

/// The path and query with the token in it, where that is its place.
fn path(authorization: &Authorization, head: &Parts) -> Result<Option<PathAndQuery>, ExchangeError> {
    match authorization.query() {
        // `OPTIONS *` is about the whole server; there is no query to it.
        None => Ok(None),
        Some(_) if head.uri.path() == "*" => Ok(None),
        Some(pair) => with(&head.uri, pair.as_bytes()).map(Some).ok_or_else(ExchangeError::target_too_long),
    }
}

fn with(uri: &Uri, pair: &[u8]) -> Option<PathAndQuery> {
    let query = uri.query().unwrap_or_default();
    let separator: &[u8] = if query.is_empty() || query.ends_with('&') { b"" } else { b"&" };
    // `http://host?query` asks for the root (RFC 9112 section 3.2.1).
    let path = if uri.path().is_empty() { "/" } else { uri.path() };
    let target = [path.as_bytes(), b"?", query.as_bytes(), separator, pair].concat();
    PathAndQuery::from_maybe_shared(bytes::Bytes::from(target)).ok()
}

/// The target without the parameters of this name, however the name is encoded; the rest as it was written. `None` if there
/// is none.
fn without(target: &PathAndQuery, name: &str) -> Option<PathAndQuery> {
    let query = target.query()?;
    let is_named = |piece: &&str| form_urlencoded::parse(piece.as_bytes()).next().is_some_and(|(key, _)| key == name);
    if !query.split('&').any(|piece| is_named(&piece)) {
        return None;
    }
    let rest: Vec<&str> = query.split('&').filter(|piece| !is_named(piece)).collect();
    let mark = if rest.is_empty() { "" } else { "?" };
    // Shorter than what it was made of, and of the same characters.
    format!("{}{mark}{}", target.path(), rest.join("&")).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_own_parameters_go_and_the_rest_stays_as_it_is() {
        let without = |target: &str| without(&target.parse().unwrap(), "access_token").map(|rest| rest.to_string());
        for (target, rest) in [
            ("/x?access_token=a", "/x"),
            ("/x?access_token", "/x"),
            ("/x?a=%20+b&access_token=a&c", "/x?a=%20+b&c"),
            ("/x?access%5Ftoken=a&b=1&access_token=c", "/x?b=1"),
            ("/?a&&access_token=&", "/?a&&"),
        ] {
            assert_eq!(without(target).as_deref(), Some(rest), "{target}");
        }
        for other in ["/x", "/x?", "/x?Access_Token=a", "/x?my_access_token=a", "/access_token=a?b=access_token"] {
            assert_eq!(without(other), None, "{other}");
        }
    }

    #[test]
    fn ours_is_the_last_parameter() {
        let with = |uri: &str| with(&uri.parse().unwrap(), b"access_token=a%2Bb").unwrap().to_string();
        assert_eq!(with("/x"), "/x?access_token=a%2Bb");
        assert_eq!(with("/x?"), "/x?access_token=a%2Bb");
        assert_eq!(with("/x?a=1"), "/x?a=1&access_token=a%2Bb");
        assert_eq!(with("/x?a=1&"), "/x?a=1&access_token=a%2Bb");
        assert_eq!(with("http://api.test?a"), "/?a&access_token=a%2Bb");
        assert_eq!(with("http://api.test"), "/?access_token=a%2Bb");
    }

    #[test]
    fn a_target_without_room_is_no_target() {
        let long: Uri = format!("/{}", "x".repeat(65_500)).parse().unwrap();
        assert_eq!(with(&long, b"access_token=0123456789012345678901234567890123456789"), None);
    }
}
