//! What tells a changed configuration from an unchanged one, whichever of its files has changed.

use std::path::{Path, PathBuf};

use super::include::{self, matching};
use crate::config::substitution::substitute;
use crate::config::syntax::document::{Document, folder, mentions};
use crate::config::syntax::file::{File, environment, read_regular_text};
use crate::config::syntax::reader::TableReader;
use crate::digest::digest;
use crate::secret::Secret;

/// A file that was read, and what was in it and in those that it includes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigFile {
    /// Absolute, so that it stays the same file wherever the process goes.
    pub(crate) path: PathBuf,
    /// SHA-256 of the contents: there may be secrets in the texts themselves.
    pub(crate) digest: [u8; 32],
}

impl ConfigFile {
    /// What has been read just now.
    pub(in crate::config) fn of(path: &Path, file: &File<'_>) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_nowhere| path.to_owned());
        let documents = file.documents().iter().map(Document::fingerprint);
        Self { path, digest: joined(documents) }
    }

    /// The digest of what the files hold now; `None` if one cannot be read, as a pipe cannot a second time.
    #[must_use]
    pub(crate) fn digest(path: &Path) -> Option<[u8; 32]> {
        let text = read_regular_text(path).ok()?;
        let own = text.fingerprint();
        let mut found = vec![own];
        let mut seen = vec![path.to_owned()];
        for pattern in patterns(path, text) {
            for included in matching(folder(path), &pattern.to_string_lossy()).unwrap_or_default() {
                if !seen.contains(&included) {
                    found.push(read_regular_text(&included).ok()?.fingerprint());
                    seen.push(included);
                }
            }
        }
        Some(joined(found.into_iter()))
    }
}

fn joined(contents: impl Iterator<Item = [u8; 32]>) -> [u8; 32] {
    let contents: Vec<[u8; 32]> = contents.collect();
    digest(contents.iter().map(<[u8; 32]>::as_slice))
}

/// The patterns of a file. It is parsed for them only if it seems to have some.
fn patterns(path: &Path, text: Secret) -> Vec<PathBuf> {
    if !mentions(&text, "include") {
        return Vec::new();
    }
    let mut file = File::new(&environment, false);
    let mut tree = file.add(path.display().to_string(), text, folder(path).to_owned());
    substitute(&file, &mut tree);
    include::patterns(&mut TableReader::new(&file, String::new(), 0, &tree))
}
