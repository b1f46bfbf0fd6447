//! Who else may write the files of a configuration, and so have its secrets sent elsewhere.

use std::path::Path;

use crate::config::syntax::file::File;

/// Warns of files, and of their folders, that other users may write.
#[cfg(unix)]
pub(super) fn warn(file: &File<'_>) {
    for document in file.documents() {
        let path = document.file();
        if let Some(who) = writable_by(&path, false) {
            file.warn_of_file(
                &document.name,
                format!("{who} may write this file, and so decide where its secrets are sent"),
                format!("chmod go-w {}", path.display()),
            );
        } else if let Some(who) = writable_by(&document.dir, true) {
            file.warn_of_file(
                &document.name,
                format!("{who} may write the folder of this file, and so put another file in its place"),
                format!("chmod go-w {}", document.dir.display()),
            );
        }
    }
}

#[cfg(not(unix))]
pub(super) const fn warn(_file: &File<'_>) {}

/// Who may write besides its owner. In a folder with the sticky bit nobody replaces another user's file.
#[cfg(unix)]
fn writable_by(path: &Path, is_folder: bool) -> Option<&'static str> {
    use std::os::unix::fs::MetadataExt as _;
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let metadata = std::fs::metadata(path).ok()?;
    let mode = metadata.mode();
    // A group with its owner's number is that user's own, and has nobody else in it.
    let group = mode & 0o020 != 0 && metadata.gid() != metadata.uid();
    match (is_folder && mode & 0o1000 != 0, mode & 0o002 != 0, group) {
        (true, ..) | (_, false, false) => None,
        (_, true, _) => Some("every user of this machine"),
        (_, _, true) => Some("the group of its owner"),
    }
}
