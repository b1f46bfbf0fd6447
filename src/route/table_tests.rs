//! From targets to routes.

use super::*;

fn origin(text: &str) -> OriginPattern {
    text.parse().unwrap()
}

fn forward(origins: &[&str]) -> ForwardTable<usize> {
    let mut table = ForwardTable::default();
    for (at, text) in origins.iter().enumerate() {
        table.insert(&origin(text), Selector::default(), at);
    }
    table
}

fn found(table: &ForwardTable<usize>, scheme: Scheme, host: &str, port: u16) -> Option<(usize, Arrival)> {
    table.find(scheme, host, port).map(|(routes, arrival)| (routes.routes()[0], arrival))
}

fn based(table: &ReverseTable<usize>, path: &str, host: Option<&str>) -> Option<(usize, usize)> {
    table.find(path, host).ok().map(|found| (found.routes.routes()[0], found.prefix))
}

#[test]
fn scheme_host_and_port_all_have_to_match() {
    let table = forward(&["https://api.test", "https://*.wild.test:8443", "http://plain.test"]);
    assert_eq!(found(&table, Scheme::Https, "api.test", 443), Some((0, Arrival::Same)));
    assert_eq!(found(&table, Scheme::Https, "api.test", 8443), None);
    assert_eq!(found(&table, Scheme::Https, "plain.test", 80), None);
    assert_eq!(found(&table, Scheme::Http, "plain.test", 80), Some((2, Arrival::Same)));
    assert_eq!(found(&table, Scheme::Https, "a.wild.test", 8443), Some((1, Arrival::Same)));
    assert_eq!(found(&table, Scheme::Https, "a.b.wild.test", 8443), None);
    assert_eq!(found(&table, Scheme::Https, "wild.test", 8443), None);
}

#[test]
fn tunnels_elsewhere_lead_to_443_to_the_ports_of_routes_and_to_those_that_are_opened() {
    let mut table = forward(&["https://api.test:8443", "http://plain.test"]);
    let reached = |table: &ForwardTable<usize>| -> Vec<u16> {
        [22, 25, 80, 443, 8443, 9443].into_iter().filter(|port| table.tunnels().permit(*port)).collect()
    };
    assert_eq!(reached(&forward(&[])), [443]);
    assert_eq!(reached(&table), [80, 443, 8443]);
    table.open(&TunnelPorts::Listed(BTreeSet::from([9443])));
    assert_eq!(reached(&table), [80, 443, 8443, 9443]);
    table.open(&TunnelPorts::Any);
    table.open(&TunnelPorts::default());
    assert_eq!(reached(&table).len(), 6);
}

#[test]
fn http_names_of_an_https_origin_are_upgraded() {
    let table = forward(&["https://api.test", "https://other.test:8443"]);
    assert_eq!(found(&table, Scheme::Http, "api.test", 80), Some((0, Arrival::Alias)));
    assert_eq!(found(&table, Scheme::Http, "api.test", 443), Some((0, Arrival::Alias)));
    assert_eq!(found(&table, Scheme::Http, "api.test", 8080), None);
    assert_eq!(found(&table, Scheme::Http, "other.test", 80), Some((1, Arrival::Alias)));
    assert_eq!(found(&table, Scheme::Http, "other.test", 8443), Some((1, Arrival::Alias)));
}

#[test]
fn an_http_origin_keeps_its_place_beside_an_https_one() {
    let origins = ["http://api.test", "https://api.test"];
    for order in [[0, 1], [1, 0]] {
        let mut table = ForwardTable::default();
        for at in order {
            table.insert(&origin(origins[at]), Selector::default(), at);
        }
        assert_eq!(found(&table, Scheme::Http, "api.test", 80), Some((0, Arrival::Same)));
    }
}

#[test]
fn an_http_name_that_two_origins_claim_belongs_to_the_one_with_the_usual_port_or_to_none() {
    let table = forward(&["https://api.test:8443", "https://api.test:9443"]);
    assert_eq!(found(&table, Scheme::Http, "api.test", 80), None);
    let table = forward(&["https://api.test:8443", "https://api.test:9443", "https://api.test"]);
    assert_eq!(found(&table, Scheme::Http, "api.test", 80), Some((2, Arrival::Alias)));
    let table = forward(&["https://api.test", "https://api.test:8443"]);
    assert_eq!(found(&table, Scheme::Http, "api.test", 443), Some((0, Arrival::Alias)));
    assert_eq!(found(&table, Scheme::Http, "api.test", 80), Some((0, Arrival::Alias)), "in either order");
}

#[test]
fn the_longest_prefix_of_whole_segments_wins() {
    let mut table = ReverseTable::default();
    for (at, prefix) in ["/one", "/one/two", "/three"].iter().enumerate() {
        let prefix = PathPrefix::parse(prefix).unwrap();
        table.insert(Some(&prefix), &origin("https://a.test"), Selector::default(), at);
    }
    assert_eq!(based(&table, "/one", None), Some((0, 4)));
    assert_eq!(based(&table, "/one/", None), Some((0, 4)));
    assert_eq!(based(&table, "/one/two/x", None), Some((1, 8)));
    assert_eq!(based(&table, "/one/twofold", None), Some((0, 4)));
    assert_eq!(based(&table, "/oneself", None), None);
    assert_eq!(based(&table, "/", None), None);
    assert_eq!(based(&table, "/one%2ftwo", None), None);
}

#[test]
fn several_without_a_prefix_are_told_apart_by_host() {
    let mut table = ReverseTable::default();
    table.insert(None, &origin("https://a.test"), Selector::default(), 0);
    assert_eq!(based(&table, "/x", Some("anything")), Some((0, 0)));
    table.insert(None, &origin("https://*.b.test"), Selector::default(), 1);
    assert_eq!(based(&table, "/x", Some("a.test")), Some((0, 0)));
    assert_eq!(based(&table, "/x", Some("c.b.test")), Some((1, 0)));
    assert_eq!(based(&table, "/x", Some("anything")), None);
    assert_eq!(based(&table, "/x", None), None);
}

#[test]
fn a_path_that_could_be_read_as_having_a_prefix_is_not_for_those_without() {
    let mut table = ReverseTable::default();
    let prefix = PathPrefix::parse("/one").unwrap();
    table.insert(Some(&prefix), &origin("https://a.test"), Selector::default(), 0);
    table.insert(None, &origin("https://a.test"), Selector::default(), 1);
    for path in ["/%6fne/x", "//one/x", "/x/..%2fone/x", "/x/%2e%2e/one/x", "/one;v=1/x"] {
        assert_eq!(table.find(path, None).err(), Some(NoRoute::Ambiguous), "{path}");
    }
    for (path, expected) in [("/one/x", (0, 4)), ("/two%2fone", (1, 0)), ("/x//y", (1, 0)), ("/one/a/../b", (0, 4))] {
        assert_eq!(based(&table, path, None), Some(expected), "{path}");
    }
}
