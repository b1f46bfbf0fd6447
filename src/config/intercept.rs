//! `[intercept]`: the local CA, and whether it can be used.

use std::time::{Duration, SystemTime};

use super::reader::TableReader;
use super::secrets::pem;
use crate::tls::{AuthoritySource, TlsError};

/// With less than this left, it is time to make another CA and have programs trust that.
const NOTICE: Duration = Duration::from_secs(30 * 24 * 3600);

const REMEDY: &str = "make both files with `attache ca init --config proxy.toml`";

/// Reads `[intercept]`, and both files.
pub(super) fn intercept(mut table: TableReader<'_>) -> Option<AuthoritySource> {
    let certificate = table.required("ca_certificate", REMEDY);
    let key = table.required("ca_key", REMEDY);
    table.finish();
    let (certificate, key) = (certificate?, key?);
    let source = AuthoritySource { certificate: pem(&certificate)?, key: pem(&key)? };
    // A program is run when the CA is needed, and not for checking a file.
    if source.certificate.is_command() || source.key.is_command() {
        return Some(source);
    }
    match source.read() {
        Ok(authority) => {
            if authority.not_after() < SystemTime::now() + NOTICE {
                let at = humantime::format_rfc3339_seconds(authority.not_after());
                let what = format!("`{}` expires at {at}", certificate.path);
                certificate.file.warning(certificate.at, what, "make another CA, and have programs trust that in time");
            }
            Some(source)
        }
        Err(TlsError::Authority { what, remedy }) => certificate.wrong(what, remedy),
        Err(TlsError::AuthorityKey { what, remedy }) => key.wrong(what, remedy),
        Err(other) => key.wrong(format!("cannot be used: {other}"), REMEDY),
    }
}
