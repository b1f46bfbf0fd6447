//! What the fuzz targets (fuzz/) have been given or have found, again.

use std::path::Path;

use attache::bench::fuzzing;
use attache::config::Config;

/// Every entry of a corpus, by its name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())
    };
    let corpus: Vec<_> = entries.map(read).collect();
    assert!(corpus.len() >= 15, "the corpus of {target} has {} entries", corpus.len());
    corpus
}

/// What a target makes of the whole of its input.
type Target = fn(&[u8]) -> Result<(), String>;

fn replayed(target: &str, holds: Target) {
    for (name, bytes) in corpus(target) {
        assert_eq!(holds(&bytes), Ok(()), "{name}");
    }
}

#[test]
fn every_target_is_built_and_has_a_corpus() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    let replays = include_str!("fuzz_corpus.rs");
    for entry in std::fs::read_dir(fuzz.join("fuzz_targets")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} is not in fuzz/Cargo.toml");
        let replayed = [format!("replayed(\"{name}\""), format!("corpus(\"{name}\")")];
        assert!(replayed.iter().any(|call| replays.contains(call)), "{name} is not replayed here");
        assert!(fuzz.join("corpus").join(name).is_dir(), "{name} has no corpus");
    }
}

#[test]
fn token_responses() {
    replayed("token_response", fuzzing::token_response);
}

#[test]
fn values_in_a_shared_cache() {
    replayed("cache_value", fuzzing::cache_value);
}

#[test]
fn answers_of_http1_upstreams() {
    replayed("response_head", fuzzing::answer);
}

#[test]
fn bodies_of_http1_upstreams() {
    replayed("chunks", fuzzing::chunks);
}

#[test]
fn bodies_that_are_sent_again() {
    replayed("replay", fuzzing::replay);
}

#[test]
fn histories_of_refusals() {
    replayed("renewal", fuzzing::history);
}

#[test]
fn paths_that_servers_read_each_in_its_own_way() {
    replayed("path", fuzzing::path);
}

#[test]
fn frames_of_callers() {
    replayed("frames", fuzzing::frames);
}

#[test]
fn heads_of_callers() {
    replayed("request_heads", fuzzing::heads);
}

#[test]
fn callers_in_socks() {
    replayed("socks", fuzzing::socks);
}

#[test]
fn basic_pairs() {
    for (name, bytes) in corpus("basic") {
        let text = String::from_utf8(bytes).unwrap();
        let (id, secret) = text.split_once('\0').unwrap_or((&text, ""));
        assert_eq!(fuzzing::basic(id, secret), Ok(()), "{name}");
    }
}

#[test]
fn challenges() {
    replayed("challenge", fuzzing::challenge);
}

#[test]
fn first_bytes_of_tunnels() {
    replayed("first_bytes", fuzzing::first_bytes);
}

#[test]
fn authorities() {
    replayed("authority", fuzzing::authority);
}

#[test]
fn configurations() {
    for (name, bytes) in corpus("config") {
        let text = String::from_utf8(bytes).unwrap();
        let lines = text.split('\n').count();
        let Err(errors) = Config::parse("proxy.toml", &text) else { continue };
        assert!(!errors.problems.is_empty(), "{name}");
        let places: Vec<usize> =
            errors.problems.iter().filter_map(|problem| problem.at).map(|(line, _)| line).collect();
        assert!(places.iter().all(|line| (1..=lines).contains(line)), "{name}: {places:?}");
    }
}
