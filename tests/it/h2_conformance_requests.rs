//! Requests of HTTP/2 and the compression of their fields, case by case: RFC 9113 section 8, RFC 7541.

use crate::h2_conformance::Came::{Answer, GoAway, Reset};
use crate::h2_conformance::{
    COMPRESSION, Case, PROTOCOL, World, asking, field, fields, get, instead, saying, to, upload,
};
use crate::support::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, frame};

#[tokio::test]
async fn section_8_requests() {
    let world = World::new().await;
    let pseudo = |pairs: &[(&str, &str)]| saying(fields(pairs));
    let (method, scheme, path, authority) =
        ((":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "localhost"));
    let trailers =
        |flags: u8, block: Vec<u8>| vec![upload(&[]), frame(DATA, 0, 1, b"x"), frame(HEADERS, flags, 1, block)];
    world
        .check(vec![
            Case("8.1 GET", asking(&[]), Answer(200)),
            Case("8.1 OPTIONS of a path", saying(to("OPTIONS", "/")), Answer(200)),
            Case("8.1 trailers", trailers(END_STREAM | END_HEADERS, field("x-sum", "7")), Answer(200)),
            Case("8.1 a second HEADERS that ends nothing", trailers(END_HEADERS, field("x-sum", "7")), Reset(PROTOCOL)),
            Case(
                "8.1 a pseudo-header field in trailers",
                trailers(END_STREAM | END_HEADERS, field(":path", "/x")),
                instead(Answer(200), Reset(PROTOCOL)),
            ),
            Case(
                "8.1.1 Content-Length above DATA",
                vec![upload(&[("content-length", "9")]), frame(DATA, END_STREAM, 1, b"test")],
                Reset(PROTOCOL),
            ),
            Case(
                "8.1.1 Content-Length below DATA",
                vec![upload(&[("content-length", "1")]), frame(DATA, END_STREAM, 1, b"test")],
                Reset(PROTOCOL),
            ),
            Case(
                "8.1.1 Content-Length of several DATA",
                vec![upload(&[("content-length", "1")]), frame(DATA, 0, 1, b"te"), frame(DATA, END_STREAM, 1, b"st")],
                Reset(PROTOCOL),
            ),
            Case("8.1.1 Content-Length without DATA", asking(&[("content-length", "4")]), Reset(PROTOCOL)),
            Case("8.2 a name with a capital", asking(&[("X-Test", "ok")]), instead(GoAway(PROTOCOL), Reset(PROTOCOL))),
            Case("8.2.1 a name with a space", asking(&[("x test", "ok")]), instead(GoAway(PROTOCOL), Reset(PROTOCOL))),
            Case("8.2.1 an empty name", asking(&[("", "ok")]), instead(GoAway(PROTOCOL), Reset(PROTOCOL))),
            Case("8.2.1 a name with a colon", asking(&[("x:y", "ok")]), instead(GoAway(PROTOCOL), Reset(PROTOCOL))),
            Case("8.2.1 a value with NUL", asking(&[("x", "a\0b")]), instead(GoAway(PROTOCOL), Reset(PROTOCOL))),
            Case("8.2.1 a value with CR", asking(&[("x", "a\rb")]), instead(GoAway(PROTOCOL), Reset(PROTOCOL))),
            Case("8.2.1 a value with LF", asking(&[("x", "a\nb")]), instead(GoAway(PROTOCOL), Reset(PROTOCOL))),
            Case("8.2.1 a value that begins with a space", asking(&[("x", " a")]), Answer(400)),
            Case("8.2.1 a value that ends with a tab", asking(&[("x", "a\t")]), Answer(400)),
            Case("8.2.2 Connection", asking(&[("connection", "keep-alive")]), Reset(PROTOCOL)),
            Case("8.2.2 Transfer-Encoding", asking(&[("transfer-encoding", "chunked")]), Reset(PROTOCOL)),
            Case("8.2.2 Upgrade", asking(&[("upgrade", "x")]), Reset(PROTOCOL)),
            Case("8.2.2 Keep-Alive", asking(&[("keep-alive", "x")]), Reset(PROTOCOL)),
            Case("8.2.2 Proxy-Connection", asking(&[("proxy-connection", "x")]), Reset(PROTOCOL)),
            Case("8.2.2 TE: trailers", asking(&[("te", "trailers")]), Answer(200)),
            Case("8.2.2 TE: trailers, deflate", asking(&[("te", "trailers, deflate")]), Reset(PROTOCOL)),
            Case(
                "8.3 an unknown pseudo-header field",
                asking(&[(":test", "ok")]),
                instead(GoAway(PROTOCOL), Reset(PROTOCOL)),
            ),
            Case("8.3 the pseudo-header field of answers", asking(&[(":status", "200")]), Reset(PROTOCOL)),
            Case(
                "8.3 a pseudo-header field behind another",
                pseudo(&[method, scheme, authority, ("x", "y"), path]),
                Reset(PROTOCOL),
            ),
            Case("8.3.1 no :method", pseudo(&[scheme, path, authority]), Reset(PROTOCOL)),
            Case("8.3.1 no :scheme", pseudo(&[method, path, authority]), Reset(PROTOCOL)),
            Case("8.3.1 no :path", pseudo(&[method, scheme, authority]), Reset(PROTOCOL)),
            Case("8.3.1 an empty :path", pseudo(&[method, scheme, (":path", ""), authority]), Reset(PROTOCOL)),
            Case("8.3.1 two :method", pseudo(&[method, method, scheme, path, authority]), Reset(PROTOCOL)),
            Case("8.3.1 two :scheme", pseudo(&[method, scheme, scheme, path, authority]), Reset(PROTOCOL)),
            Case("8.3.1 two :path", pseudo(&[method, scheme, path, path, authority]), Reset(PROTOCOL)),
            Case("8.3.1 two :authority", pseudo(&[method, scheme, path, authority, authority]), Reset(PROTOCOL)),
            Case(
                "8.3.1 :authority with user information",
                pseudo(&[method, scheme, path, (":authority", "me@localhost")]),
                Answer(400),
            ),
            Case("8.3.1 a Host that contradicts it", asking(&[("host", "other.test")]), Answer(400)),
            Case(
                "8.3.1 a :path without a slash",
                pseudo(&[method, scheme, (":path", "x"), authority]),
                Reset(PROTOCOL),
            ),
            Case(
                "8.5 CONNECT with a :path",
                pseudo(&[(":method", "CONNECT"), scheme, path, authority]),
                Reset(PROTOCOL),
            ),
            Case(
                "8.5 CONNECT without :authority",
                pseudo(&[(":method", "CONNECT")]),
                instead(Answer(400), Reset(PROTOCOL)),
            ),
        ])
        .await;
}

#[tokio::test]
async fn rfc_7541_header_compression() {
    let world = World::new().await;
    let behind = |more: &[u8]| saying([&get(), more].concat());
    let path = |coded: &[u8]| saying([&[0x82, 0x86, 0x41, 9][..], b"localhost", &[0x44], coded].concat());
    world
        .check(vec![
            Case(
                "2.3.3 an index beyond both tables",
                behind(&[0xff, 0x00]),
                instead(GoAway(PROTOCOL), GoAway(COMPRESSION)),
            ),
            Case("4.2 a table size behind fields", behind(&[0x20]), instead(GoAway(PROTOCOL), GoAway(COMPRESSION))),
            Case(
                "5.1 an integer without an end",
                behind(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
                instead(GoAway(PROTOCOL), GoAway(COMPRESSION)),
            ),
            Case("5.2 Huffman's code", path(&[0x81, 0b0110_0011]), Answer(200)),
            Case(
                "5.2 padding of more than 7 bits",
                path(&[0x82, 0b0110_0011, 0xff]),
                instead(GoAway(PROTOCOL), GoAway(COMPRESSION)),
            ),
            Case("5.2 padding of zeros", path(&[0x81, 0b0110_0000]), instead(GoAway(PROTOCOL), GoAway(COMPRESSION))),
            Case(
                "5.2 the end of strings in a string",
                path(&[0x85, 0b0110_0011, 0xff, 0xff, 0xff, 0xff]),
                instead(GoAway(PROTOCOL), GoAway(COMPRESSION)),
            ),
            Case("6.1 index 0", behind(&[0x80]), instead(GoAway(PROTOCOL), GoAway(COMPRESSION))),
            Case("6.1 indexed fields", saying([&[0x82, 0x86, 0x84, 0x41, 9][..], b"localhost"].concat()), Answer(200)),
            Case("6.2 literals of the three kinds", behind(b"\x40\x01a\x01b\x00\x01c\x01d\x10\x01e\x01f"), Answer(200)),
            Case("6.2.1 a field that was put into the table", behind(b"\x40\x01a\x01b\xbe"), Answer(200)),
            Case(
                "6.3 a table size above what was allowed",
                saying([&[0x3f, 0xe2, 0x1f][..], &get()].concat()),
                instead(GoAway(PROTOCOL), GoAway(COMPRESSION)),
            ),
            Case("6.3 a table size within it", saying([&[0x20][..], &get()].concat()), Answer(200)),
        ])
        .await;
}
