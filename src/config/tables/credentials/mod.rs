//! `[credentials.X]`: what is held, and where it goes. How a token is asked for is in `token_request`, the kinds that need
//! no asking are in `fixed`.

pub(crate) mod client_auth;
pub(crate) mod extra_fields;
pub(crate) mod fixed;
pub(crate) mod inject;
pub(crate) mod preset;
pub(crate) mod token_request;
pub(crate) mod token_server;

use std::sync::Arc;
use std::time::Duration;

use crate::config::syntax::reader::{TableReader, set};
use crate::config::syntax::tree::Node;
use crate::config::syntax::value::Value;
use crate::config::tables::credentials::inject::inject;
use crate::config::tables::credentials::token_request::token_request;
use crate::credential::{CredentialKind, CredentialSettings, TokenSettings, Unshared};
use crate::oauth::OAuthSettings;
use crate::token::{Budget, RefreshSettings};

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
/// The times of a `budget`, in seconds.
const UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];

/// More is no bound, and a slip of the finger.
const MAX_BUDGET_REQUESTS: u32 = 1_000_000;

/// Reads `[credentials.NAME]`, beside a `[cache]` or not.
pub(crate) fn credential(name: &str, mut table: TableReader<'_>, has_cache: bool) -> Option<CredentialSettings> {
    let kind = match table.get("kind") {
        // Each kind has keys of its own: without the kind nothing can be said about them.
        Some(kind) => kind.choice(&KINDS, &[])?,
        None => Kind::OAuth2,
    };
    let required = table.get("required").and_then(|value| value.boolean()).unwrap_or_default();
    let kind = match kind {
        Kind::OAuth2 => token(&mut table, required, has_cache).map(|token| CredentialKind::OAuth(Arc::new(token))),
        Kind::Bearer => fixed::bearer(&mut table).map(CredentialKind::fixed),
        Kind::Basic => fixed::basic(&mut table).map(CredentialKind::fixed),
        Kind::Header => fixed::header(&mut table).map(CredentialKind::fixed),
    };
    table.finish();
    Some(CredentialSettings { name: name.to_owned(), kind: kind?, required })
}

fn token(table: &mut TableReader<'_>, required: bool, has_cache: bool) -> Option<TokenSettings> {
    let (oauth, default_lifetime) = token_request(table).unzip();

    let mut refresh = RefreshSettings { always: required, ..RefreshSettings::default() };
    if let Some(value) = table.get("refresh_ahead") {
        refresh.ahead = refresh_ahead(&value);
    }
    set(&mut refresh.default_lifetime, default_lifetime.flatten());
    set(&mut refresh.default_lifetime, table.get("default_lifetime").and_then(|value| value.duration()));
    refresh.budget = table.get("budget").and_then(|value| budget(&value));

    let inject = table.table("inject").map_or_else(|| Some(crate::credential::Inject::default()), inject);
    let shared = table.get("shared").and_then(|value| shared(&value, oauth.as_ref(), has_cache)).unwrap_or(true);
    let (mut oauth, inject) = (oauth?, inject?);
    oauth.any_token_type = inject.is_explicit();
    Some(TokenSettings { oauth: Arc::new(oauth), refresh, inject, shared })
}

/// Whether it takes part in `[cache]`; a warning where that is asked for and cannot be.
fn shared(value: &Value<'_>, oauth: Option<&OAuthSettings>, has_cache: bool) -> Option<bool> {
    let shared = value.boolean()?;
    let remedy = "remove it";
    let reason = match oauth.and_then(Unshared::by_nature) {
        _ if !shared => None,
        Some(reason) => Some((reason.to_string(), remedy)),
        None => (!has_cache)
            .then(|| ("there is no [cache]".to_owned(), "add [cache] with `shared` and `key`, or remove it")),
    };
    if let Some((reason, remedy)) = reason {
        value.file.warning(value.at, format!("`{}` has no effect: {reason}", value.path), remedy);
    }
    Some(shared)
}

/// The fraction after which a successor is asked for; `None` for never.
fn refresh_ahead(value: &Value<'_>) -> Option<f64> {
    const REMEDY: &str = "write a fraction of the lifetime from 0.1 to 0.95, or \"off\"";
    match value.node {
        Node::String(text) if text.as_str() == "off" => None,
        Node::Float(number) => match number.parse() {
            Ok(fraction) if AHEAD.contains(&fraction) => Some(fraction),
            _ => value.wrong("is out of range", REMEDY),
        },
        _ => value.wrong("is neither a fraction nor \"off\"", REMEDY),
    }
}

/// `"60/h"`: at most so many token requests in any stretch of a second, minute, hour or day.
fn budget(value: &Value<'_>) -> Option<Budget> {
    const REMEDY: &str = "write how many token requests in which time, such as \"60/h\"; the time is s, m, h or d";
    let Node::String(text) = value.node else {
        if let Node::Integer(number, _) = value.node {
            let remedy = format!("write the time and the quotes too, such as \"{number}/h\"");
            return value.wrong("is a number without a time", remedy);
        }
        return value.wrong_type("a number of token requests in a time", REMEDY);
    };
    let parsed = text.split_once('/').and_then(|(requests, unit)| {
        let (_, seconds) = UNITS.iter().find(|(letter, _)| *letter == unit.trim())?;
        let requests = requests.trim();
        // As `parse` would take "+60" too.
        let digits = !requests.is_empty() && requests.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| (requests.parse::<u32>(), Duration::from_secs(*seconds)))
    });
    match parsed {
        Some((Ok(0), _)) => {
            value.wrong("allows no token request at all", "write at least one, or leave the key out for no bound")
        }
        Some((Ok(requests), per)) if requests <= MAX_BUDGET_REQUESTS => Some(Budget { requests, per }),
        Some(_) => {
            value.wrong("is out of range", "write at most a million token requests, or leave the key out for no bound")
        }
        None => value.wrong("is not a number of token requests in a time", REMEDY),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::{config, problems, token_settings, with_credential};
    use std::time::Duration;

    fn credential(rest: &str) -> String {
        with_credential(&format!("client_secret = {{ env = \"SECRET\" }}\n{rest}"))
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
    fn a_budget_is_a_number_in_a_time() {
        let budget = |text: &str| token_settings(&credential(&format!("budget = \"{text}\""))).refresh.budget;
        for (text, requests, per) in [
            ("1/s", 1, Duration::from_secs(1)),
            ("20/m", 20, Duration::from_mins(1)),
            ("60 / h", 60, Duration::from_hours(1)),
            ("1000000/d", 1_000_000, Duration::from_hours(24)),
        ] {
            assert_eq!(budget(text), Some(crate::token::Budget { requests, per }), "{text}");
        }
        assert_eq!(token_settings(&credential("")).refresh.budget, None);
    }

    #[test]
    fn a_budget_that_means_nothing_is_an_error_with_a_remedy() {
        for (wrong, told) in [
            (
                "\"60\"",
                "is not a number of token requests in a time; write how many token requests in which time, such as \"60/h\"; the time is s, m, h or d",
            ),
            ("\"60/hour\"", "is not a number of token requests in a time; "),
            ("\"h/60\"", "is not a number of token requests in a time; "),
            ("\"+6/h\"", "is not a number of token requests in a time; "),
            ("\"-6/h\"", "is not a number of token requests in a time; "),
            ("\"1.5/h\"", "is not a number of token requests in a time; "),
            ("\"/h\"", "is not a number of token requests in a time; "),
            ("\"0/h\"", "allows no token request at all; write at least one, or leave the key out for no bound"),
            ("\"1000001/d\"", "is out of range; write at most a million"),
            ("\"99999999999999999999/d\"", "is out of range; write at most a million"),
            ("60", "is a number without a time; write the time and the quotes too, such as \"60/h\""),
            ("true", "is a boolean, not a number of token requests in a time; "),
        ] {
            let found = problems(&credential(&format!("budget = {wrong}")));
            assert_eq!(found.len(), 1, "{wrong}: {found:#?}");
            assert!(found[0].contains(&format!("`credentials.a.budget` {told}")), "{wrong}: {found:#?}");
        }
    }

    #[test]
    fn a_key_of_another_grant_is_refused() {
        let found = problems(&credential("subject_token_type = \"x\""));
        assert!(
            found.len() == 1 && found[0].contains("`subject_token_type` in [credentials.a] belongs to "),
            "{found:#?}"
        );
        assert_eq!(problems(&credential("kind = \"oauth2\"\ngrant = \"client_credentials\"")), [""; 0]);
    }

    #[test]
    fn a_kind_that_is_none_is_one_problem() {
        let found = problems(&credential("kind = \"baerer\"\ntoken = { env = \"NOT_SET\" }"));
        assert_eq!(found, ["proxy.toml:11:8: `credentials.a.kind` cannot be \"baerer\"; did you mean \"bearer\"?"]);
    }
}
