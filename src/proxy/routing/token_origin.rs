//! `origin_from`: the token response says where the upstream is (Salesforce's `instance_url`), within the hosts that the
//! configuration names.

use super::destination::ResolvedRoute;
use crate::credential::Credential;
use crate::dial::{Origin, OriginPattern};
use crate::proxy::error::ProxyError;

/// The same route at the origin that the token came with; `None` where the configuration says where the upstream is.
///
/// The token's word counts only within the pattern that is the upstream's `origin`: the credential goes nowhere else, whatever
/// a token response says.
pub(in crate::proxy) fn resolve(
    route: &ResolvedRoute,
    credential: Option<&Credential>,
) -> Result<Option<ResolvedRoute>, ProxyError> {
    let upstream = &route.at.route;
    let Some(member) = &upstream.settings.origin_from else { return Ok(None) };
    let pattern = &upstream.upstream.settings.origin;
    let unusable = |what: String| ProxyError::credential(format!("upstream {:?}: {what}", upstream.name()));
    let said = credential.and_then(|credential| credential.member(member));
    let said = said
        .ok_or_else(|| unusable(format!("the token response has no {member:?}, which says where to send requests")))?;
    let origin = within(pattern, &said);
    let origin = origin.ok_or_else(|| unusable(format!("the token response's {member:?} is not within {pattern}")))?;
    Ok(Some(route.at_origin(origin)))
}

/// The origin of a URL, if it is one that the pattern covers. A path is not looked at: it is the request's.
fn within(pattern: &OriginPattern, url: &str) -> Option<Origin> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let said: Origin = format!("{scheme}://{authority}").parse().ok()?;
    pattern.at_host(said.host.as_str()).filter(|covered| *covered == said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_origin_within_the_pattern_counts() {
        let pattern: OriginPattern = "https://*.my.salesforce.com".parse().unwrap();
        let found = |url: &str| within(&pattern, url).map(|origin| origin.to_string());
        assert_eq!(found("https://eu7.my.salesforce.com").as_deref(), Some("https://eu7.my.salesforce.com"));
        assert_eq!(found("https://EU7.my.salesforce.com/x?y").as_deref(), Some("https://eu7.my.salesforce.com"));
        for other in [
            "http://eu7.my.salesforce.com",
            "https://eu7.my.salesforce.com:8443",
            "https://my.salesforce.com",
            "https://a.b.my.salesforce.com",
            "https://evil.test",
            "https://eu7.my.salesforce.com@evil.test",
            "https://evil.test/.my.salesforce.com",
            "https://evil.test\\.my.salesforce.com",
            "//eu7.my.salesforce.com",
            "",
        ] {
            assert_eq!(found(other), None, "{other}");
        }
    }
}
