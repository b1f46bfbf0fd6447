//! `[upstreams.X]`.

use std::sync::Arc;

use http::{Method, StatusCode};

use crate::config::syntax::hosts::with_host;
use crate::config::syntax::reader::{TableReader, set};
use crate::config::syntax::tree::Node;
use crate::config::syntax::value::{Spanned, Value};
use crate::config::tables::client_identity::client_identity;
use crate::config::tables::parent_proxy::{self, Via};
use crate::config::types::UpstreamConfig;
use crate::dial::{Authority, Host, OriginPattern};
use crate::route::pattern::{PathPattern, PathPrefix};
use crate::route::{AllowRule, CallerAuthorization, HttpScheme, OnTokenError, RetrySettings, RouteSettings};
use crate::tls::MinVersion;
use crate::upstream::{ConnectTo, PoolSettings, Timeouts, TlsSettings, UpstreamSettings};

/// `[upstreams.X]` with the places that later checks point at.
pub(crate) struct Upstream {
    pub(crate) config: UpstreamConfig,
    pub(crate) at: usize,
    pub(crate) origin_at: usize,
    pub(crate) credential_at: usize,
    pub(crate) prefix_at: usize,
    pub(crate) tls_at: Option<usize>,
    /// `None`: every caller of the listener.
    pub(crate) callers: Option<Vec<Spanned<String>>>,
    /// `None` where the file says nothing.
    pub(crate) via: Option<Spanned<Via>>,
}

impl Upstream {
    pub(crate) fn name(&self) -> &str {
        &self.config.connection.name
    }

    pub(crate) fn origin(&self) -> &OriginPattern {
        &self.config.connection.origin
    }
}

/// Reads `[upstreams.NAME]`.
pub(crate) fn upstream(name: &str, mut table: TableReader<'_>) -> Option<Upstream> {
    let at = table.at;
    let origin = table
        .required("origin", "write origin = \"https://host\", the only place where the credential may go")
        .and_then(|value| Some(Spanned { at: value.at, value: origin(&value)? }));
    let connect = table.get("connect").and_then(|value| connect(&value));
    let via =
        table.get("via").and_then(|value| Some(Spanned { at: value.at, value: parent_proxy::upstream_via(&value)? }));
    let credential =
        table.get("credential").and_then(|value| Some(Spanned { at: value.at, value: value.text()?.to_owned() }));
    let prefix = table.get("path_prefix").and_then(|value| Some(Spanned { at: value.at, value: path_prefix(&value)? }));
    let tls = table.table("tls");
    let tls_at = tls.as_ref().map(|tls| tls.at);

    let mut route =
        RouteSettings { path_prefix: prefix.as_ref().map(|prefix| prefix.value.clone()), ..Default::default() };
    let paths = table.get("paths").and_then(Value::one_or_list);
    route.paths = paths.map_or_else(Vec::new, |paths| paths.iter().filter_map(path).collect());
    route.allow = table
        .get("allow")
        .and_then(|value| value.list())
        .map_or_else(Vec::new, |rules| rules.iter().filter_map(TableReader::from_value).map(allow_rule).collect());
    set(
        &mut route.caller_authorization,
        table.get("caller_authorization").and_then(|value| value.choice(&CALLER, &[])),
    );
    set(&mut route.retry, table.table("retry").map(retry));
    route.requests_per_second = table.get("requests_per_second").and_then(|value| value.integer(1..=u32::MAX));
    set(&mut route.on_token_error, table.get("on_token_error").and_then(|value| value.choice(&ON_TOKEN_ERROR, &[])));
    set(&mut route.http, table.get("http").and_then(|value| value.choice(&HTTP, &[])));
    set(&mut route.rewrite, table.get("rewrite").and_then(|value| value.boolean()));
    set(&mut route.allow_plaintext, table.get("allow_plaintext").and_then(|value| value.boolean()));

    let member =
        table.get("origin_from").and_then(|value| origin_from(&value, origin.as_ref().map(|origin| &origin.value)));
    route.origin_from = member;
    route.intercept = table.get("intercept").and_then(|value| value.boolean()).unwrap_or(route.intercept);

    let tls = tls.map(tls_settings).unwrap_or_default();
    let timeouts = table.table("timeouts").map(timeouts).unwrap_or_default();
    let pool = table.table("pool").map(pool).unwrap_or_default();
    let title_case = table.get("title_case").and_then(|value| value.boolean()).unwrap_or_default();
    let named = |value: Value<'_>| value.text().map(|text| Spanned { at: value.at, value: text.to_owned() });
    let callers = table.get("callers").and_then(Value::one_or_list);
    let callers: Option<Vec<Spanned<String>>> = callers.map(|names| names.into_iter().filter_map(named).collect());
    route.callers = callers.as_ref().map(|names| names.iter().map(|name| name.value.clone()).collect());
    table.finish();

    let origin = origin?;
    let connection = UpstreamSettings {
        name: name.to_owned(),
        origin: origin.value,
        connect,
        via: None,
        tls,
        timeouts,
        pool,
        title_case,
    };
    Some(Upstream {
        at,
        origin_at: origin.at,
        credential_at: credential.as_ref().map_or(at, |credential| credential.at),
        prefix_at: prefix.map_or(at, |prefix| prefix.at),
        tls_at,
        callers,
        via,
        config: UpstreamConfig {
            connection: Arc::new(connection),
            route: Arc::new(route),
            credential: credential.map(|credential| credential.value),
        },
    })
}

const CALLER: [(&str, CallerAuthorization); 3] = [
    ("replace", CallerAuthorization::Replace),
    ("keep", CallerAuthorization::Keep),
    ("reject", CallerAuthorization::Reject),
];
const ON_TOKEN_ERROR: [(&str, OnTokenError); 2] = [("fail", OnTokenError::Fail), ("pass", OnTokenError::Pass)];
const HTTP: [(&str, HttpScheme); 2] = [("upgrade", HttpScheme::Upgrade), ("refuse", HttpScheme::Refuse)];

fn origin(value: &Value<'_>) -> Option<OriginPattern> {
    with_host(
        value,
        str::parse,
        "write scheme, host and perhaps port, such as \"https://api.example.com\" or \"https://*.example.com\"",
    )
}

/// A member of the token response. The pattern is what keeps the credential from going anywhere else.
fn origin_from(value: &Value<'_>, origin: Option<&OriginPattern>) -> Option<String> {
    if matches!(origin, Some(OriginPattern::Exact(_))) {
        return value.wrong(
            "may choose among hosts, and `origin` names one",
            "write the hosts that are meant into origin, such as \"https://*.my.salesforce.com\"",
        );
    }
    value.text().map(str::to_owned)
}

fn connect(value: &Value<'_>) -> Option<ConnectTo> {
    const REMEDY: &str = "write the host and the port to dial, such as \"10.0.0.5:8443\"";
    if value.node.as_str().is_some_and(|text| text.contains("://")) {
        return value.wrong(
            "has a scheme, and takes none",
            "leave it out: whether it is TLS, origin says; what stays is host and port, such as \"10.0.0.5:8443\"",
        );
    }
    let authority = with_host(value, Authority::parse, REMEDY)?;
    let Some(port) = authority.port else { return value.wrong("has no port", REMEDY) };
    let host = value.parsed(|_text| Host::parse(&authority.host), REMEDY)?;
    Some(ConnectTo { host, port })
}

fn path_prefix(value: &Value<'_>) -> Option<PathPrefix> {
    value.parsed(PathPrefix::parse, "write whole segments, such as \"/orders\"")
}

/// One entry of `allow`. An empty rule would allow everything, so it is refused rather than guessed at.
fn allow_rule(mut table: TableReader<'_>) -> AllowRule {
    let methods = table.get("methods").and_then(Value::one_or_list).unwrap_or_default();
    let paths = table.get("paths").and_then(Value::one_or_list).unwrap_or_default();
    if !table.has("methods") && !table.has("paths") {
        table.missing(
            "paths",
            "write methods = [\"GET\"], paths = [\"/v1/*\"] or both; without `allow` everything may pass",
        );
    }
    table.finish();
    AllowRule { methods: methods.iter().filter_map(method).collect(), paths: paths.iter().filter_map(path).collect() }
}

fn method(value: &Value<'_>) -> Option<Method> {
    let text = value.text()?;
    // Methods are case-sensitive (RFC 9110 section 9.1): "get" would match nothing.
    match Method::from_bytes(text.as_bytes()) {
        Ok(method) if !text.contains(|letter: char| letter.is_ascii_lowercase()) => Some(method),
        Ok(_) if value.file.written.has(value.at) => {
            value.wrong("has a method in small letters", "set the variable to one in capital letters")
        }
        Ok(_) => value.wrong("has a method in small letters", format!("write \"{}\"", text.to_ascii_uppercase())),
        Err(_) => value.wrong("has an entry that is no method", "write a method such as \"GET\""),
    }
}

fn path(value: &Value<'_>) -> Option<PathPattern> {
    value.parsed(PathPattern::parse, "write a path such as \"/v1/orders\" or \"/v1/*\"")
}

fn retry(mut table: TableReader<'_>) -> RetrySettings {
    let mut retry = RetrySettings::default();
    let on = table.get("on").and_then(|value| value.list());
    set(&mut retry.on, on.map(|entries| entries.iter().filter_map(status).collect()));
    set(&mut retry.max_body, table.get("max_body").and_then(|value| value.size()));
    set(&mut retry.enabled, table.get("enabled").and_then(|value| value.boolean()));
    table.finish();
    retry
}

fn status(value: &Value<'_>) -> Option<StatusCode> {
    const REMEDY: &str = "write statuses that mean a refused token, such as [401]";
    let Node::Integer(number, _) = value.node else { return value.wrong_type("a status", REMEDY) };
    match number.parse().ok().and_then(|number| StatusCode::from_u16(number).ok()) {
        Some(status) if (200..600).contains(&status.as_u16()) => Some(status),
        _ => value.wrong("has a status outside 200 to 599", REMEDY),
    }
}

fn tls_settings(mut table: TableReader<'_>) -> TlsSettings {
    let ca_file = table.get("ca_file").and_then(|value| value.certificates());
    let name = |value: Value<'_>| {
        with_host(&value, Host::parse, "write the host name in the server's certificate, without a port")
    };
    let server_name = table.get("server_name").and_then(name).map(|host| host.bare().to_owned());
    let identity = client_identity(&mut table);
    let mut min_version = MinVersion::default();
    set(&mut min_version, table.get("min_version").and_then(|value| value.choice(&MIN_VERSION, &[])));
    table.finish();
    TlsSettings { ca_file, identity, min_version, server_name }
}

const MIN_VERSION: [(&str, MinVersion); 2] = [("1.2", MinVersion::Tls12), ("1.3", MinVersion::Tls13)];

fn timeouts(mut table: TableReader<'_>) -> Timeouts {
    let mut timeouts = Timeouts::default();
    set(&mut timeouts.connect, table.get("connect").and_then(|value| value.duration()));
    set(&mut timeouts.response, table.get("response").and_then(|value| value.duration()));
    set(&mut timeouts.idle, table.get("idle").and_then(|value| value.duration()));
    set(&mut timeouts.body, table.get("body").and_then(|value| value.duration()));
    table.finish();
    timeouts
}

fn pool(mut table: TableReader<'_>) -> PoolSettings {
    let mut pool = PoolSettings::default();
    let count = |number: u32| usize::try_from(number).ok();
    set(&mut pool.max, table.get("max").and_then(|value| value.integer(1..=1_000_000)).and_then(count));
    set(&mut pool.queue, table.get("queue").and_then(|value| value.integer(0..=1_000_000)).and_then(count));
    let max_idle = table.get("max_idle");
    pool.max_idle = pool.max_idle.min(pool.max);
    if let Some(value) = max_idle
        && let Some(idle) = value.integer(0..=1_000_000).and_then(count)
    {
        if idle > pool.max {
            value.wrong::<()>("is more than `max`", format!("write at most {}, or a larger max", pool.max));
        }
        pool.max_idle = idle;
    }
    table.finish();
    pool
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{config, problems};
    use std::time::Duration;

    const LISTENER: &str = "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n";

    fn upstream(rest: &str) -> String {
        format!("{LISTENER}[upstreams.a]\norigin = \"https://a.test\"\n{rest}\n")
    }

    fn read(rest: &str) -> UpstreamConfig {
        config(&upstream(rest)).upstreams.remove(0)
    }

    fn wrong(rest: &str) -> Vec<String> {
        problems(&upstream(rest))
    }

    #[test]
    fn an_upstream_needs_only_its_origin() {
        let read = read("");
        assert_eq!(read.connection.origin.to_string(), "https://a.test");
        assert_eq!(read.connection.timeouts, Timeouts::default());
        assert_eq!(read.connection.pool, PoolSettings::default());
        assert_eq!(*read.route, RouteSettings::default());
        let found =
            problems(&format!("{LISTENER}[upstreams.a]\n[upstreams.b]\norigin = \"https://x:sentinel@b.test\"\n"));
        assert!(found[0].starts_with("proxy.toml:4:1: `upstreams.a.origin` is missing; write origin = "), "{found:#?}");
        assert!(
            found[1].starts_with("proxy.toml:6:10: `upstreams.b.origin` is not valid: user information"),
            "{found:#?}"
        );
        assert!(!found[1].contains("sentinel"));
        let found = problems(&format!("{LISTENER}[upstreams.a]\norigin = \"https://a.test/v1\"\n"));
        assert!(found[0].contains("without a path, query or fragment; write scheme, host"), "{found:#?}");
    }

    #[test]
    fn everything_about_the_connection_can_be_said() {
        let read = read(
            "connect = \"[::1]:8443\"\ntls = { server_name = \"B.test\", min_version = \"1.3\" }\npool = { max = 10 }\n\
             timeouts = { connect = \"1s\", response = \"2s\", idle = \"3s\", body = \"4s\" }",
        );
        assert_eq!(read.connection.connect, Some(ConnectTo { host: Host::parse("[::1]").unwrap(), port: 8443 }));
        assert_eq!(read.connection.tls.server_name.as_deref(), Some("b.test"));
        assert_eq!(read.connection.tls.min_version, MinVersion::Tls13);
        assert_eq!(read.connection.pool, PoolSettings { max_idle: 10, max: 10, queue: 1024 });
        assert_eq!(read.connection.timeouts.body, Duration::from_secs(4));
        let found = wrong(
            "connect = \"a.test\"\npool = { max = 1, max_idle = 2 }\ntimeouts = { connect = \"0s\" }\n\
             tls = { min_version = \"1.4\", client_key = \"k\", ca_file = \"/surely/not/there\", server_name = \"a:1\" }",
        );
        assert_eq!(found.len(), 7, "{found:#?}");
        assert!(found[0].contains("`upstreams.a.connect` has no port; "));
        let connect = |to: &str| problems(&upstream(&format!("connect = \"{to}\"")));
        assert!(connect("https://127.0.0.1:1")[0].contains(" has a scheme, and takes none; leave it out: "));
        assert!(connect("127.0.0.1:297000")[0].contains(" the port is not a number from 1 to 65535; "));
        assert!(found[1].contains("`upstreams.a.pool.max_idle` is more than `max`; write at most 1"));
        assert!(found[2].contains("`upstreams.a.timeouts.connect` is zero"));
        assert!(found[3].contains("`upstreams.a.tls.client_certificate` is missing; "), "{found:#?}");
        assert!(found[4].contains("`upstreams.a.tls.min_version` cannot be \"1.4\"; "), "{found:#?}");
    }

    #[test]
    fn everything_about_requests_can_be_said() {
        let route = read(
            "caller_authorization = \"reject\"\non_token_error = \"pass\"\nhttp = \"refuse\"\nallow_plaintext = true\nrewrite = false\n\
             retry = { on = [401, 403], max_body = \"2KiB\", enabled = false }\n\
             allow = [{ methods = [\"GET\"], paths = [\"/v1/*\"] }, { paths = \"/ping\" }]",
        )
        .route;
        assert_eq!(route.caller_authorization, CallerAuthorization::Reject);
        assert_eq!((route.on_token_error, route.http), (OnTokenError::Pass, HttpScheme::Refuse));
        assert!(route.allow_plaintext && !route.rewrite);
        assert_eq!(route.retry.on, [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN]);
        assert_eq!((route.retry.max_body, route.retry.enabled), (2048, false));
        assert_eq!(route.allow.len(), 2);
        assert!(route.allow[0].paths[0].covers("/v1/a") && route.allow[1].methods.is_empty());
    }

    #[test]
    fn a_rule_is_never_read_as_more_than_it_says() {
        let found =
            wrong("allow = [{ methods = [\"get\"] }, {}, { methods = [] }, { path = \"/a\" }, { paths = [\"a\"] }]");
        assert_eq!(found.len(), 5, "{found:#?}");
        assert!(
            found[0].ends_with("`upstreams.a.allow.methods` has a method in small letters; write \"GET\""),
            "{found:#?}"
        );
        assert!(found[1].contains("`upstreams.a.allow.paths` is missing; "), "{found:#?}");
        assert!(found[2].contains("`upstreams.a.allow.methods` is an empty list; "), "{found:#?}");
        assert!(found[3].contains("unknown key `path` in [upstreams.a.allow]; did you mean `paths`?"), "{found:#?}");
        assert!(found[4].contains("`upstreams.a.allow.paths` is not valid: a path begins with"), "{found:#?}");
        assert!(wrong("allow = []")[0].contains("`upstreams.a.allow` is an empty list; "));
    }

    #[test]
    fn every_final_status_may_mean_a_refused_token() {
        let found = wrong("retry = { on = [101, 203, 302, 401, 600, \"401\"] }");
        assert_eq!(found.len(), 3, "{found:#?}");
        assert!(found[0].starts_with("proxy.toml:6:17: `upstreams.a.retry.on` has a status outside 200 to 599"));
        assert!(found[2].contains("is a string, not a status; "));
        assert!(wrong("retry = { on = [] }")[0].contains("is an empty list; "));
    }
}
