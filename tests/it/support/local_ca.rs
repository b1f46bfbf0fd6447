//! A local CA for `[intercept]`, and programs that trust it.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Caller;

/// A certificate authority in two files.
pub struct LocalCa {
    folder: tempfile::TempDir,
}

impl LocalCa {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "a local CA of the tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        std::fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(folder.path().join("ca.key"), key.serialize_pem()).unwrap();
        std::fs::set_permissions(folder.path().join("ca.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
        Self { folder }
    }

    /// The CA's certificate in PEM.
    pub fn certificate(&self) -> std::path::PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// `[intercept]`.
    pub fn intercept(&self) -> String {
        let dir = self.folder.path().display();
        format!("[intercept]\nca_certificate = \"{dir}/ca.pem\"\nca_key = \"{dir}/ca.key\"\n")
    }

    /// Opens a tunnel to `target` and begins TLS for `name` in it, offering these protocols.
    pub async fn tls(&self, proxy: SocketAddr, target: &str, name: &str, alpn: &[&str]) -> std::io::Result<Tls> {
        let mut caller = Caller::connect(proxy).await;
        caller.write(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
        let answer = caller.answer_head().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.certificate()).unwrap()).unwrap();
        let mut config = ClientConfig::builder_with_provider(attache::bench::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        Ok(Tls(TlsConnector::from(Arc::new(config)).connect(name, caller.stream).await?))
    }
}

/// A TLS session inside of a tunnel.
#[derive(Debug)]
pub struct Tls(pub TlsStream<TcpStream>);

impl Tls {
    /// Sends one request and reads until the other side closes.
    pub async fn ask(mut self, request: &str) -> String {
        self.0.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ended = self.0.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    /// What ALPN agreed on.
    pub fn protocol(&self) -> Option<String> {
        self.0.get_ref().1.alpn_protocol().map(|protocol| String::from_utf8(protocol.to_vec()).unwrap())
    }
}

impl LocalCa {
    /// One that attache itself has made, for these hosts.
    pub fn constrained(hosts: &[&str]) -> Self {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let folder = tempfile::tempdir().unwrap();
        let files = (folder.path().join("ca.pem"), folder.path().join("ca.key"));
        attache::bench::create_authority(&hosts, &files.0, &files.1).unwrap();
        Self { folder }
    }

    /// What `openssl verify` says of the leaf for a host.
    pub fn verified_by_openssl(&self, host: &str) -> String {
        let file = |name| self.folder.path().join(name);
        let config = attache::bench::authority_config(&file("ca.pem"), &file("ca.key"), host).unwrap();
        let leaf = shown_by(&config, host);
        let path = self.folder.path().join("leaf.pem");
        std::fs::write(&path, attache::bench::pem_bundle([leaf.as_ref()])).unwrap();
        let output = std::process::Command::new("openssl")
            .args(["verify", "-purpose", "sslserver", "-verify_hostname", host, "-CAfile"])
            .args([self.certificate(), path])
            .output()
            .unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }
}

/// The leaf that a server shows in a handshake without a network.
fn shown_by(config: &Arc<rustls::ServerConfig>, host: &str) -> CertificateDer<'static> {
    use rustls::client::danger::HandshakeSignatureValid;
    #[derive(Debug)]
    struct Any;
    impl rustls::client::danger::ServerCertVerifier for Any {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: rustls_pki_types::UnixTime,
        ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
            Ok(rustls::client::danger::ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            vec![rustls::SignatureScheme::ECDSA_NISTP256_SHA256]
        }
    }
    let client = ClientConfig::builder_with_provider(attache::bench::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any))
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = rustls::ServerConnection::new(Arc::clone(config)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut bytes.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        bytes.clear();
        server.write_tls(&mut bytes).unwrap();
        let mut left = bytes.as_slice();
        while !left.is_empty() {
            client.read_tls(&mut left).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    client.peer_certificates().unwrap()[0].clone().into_owned()
}
