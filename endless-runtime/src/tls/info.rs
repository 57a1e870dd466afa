//! What a handler can learn of the handshake.

use std::fmt;

use rustls::pki_types::CertificateDer;
use rustls::{ProtocolVersion, ServerConnection};

/// What the two sides of a connection have agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsInfo {
    version: TlsVersion,
    alpn: Option<Vec<u8>>,
    sni: Option<String>,
    client_chain: Vec<CertificateDer<'static>>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls12 => "TLSv1.2",
            Self::Tls13 => "TLSv1.3",
        })
    }
}

impl TlsInfo {
    /// Of a connection whose handshake is done.
    pub(crate) fn of(session: &ServerConnection) -> Self {
        let version = match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => TlsVersion::Tls12,
            _ => TlsVersion::Tls13,
        };
        let chain = session.peer_certificates().unwrap_or_default();
        Self {
            version,
            alpn: session.alpn_protocol().map(<[u8]>::to_vec),
            sni: session.server_name().map(str::to_owned),
            client_chain: chain.iter().map(|certificate| certificate.clone().into_owned()).collect(),
        }
    }

    /// The version of TLS.
    pub fn version(&self) -> TlsVersion {
        self.version
    }

    /// The protocol that was agreed on by ALPN: `h2`, `http/1.1`.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.alpn.as_deref()
    }

    /// The name of the server that the client asked for.
    pub fn sni(&self) -> Option<&str> {
        self.sni.as_deref()
    }

    /// The certificates that the client has presented, its own first, in DER: checked up to a root of
    /// [`ClientAuth`](crate::ClientAuth). Empty if it has presented none, or was not asked.
    pub fn client_chain(&self) -> &[CertificateDer<'static>] {
        &self.client_chain
    }
}
