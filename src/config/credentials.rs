//! `[credentials.X]`: what is held, and where it goes. How a token is asked for is in `token_request`, the kinds that need
//! no asking are in `fixed_credentials`.

use toml::de::DeValue;

use super::fixed_credentials;
use super::inject::inject;
use super::reader::{TableReader, set};
use super::token_request::token_request;
use super::value::Value;
use crate::credential::{CredentialKind, CredentialSettings, TokenSettings};
use crate::token::RefreshSettings;

/// `refresh_ahead` may be any fraction of the lifetime between these.
const AHEAD: std::ops::RangeInclusive<f64> = 0.1..=0.95;

/// `kind`.
#[derive(Clone, Copy)]
enum Kind {
    OAuth2,
    Bearer,
    Basic,
    Header,
}

const KINDS: [(&str, Kind); 4] =
    [("oauth2", Kind::OAuth2), ("bearer", Kind::Bearer), ("basic", Kind::Basic), ("header", Kind::Header)];

/// Reads `[credentials.NAME]`.
pub(super) fn credential(name: &str, mut table: TableReader<'_>) -> Option<CredentialSettings> {
    let kind = match table.get("kind") {
        // Each kind has keys of its own: without the kind nothing can be said about them.
        Some(kind) => kind.choice(&KINDS, &[])?,
        None => Kind::OAuth2,
    };
    let required = table.get("required").and_then(|value| value.boolean()).unwrap_or_default();
    let kind = match kind {
        Kind::OAuth2 => token(&mut table, required).map(|token| CredentialKind::OAuth(Box::new(token))),
        Kind::Bearer => fixed_credentials::bearer(&mut table).map(CredentialKind::fixed),
        Kind::Basic => fixed_credentials::basic(&mut table).map(CredentialKind::fixed),
        Kind::Header => fixed_credentials::header(&mut table).map(CredentialKind::fixed),
    };
    table.finish();
    Some(CredentialSettings { name: name.to_owned(), kind: kind?, required })
}

fn token(table: &mut TableReader<'_>, required: bool) -> Option<TokenSettings> {
    let (oauth, default_lifetime) = token_request(table).unzip();

    let mut refresh = RefreshSettings { always: required, ..RefreshSettings::default() };
    if let Some(value) = table.get("refresh_ahead") {
        refresh.ahead = refresh_ahead(&value);
    }
    set(&mut refresh.default_lifetime, default_lifetime.flatten());
    set(&mut refresh.default_lifetime, table.get("default_lifetime").and_then(|value| value.duration()));

    let inject = table.table("inject").map_or_else(|| Some(crate::credential::Inject::default()), inject);
    Some(TokenSettings { oauth: oauth?, refresh, inject: inject? })
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
    use super::super::testing::{config, problems, token_settings};
    use std::time::Duration;

    fn credential(rest: &str) -> String {
        format!(
            "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[upstreams.a]\norigin = \"https://a.test\"\ncredential = \"a\"\n\
             [credentials.a]\ntoken_endpoint = \"https://login.test/token\"\nclient_id = \"a\"\nclient_secret = {{ env = \"SECRET\" }}\n{rest}\n"
        )
    }

    #[test]
    fn refreshing_has_its_defaults_and_its_bounds() {
        let refresh = |rest: &str| token_settings(&credential(rest)).refresh;
        assert_eq!(refresh(""), crate::token::RefreshSettings::default());
        let given = refresh("refresh_ahead = 0.5\ndefault_lifetime = \"10m\"\nrequired = true");
        assert_eq!((given.ahead, given.default_lifetime, given.always), (Some(0.5), Duration::from_mins(10), true));
        assert!(config(&credential("required = true")).credentials[0].required);
        assert_eq!(refresh("refresh_ahead = \"off\"").ahead, None);
        for wrong in ["0.05", "1.0", "1", "nan", "inf", "\"on\"", "true"] {
            let found = problems(&credential(&format!("refresh_ahead = {wrong}")));
            assert_eq!(found.len(), 1, "{found:#?}");
            assert!(found[0].ends_with("write a fraction of the lifetime from 0.1 to 0.95, or \"off\""), "{found:#?}");
        }
    }

    #[test]
    fn a_key_of_another_grant_is_unknown() {
        let found = problems(&credential("subject_token_type = \"x\""));
        assert!(found.len() == 1 && found[0].contains("unknown key `subject_token_type`"), "{found:#?}");
        assert_eq!(problems(&credential("kind = \"oauth2\"\ngrant = \"client_credentials\"")), [""; 0]);
    }

    #[test]
    fn a_kind_that_is_none_is_one_problem() {
        let found = problems(&credential("kind = \"baerer\"\ntoken = { env = \"NOT_SET\" }"));
        assert_eq!(found, ["proxy.toml:11:8: `credentials.a.kind` cannot be \"baerer\"; did you mean \"bearer\"?"]);
    }
}
