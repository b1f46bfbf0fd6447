//! The two files of a local CA: read with suspicion, made with care.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::authority::{CertificateAuthority, NewAuthority};
use super::authority_certificate::AuthorityCertificate;
use super::error::TlsError;
use crate::secret::SecretSource;
use crate::secret::access::has_readers;

/// Where a CA's certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuthoritySource {
    /// A PEM certificate.
    pub(crate) certificate: SecretSource,
    /// Its private key in PEM.
    pub(crate) key: SecretSource,
}

impl AuthoritySource {
    /// Reads both now, blockingly.
    ///
    /// # Errors
    /// A place that cannot be read, a key file that others may read, or what [`CertificateAuthority::from_pem`] says.
    pub(crate) fn read(&self) -> Result<CertificateAuthority, TlsError> {
        if let SecretSource::File(path) = &self.key
            && has_readers(path)
        {
            return Err(TlsError::AuthorityKey {
                what: "can be read by other users of this machine",
                remedy: format!("give the file the mode 0600: chmod 600 {}", path.display()).into(),
            });
        }
        CertificateAuthority::from_pem(self.certificate.read()?.pem().expose(), &self.key.read()?)
    }

    /// Reads the certificate alone now, blockingly, and leaves the key where it is.
    ///
    /// # Errors
    /// A place that cannot be read, or what [`AuthorityCertificate::from_pem`] says.
    pub(crate) fn read_certificate(&self) -> Result<AuthorityCertificate, TlsError> {
        AuthorityCertificate::from_pem(self.certificate.read()?.pem().expose())
    }

    /// Writes a new CA into two files that are not there yet, the key readable by this user alone. Folders are made.
    ///
    /// # Errors
    /// The file that could not be written, and why.
    pub(crate) fn create(made: &NewAuthority, certificate: &Path, key: &Path) -> Result<(), (PathBuf, io::Error)> {
        for (path, text, private) in [(key, made.key.expose(), true), (certificate, made.certificate.as_str(), false)] {
            write_new(path, text, private).map_err(|error| {
                // A key without its certificate would only be in the way of the next try.
                if path == certificate {
                    let _best_effort = std::fs::remove_file(key);
                }
                (path.to_owned(), error)
            })?;
        }
        Ok(())
    }
}

fn write_new(path: &Path, text: &str, private: bool) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    // With its mode from the beginning: there is no moment in which others could open it.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, if private { 0o600 } else { 0o644 });
    #[cfg(not(unix))]
    let _ = private;
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
