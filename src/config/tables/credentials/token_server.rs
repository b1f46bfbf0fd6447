//! Where tokens are issued: `token_endpoint` and `issuer`.

use url::Url;

use crate::config::syntax::hosts::with_host;
use crate::config::syntax::value::Value;
use crate::oauth::{EndpointUrl, UnfitUrl};

/// Where an issuer's metadata is (OpenID Connect Discovery 1.0 section 4, RFC 8414 section 3), behind its path or before it.
const METADATA: [&str; 2] = ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"];

fn metadata(url: &Url) -> Option<&'static str> {
    METADATA.into_iter().find(|metadata| url.path().contains(metadata))
}

/// As [`endpoint_url`], and no metadata: that is asked with GET, and issues nothing.
pub(crate) fn token_endpoint(value: &Value<'_>) -> Option<Url> {
    let url = endpoint_url(value)?;
    let Some(metadata) = metadata(&url) else { return Some(url) };
    value.wrong(
        "is where an issuer's metadata is, and no token endpoint",
        format!("write issuer = \"https://…\" in its place, without {metadata}: the endpoint is looked up there"),
    )
}

/// RFC 6749 section 3.2. The URL is never repeated: it may hold a password.
fn endpoint_url(value: &Value<'_>) -> Option<Url> {
    const REMEDY: &str = "write the URL that issues tokens, beginning with https://";
    if value.node.as_str().is_some_and(|text| !text.contains("://")) {
        return value.wrong("does not begin with https://", REMEDY);
    }
    let url = with_host(value, Url::parse, REMEDY)?;
    match EndpointUrl::new(url.clone()) {
        Ok(_fit) => {}
        Err(UnfitUrl::NoHost) => return value.wrong("has no host that can be called", REMEDY),
        Err(UnfitUrl::Scheme) => return value.wrong("is not an https URL", REMEDY),
        Err(UnfitUrl::InClear) => {
            return value.wrong(
                "is plain http, which would show the client's secret to the network",
                "write https://…; plain http is for localhost and 127.0.0.1",
            );
        }
        Err(UnfitUrl::UserInformation) => {
            return value
                .wrong("has a user name or password", "leave them out; the client's id and secret are given apart");
        }
    }
    if url.fragment().is_some() {
        return value.wrong("has a fragment", "leave out \"#\" and what follows (RFC 6749 section 3.2)");
    }
    Some(url)
}

/// RFC 8414 section 2: an `https` URL without query and fragment. Kept to the letter, because it is compared that way.
pub(crate) fn issuer(value: &Value<'_>) -> Option<String> {
    let url = endpoint_url(value)?;
    if let Some(metadata) = metadata(&url) {
        return value.wrong(
            "is where the issuer's metadata is, and not the issuer",
            format!("leave out {metadata}: it is looked up there (RFC 8414 section 3)"),
        );
    }
    if url.query().is_some() {
        return value.wrong("has a query", "write the issuer as its metadata says it (RFC 8414 section 2)");
    }
    value.text().map(str::to_owned)
}
