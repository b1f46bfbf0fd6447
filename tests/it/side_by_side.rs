//! The benchmark beside other proxies (`benches/side_by_side`), kept from rotting: with Python alone, short turns, and a server and
//! callers that are Python's too. What it measures here says nothing.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::clients::there_is;
use crate::support::{Finished, Folder, Running};

const ATTACHE: &str = env!("CARGO_BIN_EXE_attache");

/// An authority with its key, and what it has issued for this machine.
fn certificates(folder: &Folder) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "an authority of the tests");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    folder.write("ca.pem", &params.self_signed(&key).unwrap().pem());
    folder.write("ca.key", &key.serialize_pem());
    std::fs::set_permissions(folder.path().join("ca.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let (issuer, key) = (Issuer::new(params, key), KeyPair::generate().unwrap());
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "localhost");
    folder.write("server.pem", &params.signed_by(&key, &issuer).unwrap().pem());
    folder.write("server.key", &key.serialize_pem());
}

fn folder() -> Folder {
    let folder = Folder::new();
    let temporary = folder.path().display().to_string();
    certificates(&folder);
    folder.env("PATH", &std::env::var("PATH").unwrap_or_default()).env("TMPDIR", &temporary)
}

fn start(folder: &Folder, arguments: &[&str]) -> Running {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/side_by_side");
    let quick = ["--quick", "--only-python", "--seconds", "0.2", "--settle", "0.2", "--certificates", "."];
    let arguments = [&[program.to_str().unwrap()], &quick[..], arguments].concat();
    folder.start_program("python3", &arguments, "")
}

async fn run(folder: &Folder, arguments: &[&str]) -> Finished {
    start(folder, arguments).finish().await
}

/// Two names for one binary, in these scenarios: each turn has a figure, and there is a ratio for each.
async fn measures(scenarios: &[&str]) {
    if !there_is("python3", &["--version"]) {
        return;
    }
    let folder = folder();
    let (before, after) = (format!("before={ATTACHE}"), format!("after={ATTACHE}"));
    let scenario_list = scenarios.join(",");
    let arguments = ["--attache", &before, "--attache", &after, "--scenarios", &scenario_list, "--out", "run.json"];
    let finished = run(&folder, &arguments).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let document: serde_json::Value = serde_json::from_str(&folder.read("run.json")).unwrap();
    let samples = document["samples"].as_array().unwrap();
    for (scenario, proxy) in scenarios.iter().flat_map(|scenario| [(scenario, "before"), (scenario, "after")]) {
        let sample = samples.iter().find(|sample| sample["scenario"] == **scenario && sample["proxy"] == proxy);
        let values = &sample.unwrap_or_else(|| panic!("{scenario} of {proxy}: {finished:?}"))["values"];
        let figure = ["cpu", "200", "memory"].iter().find_map(|name| values[name].as_f64());
        assert!(figure.is_some_and(|figure| figure > 0.0), "{scenario} of {proxy}: {values}");
    }
    // What was written can be shown again, and held beside itself.
    let shown = run(&folder, &["--show", "run.json"]).await;
    assert_eq!((shown.code, &shown.stdout), (Some(0), &finished.stdout), "{shown:?}");
    let compared = run(&folder, &["--compare", "run.json", "run.json"]).await;
    assert_eq!(compared.code, Some(0), "{compared:?}");
}

#[tokio::test]
async fn requests_over_kept_connections_are_measured() {
    measures(&["small64", "tls64", "fwd64"]).await;
}

#[tokio::test]
async fn new_connections_and_large_bodies_are_measured() {
    measures(&["new64", "big8", "upload8"]).await;
}

#[tokio::test]
async fn tunnels_that_pass_unread_are_measured() {
    measures(&["tunnel", "tunnel_new"]).await;
}

#[tokio::test]
async fn tunnels_that_are_opened_are_measured() {
    measures(&["mitm", "mitm_big"]).await;
}

#[tokio::test]
async fn the_memory_of_callers_that_wait_is_measured() {
    measures(&["rss", "rss_h2"]).await;
}

#[tokio::test]
async fn the_memory_of_callers_that_wait_over_tls_is_measured() {
    measures(&["rss_tls"]).await;
}

#[tokio::test]
async fn requests_among_many_upstreams_and_idle_callers_are_measured() {
    measures(&["grow_both"]).await;
}

#[tokio::test]
async fn starting_and_reloading_are_measured() {
    measures(&["start"]).await;
}

#[tokio::test]
async fn a_proxy_that_puts_no_token_on_is_not_measured() {
    if !there_is("python3", &["--version"]) {
        return;
    }
    let folder = folder();
    let script = format!("#!/bin/sh\nsed -i '/^credential = /d' \"$3\"\nexec {ATTACHE} \"$@\"\n");
    folder.write("wrong", &script);
    std::fs::set_permissions(folder.path().join("wrong"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let right = format!("right={ATTACHE}");
    let arguments = ["--attache", "wrong=./wrong", "--attache", &right, "--scenarios", "small64", "--out", "run.json"];
    let finished = run(&folder, &arguments).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(
        finished.stderr.contains("FAILED small64, wrong: wrong answers /small with Answer(status=401"),
        "{finished:?}"
    );
    let document: serde_json::Value = serde_json::from_str(&folder.read("run.json")).unwrap();
    let measured: Vec<_> = document["samples"].as_array().unwrap().iter().map(|sample| &sample["proxy"]).collect();
    assert_eq!(measured, ["right"], "the others go on");
}

#[tokio::test]
async fn an_interrupted_benchmark_leaves_nothing_running() {
    if !there_is("python3", &["--version"]) {
        return;
    }
    let folder = folder();
    let own = format!("own={ATTACHE}");
    let running = start(&folder, &["--attache", &own, "--scenarios", "small64", "--rounds", "1000"]);
    running.says("  1/1000 own").await;
    running.signal("INT");
    let finished = running.finish().await;
    assert_eq!(finished.code, Some(130), "{finished:?}");
    assert!(finished.stdout.contains("`small64`"), "what was measured is shown: {finished:?}");
    assert_eq!(left_of(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn its_exit_code_says_what_is_wrong_with_a_wish() {
    if !there_is("python3", &["--version"]) {
        return;
    }
    let folder = folder();
    let own = format!("own={ATTACHE}");
    for (arguments, code, says) in [
        (&["--scenarios", "small65"][..], 2, "'small65' is none of small64"),
        (&["--proxies", "squid"], 2, "'squid' is none of attache"),
        (&["--proxies", "nginx"], 3, "nginx is not there; Debian: nginx-light"),
        (&["--show", "nothing.json"], 3, "nothing.json"),
    ] {
        let finished = run(&folder, &[&["--attache", &own], arguments].concat()).await;
        assert_eq!(finished.code, Some(code), "{arguments:?}: {finished:?}");
        assert!(finished.stderr.contains(says), "{arguments:?}: {finished:?}");
    }
}

/// The command lines of processes that name this folder, where each of them has its configuration.
fn left_of(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path().join("cmdline"));
    let lines =
        processes.filter_map(|path| std::fs::read(path).ok()).map(|line| String::from_utf8_lossy(&line).into_owned());
    lines.filter(|line| line.contains(folder)).collect()
}
