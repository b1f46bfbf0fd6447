//! Which files make one configuration: the one that is named, and those that it includes.

pub(super) mod access;
pub(super) mod include;
mod merge;
pub(super) mod watched;

use std::path::Path;

use crate::config::files::include::{Included, included};
use crate::config::files::merge::merge;
use crate::config::substitution::substitute;
use crate::config::syntax::document::folder;
use crate::config::syntax::error::ConfigErrors;
use crate::config::syntax::file::{File, read_regular_text, read_text};
use crate::config::syntax::tree::Table;
use crate::secret::Secret;

/// Reads a file and those that it includes into one table, with what the environment has in it.
///
/// # Errors
/// That the file itself cannot be read. Whatever else is wrong is found in `file`.
pub(super) fn read(file: &mut File<'_>, path: &Path) -> Result<Table, ConfigErrors> {
    let text = read_text(path)?;
    // A reload comes with this path, and has to find what the start has found: paths of the file are absolute, too.
    let absolute = std::path::absolute(path).unwrap_or_else(|_nowhere| path.to_owned());
    let tree = read_whole(file, &path.display().to_string(), text, folder(&absolute), folder(path));
    access::warn(file);
    Ok(tree)
}

/// The same for a text. `dir` is where its paths start, `shown` how that folder is called towards people.
pub(super) fn read_whole(file: &mut File<'_>, name: &str, text: Secret, dir: &Path, shown: &Path) -> Table {
    let mut tree = file.add(name.to_owned(), text, dir.to_owned());
    substitute(file, &mut tree);
    for Included { path, name, pattern_at } in included(file, &tree, dir, shown) {
        let text = match read_regular_text(&path) {
            Ok(text) => text,
            Err(error) => {
                let shown = file.written.shown_path(pattern_at, &path);
                let what = format!("names {shown}, which cannot be read: {error}");
                file.problem(pattern_at, format!("`include` {what}"), "name files that attache may read");
                continue;
            }
        };
        let mut part = file.add(name, text, folder(&path).to_owned());
        substitute(file, &mut part);
        merge(file, &mut tree, part);
    }
    tree
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
