//! `inject`: where a token goes.

use http::HeaderName;
use http::header::AUTHORIZATION;

use crate::config::syntax::reader::TableReader;
use crate::config::syntax::value::Value;
use crate::credential::{Format, Inject, Place};

/// Reads `inject = { header = …, format = … }` or `inject = { query = … }`.
pub(crate) fn inject(mut table: TableReader<'_>) -> Option<Inject> {
    let header = table.get("header");
    let format = table.get("format");
    let query = table.get("query");
    let inject = match (header, format, query) {
        (None, None, Some(query)) => parameter(&query).map(|name| Inject { place: Place::Query(name), format: None }),
        (_, _, Some(query)) => query.wrong("goes with no other key", "write header and format, or query"),
        (None, None, None) => {
            let what = format!("`{}` says nothing", table.path);
            table.file.problem(
                table.at,
                what,
                "write { header = \"…\", format = \"… {token}\" }, or { query = \"…\" }",
            );
            None
        }
        (header, format, None) => {
            let name = header.map_or(Some(AUTHORIZATION), |header| field_name(&header));
            let format = format.map_or(Some(None), |format| around(&format).map(Some));
            name.zip(format).map(|(name, format)| Inject { place: Place::Field(name), format })
        }
    };
    table.finish();
    inject
}

/// A field that a secret may be put into: not one that HTTP or attache itself needs for something else.
pub(crate) fn field_name(value: &Value<'_>) -> Option<HeaderName> {
    let Ok(name) = value.text()?.parse::<HeaderName>() else {
        return value.wrong("is not a header field name", "write letters, digits and \"-\"");
    };
    if TAKEN.contains(&name.as_str()) || name.as_str().starts_with("proxy-") {
        return value.wrong("is a field that HTTP itself needs", "write the name that the upstream asks for");
    }
    Some(name)
}

/// Framing, routing, and what is meant for one connection only (RFC 9110 section 7.6.1).
const TAKEN: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "max-forwards",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

fn around(value: &Value<'_>) -> Option<Format> {
    value.parsed(str::parse, "write a text with one {token} in it, such as \"Bearer {token}\"")
}

/// It works, and some servers know nothing else; but a URL is written down in more places than a header.
fn parameter(value: &Value<'_>) -> Option<String> {
    let name = value.text()?;
    if name.chars().any(char::is_control) {
        return value.wrong("has a control character", "write the parameter's name alone");
    }
    let what = format!("`{}`: the token goes into URLs, which servers write into their logs", value.path);
    let remedy = "write inject = { header = … } if the upstream takes it there (RFC 6750 sections 2.3 and 5.3)";
    value.file.warning(value.at, what, remedy);
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{config, problems, token_settings, with_credential};

    fn credential(inject: &str) -> String {
        with_credential(&format!("client_secret = {{ env = \"SECRET\" }}\ninject = {inject}"))
    }

    #[test]
    fn a_token_goes_into_a_field_or_into_the_query() {
        let read = |inject: &str| token_settings(&credential(inject)).inject;
        let field = |name: &'static str, format: Option<&str>| Inject {
            place: Place::Field(HeaderName::from_static(name)),
            format: format.map(|text| text.parse().unwrap()),
        };
        assert_eq!(read("{ header = \"X-Token\" }"), field("x-token", None));
        assert_eq!(read("{ header = \"X-Token\", format = \"{token}\" }"), field("x-token", Some("{token}")));
        assert_eq!(read("{ format = \"Token {token}\" }"), field("authorization", Some("Token {token}")));
        assert_eq!(
            read("{ query = \"access_token\" }"),
            Inject { place: Place::Query("access_token".into()), format: None }
        );
        let warnings = config(&credential("{ query = \"access_token\" }")).warnings;
        assert_eq!((warnings.len(), warnings[0].at), (1, Some((11, 20))));
        assert_eq!(config(&credential("{ header = \"X-Token\" }")).warnings, []);
    }

    #[test]
    fn what_says_nothing_or_two_things_is_a_problem() {
        for (wrong, place, text) in [
            ("{}", "11:10", "`credentials.a.inject` says nothing"),
            ("{ query = \"a\", format = \"{token}\" }", "11:20", "inject.query` goes with no other key"),
            ("{ header = \"Host\" }", "11:21", "inject.header` is a field that HTTP itself needs"),
            ("{ format = \"Bearer\" }", "11:21", "inject.format` is not valid: it has to hold {token} exactly once"),
            ("{ format = \"{token} \" }", "11:21", "inject.format` is not valid: it holds a character "),
            ("{ quer = \"a\" }", "11:12", "unknown key `quer` in [credentials.a.inject]; did you mean `query`?"),
            ("\"query\"", "11:10", "inject` is a string, not a table"),
        ] {
            let found = problems(&credential(wrong));
            let here =
                found.iter().any(|line| line.starts_with(&format!("proxy.toml:{place}: ")) && line.contains(text));
            assert!(here, "{wrong}: {found:#?}");
        }
    }
}
