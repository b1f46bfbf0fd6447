//! Where systems and programs keep the authorities that they trust, and what has to be done there.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::exec::tool;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The certificate into this file.
    Write(PathBuf),
    Remove(PathBuf),
    /// A program that makes what others read; its stdin is the certificate, if it asks for it.
    Run {
        program: PathBuf,
        args: Vec<String>,
        with_certificate: bool,
    },
}

/// A store that is there, and the steps that change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// `the system (Debian, Ubuntu, Alpine)`, `the NSS database …`.
    pub(super) store: String,
    pub(super) steps: Vec<Step>,
    /// Its files belong to root.
    pub(super) is_the_systems: bool,
}

/// What is done with the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Trust,
    Untrust,
}

/// A folder of certificates, and the program that makes bundles of it.
struct SystemStore {
    systems: &'static str,
    folder: &'static str,
    program: &'static str,
    args: &'static [&'static str],
    /// Without it, links to what was taken out would stay.
    untrust_args: &'static [&'static str],
    /// It takes other folders than those of the system that it runs on.
    takes_folders: bool,
}

const SYSTEM_STORES: [SystemStore; 4] = [
    SystemStore {
        systems: "Fedora, RHEL",
        folder: "etc/pki/ca-trust/source/anchors",
        program: "update-ca-trust",
        args: &["extract"],
        untrust_args: &[],
        takes_folders: false,
    },
    SystemStore {
        systems: "Debian, Ubuntu, Alpine",
        folder: "usr/local/share/ca-certificates",
        program: "update-ca-certificates",
        args: &[],
        untrust_args: &["--fresh"],
        takes_folders: true,
    },
    SystemStore {
        systems: "Arch",
        folder: "etc/ca-certificates/trust-source/anchors",
        program: "trust",
        args: &["extract-compat"],
        untrust_args: &[],
        takes_folders: false,
    },
    SystemStore {
        systems: "openSUSE",
        folder: "usr/share/pki/trust/anchors",
        program: "update-ca-certificates",
        args: &[],
        untrust_args: &["--fresh"],
        takes_folders: false,
    },
];

/// Where Debian's program looks, below another root.
const DEBIAN_FOLDERS: [(&str, &str); 5] = [
    ("--certsconf", "etc/ca-certificates.conf"),
    ("--certsdir", "usr/share/ca-certificates"),
    ("--localcertsdir", "usr/local/share/ca-certificates"),
    ("--etccertsdir", "etc/ssl/certs"),
    ("--hooksdir", "etc/ca-certificates/update.d"),
];

/// Where a program is expected that is not found.
const USUAL_FOLDER: &str = "/usr/sbin";

/// The change to the system's own store, or below another root, an absolute path; `None` where there is none that is known.
pub(super) fn system(wish: Wish, name: &str, root: Option<&Path>) -> Option<Change> {
    let place = root.unwrap_or_else(|| Path::new("/"));
    let (store, program) = SYSTEM_STORES.iter().find_map(|store| {
        let found = place.join(store.folder).is_dir();
        // Below another root its own program may do; here it has to be there.
        let program = tool(store.program).or_else(|| root.map(|_| usual(store.program)));
        program.filter(|_| found).map(|program| (store, program))
    })?;
    let file = place.join(store.folder).join(format!("{name}.crt"));
    let step = match wish {
        Wish::Trust => Step::Write(file),
        Wish::Untrust => Step::Remove(file),
    };
    let more: &[&str] = if wish == Wish::Untrust { store.untrust_args } else { &[] };
    let given = store.args.iter().chain(more).map(|arg| (*arg).to_owned());
    let run = |program: PathBuf, args: Vec<String>| Step::Run { program, args, with_certificate: false };
    let make = match root {
        None => run(program, given.collect()),
        Some(root) if store.takes_folders => {
            let folders = DEBIAN_FOLDERS.iter().flat_map(|(flag, path)| [(*flag).to_owned(), shown(&root.join(path))]);
            run(program, given.chain(folders).collect())
        }
        Some(root) => {
            let inside = [shown(root), store.program.to_owned()].into_iter().chain(given);
            run(tool("chroot").unwrap_or_else(|| usual("chroot")), inside.collect())
        }
    };
    let store = format!("the system ({})", store.systems);
    Some(Change { store, steps: vec![step, make], is_the_systems: true })
}

/// The changes to the NSS databases below this home folder, by NSS's own program.
pub(super) fn nss(wish: Wish, name: &str, home: &Path, certutil: &Path) -> Vec<Change> {
    let change = |database: PathBuf| {
        let database = format!("sql:{}", shown(&database));
        let words: &[&str] = match wish {
            Wish::Trust => &["-A", "-d", &database, "-n", name, "-t", "C,,", "-a"],
            Wish::Untrust => &["-D", "-d", &database, "-n", name],
        };
        let args = words.iter().map(|word| (*word).to_owned()).collect();
        let step = Step::Run { program: certutil.to_owned(), args, with_certificate: wish == Wish::Trust };
        Change { store: format!("the NSS database {database}"), steps: vec![step], is_the_systems: false }
    };
    databases(home).into_iter().map(change).collect()
}

/// Folders with a database: Chromium's, and one for each profile of Firefox; their snaps' and flatpaks' too.
pub(super) fn databases(home: &Path) -> Vec<PathBuf> {
    const SHARED: [&str; 2] = [".pki/nssdb", "snap/chromium/current/.pki/nssdb"];
    const PROFILES: [&str; 3] =
        [".mozilla/firefox", "snap/firefox/common/.mozilla/firefox", ".var/app/org.mozilla.firefox/.mozilla/firefox"];
    let shared = SHARED.iter().map(|folder| home.join(folder));
    let profiles = PROFILES.iter().filter_map(|folder| std::fs::read_dir(home.join(folder)).ok());
    let profiles = profiles.flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut all: Vec<PathBuf> = shared.chain(profiles).filter(|folder| folder.join("cert9.db").is_file()).collect();
    all.sort();
    all
}

fn usual(program: &str) -> PathBuf {
    Path::new(USUAL_FOLDER).join(program)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// As a person would type it.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(path) => write!(f, "write   {}", path.display()),
            Self::Remove(path) => write!(f, "remove  {}", path.display()),
            Self::Run { program, args, with_certificate } => {
                write!(f, "run     {}", program.display())?;
                for arg in args {
                    if arg.contains(' ') { write!(f, " \"{arg}\"")? } else { write!(f, " {arg}")? }
                }
                f.write_str(if *with_certificate { " < the certificate" } else { "" })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root_with(folder: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join(folder)).unwrap();
        root
    }

    fn steps(wish: Wish, root: &Path) -> Vec<String> {
        let change = system(wish, "attache-1", Some(root)).unwrap();
        let chroot = tool("chroot").unwrap_or_else(|| usual("chroot")).display().to_string();
        let plain = |text: String| text.replace(&format!("{}", root.display()), "ROOT").replace(&chroot, "chroot");
        let shown = |step: &Step| plain(step.to_string());
        change.steps.iter().map(shown).collect()
    }

    #[test]
    fn each_system_has_its_folder_and_its_program() {
        for (folder, command) in [
            ("etc/pki/ca-trust/source/anchors", "chroot ROOT update-ca-trust extract"),
            ("etc/ca-certificates/trust-source/anchors", "chroot ROOT trust extract-compat"),
            ("usr/share/pki/trust/anchors", "chroot ROOT update-ca-certificates"),
        ] {
            let root = root_with(folder);
            let trust = [format!("write   ROOT/{folder}/attache-1.crt"), format!("run     {command}")];
            assert_eq!(steps(Wish::Trust, root.path()), trust);
            let command = command.replace("certificates", "certificates --fresh");
            let untrust = [format!("remove  ROOT/{folder}/attache-1.crt"), format!("run     {command}")];
            assert_eq!(steps(Wish::Untrust, root.path()), untrust);
        }
        let debian = root_with("usr/local/share/ca-certificates");
        let command = steps(Wish::Trust, debian.path()).pop().unwrap();
        assert!(command.contains("update-ca-certificates --certsconf ROOT/etc/ca-certificates.conf "), "{command}");
        assert!(command.contains(" --localcertsdir ROOT/usr/local/share/ca-certificates "), "{command}");
        assert!(system(Wish::Trust, "attache-1", Some(root_with("etc").path())).is_none());
    }

    #[test]
    fn every_database_of_the_user_is_found_and_no_other_folder() {
        let home = tempfile::tempdir().unwrap();
        for database in [".pki/nssdb", ".mozilla/firefox/x.default", "snap/firefox/common/.mozilla/firefox/y"] {
            std::fs::create_dir_all(home.path().join(database)).unwrap();
            std::fs::write(home.path().join(database).join("cert9.db"), "").unwrap();
        }
        std::fs::create_dir_all(home.path().join(".mozilla/firefox/Crash Reports")).unwrap();
        let found = nss(Wish::Trust, "attache 1", home.path(), Path::new("certutil"));
        assert_eq!(found.len(), 3, "{found:?}");
        let typed = found[1].steps[0].to_string();
        let database = home.path().join(".pki/nssdb");
        let expected =
            format!("run     certutil -A -d sql:{} -n \"attache 1\" -t C,, -a < the certificate", database.display());
        assert_eq!(typed, expected);
    }
}
