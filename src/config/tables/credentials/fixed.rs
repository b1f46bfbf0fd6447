//! `[credentials.X]` of the kinds that ask nobody for a token: `bearer`, `basic`, `header`.

use crate::config::syntax::reader::TableReader;
use crate::config::syntax::tree::Node;
use crate::config::syntax::value::Value;
use crate::config::tables::credentials::inject::{field_name, inject};
use crate::config::tables::secrets::secret;
use crate::credential::{FixedScheme, FixedSettings, Inject};
use crate::secret::{Secret, SecretSource};

/// `kind = "bearer"`.
pub(crate) fn bearer(table: &mut TableReader<'_>) -> Option<FixedSettings> {
    let token = table.required("token", "write token = { env = \"NAME\" }, or { file = \"path\" }");
    let inject = table.table("inject").map_or_else(|| Some(Inject::default()), inject);
    held(&token?, FixedScheme::Bearer(inject?))
}

/// `kind = "basic"`.
pub(crate) fn basic(table: &mut TableReader<'_>) -> Option<FixedSettings> {
    let username = table
        .required("username", "write username = \"…\"; an empty one is written \"\"")
        .and_then(|value| username(&value));
    let password = table.required("password", "write password = { env = \"NAME\" }, or { file = \"path\" }");
    held(&password?, FixedScheme::Basic { username: username? })
}

/// `kind = "header"`.
pub(crate) fn header(table: &mut TableReader<'_>) -> Option<FixedSettings> {
    let name = table
        .required("header", "write header = \"X-Api-Key\", or what the upstream calls it")
        .and_then(|value| field_name(&value));
    let value = table.required("value", "write value = { env = \"NAME\" }, or { file = \"path\" }");
    held(&value?, FixedScheme::Header(name?))
}

/// RFC 7617 section 2: everything before the first colon is the user name.
fn username(value: &Value<'_>) -> Option<String> {
    match value.node {
        Node::String(text) if text.contains(':') => {
            value.wrong("has a colon, which would end it (RFC 7617 section 2)", "write the name alone")
        }
        Node::String(text) if text.chars().any(char::is_control) => {
            value.wrong("has a control character (RFC 7617 section 2)", "write it without line ends and tabs")
        }
        Node::String(text) => Some(text.as_str().to_owned()),
        _ => value.wrong_type("a string", "write it between quotes: \"…\""),
    }
}

/// A secret that is at hand is looked at now: one that no request could carry would be found too late.
fn held(value: &Value<'_>, scheme: FixedScheme) -> Option<FixedSettings> {
    let settings = FixedSettings { scheme, secret: secret(value)? };
    match now(value, &settings).map(|secret| settings.format(&secret)) {
        Some(Err(error)) => {
            value.wrong(format_args!("cannot be used: {error}"), "look at what that place really holds")
        }
        Some(Ok(_)) | None => Some(settings),
    }
}

fn now(value: &Value<'_>, settings: &FixedSettings) -> Option<Secret> {
    match &settings.secret {
        SecretSource::Env(name) => (value.file.environment)(name).map(Secret::new),
        source if settings.is_at_hand() => source.read().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::{config, parse_in, problems, problems_in};
    use crate::credential::{CredentialKind, FixedScheme, Inject};

    fn credential(rest: &str) -> String {
        format!(
            "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[upstreams.a]\norigin = \"https://a.test\"\ncredential = \"a\"\n\
             [credentials.a]\n{rest}\n"
        )
    }

    fn scheme(rest: &str) -> FixedScheme {
        match config(&credential(rest)).credentials.remove(0).kind {
            CredentialKind::Fixed(fixed) => fixed.scheme.clone(),
            CredentialKind::OAuth(_) => panic!("not a fixed one"),
        }
    }

    #[test]
    fn each_kind_has_keys_of_its_own() {
        let bearer = "kind = \"bearer\"\ntoken = { env = \"SECRET\" }";
        assert_eq!(scheme(bearer), FixedScheme::Bearer(Inject::default()));
        assert!(config(&credential(&format!("{bearer}\nrequired = true"))).credentials[0].required);
        let basic = "kind = \"basic\"\nusername = \"Jürgen\"\npassword = { env = \"SECRET\" }";
        assert_eq!(scheme(basic), FixedScheme::Basic { username: "Jürgen".into() });
        let header = "kind = \"header\"\nheader = \"X-Api-Key\"\nvalue = { env = \"SECRET\" }";
        assert_eq!(scheme(header), FixedScheme::Header(http::HeaderName::from_static("x-api-key")));

        let found = problems(&credential(&format!("{bearer}\nclient_id = \"a\"\ntokn = 1")));
        assert_eq!(
            found,
            [
                "proxy.toml:10:1: unknown key `client_id` in [credentials.a]; the keys here are `kind`, `required`, `token`, `inject`",
                "proxy.toml:11:1: unknown key `tokn` in [credentials.a]; did you mean `token`?",
            ]
        );
        let found = problems(&credential("kind = \"basic\""));
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(found[0].starts_with("proxy.toml:7:1: `credentials.a.username` is missing; write username = "));
        assert!(found[1].starts_with("proxy.toml:7:1: `credentials.a.password` is missing; write password = "));
        let found = problems(&credential("kind = \"header\"\nvaule = { env = \"SECRET\" }"));
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(found[1].ends_with("did you mean `value`?"), "{found:#?}");
    }

    #[test]
    fn a_secret_that_no_request_could_carry_is_found_before_the_first_request() {
        let dir = tempfile::tempdir().unwrap();
        for (content, kind, error) in [
            (
                "sen tinel",
                "kind = \"bearer\"\ntoken",
                "the token holds a space, a control character or one outside of ASCII",
            ),
            ("sen\ntinel", "kind = \"basic\"\nusername = \"\"\npassword", "the password holds a control character"),
            (
                " sentinel",
                "kind = \"header\"\nheader = \"X-Key\"\nvalue",
                "the value holds a character that no header ",
            ),
        ] {
            std::fs::write(dir.path().join("secret"), content).unwrap();
            let found = problems_in(dir.path(), &credential(&format!("{kind} = {{ file = \"secret\" }}")));
            assert_eq!(found.len(), 1, "{found:#?}");
            assert!(found[0].contains(&format!("` cannot be used: {error}")), "{found:#?}");
            assert!(!found[0].contains("tinel"), "{found:#?}");
            let written = format!("{kind} = {}", toml::Value::String(content.into()));
            assert_eq!(parse_in(dir.path(), &credential(&written)).unwrap_err().problems.len(), 1);
        }
    }

    #[test]
    fn user_names_and_field_names_are_held_to_their_grammar() {
        let basic = |name: &str| format!("kind = \"basic\"\nusername = {name}\npassword = {{ env = \"SECRET\" }}");
        assert!(problems(&credential(&basic("\"a:b\"")))[0].contains("has a colon"));
        assert!(problems(&credential(&basic("\"a\\nb\"")))[0].contains("has a control character"));
        assert!(problems(&credential(&basic("5")))[0].contains("is a whole number, not a string"));
        assert_eq!(scheme(&basic("\"\"")), FixedScheme::Basic { username: String::new() });
        let header = |name: &str| format!("kind = \"header\"\nheader = \"{name}\"\nvalue = {{ env = \"SECRET\" }}");
        for wrong in ["Host", "content-length", "Connection", "Proxy-Anything", "TE", "Upgrade", "Via", "a b", "a:"] {
            let found = problems(&credential(&header(wrong)));
            assert_eq!(found.len(), 1, "{wrong}: {found:#?}");
            assert!(found[0].starts_with("proxy.toml:9:10: `credentials.a.header` "), "{found:#?}");
        }
        assert_eq!(scheme(&header("Authorization")), FixedScheme::Header(http::header::AUTHORIZATION));
    }
}
