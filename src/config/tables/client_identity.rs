//! `client_certificate` and `client_key`: what is shown to a server that asks for a certificate.

use std::time::SystemTime;

use crate::config::syntax::file::File;
use crate::config::syntax::reader::TableReader;
use crate::config::syntax::value::Value;
use crate::config::tables::secrets::pem;
use crate::secret::{Secret, SecretSource};
use crate::tls::{ClientIdentity, IdentitySource, TlsError};

/// Reads both keys. Without `client_key`, the key is looked for in the file of the certificate.
pub(crate) fn client_identity(table: &mut TableReader<'_>) -> Option<IdentitySource> {
    let (certificate, key) = (table.get("client_certificate"), table.get("client_key"));
    let Some(certificate) = certificate else {
        if key.is_some() {
            table.missing("client_certificate", "name the PEM file with the certificate of client_key");
        }
        return None;
    };
    pair(&certificate, key.as_ref())
}

/// A certificate and its key, which may be in the same place.
pub(crate) fn pair(certificate: &Value<'_>, key: Option<&Value<'_>>) -> Option<IdentitySource> {
    let certificate_source = pem(certificate);
    let key_source = key.map(pem);
    let source = IdentitySource {
        key: key_source.unwrap_or_else(|| certificate_source.clone())?,
        certificate: certificate_source?,
    };
    belong_together(&source, certificate, key.unwrap_or(certificate)).then_some(source)
}

/// Reports a pair that cannot be used, and warns of one that a server will hardly accept.
fn belong_together(source: &IdentitySource, certificate: &Value<'_>, key: &Value<'_>) -> bool {
    let present = |source: &SecretSource| if source.is_command() { None } else { present(certificate.file, source) };
    let (Some(certificate_text), Some(key_text)) = (present(&source.certificate), present(&source.key)) else {
        return true;
    };
    let (value, what, remedy) = match ClientIdentity::from_pem(&certificate_text, &key_text) {
        Ok(identity) => {
            if let Some(doubt) = identity.doubt(SystemTime::now()) {
                certificate.file.warning(
                    certificate.at,
                    format!("`{}` {}", certificate.path, doubt.what),
                    doubt.remedy,
                );
            }
            return true;
        }
        Err(TlsError::ClientCertificate { what, remedy }) => (certificate, what.to_owned(), remedy),
        Err(TlsError::ClientKey { what, remedy }) => (key, what.to_owned(), remedy),
        Err(other) => (certificate, format!("cannot be used: {other}"), "name another PEM file"),
    };
    value.wrong::<()>(what, remedy);
    false
}

/// What the place holds now.
fn present(file: &File<'_>, source: &SecretSource) -> Option<Secret> {
    match source {
        SecretSource::Env(name) => (file.environment)(name).map(Secret::new),
        source => source.read().ok(),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::{keep, parse_in, problems_in};
    use crate::secret::SecretSource;
    use crate::tls::MinVersion;
    use rcgen::{CertificateParams, KeyPair};
    use std::path::Path;

    /// `a.pem` and `b.pem` with keys in `a.key` and `b.key`, `old.pem` for `a.key`, and `both.pem`.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        keep(folder.path());
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let mut params = CertificateParams::new(["client".to_owned()]).unwrap();
        let [a, b] = [(); 2].map(|()| KeyPair::generate().unwrap());
        for (name, key) in [("a", &a), ("b", &b)] {
            write(&format!("{name}.pem"), &params.self_signed(key).unwrap().pem());
            write(&format!("{name}.key"), &key.serialize_pem());
        }
        write("both.pem", &(params.self_signed(&a).unwrap().pem() + &a.serialize_pem()));
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        write("old.pem", &params.self_signed(&a).unwrap().pem());
        folder
    }

    fn text(tls: &str) -> String {
        format!(
            "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[upstreams.a]\norigin = \"https://a.test\"\n\
             tls = {{ {tls} }}\n"
        )
    }

    fn wrong(folder: &Path, tls: &str) -> Vec<String> {
        problems_in(folder, &text(tls))
    }

    #[test]
    fn a_plain_text_is_a_path() {
        let folder = folder();
        for written in [
            "client_certificate = \"a.pem\", client_key = \"a.key\"",
            "client_certificate = { file = \"a.pem\" }, client_key = { file = \"a.key\" }",
            "client_certificate = \"both.pem\", client_key = \"both.pem\"",
            "client_certificate = \"both.pem\", min_version = \"1.3\"",
        ] {
            let read = parse_in(folder.path(), &text(written)).unwrap_or_else(|errors| panic!("{errors}"));
            assert_eq!(read.warnings, []);
            let tls = &read.upstreams[0].connection.tls;
            let identity = tls.identity.as_ref().unwrap();
            assert!(matches!(&identity.key, SecretSource::File(path) if path.starts_with(folder.path())));
            assert_eq!(tls.min_version == MinVersion::Tls13, written.contains("1.3"));
        }
    }

    #[test]
    fn a_pem_in_the_file_is_warned_about_and_not_shown() {
        let folder = folder();
        let both = std::fs::read_to_string(folder.path().join("both.pem")).unwrap();
        let tls = format!("client_certificate = \"\"\"{both}\"\"\"");
        let read = parse_in(folder.path(), &text(&tls)).unwrap_or_else(|errors| panic!("{errors}"));
        assert!(read.warnings[0].what.contains("the secret is written into the file"), "{:?}", read.warnings);
        assert!(!format!("{read:?}").contains("BEGIN"));
    }

    #[test]
    fn a_pair_that_does_not_belong_together_is_a_problem_at_the_key() {
        let folder = folder();
        assert_eq!(
            wrong(folder.path(), "client_certificate = \"a.pem\", client_key = \"b.key\""),
            [
                "proxy.toml:6:52: `upstreams.a.tls.client_key` does not belong to the first certificate; name the two that were \
              issued together, with the client's own certificate before its issuers'"
            ]
        );
        let at_certificate = |tls: &str| wrong(folder.path(), tls).remove(0);
        let found = at_certificate("client_certificate = \"a.key\", client_key = \"a.key\"");
        assert!(
            found.starts_with("proxy.toml:6:30: `upstreams.a.tls.client_certificate` holds no -----BEGIN CERT"),
            "{found}"
        );
        let found = at_certificate("client_certificate = \"a.pem\"");
        assert!(found.contains("`upstreams.a.tls.client_certificate` holds no -----BEGIN PRIVATE KEY-----"), "{found}");
        let found = at_certificate("client_certificate = \"none.pem\", client_key = \"a.key\"");
        assert!(found.contains("cannot be used: cannot read "), "{found}");
        let found = at_certificate("client_key = \"a.key\"");
        assert!(found.contains("`upstreams.a.tls.client_certificate` is missing; name the PEM file"), "{found}");
        let found = at_certificate("min_version = \"1.1\"");
        assert!(found.contains("`upstreams.a.tls.min_version` cannot be \"1.1\""), "{found}");
    }

    #[test]
    fn an_expired_certificate_is_a_warning() {
        let folder = folder();
        let read = parse_in(folder.path(), &text("client_certificate = \"old.pem\", client_key = \"a.key\"")).unwrap();
        assert_eq!(read.warnings.len(), 1);
        let what = &read.warnings[0].what;
        assert_eq!(what, "`upstreams.a.tls.client_certificate` expired at 2001-01-01T00:00:00Z");
        assert_eq!(read.warnings[0].at, Some((6, 30)));
    }
}
