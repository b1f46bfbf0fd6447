//! `[credentials.X]`: the token request.

use std::time::Duration;

use url::Url;

use super::extra_fields::{headers, parameters};
use super::reader::TableReader;
use super::secrets::secret;
use super::value::Value;
use crate::oauth::{ClientAuth, OAuthSettings};
use crate::upstream::Host;

/// The keys of client authentication methods that are planned but have no meaning yet.
const LATER_METHOD_KEYS: [&str; 6] =
    ["private_key", "key_id", "signing_algorithm", "client_assertion", "client_certificate", "client_key"];

/// Reads everything that a token request is made of. `None` after a problem.
pub(super) fn token_request(table: &mut TableReader<'_>) -> Option<OAuthSettings> {
    let endpoint = if table.has("issuer") {
        // One message is enough: with an issuer nobody expects to write the endpoint too.
        table.not_yet("issuer", "write token_endpoint = \"https://…\", as in the server's metadata");
        table.get("token_endpoint")
    } else {
        table.required("token_endpoint", "write token_endpoint = \"https://…\", the URL that issues tokens")
    };
    let token_endpoint = endpoint.and_then(|value| endpoint_url(&value));
    let client_id = table
        .required("client_id", "write client_id = \"…\", as the authorization server knows this client")
        .and_then(|value| value.text().map(str::to_owned));
    let client_auth = client_auth(table);

    let scope = table.get("scope").map_or_else(Vec::new, |value| scope(value));
    let audience = table.get("audience").and_then(|value| value.text().map(str::to_owned));
    let resource = table.get("resource").and_then(Value::one_or_list).unwrap_or_default();
    let resource = resource.iter().filter_map(resource_uri).collect();
    let parameters = table.table("parameters").map_or_else(Vec::new, |table| parameters(&table));
    let headers = table.table("headers").map_or_else(Vec::new, |table| headers(&table));
    let timeout = table.get("timeout").and_then(|value| value.duration()).unwrap_or(Duration::from_secs(10));
    let ca_file = table.get("ca_file").and_then(|value| value.certificates());
    table.not_yet("proxy", "remove it; token requests go out directly");

    Some(OAuthSettings {
        token_endpoint: token_endpoint?,
        client_id: client_id?,
        client_auth: client_auth?,
        scope,
        audience,
        resource,
        parameters,
        headers,
        timeout,
        ca_file,
    })
}

/// RFC 6749 section 3.2. The URL is never repeated: it may hold a password.
fn endpoint_url(value: &Value<'_>) -> Option<Url> {
    const REMEDY: &str = "write token_endpoint = \"https://…\", the URL that issues tokens";
    let url = value.parsed(Url::parse, REMEDY)?;
    let Some(Ok(host)) = url.host_str().map(Host::parse) else {
        return value.wrong("has no host that can be called", REMEDY);
    };
    match url.scheme() {
        "https" => {}
        "http" if host.is_loopback() => {}
        "http" => {
            return value.wrong(
                "is plain http, which would show the client's secret to the network",
                "write https://…; plain http is for localhost and 127.0.0.1",
            );
        }
        _ => return value.wrong("is not an https URL", REMEDY),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return value.wrong("has a user name or password", "write them as client_id and client_secret");
    }
    if url.fragment().is_some() {
        return value.wrong("has a fragment", "leave out \"#\" and what follows (RFC 6749 section 3.2)");
    }
    Some(url)
}

/// What goes with each method: adding one means a line here and what it needs below.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Basic,
    Post,
    None,
}

fn client_auth(table: &mut TableReader<'_>) -> Option<ClientAuth> {
    let method = table.get("client_auth").map_or(Some(Method::Basic), |value| {
        let now =
            [("client_secret_basic", Method::Basic), ("client_secret_post", Method::Post), ("none", Method::None)];
        value.choice(&now, &["client_secret_jwt", "private_key_jwt", "tls_client_auth"])
    });
    let given = table.get("client_secret");
    let Some(method) = method else {
        // The keys of the method that is not there yet are explained by the method.
        table.ignore(&LATER_METHOD_KEYS);
        return None;
    };
    for key in LATER_METHOD_KEYS {
        table.not_yet(key, "remove it; the methods are client_secret_basic, client_secret_post and none");
    }
    match (method, given) {
        (Method::None, None) => Some(ClientAuth::None),
        (Method::None, Some(value)) => {
            value.wrong("is not sent with client_auth = \"none\"", "remove it, or remove client_auth")
        }
        (Method::Basic, Some(value)) => secret(&value).map(ClientAuth::Basic),
        (Method::Post, Some(value)) => secret(&value).map(ClientAuth::Post),
        (Method::Basic | Method::Post, None) => {
            table.missing(
                "client_secret",
                "write client_secret = { env = \"NAME\" }, or client_auth = \"none\" for a client without one",
            );
            None
        }
    }
}

/// RFC 6749 section 3.3: a list, or one string with spaces between.
fn scope(value: Value<'_>) -> Vec<String> {
    let token = |text: &str| text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
    let one_string = value.node.is_str();
    let mut scope = Vec::new();
    for entry in value.one_or_list().unwrap_or_default() {
        let Some(text) = entry.text() else { continue };
        if !one_string && text.contains(char::is_whitespace) {
            entry.wrong::<()>("has an entry with a space in it", "write each scope as an entry of its own");
        } else if text.split_whitespace().all(token) {
            scope.extend(text.split_whitespace().map(str::to_owned));
        } else {
            entry.wrong::<()>("has a character that no scope has", "write ASCII without quotes or backslashes");
        }
    }
    scope
}

/// RFC 8707 section 2. Kept as it is written, because servers compare it as text.
fn resource_uri(value: &Value<'_>) -> Option<String> {
    const REMEDY: &str = "write an absolute URI without \"#\", such as \"https://api.example.com\"";
    let text = value.text()?;
    match text.parse::<Url>() {
        Ok(uri) if uri.fragment().is_none() => Some(text.to_owned()),
        Ok(_) => value.wrong("has a fragment", REMEDY),
        Err(_) => value.wrong("is not an absolute URI", REMEDY),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{problems, token_settings};
    use crate::oauth::{ClientAuth, OAuthSettings};

    const SECRET: &str = "client_secret = { env = \"SECRET\" }";
    const ENDPOINT: &str = "token_endpoint = \"https://login.test/token\"";

    fn credential(rest: &str) -> String {
        format!(
            "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[upstreams.a]\norigin = \"https://a.test\"\n\
             credential = \"a\"\n[credentials.a]\nclient_id = \"a\"\n{rest}\n"
        )
    }

    fn oauth(rest: &str) -> OAuthSettings {
        token_settings(&credential(rest)).oauth
    }

    fn wrong(rest: &str) -> Vec<String> {
        problems(&credential(rest))
    }

    #[test]
    fn the_token_endpoint_is_https_unless_it_is_on_this_machine() {
        for url in ["https://login.test/token?a=b", "http://localhost:8000/t", "http://127.0.0.1/t", "http://[::1]:1/t"]
        {
            assert_eq!(oauth(&format!("token_endpoint = \"{url}\"\n{SECRET}")).token_endpoint.as_str(), url);
        }
        for (url, what) in [
            ("http://login.test/token", "is plain http"),
            ("https://sentinel:sentinel@login.test/token", "has a user name or password"),
            ("https://login.test/token#sentinel", "has a fragment"),
            ("ftp://login.test/sentinel", "is not an https URL"),
            ("login.test/sentinel", "is not valid: "),
            ("mailto:sentinel", "has no host"),
        ] {
            let found = wrong(&format!("token_endpoint = \"{url}\"\n{SECRET}"));
            assert_eq!(found.len(), 1, "{found:#?}");
            assert!(
                found[0].starts_with(&format!("proxy.toml:9:18: `credentials.a.token_endpoint` {what}")),
                "{found:#?}"
            );
            assert!(!found[0].contains("sentinel"), "{found:#?}");
        }
    }

    #[test]
    fn an_issuer_is_answered_with_the_key_to_write_instead() {
        let found = wrong(&format!("issuer = \"https://login.test\"\n{SECRET}"));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].contains("`credentials.a.issuer` is not supported by this version; write token_endpoint = "));
    }

    #[test]
    fn each_method_has_the_secret_it_needs() {
        assert!(matches!(oauth(&format!("{ENDPOINT}\n{SECRET}")).client_auth, ClientAuth::Basic(_)));
        let post = format!("{ENDPOINT}\nclient_auth = \"client_secret_post\"\n");
        assert!(matches!(oauth(&format!("{post}{SECRET}")).client_auth, ClientAuth::Post(_)));
        assert!(matches!(oauth(&format!("{ENDPOINT}\nclient_auth = \"none\"")).client_auth, ClientAuth::None));
        for rest in [ENDPOINT, &post] {
            let found = wrong(rest);
            assert!(
                found[0].starts_with("proxy.toml:7:1: `credentials.a.client_secret` is missing; write "),
                "{found:#?}"
            );
        }
        let found = wrong(&format!("{ENDPOINT}\nclient_auth = \"none\"\n{SECRET}"));
        assert!(found[0].contains("is not sent with client_auth = \"none\"; remove it"), "{found:#?}");
        let found = wrong(&format!("{ENDPOINT}\nclient_auth = \"private_key_jwt\"\nprivate_key = \"k.pem\""));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(
            found[0].contains("\"private_key_jwt\" is not supported by this version; write \"client_secret_basic\"")
        );
        let found = wrong(&format!("{ENDPOINT}\n{SECRET}\nprivate_key = \"k.pem\""));
        assert!(found[0].contains("`credentials.a.private_key` is not supported by this version; "), "{found:#?}");
    }

    #[test]
    fn a_misspelt_key_that_was_needed_is_one_problem_and_not_two() {
        let found = wrong(&format!("{ENDPOINT}\nclient_secert = {{ env = \"SECRET\" }}"));
        assert_eq!(
            found,
            ["proxy.toml:10:1: unknown key `client_secert` in [credentials.a]; did you mean `client_secret`?"]
        );
    }

    #[test]
    fn scopes_and_resources_are_a_string_or_a_list() {
        let with = |rest: &str| oauth(&format!("{ENDPOINT}\n{SECRET}\n{rest}"));
        assert_eq!(with("scope = \"a  b\"").scope, ["a", "b"]);
        assert_eq!(with("scope = [\"a\", \"b\"]").scope, ["a", "b"]);
        assert_eq!(with("resource = \"https://A.test\"").resource, ["https://A.test"]);
        assert_eq!(with("resource = [\"urn:a\", \"https://b.test/\"]").resource, ["urn:a", "https://b.test/"]);
        let found = wrong(&format!(
            "{ENDPOINT}\n{SECRET}\nscope = [\"a b\", \"ü\", 1]\nresource = [\"a\", \"https://a.test#x\"]"
        ));
        assert_eq!(found.len(), 5, "{found:#?}");
        assert!(found[0].starts_with("proxy.toml:11:10: `credentials.a.scope` has an entry with a space in it; "));
        assert!(found[4].starts_with("proxy.toml:12:18: `credentials.a.resource` has a fragment; "));
    }

    #[test]
    fn trust_comes_from_a_file_with_certificates() {
        let found = wrong(&format!("{ENDPOINT}\n{SECRET}\nca_file = \"/surely/not/there.pem\"\ntimeout = \"0s\""));
        assert!(found[0].contains("`credentials.a.ca_file` names /surely/not/there.pem, which cannot be read: "));
        assert!(found[1].contains("`credentials.a.timeout` is zero"));
    }
}
