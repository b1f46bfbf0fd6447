use super::*;

fn command(argv: &[&str], timeout: Duration) -> SecretSource {
    SecretSource::Command { argv: argv.iter().map(|word| (*word).to_owned()).collect(), timeout }
}

fn shell(script: &str) -> SecretSource {
    command(&["sh", "-c", script], Duration::from_secs(10))
}

fn field(of: SecretSource, path: &str) -> SecretSource {
    SecretSource::Field { of: Box::new(of), path: path.into() }
}

fn literal(text: &str) -> SecretSource {
    SecretSource::Literal(Secret::new(text.into()))
}

#[test]
fn a_trailing_newline_is_not_part_of_a_file_secret() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, "s3cret \r\n").unwrap();
    assert_eq!(SecretSource::File(path).read().unwrap().expose(), "s3cret ");
}

#[test]
fn line_ends_and_a_byte_order_mark_belong_to_no_secret_wherever_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, "\u{feff}s3cret\r\n\n").unwrap();
    let document = serde_json::json!({ "a": "\u{feff}s3cret\n" }).to_string();
    for source in [SecretSource::File(path), literal("\u{feff}s3cret\r\n"), field(literal(&document), "a")] {
        assert_eq!(source.read().unwrap().expose(), "s3cret", "{source}");
        assert_eq!(source.fingerprint().unwrap(), literal("s3cret").fingerprint().unwrap());
    }
    assert_eq!(literal(" s3 cret ").read().unwrap().expose(), " s3 cret ", "blanks are left as they were written");
}

#[test]
fn missing_and_empty_places_are_named() {
    let unset = SecretSource::Env("ATTACHE_TEST_SURELY_UNSET".into()).read().unwrap_err();
    assert_eq!(unset.to_string(), "the environment variable ATTACHE_TEST_SURELY_UNSET is not set");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("empty");
    std::fs::write(&path, "\n").unwrap();
    assert!(SecretSource::File(path).read().unwrap_err().to_string().ends_with("empty is empty"));
    assert!(SecretSource::File(dir.path().join("none")).read().unwrap_err().to_string().starts_with("cannot read"));
}

#[test]
fn a_file_over_the_bound_is_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large");
    std::fs::write(&path, vec![b'x'; 1024 * 1024 + 1]).unwrap();
    assert!(SecretSource::File(path).read().unwrap_err().to_string().contains("larger than 1 MiB"));
}

/// Kubernetes mounts `name -> ..data/name` and `..data -> ..<time>`, and swaps the second link.
#[cfg(unix)]
#[test]
fn a_swapped_symlink_is_followed_at_the_next_read() {
    use std::os::unix::fs::symlink;

    let dir = tempfile::tempdir().unwrap();
    for (version, secret) in [("..1", "old"), ("..2", "new")] {
        std::fs::create_dir(dir.path().join(version)).unwrap();
        std::fs::write(dir.path().join(version).join("secret"), secret).unwrap();
    }
    symlink("..1", dir.path().join("..data")).unwrap();
    symlink("..data/secret", dir.path().join("secret")).unwrap();
    let source = SecretSource::File(dir.path().join("secret"));
    let old = source.fingerprint().unwrap();
    symlink("..2", dir.path().join("..tmp")).unwrap();
    std::fs::rename(dir.path().join("..tmp"), dir.path().join("..data")).unwrap();
    assert_eq!(source.read().unwrap().expose(), "new");
    assert_ne!(source.fingerprint().unwrap(), old);
}

#[cfg(unix)]
#[test]
fn what_a_program_prints_is_the_secret() {
    assert_eq!(shell("printf 's3cret\\n\\n'").read().unwrap().expose(), "s3cret");
    assert_eq!(command(&["echo", "$HOME"], Duration::from_secs(10)).read().unwrap().expose(), "$HOME", "no shell");
}

#[cfg(unix)]
#[test]
fn a_program_that_fails_is_a_sentence_without_what_it_printed() {
    for (source, expected) in [
        (
            shell("echo sentinel; echo sentinel >&2; exit 3"),
            "the output of sh is not available: it ended with exit status: 3",
        ),
        (command(&["/surely/not/there", "sentinel"], Duration::from_secs(1)), "it cannot be started"),
        (shell("head -c 70000 /dev/zero"), "it prints more than 64 KiB"),
        (shell("true"), "the output of sh is empty"),
        (shell("printf '\\377'"), "the output of sh is not UTF-8 text"),
    ] {
        let error = source.read().unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains("sentinel"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_program_that_hangs_is_ended_with_everything_that_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let alive = dir.path().join("alive");
    // The grandchild holds the pipe open, and would tell that it is still there.
    let script = format!("(sleep 1; touch {}) & sleep 60", alive.display());
    let began = std::time::Instant::now();
    let error = command(&["sh", "-c", &script], Duration::from_millis(200)).read().unwrap_err().to_string();
    assert!(error.contains("it did not end within 200ms"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(30));
    let late = command(&["sh", "-c", "exec >&-; sleep 60"], Duration::from_millis(200));
    assert!(late.read().unwrap_err().to_string().contains("did not end within"), "closing its output is not ending");
    while began.elapsed() < Duration::from_millis(1300) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!alive.exists());
}

#[test]
fn a_field_of_a_document_is_selected_by_its_path() {
    let document = r#"{"data":{"secrets":[{"value":"one"},{"value":"two"}],"pin":1234,"flag":true}}"#;
    let read = |path: &str| field(literal(document), path).read();
    assert_eq!(read("data.secrets.1.value").unwrap().expose(), "two");
    assert_eq!(read("data.pin").unwrap().expose(), "1234");
    for path in ["data.flag", "data", "data.secrets.2.value", "data.secrets.x", "nothing", ""] {
        let error = read(path).unwrap_err().to_string();
        assert!(error.starts_with("the secret in the configuration has no ") && !error.contains("one"), "{error}");
    }
    let error = field(literal("sentinel"), "a").read().unwrap_err().to_string();
    assert_eq!(error, "the secret in the configuration is no JSON document");
}

#[test]
fn a_program_is_not_run_for_its_fingerprint() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("ran");
    let script = format!("touch {}; echo x", trace.display());
    let one = shell(&script).fingerprint().unwrap();
    assert_ne!(one, shell("echo x").fingerprint().unwrap());
    assert_ne!(one, field(shell(&script), "a").fingerprint().unwrap());
    assert!(!trace.exists());
}

#[test]
fn debug_output_names_places_and_nothing_else() {
    let sources = [
        literal("sentinel"),
        command(&["op", "read", "sentinel"], Duration::from_secs(1)),
        field(command(&["op", "sentinel"], Duration::from_secs(1)), "sentinel"),
    ];
    for source in sources {
        let shown = format!("{source:?} {source} {:#?}", super::super::Secrets::one(source.clone()));
        assert!(!shown.contains("sentinel"), "{shown}");
    }
    assert_eq!(SecretSource::Credential("db".into()).to_string(), "the systemd credential db");
}
