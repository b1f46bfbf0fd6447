use super::super::via::ViaIdentity;
use super::*;
use http::Version;
use proptest::prelude::*;

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn all<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

/// Fields of a request or response that are for everyone on the way.
const END_TO_END: [&str; 8] =
    ["accept", "x-a", "x-b", "set-cookie", "cookie", "authorization", "content-type", "sec-websocket-key"];

/// Fields that only ever concern one connection.
const HOPS: [&str; 9] = [
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "proxy-authorization",
    "proxy-authenticate",
    "proxy-authentication-info",
    "http2-settings",
];

/// What stands in `Connection`; some of it has to be ignored.
const OPTIONS: [&str; 11] =
    ["x-hop", "x-other", "close", "keep-alive", "te", "upgrade", "host", "content-length", "via", "trailer", "@"];

fn any_case(name: &'static str) -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<bool>(), name.len()).prop_map(move |upper| {
        name.chars().zip(upper).map(|(c, upper)| if upper { c.to_ascii_uppercase() } else { c }).collect()
    })
}

fn end_to_end() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    proptest::collection::vec((proptest::sample::select(&END_TO_END[..]), "[a-z0-9 ,;=\"]{0,8}"), 0..12)
}

/// What stands in `Connection` lines: nominations in any case, between empty members and blanks.
fn connection_lines() -> impl Strategy<Value = Vec<String>> {
    let member = proptest::sample::select(&OPTIONS[..]).boxed().prop_flat_map(any_case);
    let member = prop_oneof![4 => member, 1 => Just(String::new()), 1 => Just("  ".to_owned())];
    let line = proptest::collection::vec(member, 0..5).prop_map(|members| members.join(" , "));
    proptest::collection::vec(line, 0..4)
}

proptest! {
    #[test]
    fn what_is_for_one_connection_goes_and_everything_else_stays_in_order(
        kept in end_to_end(),
        lines in connection_lines(),
        hops in proptest::collection::vec(proptest::sample::select(&HOPS[..]), 0..8),
    ) {
        let mut before = HeaderMap::new();
        let mut kept_alone = HeaderMap::new();
        let fixed = [("host", "api.test"), ("content-length", "3"), ("via", "1.1 other"), ("trailer", "x-sum")];
        for (name, value) in fixed.into_iter().chain(kept.iter().map(|(name, value)| (*name, value.trim()))) {
            before.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
            kept_alone.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        for name in &hops {
            before.append(HeaderName::from_static(name), HeaderValue::from_static("x"));
        }
        for line in &lines {
            before.append(CONNECTION, HeaderValue::from_str(line).unwrap());
        }
        let nominated = |name: &str| {
            lines.iter().any(|line| line.split(',').any(|member| member.trim().eq_ignore_ascii_case(name)))
        };
        for name in ["x-hop", "x-other"] {
            before.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
            if !nominated(name) {
                kept_alone.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
            }
        }

        let mut request = before.clone();
        strip_hop_by_hop(&mut request);
        prop_assert_eq!(&request, &kept_alone);

        // The same in a response, save that a length is worth nothing beside Transfer-Encoding.
        let chunked = before.contains_key(TRANSFER_ENCODING);
        let mut response = before;
        clean_response(&mut response, StatusCode::OK);
        prop_assert_eq!(response.contains_key(CONTENT_LENGTH), !chunked);
        kept_alone.remove(CONTENT_LENGTH);
        response.remove(CONTENT_LENGTH);
        prop_assert_eq!(&response, &kept_alone);
    }

    #[test]
    fn a_trailer_section_says_nothing_about_framing_routing_or_authentication(kept in end_to_end()) {
        let forbidden = [
            "authorization", "host", "content-length", "transfer-encoding", "cookie", "set-cookie", "te", "connection",
            "proxy-authorization", "keep-alive", "upgrade", "trailer", "via", "proxy_authorization", "http2-settings",
        ];
        let mut trailers = HeaderMap::new();
        for (name, value) in &kept {
            trailers.append(HeaderName::from_static(name), HeaderValue::from_str(value.trim()).unwrap());
        }
        for name in forbidden {
            trailers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static("x"));
        }
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let filtered = filter_trailers(Frame::trailers(trailers)).into_trailers().unwrap();
        for name in forbidden {
            prop_assert!(!filtered.contains_key(name), "{}", name);
        }
        prop_assert_eq!(all(&filtered, "grpc-status"), ["0"]);
        for name in ["x-a", "x-b", "accept"] {
            let expected: Vec<&str> = kept.iter().filter(|(n, _)| *n == name).map(|(_, value)| value.trim()).collect();
            prop_assert_eq!(all(&filtered, name), expected);
        }
    }

    #[test]
    fn list_members_are_trimmed_and_never_empty(line in "[a-z, \t]{0,30}") {
        for member in list_members(&HeaderValue::from_str(&line).unwrap()) {
            prop_assert!(!member.is_empty() && member.trim_ascii() == member);
        }
    }

    #[test]
    fn only_one_plain_chunked_is_plain_framing(lines in proptest::collection::vec("[ \t]?[a-zA-Z, ]{0,12}", 0..3)) {
        let mut headers = HeaderMap::new();
        for line in &lines {
            headers.append(TRANSFER_ENCODING, HeaderValue::from_str(line).unwrap());
        }
        let expected = match &lines[..] {
            [] => true,
            [line] => line.trim().eq_ignore_ascii_case("chunked"),
            _ => false,
        };
        prop_assert_eq!(has_plain_framing(&headers), expected);
    }
}

#[test]
fn a_wish_for_trailers_or_another_protocol_is_told() {
    let wishes = |fields: &[(&str, &str)]| strip_hop_by_hop(&mut headers(fields));
    let upgrade = |fields: &[(&str, &str)]| wishes(fields).upgrade.map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(wishes(&[]), HopWishes::default());
    assert!(wishes(&[("te", "trailers")]).trailers);
    assert!(wishes(&[("te", "gzip;q=0.5, Trailers"), ("connection", "TE")]).trailers);
    assert!(!wishes(&[("te", "deflate, gzip;q=0.3")]).trailers);
    let websocket = Some("websocket".to_owned());
    assert_eq!(upgrade(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]), websocket);
    let twice = [("connection", "keep-alive"), ("connection", "upgrade"), ("upgrade", "websocket")];
    assert_eq!(upgrade(&twice), websocket);
    assert_eq!(upgrade(&[("upgrade", "websocket")]), None, "not nominated");
    assert_eq!(upgrade(&[("connection", "upgrade"), ("upgrade", "h2c")]), None);
    assert_eq!(upgrade(&[("connection", "upgrade"), ("upgrade", "websocket, h2c")]), websocket);
}

#[test]
fn a_te_on_a_second_line_is_a_wish_too() {
    assert!(strip_hop_by_hop(&mut headers(&[("te", "gzip"), ("te", "trailers")])).trailers);
}

#[test]
fn what_the_head_has_named_is_for_one_connection_in_the_trailers_too() {
    let mut head = headers(&[
        ("connection", "close, X-Hop"),
        ("connection", "keep-alive, te, x-other"),
        ("trailer", "x-sum, X-Hop, Authorization"),
        ("trailer", "Proxy-Authenticate, http2-settings,, content_length, X-Md5"),
    ]);
    let nominated = clean_response(&mut head, StatusCode::OK).unwrap();
    assert_eq!(all(&head, "trailer"), ["x-sum, X-Md5"]);
    let trailers = headers(&[("x-hop", "1"), ("x-sum", "2"), ("x-other", "3"), ("x-md5", "4")]);
    let left = nominated.filter_trailers(Frame::trailers(trailers)).into_trailers().unwrap();
    assert_eq!(left, headers(&[("x-sum", "2"), ("x-md5", "4")]));

    let mut unnamed = headers(&[("connection", "keep-alive, te"), ("trailer", "Cookie, Host")]);
    assert_eq!(clean_response(&mut unnamed, StatusCode::OK), None);
    assert_eq!(unnamed, HeaderMap::new(), "a Trailer that names nothing any more goes");
    let mut kept = headers(&[("trailer", "X-Sum,X-Md5"), ("trailer", "x-a")]);
    assert_eq!(clean_response(&mut kept, StatusCode::OK), None);
    assert_eq!(all(&kept, "trailer"), ["X-Sum,X-Md5", "x-a"], "as it came where nothing goes");
}

#[test]
fn a_byte_that_is_no_ascii_hides_no_member_of_a_list() {
    let line = |bytes: &[u8]| HeaderValue::from_bytes(bytes).unwrap();
    for obs_text in [&b"\xff"[..], b"x\x80", b"\xc3\xa4", b"a b\xe9"] {
        let mut fields = headers(&[("x-hop", "1"), ("x-other", "2"), ("te", "gzip"), ("upgrade", "websocket")]);
        fields.append(CONNECTION, line(&[b"x-hop, ", obs_text, b",upgrade , X-Other"].concat()));
        fields.append(TE, line(&[obs_text, b", trailers"].concat()));
        let wishes = strip_hop_by_hop(&mut fields);
        assert_eq!(fields, HeaderMap::new(), "{obs_text:?}");
        assert!(wishes.upgrade.is_some() && wishes.trailers);

        let own = ViaIdentity::default();
        let passed = [obs_text, b" elsewhere (", obs_text, b"), 1.1 attache"].concat();
        let mut via = HeaderMap::new();
        via.append(VIA, line(&passed));
        assert!(own.is_loop(&via), "{obs_text:?}");
        let mut comment = HeaderMap::new();
        comment.append(VIA, line(&[b"1.1 attache (", obs_text, b")"].concat()));
        assert!(!own.is_loop(&comment), "another's comment");

        let mut head = headers(&[("x-sum", "1")]);
        head.append(TRAILER, line(&[obs_text, b", x-sum, authorization"].concat()));
        clean_response(&mut head, StatusCode::OK);
        assert_eq!(all(&head, "trailer"), ["x-sum"]);
    }
}

#[test]
fn cookies_of_several_lines_become_one() {
    let mut split = headers(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2; c=3")]);
    join_cookies(&mut split);
    assert_eq!(all(&split, "cookie"), ["a=1; b=2; c=3"]);
    let mut one = headers(&[("cookie", "a=1")]);
    join_cookies(&mut one);
    assert_eq!(all(&one, "cookie"), ["a=1"]);
}

#[test]
fn underscores_do_not_say_what_hyphens_may_not() {
    let mut fields = headers(&[
        ("x_forwarded_for", "1"),
        ("x-forwarded_host", "1"),
        ("X_FORWARDED-PROTO", "1"),
        ("proxy_authorization", "1"),
        ("content_length", "1"),
        ("transfer_encoding", "1"),
        ("x-forwarded-for", "kept"),
        ("x_mine", "kept"),
        ("authorization", "kept"),
    ]);
    strip_underscore_aliases(&mut fields);
    assert_eq!(fields.len(), 3);
    assert!(fields.values().all(|value| value == "kept"));
}

#[test]
fn lengths_go_where_there_can_be_no_body() {
    for (status, kept) in [(204, false), (101, false), (200, true), (304, true)] {
        let mut fields = headers(&[("content-length", "5")]);
        clean_response(&mut fields, StatusCode::from_u16(status).unwrap());
        assert_eq!(fields.contains_key(CONTENT_LENGTH), kept, "{status}");
    }
}

#[test]
fn via_tells_a_loop_from_a_chain() {
    let (own, other) = (ViaIdentity::default(), ViaIdentity::default());
    let mut passed = headers(&[("via", "1.0 elsewhere (a comment)")]);
    assert!(!own.is_loop(&passed));
    other.append(&mut passed, Version::HTTP_2);
    assert!(!own.is_loop(&passed), "another instance in front is a chain");
    own.append(&mut passed, Version::HTTP_11);
    assert!(own.is_loop(&passed) && other.is_loop(&passed));
    assert_eq!(all(&passed, "via").len(), 3, "appended, and nothing is rewritten");
    assert!(all(&passed, "via")[1].starts_with("2.0 attache ("));
    // One line, as an intermediary may join them; or without its comment, as it may drop that.
    let joined = all(&passed, "via").join(", ");
    assert!(own.is_loop(&headers(&[("via", &joined)])));
    assert!(own.is_loop(&headers(&[("via", "1.1 attache")])));
    assert!(!own.is_loop(&headers(&[("via", "1.1 attached, 1.1 x (attache)")])));
}

#[test]
fn every_protocol_is_asked_for_but_other_versions_of_http_and_tls() {
    let permitted = |lines: &[&str]| {
        let lines: Vec<(&str, &str)> = lines.iter().map(|line| ("upgrade", *line)).collect();
        permitted_protocols(&headers(&lines)).map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(permitted(&["websocket"]).as_deref(), Some("websocket"));
    assert_eq!(permitted(&["SPDY/3.1"]).as_deref(), Some("SPDY/3.1"));
    assert_eq!(permitted(&["h2c, websocket", "IRC/6.9"]).as_deref(), Some("websocket, IRC/6.9"));
    for refused in ["h2c", "H2C", "HTTP/2.0", "http/3", "TLS/1.0", "h2c, HTTP/2.0", "", " , "] {
        assert_eq!(permitted(&[refused]), None, "{refused}");
    }
}
