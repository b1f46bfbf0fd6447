//! What other users of this machine may do with a file: read what is in it, or change it.

use std::fmt;
use std::path::Path;

/// Who may write a file or folder besides its owner and root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writer {
    Everybody,
    /// `is_ours`: this process is of that group.
    Group {
        is_ours: bool,
    },
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Everybody => "every user of this machine",
            Self::Group { .. } => "the group of its owner",
        })
    }
}

#[cfg(not(unix))]
pub(crate) use elsewhere::{belongs_to_another, has_readers, is_open_to_all, writer};
#[cfg(unix)]
pub(crate) use unix::{belongs_to_another, has_readers, is_open_to_all, writer};

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::MetadataExt as _;

    use super::{Path, Writer};

    /// Who else may write it; `None` too for what is not there. In a folder with the sticky bit nobody replaces another user's
    /// file.
    #[must_use]
    pub(crate) fn writer(path: &Path) -> Option<Writer> {
        let found = path.metadata().ok()?;
        let mode = found.mode();
        // A group with its owner's number is that user's own, and has nobody else in it.
        let has_group = mode & 0o020 != 0 && found.gid() != found.uid();
        let is_ours = found.gid() == rustix::process::getegid().as_raw();
        match (found.is_dir() && mode & 0o1000 != 0, mode & 0o002 != 0, has_group) {
            (true, ..) | (_, false, false) => None,
            (_, true, _) => Some(Writer::Everybody),
            (_, _, true) => Some(Writer::Group { is_ours }),
        }
    }

    /// True if it is neither this user's nor root's.
    #[must_use]
    pub(crate) fn belongs_to_another(path: &Path) -> bool {
        path.metadata().is_ok_and(|found| is_another(found.uid(), rustix::process::geteuid().as_raw()))
    }

    pub(super) const fn is_another(owner: u32, me: u32) -> bool {
        owner != 0 && owner != me
    }

    /// True if anybody but its owner may do anything with it.
    #[must_use]
    pub(crate) fn has_readers(path: &Path) -> bool {
        path.metadata().is_ok_and(|found| found.mode() & 0o077 != 0)
    }

    /// True if everybody may read it and get to it: each folder on the way lets them pass.
    #[must_use]
    pub(crate) fn is_open_to_all(path: &Path) -> bool {
        const READ: u32 = 0o004;
        const ENTER: u32 = 0o001;
        let Ok(path) = path.canonicalize() else { return false };
        let has = |path: &Path, bit: u32| path.metadata().is_ok_and(|found| found.mode() & bit != 0);
        has(&path, READ) && path.ancestors().skip(1).all(|folder| has(folder, ENTER))
    }
}

/// Permissions are of another kind there.
#[cfg(not(unix))]
mod elsewhere {
    use super::{Path, Writer};

    pub(crate) const fn writer(_: &Path) -> Option<Writer> {
        None
    }

    pub(crate) const fn belongs_to_another(_: &Path) -> bool {
        false
    }

    pub(crate) const fn has_readers(_: &Path) -> bool {
        false
    }

    pub(crate) const fn is_open_to_all(_: &Path) -> bool {
        false
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_belongs_to_its_owner_unless_that_is_this_user_or_root() {
        for (owner, me, is_another) in [(0, 0, false), (0, 5, false), (5, 5, false), (5, 0, true), (5, 6, true)] {
            assert_eq!(unix::is_another(owner, me), is_another, "{owner} {me}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        // Only root may give a file away.
        if std::os::unix::fs::chown(file.path(), Some(12345), None).is_ok() {
            assert!(belongs_to_another(file.path()));
        }
    }

    #[test]
    fn each_bit_for_others_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let chmod = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        for (mode, may_write, may_do) in
            [(0o600, None, false), (0o644, None, true), (0o602, Some(Writer::Everybody), true), (0o601, None, true)]
        {
            chmod(&file, mode);
            assert_eq!((writer(&file), has_readers(&file)), (may_write, may_do), "{mode:o}");
        }
        chmod(folder.path(), 0o777);
        assert_eq!(writer(folder.path()), Some(Writer::Everybody));
        chmod(folder.path(), 0o1777);
        assert_eq!(writer(folder.path()), None, "each replaces only what is its own");
        chmod(&file, 0o644);
        assert!(is_open_to_all(&file));
        chmod(folder.path(), 0o700);
        assert!(!is_open_to_all(&file), "nobody else gets there");
        assert!(!belongs_to_another(&file) && !belongs_to_another(Path::new("/")));
    }
}
