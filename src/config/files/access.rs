//! Who else may write the files of a configuration, and so have its secrets sent elsewhere.

use std::path::Path;

use crate::config::syntax::file::File;
use crate::secret::access;

/// Warns of files, and of their folders, that other users may write.
pub(super) fn warn(file: &File<'_>) {
    for document in file.documents() {
        let (path, folder) = (document.file(), document.dir.as_path());
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        if let Some(who) = access::writer(&path) {
            file.warn_of_file(
                &document.name,
                format!("{who} may write this file, and so decide where its secrets are sent"),
                format!("chmod go-w {}", path.display()),
            );
        } else if let Some(who) = access::writer(folder) {
            file.warn_of_file(
                &document.name,
                format!("{who} may write the folder of this file, and so put another file in its place"),
                format!("chmod go-w {}", document.dir.display()),
            );
        }
    }
}

/// Whether a user who is neither this one nor root decides what is in one of the files.
pub(in crate::config) fn is_anothers(file: &File<'_>) -> bool {
    file.documents().iter().any(|document| {
        let folder = if document.dir.as_os_str().is_empty() { Path::new(".") } else { document.dir.as_path() };
        let decides = |path: &Path| access::belongs_to_another(path) || access::writer(path).is_some();
        decides(&document.file()) || decides(folder)
    })
}
