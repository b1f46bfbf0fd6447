//! The URL of a token endpoint, or of an issuer: `https`, or `http` on this machine (RFC 6749 section 3.2 requires TLS).

use url::Url;

use crate::dial::Host;

/// Where a token request goes.
pub(crate) struct EndpointUrl {
    pub(super) url: Url,
    /// Host and port, as they are shown to people.
    pub(super) host: String,
}

/// Why a URL is none that a secret may be sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UnfitUrl {
    NoHost,
    UserInformation,
    /// `http` to another machine.
    InClear,
    Scheme,
}

impl EndpointUrl {
    pub(crate) fn new(url: Url) -> Result<Self, UnfitUrl> {
        let Some(Ok(host)) = url.host_str().map(Host::parse) else { return Err(UnfitUrl::NoHost) };
        match url.scheme() {
            "https" => {}
            "http" if host.is_loopback() => {}
            "http" => return Err(UnfitUrl::InClear),
            _ => return Err(UnfitUrl::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UnfitUrl::UserInformation);
        }
        let host = host_and_port(&url);
        Ok(Self { url, host })
    }

    pub(super) fn configured(key: &str, url: &Url) -> Result<Self, String> {
        Self::new(url.clone()).map_err(|unfit| unfit.in_words(key, url))
    }

    /// True if what goes there goes in clear, on this machine. The configuration may want that; a document that came over TLS
    /// may not send a secret that way.
    pub(super) fn is_in_clear(&self) -> bool {
        self.url.scheme() != "https"
    }
}

impl UnfitUrl {
    fn in_words(&self, key: &str, url: &Url) -> String {
        let host = host_and_port(url);
        match self {
            Self::NoHost => format!("{key} has no host; write https://HOST/PATH"),
            Self::UserInformation => {
                format!("{key} holds user information before {host}; use client_id and client_secret")
            }
            Self::InClear => format!("{key} would send the client secret to {host} in clear; use https"),
            Self::Scheme => format!("{key} has the scheme {}; use https", url.scheme()),
        }
    }
}

/// As they are shown to people: never the path or query, which can hold a tenant's key.
pub(super) fn host_and_port(url: &Url) -> String {
    let host = url.host().map(|host| host.to_string()).unwrap_or_default();
    url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_goes_over_tls_or_stays_on_this_machine() {
        let unfit = |url: &str| EndpointUrl::new(Url::parse(url).unwrap()).err();
        for fit in ["https://login.test/token?a=b", "http://localhost:8000/t", "http://127.0.0.1/t", "http://[::1]:1/t"]
        {
            assert_eq!(unfit(fit), None, "{fit}");
        }
        for (url, why) in [
            ("http://login.test/token", UnfitUrl::InClear),
            ("https://me:pw@login.test/token", UnfitUrl::UserInformation),
            ("ftp://login.test/x", UnfitUrl::Scheme),
            ("mailto:x", UnfitUrl::NoHost),
        ] {
            assert_eq!(unfit(url), Some(why), "{url}");
        }
    }

    #[test]
    fn a_sentence_names_the_key_and_no_path() {
        let url = Url::parse("http://login.test:8080/tenant-key").unwrap();
        let said = EndpointUrl::configured("issuer", &url).err().unwrap();
        assert_eq!(said, "issuer would send the client secret to login.test:8080 in clear; use https");
    }
}
