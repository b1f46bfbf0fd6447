//! The files by which programs trust a certificate authority. What is in them is public.

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::client_files;
use super::environment::trusted_before;
use super::files::{put, text};
use super::setup::{Trust, TrustStore};

/// The largest file of trusted certificates that is read; those of systems have a quarter of a megabyte.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// What is written for programs to trust.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trusted<'a> {
    /// PEM: the system's certificates and the local CA's.
    pub(crate) bundle: &'a str,
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
        let bundle = text(&bundle)?;
        let variables = client_files::write(folder, name, &bundle, current)?;
        Ok(Trust { bundle, java, variables })
    }
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
    std::fs::File::open(path)?.take(MAX_BYTES).read_to_end(&mut content)?;
    Ok(content)
}

fn certificates(pem: &[u8]) -> impl Iterator<Item = CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).filter_map(Result::ok)
}

fn append(bundle: &mut String, certificate: &CertificateDer<'_>) {
    if !bundle.is_empty() && !bundle.ends_with('\n') {
        bundle.push('\n');
    }
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    bundle.push_str(&pem::encode_config(&pem::Pem::new("CERTIFICATE", certificate.as_ref()), config));
}

#[cfg(test)]
mod tests {
    use super::super::folders::private_folder;
    use super::*;

    fn certificate(name: &str) -> String {
        rcgen::generate_simple_self_signed([name.to_owned()]).unwrap().cert.pem()
    }

    fn count(path: &str) -> usize {
        std::fs::read_to_string(path).unwrap().matches("-----BEGIN CERTIFICATE-----").count()
    }

    #[test]
    fn a_bundle_has_also_what_was_trusted_before_each_once() {
        let folder = private_folder().unwrap();
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
        let half_done = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().ends_with(".new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap).filter(half_done).count(), 0);
    }
}
