//! `--require-token`: a command that would hear of a wrong secret in a 502 does not even start.

use std::collections::BTreeSet;

use super::known::known;
use crate::app::App;
use crate::cli::check::tell_refusal;
use crate::cli::output::Failure;
use crate::config::Config;
use crate::credential::{CredentialKind, CredentialSettings};

/// The token of each credential that an upstream known to the command uses, where there is one without a caller's own.
pub(super) async fn obtain(app: &App, wanted: &[CredentialSettings]) -> Result<(), Failure> {
    let names: Vec<&str> = wanted.iter().map(|credential| credential.name.as_str()).collect();
    let failed = app.obtain(&names).await;
    for (name, error) in &failed {
        let oauth = wanted.iter().find(|credential| credential.name == *name).and_then(CredentialSettings::oauth);
        tell_refusal(name, oauth, error).await?;
    }
    if failed.is_empty() { Ok(()) } else { Err(Failure::Told) }
}

/// Which these are. One that exchanges callers' tokens has none of its own.
pub(super) fn wanted(config: &Config) -> Vec<CredentialSettings> {
    let used: BTreeSet<&str> = known(config).filter_map(|upstream| upstream.credential.as_deref()).collect();
    let of_its_own = |credential: &&CredentialSettings| match &credential.kind {
        CredentialKind::OAuth(token) => !token.oauth.grant.is_of_callers(),
        CredentialKind::Fixed(_) => true,
    };
    let used = config.credentials.iter().filter(|credential| used.contains(credential.name.as_str()));
    used.filter(of_its_own).cloned().collect()
}
