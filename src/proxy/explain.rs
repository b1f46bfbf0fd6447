//! What would happen to a request, without sending it: the same decisions, in the same order.

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderValue, Method, Request};
use serde::Serialize;

use super::admit::{policy, unmatched};
use super::error::ProxyError;
use super::routing::destination::{Destination, ResolvedRoute, Tunnel};
use super::routing::{forward, resolve};
use super::tunnel::passthrough;
use super::tunnel::plan::{Plan, plan};
use crate::credential::Place;
use crate::dial::Scheme;
use crate::route::{CallerAuthorization, PathTable, Selector};
use crate::runtime::{ListenerRuntime, ModeRuntime, Runtime};

/// The answer of `attache explain` and `/api/explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Explanation {
    /// The listener that takes the request.
    pub(crate) listener: String,
    /// The target as it was asked about.
    pub(crate) target: String,
    /// The upstream that covers it.
    pub(crate) upstream: Option<String>,
    /// The credential that goes on it.
    pub(crate) credential: Option<String>,
    /// `inject`, `pass`, `deny`, `tunnel`, `intercept_and_inject`.
    pub(crate) outcome: &'static str,
    /// Where the request goes.
    pub(crate) sends_to: Option<String>,
    /// Why; a sentence for a person.
    pub(crate) reason: String,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    /// The listener that is asked; `None`: the one that would most likely get it.
    pub(crate) listener: Option<&'a str>,
    /// The caller that asks; `None`: not named.
    pub(crate) caller: Option<&'a str>,
    pub(crate) method: &'a Method,
    /// A URL, `host:port` for CONNECT, or a path on a reverse listener.
    pub(crate) target: &'a str,
}

/// Explains a request to the listener of this name, or to the one that would most likely get it: the first that does
/// something with it.
///
/// # Errors
/// A sentence, where the listener does not exist or the target cannot be read.
pub(crate) fn answer(runtime: &Runtime, question: &Question<'_>) -> Result<Explanation, String> {
    let Question { listener, target, .. } = *question;
    if let Some(name) = listener {
        let names = || runtime.listeners.iter().map(|listener| listener.name.as_str()).collect::<Vec<_>>().join(", ");
        let listener = runtime.listeners.iter().find(|listener| listener.name == name);
        return explain(
            runtime,
            listener.ok_or_else(|| format!("there is no listener {name:?}; there are {}", names()))?,
            question,
        );
    }
    // A path alone is asked of a base URL, everything else of a proxy: what a proxy refuses is not looked for elsewhere.
    let forward =
        |listener: &&ListenerRuntime| matches!(listener.mode, ModeRuntime::Forward(_) | ModeRuntime::Socks5(_));
    let (proxies, bases): (Vec<_>, Vec<_>) = runtime.listeners.iter().partition(forward);
    let path = target.starts_with('/');
    let asked = if (path && !bases.is_empty()) || proxies.is_empty() { bases } else { proxies };
    let mut first = None;
    for listener in asked {
        let explained = explain(runtime, listener, question);
        if explained.as_ref().is_ok_and(|explanation| explanation.outcome != "deny") {
            return explained;
        }
        first.get_or_insert(explained);
    }
    first.unwrap_or_else(|| Err("the configuration has no listener".into()))
}

/// Explains a request to one listener; where it depends on the caller and none is named, as the first caller that is let through.
///
/// # Errors
/// A sentence, where the target cannot be read at all.
fn explain(runtime: &Runtime, listener: &ListenerRuntime, question: &Question<'_>) -> Result<Explanation, String> {
    let explained = explain_as(runtime, listener, question)?;
    let callers = listener.callers.as_ref().filter(|_| explained.outcome == "deny" && question.caller.is_none());
    for name in callers.into_iter().flat_map(|callers| callers.names()) {
        let mut as_caller = explain_as(runtime, listener, &Question { caller: Some(name), ..*question })?;
        if as_caller.outcome != "deny" {
            as_caller.reason.push_str("; ask as another with --caller NAME");
            return Ok(as_caller);
        }
    }
    Ok(explained)
}

fn explain_as(runtime: &Runtime, listener: &ListenerRuntime, question: &Question<'_>) -> Result<Explanation, String> {
    let Question { caller, method, target, .. } = *question;
    let head = head(listener, method, target)?;
    let mut explanation = Explanation {
        listener: listener.name.clone(),
        target: target.to_owned(),
        upstream: None,
        credential: None,
        outcome: "deny",
        sends_to: None,
        reason: String::new(),
    };
    // Without `callers` nobody is asked who it is.
    let caller = caller.filter(|_| listener.callers.is_some());
    if let Some(caller) = caller.filter(|caller| !listener.callers.as_ref().is_some_and(|known| known.knows(caller))) {
        explanation.reason =
            format!("`callers` of listener {:?} has no {caller:?}, so it would be asked who it is", listener.name);
        return Ok(explanation);
    }
    let mut parent_proxy = None;
    let destination = match &listener.mode {
        // What a caller asks for in SOCKS is found as on a forward listener.
        ModeRuntime::Socks5(table) => forward::destination(table, &head, caller),
        _ => resolve(listener, None, &head, caller),
    };
    match destination {
        Err(error) => explanation.refuse(&error),
        Ok(Destination::Itself) => {
            explanation.outcome = "pass";
            explanation.reason = "OPTIONS * is answered by attache itself".into();
        }
        Ok(Destination::Route(resolved)) => {
            parent_proxy = resolved.at.route.upstream.parent_proxy_for(resolved.origin());
            explain_route(&mut explanation, &resolved, &head, caller);
        }
        Ok(Destination::Tunnel(tunnel)) => {
            let upstream = match &tunnel.at {
                Some(at) => Some(&at.route.upstream),
                None => {
                    unmatched::permitted(runtime, &tunnel.origin, &tunnel.origin).ok().map(|(upstream, _)| upstream)
                }
            };
            parent_proxy = upstream.and_then(|upstream| upstream.parent_proxy_for(&tunnel.origin));
            explain_tunnel(&mut explanation, runtime, &tunnel);
        }
        Ok(Destination::Unmatched(origin)) => match unmatched::permitted(runtime, &origin, &origin) {
            Err(error) => explanation.refuse(&error),
            Ok((upstream, _)) => {
                parent_proxy = upstream.parent_proxy_for(&origin);
                explanation.outcome = "pass";
                explanation.sends_to = Some(origin.to_string());
                explanation.reason = "no upstream covers it, and [forward] unmatched lets it pass untouched".into();
            }
        },
    }
    if question.caller.is_some() && caller.is_none() {
        explanation.reason.push_str(&format!("; listener {:?} asks nobody who it is", listener.name));
    }
    if let Some(proxy) = parent_proxy.filter(|_| explanation.outcome != "deny") {
        explanation.reason.push_str(&format!("; it is reached through the parent proxy {proxy}"));
    }
    Ok(explanation)
}

fn explain_route(explanation: &mut Explanation, resolved: &ResolvedRoute, head: &Parts, caller: Option<&str>) {
    let route = &resolved.at.route;
    explanation.upstream = Some(route.name().to_owned());
    if let Err(error) = policy::check(resolved, head) {
        return explanation.refuse(&error);
    }
    let path = resolved.path.as_ref().or_else(|| head.uri.path_and_query()).map_or("/", |path| path.as_str());
    explanation.sends_to = Some(match &resolved.at.route.settings.origin_from {
        Some(member) => {
            let pattern = &resolved.at.route.upstream.settings.origin;
            format!("{pattern}{path}, at the host that the token response's {member} says")
        }
        None => format!("{}{path}", resolved.origin()),
    });
    let port = by_default_port(resolved, head).unwrap_or_default();
    let covers = format!("{}{port}", covers(resolved, head, caller));
    match &route.credential {
        Some(credential) => {
            explanation.outcome = "inject";
            explanation.credential = Some(credential.name.clone());
            let upgraded = head.uri.scheme_str() == Some("http") && resolved.origin().scheme == Scheme::Https;
            let how = if upgraded { ", upgraded to https" } else { "" };
            let place = match credential.place() {
                Place::Field(name) if *name == AUTHORIZATION => String::new(),
                Place::Field(name) => format!(", as the field {:?}", name.as_str()),
                Place::Query(name) => format!(", as the query parameter {name:?}"),
            };
            let own = match route.settings.caller_authorization {
                CallerAuthorization::Replace => "",
                CallerAuthorization::Keep if !credential.is_in_authorization() => {
                    "; an Authorization of the caller's own is kept"
                }
                CallerAuthorization::Keep => ", unless the caller sends an Authorization of its own, which is kept",
                CallerAuthorization::Reject => "; a request with an Authorization of its own is refused with 400",
            };
            let what = if credential.is_obtained() { "a token of credential" } else { "credential" };
            explanation.reason = format!("{covers}{how}; {what} {:?} goes on it{place}{own}", credential.name);
        }
        None => {
            explanation.outcome = "pass";
            explanation.reason = format!("{covers} and has no credential");
        }
    }
}

/// What has to be said of a URL without the port that the request goes to: `http://host` also stands for an https origin of it.
fn by_default_port(resolved: &ResolvedRoute, head: &Parts) -> Option<String> {
    let (scheme, authority) = (head.uri.scheme_str()?, head.uri.authority()?);
    let origin = resolved.origin();
    let written = authority.port_u16().unwrap_or_else(|| Scheme::Http.default_port());
    let stands_for = scheme == "http" && written == Scheme::Http.default_port() && origin.scheme == Scheme::Https;
    (stands_for && origin.port != Scheme::Https.default_port())
        .then(|| format!(" by its default port, which stands for port {}", origin.port))
}

/// Which upstream covers it, and by what: its origin alone, or one of its `paths` and `callers`.
fn covers(resolved: &ResolvedRoute, head: &Parts, caller: Option<&str>) -> String {
    let route = &resolved.at.route;
    let path = resolved.path.as_ref().map_or_else(|| head.uri.path(), http::uri::PathAndQuery::path);
    let mut own = PathTable::default();
    for pattern in &route.settings.paths {
        own.insert(Selector { paths: std::slice::from_ref(pattern), ..Selector::default() }, pattern);
    }
    let pattern = own.find(path, None).ok();
    let by_path = pattern.map(|pattern| format!("by \"{pattern}\", the most literal of the `paths` that do"));
    let named = route.settings.callers.as_ref();
    let by_caller = named.and(caller).map(|caller| format!("for caller {caller:?}"));
    let how: Vec<String> = [by_path, by_caller].into_iter().flatten().collect();
    let how = if how.is_empty() { String::new() } else { format!(" {}", how.join(", ")) };
    format!("upstream {:?} covers it{how}", route.name())
}

fn explain_tunnel(explanation: &mut Explanation, runtime: &Runtime, tunnel: &Tunnel) {
    let origin = &tunnel.origin;
    let target = passthrough::target(origin);
    let Some(at) = &tunnel.at else {
        match unmatched::permitted(runtime, origin, &target) {
            Ok(_) => explanation.pass_unread(target, "a CONNECT tunnel passes unread".into()),
            Err(error) => explanation.refuse(&error),
        }
        return;
    };
    let name = at.route.name();
    explanation.upstream = Some(name.to_owned());
    let plan = match plan(runtime, at, tunnel) {
        Ok(plan) => plan,
        Err(error) => return explanation.refuse(&error),
    };
    let credential = at.route.credential.as_ref().map(|credential| credential.name.clone());
    (explanation.outcome, explanation.reason) = match (plan, &credential) {
        (Plan::Unread, _) => return explanation.pass_unread(target, "a CONNECT tunnel passes unread".into()),
        (Plan::PlainHttp, _) => {
            let reason = format!(
                "a CONNECT tunnel passes unread, so no token can be put on what is inside; \
                 request http://{} through this proxy, use a reverse listener as the base URL, \
                 or have tunnels opened: `attache ca init` and [intercept]",
                passthrough::instead(origin)
            );
            return explanation.pass_unread(target, reason);
        }
        (_, None) => {
            ("pass", format!("plain HTTP inside of the tunnel goes to upstream {name:?}, which has no credential"))
        }
        (Plan::PlainHttpAlone, Some(credential)) => (
            "inject",
            format!(
                "plain HTTP inside of a tunnel to {target} goes to upstream {name:?} with a token of credential {credential:?}"
            ),
        ),
        (Plan::Intercept(_), Some(credential)) => (
            "intercept_and_inject",
            format!(
                "the tunnel is opened with a certificate of the local CA; what is inside goes to upstream {name:?} with a \
                 token of credential {credential:?}"
            ),
        ),
    };
    explanation.sends_to = at.route.upstream.settings.origin.at_host(origin.host.as_str()).map(|to| to.to_string());
    explanation.credential = credential;
}

impl Explanation {
    /// What a caller would be told, and of which upstream.
    fn refuse(&mut self, error: &ProxyError) {
        if let Some(at) = &error.route {
            self.upstream = Some(at.route.name().to_owned());
        }
        self.reason = format!("{}: {}", error.status().as_u16(), error.detail());
    }

    fn pass_unread(&mut self, target: String, reason: String) {
        (self.outcome, self.sends_to, self.reason) = ("tunnel", Some(target), reason);
    }
}

/// A URL whose scheme was left out, with it.
fn instead(target: &str) -> String {
    let url = format!("http://{target}");
    let is_url = !target.contains("://") && url.parse().is_ok_and(|uri: http::Uri| uri.host().is_some());
    if is_url { format!("; write {url}") } else { String::new() }
}

/// The head that such a request would arrive with.
fn head(listener: &ListenerRuntime, method: &Method, target: &str) -> Result<Parts, String> {
    let uri: http::Uri = target
        .parse()
        .map_err(|_invalid| format!("{target:?} is not a URL, a path, or host:port for CONNECT{}", instead(target)))?;
    // In SOCKS, TLS begins behind the tunnel.
    if matches!(listener.mode, ModeRuntime::Socks5(_))
        && uri.scheme_str() == Some("https")
        && let Some(authority) = uri.authority()
    {
        let port = authority.port_u16().unwrap_or(Scheme::Https.default_port());
        return head(listener, &Method::CONNECT, &format!("{}:{port}", authority.host()));
    }
    let mut request = Request::builder().method(method.clone());
    let host = match (&listener.mode, uri.authority()) {
        (_, Some(authority)) => authority.as_str().to_owned(),
        (ModeRuntime::Reverse { .. } | ModeRuntime::Token(_), None) => "localhost".to_owned(),
        (ModeRuntime::Forward(_) | ModeRuntime::Socks5(_), None) => {
            return Err("a forward listener needs a whole URL, such as http://api.example.com/".into());
        }
    };
    if uri.scheme().is_none() && uri.authority().is_some() && method != Method::CONNECT {
        return Err(format!("{target:?} is not a URL or a path{}", instead(target)));
    }
    if let Ok(host) = HeaderValue::from_str(&host) {
        request = request.header(http::header::HOST, host);
    }
    // On a reverse listener the URL may be the listener's own address: then only its path counts.
    let uri = match (&listener.mode, method == Method::CONNECT) {
        (ModeRuntime::Reverse { .. }, false) => {
            uri.path_and_query().map_or_else(|| "/".parse(), |path| Ok(path.clone().into()))
        }
        _ => Ok(uri),
    };
    let uri = uri.map_err(|_invalid: http::uri::InvalidUri| format!("{target:?} cannot be read"))?;
    let request = request.uri(uri).body(()).map_err(|error| error.to_string())?;
    Ok(request.into_parts().0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::dry_runtime;
    use crate::config::Config;

    fn reason(upstream: &str) -> String {
        let text = format!(
            r#"
[listeners.base]
address = "127.0.0.1:0"
mode = "reverse"
upstream = "api"
[credentials.key]
token_endpoint = "http://127.0.0.1/token"
client_id = "me"
client_secret = "s3cret"
[upstreams.api]
origin = "http://127.0.0.1:1"
credential = "key"
{upstream}
"#
        );
        let config = Config::parse("proxy.toml", &text).unwrap_or_else(|errors| panic!("{errors}"));
        let runtime = dry_runtime(&config, tokio::runtime::Handle::current()).unwrap();
        let explained =
            answer(&runtime, &Question { listener: None, caller: None, method: &Method::GET, target: "/" }).unwrap();
        assert_eq!(explained.outcome, "inject");
        explained.reason
    }

    #[tokio::test]
    async fn the_reason_says_what_becomes_of_an_authorization_of_the_callers() {
        let plain = r#"upstream "api" covers it; a token of credential "key" goes on it"#;
        assert_eq!(reason(""), plain);
        assert_eq!(
            reason("caller_authorization = \"keep\""),
            format!("{plain}, unless the caller sends an Authorization of its own, which is kept")
        );
        assert_eq!(
            reason("caller_authorization = \"reject\""),
            format!("{plain}; a request with an Authorization of its own is refused with 400")
        );
    }

    #[tokio::test]
    async fn the_reason_names_the_parent_proxy() {
        let way = "; it is reached through the parent proxy proxy.test:3128";
        assert!(reason("allow_plaintext = true\nvia = \"http://proxy.test:3128\"").ends_with(way));
        let text = "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n\
            [forward]\nunmatched = \"pass\"\nvia = \"http://proxy.test:3128\"\nno_proxy = [\".corp\"]\n";
        let runtime =
            dry_runtime(&Config::parse("proxy.toml", text).unwrap(), tokio::runtime::Handle::current()).unwrap();
        let ask = |method: Method, target| {
            answer(&runtime, &Question { listener: None, caller: None, method: &method, target }).unwrap().reason
        };
        assert!(ask(Method::GET, "http://a.test/").ends_with(way));
        assert!(ask(Method::CONNECT, "a.test:443").ends_with(way));
        assert!(!ask(Method::GET, "http://a.corp/").contains("parent proxy"));
    }
}
