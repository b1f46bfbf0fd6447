//! Whether other users may read a file that holds a secret.

use std::path::Path;

use crate::config::syntax::value::Value;
use crate::secret::SecretSource;
#[cfg(unix)]
use crate::secret::access::is_open_to_all;

/// Warns of a secret's file that every user of this machine may read. `at` is where its name stands.
pub(super) fn warn(value: &Value<'_>, at: usize, source: &SecretSource) {
    match source {
        SecretSource::Field { of, .. } => warn(value, at, of),
        SecretSource::File(path) if is_open(path) => {
            let path = value.file.written.shown_path(at, path);
            let what = format!("`{}`: every user of this machine may read {path}", value.path);
            value.file.warning(value.at, what, format!("chmod o-rwx {path}"));
        }
        _ => {}
    }
}

#[cfg(unix)]
fn is_open(path: &Path) -> bool {
    path.canonicalize().is_ok_and(|path| is_open_to_all(&path) && !is_mounted_for_a_container(&path))
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
