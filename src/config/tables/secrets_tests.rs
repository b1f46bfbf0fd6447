use crate::config::Config;
use crate::config::testing::{config, keep, parse_in, problems, problems_in, with_credential};
use crate::secret::SecretSource;

fn with_secret(secret: &str) -> String {
    with_credential(&format!("client_secret = {secret}"))
}

#[test]
fn a_key_that_is_written_into_the_file_is_never_repeated() {
    let jwk = "{\"kty\":\"EC\",\"d\":\"sentinel\"}";
    for written in [format!("'{jwk}'"), "'''\nxx -----BEGIN PRIVATE KEY-----\n  sentinel\n'''".to_owned()] {
        for key in ["private_key", "client_key", "client_certificate"] {
            let text = format!(
                "[listeners.a]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[credentials.a]\ntoken_endpoint = \"https://login.test/t\"\nclient_id = \"a\"\n{key} = {written}\n"
            );
            let found = problems(&text).join("\n");
            assert!(!found.is_empty() && !found.contains("sentinel"), "{key}: {found}");
        }
    }
}

#[test]
fn a_secret_in_the_file_is_warned_about_and_not_shown() {
    let read = config(&with_secret("\"sentinel\""));
    assert!(matches!(
        read.credentials[0].oauth().unwrap().client_auth.secrets().unwrap().sources(),
        [SecretSource::Literal(_)]
    ));
    assert_eq!(read.warnings.len(), 1);
    assert_eq!(read.warnings[0].at, Some((10, 17)));
    assert!(!format!("{read:?}").contains("sentinel"));
}

#[test]
fn no_message_ever_holds_a_secret() {
    for secret in [
        "[[\"sentinel\"]]",
        "[{ sentinel = \"sentinel\" }]",
        "[{ file = \"/none\" }, { env = \"NOT_SET\" }]",
        "{ sentinel = \"sentinel\" }",
        "{ command = \"sentinel\" }",
        "{ command = [] }",
        "{ command = [1, \"sentinel\"] }",
        "{ command = [\"sentinel\"], timeout = \"sentinel\" }",
        "{ command = [\"sentinel\"], file = \"sentinel\" }",
        "{ env = \"SECRET\", timeout = \"1s\" }",
        "{ credential = \"../sentinel\" }",
        "{ value = \"sentinel\" }",
        "{ env = \"sentinel value\" }",
        "{ env = \"X\", sentinel = \"sentinel\" }",
        "sentinel",
        "\"sentinel",
        "'''sentinel",
        "{ \"sentinel\" }",
        "\"\\sentinel\"",
        "{ file = [\"sentinel\"] }",
        "sentinel = \"sentinel\"",
    ] {
        let found = problems(&with_secret(secret));
        assert!(!found.is_empty(), "{secret}");
        assert!(!found.join("\n").contains("sentinel"), "{secret}: {found:#?}");
    }
    for number in ["7391", "7391.25", "2024-07-03"] {
        let found = problems(&with_secret(number));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(!found[0].contains("7391") && !found[0].contains("2024"), "{found:#?}");
    }
}

#[test]
fn an_unset_variable_is_a_problem_at_its_own_place() {
    assert_eq!(
        problems(&with_secret("{ env = \"NOT_SET\" }")),
        [
            "proxy.toml:10:25: `credentials.a.client_secret.env` names the environment variable NOT_SET, which is not set; \
          set it before attache starts, or write { file = \"path\" }"
        ]
    );
    assert!(problems(&with_secret("{ env = \"EMPTY\" }"))[0].contains("EMPTY, which is empty; "));
    assert!(config(&with_secret("{ env = \"SECRET\" }")).warnings.is_empty());
}

#[cfg(unix)]
#[test]
fn a_file_that_everybody_may_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;
    // Below it every folder lets others pass, if that is so for temporary files at all.
    let dir = tempfile::tempdir().unwrap();
    let mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let (secret, mounted) = (dir.path().join("secret"), dir.path().join("..2026"));
    std::fs::create_dir(&mounted).unwrap();
    for path in [&secret, &mounted.join("secret")] {
        std::fs::write(path, "sentinel").unwrap();
        mode(path, 0o644);
    }
    mode(dir.path(), 0o755);
    mode(&mounted, 0o755);
    let passes = dir
        .path()
        .canonicalize()
        .unwrap()
        .ancestors()
        .all(|folder| std::fs::metadata(folder).unwrap().permissions().mode() & 1 != 0);
    let warned = |place: &str| -> Vec<String> {
        let read = parse_in(dir.path(), &with_secret(place)).map_err(|errors| errors.to_string()).unwrap();
        read.warnings.iter().map(|warning| warning.what.replace(&dir.path().display().to_string(), "")).collect()
    };
    let expected = "`credentials.a.client_secret`: every user of this machine may read /secret";
    let expected: &[&str] = if passes { &[expected] } else { &[] };
    assert_eq!(warned("{ file = \"secret\" }"), expected);
    assert_eq!(warned("{ file = \"..2026/secret\" }"), [""; 0], "as a container is given it");
    mode(&secret, 0o640);
    assert_eq!(warned("{ file = \"secret\" }"), [""; 0]);
    mode(&secret, 0o644);
    mode(dir.path(), 0o700);
    assert_eq!(warned("{ file = \"secret\" }"), [""; 0], "nobody gets to it");
}

#[test]
fn what_stands_around_a_secret_is_warned_of_and_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    keep(dir.path());
    for (content, doubt) in [
        ("\u{feff}sentinel\r\n", None),
        (" sentinel", Some("begins or ends with a blank")),
        ("\"sentinel\"", Some("stands between quotes")),
        ("CLIENT_SECRET=sentinel", Some("begins with a name and \"=\"")),
    ] {
        std::fs::write(dir.path().join("secret"), content).unwrap();
        let read = parse_in(dir.path(), &with_secret("{ file = \"secret\" }")).unwrap();
        let said: Vec<String> = read.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), usize::from(doubt.is_some()), "{said:?}");
        assert!(doubt.is_none_or(|doubt| said[0].contains(doubt)) && !said.join("").contains("sentinel"), "{said:?}");
    }
}

#[test]
fn a_file_is_looked_for_beside_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "sentinel\n").unwrap();
    std::fs::write(dir.path().join("empty"), "\n").unwrap();
    assert_eq!(problems_in(dir.path(), &with_secret("{ file = \"secret\" }")), [""; 0]);
    assert!(problems_in(dir.path(), &with_secret("{ file = \"empty\" }"))[0].contains("empty is empty; "));
    assert!(problems_in(dir.path(), &with_secret("{ file = \"none\" }"))[0].contains("cannot read "));
}

#[test]
fn a_program_is_named_and_not_run() {
    let read =
        config(&with_secret("{ command = [\"/surely/not/there\", \"sentinel\"], field = \"a.b\", timeout = \"3s\" }"));
    let sources = read.credentials[0].oauth().unwrap().client_auth.secrets().unwrap().sources().to_vec();
    let [SecretSource::Field { of, path }] = sources.as_slice() else { panic!("{sources:?}") };
    assert_eq!((path.as_str(), of.to_string().as_str()), ("a.b", "the output of /surely/not/there"));
    assert!(matches!(**of, SecretSource::Command { timeout, .. } if timeout == std::time::Duration::from_secs(3)));
    assert!(!format!("{read:?}").contains("sentinel"));
}

#[test]
fn in_a_list_it_is_enough_that_one_can_be_read() {
    let read = config(&with_secret("[{ env = \"NOT_SET\" }, { env = \"SECRET\" }]"));
    assert_eq!(read.warnings.len(), 1, "{:?}", read.warnings);
    assert!(read.warnings[0].what.contains("an entry names the environment variable NOT_SET, which is not set"));
    let found = problems(&with_secret("[{ env = \"NOT_SET\" }, { file = \"/surely/not/there\" }]"));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with("proxy.toml:10:18: `credentials.a.client_secret` names the environment variable"));
    assert!(found[1].contains("cannot read /surely/not/there"), "{found:#?}");
    assert_eq!(problems(&with_secret("[]")).len(), 1);
}

#[test]
fn the_variables_that_hold_secrets_are_known() {
    let read = config(&format!(
        "{}[admin]\naddress = \"127.0.0.1:0\"\ntoken = {{ env = \"SECRET\" }}\n",
        with_secret("[{ env = \"NOT_SET\" }, { env = \"SEARCH_API_KEY\" }, { env = \"SECRET\" }]")
    ));
    assert_eq!(read.variables, ["NOT_SET", "SEARCH_API_KEY", "SECRET"], "also those that are not set");
}

#[test]
fn who_only_describes_needs_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("proxy.toml");
    for secret in ["{ env = \"NOT_SET\" }", "{ file = \"none\" }", "[{ env = \"NOT_SET\" }]"] {
        std::fs::write(&path, with_secret(secret)).unwrap();
        assert!(Config::load(&path).is_err());
        assert_eq!(Config::load_without_secrets(&path).unwrap().upstreams.len(), 1, "{secret}");
    }
    std::fs::write(&path, with_secret("{ nothing = 1 }")).unwrap();
    assert!(Config::load_without_secrets(&path).is_err(), "what is written is still read");
}

#[test]
fn a_field_of_a_file_is_looked_at_when_the_file_is_read() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("sa.json"), r#"{"key":"sentinel"}"#).unwrap();
    let with = |field: &str| with_secret(&format!("{{ file = \"sa.json\", field = \"{field}\" }}"));
    assert_eq!(problems_in(dir.path(), &with("key")), [""; 0]);
    let found = problems_in(dir.path(), &with("kye"));
    assert!(found.len() == 1 && found[0].contains("has no such field as configured"), "{found:#?}");
}
