//! Upstreams of one origin, told apart.

use proptest::prelude::*;

use super::*;

fn patterns(texts: &[&str]) -> Vec<PathPattern> {
    texts.iter().map(|text| PathPattern::parse(text).unwrap()).collect()
}

/// A table of these routes: their paths and callers, empty for all.
fn table(routes: &[(&[&str], &[&str])]) -> PathTable<usize> {
    let mut table = PathTable::default();
    for (at, (paths, callers)) in routes.iter().enumerate() {
        let names: Vec<String> = callers.iter().map(|name| (*name).to_owned()).collect();
        let callers = (!names.is_empty()).then_some(names.as_slice());
        table.insert(Selector { paths: &patterns(paths), callers, opened: false }, at);
    }
    table
}

#[test]
fn the_most_literal_path_wins_segment_by_segment_from_the_left() {
    let table = table(&[
        (&[], &[]),
        (&["/*"], &[]),
        (&["/v1/*"], &[]),
        (&["/v1/orders/*"], &[]),
        (&["/v1/*/items"], &[]),
        (&["/*/orders/7"], &[]),
        (&["/v1/report-*.csv"], &[]),
        (&["/v1/report-*"], &[]),
        (&["/v1/orders"], &[]),
    ]);
    for (path, expected) in [
        ("/", 1),
        ("/other", 1),
        ("/v1", 1),
        ("/v1/", 1),
        ("/v1/customers", 2),
        ("/v1/customers/7/notes", 2),
        ("/v1/orders", 8),
        ("/v1/orders/7", 3),
        ("/v1/orders/items", 3),
        ("/v1/7/items", 4),
        ("/v2/orders/7", 5),
        ("/v1/report-7.csv", 6),
        ("/v1/report-7.txt", 7),
        ("/v1/report-7.csv/part", 2),
        ("*", 1),
    ] {
        assert_eq!(table.find(path, None), Ok(&expected), "{path}");
    }
}

#[test]
fn of_one_path_the_route_that_names_the_caller_wins_and_others_go_on_looking() {
    let table = table(&[(&["/v1/*"], &["a"]), (&["/v1/*"], &[]), (&["/v1/secret/*"], &["b"]), (&[], &["c"])]);
    assert_eq!(table.find("/v1/x", Some("a")), Ok(&0));
    assert_eq!(table.find("/v1/x", Some("b")), Ok(&1));
    assert_eq!(table.find("/v1/x", None), Ok(&1));
    assert_eq!(table.find("/v1/secret/x", Some("b")), Ok(&2));
    assert_eq!(table.find("/v1/secret/x", Some("a")), Ok(&0));
    assert_eq!(table.find("/other", Some("c")), Ok(&3));
    assert_eq!(table.find("/other", Some("a")), Err(NoRoute::Caller(&3)));
    assert_eq!(table.find("/other", None), Err(NoRoute::Caller(&3)));
}

#[test]
fn what_only_others_cover_is_no_ones() {
    let table = table(&[(&["/orders/*"], &[]), (&["/billing/*"], &[])]);
    for path in ["/", "/orders", "/other", "/Orders/7", "/%6frders", "/%6frders/7", "//orders/7", "/orders%00/7"] {
        assert_eq!(table.find(path, None), Err(NoRoute::Path), "{path}");
    }
    let one = self::table(&[(&["/orders/*"], &[])]);
    assert_eq!(one.find("/other", None), Err(NoRoute::Path), "also where there is one alone");
}

#[test]
fn a_path_whose_readings_lead_to_different_routes_is_refused_and_no_other() {
    let table = table(&[(&["/orders/*"], &[]), (&["/billing/*"], &[]), (&["/packages/*"], &[])]);
    for path in [
        "/orders/../billing/7",
        "/orders/%2e%2e/billing/7",
        "/orders/..%2fbilling/7",
        "/orders/..;/billing/7",
        "/orders/%252e%252e%252fbilling/7",
        "/orders/..%09/billing/7",
        "/orders/..%c0%afbilling/7",
        "/orders/..\\billing/7",
        "/orders/../../x",
        "/orders/x%00/../../billing/7",
    ] {
        assert_eq!(table.find(path, None), Err(NoRoute::Ambiguous), "{path}");
    }
    for (path, expected) in [
        ("/packages/@scope%2fname", 2),
        ("/packages/a%252fb", 2),
        ("/orders/7;v=1/x", 0),
        ("/orders/a/../b", 0),
        ("/orders//7", 0),
        ("/orders/caf%C3%A9%20x", 0),
        ("/orders/a.b", 0),
    ] {
        assert_eq!(table.find(path, None), Ok(&expected), "{path}");
    }
}

#[test]
fn no_spelling_of_a_path_gets_the_credential_of_the_rest() {
    let table = table(&[(&["/admin/*", "/caf%C3%A9/*"], &[]), (&[], &[])]);
    for path in [
        "/admin;x/users",
        "/admin;/users",
        "/admin%3bx/users",
        "/admin%20/x",
        "/admin%09/x",
        "//admin/x",
        "/%61dmin/x",
        "/x/..%2fadmin/y",
        "/café/x",
    ] {
        assert_eq!(table.find(path, None), Err(NoRoute::Ambiguous), "{path}");
    }
    assert_eq!(table.find("/other;v=1/a%20b//c", None), Ok(&1));
    assert_eq!(table.find("/admin/7;v=1/x", None), Ok(&0));
}

#[test]
fn patterns_with_encoded_characters_cover_what_is_encoded_alike() {
    let table = table(&[(&["/plain/*"], &[]), (&["/a%20b/*"], &[]), (&["/caf%C3%A9"], &[])]);
    assert_eq!(table.find("/a%20b/x", None), Ok(&1));
    assert_eq!(table.find("/caf%C3%A9", None), Ok(&2));
    assert_eq!(table.find("/plain/a%20b", None), Ok(&0));
    assert_eq!(table.find("/a%2520b/x", None), Err(NoRoute::Path));
}

proptest! {
    /// The tree finds what comparing every pattern finds.
    #[test]
    fn the_tree_and_a_list_agree(
        texts in proptest::collection::btree_set("(/(a|b|ab|\\*|a\\*)){1,4}", 1..12),
        path in "(/(a|b|ab|abc|)){1,5}",
    ) {
        let patterns: Vec<PathPattern> = texts.iter().map(|text| PathPattern::parse(text).unwrap()).collect();
        let mut table = PathTable::default();
        for (at, pattern) in patterns.iter().enumerate() {
            table.insert(Selector { paths: std::slice::from_ref(pattern), callers: None, opened: false }, at);
        }
        let found = table.index(&path, false, |routes| routes.of(None));
        // From the left: literal before partly so before `*`; a pattern that goes on before one that is content with the rest.
        let rank = |pattern: &PathPattern| -> Vec<(u8, usize)> {
            let literal = |segment: &str| match (segment, segment.contains('*')) {
                (_, false) => (3, 0),
                ("*", _) => (1, 0),
                (partial, true) => (2, partial.len()),
            };
            pattern.segments().iter().map(|segment| literal(segment)).chain(pattern.is_open().then_some((0, 0))).collect()
        };
        let covering = patterns.iter().enumerate().filter(|(_, pattern)| pattern.covers(&path));
        let expected = covering.max_by_key(|(_, pattern)| rank(pattern)).map(|(at, _)| at);
        prop_assert_eq!(found, expected, "{} {:?}", path, texts);
    }
}

#[test]
fn a_tunnel_goes_by_a_route_that_is_opened_and_lets_the_caller_in() {
    let mut table = PathTable::default();
    let callers = ["a".to_owned()];
    table.insert(Selector { paths: &patterns(&["/x"]), callers: None, opened: false }, 0);
    table.insert(Selector { paths: &patterns(&["/y"]), callers: Some(&callers), opened: true }, 1);
    assert_eq!(table.for_tunnel(Some("a")), Some(&1));
    assert_eq!(table.for_tunnel(Some("b")), Some(&0));
    let mut others = PathTable::default();
    others.insert(Selector { paths: &[], callers: Some(&callers), opened: true }, 0);
    assert_eq!((others.for_tunnel(None), others.for_tunnel(Some("b"))), (None, None));
}
