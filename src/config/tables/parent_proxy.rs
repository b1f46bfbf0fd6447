//! `via` and `no_proxy`: the proxy of a network that has one.

use crate::config::syntax::hosts::with_host;
use crate::config::syntax::reader::TableReader;
use crate::config::syntax::tree::Node;
use crate::config::syntax::value::Value;
use crate::config::tables::secrets::secrets;
use crate::dial::{NoProxyRule, Origin, ParentProxyLogin, ParentProxySettings};

const REMEDY: &str =
    "write \"http://HOST:PORT\", or { url = \"http://HOST:PORT\", username = \"…\", password = { env = \"NAME\" } }";

/// `via` of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Via {
    /// Connections are made directly.
    Direct,
    /// The way of unmatched hosts.
    AsForward,
    /// Through this proxy.
    Proxy(ParentProxySettings),
}

/// Reads `via` of an upstream.
pub(crate) fn upstream_via(value: &Value<'_>) -> Option<Via> {
    match value.node {
        Node::String(text) if text.as_str() == "none" => Some(Via::Direct),
        Node::String(text) if text.as_str() == "forward" => Some(Via::AsForward),
        _ => proxy(value, "via").map(Via::Proxy),
    }
}

/// Reads `via` and `no_proxy` of `[forward]`, and whether there is a `via`. Loopback names and addresses mean this machine, and
/// never go to a proxy.
pub(crate) fn forward_via(table: &mut TableReader<'_>) -> (Option<ParentProxySettings>, bool) {
    let via = table.get("via");
    let no_proxy = table.get("no_proxy");
    if let (None, Some(no_proxy)) = (&via, &no_proxy) {
        no_proxy.wrong::<()>("has no meaning without `via`", "add via = \"http://HOST:PORT\", or remove it");
    }
    let rules = no_proxy.and_then(|value| value.list()).unwrap_or_default();
    let rules = rules.iter().filter_map(rule);
    let except = [NoProxyRule::Loopback].into_iter().chain(rules).collect();
    let Some(via) = via else { return (None, false) };
    if matches!(via.node, Node::String(text) if text.as_str() == "none") {
        return (None, true);
    }
    (proxy(&via, "via").map(|proxy| ParentProxySettings { except, ..proxy }), true)
}

/// A proxy, by the key that names it.
pub(crate) fn proxy(value: &Value<'_>, key: &'static str) -> Option<ParentProxySettings> {
    if let Node::String(_) = value.node {
        let proxy = url(value)?;
        return Some(ParentProxySettings { key, proxy, login: None, ca_file: None, except: Vec::new() });
    }
    let Node::Table(_) = value.node else { return value.wrong_type("a proxy", REMEDY) };
    let mut table = TableReader::from_value(value)?;
    let proxy = table.required("url", "write url = \"http://HOST:PORT\"").and_then(|value| url(&value));
    let username = table.get("username");
    let password = table.get("password");
    if username.is_some() && password.is_none() {
        table.missing("password", "write password = { env = \"NAME\" }");
    }
    if password.is_some() && username.is_none() {
        table.missing("username", "write the name that the proxy knows attache by");
    }
    let login = match (username.map(|value| name(&value)), password.map(|value| secrets(&value))) {
        (Some(Some(username)), Some(Some(password))) => Some(ParentProxyLogin { username, password }),
        _ => None,
    };
    let ca_file = table.get("ca_file").and_then(|value| value.certificates());
    table.finish();
    Some(ParentProxySettings { key, proxy: proxy?, login, ca_file, except: Vec::new() })
}

/// Other programs write a proxy's URL with a slash at its end.
fn url(value: &Value<'_>) -> Option<Origin> {
    with_host(value, |text| text.strip_suffix('/').unwrap_or(text).parse(), REMEDY)
}

/// RFC 7617 section 2: a colon ends the user name. No control character may stand in it.
fn name(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    if text.contains(|letter: char| letter == ':' || letter.is_control()) {
        return value.wrong("has a colon or a control character in it", "write the user name alone");
    }
    Some(text.to_owned())
}

fn rule(value: &Value<'_>) -> Option<NoProxyRule> {
    let text = value.text()?;
    if text.trim() == "*" {
        return value.wrong("has \"*\" in it, which leaves nothing for the proxy", "remove `via` instead");
    }
    NoProxyRule::parse(text).ok().or_else(|| {
        value.wrong(
            "has an entry that is no name, address or network",
            "write entries such as \"localhost\", \".corp\", \"10.0.0.0/8\" or \"host:8443\"",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{config, problems};

    const LISTENER: &str = "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n";

    fn forward(rest: &str) -> String {
        format!("{LISTENER}[forward]\nunmatched = \"pass\"\n{rest}\n")
    }

    fn upstream(via: &str) -> String {
        format!("{LISTENER}[upstreams.a]\norigin = \"https://a.test\"\nvia = {via}\n")
    }

    #[test]
    fn a_proxy_is_a_url_or_a_table() {
        let via = |text: &str| config(&upstream(text)).upstreams.remove(0).connection.via.clone();
        let plain = via("\"http://proxy.corp:3128\"").unwrap();
        assert_eq!((plain.proxy.to_string().as_str(), plain.login), ("http://proxy.corp:3128", None));
        let known =
            via("{ url = \"https://proxy.corp\", username = \"me\", password = { env = \"SECRET\" } }").unwrap();
        assert_eq!((known.proxy.port, known.login.unwrap().username.as_str()), (443, "me"));
        assert_eq!(via("\"none\""), None);
    }

    #[test]
    fn a_password_in_the_url_is_refused_without_being_repeated() {
        for via in ["\"http://me:sentinel@proxy.corp:3128\"", "{ url = \"http://me:sentinel@proxy.corp:3128\" }"] {
            let found = problems(&upstream(via));
            assert_eq!(found.len(), 1, "{found:#?}");
            assert!(found[0].contains("user information") && found[0].contains("password = { env"), "{found:#?}");
            assert!(!found[0].contains("sentinel"));
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused() {
        for via in ["\"socks5://p:1080\"", "\"proxy.corp:3128\"", "3128", "\"http://proxy.corp/path\"", "\"non\""] {
            assert_eq!(problems(&upstream(via)).len(), 1, "{via}");
        }
        let half = problems(&upstream("{ url = \"http://p:1\", username = \"me\" }"));
        assert!(half[0].contains("`upstreams.a.via.password` is missing; "), "{half:#?}");
        let half = problems(&upstream("{ url = \"http://p:1\", password = { env = \"SECRET\" } }"));
        assert!(half[0].contains("`upstreams.a.via.username` is missing; "), "{half:#?}");
        let colon =
            problems(&upstream("{ url = \"http://p:1\", username = \"a:b\", password = { env = \"SECRET\" } }"));
        assert!(colon[0].contains("has a colon"), "{colon:#?}");
    }

    #[test]
    fn exceptions_are_names_addresses_and_networks() {
        let rules = "via = \"http://proxy.corp:3128\"\nno_proxy = [\".corp\", \"10.0.0.0/8\", \"host:8443\"]";
        let via = config(&forward(rules)).forward.via.unwrap();
        assert_eq!((via.except.len(), &via.except[0]), (4, &NoProxyRule::Loopback), "this machine is always one");
        let found = problems(&forward("via = \"http://p:1\"\nno_proxy = [\"*\", \"a b\"]"));
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(found[0].contains("leaves nothing for the proxy") && found[1].contains("no name, address or network"));
        let found = problems(&forward("no_proxy = [\".corp\"]"));
        assert!(found[0].contains("`forward.no_proxy` has no meaning without `via`; "), "{found:#?}");
    }

    #[test]
    fn an_upstream_may_go_the_way_of_unmatched_hosts() {
        let both =
            format!("{}[forward]\nvia = \"http://proxy.corp:3128\"\nno_proxy = [\".corp\"]\n", upstream("\"forward\""));
        let read = config(&both);
        assert_eq!(read.upstreams[0].connection.via, read.forward.via);
        assert!(read.forward.via.is_some());
        let found = problems(&upstream("\"forward\""));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].contains("`upstreams.a.via` is \"forward\", and [forward] has no `via`; "), "{found:#?}");
    }

    #[test]
    fn an_upstream_that_says_nothing_is_asked_whether_it_means_it() {
        let two = |via: &str| {
            let text = format!(
                "{LISTENER}[upstreams.a]\norigin = \"https://a.test\"\n{via}\n\
                 [forward]\nvia = \"http://proxy.corp:3128\"\nno_proxy = [\".corp\"]\nunmatched = \"pass\"\n"
            );
            config(&text).warnings.len()
        };
        assert_eq!((two(""), two("via = \"none\""), two("via = \"forward\"")), (1, 0, 0));
        assert_eq!(two("connect = \"a.corp:443\""), 0, "no_proxy excepts it anyway");
        assert_eq!(two("connect = \"localhost:443\""), 0);
    }
}
