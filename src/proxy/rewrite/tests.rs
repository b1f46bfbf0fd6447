//! What each field becomes, of plain texts.

use http::header::{CONTENT_LOCATION, LINK, LOCATION, REFRESH, SET_COOKIE};
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::reference::Names;
use super::{cookie, destination_field, link, refresh};
use crate::dial::{Origin, Scheme};

/// An origin, and the caller's name for it.
struct Case {
    origin: Origin,
    scheme: Scheme,
    host: Option<&'static str>,
    base: bool,
    prefix: &'static str,
    path: &'static str,
    bare: bool,
}

impl Case {
    /// `https://api.test` behind `http://127.0.0.1:9001` and this prefix, asked for `/a/b`.
    fn base(prefix: &'static str) -> Self {
        let origin = "https://api.test".parse().unwrap();
        let host = Some("127.0.0.1:9001");
        Self { origin, scheme: Scheme::Http, host, base: true, prefix, path: "/a/b", bare: false }
    }

    /// The same asked by `http://api.test` of a forward listener.
    fn upgraded() -> Self {
        Self { host: Some("api.test"), base: false, ..Self::base("") }
    }

    fn names(&self) -> Names<'_> {
        let Self { origin, scheme, host, base, prefix, path, bare } = self;
        Names { origin, scheme: *scheme, host: *host, base: *base, prefix, path, bare: *bare }
    }

    fn reference(&self, text: &str) -> String {
        shown(text, self.names().rewritten(text.as_bytes()))
    }

    fn link(&self, text: &str) -> String {
        shown(text, link::rewritten(&self.names(), text.as_bytes()))
    }

    fn refresh(&self, text: &str) -> String {
        shown(text, refresh::rewritten(&self.names(), text.as_bytes()))
    }

    fn cookie(&self, text: &str) -> String {
        shown(text, cookie::rewritten(&self.names(), text.as_bytes()))
    }

    fn destination(&self, text: &str) -> String {
        shown(text, destination_field::rewritten(&self.names(), text.as_bytes()))
    }
}

fn shown(text: &str, rewritten: Option<Vec<u8>>) -> String {
    rewritten.map_or_else(|| text.to_owned(), |rewritten| String::from_utf8(rewritten).unwrap())
}

/// Nobody may take these for `https://api.test`.
const FOREIGN: [&str; 21] = [
    "https://api.test.evil/x",
    "https://evil/https://api.test/x",
    "https://api.test@evil/x",
    "https://user@api.test/x",
    "https://user:pw@api.test/x",
    "https://api.test:8443/x",
    "http://api.test:8080/x",
    "https://api.test:/x",
    "https://api.test\\.evil/x",
    "https://api.test\\@evil/x",
    "https:\\\\api.test/x",
    "https:/api.test/x",
    "https:api.test/x",
    "https:///api.test/x",
    "https://xapi.test/x",
    "https://api%2etest/x",
    "ftp://api.test/x",
    "mailto:me@api.test",
    "//api.test.evil/x",
    "//evil/api.test",
    "/\\evil/x",
];

#[test]
fn the_origins_own_urls_become_the_callers() {
    let plain = Case::base("");
    for (said, expected) in [
        ("https://api.test/x?y=1#z", "http://127.0.0.1:9001/x?y=1#z"),
        ("https://api.test", "http://127.0.0.1:9001"),
        ("https://api.test?y", "http://127.0.0.1:9001?y"),
        ("HTTPS://API.Test:443/x", "http://127.0.0.1:9001/x"),
        ("https://api.test:0443/x", "http://127.0.0.1:9001/x"),
        ("https://api.test./x", "http://127.0.0.1:9001/x"),
        ("http://api.test/x", "http://127.0.0.1:9001/x"),
        ("http://api.test:80/x", "http://127.0.0.1:9001/x"),
        ("http://api.test:443/x", "http://127.0.0.1:9001/x"),
        ("//api.test/x", "//127.0.0.1:9001/x"),
        ("https://api.test//x/../y%2F", "http://127.0.0.1:9001//x/../y%2F"),
        ("https://api.test/to?u=https://api.test/x", "http://127.0.0.1:9001/to?u=https://api.test/x"),
    ] {
        assert_eq!(plain.reference(said), expected, "{said}");
    }
    for same in ["/x", "/", "x", "../x", "?page=2", "#top", "", "http://127.0.0.1:9001/x"] {
        assert_eq!(plain.reference(same), same);
    }
    let not_ascii = plain.names().rewritten(b"https://api.test/\xc3\xa4\xff");
    assert_eq!(not_ascii.as_deref(), Some(&b"http://127.0.0.1:9001/\xc3\xa4\xff"[..]));
}

#[test]
fn urls_of_other_origins_stay_as_they_are() {
    for case in [Case::base(""), Case::base("/p"), Case::upgraded()] {
        for said in FOREIGN {
            assert_eq!(case.reference(said), said);
            assert_eq!(case.link(&format!("<{said}>; rel=next")), format!("<{said}>; rel=next"));
            assert_eq!(case.refresh(&format!("0;url={said}")), format!("0;url={said}"));
        }
    }
}

#[test]
fn everything_is_told_below_the_prefix() {
    let case = Case::base("/p/q");
    for (said, expected) in [
        ("https://api.test/x?y=1", "http://127.0.0.1:9001/p/q/x?y=1"),
        ("https://api.test", "http://127.0.0.1:9001/p/q/"),
        ("https://api.test?y", "http://127.0.0.1:9001/p/q/?y"),
        ("//api.test/x", "//127.0.0.1:9001/p/q/x"),
        ("/x?y=/z#/w", "/p/q/x?y=/z#/w"),
        ("/", "/p/q/"),
        ("/p/q/x", "/p/q/p/q/x"),
        ("https://api.test//x", "http://127.0.0.1:9001/p/q//x"),
        // Behind the prefix these would lead out of it.
        ("/../x", "/p/q/x"),
        ("/a/../../x/./y?../z", "/p/q/x/y?../z"),
        ("/%2e%2E/x", "/p/q/x"),
        ("https://api.test/..", "http://127.0.0.1:9001/p/q/"),
        ("../../x", "/p/q/x"),
        ("../..", "/p/q/"),
        ("../%2e./x?y", "/p/q/x?y"),
    ] {
        assert_eq!(case.reference(said), expected, "{said}");
    }
    for same in ["x", "./x?y", "../x", "..", "?page=2", "#top", "", "...", "/\\x", "\\x"] {
        assert_eq!(case.reference(same), same);
    }
    assert_eq!(case.reference("/a/../x"), "/p/q/a/../x", "resolves below the prefix");
}

#[test]
fn behind_the_prefix_alone_a_relative_reference_is_resolved_here() {
    let case = Case { path: "/", bare: true, ..Case::base("/p") };
    assert_eq!(case.reference("x/y?z"), "/p/x/y?z");
    assert_eq!(case.reference("./x"), "/p/x");
    assert_eq!(case.reference(".."), "/p/");
    assert_eq!(case.reference("?page=2"), "?page=2");
}

#[test]
fn an_upgraded_caller_is_told_http() {
    let case = Case::upgraded();
    assert_eq!(case.reference("https://api.test/x"), "http://api.test/x");
    assert_eq!(case.reference("https://API.test:443/x"), "http://api.test/x");
    for same in ["http://api.test/x", "//api.test/x", "/x", "x", "/../x"] {
        assert_eq!(case.reference(same), same);
    }
    let other_port = Case { origin: "https://api.test:8443".parse().unwrap(), ..Case::upgraded() };
    for own in ["https://api.test:8443/x", "http://api.test:8443/x", "http://api.test/x"] {
        assert_eq!(other_port.reference(own), "http://api.test/x");
    }
    for foreign in ["https://api.test/x", "http://api.test:443/x"] {
        assert_eq!(other_port.reference(foreign), foreign);
    }
    let asked_with_port = Case { host: Some("API.test:80"), ..Case::upgraded() };
    assert_eq!(asked_with_port.reference("https://api.test/x"), "http://API.test:80/x");
}

#[test]
fn an_http_origin_has_no_https_name() {
    let case = Case { origin: "http://[::1]:8000".parse().unwrap(), host: Some("[::1]:9001"), ..Case::base("/p") };
    assert_eq!(case.reference("http://[0:0::1]:8000/x"), "http://[::1]:9001/p/x");
    for foreign in ["https://[::1]:8000/x", "http://[::1]/x", "http://[::2]:8000/x", "http://[::1]:80/x"] {
        assert_eq!(case.reference(foreign), foreign);
    }
}

#[test]
fn without_a_host_to_name_the_path_is_left() {
    let case = Case { host: None, ..Case::base("") };
    for (said, expected) in [
        ("https://api.test/x", "/x"),
        ("https://api.test", "/"),
        ("https://api.test?y", "/?y"),
        ("//api.test/x", "/x"),
        ("https://api.test//evil/x", "https://api.test//evil/x"),
        ("https://api.test/\\evil/x", "https://api.test/\\evil/x"),
    ] {
        assert_eq!(case.reference(said), expected, "{said}");
    }
    assert_eq!(Case { host: None, ..Case::base("/p") }.reference("https://api.test//x"), "/p//x");
}

#[test]
fn each_link_of_a_field_is_told_and_its_parameters_stay() {
    let case = Case::base("/p");
    for (said, expected) in [
        (
            "<https://api.test/?page=2>; rel=\"next\", <https://api.test/?page=9>; rel=\"last\"",
            "<http://127.0.0.1:9001/p/?page=2>; rel=\"next\", <http://127.0.0.1:9001/p/?page=9>; rel=\"last\"",
        ),
        ("</x>;rel=next,<y>;rel=up,<https://evil/>", "</p/x>;rel=next,<y>;rel=up,<https://evil/>"),
        (
            "</a,b;c>; title=\"<https://api.test/>, \\\" </x>\"; rel=x , </y>",
            "</p/a,b;c>; title=\"<https://api.test/>, \\\" </x>\"; rel=x , </p/y>",
        ),
        (
            "<x>; rel=\"https://api.test/rel/own\"; ANCHOR = \"https://api.test/z\"",
            "<x>; rel=\"https://api.test/rel/own\"; ANCHOR = \"http://127.0.0.1:9001/p/z\"",
        ),
        ("< /x >; rel=next", "< /p/x >; rel=next"),
        (", ,</x>", ", ,</p/x>"),
        ("</x>; rel", "</p/x>; rel"),
        ("</x>; a=b=\"c,</d>\",</y>", "</p/x>; a=b=\"c,</d>\",</p/y>"),
        ("</x>; title=\"open, </y>", "</p/x>; title=\"open, </y>"),
        ("</x", "</x"),
        ("nonsense \", </x>\", </y>", "nonsense \", </x>\", </p/y>"),
        ("<x>; anchor=\"/a\\b\"; not-anchor=\"/c\"", "<x>; anchor=\"/a\\b\"; not-anchor=\"/c\""),
        ("", ""),
        (",", ","),
    ] {
        assert_eq!(case.link(said), expected, "{said}");
    }
}

#[test]
fn refresh_is_read_as_browsers_read_it() {
    let case = Case::base("/p");
    for (said, expected) in [
        ("5; url=https://api.test/x?y", "5; url=http://127.0.0.1:9001/p/x?y"),
        ("5;URL = '/x' ignored", "5;URL = '/p/x' ignored"),
        ("0.5, \"/x\"", "0.5, \"/p/x\""),
        ("0 /x", "0 /p/x"),
        ("0;url=\"/x", "0;url=\"/p/x"),
        ("0;/x;url=/y", "0;/p/x;url=/y"),
        ("5", "5"),
        ("5;", "5;"),
        ("5; url=", "5; url="),
        ("5; url=x", "5; url=x"),
        ("url=/x", "url=/x"),
        ("x; url=/x", "x; url=/x"),
        ("", ""),
    ] {
        assert_eq!(case.refresh(said), expected, "{said}");
    }
    assert_eq!(Case::base("/p'q").refresh("0;url='/x'"), "0;url='/x'", "nothing that would end the quotes");
}

#[test]
fn a_cookie_is_told_for_the_callers_host_path_and_scheme() {
    let case = Case::base("/p");
    for (said, expected) in [
        ("a=b", "a=b"),
        ("a=b; Path=/; Secure; HttpOnly", "a=b; Path=/p; HttpOnly"),
        ("a=b;path=/x/;SECURE;Max-Age=5", "a=b;path=/p/x/;Max-Age=5"),
        ("a=b; Domain=api.test; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "a=b; Expires=Wed, 21 Oct 2026 07:28:00 GMT"),
        ("a=b; domain=.API.Test", "a=b"),
        ("a=b; Domain=test", "a=b"),
        ("a=b; Domain=\"api.test\"; Version=1; Path=\"/x\"", "a=b; Version=1; Path=\"/p/x\""),
        ("a=b; Path=\"/\"", "a=b; Path=\"/p\""),
        ("a=b; Domain=evil.test", "a=b; Domain=evil.test"),
        ("a=b; Domain=pi.test", "a=b; Domain=pi.test"),
        ("a=b; Domain=x.api.test", "a=b; Domain=x.api.test"),
        ("a=b; Domain=; Domain", "a=b; Domain=; Domain"),
        ("a=b; Domain=evil.test; Domain=api.test", "a=b"),
        ("a=b; Domain=api.test; Domain=evil.test", "a=b; Domain=api.test; Domain=evil.test"),
        ("a=b; Secure; SameSite=None; Partitioned", "a=b"),
        ("a=b; SameSite=None", "a=b; SameSite=None"),
        ("a=b; Secure; SameSite=Lax", "a=b; SameSite=Lax"),
        ("a=b; Path=x; Path", "a=b; Path=x; Path"),
        ("Secure; Secure", "Secure"),
        ("Domain=api.test; Path=/", "Domain=api.test; Path=/p"),
        ("a=\"https://api.test/\"; Path=/", "a=\"https://api.test/\"; Path=/p"),
        ("", ""),
    ] {
        assert_eq!(case.cookie(said), expected, "{said}");
    }
    let said = "a=b; Domain=api.test; Path=/x; Secure; SameSite=None";
    assert_eq!(Case::base("").cookie(said), "a=b; Path=/x");
    assert_eq!(Case::upgraded().cookie(said), "a=b; Domain=api.test; Path=/x");
    let over_tls = Case { scheme: Scheme::Https, ..Case::base("/p") };
    assert_eq!(over_tls.cookie(said), "a=b; Path=/p/x; Secure; SameSite=None");
    let address = Case { origin: "https://10.0.0.1".parse().unwrap(), ..Case::base("") };
    assert_eq!(address.cookie("a=b; Domain=10.0.0.1"), "a=b");
    assert_eq!(address.cookie("a=b; Domain=0.0.1"), "a=b; Domain=0.0.1");
}

#[test]
fn a_cookie_without_a_path_is_for_the_prefix_at_the_most() {
    // `/p/x` has the default path `/p`, and `/p` would have `/`.
    assert_eq!(Case::base("/p").cookie("a=b"), "a=b");
    let bare = Case { path: "/", bare: true, ..Case::base("/p") };
    assert_eq!(bare.cookie("a=b"), "a=b; Path=/p");
    assert_eq!(bare.cookie("a=b; Path=x"), "a=b; Path=x; Path=/p");
    assert_eq!(bare.cookie("a=b; Path=/x"), "a=b; Path=/p/x");
    let odd = Case { path: "/", bare: true, ..Case::base("/p;q") };
    assert_eq!(odd.cookie("a=b"), "a=b; Path=/", "an attribute holds no semicolon");
    assert_eq!(odd.cookie("a=b; Path=/x"), "a=b; Path=/");
}

#[test]
fn a_destination_is_told_in_the_origins_terms() {
    let case = Case::base("/p");
    for (said, expected) in [
        ("http://127.0.0.1:9001/p/x%20y", "https://api.test/x%20y"),
        ("http://127.0.0.1:9001/p", "https://api.test/"),
        ("https://127.0.0.1:9001/p/x", "https://api.test/x"),
        ("/p/x", "/x"),
        ("http://127.0.0.1:9001/q/../p/x", "https://api.test/x"),
        ("http://127.0.0.1:9001/p/../x", "http://127.0.0.1:9001/p/../x"),
        ("http://127.0.0.1:9001/pq/x", "http://127.0.0.1:9001/pq/x"),
        ("http://127.0.0.1:9002/p/x", "http://127.0.0.1:9002/p/x"),
        ("http://evil/p/x", "http://evil/p/x"),
        ("http://127.0.0.1:9001@evil/p/x", "http://127.0.0.1:9001@evil/p/x"),
        ("https://api.test/x", "https://api.test/x"),
        ("/q/x", "/q/x"),
        ("x", "x"),
    ] {
        assert_eq!(case.destination(said), expected, "{said}");
    }
    let behind_tls = Case { host: Some("dav.test"), ..Case::base("") };
    assert_eq!(behind_tls.destination("https://DAV.test:443/x"), "https://api.test/x");
    assert_eq!(behind_tls.destination("https://dav.test:8443/x"), "https://dav.test:8443/x");
    let case = Case { origin: "https://api.test:8443".parse().unwrap(), ..Case::upgraded() };
    assert_eq!(case.destination("http://api.test/x"), "https://api.test:8443/x");
    for same in ["https://api.test:8443/x", "https://api.test/x", "http://evil/x", "/x"] {
        assert_eq!(case.destination(same), same);
    }
}

#[test]
fn every_line_of_a_field_is_told_and_no_other_field() {
    let case = Case::base("");
    let mut headers = HeaderMap::new();
    let own = HeaderValue::from_static("https://api.test/x");
    for name in ["location", "content-location", "origin", "x-location", "access-control-allow-origin"] {
        headers.insert(name, own.clone());
    }
    let mut secret = HeaderValue::from_static("a=b; Secure");
    secret.set_sensitive(true);
    headers.append(SET_COOKIE, secret);
    headers.append(SET_COOKIE, HeaderValue::from_static("c=d; Domain=api.test"));
    headers.append(LINK, HeaderValue::from_static("<https://api.test/1>"));
    headers.append(LINK, HeaderValue::from_static("<https://api.test/2>"));
    headers.append(REFRESH, HeaderValue::from_static("1;url=https://api.test/3"));
    case.names().tell(&mut headers);
    assert_eq!(headers[LOCATION], "http://127.0.0.1:9001/x");
    assert_eq!(headers[CONTENT_LOCATION], "http://127.0.0.1:9001/x");
    assert_eq!(headers.get_all(SET_COOKIE).iter().collect::<Vec<_>>(), ["a=b", "c=d"]);
    assert!(headers[SET_COOKIE].is_sensitive());
    let links: Vec<_> = headers.get_all(LINK).iter().collect();
    assert_eq!(links, ["<http://127.0.0.1:9001/1>", "<http://127.0.0.1:9001/2>"]);
    assert_eq!(headers[REFRESH], "1;url=http://127.0.0.1:9001/3");
    for name in ["origin", "x-location", "access-control-allow-origin"] {
        assert_eq!(headers[name], own);
    }
}

/// Texts in which everything that matters occurs.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[ -~]{0,4}",
        prop::sample::select(vec![
            "https://",
            "http://",
            "//",
            "/",
            "\\",
            "api.test",
            "evil",
            ":443",
            "@",
            "..",
            "%2e",
            "?",
            "#",
            "<",
            ">",
            "\"",
            "'",
            ";",
            ",",
            "=",
            " ",
            "url=",
            "0;",
            "anchor=",
            "a=b",
            "Path=",
            "Domain=",
            "Secure",
            "SameSite=None",
            "/p",
            "127.0.0.1:9001",
            "\u{e4}",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn cases() -> [Case; 5] {
    [
        Case::base(""),
        Case::base("/p"),
        Case { path: "/", bare: true, ..Case::base("/p") },
        Case { host: None, ..Case::base("/p") },
        Case::upgraded(),
    ]
}

proptest! {
    #[test]
    fn whatever_comes_can_stand_in_a_field(text in text()) {
        for case in cases() {
            let names = case.names();
            let rewritten = [
                names.rewritten(text.as_bytes()),
                link::rewritten(&names, text.as_bytes()),
                refresh::rewritten(&names, text.as_bytes()),
                cookie::rewritten(&names, text.as_bytes()),
                destination_field::rewritten(&names, text.as_bytes()),
            ];
            for rewritten in rewritten.into_iter().flatten() {
                prop_assert_ne!(&rewritten, text.as_bytes());
                prop_assert!(HeaderValue::from_bytes(text.as_bytes()).is_err() || HeaderValue::try_from(rewritten).is_ok());
            }
        }
    }

    /// Read by another parser: what was changed led to the origin, and leads to the same place at the caller's name for it.
    #[test]
    fn what_is_told_leads_to_where_it_led(text in text()) {
        // As a field's value arrives, and without what this parser takes for a slash and others do not.
        let text = text.trim();
        prop_assume!(!text.contains('\\'));
        let base = url::Url::parse("https://api.test/a/b").unwrap();
        for case in cases() {
            let Some(rewritten) = case.names().rewritten(text.as_bytes()) else { continue };
            let rewritten = String::from_utf8(rewritten).unwrap();
            let Ok(meant) = base.join(text) else { continue };
            let asked = if case.base { "http://127.0.0.1:9001" } else { "http://api.test" };
            let request = format!("{asked}{}{}", case.prefix, if case.bare { "" } else { case.path });
            let led = url::Url::parse(&request).unwrap().join(&rewritten).unwrap();
            let meant = if case.bare { url::Url::parse("https://api.test/").unwrap().join(text).unwrap() } else { meant };
            prop_assert_eq!(meant.host_str(), Some("api.test"), "{} -> {}", text, rewritten);
            let there = format!("{asked}{}{}", case.prefix, &meant[url::Position::BeforePath..]);
            prop_assert_eq!(led, url::Url::parse(&there).unwrap(), "{} -> {}", text, rewritten);
        }
    }

    #[test]
    fn told_once_or_twice_is_the_same_where_there_is_no_prefix(text in text()) {
        for case in [Case::base(""), Case::upgraded()] {
            let names = case.names();
            let reference = |names: &Names<'_>, text: &[u8]| names.rewritten(text);
            for rewrite in [link::rewritten, refresh::rewritten, cookie::rewritten, reference] {
                if let Some(rewritten) = rewrite(&names, text.as_bytes()) {
                    prop_assert_eq!(rewrite(&names, &rewritten), None, "{}", text);
                }
            }
        }
    }
}
