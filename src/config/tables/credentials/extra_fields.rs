//! `parameters` and `headers` of a credential: what a token request has besides the fields of OAuth itself.

use http::{HeaderName, HeaderValue};

use crate::config::syntax::error::ProblemKind;
use crate::config::syntax::reader::TableReader;

/// Extra form fields; a list repeats its field.
pub(crate) fn parameters(table: &TableReader<'_>) -> Vec<(String, String)> {
    let mut parameters = Vec::new();
    for (name, at, value) in table.entries() {
        if name.is_empty() || OWN_PARAMETERS.contains(&name) {
            let about = (ProblemKind::Other, value.path.as_str());
            table.file.wrong(
                at,
                about,
                "is set by attache itself",
                "remove it; what can be chosen has a setting of its own",
            );
            continue;
        }
        for entry in value.one_or_list().unwrap_or_default() {
            parameters.extend(entry.text().map(|text| (name.to_owned(), text.to_owned())));
        }
    }
    parameters
}

/// Extra header fields. Their values are never shown: such a field is often an API key.
pub(crate) fn headers(table: &TableReader<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    for (name, at, value) in table.entries() {
        let Ok(field) = name.parse::<HeaderName>() else {
            table.file.problem(
                at,
                format!("`{}` is not a header field name", value.path),
                "write letters, digits and \"-\"",
            );
            continue;
        };
        if OWN_HEADERS.contains(&field.as_str()) {
            let what = format!("`{}` is set by attache itself", value.path);
            table.file.problem(at, what, "remove it; client_auth decides how the client proves itself");
            continue;
        }
        let Some(text) = value.text() else { continue };
        match HeaderValue::from_str(text) {
            Ok(mut content) => {
                content.set_sensitive(true);
                headers.push((field, content));
            }
            Err(_) => {
                value.wrong::<()>("has a character that no header field may have", "write visible ASCII and spaces");
            }
        }
    }
    headers
}

/// The form fields that attache sets itself.
const OWN_PARAMETERS: [&str; 8] = [
    "grant_type",
    "client_id",
    "client_secret",
    "scope",
    "audience",
    "resource",
    "client_assertion",
    "client_assertion_type",
];

/// The header fields that attache or HTTP itself sets.
const OWN_HEADERS: [&str; 13] = [
    "authorization",
    "proxy-authorization",
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
];

#[cfg(test)]
mod tests {
    use crate::config::testing::{problems, token_settings};

    const CREDENTIAL: &str = "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[credentials.a]\n\
        client_id = \"a\"\ntoken_endpoint = \"https://login.test/token\"\nclient_secret = { env = \"SECRET\" }\n";

    #[test]
    fn fields_and_headers_keep_their_order() {
        let read = token_settings(&format!(
            "{CREDENTIAL}parameters = {{ tenant = \"t\", label = [\"a\", \"b\"] }}\nheaders = {{ X-Api-Key = \"sentinel\" }}\n"
        ))
        .oauth;
        let pairs: Vec<_> = read.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("tenant", "t"), ("label", "a"), ("label", "b")]);
        assert_eq!(read.headers[0].0, "x-api-key");
        assert!(!format!("{read:?}").contains("sentinel"));
    }

    #[test]
    fn what_attache_sets_cannot_be_replaced() {
        let found = problems(&format!(
            "{CREDENTIAL}[credentials.a.parameters]\ngrant_type = \"x\"\nn = 1\n[credentials.a.headers]\n\
             Authorization = \"sentinel\"\n\"a b\" = \"sentinel\"\nc = \"sentinel\\n\"\n"
        ));
        assert_eq!(found.len(), 5, "{found:#?}");
        assert!(
            found[0].starts_with("proxy.toml:9:1: `credentials.a.parameters.grant_type` is set by attache itself; ")
        );
        assert!(
            found[2].starts_with("proxy.toml:12:1: `credentials.a.headers.Authorization` is set by attache itself; ")
        );
        assert!(!found.join("\n").contains("sentinel"));
    }
}
