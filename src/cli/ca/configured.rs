//! The CA of a configuration.

use std::path::Path;

use crate::cli::output::Failure;
use crate::config::Config;
use crate::tls::{AuthorityCertificate, AuthoritySource};

/// The CA that the configuration names: where it is, and its certificate. The key is not touched.
pub(in crate::cli) fn configured(config: &Path) -> Result<(AuthoritySource, AuthorityCertificate), Failure> {
    let source = match Config::load_without_secrets(config) {
        Ok(config) => config.intercept,
        Err(errors) => return Err(Failure::Config(errors)),
    };
    let source = source.ok_or_else(|| Failure::failed(without_intercept(config)))?;
    let authority = source.read_certificate().map_err(Failure::failed)?;
    Ok((source, authority))
}

/// What to do where the configuration names no CA: one may have been made beside it.
fn without_intercept(config: &Path) -> String {
    let shown = config.display();
    let beside = |name: &str| config.with_file_name(name);
    if ["ca.pem", "ca.key"].into_iter().all(|name| beside(name).is_file()) {
        return format!(
            "{shown} has no [intercept] table, and beside it are ca.pem and ca.key; add [intercept] with ca_certificate = \"ca.pem\" and ca_key = \"ca.key\""
        );
    }
    format!("{shown} has no [intercept] table; make a CA with `attache ca init --config {shown}`")
}
