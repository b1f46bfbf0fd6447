//! Why a token request failed, as far as asking once or twice more can tell: `attache check --live`.
//!
//! A server that refuses a client does not say by what it would have known it. So the other ways to say the same are
//! tried, and what works is what to write.

use serde::Serialize;

use crate::app::token_source;
use crate::cli::output::{Failure, talk};
use crate::oauth::{AssertionAudience, ClientAuth, OAuthSettings};
use crate::token::{About, Ask, TokenError, TokenErrorKind, TokenSource as _, skew_in_words};

const WANTS_POST: &str = "the server takes the secret in the form and not in the Authorization field";
const WANTS_RAW: &str = "the server does not decode the id and the secret, as RFC 6749 section 2.3.1 would have it";
const WANTS_BASIC: &str = "the server takes the secret in the Authorization field and not in the form";
const POST: &str = "write client_auth = \"client_secret_post\"";

/// The likely cause, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Diagnosis {
    pub(super) cause: String,
    pub(super) next_step: String,
}

impl Diagnosis {
    fn new(cause: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self { cause: cause.into(), next_step: next_step.into() }
    }
}

/// Says why there is no token: the error, the likely cause, and what to do.
pub(super) fn tell(credential: &str, error: &str, diagnosis: Option<&Diagnosis>) -> Result<(), Failure> {
    talk(format_args!("error: credential {credential:?}: {error}"))?;
    match diagnosis {
        Some(Diagnosis { cause, next_step }) => {
            talk(format_args!("  likely cause: {cause}\n  next step:    {next_step}"))
        }
        None => Ok(()),
    }
}

/// The same for who has only the error; `None` in place of its settings is for a credential that asks no server.
pub(in crate::cli) async fn tell_refusal(
    credential: &str,
    settings: Option<&OAuthSettings>,
    error: &TokenError,
) -> Result<(), Failure> {
    let diagnosis = match settings {
        Some(settings) => Some(diagnose(credential, settings, error).await),
        None => None,
    };
    tell(credential, &error.message, diagnosis.as_ref())
}

/// Looks for the cause of `error`. Makes up to three more token requests where the client itself is refused, or its scope.
pub(super) async fn diagnose(name: &str, settings: &OAuthSettings, error: &TokenError) -> Diagnosis {
    if is_about_the_client(error) {
        for alternative in alternatives(settings) {
            if works(name, &alternative.settings).await {
                return Diagnosis::new(alternative.cause, alternative.next_step);
            }
        }
    }
    if let Some(skew) = settings.explaining_skew(error) {
        return Diagnosis::new(
            format!("{}, so that what is signed here is not valid there: too early, or over", skew_in_words(skew)),
            "have the clocks of both set by a time server (NTP), then try again",
        );
    }
    match (error.about, error.code.as_deref()) {
        (Some(About::Client), Some(_)) => client(settings),
        (_, Some("invalid_scope")) => scope(name, settings).await,
        (_, Some(code)) if error.kind == TokenErrorKind::Permanent => by_code(code, settings),
        _ => by_kind(error, settings),
    }
}

/// Refused for what it is: also by servers that say something else, or nothing.
fn is_about_the_client(error: &TokenError) -> bool {
    let code = matches!(error.code.as_deref(), Some("invalid_client" | "invalid_request" | "unauthorized_client"));
    code || error.about == Some(About::Client)
}

/// The same request, said in another way.
struct Alternative {
    settings: OAuthSettings,
    cause: &'static str,
    next_step: &'static str,
}

fn alternatives(settings: &OAuthSettings) -> Vec<Alternative> {
    let with_auth = |client_auth, cause, next_step| Alternative {
        settings: OAuthSettings { client_auth, ..settings.clone() },
        cause,
        next_step,
    };
    let with_audience = |assertion_audience, next_step| Alternative {
        settings: OAuthSettings { assertion_audience, ..settings.clone() },
        cause: "the server wants its assertions to be meant for another audience",
        next_step,
    };
    match &settings.client_auth {
        ClientAuth::Basic { secrets, raw: false } => vec![
            with_auth(ClientAuth::Post(secrets.clone()), WANTS_POST, POST),
            with_auth(
                ClientAuth::Basic { secrets: secrets.clone(), raw: true },
                WANTS_RAW,
                "write basic_encoding = \"raw\"",
            ),
        ],
        ClientAuth::Basic { secrets, raw: true } => vec![
            with_auth(
                ClientAuth::Basic { secrets: secrets.clone(), raw: false },
                "the server decodes the id and the secret, as RFC 6749 section 2.3.1 says",
                "leave out basic_encoding",
            ),
            with_auth(ClientAuth::Post(secrets.clone()), WANTS_POST, POST),
        ],
        ClientAuth::Post(secrets) => vec![
            with_auth(
                ClientAuth::Basic { secrets: secrets.clone(), raw: false },
                WANTS_BASIC,
                "write client_auth = \"client_secret_basic\"",
            ),
            with_auth(
                ClientAuth::Basic { secrets: secrets.clone(), raw: true },
                WANTS_BASIC,
                "write client_auth = \"client_secret_basic\" and basic_encoding = \"raw\"",
            ),
        ],
        ClientAuth::SecretJwt(_) | ClientAuth::PrivateKeyJwt(_) => [
            (AssertionAudience::TokenEndpoint, "write assertion_audience = \"token_endpoint\""),
            (AssertionAudience::Issuer, "write assertion_audience = \"issuer\""),
        ]
        .into_iter()
        .filter(|(audience, _)| *audience != settings.assertion_audience)
        .filter(|(audience, _)| *audience != AssertionAudience::Issuer || settings.server.issuer.is_some())
        .map(|(audience, next_step)| with_audience(audience, next_step))
        .collect(),
        ClientAuth::Assertion { .. } | ClientAuth::Tls { .. } | ClientAuth::None | ClientAuth::Omitted => Vec::new(),
    }
}

/// Asked without a scope, the server may show that the scope alone was the trouble.
async fn scope(name: &str, settings: &OAuthSettings) -> Diagnosis {
    let asked = settings.scope.join(" ");
    if !asked.is_empty() && works(name, &OAuthSettings { scope: Vec::new(), ..settings.clone() }).await {
        let cause = format!("the client may have a token, but not with the scope \"{asked}\"");
        return Diagnosis::new(cause, "have the scope granted to this client there, or correct scope");
    }
    if asked.is_empty() {
        return Diagnosis::new(
            "the server gives no token without a scope",
            "write scope = \"…\": what the API's documentation calls its scope, or permission",
        );
    }
    Diagnosis::new("the server does not know this scope, or not for this client", "correct scope")
}

/// It could not prove itself, whatever the server calls that.
fn client(settings: &OAuthSettings) -> Diagnosis {
    match &settings.client_auth {
        ClientAuth::PrivateKeyJwt(_) => Diagnosis::new(
            "the server does not accept the assertion: it has another public key for this client, or another key_id",
            "register the key's public half there, or write its key_id",
        ),
        ClientAuth::Tls { .. } => Diagnosis::new(
            "the server does not know this client by its certificate",
            "register the certificate's subject there, and check that this endpoint asks for certificates",
        ),
        ClientAuth::None | ClientAuth::Omitted => {
            Diagnosis::new("the server wants this client to prove itself", "write client_secret or private_key")
        }
        _ => Diagnosis::new(
            "the server does not know this client_id, or its secret is another one; no other method works either",
            "compare client_id and the secret with what the server shows; copied secrets often have an end missing",
        ),
    }
}

fn by_code(code: &str, settings: &OAuthSettings) -> Diagnosis {
    match code {
        "unauthorized_client" | "unsupported_grant_type" => Diagnosis::new(
            format!("the grant {} is not allowed for this client", settings.grant.name()),
            "allow it in the client's settings at the authorization server",
        ),
        "invalid_target" | "access_denied" if settings.audience.is_none() && settings.resource.is_empty() => {
            Diagnosis::new(
                "the server wants to be told which API the token is for",
                "write audience = \"…\" (with some servers resource = \"…\"): the API's identifier there",
            )
        }
        "invalid_target" | "access_denied" => Diagnosis::new(
            "the server does not know the audience or resource, or not for this client",
            "compare audience and resource, letter by letter, with the API's identifier there",
        ),
        "invalid_grant" => Diagnosis::new(
            "the assertion or subject token is not accepted: expired, made out to another audience, or its key unknown",
            "check the clock, assertion_audience, and where the assertion comes from",
        ),
        _ => Diagnosis::new("the server refuses the request", "see what the server's own log says about it"),
    }
}

fn by_kind(error: &TokenError, settings: &OAuthSettings) -> Diagnosis {
    let key = if settings.server.token_endpoint.is_some() { "token_endpoint" } else { "issuer" };
    match error.kind {
        TokenErrorKind::InvalidResponse if error.about == Some(About::Client) => unsaid_client(),
        TokenErrorKind::Transient if error.code.is_some() => Diagnosis::new(
            "the server says that it is not able to just now, or says in a word of its own what does not suit it",
            format!(
                "try again; if it stays so, look {} up in the server's documentation or log",
                error.code.as_deref().unwrap_or("it")
            ),
        ),
        TokenErrorKind::Configuration => Diagnosis::new("nothing was sent", "correct what the message names"),
        TokenErrorKind::Timeout => Diagnosis::new(
            "the server is slow, or a firewall swallows the request",
            "try it with curl from this machine",
        ),
        TokenErrorKind::Transient if error.about == Some(About::Certificate) => Diagnosis::new(
            "the server's certificate is not acceptable here: another issuer, or another time",
            "do what the message says: ca_file takes the issuer's PEM file or the server's own certificate; an expired one is renewed there, by who runs the server",
        ),
        TokenErrorKind::Transient if error.about == Some(About::CertificateName) => Diagnosis::new(
            format!(
                "another host answers there than the one that {key} names, or the same by a name that its certificate lacks"
            ),
            format!("compare the host in {key} with the names in the message, and write one of them"),
        ),
        TokenErrorKind::Transient if error.about == Some(About::Handshake) => Diagnosis::new(
            format!("the scheme and the port in {key} do not belong together, or the two have no TLS in common"),
            format!(
                "do what the message says; http:// and https:// mostly have ports of their own: compare both in {key} with the server's documentation"
            ),
        ),
        TokenErrorKind::Transient if error.about == Some(About::ParentProxy) => Diagnosis::new(
            "token requests do not get through the proxy that is configured for them",
            "correct proxy in this credential, or ask who runs it; proxy = { url = …, username = …, password = { env = … } } says who asks",
        ),
        TokenErrorKind::Transient => match &error.remedy {
            Some(remedy) => {
                Diagnosis::new("there is no token endpoint at that address, or no way to it", remedy.clone())
            }
            None => Diagnosis::new(
                "the server is down or overloaded just now",
                "try again later; if it stays so, ask who runs the server",
            ),
        },
        TokenErrorKind::InvalidResponse if settings.server.token_endpoint.is_none() => Diagnosis::new(
            "what answers there is not the issuer, or something stands before it",
            "compare issuer with what the server's documentation says, letter by letter, or write token_endpoint in its place",
        ),
        TokenErrorKind::InvalidResponse => Diagnosis::new(
            "what answers there is no token endpoint, or something stands before it",
            "compare token_endpoint with what the server's documentation says, letter by letter, or write issuer to have it looked up",
        ),
        TokenErrorKind::Permanent => unsaid_client(),
        TokenErrorKind::Cancelled | TokenErrorKind::Held | TokenErrorKind::PutOff => {
            Diagnosis::new("the request was given up", "try again")
        }
    }
}

fn unsaid_client() -> Diagnosis {
    Diagnosis::new(
        "the server refuses the client without saying why; mostly that is client_id or the secret",
        "compare client_id and the secret with what the server shows, and see what its own log says",
    )
}

async fn works(name: &str, settings: &OAuthSettings) -> bool {
    match token_source(name, settings) {
        Ok(source) => source.fetch(Ask::apart()).await.is_ok(),
        Err(_unusable) => false,
    }
}
