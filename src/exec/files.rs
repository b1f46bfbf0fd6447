//! Files written for programs, each whole or not at all.

use std::io::{self, Write as _};
use std::path::Path;

/// Who may read a file, whatever the umask; where it lies decides who gets there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readers {
    Everybody,
    Owner,
}

/// A whole file or the one before: a program may be reading it. What lies under the name in between is never written to, whatever it
/// is. Everybody may read it.
pub(super) fn put(path: &Path, content: &[u8]) -> io::Result<()> {
    put_for(Readers::Everybody, path, content)
}

/// The same for these readers; nobody else has a moment in which to open it.
pub(super) fn put_for(readers: Readers, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".{}.new", std::process::id()));
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new)?;
    file.write_all(content)?;
    #[cfg(unix)]
    if readers == Readers::Everybody {
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    }
    #[cfg(not(unix))]
    let _ = readers;
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
