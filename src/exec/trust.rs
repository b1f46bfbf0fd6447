//! The files by which programs trust a certificate authority: written where only we write, gone when their time is over.
//!
//! What is in them is public. A folder of our own is still needed: whoever could change them would be trusted instead.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::environment::{Trust, TrustStore, trusted_before};

/// The largest file of trusted certificates that is read; those of systems have a quarter of a megabyte.
const MOST_BYTES: u64 = 8 * 1024 * 1024;

/// How many names are tried for a folder of our own.
const TRIES: usize = 100;

/// A PEM line (RFC 7468 section 2).
const LINE: usize = 64;

/// What is written for programs to trust.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trusted<'a> {
    /// PEM: the system's certificates and ours.
    pub(crate) bundle: &'a str,
    /// The same as a Java trust store.
    pub(crate) java: Option<JavaStore<'a>>,
}

/// A Java trust store that is still to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JavaStore<'a> {
    /// The file's content.
    pub(crate) bytes: &'a [u8],
    /// `PKCS12` or `JKS`.
    pub(crate) kind: &'static str,
    /// What it is opened with.
    pub(crate) password: &'a str,
}

impl Trusted<'_> {
    /// Writes the files into a folder, under names that begin with `name`. The bundle also has what the environment's own
    /// files of trusted certificates have (`SSL_CERT_FILE` and the like, told by `current`): programs that trusted them go
    /// on doing so.
    ///
    /// # Errors
    /// When a file cannot be written, or the folder's path is no text. A file of the environment that cannot be read is
    /// left out: programs could not have read it either.
    pub(crate) fn write(
        &self,
        folder: &Path,
        name: &str,
        current: &dyn Fn(&str) -> Option<String>,
    ) -> io::Result<Trust> {
        let bundle = folder.join(format!("{name}.pem"));
        put(&bundle, with_those_before(self.bundle, current).as_bytes())?;
        let java = match self.java {
            None => None,
            Some(store) => {
                let path = folder.join(format!("{name}.{}", store.kind.to_ascii_lowercase()));
                put(&path, store.bytes)?;
                Some(TrustStore { path: text(&path)?, kind: store.kind, password: store.password.to_owned() })
            }
        };
        Ok(Trust { bundle: text(&bundle)?, java })
    }
}

/// A new folder among the temporary ones that only this user may enter. It goes, with what is in it, when this is dropped.
#[derive(Debug)]
pub(crate) struct PrivateFolder(PathBuf);

impl PrivateFolder {
    /// Makes it.
    ///
    /// # Errors
    /// When the system's folder for temporary files takes none.
    pub(crate) fn new() -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        for _ in 0..TRIES {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("attache-{}-{number}", std::process::id()));
            // What somebody else has put there is not used, whatever it is.
            match private_folders(false).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Where it is.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(target: "attache::exec", folder = %self.0.display(), %error, "a temporary folder stays behind");
        }
    }
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

/// A folder that was there already may be somebody else's trap: the name is known to all.
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

/// True to its name for a folder that the user has chosen: nobody else may change what is written there. Where many write and each
/// only what is its own (`/tmp`), our files are safe; so they are where those may write who are of our own group.
///
/// # Errors
/// When others may change what is in the folder, with what to do about it.
#[cfg(unix)]
pub(crate) fn kept_from_others(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let found = std::fs::metadata(folder)?;
    let shown = folder.display();
    if found.uid() != rustix::process::geteuid().as_raw() && found.uid() != 0 {
        return Err(refused(format!(
            "{shown} is another user's, who could change what programs trust; choose another folder"
        )));
    }
    let strangers = found.mode() & 0o020 != 0 && found.gid() != rustix::process::getegid().as_raw();
    let open = (found.mode() & 0o002 != 0 || strangers) && found.mode() & 0o1000 == 0;
    if open {
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
///
/// # Errors
/// None.
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

/// A whole file or the one before: somebody may be reading it. What lies under the name in between is never written to, whatever it
/// is.
fn put(path: &Path, content: &[u8]) -> io::Result<()> {
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

fn text(path: &Path) -> io::Result<String> {
    let none = || io::Error::new(io::ErrorKind::InvalidInput, format!("the path {} is not UTF-8 text", path.display()));
    path.to_str().map(str::to_owned).ok_or_else(none)
}

/// A bundle with the certificates of the environment's files that it has not yet.
fn with_those_before(bundle: &str, current: &dyn Fn(&str) -> Option<String>) -> String {
    let mut known: BTreeSet<Vec<u8>> = certificates(bundle.as_bytes()).map(|found| found.as_ref().to_vec()).collect();
    let mut bundle = bundle.to_owned();
    for path in trusted_before(current) {
        let Ok(content) = read(Path::new(&path)) else { continue };
        for certificate in certificates(&content) {
            if known.insert(certificate.as_ref().to_vec()) {
                append(&mut bundle, &certificate);
            }
        }
    }
    bundle
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    std::fs::File::open(path)?.take(MOST_BYTES).read_to_end(&mut content)?;
    Ok(content)
}

fn certificates(pem: &[u8]) -> impl Iterator<Item = CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).filter_map(Result::ok)
}

fn append(bundle: &mut String, certificate: &CertificateDer<'_>) {
    if !bundle.is_empty() && !bundle.ends_with('\n') {
        bundle.push('\n');
    }
    bundle.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = STANDARD.encode(certificate);
    while rest.len() > LINE {
        let next = rest.split_off(LINE);
        bundle.push_str(&rest);
        bundle.push('\n');
        rest = next;
    }
    bundle.push_str(&rest);
    bundle.push_str("\n-----END CERTIFICATE-----\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(name: &str) -> String {
        rcgen::generate_simple_self_signed([name.to_owned()]).unwrap().cert.pem()
    }

    fn count(path: &str) -> usize {
        std::fs::read_to_string(path).unwrap().matches("-----BEGIN CERTIFICATE-----").count()
    }

    #[test]
    fn a_bundle_has_also_what_was_trusted_before_each_once() {
        let folder = PrivateFolder::new().unwrap();
        let (system, ours, corporate) = (certificate("system"), certificate("ours"), certificate("corporate"));
        let (before, pip) = (folder.path().join("before.pem"), folder.path().join("pip.pem"));
        std::fs::write(&before, format!("# the company's\n{corporate}{system}")).unwrap();
        std::fs::write(&pip, &corporate).unwrap();
        let current = |name: &str| match name {
            "SSL_CERT_FILE" => Some(before.to_str().unwrap().to_owned()),
            "PIP_CERT" => Some(pip.to_str().unwrap().to_owned()),
            "CURL_CA_BUNDLE" => Some("/surely/not/there".to_owned()),
            _ => None,
        };
        let java = JavaStore { bytes: b"store", kind: "PKCS12", password: "changeit" };
        let bundle = format!("{system}{}", ours.trim_end());
        let trust = Trusted { bundle: &bundle, java: Some(java) }.write(folder.path(), "trust", &current).unwrap();
        assert_eq!(count(&trust.bundle), 3);
        let written = std::fs::read_to_string(&trust.bundle).unwrap().replace("\r\n", "\n");
        for one in [system, ours, corporate] {
            assert!(written.contains(one.replace("\r\n", "\n").trim_end()), "{written}");
        }
        let java = trust.java.unwrap();
        assert!(java.path.ends_with("trust.pkcs12") && java.kind == "PKCS12", "{java:?}");
        assert_eq!(std::fs::read(&java.path).unwrap(), b"store");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4, "nothing half done is left");
    }

    #[test]
    fn a_private_folder_is_for_nobody_else_and_goes() {
        let (one, other) = (PrivateFolder::new().unwrap(), PrivateFolder::new().unwrap());
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
        let folder = PrivateFolder::new().unwrap();
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
        let home = PrivateFolder::new().unwrap();
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
        assert!(kept_from_others(&cache).is_ok() && cache_folder(&current).is_err(), "ours alone is more than that");
        // A link, though to a folder of ours.
        chmod(&cache, 0o700);
        std::fs::rename(&cache, home.path().join("real")).unwrap();
        symlink(home.path().join("real"), &cache).unwrap();
        let told = cache_folder(&current).unwrap_err().to_string();
        assert!(told.contains("a link"), "{told}");
        std::fs::remove_file(&cache).unwrap();
        cache_folder(&current).unwrap();
        assert_eq!(std::fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700, "made so");
    }

    #[cfg(unix)]
    #[test]
    fn what_somebody_left_under_the_name_is_not_written_through() {
        let folder = PrivateFolder::new().unwrap();
        let (victim, path) = (folder.path().join("victim"), folder.path().join("ca.pem"));
        std::fs::write(&victim, "theirs").unwrap();
        let between = path.with_added_extension(format!("{}.new", std::process::id()));
        std::os::unix::fs::symlink(&victim, between).unwrap();
        put(&path, b"ours").unwrap();
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "theirs");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "ours");
    }
}
