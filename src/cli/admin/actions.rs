//! `attache reload` and `attache refresh`: what a running attache is asked to do, and its outcome.

use std::time::Duration;

use clap::Args;
use http::StatusCode;
use serde_json::{Value, json};

use super::answered::Answered;
use super::client::{AdminArg, AdminClient};
use crate::admin::{CredentialStatus, Problem, Reload, StatusReport};
use crate::cli::output::{self, Failure, data, span, talk};

/// A file on a slow disk and its certificates, or a token request with its second try.
const ACTION_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  attache reload                           after proxy.toml was changed
  attache reload --admin unix:/run/attache/admin.sock

0 once the new configuration is live, 1 if the old one stays; stderr has every problem of the file.")]
pub(in crate::cli) struct ReloadArgs {
    #[command(flatten)]
    admin: AdminArg,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  attache refresh orders                   a new token now, though the old one is valid
  attache refresh                          the same, where there is one credential

0 with a new token, 1 without; what was held stays in use until then.")]
pub(in crate::cli) struct RefreshArgs {
    /// The credential, by its name in the configuration; may be left out where there is one.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    admin: AdminArg,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Has the configuration read again, and says what is different.
pub(in crate::cli) async fn reload(args: ReloadArgs) -> Result<(), Failure> {
    let client = args.admin.client()?;
    let answered = match client.post("/api/reload", ACTION_TIMEOUT).await {
        Ok(answered) => answered,
        Err(error) => return refused(args.json, error, &[]),
    };
    if answered.status == StatusCode::UNPROCESSABLE_ENTITY {
        let problems = answered.json().map_or_else(Vec::new, |Problem { problems, .. }| problems);
        for problem in &problems {
            talk(format_args!("{problem}"))?;
        }
        return refused(args.json, "the old configuration stays in use".to_owned(), &problems);
    }
    let document = match answered.document(&client.shown()) {
        Ok(document) => document,
        Err(error) => return refused(args.json, error, &[]),
    };
    if args.json {
        return output::json(&document);
    }
    let Reload { changes, .. } = read(&answered)?;
    data(format_args!("reloaded{}", if changes.is_empty() { ": nothing is different" } else { "" }))?;
    for change in changes {
        data(format_args!("  {change}"))?;
    }
    Ok(())
}

/// Has a credential's token replaced, and says what came.
pub(in crate::cli) async fn refresh(args: RefreshArgs) -> Result<(), Failure> {
    let client = args.admin.client()?;
    let name = match args.name {
        Some(name) => name,
        None => match only(&client).await {
            Ok(name) => name,
            Err(error) => return refused(args.json, error, &[]),
        },
    };
    let path = format!("/api/credentials/{}/refresh", encoded(&name));
    let document = match client.post(&path, ACTION_TIMEOUT).await {
        Ok(answered) => answered.document(&client.shown()).map(|document| (answered, document)),
        Err(error) => Err(error),
    };
    let (answered, document) = match document {
        Ok(done) => done,
        Err(error) => return refused(args.json, error, &[]),
    };
    if args.json {
        return output::json(&json!({ "ok": true, "credential": document }));
    }
    let CredentialStatus { name, state, generation, expires_in, .. } = read(&answered)?;
    let left = expires_in.map_or_else(|| "does not expire".to_owned(), |left| format!("expires in {}", span(left)));
    data(format_args!("{name}  {state}, generation {generation}, {left}"))
}

/// The one credential that the running attache has, or which of them there are to name.
async fn only(client: &AdminClient) -> Result<String, String> {
    let answered = client.get("/api/status").await?;
    answered.document(&client.shown())?;
    let report: StatusReport =
        answered.json().ok_or("the status has another form than this version knows; name the credential")?;
    let names: Vec<String> = report.credentials.into_iter().map(|credential| credential.name).collect();
    match names.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err("the running attache has no credential".to_owned()),
        names => Err(format!("the running attache has several credentials; name one of {}", names.join(", "))),
    }
}

fn read<T: serde::de::DeserializeOwned>(answered: &Answered) -> Result<T, Failure> {
    let other = || Failure::failed("the answer has another form than this version knows; ask with --json");
    answered.json().ok_or_else(other)
}

/// It was not done: a sentence on stderr, or a document.
pub(super) fn refused(as_json: bool, error: String, problems: &[String]) -> Result<(), Failure> {
    if as_json {
        let mut document = json!({ "ok": false, "error": error });
        if let (false, Value::Object(document)) = (problems.is_empty(), &mut document) {
            document.insert("problems".to_owned(), json!(problems));
        }
        output::json(&document)?;
        return Err(Failure::Told);
    }
    Err(Failure::Failed(error))
}

/// A name as one segment of a path (RFC 3986 section 2.1).
fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    name.bytes().fold(String::new(), |mut path, byte| {
        if plain(byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
        path
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment_of_the_path() {
        assert_eq!(encoded("orders-2.x"), "orders-2.x");
        assert_eq!(encoded("a/b ü?"), "a%2Fb%20%C3%BC%3F");
    }
}
