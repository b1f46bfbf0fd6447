//! Finding the route of a request, with 1, 100 and 10,000 upstreams: the cost must not grow with their number.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up says why")]

use std::hint::black_box;

use attache::bench::{ForwardTable, OriginPattern, PathPattern, PathPrefix, PathTable, ReverseTable, Scheme, Selector};
use criterion::{BenchmarkId, Criterion};

const UPSTREAMS: [usize; 3] = [1, 100, 10_000];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for count in UPSTREAMS {
        forward(&mut criterion, count);
        reverse_by_host(&mut criterion, count);
        reverse_by_prefix(&mut criterion, count);
        one_origin(&mut criterion, count);
    }
    criterion.final_summary();
}

/// By the scheme, host and port of the target: so many upstreams with an exact origin, and as many with a wildcard.
fn forward(criterion: &mut Criterion, count: usize) {
    let mut table = ForwardTable::default();
    for (at, pattern) in patterns(count).enumerate() {
        table.insert(&pattern, Selector::default(), at);
    }
    let hosts: Vec<String> = (0..count).map(|at| format!("api-{at}.example.com")).collect();
    let mut group = criterion.benchmark_group("forward");
    let targets = [
        ("exact", "api-0.example.com", true),
        ("wildcard", "anything.tenant-0.example.com", true),
        ("miss", "api-0.example.org", false),
    ];
    for (case, host, there) in targets {
        assert_eq!(table.find(Scheme::Https, host, 443).is_some(), there, "{host}");
        group.bench_function(BenchmarkId::new(case, count), |bencher| {
            bencher.iter(|| table.find(Scheme::Https, black_box(host), 443));
        });
    }
    // What the same request again and again hides: a large table is not in the nearest cache.
    group.bench_function(BenchmarkId::new("exact, each in turn", count), |bencher| {
        let mut turn = hosts.iter().cycle();
        bencher.iter(|| table.find(Scheme::Https, black_box(turn.next()?), 443));
    });
}

/// By `Host`, as where no upstream has a path prefix.
fn reverse_by_host(criterion: &mut Criterion, count: usize) {
    let mut table = ReverseTable::default();
    for (at, pattern) in patterns(count).enumerate() {
        table.insert(None, &pattern, Selector::default(), at);
    }
    let mut group = criterion.benchmark_group("reverse by host");
    let requests = [
        ("exact", "api-0.example.com", true),
        ("wildcard", "anything.tenant-0.example.com", true),
        ("miss", "api-0.example.org", false),
    ];
    for (case, host, there) in requests {
        assert_eq!(table.find("/v1/orders/17", Some(host)).is_ok(), there, "{host}");
        group.bench_function(BenchmarkId::new(case, count), |bencher| {
            bencher.iter(|| table.find(black_box("/v1/orders/17"), Some(black_box(host))));
        });
    }
}

/// By path prefix: a third of the upstreams each at `/api-N/v1/orders`, `/api-N/v1` and `/api-N`.
fn reverse_by_prefix(criterion: &mut Criterion, count: usize) {
    let mut table = ReverseTable::default();
    for (at, pattern) in patterns(count).take(count).enumerate() {
        let below = ["/v1/orders", "/v1", ""][at % 3];
        let prefix = PathPrefix::parse(&format!("/api-{}{below}", at / 3)).unwrap();
        table.insert(Some(&prefix), &pattern, Selector::default(), at);
    }
    let mut group = criterion.benchmark_group("reverse by prefix");
    let requests = [("longest prefix", "/api-0/v1/orders/17", true), ("miss", "/other/v1/orders/17", false)];
    for (case, path, there) in requests {
        assert_eq!(table.find(path, Some("localhost")).is_ok(), there, "{path}");
        group.bench_function(BenchmarkId::new(case, count), |bencher| {
            bencher.iter(|| table.find(black_box(path), Some(black_box("localhost"))));
        });
    }
}

/// By path and caller: so many upstreams of one origin, a third each with a literal path, one with a `*` in it, and a caller.
fn one_origin(criterion: &mut Criterion, count: usize) {
    let mut table = PathTable::default();
    for at in 0..count {
        let (path, callers) = match at % 3 {
            0 => (format!("/v1/api-{at}/*"), None),
            1 => (format!("/v1/*/part-{at}"), None),
            _ => ("/shared/*".to_owned(), Some(vec![format!("caller-{at}")])),
        };
        let paths = [PathPattern::parse(&path).unwrap()];
        table.insert(Selector { paths: &paths, callers: callers.as_deref(), opened: true }, at);
    }
    let last = (count - 1) / 3 * 3;
    let caller = format!("caller-{}", last.saturating_sub(1));
    let mut group = criterion.benchmark_group("one origin");
    let requests = [
        ("literal", format!("/v1/api-{last}/orders/17"), None, true),
        ("star", format!("/v1/7/part-{}", last.saturating_sub(2)), None, count > 1),
        ("caller", "/shared/orders/17".to_owned(), Some(caller.as_str()), count > 2),
        ("encoded", format!("/v1/api-{last}/%40scope%2fname"), None, true),
        ("miss", "/v2/orders/17".to_owned(), None, false),
    ];
    for (case, path, caller, there) in requests {
        assert_eq!(table.find(&path, caller).is_ok(), there, "{path}");
        group.bench_function(BenchmarkId::new(case, count), |bencher| {
            bencher.iter(|| table.find(black_box(&path), black_box(caller)).is_ok());
        });
    }
}

/// So many exact origins, then as many wildcards.
fn patterns(count: usize) -> impl Iterator<Item = OriginPattern> {
    let exact = (0..count).map(|at| format!("https://api-{at}.example.com"));
    let wildcard = (0..count).map(|at| format!("https://*.tenant-{at}.example.com"));
    exact.chain(wildcard).map(|text| text.parse().unwrap())
}
