use super::super::setup::{Proxy, Trust, TrustStore};
use super::*;
use crate::dial::OriginPattern;

const PROXY_AT: &str = "127.0.0.1:3128";

fn setup<'a>(trust: Option<&'a Trust>, upstreams: &'a [OriginPattern]) -> Setup<'a> {
    Setup { proxy: Some(Proxy::at(PROXY_AT.parse().unwrap())), trust, upstreams }
}

fn changed(setup: &Setup<'_>, current: &[(&str, &str)]) -> Environment {
    setup.environment(&|name| current.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
}

/// The value of a variable afterwards; `None` if nothing is done about it or it is taken out.
fn value<'e>(environment: &'e Environment, name: &str) -> Option<&'e str> {
    environment.changes.iter().find(|(known, _)| known == name).and_then(|(_, change)| match change {
        Change::Set(value) => Some(value.as_str()),
        Change::Unset => None,
    })
}

#[test]
fn both_spellings_name_the_proxy_for_both_schemes() {
    let environment = changed(&setup(None, &[]), &[("http_proxy", "http://elsewhere.test")]);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"] {
        assert_eq!(value(&environment, name), Some("http://127.0.0.1:3128"), "{name}");
    }
    assert_eq!(value(&environment, "NODE_USE_ENV_PROXY"), Some("1"));
    assert_eq!(value(&environment, "PERL_LWP_ENV_PROXY"), Some("1"));
    assert_eq!(environment.notes, [""; 0]);
    let v6 = Proxy::at("[::1]:80".parse().unwrap());
    assert_eq!(v6.url(), "http://[::1]:80");
}

#[test]
fn what_would_lead_past_the_proxy_is_changed_where_it_is_set() {
    let plain = changed(&setup(None, &[]), &[("all_proxy", " ")]);
    assert!(!plain.changes.iter().any(|(name, _)| name.eq_ignore_ascii_case("all_proxy")), "it is for SOCKS");
    let socks = changed(&setup(None, &[]), &[("all_proxy", "socks5://s.test"), ("PIP_PROXY", "http://p.test")]);
    assert_eq!(value(&socks, "all_proxy"), Some("http://127.0.0.1:3128"));
    assert_eq!(value(&socks, "PIP_PROXY"), Some("http://127.0.0.1:3128"));
    assert_eq!(value(&socks, "ALL_PROXY"), None);
    for name in ["REQUEST_METHOD", "socks_proxy", "SOCKS_PROXY"] {
        assert!(socks.changes.contains(&(name.to_owned(), Change::Unset)), "{name}");
    }
}

#[test]
fn no_proxy_is_merged_from_both_spellings_and_never_replaced() {
    let environment = changed(&setup(None, &[]), &[("NO_PROXY", "corp.test"), ("no_proxy", ".intern,corp.test")]);
    for name in ["NO_PROXY", "no_proxy"] {
        assert_eq!(value(&environment, name), Some(".intern,corp.test,localhost,127.0.0.1,::1"), "{name}");
    }
}

#[test]
fn a_no_proxy_without_entries_is_no_variable() {
    let local: Vec<OriginPattern> =
        ["http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1"].map(|origin| origin.parse().unwrap()).into();
    let environment = changed(&setup(None, &local), &[("NO_PROXY", "localhost,127.0.0.1")]);
    assert!(environment.changes.contains(&("NO_PROXY".into(), Change::Unset)));
    assert!(environment.changes.contains(&("no_proxy".into(), Change::Unset)));
    assert_eq!(environment.notes.len(), 2);
    let java = value(&environment, "JAVA_TOOL_OPTIONS").unwrap();
    assert!(java.ends_with(" -Dhttp.nonProxyHosts="), "anything in it would keep this machine's upstream away: {java}");
}

#[test]
fn trust_is_set_only_where_there_is_something_to_trust() {
    let without = changed(&setup(None, &[]), &[("npm_config_cafile", "/corp.pem")]);
    for name in BUNDLE.iter().chain(&BUNDLE_IF_SET) {
        assert_eq!(value(&without, name), None, "{name}");
    }
    assert!(!value(&without, "JAVA_TOOL_OPTIONS").unwrap().contains("trustStore"));

    let java = Some(TrustStore { path: "/run/a b/trust.p12".into(), kind: "PKCS12", password: "changeit".into() });
    let trust =
        Trust { bundle: "/run/bundle.pem".into(), java, variables: vec![("APT_CONFIG", "/run/apt.conf".into())] };
    let with = changed(&setup(Some(&trust), &[]), &[("npm_config_cafile", "/corp.pem")]);
    for name in BUNDLE {
        assert_eq!(value(&with, name), Some("/run/bundle.pem"), "{name}");
    }
    assert_eq!(value(&with, "npm_config_cafile"), Some("/run/bundle.pem"));
    assert_eq!(value(&with, "NPM_CONFIG_CAFILE"), None);
    assert_eq!(value(&with, "APT_CONFIG"), Some("/run/apt.conf"));
    let options = value(&with, "JAVA_TOOL_OPTIONS").unwrap();
    assert!(options.contains(" \"-Djavax.net.ssl.trustStore=/run/a b/trust.p12\" "), "{options}");
}

#[test]
fn options_of_java_are_put_behind_those_that_are_there() {
    let environment = changed(&setup(None, &[]), &[("JAVA_TOOL_OPTIONS", "-Xmx1g "), ("NO_PROXY", "corp.test")]);
    assert_eq!(
        value(&environment, "JAVA_TOOL_OPTIONS"),
        Some(
            "-Xmx1g -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=3128 -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=3128 \
             -Dhttp.nonProxyHosts=corp.test|*.corp.test|localhost|*.localhost|127.0.0.1|[::1]"
        )
    );
}

#[test]
fn no_variable_is_changed_twice() {
    let trust = Trust { bundle: "/b".into(), java: None, variables: Vec::new() };
    let everything: Vec<(&str, &str)> = PROXY_IF_SET.iter().chain(&BUNDLE_IF_SET).map(|name| (*name, "x")).collect();
    let environment = changed(&setup(Some(&trust), &[]), &everything);
    let mut names: Vec<&String> = environment.changes.iter().map(|(name, _)| name).collect();
    let before = names.len();
    for name in &names {
        assert!(all_variables().chain(UNWANTED).any(|known| known == *name), "{name} is not taken back");
    }
    names.dedup();
    assert_eq!((names.len(), before), (before, before));
    assert!(names.is_sorted());
}

#[test]
fn files_that_were_trusted_before_are_known() {
    let current = |name: &str| match name {
        "SSL_CERT_FILE" | "CURL_CA_BUNDLE" => Some("/corp.pem".to_owned()),
        "npm_config_cafile" => Some("/npm.pem".to_owned()),
        "PIP_CERT" => Some(" ".to_owned()),
        _ => None,
    };
    assert_eq!(trusted_before(&current).into_iter().collect::<Vec<_>>(), ["/corp.pem", "/npm.pem"]);
}
