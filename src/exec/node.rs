//! Node.js programs that would not read the proxy variables: a script that is loaded before them.

use std::io;
use std::path::Path;

use super::environment::Change;
use super::files::{put, text};

const SCRIPT: &str = include_str!("node_preload.cjs");

const OPTIONS: &str = "NODE_OPTIONS";

/// Writes the script into a folder, and gives the variable by which Node.js loads it, behind the options that are there.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn preload(folder: &Path, current: &dyn Fn(&str) -> Option<String>) -> io::Result<(String, Change)> {
    let path = folder.join("node_preload.cjs");
    put(&path, SCRIPT.as_bytes())?;
    let before = current(OPTIONS).map(|before| before.trim().to_owned()).filter(|before| !before.is_empty());
    let ours = format!("--require {}", quoted(&text(&path)?));
    Ok((OPTIONS.to_owned(), Change::Set(before.map_or(ours.clone(), |before| format!("{before} {ours}")))))
}

/// Blanks stand between double quotes, and these and backslashes behind a backslash there.
fn quoted(path: &str) -> String {
    format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::super::folders::private_folder;
    use super::*;

    #[test]
    fn the_options_that_are_there_stay() {
        let folder = private_folder().unwrap();
        let value = |before: Option<&str>| match preload(folder.path(), &|_| before.map(str::to_owned)).unwrap() {
            (name, Change::Set(value)) if name == "NODE_OPTIONS" => value,
            other => panic!("{other:?}"),
        };
        let ours = format!("--require \"{}/node_preload.cjs\"", folder.path().display());
        assert_eq!(value(None), ours);
        assert_eq!(value(Some(" --max-old-space-size=64 ")), format!("--max-old-space-size=64 {ours}"));
        assert_eq!(quoted("a \"b\" \\c"), "\"a \\\"b\\\" \\\\c\"");
    }
}
