//! The CA that opens the command's tunnels.

use crate::cli::output::Failure;
use crate::config::Config;
use crate::secret::{Secret, SecretSource};
use crate::tls::{AuthoritySource, CertificateAuthority};

/// The configured one, or one that lives only as long as the command and is never
/// written down.
pub(super) fn authority(config: &mut Config) -> Result<CertificateAuthority, Failure> {
    let source = match &config.intercept {
        Some(source) => source,
        None => {
            let made = CertificateAuthority::generate(&[]).map_err(Failure::failed)?;
            let literal = SecretSource::Literal;
            config
                .intercept
                .insert(AuthoritySource { certificate: literal(Secret::new(made.certificate)), key: literal(made.key) })
        }
    };
    source.read().map_err(Failure::failed)
}
