//! Where tokens are issued: `token_endpoint` and `issuer`.

use url::Url;

use crate::config::syntax::value::Value;
use crate::dial::Host;

/// `https`, or `http` on this machine, without user information.
pub(crate) fn is_token_server(url: &Url) -> bool {
    let loopback = || url.host_str().is_some_and(|host| Host::parse(host).is_ok_and(|host| host.is_loopback()));
    let scheme = url.scheme() == "https" || (url.scheme() == "http" && loopback());
    scheme && url.host_str().is_some() && url.username().is_empty() && url.password().is_none()
}

/// RFC 6749 section 3.2. The URL is never repeated: it may hold a password.
pub(crate) fn endpoint_url(value: &Value<'_>) -> Option<Url> {
    const REMEDY: &str = "write the URL that issues tokens, beginning with https://";
    let url = value.parsed(Url::parse, REMEDY)?;
    let Some(Ok(host)) = url.host_str().map(Host::parse) else {
        return value.wrong("has no host that can be called", REMEDY);
    };
    match url.scheme() {
        "https" => {}
        "http" if host.is_loopback() => {}
        "http" => {
            return value.wrong(
                "is plain http, which would show the client's secret to the network",
                "write https://…; plain http is for localhost and 127.0.0.1",
            );
        }
        _ => return value.wrong("is not an https URL", REMEDY),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return value
            .wrong("has a user name or password", "leave them out; the client's id and secret are given apart");
    }
    if url.fragment().is_some() {
        return value.wrong("has a fragment", "leave out \"#\" and what follows (RFC 6749 section 3.2)");
    }
    Some(url)
}

/// RFC 8414 section 2: an `https` URL without query and fragment. Kept to the letter, because it is compared that way.
pub(crate) fn issuer(value: &Value<'_>) -> Option<String> {
    let url = endpoint_url(value)?;
    if url.query().is_some() {
        return value.wrong("has a query", "write the issuer as its metadata says it (RFC 8414 section 2)");
    }
    value.text().map(str::to_owned)
}
