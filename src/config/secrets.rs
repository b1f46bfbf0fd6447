//! Secrets: where they come from, and whether they are there. Never what they are.

use toml::de::DeValue;

use super::reader::listed;
use super::value::Value;
use crate::secret::{Secret, SecretSource};

const REMEDY: &str = "write { env = \"NAME\" } or { file = \"path\" }";

/// The ways to name a secret that are planned but have no meaning yet.
const LATER: [&str; 2] = ["command", "credential"];

/// A secret that can be read now: a text, `{ env = … }` or `{ file = … }`.
///
/// No message of this file repeats anything that the table holds, not even a misspelt key.
pub(super) fn secret(value: &Value<'_>) -> Option<SecretSource> {
    match value.node {
        DeValue::String(text) if text.trim().is_empty() => value.wrong("is an empty secret", REMEDY),
        DeValue::String(text) => {
            let what = format!("`{}`: the secret is written into the file", value.path);
            value.file.warning(value.at, what, "write { env = \"NAME\" } or { file = \"path\" } instead");
            Some(SecretSource::Literal(Secret::new(text.as_ref().to_owned())))
        }
        DeValue::Table(_) => named(value),
        DeValue::Array(_) => value.wrong(
            "is a list of secrets, which is not supported by this version",
            "write one of them, without the brackets",
        ),
        _ => value.wrong_type("a secret", REMEDY),
    }
}

fn named(value: &Value<'_>) -> Option<SecretSource> {
    let table = value.table()?;
    let entries = table.entries();
    let [(key, at, inner)] = entries.as_slice() else {
        return value.wrong("has to name exactly one place", REMEDY);
    };
    match *key {
        "env" => environment(inner),
        "file" => file(inner),
        later if LATER.contains(&later) => {
            value.file.problem(*at, format!("`{}.{later}` is not supported by this version", value.path), REMEDY);
            None
        }
        _ => {
            let what = format!("`{}` has a key that names no place", value.path);
            value.file.problem(*at, what, format!("write one of {}", listed(&["env", "file"])));
            None
        }
    }
}

fn environment(value: &Value<'_>) -> Option<SecretSource> {
    let name = value.text()?;
    let usual = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !usual || name.starts_with(|first: char| first.is_ascii_digit()) {
        return value.wrong("is not the name of an environment variable", "write a name of letters, digits and _");
    }
    match (value.file.environment)(name) {
        None => value.wrong(
            format_args!("names the environment variable {name}, which is not set"),
            "set it before attache starts, or write { file = \"path\" }",
        ),
        Some(content) if content.trim().is_empty() => value.wrong(
            format_args!("names the environment variable {name}, which is empty"),
            "set it to the secret, or write { file = \"path\" }",
        ),
        Some(_) => Some(SecretSource::Env(name.to_owned())),
    }
}

fn file(value: &Value<'_>) -> Option<SecretSource> {
    let source = SecretSource::File(value.file.path(value.text()?));
    match source.read() {
        Ok(_) => Some(source),
        Err(error) => value
            .wrong(format_args!("is no use: {error}"), "name a file that attache may read and that holds the secret"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{config, problems, problems_in};
    use crate::secret::SecretSource;

    fn with_secret(secret: &str) -> String {
        format!(
            "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[upstreams.a]\norigin = \"https://a.test\"\n\
             credential = \"a\"\n[credentials.a]\ntoken_endpoint = \"https://login.test/token\"\nclient_id = \"a\"\nclient_secret = {secret}\n"
        )
    }

    #[test]
    fn a_secret_in_the_file_is_warned_about_and_not_shown() {
        let read = config(&with_secret("\"sentinel\""));
        assert!(matches!(read.credentials[0].oauth().unwrap().client_auth.secret(), Some(SecretSource::Literal(_))));
        assert_eq!(read.warnings.len(), 1);
        assert_eq!(read.warnings[0].at, Some((10, 17)));
        assert!(!format!("{read:?}").contains("sentinel"));
    }

    #[test]
    fn no_message_ever_holds_a_secret() {
        for secret in [
            "[\"sentinel\"]",
            "{ sentinel = \"sentinel\" }",
            "{ command = [\"sentinel\"] }",
            "{ credential = \"sentinel\" }",
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

    #[test]
    fn a_file_is_looked_for_beside_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), "sentinel\n").unwrap();
        std::fs::write(dir.path().join("empty"), "\n").unwrap();
        assert_eq!(problems_in(dir.path(), &with_secret("{ file = \"secret\" }")), [""; 0]);
        assert!(problems_in(dir.path(), &with_secret("{ file = \"empty\" }"))[0].contains("empty is empty; "));
        assert!(problems_in(dir.path(), &with_secret("{ file = \"none\" }"))[0].contains("cannot read "));
    }
}
