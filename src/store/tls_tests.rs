//! The store over TLS, against a real server.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::runtime::Handle;

use super::real_tests::{SOON, echo, hello, probe, settings, until, until_answered};
use super::testing::{Kind, StoreServer, free_port};
use super::*;
use crate::secret::SecretSource;
use crate::tls::IdentitySource;

/// A server whose certificate is for `cache.test`, and a folder for what the two sides need.
struct Around {
    folder: tempfile::TempDir,
    port: u16,
    server: StoreServer,
}

/// An authority, in a file.
struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    fn new(file: PathBuf) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        std::fs::write(file, ca.self_signed(&key).unwrap().pem()).unwrap();
        Self(Issuer::new(ca, key))
    }

    /// A certificate of it and its key, both in one file.
    fn signs(&self, name: &str, file: PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
        leaf.distinguished_name.push(DnType::CommonName, name);
        let leaf = leaf.signed_by(&key, &self.0).unwrap();
        std::fs::write(file, leaf.pem() + &key.serialize_pem()).unwrap();
    }
}

impl Around {
    /// Debian's Redis speaks TLS; the Valkey that is unpacked for the tests does not.
    fn start(clients: &str) -> Option<(Self, Authority)> {
        let kind = Kind::installed().into_iter().find(|kind| *kind == Kind::Redis)?;
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(folder.path().join("ca.pem"));
        authority.signs("cache.test", folder.path().join("server.pem"));
        let port = free_port();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let lines = [
            format!("tls-port {port}"),
            format!("tls-ca-cert-file {}", file("ca.pem")),
            format!("tls-cert-file {}", file("server.pem")),
            format!("tls-key-file {}", file("server.pem")),
            format!("tls-auth-clients {clients}"),
        ];
        let server = StoreServer::start(kind, &lines.iter().map(String::as_str).collect::<Vec<_>>());
        Some((Self { folder, port, server }, authority))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn connect(&self, tls: StoreTlsSettings) -> Store {
        let address = StoreAddress::Tcp { host: "127.0.0.1".into(), port: self.port };
        let settings = StoreSettings { with_tls: true, tls, ..settings(vec![address]) };
        Store::start(settings, probe(), &Handle::current(), StoreMetrics::default())
    }
}

/// Waits until the last failure is one that says this.
async fn until_said(store: &Store, what: &str) {
    until(what, || store.status().last_error.is_some_and(|said| said.contains(what))).await;
}

#[tokio::test]
async fn tls_is_spoken_and_the_name_on_the_certificate_is_verified() {
    let Some((around, _authority)) = Around::start("no") else { return };
    let tls = |name: Option<&str>| StoreTlsSettings {
        ca_file: Some(around.file("ca.pem")),
        server_name: name.map(str::to_owned),
        identity: None,
    };
    let store = around.connect(tls(Some("cache.test")));
    assert!(store.wait_connected(SOON).await, "{store:?}");
    assert_eq!(echo(&store).await, hello());
    assert!(store.status().tls);
    until_said(&around.connect(tls(None)), "cache.tls.server_name").await;
}

#[tokio::test]
async fn certificates_are_read_at_each_dial() {
    let Some((around, authority)) = Around::start("yes") else { return };
    let (client, trusted) = (around.file("client.pem"), around.file("trusted.pem"));
    let other = Authority::new(trusted.clone());
    other.signs("replica", client.clone());
    let place = || SecretSource::File(client.clone());
    let store = around.connect(StoreTlsSettings {
        ca_file: Some(trusted.clone()),
        identity: Some(IdentitySource { certificate: place(), key: place() }),
        server_name: Some("cache.test".into()),
    });
    until_said(&store, "certificate").await;
    // What is trusted, and then what is shown.
    std::fs::copy(around.file("ca.pem"), &trusted).unwrap();
    until_said(&store, "the connection to it broke").await;
    std::fs::remove_file(&client).unwrap();
    until_said(&store, "the certificates are not available: ").await;
    assert_eq!(store.status().remedy, Some("correct the files that cache.tls names"));
    authority.signs("replica", client.clone());
    until_answered(&store).await;
    // One that cannot be read costs no connection that is there, and is a failure at the next dial alone.
    std::fs::write(&client, "half").unwrap();
    assert_eq!(echo(&store).await, hello());
    around.server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    around.server.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    until_said(&store, "the certificates are not available: ").await;
    authority.signs("replica", client.clone());
    until_answered(&store).await;
}
