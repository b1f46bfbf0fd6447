//! As whom programs come to a listener that wants to know.

use std::net::SocketAddr;

use url::form_urlencoded::byte_serialize;

use crate::caller::CallerSettings;
use crate::cli::output::Failure;
use crate::config::ListenerConfig;
use crate::exec::Proxy;

/// The proxy as this caller is told of it, with its password in the URL; it is read for that.
pub(super) fn proxy(listener: &ListenerConfig, address: SocketAddr, name: Option<&str>) -> Result<Proxy, Failure> {
    let known = listener.callers.as_deref().unwrap_or_default();
    let with_password: Vec<&CallerSettings> = known.iter().filter(|caller| caller.password.is_some()).collect();
    let names = || with_password.iter().map(|caller| caller.name.as_str()).collect::<Vec<_>>().join(", ");
    let Some(name) = name else {
        if with_password.is_empty() {
            return Ok(Proxy::at(address));
        }
        return Err(Failure::usage(format!(
            "listener {:?} wants to know its callers; say as whom programs come, with --caller NAME: {}",
            listener.name,
            names()
        )));
    };
    let caller = with_password.iter().find(|caller| caller.name == name);
    let Some(password) = caller.and_then(|caller| caller.password.as_ref()) else {
        let there_are =
            if with_password.is_empty() { "it has none".to_owned() } else { format!("there are: {}", names()) };
        return Err(Failure::usage(format!(
            "listener {:?} has no caller {name:?} with a password; {there_are}",
            listener.name
        )));
    };
    let password = password
        .first_readable()
        .map_err(|error| Failure::failed(format!("the password of caller {name:?} cannot be read: {error}")))?;
    let url = format!("http://{}:{}@{address}", encoded(name), encoded(password.expose()));
    Ok(Proxy::for_caller(address, url))
}

/// As part of a URL (RFC 3986 section 2.1): a plus is a plus there, and no blank as in a form.
fn encoded(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_password_means_anything_in_the_url() {
        assert_eq!(encoded("p@ss:w/rd %20+ü'"), "p%40ss%3Aw%2Frd%20%2520%2B%C3%BC%27");
    }
}
