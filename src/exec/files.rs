//! Files written for programs, each whole or not at all.

use std::io::{self, Write as _};
use std::path::Path;

/// A whole file or the one before: a program may be reading it. What lies under the name in between is never written to, whatever it
/// is.
pub(super) fn put(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_added_extension(format!("{}.new", std::process::id()));
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::File::create_new(&new)?;
    file.write_all(content)?;
    drop(file);
    std::fs::rename(&new, path)
}

/// A path as a variable has it.
pub(super) fn text(path: &Path) -> io::Result<String> {
    let none = || io::Error::new(io::ErrorKind::InvalidInput, format!("the path {} is not UTF-8 text", path.display()));
    path.to_str().map(str::to_owned).ok_or_else(none)
}

#[cfg(all(test, unix))]
mod tests {
    use super::super::folders::private_folder;
    use super::*;

    #[test]
    fn what_another_left_under_the_name_is_not_written_through() {
        let folder = private_folder().unwrap();
        let (victim, path) = (folder.path().join("victim"), folder.path().join("ca.pem"));
        std::fs::write(&victim, "theirs").unwrap();
        let between = path.with_added_extension(format!("{}.new", std::process::id()));
        std::os::unix::fs::symlink(&victim, between).unwrap();
        put(&path, b"ours").unwrap();
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "theirs");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "ours");
    }
}
