//! The files by which programs trust the local CA, for `exec` and `env`.

use std::path::Path;

use super::output::Failure;
use crate::exec::{JavaStore, Trust, Trusted};
use crate::tls::{AuthorityCertificate, trust_store};

/// What Java's own trust store is opened with too.
pub(super) const JAVA_PASSWORD: &str = "changeit";

/// Writes a PEM bundle and a Java trust store, each with the system's trusted certificates and this CA.
pub(super) fn write(
    authority: &AuthorityCertificate,
    folder: &Path,
    name: &str,
    current: &dyn Fn(&str) -> Option<String>,
) -> Result<Trust, Failure> {
    let roots = trust_store::system_roots().map_err(Failure::failed)?;
    let all = || roots.iter().map(AsRef::as_ref).chain([authority.der()]);
    let java = trust_store::jks(all(), JAVA_PASSWORD);
    let java = JavaStore { bytes: &java, kind: "JKS", password: JAVA_PASSWORD };
    let trusted = Trusted { bundle: &trust_store::pem_bundle(all()), java: Some(java) };
    trusted
        .write(folder, name, current)
        .map_err(|error| Failure::failed(format!("cannot write into {}: {error}", folder.display())))
}
