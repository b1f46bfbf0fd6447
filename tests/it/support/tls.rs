//! TLS on the scripted side: an authority of the test's own, a front that decrypts, and an HTTP/2 server.

use std::future::Future;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::request::Parts;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A certificate authority that nobody trusts who does not name its file.
pub struct TestCa {
    issuer: Issuer<'static, KeyPair>,
    file: tempfile::NamedTempFile,
}

impl TestCa {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(certificate.pem().as_bytes()).unwrap();
        Self { issuer: Issuer::new(params, key), file }
    }

    /// `tls = { ca_file = "…" }`.
    pub fn trusted(&self) -> String {
        format!("tls = {{ ca_file = \"{}\" }}\n", self.file.path().display())
    }

    /// What a server of these names needs.
    pub fn server(&self, names: &[&str], alpn: &[&str]) -> Arc<ServerConfig> {
        self.server_with(names, alpn, rustls::ALL_VERSIONS, None)
    }

    /// One that speaks these versions, and lets nobody in but whom this authority has given a certificate.
    pub fn server_with(
        &self,
        names: &[&str],
        alpn: &[&str],
        versions: &[&'static SupportedProtocolVersion],
        clients: Option<&Self>,
    ) -> Arc<ServerConfig> {
        let (certificate, key) = self.issue(names);
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let verifier = clients.map_or_else(WebPkiClientVerifier::no_client_auth, Self::verifier);
        let mut config = ServerConfig::builder_with_provider(attache::bench::provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// A certificate for these names, and its key.
    pub fn issue(&self, names: &[&str]) -> (rcgen::Certificate, KeyPair) {
        self.issue_until(names, std::time::SystemTime::now() + std::time::Duration::from_secs(86_400))
    }

    /// One that is valid until then.
    pub fn issue_until(&self, names: &[&str], end: std::time::SystemTime) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let owned: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(owned).unwrap();
        // OpenSSL takes a certificate whose subject is its issuer for self-signed.
        params.distinguished_name.push(DnType::CommonName, names[0]);
        params.not_after = end.into();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// Its own certificate in PEM.
    pub fn pem(&self) -> String {
        std::fs::read_to_string(self.file.path()).unwrap()
    }

    /// Where that is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// TLS over this stream, as one who trusts this authority alone.
    pub async fn connect(&self, name: &str, stream: TcpStream) -> tokio_rustls::client::TlsStream<TcpStream> {
        self.try_connect(name, stream).await.unwrap()
    }

    /// The same where it may fail.
    pub async fn try_connect(
        &self,
        name: &str,
        stream: TcpStream,
    ) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path()).unwrap()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(attache::bench::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = rustls_pki_types::ServerName::try_from(name.to_owned()).unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.file.path()).unwrap()).unwrap();
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), attache::bench::provider()).build().unwrap()
    }
}

/// Decrypts in front of a plain server.
pub struct TlsFront {
    address: SocketAddr,
    names: Arc<Mutex<Vec<String>>>,
    shown: Arc<Mutex<Vec<Option<CertificateDer<'static>>>>>,
    task: JoinHandle<()>,
}

impl TlsFront {
    pub async fn start(config: Arc<ServerConfig>, behind: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let names: Arc<Mutex<Vec<String>>> = Arc::default();
        let shown: Arc<Mutex<Vec<Option<CertificateDer<'static>>>>> = Arc::default();
        let (seen, peers) = (Arc::clone(&names), Arc::clone(&shown));
        let task = tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(config);
            let mut tasks = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, seen, peers) = (acceptor.clone(), Arc::clone(&seen), Arc::clone(&peers));
                tasks.spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    seen.lock().unwrap().push(stream.get_ref().1.server_name().unwrap_or("-").to_owned());
                    let peer = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                    peers.lock().unwrap().push(peer.map(|leaf| leaf.clone().into_owned()));
                    let mut plain = TcpStream::connect(behind).await.unwrap();
                    let _ended = tokio::io::copy_bidirectional(&mut stream, &mut plain).await;
                });
            }
        });
        Self { address, names, shown, task }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The names in SNI, of every handshake that succeeded.
    pub fn names(&self) -> Vec<String> {
        self.names.lock().unwrap().clone()
    }
}

impl TlsFront {
    /// The clients' own certificates, of every handshake that succeeded.
    pub fn shown(&self) -> Vec<Option<CertificateDer<'static>>> {
        self.shown.lock().unwrap().clone()
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An HTTP/2 server behind TLS; each request runs in a task of its own.
pub struct Http2Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Parts>>>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Http2Server {
    pub async fn start<H, F>(config: Arc<ServerConfig>, handler: H) -> Self
    where
        H: Fn(http::Request<RecvStream>, SendResponse<Bytes>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Parts>>> = Arc::default();
        let connections: Arc<AtomicUsize> = Arc::default();
        let (seen, opened) = (Arc::clone(&asked), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(config);
            let mut tasks = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                opened.fetch_add(1, Ordering::SeqCst);
                let (acceptor, seen, handler) = (acceptor.clone(), Arc::clone(&seen), handler.clone());
                tasks.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    let mut requests = tokio::task::JoinSet::new();
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        let (head, body) = request.into_parts();
                        seen.lock().unwrap().push(head.clone());
                        requests.spawn(handler(http::Request::from_parts(head, body), respond));
                    }
                });
            }
        });
        Self { address, asked, connections, task }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The head of every request so far.
    pub fn asked(&self) -> Vec<Parts> {
        self.asked.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Http2Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
