//! Folders for files that programs are to trust: a user who could change what is in them would be trusted instead, so no other
//! user may write there.

use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

#[cfg(unix)]
use crate::secret::access::{self, Writer};

/// A folder that goes when it is dropped.
pub(crate) type PrivateFolder = TempDir;

/// A new folder among the temporary ones that only this user may enter. It goes, with what is in it, when this is dropped.
///
/// # Errors
/// When the system's folder for temporary files takes none.
pub(crate) fn private_folder() -> io::Result<PrivateFolder> {
    let mut folder = tempfile::Builder::new();
    folder.prefix("attache-");
    // tempfile leaves the mode of a folder to the umask.
    #[cfg(unix)]
    let mode: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    #[cfg(unix)]
    folder.permissions(mode);
    folder.tempdir()
}

/// Lets other users read what is written in a private folder for everybody, for programs that become one. They can neither list nor
/// change it, and sockets stay this user's.
///
/// # Errors
/// When permissions cannot be changed.
#[cfg(unix)]
pub(crate) fn let_others_read(folder: &Path) -> io::Result<()> {
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o711))
}

/// Permissions are of another kind there.
#[cfg(not(unix))]
pub(crate) fn let_others_read(_: &Path) -> io::Result<()> {
    Ok(())
}

/// A folder for files that outlive this process, made if need be: `attache` among the user's caches. What is written there
/// may be named in files that are read after the next login, so it is not `$XDG_RUNTIME_DIR` unless there is no home.
///
/// # Errors
/// When the environment names none, or it cannot be made.
pub(crate) fn cache_folder(current: &dyn Fn(&str) -> Option<String>) -> io::Result<PathBuf> {
    // The base directory specification wants relative paths ignored.
    let folder = |name: &str| current(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || folder("HOME").map(|home| home.join(".cache"));
    let parent = folder("XDG_CACHE_HOME").or_else(home).or_else(|| folder("XDG_RUNTIME_DIR"));
    let none = || io::Error::new(io::ErrorKind::NotFound, "neither XDG_CACHE_HOME nor HOME names a folder");
    let folder = parent.ok_or_else(none)?.join("attache");
    private_folders(true).create(&folder)?;
    is_private(&folder)?;
    Ok(folder)
}

/// A folder that was there already may be another user's trap: the name is known to all.
#[cfg(unix)]
fn is_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let found = std::fs::symlink_metadata(folder)?;
    let shown = folder.display();
    if !found.is_dir() {
        return Err(refused(format!("{shown} is a link or no folder at all; remove it, and it is made anew")));
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(refused(format!("{shown} is another user's; remove it, or name another folder in XDG_CACHE_HOME")));
    }
    if found.mode() & 0o077 != 0 {
        return Err(refused(format!("{shown} is open to other users; run: chmod 700 {shown}")));
    }
    Ok(())
}

/// Checks a folder that the user has chosen: no other user may change what is written there. Where many write and each only what
/// is its own (`/tmp`), attache's files are safe; so they are where members of its own group may write.
///
/// # Errors
/// When others may change what is in the folder, with what to do about it.
#[cfg(unix)]
pub(crate) fn kept_from_others(folder: &Path) -> io::Result<()> {
    // One that is not there is an error of its own.
    std::fs::metadata(folder)?;
    let shown = folder.display();
    if access::belongs_to_another(folder) {
        return Err(refused(format!(
            "{shown} is another user's, who could change what programs trust; choose another folder"
        )));
    }
    if matches!(access::writer(folder), Some(Writer::Everybody | Writer::Group { is_ours: false })) {
        return Err(refused(format!(
            "other users may write into {shown}, and could change what programs trust; run: chmod go-w {shown}, or choose \
             another folder"
        )));
    }
    Ok(())
}

#[cfg(unix)]
fn refused(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, what)
}

#[cfg(not(unix))]
fn is_private(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Permissions are of another kind there.
#[cfg(not(unix))]
pub(crate) fn kept_from_others(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn private_folders(recursive: bool) -> std::fs::DirBuilder {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut folders = std::fs::DirBuilder::new();
    folders.recursive(recursive).mode(0o700);
    folders
}

#[cfg(not(unix))]
fn private_folders(recursive: bool) -> std::fs::DirBuilder {
    let mut folders = std::fs::DirBuilder::new();
    folders.recursive(recursive);
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_folder_is_for_this_user_alone_and_goes() {
        let (one, other) = (private_folder().unwrap(), private_folder().unwrap());
        assert_ne!(one.path(), other.path());
        std::fs::write(one.path().join("file"), "x").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(one.path()).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
        }
        let path = one.path().to_owned();
        drop(one);
        assert!(!path.exists() && other.path().exists());
    }

    #[test]
    fn the_cache_folder_is_the_users() {
        let folder = private_folder().unwrap();
        let home = folder.path().to_str().unwrap().to_owned();
        let among = |set: &'static str| {
            let home = home.clone();
            move |name: &str| (name == set).then(|| home.clone())
        };
        assert_eq!(cache_folder(&among("XDG_CACHE_HOME")).unwrap(), folder.path().join("attache"));
        assert_eq!(cache_folder(&among("HOME")).unwrap(), folder.path().join(".cache/attache"));
        assert_eq!(cache_folder(&among("XDG_RUNTIME_DIR")).unwrap(), folder.path().join("attache"));
        assert!(cache_folder(&|_| Some("relative".to_owned())).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_others_may_change_is_refused_with_what_to_do() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let home = private_folder().unwrap();
        let cache = home.path().join("attache");
        let chmod = |path: &Path, mode: u32| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let set = home.path().to_str().unwrap().to_owned();
        let current = |name: &str| (name == "XDG_CACHE_HOME").then(|| set.clone());
        std::fs::create_dir(&cache).unwrap();
        chmod(&cache, 0o777);
        let told = cache_folder(&current).unwrap_err().to_string();
        assert!(told.contains("chmod 700"), "{told}");
        let told = kept_from_others(&cache).unwrap_err().to_string();
        assert!(told.contains("chmod go-w"), "{told}");
        chmod(&cache, 0o755);
        assert!(
            kept_from_others(&cache).is_ok() && cache_folder(&current).is_err(),
            "a folder for this user alone is more than that"
        );
        // A link, though to a folder of this user's.
        chmod(&cache, 0o700);
        std::fs::rename(&cache, home.path().join("real")).unwrap();
        symlink(home.path().join("real"), &cache).unwrap();
        let told = cache_folder(&current).unwrap_err().to_string();
        assert!(told.contains("a link"), "{told}");
        std::fs::remove_file(&cache).unwrap();
        cache_folder(&current).unwrap();
        assert_eq!(std::fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700, "made so");
    }
}
