//! Whether other users may read a file that holds a secret.

use std::path::Path;

use crate::config::syntax::value::Value;
use crate::secret::SecretSource;

/// Warns of a secret's file that every user of this machine may read.
pub(super) fn warn(value: &Value<'_>, source: &SecretSource) {
    match source {
        SecretSource::Field { of, .. } => warn(value, of),
        SecretSource::File(path) if is_open(path) => {
            let path = path.display();
            let what = format!("`{}`: every user of this machine may read {path}", value.path);
            value.file.warning(value.at, what, format!("chmod o-rwx {path}"));
        }
        _ => {}
    }
}

/// True if others may read it and get to it: each folder on the way lets them pass.
#[cfg(unix)]
fn is_open(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    const READ: u32 = 0o004;
    const ENTER: u32 = 0o001;
    let Ok(path) = path.canonicalize() else { return false };
    let has = |path: &Path, bit: u32| path.metadata().is_ok_and(|found| found.permissions().mode() & bit != 0);
    has(&path, READ) && path.ancestors().skip(1).all(|folder| has(folder, ENTER)) && !is_mounted_for_a_container(&path)
}

#[cfg(not(unix))]
const fn is_open(_path: &Path) -> bool {
    false
}

/// Orchestrators give a container its secrets with such a mode, and nobody else is in it.
#[cfg(unix)]
fn is_mounted_for_a_container(path: &Path) -> bool {
    let of_docker = path.starts_with("/run/secrets") || path.starts_with("/var/run/secrets");
    // The kubelet writes into a folder named by the time, which a link named `..data` leads to.
    let of_kubernetes =
        path.parent().and_then(Path::file_name).is_some_and(|name| name.to_string_lossy().starts_with(".."));
    of_docker || of_kubernetes
}
