//! `include`: patterns, and the files that they name now.

use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

use crate::config::syntax::document::Document;
use crate::config::syntax::file::File;
use crate::config::syntax::reader::TableReader;
use crate::config::syntax::tree::Table;
use crate::config::syntax::value::Value;

/// One file that a pattern names.
pub(super) struct Included {
    pub(super) path: PathBuf,
    /// As it is shown to a person.
    pub(super) name: String,
    /// Where the pattern stands.
    pub(super) pattern_at: usize,
}

/// More than any folder of parts has; a pattern that names more means something else.
const MOST: usize = 1000;

/// What editors and packages leave behind begins with a dot, as far as it ends as the others do.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// The files that `include` names, in the order of its patterns, and of their names within each.
pub(super) fn included(file: &File<'_>, tree: &Table, dir: &Path, shown: &Path) -> Vec<Included> {
    let mut root = TableReader::new(file, String::new(), 0, tree);
    let Some(value) = root.get("include") else { return Vec::new() };
    let own = file.documents().first().map(Document::file);
    let mut found: Vec<Included> = Vec::new();
    for entry in value.list().unwrap_or_default() {
        let Some(pattern) = entry.text() else { continue };
        if pattern.contains("**") {
            let remedy = "name each folder, as in \"conf.d/*.toml\": what is included is looked for every second";
            entry.wrong::<()>("has `**`, which stands for folders of any depth", remedy);
            continue;
        }
        let paths = match matching(dir, pattern) {
            Ok(paths) if paths.is_empty() && !is_pattern(pattern) => {
                let shown = file.written.shown_path(entry.at, &dir.join(pattern));
                let what = format!("names {shown}, which is not there");
                entry.wrong::<()>(what, "write the file, or a pattern such as \"conf.d/*.toml\", which may match none");
                continue;
            }
            Ok(paths) if paths.len() > MOST => {
                entry
                    .wrong::<()>(format_args!("names more than {MOST} files"), "name a folder that holds nothing else");
                continue;
            }
            Ok(paths) => paths,
            Err(error) => {
                entry.wrong::<()>(
                    format_args!("is not a pattern: {}", error.msg),
                    "write one such as \"conf.d/*.toml\"",
                );
                continue;
            }
        };
        for path in paths {
            // The file itself may lie among what it includes, and two patterns may meet.
            if own.as_ref() == Some(&path) || found.iter().any(|earlier| earlier.path == path) {
                continue;
            }
            let name = path.strip_prefix(dir).map_or_else(|_elsewhere| path.clone(), |below| shown.join(below));
            found.push(Included { path, name: name.display().to_string(), pattern_at: entry.at });
        }
    }
    found
}

/// The patterns themselves, relative to the file's folder.
pub(in crate::config) fn patterns(root: &mut TableReader<'_>) -> Vec<PathBuf> {
    let entries = root.get("include").and_then(|value| value.list()).unwrap_or_default();
    entries.iter().filter_map(Value::text).map(PathBuf::from).collect()
}

/// The files that a pattern names now, in sorted order.
pub(super) fn matching(dir: &Path, pattern: &str) -> Result<Vec<PathBuf>, glob::PatternError> {
    let under = |text: &str| if Path::new(text).is_absolute() { PathBuf::new() } else { dir.to_owned() };
    // It would walk whatever lies below, each time.
    if pattern.contains("**") {
        return Ok(Vec::new());
    }
    if !is_pattern(pattern) {
        let path = dir.join(pattern);
        return Ok(if path.exists() { vec![path] } else { Vec::new() });
    }
    let under = under(pattern);
    let whole = Path::new(&Pattern::escape(&under.to_string_lossy())).join(pattern);
    let found = glob::glob_with(&whole.to_string_lossy(), OPTIONS)?;
    // A folder that may not be entered has no files for us; the system says so where one is named.
    Ok(found.filter_map(Result::ok).filter(|path| path.is_file()).take(MOST + 1).collect())
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}
