//! Who else may write the files of a configuration, and so have its secrets sent elsewhere.

use std::path::{Path, PathBuf};

use crate::config::syntax::document::Document;
use crate::config::syntax::file::File;
use crate::secret::access;

/// Warns of files, and of their folders, that other users own or may write; of a link's target and its folder too.
pub(super) fn warn(file: &File<'_>) {
    for document in file.documents() {
        let path = document.file();
        if let Some((who, mend)) = other_writer(&path) {
            let what = format!("{who} may write this file, and so decide where its secrets are sent");
            file.warn_of_file(&document.name, what, format!("{mend} {}", path.display()));
            continue;
        }
        let own = (folder(document), "this file");
        let target = target_folder(document).map(|target| (target, "the file that this link leads to"));
        for (folder, which) in std::iter::once(own).chain(target) {
            if let Some((who, mend)) = other_writer(&folder) {
                let what = format!("{who} may write the folder of {which}, and so put another file in its place");
                file.warn_of_file(&document.name, what, format!("{mend} {}", folder.display()));
            }
        }
    }
}

/// Whether a user who is neither this one nor root decides what is in one of the files.
pub(in crate::config) fn is_anothers(file: &File<'_>) -> bool {
    let decides = |path: &Path| other_writer(path).is_some();
    file.documents().iter().any(|document| {
        decides(&document.file())
            || decides(&folder(document))
            || target_folder(document).is_some_and(|target| decides(&target))
    })
}

/// Who, and what mends it.
fn other_writer(path: &Path) -> Option<(String, &'static str)> {
    // An owner can always take the right to write.
    if access::belongs_to_another(path) {
        return Some(("another user, who is its owner,".to_owned(), "chown $(id -u)"));
    }
    access::writer(path).map(|who| (who.to_string(), "chmod go-w"))
}

fn folder(document: &Document) -> PathBuf {
    if document.dir.as_os_str().is_empty() { PathBuf::from(".") } else { document.dir.clone() }
}

/// The folder of what a link leads to, if it is another one.
fn target_folder(document: &Document) -> Option<PathBuf> {
    let target = document.file().canonicalize().ok()?.parent()?.to_owned();
    (folder(document).canonicalize().ok()? != target).then_some(target)
}
