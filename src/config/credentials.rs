//! `[credentials.X]`: what is held. How it is asked for is in `token_request`.

use toml::de::DeValue;

use super::reader::{TableReader, set};
use super::token_request::token_request;
use super::value::Value;
use crate::credential::CredentialSettings;
use crate::token::RefreshSettings;

/// `refresh_ahead` may be any fraction of the lifetime between these.
const AHEAD: std::ops::RangeInclusive<f64> = 0.1..=0.95;

/// Reads `[credentials.NAME]`.
pub(super) fn credential(name: &str, mut table: TableReader<'_>) -> Option<CredentialSettings> {
    if let Some(kind) = table.get("kind") {
        // Each kind has keys of its own: without the kind nothing can be said about them.
        kind.choice(&[("oauth2", ())], &["bearer", "basic", "header"])?;
    }
    let (oauth, default_lifetime) = token_request(&mut table).unzip();

    let mut refresh = RefreshSettings::default();
    if let Some(value) = table.get("refresh_ahead") {
        refresh.ahead = refresh_ahead(&value);
    }
    set(&mut refresh.default_lifetime, default_lifetime.flatten());
    set(&mut refresh.default_lifetime, table.get("default_lifetime").and_then(|value| value.duration()));
    set(&mut refresh.always, table.get("required").and_then(|value| value.boolean()));
    let required = refresh.always;

    table.not_yet("inject", "remove it; the token goes into \"Authorization: Bearer\"");
    table.finish();
    Some(CredentialSettings { name: name.to_owned(), oauth: oauth?, refresh, required })
}

/// The fraction after which a successor is asked for; `None` for never.
fn refresh_ahead(value: &Value<'_>) -> Option<f64> {
    const REMEDY: &str = "write a fraction of the lifetime from 0.1 to 0.95, or \"off\"";
    match value.node {
        DeValue::String(text) if text == "off" => None,
        DeValue::Float(number) => match number.as_str().parse() {
            Ok(fraction) if AHEAD.contains(&fraction) => Some(fraction),
            _ => value.wrong("is out of range", REMEDY),
        },
        _ => value.wrong("is neither a fraction nor \"off\"", REMEDY),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{config, problems};
    use std::time::Duration;

    fn credential(rest: &str) -> String {
        format!(
            "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[upstreams.a]\norigin = \"https://a.test\"\ncredential = \"a\"\n\
             [credentials.a]\ntoken_endpoint = \"https://login.test/token\"\nclient_id = \"a\"\nclient_secret = {{ env = \"SECRET\" }}\n{rest}\n"
        )
    }

    #[test]
    fn refreshing_has_its_defaults_and_its_bounds() {
        let refresh = |rest: &str| config(&credential(rest)).credentials.remove(0).refresh;
        assert_eq!(refresh(""), crate::token::RefreshSettings::default());
        let given = refresh("refresh_ahead = 0.5\ndefault_lifetime = \"10m\"\nrequired = true");
        assert_eq!((given.ahead, given.default_lifetime, given.always), (Some(0.5), Duration::from_mins(10), true));
        assert_eq!(refresh("refresh_ahead = \"off\"").ahead, None);
        for wrong in ["0.05", "1.0", "1", "nan", "inf", "\"on\"", "true"] {
            let found = problems(&credential(&format!("refresh_ahead = {wrong}")));
            assert_eq!(found.len(), 1, "{found:#?}");
            assert!(found[0].ends_with("write a fraction of the lifetime from 0.1 to 0.95, or \"off\""), "{found:#?}");
        }
    }

    #[test]
    fn kinds_grants_and_keys_of_a_later_version_are_errors() {
        let found = problems(&credential("kind = \"bearer\"\ntoken = { env = \"NOT_SET\" }"));
        assert_eq!(
            found,
            ["proxy.toml:11:8: `credentials.a.kind` = \"bearer\" is not supported by this version; write \"oauth2\""]
        );
        let found = problems(&credential("inject = { query = \"t\" }"));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found.iter().all(|line| line.contains("is not supported by this version; ")), "{found:#?}");
        assert_eq!(problems(&credential("kind = \"oauth2\"\ngrant = \"client_credentials\"")), [""; 0]);
    }
}
