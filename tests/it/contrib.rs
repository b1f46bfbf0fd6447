//! What `contrib/` and `docs/install.md` tell people to run: every configuration passes `attache check`, every command line
//! is one, and nobody is stopped before requests in flight had their time.

use std::path::{Path, PathBuf};

use attache::bench::Limits;

use crate::support::Folder;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: impl AsRef<Path>) -> String {
    let path = root().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file below `contrib/`.
fn files() -> Vec<PathBuf> {
    let mut folders = vec![root().join("contrib")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

fn named(end: &str) -> Vec<(String, String)> {
    let files = files().into_iter().filter(|path| path.to_str().unwrap().ends_with(end));
    files.map(|path| (path.display().to_string(), read(path))).collect()
}

/// The block scalars (YAML 1.2 section 8.1.2) under this key.
fn blocks(yaml: &str, key: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = yaml.lines().peekable();
    while let Some(line) = lines.next() {
        if line.trim_start() != format!("{key}: |") {
            continue;
        }
        let own = line.len() - line.trim_start().len();
        let inside = |line: &&str| line.trim().is_empty() || line.len() - line.trim_start().len() > own;
        let mut block = String::new();
        while let Some(line) = lines.next_if(inside) {
            block.push_str(line.trim());
            block.push('\n');
        }
        blocks.push(block);
    }
    blocks
}

/// With programs to build by that would be noticed.
#[test]
fn a_script_tells_its_usage_and_refuses_what_it_does_not_know_before_it_builds() {
    let folder = Folder::with("");
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    for program in ["cargo", "cargo-auditable"] {
        folder.write(program, "#!/bin/sh\necho built >&2\nexit 99\n");
        std::fs::set_permissions(folder.path().join(program), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
    }
    for script in ["package", "check", "components", "relink", "soak"] {
        let run = |argument: &str| {
            let mut command = std::process::Command::new(root().join("contrib").join(script));
            let ended = command.arg(argument).env("PATH", &path).output().unwrap();
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            (ended.status.code(), text(ended.stdout), text(ended.stderr))
        };
        let (code, out, error) = run("--help");
        assert!(
            code == Some(0) && out.contains(&format!("contrib/{script}")) | out.contains("usage: "),
            "{script}: {out}{error}"
        );
        let (code, out, error) = run("--no-such-argument");
        assert!(code == Some(2) && out.is_empty() && !error.contains("built"), "{script}: {code:?} {out}{error}");
    }
}

#[tokio::test]
async fn every_configuration_in_contrib_passes_check() {
    let mut found: Vec<(String, String)> = named("proxy.toml");
    for (file, yaml) in named(".yaml") {
        let embedded = blocks(&yaml, "proxy.toml").into_iter().chain(blocks(&yaml, "config"));
        // A template has no configuration of its own.
        found.extend(embedded.filter(|text| !text.contains("{{")).map(|text| (file.clone(), text)));
    }
    assert_eq!(found.len(), 5, "compose and its fleet, sidecar, gateway and chart: {found:?}");
    // What the manifests show in comments, too.
    let code = |line: &&str| line.starts_with(|first: char| first == '[' || first.is_ascii_lowercase());
    let bare = |line: &str| format!("{}\n", line.strip_prefix('#').filter(|rest| code(rest)).unwrap_or(line));
    let shown: Vec<_> =
        found.iter().map(|(file, text)| (file.clone(), text.lines().map(bare).collect::<String>())).collect();
    found.extend(shown.into_iter().filter(|(_, text)| text.contains("\n[cache]\nshared   = \"rediss:")));
    assert_eq!(found.len(), 6, "that of the gateway: {found:?}");
    found.push(("the chart's [cache]".to_owned(), chart_with_a_cache()));
    for (file, text) in found {
        let secrets = [
            "/var/run/secrets/attache/client-secret",
            "/var/run/secrets/attache/orders",
            "/var/run/secrets/attache/cache-key",
            "/var/run/secrets/attache/cache-password",
            "/run/secrets/orders",
            "/run/secrets/cache-key",
            "/run/secrets/cache-password",
        ];
        let here = secrets.iter().fold(text, |text, secret| text.replace(&format!("\"{secret}\""), "\"secret\""));
        let folder = Folder::with(&here);
        folder.write("secret", "sentinel of thirty-two characters and more");
        let checked = folder.run(&["check"]).await;
        assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""), "{file}: {checked:?}");
    }
}

/// What the chart's template makes of its values with a cache in them.
fn chart_with_a_cache() -> String {
    let values = read("contrib/helm/attache/values.yaml");
    let template = read("contrib/helm/attache/templates/_helpers.tpl");
    let template = template.split("{{- define \"attache.config\" -}}\n").nth(1).unwrap();
    let template = template.split("{{- end -}}").next().unwrap();
    let secret = |key: &str| format!("\"/var/run/secrets/attache/{key}\"");
    let one = r#"{{ printf "/var/run/secrets/attache/%s" . | toJson }}"#;
    let made = template
        .replacen(r#"{{ .Values.config | trimSuffix "\n" }}"#, &blocks(&values, "config")[0], 1)
        .replacen("{{ .Values.cache.shared | toJson }}", "\"rediss://attache@cache.example.com:6379\"", 1)
        .replacen(one, &secret("cache-key"), 1)
        .replacen(one, &secret("cache-password"), 1)
        .replacen("{{ .Values.cache.prefix | toJson }}", "\"attache\"", 1);
    let made: String = made.lines().filter(|line| !line.starts_with("{{-")).map(|line| format!("{line}\n")).collect();
    assert!(!made.contains("{{") && made.contains("[cache]"), "{made}");
    made
}

/// What stands between brackets after this word, as its texts.
fn lists(text: &str, word: &str) -> Vec<Vec<String>> {
    let written = text.lines().filter_map(|line| line.trim().trim_start_matches("- ").split_once(word));
    written.filter_map(|(_, list)| serde_json::from_str(list.trim()).ok()).collect()
}

#[tokio::test]
async fn every_command_line_in_contrib_is_one() {
    let mut commands: Vec<Vec<String>> = Vec::new();
    for (_, yaml) in named(".yaml") {
        commands.extend(lists(&yaml, "command:").into_iter().filter(|list| list[0] == "/usr/bin/attache"));
    }
    commands.extend(lists(&read("contrib/docker/Dockerfile"), "CMD").into_iter().map(|mut list| {
        // The health check names the program; the command alone is for the entry point.
        if list[0] != "/usr/bin/attache" {
            list.insert(0, "/usr/bin/attache".to_owned());
        }
        list
    }));
    let unit = read("contrib/systemd/attache.service");
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    commands.push(start.split(' ').map(str::to_owned).collect());
    assert!(commands.len() >= 8, "{commands:?}");
    for command in commands {
        assert_eq!(command[0], "/usr/bin/attache");
        let args: Vec<&str> = command[1..].iter().map(String::as_str).chain(["--help"]).collect();
        assert_eq!(Folder::new().run(&args).await.code, Some(0), "{command:?}");
    }
}

#[test]
fn nobody_is_stopped_before_requests_in_flight_had_their_time() {
    let drain = Limits::default().drain.as_secs();
    let mut found = 0;
    let all = named(".service").into_iter().chain(named(".yaml"));
    for (file, text) in all {
        for line in text.lines() {
            let keys = ["TimeoutStopSec=", "terminationGracePeriodSeconds: ", "stop_grace_period: "];
            let value = keys.iter().find_map(|key| line.trim().strip_prefix(key));
            let Some(seconds) = value.and_then(|value| value.trim_end_matches('s').parse::<u64>().ok()) else {
                continue;
            };
            assert!(seconds > drain, "{file}: {line}");
            found += 1;
        }
    }
    assert_eq!(found, 6, "unit, compose and its fleet, sidecar, gateway and chart");
}

#[test]
fn the_sockets_are_those_of_the_configuration_that_init_writes() {
    let starter = attache::config::STARTER;
    for (file, table) in [("attache-proxy.socket", "[listeners.proxy]"), ("attache-admin.socket", "[admin]")] {
        let unit = read(Path::new("contrib/systemd").join(file));
        let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)).unwrap().to_owned();
        let address = starter.split(table).nth(1).and_then(|rest| rest.split('"').nth(1)).unwrap();
        assert_eq!(value("ListenStream="), address, "{file}");
        assert!(table.trim_end_matches(']').ends_with(&value("FileDescriptorName=")), "{file}");
    }
}

/// Of chart, manifests and image: a release changes them all.
#[test]
fn versions_are_that_of_the_crate() {
    let version = env!("CARGO_PKG_VERSION");
    let said = [
        ("contrib/helm/attache/Chart.yaml", format!("\nversion: {version}\nappVersion: {version}\n")),
        ("contrib/kubernetes/gateway.yaml", format!("image: attache:{version} ")),
        ("contrib/kubernetes/sidecar.yaml", format!("image: attache:{version} ")),
        ("contrib/docker/Dockerfile", format!("\nARG VERSION={version}\n")),
    ];
    for (file, line) in said {
        assert!(read(file).contains(&line), "{file} does not say {line:?}");
    }
}

/// A tab in YAML is an error that names another line; a template with an open brace is one that names none.
#[test]
fn manifests_have_no_tabs_and_their_templates_close() {
    for (file, text) in named(".yaml").into_iter().chain(named(".tpl")) {
        assert!(!text.contains('\t'), "{file} has a tab");
        assert_eq!(text.matches("{{").count(), text.matches("}}").count(), "{file}");
        let opened = ["{{- if ", "{{- with ", "{{- range ", "{{- define "];
        let opened: usize = opened.iter().map(|word| text.matches(word).count()).sum();
        assert_eq!(opened, text.matches("{{- end }}").count() + text.matches("{{- end -}}").count(), "{file}");
    }
}
