//! The proxy of the network that the environment names: the command would have gone to other hosts through it.

use url::Url;

use crate::cli::output::{Failure, talk};
use crate::config::Config;
use crate::dial::{NoProxyRule, Origin, ParentProxyLogin, ParentProxySettings};
use crate::secret::{Secret, SecretSource, Secrets};

/// Where it is looked for; what is found first counts. Other hosts have one way out, whatever is spoken.
const VARIABLES: [&str; 6] = ["https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];

/// Sends hosts that no upstream covers this way, unless the file has a `via` for them. Upstreams go their own.
pub(super) fn keep(config: &mut Config, current: &dyn Fn(&str) -> Option<String>) -> Result<(), Failure> {
    if config.forward_said.via {
        return Ok(());
    }
    let is_set = |name: &&str| current(name).is_some_and(|value| !value.trim().is_empty());
    let Some(name) = VARIABLES.into_iter().find(is_set) else { return Ok(()) };
    let value = current(name).unwrap_or_default();
    let rules = ["no_proxy", "NO_PROXY"].into_iter().find_map(current).unwrap_or_default();
    if rules.split(',').any(|rule| rule.trim() == "*") {
        return Ok(());
    }
    match parent(name, &value) {
        Some(parent) => config.forward.via = Some(ParentProxySettings { except: except(&rules), ..parent }),
        // Without its value, which may have a password in it.
        None => talk(format_args!(
            "attache: {name} names no http:// proxy, so hosts that no upstream covers are reached directly; write [forward] via \
             = \"http://HOST:PORT\", or \"none\""
        ))?,
    }
    Ok(())
}

fn parent(key: &'static str, value: &str) -> Option<ParentProxySettings> {
    let value = value.trim();
    // Most programs take it without a scheme too.
    let with_scheme = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    let url = Url::parse(&with_scheme).ok().filter(Url::has_host)?;
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let proxy: Origin = format!("{}://{}{port}", url.scheme(), url.host_str()?).parse().ok()?;
    let login = url.password().filter(|_| !url.username().is_empty()).map(|password| ParentProxyLogin {
        username: decoded(url.username()),
        password: Secrets::one(SecretSource::Literal(Secret::new(decoded(password)))),
    });
    Some(ParentProxySettings { key, proxy, login, ca_file: None, except: Vec::new() })
}

/// What stands behind `%` in a URL. A plus is a plus there.
fn decoded(text: &str) -> String {
    let form = format!("x={}", text.replace('+', "%2B"));
    url::form_urlencoded::parse(form.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// This machine, and what the environment has. An entry that nobody understands keeps nothing from the proxy.
fn except(rules: &str) -> Vec<NoProxyRule> {
    let rules = rules.split([',', ' ']).map(str::trim).filter(|rule| !rule.is_empty());
    [NoProxyRule::Loopback].into_iter().chain(rules.filter_map(|rule| NoProxyRule::parse(rule).ok())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::Host;

    #[test]
    fn a_proxy_is_read_as_other_programs_read_it() {
        for (value, origin, username) in [
            ("http://proxy.corp:3128", Some("http://proxy.corp:3128"), None),
            (" proxy.corp:3128/ ", Some("http://proxy.corp:3128"), None),
            ("http://proxy.corp", Some("http://proxy.corp"), None),
            ("https://[::1]:8443", Some("https://[::1]:8443"), None),
            ("http://me%40corp:a%2Bb+c%25@proxy.corp:1", Some("http://proxy.corp:1"), Some("me@corp")),
            ("socks5h://proxy.corp:1080", None, None),
            ("://", None, None),
        ] {
            let read = parent("HTTP_PROXY", value);
            assert_eq!(read.as_ref().map(|read| read.proxy.to_string()).as_deref(), origin, "{value}");
            let login = read.and_then(|read| read.login);
            assert_eq!(login.as_ref().map(|login| login.username.as_str()), username, "{value}");
        }
        assert_eq!(decoded("a%2Bb+c%25"), "a+b+c%");
    }

    #[test]
    fn this_machine_and_what_is_named_goes_past_it() {
        let rules = except("corp.test, 10.0.0.0/8,,nonsense?");
        assert_eq!(rules.len(), 3, "{rules:?}");
        let covers = |host: &str| rules.iter().any(|rule| rule.covers(&Host::parse(host).unwrap(), 443));
        assert!(covers("localhost") && covers("127.0.0.1") && covers("a.corp.test") && covers("10.1.2.3"));
        assert!(!covers("example.test"));
    }
}
