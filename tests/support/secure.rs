//! How a client of the tests speaks TLS: strictly, with what it was told to.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use super::authority::{Authority, Identity};
use super::client::patiently;

/// Both versions that there are.
pub(crate) const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

#[derive(Debug, Clone)]
pub(crate) struct Secure {
    roots: RootCertStore,
    versions: Vec<&'static SupportedProtocolVersion>,
    protocols: Vec<Vec<u8>>,
    name: ServerName<'static>,
    identity: Option<Identity>,
    resumes: bool,
    config: Option<Arc<ClientConfig>>,
}

impl Secure {
    /// Trusts whom this authority has issued certificates, asks for `localhost`, and names no protocol.
    pub(crate) fn trusting(authority: &Authority) -> Self {
        Self::trusting_file(&authority.root())
    }

    /// Trusts who is named in this file.
    pub(crate) fn trusting_file(root: &Path) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(root).expect("PEM")).expect("a root");
        let name = ServerName::try_from("localhost").expect("a name");
        let (versions, protocols) = (VERSIONS.into(), Vec::new());
        Self { roots, versions, protocols, name, identity: None, resumes: false, config: None }.made()
    }

    pub(crate) fn version(self, version: &'static SupportedProtocolVersion) -> Self {
        Self { versions: vec![version], ..self }.made()
    }

    pub(crate) fn protocol(self, protocol: &str) -> Self {
        Self { protocols: vec![protocol.into()], ..self }.made()
    }

    pub(crate) fn asking_for(self, name: &str) -> Self {
        Self { name: ServerName::try_from(name.to_owned()).expect("a name"), ..self }
    }

    pub(crate) fn presenting(self, identity: &Identity) -> Self {
        Self { identity: Some(identity.clone()), ..self }.made()
    }

    /// Also whom that one has issued certificates.
    pub(crate) fn trusting_too(mut self, authority: &Authority) -> Self {
        self.roots.add(CertificateDer::from_pem_file(authority.root()).expect("PEM")).expect("a root");
        self.made()
    }

    /// Keeps its sessions, and resumes them; each that is made so has sessions of its own, and its clones have them
    /// in common.
    pub(crate) fn resuming(self) -> Self {
        Self { resumes: true, ..self }.made()
    }

    fn made(mut self) -> Self {
        let builder = ClientConfig::builder_with_provider(ring::default_provider().into());
        let builder = builder.with_protocol_versions(&self.versions).expect("both are there");
        let builder = builder.with_root_certificates(self.roots.clone());
        let mut config = match &self.identity {
            Some(Identity { cert, key, .. }) => {
                let chain = CertificateDer::pem_file_iter(cert).expect("a file").map(|one| one.expect("PEM"));
                let key = PrivateKeyDer::from_pem_file(key).expect("a key");
                builder.with_client_auth_cert(chain.collect(), key).expect("they belong together")
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.protocols.clone();
        config.resumption = match self.resumes {
            true => Resumption::in_memory_sessions(256),
            false => Resumption::disabled(),
        };
        self.config = Some(config.into());
        self
    }

    /// Shakes hands over anything.
    pub(crate) async fn over<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<TlsStream<S>> {
        let config = self.config.clone().expect("it was made");
        TlsConnector::from(config).connect(self.name.clone(), stream).await
    }

    /// Connects and shakes hands.
    pub(crate) async fn connect(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        patiently(async { self.over(TcpStream::connect(address).await?).await }).await
    }
}
