//! `[credentials.X]`: how the client proves itself, and the grants that need a key or an assertion of their own.

use crate::config::syntax::error::ProblemKind;
use crate::config::syntax::reader::TableReader;
use crate::config::syntax::value::Value;
use crate::config::tables::client_identity::pair;
use crate::config::tables::credentials::extra_fields::parameters;
use crate::config::tables::secrets::{held, pem, pems, secrets};
use crate::jose::{Algorithm, SigningKey};
use crate::oauth::{
    AssertionAudience, ClientAssertionType, ClientAuth, Grant, JwtBearer, SigningKeySettings, TokenExchange,
};
use crate::secret::{SecretSource, Secrets};

/// What a token exchange says of the caller's token unless told otherwise (RFC 8693 section 3).
pub(crate) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The same of a subject that the configuration names, which is what a platform gives to a workload.
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

const ASSERTION_TYPES: [(&str, ClientAssertionType); 2] =
    [("jwt-bearer", ClientAssertionType::JwtBearer), ("jwt-spiffe", ClientAssertionType::JwtSpiffe)];

/// What goes with each method: adding one means a line here and what it needs below.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Basic,
    Post,
    SecretJwt,
    PrivateKeyJwt,
    Tls,
    None,
}

const METHODS: [(&str, Method); 6] = [
    ("client_secret_basic", Method::Basic),
    ("client_secret_post", Method::Post),
    ("client_secret_jwt", Method::SecretJwt),
    ("private_key_jwt", Method::PrivateKeyJwt),
    ("tls_client_auth", Method::Tls),
    ("none", Method::None),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum GrantWord {
    ClientCredentials,
    TokenExchange,
    JwtBearer,
    /// `{ type = … }`
    Other,
}

const GRANTS: [(&str, GrantWord); 3] = [
    ("client_credentials", GrantWord::ClientCredentials),
    ("token_exchange", GrantWord::TokenExchange),
    ("jwt_bearer", GrantWord::JwtBearer),
];

/// Keys that one grant alone has.
const OWN_KEYS: [(&str, &[&str]); 2] = [
    ("grant = \"token_exchange\"", &["subject_token", "subject_token_type", "requested_token_type"]),
    ("grant = \"jwt_bearer\"", &["assertion", "subject", "assertion_claims"]),
];

const ALGORITHMS: [(&str, Algorithm); 5] = [
    ("RS256", Algorithm::RS256),
    ("PS256", Algorithm::PS256),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// What a preset says where the file does not.
#[derive(Debug, Clone, Default)]
pub(crate) struct Defaults {
    /// `client_auth`.
    pub(crate) client_auth: Option<&'static str>,
    /// `grant`.
    pub(crate) grant: Option<&'static str>,
    /// The scope is a claim of the assertion.
    pub(crate) scope_claim: bool,
    /// `client_assertion`, where nothing else proves the client.
    pub(crate) assertion: Option<Secrets>,
    /// `requested_token_type`.
    pub(crate) requested_token_type: Option<&'static str>,
}

/// Reads the grant and the client authentication, which share the keys of assertions.
pub(crate) fn grant_and_client_auth(
    table: &mut TableReader<'_>,
    defaults: &Defaults,
) -> (Option<Grant>, Option<ClientAuth>) {
    let word = |text: Option<&str>| GRANTS.iter().find(|(word, _)| Some(*word) == text).map(|(_, grant)| *grant);
    let mut other = None;
    let grant = match table.get("grant") {
        Some(value) if value.node.is_table() => {
            other = grant_type(&value);
            other.is_some().then_some(GrantWord::Other)
        }
        Some(value) => value.choice(&GRANTS, &[]),
        None => Some(word(defaults.grant).unwrap_or(GrantWord::ClientCredentials)),
    };
    let keys = Keys::read(table);
    let explicit = table.get("client_auth");
    let method = match &explicit {
        Some(value) => value.choice(&METHODS, &[]).map(Some),
        None => Some(None),
    };
    let signs_grant = grant == Some(GrantWord::JwtBearer);
    // What the platform says of the workload may be all the proof there is (RFC 7521 section 4.1).
    let has_subject = table.has("subject_token") || defaults.grant == Some("token_exchange");
    let subject_alone = grant == Some(GrantWord::TokenExchange) && has_subject && !table.has("client_id");
    let preset = METHODS.iter().find(|(word, _)| Some(*word) == defaults.client_auth).map(|(_, method)| *method);
    let client_auth = method.and_then(|method| {
        if method.is_none() && keys.are_none() {
            if let Some(assertions) = defaults.assertion.clone() {
                if table.file.secrets_matter
                    && let Err(error) = assertions.first_readable()
                {
                    let remedy = format!("AZURE_FEDERATED_TOKEN_FILE: {error}; mount the platform's token there, or write what proves the client");
                    table.missing("client_assertion", remedy);
                    return None;
                }
                return Some(ClientAuth::Assertion { assertions, assertion_type: keys.assertion_type });
            }
            if subject_alone {
                return Some(ClientAuth::Omitted);
            }
        }
        let method = method.or_else(|| match keys.method(signs_grant) {
            // The preset knows by which of its methods a secret is sent.
            Some(Method::Basic) => preset.or(Some(Method::Basic)),
            method => method,
        });
        keys.client_auth(table, method, signs_grant)
    });
    for (setting, keys) in OWN_KEYS {
        // Which of them are wanted is not known where the grant is not.
        if grant.is_some() { table.belonging(keys, setting) } else { table.ignore(keys) }
    }
    let grant = match other {
        Some(grant_type) => Some(Grant::Other(grant_type)),
        None => grant.and_then(|grant| grant_of(grant, table, &keys, defaults)),
    };
    (grant, client_auth)
}

/// Every key that some method or grant needs, read whether it is needed or not: one that is not is a mistake.
struct Keys<'a> {
    secret: Option<Value<'a>>,
    raw: Option<bool>,
    private_key: Option<Value<'a>>,
    assertion: Option<Value<'a>>,
    assertion_type: Option<ClientAssertionType>,
    certificate: Option<Value<'a>>,
    key: Option<Value<'a>>,
    key_id: Option<String>,
    algorithm: Option<Algorithm>,
}

impl<'a> Keys<'a> {
    fn read(table: &mut TableReader<'a>) -> Self {
        let raw = table.get("basic_encoding").and_then(|value| value.choice(&[("form", false), ("raw", true)], &[]));
        let key_id = table.get("key_id").and_then(|value| value.text().map(str::to_owned));
        let algorithm = table.get("signing_algorithm").and_then(|value| value.choice(&ALGORITHMS, &[]));
        Self {
            secret: table.get("client_secret"),
            raw,
            private_key: table.get("private_key"),
            assertion: table.get("client_assertion"),
            assertion_type: table.get("client_assertion_type").and_then(|value| value.choice(&ASSERTION_TYPES, &[])),
            certificate: table.get("client_certificate"),
            key: table.get("client_key"),
            key_id,
            algorithm,
        }
    }

    /// Nothing of the client's is written.
    const fn are_none(&self) -> bool {
        self.secret.is_none() && self.private_key.is_none() && self.assertion.is_none() && self.certificate.is_none()
    }

    /// The method that the keys which are there can only mean; `client_secret_basic` where there is a secret or nothing.
    fn method(&self, signs_grant: bool) -> Option<Method> {
        match (&self.secret, &self.private_key, &self.assertion) {
            (Some(_), ..) => Some(Method::Basic),
            (None, _, Some(_)) => Some(Method::PrivateKeyJwt),
            // With `jwt_bearer` the key signs the grant, and that is all the proof there is (RFC 7521 section 4.1).
            _ if signs_grant => None,
            (None, Some(_), None) => Some(Method::PrivateKeyJwt),
            (None, None, None) if self.certificate.is_some() => Some(Method::Tls),
            (None, None, None) => Some(Method::Basic),
        }
    }

    fn client_auth(
        &self,
        table: &mut TableReader<'_>,
        method: Option<Method>,
        signs_grant: bool,
    ) -> Option<ClientAuth> {
        self.refuse_unused(method, signs_grant);
        match method {
            None => Some(ClientAuth::Omitted),
            Some(Method::None) => Some(ClientAuth::None),
            Some(Method::Basic) => {
                Some(ClientAuth::Basic { secrets: self.secret(table)?, raw: self.raw.unwrap_or(false) })
            }
            Some(Method::Post) => self.secret(table).map(ClientAuth::Post),
            Some(Method::SecretJwt) => self.secret(table).map(ClientAuth::SecretJwt),
            Some(Method::PrivateKeyJwt) => match (&self.assertion, &self.private_key) {
                (Some(assertion), None) => self.given(assertion),
                (Some(assertion), Some(_)) if !signs_grant => {
                    assertion.wrong("stands beside private_key", "keep the one that is meant to prove the client")
                }
                (Some(assertion), Some(_)) => self.given(assertion),
                (None, Some(_)) => self.signing_key(table).map(ClientAuth::PrivateKeyJwt),
                (None, None) => {
                    table.missing(
                        "private_key",
                        "write private_key = \"key.pem\", or client_assertion = { file = \"jwt\" }",
                    );
                    None
                }
            },
            Some(Method::Tls) => {
                let certificate = self.certificate.as_ref();
                if certificate.is_none() {
                    table.missing(
                        "client_certificate",
                        "write client_certificate = \"cert.pem\" and client_key = \"key.pem\"",
                    );
                }
                let pair = pair(certificate?, self.key.as_ref())?;
                Some(ClientAuth::Tls { certificate: pair.certificate, key: pair.key })
            }
        }
    }

    fn given(&self, assertion: &Value<'_>) -> Option<ClientAuth> {
        Some(ClientAuth::Assertion { assertions: secrets(assertion)?, assertion_type: self.assertion_type })
    }

    fn secret(&self, table: &mut TableReader<'_>) -> Option<Secrets> {
        if self.secret.is_none() {
            table.missing(
                "client_secret",
                "write client_secret = { env = \"NAME\" }, or client_auth = \"none\" for a client without one",
            );
        }
        secrets(self.secret.as_ref()?)
    }

    fn signing_key(&self, table: &mut TableReader<'_>) -> Option<SigningKeySettings> {
        if self.private_key.is_none() {
            table.missing("private_key", "write private_key = \"key.pem\": a PEM or JWK file, or { env = \"NAME\" }");
        }
        let certificate = match &self.certificate {
            Some(value) => Some(pem(value)?),
            None => None,
        };
        let value = self.private_key.as_ref()?;
        let keys = pems(value)?;
        if value.file.secrets_matter {
            sign(value, &keys, self.algorithm, self.key_id.as_deref())?;
        }
        Some(SigningKeySettings { keys, key_id: self.key_id.clone(), algorithm: self.algorithm, certificate })
    }

    /// What is written and not sent is a misunderstanding.
    fn refuse_unused(&self, method: Option<Method>, signs_grant: bool) {
        let signs = method == Some(Method::PrivateKeyJwt) || signs_grant;
        let name = METHODS.iter().find(|(_, word)| Some(*word) == method).map_or("no client_auth", |(word, _)| *word);
        let has_secret = matches!(method, Some(Method::Basic | Method::Post | Method::SecretJwt));
        let unused = [
            (&self.secret, has_secret),
            (&self.private_key, signs),
            (&self.assertion, method == Some(Method::PrivateKeyJwt)),
            (&self.certificate, signs || method == Some(Method::Tls)),
            (&self.key, method == Some(Method::Tls)),
        ];
        for (value, used) in unused {
            if let (Some(value), false) = (value, used) {
                let what = if name == "no client_auth" {
                    "is not used by this grant".to_owned()
                } else {
                    format!("is not sent with client_auth = \"{name}\"")
                };
                value.wrong_as::<()>(ProblemKind::Unused, what, "remove it, or remove client_auth");
            }
        }
    }
}

/// A key that cannot sign is told when the configuration is read, and not by the first request. Documents and programs are left for later.
pub(crate) fn sign(
    value: &Value<'_>,
    keys: &Secrets,
    algorithm: Option<Algorithm>,
    key_id: Option<&str>,
) -> Option<()> {
    for source in keys.sources() {
        if !matches!(source, SecretSource::File(_) | SecretSource::Literal(_) | SecretSource::Env(_)) {
            continue;
        }
        // One that cannot be read has been said already.
        let Some(text) = held(value, source) else { continue };
        if let Err(error) = SigningKey::from_text(&text, algorithm, key_id) {
            return value
                .wrong(format!("cannot sign: {error}"), "name a private key in PEM without a passphrase, or a JWK");
        }
    }
    Some(())
}

fn grant_of(grant: GrantWord, table: &mut TableReader<'_>, keys: &Keys<'_>, defaults: &Defaults) -> Option<Grant> {
    // Keys of one grant are unknown to the others, so that a misplaced one is said.
    match grant {
        GrantWord::ClientCredentials | GrantWord::Other => Some(Grant::ClientCredentials),
        GrantWord::TokenExchange => {
            let text = |value: Value<'_>| value.text().map(str::to_owned);
            let subject = match table.get("subject_token") {
                Some(value) => Some(secrets(&value)?),
                None => None,
            };
            let usual = if subject.is_some() { JWT } else { ACCESS_TOKEN };
            let subject_token_type = table.get("subject_token_type").map_or_else(|| Some(usual.to_owned()), text)?;
            let requested_token_type = table.get("requested_token_type").and_then(text);
            let requested_token_type = requested_token_type.or(defaults.requested_token_type.map(str::to_owned));
            Some(Grant::TokenExchange(TokenExchange { subject, subject_token_type, requested_token_type }))
        }
        GrantWord::JwtBearer => jwt_bearer(table, keys, defaults).map(Grant::JwtBearer),
    }
}

/// `{ type = "account_credentials" }`: a `grant_type` of the server's own (RFC 6749 section 4.5).
fn grant_type(value: &Value<'_>) -> Option<String> {
    let mut table = TableReader::from_value(value)?;
    let given = table.required("type", "write type = \"…\", the grant_type that the server wants");
    table.finish();
    let given = given?;
    let text = given.text()?;
    // RFC 6749 appendix A.10: a name, or an absolute URI.
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some(text.to_owned());
    }
    given.wrong("has a character that no grant_type has", "write it as the server's documentation does")
}

fn jwt_bearer(table: &mut TableReader<'_>, keys: &Keys<'_>, defaults: &Defaults) -> Option<JwtBearer> {
    let given = table.get("assertion");
    let subject = table.get("subject").and_then(|value| value.text().map(str::to_owned));
    let claims = table.table("assertion_claims").map_or_else(Vec::new, |table| parameters(&table));
    match (given, &keys.private_key) {
        (Some(given), None) => secrets(&given).map(JwtBearer::Given),
        (Some(given), Some(_)) => given.wrong("stands beside private_key", "keep the one that the grant is made of"),
        (None, _) => {
            let key = keys.signing_key(table)?;
            Some(JwtBearer::Signed { key, subject, claims, scope_claim: defaults.scope_claim })
        }
    }
}

/// `"issuer"`, `"token_endpoint"`, or the audience itself.
pub(crate) fn assertion_audience(value: &Value<'_>) -> Option<AssertionAudience> {
    Some(match value.text()? {
        "issuer" => AssertionAudience::Issuer,
        "token_endpoint" => AssertionAudience::TokenEndpoint,
        text => AssertionAudience::Text(text.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{parse_in, problems, with_credential};
    use crate::oauth::OAuthSettings;

    /// With `key.pem` and `jwt` beside the file.
    fn oauth(rest: &str) -> OAuthSettings {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["me".to_owned()]).unwrap();
        let both = format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem());
        std::fs::write(dir.path().join("key.pem"), both).unwrap();
        std::fs::write(dir.path().join("jwt"), "sentinel").unwrap();
        let read = parse_in(dir.path(), &with_credential(rest)).map_err(|errors| errors.to_string()).unwrap();
        read.credentials[0].oauth().unwrap().clone()
    }

    fn wrong(rest: &str) -> Vec<String> {
        problems(&with_credential(rest))
    }

    const SECRET: &str = "client_secret = { env = \"SECRET\" }";

    #[test]
    fn each_method_is_read_with_what_it_needs() {
        let auth = |rest: &str| oauth(rest).client_auth;
        let with = |method: &str, rest: &str| auth(&format!("client_auth = \"{method}\"\n{rest}"));
        assert!(matches!(auth(SECRET), ClientAuth::Basic { raw: false, .. }));
        let raw = format!("{SECRET}\nbasic_encoding = \"raw\"");
        assert!(matches!(with("client_secret_basic", &raw), ClientAuth::Basic { raw: true, .. }));
        assert!(matches!(with("client_secret_post", SECRET), ClientAuth::Post(_)));
        assert!(matches!(with("client_secret_jwt", SECRET), ClientAuth::SecretJwt(_)));
        assert!(matches!(with("none", ""), ClientAuth::None));
        let key = "private_key = \"key.pem\"\nkey_id = \"k\"\nsigning_algorithm = \"ES256\"";
        let ClientAuth::PrivateKeyJwt(key) = with("private_key_jwt", key) else { panic!("another method") };
        assert_eq!((key.key_id.as_deref(), key.algorithm), (Some("k"), Some(Algorithm::ES256)));
        let pair = "client_certificate = \"key.pem\"\nclient_key = \"key.pem\"";
        assert!(matches!(with("tls_client_auth", pair), ClientAuth::Tls { .. }));
    }

    #[test]
    fn a_key_that_can_only_mean_one_method_needs_no_method() {
        assert!(matches!(
            oauth("client_assertion = { file = \"jwt\" }").client_auth,
            ClientAuth::Assertion { assertion_type: None, .. }
        ));
        assert!(matches!(oauth("private_key = \"key.pem\"").client_auth, ClientAuth::PrivateKeyJwt(_)));
        assert!(matches!(oauth("client_certificate = \"key.pem\"").client_auth, ClientAuth::Tls { .. }));
    }

    #[test]
    fn a_method_without_its_key_says_what_to_write() {
        for (method, missing) in [
            ("client_secret_basic", "client_secret"),
            ("client_secret_post", "client_secret"),
            ("client_secret_jwt", "client_secret"),
            ("private_key_jwt", "private_key"),
            ("tls_client_auth", "client_certificate"),
        ] {
            let found = wrong(&format!("client_auth = \"{method}\""));
            assert_eq!(found.len(), 1, "{found:#?}");
            let expected = format!("proxy.toml:7:1: `credentials.a.{missing}` is missing; write ");
            assert!(found[0].starts_with(&expected), "{found:#?}");
        }
    }

    #[test]
    fn a_key_that_would_not_be_sent_is_a_problem() {
        let found = wrong(&format!("client_auth = \"none\"\n{SECRET}"));
        assert!(found[0].contains("is not sent with client_auth = \"none\"; remove it"), "{found:#?}");
        let found = wrong(&format!("{SECRET}\nprivate_key = {{ env = \"SECRET\" }}"));
        assert!(found[0].contains("is not sent with client_auth = \"client_secret_basic\"; "), "{found:#?}");
    }

    #[test]
    fn the_grants_have_keys_of_their_own() {
        assert!(matches!(oauth(SECRET).grant, Grant::ClientCredentials));
        let Grant::TokenExchange(exchange) = oauth(&format!("{SECRET}\ngrant = \"token_exchange\"")).grant else {
            panic!("another grant")
        };
        assert_eq!((exchange.subject_token_type.as_str(), exchange.requested_token_type), (ACCESS_TOKEN, None));
        let given = oauth("grant = \"jwt_bearer\"\nassertion = { file = \"jwt\" }");
        assert!(matches!(given.grant, Grant::JwtBearer(JwtBearer::Given(_))));
        assert!(matches!(given.client_auth, ClientAuth::Omitted));
        let signed = oauth(
            "grant = \"jwt_bearer\"\nprivate_key = \"key.pem\"\nsubject = \"you\"\nassertion_claims = { a = \"b\" }",
        );
        let Grant::JwtBearer(JwtBearer::Signed { subject, claims, .. }) = signed.grant else { panic!("another grant") };
        assert_eq!((subject.as_deref(), claims), (Some("you"), vec![("a".to_owned(), "b".to_owned())]));
        assert!(matches!(signed.client_auth, ClientAuth::Omitted));
        let other = oauth(&format!("{SECRET}\ngrant = {{ type = \"account_credentials\" }}")).grant;
        assert!(matches!(other, Grant::Other(name) if name == "account_credentials"));
        for (wrong_grant, what) in
            [("{}", "is missing"), ("{ type = \"a b\" }", "has a character"), ("{ typ = \"a\" }", "unknown key")]
        {
            let found = wrong(&format!("{SECRET}\ngrant = {wrong_grant}"));
            assert!(found.len() == 1 && found[0].contains(what), "{found:#?}");
        }
        let found = wrong("grant = \"jwt_bearer\"");
        assert!(found.iter().any(|line| line.contains("`credentials.a.private_key` is missing; ")), "{found:#?}");
    }

    #[test]
    fn a_key_without_its_grant_says_which_grant_it_belongs_to() {
        let grants = ["", "grant = \"client_credentials\"", "grant = { type = \"other\" }"];
        for (setting, key, grant) in OWN_KEYS
            .iter()
            .flat_map(|(setting, keys)| keys.iter().flat_map(move |key| grants.map(|grant| (setting, key, grant))))
        {
            let found = wrong(&format!("{SECRET}\n{grant}\n{key} = \"urn:x:y\""));
            let expected = format!("`{key}` in [credentials.a] belongs to {setting}; write {setting} ");
            assert!(found.len() == 1 && found[0].contains(&expected), "{found:#?}");
        }
        let found = wrong(&format!("{SECRET}\ngrant = \"token_exchang\"\nsubject_token = {{ env = \"SECRET\" }}"));
        assert!(found.len() == 1 && found[0].contains("\"token_exchange\""), "{found:#?}");
    }
}
