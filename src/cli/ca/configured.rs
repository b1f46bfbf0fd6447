//! The CA of a configuration.

use std::path::Path;

use crate::cli::output::Failure;
use crate::config::Config;
use crate::tls::{AuthoritySource, CertificateAuthority};

/// The CA that the configuration names. What else is wrong with the file does not matter here.
pub(in crate::cli) fn configured(config: &Path) -> Result<(AuthoritySource, CertificateAuthority), Failure> {
    let source = match Config::load_without_secrets(config) {
        Ok(config) => config.intercept,
        Err(errors) => return Err(Failure::Config(errors)),
    };
    let source = source.ok_or_else(|| {
        let shown = config.display();
        Failure::failed(format!("{shown} has no [intercept] table; make a CA with `attache ca init --config {shown}`"))
    })?;
    let authority = source.read().map_err(Failure::failed)?;
    Ok((source, authority))
}
