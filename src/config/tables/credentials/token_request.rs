//! `[credentials.X]`: the token request.

use std::time::Duration;

use url::Url;

use crate::config::syntax::reader::{TableReader, set};
use crate::config::syntax::tree::Node;
use crate::config::syntax::userinfo::userinfo;
use crate::config::syntax::value::Value;
use crate::config::tables::credentials::client_auth::{assertion_audience, grant_and_client_auth, sign};
use crate::config::tables::credentials::extra_fields::{headers, parameters};
use crate::config::tables::credentials::preset::preset;
use crate::config::tables::credentials::token_server::{issuer, token_endpoint};
use crate::config::tables::parent_proxy;
use crate::config::tables::secrets::pem;
use crate::dial::{ParentProxyLogin, ParentProxySettings};
use crate::oauth::{AssertionAudience, ClientAuth, DpopSettings, Grant, JwtBearer, OAuthSettings, Server};
use crate::secret::{Secret, SecretSource, Secrets};

/// Reads everything that a token request is made of. `None` after a problem.
/// The second part is how long tokens live where their server does not say, if a preset knows that.
pub(crate) fn token_request(table: &mut TableReader<'_>) -> Option<(OAuthSettings, Option<Duration>)> {
    let has_preset = table.has("preset");
    let preset = preset(table);
    if has_preset && preset.is_none() {
        // The provider's own keys are explained by the preset's problem.
        table.ignore(&["tenant", "domain", "realm", "authorization_server", "environment"]);
    }
    let preset = preset.unwrap_or_default();
    for (key, remedy) in preset.needs {
        if !table.has(key) || table.is_blank(key) {
            table.missing(key, *remedy);
        }
    }
    let issuer_value = table.get("issuer");
    let endpoint = table.get("token_endpoint");
    let endpoint_broken = endpoint.is_some();
    if endpoint.is_none() && issuer_value.is_none() && !has_preset {
        table.missing(
            "token_endpoint",
            "write token_endpoint = \"https://…\", the URL that issues tokens, or issuer = \"https://…\" to have it looked up",
        );
    }
    let token_endpoint = endpoint.and_then(|value| token_endpoint(&value)).or(preset.token_endpoint);
    let issuer_given = issuer_value.is_some();
    let issuer = issuer_value.and_then(|value| issuer(&value)).or(preset.issuer);

    let (grant, client_auth) = grant_and_client_auth(table, &preset.defaults);
    let client_id = match (table.get("client_id"), &client_auth) {
        (Some(value), _) => value.text().map(str::to_owned),
        // Nothing is said of the client: the assertion is all there is, or the subject.
        (None, Some(ClientAuth::Omitted)) if !matches!(grant, Some(Grant::JwtBearer(JwtBearer::Signed { .. }))) => {
            Some(String::new())
        }
        (None, _) if preset.client_id.is_some() => preset.client_id,
        (None, _) => {
            table.missing("client_id", "write client_id = \"…\", as the authorization server knows this client");
            None
        }
    };
    let audience_value = table.get("assertion_audience");
    let audience_at = audience_value.as_ref().map(|value| (value.at, value.path.clone()));
    let assertion_audience = audience_value.and_then(|value| assertion_audience(&value));
    if assertion_audience == Some(AssertionAudience::Issuer)
        && issuer.is_none()
        && !issuer_given
        && let Some((at, path)) = audience_at
    {
        let remedy = "write issuer = \"https://…\" too, or assertion_audience = \"token_endpoint\"";
        table.file.problem(at, format!("`{path}` means the issuer, and none is configured"), remedy);
    }

    let scope_at = written(table, "scope").map(|value| (value.at, value.path));
    let scope = written(table, "scope").map_or_else(Vec::new, |value| scope(value));
    if let (Some(end), Some((at, path))) = (preset.scope_ends_with, scope_at)
        && scope.iter().any(|scope| !scope.ends_with(end))
    {
        let remedy = format!("write the API's application ID URI and \"{end}\", such as \"api://orders{end}\"");
        table.file.problem(at, format!("`{path}` has to end in \"{end}\" for this provider"), remedy);
    }
    let audience = written(table, "audience");
    if let (Some(begin), Some(value)) = (preset.audience_begins_with, &audience)
        && value.node.as_str().is_some_and(|audience| !audience.starts_with(begin))
    {
        let remedy = format!("write the full name of the provider, which begins with \"{begin}\"");
        value.wrong::<()>(format!("has to begin with \"{begin}\" for this provider"), remedy);
    }
    let audience = audience.and_then(|value| value.text().map(str::to_owned));
    let resource = written(table, "resource").and_then(Value::one_or_list).unwrap_or_default();
    let resource = resource.iter().filter_map(resource_uri).collect();
    let parameters = table.table("parameters").map_or_else(Vec::new, |table| parameters(&table));
    let headers = table.table("headers").map_or_else(Vec::new, |table| headers(&table));
    let timeout = table.get("timeout").and_then(|value| value.duration()).unwrap_or(Duration::from_secs(10));
    let ca_file = table.get("ca_file").and_then(|value| value.certificates());
    let proxy = table.get("proxy").and_then(|value| proxy(&value));
    let token_member = table.get("token_member").and_then(|value| value.text().map(str::to_owned));
    let dpop = table.get("dpop").and_then(|value| dpop(&value));

    if (endpoint_broken && token_endpoint.is_none()) || (token_endpoint.is_none() && issuer.is_none()) {
        return None;
    }
    let mut settings = OAuthSettings::new(Server { token_endpoint, issuer }, client_id?, client_auth?);
    settings.grant = grant?;
    set(&mut settings.assertion_audience, assertion_audience);
    settings.token_member = token_member;
    let settings =
        OAuthSettings { scope, audience, resource, parameters, headers, timeout, ca_file, proxy, dpop, ..settings };
    Some((settings, preset.default_lifetime))
}

/// The value of a key, unless it says nothing: templates write `scope = ""` and `scope = []` where there is none.
fn written<'a>(table: &mut TableReader<'a>, key: &'static str) -> Option<Value<'a>> {
    let value = table.get(key)?;
    if table.is_blank(key) { None } else { Some(value) }
}

/// The way out for token requests: as `via`, or a URL with a user name and a password in it, as other programs take it.
fn proxy(value: &Value<'_>) -> Option<ParentProxySettings> {
    let Some(url) = value.node.as_str().and_then(|text| Url::parse(text).ok()) else {
        return parent_proxy::proxy(value, "proxy");
    };
    if url.username().is_empty() && url.password().is_none() {
        return parent_proxy::proxy(value, "proxy");
    }
    let (username, password) = userinfo(&url);
    let mut bare = url;
    let taken_off = bare.set_username("").is_ok() && bare.set_password(None).is_ok();
    let proxy = bare.as_str().trim_end_matches('/').parse().ok().filter(|_| taken_off);
    let Some(proxy) = proxy.filter(|_| !username.contains(|letter: char| letter == ':' || letter.is_control())) else {
        return value.wrong("is no http or https proxy", "write proxy = \"http://HOST:PORT\"");
    };
    let what = format!("`{}`: the proxy's password is written into the file", value.path);
    let remedy = "write proxy = { url = \"http://HOST:PORT\", username = \"…\", password = { env = \"NAME\" } }";
    value.file.warning(value.at, what, remedy);
    let password = Secrets::one(SecretSource::Literal(password.unwrap_or_else(|| Secret::new(String::new()))));
    let login = Some(ParentProxyLogin { username, password });
    Some(ParentProxySettings { key: "proxy", proxy, login, ca_file: None, except: Vec::new() })
}

/// `true`, `false` or `{ private_key = … }`.
fn dpop(value: &Value<'_>) -> Option<DpopSettings> {
    match value.node {
        Node::Boolean(true) => Some(DpopSettings::Generated),
        Node::Boolean(false) => None,
        Node::Table(_) => {
            let mut table = TableReader::from_value(value)?;
            let key = table.required("private_key", "write private_key = \"key.pem\"").and_then(|value| {
                let source = pem(&value)?;
                if value.file.secrets_matter {
                    sign(&value, &Secrets::one(source.clone()), None, None)?;
                }
                Some(source)
            });
            table.finish();
            key.map(DpopSettings::Key)
        }
        _ => value.wrong_type("a boolean or a table", "write dpop = true, or dpop = { private_key = \"key.pem\" }"),
    }
}

/// RFC 6749 section 3.3: a list, or one string with spaces between.
fn scope(value: Value<'_>) -> Vec<String> {
    let token = |text: &str| text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
    let one_string = value.node.is_str();
    let mut scope = Vec::new();
    for entry in value.one_or_list().unwrap_or_default() {
        if matches!(entry.node, Node::String(text) if text.trim().is_empty()) {
            continue;
        }
        let Some(text) = entry.text() else { continue };
        if text.contains(',') {
            let what = format!("`{}` has a comma in it, which is sent as a part of the scope", entry.path);
            entry.file.warning(entry.at, what, "write blanks between scopes, unless the server wants commas");
        }
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
    use crate::config::testing::{config, problems, token_settings};
    use crate::oauth::{AssertionAudience, DpopSettings, OAuthSettings};

    const SECRET: &str = "client_secret = { env = \"SECRET\" }";
    const ENDPOINT: &str = "token_endpoint = \"https://login.test/token\"";

    fn credential(rest: &str) -> String {
        format!(
            "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[upstreams.a]\norigin = \"https://a.test\"\n\
             credential = \"a\"\n[credentials.a]\nclient_id = \"a\"\n{rest}\n"
        )
    }

    fn oauth(rest: &str) -> OAuthSettings {
        std::sync::Arc::unwrap_or_clone(token_settings(&credential(rest)).oauth)
    }

    fn wrong(rest: &str) -> Vec<String> {
        problems(&credential(rest))
    }

    #[test]
    fn the_token_endpoint_is_https_unless_it_is_on_this_machine() {
        for url in ["https://login.test/token?a=b", "http://localhost:8000/t", "http://127.0.0.1/t", "http://[::1]:1/t"]
        {
            assert_eq!(
                oauth(&format!("token_endpoint = \"{url}\"\n{SECRET}")).server.token_endpoint.unwrap().as_str(),
                url
            );
        }
        for (url, what) in [
            ("http://login.test/token", "is plain http"),
            ("https://sentinel:sentinel@login.test/token", "has a user name or password"),
            ("https://login.test/token#sentinel", "has a fragment"),
            ("ftp://login.test/sentinel", "is not an https URL"),
            ("login.test/sentinel", "does not begin with https://"),
            ("mailto:sentinel", "does not begin with https://"),
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
    fn an_issuer_stands_in_for_the_token_endpoint_and_is_kept_to_the_letter() {
        let read = oauth(&format!("issuer = \"https://login.test/Tenant/\"\n{SECRET}"));
        assert_eq!(read.server.issuer.as_deref(), Some("https://login.test/Tenant/"));
        assert!(read.server.token_endpoint.is_none());
        let both = oauth(&format!("issuer = \"https://login.test\"\n{ENDPOINT}\n{SECRET}"));
        assert!(both.server.issuer.is_some() && both.server.token_endpoint.is_some());
        for metadata in ["a/.well-known/openid-configuration", ".well-known/oauth-authorization-server/a"] {
            let found = wrong(&format!("issuer = \"https://login.test/{metadata}\"\n{SECRET}"));
            assert!(found.len() == 1 && found[0].contains("; leave out /.well-known/o"), "{found:#?}");
            let found = wrong(&format!("token_endpoint = \"https://login.test/{metadata}\"\n{SECRET}"));
            assert!(found.len() == 1 && found[0].contains("; write issuer = "), "{found:#?}");
        }
        for wrong_issuer in ["http://login.test", "https://login.test?x=1", "https://login.test#x", "login.test"] {
            assert_eq!(wrong(&format!("issuer = \"{wrong_issuer}\"\n{SECRET}")).len(), 1, "{wrong_issuer}");
        }
        let neither = wrong(SECRET);
        assert!(
            neither[0].contains("`credentials.a.token_endpoint` is missing; ") && neither.len() == 1,
            "{neither:#?}"
        );
    }

    #[test]
    fn the_audience_of_assertions_is_a_word_or_a_text() {
        let with = |rest: &str| oauth(&format!("{ENDPOINT}\n{SECRET}\n{rest}")).assertion_audience;
        assert_eq!(with(""), AssertionAudience::Unsaid);
        assert_eq!(with("assertion_audience = \"token_endpoint\""), AssertionAudience::TokenEndpoint);
        assert_eq!(with("assertion_audience = \"https://x\""), AssertionAudience::Text("https://x".into()));
        let issuer = format!("issuer = \"https://login.test\"\n{SECRET}\nassertion_audience = \"issuer\"");
        assert_eq!(oauth(&issuer).assertion_audience, AssertionAudience::Issuer);
        let found = wrong(&format!("{ENDPOINT}\n{SECRET}\nassertion_audience = \"issuer\""));
        assert!(found[0].contains("means the issuer, and none is configured; "), "{found:#?}");
    }

    #[test]
    fn the_parent_proxy_and_bound_tokens_are_read() {
        let read = oauth(&format!("{ENDPOINT}\n{SECRET}\nproxy = \"http://proxy.test:3128\"\ndpop = true"));
        assert_eq!(read.proxy.unwrap().proxy.to_string(), "http://proxy.test:3128");
        let known = "{ url = \"http://proxy.test:3128\", username = \"me\", password = { env = \"SECRET\" } }";
        let read_known = oauth(&format!("{ENDPOINT}\n{SECRET}\nproxy = {known}")).proxy.unwrap();
        assert_eq!((read_known.key, read_known.login.unwrap().username.as_str()), ("proxy", "me"));
        assert!(oauth(&format!("{ENDPOINT}\n{SECRET}\nproxy = \"http://proxy.test:3128/\"")).proxy.is_some());
        assert!(matches!(read.dpop, Some(DpopSettings::Generated)));
        assert!(oauth(&format!("{ENDPOINT}\n{SECRET}\ndpop = false")).dpop.is_none());
        let found = wrong(&format!("{ENDPOINT}\n{SECRET}\nproxy = \"socks5://p:1\"\ndpop = \"yes\""));
        assert_eq!(found.len(), 2, "{found:#?}");
        let read = config(&credential(&format!("{ENDPOINT}\n{SECRET}\nproxy = \"http://me:sentinel@proxy.test\"")));
        assert_eq!(read.warnings.len(), 1);
        assert!(!format!("{read:?}").contains("sentinel"));
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
        for (commas, read) in [("scope = \"a,b\"", "a,b"), ("scope = [\"a,\"]", "a,")] {
            let warned = config(&credential(&format!("{ENDPOINT}\n{SECRET}\n{commas}"))).warnings;
            assert!(warned.len() == 1 && warned[0].remedy.contains("blanks"), "{warned:#?}");
            assert_eq!(with(commas).scope, [read], "some servers want it so");
        }
        for none in
            ["scope = \"\"", "scope = []", "scope = \" \"", "scope = [\"\"]", "resource = []", "audience = \"\""]
        {
            let read = with(none);
            assert_eq!((read.scope.len(), read.resource.len(), read.audience), (0, 0, None), "{none}");
        }
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
