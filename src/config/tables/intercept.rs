//! `[intercept]`: the local CA, and whether it can be used.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::config::files::{self, access};
use crate::config::syntax::error::{ConfigErrors, Problem};
use crate::config::syntax::file::{File, environment};
use crate::config::syntax::reader::TableReader;
use crate::config::syntax::tree::{Node, Table};
use crate::config::syntax::value::Value;
use crate::config::tables::secrets::{is_left_to_unit, pem};
use crate::dial::OriginPattern;
use crate::tls::{AuthoritySource, TlsError};

/// With less than this left, it is time to make another CA and have programs trust that.
const EXPIRY_NOTICE: Duration = Duration::from_secs(30 * 24 * 3600);

const REMEDY: &str = "make both files with `attache ca init --config proxy.toml`";

/// Reads `[intercept]`, and both files; of a file whose secrets do not matter the certificate alone.
pub(crate) fn intercept(mut table: TableReader<'_>) -> Option<AuthoritySource> {
    let certificate = table.required("ca_certificate", REMEDY);
    let key = table.required("ca_key", REMEDY);
    table.finish();
    let (certificate, key) = (certificate?, key?);
    // Who serves nothing needs the certificate alone, and mostly may not read the key.
    let key_matters = key.file.secrets_matter;
    for value in [&certificate].into_iter().chain(key_matters.then_some(&key)) {
        if is_missing(value) {
            return value.wrong("names a file that is not there", REMEDY);
        }
    }
    let source = AuthoritySource { certificate: pem(&certificate)?, key: pem(&key)? };
    if is_left_to_unit(&certificate, &source.certificate) {
        return Some(source);
    }
    let key_matters = key_matters && !is_left_to_unit(&key, &source.key);
    // A command that serves has the file's programs run; of one that only looks into it nobody expects that of another user's file.
    if !key_matters && source.certificate.is_command() && access::is_anothers(certificate.file) {
        return certificate.wrong(
            "is what a program prints, and another user may write this file or its folder, and so choose what is run",
            "write ca_certificate = \"ca.pem\", or run this as the user whose file it is and have no other user write it",
        );
    }
    // A program is run when the CA is needed, and not for checking a file.
    if source.certificate.is_command() || (key_matters && source.key.is_command()) {
        return Some(source);
    }
    let read = if key_matters {
        source.read().map(|authority| authority.certificate().not_after())
    } else {
        source.read_certificate().map(|certificate| certificate.not_after())
    };
    match read {
        Ok(not_after) => {
            if not_after < SystemTime::now() + EXPIRY_NOTICE {
                let at = humantime::format_rfc3339_seconds(not_after);
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

/// A path that leads to nothing yet: that has a better remedy than other secrets that cannot be read.
fn is_missing(value: &Value<'_>) -> bool {
    match value.node {
        Node::String(text) => !text.contains("-----BEGIN") && !value.file.path(value.at, text).exists(),
        _ => false,
    }
}

/// What `attache ca init` needs of a file that is not valid yet, since what it names is still to be made.
#[derive(Debug, Default)]
pub(crate) struct InterceptPlan {
    /// `ca_certificate` and `ca_key`, as paths; `None` without the table.
    pub(crate) files: Option<(PathBuf, PathBuf)>,
    /// The hosts of the upstreams that have a credential; of a wildcard, what is under it.
    pub(crate) hosts: Vec<String>,
}

impl InterceptPlan {
    /// Reads what there is to know, and nothing else.
    ///
    /// # Errors
    /// A file that cannot be read or is no TOML, or an `[intercept]` without both paths.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigErrors> {
        let source = path.display().to_string();
        let problem = |what: String, remedy: &str| ConfigErrors {
            source: source.clone(),
            problems: vec![Problem::new(what, remedy)],
        };
        let mut file = File::new(&environment, false);
        let tree = files::read(&mut file, path)?;
        if !file.is_whole() {
            let (problems, _warnings) = file.into_findings();
            return Err(ConfigErrors { source, problems });
        }
        let table = |key| tree.get(key).and_then(|entry| entry.value.node.as_table());
        let files = match table("intercept") {
            None => None,
            Some(table) => {
                let named = |key| {
                    let value = &table.get(key)?.value;
                    Some(file.path(value.at, value.node.as_str()?))
                };
                let both = named("ca_certificate").zip(named("ca_key"));
                Some(both.ok_or_else(|| {
                    let what = "`[intercept]` does not name two files".to_owned();
                    problem(what, "write ca_certificate = \"ca.pem\" and ca_key = \"ca.key\"")
                })?)
            }
        };
        let upstreams = table("upstreams").into_iter().flat_map(Table::iter);
        let hosts = upstreams.filter_map(|(_, entry)| {
            let upstream = entry.value.node.as_table()?;
            upstream.get("credential")?;
            let origin: OriginPattern = upstream.get("origin")?.value.node.as_str()?.parse().ok()?;
            Some(origin.base().host.to_string())
        });
        let mut hosts: Vec<String> = hosts.collect();
        hosts.sort();
        hosts.dedup();
        Ok(Self { files, hosts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{parse_in, problems_in};
    use crate::tls::CertificateAuthority;

    const LISTENER: &str =
        "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[forward]\nunmatched = \"pass\"\n";

    #[cfg(unix)]
    #[test]
    fn a_ca_that_cannot_be_used_is_a_problem_with_its_line() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let text = format!("{LISTENER}[intercept]\nca_certificate = \"ca.pem\"\nca_key = \"ca.key\"\n");
        let found = problems_in(folder.path(), &text);
        assert!(
            found.len() == 1
                && found[0].contains(":7:18: `intercept.ca_certificate` names a file that is not there")
                && found[0].contains("attache ca init"),
            "{found:#?}"
        );
        let made = CertificateAuthority::generate(&[]).unwrap();
        std::fs::write(folder.path().join("ca.pem"), &made.certificate).unwrap();
        std::fs::write(folder.path().join("ca.key"), made.key.expose()).unwrap();
        let mode = |mode| {
            std::fs::set_permissions(folder.path().join("ca.key"), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(0o644);
        let found = problems_in(folder.path(), &text);
        assert!(
            found[0].contains("can be read by other users of this machine; give the file the mode 0600"),
            "{found:#?}"
        );
        mode(0o600);
        assert!(parse_in(folder.path(), &text).unwrap().intercept.is_some());
        let other = CertificateAuthority::generate(&[]).unwrap();
        std::fs::write(folder.path().join("ca.pem"), other.certificate).unwrap();
        assert!(problems_in(folder.path(), &text)[0].contains("`intercept.ca_key` does not belong to the certificate"));
    }

    #[test]
    fn what_is_to_be_made_is_read_from_a_file_that_is_not_valid_yet() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxy.toml");
        let upstreams = "[upstreams.a]\norigin = \"https://*.b.test\"\ncredential = \"x\"\n[upstreams.c]\norigin = \"https://c.test\"\n";
        std::fs::write(&path, format!("[intercept]\nca_certificate = \"ca/a.pem\"\nca_key = \"a.key\"\n{upstreams}"))
            .unwrap();
        let plan = InterceptPlan::read(&path).unwrap();
        assert_eq!(plan.files, Some((folder.path().join("ca/a.pem"), folder.path().join("a.key"))));
        assert_eq!(plan.hosts, ["b.test"], "a credential is what tunnels are opened for");
        std::fs::write(&path, "[intercept]\n").unwrap();
        assert!(InterceptPlan::read(&path).unwrap_err().to_string().contains("does not name two files"));
        std::fs::write(&path, upstreams).unwrap();
        assert_eq!(InterceptPlan::read(&path).unwrap().files, None);
    }
}
